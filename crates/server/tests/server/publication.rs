//! Publication: complete or invisible, whatever happens on the way.

use crate::sample::{Journey, Sample, hash, object};
use crate::site::{Site, rest, vault_of};
use client::Client;
use ed25519_dalek::{Signature, VerifyingKey};
use model::{Digest, ObjectKey, ObjectKind};
use seed::Object;
use server::{Checkpoint, Config, Step};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wire::{
    Code, DriveEvent, KeysFrom, Publication, PublicationRequest, PublicationState, ReceiveRequest,
    SignedReceipt,
};

pub(crate) fn repository(site: &Site) -> std::path::PathBuf {
    site.objects().join("vaults/vault1/fs01/repository")
}

pub(crate) fn there(folder: &Path, object: &Object) -> bool {
    let bytes = std::fs::read(folder.join(object.key().path()));
    bytes.is_ok_and(|bytes| hash(&bytes) == object.name && bytes.len() as u64 == object.length)
}

/// What must hold at every moment: an index only with every pack, a snapshot only with every index,
/// a config only with its key.
fn assert_in_order(site: &Site, objects: &[Object], when: &str) {
    let folder = repository(site);
    let visible: BTreeSet<ObjectKind> = objects
        .iter()
        .filter(|object| folder.join(object.key().path()).exists())
        .map(|object| object.kind)
        .collect();
    let whole = |kind: ObjectKind| {
        let mut all = objects.iter().filter(|object| object.kind == kind);
        all.all(|object| there(&folder, object))
    };
    for (later, earlier) in [
        (ObjectKind::Config, ObjectKind::Key),
        (ObjectKind::Index, ObjectKind::Pack),
        (ObjectKind::Index, ObjectKind::Config),
        (ObjectKind::Snapshot, ObjectKind::Pack),
        (ObjectKind::Snapshot, ObjectKind::Index),
    ] {
        assert!(
            !visible.contains(&later) || whole(earlier),
            "{when}: {later:?} before {earlier:?}"
        );
    }
}

/// Asks until there is nothing more to wait for.
pub(crate) fn settled(journey: &Journey<'_>) -> Publication {
    loop {
        let status = journey.publish();
        match status.state {
            PublicationState::Published | PublicationState::Waiting | PublicationState::Failed => {
                return status;
            }
            _ => std::thread::yield_now(),
        }
    }
}

/// The root, from its description in the design, by other means than the code.
pub(crate) fn independent_root(objects: &[Object]) -> Digest {
    let mut rows: Vec<Vec<u8>> = objects
        .iter()
        .map(|object| {
            let kind = match object.kind {
                ObjectKind::Config => 0_u8,
                ObjectKind::Key => 1,
                ObjectKind::Pack => 2,
                ObjectKind::Index => 3,
                ObjectKind::Snapshot => 4,
                ObjectKind::Lock => panic!("a lock"),
            };
            [&[kind][..], object.name.as_bytes(), &object.length.to_le_bytes()].concat()
        })
        .collect();
    rows.sort();
    hash(&[b"packmule objects v1\n".as_slice(), &rows.concat()].concat())
}

pub(crate) fn receipt(agent: &Client) -> client::Result<(wire::Receipt, SignedReceipt)> {
    let credentials = agent.credentials();
    agent.receipt(credentials.vault.as_ref().unwrap(), credentials.server.as_ref().unwrap(), None)
}

#[test]
fn a_seed_becomes_visible_whole_and_is_receipted() {
    let site = Site::new();
    let sample = Sample::new("whole", 12);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(3));
    journey.travel();
    assert!(receipt(&journey.agent).is_err());
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    assert_eq!(status.objects as usize, sample.objects.len());
    let vault = vault_of(&journey.agent);
    for (object, bytes) in &sample.objects {
        assert_eq!(&vault.get(&object.key(), 1 << 20).unwrap(), bytes);
    }
    let (receipt, signed) = receipt(&journey.agent).unwrap();
    assert_eq!(receipt.root, independent_root(&sample.list()));
    assert_eq!(receipt.objects as usize, sample.objects.len());
    assert_eq!(receipt.bytes, sample.list().iter().map(|o| o.length).sum::<u64>());
    assert_eq!((receipt.repository, receipt.keys), (sample.repository, KeysFrom::Seed));
    let snapshots: Vec<Digest> =
        sample.list().iter().filter(|o| o.kind == ObjectKind::Snapshot).map(|o| o.name).collect();
    assert_eq!(receipt.snapshots, snapshots);
    let key = VerifyingKey::from_bytes(&journey.agent.credentials().receipt_key.0).unwrap();
    let message = [b"packmule receipt v1\n".as_slice(), signed.receipt.as_bytes()].concat();
    key.verify_strict(&message, &Signature::from_bytes(&signed.signature.0)).unwrap();
    assert!(crate::site::files(&site.objects().join("vaults/vault1/fs01/pending")).is_empty());
    assert_eq!(settled(&journey).state, PublicationState::Published, "asking again");
}

/// Changes a configuration such that its publication dies.
pub(crate) type Dying = Box<dyn FnOnce(&mut Config)>;

/// A configuration whose publication dies before its `nth` step, and a count of the steps asked for.
pub(crate) fn dying_before(nth: usize) -> (Dying, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let checkpoint =
        Checkpoint::from_fn(move |_: Step| counted.fetch_add(1, Ordering::SeqCst) < nth);
    (Box::new(move |config: &mut Config| config.checkpoint = checkpoint), count)
}

#[test]
fn a_death_before_any_step_is_continued_and_shows_nothing_early() {
    dies_before_each_step("dies", |dying| Site::with(dying));
}

/// One death a server, until none is left to die.
pub(crate) fn dies_before_each_step(tag: &str, site: impl Fn(Dying) -> Site) {
    let sample = Sample::new(tag, 3);
    let mut nth = 0;
    loop {
        let (dying, count) = dying_before(nth);
        let mut site = site(dying);
        let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
        journey.travel();
        let first = journey.publish();
        let died = count.load(Ordering::SeqCst) > nth;
        let when = format!("death before step {nth}");
        assert_in_order(&site, &sample.list(), &when);
        assert_eq!(receipt(&journey.agent).is_ok(), !died, "{when}");
        if !died {
            assert_eq!(first.state, PublicationState::Published);
            assert!(nth > 3 * sample.objects.len(), "fewer steps than objects");
            return;
        }
        assert_ne!(first.state, PublicationState::Published, "{when}");
        site.stop();
        assert_in_order(&site, &sample.list(), &when);
        site.start(|_| {});
        let journey = journey.again(&site);
        assert_eq!(settled(&journey).state, PublicationState::Published, "{when}");
        assert!(sample.list().iter().all(|object| there(&repository(&site), object)), "{when}");
        assert_eq!(receipt(&journey.agent).unwrap().0.root, independent_root(&sample.list()));
        nth += 1;
    }
}

#[test]
fn a_server_that_starts_again_goes_on_by_itself() {
    let sample = Sample::new("resumes", 6);
    let (dying, _) = dying_before(20);
    let mut site = Site::with(dying);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    journey.publish();
    assert!(receipt(&journey.agent).is_err());
    site.stop();
    site.start(|_| {});
    let journey = journey.again(&site);
    // Nobody asks for publication: only its receipt is looked for.
    while receipt(&journey.agent).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_visible_while_anything_is_missing() {
    let site = Site::new();
    let sample = Sample::new("missing", 6);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.create();
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Waiting, "{status:?}");
    journey.ship("TRACK1");
    journey.receive("TRACK1");
    journey.import(0, &[]);
    let status = settled(&journey);
    assert_eq!(status.missing_count as usize, journey.drives[1].1.len());
    let pack = journey.drives[1].1.iter().find(|o| o.kind == ObjectKind::Pack).unwrap().key();
    journey.import(1, &[pack]);
    let status = settled(&journey);
    assert_eq!(status.missing, [pack.to_string()]);
    assert!(!repository(&site).exists());
    assert!(receipt(&journey.agent).is_err());
    journey.import(1, &[]);
    assert_eq!(settled(&journey).state, PublicationState::Published);
}

#[test]
fn every_drive_set_must_have_come() {
    let site = Site::new();
    let sample = Sample::new("sets", 6);
    let hands = sample.dealt(2);
    let mut first = Journey::new(&site, &sample, "job-1", &hands[..1]);
    first.sets = Some(2);
    first.travel();
    let status = settled(&first);
    assert_eq!(status.state, PublicationState::Waiting);
    assert!(status.message.unwrap().contains("drive set 1"));
    let mut second = Journey::new(&site, &sample, "job-2", &hands[1..]);
    (second.set, second.sets) = (1, Some(2));
    second.travel();
    assert_eq!(settled(&second).state, PublicationState::Published);
}

#[test]
fn an_inventory_or_a_root_says_that_more_is_to_come() {
    let site = Site::new();
    let sample = Sample::new("root", 6);
    let hands = sample.dealt(2);
    let first = Journey::new(&site, &sample, "job-1", &hands[..1]);
    first.travel();
    let credentials = first.agent.credentials().clone();
    let (vault, server) = (credentials.vault.unwrap(), credentials.server.unwrap());
    let root = Some(independent_root(&sample.list()));
    let request = PublicationRequest { seed: None, root };
    let status = first.agent.publish(&vault, &server, &request).unwrap();
    assert_eq!(status.state, PublicationState::Waiting);
    let mut second = Journey::new(&site, &sample, "job-2", &hands[1..]);
    second.set = 1;
    second.create();
    let inventory = sample.inventory();
    second
        .agent
        .put_inventory(&second.job, inventory.len() as u64, &mut inventory.as_slice())
        .unwrap();
    let status = settled(&second);
    assert_eq!(status.missing_count as usize, hands[1].len());
    second.ship("TRACK2");
    second.receive("TRACK2");
    second.import(0, &[]);
    assert_eq!(settled(&second).state, PublicationState::Published);
}

fn want_list(journey: &Journey<'_>) -> client::Result<seed::WantList> {
    let credentials = journey.agent.credentials();
    let (vault, server) = (credentials.vault.as_ref(), credentials.server.as_ref());
    journey.agent.want_list(vault.unwrap(), server.unwrap(), journey.sample.seed, 1 << 20).map(
        |bytes| {
            let trust = seed::Trust::Key(credentials.receipt_key);
            seed::WantList::decode(&bytes.unwrap(), &trust).unwrap().body
        },
    )
}

fn put_inventory(journey: &Journey<'_>) {
    let bytes = journey.sample.inventory();
    let length = bytes.len() as u64;
    journey.agent.put_inventory(&journey.job, length, &mut bytes.as_slice()).unwrap();
}

#[test]
fn what_no_drive_will_bring_is_wanted_by_name_and_comes_by_network() {
    let site = Site::new();
    let sample = Sample::new("wanted", 8);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(3));
    journey.create();
    put_inventory(&journey);
    let owner = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let wanted = || journey.agent.want_list(&owner.0, &owner.1, sample.seed, 1 << 20).unwrap();
    // All of it is missing, and travels.
    assert_eq!((settled(&journey).wanted_count, wanted()), (0, None));
    journey.ship("TRACK1");
    let drives = Some(vec![journey.drives[0].0.clone(), journey.drives[1].0.clone()]);
    let request = ReceiveRequest { tracking_number: "TRACK1".parse().unwrap(), drives };
    journey.dock.receive(&request).unwrap();
    let pack = |n: usize| *journey.drives[n].1.iter().find(|o| o.kind == ObjectKind::Pack).unwrap();
    // One drive is not in its package, and one lacks a pack; one has not been read.
    journey.event(0, &DriveEvent::Started);
    journey.import(0, &[pack(0).key()]);
    let status = settled(&journey);
    let mut lost = journey.drives[2].1.clone();
    lost.push(pack(0));
    lost.sort_unstable();
    let list = want_list(&journey).unwrap();
    assert_eq!(list.objects, lost);
    assert_eq!(list.header.root, independent_root(&sample.list()));
    assert_eq!(
        (list.header.seed, list.header.repositories),
        (sample.seed, vec![sample.repository])
    );
    assert_eq!(status.wanted_count as usize, lost.len());
    assert_eq!(status.missing_count as usize, lost.len() + journey.drives[1].1.len());
    let rows = site.objects().join("accounts/seedacct/waimportexport/job-1/wanted.jsonl");
    let rows = std::fs::read_to_string(rows).unwrap();
    assert_eq!(rows.lines().count(), lost.len());
    assert!(
        rows.contains(&pack(0).key().to_string()) && rows.contains(journey.drives[2].0.as_str())
    );

    journey.import(1, &[]);
    let url = journey.agent.pending_url(&owner.0, &owner.1);
    let pending = rest(&url, journey.agent.credentials());
    for object in &lost {
        let found = sample.objects.iter().find(|(other, _)| other == object).unwrap();
        if *object == pack(0) {
            assert!(pending.put(&object.key(), b"other bytes").is_err());
        }
        pending.put(&object.key(), &found.1).unwrap();
        pending.put(&object.key(), &found.1).unwrap();
    }
    assert!(!repository(&site).exists());
    assert!(pending.remove(&pack(0).key()).is_err());
    assert!(pending.put(&ObjectKey::new(ObjectKind::Lock, hash(b"l")), b"l").is_err());
    // The job is still open, as a drive of it had problems and one never came: nothing is waited for.
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    assert_eq!(wanted(), None);
    assert!(sample.list().iter().all(|object| there(&repository(&site), object)));
    assert_eq!(receipt(&journey.agent).unwrap().0.root, independent_root(&sample.list()));
}

#[test]
fn what_the_vault_found_damaged_is_wanted() {
    let site = Site::new();
    let sample = Sample::new("wanted-damaged", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    let pack = *sample.list().iter().find(|o| o.kind == ObjectKind::Pack).unwrap();
    let at = format!("accounts/seedacct/seeds/{}/{}", sample.repository, pack.key());
    damage(&site.objects().join(at));
    assert_eq!(settled(&journey).wanted_bytes, pack.length);
    assert_eq!(want_list(&journey).unwrap().objects, [pack]);
}

/// Bytes of the same length, under the name of others: what a dying disk leaves.
pub(crate) fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[0] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_has_landed_damaged_is_put_aside_and_asked_for_by_name() {
    let site = Site::new();
    let sample = Sample::new("damaged", 6);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    let pack = sample.list().iter().find(|o| o.kind == ObjectKind::Pack).unwrap().key();
    let landed = format!("accounts/seedacct/seeds/{}/{pack}", sample.repository);
    damage(&site.objects().join(&landed));
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Waiting);
    assert_eq!(status.missing, [pack.to_string()]);
    assert!(!repository(&site).exists());
    assert!(!site.objects().join(&landed).exists());
    let kept = crate::site::files(&site.objects().join("damaged"));
    assert!(!kept.is_empty() && kept.iter().all(|name| name.ends_with(&pack.to_string())));
    // The job is over at the dock; a second drive set with the missing pack brings it.
    let object: Vec<Object> =
        sample.list().into_iter().filter(|object| object.key() == pack).collect();
    let mut again = Journey::new(&site, &sample, "job-2", &[object]);
    again.set = 1;
    again.travel();
    assert_eq!(settled(&again).state, PublicationState::Published);
    assert!(sample.list().iter().all(|object| there(&repository(&site), object)));
}

#[test]
fn a_vault_keeps_its_keys_and_what_it_has() {
    let site = Site::new();
    let sample = Sample::new("keys", 5);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let vault = vault_of(&journey.agent);
    let (own_key, own_bytes) = object(ObjectKind::Key, b"the vault's own key".to_vec());
    vault.put(&own_key.key(), &own_bytes).unwrap();
    vault.put(&ObjectKey::Config, &sample.objects[0].1).unwrap();
    let (pack, bytes) = sample.objects.iter().find(|(o, _)| o.kind == ObjectKind::Pack).unwrap();
    vault.put(&pack.key(), bytes).unwrap();
    journey.travel();
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    let keys = vault.list(ObjectKind::Key).unwrap();
    assert_eq!(keys.iter().map(|listed| listed.key).collect::<Vec<_>>(), [own_key.key()]);
    let (receipt, _) = receipt(&journey.agent).unwrap();
    assert_eq!(receipt.keys, KeysFrom::Vault);
    let without: Vec<Object> =
        sample.list().into_iter().filter(|o| o.kind != ObjectKind::Key).collect();
    assert_eq!(receipt.root, independent_root(&without));
}

#[test]
fn a_damaged_pack_of_the_vault_is_replaced_by_the_seed_s() {
    let site = Site::new();
    let sample = Sample::new("heals", 5);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let vault = vault_of(&journey.agent);
    vault.put(&ObjectKey::Config, &sample.objects[0].1).unwrap();
    let (pack, bytes) = sample.objects.iter().find(|(o, _)| o.kind == ObjectKind::Pack).unwrap();
    vault.put(&pack.key(), bytes).unwrap();
    damage(&repository(&site).join(pack.key().path()));
    journey.travel();
    assert_eq!(settled(&journey).state, PublicationState::Published);
    assert!(there(&repository(&site), pack));
}

#[test]
fn another_repository_than_the_vault_s_is_refused_by_name() {
    let site = Site::new();
    let sample = Sample::new("other", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    vault_of(&journey.agent).put(&ObjectKey::Config, b"a repository of its own").unwrap();
    journey.travel();
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Failed);
    let message = status.message.unwrap();
    assert!(message.contains(&hash(b"a repository of its own").to_string()), "{message}");
    assert!(message.contains(&sample.repository.to_string()), "{message}");
    assert!(vault_of(&journey.agent).list(ObjectKind::Pack).unwrap().is_empty());
}

#[test]
fn a_key_of_an_unfinished_repository_stands_in_the_way() {
    let site = Site::new();
    let sample = Sample::new("halfway", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let key = ObjectKey::Key(hash(b"stray"));
    vault_of(&journey.agent).put(&key, b"stray").unwrap();
    journey.travel();
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Failed);
    assert!(status.message.unwrap().contains(&key.to_string()));
}

#[test]
fn a_repository_begun_while_the_seed_becomes_visible_stays_and_stops_it() {
    let sample = Sample::new("begun", 3);
    let folder: Arc<std::sync::Mutex<Option<std::path::PathBuf>>> = Arc::default();
    let at = Arc::clone(&folder);
    let checkpoint = Checkpoint::from_fn(move |step| {
        if let (Step::Config, Some(folder)) = (step, at.lock().unwrap().as_ref()) {
            std::fs::write(folder.join("config"), b"begun meanwhile").unwrap();
        }
        true
    });
    let site = Site::with(|config| config.checkpoint = checkpoint);
    *folder.lock().unwrap() = Some(repository(&site));
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Failed, "{status:?}");
    assert_eq!(std::fs::read(repository(&site).join("config")).unwrap(), b"begun meanwhile");
    assert!(!repository(&site).join("snapshots").exists());
}

#[test]
fn an_administrator_publishes_without_the_agent_and_a_stranger_does_not() {
    let site = Site::new();
    let sample = Sample::new("burnt", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let request = PublicationRequest::default();
    let stranger = site.agent("vault1", "fs02");
    let error = stranger.publish(&vault, &server, &request).unwrap_err();
    assert_eq!(error.code(), Some(&Code::AuthorizationFailed));
    let status = site.admin().publish(&vault, &server, &request).unwrap();
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    let nobody = "fs09".parse().unwrap();
    let error = site.admin().publish(&vault, &nobody, &request).unwrap_err();
    assert_eq!(error.code(), Some(&Code::ResourceNotFound));
}

#[test]
fn many_who_ask_at_once_get_one_publication() {
    let site = Site::new();
    let sample = Sample::new("once", 30);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.travel();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(settled(&journey).state, PublicationState::Published));
        }
    });
    assert!(sample.list().iter().all(|object| there(&repository(&site), object)));
    let hash_of_root: [u8; 32] = Sha256::digest(b"").into();
    assert_ne!(receipt(&journey.agent).unwrap().0.root, Digest(hash_of_root));
}
