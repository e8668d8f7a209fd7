//! An import job as it changes: server-sent events as the server's route tells them, read line by line.
//! Connects once; whoever wants to go on after a break calls again, and says what it has seen.

use crate::{Client, Error, Result};
use model::JobName;
use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read as _};
use wire::Job;

/// A line of a stream is shorter than this; a job names 4096 failures of ten drives at most.
const LINE_LIMIT: u64 = 32 << 20;

/// What is told of a watched import job.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It is like this now.
    Job(Box<Job>),
    /// Its record is deleted; nothing more comes.
    Gone,
}

/// An import job as it changes. Ends when the server ends it, or the connection breaks; an error is the
/// last item.
pub struct Watch {
    lines: Box<dyn BufRead + Send>,
    endpoint: String,
    is_over: bool,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// Watches an import job. It is told at once as it is, unless that is the version that was `seen`, and then
    /// each time that it has changed. A connection lasts some minutes at most.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`], also from a server that has no such route;
    /// [`wire::Code::Unavailable`] when it watches too many jobs already.
    pub fn watch_job(&self, job: &JobName, seen: Option<u64>) -> Result<Watch> {
        let body = self.events(&["import-jobs", job.as_str(), "events"], seen)?;
        let endpoint = self.credentials().endpoint.clone();
        Ok(Watch { lines: Box::new(BufReader::new(body)), endpoint, is_over: false })
    }
}

/// One event, as far as it is understood here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: Vec<u8>,
    data: Vec<u8>,
}

/// The next event; none at the end of the stream, where half an event counts as none.
fn next_event(lines: &mut dyn BufRead) -> std::io::Result<Option<Event>> {
    let mut event = Event::default();
    loop {
        let mut line = Vec::new();
        (&mut *lines).take(LINE_LIMIT).read_until(b'\n', &mut line)?;
        let Some(b'\n') = line.pop() else {
            let is_long = line.len() as u64 + 1 >= LINE_LIMIT;
            return if is_long { Err(ErrorKind::InvalidData.into()) } else { Ok(None) };
        };
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            if event != Event::default() {
                return Ok(Some(event));
            }
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (field, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => event.name = value.to_vec(),
            b"data" if event.data.len() as u64 > LINE_LIMIT => {
                return Err(ErrorKind::InvalidData.into());
            }
            b"data" => event.data.extend_from_slice(value),
            // Comments have an empty field, and the job says its version itself.
            _ => {}
        }
    }
}

impl Watch {
    fn told(&mut self) -> Result<Option<Told>> {
        let broken = |cause| Error::Unreachable {
            endpoint: self.endpoint.clone(),
            cause: Box::new(ureq::Error::Io(cause)),
        };
        loop {
            let Some(event) = next_event(&mut *self.lines).map_err(broken)? else {
                return Ok(None);
            };
            match event.name.as_slice() {
                b"job" => {
                    let job = serde_json::from_slice(&event.data).map_err(|cause| {
                        let what = cause.to_string();
                        Error::Answer { endpoint: self.endpoint.clone(), status: 200, what }
                    })?;
                    return Ok(Some(Told::Job(job)));
                }
                b"end" => {
                    self.is_over = true;
                    return Ok(Some(Told::Gone));
                }
                // What a newer server may tell besides.
                _ => {}
            }
        }
    }
}

impl Iterator for Watch {
    type Item = Result<Told>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let told = self.told();
        self.is_over |= !matches!(told, Ok(Some(_)));
        told.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<(String, String)> {
        let mut lines = text.as_bytes();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        std::iter::from_fn(|| next_event(&mut lines).unwrap())
            .map(|event| (text(event.name), text(event.data)))
            .collect()
    }

    #[test]
    fn comments_are_skipped_and_half_an_event_is_none() {
        let text = ":\n\nevent: job\nid: 7\ndata: {}\n\n: x\r\n\r\nevent:end\r\ndata\r\n\r\nevent: job\ndata: {}\n";
        let told = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        assert_eq!(events(text), [told("job", "{}"), told("end", "")]);
        assert_eq!(events("event: job\ndata: 1\ndata: 2"), []);
        assert_eq!(events("data: 1\ndata: 2\n\n"), [told("", "12")]);
    }

    fn watch(text: &'static str) -> Watch {
        let endpoint = "https://x".to_owned();
        Watch { lines: Box::new(text.as_bytes()), endpoint, is_over: false }
    }

    #[test]
    fn what_is_no_job_is_said_once_and_what_is_unknown_is_passed_over() {
        let mut bad = watch("event: job\ndata: x\n\nevent: end\n\n");
        assert!(matches!(bad.next(), Some(Err(Error::Answer { .. }))));
        assert!(bad.next().is_none());
        let mut gone = watch("event: other\ndata: x\n\nevent: end\ndata: {}\n\nevent: job\n\n");
        assert!(matches!(gone.next(), Some(Ok(Told::Gone))));
        assert!(gone.next().is_none());
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = BufReader::new(std::io::repeat(b'x'));
        let error = next_event(&mut lines).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
