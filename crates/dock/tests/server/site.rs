//! A real server over TLS, a prepared drive set, and everybody who handles it. Tests nothing.

use client::Client;
use dock::{Event, ImportOptions, ImportOutcome};
use model::{
    AccountName, Address, Digest, DriveSerial, JobName, ObjectKey, ObjectKind, Package, ServerName,
    VaultName,
};
use seed::{DriveSpec, PlainReads, Prepared, SigningKey};
use server::{Config, Server};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Folder, ManualClock, Memory, OpenOptions, RetryPolicy, Store};
use tempfile::TempDir;
use wire::{
    DockRequest, DriveRequest, Job, JobPatch, JobRequest, JobState, SeedRef, ServerRequest,
};

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Everything in a store, by path.
pub(crate) fn contents(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let kinds = ObjectKind::ALL.into_iter();
    let listed = kinds.flat_map(|kind| store.list(kind).unwrap());
    listed.map(|at| (at.key.path(), store.get(&at.key, u64::MAX).unwrap())).collect()
}

/// A server and its data folder. Stops and starts at the same address.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) server: Mutex<Option<Server>>,
    address: Mutex<Option<SocketAddr>>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            server: Mutex::new(None),
            address: Mutex::new(None),
        };
        site.start();
        site
    }

    pub(crate) fn start(&self) {
        let mut address = self.address.lock().unwrap();
        let listen = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let server = Server::start(Config::new(self.folder.path().join("data"), listen)).unwrap();
        *address = Some(server.address());
        *self.server.lock().unwrap() = Some(server);
    }

    pub(crate) fn stop(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.shutdown().unwrap();
        }
    }

    pub(crate) fn admin(&self) -> Client {
        let server = self.server.lock().unwrap();
        let file = server.as_ref().unwrap().admin_file().to_owned();
        Client::new(client::load_credentials(&file).unwrap()).unwrap()
    }

    pub(crate) fn agent(&self) -> Client {
        let (vault, name): (VaultName, ServerName) =
            ("vault1".parse().unwrap(), "fs01".parse().unwrap());
        let admin = self.admin();
        admin.create_vault(&vault).unwrap();
        let request = ServerRequest { replace: true };
        Client::new(admin.register_server(&vault, &name, &request).unwrap()).unwrap()
    }

    pub(crate) fn dock(&self, name: &str) -> Client {
        let request = DockRequest { name: name.to_owned(), replace: false };
        Client::new(self.admin().register_dock(&request).unwrap()).unwrap()
    }

    /// What has landed of a repository.
    pub(crate) fn landed(&self, repository: &Digest) -> BTreeMap<String, Vec<u8>> {
        let objects = self.folder.path().join("data/objects");
        contents(&Folder::new(objects.join("accounts/seedacct/seeds").join(repository.to_hex())))
    }

    pub(crate) fn landed_is_empty(&self, repository: &Digest) -> bool {
        let objects = self.folder.path().join("data/objects/accounts/seedacct/seeds");
        !objects.join(repository.to_hex()).exists()
    }

    pub(crate) fn copy_log(&self, job: &JobName, drive: &str) -> Vec<String> {
        let objects = self.folder.path().join("data/objects/accounts/seedacct/waimportexport");
        let path = objects.join(job.as_str()).join(format!("{drive}.copylog.jsonl"));
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A drive set on its way: prepared, announced, shipped.
pub(crate) struct Parcel {
    pub(crate) dir: TempDir,
    pub(crate) source: Memory,
    pub(crate) prepared: Prepared,
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) job: JobName,
    pub(crate) tracking: String,
    pub(crate) dock: Client,
}

impl Parcel {
    pub(crate) fn shipped(site: &Site, job: &str, prefix: &str, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = repository(seed);
        let key = SigningKey::from_bytes(&[u8::try_from(seed).unwrap(); 32]);
        let specs: Vec<DriveSpec> = (0..3).map(|at| spec(dir.path(), prefix, at)).collect();
        let options = seed::Options {
            state: &dir.path().join("state"),
            signer: &key,
            seed: None,
            set: 0,
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
            read_back: &PlainReads,
            filling: seed::Filling::Even,
            parity: 0,
            most: wire::MAX_DRIVES,
            list: None,
            only: None,
        };
        let prepared = seed::prepare(&options, &[&source], &specs, &mut ()).unwrap();
        assert!(prepared.is_complete());
        let folders = specs.into_iter().map(|spec| spec.folder).collect();
        let parcel = Self {
            dir,
            source,
            prepared,
            folders,
            job: job.parse().unwrap(),
            tracking: format!("1Z{seed:04}{}", prefix.to_uppercase()),
            dock: site.dock(job),
        };
        parcel.announce(site);
        parcel
    }

    fn announce(&self, site: &Site) {
        let account: AccountName = "seedacct".parse().unwrap();
        site.admin().create_storage_account(&account).unwrap();
        let agent = site.agent();
        let drives = self.prepared.drives.iter().filter_map(|drive| {
            let manifest_hash = drive.manifest?;
            Some(DriveRequest {
                drive_id: drive.serial.clone(),
                manifest_hash,
                role: drive.role,
                bit_locker_key: None,
                drive_header_hash: None,
            })
        });
        let request = JobRequest {
            vault: "vault1".parse().unwrap(),
            server: "fs01".parse().unwrap(),
            seed: SeedRef {
                id: self.prepared.seed,
                set: 0,
                sets: Some(1),
                signer: self.prepared.signer,
            },
            storage_account: account,
            container: "seeds".parse().unwrap(),
            diagnostics: None,
            return_address: Some(address()),
            delivery_package: Some(Package {
                carrier_name: "Posten".into(),
                tracking_number: self.tracking.parse().unwrap(),
                drive_count: None,
                ship_date: None,
            }),
            drive_list: drives.collect(),
        };
        assert_eq!(request.drive_list.len(), 3);
        agent.create_job(&self.job, &request).unwrap();
        for drive in &self.prepared.drives {
            let Some(file) = &drive.manifest_file else { continue };
            let bytes = fs::read(file).unwrap();
            let length = bytes.len() as u64;
            agent.put_manifest(&self.job, &drive.serial, length, &mut bytes.as_slice()).unwrap();
        }
        let patch = JobPatch { state: Some(JobState::Shipping), ..JobPatch::default() };
        agent.patch_job(&self.job, &patch).unwrap();
    }

    pub(crate) fn receive(&self) -> Job {
        dock::receive(&self.dock, None, &self.tracking.parse().unwrap(), None).unwrap()
    }

    pub(crate) fn repository(&self) -> Digest {
        self.prepared.inventory.repositories[0]
    }

    pub(crate) fn serial(&self, drive: usize) -> DriveSerial {
        self.prepared.drives[drive].serial.clone()
    }

    /// The path of a pack on that drive.
    pub(crate) fn pack(&self, drive: usize) -> (PathBuf, ObjectKey) {
        let root = self.folders[drive].join("repositories").join(self.repository().to_hex());
        let packs = Folder::new(&root).list(ObjectKind::Pack).unwrap();
        let key = packs.into_iter().map(|pack| pack.key).min().unwrap();
        (root.join(key.path()), key)
    }

    pub(crate) fn import(
        &self,
        drives: &[PathBuf],
        hook: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<ImportOutcome, dock::Error> {
        self.import_as(&self.dock, drives, hook)
    }

    pub(crate) fn import_as(
        &self,
        client: &Client,
        drives: &[PathBuf],
        hook: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<ImportOutcome, dock::Error> {
        // Tries follow each other at once: a server that is away is tried until it is back or the
        // tries are used up, and no test waits.
        let policy = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
        let options = ImportOptions {
            job: &self.job,
            drives,
            state: &self.dir.path().join("dock"),
            store: OpenOptions {
                retry: Some((policy, Arc::new(ManualClock::new()))),
                ..OpenOptions::default()
            },
            report_every: Duration::ZERO,
            at_once: 3,
            custody: None,
            stop: &AtomicBool::new(false),
            events: hook,
        };
        dock::import(client, &options)
    }
}

fn spec(dir: &Path, prefix: &str, at: usize) -> DriveSpec {
    let folder = dir.join(format!("{prefix}{at}"));
    fs::create_dir(&folder).unwrap();
    let serial = format!("{prefix}{at}").parse().unwrap();
    DriveSpec { folder, serial, capacity: Some(1_700_000) }
}

fn repository(seed: u64) -> Memory {
    let store = Memory::new();
    store.create().unwrap();
    let add = |kind, bytes: &[u8]| {
        store.put(&store::conformance::key_of(kind, bytes), bytes).unwrap();
    };
    add(ObjectKind::Config, &noise(seed, 155));
    for at in 1..=18 {
        add(ObjectKind::Pack, &noise(seed + at * 1000, 200_000));
    }
    add(ObjectKind::Key, &noise(seed + 1, 460));
    add(ObjectKind::Index, &noise(seed + 2, 3000));
    add(ObjectKind::Snapshot, &noise(seed + 3, 250));
    store
}

fn address() -> Address {
    Address {
        recipient_name: "Ops".into(),
        street_address1: "1 Main St".into(),
        city: "Oslo".into(),
        postal_code: "0150".into(),
        country_or_region: "NO".into(),
        phone: "4722000000".into(),
        email: "ops@example.org".into(),
        ..Address::default()
    }
}
