//! Whole lives, and what is said on the way.

use crate::site::{PASSWORD, Site, address, noise, package, tree};
use agent::{BackupReport, Cleaning, NewGroup, NewInitial, Next, Place};
use backup::RestoreOptions;
use flow::{SeedState, WAITING_FOR_IMPORT};
use model::GroupName;
use std::fs;
use std::path::Path;
use wire::JobState;

pub(crate) fn files() -> GroupName {
    "files".parse().unwrap()
}

pub(crate) fn waiting(report: BackupReport) -> agent::Waiting {
    match report {
        BackupReport::Waiting(waiting) => *waiting,
        other => panic!("not waiting: {other:?}"),
    }
}

pub(crate) fn restore(site: &Site, repository: &repo::Repository, target: &Path) {
    let index = repository.load_index().unwrap();
    let snapshot = repository.find_snapshot("latest").unwrap().snapshot;
    let options = RestoreOptions {
        below: Some(site.source()),
        ..RestoreOptions::into_folder(target, &site.stop, &|_| {})
    };
    let outcome = backup::restore(repository, &index.value, snapshot.tree, &options).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
}

#[test]
fn a_seed_travels_is_confirmed_and_increments_go_over_the_network() {
    let site = Site::with_group();
    let BackupReport::Staged { outcome, .. } = site.backup().unwrap() else { panic!() };
    assert!(outcome.problems.is_empty() && outcome.parent.is_none());
    assert_eq!(site.seed().record.state(), SeedState::Staged);
    let staged = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((staged.place, staged.points.len()), (Place::Staging, 1));

    let report = site.prepare(&site.drives(2)).unwrap();
    let job = report.job.unwrap();
    assert_eq!((job.name.as_str(), job.state), ("seed-2026", JobState::Creating));
    assert_eq!(job.drive_list.len(), 2, "the data needs both drives");
    assert!(job.inventory_received && job.drive_list.iter().all(|drive| drive.manifest_received));
    assert_eq!(report.locations[0].address.city, "Oslo");
    assert_eq!(site.seed().next, Next::Ship { job: job.name.clone() });

    let said = waiting(site.backup().unwrap());
    assert_eq!(said.message, WAITING_FOR_IMPORT);
    assert_eq!(said.jobs[0].state, JobState::Creating);
    assert_eq!(site.ship("1Z 999-0001").unwrap().state, JobState::Shipping);
    assert_eq!(site.seed().record.state(), SeedState::InTransit);
    let said = waiting(site.backup().unwrap());
    assert_eq!((said.message.as_str(), &said.next), (WAITING_FOR_IMPORT, &Next::Wait));
    let last = said.increment.unwrap().snapshot;
    assert!(tree(&site.vault_folder()).is_empty(), "nothing was published");

    site.dock("1Z9990001");
    fs::write(site.source().join("new"), noise(99, 70_000)).unwrap();
    let BackupReport::Stored { confirmed, outcome, .. } = site.backup().unwrap() else { panic!() };
    let confirmed = confirmed.unwrap();
    assert_eq!(confirmed.snapshots, 1);
    assert_eq!(outcome.parent, Some(last));
    assert_eq!((outcome.summary.files_new, outcome.summary.files_unmodified), (1, 6));
    let record = site.seed().record;
    assert_eq!(record.state(), SeedState::Confirmed);
    assert!(record.receipt.is_some());

    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Vault, 4));
    assert!(points.points.iter().all(|point| point.group == Some(files())));
    let repository = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    restore(&site, &repository, &site.path("restored"));
    assert_eq!(tree(&site.path("restored")), tree(&site.source()));
    let events: Vec<_> = record.history.iter().map(|it| format!("{:?}", it.event)).collect();
    assert_eq!(events.first().unwrap(), "StagingFinished");
    assert_eq!(events.last().unwrap(), "ReceiptVerified");
    assert!(record.history.is_sorted_by_key(|it| it.at));
}

#[test]
fn a_confirmed_seeds_staging_is_cleaned_of_what_the_inventory_lists_and_nothing_else() {
    let site = Site::landed();
    site.backup().unwrap();
    let stranger = Path::new(&site.staging()).join("notes.txt");
    fs::write(&stranger, "mine").unwrap();
    let seed = site.seed().record.id;
    let before = tree(Path::new(&site.staging()));
    let plan = agent::clean_staging(&site.ctx(), seed, Cleaning::DryRun).unwrap();
    assert!(plan.dry_run && !plan.removed.is_empty() && plan.kept.is_empty());
    assert_eq!(tree(Path::new(&site.staging())), before, "a dry run changes nothing");
    let remove = Cleaning::Remove { password: PASSWORD };
    let done = agent::clean_staging(&site.ctx(), seed, remove).unwrap();
    assert_eq!((&done.removed, done.bytes), (&plan.removed, plan.bytes));
    assert_eq!(tree(Path::new(&site.staging())).into_keys().collect::<Vec<_>>(), ["notes.txt"]);
    assert!(site.seed().record.seed.staging_cleaned);
    let again = agent::clean_staging(&site.ctx(), seed, remove).unwrap();
    assert!(again.removed.is_empty());
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { confirmed: None, .. }));
}

#[test]
fn what_is_not_listed_stays_and_can_still_be_opened() {
    let site = Site::landed();
    site.backup().unwrap();
    let seed = site.seed().record.id;
    // A pack that an interrupted run left behind after the list was frozen.
    let staging = store::Folder::new(site.staging());
    let pack = store::conformance::key_of(model::ObjectKind::Pack, &noise(7, 5000));
    store::Store::put(&staging, &pack, &noise(7, 5000)).unwrap();
    let remove = Cleaning::Remove { password: PASSWORD };
    let done = agent::clean_staging(&site.ctx(), seed, remove).unwrap();
    assert!(done.kept.contains(&pack) && done.kept.contains(&model::ObjectKey::Config));
    agent::open_staging(&site.ctx(), &site.staging(), PASSWORD).unwrap();
}

#[test]
fn a_recovery_point_that_only_staging_has_keeps_staging() {
    let site = Site::landed();
    site.backup().unwrap();
    let seed = site.seed().record.id;
    let repository = agent::open_staging(&site.ctx(), &site.staging(), PASSWORD).unwrap();
    let known = repository.find_snapshot("latest").unwrap().snapshot;
    let paths = vec!["/made/by/hand".to_owned()];
    repository.save_snapshot(&repo::Snapshot { paths, ..known }).unwrap();
    let before = tree(Path::new(&site.staging()));
    let remove = Cleaning::Remove { password: PASSWORD };
    let error = agent::clean_staging(&site.ctx(), seed, remove).unwrap_err();
    assert!(matches!(error, agent::Error::KeepStaging { .. }), "{error}");
    assert_eq!(tree(Path::new(&site.staging())), before);
}

#[test]
fn more_drives_continue_where_the_first_were_full() {
    let site = Site::with_group();
    site.backup().unwrap();
    let report = site.prepare(&site.drives(1)).unwrap();
    let needed = report.needed.unwrap();
    assert!(report.job.is_none() && needed.objects > 0 && needed.problems.is_empty());
    assert_eq!(needed.shortfall.unwrap().drives, 1);
    assert_eq!(site.seed().record.state(), SeedState::Preparing);
    let said = waiting(site.backup().unwrap());
    assert_eq!(said.message, WAITING_FOR_IMPORT);
    assert!(matches!(said.next, Next::PrepareDrives { .. }));
    // The first drive is in its parcel already.
    let report = site.prepare(&[site.drive("D1", 520_000)]).unwrap();
    assert!(report.needed.is_none());
    assert_eq!(report.job.unwrap().drive_list.len(), 2);
}

#[test]
fn preparing_again_changes_nothing_and_answers_the_same_job() {
    let site = Site::prepared();
    let job = site.agent().jobs().unwrap();
    let (drives, record) = (tree(&site.path("D0")), site.seed().record);
    let again = site.prepare(&[]).unwrap();
    assert_eq!(again.job.unwrap(), job[0]);
    assert!(again.needed.is_none());
    site.ship("TRACK0001").unwrap();
    assert_eq!(site.prepare(&site.drives(2)).unwrap().job.unwrap().state, JobState::Shipping);
    assert_eq!(tree(&site.path("D0")), drives);
    assert_eq!(site.seed().record.jobs, record.jobs);
    assert_eq!(site.agent().jobs().unwrap().len(), 1);
}

/// Each drive takes one pack, and a set takes ten drives.
#[test]
fn what_ten_drives_cannot_hold_travels_as_a_second_job() {
    let site = Site::new();
    for n in 10..28_u64 {
        fs::write(site.source().join(format!("file{n}")), noise(n, 60_000)).unwrap();
    }
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    site.backup().unwrap();
    let capacity = seed::reserve(4000) + 145_000;
    let drives: Vec<_> = (0..14).map(|n| site.drive(&format!("D{n}"), capacity)).collect();
    let first = site.prepare(&drives[..10]).unwrap();
    assert_eq!((first.set, first.job.unwrap().drive_list.len()), (0, 10));
    assert!(first.needed.unwrap().objects > 0);
    assert_eq!(site.seed().record.state(), SeedState::Preparing);
    let second = site.prepare(&drives[10..]).unwrap();
    let job = second.job.unwrap();
    assert_eq!((second.set, job.name.as_str()), (1, "seed-2026-2"));
    assert!(second.needed.is_none());
    assert!(matches!(site.ship("TRACK0001"), Err(agent::Error::WhichJob { .. })));
    for (name, number) in [("seed-2026", "TRACK0001"), ("seed-2026-2", "TRACK0002")] {
        let target = agent::ShipTarget::Job(name.parse().unwrap());
        agent::ship(&site.ctx(), &target, &address(), &package(number)).unwrap();
    }
    site.dock("TRACK0002");
    assert_eq!(waiting(site.backup().unwrap()).message, WAITING_FOR_IMPORT);
    assert_eq!(site.seed().record.state(), SeedState::Landing);
    assert!(tree(&site.vault_folder()).is_empty());
    site.dock("TRACK0001");
    let report = site.backup().unwrap();
    assert!(matches!(report, BackupReport::Stored { confirmed: Some(_), .. }), "{report:?}");
}

#[test]
fn a_group_without_staging_begins_and_goes_on_over_the_network() {
    let site = Site::new();
    let group =
        NewGroup { name: files(), paths: vec![site.source()], initial: NewInitial::Network };
    agent::create_group(&site.ctx(), &group).unwrap();
    for parent in [false, true] {
        let BackupReport::Stored { confirmed, outcome, .. } = site.backup().unwrap() else {
            panic!()
        };
        assert!(confirmed.is_none() && outcome.parent.is_some() == parent);
    }
    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Vault, 2));
}

#[test]
fn a_network_group_waits_for_the_seed_that_brings_the_repository() {
    let site = Site::with_group();
    fs::create_dir(site.path("other")).unwrap();
    fs::write(site.path("other/x"), "x").unwrap();
    let name: GroupName = "net".parse().unwrap();
    let paths = vec![site.path("other")];
    let group = NewGroup { name: name.clone(), paths, initial: NewInitial::Network };
    agent::create_group(&site.ctx(), &group).unwrap();
    let now = || agent::backup_now(&site.ctx(), &name, PASSWORD).unwrap();
    assert_eq!(waiting(now()).next, Next::FirstBackup { group: files() });
    site.backup().unwrap();
    assert!(matches!(waiting(now()).next, Next::PrepareDrives { .. }));
    site.prepare(&site.drives(2)).unwrap();
    site.ship("TRACK0001").unwrap();
    assert_eq!(waiting(now()).next, Next::Wait);
    assert!(tree(&site.vault_folder()).is_empty());
    site.dock("TRACK0001");
    assert!(matches!(now(), BackupReport::Stored { confirmed: Some(_), .. }));
}

#[test]
fn groups_of_one_server_share_seed_and_repository() {
    let site = Site::with_group();
    fs::create_dir(site.path("mail")).unwrap();
    fs::write(site.path("mail/box"), noise(50, 9000)).unwrap();
    let mail: GroupName = "mail".parse().unwrap();
    let group = NewGroup { paths: vec![site.path("mail")], ..site.group("mail") };
    agent::create_group(&site.ctx(), &group).unwrap();
    site.backup().unwrap();
    let error = site.prepare(&site.drives(2)).unwrap_err();
    assert!(error.to_string().contains("mail"), "{error}");
    agent::backup_now(&site.ctx(), &mail, PASSWORD).unwrap();
    assert_eq!(site.prepare(&site.drives(2)).unwrap().groups, [files(), mail.clone()]);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    let report = agent::backup_now(&site.ctx(), &mail, PASSWORD).unwrap();
    let BackupReport::Stored { confirmed, outcome, .. } = report else { panic!() };
    assert_eq!((confirmed.unwrap().snapshots, outcome.parent.is_some()), (2, true));
    let points = agent::recovery_points(&site.ctx(), Some(&mail), PASSWORD).unwrap();
    assert_eq!(points.points.len(), 2);
    let all = agent::recovery_points(&site.ctx(), None, PASSWORD).unwrap();
    assert_eq!(all.points.len(), 3);
}

#[test]
fn a_backup_before_the_drives_are_prepared_travels_with_the_seed() {
    let site = Site::with_group();
    site.backup().unwrap();
    fs::write(site.source().join("late"), noise(60, 3000)).unwrap();
    assert!(matches!(site.backup().unwrap(), BackupReport::Staged { .. }));
    assert!(site.prepare(&site.drives(3)).unwrap().needed.is_none());
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    let BackupReport::Stored { confirmed, .. } = site.backup().unwrap() else { panic!() };
    assert_eq!(confirmed.unwrap().snapshots, 2);
}

#[test]
fn another_server_with_the_credentials_finds_every_recovery_point() {
    let site = Site::landed();
    site.backup().unwrap();
    let credentials = client::load_credentials(&site.state().join("agent.json")).unwrap();
    fs::remove_dir_all(site.state()).unwrap();
    agent::register(&site.ctx(), &credentials, false).unwrap();
    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Vault, 2));
    restore(&site, &agent::open_vault(&site.ctx(), PASSWORD).unwrap(), &site.path("elsewhere"));
    assert_eq!(tree(&site.path("elsewhere")), tree(&site.source()));
}
