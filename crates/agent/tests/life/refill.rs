//! What is lost on the way and gone at the source's staging, too: made anew from the source itself, and the seed revised
//! by it. Nothing that has arrived is sent again, nothing is published that lacks anything, and nobody chooses for the user.

use crate::identity::{client, enrol, enrolled, vault_file};
use crate::journey::{files, waiting};
use crate::site::{PASSWORD, Site, address, noise, package, tree};
use agent::{Answer, BackupReport, Error, Event, Next, Phase, Refilled, Refilling, Sending, Way};
use flow::SeedState;
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// At the dock without its packs.
fn without_packs() -> Site {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == ObjectKind::Pack);
    site
}

/// A parcel that never came.
fn lost_parcel() -> Site {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.lose("seed-2026");
    site
}

/// Staging has its repository still, but none of its packs of data.
pub(crate) fn lose_packs_of_staging(site: &Site) -> usize {
    let staging = site.path("staging");
    let kept = packs(&site.path(&kept(site)));
    let data: Vec<ObjectKey> =
        packs(&staging).into_iter().filter(|pack| !kept.contains(pack)).collect();
    data.iter().for_each(|pack| fs::remove_file(staging.join(pack.path())).unwrap());
    data.len()
}

fn kept(site: &Site) -> String {
    format!("state/seeds/{}.refill/repository", site.seed().record.id)
}

pub(crate) fn packs(folder: &Path) -> BTreeSet<ObjectKey> {
    let store = store::Folder::new(folder);
    let listed = store::Store::list(&store, ObjectKind::Pack).unwrap();
    listed.into_iter().map(|listed| listed.key).collect()
}

pub(crate) fn refill(site: &Site, what: &Refilling) -> agent::Result<Refilled> {
    agent::refill(&site.ctx(), what, PASSWORD)
}

fn repaired() -> Refilling {
    Refilling { repaired: true, ..Refilling::default() }
}

pub(crate) fn confirmed(report: &BackupReport) -> bool {
    matches!(report, BackupReport::Stored { confirmed: Some(_), .. })
}

pub(crate) fn snapshots(site: &Site) -> Vec<Digest> {
    site.seed().record.contents.unwrap().snapshots
}

/// What differs between the source and that snapshot, restored from the vault; the vault is whole besides.
pub(crate) fn differences(site: &Site, snapshot: Digest) -> BTreeSet<PathBuf> {
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    let options = repo::CheckOptions { read_data: true, threads: 2 };
    let report = vault.check(options, &|_| {}).unwrap();
    assert!(!report.damaged(), "{:?}", report.findings);
    let target = site.path(&format!("restored-{snapshot}"));
    let index = vault.load_index().unwrap().value;
    let tree = vault.load_snapshot(snapshot).unwrap().snapshot.tree;
    let options = backup::RestoreOptions {
        below: Some(site.source()),
        ..backup::RestoreOptions::into_folder(&target, &site.stop, &|_| {})
    };
    let outcome = backup::restore(&vault, &index, tree, &options).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let mut found = backup::compare(&site.source(), &target).unwrap().differences;
    found.retain(|it| it.path != Path::new("."));
    found.into_iter().map(|it| it.path).collect()
}

pub(crate) fn none() -> BTreeSet<PathBuf> {
    BTreeSet::new()
}

#[test]
fn a_backup_makes_anew_what_staging_has_no_more_and_the_snapshots_stay_what_they_were() {
    let site = without_packs();
    let before = snapshots(&site);
    let old: BTreeSet<String> = tree(&site.path("staging")).into_keys().collect();
    assert!(lose_packs_of_staging(&site) > 4);
    let sent = Mutex::new(BTreeSet::new());
    let hear = |event: Event<'_>| {
        if let Event::Sent { object, .. } = event {
            assert!(sent.lock().unwrap().insert(object.key()), "{} was sent twice", object.key());
        }
    };
    let report = agent::backup_now(&site.hearing(&hear), &files(), PASSWORD).unwrap();
    assert!(confirmed(&report), "{report:?}");
    assert_eq!(snapshots(&site), before);
    for id in &before {
        let at = format!("snapshots/{id}");
        let (there, was) = (site.vault_folder().join(&at), site.path("staging").join(&at));
        assert_eq!(fs::read(there).unwrap(), fs::read(was).unwrap(), "byte for byte");
    }
    let record = site.seed().record;
    assert_eq!((record.revision(), record.revisions.len()), (1, 1));
    assert_eq!(record.revisions[0].before.snapshots, before);
    assert_eq!((record.revisions[0].lost, record.revisions[0].repaired.len()), (0, 0));
    // Trees from what was kept; new packs, and the indexes that name them; nothing that had arrived.
    let sent = sent.into_inner().unwrap();
    let again: Vec<_> = sent.iter().filter(|key| old.contains(&key.path())).collect();
    assert!(again.iter().all(|key| key.kind() == ObjectKind::Pack), "{again:?}");
    assert!(sent.iter().any(|key| key.kind() == ObjectKind::Index && !old.contains(&key.path())));
    assert!(!sent.iter().any(|key| matches!(key.kind(), ObjectKind::Key | ObjectKind::Snapshot)));
    let lost = record.revisions[0].before.whole;
    assert_ne!(lost.root, record.contents.as_ref().unwrap().whole.root);
    assert_eq!(differences(&site, before[0]), none());
    // What was kept for it is not needed any more, and staging may be cleaned of all of it.
    assert!(!site.path(&kept(&site)).exists());
    let remove = agent::Cleaning::Remove { password: PASSWORD };
    agent::clean_staging(&site.ctx(), record.id, remove).unwrap();
    assert!(tree(&site.path("staging")).is_empty(), "{:?}", tree(&site.path("staging")).keys());
}

#[test]
fn a_lost_parcel_of_a_staging_that_is_gone_is_made_anew_when_somebody_says_so() {
    let site = lost_parcel();
    let before = snapshots(&site);
    fs::remove_dir_all(site.path("staging")).unwrap();
    // It may only not be mounted: a backup writes nothing there by itself.
    let mut ctx = site.ctx();
    ctx.wanted = Way::Network;
    let said = waiting(agent::backup_now(&ctx, &files(), PASSWORD).unwrap());
    assert!(said.refilled.is_none() && !site.path("staging").exists(), "{said:?}");
    let rows = agent::wanted(&site.ctx(), None).unwrap().remove(0).1;
    let gone = rows.iter().filter(|row| row.answer == Answer::Gone);
    assert!(gone.clone().count() > 4 && gone.clone().all(|row| row.key.kind() == ObjectKind::Pack));
    assert!(
        rows.iter().any(|row| row.key.kind() == ObjectKind::Index && row.answer == Answer::None)
    );
    let gone = gone.count();

    let dry = refill(&site, &Refilling { dry_run: true, ..Refilling::default() }).unwrap();
    assert_eq!((dry.gone.len(), dry.revision, dry.lost.len()), (gone, None, 6));
    assert!(!site.path("staging").exists());
    let done = refill(&site, &Refilling::default()).unwrap();
    assert_eq!((done.gone.len(), done.revision), (gone, Some(1)));
    assert!(done.lost.is_empty() && done.problems.is_empty() && done.packs > 0 && done.bytes > 0);
    assert!(matches!(refill(&site, &Refilling::default()), Err(Error::NothingGone { .. })));
    let rows = agent::wanted(&site.ctx(), None).unwrap().remove(0).1;
    assert!(rows.iter().all(|row| row.answer == Answer::None), "{rows:?}");
    let what = Sending { way: Way::Network, ..Sending::default() };
    let sent = agent::send_wanted(&site.ctx(), &what).unwrap();
    assert_eq!((sent.gone.len(), sent.left, sent.objects), (0, 0, rows.len() as u64));
    assert!(confirmed(&site.backup().unwrap()));
    assert_eq!(snapshots(&site), before);
    assert_eq!(differences(&site, before[0]), none());
}

#[test]
fn what_was_made_anew_travels_on_a_next_drive_as_well() {
    let site = lost_parcel();
    let before = snapshots(&site);
    fs::remove_dir_all(site.path("staging")).unwrap();
    refill(&site, &Refilling::default()).unwrap();
    // Not by the list of the first drives, which is not the seed's any more.
    let error = site.prepare(&[site.drive("F0", 520_000)]).unwrap_err();
    assert!(matches!(error, Error::WasRevised { .. }), "{error}");
    assert!(tree(&site.path("F0")).is_empty());
    let spare = [site.drive("E0", 520_000), site.drive("E1", 520_000)];
    let report = site.prepare_missing(&spare).unwrap();
    assert!(report.needed.is_none(), "{report:?}");
    let job = report.job.unwrap();
    let target = agent::ShipTarget::Job(job.name);
    agent::ship(&site.ctx(), &target, &address(), &package("TRACK0002")).unwrap();
    site.dock("TRACK0002");
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    assert!(confirmed(&agent::backup_now(&ctx, &files(), PASSWORD).unwrap()));
    assert_eq!(snapshots(&site), before);
    assert_eq!(differences(&site, before[0]), none());
}

/// Two of six files are not any more what was backed up.
fn change(site: &Site) -> BTreeSet<PathBuf> {
    fs::write(site.source().join("file0"), noise(70, 60_000)).unwrap();
    fs::remove_file(site.source().join("file3")).unwrap();
    ["file0", "file3"].map(|name| site.source().join(name)).into()
}

#[test]
fn what_the_source_has_no_more_is_named_and_published_without_only_by_choice() {
    let site = without_packs();
    let before = snapshots(&site);
    lose_packs_of_staging(&site);
    let lost = change(&site);
    let root = site.seed().record.contents.unwrap().whole.root;
    for round in 0..2 {
        let said = waiting(site.backup().unwrap());
        assert!(matches!(said.next, Next::Choose { files: 2 }), "{said:?}");
        let refilled = said.refilled.unwrap();
        let named: BTreeSet<PathBuf> = refilled.lost.iter().map(|it| it.path.clone()).collect();
        assert_eq!(named, lost, "round {round}");
        assert_eq!((refilled.revision, refilled.problems.len()), (None, 1));
        assert!(refilled.packs > 0, "what could be had is in staging");
        let record = site.seed().record;
        assert_eq!((record.revision(), record.contents.unwrap().whole.root), (0, root));
        assert!(tree(&site.vault_folder()).is_empty());
    }
    let made = packs(&site.path("staging"));
    let done = refill(&site, &repaired()).unwrap();
    assert_eq!((done.revision, done.lost.len(), done.repaired.len()), (Some(1), 2, 1));
    assert_eq!(packs(&site.path("staging")), made, "what was made before is not made again");
    let (old, new) = done.repaired[0];
    assert_eq!((vec![old], snapshots(&site)), (before, vec![new]));
    let record = site.seed().record;
    assert_eq!(record.backups[&files()].snapshot, new);
    assert_eq!((record.revisions[0].lost, &record.revisions[0].repaired), (2, &vec![(old, new)]));
    let names = fs::read_to_string(site.state().join(format!("seeds/{}.refill/lost-1", record.id)));
    let names = names.unwrap();
    assert!(lost.iter().all(|path| names.contains(path.to_str().unwrap())), "{names}");
    assert!(confirmed(&site.backup().unwrap()));
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    let there = vault.load_snapshot(new).unwrap().snapshot;
    assert_eq!(there.original, Some(old));
    assert!(there.tags.contains(&"repaired".to_owned()));
    assert!(vault.load_snapshot(old).is_err(), "the one that lacks something is not published");
    // Exactly what there was, without the two: of these the source has another one, and none.
    assert_eq!(differences(&site, new), BTreeSet::from(["file0".into()]));
    // The snapshot of staging is not in the vault: nobody cleans it away unasked.
    let remove = agent::Cleaning::Remove { password: PASSWORD };
    let error = agent::clean_staging(&site.ctx(), record.id, remove).unwrap_err();
    assert!(matches!(error, Error::KeepStaging { .. }), "{error}");
    assert!(site.path(&format!("staging/snapshots/{old}")).exists());
}

#[test]
fn a_file_that_is_brought_back_completes_the_snapshots_as_they_were() {
    let site = without_packs();
    let before = snapshots(&site);
    lose_packs_of_staging(&site);
    let good = fs::read(site.source().join("file3")).unwrap();
    fs::remove_file(site.source().join("file3")).unwrap();
    let refilled = waiting(site.backup().unwrap()).refilled.unwrap();
    assert_eq!(refilled.lost.len(), 1);
    let made = packs(&site.path("staging"));
    // Another inode, another time: only what is in it counts.
    fs::write(site.source().join("file3"), good).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
    assert!(packs(&site.path("staging")).is_superset(&made));
    assert_eq!((snapshots(&site), site.seed().record.revision()), (before.clone(), 1));
    assert!(differences(&site, before[0]).iter().all(|path| path == Path::new("file3")));
}

#[test]
fn what_is_damaged_in_staging_is_made_anew_and_what_is_whole_is_not() {
    let site = without_packs();
    let before = snapshots(&site);
    let kept = packs(&site.path(&kept(&site)));
    let all = packs(&site.path("staging"));
    let victim = *all.iter().find(|pack| !kept.contains(pack)).unwrap();
    let at = site.path("staging").join(victim.path());
    let mut bytes = fs::read(&at).unwrap();
    bytes[77] ^= 4;
    fs::remove_file(&at).unwrap();
    fs::write(&at, &bytes).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
    assert_eq!(snapshots(&site), before);
    let vault = packs(&site.vault_folder());
    assert!(!vault.contains(&victim) && vault.is_superset(&(&all - &BTreeSet::from([victim]))));
    assert_eq!(differences(&site, before[0]), none());
    assert_eq!(fs::read(&at).unwrap(), bytes, "what is there stays as it is");
}

#[test]
fn what_was_made_anew_and_lost_again_is_made_anew_again() {
    let site = lost_parcel();
    let before = snapshots(&site);
    for number in 1..=3 {
        if site.path("staging").exists() {
            fs::remove_dir_all(site.path("staging")).unwrap();
        }
        assert_eq!(refill(&site, &Refilling::default()).unwrap().revision, Some(number));
    }
    // A pack of an earlier round that is damaged does not count as made.
    let (ctx, what) = (site.ctx(), Sending { way: Way::Network, ..Sending::default() });
    agent::send_wanted(&ctx, &what).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
    let record = site.seed().record;
    assert_eq!(record.revisions.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(differences(&site, before[0]), none());
}

#[test]
fn a_pack_of_an_interrupted_call_counts_only_as_what_its_name_says() {
    let site = without_packs();
    lose_packs_of_staging(&site);
    fs::remove_file(site.source().join("file3")).unwrap();
    waiting(site.backup().unwrap());
    // Packs of trees are there as well, and kept.
    let kept = packs(&site.path(&kept(&site)));
    let made: Vec<_> = packs(&site.path("staging")).difference(&kept).copied().collect();
    let at = site.path("staging").join(made[0].path());
    let mut bytes = fs::read(&at).unwrap();
    bytes[9] ^= 1;
    fs::remove_file(&at).unwrap();
    fs::write(&at, bytes).unwrap();
    let done = refill(&site, &repaired()).unwrap();
    assert_eq!(done.lost.len(), 1, "the source has what was in it");
    assert!(confirmed(&site.backup().unwrap()));
    assert!(!packs(&site.vault_folder()).contains(&made[0]));
    assert_eq!(differences(&site, snapshots(&site)[0]), none());
}

/// Dies at everything that is told, and is stopped there; the same call goes on.
#[test]
fn a_call_that_dies_or_is_stopped_anywhere_is_done_by_the_next() {
    let site = lost_parcel();
    let before = snapshots(&site);
    fs::remove_dir_all(site.path("staging")).unwrap();
    let mut deaths = 0;
    while site.seed().record.revision() == 0 {
        let left = AtomicUsize::new(deaths);
        let dies = |event: Event<'_>| {
            if left.fetch_sub(1, Ordering::Relaxed) == 0 {
                if deaths % 2 == 0 {
                    panic!("dies at {event:?}");
                }
                site.stop.store(true, Ordering::Relaxed);
            }
        };
        let ctx = site.hearing(&dies);
        let call = || agent::refill(&ctx, &Refilling::default(), PASSWORD);
        let ended = catch_unwind(AssertUnwindSafe(call));
        site.stop.store(false, Ordering::Relaxed);
        if let Ok(Err(error)) = ended {
            assert_eq!(error.kind(), model::ErrorKind::Interrupted, "{error}");
        }
        deaths += 1;
    }
    assert!(deaths >= 6, "{deaths}");
    let what = Sending { way: Way::Network, ..Sending::default() };
    agent::send_wanted(&site.ctx(), &what).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
    assert_eq!(snapshots(&site), before);
    assert_eq!(differences(&site, before[0]), none());
}

fn record_file(site: &Site) -> PathBuf {
    site.state().join(format!("seeds/{}.json", site.seed().record.id))
}

/// The process died between what the server took and what the record says, or before the server had it; or the server was
/// put back to an earlier state.
#[test]
fn server_and_record_are_brought_to_the_same_revision() {
    let mut site = lost_parcel();
    fs::remove_dir_all(site.path("staging")).unwrap();
    let before = fs::read(record_file(&site)).unwrap();
    refill(&site, &Refilling::default()).unwrap();
    let after = site.seed().record;
    // Died before the record was changed: it is caught up with.
    fs::write(record_file(&site), &before).unwrap();
    assert!(!agent::wanted(&site.ctx(), None).unwrap()[0].1.is_empty());
    assert_eq!(site.seed().record.contents, after.contents);
    assert_eq!(site.seed().record.revision(), 1);
    // The server has lost it: it is told again.
    forget_revision(&mut site);
    agent::wanted(&site.ctx(), None).unwrap();
    let seed = after.id;
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let there = site.agent().revision(&vault, &server, seed).unwrap().unwrap();
    assert_eq!((there.number, there.digest), (1, after.revisions[0].digest));
    // Died before the server had it: the next call makes it anew.
    forget_revision(&mut site);
    fs::write(record_file(&site), &before).unwrap();
    fs::remove_dir_all(site.path("staging")).unwrap();
    assert_eq!(refill(&site, &Refilling::default()).unwrap().revision, Some(1));
    let what = Sending { way: Way::Network, ..Sending::default() };
    agent::send_wanted(&site.ctx(), &what).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
}

fn forget_revision(site: &mut Site) {
    forget(site, &["DELETE FROM revision"]);
}

fn forget(site: &mut Site, statements: &'static [&'static str]) {
    let port = site.server.as_ref().unwrap().address().port();
    site.server.take().unwrap().shutdown().unwrap();
    let url = format!("sqlite://{}", site.path("data/packmule.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        for statement in statements {
            let gone = sqlx::query(*statement).execute(&pool).await.unwrap();
            assert_eq!(gone.rows_affected(), 1, "{statement}");
        }
        pool.close().await;
    });
    site.start(|config| config.listen.set_port(port));
}

#[test]
fn an_older_state_than_the_servers_is_refused_and_changes_nothing() {
    let site = lost_parcel();
    fs::remove_dir_all(site.path("staging")).unwrap();
    let before = site.remember();
    refill(&site, &Refilling::default()).unwrap();
    site.forget(&before);
    for error in [
        agent::wanted(&site.ctx(), None).unwrap_err(),
        refill(&site, &Refilling::default()).unwrap_err(),
        site.backup().unwrap_err(),
    ] {
        assert!(matches!(error, Error::OtherRevision { .. }), "{error}");
    }
    assert_eq!(site.seed().record.revision(), 0);
}

#[test]
fn what_cannot_be_made_anew_is_said_and_why() {
    let site = lost_parcel();
    fs::remove_dir_all(site.path("staging")).unwrap();
    let refused = |what: &str, is: fn(&Error) -> bool| {
        let error = refill(&site, &Refilling::default()).unwrap_err();
        assert!(is(&error), "{what}: {error}");
        assert_eq!(site.seed().record.revision(), 0);
        assert!(tree(&site.vault_folder()).is_empty());
    };
    let wrong = agent::refill(&site.ctx(), &Refilling::default(), b"falsch").unwrap_err();
    assert_eq!(wrong.kind(), model::ErrorKind::WrongPassword);
    // The key that has signed the drives is another one.
    let key = site.state().join("signing.key");
    let good = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    refused("another key", |error| matches!(error, Error::NotSigner { .. }));
    fs::remove_file(&key).unwrap();
    store::durable::write(&key, &good, 0o600).unwrap();
    // A pack of trees is lost everywhere.
    let kept = site.path(&kept(&site));
    let tree = *packs(&kept).first().unwrap();
    let at = kept.join(tree.path());
    let bytes = fs::read(&at).unwrap();
    fs::remove_file(&at).unwrap();
    refused("lists of folders", |error| matches!(error, Error::NothingKept { .. }));
    fs::write(&at, bytes).unwrap();
    // Nothing at all is kept, as of a seed whose drives an older program wrote.
    fs::remove_dir_all(kept.parent().unwrap()).unwrap();
    refused("nothing", |error| matches!(error, Error::NothingKept { .. }));
}

#[test]
fn what_was_not_kept_is_kept_as_long_as_staging_has_it() {
    let site = without_packs();
    let before = snapshots(&site);
    let kept = site.path(&kept(&site));
    // As a program that kept nothing has left it.
    fs::remove_dir_all(kept.parent().unwrap()).unwrap();
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    waiting(agent::backup_now(&ctx, &files(), PASSWORD).unwrap());
    assert!(!packs(&kept).is_empty());
    fs::remove_dir_all(site.path("staging")).unwrap();
    refill(&site, &Refilling::default()).unwrap();
    assert!(confirmed(&site.backup().unwrap()) || confirmed(&site.backup().unwrap()));
    assert_eq!(differences(&site, before[0]), none());
}

#[test]
fn a_set_that_is_written_in_part_comes_first() {
    let site = without_packs();
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    waiting(agent::backup_now(&ctx, &files(), PASSWORD).unwrap());
    let small = seed::reserve(4000) + 145_000;
    let first = site.prepare_missing(&[site.drive("E0", small)]).unwrap();
    assert!(first.needed.is_some());
    lose_packs_of_staging(&site);
    let error = refill(&site, &Refilling::default()).unwrap_err();
    let Error::SetBegun { folder, .. } = error else { panic!("{error}") };
    // A backup does not choose either.
    let said = waiting(site.backup().unwrap());
    assert!(said.refilled.is_none());
    fs::remove_dir_all(folder).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
}

/// A parcel that turns up late and is published wins: the receipt is for what the drives carried.
#[test]
fn a_seed_that_was_published_meanwhile_is_not_revised() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == ObjectKind::Pack);
    let before = site.seed().record.contents;
    let staging = tree(&site.path("staging"));
    let at = Mutex::new(Some(&site));
    let hear = |event: Event<'_>| {
        // Somebody sends what is missing, and has it published, while it is being made anew.
        if matches!(event, Event::Regain(_))
            && let Some(site) = at.lock().unwrap().take()
        {
            publish_behind(site, &staging);
        }
    };
    lose_packs_of_staging(&site);
    let error = agent::refill(&site.hearing(&hear), &Refilling::default(), PASSWORD).unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Conflict, "{error}");
    assert_eq!(site.seed().record.contents, before);
    assert!(confirmed(&site.backup().unwrap()));
    assert_eq!(site.seed().record.state(), SeedState::Confirmed);
    assert_eq!(site.seed().record.contents, before);
}

fn publish_behind(site: &Site, staging: &std::collections::BTreeMap<String, Vec<u8>>) {
    let agent = site.agent();
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let pending = crate::site::rest(&agent.pending_url(&vault, &server), agent.credentials());
    for (path, bytes) in staging.iter().filter(|(path, _)| path.starts_with("data/")) {
        store::Store::put(&pending, &ObjectKey::from_path(path).unwrap(), bytes).unwrap();
    }
    let request = wire::PublicationRequest::default();
    let mut status = agent.publish(&vault, &server, &request).unwrap();
    while status.state != wire::PublicationState::Published {
        assert_ne!(status.state, wire::PublicationState::Waiting, "{status:?}");
        std::thread::yield_now();
        status = agent.publication(&vault, &server).unwrap();
    }
}

#[test]
fn what_catches_up_is_made_anew_over_what_the_vault_has() {
    let site = Site::new();
    let initial = agent::NewInitial::Network;
    let group = agent::NewGroup { name: files(), paths: vec![site.source()], initial };
    agent::create_group(&site.ctx(), &group).unwrap();
    site.backup().unwrap();
    for n in 20..24_u64 {
        fs::write(site.source().join(format!("new{n}")), noise(n, 60_000)).unwrap();
    }
    agent::catch_up(&site.ctx(), &files(), &site.offline(&site.staging())).unwrap();
    site.backup().unwrap();
    site.prepare(&site.drives(2)).unwrap();
    let before = snapshots(&site);
    site.ship("TRACK0001").unwrap();
    site.lose("seed-2026");
    fs::remove_dir_all(site.path("staging")).unwrap();
    let dry = refill(&site, &Refilling { dry_run: true, ..Refilling::default() }).unwrap();
    assert_eq!(dry.lost.len(), 4, "what the vault has is not read");
    assert_eq!(refill(&site, &Refilling::default()).unwrap().revision, Some(1));
    let what = Sending { way: Way::Network, ..Sending::default() };
    agent::send_wanted(&site.ctx(), &what).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
    assert_eq!(snapshots(&site), before);
    assert_eq!(differences(&site, before[0]), none());
}

/// Whatever stands in the way of a file: nothing has changed, and the same call goes on once it is out of the way.
#[test]
fn whatever_cannot_be_written_changes_nothing_and_the_next_call_goes_on() {
    let site = lost_parcel();
    let before = snapshots(&site);
    fs::remove_dir_all(site.path("staging")).unwrap();
    let seed = site.seed().record.id;
    let folder = site.state().join(format!("seeds/{seed}.refill"));
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    // A folder where a file is to be, and the other way round.
    let obstacles = [
        (folder.join("work"), false),
        (site.path("staging"), false),
        (folder.join("lost-1"), true),
        (folder.join("inventory-1"), true),
        (folder.join("revision-1"), true),
    ];
    for (at, is_folder) in obstacles {
        match is_folder {
            true => fs::create_dir(&at).unwrap(),
            false => fs::write(&at, b"in the way").unwrap(),
        }
        let error = refill(&site, &Refilling::default()).unwrap_err();
        assert!(!matches!(error, Error::NothingGone { .. }), "{}: {error}", at.display());
        assert_eq!(site.seed().record.revision(), 0, "{}", at.display());
        assert_eq!(site.agent().revision(&vault, &server, seed).unwrap(), None);
        match is_folder {
            true => fs::remove_dir(&at).unwrap(),
            false => fs::remove_file(&at).unwrap(),
        }
    }
    assert_eq!(refill(&site, &Refilling::default()).unwrap().revision, Some(1));
    let what = Sending { way: Way::Network, ..Sending::default() };
    agent::send_wanted(&site.ctx(), &what).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
    assert_eq!(differences(&site, before[0]), none());
}

/// Drives do not wait for what is kept for a loss that may never come; that it is not kept is said.
#[test]
fn drives_are_prepared_even_where_nothing_can_be_kept() {
    let site = Site::with_group();
    site.backup().unwrap();
    let seed = site.seed().record.id;
    let folder = site.state().join(format!("seeds/{seed}.refill"));
    fs::write(&folder, b"in the way").unwrap();
    let told = AtomicUsize::new(0);
    let hear = |event: Event<'_>| {
        if let Event::NotKept { seed: of, .. } = event {
            assert_eq!(of, seed);
            told.fetch_add(1, Ordering::Relaxed);
        }
    };
    let report = site.prepare_in(&site.hearing(&hear), &site.drives(2)).unwrap();
    assert!(report.needed.is_none());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    site.ship("TRACK0001").unwrap();
    fs::remove_file(&folder).unwrap();
    // On its way, the next backup keeps it, and never from a staging that has changed.
    waiting(site.backup().unwrap());
    let all: BTreeSet<String> = tree(&site.path("staging")).into_keys().collect();
    let kept: BTreeSet<String> = tree(&folder.join("repository")).into_keys().collect();
    assert!(kept.is_subset(&all) && kept.contains("config"), "{kept:?}");
    let data = |names: &BTreeSet<String>| names.iter().filter(|it| it.starts_with("data/")).count();
    assert!(data(&kept) > 0 && data(&kept) < data(&all), "trees and no data");
    site.dock("TRACK0001");
    assert!(confirmed(&site.backup().unwrap()));
    assert!(!folder.join("repository").exists());
}

/// What is backed up while the seed travels relies on its packs, and becomes visible as it is: with everything, or not at all.
fn lost_with_increment() -> (Site, Digest, [Vec<u8>; 2]) {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    fs::write(site.source().join("later"), noise(40, 60_000)).unwrap();
    let meanwhile = waiting(site.backup().unwrap()).increment.unwrap().snapshot;
    site.dock_without("TRACK0001", |key| key.kind() == ObjectKind::Pack);
    lose_packs_of_staging(&site);
    let good = NAMES.map(|name| fs::read(site.source().join(name)).unwrap());
    let lost = change(&site);
    let said = waiting(site.backup().unwrap());
    let named: BTreeSet<PathBuf> =
        said.refilled.unwrap().lost.iter().map(|it| it.path.clone()).collect();
    assert_eq!(named, lost);
    (site, meanwhile, good)
}

const NAMES: [&str; 2] = ["file0", "file3"];

fn is_whole(site: &Site) -> repo::Repository {
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    let options = repo::CheckOptions { read_data: true, threads: 2 };
    let report = vault.check(options, &|_| {}).unwrap();
    assert!(!report.damaged(), "{:?}", report.findings);
    vault
}

#[test]
fn what_was_backed_up_meanwhile_is_whole_once_the_files_are_back() {
    let (site, meanwhile, good) = lost_with_increment();
    for (name, bytes) in NAMES.iter().zip(good) {
        fs::write(site.source().join(name), bytes).unwrap();
    }
    assert!(confirmed(&site.backup().unwrap()));
    assert!(is_whole(&site).load_snapshot(meanwhile).is_ok());
}

#[test]
fn protection_goes_on_while_somebody_has_to_choose() {
    let (site, meanwhile, good) = lost_with_increment();
    assert!(
        !packs(&site.path("staging")).is_empty(),
        "what could be had is there, and does not travel"
    );
    fs::write(site.source().join("since"), noise(41, 60_000)).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(matches!(said.next, Next::Choose { .. }), "{said:?}");
    let later = said.increment.unwrap().snapshot;
    for (name, bytes) in NAMES.iter().zip(good) {
        fs::write(site.source().join(name), bytes).unwrap();
    }
    assert!(confirmed(&site.backup().unwrap()));
    let vault = is_whole(&site);
    assert!([meanwhile, later].iter().all(|id| vault.load_snapshot(*id).is_ok()));
}

/// The parcel turns up after something was made anew in its place: that has never left.
#[test]
fn nothing_relies_on_what_was_made_anew_and_does_not_travel() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == ObjectKind::Pack);
    let staging = tree(&site.path("staging"));
    lose_packs_of_staging(&site);
    // So that the first increment comes after the packs: with what it would have sent itself lying there.
    fs::remove_file(site.source().join("file3")).unwrap();
    let at = Mutex::new(Some(&site));
    let hear = |event: Event<'_>| {
        if matches!(event, Event::Phase(Phase::Backup(_)))
            && let Some(site) = at.lock().unwrap().take()
        {
            let refilled = refill(site, &Refilling::default()).unwrap();
            assert_eq!((refilled.revision, refilled.lost.len()), (None, 1));
            assert!(!packs(&site.path("staging")).is_empty());
        }
    };
    let report = agent::backup_now(&site.hearing(&hear), &files(), PASSWORD).unwrap();
    let meanwhile = waiting(report).increment.unwrap().snapshot;
    assert!(at.lock().unwrap().is_none());
    publish_behind(&site, &staging);
    assert!(confirmed(&site.backup().unwrap()));
    assert!(is_whole(&site).load_snapshot(meanwhile).is_ok());
    assert_eq!(differences(&site, meanwhile), none());
}

#[test]
fn beside_a_repaired_seed_nothing_of_what_was_backed_up_meanwhile_is_shown_and_that_is_said() {
    let (site, meanwhile, _) = lost_with_increment();
    refill(&site, &repaired()).unwrap();
    assert!(site.seed().record.revision() > 0);
    let said = site.backup().unwrap();
    let BackupReport::Stored { confirmed: Some(_), outcome, unpublished } = said else {
        panic!("{said:?}")
    };
    let why = unpublished.unwrap();
    assert!(matches!(*why, Error::IncrementsDamaged { .. }), "{why}");
    let vault = is_whole(&site);
    assert!(vault.load_snapshot(meanwhile).is_err());
    assert!(vault.load_snapshot(outcome.snapshot).is_ok());
    // Once: from then on it is in the status.
    let said = site.backup().unwrap();
    assert!(matches!(said, BackupReport::Stored { unpublished: None, .. }), "{said:?}");
    assert!(site.seed().record.withheld > 0);
}

/// A pack that no recovery point of the seed needs, and one that was made meanwhile does: lost on the way, and at the source.
fn lost_for_increment() -> (Site, PathBuf, Digest) {
    let site = Site::with_group();
    site.backup().unwrap();
    let before = packs(&site.path("staging"));
    let once = site.source().join("once");
    fs::write(&once, noise(50, 60_000)).unwrap();
    let BackupReport::Staged { outcome, .. } = site.backup().unwrap() else { panic!() };
    let staging = site.path("staging");
    let length = |pack: &ObjectKey| fs::metadata(staging.join(pack.path())).unwrap().len();
    let after = packs(&staging);
    let pack = after.difference(&before).copied().max_by_key(length).unwrap();
    fs::remove_file(&once).unwrap();
    site.backup().unwrap();
    fs::remove_file(staging.join(format!("snapshots/{}", outcome.snapshot))).unwrap();
    assert!(site.prepare(&site.drives(2)).unwrap().needed.is_none());
    site.ship("TRACK0001").unwrap();
    fs::write(&once, noise(50, 60_000)).unwrap();
    let meanwhile = waiting(site.backup().unwrap()).increment.unwrap().snapshot;
    site.dock_without("TRACK0001", |key| key.kind() == ObjectKind::Pack);
    fs::remove_file(staging.join(pack.path())).unwrap();
    fs::remove_file(&once).unwrap();
    (site, once, meanwhile)
}

#[test]
fn what_only_increments_lack_is_for_the_user_to_choose_and_leaves_the_seed_as_it_was() {
    let (site, once, meanwhile) = lost_for_increment();
    let before = snapshots(&site);
    let named =
        |done: &Refilled| done.lost.iter().map(|it| it.path.clone()).collect::<BTreeSet<PathBuf>>();
    let asked = refill(&site, &Refilling::default()).unwrap();
    assert_eq!((asked.revision, named(&asked)), (None, BTreeSet::from([once.clone()])));
    let chosen = refill(&site, &repaired()).unwrap();
    assert_eq!((chosen.revision, chosen.repaired.len()), (Some(1), 0));
    assert_eq!(named(&chosen), named(&asked));
    let revised = &site.seed().record.revisions[0];
    assert_eq!((revised.lost, revised.repaired.len()), (1, 0));
    let said = site.backup().unwrap();
    let BackupReport::Stored { confirmed: Some(_), unpublished: Some(why), .. } = said else {
        panic!("{said:?}")
    };
    assert!(matches!(*why, Error::IncrementsDamaged { .. }), "{why}");
    let vault = is_whole(&site);
    assert!(vault.load_snapshot(meanwhile).is_err(), "it lacks something, and is not shown");
    assert_eq!(snapshots(&site), before);
    assert!(before.iter().all(|id| vault.load_snapshot(*id).is_ok()));
    assert!(!once.exists());
}

#[test]
fn what_only_increments_lack_is_made_anew_once_the_file_is_back() {
    let (site, once, meanwhile) = lost_for_increment();
    fs::write(&once, noise(50, 60_000)).unwrap();
    let done = refill(&site, &Refilling::default()).unwrap();
    assert_eq!((done.revision, done.lost.len()), (Some(1), 0));
    assert!(confirmed(&site.backup().unwrap()));
    assert!(is_whole(&site).load_snapshot(meanwhile).is_ok());
}

#[test]
fn new_packs_go_where_they_are_wanted_and_are_found_there() {
    let site = lost_parcel();
    let before = snapshots(&site);
    fs::remove_dir_all(site.path("staging")).unwrap();
    let into = |at: PathBuf| Refilling { packs: Some(at), ..Refilling::default() };
    // They would be backed up, or nobody knows where they are.
    let error = refill(&site, &into(site.source().join("packs"))).unwrap_err();
    assert!(matches!(error, Error::StagingInside { .. }), "{error}");
    let error = refill(&site, &into("packs".into())).unwrap_err();
    assert!(matches!(error, Error::Staging { .. }), "{error}");
    assert!(!site.source().join("packs").exists());
    // What the source has not goes on later, in another folder.
    let good = fs::read(site.source().join("file3")).unwrap();
    fs::remove_file(site.source().join("file3")).unwrap();
    let first = refill(&site, &into(site.path("first"))).unwrap();
    assert_eq!((first.lost.len(), &first.folder), (1, &site.path("first")));
    let made = packs(&site.path("first"));
    assert!(!made.is_empty());
    fs::write(site.source().join("file3"), good).unwrap();
    let done = refill(&site, &into(site.path("second"))).unwrap();
    assert_eq!((done.revision, done.lost.len()), (Some(1), 0));
    assert_eq!(packs(&site.path("first")), made, "what was made before is not made again");
    let second = packs(&site.path("second"));
    assert!(!second.is_empty() && second.is_disjoint(&made));
    assert!(!site.path("staging").exists());
    let rows = agent::wanted(&site.ctx(), None).unwrap().remove(0).1;
    assert!(rows.iter().all(|row| row.answer == Answer::None), "{rows:?}");
    // Lost once more: the folder is remembered.
    for pack in &second {
        fs::remove_file(site.path("second").join(pack.path())).unwrap();
    }
    let again = refill(&site, &Refilling::default()).unwrap();
    assert_eq!((again.revision, &again.folder), (Some(2), &site.path("second")));
    let what = Sending { way: Way::Network, ..Sending::default() };
    assert_eq!(agent::send_wanted(&site.ctx(), &what).unwrap().gone.len(), 0);
    assert!(confirmed(&site.backup().unwrap()));
    assert_eq!(snapshots(&site), before);
    // It has come back with another time.
    assert!(differences(&site, before[0]).iter().all(|path| path == Path::new("file3")));
    let clean = || {
        let remove = agent::Cleaning::Remove { password: PASSWORD };
        agent::clean_staging(&site.ctx(), site.seed().record.id, remove)
    };
    // A staging that is not there may be on a disk that is not mounted.
    assert_eq!(clean().unwrap_err().kind(), model::ErrorKind::Unavailable);
    fs::create_dir(site.path("staging")).unwrap();
    let cleaned = clean().unwrap();
    assert!(!cleaned.made.is_empty());
    for folder in ["first", "second"] {
        assert!(tree(&site.path(folder)).is_empty(), "{folder}");
    }
}

/// As a machine with a certificate, at the dock without packs, and with none in staging.
fn enrolled_without_packs() -> Site {
    let (site, _) = enrolled();
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    site.backup().unwrap();
    site.prepare(&site.drives(2)).unwrap();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == ObjectKind::Pack);
    lose_packs_of_staging(&site);
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    waiting(agent::backup_now(&ctx, &files(), PASSWORD).unwrap());
    site
}

/// Who signs for the seed in the place of its drives' signer; the custody log says so as often.
pub(crate) fn successor(site: &Site) -> Option<wire::PublicKey> {
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let seed = site.seed().record.id;
    let successor = client(site).unwrap().successor(&vault, &server, seed).unwrap();
    let mut log = String::new();
    std::io::Read::read_to_string(&mut site.admin().custody(seed).unwrap(), &mut log).unwrap();
    assert_eq!(log.matches("signer-named").count(), usize::from(successor.is_some()), "{log}");
    successor.map(|successor| successor.key)
}

#[test]
fn a_machine_that_was_rebuilt_without_its_signing_key_signs_by_its_certificate() {
    let site = enrolled_without_packs();
    let before = snapshots(&site);
    let key = site.state().join("signing.key");
    fs::remove_file(&key).unwrap();
    for name in ["machine.pem", "machine.new.pem"] {
        let _ = fs::remove_file(site.state().join(name));
    }
    assert!(site.backup().is_err(), "without its certificate it is nobody");
    enrol(&mut site.ctx(), &vault_file(&site), true).unwrap();
    // Its state is asked as before.
    assert!(!agent::wanted(&site.ctx(), None).unwrap()[0].1.is_empty());
    assert_eq!(successor(&site), None);
    assert!(confirmed(&site.backup().unwrap()));
    let own = seed::SigningKey::load(&key).unwrap().public();
    assert_eq!(successor(&site), Some(own));
    let record = site.seed().record;
    assert_eq!((record.revision(), record.contents.unwrap().signer), (1, own));
    assert_ne!(record.revisions[0].before.signer, own);
    assert_eq!((snapshots(&site), differences(&site, before[0])), (before.clone(), none()));
}

/// The server was put back to before it knew of any of it.
#[test]
fn a_server_that_has_forgotten_who_signs_is_told_again() {
    let mut site = enrolled_without_packs();
    fs::remove_file(site.state().join("signing.key")).unwrap();
    assert_eq!(refill(&site, &Refilling::default()).unwrap().revision, Some(1));
    forget(&mut site, &["DELETE FROM revision", "DELETE FROM successor"]);
    agent::wanted(&site.ctx(), None).unwrap();
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let there = client(&site).unwrap().revision(&vault, &server, site.seed().record.id).unwrap();
    assert_eq!(there.unwrap().number, 1);
    assert!(confirmed(&site.backup().unwrap()));
}
