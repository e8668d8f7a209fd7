//! Waiting for a server that comes back, and not waiting for a caller who has left. Knows nothing
//! of what is tried again.

use crate::Error;
use model::ErrorKind;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Clock, RetryPolicy};
use wire::Code;

/// A wait is cut into slices of this length, so that asking to stop takes hold soon.
const SLICE: Duration = Duration::from_millis(200);

/// How long to go on trying, and whether to go on at all.
#[derive(Clone)]
pub(crate) struct Patience<'a> {
    pub(crate) policy: RetryPolicy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: &'a AtomicBool,
}

impl Patience<'_> {
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Calls `operation` until it answers, the tries are used up, or the caller asks to stop.
    pub(crate) fn run<T>(
        &self,
        mut operation: impl FnMut() -> store::Result<T>,
    ) -> store::Result<T> {
        self.policy.run(
            &Sliced(self),
            || {
                if self.stopped() { Err(given_up()) } else { operation() }
            },
        )
    }

    /// As [`run`](Self::run), for calls of the control plane, which must be such that a repetition
    /// does no harm.
    pub(crate) fn ask<T>(&self, mut call: impl FnMut() -> client::Result<T>) -> Result<T, Error> {
        let mut last = None;
        let outcome = self.run(|| match call() {
            Err(error) if may_pass(&error) => {
                let cause = error.to_string().into();
                last = Some(error);
                Err(store::Error::Unavailable { location: String::from("the server"), cause })
            }
            other => Ok(other),
        });
        match (outcome, last) {
            (Ok(answer), _) => answer.map_err(Error::Server),
            (Err(_), Some(last)) if !self.stopped() => Err(Error::Server(last)),
            (Err(_), _) => Err(Error::Interrupted),
        }
    }
}

/// The server is away, or somebody else's change came first.
fn may_pass(error: &client::Error) -> bool {
    error.kind() == ErrorKind::Unavailable || error.code() == Some(&Code::ConcurrentChange)
}

fn given_up() -> store::Error {
    let cause = io::ErrorKind::Interrupted.into();
    store::Error::Io { action: "waiting for", path: String::from("the server"), cause }
}

/// A clock whose sleepers wake up when the caller asks to stop.
struct Sliced<'a>(&'a Patience<'a>);

impl fmt::Debug for Sliced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.clock.fmt(f)
    }
}

impl Clock for Sliced<'_> {
    fn now(&self) -> Duration {
        self.0.clock.now()
    }

    fn sleep(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() && !self.0.stopped() {
            let slice = left.min(SLICE);
            self.0.clock.sleep(slice);
            left = left.saturating_sub(slice);
        }
    }
}
