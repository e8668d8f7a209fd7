//! Deletions by name: held, undeleted, carried out, refused; what a vault allows; what somebody who has an agent's credentials can do
//! with all of it.

use crate::moved::Moved;
use crate::restic::{Restic, assert_same, ca_file, source, there_is_restic, vault_url};
use crate::sample::{Journey, Sample, hash};
use crate::site::{Site, files, own, raw, vault_of};
use client::Client;
use jiff::SignedDuration;
use model::{Digest, ObjectKey, ObjectKind, ServerName, VaultName};
use server::{Checkpoint, Step};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use store::Store;
use ureq::http::Method;
use wire::{
    Code, Deletion, DeletionRequest, DeletionState, Immutability, PublicationState, ServerPatch,
    VaultPatch,
};

pub(crate) fn vault() -> VaultName {
    "vault1".parse().unwrap()
}

pub(crate) fn fs01() -> ServerName {
    "fs01".parse().unwrap()
}

fn repository(site: &Site) -> PathBuf {
    site.objects().join("vaults/vault1/fs01/repository")
}

/// A repository in a vault: packs, two indexes, two snapshots.
pub(crate) fn filled(site: &Site, tag: &str, packs: usize) -> (Client, Arc<dyn Store>, Sample) {
    let (agent, sample) = (site.agent("vault1", "fs01"), Sample::new(tag, packs));
    let store = vault_of(&agent);
    for (object, bytes) in &sample.objects {
        store.put(&object.key(), bytes).unwrap();
    }
    (agent, store, sample)
}

pub(crate) fn names(sample: &Sample, kind: ObjectKind) -> Vec<Digest> {
    let of_kind = sample.objects.iter().filter(|(object, _)| object.kind == kind);
    of_kind.map(|(object, _)| object.name).collect()
}

pub(crate) fn everything(sample: &Sample) -> DeletionRequest {
    DeletionRequest {
        reason: "a test".to_owned(),
        snapshots: names(sample, ObjectKind::Snapshot),
        indexes: names(sample, ObjectKind::Index),
        packs: names(sample, ObjectKind::Pack),
        ..DeletionRequest::default()
    }
}

pub(crate) fn ask(agent: &Client, request: &DeletionRequest) -> client::Result<Deletion> {
    agent.delete(&vault(), &fs01(), request)
}

pub(crate) fn listed(store: &Arc<dyn Store>) -> Vec<ObjectKey> {
    let kinds = [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack];
    let mut keys: Vec<ObjectKey> = kinds
        .into_iter()
        .flat_map(|kind| store.list(kind).unwrap())
        .map(|listed| listed.key)
        .collect();
    keys.sort();
    keys
}

pub(crate) fn all_keys(sample: &Sample) -> Vec<ObjectKey> {
    let kinds = [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack];
    let objects = sample.objects.iter().filter(|(object, _)| kinds.contains(&object.kind));
    let mut keys: Vec<ObjectKey> = objects.map(|(object, _)| object.key()).collect();
    keys.sort();
    keys
}

pub(crate) fn code(result: client::Result<impl std::fmt::Debug>) -> Code {
    result.unwrap_err().code().unwrap().clone()
}

/// The deletion once it is in that state: the server gets there by itself.
pub(crate) fn reaches(admin: &Client, id: u64, state: DeletionState) -> Deletion {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let all = admin.deletions(&vault(), None).unwrap();
        let deletion = all.into_iter().find(|deletion| deletion.id == id).unwrap();
        if deletion.state == state {
            return deletion;
        }
        assert!(Instant::now() < until, "{deletion:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The deletion once it says why it waits.
pub(crate) fn waits(admin: &Client, id: u64) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let all = admin.deletions(&vault(), None).unwrap();
        let deletion = all.into_iter().find(|deletion| deletion.id == id).unwrap();
        if let Some(why) = deletion.waits {
            return why;
        }
        assert!(Instant::now() < until, "{deletion:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_held_is_neither_listed_nor_handed_out_and_comes_back_when_undeleted() {
    let site = Site::new();
    let (agent, store, sample) = filled(&site, "held", 4);
    let before = files(&repository(&site));
    let deletion = ask(&agent, &everything(&sample)).unwrap();
    assert_eq!((deletion.snapshots, deletion.indexes, deletion.packs), (2, 2, 4));
    assert_eq!(deletion.due_at.duration_since(deletion.asked_at), SignedDuration::from_hours(336));
    assert!(listed(&store).is_empty());
    for key in all_keys(&sample) {
        assert!(matches!(store.length(&key), Err(store::Error::NotFound { .. })), "{key}");
        assert!(matches!(store.get(&key, 1 << 20), Err(store::Error::NotFound { .. })), "{key}");
    }
    assert_eq!(files(&repository(&site)), before, "nothing is moved, nothing is removed");
    let config = store.length(&ObjectKey::Config);
    assert!(config.is_ok() && store.list(ObjectKind::Key).unwrap().len() == 1);
    // Nobody else's name brings it back.
    let stranger = site.agent("vault1", "fs02");
    let refused = stranger.undelete(&vault(), &fs01(), deletion.id);
    assert_eq!(code(refused), Code::AuthorizationFailed);
    let undone = site.admin().undelete(&vault(), &fs01(), deletion.id).unwrap();
    assert_eq!(undone.len(), 1);
    assert_eq!(listed(&store), all_keys(&sample));
    for (object, bytes) in &sample.objects {
        assert_eq!(store.get(&object.key(), 1 << 20).unwrap(), *bytes);
    }
    assert_eq!(code(site.admin().undelete(&vault(), &fs01(), deletion.id)), Code::JobState);
    let audit = site.admin().audit(None).unwrap();
    let paths: Vec<&str> = audit.iter().map(|entry| entry.path.as_str()).collect();
    for path in ["deletions", "deletions/1/undelete"] {
        let path = format!("/api/v1/vaults/vault1/servers/fs01/{path}");
        assert!(paths.contains(&path.as_str()), "{paths:?}");
    }
}

#[test]
fn a_deletion_is_carried_out_after_its_hold_and_not_before() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, store, sample) = filled(&site, "due", 3);
    let mut request = everything(&sample);
    let kept = request.packs.pop().unwrap();
    let deletion = ask(&agent, &request).unwrap();
    moved.days(13);
    std::thread::sleep(Duration::from_millis(200));
    reaches(&site.admin(), deletion.id, DeletionState::Held);
    moved.days(1);
    let done = reaches(&site.admin(), deletion.id, DeletionState::Done);
    assert!(done.ended_at.is_some());
    assert_eq!(listed(&store), [ObjectKey::Pack(kept)]);
    let left = files(&repository(&site));
    assert_eq!(left.len(), 3, "config, key and a pack: {left:?}");
    assert_eq!(code(site.admin().undelete(&vault(), &fs01(), deletion.id)), Code::JobState);
    let audit = site.admin().audit(None).unwrap();
    let by_server = |entry: &&wire::AuditEntry| entry.subject == "server";
    let entry = audit.iter().find(by_server).unwrap();
    assert_eq!((entry.method.as_str(), entry.status), ("DELETE", 200));
    // The same objects can come again.
    for (object, bytes) in &sample.objects {
        if object.kind != ObjectKind::Config {
            store.put(&object.key(), bytes).unwrap();
        }
    }
    assert_eq!(listed(&store), all_keys(&sample));
}

#[test]
fn what_is_stored_again_within_the_hold_is_a_new_one_and_stays() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, store, sample) = filled(&site, "again", 3);
    let deletion = ask(&agent, &everything(&sample)).unwrap();
    let (pack, bytes) = sample.objects.iter().find(|(o, _)| o.kind == ObjectKind::Pack).unwrap();
    // Another body brings nothing back.
    let path = format!("/vaults/vault1/fs01/data/{}", pack.name);
    let answer = raw(agent.credentials(), own(&agent), &Method::POST, &path, &[], b"other");
    assert_eq!(answer.status, 409);
    assert!(listed(&store).is_empty());
    store.put(&pack.key(), bytes).unwrap();
    assert_eq!(listed(&store), [pack.key()]);
    moved.days(15);
    reaches(&site.admin(), deletion.id, DeletionState::Done);
    assert_eq!(store.get(&pack.key(), 1 << 20).unwrap(), *bytes);
    assert_eq!(listed(&store), [pack.key()]);
}

#[test]
fn what_was_stored_again_is_no_hindrance_to_undeleting_the_rest() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, store, sample) = filled(&site, "both", 3);
    let first = ask(&agent, &everything(&sample)).unwrap();
    let (pack, bytes) = sample.objects.iter().find(|(o, _)| o.kind == ObjectKind::Pack).unwrap();
    store.put(&pack.key(), bytes).unwrap();
    // The new one is asked for as well, and belongs to the later request.
    let second = DeletionRequest { packs: vec![pack.name], ..DeletionRequest::default() };
    let second = ask(&agent, &second).unwrap();
    assert_eq!(second.packs, 1);
    store.put(&pack.key(), bytes).unwrap();
    let undone = site.admin().undelete(&vault(), &fs01(), first.id).unwrap();
    assert_eq!(undone.len(), 2);
    assert_eq!(listed(&store), all_keys(&sample));
    moved.days(30);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(listed(&store), all_keys(&sample));
    assert_eq!(store.get(&pack.key(), 1 << 20).unwrap(), *bytes);
}

/// One that was damaged meanwhile is stored anew.
#[test]
fn what_was_damaged_within_the_hold_is_whole_when_it_is_stored_again() {
    let site = Site::new();
    let (agent, store, sample) = filled(&site, "rotten", 2);
    ask(&agent, &everything(&sample)).unwrap();
    let (pack, bytes) = sample.objects.iter().find(|(o, _)| o.kind == ObjectKind::Pack).unwrap();
    std::fs::write(repository(&site).join(pack.key().path()), b"rotten").unwrap();
    store.put(&pack.key(), bytes).unwrap();
    assert_eq!(store.get(&pack.key(), 1 << 20).unwrap(), *bytes);
}

#[test]
fn a_server_that_dies_at_any_step_goes_on_and_shows_nothing_that_is_not_there() {
    let steps = [Step::Mark, Step::Remove, Step::Forget, Step::Done];
    for die_at in 0..40 {
        let moved = Moved::default();
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let mut site = Site::with(|config| {
            moved.config()(config);
            config.checkpoint = Checkpoint::from_fn(move |step| {
                !steps.contains(&step) || seen.fetch_add(1, Ordering::Relaxed) < die_at
            });
        });
        let (agent, _, sample) = filled(&site, "dies", 3);
        let mut request = everything(&sample);
        let kept = request.packs.pop().unwrap();
        let deletion = ask(&agent, &request).unwrap();
        moved.days(14);
        let until = Instant::now() + Duration::from_secs(30);
        let died = loop {
            if count.load(Ordering::Relaxed) > die_at {
                break true;
            }
            let all = site.admin().deletions(&vault(), None).unwrap();
            if all[0].state == DeletionState::Done {
                break false;
            }
            assert!(Instant::now() < until, "{all:?}");
        };
        site.stop();
        // Power may bring back nothing that is visible: what is listed can be read.
        site.start(|config| {
            moved.config()(config);
            config.checkpoint = Checkpoint::from_fn(move |step| !steps.contains(&step));
        });
        let store = vault_of(&site.again(&agent));
        let visible = listed(&store);
        assert_eq!(visible, [ObjectKey::Pack(kept)], "step {die_at}");
        site.stop();
        site.start(moved.config());
        reaches(&site.admin(), deletion.id, DeletionState::Done);
        let left = files(&repository(&site));
        assert_eq!(left.len(), 3, "step {die_at}: {left:?}");
        if !died {
            assert!(die_at > 8, "{die_at}");
            return;
        }
    }
    panic!("it never came to its end");
}

#[test]
fn deletions_are_carried_out_in_order_and_undone_from_the_end() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, store, sample) = filled(&site, "order", 4);
    let packs = names(&sample, ObjectKind::Pack);
    let of = |packs: &[Digest]| DeletionRequest { packs: packs.to_vec(), ..Default::default() };
    let first = ask(&agent, &of(&packs[..1])).unwrap();
    moved.days(3);
    let second = ask(&agent, &of(&packs[1..2])).unwrap();
    let third = ask(&agent, &of(&packs[2..3])).unwrap();
    // A PIN for the second ends the first one's hold, too; the third stays.
    let pin = site.admin().make_pin(&vault()).unwrap().pin;
    let shortened = agent.shorten(&vault(), &fs01(), second.id, &pin).unwrap();
    let ids: Vec<u64> = shortened.iter().map(|deletion| deletion.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    reaches(&site.admin(), second.id, DeletionState::Done);
    reaches(&site.admin(), first.id, DeletionState::Done);
    reaches(&site.admin(), third.id, DeletionState::Held);
    let fourth = ask(&agent, &of(&packs[3..])).unwrap();
    let undone = site.admin().undelete(&vault(), &fs01(), third.id).unwrap();
    assert_eq!(undone.iter().map(|it| it.id).collect::<Vec<_>>(), [third.id, fourth.id]);
    assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 2);
    // What was planned before that is planned again.
    let settings = agent.server_settings(&vault(), &fs01(), false).unwrap();
    assert_eq!(settings.undone, 2);
    let stale = DeletionRequest { undone: Some(0), ..of(&packs[2..3]) };
    assert_eq!(code(ask(&agent, &stale)), Code::ConcurrentChange);
    ask(&agent, &DeletionRequest { undone: Some(2), ..of(&packs[2..3]) }).unwrap();
}

#[test]
fn a_long_request_comes_in_parts_and_a_part_of_another_is_refused() {
    let site = Site::new();
    let (agent, store, sample) = filled(&site, "parts", 3);
    let whole = everything(&sample);
    let first = DeletionRequest { indexes: vec![], packs: vec![], ..whole.clone() };
    let id = ask(&agent, &first).unwrap().id;
    let next = DeletionRequest { continues: Some(id), snapshots: vec![], ..whole.clone() };
    let deletion = ask(&agent, &next).unwrap();
    assert_eq!((deletion.id, deletion.snapshots, deletion.packs), (id, 2, 3));
    assert!(listed(&store).is_empty());
    let other = DeletionRequest { packs: vec![hash(b"none")], ..Default::default() };
    let empty = ask(&agent, &other).unwrap();
    assert_eq!((empty.packs, empty.bytes), (0, 0), "what is not there is passed over");
    assert_eq!(code(ask(&agent, &next)), Code::ConcurrentChange);
    assert_eq!(code(ask(&agent, &DeletionRequest::default())), Code::InvalidRequest);
    let many = DeletionRequest { packs: vec![hash(b"x"); 20_001], ..Default::default() };
    assert_eq!(code(ask(&agent, &many)), Code::InvalidRequest);
}

#[test]
fn snapshots_are_kept_for_the_minimum_retention_by_the_vault_s_own_clock() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, store, sample) = filled(&site, "young", 3);
    let patch = VaultPatch { minimum_retention_days: Some(30), ..VaultPatch::default() };
    site.admin().set_vault(&vault(), &patch).unwrap();
    let request = everything(&sample);
    let client::Error::Refused { code, message, mut details, .. } =
        ask(&agent, &request).unwrap_err()
    else {
        panic!("it is no refusal")
    };
    assert_eq!(code, Code::RetentionRefused);
    assert!(message.contains("30 days"), "{message}");
    details.sort();
    let mut expected: Vec<String> = request.snapshots.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(details, expected);
    assert_eq!(listed(&store), all_keys(&sample), "nothing of it is held");
    moved.days(30);
    let snapshots = DeletionRequest { indexes: vec![], packs: vec![], ..request.clone() };
    let deletion = ask(&agent, &snapshots).unwrap();
    // What is longer by now holds what was asked for already.
    let patch = VaultPatch { minimum_retention_days: Some(60), ..VaultPatch::default() };
    site.admin().set_vault(&vault(), &patch).unwrap();
    moved.days(15);
    assert!(waits(&site.admin(), deletion.id).contains("60 days"));
    moved.days(15);
    reaches(&site.admin(), deletion.id, DeletionState::Done);
}

/// Which snapshots need a pack, the vault cannot know: any of those that came until now may.
#[test]
fn packs_and_indexes_are_held_for_the_minimum_retention() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, store, sample) = filled(&site, "needed", 3);
    let set = |days: u32| {
        let patch = VaultPatch { minimum_retention_days: Some(days), ..VaultPatch::default() };
        site.admin().set_vault(&vault(), &patch).unwrap();
    };
    set(30);
    let packs = DeletionRequest { packs: names(&sample, ObjectKind::Pack), ..Default::default() };
    let deletion = ask(&agent, &packs).unwrap();
    let held = deletion.due_at.duration_since(deletion.asked_at);
    assert_eq!(held, SignedDuration::from_hours(30 * 24));
    set(40);
    moved.days(35);
    assert!(waits(&site.admin(), deletion.id).contains("40 days"));
    site.admin().undelete(&vault(), &fs01(), deletion.id).unwrap();
    assert_eq!(listed(&store), all_keys(&sample));
    let deletion = ask(&agent, &packs).unwrap();
    moved.days(40);
    reaches(&site.admin(), deletion.id, DeletionState::Done);
}

#[test]
fn a_pin_is_good_once_for_five_minutes_and_three_guesses() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, _, sample) = filled(&site, "pin", 3);
    let admin = site.admin();
    assert_eq!(code(agent.make_pin(&vault())), Code::AuthorizationFailed);
    let packs = names(&sample, ObjectKind::Pack);
    let one = |n: usize| DeletionRequest { packs: vec![packs[n]], ..Default::default() };
    let id = ask(&agent, &one(0)).unwrap().id;
    let use_pin = |id: u64, pin: &str| agent.shorten(&vault(), &fs01(), id, pin);
    assert_eq!(code(use_pin(id, "0123456789")), Code::PinRefused);
    let pin = admin.make_pin(&vault()).unwrap().pin;
    let wrong = if pin == "0000000000" { "1111111111" } else { "0000000000" };
    for _ in 0..3 {
        assert_eq!(code(use_pin(id, wrong)), Code::PinRefused);
    }
    assert_eq!(code(use_pin(id, &pin)), Code::PinRefused, "three guesses have ended it");
    let pin = admin.make_pin(&vault()).unwrap().pin;
    moved.minutes(6);
    assert_eq!(code(use_pin(id, &pin)), Code::PinRefused, "it is too old");
    let pin = admin.make_pin(&vault()).unwrap().pin;
    let database = std::fs::read(site.data().join("packmule.db")).unwrap();
    let log = std::fs::read(site.data().join("packmule.db-wal")).unwrap_or_default();
    for bytes in [&database, &log] {
        assert!(!bytes.windows(pin.len()).any(|window| window == pin.as_bytes()), "it is kept");
    }
    use_pin(id, &pin).unwrap();
    reaches(&admin, id, DeletionState::Done);
    let other = ask(&agent, &one(1)).unwrap().id;
    assert_eq!(code(use_pin(other, &pin)), Code::PinRefused, "it was used");
    reaches(&admin, other, DeletionState::Held);
}

#[test]
fn nothing_hurries_an_immutable_vault_and_a_locked_one_stays_so() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let (agent, _, sample) = filled(&site, "locked", 2);
    let admin = site.admin();
    let set = |patch: VaultPatch| admin.set_vault(&vault(), &patch);
    let state =
        |immutability| VaultPatch { immutability: Some(immutability), ..VaultPatch::default() };
    let patch = VaultPatch { hold_days: Some(6), ..VaultPatch::default() };
    assert_eq!(code(set(patch)), Code::InvalidRequest);
    let deletion = ask(&agent, &everything(&sample)).unwrap();
    let pin = admin.make_pin(&vault()).unwrap().pin;
    set(state(Immutability::Enabled)).unwrap();
    let hurried = agent.shorten(&vault(), &fs01(), deletion.id, &pin);
    assert_eq!(code(hurried), Code::RetentionRefused);
    assert_eq!(code(admin.make_pin(&vault())), Code::RetentionRefused);
    set(state(Immutability::Disabled)).unwrap();
    let used = agent.shorten(&vault(), &fs01(), deletion.id, &pin);
    assert_eq!(code(used), Code::PinRefused, "a PIN does not outlive that");
    set(state(Immutability::Locked)).unwrap();
    assert_eq!(code(set(state(Immutability::Disabled))), Code::RetentionRefused);
    let sooner = VaultPatch { hold_days: Some(7), ..VaultPatch::default() };
    assert_eq!(code(set(sooner)), Code::RetentionRefused);
    assert_eq!(
        code(agent.set_vault(&vault(), &state(Immutability::Disabled))),
        Code::AuthorizationFailed
    );
    let settings = admin.vault_settings(&vault(), false).unwrap();
    assert_eq!((settings.hold_days, settings.immutability), (14, Immutability::Locked));
    moved.days(14);
    reaches(&admin, deletion.id, DeletionState::Done);
}

#[test]
fn nothing_is_deleted_while_a_seed_travels_and_what_it_brings_stays() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let sample = Sample::new("transit", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let store = vault_of(&journey.agent);
    // The vault has all of it, and is asked to delete that before the seed is thought of.
    for (object, bytes) in &sample.objects {
        store.put(&object.key(), bytes).unwrap();
    }
    let before = ask(&journey.agent, &everything(&sample)).unwrap();
    journey.travel();
    let refused = ask(&journey.agent, &everything(&sample)).unwrap_err();
    assert_eq!(refused.code(), Some(&Code::DataInTransit));
    assert!(refused.to_string().contains("job-1"), "{refused}");
    moved.days(14);
    assert!(waits(&site.admin(), before.id).contains("on its way"));
    assert_eq!(journey.publish().state, PublicationState::Published);
    assert_eq!(listed(&store), all_keys(&sample), "all of it is new");
    reaches(&site.admin(), before.id, DeletionState::Done);
    assert_eq!(listed(&store), all_keys(&sample));
    for (object, bytes) in &sample.objects {
        assert_eq!(store.get(&object.key(), 1 << 20).unwrap(), *bytes);
    }
}

#[test]
fn what_an_export_needs_is_not_deleted_until_that_is_over() {
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let scene = crate::exports::scene(&site);
    let listed_by_export = scene.create();
    let packs: Vec<Digest> = listed_by_export
        .iter()
        .filter(|object| object.kind == ObjectKind::Pack)
        .map(|object| object.name)
        .collect();
    let needed = DeletionRequest { packs: packs.clone(), ..DeletionRequest::default() };
    let refused = ask(&scene.agent, &needed).unwrap_err();
    assert_eq!(refused.code(), Some(&Code::JobState));
    assert!(refused.to_string().contains("export-1"), "{refused}");
    // What it does not need may go.
    let all = names(&scene.sample, ObjectKind::Pack);
    let other: Vec<Digest> = all.into_iter().filter(|name| !packs.contains(name)).collect();
    let request = DeletionRequest { packs: other, ..DeletionRequest::default() };
    ask(&scene.agent, &request).unwrap();
    scene.cancel();
    ask(&scene.agent, &needed).unwrap();
}

#[test]
fn what_is_held_cannot_be_exported() {
    let site = Site::new();
    let scene = crate::exports::scene(&site);
    let packs = names(&scene.sample, ObjectKind::Pack);
    let request = DeletionRequest { packs, ..DeletionRequest::default() };
    ask(&scene.agent, &request).unwrap();
    assert_eq!(code(scene.try_create()), Code::ManifestRefused);
}

#[test]
fn quotas_are_of_vaults_and_source_servers_and_say_what_they_count() {
    let site = Site::new();
    let (agent, store, sample) = filled(&site, "quota", 2);
    let admin = site.admin();
    let used = admin.server_settings(&vault(), &fs01(), true).unwrap().used.unwrap();
    let bytes: u64 = sample.objects.iter().map(|(object, _)| object.length).sum();
    assert_eq!(used, bytes);
    let quota = ServerPatch { quota: Some(used + 10) };
    admin.set_server(&vault(), &fs01(), &quota).unwrap();
    let put = |bytes: &[u8]| store.put(&ObjectKey::Pack(hash(bytes)), bytes);
    let refusal = put(b"eleven byte").unwrap_err();
    assert!(matches!(refusal, store::Error::Quota { .. }), "{refusal:?}");
    let words = refusal.to_string();
    for part in [(used + 10).to_string(), used.to_string(), "11 more".to_owned()] {
        assert!(words.contains(&part), "{words}");
    }
    put(b"ten bytes.").unwrap();
    assert!(put(b"1").is_err());
    // The same object again takes no room, and nor do locks.
    put(b"ten bytes.").unwrap();
    let lock = ObjectKey::Lock(hash(b"lock"));
    store.put(&lock, b"lock").unwrap();
    assert_eq!(listed(&store).len(), all_keys(&sample).len() + 1, "what was stored is whole");
    // Another source server has room, until the vault has none.
    let other = vault_of(&site.agent("vault1", "fs02"));
    other.put(&ObjectKey::Pack(hash(b"other")), b"other").unwrap();
    let quota = VaultPatch { quota: Some(used + 18), ..VaultPatch::default() };
    let settings = admin.set_vault(&vault(), &quota).unwrap();
    assert_eq!(settings.quota, Some(used + 18));
    let refusal = other.put(&ObjectKey::Pack(hash(b"more")), b"more").unwrap_err();
    assert!(refusal.to_string().contains("vault vault1"), "{refusal}");
    // What is deleted counts until it is carried out.
    ask(&agent, &everything(&sample)).unwrap();
    assert!(other.put(&ObjectKey::Pack(hash(b"more")), b"more").is_err());
    admin.set_vault(&vault(), &VaultPatch { quota: Some(0), ..VaultPatch::default() }).unwrap();
    other.put(&ObjectKey::Pack(hash(b"more")), b"more").unwrap();
}

#[test]
fn locks_are_small_and_bounded_in_number() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let lock = |bytes: &[u8]| {
        let path = format!("/vaults/vault1/fs01/locks/{}", hash(bytes));
        raw(agent.credentials(), own(&agent), &Method::POST, &path, &[], bytes)
    };
    assert_eq!(lock(&vec![7; 65 << 10]).status, 413);
    let folder = repository(&site).join("locks");
    std::fs::create_dir_all(&folder).unwrap();
    for n in 0..1000 {
        let bytes = format!("litter {n}");
        std::fs::write(folder.join(hash(bytes.as_bytes()).to_string()), bytes).unwrap();
    }
    let answer = lock(b"one more");
    assert_eq!((answer.status, answer.code().as_str()), (409, "JobState"));
}

#[test]
fn no_owner_s_key_is_hidden_behind_false_ones() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let key = |bytes: &[u8]| {
        let path = format!("/vaults/vault1/fs01/keys/{}", hash(bytes));
        raw(agent.credentials(), own(&agent), &Method::POST, &path, &[], bytes)
    };
    for n in 0..16 {
        assert_eq!(key(format!("key {n}").as_bytes()).status, 200, "{n}");
    }
    let answer = key(b"one more");
    assert_eq!((answer.status, answer.code().as_str()), (409, "JobState"));
    assert_eq!(key(b"key 0").status, 200, "it is there");
}

#[test]
fn a_large_deletion_is_told_to_people_and_a_small_one_is_not() {
    let site = Site::new();
    let (agent, _, sample) = filled(&site, "told", 5);
    let pack = DeletionRequest {
        packs: names(&sample, ObjectKind::Pack)[..1].to_vec(),
        ..DeletionRequest::default()
    };
    ask(&agent, &pack).unwrap();
    assert!(site.admin().notices(None, 0).unwrap().is_empty());
    let id = ask(&agent, &everything(&sample)).unwrap().id;
    let notices = site.admin().notices(None, 0).unwrap();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].text.contains(&format!("packmule vault undelete vault1 {id}")));
    let (vault, server) = (notices[0].vault.as_ref(), notices[0].server.as_ref());
    assert_eq!((vault, server), (Some(&self::vault()), Some(&fs01())));
    assert_eq!(agent.notices(None, 0).unwrap().len(), 1, "its own customer's");
    // Half of the packs are as good as all of it.
    let site = Site::new();
    let (agent, _, sample) = filled(&site, "packs", 6);
    let half = DeletionRequest {
        packs: names(&sample, ObjectKind::Pack)[..5].to_vec(),
        ..DeletionRequest::default()
    };
    ask(&agent, &half).unwrap();
    assert_eq!(site.admin().notices(None, 0).unwrap().len(), 2);
}

/// Everything that somebody can do who has an agent's credentials and the repository's password: afterwards each recovery point
/// of the last fourteen days is restored by stock restic, once an administrator has undeleted.
#[test]
fn ransomware_with_an_agent_s_credentials_takes_no_recovery_point_of_the_last_fourteen_days() {
    if !there_is_restic("ransomware_with_an_agent_s_credentials") {
        return;
    }
    let moved = Moved::default();
    let site = Site::with(moved.config());
    let agent = site.agent("vault1", "fs01");
    let work = tempfile::tempdir().unwrap();
    let (ca, cache) = (ca_file(&agent, work.path()), work.path().join("cache"));
    let restic = Restic { url: vault_url(&agent), ca: &ca, cache: &cache };
    restic.ok(&["init"]);
    let data = work.path().join("data");
    let mut states = Vec::new();
    for day in 0..5 {
        source(&data, 3 + day);
        std::fs::write(data.join("day"), format!("{day}")).unwrap();
        let said = restic.ok(&["backup", "--json", data.to_str().unwrap()]);
        let summary = said.lines().last().unwrap();
        let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
        let id = summary["snapshot_id"].as_str().unwrap().to_owned();
        let kept = work.path().join(format!("state {day}"));
        let copied = std::process::Command::new("cp").arg("-a").arg(&data).arg(&kept).status();
        assert!(copied.unwrap().success());
        states.push((id, kept));
        moved.days(1);
    }
    let admin = site.admin();
    let used = admin.server_settings(&vault(), &fs01(), true).unwrap().used.unwrap();
    let quota = ServerPatch { quota: Some(used + (1 << 20)) };
    admin.set_server(&vault(), &fs01(), &quota).unwrap();

    attack(&site, &agent, &restic);

    // Nobody notices for thirteen days.
    moved.days(13);
    std::thread::sleep(Duration::from_millis(200));
    let held = admin.deletions(&vault(), Some(&fs01())).unwrap();
    let first = held.iter().filter(|it| it.state == DeletionState::Held).map(|it| it.id).min();
    assert!(held.iter().all(|it| it.state != DeletionState::Done), "{held:?}");
    admin.undelete(&vault(), &fs01(), first.unwrap()).unwrap();
    restic.ok(&["unlock", "--remove-all"]);
    for (id, kept) in &states {
        let target = work.path().join(format!("restored {id}"));
        restic.ok(&["restore", id, "--target", target.to_str().unwrap()]);
        assert_same(kept, &target.join(data.strip_prefix("/").unwrap()));
    }
    restic.ok(&["check", "--read-data"]);
}

fn attack(site: &Site, agent: &Client, restic: &Restic<'_>) {
    let store = vault_of(agent);
    let keys = listed(&store);
    let ask_raw = |method: &Method, path: &str, body: &[u8]| {
        let path = format!("/vaults/vault1/fs01/{path}");
        raw(agent.credentials(), own(agent), method, &path, &[], body).status
    };
    let path = |key: &ObjectKey| format!("{}/{}", key.kind().folder(), key.id().unwrap());
    // Overwritten, shortened, deleted.
    for key in &keys {
        let bytes = store.get(key, 1 << 30).unwrap();
        assert_eq!(ask_raw(&Method::POST, &path(key), b"encrypted, pay"), 409);
        assert_eq!(ask_raw(&Method::POST, &path(key), &bytes[..bytes.len() / 2]), 409);
        assert_eq!(ask_raw(&Method::POST, &path(key), b""), 409);
        assert_eq!(ask_raw(&Method::DELETE, &path(key), b""), 403);
        assert_eq!(store.get(key, 1 << 30).unwrap(), bytes);
    }
    let key_file = store.list(ObjectKind::Key).unwrap()[0].key;
    assert_eq!(ask_raw(&Method::DELETE, &path(&key_file), b""), 403);
    assert_eq!(ask_raw(&Method::POST, "config", b"another repository"), 403);
    // Locks, as many as there can be.
    for n in 0..50 {
        let litter = format!("a lock of nobody {n}");
        let path = format!("locks/{}", hash(litter.as_bytes()));
        assert_eq!(ask_raw(&Method::POST, &path, litter.as_bytes()), 200);
    }
    // Filled up.
    let filler = |n: u32| vec![u8::try_from(n % 251).unwrap(); 200_000 + n as usize];
    let full = (0..20)
        .map(filler)
        .find_map(|bytes| store.put(&ObjectKey::Pack(hash(&bytes)), &bytes).err());
    assert!(matches!(full, Some(store::Error::Quota { .. })), "{full:?}");
    // Deletion of everything, one after another and all at once.
    let of = |kind: ObjectKind| -> Vec<Digest> {
        keys.iter().filter(|key| key.kind() == kind).filter_map(ObjectKey::id).collect()
    };
    let part = |snapshots, indexes, packs| DeletionRequest {
        reason: "pay".to_owned(),
        snapshots,
        indexes,
        packs,
        ..DeletionRequest::default()
    };
    ask(agent, &part(vec![], vec![], of(ObjectKind::Pack)[..1].to_vec())).unwrap();
    ask(agent, &part(of(ObjectKind::Snapshot)[..2].to_vec(), vec![], vec![])).unwrap();
    ask(agent, &part(of(ObjectKind::Snapshot), of(ObjectKind::Index), of(ObjectKind::Pack)))
        .unwrap();
    let left = restic.ok(&["snapshots", "--json", "--no-lock"]);
    assert_eq!(left.trim(), "[]", "the attacker sees what he wanted");
    // Hurried, loosened.
    let last = agent.deletions(&vault(), Some(&fs01())).unwrap()[0].id;
    assert_eq!(code(agent.shorten(&vault(), &fs01(), last, "0000000000")), Code::PinRefused);
    assert_eq!(code(agent.make_pin(&vault())), Code::AuthorizationFailed);
    let loosened = VaultPatch { hold_days: Some(7), ..VaultPatch::default() };
    assert_eq!(code(agent.set_vault(&vault(), &loosened)), Code::AuthorizationFailed);
    let quota = ServerPatch { quota: Some(0) };
    assert_eq!(code(agent.set_server(&vault(), &fs01(), &quota)), Code::AuthorizationFailed);
    assert_eq!(code(agent.deletions(&vault(), None)), Code::AuthorizationFailed);
    // Another source server's is out of reach.
    let other = vault_of(&site.agent("vault1", "fs02"));
    other.put(&ObjectKey::Config, b"another's").unwrap();
    let elsewhere =
        agent.delete(&vault(), &"fs02".parse().unwrap(), &part(vec![hash(b"x")], vec![], vec![]));
    assert_eq!(code(elsewhere), Code::AuthorizationFailed);
    assert!(!site.admin().notices(None, 0).unwrap().is_empty(), "people were told");
}
