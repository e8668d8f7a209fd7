//! Reads objects from where they are and hashes them, two side by side. Does not know where they go.

use crate::belt::{Belt, Brought, Reading, Step, Watch};
use crate::event::Reason;
use crate::{Error, drive};
use model::Digest;
use sha256::Hasher;
use std::io::{self, Read};
use store::Store;

/// Works until the belt says that all is over. `sources` are the seed's repositories, in its order.
pub(crate) fn read(belt: &Belt, sources: &[&dyn Store]) {
    let _watch = Watch(belt);
    while let Some((first, second)) = belt.steps() {
        let mut first = Pass::of(first, belt, sources);
        let mut second = second.map(|step| Pass::of(step, belt, sources));
        match &mut second {
            Some(second) => Hasher::update_both(
                &mut first.hasher,
                first.step.buffer.bytes().get(..first.count).unwrap_or_default(),
                &mut second.hasher,
                second.step.buffer.bytes().get(..second.count).unwrap_or_default(),
            ),
            None => first
                .hasher
                .update(first.step.buffer.bytes().get(..first.count).unwrap_or_default()),
        }
        first.hand_over(belt);
        if let Some(second) = second {
            second.hand_over(belt);
        }
    }
}

/// One step, read and being hashed.
struct Pass {
    step: Step,
    hasher: Hasher,
    /// Bytes read by this step.
    count: usize,
    /// Bytes of the object read so far.
    seen: u64,
    /// None where it could not be opened, or not be read on.
    stream: Result<Box<dyn Read + Send>, Reason>,
}

impl Pass {
    /// Reads a step's part.
    fn of(mut step: Step, belt: &Belt, sources: &[&dyn Store]) -> Self {
        let (stream, hasher, seen) = match step.reading.take() {
            Some(reading) => (Ok(reading.stream), reading.hasher, reading.seen),
            None => (open(&step, belt, sources), Hasher::default(), 0),
        };
        let mut pass = Self { step, hasher, count: 0, seen, stream };
        if let Err(cause) = pass.fill() {
            pass.stream = Err(Reason::Unreadable(cause.to_string()));
        }
        pass
    }

    fn fill(&mut self) -> io::Result<()> {
        let Ok(stream) = &mut self.stream else { return Ok(()) };
        let room = self.step.buffer.bytes_mut();
        while self.count < room.len() {
            // Nothing beyond the length is kept, and one byte of it shows that there is more.
            let left = self.step.object.length.saturating_sub(self.seen);
            let most = usize::try_from(left).unwrap_or(usize::MAX).max(1);
            let window = room.get_mut(self.count..).unwrap_or_default();
            let most = most.min(window.len());
            let read = drive::read_some(stream, window.get_mut(..most).unwrap_or_default())?.len();
            self.seen += read as u64;
            if read == 0 || self.seen > self.step.object.length {
                return Ok(());
            }
            self.count += read;
        }
        Ok(())
    }

    /// Whether the stream has come to its end, or beyond it: a part that is not full is the last.
    fn is_last(&self) -> bool {
        self.stream.is_err() || self.count < self.step.buffer.bytes().len()
    }

    fn hand_over(self, belt: &Belt) {
        let last = self.is_last();
        let Self { step, hasher, count, seen, stream } = self;
        let object = step.object;
        let brought = match stream {
            Ok(stream) if !last => Brought::More(Reading { stream, hasher, seen }, count),
            Err(reason) => Brought::Last(0, Some(reason)),
            Ok(_) if seen != object.length => {
                let reason = Reason::Length { found: seen, expected: object.length };
                Brought::Last(0, Some(reason))
            }
            Ok(_) => {
                let right = Digest(hasher.finalize()) == object.name;
                Brought::Last(count, (!right).then_some(Reason::Hash))
            }
        };
        belt.bring(step, brought);
    }
}

/// An object that cannot be had is a reason; a place that cannot be reached ends everything.
fn open(step: &Step, belt: &Belt, sources: &[&dyn Store]) -> Result<Box<dyn Read + Send>, Reason> {
    let source = sources.get(usize::from(step.object.repository)).ok_or(Reason::Missing)?;
    source.open(&step.object.key()).map_err(|error| match error.kind() {
        model::ErrorKind::NotFound => Reason::Missing,
        model::ErrorKind::Unavailable => {
            let reason = Reason::Unreadable(error.to_string());
            belt.stop(Error::Store(error));
            reason
        }
        _ => Reason::Unreadable(error.to_string()),
    })
}
