//! What a seed consists of, said anew: from then on exactly that is published, whoever says it otherwise is refused.

use crate::keeping::{ask, filled};
use crate::publication::{dying_before, independent_root, receipt, repository, settled, there};
use crate::sample::{Journey, Sample, hash, object};
use crate::site::{Site, on_database, vault_of};
use jiff::Timestamp;
use model::{Digest, ObjectKey, ObjectKind};
use seed::{Object, Revision, RevisionHeader, SigningKey, WantList};
use std::sync::atomic::Ordering;
use store::Store as _;
use wire::{Code, DeletionRequest, PublicationState, SeedId};

/// A sample of which a pack is lost: what is made in its place, and the list with that.
pub(crate) struct Refilled {
    lost: Object,
    /// New pack and new index, as objects with their bytes.
    pub(crate) new: Vec<(Object, Vec<u8>)>,
    pub(crate) revision: Revision,
}

pub(crate) fn refilled(sample: &Sample, number: u32, before: &[Object]) -> Refilled {
    let first = |kind| *before.iter().find(|object| object.kind == kind).unwrap();
    let (lost, index) = (first(ObjectKind::Pack), first(ObjectKind::Index));
    let bytes = |what: &str| format!("{what} {number} that was made anew").into_bytes();
    let new =
        vec![object(ObjectKind::Pack, bytes("pack")), object(ObjectKind::Index, bytes("index"))];
    let kept = before.iter().filter(|object| ![lost, index].contains(object));
    let mut objects: Vec<Object> = kept.copied().chain(new.iter().map(|(it, _)| *it)).collect();
    objects.sort();
    let header = RevisionHeader {
        seed: sample.seed,
        number,
        replaces: independent_root(before),
        created: Timestamp::UNIX_EPOCH,
        repositories: vec![sample.repository],
        withholds_increments: false,
    };
    Refilled { lost, new, revision: Revision { header, objects } }
}

pub(crate) fn put(journey: &Journey<'_>, bytes: &[u8]) -> client::Result<()> {
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let (seed, length) = (journey.sample.seed, bytes.len() as u64);
    journey.agent.put_revision(&vault, &server, seed, length, &mut &*bytes)
}

fn put_signed(journey: &Journey<'_>, revision: &Revision) -> client::Result<()> {
    put(journey, &revision.encode(&journey.sample.signer).unwrap())
}

pub(crate) fn newest(journey: &Journey<'_>) -> Option<(u32, Digest)> {
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let newest = journey.agent.revision(&vault, &server, journey.sample.seed).unwrap();
    newest.map(|newest| (newest.number, newest.root))
}

fn want_list(journey: &Journey<'_>) -> Option<WantList> {
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let bytes = journey.agent.want_list(&vault, &server, journey.sample.seed, 1 << 20).unwrap();
    let trust = seed::Trust::Key(journey.agent.credentials().receipt_key);
    bytes.map(|bytes| WantList::decode(&bytes, &trust).unwrap().body)
}

/// At the dock without one pack.
pub(crate) fn without_a_pack<'a>(site: &Site, sample: &'a Sample) -> Journey<'a> {
    let journey = Journey::new(site, sample, "job-1", &sample.dealt(1));
    journey.create();
    let inventory = sample.inventory();
    let length = inventory.len() as u64;
    journey.agent.put_inventory(&journey.job, length, &mut inventory.as_slice()).unwrap();
    journey.ship("TRACK1");
    journey.receive("TRACK1");
    let lost = sample.list().into_iter().find(|object| object.kind == ObjectKind::Pack).unwrap();
    journey.import(0, &[lost.key()]);
    journey
}

pub(crate) fn send(journey: &Journey<'_>, new: &[(Object, Vec<u8>)]) {
    let url = journey.agent.pending_url(&"vault1".parse().unwrap(), &"fs01".parse().unwrap());
    let pending = store::Rest::new(&url, &journey.agent.rest_options()).unwrap();
    new.iter().for_each(|(object, bytes)| pending.put(&object.key(), bytes).unwrap());
}

/// What is visible, by its key.
fn visible(site: &Site) -> Vec<String> {
    let mut names = crate::site::files(&repository(site));
    names.sort();
    names
}

#[test]
fn a_revised_seed_is_published_as_it_is_now_and_nothing_else_of_it() {
    let site = Site::new();
    let sample = Sample::new("revised", 6);
    let journey = without_a_pack(&site, &sample);
    let refilled = refilled(&sample, 1, &sample.list());
    assert_eq!(settled(&journey).missing, [refilled.lost.key().to_string()]);
    assert!(want_list(&journey).is_some());
    put_signed(&journey, &refilled.revision).unwrap();
    assert_eq!(want_list(&journey), None, "the list before is not asked for any more");
    let root = independent_root(&refilled.revision.objects);
    assert_eq!(newest(&journey), Some((1, root)));
    let status = settled(&journey);
    assert_eq!((status.state, status.missing_count), (PublicationState::Waiting, 2), "{status:?}");
    let list = want_list(&journey).unwrap();
    assert_eq!(list.header.root, root);
    let mut new: Vec<Object> = refilled.new.iter().map(|(object, _)| *object).collect();
    new.sort();
    assert_eq!(list.objects, new);
    assert!(!repository(&site).exists());
    send(&journey, &refilled.new);
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    let all = &refilled.revision.objects;
    assert!(all.iter().all(|object| there(&repository(&site), object)));
    assert_eq!(visible(&site).len(), all.len(), "nothing that was replaced is visible");
    let receipt = receipt(&journey.agent).unwrap().0;
    assert_eq!((receipt.root, receipt.objects), (root, all.len() as u64));
    // Said again it is what it was; another one comes too late.
    put_signed(&journey, &refilled.revision).unwrap();
    let late = self::refilled(&sample, 2, all);
    let error = put_signed(&journey, &late.revision).unwrap_err();
    assert_eq!(error.code(), Some(&Code::AlreadyExists), "{error}");
    assert_eq!(settled(&journey).state, PublicationState::Published);
}

#[test]
fn a_drive_that_comes_later_brings_what_the_revision_lists() {
    let site = Site::new();
    let mut sample = Sample::new("revised-drive", 6);
    let refilled = {
        let journey = without_a_pack(&site, &sample);
        let refilled = refilled(&sample, 1, &sample.list());
        settled(&journey);
        put_signed(&journey, &refilled.revision).unwrap();
        refilled
    };
    let new: Vec<Object> = refilled.new.iter().map(|(object, _)| *object).collect();
    sample.objects.extend(refilled.new.clone());
    let mut again = Journey::new(&site, &sample, "job-2", &[new]);
    again.set = 1;
    again.travel();
    let status = settled(&again);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    assert_eq!(visible(&site).len(), refilled.revision.objects.len());
}

#[test]
fn a_revision_of_which_nobody_has_noted_the_signer_counts_beside_drives_of_another() {
    let site = Site::new();
    let mut sample = Sample::new("unsigned", 6);
    let refilled = {
        let journey = without_a_pack(&site, &sample);
        let refilled = refilled(&sample, 1, &sample.list());
        settled(&journey);
        put_signed(&journey, &refilled.revision).unwrap();
        refilled
    };
    on_database(&site, "UPDATE revision SET signer = NULL");
    let new: Vec<Object> = refilled.new.iter().map(|(object, _)| *object).collect();
    sample.objects.extend(refilled.new.clone());
    sample.signer = SigningKey::from_bytes(&[8; 32]);
    let mut again = Journey::new(&site, &sample, "job-2", &[new]);
    again.set = 1;
    again.travel();
    let status = settled(&again);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    assert_eq!(visible(&site).len(), refilled.revision.objects.len());
}

#[test]
fn a_revision_that_is_not_the_next_of_this_seed_by_its_signer_changes_nothing() {
    let site = Site::new();
    let sample = Sample::new("hostile", 6);
    let journey = without_a_pack(&site, &sample);
    settled(&journey);
    let first = refilled(&sample, 1, &sample.list()).revision;
    let good = first.encode(&sample.signer).unwrap();
    let refused = |what: &str, bytes: &[u8], code: &Code| {
        let error = put(&journey, bytes).unwrap_err();
        assert_eq!(error.code(), Some(code), "{what}: {error}");
        assert_eq!(newest(&journey), None, "{what}");
        assert!(want_list(&journey).is_some(), "{what}");
    };
    for at in (0..good.len()).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&format!("byte {at}"), &bytes, &Code::ManifestRefused);
    }
    refused("nothing", &[], &Code::ManifestRefused);
    refused("an inventory", &sample.inventory(), &Code::ManifestRefused);
    let stranger = SigningKey::from_bytes(&[8; 32]);
    refused("a stranger's", &first.encode(&stranger).unwrap(), &Code::ManifestRefused);
    let changed = |change: &dyn Fn(&mut Revision)| {
        let mut revision = first.clone();
        change(&mut revision);
        revision.encode(&sample.signer).unwrap()
    };
    let seed = changed(&|it| it.header.seed = SeedId([9; 16]));
    refused("another seed's", &seed, &Code::ManifestRefused);
    let skips = changed(&|it| it.header.number = 2);
    refused("one that skips", &skips, &Code::AlreadyExists);
    let other = changed(&|it| it.header.replaces = hash(b"another list"));
    refused("of another list", &other, &Code::AlreadyExists);
    let bare = changed(&|it| it.objects.retain(|it| it.kind != ObjectKind::Snapshot));
    refused("without snapshots", &bare, &Code::ManifestRefused);
    let config = hash(b"another config");
    let repository = changed(&|it| {
        it.header.repositories = vec![config];
        it.objects[0].name = config;
    });
    refused("of another repository", &repository, &Code::ManifestRefused);
    // Another server's agent has no say, and so has a seed that nobody knows.
    let stranger = site.agent("vault1", "fs02");
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let length = good.len() as u64;
    let error =
        stranger.put_revision(&vault, &server, sample.seed, length, &mut &*good).unwrap_err();
    assert_eq!(error.code(), Some(&Code::AuthorizationFailed));
    let unknown = SeedId([3; 16]);
    let error =
        journey.agent.put_revision(&vault, &server, unknown, length, &mut &*good).unwrap_err();
    assert_eq!(error.code(), Some(&Code::ResourceNotFound));

    put(&journey, &good).unwrap();
    let second = refilled(&sample, 2, &first.objects).revision;
    put_signed(&journey, &second).unwrap();
    let root = independent_root(&second.objects);
    // An old one, replayed, does not come back; nor does another second one.
    let error = put(&journey, &good).unwrap_err();
    assert_eq!(error.code(), Some(&Code::AlreadyExists), "{error}");
    let mut other = second.clone();
    other.header.created = "2026-03-01T12:00:00Z".parse().unwrap();
    let error = put_signed(&journey, &other).unwrap_err();
    assert_eq!(error.code(), Some(&Code::AlreadyExists), "{error}");
    assert_eq!(newest(&journey), Some((2, root)));
}

#[test]
fn nothing_is_revised_while_it_is_being_published_or_after_it_was_begun_to_be_shown() {
    let sample = Sample::new("held", 3);
    // Dies before it makes the first of two snapshots visible: the indexes are.
    let steps = 1 + 3 * sample.objects.len() - 2;
    let (dying, count) = dying_before(steps);
    let mut site = Site::with(dying);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    journey.publish();
    assert!(count.load(Ordering::SeqCst) > steps);
    let refilled = refilled(&sample, 1, &sample.list()).revision;
    let before = visible(&site);
    assert!(before.iter().any(|name| name.starts_with("index/")), "{before:?}");
    let refuse = |journey: &Journey<'_>, when: &str| {
        let error = put_signed(journey, &refilled).unwrap_err();
        let codes = [Code::AlreadyExists, Code::ConcurrentChange];
        assert!(error.code().is_some_and(|code| codes.contains(code)), "{when}: {error}");
    };
    refuse(&journey, "it died and will go on");
    // A pack that was visible is lost before it goes on: then nothing of it is taken back.
    let pack = sample.list().into_iter().find(|it| it.kind == ObjectKind::Pack).unwrap();
    site.stop();
    let landed = format!("accounts/seedacct/seeds/{}/{}", sample.repository, pack.key());
    std::fs::remove_file(site.objects().join(landed)).unwrap();
    std::fs::remove_file(repository(&site).join(pack.key().path())).unwrap();
    site.start(|_| {});
    let journey = journey.again(&site);
    assert_eq!(settled(&journey).missing, [pack.key().to_string()]);
    refuse(&journey, "an index of the old list is visible");
    let bytes = &sample.objects.iter().find(|(object, _)| *object == pack).unwrap().1;
    send(&journey, &[(pack, bytes.clone())]);
    assert_eq!(settled(&journey).state, PublicationState::Published);
    let vault = vault_of(&journey.agent);
    assert!(sample.objects.iter().all(|(object, bytes)| {
        object.key() == ObjectKey::Config
            || vault.get(&object.key(), 1 << 20).is_ok_and(|there| there == *bytes)
    }));
}

/// What is held was whole when it was shown, and comes back so: it keeps no seed from being revised that has it, too.
#[test]
fn what_is_held_for_deletion_is_in_no_revisions_way_and_what_is_shown_is() {
    let site = Site::new();
    let (agent, _, sample) = filled(&site, "held-revised", 6);
    let first = |kind| sample.list().into_iter().find(|object| object.kind == kind).unwrap();
    let (index, snapshot) = (first(ObjectKind::Index), first(ObjectKind::Snapshot));
    let held = DeletionRequest {
        snapshots: vec![snapshot.name],
        indexes: vec![index.name],
        ..DeletionRequest::default()
    };
    let held = ask(&agent, &held).unwrap();
    let journey = without_a_pack(&site, &sample);
    let without = |goes: &[Object]| {
        let mut revision = refilled(&sample, 1, &sample.list()).revision;
        revision.objects.retain(|object| !goes.contains(object));
        revision
    };
    let shown = sample.list().into_iter().rev().find(|it| it.kind == ObjectKind::Snapshot).unwrap();
    assert_ne!(shown, snapshot);
    let error = put_signed(&journey, &without(&[shown])).unwrap_err();
    assert_eq!(error.code(), Some(&Code::AlreadyExists), "{error}");
    assert!(error.to_string().contains(&shown.key().to_string()), "{error}");
    put_signed(&journey, &without(&[snapshot])).unwrap();
    assert_eq!(newest(&journey).map(|(number, _)| number), Some(1));
    assert_eq!(held.snapshots, 1);
}

#[test]
fn a_revision_outlives_the_server_and_dies_before_no_step() {
    let sample = Sample::new("revised-dies", 3);
    for nth in 0.. {
        let (dying, count) = dying_before(nth);
        let mut site = Site::with(|_| {});
        let journey = without_a_pack(&site, &sample);
        let refilled = refilled(&sample, 1, &sample.list());
        put_signed(&journey, &refilled.revision).unwrap();
        send(&journey, &refilled.new);
        site.stop();
        site.start(dying);
        let journey = journey.again(&site);
        journey.publish();
        let when = format!("death before step {nth}");
        let names = visible(&site);
        let lost = refilled.lost.key().path();
        assert!(!names.contains(&lost), "{when}");
        let died = count.load(Ordering::SeqCst) > nth;
        site.stop();
        site.start(|_| {});
        let journey = journey.again(&site);
        assert_eq!(settled(&journey).state, PublicationState::Published, "{when}");
        let root = independent_root(&refilled.revision.objects);
        assert_eq!(receipt(&journey.agent).unwrap().0.root, root, "{when}");
        assert_eq!(visible(&site).len(), refilled.revision.objects.len(), "{when}");
        if !died {
            assert!(nth > 2 * sample.objects.len());
            return;
        }
    }
}
