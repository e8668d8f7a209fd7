//! Rules of the seed: what may be published, cleaned and deleted, and when.

use super::day;
use crate::{Effect, Notice, Refused, Seed, SeedEvent, SeedState};
use model::JobName;

fn job(name: &str) -> JobName {
    name.parse().unwrap()
}

fn prepared(set: u32, name: &str) -> SeedEvent {
    SeedEvent::SetPrepared { set, job: job(name), objects: 10 }
}

fn shipped(name: &str) -> SeedEvent {
    SeedEvent::JobShipped { job: job(name) }
}

fn arrived(name: &str) -> SeedEvent {
    SeedEvent::JobArrived { job: job(name) }
}

fn landed(name: &str, missing: u64) -> SeedEvent {
    SeedEvent::JobLanded { job: job(name), missing }
}

fn lost(name: &str) -> SeedEvent {
    SeedEvent::JobLost { job: job(name) }
}

fn counted(missing: u64) -> SeedEvent {
    SeedEvent::MissingCounted { missing }
}

fn then(seed: &Seed, events: impl IntoIterator<Item = SeedEvent>) -> (Seed, Vec<Effect>) {
    let mut all = Vec::new();
    let mut seed = seed.clone();
    for event in events {
        let (next, effects) = seed
            .transition(&event, day(1))
            .unwrap_or_else(|refused| panic!("{event:?} was refused: {refused}"));
        seed = next;
        all.extend(effects);
    }
    (seed, all)
}

fn refuses(seed: &Seed, event: &SeedEvent) -> Refused {
    seed.transition(event, day(1)).expect_err(&format!("{event:?} was accepted"))
}

/// Preparing, with sets 1 and 2 written.
fn two_sets() -> Seed {
    let events = [
        SeedEvent::StagingFinished,
        SeedEvent::PreparationStarted,
        prepared(1, "job-1"),
        prepared(2, "job-2"),
    ];
    then(&Seed::new(day(0)), events).0
}

fn travelling() -> Seed {
    let events = [SeedEvent::PreparationFinished { sets: 2 }, shipped("job-1"), shipped("job-2")];
    then(&two_sets(), events).0
}

fn published() -> Seed {
    let events = [
        landed("job-1", 0),
        landed("job-2", 0),
        SeedEvent::PublicationStarted,
        SeedEvent::PublicationFinished,
    ];
    then(&travelling(), events).0
}

#[test]
fn the_whole_journey() {
    let mut seed = Seed::new(day(0));
    let journey = [
        (SeedEvent::StagingFinished, "Staged"),
        (SeedEvent::PreparationStarted, "Preparing"),
        (prepared(1, "job-1"), "Preparing"),
        (prepared(2, "job-2"), "Preparing"),
        (SeedEvent::PreparationFinished { sets: 2 }, "Prepared"),
        (shipped("job-2"), "InTransit"),
        (shipped("job-1"), "InTransit"),
        (arrived("job-2"), "Landing"),
        (landed("job-2", 0), "Landing"),
        (landed("job-1", 0), "Landed"),
        (SeedEvent::PublicationStarted, "Publishing"),
        (SeedEvent::PublicationFinished, "Published"),
        (SeedEvent::ReceiptVerified, "Confirmed"),
        (SeedEvent::StagingCleaned, "Confirmed"),
        (SeedEvent::KeysDeleted, "Confirmed"),
    ];
    for (event, state) in journey {
        seed = then(&seed, [event.clone()]).0;
        assert_eq!(seed.state.name(), state, "{event:?}");
    }
    assert!(seed.staging_cleaned && seed.keys_deleted);
}

#[test]
fn sets_travel_and_land_while_others_are_being_written() {
    let events = [shipped("job-1"), landed("job-1", 0)];
    let (seed, effects) = then(&two_sets(), events);
    assert_eq!((seed.state, effects.len()), (SeedState::Preparing, 0));
    let (seed, _) = then(&seed, [SeedEvent::PreparationFinished { sets: 2 }]);
    assert_eq!(seed.state, SeedState::Landing);
    let (_, effects) = then(&seed, [landed("job-2", 0)]);
    assert_eq!(effects, [Effect::StartPublication]);
}

#[test]
fn jobs_land_in_any_order() {
    for names in [["job-1", "job-2"], ["job-2", "job-1"]] {
        let (seed, effects) = then(&travelling(), names.map(|name| landed(name, 0)));
        assert_eq!(seed.state, SeedState::Landed);
        assert_eq!(effects, [Effect::StartPublication]);
    }
}

#[test]
fn nothing_is_published_before_every_object_is_there() {
    let start = SeedEvent::PublicationStarted;
    let (half, _) = then(&travelling(), [landed("job-1", 0)]);
    assert_eq!(refuses(&half, &start), Refused::NotLanded { state: "Landing" });
    let (less, effects) = then(&half, [landed("job-2", 3)]);
    assert_eq!(refuses(&less, &start), Refused::SeedIncomplete { missing: 3 });
    assert!(effects.contains(&Effect::RequestMissing { missing: 3 }));
    assert_eq!(then(&less, [counted(0), start]).0.state, SeedState::Publishing);
}

#[test]
fn a_lost_set_is_missing_with_all_its_objects_until_it_has_another_job() {
    let (seed, effects) = then(&travelling(), [landed("job-1", 0), lost("job-2")]);
    assert_eq!(seed.state, SeedState::Incomplete { missing: 10 });
    let notice = Notice::DriveSetLost { set: 2 };
    assert!(effects.contains(&Effect::NotifyCustomer { notice }));
    let refused = refuses(&seed, &shipped("job-2"));
    assert_eq!(refused, Refused::SetLost { set: 2, job: job("job-2") });
    let (seed, _) = then(&seed, [prepared(2, "job-3"), shipped("job-3"), landed("job-3", 0)]);
    assert_eq!(seed.state, SeedState::Landed);
    assert_eq!(refuses(&seed, &landed("job-2", 0)), Refused::UnknownJob { job: job("job-2") });
}

#[test]
fn what_sets_lack_comes_with_a_further_one() {
    let further = prepared(3, "job-3");
    assert_eq!(refuses(&travelling(), &further), Refused::SetsFixed { set: 3 });
    // While another set is still on its way, too.
    let (half, _) = then(&travelling(), [lost("job-2"), further.clone(), further.clone()]);
    assert_eq!((half.state, half.set_count), (SeedState::InTransit, Some(3)));
    let (less, _) = then(&travelling(), [landed("job-1", 3), landed("job-2", 0)]);
    assert_eq!(refuses(&less, &prepared(4, "job-4")), Refused::SetsFixed { set: 4 });
    let (seed, _) = then(&less, [further, shipped("job-3")]);
    assert_eq!(seed.state, SeedState::Landing);
    let (seed, _) = then(&seed, [landed("job-3", 0)]);
    // The first set's job brought what it brought: only a count says that nothing is missing now.
    assert_eq!(seed.state, SeedState::Incomplete { missing: 3 });
    assert_eq!(then(&seed, [counted(0)]).0.state, SeedState::Landed);
}

#[test]
fn a_lost_set_without_objects_is_still_missing() {
    let empty = SeedEvent::SetPrepared { set: 1, job: job("job-1"), objects: 0 };
    let events = [
        SeedEvent::StagingFinished,
        SeedEvent::PreparationStarted,
        empty,
        SeedEvent::PreparationFinished { sets: 1 },
        lost("job-1"),
    ];
    let (seed, _) = then(&Seed::new(day(0)), events);
    assert_eq!(seed.state, SeedState::Incomplete { missing: 1 });
}

#[test]
fn damage_found_while_publishing_or_by_the_agent_asks_for_the_objects_again() {
    let publishing = [landed("job-1", 0), landed("job-2", 0), SeedEvent::PublicationStarted];
    for seed in [then(&travelling(), publishing).0, published()] {
        let (seed, effects) = then(&seed, [counted(4)]);
        assert_eq!(seed.state, SeedState::Incomplete { missing: 4 });
        assert!(effects.contains(&Effect::RequestMissing { missing: 4 }));
        let again = [counted(0), SeedEvent::PublicationStarted, SeedEvent::PublicationFinished];
        assert_eq!(then(&seed, again).0.state, SeedState::Published);
        let by_drive = then(&seed, [prepared(1, "job-3"), landed("job-3", 0)]).0;
        assert_eq!(by_drive.state, SeedState::Landed);
    }
}

#[test]
fn what_is_missing_from_sets_on_their_way_is_expected() {
    let (seed, effects) = then(&travelling(), [counted(20)]);
    assert_eq!((seed.state, effects), (SeedState::InTransit, vec![]));
}

#[test]
fn overtaken_news_change_nothing() {
    let (seed, _) = then(&travelling(), [landed("job-1", 0)]);
    let (same, effects) = then(&seed, [arrived("job-1"), shipped("job-1")]);
    assert_eq!((same, effects), (seed, vec![]));
}

#[test]
fn published_is_not_confirmed() {
    let seed = published();
    assert!(!seed.staging_may_be_cleaned() && !seed.keys_may_be_deleted());
    let refused = refuses(&seed, &SeedEvent::StagingCleaned);
    assert_eq!(refused, Refused::StagingNeeded { state: "Published" });
    let refused = refuses(&seed, &SeedEvent::KeysDeleted);
    assert_eq!(refused, Refused::KeysNeeded { state: "Published" });
    let (seed, effects) = then(&seed, [SeedEvent::ReceiptVerified]);
    assert!(seed.staging_may_be_cleaned() && seed.keys_may_be_deleted());
    assert_eq!(effects[..2], [Effect::ReleaseKeysAllowed, Effect::CleanStagingAllowed]);
}

#[test]
fn the_owner_can_abandon_a_seed_until_it_is_confirmed() {
    for seed in [Seed::new(day(0)), two_sets(), travelling(), published()] {
        let (seed, effects) = then(&seed, [SeedEvent::OwnerAbandoned]);
        assert!(effects.contains(&Effect::ReleaseKeysAllowed) && seed.keys_may_be_deleted());
        let refused = refuses(&seed, &SeedEvent::ReceiptVerified);
        assert_eq!(refused, Refused::SeedEnded { state: "Abandoned" });
    }
    let (seed, _) = then(&published(), [SeedEvent::ReceiptVerified]);
    let refused = refuses(&seed, &SeedEvent::OwnerAbandoned);
    assert_eq!(refused, Refused::SeedEnded { state: "Confirmed" });
}

#[test]
fn increments_wait_for_the_first_backup_and_for_nothing_else() {
    assert!(!Seed::new(day(0)).increments_may_run());
    let (incomplete, _) = then(&travelling(), [landed("job-1", 2), lost("job-2")]);
    for seed in [two_sets(), travelling(), incomplete, published()] {
        assert!(seed.increments_may_run(), "{:?}", seed.state);
    }
}

#[test]
fn sets_are_numbered_without_a_gap_and_have_one_job_each() {
    let seed = two_sets();
    let finish = |sets| SeedEvent::PreparationFinished { sets };
    let missing = |prepared, expected| Refused::SetsMissing { prepared, expected };
    assert_eq!(refuses(&seed, &finish(3)), missing(2, 3));
    assert_eq!(refuses(&seed, &finish(1)), missing(1, 1));
    assert_eq!(refuses(&seed, &finish(0)), missing(0, 1));
    let taken = Refused::JobTaken { job: job("job-1"), set: 1 };
    assert_eq!(refuses(&seed, &prepared(3, "job-1")), taken);
    let taken = Refused::SetTaken { set: 1, job: job("job-1") };
    assert_eq!(refuses(&seed, &prepared(1, "job-9")), taken);
    assert_eq!(refuses(&seed, &prepared(0, "job-9")), Refused::SetsFixed { set: 0 });
    let seed = then(&seed, [finish(2)]).0;
    assert_eq!(refuses(&seed, &prepared(3, "job-9")), Refused::SetsFixed { set: 3 });
    assert_eq!(refuses(&seed, &finish(3)), Refused::SetsFixed { set: 3 });
}

#[test]
fn steps_out_of_order_are_refused_by_name() {
    let new = Seed::new(day(0));
    assert_eq!(refuses(&new, &SeedEvent::PreparationStarted), Refused::NotStaged);
    let not_preparing = Refused::NotPreparing { state: "Staging" };
    assert_eq!(refuses(&new, &prepared(1, "job-1")), not_preparing);
    assert_eq!(refuses(&two_sets(), &counted(0)), Refused::StillPreparing);
    let over = Refused::PreparationOver { state: "InTransit" };
    assert_eq!(refuses(&travelling(), &SeedEvent::PreparationStarted), over);
    let not_publishing = Refused::NotPublishing { state: "InTransit" };
    assert_eq!(refuses(&travelling(), &SeedEvent::PublicationFinished), not_publishing);
    let not_published = Refused::NotPublished { state: "InTransit" };
    assert_eq!(refuses(&travelling(), &SeedEvent::ReceiptVerified), not_published);
    let here = Refused::SetLanded { set: 1 };
    assert_eq!(refuses(&published(), &lost("job-1")), here);
    assert_eq!(refuses(&published(), &landed("job-1", 5)), here);
    assert_eq!(refuses(&published(), &prepared(1, "job-9")), here);
}

#[test]
fn scheduled_backups_say_that_they_wait_until_everything_has_landed() {
    assert!(!Seed::new(day(0)).waits_for_import());
    assert!(travelling().waits_for_import());
    assert!(!published().waits_for_import());
}

#[test]
fn stored_seeds_come_back_as_they_were() {
    let (seed, _) = then(&travelling(), [landed("job-1", 2), lost("job-2")]);
    let json = serde_json::to_string(&seed).unwrap();
    assert!(json.contains(r#""state":{"name":"Incomplete","missing":12}"#), "{json}");
    assert_eq!(serde_json::from_str::<Seed>(&json).unwrap(), seed);
}
