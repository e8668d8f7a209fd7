//! Clocks that jump: what is held is held for as long as time passes, whatever a clock says of it.

use crate::keeping::{
    all_keys, ask, code, everything, filled, fs01, listed, reaches, vault, waits,
};
use crate::sample::Sample;
use crate::site::{Site, on_database, vault_of};
use client::Client;
use jiff::{SignedDuration, Timestamp};
use model::{ObjectKey, ObjectKind};
use server::{Clock, Config};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use wire::{Code, DeletionState, VaultPatch};

/// A wall clock that somebody sets; time passes as ever. By less than two months, after which the server would make a certificate that
/// nobody takes yet.
#[derive(Clone, Default)]
struct Jumping(Arc<AtomicI64>);

impl Jumping {
    fn config(&self) -> impl Fn(&mut Config) + use<> {
        let ahead = Arc::clone(&self.0);
        move |config| {
            let ahead = Arc::clone(&ahead);
            config.clock = Clock::moved(move || {
                Timestamp::now() + SignedDuration::from_hours(24 * ahead.load(Ordering::Relaxed))
            });
            config.tick = Duration::from_millis(20);
        }
    }

    fn to(&self, days: i64) {
        self.0.store(days, Ordering::Relaxed);
    }
}

fn told(admin: &Client, words: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while !admin.notices(None, 0).unwrap().iter().any(|notice| notice.text.contains(words)) {
        assert!(Instant::now() < until, "nobody was told: {words}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_clock_that_jumps_ahead_ends_no_hold_and_the_next_start_does_not_either() {
    let clock = Jumping::default();
    let mut site = Site::with(clock.config());
    let (agent, store, sample) = filled(&site, "jump", 3);
    store.put(&ObjectKey::Key(crate::sample::hash(b"another key")), b"another key").unwrap();
    let key = store.list(ObjectKind::Key).unwrap()[0].key.id().unwrap();
    agent.remove_key(&vault(), &fs01(), key).unwrap();
    let deletion = ask(&agent, &everything(&sample)).unwrap();
    clock.to(50);
    let why = waits(&site.admin(), deletion.id);
    assert!(why.contains("has seen pass"), "{why}");
    told(&site.admin(), "was moved ahead by");
    site.stop();
    site.start(clock.config());
    std::thread::sleep(Duration::from_millis(200));
    let agent = site.again(&agent);
    let held = reaches(&site.admin(), deletion.id, DeletionState::Held);
    assert!(held.due_at < Timestamp::now() + SignedDuration::from_hours(24 * 15));
    assert!(
        vault_of(&agent).list(ObjectKind::Key).unwrap().iter().any(|it| it.key.id() == Some(key))
    );
    // And all of it is still there.
    site.admin().undelete(&vault(), &fs01(), deletion.id).unwrap();
    let store = vault_of(&agent);
    assert_eq!(listed(&store), all_keys(&sample));
    for (object, bytes) in &sample.objects {
        assert_eq!(store.get(&object.key(), 1 << 20).unwrap(), *bytes);
    }
    // A PIN is somebody's word, whatever the clock says.
    let deletion = ask(&agent, &everything(&sample)).unwrap();
    let pin = site.admin().make_pin(&vault()).unwrap().pin;
    agent.shorten(&vault(), &fs01(), deletion.id, &pin).unwrap();
    reaches(&site.admin(), deletion.id, DeletionState::Done);
}

#[test]
fn a_clock_that_jumps_ahead_makes_no_snapshot_older() {
    let clock = Jumping::default();
    let site = Site::with(clock.config());
    let (agent, _, sample) = filled(&site, "young", 2);
    let patch = VaultPatch { minimum_retention_days: Some(30), ..VaultPatch::default() };
    site.admin().set_vault(&vault(), &patch).unwrap();
    clock.to(50);
    assert_eq!(code(ask(&agent, &everything(&sample))), Code::RetentionRefused);
}

#[test]
fn what_was_asked_for_by_a_clock_that_was_ahead_is_held_until_the_date_that_was_told() {
    let clock = Jumping::default();
    let site = Site::with(clock.config());
    let (agent, _, sample) = filled(&site, "ahead", 2);
    clock.to(50);
    // It is looked at now and then: two moves between two looks would be one.
    told(&site.admin(), "was moved ahead by");
    let deletion = ask(&agent, &everything(&sample)).unwrap();
    clock.to(20);
    told(&site.admin(), "was moved back by");
    let held = reaches(&site.admin(), deletion.id, DeletionState::Held);
    assert!(held.due_at > Timestamp::now() + SignedDuration::from_hours(24 * 63));
}

/// A server that did not run has seen nothing, and goes on counting where it was.
#[test]
fn time_in_which_the_server_did_not_run_does_not_count() {
    let mut site = Site::with(|config| config.tick = Duration::from_millis(20));
    let (agent, _, sample): (Client, _, Sample) = filled(&site, "away", 2);
    let deletion = ask(&agent, &everything(&sample)).unwrap();
    site.stop();
    let later = Arc::new(AtomicI64::new(20));
    let days = Arc::clone(&later);
    site.start(|config| {
        config.tick = Duration::from_millis(20);
        config.clock = Clock::from_fn(move || {
            Timestamp::now() + SignedDuration::from_hours(24 * days.load(Ordering::Relaxed))
        });
    });
    assert!(waits(&site.admin(), deletion.id).contains("did not run"));
    later.store(33, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(200));
    reaches(&site.admin(), deletion.id, DeletionState::Held);
    later.store(35, Ordering::Relaxed);
    reaches(&site.admin(), deletion.id, DeletionState::Done);
}

/// By both clocks, or by one of them, so many days back.
fn aged(column: &str, days: i64) -> String {
    format!("{column} = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-{days} days')")
}

#[test]
fn a_seed_that_waits_for_its_drives_is_in_the_way_for_as_long_as_time_was_seen_to_pass() {
    let clock = Jumping::default();
    let site = Site::with(clock.config());
    site.copy("vault1", "fs01");
    let (agent, _, sample) = filled(&site, "announced", 2);
    let refused = || {
        let refused = ask(&agent, &everything(&sample)).unwrap_err();
        assert_eq!(refused.code(), Some(&Code::DataInTransit));
        refused.to_string()
    };
    let set = |table: &str, wall: (&str, i64), seen: (&str, i64)| {
        let (wall, seen) = (aged(wall.0, wall.1), aged(seen.0, seen.1));
        on_database(&site, &format!("UPDATE {table} SET {wall}, {seen}"));
    };
    let announced = |wall, seen| set("seed", ("announced_at", wall), ("announced_seen", seen));
    let copied = |wall, seen| set("copy_computer", ("created_at", wall), ("created_seen", seen));
    assert!(refused().contains("another computer"));
    // Announced long ago, and asked for by a copy computer two months ago.
    announced(100, 100);
    copied(60, 60);
    clock.to(50);
    assert!(refused().contains("another computer"), "a jump makes it no older");
    assert_eq!(agent.seeds_under_way(&vault(), &fs01()).unwrap().len(), 1);
    copied(60, 100);
    assert!(agent.seeds_under_way(&vault(), &fs01()).unwrap().is_empty());
    announced(60, 60);
    assert!(refused().contains("is announced"));
    announced(60, 100);
    ask(&agent, &everything(&sample)).unwrap();
}
