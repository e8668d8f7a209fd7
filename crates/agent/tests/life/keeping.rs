//! Retention by the agent: what rules keep, what is asked of the vault, what is left when it dies; and protection that is stopped.

use crate::in_transit::restore;
use crate::site::{PASSWORD, Site, noise, tree};
use agent::{BackupReport, Context, Error, Event, Keeping, Kept, NewGroup, NewInitial, Phase};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::{Digest, GroupName};
use policy::{Keep, Policy};
use repo::Author;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wire::{Code, DeletionState, VaultPatch};

const ALL: repo::CheckOptions = repo::CheckOptions { read_data: true, threads: 2 };

fn files() -> GroupName {
    "files".parse().unwrap()
}

static UTC: TimeZone = TimeZone::UTC;

fn how(prune: bool) -> Keeping<'static> {
    Keeping { dry_run: false, prune, pin: None, zone: &UTC }
}

fn keep(site: &Site, how: Keeping<'_>) -> agent::Result<Kept> {
    agent::keep(&site.ctx(), &files(), PASSWORD, how)
}

/// Registered, with a group over the network of which the last two recovery points are kept.
fn site() -> Site {
    let site = Site::new();
    make(&site, "files", "source");
    let keep = Keep { last: 2, ..Keep::default() };
    let policy = Policy { keep, ..Policy::default() };
    agent::change_group(&site.ctx(), &files(), None, &policy).unwrap();
    site
}

fn make(site: &Site, name: &str, folder: &str) {
    let paths = vec![site.path(folder)];
    let new = NewGroup { name: name.parse().unwrap(), paths, initial: NewInitial::Network };
    agent::create_group(&site.ctx(), &new).unwrap();
}

/// What every recovery point must restore to.
#[derive(Default)]
struct Made(BTreeMap<Digest, BTreeMap<String, Vec<u8>>>);

impl Made {
    fn back_up(&mut self, site: &Site, n: u64) -> Digest {
        self.back_up_as(site, &site.ctx(), n)
    }

    fn back_up_as(&mut self, site: &Site, ctx: &Context<'_>, n: u64) -> Digest {
        fs::write(site.source().join("file0"), noise(300 + n, 90_000)).unwrap();
        fs::write(site.source().join(format!("only {n}")), noise(400 + n, 150_000)).unwrap();
        if n > 0 {
            let _ = fs::remove_file(site.source().join(format!("only {}", n - 1)));
        }
        let BackupReport::Stored { outcome, .. } =
            agent::backup_now(ctx, &files(), PASSWORD).unwrap()
        else {
            panic!("it is not in the vault")
        };
        self.0.insert(outcome.snapshot, tree(&site.source()));
        outcome.snapshot
    }

    /// Exactly these are there, and each of them restores to what it was made of.
    fn are(&self, site: &Site, wanted: &[Digest]) {
        let repository = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
        let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
        let mut there: Vec<Digest> = points.points.iter().map(|point| point.id).collect();
        let mut wanted = wanted.to_vec();
        there.sort();
        wanted.sort();
        assert_eq!(there, wanted);
        for id in &wanted {
            let target = tempfile::tempdir().unwrap();
            restore(site, &repository, *id, target.path());
            assert_eq!(Some(&tree(target.path())), self.0.get(id));
        }
        whole(&repository);
        restic(site, &["check", "--read-data"]);
    }
}

fn whole(repository: &repo::Repository) {
    let report = repository.check(ALL, &|_| {}).unwrap();
    let words: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(!report.damaged(), "{words:?}");
}

/// Stock restic over the vault, where there is one on this machine.
fn restic(site: &Site, arguments: &[&str]) {
    let agent = site.agent();
    let credentials = agent.credentials();
    let (vault, server) = (credentials.vault.as_ref(), credentials.server.as_ref());
    let mut url = agent.repository_url(vault.unwrap(), server.unwrap());
    url.set_username(&credentials.user).unwrap();
    url.set_password(Some(&credentials.token)).unwrap();
    let ca = site.path("ca.pem");
    fs::write(&ca, credentials.ca_pem.as_ref().unwrap()).unwrap();
    let mut command = Command::new("restic");
    command.arg("--repo").arg(format!("rest:{url}")).arg("--cacert").arg(ca).args(arguments);
    command
        .env("RESTIC_PASSWORD", std::str::from_utf8(PASSWORD).unwrap())
        .env("RESTIC_CACHE_DIR", site.path("restic-cache"));
    let Ok(output) = command.output() else { return skip("there is no restic on this machine") };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// Says that stock restic has judged nothing here, and why.
fn skip(reason: &str) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("PACKMULE_SKIPS") else { return };
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "SKIP: agent retention, as judged by stock restic: {reason}").unwrap();
}

/// The server again, so many days later, until everything that was asked for by then is carried out.
fn carried_out(site: &mut Site, days: i64) {
    site.later(days, |config| config.tick = Duration::from_millis(20));
    let until = Instant::now() + Duration::from_secs(30);
    let vault = "vault1".parse().unwrap();
    let open = |site: &Site| {
        let all = site.admin().deletions(&vault, None).unwrap();
        all.into_iter().any(|it| matches!(it.state, DeletionState::Held | DeletionState::Going))
    };
    while open(site) {
        assert!(Instant::now() < until, "it is not carried out");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn gone(kept: &Kept) -> Vec<Digest> {
    kept.points.iter().filter(|point| point.why.is_none()).map(|point| point.id).collect()
}

#[test]
fn what_no_rule_keeps_is_asked_for_and_everybody_else_s_points_stay() {
    let mut site = site();
    let mut made = Made::default();
    let all: Vec<Digest> = (0..4).map(|n| made.back_up(&site, n)).collect();
    // Another machine's of a group of that name, and another group's.
    let mut elsewhere = site.ctx();
    elsewhere.author = Author { hostname: "fs02".into(), ..elsewhere.author };
    let foreign = made.back_up_as(&site, &elsewhere, 9);
    drop(elsewhere);
    fs::create_dir(site.path("other")).unwrap();
    fs::write(site.path("other/file"), noise(1, 50_000)).unwrap();
    make(&site, "other", "other");
    let other = agent::backup_now(&site.ctx(), &"other".parse().unwrap(), PASSWORD).unwrap();
    assert!(matches!(other, BackupReport::Stored { .. }));
    let rehearsed = keep(&site, Keeping { dry_run: true, ..how(true) }).unwrap();
    assert_eq!(gone(&rehearsed), [all[1], all[0]]);
    assert!(rehearsed.deletion.is_none() && rehearsed.figures.unwrap().packs_removed > 0);
    made.are(&site, &[all[0], all[1], all[2], all[3], foreign]);

    let kept = keep(&site, how(true)).unwrap();
    assert_eq!(gone(&kept), [all[1], all[0]]);
    assert_eq!(kept.points[0].why.as_deref(), Some("last snapshot"));
    let deletion = kept.deletion.unwrap();
    assert_eq!(deletion.group, Some(files()));
    assert!(deletion.snapshots == 2 && deletion.indexes > 0 && deletion.packs > 0, "{deletion:?}");
    assert_eq!(
        (deletion.oldest, deletion.newest),
        (Some(kept.points[3].time), Some(kept.points[2].time))
    );
    made.are(&site, &[all[2], all[3], foreign]);
    let again = keep(&site, how(true)).unwrap();
    assert!(again.deletion.is_none(), "nothing is left to ask for: {again:?}");

    let before = tree(&site.vault_folder()).len();
    carried_out(&mut site, 15);
    assert!(tree(&site.vault_folder()).len() < before);
    made.are(&site, &[all[2], all[3], foreign]);
    let points =
        agent::recovery_points(&site.ctx(), Some(&"other".parse().unwrap()), PASSWORD).unwrap();
    assert_eq!(points.points.len(), 1);
}

#[test]
fn what_a_clock_that_was_ahead_has_made_stays_and_pushes_nothing_out() {
    let site = site();
    let mut made = Made::default();
    let ahead = || Timestamp::now() + SignedDuration::from_hours(24 * 365);
    let first = [made.back_up(&site, 0), made.back_up(&site, 1)];
    let mut later = site.ctx();
    later.now = &ahead;
    let wrong = [made.back_up_as(&site, &later, 2), made.back_up_as(&site, &later, 3)];
    let last = made.back_up(&site, 4);
    let kept = keep(&site, how(true)).unwrap();
    assert_eq!(gone(&kept), [first[0]]);
    assert!(kept.points[0].why.as_ref().unwrap().contains("in the future"), "{kept:?}");
    made.are(&site, &[first[1], wrong[0], wrong[1], last]);
}

#[test]
fn nothing_goes_while_a_seed_is_under_way_and_no_group_is_emptied() {
    let site = Site::with_group();
    let BackupReport::Staged { .. } = site.backup().unwrap() else { panic!() };
    let refused = keep(&site, how(true)).unwrap_err();
    assert!(matches!(refused, Error::NotMeanwhile { .. }), "{refused}");
    // Without rules, everything stays.
    let site = Site::new();
    make(&site, "files", "source");
    let mut made = Made::default();
    let all = [made.back_up(&site, 0), made.back_up(&site, 1)];
    let kept = keep(&site, how(true)).unwrap();
    assert!(gone(&kept).is_empty() && kept.deletion.is_none(), "{kept:?}");
    made.are(&site, &all);
}

#[test]
fn a_prune_that_dies_anywhere_loses_nothing_and_the_next_one_goes_on() {
    for die_at in 0.. {
        let mut site = site();
        let mut made = Made::default();
        let all: Vec<Digest> = (0..3).map(|n| made.back_up(&site, n)).collect();
        let count = AtomicUsize::new(0);
        let died = {
            let events = |_: Event<'_>| {
                if count.fetch_add(1, Ordering::Relaxed) == die_at {
                    site.stop.store(true, Ordering::Relaxed);
                }
            };
            let ctx = site.hearing(&events);
            agent::keep(&ctx, &files(), PASSWORD, how(true)).is_err()
        };
        site.stop.store(false, Ordering::Relaxed);
        let repository = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
        whole(&repository);
        drop(repository);
        if died {
            keep(&site, how(true)).unwrap();
        }
        made.are(&site, &all[1..]);
        carried_out(&mut site, 15);
        made.are(&site, &all[1..]);
        if !died {
            assert!(die_at > 5, "{die_at}");
            return;
        }
    }
}

#[test]
fn what_is_undeleted_while_a_prune_runs_ends_it_and_is_whole() {
    let site = site();
    let mut made = Made::default();
    let all: Vec<Digest> = (0..3).map(|n| made.back_up(&site, n)).collect();
    let first = keep(&site, how(false)).unwrap().deletion.unwrap();
    assert_eq!((first.snapshots, first.packs), (1, 0));
    let events = |event: Event<'_>| {
        // The plan is made by then, and nothing of it was asked for.
        if let Event::Prune(repo::PruneEvent::Indexing) = event {
            let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
            let undone = site.admin().undelete(&vault, &server, first.id);
            assert!(undone.is_ok() || matches!(undone.unwrap_err().code(), Some(Code::JobState)));
        }
    };
    let ctx = site.hearing(&events);
    let refused = agent::keep(&ctx, &files(), PASSWORD, how(true)).unwrap_err();
    let Error::Client(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.code(), Some(&Code::ConcurrentChange));
    drop(ctx);
    made.are(&site, &all);
    keep(&site, how(true)).unwrap();
    made.are(&site, &all[1..]);
}

#[test]
fn the_vault_s_minimum_retention_is_respected_by_its_own_clock() {
    let mut site = site();
    let mut made = Made::default();
    let all: Vec<Digest> = (0..3).map(|n| made.back_up(&site, n)).collect();
    let patch = VaultPatch { minimum_retention_days: Some(30), ..VaultPatch::default() };
    site.admin().set_vault(&"vault1".parse().unwrap(), &patch).unwrap();
    // What their times say is months ago does not count.
    let later = |ctx: &mut Context<'_>| ctx.now = &|| "2027-03-01T00:00:00Z".parse().unwrap();
    let mut ctx = site.ctx();
    later(&mut ctx);
    let kept = agent::keep(&ctx, &files(), PASSWORD, how(true)).unwrap();
    drop(ctx);
    assert!(kept.deletion.is_none(), "{kept:?}");
    assert!(kept.points[2].why.as_ref().unwrap().contains("minimum retention"), "{kept:?}");
    made.are(&site, &all);
    site.later(31, |_| {});
    let mut ctx = site.ctx();
    later(&mut ctx);
    let kept = agent::keep(&ctx, &files(), PASSWORD, how(true)).unwrap();
    drop(ctx);
    assert_eq!(gone(&kept), [all[0]]);
    made.are(&site, &all[1..]);
}

#[test]
fn a_locked_repository_is_not_pruned() {
    let site = site();
    let mut made = Made::default();
    let all: Vec<Digest> = (0..3).map(|n| made.back_up(&site, n)).collect();
    // Somebody backs up.
    let repository = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    let lock = repository.lock(repo::LockMode::Shared).unwrap();
    let refused = keep(&site, how(true)).unwrap_err();
    assert_eq!(refused.kind(), model::ErrorKind::Locked, "{refused}");
    drop(lock);
    made.are(&site, &all);
}

#[test]
fn protection_is_stopped_with_data_kept_or_deleted_and_taken_up_again() {
    let mut site = site();
    let mut made = Made::default();
    let all: Vec<Digest> = (0..2).map(|n| made.back_up(&site, n)).collect();
    let stopped = agent::stop_group(&site.ctx(), &files()).unwrap().stopped.unwrap();
    assert!(!stopped.delete);
    assert!(matches!(site.backup().unwrap_err(), Error::Stopped(_)));
    assert!(matches!(keep(&site, how(true)).unwrap_err(), Error::Stopped(_)));
    made.are(&site, &all);
    assert!(agent::resume_group(&site.ctx(), &files()).unwrap().stopped.is_none());
    let third = made.back_up(&site, 2);

    let rehearsed = Keeping { dry_run: true, ..how(true) };
    let would = agent::stop_and_delete(&site.ctx(), &files(), PASSWORD, rehearsed).unwrap();
    assert_eq!(gone(&would).len(), 3);
    assert!(agent::groups(&site.ctx()).unwrap()[0].stopped.is_none(), "it was a rehearsal");
    let kept = agent::stop_and_delete(&site.ctx(), &files(), PASSWORD, how(true)).unwrap();
    let deletion = kept.deletion.unwrap();
    assert_eq!((kept.points.len(), deletion.snapshots), (3, 3));
    assert!(agent::groups(&site.ctx()).unwrap()[0].stopped.unwrap().delete);
    made.are(&site, &[]);
    // Nobody wanted that.
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    site.admin().undelete(&vault, &server, deletion.id).unwrap();
    made.are(&site, &[all[0], all[1], third]);
    agent::resume_group(&site.ctx(), &files()).unwrap();
    let fourth = made.back_up(&site, 3);
    made.are(&site, &[all[0], all[1], third, fourth]);
    // And now it is, at once.
    let pin = site.admin().make_pin(&vault).unwrap().pin;
    let at_once = Keeping { pin: Some(&pin), ..how(true) };
    let kept = agent::stop_and_delete(&site.ctx(), &files(), PASSWORD, at_once).unwrap();
    assert!(kept.deletion.unwrap().shortened);
    carried_out(&mut site, 0);
    assert!(
        !site.vault_folder().join("data").exists()
            || tree(&site.vault_folder().join("data")).is_empty()
    );
}

/// What is carried out was not to be seen by whoever backs up meanwhile.
#[test]
fn a_backup_beside_the_carrying_out_is_whole() {
    let mut site = site();
    let mut made = Made::default();
    let mut all: Vec<Digest> = (0..6).map(|n| made.back_up(&site, n)).collect();
    keep(&site, how(true)).unwrap();
    site.later(15, |config| config.tick = Duration::from_millis(1));
    // What was backed up first is there again, and was in what goes.
    all.extend((0..4).map(|n| made.back_up(&site, n)));
    carried_out(&mut site, 15);
    made.are(&site, &all[4..]);
}

/// Whoever has this machine's credentials can ask for deletions, and the machine knows that it has not.
#[test]
fn a_deletion_that_this_machine_has_not_asked_for_is_seen_and_can_be_undone_or_allowed() {
    let site = site();
    let mut made = Made::default();
    let all: Vec<Digest> = (0..4).map(|n| made.back_up(&site, n)).collect();
    let own = keep(&site, how(true)).unwrap().deletion.unwrap();
    let foreign = |site: &Site| -> Vec<u64> {
        let status = agent::status(&site.ctx()).unwrap();
        status.deletions.into_iter().map(|deletion| deletion.id).collect()
    };
    assert!(foreign(&site).is_empty(), "what the rules have asked for is its own");
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let request = wire::DeletionRequest {
        reason: "pay".to_owned(),
        snapshots: vec![all[2]],
        ..wire::DeletionRequest::default()
    };
    let theirs = site.agent().delete(&vault, &server, &request).unwrap();
    assert_eq!(foreign(&site), [theirs.id]);
    let listed = agent::deletions(&site.ctx()).unwrap();
    let by_us: Vec<(u64, bool)> = listed.iter().map(|own| (own.deletion.id, own.by_us)).collect();
    assert_eq!(by_us, [(theirs.id, false), (own.id, true)]);
    made.are(&site, &all[3..]);
    agent::undelete(&site.ctx(), theirs.id).unwrap();
    assert!(foreign(&site).is_empty(), "it is over");
    made.are(&site, &all[2..]);
    let wanted = site.agent().delete(&vault, &server, &request).unwrap();
    agent::allow_deletion(&site.ctx(), wanted.id).unwrap();
    assert!(foreign(&site).is_empty(), "somebody here wants it");
    assert!(agent::allow_deletion(&site.ctx(), 77).is_err());
}

/// A part is added to the newest deletion by whoever names it.
#[test]
fn what_somebody_adds_to_a_deletion_of_this_machine_makes_it_somebody_elses() {
    let site = site();
    let mut made = Made::default();
    let all: Vec<Digest> = (0..4).map(|n| made.back_up(&site, n)).collect();
    let own = keep(&site, how(true)).unwrap().deletion.unwrap();
    let foreign = || agent::status(&site.ctx()).unwrap().deletions;
    assert_eq!(foreign(), []);
    let more = wire::DeletionRequest {
        continues: Some(own.id),
        snapshots: vec![all[3]],
        ..wire::DeletionRequest::default()
    };
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    site.agent().delete(&vault, &server, &more).unwrap();
    assert_eq!(foreign().iter().map(|it| it.id).collect::<Vec<_>>(), [own.id]);
    agent::undelete(&site.ctx(), own.id).unwrap();
    made.are(&site, &all);
    assert_eq!(foreign(), []);
}

/// Events come while something is held; phases say which.
#[test]
fn what_is_done_is_told() {
    let site = site();
    let mut made = Made::default();
    (0..3).for_each(|n| {
        made.back_up(&site, n);
    });
    let told = std::sync::Mutex::new(Vec::new());
    let events = |event: Event<'_>| match event {
        Event::Phase(Phase::Keeping) => told.lock().unwrap().push("keeping"),
        Event::Phase(Phase::Prune(_)) => told.lock().unwrap().push("prune"),
        Event::Asked(_) => told.lock().unwrap().push("asked"),
        _ => {}
    };
    let ctx = site.hearing(&events);
    agent::keep(&ctx, &files(), PASSWORD, how(true)).unwrap();
    drop(ctx);
    assert_eq!(*told.lock().unwrap(), ["keeping", "asked", "prune", "asked", "asked"]);
}
