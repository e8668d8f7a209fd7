//! The service with a clock that stands still until it is moved, and an agent whose answers are made up.

use super::*;
use crate::{Alerts, Metrics, RunState};
use agent::{BackupReport, Event, Initial, Waiting};
use backup::BackupOutcome;
use jiff::tz::TimeZone;
use model::Digest;
use policy::{Bandwidth, Policy};
use std::collections::VecDeque;

#[path = "beside_tests.rs"]
mod beside_tests;
#[path = "own_tests.rs"]
mod own_tests;
#[path = "stale_tests.rs"]
mod stale_tests;

/// An agent whose answers are made up beforehand.
#[derive(Default)]
struct Fake {
    groups: Mutex<Vec<Group>>,
    answers: Mutex<VecDeque<crate::Report>>,
    ran: Mutex<Vec<GroupName>>,
    /// Groups whose rules were applied, and whether data was to go, too.
    kept: Mutex<Vec<(GroupName, bool)>>,
    travels: AtomicBool,
    broken: AtomicBool,
    /// Until when a certificate is good that cannot be renewed.
    until: Mutex<Option<Timestamp>>,
    /// Another run is about to renew it just now.
    renewed_by_others: AtomicBool,
    foreign: Mutex<Vec<wire::KeyRemoval>>,
    deletions: Mutex<Vec<wire::Deletion>>,
    /// Whether snapshots hold all that is backed up, and where it is noted that it is read.
    held: Mutex<Option<(bool, PathBuf)>>,
    /// From when on the certificate is good, where that is not the question.
    from: Mutex<Option<Timestamp>>,
}

impl Work for Fake {
    fn groups(&self) -> Result<Vec<Group>, agent::Error> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(agent::Error::Random),
            false => Ok(self.groups.lock().unwrap().clone()),
        }
    }

    fn back_up(
        &self,
        group: &GroupName,
        _stop: &AtomicBool,
        events: &(dyn Fn(&Event<'_>) + Sync),
    ) -> crate::Report {
        if let Some((whole, notes)) = self.held.lock().unwrap().clone() {
            events(&Event::Held { whole });
            let before = std::fs::read_to_string(&notes).unwrap_or_default();
            std::fs::write(&notes, format!("{before}read\n")).unwrap();
        }
        self.ran.lock().unwrap().push(group.clone());
        self.answers.lock().unwrap().pop_front().unwrap_or_else(stored)
    }

    fn keep(
        &self,
        group: &GroupName,
        (prune, _): (bool, Option<&str>),
        _stop: &AtomicBool,
        _events: &(dyn Fn(&Event<'_>) + Sync),
    ) -> Result<agent::Kept, agent::Error> {
        self.kept.lock().unwrap().push((group.clone(), prune));
        if self.travels.load(Ordering::Relaxed) {
            let state = "InTransit";
            return Err(agent::Error::NotMeanwhile { seed: wire::SeedId([1; 16]), state });
        }
        let point = |n: u8, why: Option<&str>| agent::KeptPoint {
            id: Digest([n; 32]),
            time: "2026-06-01T22:00:00Z".parse().unwrap(),
            why: why.map(str::to_owned),
        };
        Ok(agent::Kept {
            group: group.clone(),
            points: vec![point(1, Some("daily snapshot")), point(2, None)],
            deletion: None,
            figures: None,
            unreadable: 0,
        })
    }

    fn status(&self) -> Result<agent::Status, agent::Error> {
        Ok(agent::Status {
            registration: None,
            away: None,
            groups: Vec::new(),
            seeds: Vec::new(),
            machine: None,
            keys: agent::KeysStatus {
                foreign: self.foreign.lock().unwrap().clone(),
                ..agent::KeysStatus::default()
            },
            deletions: self.deletions.lock().unwrap().clone(),
        })
    }

    fn renew(&self) -> Result<Option<agent::Machine>, agent::Error> {
        if self.renewed_by_others.load(Ordering::Relaxed) {
            return Ok(self.certificate());
        }
        match self.until.lock().unwrap().as_ref() {
            Some(until) => Err(agent::Error::Io {
                action: "asking",
                path: until.to_string().into(),
                cause: std::io::Error::other("refused"),
            }),
            None => Ok(self.from.lock().unwrap().map(|from| agent::Machine {
                from,
                until: Timestamp::MAX,
                renewed_from: Timestamp::MAX,
                is_new: false,
            })),
        }
    }

    fn certificate(&self) -> Option<agent::Machine> {
        let until = (*self.until.lock().unwrap())?;
        Some(agent::Machine { from: Timestamp::MIN, until, renewed_from: until, is_new: false })
    }
}

fn stored() -> crate::Report {
    let outcome = BackupOutcome {
        snapshot: Digest([7; 32]),
        parent: None,
        summary: serde_json::from_value(serde_json::json!({
            "backup_start": "2026-06-01T22:00:00Z", "backup_end": "2026-06-01T22:00:01Z",
            "files_new": 1, "files_changed": 0, "files_unmodified": 2, "dirs_new": 0, "dirs_changed": 0,
            "dirs_unmodified": 0, "data_blobs": 1, "tree_blobs": 1, "data_added": 10,
            "data_added_packed": 5, "total_files_processed": 3, "total_bytes_processed": 30,
        }))
        .unwrap(),
        deduplicated: 0,
        problems: Vec::new(),
    };
    Ok(BackupReport::Stored { confirmed: None, outcome: Box::new(outcome), unpublished: None })
}

fn partly() -> crate::Report {
    let report = stored();
    let Ok(BackupReport::Stored { confirmed, mut outcome, unpublished }) = report else { panic!() };
    let fault = backup::Fault::Vanished;
    outcome.problems.push(backup::Problem { path: "/srv/gone".into(), fault });
    Ok(BackupReport::Stored { confirmed, outcome, unpublished })
}

fn waiting() -> crate::Report {
    Ok(BackupReport::Waiting(Box::new(Waiting {
        seed: None,
        state: Some(SeedState::InTransit),
        message: flow::WAITING_FOR_IMPORT.to_owned(),
        jobs: Vec::new(),
        publication: None,
        refilled: None,
        next: agent::Next::Wait,
        increment: None,
        on_drives: false,
        paused: Some("staging is gone".to_owned()),
        stuck: None,
    })))
}

fn away() -> crate::Report {
    Err(agent::Error::Publication { message: "the server is away".to_owned() })
}

fn group(name: &str, policy: &str) -> Group {
    Group {
        name: name.parse().unwrap(),
        paths: vec!["/srv".into()],
        initial: Initial::Network,
        created: "2026-01-01T00:00:00Z".parse().unwrap(),
        policy: toml::from_str::<Policy>(policy).unwrap(),
        stopped: None,
    }
}

/// A service whose clock stands still until it is set.
struct Life {
    folder: tempfile::TempDir,
    work: Arc<Fake>,
    clock: Arc<Mutex<Timestamp>>,
    rate: store::Rate,
    service: Option<Service>,
    alerts: Alerts,
    asked: Arc<AtomicBool>,
    /// What is read when somebody asks.
    next: Arc<Mutex<Result<Settings, String>>>,
}

impl Life {
    fn new(groups: Vec<Group>) -> Self {
        let mut life = Self {
            folder: tempfile::tempdir().unwrap(),
            work: Arc::new(Fake { groups: Mutex::new(groups), ..Fake::default() }),
            clock: Arc::new(Mutex::new("2026-06-01T12:00:00Z".parse().unwrap())),
            rate: store::Rate::default(),
            service: None,
            alerts: Alerts::default(),
            asked: Arc::default(),
            next: Arc::new(Mutex::new(Err("nothing".to_owned()))),
        };
        life.start();
        life
    }

    fn start(&mut self) {
        self.service = None;
        // Another test that is just starting a program holds a copy of every lock until that runs.
        let path = self.folder.path().join("agent.lock");
        while run::lock_file(&path).unwrap().is_none() {
            std::thread::yield_now();
        }
        let clock = Arc::clone(&self.clock);
        let settings = Settings {
            zone: TimeZone::UTC,
            bandwidth: Bandwidth::default(),
            alerts: self.alerts.clone(),
            metrics: Metrics::default(),
            retention: crate::Retention::default(),
            proxies: store::Proxies::default(),
        };
        let options = ServiceOptions {
            state: self.folder.path().to_owned(),
            settings,
            host: "fs01".to_owned(),
            work: Arc::clone(&self.work) as Arc<dyn Work>,
            rate: self.rate.clone(),
            stop: Arc::default(),
            now: Arc::new(move || *clock.lock().unwrap()),
            reload: Some(Reload { asked: Arc::clone(&self.asked), read: self.read() }),
        };
        self.service = Some(Service::new(options).unwrap());
    }

    fn read(&self) -> Box<dyn Fn() -> Result<Settings, String> + Send + Sync> {
        let next = Arc::clone(&self.next);
        Box::new(move || next.lock().unwrap().clone())
    }

    /// Asks for the settings to be read again, and looks until they were.
    fn reload(&mut self, moment: &str) {
        self.asked.store(true, Ordering::Relaxed);
        self.at(moment);
        while self.service.as_ref().unwrap().reading.is_some() {
            self.at(moment);
        }
    }

    /// Moves the clock there, and looks once.
    fn at(&mut self, moment: &str) -> usize {
        *self.clock.lock().unwrap() = moment.parse().unwrap();
        // As in `start`. Not for ever: some tests hold a lock themselves.
        let runs = std::fs::read_dir(self.folder.path().join("runs")).into_iter().flatten();
        for lock in runs.map(|entry| entry.unwrap().path()) {
            for _ in 0..200 {
                if run::lock_file(&lock).unwrap().is_some() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        let before = self.work.ran.lock().unwrap().len();
        let service = self.service.as_mut().unwrap();
        service.tick();
        service.wait();
        self.work.ran.lock().unwrap().len() - before
    }

    fn answer(&self, report: crate::Report) {
        self.work.answers.lock().unwrap().push_back(report);
    }

    fn db(&self) -> &Db {
        &self.service.as_ref().unwrap().inner.db
    }

    fn open(&self) -> Vec<String> {
        self.db().alerts(false).unwrap().into_iter().map(|alert| alert.key).collect()
    }

    fn states(&self) -> Vec<RunState> {
        self.db().runs(None, 100).unwrap().into_iter().rev().map(|run| run.state).collect()
    }
}

const NIGHTLY: &str = "schedule = ['22:00']";

#[test]
fn a_group_runs_once_for_each_time_in_its_schedule() {
    let mut life = Life::new(vec![group("files", NIGHTLY), group("by-hand", "")]);
    assert_eq!(life.at("2026-06-01T21:59:59Z"), 0);
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(life.at("2026-06-01T22:00:01Z"), 0);
    assert_eq!(life.at("2026-06-02T22:00:00Z"), 1);
    assert_eq!(life.states(), [RunState::Done, RunState::Done]);
    let run = &life.db().runs(None, 1).unwrap()[0];
    assert_eq!((run.files, run.bytes, run.added, run.attempt), (3, 30, 5, 1));
    assert_eq!(run.scheduled, Some("2026-06-02T22:00:00Z".parse().unwrap()));
}

#[test]
fn what_was_missed_while_the_machine_was_off_is_made_up_for_once() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    life.start();
    assert_eq!(life.at("2026-06-05T07:00:00Z"), 1);
    assert_eq!(life.at("2026-06-05T07:00:01Z"), 0);
    assert_eq!(life.at("2026-06-05T22:00:00Z"), 1);
}

#[test]
fn a_schedule_that_skips_leaves_what_was_missed_out_and_says_so() {
    let mut life = Life::new(vec![group("files", "schedule = ['22:00']\nmissed = 'skip'")]);
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(life.at("2026-06-05T07:00:00Z"), 0);
    assert_eq!(life.at("2026-06-05T22:00:00Z"), 1);
    assert_eq!(life.states(), [RunState::Done, RunState::Skipped, RunState::Done]);
}

#[test]
fn a_clock_that_jumps_neither_repeats_nor_holds_up() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(life.at("2031-06-01T12:00:00Z"), 1, "five years ahead");
    assert_eq!(life.at("2026-06-02T12:00:00Z"), 0, "and put right");
    assert_eq!(life.at("2026-06-02T22:00:00Z"), 1);
    assert_eq!(life.at("2026-06-02T21:00:00Z"), 0, "an hour back");
    assert_eq!(life.at("2026-06-02T22:00:00Z"), 0, "the same time is not run twice");
}

#[test]
fn what_may_pass_is_tried_again_three_times_and_is_an_alert_until_it_works() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    for _ in 0..3 {
        life.answer(away());
    }
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(life.open(), ["group/files/failed"]);
    assert_eq!(life.at("2026-06-01T22:04:59Z"), 0);
    assert_eq!(life.at("2026-06-01T22:05:00Z"), 1);
    assert_eq!(life.at("2026-06-01T22:20:00Z"), 1);
    assert_eq!(life.at("2026-06-01T23:04:59Z"), 0);
    assert_eq!(life.at("2026-06-01T23:05:00Z"), 1);
    assert_eq!(life.open(), Vec::<String>::new(), "the fourth worked");
    use RunState::{Done, Failed};
    assert_eq!(life.states(), [Failed, Failed, Failed, Done]);
    assert_eq!(life.at("2026-06-02T12:00:00Z"), 0);
    for _ in 0..9 {
        life.answer(away());
    }
    let mut attempts = 0;
    for minute in 0..600 {
        let hour = 22 + minute / 60;
        let (day, hour) = if hour < 24 { (2, hour) } else { (3, hour - 24) };
        attempts += life.at(&format!("2026-06-{day:02}T{hour:02}:{:02}:00Z", minute % 60));
    }
    assert_eq!(attempts, 4, "after the third the schedule has it");
    assert_eq!(life.at("2026-06-03T22:00:00Z"), 1);
}

#[test]
fn what_does_not_pass_by_itself_waits_for_the_schedule() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    life.answer(Err(agent::Error::NotRegistered));
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(life.at("2026-06-02T12:00:00Z"), 0);
    assert_eq!(life.open(), ["group/files/failed"]);
    let run = &life.db().runs(None, 1).unwrap()[0];
    assert!(run.message.as_ref().unwrap().contains("not registered"));
}

#[test]
fn a_run_that_was_cut_off_is_found_said_and_tried_again() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    let name = "files".parse().unwrap();
    let moment = "2026-06-01T22:00:00Z".parse().unwrap();
    // As a process leaves it that is killed.
    life.db().begin(&name, Cause::Schedule, Some(moment), 1, moment).unwrap();
    life.start();
    assert_eq!(life.states(), [RunState::Interrupted]);
    assert_eq!(life.open(), ["group/files/failed"]);
    assert_eq!(life.at("2026-06-01T22:00:05Z"), 1);
    assert_eq!(life.states(), [RunState::Interrupted, RunState::Done]);
    assert_eq!(life.open(), Vec::<String>::new());
    assert_eq!(life.at("2026-06-01T22:10:00Z"), 0);
}

#[test]
fn a_run_that_is_stopped_with_the_service_is_no_failure_and_goes_on_at_the_next_start() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    life.answer(Err(agent::Error::Interrupted));
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(life.open(), Vec::<String>::new());
    life.start();
    assert_eq!(life.at("2026-06-01T22:00:30Z"), 1);
    assert_eq!(life.states(), [RunState::Interrupted, RunState::Done]);
}

#[test]
fn while_the_seed_travels_runs_wait_with_the_sentence_and_nothing_is_wrong() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    for day in 1..10 {
        life.answer(waiting());
        assert_eq!(life.at(&format!("2026-06-{day:02}T22:00:00Z")), 1);
    }
    assert_eq!(life.open(), Vec::<String>::new());
    let run = &life.db().runs(None, 1).unwrap()[0];
    assert_eq!(run.state, RunState::Waiting);
    let message = run.message.as_ref().unwrap();
    assert!(
        message.starts_with(flow::WAITING_FOR_IMPORT) && message.contains("InTransit"),
        "{message}"
    );
}

#[test]
fn what_is_backed_up_while_the_seed_travels_is_a_recovery_point_and_what_holds_the_seed_up_is_said()
{
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    let with = |stuck: Option<agent::Error>| {
        let (Ok(BackupReport::Waiting(mut waiting)), Ok(BackupReport::Stored { outcome, .. })) =
            (waiting(), stored())
        else {
            panic!()
        };
        waiting.increment = Some(Arc::from(outcome));
        waiting.stuck = stuck.map(Arc::new);
        Ok(BackupReport::Waiting(waiting))
    };
    life.answer(with(None));
    life.at("2026-06-01T22:00:00Z");
    life.answer(with(Some(agent::Error::NotRegistered)));
    life.at("2026-06-02T22:00:00Z");
    assert_eq!(life.states(), [RunState::Done, RunState::Partial]);
    let runs = life.db().runs(None, 2).unwrap();
    assert!(
        runs.iter().all(|run| run.snapshot.is_some() && run.place.as_deref() == Some("transit"))
    );
    assert!(runs[1].message.as_ref().unwrap().starts_with(flow::WAITING_FOR_IMPORT));
    assert!(runs[0].message.as_ref().unwrap().contains("not registered"), "{:?}", runs[0].message);
    assert_eq!(life.open(), ["group/files/after"]);
}

#[test]
fn items_left_out_are_an_alert_and_named_in_the_history() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    life.answer(partly());
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(life.open(), ["group/files/unread"]);
    let run = &life.db().runs(None, 1).unwrap()[0];
    assert_eq!((run.state, run.problems), (RunState::Partial, 1));
    assert_eq!(life.db().left(run.id).unwrap()[0].path, "/srv/gone");
    assert_eq!(life.at("2026-06-02T22:00:00Z"), 1);
    assert_eq!(life.open(), Vec::<String>::new());
}

#[test]
fn a_limit_by_command_goes_before_the_settings_until_its_time_is_over() {
    let mut life = Life::new(Vec::new());
    life.at("2026-06-01T12:00:00Z");
    assert_eq!(life.rate.get(), 0);
    let until: Timestamp = "2026-06-01T13:00:00Z".parse().unwrap();
    let limit = format!("1000 until {}", until.as_millisecond());
    life.db().set("limit", Some(&limit)).unwrap();
    life.at("2026-06-01T12:00:01Z");
    assert_eq!(life.rate.get(), 1000);
    life.at("2026-06-01T13:00:00Z");
    assert_eq!(life.rate.get(), 0);
    life.db().set("limit", Some("77")).unwrap();
    life.at("2027-06-01T13:00:00Z");
    assert_eq!(life.rate.get(), 77);
}

#[test]
fn a_state_that_cannot_be_read_is_said_past_the_history_once_an_hour() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    let heard = life.folder.path().join("heard");
    let script = format!("cat >> {}", heard.display());
    life.alerts.command = Some(["sh", "-c", &script].map(str::to_owned).to_vec());
    life.start();
    life.work.broken.store(true, Ordering::Relaxed);
    let times =
        || std::fs::read_to_string(&heard).unwrap_or_default().matches("\"subject\"").count();
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 0);
    assert_eq!(life.at("2026-06-01T22:30:00Z"), 0);
    assert_eq!(times(), 1);
    life.at("2026-06-01T23:00:00Z");
    assert_eq!(times(), 2);
    life.work.broken.store(false, Ordering::Relaxed);
    assert_eq!(life.at("2026-06-01T23:00:01Z"), 1, "what was due is made up for");
}

#[test]
fn an_alert_reaches_a_program_and_waits_while_that_fails() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    let (heard, works) = (life.folder.path().join("heard"), life.folder.path().join("works"));
    let script = format!("test -e {} && cat >> {}", works.display(), heard.display());
    life.alerts.command = Some(["sh", "-c", &script].map(str::to_owned).to_vec());
    life.start();
    life.answer(Err(agent::Error::NotRegistered));
    life.at("2026-06-01T22:00:00Z");
    life.at("2026-06-01T22:00:01Z");
    let deliver = |life: &Life| life.service.as_ref().unwrap().inner.deliver();
    deliver(&life);
    assert!(life.open().contains(&"channel/command".to_owned()), "{:?}", life.open());
    std::fs::write(&works, "").unwrap();
    deliver(&life);
    assert!(!heard.exists(), "it waits a minute");
    life.at("2026-06-01T22:01:02Z");
    deliver(&life);
    let text = std::fs::read_to_string(&heard).unwrap();
    assert!(text.contains("group/files/failed") && text.contains("not registered"), "{text}");
    assert_eq!(life.open(), ["group/files/failed"]);
}

#[test]
fn rules_are_applied_after_stored_backups_once_a_day_and_data_goes_once_a_week() {
    let policy = "schedule = ['0:00, 6:00, 12:00, 18:00']\nkeep = { last = 1 }";
    let mut life = Life::new(vec![group("files", policy), group("all", NIGHTLY)]);
    life.at("2026-06-01T18:00:00Z");
    for day in 2..9 {
        for hour in [0, 6, 12, 18, 22] {
            life.at(&format!("2026-06-{day:02}T{hour:02}:00:00Z"));
        }
    }
    let kept = life.work.kept.lock().unwrap().clone();
    assert!(kept.iter().all(|(group, _)| group.as_str() == "files"), "no rules, no retention");
    assert_eq!(kept.len(), 8, "{kept:?}");
    let prunes: Vec<bool> = kept.iter().map(|(_, prune)| *prune).collect();
    assert_eq!(prunes, [true, false, false, false, false, false, false, true]);
    let applied = life.db().retentions(None, 100).unwrap();
    assert_eq!((applied.len(), applied[0].kept, applied[0].forgotten), (8, 1, 1));
    let decided = life.db().decisions(applied[0].id).unwrap();
    assert_eq!(decided[0].why.as_deref(), Some("daily snapshot"));
    assert_eq!(decided[1].why, None);
    assert_eq!(life.open(), Vec::<String>::new());
}

#[test]
fn no_rules_are_applied_after_a_backup_that_failed_or_waits() {
    let mut life = Life::new(vec![group("files", "schedule = ['22:00']\nkeep = { last = 1 }")]);
    life.answer(away());
    life.at("2026-06-01T22:00:00Z");
    life.answer(waiting());
    life.at("2026-06-02T22:00:00Z");
    assert!(life.work.kept.lock().unwrap().is_empty());
    life.at("2026-06-03T22:00:00Z");
    assert_eq!(life.work.kept.lock().unwrap().len(), 1);
}

#[test]
fn while_a_seed_travels_nothing_goes_and_nothing_is_wrong() {
    let mut life = Life::new(vec![group("files", "schedule = ['22:00']\nkeep = { last = 1 }")]);
    life.work.travels.store(true, Ordering::Relaxed);
    life.at("2026-06-01T22:00:00Z");
    life.at("2026-06-02T22:00:00Z");
    let applied = life.db().retentions(None, 100).unwrap();
    assert_eq!(applied.len(), 2, "it is tried after each backup");
    assert!(applied.iter().all(|it| it.state == "waiting"), "{applied:?}");
    assert!(applied[0].message.as_ref().unwrap().contains("under way"));
    assert_eq!(life.open(), Vec::<String>::new());
}

#[test]
fn nothing_is_due_for_a_group_whose_protection_is_stopped_and_nothing_was_missed() {
    let since = "2026-06-01T00:00:00Z".parse().unwrap();
    let stopped = Some(agent::Stopped { since, delete: false });
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    life.answer(away());
    life.at("2026-06-01T22:00:00Z");
    assert_eq!(life.open(), ["group/files/failed"]);
    life.work.groups.lock().unwrap()[0].stopped = stopped;
    for day in 2..9 {
        assert_eq!(life.at(&format!("2026-06-{day:02}T22:00:00Z")), 0);
    }
    assert_eq!(life.open(), Vec::<String>::new(), "it is neither failed nor stale");
    let files = life.work.groups.lock().unwrap()[0].clone();
    let next = crate::next_due(life.db(), &files, &TimeZone::UTC, "fs01", since).unwrap();
    assert_eq!(next, None);
}
