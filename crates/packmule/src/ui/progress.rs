//! How far it is: a bar on a terminal, a line now and then otherwise, status objects in JSON.
//!
//! Counts bytes and items; rate and time left follow from them. May be told from many threads.

use super::Printer;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use model::ByteSize;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines on something that is not a terminal.
const LINES: Duration = Duration::from_secs(10);
/// Between two status objects.
const OBJECTS: Duration = Duration::from_secs(1);
/// How long something takes before anybody wants to know how much is left of it.
const LONG: Duration = Duration::from_secs(5);

/// One of several things that an operation does at once.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Which.
    pub(crate) name: String,
    /// What its bytes are: `written`.
    pub(crate) what: &'static str,
    /// How many there are so far.
    pub(crate) bytes: u64,
    /// How many there will be.
    pub(crate) total: u64,
    /// In how long.
    pub(crate) elapsed: Duration,
}

impl Part {
    fn rate(&self) -> u64 {
        per_second(self.bytes, self.elapsed)
    }

    fn seconds_left(&self) -> Option<u64> {
        self.total.saturating_sub(self.bytes).checked_div(self.rate())
    }

    fn words(&self) -> String {
        let left = self.seconds_left().map(|s| duration(Duration::from_secs(s)));
        let left = left.map(|left| format!(", {left} left")).unwrap_or_default();
        let (bytes, total, rate) =
            (ByteSize(self.bytes), ByteSize(self.total), ByteSize(self.rate()));
        format!("{}: {bytes} of {total} {}, {rate}/s{left}", self.name, self.what)
    }
}

/// One operation's progress.
pub(crate) struct Progress<'a> {
    printer: &'a Printer,
    what: String,
    bar: Option<ProgressBar>,
    started: Instant,
    last: Mutex<Instant>,
    /// When the parts were told last.
    last_parts: Mutex<Instant>,
    bytes: AtomicU64,
    total: AtomicU64,
    items: Arc<AtomicU64>,
    total_items: Arc<AtomicU64>,
    /// What the items are, where people want to see their number.
    noun: &'static str,
}

impl<'a> Progress<'a> {
    /// Begins. `what` is a short phrase: `backing up`.
    pub(crate) fn new(printer: &'a Printer, what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = printer.is_live().then(|| {
            let bar = ProgressBar::no_length().with_message(what.clone());
            bar.set_style(style(false));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        Self {
            printer,
            what,
            bar,
            started: now,
            last: Mutex::new(now),
            last_parts: Mutex::new(now),
            bytes: AtomicU64::new(0),
            total: AtomicU64::new(0),
            items: Arc::default(),
            total_items: Arc::default(),
            noun: "",
        }
    }

    /// Shows the number of items, which are these: `files`.
    pub(crate) fn counting(mut self, noun: &'static str) -> Self {
        self.noun = noun;
        if let Some(bar) = &self.bar {
            bar.set_style(self.style(false));
        }
        self
    }

    fn style(&self, known: bool) -> ProgressStyle {
        let (items, total, noun) =
            (Arc::clone(&self.items), Arc::clone(&self.total_items), self.noun);
        style(known).with_key("items", move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&counted(
                items.load(Ordering::Relaxed),
                total.load(Ordering::Relaxed),
                noun,
            ));
        })
    }

    /// When it is worth finding out how much there is in all, if that costs something: not for what is over soon, not before
    /// it would be told, and not where nothing is.
    pub(crate) fn count_after(&self) -> Option<Duration> {
        let live = self.bar.is_some() || self.printer.is_json();
        (!self.printer.is_quiet()).then_some(if live { LONG } else { LINES })
    }

    /// How much there is in all, once that is known.
    pub(crate) fn total(&self, bytes: u64, items: u64) {
        self.total.store(bytes, Ordering::Relaxed);
        self.total_items.store(items, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_length(bytes);
            bar.set_style(self.style(true));
        }
    }

    /// So many more bytes are done.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
        self.now_and_then();
    }

    /// So many bytes are done in all: for what is counted elsewhere.
    pub(crate) fn reach(&self, bytes: u64) {
        self.bytes(bytes.saturating_sub(self.bytes.load(Ordering::Relaxed)));
    }

    /// One more item is done.
    pub(crate) fn item(&self) {
        self.items.fetch_add(1, Ordering::Relaxed);
        self.now_and_then();
    }

    /// A line beside the bar, not into it.
    pub(crate) fn problem(&self, item: &str, what: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.problem(item, what)),
            None => self.printer.problem(item, what),
        }
    }

    /// A part of the result, beside the bar.
    pub(crate) fn object(&self, message_type: &str, object: &impl serde::Serialize) {
        self.printer.object(message_type, object);
    }

    /// Does something on the terminal that the bar must not write over.
    pub(crate) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(act),
            None => act(),
        }
    }

    /// A note beside the bar.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.note(text)),
            None => self.printer.note(text),
        }
    }

    /// How far each part is, asked for when it is time to tell: beside the bar on a terminal, as a
    /// line or an object each otherwise.
    pub(crate) fn parts(&self, parts: impl FnOnce() -> Vec<Part>) {
        let every = if self.bar.is_some() || self.printer.is_json() { OBJECTS } else { LINES };
        let Ok(mut last) = self.last_parts.try_lock() else { return };
        if last.elapsed() < every || self.printer.is_quiet() {
            return;
        }
        *last = Instant::now();
        drop(last);
        let parts = parts();
        if let Some(bar) = &self.bar {
            let rate = |part: &Part| format!("{} {}/s", part.name, ByteSize(part.rate()));
            let rates = parts.iter().map(rate).collect::<Vec<_>>().join(", ");
            return bar.set_message(format!("{} ({rates})", self.what));
        }
        for part in &parts {
            self.printer.note(part.words());
            let object = json!({
                "name": part.name,
                "action": part.what,
                "bytes_done": part.bytes,
                "total_bytes": part.total,
                "bytes_per_second": part.rate(),
                "seconds_remaining": part.seconds_left(),
            });
            self.printer.object("part_status", &object);
        }
    }

    fn now_and_then(&self) {
        if self.bar.is_some() || self.printer.is_quiet() {
            return;
        }
        let every = if self.printer.is_json() { OBJECTS } else { LINES };
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.elapsed() >= every {
            *last = Instant::now();
            drop(last);
            self.say();
        }
    }

    fn say(&self) {
        let (bytes, total) =
            (self.bytes.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let elapsed = self.started.elapsed();
        let rate = per_second(bytes, elapsed);
        let left = (total > bytes && rate > 0).then(|| (total - bytes) / rate);
        if self.printer.is_json() {
            let status = json!({
                "action": self.what,
                "bytes_done": bytes,
                "total_bytes": total,
                "items_done": self.items.load(Ordering::Relaxed),
                "total_items": self.total_items.load(Ordering::Relaxed),
                "seconds_elapsed": elapsed.as_secs(),
                "bytes_per_second": rate,
                "seconds_remaining": left,
            });
            return self.printer.object("status", &status);
        }
        let of = if total > 0 { format!(" of {}", ByteSize(total)) } else { String::new() };
        let left = left
            .map(|s| format!(", {} left", duration(Duration::from_secs(s))))
            .unwrap_or_default();
        self.printer.note(format!(
            "{}: {}{of}{}, {}/s{left}",
            self.what,
            ByteSize(bytes),
            counted(
                self.items.load(Ordering::Relaxed),
                self.total_items.load(Ordering::Relaxed),
                self.noun
            ),
            ByteSize(rate)
        ));
    }

    /// Ends the bar. Answers how long it took.
    pub(crate) fn finish(&self) -> Duration {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(known: bool) -> ProgressStyle {
    let template = if known {
        "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes}{items} {binary_bytes_per_sec} {eta} left"
    } else {
        "{msg} {spinner} {binary_bytes}{items} {binary_bytes_per_sec}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// `, 12 of 300 files`; nothing where they are not to be shown.
fn counted(items: u64, total: u64, noun: &str) -> String {
    match (noun, total) {
        ("", _) => String::new(),
        (_, 0) => format!(", {items} {noun}"),
        _ => format!(", {items} of {total} {noun}"),
    }
}

/// Bytes a second; nothing before there is something to divide by.
#[must_use]
pub(crate) fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        0
    } else {
        (u128::from(bytes) * 1000 / u128::from(millis)).try_into().unwrap_or(u64::MAX)
    }
}

/// `1 h 02 min`, `3 min 05 s`, `12.3 s`.
#[must_use]
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_say_them() {
        assert_eq!(duration(Duration::from_millis(12_345)), "12.3 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(duration(Duration::from_secs(3_725)), "1 h 02 min");
    }

    #[test]
    fn items_are_counted_where_they_have_a_name() {
        assert_eq!(counted(5, 0, "files"), ", 5 files");
        assert_eq!(counted(5, 9, "files"), ", 5 of 9 files");
        assert_eq!(counted(5, 9, ""), "");
    }

    #[test]
    fn a_part_says_how_fast_it_is_and_how_long_it_takes() {
        let part = Part {
            name: "S1".to_owned(),
            what: "written",
            bytes: 300 << 20,
            total: 900 << 20,
            elapsed: Duration::from_secs(3),
        };
        let words = "S1: 300.000 MiB of 900.000 MiB written, 100.000 MiB/s, 6.0 s left";
        assert_eq!(part.words(), words);
        assert_eq!(Part { elapsed: Duration::ZERO, ..part }.seconds_left(), None);
    }

    #[test]
    fn nothing_is_counted_that_nobody_would_be_told() {
        let after = |json, quiet| Progress::new(&Printer::new(json, quiet), "doing").count_after();
        assert_eq!(after(false, true), None);
        assert_eq!(after(true, true), None);
        assert_eq!(after(true, false), Some(LONG));
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(per_second(5, Duration::ZERO), 0);
        assert_eq!(per_second(5_000, Duration::from_millis(500)), 10_000);
    }
}
