//! A server, a source server with something to protect, drives that are folders, and a dock that
//! does by hand what docks do.

use agent::{BackupReport, Context, Event, NewGroup, NewInitial, Preparation, ShipTarget};
use client::Client;
use jiff::{SignedDuration, Timestamp};
use model::{Address, Digest, DriveSerial, Package};
use repo::{Author, KdfParams};
use seed::{DriveSpec, Landing, PlainReads, ReadBack, Trust};
use server::{Clock, Config, Server};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Rest, RestOptions, RetryPolicy, Store};
use tempfile::TempDir;
use wire::{Credentials, DockRequest, DriveEvent, ReceiveRequest, ServerRequest};

pub(crate) const PASSWORD: &[u8] = b"geheim und lang genug";

/// Everything that a test needs, in one temporary folder.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) stop: AtomicBool,
    /// What [`prepare`](Self::prepare) says is encrypted.
    pub(crate) encrypted: Mutex<Vec<DriveSerial>>,
    state: PathBuf,
    now: Box<dyn Fn() -> Timestamp + Sync + Send>,
}

impl Site {
    /// A server with vault1, its source server fs01, and account seedacct. Nobody is registered.
    pub(crate) fn unregistered() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        // Each look at the clock is a second later than the one before.
        let seconds = AtomicI64::new(1_772_366_400);
        let tick = move || Timestamp::from_second(seconds.fetch_add(1, Ordering::Relaxed)).unwrap();
        let (stop, now) = (AtomicBool::new(false), Box::new(tick));
        let mut site = Self { dir, server: None, stop, encrypted: Mutex::default(), state, now };
        site.start(|_| {});
        let admin = site.admin();
        admin.create_vault(&"vault1".parse().unwrap()).unwrap();
        admin.create_storage_account(&"seedacct".parse().unwrap()).unwrap();
        fs::create_dir(site.source()).unwrap();
        for n in 0..6_u64 {
            fs::write(site.source().join(format!("file{n}")), noise(n, 60_000)).unwrap();
        }
        site
    }

    /// As [`unregistered`](Self::unregistered), registered.
    pub(crate) fn new() -> Self {
        let site = Self::unregistered();
        agent::register(&site.ctx(), &site.credentials("vault1", "fs01"), false).unwrap();
        site
    }

    /// Registered, with group `files` whose first backup travels.
    pub(crate) fn with_group() -> Self {
        let site = Self::new();
        agent::create_group(&site.ctx(), &site.group("files")).unwrap();
        site
    }

    /// As far as two sealed drives and their import job.
    pub(crate) fn prepared() -> Self {
        let site = Self::with_group();
        site.backup().unwrap();
        assert!(site.prepare(&site.drives(2)).unwrap().needed.is_none());
        site
    }

    /// As far as a seed that has landed in the storage account.
    pub(crate) fn landed() -> Self {
        let site = Self::prepared();
        site.ship("TRACK0001").unwrap();
        site.dock("TRACK0001");
        site
    }

    pub(crate) fn start(&mut self, change: impl FnOnce(&mut Config)) {
        let port = self.server.take().map_or(0, |server| {
            let port = server.address().port();
            server.shutdown().unwrap();
            port
        });
        let listen = format!("127.0.0.1:{port}").parse().unwrap();
        let mut config = Config::new(self.path("data"), listen);
        config.locations = vec![wire::Location {
            name: "Nordic dock".into(),
            address: address(),
            supported_carriers: vec![],
        }];
        change(&mut config);
        self.server = Some(Server::start(config).unwrap());
    }

    /// The server again, and then so many days later, all of which it has seen pass.
    pub(crate) fn later(&mut self, days: i64, change: impl FnOnce(&mut Config)) {
        let ahead = Arc::new(AtomicI64::new(0));
        let hours = Arc::clone(&ahead);
        self.start(|config| {
            config.clock = Clock::from_fn(move || {
                Timestamp::now() + SignedDuration::from_hours(hours.load(Ordering::Relaxed))
            });
            change(config);
        });
        ahead.store(24 * days, Ordering::Relaxed);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path("source")
    }

    pub(crate) fn staging(&self) -> String {
        self.path("staging").display().to_string()
    }

    /// It was moved there.
    pub(crate) fn move_state(&mut self, to: PathBuf) {
        self.state = to;
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The published repository as files of the server.
    pub(crate) fn vault_folder(&self) -> PathBuf {
        self.path("data/objects/vaults/vault1/fs01/repository")
    }

    pub(crate) fn admin(&self) -> Client {
        let file = self.server.as_ref().unwrap().admin_file();
        Client::new(client::load_credentials(file).unwrap()).unwrap()
    }

    pub(crate) fn credentials(&self, vault: &str, server: &str) -> Credentials {
        let request = ServerRequest { replace: true };
        let (vault, server) = (vault.parse().unwrap(), server.parse().unwrap());
        self.admin().register_server(&vault, &server, &request).unwrap()
    }

    /// A client with the agent's own credentials.
    pub(crate) fn agent(&self) -> Client {
        let file = self.state.join("agent.json");
        Client::new(client::load_credentials(&file).unwrap()).unwrap()
    }

    pub(crate) fn group(&self, name: &str) -> NewGroup {
        NewGroup {
            name: name.parse().unwrap(),
            paths: vec![self.source()],
            initial: self.offline(&self.staging()),
        }
    }

    pub(crate) fn offline(&self, staging: &str) -> NewInitial {
        NewInitial::Offline {
            staging: staging.to_owned(),
            import_job: "seed-2026".parse().unwrap(),
            storage_account: "seedacct".parse().unwrap(),
            container: "seeds".parse().unwrap(),
        }
    }

    /// A context whose events nobody hears.
    pub(crate) fn ctx(&self) -> Context<'_> {
        self.hearing(&|_| {})
    }

    /// A context whose events `events` hears.
    pub(crate) fn hearing<'a>(&'a self, events: &'a (dyn Fn(Event<'_>) + Sync)) -> Context<'a> {
        let pid = std::process::id();
        let author =
            Author { hostname: "fs01".into(), username: "root".into(), uid: 0, gid: 0, pid };
        let mut ctx = Context::new(&self.state, author, &*self.now, &self.stop, events);
        ctx.kdf = KdfParams::WEAK;
        ctx.poll = Duration::from_millis(5);
        ctx.pack_size = 64 << 10;
        ctx.retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        ctx
    }

    pub(crate) fn backup(&self) -> agent::Result<BackupReport> {
        agent::backup_now(&self.ctx(), &"files".parse().unwrap(), PASSWORD)
    }

    pub(crate) fn drive(&self, serial: &str, capacity: u64) -> DriveSpec {
        let folder = self.path(serial);
        fs::create_dir_all(&folder).unwrap();
        DriveSpec { folder, serial: serial.parse().unwrap(), capacity: Some(capacity) }
    }

    /// Drives that two of are enough for the site's data.
    pub(crate) fn drives(&self, count: usize) -> Vec<DriveSpec> {
        (0..count).map(|n| self.drive(&format!("D{n}"), 520_000)).collect()
    }

    pub(crate) fn prepare(&self, drives: &[DriveSpec]) -> agent::Result<agent::PrepareReport> {
        self.prepare_in(&self.ctx(), drives)
    }

    pub(crate) fn prepare_in(
        &self,
        ctx: &Context<'_>,
        drives: &[DriveSpec],
    ) -> agent::Result<agent::PrepareReport> {
        self.prepare_with(ctx, drives, &PlainReads)
    }

    pub(crate) fn prepare_with(
        &self,
        ctx: &Context<'_>,
        drives: &[DriveSpec],
        read_back: &dyn ReadBack,
    ) -> agent::Result<agent::PrepareReport> {
        let staging = self.staging();
        let encrypted = self.encrypted.lock().unwrap().clone();
        let what = Preparation {
            staging: &staging,
            drives,
            encrypted: &encrypted,
            read_back,
            filling: seed::Filling::Even,
            limit_rate: 0,
            parity: None,
            most: None,
            job: None,
            missing: false,
        };
        agent::prepare(ctx, &what, Some(PASSWORD))
    }

    /// Writes what the vault still asks for, and nothing else.
    pub(crate) fn prepare_missing(
        &self,
        drives: &[DriveSpec],
    ) -> agent::Result<agent::PrepareReport> {
        let (staging, encrypted) = (self.staging(), []);
        let what = Preparation {
            staging: &staging,
            drives,
            encrypted: &encrypted,
            read_back: &PlainReads,
            filling: seed::Filling::Even,
            limit_rate: 0,
            parity: None,
            most: None,
            job: None,
            missing: true,
        };
        agent::prepare(&self.ctx(), &what, Some(PASSWORD))
    }

    /// The passwords of the seed's drives.
    pub(crate) fn keys(&self) -> keyring::DriveKeys {
        agent::drive_keys(&self.ctx(), &self.staging()).unwrap()
    }

    /// What somebody does who encrypts the drives: they stay folders here.
    pub(crate) fn lock(&self, drives: &[DriveSpec]) {
        for drive in drives {
            self.keys().password(&drive.serial).unwrap();
            self.keys().formatted(&drive.serial, header(&drive.serial)).unwrap();
            self.encrypted.lock().unwrap().push(drive.serial.clone());
        }
    }

    pub(crate) fn ship(&self, number: &str) -> agent::Result<wire::Job> {
        agent::ship(&self.ctx(), &ShipTarget::Only, &address(), &package(number))
    }

    /// The seed that there is.
    pub(crate) fn seed(&self) -> agent::SeedStatus {
        agent::status(&self.ctx()).unwrap().seeds.pop().unwrap()
    }

    /// A parcel that nobody waits for any more.
    pub(crate) fn lose(&self, job: &str) {
        let patch = wire::JobPatch { cancel_requested: Some(true), ..wire::JobPatch::default() };
        self.agent().patch_job(&job.parse().unwrap(), &patch).unwrap();
    }

    /// Takes in the package and everything on its drives.
    pub(crate) fn dock(&self, number: &str) {
        self.dock_without(number, |_| false);
    }

    /// As [`dock`](Self::dock), without the objects that are `lost`.
    pub(crate) fn dock_without(&self, number: &str, lost: fn(&model::ObjectKey) -> bool) {
        let request = DockRequest { name: "dock".to_owned(), replace: true };
        let dock = Client::new(self.admin().register_dock(&request).unwrap()).unwrap();
        let request = ReceiveRequest { tracking_number: number.parse().unwrap(), drives: None };
        let job = dock.receive(&request).unwrap();
        let trust = Trust::Key(job.carries.as_ref().unwrap().seed.signer);
        let lands = Lands { dock: &dock, job: &job, lost };
        for drive in &job.drive_list {
            let serial = &drive.drive_id;
            dock.drive_event(&job.name, serial, &DriveEvent::Started).unwrap();
            seed::unload(&self.path(serial.as_str()), &trust, &lands, &mut ()).unwrap();
            let finished = DriveEvent::Finished { bytes: 0, failures: vec![], rebuilt: None };
            dock.drive_event(&job.name, serial, &finished).unwrap();
        }
    }

    /// Every file of the state directory, to put them back later.
    pub(crate) fn remember(&self) -> BTreeMap<String, Vec<u8>> {
        tree(&self.state)
    }

    /// The state directory as it was: as if the process had died before it wrote anything.
    pub(crate) fn forget(&self, before: &BTreeMap<String, Vec<u8>>) {
        fs::remove_dir_all(&self.state).unwrap();
        for (name, bytes) in before {
            let path = self.state.join(name);
            store::durable::create_folder(path.parent().unwrap(), 0o700).unwrap();
            store::durable::write(&path, bytes, 0o600).unwrap();
        }
    }
}

/// Where a dock lands objects.
struct Lands<'a> {
    dock: &'a Client,
    job: &'a wire::Job,
    lost: fn(&model::ObjectKey) -> bool,
}

impl Lands<'_> {
    fn store(&self, repository: &model::Digest) -> Rest {
        let account = &self.job.storage_account;
        let container = &self.job.carries.as_ref().unwrap().container;
        let url = self.dock.landing_url(account, container, repository);
        rest(&url, self.dock.credentials())
    }
}

impl Landing for Lands<'_> {
    fn has(
        &self,
        repository: &model::Digest,
        key: &model::ObjectKey,
        length: u64,
    ) -> store::Result<bool> {
        Ok((self.lost)(key) || self.store(repository).length(key).is_ok_and(|it| it == length))
    }

    fn put_from(
        &self,
        repository: &model::Digest,
        key: &model::ObjectKey,
        length: u64,
        from: &mut dyn Read,
    ) -> store::Result<()> {
        self.store(repository).put_from(key, length, from)
    }
}

pub(crate) fn rest(url: &url::Url, credentials: &Credentials) -> Rest {
    let login = store::Credentials {
        user: credentials.user.clone(),
        password: credentials.token.clone().into(),
    };
    let options = RestOptions {
        credentials: Some(login),
        ca_pem: credentials.ca_pem.clone().map(String::into_bytes),
        ..RestOptions::default()
    };
    Rest::new(url, &options).unwrap()
}

/// What the header area of an encrypted drive hashes to.
pub(crate) fn header(serial: &DriveSerial) -> Digest {
    Digest(sha2::Sha256::digest(serial.as_str()).into())
}

pub(crate) fn address() -> Address {
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

pub(crate) fn package(number: &str) -> Package {
    Package {
        carrier_name: "Posten".into(),
        tracking_number: number.parse().unwrap(),
        drive_count: None,
        ship_date: None,
    }
}

/// Bytes that do not compress and are always the same.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
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

/// Every file beneath a folder, by its path there.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}
