//! The process dies: at everything it tells, and between what it did and what it noted. The same
//! call goes on, and nothing happens twice.

use crate::journey::waiting;
use crate::site::{PASSWORD, Site, tree};
use agent::{BackupReport, Cleaning, Context, Event, NewGroup, NewInitial};
use flow::SeedState;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `act` again and again; the nth call dies at its nth event. Answers what the first call
/// that lives does, and how many have died.
fn dying<T>(site: &Site, act: impl Fn(&Context<'_>) -> T) -> (T, usize) {
    for n in 0.. {
        let left = AtomicUsize::new(n);
        let events = |event: Event<'_>| {
            // Told by many threads: dying there is for the engines' own tests.
            if matches!(event, Event::Backup(_) | Event::Check(_)) {
                return;
            }
            if left.fetch_sub(1, Ordering::Relaxed) == 0 {
                panic!("dies at {event:?}");
            }
        };
        let ctx = site.hearing(&events);
        if let Ok(done) = catch_unwind(AssertUnwindSafe(|| act(&ctx))) {
            return (done, n);
        }
    }
    unreachable!("there are not that many events");
}

#[test]
fn dying_at_every_event_of_a_seeds_life_costs_nothing() {
    let site = Site::with_group();
    let name = "files".parse().unwrap();
    let (report, deaths) = dying(&site, |ctx| agent::backup_now(ctx, &name, PASSWORD).unwrap());
    assert!(matches!(report, BackupReport::Staged { .. }) && deaths >= 2);
    let drives = site.drives(2);
    let (report, deaths) = dying(&site, |ctx| site.prepare_in(ctx, &drives).unwrap());
    // Drives are written by threads of their own, which a call that dies may be ahead of.
    assert!(report.needed.is_none() && deaths >= 4, "{deaths}");
    assert_eq!(site.agent().jobs().unwrap().len(), 1);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    let (report, deaths) = dying(&site, |ctx| agent::backup_now(ctx, &name, PASSWORD).unwrap());
    assert!(matches!(report, BackupReport::Stored { .. }) && deaths >= 4, "{deaths}");
    let record = site.seed().record;
    assert_eq!(record.state(), SeedState::Confirmed);
    let confirmations =
        record.history.iter().filter(|it| it.event == flow::SeedEvent::ReceiptVerified);
    assert_eq!(confirmations.count(), 1);
    let remove = Cleaning::Remove { password: PASSWORD };
    let (_, deaths) = dying(&site, |ctx| agent::clean_staging(ctx, record.id, remove).unwrap());
    assert!(deaths >= 4, "{deaths}");
    assert!(tree(Path::new(&site.staging())).is_empty());
    let repository = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    let options = repo::CheckOptions { read_data: true, threads: 2 };
    assert!(!repository.check(options, &|_| {}).unwrap().damaged());
}

/// Does something, forgets that it was done, and does it again.
fn twice<T>(site: &Site, act: impl Fn() -> T) -> (T, T) {
    let before = site.remember();
    let first = act();
    site.forget(&before);
    (first, act())
}

#[test]
fn what_was_done_and_not_noted_is_found_done() {
    let site = Site::with_group();
    twice(&site, || site.backup().unwrap());
    let stored = || tree(&site.path("staging/data")).values().map(Vec::len).sum::<usize>();
    let first = stored();
    site.backup().unwrap();
    // Folders above the source have changed; the files have not.
    assert!(stored() < first + 10_000, "nothing is stored twice");
    let drives = site.drives(2);
    site.prepare(&drives[..1]).unwrap();
    let sealed = tree(&site.path("D0"));
    let (one, other) = twice(&site, || site.prepare(&drives).unwrap());
    assert_eq!(one.job, other.job);
    assert_eq!(tree(&site.path("D0")), sealed, "a sealed drive is never written again");
    assert_eq!(site.agent().jobs().unwrap().len(), 1);
    let (one, other) = twice(&site, || site.ship("TRACK0001").unwrap());
    assert_eq!((one.state, one.drive_list), (other.state, other.drive_list));
    assert_eq!(site.seed().record.state(), SeedState::InTransit);
    twice(&site, || waiting(site.backup().unwrap()));
    site.dock("TRACK0001");
    let (one, other) = twice(&site, || site.backup().unwrap());
    for report in [one, other] {
        assert!(matches!(report, BackupReport::Stored { confirmed: Some(_), .. }));
    }
    let seed = site.seed().record.id;
    let remove = Cleaning::Remove { password: PASSWORD };
    let clean = || agent::clean_staging(&site.ctx(), seed, remove).unwrap();
    let (one, other) = twice(&site, clean);
    assert!(!one.removed.is_empty() && other.removed.is_empty());
    assert!(site.seed().record.seed.staging_cleaned);
}

#[test]
fn the_inventory_is_made_anew_when_it_is_lost() {
    let site = Site::prepared();
    let contents = site.seed().record.contents.unwrap();
    let listed = fs::read(&contents.inventory_file).unwrap();
    fs::remove_dir_all(contents.inventory_file.parent().unwrap()).unwrap();
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { confirmed: Some(_), .. }));
    assert!(!contents.inventory_file.exists() && !listed.is_empty());
}

#[test]
fn a_lost_journal_is_found_again_on_the_drives() {
    let site = Site::with_group();
    site.backup().unwrap();
    site.prepare(&site.drives(1)).unwrap();
    let (sealed, seed) = (tree(&site.path("D0")), site.seed().record);
    fs::remove_dir_all(site.state().join(format!("seeds/{}.state", seed.id))).unwrap();
    let report = site.prepare(&site.drives(2)).unwrap();
    assert!(report.needed.is_none() && report.job.unwrap().drive_list.len() == 2);
    assert_eq!(tree(&site.path("D0")), sealed);
    assert_eq!(site.seed().record.contents, seed.contents);
}

#[test]
fn a_repository_half_made_is_finished_not_begun_again() {
    let site = Site::with_group();
    // A crash after the key, before the config.
    let made = std::sync::Arc::new(store::Folder::new(site.staging()));
    let (weak, author) = (repo::KdfParams::WEAK, repo::Author::default());
    repo::Repository::init(made, PASSWORD, weak, author, jiff::Timestamp::UNIX_EPOCH).unwrap();
    fs::remove_file(site.path("staging/config")).unwrap();
    site.backup().unwrap();
    assert_eq!(tree(&site.path("staging/keys")).len(), 1);
    // Beside packs, a key is never removed.
    let other = Site::with_group();
    fs::create_dir_all(other.path("staging/data/ab")).unwrap();
    fs::write(other.path(&format!("staging/data/ab/ab{}", "0".repeat(62))), "pack").unwrap();
    let error = other.backup().unwrap_err();
    assert!(error.to_string().contains("config is lost"), "{error}");
}

#[test]
fn a_repository_half_copied_into_the_vault_is_finished_with_the_same_key() {
    let site = Site::new();
    let (paths, initial) = (vec![site.source()], NewInitial::Network);
    let group = NewGroup { name: "files".parse().unwrap(), paths, initial };
    agent::create_group(&site.ctx(), &group).unwrap();
    let name = "files".parse().unwrap();
    let (_, deaths) = dying(&site, |ctx| agent::backup_now(ctx, &name, PASSWORD).unwrap());
    assert!(deaths >= 2);
    assert_eq!(tree(&site.vault_folder().join("keys")).len(), 1);
    // A crash after the key had arrived, before the config: the repository still waits here.
    let empty = Site::new();
    agent::create_group(&empty.ctx(), &NewGroup { paths: vec![empty.source()], ..group }).unwrap();
    let local = std::sync::Arc::new(store::Folder::new(empty.state().join("init")));
    let (weak, author) = (repo::KdfParams::WEAK, repo::Author::default());
    let then = jiff::Timestamp::UNIX_EPOCH;
    let made = repo::Repository::init(local, PASSWORD, weak, author, then).unwrap();
    let (key, bytes) = tree(&empty.state().join("init/keys")).pop_first().unwrap();
    fs::create_dir_all(empty.vault_folder().join("keys")).unwrap();
    fs::write(empty.vault_folder().join("keys").join(key), bytes).unwrap();
    empty.backup().unwrap();
    let repository = agent::open_vault(&empty.ctx(), PASSWORD).unwrap();
    assert_eq!(repository.identity(), made.identity());
    assert_eq!(tree(&empty.vault_folder().join("keys")).len(), 1);
    assert!(!empty.state().join("init").exists());
}

#[test]
fn a_stop_ends_every_step_early_and_the_next_call_goes_on() {
    let site = Site::with_group();
    let stopped = |result: model::ErrorKind| assert_eq!(result, model::ErrorKind::Interrupted);
    let stop = |on: bool| site.stop.store(on, Ordering::Relaxed);
    stop(true);
    stopped(site.backup().unwrap_err().kind());
    stop(false);
    site.backup().unwrap();
    stop(true);
    stopped(site.prepare(&site.drives(2)).unwrap_err().kind());
    stop(false);
    site.prepare(&site.drives(2)).unwrap();
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    stop(true);
    stopped(site.backup().unwrap_err().kind());
    stop(false);
    site.backup().unwrap();
    let seed = site.seed().record.id;
    let remove = Cleaning::Remove { password: PASSWORD };
    stop(true);
    stopped(agent::clean_staging(&site.ctx(), seed, remove).unwrap_err().kind());
    stop(false);
    agent::clean_staging(&site.ctx(), seed, remove).unwrap();
}

#[test]
fn two_at_once_do_not_work_on_one_seed() {
    let site = Site::with_group();
    site.backup().unwrap();
    let error = std::sync::Mutex::new(None);
    let once = std::sync::Once::new();
    let events = |event: Event<'_>| {
        if matches!(event, Event::Drive(_)) {
            once.call_once(|| *error.lock().unwrap() = Some(site.backup().unwrap_err()));
        }
    };
    site.prepare_in(&site.hearing(&events), &site.drives(2)).unwrap();
    let error = error.into_inner().unwrap().unwrap();
    // By the time the drives are written the seed takes no more backups at all.
    assert_eq!(error.kind(), model::ErrorKind::Locked, "{error}");
}
