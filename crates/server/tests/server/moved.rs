//! A server whose clock a test moves, while callers stay in today. Judges nothing.

use jiff::{SignedDuration, Timestamp};
use server::{Clock, Config, TlsFiles};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How far the clock is ahead, and a certificate that does not move with it: one of months ahead is none for callers of
/// today.
pub(crate) struct Moved {
    seconds: Arc<AtomicI64>,
    tls: TlsFiles,
    _folder: tempfile::TempDir,
}

impl Default for Moved {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = crate::tls::make(folder.path(), "whenever");
        Self { seconds: Arc::default(), tls, _folder: folder }
    }
}

impl Moved {
    /// So many days ahead of now.
    pub(crate) fn to(&self, days: i64) {
        self.seconds.store(days * 24 * 3600, Ordering::Relaxed);
    }

    /// So many days further.
    pub(crate) fn days(&self, days: i64) {
        self.minutes(days * 24 * 60);
    }

    pub(crate) fn minutes(&self, minutes: i64) {
        self.seconds.fetch_add(minutes * 60, Ordering::Relaxed);
    }

    /// A server with this clock.
    pub(crate) fn set(&self, config: &mut Config) {
        let seconds = Arc::clone(&self.seconds);
        config.clock = Clock::from_fn(move || {
            Timestamp::now() + SignedDuration::from_secs(seconds.load(Ordering::Relaxed))
        });
        config.tls = Some(self.tls.clone());
    }

    /// The same, which looks at its timers all the time.
    pub(crate) fn config(&self) -> impl Fn(&mut Config) + '_ {
        |config| {
            self.set(config);
            config.tick = Duration::from_millis(20);
        }
    }
}
