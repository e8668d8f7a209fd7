//! Export jobs: what may be asked for, what a dock may read, and when everything counts as written.

use crate::jobs::code;
use crate::sample::{Sample, hash, object, patch_to_ship};
use crate::site::{Site, own, raw, rest, vault_of};
use client::Client;
use jiff::Timestamp;
use model::{
    Digest, DrivePassword, DriveRole, DriveSerial, JobName, ObjectKey, ObjectKind, VaultName,
};
use seed::{Inventory, Manifest, ManifestHeader, Object, ParityOf, SigningKey};
use std::sync::Arc;
use store::Store;
use ureq::http::Method;
use wire::{
    Code, DriveEvent, DriveState, ExportJobRequest, ExportedDrive, Failure, Job, JobState,
    PublicationRequest, ReceiveRequest, SeedId,
};

/// A repository in a vault, who may export from it, and what an export needs beside it.
pub(crate) struct Scene {
    pub(crate) agent: Client,
    dock: Client,
    vault: Arc<dyn Store>,
    pub(crate) sample: Sample,
    /// The new index.
    index: (Object, Vec<u8>),
    dock_key: SigningKey,
    account: model::AccountName,
}

pub(crate) fn scene(site: &Site) -> Scene {
    let (agent, sample) = (site.agent("vault1", "fs01"), Sample::new("export", 6));
    let vault = vault_of(&agent);
    for (object, bytes) in &sample.objects {
        vault.put(&object.key(), bytes).unwrap();
    }
    Scene {
        dock: site.dock(),
        vault,
        index: object(ObjectKind::Index, b"an index of what is exported".to_vec()),
        dock_key: SigningKey::from_bytes(&[9; 32]),
        account: site.account("seedacct"),
        agent,
        sample,
    }
}

fn job() -> JobName {
    "export-1".parse().unwrap()
}

fn id() -> SeedId {
    SeedId([0xee; 16])
}

fn serial(name: &str) -> DriveSerial {
    name.parse().unwrap()
}

impl Scene {
    /// Config, keys, one snapshot, the first four packs, and the new index.
    fn chosen(&self) -> Vec<Object> {
        let mut packs = 0;
        let mut snapshots = 0;
        let mut objects: Vec<Object> = self.sample.list();
        objects.retain(|object| match object.kind {
            ObjectKind::Pack => {
                packs += 1;
                packs <= 4
            }
            ObjectKind::Snapshot => {
                snapshots += 1;
                snapshots <= 1
            }
            ObjectKind::Index => false,
            _ => true,
        });
        objects.push(self.index.0);
        objects.sort();
        objects
    }

    fn request(&self, objects: &[Object]) -> ExportJobRequest {
        let credentials = self.agent.credentials();
        ExportJobRequest {
            vault: credentials.vault.clone().unwrap(),
            server: credentials.server.clone().unwrap(),
            id: id(),
            signer: self.sample.signer.public(),
            root: seed::root(objects),
            set: 0,
            sets: 1,
            again: false,
            parity: 0,
            storage_account: self.account.clone(),
            return_address: None,
            delivery_package: None,
            others: Vec::new(),
        }
    }

    fn list(&self, objects: &[Object]) -> Vec<u8> {
        let repositories = vec![self.sample.repository];
        let created = Timestamp::UNIX_EPOCH;
        let objects = objects.to_vec();
        let list = Inventory { seed: id(), created, repositories, objects, parts: Vec::new() };
        list.encode(&self.sample.signer).unwrap()
    }

    fn put_list(&self, name: &JobName, objects: &[Object]) -> client::Result<()> {
        let bytes = self.list(objects);
        self.agent.put_inventory(name, bytes.len() as u64, &mut bytes.as_slice())
    }

    /// The job as a repository, to that caller.
    fn repository(&self, caller: &Client) -> Arc<dyn Store> {
        rest(&caller.export_url(&job()), caller.credentials())
    }

    /// What becomes of its list.
    pub(crate) fn try_create(&self) -> client::Result<()> {
        let objects = self.chosen();
        self.agent.create_export(&job(), &self.request(&objects)).unwrap();
        self.repository(&self.agent).put(&self.index.0.key(), &self.index.1).unwrap();
        self.put_list(&job(), &objects)
    }

    pub(crate) fn cancel(&self) {
        let cancel = wire::JobPatch { cancel_requested: Some(true), ..wire::JobPatch::default() };
        self.agent.patch_job(&job(), &cancel).unwrap();
    }

    pub(crate) fn create(&self) -> Vec<Object> {
        self.create_with(0)
    }

    fn create_with(&self, parity: u32) -> Vec<Object> {
        let objects = self.chosen();
        let request = ExportJobRequest { parity, ..self.request(&objects) };
        let created = self.agent.create_export(&job(), &request).unwrap();
        assert_eq!((created.state, created.job_type.as_str()), (JobState::Creating, "Export"));
        self.repository(&self.agent).put(&self.index.0.key(), &self.index.1).unwrap();
        self.put_list(&job(), &objects).unwrap();
        objects
    }

    fn receive(&self, drives: &[&str]) -> Job {
        let drives = Some(drives.iter().map(|name| serial(name)).collect());
        let request = ReceiveRequest { tracking_number: "TRACK1".parse().unwrap(), drives };
        self.dock.receive(&request).unwrap()
    }

    fn at_the_dock(&self, drives: &[&str]) -> Vec<Object> {
        let objects = self.create();
        self.agent.patch_job(&job(), &patch_to_ship("TRACK1")).unwrap();
        self.receive(drives);
        objects
    }

    fn event(&self, drive: &str, event: &DriveEvent) -> client::Result<wire::DriveStatus> {
        self.dock.drive_event(&job(), &serial(drive), event)
    }

    fn manifest(
        &self,
        (drive, number): (&str, u32),
        objects: &[Object],
        parity: Option<ParityOf>,
        key: &SigningKey,
    ) -> Vec<u8> {
        let header = ManifestHeader {
            seed: id(),
            set: 0,
            drive: number,
            serial: serial(drive),
            sealed: Timestamp::UNIX_EPOCH,
            label: hash(b"label"),
            extents: hash(b"extents"),
            inventory: None,
            parity,
            repositories: vec![self.sample.repository],
        };
        Manifest { header, objects: objects.to_vec() }.encode(key).unwrap()
    }

    fn told(&self, manifest: &[u8], drive: &str) -> ExportedDrive {
        ExportedDrive {
            manifest_hash: hash(manifest),
            role: DriveRole::Data,
            signer: self.dock_key.public(),
            bit_locker_key: Some(DrivePassword::from_bytes(&[5; 16])),
            drive_header_hash: Some(hash(drive.as_bytes())),
        }
    }

    fn put_manifest(&self, drive: &str, bytes: &[u8]) -> client::Result<()> {
        let (length, mut from) = (bytes.len() as u64, bytes);
        self.dock.put_manifest(&job(), &serial(drive), length, &mut from)
    }

    /// As a dock that writes that drive and hands it over.
    fn write(&self, drive: (&str, u32), objects: &[Object]) -> wire::DriveStatus {
        self.event(drive.0, &DriveEvent::Started).unwrap();
        let bytes = self.manifest(drive, objects, None, &self.dock_key);
        let told = self.told(&bytes, drive.0);
        self.dock.put_exported_drive(&job(), &serial(drive.0), &told).unwrap();
        self.put_manifest(drive.0, &bytes).unwrap();
        self.event(drive.0, &finished()).unwrap()
    }

    fn job(&self) -> Job {
        self.agent.job(&job()).unwrap()
    }
}

fn finished() -> DriveEvent {
    DriveEvent::Finished { bytes: 0, failures: Vec::new(), rebuilt: None }
}

fn failed() -> DriveEvent {
    let failures = vec![Failure { key: "drive".into(), reason: "it broke".into() }];
    DriveEvent::Finished { bytes: 0, failures, rebuilt: None }
}

#[test]
fn an_export_is_complete_when_its_drives_have_everything() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.at_the_dock(&["E1", "E2", "E3"]);
    let store = scene.repository(&scene.dock);
    // What the dock reads is the list and nothing else, and what it reads is what the vault has.
    assert_eq!(seed::freeze(&[store.as_ref()]).unwrap().objects, objects);
    for (object, bytes) in scene.sample.objects.iter().chain([&scene.index]) {
        let read = store.get(&object.key(), 1 << 20);
        match objects.contains(object) {
            true => assert_eq!(read.unwrap(), *bytes),
            false => assert!(read.is_err(), "{} is shown", object.key()),
        }
    }
    let (first, second) = objects.split_at(objects.len() / 2);
    assert_eq!(scene.write(("E1", 0), first).state, DriveState::Completed);
    let job = scene.job();
    assert_eq!(job.state, JobState::Transferring);
    assert!(!job.export.as_ref().unwrap().complete);
    assert_eq!(job.export.unwrap().writer, Some(scene.dock_key.public()));
    scene.write(("E2", 1), second);
    let job = scene.job();
    assert_eq!((job.state, job.percent_complete), (JobState::Packaging, 100));
    let export = job.export.unwrap();
    assert!(export.complete);
    assert_eq!((export.objects, export.snapshots.len()), (objects.len() as u64, 1));
    // The third is not needed.
    assert_eq!(code(scene.event("E3", &DriveEvent::Started)), Code::JobState);
    for drive in ["E1", "E2", "E3"] {
        scene.event(drive, &DriveEvent::Returned).unwrap();
    }
    assert_eq!(scene.job().state, JobState::Completed);
    // Their owner has the passwords, nobody else, and nothing more is shown to the dock.
    let keys = scene.agent.drive_keys(&super::exports::job()).unwrap();
    let drives: Vec<&str> = keys.iter().map(|key| key.drive_id.as_str()).collect();
    assert_eq!(drives, ["E1", "E2"]);
    assert_eq!(keys[0].bit_locker_key, DrivePassword::from_bytes(&[5; 16]));
    assert!(scene.dock.drive_keys(&super::exports::job()).is_err());
    assert!(store.get(&ObjectKey::Config, 1 << 20).is_err());
    // Its record goes when its owner wants it to: no receipt is waited for.
    site.admin().delete_job(&site.admin().job(&super::exports::job()).unwrap()).unwrap();
}

#[test]
fn what_is_not_in_the_vault_of_that_source_server_is_refused() {
    let site = Site::new();
    let scene = scene(&site);
    let other = site.agent("vault1", "fs02");
    let strange = object(ObjectKind::Pack, b"a pack of somebody else".to_vec());
    vault_of(&other).put(&strange.0.key(), &strange.1).unwrap();
    let try_list = |name: &str, objects: &[Object]| {
        let name: JobName = name.parse().unwrap();
        let mut request = scene.request(objects);
        request.id = SeedId(Digest(hash(name.as_str().as_bytes()).0).0[..16].try_into().unwrap());
        scene.agent.create_export(&name, &request).unwrap();
        let store = rest(&scene.agent.export_url(&name), scene.agent.credentials());
        store.put(&scene.index.0.key(), &scene.index.1).unwrap();
        let list = Inventory {
            seed: request.id,
            created: Timestamp::UNIX_EPOCH,
            repositories: vec![scene.sample.repository],
            objects: objects.to_vec(),
            parts: Vec::new(),
        };
        let bytes = list.encode(&scene.sample.signer).unwrap();
        scene.agent.put_inventory(&name, bytes.len() as u64, &mut bytes.as_slice())
    };
    try_list("good", &scene.chosen()).unwrap();
    let with = |extra: Object| {
        let mut objects = scene.chosen();
        objects.push(extra);
        objects.sort();
        objects
    };
    let without = |kind: ObjectKind| {
        let mut objects = scene.chosen();
        objects.retain(|object| object.kind != kind);
        objects
    };
    let longer = {
        let mut objects = scene.chosen();
        let pack = objects.iter_mut().find(|object| object.kind == ObjectKind::Pack).unwrap();
        pack.length += 1;
        objects
    };
    let unbrought = object(ObjectKind::Index, b"an index that did not come".to_vec()).0;
    for (name, objects) in [
        ("other-server", with(strange.0)),
        ("unknown", with(object(ObjectKind::Pack, b"no such pack".to_vec()).0)),
        ("unknown-snapshot", with(object(ObjectKind::Snapshot, b"none".to_vec()).0)),
        ("unbrought", with(unbrought)),
        ("longer", longer),
        ("no-config", without(ObjectKind::Config)),
        ("no-keys", without(ObjectKind::Key)),
        ("no-index", without(ObjectKind::Index)),
        ("no-snapshot", without(ObjectKind::Snapshot)),
    ] {
        assert_eq!(code(try_list(name, &objects)), Code::ManifestRefused, "{name}");
        let name: JobName = name.parse().unwrap();
        assert!(!scene.agent.job(&name).unwrap().inventory_received);
        // And so it does not ship.
        assert_eq!(code(scene.agent.patch_job(&name, &patch_to_ship("TRACK9"))), Code::JobState);
    }
}

#[test]
fn an_export_is_its_owners_and_stays_what_it_was() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.chosen();
    let request = scene.request(&objects);
    let other = site.agent("vault1", "fs02");
    assert_eq!(code(other.create_export(&job(), &request)), Code::AuthorizationFailed);
    scene.create();
    assert_eq!(code(other.job(&job())), Code::ResourceNotFound);
    let as_other = ExportJobRequest { server: "fs02".parse().unwrap(), ..request.clone() };
    assert_eq!(code(other.create_export(&job(), &as_other)), Code::AlreadyExists);
    // The same again is the same; something else under its name or its id is not.
    scene.agent.create_export(&job(), &request).unwrap();
    let changed = ExportJobRequest { root: hash(b"else"), ..request.clone() };
    assert_eq!(code(scene.agent.create_export(&job(), &changed)), Code::AlreadyExists);
    let twin: JobName = "export-2".parse().unwrap();
    assert_eq!(code(scene.agent.create_export(&twin, &request)), Code::AlreadyExists);
    // A list of something else than the job names, or that somebody else has signed.
    let mut less = objects.clone();
    less.pop();
    assert_eq!(code(scene.put_list(&job(), &less)), Code::ManifestRefused);
    // Only indexes come with it, and only in Creating.
    let brought = scene.repository(&scene.agent);
    let pack = object(ObjectKind::Pack, b"a pack".to_vec());
    assert!(brought.put(&pack.0.key(), &pack.1).is_err());
    assert!(scene.repository(&other).put(&scene.index.0.key(), &scene.index.1).is_err());
    scene.agent.patch_job(&job(), &patch_to_ship("TRACK1")).unwrap();
    let late = object(ObjectKind::Index, b"another index".to_vec());
    assert!(brought.put(&late.0.key(), &late.1).is_err());
    assert!(scene.repository(&other).put(&scene.index.0.key(), &scene.index.1).is_err());
    assert_eq!(code(scene.put_list(&job(), &objects)), Code::JobState);
    // Nothing is read before the drives are at the dock.
    assert!(scene.repository(&scene.dock).get(&ObjectKey::Config, 1 << 20).is_err());
    // It is no seed: nothing is published for it, and it is not the newest one.
    let (vault, server) = (request.vault.clone(), request.server.clone());
    let ask = PublicationRequest { seed: Some(id()), root: None };
    assert_eq!(code(scene.agent.publish(&vault, &server, &ask)), Code::ResourceNotFound);
    let ask = PublicationRequest { seed: None, root: None };
    assert_eq!(code(scene.agent.publish(&vault, &server, &ask)), Code::ResourceNotFound);
    // An empty parcel needs a word about its drives.
    let request = ReceiveRequest { tracking_number: "TRACK1".parse().unwrap(), drives: None };
    assert_eq!(code(scene.dock.receive(&request)), Code::InvalidRequest);
}

#[test]
fn so_many_exports_are_open_at_once_and_no_more() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.chosen();
    let create = |n: u8| {
        let request = ExportJobRequest { id: SeedId([n; 16]), ..scene.request(&objects) };
        scene.agent.create_export(&format!("export-{n}").parse().unwrap(), &request)
    };
    for n in 0..16 {
        create(n).unwrap();
    }
    assert_eq!(code(create(16)), Code::JobState);
    let cancel = wire::JobPatch { cancel_requested: Some(true), ..wire::JobPatch::default() };
    scene.agent.patch_job(&"export-3".parse().unwrap(), &cancel).unwrap();
    create(16).unwrap();
}

#[test]
fn of_jobs_that_belong_together_none_is_made_where_one_cannot_be() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.chosen();
    let name = |n: u8| format!("export-{n}").parse::<model::JobName>().unwrap();
    let create = |n: u8, others: &[u8]| {
        let others = others.iter().map(|n| name(*n)).collect();
        let request = ExportJobRequest { id: SeedId([n; 16]), others, ..scene.request(&objects) };
        scene.agent.create_export(&name(n), &request)
    };
    create(3, &[]).unwrap();
    let refused = create(1, &[2, 3]).unwrap_err();
    assert!(refused.to_string().contains("export-3"), "{refused}");
    assert_eq!(refused.code(), Some(&Code::AlreadyExists));
    let too_many: Vec<u8> = (10..25).collect();
    assert_eq!(code(create(1, &too_many)), Code::JobState, "one is open, and these would be 16");
    assert!(scene.agent.job(&name(1)).is_err());
    create(1, &[2, 4]).unwrap();
    // Said again, the others are there by now.
    create(2, &[]).unwrap();
    create(1, &[2, 4]).unwrap();
}

#[test]
fn a_list_that_is_too_long_is_refused_before_it_is_looked_at() {
    let site = Site::with(|config| config.object_limit = 1 << 10);
    let scene = scene(&site);
    let mut objects = scene.chosen();
    for n in 0..40_u8 {
        objects.push(object(ObjectKind::Pack, vec![n; 9]).0);
    }
    objects.sort();
    scene.agent.create_export(&job(), &scene.request(&objects)).unwrap();
    assert_eq!(code(scene.put_list(&job(), &objects)), Code::BodyTooLarge);
}

#[test]
fn drives_have_one_writer_and_carry_what_was_asked_for() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.at_the_dock(&["E1", "E2"]);
    let good = scene.manifest(("E1", 0), &objects, None, &scene.dock_key);
    let told = scene.told(&good, "E1");
    let put = |drive: &str, told: &ExportedDrive| {
        scene.dock.put_exported_drive(&job(), &serial(drive), told)
    };
    assert_eq!(code(put("E1", &told)), Code::JobState, "it was not started");
    scene.event("E1", &DriveEvent::Started).unwrap();
    assert_eq!(code(put("X9", &told)), Code::DriveNotInJob);
    let half = ExportedDrive { drive_header_hash: None, ..told.clone() };
    assert_eq!(code(put("E1", &half)), Code::InvalidRequest);
    // No manifest, no end.
    put("E1", &told).unwrap();
    assert_eq!(code(scene.event("E1", &finished())), Code::ResourceNotFound);
    assert_eq!(code(scene.put_manifest("E1", b"something else")), Code::ManifestHashMismatch);
    // One that the key holder has signed, or another dock.
    let by_owner = scene.manifest(("E1", 0), &objects, None, &scene.sample.signer);
    put("E1", &scene.told(&by_owner, "E1")).unwrap();
    assert_eq!(code(scene.put_manifest("E1", &by_owner)), Code::ManifestRefused);
    let another = ExportedDrive { signer: scene.sample.signer.public(), ..told.clone() };
    assert_eq!(code(put("E1", &another)), Code::AlreadyExists);
    // Something that nobody asked for.
    let mut more = objects.clone();
    more.push(scene.sample.list().into_iter().find(|it| !objects.contains(it)).unwrap());
    more.sort();
    let more = scene.manifest(("E1", 0), &more, None, &scene.dock_key);
    put("E1", &scene.told(&more, "E1")).unwrap();
    assert_eq!(code(scene.put_manifest("E1", &more)), Code::ManifestRefused);
    // Source servers hand over no manifest of an export.
    put("E1", &told).unwrap();
    let mut from = good.as_slice();
    let refused = scene.agent.put_manifest(&job(), &serial("E1"), good.len() as u64, &mut from);
    assert_eq!(code(refused), Code::AuthorizationFailed);
    scene.put_manifest("E1", &good).unwrap();
    assert_eq!(scene.event("E1", &finished()).unwrap().state, DriveState::Completed);
    // The same is said again after a lost answer.
    put("E1", &told).unwrap();
    scene.event("E1", &finished()).unwrap();
    assert!(scene.job().export.unwrap().complete);
}

#[test]
fn a_drive_that_breaks_is_replaced_by_one_that_was_in_no_package() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.create_with(1);
    scene.agent.patch_job(&job(), &patch_to_ship("TRACK1")).unwrap();
    scene.receive(&["E1"]);
    scene.event("E1", &DriveEvent::Started).unwrap();
    let status = scene.event("E1", &failed()).unwrap();
    assert_eq!((status.state, status.failure_count), (DriveState::CompletedMoreInfo, 1));
    assert_eq!(scene.job().state, JobState::Packaging);
    scene.event("E2", &DriveEvent::Came).unwrap();
    scene.write(("E2", 0), &objects);
    assert!(!scene.job().export.unwrap().complete, "parity is asked for, too");
    scene.event("E3", &DriveEvent::Came).unwrap();
    scene.event("E3", &DriveEvent::Started).unwrap();
    let data = scene.manifest(("E2", 0), &objects, None, &scene.dock_key);
    let of = ParityOf { index: 0, count: 1, drives: vec![hash(&data)] };
    let parity = scene.manifest(("E3", 1), &[], Some(of), &scene.dock_key);
    let told = ExportedDrive { role: DriveRole::Parity, ..scene.told(&parity, "E3") };
    scene.dock.put_exported_drive(&job(), &serial("E3"), &told).unwrap();
    scene.put_manifest("E3", &parity).unwrap();
    scene.event("E3", &finished()).unwrap();
    let job = scene.job();
    assert!(job.export.unwrap().complete);
    let roles: Vec<DriveRole> = job.drive_list.iter().map(|drive| drive.role).collect();
    assert_eq!(roles, [DriveRole::Data, DriveRole::Data, DriveRole::Parity]);
    for drive in ["E1", "E2", "E3"] {
        scene.event(drive, &DriveEvent::Returned).unwrap();
    }
    assert_eq!(scene.job().state, JobState::Completed);
}

#[test]
fn nothing_of_a_vault_can_be_removed_while_it_is_exported_and_what_rots_is_seen() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.at_the_dock(&["E1"]);
    let pack = objects.iter().find(|object| object.kind == ObjectKind::Pack).unwrap();
    assert!(scene.vault.remove(&pack.key()).is_err());
    // Lost behind the server's back: the dock is told so, and nothing else.
    let place: VaultName = "vault1".parse().unwrap();
    let file = site.objects().join(format!("vaults/{place}/fs01/repository/{}", pack.key()));
    std::fs::remove_file(file).unwrap();
    let store = scene.repository(&scene.dock);
    assert!(matches!(store.get(&pack.key(), 1 << 20), Err(store::Error::NotFound { .. })));
}

#[test]
fn azures_clients_see_an_export_job() {
    let site = Site::new();
    let scene = scene(&site);
    scene.at_the_dock(&["E1"]);
    let admin = site.admin();
    let seen = admin.job(&job()).unwrap();
    let path = format!("{}?api-version=2021-01-01", seen.id);
    let answer = raw(admin.credentials(), own(&admin), &Method::GET, &path, &[], b"");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let details = &body["properties"];
    assert_eq!((&details["jobType"], &details["state"]), (&"Export".into(), &"Received".into()));
    assert_eq!(details["driveList"][0]["driveId"], "E1");
    let path = details["export"]["blobList"]["blobPath"][0].as_str().unwrap();
    assert!(path.starts_with("/vault1/fs01/snapshots/"), "{path}");
}

/// Two jobs that bring one list together, as far as their lists are taken.
#[test]
fn jobs_that_bring_a_list_together_have_one_id_and_each_its_part() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.chosen();
    let packs: Vec<Digest> =
        objects.iter().filter(|it| it.kind == ObjectKind::Pack).map(|it| it.name).collect();
    let names: Vec<JobName> = ["export-1", "export-2"].map(|name| name.parse().unwrap()).into();
    let request = |set| ExportJobRequest { set, sets: 2, ..scene.request(&objects) };
    let (first, second) = (request(0), request(1));
    scene.agent.create_export(&names[0], &first).unwrap();
    // The same part again, another list under the id, a part more than there are, and one job of one.
    let third: JobName = "export-3".parse().unwrap();
    let refused = |request: &ExportJobRequest| code(scene.agent.create_export(&third, request));
    refused(&first);
    let other = ExportJobRequest { root: hash(b"another list"), ..second.clone() };
    assert_eq!(refused(&other), Code::AlreadyExists);
    let alone = ExportJobRequest { set: 0, sets: 1, ..second.clone() };
    assert_eq!(refused(&alone), Code::AlreadyExists);
    assert_eq!(refused(&ExportJobRequest { set: 2, ..second.clone() }), Code::InvalidRequest);
    scene.agent.create_export(&names[1], &second).unwrap();
    for name in &names {
        let store = rest(&scene.agent.export_url(name), scene.agent.credentials());
        store.put(&scene.index.0.key(), &scene.index.1).unwrap();
    }
    let put = |name: &JobName, parts: &[(&JobName, Option<Digest>)]| {
        let parts =
            parts.iter().map(|(job, from)| wire::ExportPart { job: (*job).clone(), from: *from });
        let list = Inventory {
            seed: id(),
            created: Timestamp::UNIX_EPOCH,
            repositories: vec![scene.sample.repository],
            objects: objects.clone(),
            parts: parts.collect(),
        };
        let bytes = list.encode(&scene.sample.signer).unwrap();
        scene.agent.put_inventory(name, bytes.len() as u64, &mut bytes.as_slice())
    };
    let from = Some(packs[3]);
    let right = [(&names[0], None), (&names[1], from)];
    for wrong in [
        vec![],
        vec![(&names[1], None), (&names[0], from)],
        vec![(&names[0], None), (&third, from)],
    ] {
        assert_eq!(code(put(&names[1], &wrong)), Code::ManifestRefused);
    }
    for name in &names {
        put(name, &right).unwrap();
    }
    let export = |name: &JobName| scene.agent.job(name).unwrap().export.unwrap();
    let (one, rest) = (export(&names[0]), export(&names[1]));
    assert_eq!((one.objects, rest.objects), (objects.len() as u64 - 1, 1));
    assert_eq!((one.root, rest.whole.as_ref().unwrap().set), (rest.root, 1));
    // The second one is written by itself, and is complete by itself; nothing of the other may be on its drives.
    scene.agent.patch_job(&names[1], &patch_to_ship("TRACK1")).unwrap();
    scene.receive(&["E1"]);
    let event = |event: &DriveEvent| scene.dock.drive_event(&names[1], &serial("E1"), event);
    event(&DriveEvent::Started).unwrap();
    let write = |objects: &[Object]| {
        let header = ManifestHeader {
            seed: id(),
            set: 1,
            drive: 0,
            serial: serial("E1"),
            sealed: Timestamp::UNIX_EPOCH,
            label: hash(b"label"),
            extents: hash(b"extents"),
            inventory: None,
            parity: None,
            repositories: vec![scene.sample.repository],
        };
        let bytes = Manifest { header, objects: objects.to_vec() }.encode(&scene.dock_key).unwrap();
        let told = scene.told(&bytes, "E1");
        scene.dock.put_exported_drive(&names[1], &serial("E1"), &told).unwrap();
        let length = bytes.len() as u64;
        scene.dock.put_manifest(&names[1], &serial("E1"), length, &mut bytes.as_slice())
    };
    assert_eq!(code(write(&objects)), Code::ManifestRefused);
    let own: Vec<Object> = objects
        .iter()
        .filter(|it| it.kind == ObjectKind::Pack && it.name >= packs[3])
        .copied()
        .collect();
    write(&own).unwrap();
    event(&finished()).unwrap();
    assert!(export(&names[1]).complete && !export(&names[0]).complete);
    // Whose drives have one signer.
    assert_eq!(export(&names[0]).writer, Some(scene.dock_key.public()));
}

/// What did not arrive is asked for by a further job of the same export, and read by its owner.
#[test]
fn what_did_not_arrive_is_a_further_set_of_the_same_export_and_its_owner_reads_it() {
    let site = Site::new();
    let scene = scene(&site);
    let objects = scene.at_the_dock(&["E1"]);
    let again: JobName = "export-again".parse().unwrap();
    let wanted: Vec<Object> = objects
        .iter()
        .filter(|it| matches!(it.kind, ObjectKind::Config | ObjectKind::Index))
        .copied()
        .collect();
    let root = seed::root(&wanted);
    let request = ExportJobRequest { again: true, set: 1, root, ..scene.request(&objects) };
    let create = |request: &ExportJobRequest| scene.agent.create_export(&again, request);
    // Nothing was written yet.
    assert_eq!(code(create(&request)), Code::JobState);
    scene.write(("E1", 0), &objects);
    for wrong in [
        ExportJobRequest { set: 0, ..request.clone() },
        ExportJobRequest { set: 256, ..request.clone() },
        ExportJobRequest { again: false, ..request.clone() },
    ] {
        assert_eq!(code(create(&wrong)), Code::InvalidRequest);
    }
    for wrong in [
        ExportJobRequest { id: SeedId([1; 16]), ..request.clone() },
        ExportJobRequest { signer: scene.dock_key.public(), ..request.clone() },
    ] {
        assert_eq!(code(create(&wrong)), Code::JobState);
    }
    create(&request).unwrap();
    let job = create(&request).unwrap();
    assert!(job.export.is_some_and(|it| it.again && it.writer == Some(scene.dock_key.public())));
    // No other job is that set, and its name is not for something else.
    let third: JobName = "export-third".parse().unwrap();
    assert_eq!(code(scene.agent.create_export(&third, &request)), Code::AlreadyExists);
    let other = ExportJobRequest { root: hash(b"else"), ..request.clone() };
    assert_eq!(code(create(&other)), Code::AlreadyExists);
    // Its index files came with the one before, and come with it, too.
    assert_eq!(code(scene.put_list(&again, &wanted)), Code::ManifestRefused);
    let own = rest(&scene.agent.export_url(&again), scene.agent.credentials());
    own.put(&scene.index.0.key(), &scene.index.1).unwrap();
    assert_eq!(code(scene.put_list(&again, &objects)), Code::ManifestRefused, "another root");
    scene.put_list(&again, &wanted).unwrap();
    let status = scene.agent.job(&again).unwrap().export.unwrap();
    assert_eq!((status.objects, status.complete), (2, false));
    // Its owner reads either, and nothing but what is listed; a dock only what lies there.
    let before = scene.repository(&scene.agent);
    for (object, bytes) in scene.sample.objects.iter().chain([&scene.index]) {
        for (store, list) in [(&before, &objects), (&own, &wanted)] {
            let read = store.get(&object.key(), 1 << 20);
            match list.contains(object) {
                true => assert_eq!(read.unwrap(), *bytes),
                false => assert!(read.is_err(), "{} is shown", object.key()),
            }
        }
    }
    let dock = rest(&scene.dock.export_url(&again), scene.dock.credentials());
    assert!(dock.length(&ObjectKey::Config).is_err());
    let stranger = site.agent("vault1", "fs02");
    let theirs = rest(&stranger.export_url(&again), stranger.credentials());
    assert!(theirs.length(&ObjectKey::Config).is_err());
    let asked = stranger.create_export(&third, &ExportJobRequest { set: 2, ..request });
    assert_eq!(code(asked), Code::AuthorizationFailed);
    // It is written by itself, and complete with what it lists.
    scene.agent.patch_job(&again, &patch_to_ship("TRACK2")).unwrap();
    let drives = Some(vec![serial("E2")]);
    let receive = ReceiveRequest { tracking_number: "TRACK2".parse().unwrap(), drives };
    scene.dock.receive(&receive).unwrap();
    let event = |event: &DriveEvent| scene.dock.drive_event(&again, &serial("E2"), event);
    event(&DriveEvent::Started).unwrap();
    let bytes = {
        let header = ManifestHeader {
            seed: id(),
            set: 1,
            drive: 0,
            serial: serial("E2"),
            sealed: Timestamp::UNIX_EPOCH,
            label: hash(b"label"),
            extents: hash(b"extents"),
            inventory: None,
            parity: None,
            repositories: vec![scene.sample.repository],
        };
        Manifest { header, objects: wanted }.encode(&scene.dock_key).unwrap()
    };
    let told = scene.told(&bytes, "E2");
    scene.dock.put_exported_drive(&again, &serial("E2"), &told).unwrap();
    let length = bytes.len() as u64;
    scene.dock.put_manifest(&again, &serial("E2"), length, &mut bytes.as_slice()).unwrap();
    event(&finished()).unwrap();
    let job = scene.agent.job(&again).unwrap();
    assert!(job.state == JobState::Packaging && job.export.unwrap().complete);
}
