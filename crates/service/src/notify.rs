//! Tells systemd how the service is. Where there is none, nothing happens.

use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// The watchdog of systemd, fed as often as it wants.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Option<Duration>,
    fed: Option<Instant>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        // Twice as often as it must be.
        Self { every: sd_notify::watchdog_enabled().map(|within| within / 2), fed: None }
    }

    /// To be called by the loop that must not hang.
    pub(crate) fn feed(&mut self) {
        let Some(every) = self.every else { return };
        if self.fed.is_none_or(|fed| fed.elapsed() >= every) {
            tell(&[NotifyState::Watchdog]);
            self.fed = Some(Instant::now());
        }
    }
}

/// Everything is set up.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What it does now.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// It ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::debug!("systemd does not listen: {cause}");
    }
}
