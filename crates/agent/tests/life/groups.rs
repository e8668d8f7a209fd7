//! Registration and protection groups: what is refused at once, so that nothing is refused later.

use crate::site::{PASSWORD, Site};
use agent::{Error, NewGroup, NewInitial, Next, Warning};
use model::ErrorKind;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

#[test]
fn nothing_works_without_registration_and_status_says_so() {
    let site = Site::unregistered();
    let error = agent::create_group(&site.ctx(), &site.group("files")).unwrap_err();
    assert!(matches!(error, Error::NotRegistered), "{error}");
    assert!(matches!(agent::open_vault(&site.ctx(), PASSWORD), Err(Error::NotRegistered)));
    assert!(matches!(site.backup(), Err(Error::NoGroup(_))));
    let status = agent::status(&site.ctx()).unwrap();
    assert!(status.registration.is_none() && status.groups.is_empty());
}

#[test]
fn credentials_are_kept_only_when_the_server_accepts_them() {
    let site = Site::unregistered();
    let good = site.credentials("vault1", "fs01");
    let wrong = wire::Credentials { token: "wrong".into(), ..good.clone() };
    let error = agent::register(&site.ctx(), &wrong, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!site.state().join("agent.json").exists());
    let registration = agent::register(&site.ctx(), &good, false).unwrap();
    assert_eq!((registration.vault.as_str(), registration.server.as_str()), ("vault1", "fs01"));
    let mode = fs::metadata(site.state().join("agent.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A new token for the same vault and server takes the old one's place.
    let newer = site.credentials("vault1", "fs01");
    assert_ne!(newer.token, good.token);
    agent::register(&site.ctx(), &newer, false).unwrap();
    assert_eq!(site.agent().credentials().token, newer.token);
    assert!(agent::register(&site.ctx(), &wrong, true).is_err());
    assert_eq!(site.agent().credentials().token, newer.token);
}

#[test]
fn another_vault_or_receipt_key_must_be_meant() {
    let site = Site::new();
    site.admin().create_vault(&"vault2".parse().unwrap()).unwrap();
    let vault = || site.credentials("vault2", "fs01");
    let own = || site.credentials("vault1", "fs01");
    let key = || wire::Credentials { receipt_key: wire::PublicKey([1; 32]), ..own() };
    let others: [&dyn Fn() -> wire::Credentials; 2] = [&vault, &key];
    for other in others {
        let other = other();
        let error = agent::register(&site.ctx(), &other, false).unwrap_err();
        assert!(matches!(error, Error::OtherRegistration { .. }), "{error}");
        agent::register(&site.ctx(), &other, true).unwrap();
        assert_eq!(site.agent().credentials().receipt_key, other.receipt_key);
        agent::register(&site.ctx(), &own(), true).unwrap();
    }
    let admin = site.admin().credentials().clone();
    let error = agent::register(&site.ctx(), &admin, true).unwrap_err();
    assert!(matches!(error, Error::NotForAgents), "{error}");
}

#[test]
fn paths_that_cannot_be_backed_up_are_refused_at_once() {
    let site = Site::new();
    let refused = |paths: Vec<PathBuf>| {
        let group = NewGroup { paths, ..site.group("files") };
        let error = agent::create_group(&site.ctx(), &group).unwrap_err();
        assert!(matches!(error, Error::SourcePath { .. }), "{error}");
    };
    refused(vec![]);
    refused(vec!["source".into()]);
    refused(vec![site.source(), site.path("not there")]);
    assert!(agent::groups(&site.ctx()).unwrap().is_empty());
    let paths = vec![site.source().join("."), site.source()];
    let group = NewGroup { paths, ..site.group("files") };
    assert_eq!(agent::create_group(&site.ctx(), &group).unwrap().group.paths, [site.source()]);
}

#[test]
fn staging_within_what_is_protected_is_refused_by_whatever_path() {
    let site = Site::new();
    symlink(site.source(), site.path("link")).unwrap();
    let inside = [
        site.source(),
        site.source().join("staging"),
        site.path("link/staging"),
        site.dir.path().to_owned(),
    ];
    for staging in inside {
        let initial = site.offline(staging.to_str().unwrap());
        let group = NewGroup { initial, ..site.group("files") };
        let error = agent::create_group(&site.ctx(), &group).unwrap_err();
        assert!(matches!(error, Error::StagingInside { .. }), "{error}");
    }
    assert!(!site.source().join("staging").exists());
    for staging in ["rest:https://host/", "staging", "s3:x", "/proc/staging"] {
        let group = NewGroup { initial: site.offline(staging), ..site.group("files") };
        let error = agent::create_group(&site.ctx(), &group).unwrap_err();
        assert!(matches!(error, Error::Staging { .. }), "{staging}: {error}");
    }
}

#[test]
fn too_little_room_is_a_warning_with_the_numbers() {
    let site = Site::new();
    let file = fs::File::create(site.source().join("sparse")).unwrap();
    file.set_len(8 << 40).unwrap();
    let created = agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    assert_eq!((created.estimate.files, created.estimate.bytes), (7, (8 << 40) + 360_000));
    let room = created.warnings.iter().find_map(|warning| match warning {
        Warning::Room { needed, .. } => Some(*needed),
        Warning::AccountUnchecked { .. } | Warning::OnDrivesAlone => None,
    });
    assert_eq!(room, Some(created.estimate.bytes));
}

#[test]
fn a_group_is_created_once() {
    let site = Site::with_group();
    let first = agent::groups(&site.ctx()).unwrap();
    let again = agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    assert_eq!(vec![again.group], first);
    let network = NewGroup { initial: NewInitial::Network, ..site.group("files") };
    let error = agent::create_group(&site.ctx(), &network).unwrap_err();
    assert!(matches!(error, Error::GroupExists(_)), "{error}");
    let status = agent::status(&site.ctx()).unwrap();
    assert_eq!(status.groups[0].next, Next::FirstBackup { group: "files".parse().unwrap() });
}

#[test]
fn a_second_group_joins_the_first_ones_seed_or_goes_without() {
    let site = Site::with_group();
    let elsewhere = site.path("elsewhere").display().to_string();
    let group = NewGroup { initial: site.offline(&elsewhere), ..site.group("two") };
    let error = agent::create_group(&site.ctx(), &group).unwrap_err();
    assert!(matches!(error, Error::OtherStaging { .. }), "{error}");
    let NewInitial::Offline { staging, import_job, storage_account, .. } =
        site.offline(&site.staging())
    else {
        panic!()
    };
    let container = "other".parse().unwrap();
    let initial = NewInitial::Offline { staging, import_job, storage_account, container };
    let error = agent::create_group(&site.ctx(), &NewGroup { initial, ..group }).unwrap_err();
    assert!(matches!(error, Error::OtherDestination { .. }), "{error}");
    site.backup().unwrap();
    site.prepare(&site.drives(1)).unwrap();
    let error = agent::create_group(&site.ctx(), &site.group("late")).unwrap_err();
    assert!(matches!(error, Error::SeedUnderWay { .. }), "{error}");
    let network = NewGroup { initial: NewInitial::Network, ..site.group("late") };
    agent::create_group(&site.ctx(), &network).unwrap();
}

#[test]
fn state_of_a_newer_program_or_damaged_is_refused_and_left_alone() {
    let site = Site::with_group();
    let file = site.state().join("groups/files.json");
    let good = fs::read_to_string(&file).unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let newer = good.replace("\"version\": 1", "\"version\": 2");
    assert_ne!(newer, good);
    fs::write(&file, &newer).unwrap();
    assert!(matches!(site.backup(), Err(Error::Version { version: 2, .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    for length in [0, 1, good.len() / 2, good.len() - 3] {
        fs::write(&file, &good[..length]).unwrap();
        let error = site.backup().unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
    }
    fs::write(&file, good).unwrap();
    site.backup().unwrap();
}

#[test]
fn what_is_missing_is_named() {
    let site = Site::with_group();
    let error = site.prepare(&site.drives(1)).unwrap_err();
    assert!(matches!(error, Error::NoSeedAt(_)), "{error}");
    assert!(matches!(site.ship("TRACK0001"), Err(Error::NoJob(_))));
    site.backup().unwrap();
    assert!(matches!(site.ship("TRACK0001"), Err(Error::NoJob(_))));
    let none = wire::SeedId([0; 16]);
    let cleaned = agent::clean_staging(&site.ctx(), none, agent::Cleaning::DryRun);
    assert!(matches!(cleaned, Err(Error::NoSeed(_))));
}
