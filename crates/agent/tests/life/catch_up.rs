//! Later seeds: drives that carry what the vault lacks, and nothing that it has.

use crate::journey::{files, restore, waiting};
use crate::site::{PASSWORD, Site, address, noise, package, tree};
use agent::{BackupReport, Error, NewGroup, NewInitial, Place};
use flow::SeedState;
use model::ObjectKind;
use std::collections::BTreeSet;
use std::fs;
use store::Store;

/// In the vault over the network, with new data since.
fn grown() -> Site {
    let site = Site::new();
    let group =
        NewGroup { name: files(), paths: vec![site.source()], initial: NewInitial::Network };
    agent::create_group(&site.ctx(), &group).unwrap();
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
    for n in 20..24_u64 {
        fs::write(site.source().join(format!("new{n}")), noise(n, 60_000)).unwrap();
    }
    site
}

fn names(folder: &std::path::Path, kind: ObjectKind) -> BTreeSet<model::ObjectKey> {
    let listed = store::Folder::new(folder).list(kind).unwrap();
    listed.into_iter().map(|listed| listed.key).collect()
}

#[test]
fn the_next_drives_carry_what_the_vault_lacks_and_nothing_else() {
    let site = grown();
    let before = names(&site.vault_folder(), ObjectKind::Pack);
    agent::catch_up(&site.ctx(), &files(), &site.offline(&site.staging())).unwrap();
    let BackupReport::Staged { outcome, .. } = site.backup().unwrap() else { panic!() };
    assert!(outcome.parent.is_some(), "what the vault has counts as known");
    let staged = names(&site.path("staging"), ObjectKind::Pack);
    assert!(!staged.is_empty() && staged.is_disjoint(&before));
    assert_eq!(names(&site.vault_folder(), ObjectKind::Pack), before, "nothing went there");
    assert!(names(&site.path("staging"), ObjectKind::Lock).is_empty());
    // A recovery point that travels can be restored, with what the vault has of it.
    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Staging, 2));
    let both = agent::open_staging(&site.ctx(), &site.staging(), PASSWORD).unwrap();
    restore(&site, &both, &site.path("from-both"));

    assert!(site.prepare(&site.drives(2)).unwrap().needed.is_none());
    let seed = site.seed().record;
    let on_drives = seed.contents.as_ref().unwrap();
    let kinds = [ObjectKind::Key, ObjectKind::Index, ObjectKind::Snapshot];
    let others: usize = kinds.map(|kind| names(&site.path("staging"), kind).len()).iter().sum();
    assert_eq!(on_drives.whole.objects, (staged.len() + others + 1) as u64);
    agent::ship(&site.ctx(), &agent::ShipTarget::Only, &address(), &package("TRACK0001")).unwrap();
    // Other groups go on over the network meanwhile.
    fs::create_dir(site.path("other")).unwrap();
    fs::write(site.path("other/x"), "x").unwrap();
    let other = NewGroup {
        name: "other".parse().unwrap(),
        paths: vec![site.path("other")],
        initial: NewInitial::Network,
    };
    agent::create_group(&site.ctx(), &other).unwrap();
    let now = agent::backup_now(&site.ctx(), &other.name, PASSWORD).unwrap();
    assert!(matches!(now, BackupReport::Stored { .. }), "{now:?}");
    waiting(site.backup().unwrap());
    site.dock("TRACK0001");
    let report = site.backup().unwrap();
    assert!(matches!(report, BackupReport::Stored { confirmed: Some(_), .. }), "{report:?}");
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    restore(&site, &vault, &site.path("from-vault"));
    assert!(names(&site.vault_folder(), ObjectKind::Pack).is_superset(&staged));
    let check = vault.check(repo::CheckOptions { read_data: true, threads: 1 }, &|_| {}).unwrap();
    assert!(check.findings.is_empty(), "{:?}", check.findings);
}

#[test]
fn a_seed_after_a_seed_has_a_staging_location_of_its_own() {
    let site = Site::landed();
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { confirmed: Some(_), .. }));
    let again = agent::catch_up(&site.ctx(), &files(), &site.offline(&site.staging()));
    assert!(again.is_ok(), "the same as before changes nothing");
    let other = NewGroup { initial: site.offline(&site.staging()), ..site.group("two") };
    let error = agent::create_group(&site.ctx(), &other).unwrap_err();
    assert!(matches!(error, Error::StagingUsed { .. }), "{error}");
    fs::write(site.source().join("new"), noise(77, 90_000)).unwrap();
    let NewInitial::Offline { storage_account, container, .. } = site.offline("") else { panic!() };
    let staging = site.path("staging-2").display().to_string();
    let import_job = "catch-up".parse().unwrap();
    let initial =
        NewInitial::Offline { staging: staging.clone(), import_job, storage_account, container };
    agent::catch_up(&site.ctx(), &files(), &initial).unwrap();
    let BackupReport::Staged { seed, .. } = site.backup().unwrap() else { panic!() };
    assert!(
        names(&site.path("staging-2"), ObjectKind::Pack)
            .is_disjoint(&names(&site.vault_folder(), ObjectKind::Pack))
    );
    let seeds = agent::status(&site.ctx()).unwrap().seeds;
    assert_eq!(seeds.len(), 2);
    let latest = seeds.iter().find(|known| known.record.id == seed).unwrap();
    assert!(latest.record.catch_up && latest.record.state() == SeedState::Staged);
}

#[test]
fn there_must_be_something_to_catch_up_with() {
    let site = Site::new();
    let group =
        NewGroup { name: files(), paths: vec![site.source()], initial: NewInitial::Network };
    agent::create_group(&site.ctx(), &group).unwrap();
    let error = agent::catch_up(&site.ctx(), &files(), &site.offline(&site.staging()));
    assert!(matches!(error, Err(Error::NothingToCatchUp(_))), "{error:?}");
    site.backup().unwrap();
    agent::catch_up(&site.ctx(), &files(), &site.offline(&site.staging())).unwrap();
    // Somebody else's password opens no repository, and makes none.
    let error = agent::backup_now(&site.ctx(), &files(), b"falsch").unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::WrongPassword, "{error}");
    assert!(tree(&site.path("staging")).is_empty());
}
