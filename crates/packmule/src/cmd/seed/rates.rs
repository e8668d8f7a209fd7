//! What happens to drives while they are written, verified and imported, and how fast each one is.
//! Decides nothing.

use crate::ui::{Part, Progress};
use model::{ByteSize, DriveSerial};
use seed::{Event, Events};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How far each drive is.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<BTreeMap<DriveSerial, Rate>>);

#[derive(Debug)]
struct Rate {
    what: &'static str,
    since: Instant,
    bytes: u64,
    total: u64,
}

impl Rates {
    fn change(&self, serial: &DriveSerial, change: impl FnOnce(&mut Rate)) {
        let mut drives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Rate { what: "", since: Instant::now(), bytes: 0, total: 0 };
        change(drives.entry(serial.clone()).or_insert_with(new));
    }

    /// Whether bytes are counted as they are written, and not when an object is done.
    fn are_written(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn add(&self, serial: &DriveSerial, what: &'static str, bytes: u64) {
        self.change(serial, |rate| {
            if rate.what != what {
                // What is read back is what was written.
                let total = if rate.what.is_empty() { rate.total } else { rate.bytes };
                *rate = Rate { what, since: Instant::now(), bytes: 0, total };
            }
            rate.bytes += bytes;
            rate.total = rate.total.max(rate.bytes);
        });
    }

    /// Bytes were written to a drive; what all of it comes to is counted elsewhere.
    pub(crate) fn written(&self, progress: &Progress<'_>, serial: &DriveSerial, bytes: u64) {
        self.add(serial, "written", bytes);
        self.show(progress);
    }

    pub(crate) fn forget(&self, serial: &DriveSerial) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(serial);
    }

    fn show(&self, progress: &Progress<'_>) {
        progress.parts(|| {
            let drives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = drives.iter().filter(|(_, rate)| !rate.what.is_empty());
            let part = |(serial, rate): (&DriveSerial, &Rate)| Part {
                name: serial.to_string(),
                what: rate.what,
                bytes: rate.bytes,
                total: rate.total,
                elapsed: rate.since.elapsed(),
            };
            busy.map(part).collect()
        });
    }
}

/// Renders events of preparing, verifying and importing.
pub(crate) struct Report<'a> {
    progress: &'a Progress<'a>,
    rates: Rates,
    stop: &'a AtomicBool,
}

impl<'a> Report<'a> {
    /// Into this progress, until this stop sign.
    pub(crate) fn new(progress: &'a Progress<'a>, stop: &'a AtomicBool) -> Self {
        Self { progress, rates: Rates::default(), stop }
    }
}

impl Events for Report<'_> {
    fn event(&mut self, event: Event<'_>) {
        show_event(self.progress, &self.rates, &event);
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a set with parity takes more, and what it can do without.
pub(crate) fn survives(data: u64, parity: u64) -> String {
    let drives = |count: u64| if count == 1 { "drive" } else { "drives" };
    format!(
        "{data} {} of data and {parity} of parity: any {parity} of them may be lost; parity is {} % on top of the data",
        drives(data),
        parity.saturating_mul(100) / data.max(1)
    )
}

/// What is said when something was lost with a drive.
pub(crate) const ANOTHER_PASS: &str = "going over the source once more, for what was lost";

/// Shows one event of drives that are backed up onto: files are what is counted then, not objects.
pub(crate) fn show_direct(progress: &Progress<'_>, rates: &Rates, event: &Event<'_>) {
    match *event {
        Event::ObjectDone { .. } => {}
        Event::Writing { serial, bytes } => rates.written(progress, serial, bytes),
        Event::DriveStarted { serial } => {
            progress.note(&format!("drive {serial}: in use"));
        }
        Event::DrivePlanned { serial, bytes, .. } => {
            progress.note(&format!("drive {serial}: room for {}", ByteSize(bytes)));
            show_event(progress, rates, event);
        }
        Event::DriveGone { serial } => {
            rates.forget(serial);
            let words = "no longer answers, or does not give back what was written: what was on it is \
                backed up again, unless it is attached again";
            progress.problem(&format!("drive {serial}"), words);
        }
        _ => show_event(progress, rates, event),
    }
}

/// Shows one event of preparing, verifying or importing.
pub(crate) fn show_event(progress: &Progress<'_>, rates: &Rates, event: &Event<'_>) {
    match *event {
        Event::Planned { objects, bytes, done_bytes, .. } => {
            progress.total(bytes, objects);
            progress.bytes(done_bytes);
        }
        Event::DrivePlanned { serial, bytes, .. } => {
            rates.change(serial, |rate| rate.total = bytes);
        }
        Event::ParityPlanned { data, parity, lacking } => {
            progress.note(&survives(data, parity));
            if lacking > 0 {
                progress.note(&format!("{lacking} more drives are needed for parity"));
            }
        }
        Event::DriveStarted { serial } => progress.note(&format!("drive {serial}: started")),
        Event::Writing { serial, bytes } => {
            rates.add(serial, "written", bytes);
            progress.bytes(bytes);
            rates.show(progress);
        }
        Event::Reading { serial, bytes } => {
            rates.add(serial, "read", bytes);
            rates.show(progress);
        }
        Event::ObjectDone { bytes, .. } => {
            progress.item();
            if !rates.are_written() {
                progress.bytes(bytes);
            }
        }
        Event::DriveFull { serial } => progress.note(&format!("drive {serial}: full")),
        Event::DriveSealed { serial } => {
            rates.forget(serial);
            progress.note(&format!("drive {serial}: read back, sealed; it can be taken out"));
        }
        Event::DriveGone { serial } => {
            rates.forget(serial);
            progress.problem(
                &format!("drive {serial}"),
                "no longer answers; attach it again and run the same command",
            );
        }
        Event::Problem { serial, problem } => {
            let place = serial.map(|serial| format!(" on drive {serial}")).unwrap_or_default();
            progress.problem(&format!("{}{place}", problem.key), &problem.reason.to_string());
        }
        Event::Rebuilding { stripes } => {
            progress.note("rebuilding what did not arrive from parity");
            progress.total(stripes.saturating_mul(seed::EXTENT), 0);
        }
        Event::Rebuilt { bytes } => progress.bytes(bytes),
        Event::Publishing { objects } => progress.note(&format!("publishing {objects} objects")),
        _ => {}
    }
}
