//! A machine whose state directory was lost while its seed travels: what the server has makes the seed's record anew, and it goes on.

use crate::journey::{files, restore, waiting};
use crate::site::{PASSWORD, Site, noise, tree};
use agent::{Abandoning, BackupReport, Error, NewGroup, NewInitial, OwnError, Place, Recovered};
use flow::SeedState;
use model::ObjectKey;
use std::fs;
use std::path::Path;

/// The disk with the state has died; the machine is registered again.
fn lose_state(site: &Site) {
    fs::remove_dir_all(site.state()).unwrap();
    agent::register(&site.ctx(), &site.credentials("vault1", "fs01"), false).unwrap();
    assert!(agent::status(&site.ctx()).unwrap().seeds.is_empty());
}

fn network(site: &Site) -> NewGroup {
    NewGroup { initial: NewInitial::Network, ..site.group("files") }
}

fn recover(site: &Site, staging: Option<&str>) -> Recovered {
    let mut found = agent::recover_seeds(&site.ctx(), staging).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let found = found.pop().unwrap();
    assert_eq!(site.seed().record.id, found.seed);
    found
}

/// Names, sets and drives.
fn jobs(record: &agent::SeedRecord) -> Vec<(String, u32, Vec<agent::JobDrive>)> {
    let jobs = record.jobs.iter();
    jobs.map(|job| (job.name.to_string(), job.set, job.drives.clone())).collect()
}

fn stored(report: BackupReport) -> (bool, Box<backup::BackupOutcome>) {
    let BackupReport::Stored { confirmed, outcome, unpublished: None } = report else {
        panic!("{report:?}")
    };
    (confirmed.is_some(), outcome)
}

/// Published, confirmed, and what the source has now is there.
fn arrived(site: &Site) {
    let (confirmed, outcome) = stored(site.backup().unwrap());
    assert!(confirmed && outcome.parent.is_some());
    assert_eq!(site.seed().record.state(), SeedState::Confirmed);
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    let check = vault.check(repo::CheckOptions { read_data: true, threads: 1 }, &|_| {});
    assert!(check.unwrap().findings.is_empty());
    restore(site, &vault, &site.path("restored"));
    assert_eq!(tree(&site.path("restored")), tree(&site.source()));
    // From then on as ever.
    fs::write(site.source().join("later"), noise(77, 50_000)).unwrap();
    let (again, outcome) = stored(site.backup().unwrap());
    assert!(!again && outcome.summary.data_blobs > 0 && outcome.summary.data_added < 200_000);
    assert!(agent::recover_seeds(&site.ctx(), None).unwrap().is_empty());
}

#[test]
fn a_seed_under_way_is_found_again_published_and_increments_go_on() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    let before = site.seed();
    lose_state(&site);
    let found = recover(&site, None);
    let after = site.seed();
    assert_eq!((found.state, after.record.state()), (SeedState::InTransit, SeedState::InTransit));
    assert_eq!(jobs(&after.record), jobs(&before.record));
    let list = |status: &agent::SeedStatus| status.record.contents.clone().unwrap();
    assert_eq!(list(&after).inventory, list(&before).inventory);
    assert_eq!(list(&after).whole, list(&before).whole);
    assert_eq!(after.record.backups, before.record.backups, "it was announced");
    assert!(agent::recover_seeds(&site.ctx(), None).unwrap().is_empty(), "it is known now");

    agent::create_group(&site.ctx(), &network(&site)).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(said.paused.is_some() && said.increment.is_none() && said.stuck.is_none(), "{said:?}");
    assert!(tree(&site.vault_folder()).is_empty(), "no other repository is begun");
    site.dock("TRACK0001");
    arrived(&site);
}

#[test]
fn with_its_staging_backups_go_on_meanwhile_and_what_is_wanted_is_sent() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    lose_state(&site);
    for (wrong, why) in [("nowhere", "there is no repository"), ("other", "another repository")] {
        if wrong == "other" {
            let folder = std::sync::Arc::new(store::Folder::new(site.path(wrong)));
            let kdf = repo::KdfParams::WEAK;
            let now = jiff::Timestamp::UNIX_EPOCH;
            repo::Repository::init(folder, PASSWORD, kdf, repo::Author::default(), now).unwrap();
        }
        let staging = site.path(wrong).display().to_string();
        let error = agent::recover_seeds(&site.ctx(), Some(&staging)).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    recover(&site, None);
    // Found before, and its staging taken up later.
    let found = recover(&site, Some(&site.staging()));
    assert_eq!(found.staging.as_deref(), Some(Path::new(&site.staging())));
    agent::create_group(&site.ctx(), &network(&site)).unwrap();
    fs::write(site.source().join("since"), noise(50, 60_000)).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(said.increment.is_some() && said.paused.is_none(), "{said:?}");
    let points = agent::recovery_points(&site.ctx(), None, PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Staging, 2));
    site.dock_without("TRACK0001", |key| matches!(key, ObjectKey::Pack(_)));
    arrived(&site);
}

#[test]
fn a_seed_that_went_straight_onto_its_drives_is_found_again_too() {
    let site = Site::new();
    let initial = NewInitial::Direct {
        import_job: "seed-2026".parse().unwrap(),
        storage_account: "seedacct".parse().unwrap(),
        container: "seeds".parse().unwrap(),
    };
    agent::create_group(&site.ctx(), &NewGroup { initial, ..site.group("files") }).unwrap();
    let drive = site.drive("D0", 9_000_000);
    let given = [agent::Given { drive, encrypted: false, formatted: false }];
    let group = files();
    let what = agent::Writing {
        group: &group,
        drives: &given,
        read_back: &seed::PlainReads,
        window: 200_000,
        parity: None,
        most: None,
        hold_parity: false,
        job: None,
    };
    assert!(agent::write_drives(&site.ctx(), &what, &mut |_| None, PASSWORD).unwrap().complete);
    lose_state(&site);
    let found = recover(&site, None);
    assert_eq!((found.state, found.groups.len()), (SeedState::Prepared, 0));
    agent::create_group(&site.ctx(), &network(&site)).unwrap();
    waiting(site.backup().unwrap());
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    arrived(&site);
}

#[test]
fn a_set_that_was_lost_and_sent_again_is_as_it_was() {
    let site = Site::prepared();
    site.lose("seed-2026");
    let sent = site.prepare(&site.drives(2)).unwrap();
    assert_eq!(sent.job.unwrap().name.as_str(), "seed-2026-2");
    let before = site.seed().record;
    lose_state(&site);
    recover(&site, None);
    let after = site.seed().record;
    assert_eq!((jobs(&after), &after.seed.sets), (jobs(&before), &before.seed.sets));
    assert_eq!(after.state(), before.state());
    agent::create_group(&site.ctx(), &network(&site)).unwrap();
    site.ship("TRACK0002").unwrap();
    site.dock("TRACK0002");
    arrived(&site);
}

#[test]
fn until_it_is_found_again_nothing_else_takes_its_place() {
    let site = Site::prepared();
    lose_state(&site);
    agent::create_group(&site.ctx(), &network(&site)).unwrap();
    let unknown = |error: &Error| matches!(error, Error::Own(OwnError::UnknownSeed { .. }));
    let error = site.backup().unwrap_err();
    assert!(unknown(&error), "{error}");
    let staged = NewGroup { name: "more".parse().unwrap(), ..site.group("files") };
    let error = agent::create_group(&site.ctx(), &staged).unwrap_err();
    assert!(unknown(&error), "{error}");
    assert!(tree(&site.vault_folder()).is_empty());
    // Given up, it stands in nobody's way, and is not found.
    let seed = site.agent().seeds_under_way(&"vault1".parse().unwrap(), &"fs01".parse().unwrap());
    let seed = seed.unwrap()[0].id;
    agent::abandon_seed(&site.ctx(), Abandoning { seed, again: None, dry_run: false }).unwrap();
    assert!(agent::recover_seeds(&site.ctx(), None).unwrap().is_empty());
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
}

#[test]
fn one_that_is_published_is_not_looked_for_and_its_backups_go_on() {
    let site = Site::landed();
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
    lose_state(&site);
    assert!(agent::recover_seeds(&site.ctx(), None).unwrap().is_empty());
    agent::create_group(&site.ctx(), &network(&site)).unwrap();
    let (confirmed, outcome) = stored(site.backup().unwrap());
    assert!(!confirmed && outcome.parent.is_some() && outcome.summary.data_blobs == 0);
}

#[test]
fn an_inventory_or_manifest_that_another_key_has_signed_is_not_believed() {
    let site = Site::prepared();
    lose_state(&site);
    let inventory = site.path("data/objects/jobs/seed-2026/inventory");
    let there = if inventory.exists() {
        inventory
    } else {
        let all = tree(&site.path("data/objects"));
        let name =
            all.keys().find(|name| name.contains("seed-2026") && name.ends_with("inventory"));
        site.path("data/objects").join(name.unwrap())
    };
    let mut bytes = fs::read(&there).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    fs::write(&there, bytes).unwrap();
    let error = agent::recover_seeds(&site.ctx(), None).unwrap_err();
    assert!(matches!(error, Error::Own(OwnError::NotRecovered { .. })), "{error}");
    assert!(agent::status(&site.ctx()).unwrap().seeds.is_empty());
}
