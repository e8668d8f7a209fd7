//! Protection does not pause: what is backed up while a seed travels is a recovery point from that moment on, and becomes visible
//! with the seed, complete, and not before.

use crate::journey::{files, waiting};
use crate::site::{PASSWORD, Site, noise, tree};
use agent::{BackupReport, Error, Place};
use backup::RestoreOptions;
use flow::SeedState;
use model::Digest;
use server::Step;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use wire::PublicationState;

const QUICK: repo::CheckOptions = repo::CheckOptions { read_data: false, threads: 2 };

type Tree = BTreeMap<String, Vec<u8>>;

/// What every recovery point that was made must restore to.
#[derive(Default)]
struct Made(BTreeMap<Digest, Tree>);

impl Made {
    /// Changes the source, and backs it up while the seed travels.
    fn change(&mut self, site: &Site, n: u64) -> agent::Waiting {
        fs::write(site.source().join(format!("new{n}")), noise(100 + n, 70_000)).unwrap();
        fs::write(site.source().join("file0"), noise(200 + n, 60_000)).unwrap();
        let said = waiting(site.backup().unwrap());
        self.note(site, said.increment.as_ref().unwrap().snapshot);
        said
    }

    fn note(&mut self, site: &Site, snapshot: Digest) {
        self.0.insert(snapshot, tree(&site.source()));
    }

    /// Every one of them is listed there, and restores to what it was made of.
    fn are_all_at(&self, site: &Site, place: Place) {
        let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
        assert_eq!(points.place, place);
        assert!(points.damaged.is_empty() && points.unseen.is_none(), "{points:?}");
        let repository = match place {
            Place::Vault => agent::open_vault(&site.ctx(), PASSWORD).unwrap(),
            _ => agent::open_staging(&site.ctx(), &points.location, PASSWORD).unwrap(),
        };
        let listed: Vec<Digest> = points.points.iter().map(|point| point.id).collect();
        for (id, made_of) in &self.0 {
            assert!(listed.contains(id), "{id} is not listed");
            let target = tempfile::tempdir().unwrap();
            restore(site, &repository, *id, target.path());
            assert_eq!(&tree(target.path()), made_of);
        }
        let report = repository.check(repo::CheckOptions { read_data: true, threads: 2 }, &|_| {});
        assert!(!report.unwrap().damaged());
    }
}

pub(crate) fn restore(site: &Site, repository: &repo::Repository, id: Digest, target: &Path) {
    let index = repository.load_index().unwrap();
    let tree = repository.load_snapshot(id).unwrap().snapshot.tree;
    let options = RestoreOptions {
        below: Some(site.source()),
        ..RestoreOptions::into_folder(target, &site.stop, &|_| {})
    };
    let outcome = backup::restore(repository, &index.value, tree, &options).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
}

/// What the server has of the seed's increments, as files.
fn increments(site: &Site) -> Tree {
    let folder = site.path("data/objects/vaults/vault1/fs01/increments");
    if folder.exists() { tree(&folder) } else { Tree::new() }
}

fn prepared() -> (Site, Made) {
    let site = Site::with_group();
    let BackupReport::Staged { outcome, .. } = site.backup().unwrap() else { panic!() };
    let mut made = Made::default();
    made.note(&site, outcome.snapshot);
    assert!(site.prepare(&site.drives(2)).unwrap().needed.is_none());
    (site, made)
}

#[test]
fn what_is_backed_up_at_any_stage_of_the_journey_restores_then_and_after_it() {
    let (site, mut made) = prepared();
    let said = made.change(&site, 1);
    assert_eq!(said.message, flow::WAITING_FOR_IMPORT);
    assert!(said.paused.is_none() && said.stuck.is_none());
    made.are_all_at(&site, Place::Staging);
    let bytes: usize = increments(&site).values().map(Vec::len).sum();
    assert!(bytes < 200_000, "only what is new: {bytes}");
    site.ship("TRACK0001").unwrap();
    made.change(&site, 2);
    made.are_all_at(&site, Place::Staging);
    assert!(tree(&site.vault_folder()).is_empty(), "nothing is visible before the seed is");
    site.dock("TRACK0001");
    fs::remove_file(site.source().join("file1")).unwrap();
    let report = site.backup().unwrap();
    let BackupReport::Stored { confirmed: Some(confirmed), outcome, unpublished } = report else {
        panic!("{report:?}")
    };
    assert_eq!((confirmed.snapshots, unpublished.is_none()), (1, true));
    made.note(&site, outcome.snapshot);
    assert_eq!(made.0.len(), 4);
    made.are_all_at(&site, Place::Vault);
    assert!(increments(&site).is_empty());
    // From then on as ever.
    let BackupReport::Stored { outcome: next, .. } = site.backup().unwrap() else { panic!() };
    assert_eq!(next.parent, Some(outcome.snapshot));
    assert_eq!(next.summary.data_blobs, 0);
}

#[test]
fn a_server_that_dies_at_each_object_of_an_increment_shows_none_that_is_not_complete() {
    let (mut site, mut made) = prepared();
    made.change(&site, 1);
    made.change(&site, 2);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    let objects = increments(&site).len();
    assert!(objects >= 6, "{objects}");
    let mut deaths = 0;
    for n in 0.. {
        let done = AtomicUsize::new(0);
        site.start(|config| {
            // From the nth object on, it dies at each.
            config.checkpoint = server::Checkpoint::from_fn(move |step| {
                step != Step::Increment || done.fetch_add(1, Ordering::Relaxed) < n
            });
        });
        let ended = site.backup();
        // Whatever is visible in the vault is complete.
        if let Ok(repository) = agent::open_vault(&site.ctx(), PASSWORD) {
            let report = repository.check(QUICK, &|_| {}).unwrap();
            assert!(!report.damaged(), "after {n}: {:?}", report.findings);
        }
        if increments(&site).is_empty() {
            break;
        }
        deaths += 1;
        assert!(deaths < 60, "{ended:?}");
    }
    assert!(deaths >= 3, "{deaths}");
    site.start(|_| {});
    let BackupReport::Stored { outcome, .. } = site.backup().unwrap() else { panic!() };
    made.note(&site, outcome.snapshot);
    made.are_all_at(&site, Place::Vault);
}

#[test]
fn a_publication_that_fails_for_now_takes_nothing_from_what_is_stored() {
    let (mut site, mut made) = prepared();
    made.change(&site, 1);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.start(|config| {
        config.checkpoint = server::Checkpoint::from_fn(|step| step != Step::Increment);
    });
    fs::write(site.source().join("late"), noise(77, 9_000)).unwrap();
    let said = site.backup().unwrap();
    let BackupReport::Stored { outcome, unpublished: Some(why), .. } = said else {
        panic!("{said:?}")
    };
    assert_eq!(why.kind(), model::ErrorKind::Unavailable, "{why}");
    made.note(&site, outcome.snapshot);
    site.start(|_| {});
    let said = site.backup().unwrap();
    let BackupReport::Stored { outcome, unpublished: None, .. } = said else { panic!("{said:?}") };
    made.note(&site, outcome.snapshot);
    made.are_all_at(&site, Place::Vault);
}

#[test]
fn an_increment_that_the_vaults_disk_has_damaged_is_said_and_protection_goes_on() {
    let (site, mut made) = prepared();
    made.change(&site, 1);
    site.ship("TRACK0001").unwrap();
    let folder = site.path("data/objects/vaults/vault1/fs01/increments");
    let pack = increments(&site).into_keys().find(|name| name.contains("/data/")).unwrap();
    let mut bytes = fs::read(folder.join(&pack)).unwrap();
    bytes[10] ^= 1;
    fs::write(folder.join(&pack), bytes).unwrap();
    site.dock("TRACK0001");
    let BackupReport::Stored { confirmed, outcome, unpublished } = site.backup().unwrap() else {
        panic!()
    };
    assert!(confirmed.is_some());
    assert!(matches!(*unpublished.unwrap(), Error::IncrementsDamaged { count: 2, .. }));
    assert!(increments(&site).contains_key(&pack), "it stays for whoever wants to look at it");
    let mut whole = Made::default();
    whole.note(&site, outcome.snapshot);
    whole.are_all_at(&site, Place::Vault);
    // Who has not heard it is told again; who has is not.
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { unpublished: None, .. }));
    let record = site.state().join(format!("seeds/{}.json", site.seed().record.id));
    let text = fs::read_to_string(&record).unwrap();
    assert_eq!(text.matches("\"withheld\": 2").count(), 1, "{text}");
    fs::write(&record, text.replace("\"withheld\": 2", "\"withheld\": 0")).unwrap();
    let BackupReport::Stored { unpublished, .. } = site.backup().unwrap() else { panic!() };
    assert!(matches!(*unpublished.unwrap(), Error::IncrementsDamaged { count: 2, .. }));
}

#[test]
fn a_server_that_is_away_leaves_what_staging_has_and_says_what_is_not_seen() {
    let (mut site, mut made) = prepared();
    made.change(&site, 1);
    site.server.take().unwrap().shutdown().unwrap();
    assert!(site.backup().is_err());
    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.points.len(), points.unseen.is_some()), (1, true));
    let repository = agent::open_staging(&site.ctx(), &points.location, PASSWORD).unwrap();
    let target = tempfile::tempdir().unwrap();
    restore(&site, &repository, points.points[0].id, target.path());
}

#[test]
fn a_source_that_is_gone_holds_no_seed_up_that_has_arrived() {
    let (site, _) = prepared();
    site.ship("TRACK0001").unwrap();
    let away = site.path("elsewhere");
    fs::rename(site.source(), &away).unwrap();
    assert!(site.backup().is_err(), "nothing was backed up, and that is said");
    site.dock("TRACK0001");
    assert!(site.backup().is_err());
    assert_eq!(site.seed().record.state(), SeedState::Confirmed);
    fs::rename(&away, site.source()).unwrap();
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
}

#[test]
fn without_staging_nothing_is_backed_up_until_it_has_arrived_and_that_is_said() {
    let (site, _) = prepared();
    site.ship("TRACK0001").unwrap();
    let away = site.path("elsewhere");
    fs::rename(site.staging(), &away).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(said.increment.is_none() && said.paused.unwrap().contains("staging"));
    fs::rename(&away, site.staging()).unwrap();
    site.dock("TRACK0001");
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
}

#[test]
fn a_seed_that_stays_incomplete_holds_no_recovery_point_back() {
    let (site, mut made) = prepared();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == model::ObjectKind::Pack);
    let mut ctx = site.ctx();
    ctx.wanted = agent::Way::Drive;
    fs::write(site.source().join("more"), noise(77, 70_000)).unwrap();
    let said = waiting(agent::backup_now(&ctx, &files(), PASSWORD).unwrap());
    assert!(matches!(said.state, Some(SeedState::Incomplete { .. })));
    assert_eq!(said.publication.unwrap().state, PublicationState::Waiting);
    made.note(&site, said.increment.unwrap().snapshot);
    made.are_all_at(&site, Place::Staging);
    let BackupReport::Stored { outcome, .. } = site.backup().unwrap() else { panic!() };
    made.note(&site, outcome.snapshot);
    made.are_all_at(&site, Place::Vault);
}
