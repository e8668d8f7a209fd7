//! What was backed up while a seed travelled: shown whole once that is, or never; and never in the way of anything for ever.

use crate::moved::Moved;
use crate::publication::{damage, independent_root, repository, settled, there};
use crate::revisions::{put, refilled, send, without_a_pack};
use crate::sample::{Journey, Sample, object};
use crate::site::{Site, on_database, rest};
use client::Client;
use jiff::Timestamp;
use model::ObjectKind;
use seed::{Object, Revision, RevisionHeader};
use std::sync::Arc;
use store::Store;
use wire::{Code, DeletionRequest, DriveEvent, JobState, Publication, PublicationState};

fn since(agent: &Client, sample: &Sample) -> Arc<dyn Store> {
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    rest(&agent.increments_url(&vault, &server, sample.seed), agent.credentials())
}

/// A recovery point that was made while the seed travels: pack, index, snapshot.
fn increment(journey: &Journey<'_>, n: u64) -> Vec<Object> {
    let since = since(&journey.agent, journey.sample);
    let kinds = [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot];
    let made = kinds.map(|kind| object(kind, format!("increment {n}: {kind:?}").into_bytes()));
    for (object, bytes) in &made {
        since.put(&object.key(), bytes).unwrap();
    }
    made.into_iter().map(|(object, _)| object).collect()
}

fn shown(site: &Site, objects: &[Object]) -> usize {
    objects.iter().filter(|object| there(&repository(site), object)).count()
}

/// Whether a deletion is taken of the snapshots that the seed has brought.
fn is_deletable(journey: &Journey<'_>, snapshot: &Object) -> Result<(), Code> {
    let request = DeletionRequest {
        reason: "a test".to_owned(),
        snapshots: vec![snapshot.name],
        ..DeletionRequest::default()
    };
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let asked = journey.agent.delete(&vault, &server, &request);
    asked.map(drop).map_err(|error| error.code().unwrap().clone())
}

fn withheld(status: &Publication, count: u64) {
    assert_eq!((status.state, status.withheld), (PublicationState::Published, count), "{status:?}");
    assert!(status.message.as_ref().unwrap().contains("complete recovery point"), "{status:?}");
}

/// The sample's list with another snapshot in the place of the first one.
fn repaired(sample: &Sample) -> (Revision, Vec<(Object, Vec<u8>)>, Object) {
    let before = sample.list();
    let first = |kind| *before.iter().find(|object| object.kind == kind).unwrap();
    let (pack, index, snapshot) =
        (first(ObjectKind::Pack), first(ObjectKind::Index), first(ObjectKind::Snapshot));
    let new = vec![
        object(ObjectKind::Index, b"an index without a pack".to_vec()),
        object(ObjectKind::Snapshot, b"a snapshot without a file".to_vec()),
    ];
    let kept = before.iter().filter(|object| ![pack, index, snapshot].contains(object));
    let mut objects: Vec<Object> = kept.copied().chain(new.iter().map(|(it, _)| *it)).collect();
    objects.sort();
    let header = RevisionHeader {
        seed: sample.seed,
        number: 1,
        replaces: independent_root(&before),
        created: Timestamp::UNIX_EPOCH,
        repositories: vec![sample.repository],
        withholds_increments: false,
    };
    let stays = *objects.iter().rfind(|object| object.kind == ObjectKind::Snapshot).unwrap();
    (Revision { header, objects }, new, stays)
}

#[test]
fn beside_a_repaired_seed_nothing_is_shown_even_when_nobody_knows_any_more_how_it_was_sent() {
    let site = Site::new();
    let sample = Sample::new("repaired", 6);
    let journey = without_a_pack(&site, &sample);
    let first = increment(&journey, 1);
    assert_eq!(settled(&journey).state, PublicationState::Waiting);
    let (revision, new, stays) = repaired(&sample);
    put(&journey, &revision.encode(&sample.signer).unwrap()).unwrap();
    send(&journey, &new);
    withheld(&settled(&journey), 1);
    assert_eq!(shown(&site, &first), 0);
    let told = || {
        let notices = site.admin().notices(None, 0).unwrap();
        notices.iter().filter(|notice| notice.text.contains("without files")).count()
    };
    assert_eq!(told(), 2, "once to whoever it is of, once to whoever runs the server");
    assert_eq!(is_deletable(&journey, &stays), Ok(()));
    // As when its import jobs are gone: their lists are, and then they are.
    let gone =
        ["UPDATE import_job SET inventory = 0", "DELETE FROM drive", "DELETE FROM import_job"];
    for (statement, before) in gone.into_iter().zip(1..) {
        on_database(&site, statement);
        withheld(&settled(&journey), before);
        let later = increment(&journey, before + 1);
        withheld(&settled(&journey), before + 1);
        assert_eq!((shown(&site, &first), shown(&site, &later)), (0, 0), "{statement}");
        assert_eq!(is_deletable(&journey, &stays), Ok(()));
    }
}

#[test]
fn where_its_signer_says_that_only_they_lack_something_none_is_shown_beside_a_whole_seed() {
    let site = Site::new();
    let sample = Sample::new("only-they", 6);
    let journey = without_a_pack(&site, &sample);
    let first = increment(&journey, 1);
    assert_eq!(settled(&journey).state, PublicationState::Waiting);
    let mut made = refilled(&sample, 1, &sample.list());
    made.revision.header.withholds_increments = true;
    put(&journey, &made.revision.encode(&sample.signer).unwrap()).unwrap();
    send(&journey, &made.new);
    withheld(&settled(&journey), 1);
    assert_eq!(shown(&site, &first), 0);
}

#[test]
fn of_what_was_damaged_nothing_is_shown_and_nothing_waits_for_it_for_ever() {
    let site = Site::new();
    let sample = Sample::new("damaged-since", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    let first = increment(&journey, 1);
    let folder = site.objects().join(format!("vaults/vault1/fs01/increments/{}", sample.seed));
    damage(&folder.join(first[0].key().to_string()));
    withheld(&settled(&journey), 1);
    assert_eq!(shown(&site, &first), 0);
    assert!(folder.join(first[0].key().to_string()).exists(), "for whoever wants to look at it");
    let list = sample.list();
    let stays = list.iter().find(|object| object.kind == ObjectKind::Snapshot).unwrap();
    assert_eq!(is_deletable(&journey, stays), Ok(()));
    // One that ends late may rely on the same, and is treated alike.
    let late = increment(&journey, 2);
    assert_eq!(is_deletable(&journey, stays), Err(Code::DataInTransit), "until that is known");
    withheld(&settled(&journey), 2);
    assert_eq!(shown(&site, &late), 0);
    assert_eq!(is_deletable(&journey, stays), Ok(()));
}

#[test]
fn what_was_made_meanwhile_is_shown_even_when_the_jobs_of_its_seed_are_gone() {
    let site = Site::new();
    let sample = Sample::new("late", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    assert_eq!(settled(&journey).state, PublicationState::Published);
    let late = increment(&journey, 1);
    on_database(&site, "DELETE FROM drive");
    on_database(&site, "DELETE FROM import_job");
    assert_eq!(settled(&journey).withheld, 0);
    assert_eq!(shown(&site, &late), 3);
}

#[test]
fn the_record_of_a_job_goes_when_its_seed_was_abandoned() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let sample = Sample::new("given-up", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    journey.event(0, &DriveEvent::Returned);
    let state = journey.agent.job(&journey.job).unwrap().state;
    assert_eq!(state, JobState::Completed);
    moved.days(91);
    let ended = site.admin().job(&journey.job).unwrap();
    assert_eq!(ended.state, JobState::Completed, "its vault has not confirmed it");
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    site.admin().abandon_seed(&vault, &server, sample.seed).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while let Ok(job) = site.admin().job(&journey.job) {
        assert!(std::time::Instant::now() < until, "{job:?}");
        std::thread::yield_now();
    }
}
