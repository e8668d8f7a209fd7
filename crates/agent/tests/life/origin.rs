//! The repository and its recovery kit from the day on which a server is registered: whatever place comes first has just that one.

use crate::journey::files;
use crate::site::{PASSWORD, Site};
use agent::{BackupReport, Error, Event, Kit, NewGroup, NewInitial, OwnError};
use flow::SeedState;
use jiff::Timestamp;
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use sha2::Digest as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use store::{Folder, Store};

const NEW: &[u8] = b"eine ganz neue Passphrase";

fn origin(site: &Site) -> PathBuf {
    site.state().join("origin")
}

/// As a registration makes it.
fn kit(site: &Site) -> Kit {
    assert!(agent::begin_repository(&site.ctx(), PASSWORD).unwrap());
    assert!(!agent::begin_repository(&site.ctx(), PASSWORD).unwrap(), "made once");
    let kit = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    agent::handed_over(&site.ctx(), &kit).unwrap();
    assert!(agent::has_kit(site.state()).unwrap());
    kit
}

fn opens(folder: &Path, password: &[u8]) -> bool {
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder));
    let opened = repo::Repository::open(store, password, repo::Author::default()).is_ok();
    if Command::new("restic").arg("version").output().is_ok() {
        let mut restic = Command::new("restic");
        restic.args(["--no-cache", "--no-lock", "-r"]).arg(folder).arg("snapshots");
        restic.env("RESTIC_PASSWORD", std::str::from_utf8(password).unwrap());
        assert_eq!(restic.output().unwrap().status.success(), opened, "restic agrees");
    }
    opened
}

fn identity(folder: &Path) -> Digest {
    Digest(sha2::Sha256::digest(fs::read(folder.join("config")).unwrap()).into())
}

fn network(site: &Site) -> NewGroup {
    NewGroup { initial: NewInitial::Network, ..site.group("files") }
}

fn init_elsewhere(folder: &Path, password: &[u8]) -> Digest {
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder));
    let (weak, author) = (repo::KdfParams::WEAK, repo::Author::default());
    repo::Repository::init(store, password, weak, author, Timestamp::now()).unwrap().identity()
}

#[test]
fn a_kit_of_the_first_day_opens_staging_the_drives_and_the_vault() {
    let site = Site::new();
    let kit = kit(&site);
    let secret = kit.secret();
    assert!(opens(&origin(&site), secret.as_bytes()));
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    assert!(matches!(site.backup().unwrap(), BackupReport::Staged { .. }));
    let staging = site.path("staging");
    assert_eq!(identity(&staging), kit.repository);
    assert!(opens(&staging, secret.as_bytes()) && opens(&staging, PASSWORD));
    assert!(site.prepare(&site.drives(2)).unwrap().needed.is_none());
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
    let vault = site.vault_folder();
    assert_eq!(identity(&vault), kit.repository);
    assert!(opens(&vault, secret.as_bytes()));
    assert!(!origin(&site).exists(), "the vault has it");
    assert!(agent::status(&site.ctx()).unwrap().keys.kit.is_some());
}

#[test]
fn the_same_over_the_network_whenever_the_first_backup_dies() {
    let site = Site::new();
    let kit = kit(&site);
    agent::create_group(&site.ctx(), &network(&site)).unwrap();
    // Its keys have arrived, its config has not: as a death in between leaves it.
    let from = Folder::new(origin(&site));
    let to = crate::site::rest(
        &site.agent().repository_url(&"vault1".parse().unwrap(), &"fs01".parse().unwrap()),
        site.agent().credentials(),
    );
    to.create().unwrap();
    for listed in from.list(ObjectKind::Key).unwrap() {
        to.put(&listed.key, &from.get(&listed.key, 1 << 20).unwrap()).unwrap();
    }
    let wrong = agent::backup_now(&site.ctx(), &files(), NEW).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongPassword, "the passphrase was chosen: {wrong}");
    assert!(to.length(&ObjectKey::Config).is_err());
    // Dies when it is there, and before that is noted.
    let dies = |event: Event<'_>| assert!(!matches!(event, Event::Backup(_)), "dies");
    let died = AssertUnwindSafe(|| agent::backup_now(&site.hearing(&dies), &files(), PASSWORD));
    assert!(catch_unwind(died).is_err());
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
    let vault = site.vault_folder();
    assert_eq!(identity(&vault), kit.repository);
    assert!(opens(&vault, kit.secret().as_bytes()) && opens(&vault, PASSWORD));
    let keys = Folder::new(&vault).list(ObjectKind::Key).unwrap();
    assert_eq!(keys.len(), 2, "none of another making");
    assert!(!origin(&site).exists());
    site.backup().unwrap();
    assert!(!agent::status(&site.ctx()).unwrap().keys.waits, "the vault has the kit's key");
}

#[test]
fn staging_that_was_half_made_goes_on_with_the_one_that_there_is() {
    let site = Site::new();
    let kit = kit(&site);
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    let lost = site.path("lost");
    init_elsewhere(&lost, PASSWORD);
    fs::remove_file(lost.join("config")).unwrap();
    let staging = site.path("staging");
    fs::create_dir_all(staging.join("keys")).unwrap();
    for file in fs::read_dir(lost.join("keys")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), staging.join("keys").join(file.file_name())).unwrap();
    }
    assert!(matches!(site.backup().unwrap(), BackupReport::Staged { .. }));
    assert_eq!(identity(&staging), kit.repository);
    assert_eq!(Folder::new(&staging).list(ObjectKind::Key).unwrap().len(), 2);
    let wrong = agent::begin_repository(&site.ctx(), NEW).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongPassword, "{wrong}");
}

#[test]
fn a_passphrase_that_is_changed_before_the_first_backup_is_the_one_it_has() {
    let site = Site::new();
    let kit = kit(&site);
    agent::change_passphrase(&site.ctx(), PASSWORD, NEW).unwrap();
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    let old = site.backup().unwrap_err();
    assert_eq!(old.kind(), ErrorKind::WrongPassword, "{old}");
    agent::backup_now(&site.ctx(), &files(), NEW).unwrap();
    let staging = site.path("staging");
    assert!(opens(&staging, NEW) && opens(&staging, kit.secret().as_bytes()));
    assert!(!opens(&staging, PASSWORD));
}

#[test]
fn a_repository_that_was_there_already_goes_on_and_the_kit_that_fits_nothing_is_said_to_be_void() {
    let site = Site::new();
    kit(&site);
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    let theirs = init_elsewhere(&site.path("staging"), b"theirs");
    let said = Mutex::new(0);
    let hears = |event: Event<'_>| {
        if matches!(event, Event::KitVoid) {
            *said.lock().unwrap() += 1;
        }
    };
    agent::backup_now(&site.hearing(&hears), &files(), b"theirs").unwrap();
    assert_eq!(*said.lock().unwrap(), 1);
    let record = site.seed().record;
    assert_eq!(record.repository, Some(theirs));
    let keys = agent::status(&site.ctx()).unwrap().keys;
    assert_eq!(keys.kit, None, "what opens nothing is no kit");
    assert!(!keys.waits && !origin(&site).exists());
    let next = agent::recovery_kit(&site.ctx(), b"theirs").unwrap();
    assert_eq!(next.repository, theirs);
}

#[test]
fn a_repository_that_cannot_be_reached_is_none_to_begin_anew() {
    // As one that was registered before there were kits on the first day.
    let site = Site::with_group();
    site.backup().unwrap();
    let staging = site.path("staging");
    fs::rename(&staging, site.path("unmounted")).unwrap();
    let none = agent::begin_repository(&site.ctx(), PASSWORD).unwrap_err();
    assert!(matches!(none, Error::Own(OwnError::NoRepositoryYet)), "{none}");
    fs::rename(site.path("unmounted"), &staging).unwrap();
    assert!(!agent::begin_repository(&site.ctx(), PASSWORD).unwrap(), "staging has it");
    assert!(!origin(&site).exists());
    assert_eq!(site.seed().record.state(), SeedState::Staged);
}

#[test]
fn a_making_that_was_interrupted_before_goes_on_as_that_one() {
    let site = Site::new();
    let halfway = init_elsewhere(&site.state().join("init"), PASSWORD);
    assert!(agent::begin_repository(&site.ctx(), PASSWORD).unwrap());
    assert_eq!(identity(&origin(&site)), halfway);
    let short = Site::new();
    let refused = agent::begin_repository(&short.ctx(), b"fifteen letters").unwrap_err();
    assert!(matches!(refused, Error::Own(OwnError::ShortPassphrase { characters: 15 })));
}

#[test]
fn groups_whose_first_backups_begin_together_have_one_repository() {
    let site = Site::new();
    for name in ["files", "more"] {
        let group = NewGroup { initial: NewInitial::Network, ..site.group(name) };
        agent::create_group(&site.ctx(), &group).unwrap();
    }
    // The other one is making it, and has made it when this one's turn comes.
    let mut options = fs::OpenOptions::new();
    let options = options.create(true).truncate(false).write(true);
    let lock = options.open(site.state().join("init.lock")).unwrap();
    lock.lock().unwrap();
    let held = Mutex::new(Some(lock));
    let hear = |event: Event<'_>| {
        let waits = matches!(event, Event::Step(words) if words.contains("waited for"));
        if waits && let Some(lock) = held.lock().unwrap().take() {
            drop(lock);
            agent::backup_now(&site.ctx(), &"more".parse().unwrap(), PASSWORD).unwrap();
        }
    };
    let report = agent::backup_now(&site.hearing(&hear), &files(), PASSWORD).unwrap();
    assert!(matches!(report, BackupReport::Stored { .. }), "{report:?}");
    assert!(held.lock().unwrap().is_none(), "it has not waited");
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    assert_eq!(vault.store().list(ObjectKind::Key).unwrap().len(), 1, "and one key");
    assert_eq!(vault.store().list(ObjectKind::Snapshot).unwrap().len(), 2);
    let check = vault.check(repo::CheckOptions { read_data: true, threads: 1 }, &|_| {}).unwrap();
    assert!(!check.damaged(), "{:?}", check.findings);
}
