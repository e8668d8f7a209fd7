//! Key files of a vault's repository: removed after a hold, and never the last one.

use crate::site::{Site, vault_of};
use client::Client;
use jiff::{SignedDuration, Timestamp};
use model::{Digest, ObjectKey, ObjectKind};
use server::Clock;
use sha2::Digest as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use wire::Code;

struct Place {
    site: Site,
    agent: Client,
    ahead: Arc<AtomicI64>,
}

impl Place {
    /// A repository with two keys.
    fn new() -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&ahead);
        let site = Site::with(move |config| {
            config.tick = Duration::from_millis(20);
            config.clock = Clock::from_fn(move || {
                Timestamp::now() + SignedDuration::from_secs(clock.load(Ordering::SeqCst))
            });
        });
        let agent = site.agent("vault1", "fs01");
        let store = vault_of(&agent);
        for text in [b"one".as_slice(), b"two"] {
            store.put(&ObjectKey::Key(name(text)), text).unwrap();
        }
        store.put(&ObjectKey::Config, b"config").unwrap();
        Self { site, agent, ahead }
    }

    fn keys(&self) -> Vec<Digest> {
        let listed = vault_of(&self.agent).list(ObjectKind::Key).unwrap();
        listed.iter().filter_map(|listed| listed.key.id()).collect()
    }

    fn ask(&self, key: Digest) -> client::Result<wire::KeyRemoval> {
        self.agent.remove_key(&vault(), &server(), key)
    }

    fn asked(&self) -> Vec<Digest> {
        let asked = self.site.admin().key_removals(&vault(), &server()).unwrap();
        asked.iter().map(|removal| removal.key).collect()
    }

    fn days(&self, days: i64) {
        self.ahead.store(days * 86_400, Ordering::SeqCst);
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = std::time::Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::yield_now();
        }
    }
}

fn name(text: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(text).into())
}

fn vault() -> model::VaultName {
    "vault1".parse().unwrap()
}

fn server() -> model::ServerName {
    "fs01".parse().unwrap()
}

#[test]
fn a_key_stays_for_the_hold_and_then_goes() {
    let place = Place::new();
    let (one, two) = (name(b"one"), name(b"two"));
    let removal = place.ask(one).unwrap();
    assert_eq!(removal.due_at.duration_since(removal.asked_at).as_hours(), 14 * 24);
    assert_eq!(place.ask(one).unwrap(), removal, "asked again, it is the same");
    assert_eq!(place.asked(), [one]);
    place.days(13);
    std::thread::sleep(Duration::from_millis(200));
    assert!(place.keys().contains(&one), "it opens the repository as ever");
    let bytes = vault_of(&place.agent).get(&ObjectKey::Key(one), 100).unwrap();
    assert_eq!(bytes, b"one");
    place.days(15);
    place.until("it goes", |place| place.keys() == [two]);
    place.until("and is noted", |place| place.asked().is_empty());
    let gone = place.ask(one).unwrap_err();
    assert_eq!(gone.code(), Some(&Code::ResourceNotFound), "{gone}");
}

#[test]
fn the_last_key_that_nobody_wants_removed_is_never_removed() {
    let place = Place::new();
    let (one, two) = (name(b"one"), name(b"two"));
    place.ask(one).unwrap();
    let refused = place.ask(two).unwrap_err();
    assert_eq!(refused.code(), Some(&Code::InvalidRequest), "{refused}");
    // Whoever has the credentials stores one of their own, and wants both others removed.
    let theirs = name(b"theirs");
    vault_of(&place.agent).put(&ObjectKey::Key(theirs), b"theirs").unwrap();
    place.ask(two).unwrap();
    assert!(place.ask(theirs).is_err());
    // The owner, or the administrator, has 14 days to say no.
    place.site.admin().keep_key(&vault(), &server(), two).unwrap();
    place.agent.keep_key(&vault(), &server(), one).unwrap();
    let again = place.agent.keep_key(&vault(), &server(), one).unwrap_err();
    assert_eq!(again.code(), Some(&Code::ResourceNotFound), "{again}");
    place.days(20);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(place.keys().len(), 3);
}

#[test]
fn keys_of_another_server_are_nobodys_business() {
    let place = Place::new();
    let other = place.site.agent("vault1", "fs02");
    let refused = other.remove_key(&vault(), &server(), name(b"one")).unwrap_err();
    assert_eq!(refused.code(), Some(&Code::AuthorizationFailed), "{refused}");
    assert!(other.key_removals(&vault(), &server()).is_err());
    assert!(other.keep_key(&vault(), &server(), name(b"one")).is_err());
}
