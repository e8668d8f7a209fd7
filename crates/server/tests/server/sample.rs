//! A small repository whose objects are named by their bytes, and its way onto drives and into a
//! storage account. What is in the objects matters to nobody here.

use crate::site::{Site, rest};
use client::Client;
use jiff::Timestamp;
use model::{
    AccountName, Address, ContainerName, Digest, DrivePassword, DriveRole, DriveSerial, JobName,
    ObjectKey, ObjectKind, Package,
};
use seed::{Inventory, Manifest, ManifestHeader, Object, ParityOf, SigningKey};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use store::Store;
use wire::{
    DriveEvent, DriveRequest, DriveStatus, Job, JobPatch, JobRequest, JobState, ReceiveRequest,
    SeedId, SeedRef,
};

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

pub(crate) fn container() -> ContainerName {
    "seeds".parse().unwrap()
}

/// A repository and the seed that carries it.
pub(crate) struct Sample {
    pub(crate) signer: SigningKey,
    pub(crate) seed: SeedId,
    pub(crate) repository: Digest,
    /// In the order of publication.
    pub(crate) objects: Vec<(Object, Vec<u8>)>,
}

impl Sample {
    pub(crate) fn new(tag: &str, packs: usize) -> Self {
        let config = format!("config of {tag}").into_bytes();
        let repository = hash(&config);
        let mut objects = vec![object(ObjectKind::Config, config)];
        objects.push(object(ObjectKind::Key, format!("key of {tag}").into_bytes()));
        for n in 0..packs {
            let bytes = format!("pack {n} of {tag} ").repeat(50 + n).into_bytes();
            objects.push(object(ObjectKind::Pack, bytes));
        }
        for n in 0..2 {
            objects.push(object(ObjectKind::Index, format!("index {n} of {tag}").into_bytes()));
            objects
                .push(object(ObjectKind::Snapshot, format!("snapshot {n} of {tag}").into_bytes()));
        }
        objects.sort();
        let mut seed = [0; 16];
        seed.copy_from_slice(&Sha256::digest(tag)[..16]);
        Self { signer: SigningKey::from_bytes(&[7; 32]), seed: SeedId(seed), repository, objects }
    }

    pub(crate) fn list(&self) -> Vec<Object> {
        self.objects.iter().map(|(object, _)| *object).collect()
    }

    pub(crate) fn manifest(
        &self,
        serial: &str,
        set: u32,
        drive: u32,
        objects: &[Object],
    ) -> Vec<u8> {
        self.manifest_of((serial, set, drive), objects, None)
    }

    pub(crate) fn manifest_of(
        &self,
        (serial, set, drive): (&str, u32, u32),
        objects: &[Object],
        parity: Option<ParityOf>,
    ) -> Vec<u8> {
        let header = ManifestHeader {
            seed: self.seed,
            set,
            drive,
            serial: serial.parse().unwrap(),
            sealed: Timestamp::UNIX_EPOCH,
            label: hash(b"label"),
            extents: hash(b"extents"),
            inventory: None,
            parity,
            repositories: vec![self.repository],
        };
        Manifest { header, objects: objects.to_vec() }.encode(&self.signer).unwrap()
    }

    pub(crate) fn inventory(&self) -> Vec<u8> {
        let inventory = Inventory {
            seed: self.seed,
            created: Timestamp::UNIX_EPOCH,
            repositories: vec![self.repository],
            objects: self.list(),
            parts: Vec::new(),
        };
        inventory.encode(&self.signer).unwrap()
    }

    /// Objects dealt out to that many drives.
    pub(crate) fn dealt(&self, drives: usize) -> Vec<Vec<Object>> {
        let mut hands = vec![Vec::new(); drives];
        for (n, object) in self.list().into_iter().enumerate() {
            hands[n % drives].push(object);
        }
        hands
    }
}

pub(crate) fn object(kind: ObjectKind, bytes: Vec<u8>) -> (Object, Vec<u8>) {
    let object = Object { repository: 0, kind, name: hash(&bytes), length: bytes.len() as u64 };
    (object, bytes)
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

pub(crate) fn patch_to_ship(number: &str) -> JobPatch {
    JobPatch {
        return_address: Some(address()),
        delivery_package: Some(package(number)),
        state: Some(JobState::Shipping),
        ..JobPatch::default()
    }
}

/// One import job and everybody who handles it.
pub(crate) struct Journey<'a> {
    pub(crate) sample: &'a Sample,
    pub(crate) agent: Client,
    pub(crate) dock: Client,
    pub(crate) account: AccountName,
    pub(crate) job: JobName,
    pub(crate) set: u32,
    pub(crate) sets: Option<u32>,
    /// Whether the drives are encrypted.
    pub(crate) locked: bool,
    /// Whether the last drive is for parity of the others.
    pub(crate) parity: bool,
    /// Serial and what is on it.
    pub(crate) drives: Vec<(DriveSerial, Vec<Object>)>,
}

impl<'a> Journey<'a> {
    pub(crate) fn new(site: &Site, sample: &'a Sample, job: &str, hands: &[Vec<Object>]) -> Self {
        let serial = |n: usize| format!("{}-{n}", job.to_uppercase()).parse().unwrap();
        Self {
            sample,
            agent: site.agent("vault1", "fs01"),
            dock: site.dock(),
            account: site.account("seedacct"),
            job: job.parse().unwrap(),
            set: 0,
            sets: None,
            locked: false,
            parity: false,
            drives: hands.iter().enumerate().map(|(n, hand)| (serial(n), hand.clone())).collect(),
        }
    }

    /// The same people after the server was started again.
    pub(crate) fn again(self, site: &Site) -> Self {
        Self { agent: site.again(&self.agent), dock: site.again(&self.dock), ..self }
    }

    pub(crate) fn manifest(&self, n: usize) -> Vec<u8> {
        let (serial, objects) = &self.drives[n];
        let covered = || (0..n).map(|other| hash(&self.manifest(other))).collect();
        let of = self.is_parity(n).then(|| ParityOf { index: 0, count: 1, drives: covered() });
        self.sample.manifest_of((serial.as_str(), self.set, n as u32), objects, of)
    }

    fn is_parity(&self, n: usize) -> bool {
        self.parity && n + 1 == self.drives.len()
    }

    /// The password of a drive, where it has one.
    pub(crate) fn password(&self, n: usize) -> DrivePassword {
        DrivePassword::from_bytes(&[n as u8 + 1; 16])
    }

    /// What the header area of a drive hashes to, where it has one.
    pub(crate) fn header(&self, n: usize) -> Digest {
        hash(format!("header of {}", self.drives[n].0).as_bytes())
    }

    pub(crate) fn request(&self) -> JobRequest {
        let drive_list = (0..self.drives.len())
            .map(|n| DriveRequest {
                role: if self.is_parity(n) { DriveRole::Parity } else { DriveRole::Data },
                drive_id: self.drives[n].0.clone(),
                manifest_hash: hash(&self.manifest(n)),
                bit_locker_key: self.locked.then(|| self.password(n)),
                drive_header_hash: self.locked.then(|| self.header(n)),
            })
            .collect();
        let credentials = self.agent.credentials();
        JobRequest {
            vault: credentials.vault.clone().unwrap(),
            server: credentials.server.clone().unwrap(),
            seed: SeedRef {
                id: self.sample.seed,
                set: self.set,
                sets: self.sets,
                signer: self.sample.signer.public(),
            },
            storage_account: self.account.clone(),
            container: container(),
            diagnostics: None,
            return_address: None,
            delivery_package: None,
            drive_list,
        }
    }

    pub(crate) fn create(&self) -> Job {
        let job = self.agent.create_job(&self.job, &self.request()).unwrap();
        for n in 0..self.drives.len() {
            let bytes = self.manifest(n);
            let (serial, _) = &self.drives[n];
            let length = bytes.len() as u64;
            self.agent.put_manifest(&self.job, serial, length, &mut bytes.as_slice()).unwrap();
        }
        job
    }

    pub(crate) fn ship(&self, number: &str) -> Job {
        self.agent.patch_job(&self.job, &patch_to_ship(number)).unwrap()
    }

    pub(crate) fn receive(&self, number: &str) -> Job {
        let request = ReceiveRequest { tracking_number: number.parse().unwrap(), drives: None };
        self.dock.receive(&request).unwrap()
    }

    pub(crate) fn event(&self, n: usize, event: &DriveEvent) -> DriveStatus {
        self.dock.drive_event(&self.job, &self.drives[n].0, event).unwrap()
    }

    /// The landing zone as the dock writes it.
    pub(crate) fn landing(&self) -> Arc<dyn Store> {
        let url = self.dock.landing_url(&self.account, &container(), &self.sample.repository);
        rest(&url, self.dock.credentials())
    }

    /// Copies what is on a drive, except `without`, and reports it.
    pub(crate) fn import(&self, n: usize, without: &[ObjectKey]) -> DriveStatus {
        self.event(n, &DriveEvent::Started);
        let landing = self.landing();
        let (_, objects) = &self.drives[n];
        for object in objects.iter().filter(|object| !without.contains(&object.key())) {
            let found = self.sample.objects.iter().find(|(other, _)| other == object);
            landing.put(&object.key(), &found.unwrap().1).unwrap();
        }
        self.event(n, &DriveEvent::Finished { bytes: 0, failures: vec![], rebuilt: None })
    }

    /// All the way to the storage account.
    pub(crate) fn travel(&self) {
        let number = format!("TRACK{}", self.job.as_str().replace(['-', '_'], ""));
        self.create();
        self.ship(&number);
        self.receive(&number);
        for n in 0..self.drives.len() {
            self.import(n, &[]);
        }
    }

    pub(crate) fn publish(&self) -> wire::Publication {
        let credentials = self.agent.credentials();
        let (vault, server) = (credentials.vault.as_ref(), credentials.server.as_ref());
        let request = wire::PublicationRequest { seed: Some(self.sample.seed), root: None };
        self.agent.publish(vault.unwrap(), server.unwrap(), &request).unwrap()
    }
}
