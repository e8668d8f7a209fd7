//! Holds a store's traffic to so many bytes a second. Delays, and never refuses.

use crate::{Clock, Listed, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::fmt::Debug;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes move, and are paid for, in pieces no larger than this.
const PIECE: usize = 64 * 1024;
/// A wait is cut into slices of this length, so that a new rate takes hold soon.
const SLICE: Duration = Duration::from_millis(250);
/// How much of the past may be made up for: the bucket holds this long a time's worth of bytes.
const BURST: Duration = Duration::from_millis(500);

/// A rate in bytes a second that may change while it is in use; 0 is none. Clones are the same rate.
#[derive(Debug, Clone, Default)]
pub struct Rate(Arc<AtomicU64>);

impl Rate {
    /// That many bytes a second; 0 for no limit.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes_per_second)))
    }

    /// Changes the rate for everything that it holds, at once.
    pub fn set(&self, bytes_per_second: u64) {
        self.0.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Bytes a second; 0 for no limit.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A store whose threads together read and write no faster than a [`Rate`].
///
/// A whole-object read pays when it is done, so it delays what comes after; all else is paid for
/// piece by piece as it moves. A [`put`](Store::put) goes through the inner store's
/// [`put_from`](Store::put_from): so a misnamed object is refused, and a [`Retry`](crate::Retry)
/// belongs around this and not inside.
#[derive(Debug)]
pub struct RateLimit<S> {
    inner: S,
    bucket: Arc<Bucket>,
}

impl<S: Store> RateLimit<S> {
    /// `inner` at no more than `rate`.
    pub fn new(inner: S, rate: Rate, clock: Arc<dyn Clock>) -> Self {
        let bucket = Bucket { rate, clock, level: Mutex::new(Level::default()) };
        Self { inner, bucket: Arc::new(bucket) }
    }
}

/// A token bucket that may go into debt: whoever takes waits until the debt is paid.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    clock: Arc<dyn Clock>,
    level: Mutex<Level>,
}

#[derive(Debug, Default)]
struct Level {
    /// Bytes that may move now; negative when that many moved too early.
    tokens: f64,
    /// Up to when tokens were added.
    at: Duration,
}

impl Bucket {
    fn take(&self, bytes: usize) {
        if self.rate.get() == 0 || bytes == 0 {
            return;
        }
        // A piece has at most 64 KiB, and 2^53 bytes are more than a life of traffic.
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
        let bytes = bytes as f64;
        self.refilled(|level| level.tokens -= bytes);
        while let Some(wait) = self.debt() {
            self.clock.sleep(wait.min(SLICE));
        }
    }

    /// How long until nothing is owed, at today's rate; `None` when nothing is.
    fn debt(&self) -> Option<Duration> {
        let rate = self.rate.get();
        let tokens = self.refilled(|level| level.tokens);
        if rate == 0 || tokens >= 0.0 {
            return None;
        }
        let seconds = -tokens / per_second(rate);
        // At least a microsecond: a wait too short for the clock to see would never end.
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(SLICE).max(Duration::from_micros(1)))
    }

    fn refilled<T>(&self, then: impl FnOnce(&mut Level) -> T) -> T {
        let now = self.clock.now();
        let rate = per_second(self.rate.get());
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(level.at);
        level.tokens = (level.tokens + passed.as_secs_f64() * rate).min(BURST.as_secs_f64() * rate);
        level.at = level.at.max(now);
        then(&mut level)
    }
}

fn per_second(rate: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let rate = rate as f64;
    rate
}

/// A stream that pays as it goes.
struct Paid<R> {
    inner: R,
    bucket: Arc<Bucket>,
}

impl<R: Read> Read for Paid<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(PIECE);
        let count = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.bucket.take(count);
        Ok(count)
    }
}

impl<S: Store> Store for RateLimit<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self) -> Result<()> {
        self.inner.create()
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        if self.bucket.rate.get() == 0 {
            return self.inner.put(key, bytes);
        }
        self.put_from(key, bytes.len() as u64, &mut &*bytes)
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        let mut paid = Paid { inner: from, bucket: self.bucket.clone() };
        self.inner.put_from(key, length, &mut paid)
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.inner.get(key, limit)?;
        self.bucket.take(bytes.len());
        Ok(bytes)
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.inner.read_at(key, offset, buffer)?;
        self.bucket.take(buffer.len());
        Ok(())
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        let inner = self.inner.open(key)?;
        Ok(Box::new(Paid { inner, bucket: self.bucket.clone() }))
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        self.inner.length(key)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.inner.list(kind)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.inner.remove(key)
    }

    fn puts_at_once(&self) -> usize {
        self.inner.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.inner.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::key_of;
    use crate::{ManualClock, Memory};

    fn limited(bytes_per_second: u64) -> (RateLimit<Memory>, Rate, Arc<ManualClock>) {
        let (rate, clock) = (Rate::new(bytes_per_second), Arc::new(ManualClock::new()));
        (RateLimit::new(Memory::new(), rate.clone(), clock.clone()), rate, clock)
    }

    fn about(clock: &ManualClock, seconds: f64) {
        let passed = clock.now().as_secs_f64();
        assert!((passed - seconds).abs() <= 0.6, "{passed} s instead of {seconds} s");
    }

    #[test]
    fn every_way_in_and_out_is_held_to_the_rate() {
        let bytes = vec![7; 1_000_000];
        let key = key_of(ObjectKind::Pack, &bytes);
        let (store, _, clock) = limited(100_000);
        store.put(&key, &bytes).unwrap();
        about(&clock, 10.0);
        store.get(&key, 1_000_000).unwrap();
        about(&clock, 20.0);
        store.read_at(&key, 0, &mut vec![0; 500_000]).unwrap();
        about(&clock, 25.0);
        io::copy(&mut store.open(&key).unwrap(), &mut io::sink()).unwrap();
        about(&clock, 35.0);
    }

    #[test]
    fn no_rate_is_no_wait() {
        let (store, _, clock) = limited(0);
        store.put(&key_of(ObjectKind::Pack, b"x"), b"x").unwrap();
        assert_eq!(clock.now(), Duration::ZERO);
    }

    #[test]
    fn an_idle_hour_does_not_buy_more_than_the_burst() {
        let bytes = vec![7; 1_000_000];
        let (store, _, clock) = limited(100_000);
        clock.sleep(Duration::from_secs(3_600));
        store.put(&key_of(ObjectKind::Pack, &bytes), &bytes).unwrap();
        about(&clock, 3_600.0 + 9.5);
    }

    #[test]
    fn a_new_rate_holds_at_once() {
        /// A clock on which the rate is lifted after ten seconds.
        #[derive(Debug)]
        struct Lifting(ManualClock, Rate);
        impl Clock for Lifting {
            fn now(&self) -> Duration {
                self.0.now()
            }
            fn sleep(&self, duration: Duration) {
                self.0.sleep(duration);
                if self.0.now() > Duration::from_secs(10) {
                    self.1.set(1_000_000_000);
                }
            }
        }
        let rate = Rate::new(100);
        let clock = Arc::new(Lifting(ManualClock::new(), rate.clone()));
        let store = RateLimit::new(Memory::new(), rate, clock.clone());
        let bytes = vec![7; 100_000];
        store.put(&key_of(ObjectKind::Pack, &bytes), &bytes).unwrap();
        about(&clock.0, 10.3);
    }
}
