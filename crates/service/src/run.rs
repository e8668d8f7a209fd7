//! One run of one group: lock, row, command before, backup, command after, and what follows for history and alerts. Decides nothing
//! about when.

use crate::alert::Severity;
use crate::history::Finish;
use crate::work::{Report, Work};
use crate::{Cause, Db, Error, Left, Retention, RunState, hook, retention};
use agent::{BackupReport, Event, Group, Next};
use backup::{BackupEvent, BackupOutcome};
use jiff::Timestamp;
use model::{ErrorKind, GroupName};
use policy::{Hook, When};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How often a run notes how far it is.
const NOTED: Duration = Duration::from_secs(2);

/// What a run needs.
#[derive(Clone, Copy)]
pub struct RunOf<'a> {
    /// The history.
    pub db: &'a Db,
    /// Whoever backs up.
    pub work: &'a dyn Work,
    /// The state directory.
    pub state: &'a Path,
    /// Set to end early.
    pub stop: &'a AtomicBool,
    /// The clock.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// How often rules are applied after a backup; none where only somebody else asks for that.
    pub retention: Option<Retention>,
    /// What runs of one process share: backups hold it together, whoever deletes holds it alone.
    pub gate: Option<&'a RwLock<()>>,
    /// Told what happens in the backup.
    pub events: &'a (dyn Fn(&Event<'_>) + Sync),
}

impl std::fmt::Debug for RunOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOf").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Its number in the history.
    pub run: i64,
    /// What the backup came to; none when the command before it has stopped it.
    pub report: Option<Report>,
    /// What a command beside it came to, where it failed and was required.
    pub beside: Option<Error>,
}

/// Held while a group is run.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "holds the lock")] File);

/// Keeps every other run of the group out.
///
/// # Errors
/// [`Error::Busy`].
pub(crate) fn lock(state: &Path, group: &GroupName) -> Result<Lock, Error> {
    let folder = state.join("runs");
    store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    let path = folder.join(format!("{group}.lock"));
    let file = lock_file(&path).map_err(Error::io("locking", &path))?;
    file.map(Lock).ok_or_else(|| Error::Busy(group.clone()))
}

/// None when somebody else holds it.
pub(crate) fn lock_file(path: &Path) -> std::io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = options.open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// What is noted as running of a group, and is not, because its process is gone: says so. The caller holds the lock.
pub(crate) fn settle(db: &Db, group: &GroupName, now: Timestamp) -> Result<(), Error> {
    if db.end_stale(group, now)? {
        let text =
            format!("a backup of group {group} was cut off: its process ended before it did");
        db.raise(&failed(group), Severity::Error, &text, now)?;
    }
    Ok(())
}

/// Runs a group, now.
///
/// # Errors
/// [`Error::Busy`]; the history cannot be written, and nothing was begun. How the backup itself ended is in the outcome.
pub fn run(
    of: RunOf<'_>,
    group: &Group,
    cause: Cause,
    scheduled: Option<Timestamp>,
    attempt: u32,
) -> Result<Outcome, Error> {
    let _lock = lock(of.state, &group.name)?;
    settle(of.db, &group.name, (of.now)())?;
    let id = of.db.begin(&group.name, cause, scheduled, attempt, (of.now)())?;
    tracing::info!(group = %group.name, run = id, ?cause, "begins");
    if let Some(before) = &group.policy.before
        && let Err(what) = beside(of, group, before, "before", None)
    {
        if before.required {
            let error = Error::Before { what };
            let finish = failure(error.kind(), error.full());
            end(of, group, id, &finish)?;
            return Ok(Outcome { run: id, report: None, beside: Some(error) });
        }
        tracing::warn!(group = %group.name, "the command before the backup {what}");
    }
    let seen = Seen::new(of.db, id);
    let early = Early::new(of, group);
    let shared = of.gate.map(|gate| gate.read().unwrap_or_else(PoisonError::into_inner));
    let report = of.work.back_up(&group.name, of.stop, &|event| {
        seen.look(event);
        early.look(event, &seen);
        (of.events)(event);
    });
    drop(shared);
    let mut finish = finish(&report, &seen);
    if let Some(said) = seen.said.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let before = finish.message.take().map(|before| format!("{before}; ")).unwrap_or_default();
        finish.message = Some(format!("{before}{said}"));
    }
    let mut failed = None;
    if let Some(after) = &group.policy.after
        && let Err(what) =
            early.ended().unwrap_or_else(|| beside(of, group, after, "after", Some(finish.state)))
    {
        tracing::warn!(group = %group.name, "the command after the backup {what}");
        if after.required {
            let error = Error::After { what };
            if finish.state == RunState::Done {
                finish.state = RunState::Partial;
            }
            let said = finish.message.take().map(|said| format!("{said}; ")).unwrap_or_default();
            finish.message = Some(format!("{said}{}", error.full()));
            failed = Some(error);
        }
    }
    end(of, group, id, &finish)?;
    if let (Ok(BackupReport::Stored { .. }), Some(retention)) = (&report, of.retention) {
        retention::after_backup(of, group, retention)?;
    }
    Ok(Outcome { run: id, report: Some(report), beside: failed })
}

/// The command after a backup, where it runs as soon as snapshots hold everything.
struct Early<'a> {
    of: RunOf<'a>,
    group: &'a Group,
    ran: Mutex<Option<Result<(), String>>>,
}

impl<'a> Early<'a> {
    fn new(of: RunOf<'a>, group: &'a Group) -> Self {
        Self { of, group, ran: Mutex::new(None) }
    }

    /// The backup waits for it: its files are held, and nothing is lost by that.
    fn look(&self, event: &Event<'_>, seen: &Seen<'_>) {
        let Event::Held { whole } = event else { return };
        let Some(after) = self.group.policy.after.as_ref().filter(|it| it.when == When::Snapshot)
        else {
            return;
        };
        let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
        if ran.is_some() {
            seen.say("it was backed up once more in the same run, when the command after it had run already".to_owned());
        } else if *whole {
            *ran = Some(beside(self.of, self.group, after, "after", None));
        }
    }

    /// How it ended; none where it has not run.
    fn ended(self) -> Option<Result<(), String>> {
        self.ran.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn beside(
    of: RunOf<'_>,
    group: &Group,
    hook: &Hook,
    when: &str,
    state: Option<RunState>,
) -> Result<(), String> {
    let paths: Vec<String> = group.paths.iter().map(|path| path.to_string_lossy().into()).collect();
    let paths = paths.join("\n");
    let about = [
        ("PACKMULE_GROUP", group.name.as_str()),
        ("PACKMULE_PATHS", paths.as_str()),
        ("PACKMULE_WHEN", when),
        ("PACKMULE_RESULT", state.map_or("", RunState::word)),
    ];
    hook::run(hook, &about, of.stop)
}

/// Notes the end, and what follows from it.
fn end(of: RunOf<'_>, group: &Group, id: i64, finish: &Finish) -> Result<(), Error> {
    let now = (of.now)();
    of.db.finish(id, finish, now)?;
    let name = &group.name;
    let said = finish.message.as_deref().unwrap_or_default();
    tracing::info!(group = %name, run = id, state = finish.state.word(), "{said}");
    match finish.state {
        RunState::Failed => {
            of.db.raise(
                &failed(name),
                Severity::Error,
                &format!("backup of group {name} failed: {said}"),
                now,
            )?;
        }
        RunState::Done | RunState::Partial => {
            of.db.close(&failed(name), now)?;
            of.db.close(&stale(name), now)?;
            let unread = format!("group/{name}/unread");
            if finish.problems > 0 {
                let first = finish.left.first();
                let first = first.map(|left| format!(", first {}: {}", left.path, left.why));
                let text = format!(
                    "{} items of group {name} were left out{}",
                    finish.problems,
                    first.unwrap_or_default()
                );
                of.db.raise(&unread, Severity::Warning, &text, now)?;
            } else {
                of.db.close(&unread, now)?;
            }
            let beside = format!("group/{name}/after");
            match finish.state == RunState::Partial && finish.problems == 0 {
                true => of.db.raise(
                    &beside,
                    Severity::Warning,
                    &format!("group {name}: {said}"),
                    now,
                )?,
                false => of.db.close(&beside, now)?,
            }
        }
        // Nothing failed; how the seed is has alerts of its own.
        RunState::Waiting => of.db.close(&failed(name), now)?,
        RunState::Running | RunState::Interrupted | RunState::Skipped => {}
    }
    Ok(())
}

pub(crate) fn failed(group: &GroupName) -> String {
    format!("group/{group}/failed")
}

pub(crate) fn stale(group: &GroupName) -> String {
    format!("group/{group}/stale")
}

fn failure(kind: ErrorKind, message: String) -> Finish {
    Finish {
        state: RunState::Failed,
        kind: Some(kind),
        message: Some(message),
        ..Finish::default()
    }
}

fn finish(report: &Report, seen: &Seen<'_>) -> Finish {
    let (files, bytes) = (seen.files.load(Ordering::Relaxed), seen.bytes.load(Ordering::Relaxed));
    match report {
        Ok(BackupReport::Staged { seed, outcome, unannounced }) => {
            let seed = Some(seed.to_string());
            let message = unannounced.as_ref().map(|why| {
                format!("the seed could not be announced ({why}); the next backup does it")
            });
            Finish { seed, message, ..stored(outcome, "staging") }
        }
        Ok(BackupReport::Stored { confirmed, outcome, unpublished }) => {
            let seed = confirmed.as_ref().map(|confirmed| confirmed.seed.to_string());
            let message = seed.as_ref().map(|seed| format!("seed {seed} is complete in the vault"));
            let finish = Finish { seed, message, ..stored(outcome, "vault") };
            lacking(finish, unpublished.as_deref())
        }
        // Nothing protects the group until somebody has done that.
        Ok(BackupReport::Waiting(waiting)) if matches!(waiting.next, Next::WriteDrives { .. }) => {
            failure(ErrorKind::WrongDrive, waiting.message.clone())
        }
        Ok(BackupReport::Waiting(waiting)) => {
            let state = waiting.state.map(|state| format!(" (seed: {}", state.name()));
            let jobs: Vec<String> =
                waiting.jobs.iter().map(|job| format!("{}: {:?}", job.name, job.state)).collect();
            let jobs =
                if jobs.is_empty() { String::new() } else { format!("; {}", jobs.join(", ")) };
            let state = state.map(|state| format!("{state}{jobs})")).unwrap_or_default();
            let paused = waiting.paused.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
            let message = Some(format!("{}{state}{paused}", waiting.message));
            let seed = waiting.seed.map(|seed| seed.to_string());
            match &waiting.increment {
                Some(outcome) => {
                    let message = message.map(|said| match waiting.on_drives {
                        true => format!("{said}; {}", agent::ON_DRIVES),
                        false => said,
                    });
                    let finish = Finish { seed, message, ..stored(outcome, "transit") };
                    lacking(finish, waiting.stuck.as_deref())
                }
                None => Finish {
                    state: RunState::Waiting,
                    message,
                    seed,
                    files,
                    bytes,
                    ..Finish::default()
                },
            }
        }
        // Somebody has asked for that: nothing is wrong.
        Err(error) if error.kind() == ErrorKind::Interrupted => Finish {
            state: RunState::Interrupted,
            kind: Some(ErrorKind::Interrupted),
            message: Some("it was stopped; what was stored stays".to_owned()),
            files,
            bytes,
            ..Finish::default()
        },
        Err(error) => Finish { files, bytes, ..failure(error.kind(), full(error)) },
    }
}

/// There is a recovery point, and something else that went wrong.
fn lacking(mut finish: Finish, why: Option<&agent::Error>) -> Finish {
    if let Some(why) = why {
        // What passes by itself is said, and takes nothing from what is stored.
        if why.kind() != ErrorKind::Unavailable {
            finish.state = RunState::Partial;
        }
        let said = finish.message.take().map(|said| format!("{said}; ")).unwrap_or_default();
        finish.message = Some(format!("{said}{}", full(why)));
    }
    finish
}

fn stored(outcome: &BackupOutcome, place: &'static str) -> Finish {
    let summary = &outcome.summary;
    let left = outcome.problems.iter().map(|problem| Left {
        path: problem.path.to_string_lossy().into_owned(),
        why: full(&problem.fault),
    });
    Finish {
        state: if outcome.problems.is_empty() { RunState::Done } else { RunState::Partial },
        place: Some(place),
        snapshot: Some(outcome.snapshot.to_hex()),
        files: summary.total_files_processed,
        bytes: summary.total_bytes_processed,
        added: summary.data_added_packed,
        problems: outcome.problems.len() as u64,
        left: left.collect(),
        ..Finish::default()
    }
}

pub(crate) fn full(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        words = format!("{words}: {why}");
        cause = why.source();
    }
    words
}

/// How far a run is, noted every now and then. A note that fails is no problem of the backup.
struct Seen<'a> {
    db: &'a Db,
    run: i64,
    files: AtomicU64,
    bytes: AtomicU64,
    noted: Mutex<Instant>,
    /// What could not be held still: the first of it.
    said: Mutex<Option<String>>,
}

impl<'a> Seen<'a> {
    fn new(db: &'a Db, run: i64) -> Self {
        let noted = Mutex::new(Instant::now());
        let (files, bytes, said) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
        Self { db, run, files, bytes, noted, said }
    }

    fn say(&self, words: String) {
        tracing::warn!("{words}");
        self.said.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
    }

    fn look(&self, event: &Event<'_>) {
        match event {
            Event::Backup(
                BackupEvent::File { .. } | BackupEvent::Unmodified | BackupEvent::Remembered { .. },
            ) => {
                self.files.fetch_add(1, Ordering::Relaxed);
            }
            Event::Backup(BackupEvent::Bytes(bytes)) => {
                self.bytes.fetch_add(*bytes, Ordering::Relaxed);
            }
            Event::Workload(notice) => self.say(notice.to_string()),
            Event::Backup(BackupEvent::NotHeld { path }) => self.say(format!(
                "{} is not in the snapshot, as a subvolume of its own, and is read as it is",
                path.display()
            )),
            _ => return,
        }
        let Ok(mut noted) = self.noted.try_lock() else { return };
        if noted.elapsed() >= NOTED {
            let (files, bytes) = (&self.files, &self.bytes);
            let (files, bytes) = (files.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
            let _ = self.db.progress(self.run, files, bytes);
            *noted = Instant::now();
        }
    }
}
