//! What holds after any sequence of events at any times. The legal moves are written down here a
//! second time, by hand.

use super::*;
use crate::diagram::explore::{Machine, explore};
use crate::{Drive, Seed, SeedEvent, SetState, Shipment};
use model::JobName;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

const JOB_MOVES: &[(&str, &[&str])] = &[
    ("Creating", &["Shipping", "Closed", "Canceled"]),
    ("Shipping", &["Received", "Packaging", "Closed", "Canceled"]),
    ("Received", &["Shipping", "Transferring", "Closed"]),
    ("Transferring", &["Packaging", "Closed"]),
    ("Packaging", &["Shipping", "Transferring", "Completed", "Closed", "Canceled"]),
    ("Completed", &[]),
    ("Closed", &[]),
    ("Canceled", &[]),
];

const DRIVE_MOVES: &[(&str, &[&str])] = &[
    ("Specified", &["Received", "NeverReceived"]),
    ("Received", &["NeverReceived", "Transferring", "ShippedBack"]),
    ("NeverReceived", &["Received"]),
    ("Transferring", &["Completed", "CompletedMoreInfo"]),
    ("Completed", &["ShippedBack"]),
    ("CompletedMoreInfo", &["Transferring", "ShippedBack"]),
    ("ShippedBack", &[]),
];

const SHIPMENT_MOVES: &[(&str, &[&str])] = &[
    ("Announced", &["InTransit", "Lost"]),
    ("InTransit", &["Overdue", "Delivered", "Lost"]),
    ("Overdue", &["InTransit", "Delivered", "Lost"]),
    ("Delivered", &["Overdue"]),
    ("Lost", &[]),
];

const TRAVEL: &[&str] = &["Prepared", "InTransit", "Landing", "Landed", "Incomplete", "Abandoned"];
const SEED_MOVES: &[(&str, &[&str])] = &[
    ("Staging", &["Staged", "Abandoned"]),
    ("Staged", &["Preparing", "Abandoned"]),
    ("Preparing", TRAVEL),
    ("Prepared", TRAVEL),
    ("InTransit", TRAVEL),
    ("Landing", TRAVEL),
    ("Landed", &["Publishing", "Incomplete", "Abandoned"]),
    ("Publishing", &["Published", "Incomplete", "Abandoned"]),
    ("Published", &["Confirmed", "Incomplete", "Abandoned"]),
    ("Confirmed", &[]),
    ("Incomplete", TRAVEL),
    ("Abandoned", &[]),
];

fn is_legal(moves: &[(&str, &[&str])], from: &str, to: &str) -> bool {
    from == to || moves.iter().any(|(name, tos)| *name == from && tos.contains(&to))
}

/// The given event at any time at all, or at the time that suits it.
type Choice = (Index, Option<i64>);

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let hour = prop_oneof![-5_000i64..20_000, Just(i64::from(u32::MAX))];
    prop::collection::vec((any::<Index>(), prop::option::weighted(0.3, hour)), 0..60)
}

fn pick<M: Machine>(value: &M, (index, hours): &Choice) -> (M::Event, Timestamp) {
    let mut events = value.events();
    let (event, suits) = events.swap_remove(index.index(events.len()));
    let any = |hours| {
        let wait = SignedDuration::from_hours(hours);
        Timestamp::UNIX_EPOCH.saturating_add(wait).unwrap_or(Timestamp::MAX)
    };
    (event, hours.map_or(suits, any))
}

/// Everything that holds for one step of any machine.
fn check_step<M>(
    moves: &[(&str, &[&str])],
    before: &M,
    event: &M::Event,
    now: Timestamp,
) -> Result<Option<(M, Vec<Effect>)>, TestCaseError>
where
    M: Machine + Serialize + DeserializeOwned,
{
    let Ok((after, effects)) = before.step(event, now) else { return Ok(None) };
    let (from, to) = (before.name(), after.name());
    prop_assert!(is_legal(moves, from, to), "{from} -> {to} by {event:?}");
    if let Ok((again, effects)) = after.step(event, now) {
        prop_assert_eq!(&again, &after, "{:?} given twice", event);
        prop_assert_eq!(effects, vec![], "{:?} given twice", event);
    }
    let json = serde_json::to_string(&after).unwrap();
    prop_assert_eq!(&serde_json::from_str::<M>(&json).unwrap(), &after);
    Ok(Some((after, effects)))
}

fn walk<M>(moves: &[(&str, &[&str])], choices: &[Choice]) -> Result<(), TestCaseError>
where
    M: Machine + Serialize + DeserializeOwned,
{
    let mut value = M::starts().remove(0);
    for choice in choices {
        let (event, now) = pick(&value, choice);
        if let Some((next, _)) = check_step(moves, &value, &event, now)? {
            value = next;
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn drives_move_legally_whatever_happens(choices in choices()) {
        walk::<Drive>(DRIVE_MOVES, &choices)?;
    }

    #[test]
    fn shipments_move_legally_whatever_happens(choices in choices()) {
        walk::<Shipment>(SHIPMENT_MOVES, &choices)?;
    }

    #[test]
    fn jobs_move_legally_and_agree_with_their_drives(choices in choices()) {
        let mut job = ImportJob::starts().remove(0);
        for choice in &choices {
            let (event, now) = pick(&job, choice);
            let Some((next, effects)) = check_step(JOB_MOVES, &job, &event, now)? else { continue };
            prop_assert!(next.changed >= job.changed);
            prop_assert!(!job.state.is_end() || next.state.name() == job.state.name());
            for effect in &effects {
                let early = matches!(effect, Effect::ReleaseKeysAllowed | Effect::CleanStagingAllowed);
                prop_assert!(!early, "a job released keys or staging");
            }
            check_job(&next)?;
            for (before, after) in job.drives.iter().zip(&next.drives) {
                let (from, to) = (before.state.name(), after.state.name());
                let same_list = matches!(event, JobEvent::DrivesReplaced { .. });
                prop_assert!(same_list || is_legal(DRIVE_MOVES, from, to), "{from} -> {to}");
            }
            job = next;
        }
    }

    #[test]
    fn export_jobs_move_legally_too(choices in choices()) {
        let mut job = ImportJob::starts().pop().unwrap();
        prop_assert_eq!(job.job_type, JobType::Export);
        for choice in &choices {
            let (event, now) = pick(&job, choice);
            let Some((next, _)) = check_step(JOB_MOVES, &job, &event, now)? else { continue };
            check_job(&next)?;
            prop_assert!(next.exported || !job.exported, "{:?} took it back", event);
            job = next;
        }
    }

    #[test]
    fn a_look_at_an_earlier_clock_changes_nothing(choices in choices(), back in 0i64..100_000) {
        let mut job = ImportJob::starts().remove(0);
        for choice in &choices {
            let (event, now) = pick(&job, choice);
            let Ok((next, _)) = job.transition(&event, now) else { continue };
            let looked = next.transition(&JobEvent::Tick, next.changed).unwrap().0;
            let earlier = next.changed - SignedDuration::from_hours(back.min(50_000));
            let (again, effects) = looked.transition(&JobEvent::Tick, earlier).unwrap();
            prop_assert_eq!(&again, &looked);
            prop_assert_eq!(effects, vec![]);
            job = next;
        }
    }

    #[test]
    fn no_deadline_comes_early(choices in choices()) {
        let mut job = ImportJob::starts().remove(0);
        for choice in &choices {
            let (event, now) = pick(&job, choice);
            let Ok((next, _)) = job.transition(&event, now) else { continue };
            if event == JobEvent::Tick && next.state.name() != job.state.name() {
                let (_, at) = job.deadline().unwrap();
                prop_assert!(now.max(job.changed) >= at);
            }
            job = next;
        }
    }

    #[test]
    fn a_seed_publishes_deletes_and_cleans_nothing_early(choices in choices()) {
        let mut seed = Seed::starts().remove(0);
        let mut truth = Truth::default();
        for choice in &choices {
            let (event, now) = pick(&seed, choice);
            let Some((next, effects)) = check_step(SEED_MOVES, &seed, &event, now)? else { continue };
            truth.accept(&seed, &event);
            truth.check(&seed, &next, &effects)?;
            prop_assert!(next.changed >= seed.changed);
            seed = next;
        }
    }
}

/// A job's state and its drives' states tell one story.
fn check_job(job: &ImportJob) -> Result<(), TestCaseError> {
    let names: Vec<_> = job.drives.iter().map(|drive| drive.state.name()).collect();
    let any = |name| names.contains(&name);
    let unique: BTreeSet<_> = job.drives.iter().map(|drive| &drive.serial).collect();
    prop_assert_eq!(unique.len(), job.drives.len());
    let shipment = job.shipment.as_ref().map(|shipment| shipment.state.name());
    let holds = match job.state.name() {
        "Creating" => names.iter().all(|name| *name == "Specified"),
        "Shipping" => {
            names.iter().all(|name| ["Specified", "NeverReceived"].contains(name))
                && matches!(shipment, Some("InTransit" | "Overdue"))
        }
        "Received" => {
            any("Received") && !any("Transferring") && !any("Specified") && !job.cancel_requested
        }
        "Transferring" => (any("Transferring") || any("Received")) && !job.cancel_requested,
        "Packaging" => {
            !any("Transferring") && (job.cancel_requested || job.exported || !any("Received"))
        }
        "Completed" if job.job_type == JobType::Export => job.exported && !any("Completed"),
        "Completed" => job.has_landed() && !any("Received") && !any("Completed"),
        "Canceled" => !any("Completed") && !any("Transferring"),
        _ => true,
    };
    prop_assert!(holds, "{} with drives {names:?}, shipment {shipment:?}", job.state.name());
    if job.state.is_end() {
        prop_assert!(matches!(shipment, None | Some("Delivered" | "Lost")));
    }
    if matches!(job.state.name(), "Received" | "Transferring" | "Packaging") {
        prop_assert_eq!(shipment, Some("Delivered"));
    }
    Ok(())
}

/// What is at the data centre, kept the slow and obvious way.
#[derive(Default)]
struct Truth {
    landed: BTreeMap<u32, bool>,
    finished: bool,
    damage: bool,
    released: bool,
}

impl Truth {
    fn accept(&mut self, before: &Seed, event: &SeedEvent) {
        let set_of = |job: &JobName| before.sets.iter().find(|set| set.job == *job);
        match event {
            SeedEvent::SetPrepared { set, job, .. } if set_of(job).is_none() => {
                self.landed.insert(*set, false);
                self.damage = false;
            }
            SeedEvent::JobLanded { job, missing } => {
                let set = set_of(job).unwrap();
                let changed = set.state != SetState::Landed { missing: *missing };
                self.landed.insert(set.number, *missing == 0);
                self.damage &= !changed;
            }
            SeedEvent::MissingCounted { missing: 0 } => {
                self.landed.values_mut().for_each(|landed| *landed = true);
                self.damage = false;
            }
            SeedEvent::MissingCounted { .. } => self.damage = true,
            SeedEvent::PreparationFinished { .. } => self.finished = true,
            SeedEvent::ReceiptVerified | SeedEvent::OwnerAbandoned => self.released = true,
            _ => {}
        }
    }

    fn check(&self, before: &Seed, after: &Seed, effects: &[Effect]) -> Result<(), TestCaseError> {
        let everything = self.finished && self.landed.values().all(|landed| *landed);
        if ["Publishing", "Published", "Confirmed"].contains(&after.name()) {
            prop_assert!(everything, "published with {:?}", self.landed);
        }
        if after.name() == "Landed" && before.name() != "Landed" {
            prop_assert!(everything && !self.damage);
        }
        prop_assert_eq!(after.keys_may_be_deleted(), self.released);
        prop_assert_eq!(after.staging_may_be_cleaned(), self.released);
        prop_assert!(self.released || !(after.keys_deleted || after.staging_cleaned));
        let release = effects.contains(&Effect::ReleaseKeysAllowed);
        prop_assert!(self.released || !release);
        if release {
            prop_assert!(
                ["Published", "Confirmed"].contains(&before.name()) || after.name() == "Abandoned"
            );
        }
        Ok(())
    }
}

/// Every representative event on every value that can be reached.
fn everywhere<M>(moves: &[(&str, &[&str])])
where
    M: Machine + Serialize + DeserializeOwned,
{
    for value in explore::<M>().values {
        for (event, now) in value.events() {
            check_step(moves, &value, &event, now).unwrap();
        }
    }
}

#[test]
fn given_twice_nothing_more_happens_anywhere() {
    everywhere::<ImportJob>(JOB_MOVES);
    everywhere::<Drive>(DRIVE_MOVES);
    everywhere::<Shipment>(SHIPMENT_MOVES);
    everywhere::<Seed>(SEED_MOVES);
}

#[test]
fn every_job_that_is_reached_agrees_with_its_drives() {
    for job in explore::<ImportJob>().values {
        check_job(&job).unwrap();
    }
}

/// Every value reached, and where the events that `allowed` admits lead from it.
fn graph<M: Machine>(allowed: fn(&M::Event) -> bool) -> BTreeMap<String, BTreeSet<String>> {
    let onward = |value: &M| {
        let events = value.events().into_iter().filter(|(event, _)| allowed(event));
        events.filter_map(|(event, now)| Some(value.step(&event, now).ok()?.0.key())).collect()
    };
    explore::<M>().values.iter().map(|value| (value.key(), onward(value))).collect()
}

/// Values from which no end can be reached.
fn dead_ends<M: Machine>(allowed: fn(&M::Event) -> bool) -> Vec<String> {
    let graph = graph::<M>(allowed);
    let found = explore::<M>();
    let ends = found.values.iter().filter(|value| M::ENDS.contains(&value.name()));
    let mut saved: BTreeSet<String> = ends.map(M::key).collect();
    loop {
        let leads = |(key, next): (&String, &BTreeSet<String>)| {
            (!saved.contains(key) && !next.is_disjoint(&saved)).then(|| key.clone())
        };
        let more: Vec<_> = graph.iter().filter_map(leads).collect();
        if more.is_empty() {
            return graph.into_keys().filter(|key| !saved.contains(key)).collect();
        }
        saved.extend(more);
    }
}

#[test]
fn every_job_can_end_without_being_given_up_or_cancelled() {
    let ordinary = |event: &JobEvent| {
        !matches!(event, JobEvent::OperatorAbandoned { .. } | JobEvent::CancelRequested)
    };
    assert_eq!(dead_ends::<ImportJob>(ordinary), Vec::<String>::new());
}

#[test]
fn every_seed_can_be_confirmed_or_is_abandoned() {
    let ordinary = |event: &SeedEvent| *event != SeedEvent::OwnerAbandoned;
    assert_eq!(dead_ends::<Seed>(ordinary), Vec::<String>::new());
}

#[test]
fn a_job_before_arrival_ends_by_time_alone() {
    let time = |event: &JobEvent| *event == JobEvent::Tick;
    for key in dead_ends::<ImportJob>(time) {
        let waits = ["Received", "Transferring", "Packaging"].iter().any(|s| key.starts_with(s));
        let faulted = key.ends_with("true false");
        assert!(waits || faulted, "{key}");
    }
}

#[test]
fn ends_are_left_by_nothing() {
    fn check<M: Machine>() {
        for step in explore::<M>().steps.iter().filter(|step| M::ENDS.contains(&step.from)) {
            assert!(step.to.is_none_or(|to| to == step.from), "{} by {}", step.from, step.event);
        }
    }
    check::<ImportJob>();
    check::<Drive>();
    check::<Shipment>();
    check::<Seed>();
}

#[test]
fn a_refused_drive_is_untouched_and_so_are_the_others() {
    // An export job may take a drive that it has not listed.
    let is_import = |job: &ImportJob| job.job_type == JobType::Import;
    for job in explore::<ImportJob>().values.into_iter().filter(is_import) {
        for event in [came("DRIVE-X"), started("DRIVE-X"), finished("DRIVE-X", 0)] {
            let refused = job.transition(&event, job.changed).unwrap_err();
            assert!(
                matches!(refused, Refused::UnknownDrive { .. } | Refused::JobFaulted { .. }),
                "{refused:?}"
            );
        }
    }
}
