//! Tries again what failed because the other end was away. Never repeats what has an answer:
//! only [`Unavailable`](crate::Error::Unavailable) is worth a second try.

use crate::{Clock, Error, Listed, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::fmt::Debug;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

/// How often, and how far apart.
///
/// The nth wait is drawn at random between half of and all of `first * 2^(n-1)`, at most `longest`:
/// the half keeps a server from being hammered, the chance keeps many clients from coming back at
/// the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all; at least one is made.
    pub attempts: u32,
    /// The first wait, at its longest.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    /// Ten tries over about four minutes: as long as a router takes to restart, twice.
    fn default() -> Self {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(60));
        Self { attempts: 10, first, longest }
    }
}

impl RetryPolicy {
    /// Calls `operation` until it answers, or the tries are used up: then its last error.
    ///
    /// For what [`Retry`] cannot repeat by itself: storing from a stream that only the caller can
    /// begin again, or reading one to its end.
    ///
    /// # Errors
    /// What `operation` answers.
    pub fn run<T>(&self, clock: &dyn Clock, mut operation: impl FnMut() -> Result<T>) -> Result<T> {
        let mut tried = 1;
        loop {
            match operation() {
                Err(error @ Error::Unavailable { .. }) if tried < self.attempts => {
                    let wait = self.wait(tried, chance());
                    tracing::warn!(%error, tried, ?wait, "trying again");
                    clock.sleep(wait);
                    tried += 1;
                }
                other => return other,
            }
        }
    }

    /// The wait after try `tried` (from 1); `chance` is between 0 and 1.
    fn wait(&self, tried: u32, chance: f64) -> Duration {
        let factor = 1_u32.checked_shl(tried.saturating_sub(1)).unwrap_or(u32::MAX);
        let most = self.first.saturating_mul(factor).min(self.longest);
        most.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

/// Between 0 and 1, different each time.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// A store that tries again by a [`RetryPolicy`].
///
/// [`put_from`](Store::put_from) is tried again only while no byte was taken from its source, which
/// covers a server that is not there; beyond that the caller must begin the source again, through
/// [`RetryPolicy::run`]. A stream from [`open`](Store::open) that breaks off is the caller's, too.
#[derive(Debug)]
pub struct Retry<S> {
    inner: S,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
}

impl<S: Store> Retry<S> {
    /// `inner`, tried again.
    pub fn new(inner: S, policy: RetryPolicy, clock: Arc<dyn Clock>) -> Self {
        Self { inner, policy, clock }
    }

    fn run<T>(&self, operation: impl FnMut() -> Result<T>) -> Result<T> {
        self.policy.run(self.clock.as_ref(), operation)
    }
}

/// A source that knows whether it was begun.
struct Watched<'a> {
    from: &'a mut dyn Read,
    begun: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.begun |= !buffer.is_empty();
        self.from.read(buffer)
    }
}

impl<S: Store> Store for Retry<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self) -> Result<()> {
        self.run(|| self.inner.create())
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.run(|| self.inner.put(key, bytes))
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        let mut watched = Watched { from, begun: false };
        let mut last = None;
        let outcome = self.run(|| match self.inner.put_from(key, length, &mut watched) {
            Err(error) if watched.begun => {
                last = Some(error);
                Ok(())
            }
            other => other,
        });
        last.map_or(outcome, Err)
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        self.run(|| self.inner.get(key, limit))
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.run(|| self.inner.read_at(key, offset, buffer))
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        self.run(|| self.inner.open(key))
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        self.run(|| self.inner.length(key))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.run(|| self.inner.list(kind))
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.run(|| self.inner.remove(key))
    }

    fn puts_at_once(&self) -> usize {
        self.inner.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.run(|| self.inner.remove_leftovers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::key_of;
    use crate::{Fault, Faulty, ManualClock, Memory, Operation, Recorder};
    use proptest::prelude::*;

    type Stack = Retry<Faulty<Recorder<Memory>>>;

    fn retried(faults: usize) -> (Stack, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let faulty = Faulty::new(Recorder::new(Memory::new()));
        for nth in 0..faults {
            faulty.fail_nth(None, nth as u64 + 1, Fault::Unavailable);
        }
        let policy = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
        (Retry::new(faulty, policy, clock.clone()), clock)
    }

    #[test]
    fn what_was_away_for_less_than_all_tries_succeeds() {
        let key = key_of(ObjectKind::Index, b"x");
        let (store, clock) = retried(3);
        store.put(&key, b"x").unwrap();
        assert_eq!(store.get(&key, 10).unwrap(), b"x");
        assert!(clock.now() >= Duration::from_millis(250 + 500 + 1000));
        assert!(clock.now() <= Duration::from_millis(500 + 1000 + 2000));
    }

    #[test]
    fn what_stays_away_is_unavailable_after_the_last_try() {
        let (store, _) = retried(4);
        assert!(matches!(store.list(ObjectKind::Pack), Err(Error::Unavailable { .. })));
        assert_eq!(store.list(ObjectKind::Pack).unwrap(), []);
    }

    #[test]
    fn an_answer_is_not_asked_for_twice() {
        let (store, clock) = retried(0);
        let key = key_of(ObjectKind::Index, b"x");
        assert!(matches!(store.get(&key, 10), Err(Error::NotFound { .. })));
        assert_eq!(store.inner.inner().counts().calls(Operation::Get), 1);
        assert_eq!(clock.now(), Duration::ZERO);
    }

    #[test]
    fn a_source_that_was_begun_is_not_stored_from_again() {
        let (store, clock) = retried(0);
        let key = key_of(ObjectKind::Pack, b"some bytes");
        store.inner.fail_nth(Some(Operation::PutFrom), 1, Fault::ShortWrite(4));
        let refused = store.put_from(&key, 10, &mut b"some bytes".as_slice());
        assert!(matches!(refused, Err(Error::Unavailable { .. })));
        assert_eq!(clock.now(), Duration::ZERO);
        assert!(matches!(store.length(&key), Err(Error::NotFound { .. })));
    }

    #[test]
    fn a_source_that_was_not_begun_is_stored_from_at_the_next_try() {
        let (store, _) = retried(2);
        let key = key_of(ObjectKind::Pack, b"some bytes");
        store.put_from(&key, 10, &mut b"some bytes".as_slice()).unwrap();
        assert_eq!(store.get(&key, 10).unwrap(), b"some bytes");
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_a_success_at_the_next_try() {
        let (store, _) = retried(0);
        let key = key_of(ObjectKind::Index, b"x");
        store.inner.fail_nth(Some(Operation::Put), 1, Fault::LostAnswer);
        store.put(&key, b"x").unwrap();
        assert_eq!(store.inner.inner().counts().calls(Operation::Put), 2);
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_and_all_of_its_step(tried in 1_u32..100, chance in 0.0..=1.0) {
            let policy = RetryPolicy::default();
            let most = policy.first.saturating_mul(2_u32.saturating_pow(tried - 1)).min(policy.longest);
            let wait = policy.wait(tried, chance);
            prop_assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
        }
    }
}
