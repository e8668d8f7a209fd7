//! Seeds that nobody goes on with: given up, said what is lost, and in nobody's way from then on.

use crate::journey::{files, restore, waiting};
use crate::site::{PASSWORD, Site, noise, tree};
use agent::{Abandoning, BackupReport, Error, Fate, GivenUp, Keeping, NewGroup, NewInitial, Place};
use flow::SeedState;
use jiff::tz::TimeZone;
use model::{Digest, ErrorKind, JobName};
use policy::{Keep, Policy};
use std::fs;
use std::io::Read as _;
use wire::{Code, DeletionState, JobState, PublicationRequest, SeedId};

fn give_up(site: &Site, seed: SeedId, dry_run: bool) -> agent::Result<GivenUp> {
    agent::abandon_seed(&site.ctx(), Abandoning { seed, again: None, dry_run })
}

fn again(site: &Site, seed: SeedId, job: &JobName) -> agent::Result<GivenUp> {
    agent::abandon_seed(&site.ctx(), Abandoning { seed, again: Some(job), dry_run: false })
}

/// Until the vault has so many recovery points; the last ones.
fn stored(site: &Site) -> Digest {
    match site.backup().unwrap() {
        BackupReport::Stored { outcome, .. } => outcome.snapshot,
        other => panic!("it is not in the vault: {other:?}"),
    }
}

/// Deletions are taken, and stock restic finds nothing wrong with what is left.
fn deletions_work(site: &Site) {
    fs::write(site.source().join("changed"), noise(77, 90_000)).unwrap();
    stored(site);
    let keep = Keep { last: 1, ..Keep::default() };
    let policy = Policy { keep, ..Policy::default() };
    agent::change_group(&site.ctx(), &files(), None, &policy).unwrap();
    let how = Keeping { dry_run: false, prune: true, pin: None, zone: &TimeZone::UTC };
    let kept = agent::keep(&site.ctx(), &files(), PASSWORD, how).unwrap();
    assert!(kept.gone() > 0 && kept.stay() == 1, "{kept:?}");
    assert_eq!(kept.deletion.unwrap().state, DeletionState::Held);
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    let check = vault.check(repo::CheckOptions { read_data: true, threads: 1 }, &|_| {});
    assert!(!check.unwrap().damaged());
    let target = tempfile::tempdir().unwrap();
    restore(site, &vault, target.path());
    assert_eq!(tree(target.path()), tree(&site.source()));
}

fn refusal(error: &Error) -> Option<&Code> {
    match error {
        Error::Client(error) => error.code(),
        _ => None,
    }
}

#[test]
fn a_lost_seed_is_given_up_and_its_group_goes_on_over_the_network() {
    let site = Site::with_group();
    site.backup().unwrap();
    let kit = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    agent::handed_over(&site.ctx(), &kit).unwrap();
    assert!(site.prepare(&site.drives(2)).unwrap().needed.is_none());
    site.ship("TRACK0001").unwrap();
    fs::write(site.source().join("new"), noise(9, 70_000)).unwrap();
    assert!(waiting(site.backup().unwrap()).increment.is_some());
    let record = site.seed().record;

    let would = give_up(&site, record.id, true).unwrap();
    assert!(would.dry_run && would.state == Some(SeedState::InTransit));
    assert_eq!((would.points.len(), would.since), (1, 1));
    assert_eq!(would.points[0].0, files());
    assert_eq!(would.staging, Some(site.path("staging")));
    assert_eq!(would.groups, [files()]);
    let fates: Vec<Fate> = would.jobs.iter().map(|(_, fate)| *fate).collect();
    assert_eq!(fates, [Fate::WhenItArrives]);
    assert_eq!(site.seed().record, record, "nothing has changed");
    assert!(!site.agent().job(&"seed-2026".parse().unwrap()).unwrap().cancel_requested);

    give_up(&site, record.id, false).unwrap();
    let after = site.seed().record;
    assert_eq!(after.state(), SeedState::Abandoned);
    assert!(site.agent().job(&"seed-2026".parse().unwrap()).unwrap().cancel_requested);
    assert!(tree(&site.path("staging")).len() > 3, "nothing is removed here");
    let mut log = String::new();
    site.admin().custody(record.id).unwrap().read_to_string(&mut log).unwrap();
    assert!(log.lines().last().unwrap().contains(r#""what":"abandoned""#), "{log}");
    let told = site.admin().notices(None, 0).unwrap();
    assert!(told.iter().any(|notice| notice.text.contains("was abandoned by")), "{told:?}");
    give_up(&site, record.id, false).unwrap();

    // The same repository, so that the paper is still good.
    stored(&site);
    let vault = agent::open_vault(&site.ctx(), kit.secret().as_bytes()).unwrap();
    assert_eq!(Some(vault.identity()), record.repository);
    assert!(agent::status(&site.ctx()).unwrap().keys.kit.is_some());
    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Vault, 1));
    deletions_work(&site);
    // Drives that turn up after all bring nothing, and a publication is refused.
    let request = PublicationRequest { seed: Some(record.id), root: None };
    let (name, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let refused = site.admin().publish(&name, &server, &request).unwrap_err();
    assert_eq!(refused.code(), Some(&Code::SeedAbandoned));
}

#[test]
fn drives_that_have_landed_are_given_up_as_long_as_the_vault_shows_nothing() {
    let site = Site::landed();
    let record = site.seed().record;
    let would = give_up(&site, record.id, true).unwrap();
    assert_eq!(would.jobs[0].1, Fate::TakenIn, "they are to be sent back");
    // Dies when the server knows, and nothing is noted here.
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    site.agent().abandon_seed(&vault, &server, record.id).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(said.increment.is_some(), "protection goes on");
    assert_eq!(refusal(said.stuck.as_ref().unwrap()), Some(&Code::SeedAbandoned));
    give_up(&site, record.id, false).unwrap();
    stored(&site);
    deletions_work(&site);
}

#[test]
fn what_the_vault_shows_is_never_given_up() {
    let site = Site::landed();
    let record = site.seed().record;
    // Its publication fails when the indexes are visible: something else lies where its snapshot goes.
    let snapshot = record.contents.as_ref().unwrap().snapshots[0];
    let at = site.vault_folder().join("snapshots").join(snapshot.to_hex());
    fs::create_dir_all(&at).unwrap();
    assert!(site.backup().is_ok_and(|report| waiting(report).stuck.is_some()));
    let refused = give_up(&site, record.id, false).unwrap_err();
    assert_eq!(refusal(&refused), Some(&Code::AlreadyExists), "{refused}");
    assert!(refused.to_string().contains("index/"), "{refused}");
    assert_ne!(site.seed().record.state(), SeedState::Abandoned);
    assert!(site.agent().jobs().unwrap().iter().all(|job| !job.cancel_requested));
    fs::remove_dir(&at).unwrap();
    stored(&site);
    let over = give_up(&site, record.id, false).unwrap_err();
    assert!(matches!(over, Error::Refused(_)), "{over}");
    assert_eq!(site.seed().record.state(), SeedState::Confirmed);
    deletions_work(&site);
}

#[test]
fn a_first_backup_travels_anew_from_the_same_staging_location() {
    let site = Site::prepared();
    let first = site.seed().record;
    let job: JobName = "second-2026".parse().unwrap();
    let given_up = again(&site, first.id, &job).unwrap();
    assert_eq!(given_up.jobs[0].1, Fate::Canceled);
    assert_eq!(site.agent().job(&first.jobs[0].name).unwrap().state, JobState::Canceled);
    let status = agent::status(&site.ctx()).unwrap();
    assert_eq!(status.groups[0].backups, Some(Place::Staging), "{status:?}");
    assert!(matches!(site.backup().unwrap(), BackupReport::Staged { .. }));
    let second = site.seed().record;
    assert_ne!(second.id, first.id);
    assert_eq!((second.repository, second.import_job), (first.repository, job.clone()));
    let drives: Vec<_> = (0..2).map(|n| site.drive(&format!("E{n}"), 520_000)).collect();
    assert!(site.prepare(&drives).unwrap().needed.is_none());
    assert_eq!(site.seed().record.jobs[0].name, job);
    site.ship("TRACK0002").unwrap();
    site.dock("TRACK0002");
    stored(&site);
    assert_eq!(site.seed().record.state(), SeedState::Confirmed);
    deletions_work(&site);
    // What the vault has by now is added to by a catch-up seed, not by another first one.
    let none = again(&site, second.id, &job).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Conflict, "{none}");
}

#[test]
fn a_rebuilt_machine_gives_up_what_the_one_before_had_begun() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    let seed = site.seed().record.id;
    fs::remove_dir_all(site.state()).unwrap();
    agent::register(&site.ctx(), &site.credentials("vault1", "fs01"), false).unwrap();
    let group = NewGroup { initial: NewInitial::Network, ..site.group("files") };
    agent::create_group(&site.ctx(), &group).unwrap();
    // No other repository is begun beside what travels.
    let unknown = site.backup().unwrap_err();
    assert!(unknown.to_string().contains("packmule seed abandon"), "{unknown}");
    let nobody = give_up(&site, SeedId([7; 16]), false).unwrap_err();
    assert!(matches!(nobody, Error::NoSeed(_)), "{nobody}");
    let given_up = give_up(&site, seed, false).unwrap();
    assert_eq!((given_up.state, given_up.jobs.len()), (None, 1));
    stored(&site);
    deletions_work(&site);
}

#[test]
fn a_rebuilt_machine_gives_up_what_the_one_before_had_announced_and_never_sent() {
    let site = Site::with_group();
    site.backup().unwrap();
    let seed = site.seed().record.id;
    fs::remove_dir_all(site.state()).unwrap();
    agent::register(&site.ctx(), &site.credentials("vault1", "fs01"), false).unwrap();
    let group = NewGroup { initial: NewInitial::Network, ..site.group("files") };
    agent::create_group(&site.ctx(), &group).unwrap();
    stored(&site);
    let nobody = give_up(&site, SeedId([7; 16]), true).unwrap_err();
    assert!(matches!(nobody, Error::NoSeed(_)), "{nobody}");
    assert!(give_up(&site, seed, true).unwrap().dry_run);
    let given_up = give_up(&site, seed, false).unwrap();
    assert_eq!((given_up.state, given_up.jobs.len()), (None, 0));
    deletions_work(&site);
}

#[test]
fn what_is_kept_of_a_seed_that_never_left_is_what_goes_on() {
    let site = Site::with_group();
    site.backup().unwrap();
    let record = site.seed().record;
    let given_up = give_up(&site, record.id, false).unwrap();
    assert!(given_up.jobs.is_empty() && given_up.since == 0);
    assert_eq!(site.seed().record.state(), SeedState::Abandoned);
    // Staging is gone by now: its keys have been kept.
    fs::remove_dir_all(site.path("staging")).unwrap();
    stored(&site);
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    assert_eq!(Some(vault.identity()), record.repository);
    deletions_work(&site);
}
