//! The host's end of the line to the guest: asks, and keeps what is answered to whom. A deadline ends
//! the waiting, not the work in the guest.

use super::frame::{self, Reply, Request, What};
use anyhow::{Context, bail, ensure};
use std::collections::HashMap;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The exit code; 128 and the signal's number where a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: Vec<u8>,
    /// Standard error.
    pub(crate) err: Vec<u8>,
}

impl Said {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Both outputs, for whoever looks for a word or reads a failure.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.text(), String::from_utf8_lossy(&self.err))
    }
}

/// Something that the guest is doing.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    /// For errors.
    what: String,
}

type Answer = Result<Said, String>;

/// The line.
pub(super) struct Line {
    to: UnixStream,
    from: Receiver<anyhow::Result<(Reply, Vec<Vec<u8>>)>>,
    answers: HashMap<u64, Answer>,
    asked: u64,
}

impl Line {
    /// Waits until the guest is up; none when it is not within `limit`.
    pub(super) fn new(stream: UnixStream, limit: Duration) -> anyhow::Result<Option<Self>> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (sender, from) = channel();
        // It ends with the line, and so with the machine.
        std::thread::spawn(move || {
            while let Some(frame) = frame::read(&mut reader).transpose().filter(goes_on) {
                let failed = frame.is_err();
                if sender.send(frame).is_err() || failed {
                    break;
                }
            }
        });
        let line = Self { to: stream, from, answers: HashMap::new(), asked: 0 };
        match line.next(Instant::now() + limit)? {
            Some((Reply::Ready, _)) => Ok(Some(line)),
            Some((reply, _)) => bail!("the guest begins with {reply:?}"),
            None => Ok(None),
        }
    }

    /// Begins something.
    pub(super) fn ask(&mut self, what: What, input: &[u8]) -> anyhow::Result<Job> {
        self.asked += 1;
        let id = self.asked;
        let shown = match &what {
            What::Run(script) => format!("`{script}`"),
            What::Put(path, _) => format!("writing {path}"),
            What::Get(path) => format!("reading {path}"),
            What::Find(serial) => format!("finding drive {serial}"),
        };
        let sent = frame::write(&mut self.to, Request { id, what }, &[input]);
        sent.with_context(|| format!("the guest takes no {shown}"))?;
        Ok(Job { id, what: shown })
    }

    /// What came of it; none when it is not done after `limit`. What came is told once.
    pub(super) fn ended(&mut self, job: &Job, limit: Duration) -> anyhow::Result<Option<Said>> {
        let until = Instant::now() + limit;
        loop {
            if let Some(answer) = self.answers.remove(&job.id) {
                return answer.map(Some).map_err(|why| anyhow::anyhow!("{}: {why}", job.what));
            }
            let next = self.next(until).with_context(|| format!("during {}", job.what))?;
            let Some((reply, parts)) = next else { return Ok(None) };
            self.keep(reply, parts)?;
        }
    }

    /// What came of it, within `limit`.
    pub(super) fn wait(&mut self, job: &Job, limit: Duration) -> anyhow::Result<Said> {
        let said = self.ended(job, limit)?;
        said.with_context(|| format!("{} takes more than {} s", job.what, limit.as_secs()))
    }

    fn keep(&mut self, reply: Reply, parts: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let mut parts = parts.into_iter();
        let (id, answer) = match reply {
            Reply::Ready => bail!("the guest has come up again"),
            Reply::Done(id, code) => {
                let mut part = || parts.next().unwrap_or_default();
                (id, Ok(Said { code, out: part(), err: part() }))
            }
            Reply::Failed(id, why) => (id, Err(why)),
        };
        ensure!(id <= self.asked, "the guest answers what nobody asked");
        self.answers.insert(id, answer);
        Ok(())
    }

    fn next(&self, until: Instant) -> anyhow::Result<Option<(Reply, Vec<Vec<u8>>)>> {
        match self.from.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(frame) => frame.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the machine has ended"),
        }
    }
}

/// A machine that ends with something unread in its socket resets the line, which is an end as well.
fn goes_on<T>(frame: &anyhow::Result<T>) -> bool {
    let cause = frame.as_ref().err().and_then(|why| why.downcast_ref::<std::io::Error>());
    cause.is_none_or(|cause| cause.kind() != std::io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn line() -> (Line, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        frame::write(&mut theirs, Reply::Ready, &[]).unwrap();
        (Line::new(ours, SOON).unwrap().unwrap(), theirs)
    }

    #[test]
    fn a_guest_that_says_nothing_is_not_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(Line::new(ours, Duration::from_millis(10)).unwrap().is_none());
    }

    #[test]
    fn answers_find_their_questions_in_any_order() {
        let (mut line, mut guest) = line();
        let first = line.ask(What::Run("one".to_owned()), b"").unwrap();
        let second = line.ask(What::Run("two".to_owned()), b"").unwrap();
        assert_eq!(line.ended(&first, Duration::ZERO).unwrap(), None);
        frame::write(&mut guest, Reply::Done(2, 3), &[b"out", b"err"]).unwrap();
        frame::write(&mut guest, Reply::Failed(1, "no shell".to_owned()), &[]).unwrap();
        let why = line.wait(&first, SOON).unwrap_err().to_string();
        assert_eq!(why, "`one`: no shell");
        let said = Said { code: 3, out: b"out".to_vec(), err: b"err".to_vec() };
        assert_eq!(line.ended(&second, Duration::ZERO).unwrap(), Some(said));
    }

    #[test]
    fn a_machine_that_ends_is_an_error_and_no_waiting() {
        let (mut line, guest) = line();
        let job = line.ask(What::Run("true".to_owned()), b"").unwrap();
        drop(guest);
        assert!(format!("{:#}", line.wait(&job, SOON).unwrap_err()).contains("has ended"));
    }
}
