//! `packmule job watch`: one line for each change of an import job, until it is over. Changes nothing.
//!
//! A thread of its own listens to the server, so that Ctrl-C need not wait for it. A server that does not tell
//! changes by itself is asked now and then.

use super::show::{bytes, is_over};
use super::{Named, STATES, state};
use crate::cmd::caller::CallerOptions;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::{duration, per_second};
use clap::Args;
use client::{Client, Told};
use jiff::Timestamp;
use model::{ByteSize, ErrorKind, JobName};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use wire::{Code, Job, JobState};

/// Watch an import job until it is over
///
/// A line for each change, with the rate and the time left while drives are read. Ends with 0 when the job is
/// Completed, or has reached what --until says; with 3 when it is Closed or Canceled. Ctrl-C ends it at once.
///
/// Example: packmule job watch seed-2026 --until Received --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Watch {
    #[command(flatten)]
    job: Named,
    /// End when the job is in this state, or past it
    #[arg(long, value_name = "STATE", value_parser = state)]
    until: Option<JobState>,
    #[command(flatten)]
    caller: CallerOptions,
}

/// Between two connections, and between two questions while something happens.
const SOONEST: Duration = Duration::from_secs(2);
/// The same while nothing happens, as when a parcel is with its carrier.
const LATEST: Duration = Duration::from_secs(60);
/// Of a server of an older version.
const ASKING: &str = "this server does not tell changes by itself: it is asked every two seconds to a minute, and a change shows that much later";
/// How soon Ctrl-C is noticed.
const LOOK: Duration = Duration::from_millis(100);
/// A rate is measured over so much time at most: drives and their speed change.
const WINDOW: Duration = Duration::from_secs(120);

impl Watch {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let client = self.caller.client()?;
        let heard = listening(client, self.job.name.clone());
        let mut seen = Seen::default();
        loop {
            let answer = match next(context, &heard)? {
                Heard::Answer(answer) => answer,
                Heard::Asking => {
                    context.printer.note(ASKING);
                    continue;
                }
            };
            let job = match answer {
                Ok(Told::Job(job)) => *job,
                Ok(Told::Gone) => return Err(self.gone()),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    context.printer.problem("server", &format!("{error}; it is asked again"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            seen.look(context, job);
            if let Some(status) = seen.job.as_ref().and_then(|job| self.ended(job.state)) {
                return Ok(seen.end(context, status));
            }
        }
    }

    fn gone(&self) -> Failure {
        let words = format!("import job {} was deleted while it was watched", self.job.name);
        Failure::new(ErrorKind::NotFound, words)
    }

    /// How it has ended, if it has.
    fn ended(&self, state: JobState) -> Option<Status> {
        let reached = |wanted: JobState| {
            let at = |state| STATES.iter().position(|it| *it == state);
            // The ends beside the way are not past anything.
            let is_on_the_way = !matches!(state, JobState::Closed | JobState::Canceled);
            state == wanted || (is_on_the_way && at(state) > at(wanted))
        };
        match (self.until, state) {
            (Some(wanted), _) if reached(wanted) => Some(Status::Done),
            (None, JobState::Completed) => Some(Status::Done),
            (_, state) if is_over(state) => Some(Status::Partial),
            _ => None,
        }
    }
}

type Answer = client::Result<Told>;

/// What the thread tells that listens.
enum Heard {
    Answer(Answer),
    /// The server does not tell changes by itself: it is asked.
    Asking,
}

/// Listens to what the server tells, until nobody listens here any more.
fn listening(client: Client, job: JobName) -> Receiver<Heard> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let listener = Listener { client, job, sender, seen: None };
        // An error means that nobody listens any more.
        let _ = listener.listen();
    });
    receiver
}

struct Listener {
    client: Client,
    job: JobName,
    sender: Sender<Heard>,
    /// The version that was told last.
    seen: Option<u64>,
}

/// Nobody listens any more.
struct Unheard;

impl Listener {
    fn tell(&mut self, answer: Answer) -> Result<(), Unheard> {
        if let Ok(Told::Job(job)) = &answer {
            self.seen = Some(job.version);
        }
        self.sender.send(Heard::Answer(answer)).map_err(|_| Unheard)
    }

    fn ask(&self) -> Answer {
        self.client.job(&self.job).map(|job| Told::Job(Box::new(job)))
    }

    /// Connects again whenever the connection ends.
    fn listen(mut self) -> Result<(), Unheard> {
        let mut pause = SOONEST;
        loop {
            match self.client.watch_job(&self.job, self.seen) {
                Ok(watch) => {
                    pause = SOONEST;
                    // One that breaks is connected again; if that is not possible, it is said.
                    let is_broken = |told: &Answer| {
                        told.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)
                    };
                    for told in watch.take_while(|told| !is_broken(told)) {
                        self.tell(told)?;
                    }
                }
                Err(error) if error.code() == Some(&Code::ResourceNotFound) => match self.ask() {
                    Ok(told) => {
                        self.sender.send(Heard::Asking).map_err(|_| Unheard)?;
                        self.tell(Ok(told))?;
                        return self.ask_on();
                    }
                    // It is the job that is not there.
                    answer => self.tell(answer)?,
                },
                // It tells too many already, or is not there.
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let answer = self.ask();
                    self.tell(answer)?;
                    pause = (pause * 3 / 2).min(LATEST);
                }
                Err(error) => self.tell(Err(error))?,
            }
            std::thread::sleep(pause);
        }
    }

    /// Asks again and again, less often as long as nothing changes.
    fn ask_on(mut self) -> Result<(), Unheard> {
        let mut pause = SOONEST;
        loop {
            std::thread::sleep(pause);
            let (before, answer) = (self.seen, self.ask());
            self.tell(answer)?;
            pause = if self.seen == before { (pause * 3 / 2).min(LATEST) } else { SOONEST };
        }
    }
}

/// What is heard next; interrupted by Ctrl-C.
fn next(context: &Context, heard: &Receiver<Heard>) -> Result<Heard, Failure> {
    loop {
        if context.stop.load(Ordering::Relaxed) {
            let words = "stopped watching; the job goes on";
            return Err(Failure::new(ErrorKind::Interrupted, words));
        }
        match heard.recv_timeout(LOOK) {
            Ok(heard) => return Ok(heard),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(
                    ErrorKind::Internal,
                    "nobody listens to the server any more",
                ));
            }
        }
    }
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    job: Option<Job>,
    /// When how many bytes had landed, the oldest first; within [`WINDOW`].
    landed: Vec<(Instant, u64)>,
}

/// How fast it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    per_second: u64,
    seconds_left: Option<u64>,
}

impl Seen {
    /// Shows the job if it is another than before.
    fn look(&mut self, context: &Context, job: Job) {
        let is_same = self.job.as_ref().is_some_and(|before| {
            before.version == job.version && before.drive_list == job.drive_list
        });
        if is_same {
            return;
        }
        let pace = self.pace(Instant::now(), bytes(&job), job.state);
        show(context, &job, pace);
        self.job = Some(job);
    }

    /// None as long as there is nothing to measure.
    fn pace(&mut self, now: Instant, (done, total): (u64, u64), state: JobState) -> Option<Pace> {
        if state != JobState::Transferring {
            self.landed.clear();
            return None;
        }
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) <= WINDOW;
        self.landed.retain(|(at, bytes)| is_recent(at) && *bytes <= done);
        self.landed.push((now, done));
        let (began, before) = self.landed.first().copied()?;
        let per_second =
            per_second(done.checked_sub(before)?, now.saturating_duration_since(began));
        let seconds_left = total.saturating_sub(done).checked_div(per_second);
        (per_second > 0).then_some(Pace { per_second, seconds_left })
    }

    fn end(&self, context: &Context, status: Status) -> Status {
        if let Some(job) = &self.job {
            let failures: u64 = job.drive_list.iter().map(|drive| drive.failure_count).sum();
            let object = json!({"job": job.name, "state": job.state, "failures": failures});
            context.printer.object("summary", &object);
            if failures > 0 {
                let words = format!("{failures} objects are damaged or missing");
                context.printer.note(format!("{words}: packmule job show {} names them", job.name));
            }
        }
        status
    }
}

fn show(context: &Context, job: &Job, pace: Option<Pace>) {
    let now = Timestamp::now();
    let (done, total) = bytes(job);
    let mut words = format!("{now:.0}  {}: {:?}", job.name, job.state);
    if total > 0 && done > 0 {
        let (done, total) = (ByteSize(done), ByteSize(total));
        words.push_str(&format!(", {} %, {done} of {total}", job.percent_complete));
    }
    if let Some(pace) = pace {
        words.push_str(&format!(", {}/s", ByteSize(pace.per_second)));
        if let Some(seconds) = pace.seconds_left {
            words.push_str(&format!(", {} left", duration(Duration::from_secs(seconds))));
        }
    }
    let drives: Vec<String> = job
        .drive_list
        .iter()
        .map(|drive| format!("{} {:?}", drive.drive_id, drive.state))
        .collect();
    words.push_str(&format!("; drives: {}", drives.join(", ")));
    context.printer.line(words);
    let object = json!({
        "at": now,
        "job": job.name,
        "state": job.state,
        "version": job.version,
        "percent_complete": job.percent_complete,
        "bytes": done,
        "total_bytes": total,
        "bytes_per_second": pace.map(|pace| pace.per_second),
        "seconds_left": pace.and_then(|pace| pace.seconds_left),
        "drives": job.drive_list,
    });
    context.printer.object("change", &object);
}

#[cfg(test)]
mod tests {
    use super::*;
    use JobState as S;

    fn watch(until: Option<JobState>) -> Watch {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            watch: Watch,
        }
        Watch { until, ..Line::parse_from(["watch", "job1"]).watch }
    }

    #[test]
    fn it_ends_with_the_job_or_where_it_was_told_to() {
        let ended = |until, state| watch(until).ended(state);
        assert_eq!(ended(None, S::Packaging), None);
        assert_eq!(ended(None, S::Completed), Some(Status::Done));
        assert_eq!(ended(None, S::Closed), Some(Status::Partial));
        assert_eq!(ended(Some(S::Received), S::Shipping), None);
        assert_eq!(ended(Some(S::Received), S::Transferring), Some(Status::Done));
        assert_eq!(ended(Some(S::Received), S::Canceled), Some(Status::Partial));
        assert_eq!(ended(Some(S::Canceled), S::Canceled), Some(Status::Done));
        assert_eq!(ended(Some(S::Closed), S::Completed), Some(Status::Partial));
    }

    #[test]
    fn the_pace_is_that_of_the_last_two_minutes() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seen.pace(at(0), (0, 1000), S::Shipping), None);
        assert_eq!(seen.pace(at(0), (100, 1000), S::Transferring), None);
        let pace = seen.pace(at(10), (200, 1000), S::Transferring).unwrap();
        assert_eq!(pace, Pace { per_second: 10, seconds_left: Some(80) });
        let pace = seen.pace(at(130), (560, 1000), S::Transferring).unwrap();
        assert_eq!(pace, Pace { per_second: 3, seconds_left: Some(146) });
        // A drive that is read again begins at its beginning.
        assert_eq!(seen.pace(at(131), (0, 1000), S::Transferring), None);
    }
}
