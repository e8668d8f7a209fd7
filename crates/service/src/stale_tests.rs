//! When a group is stale, whatever the clock has done.

use super::*;

#[test]
fn a_group_without_recovery_points_for_three_times_is_stale() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    for day in 2..=4 {
        life.answer(Err(agent::Error::NotRegistered));
        life.at(&format!("2026-06-{day:02}T22:00:00Z"));
    }
    assert!(life.open().contains(&"group/files/stale".to_owned()), "{:?}", life.open());
    life.at("2026-06-05T22:00:00Z");
    life.at("2026-06-05T22:00:01Z");
    assert_eq!(life.open(), Vec::<String>::new());
}

#[test]
fn after_a_clock_was_ahead_a_group_is_stale_once_three_times_have_had_nothing() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    assert_eq!(life.at("2031-01-01T22:00:00Z"), 1);
    for day in 2..=4 {
        assert!(!life.open().contains(&"group/files/stale".to_owned()), "{:?}", life.open());
        life.answer(Err(agent::Error::NotRegistered));
        life.at(&format!("2026-06-{day:02}T22:00:00Z"));
    }
    life.at("2026-06-04T22:00:01Z");
    assert!(life.open().contains(&"group/files/stale".to_owned()), "{:?}", life.open());
    life.at("2026-06-05T22:00:00Z");
    life.at("2026-06-05T22:00:01Z");
    assert_eq!(life.open(), Vec::<String>::new());
}
