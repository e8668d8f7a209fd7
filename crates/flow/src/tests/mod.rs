//! Rules of the machines, held by exhaustive walks, random sequences and tables.

mod documented;
mod drive;
mod job;
mod properties;
mod refusals;
mod seed;
mod shipment;
mod states_doc;

use crate::{Effect, ImportJob, JobEvent, JobType, Notice, Refused};
use jiff::{SignedDuration, Timestamp};
use model::{Address, DriveSerial, Package};

/// So many days after the start of every story.
fn day(count: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * count)
}

fn serial(name: &str) -> DriveSerial {
    name.parse().unwrap()
}

fn serials(names: &[&str]) -> Vec<DriveSerial> {
    names.iter().map(|name| serial(name)).collect()
}

fn address() -> Address {
    Address {
        recipient_name: "Ops".into(),
        street_address1: "1 Main St".into(),
        city: "Oslo".into(),
        postal_code: "0150".into(),
        country_or_region: "NO".into(),
        phone: "4722000000".into(),
        email: "ops@example.com".into(),
        ..Address::default()
    }
}

fn package(number: &str) -> Package {
    Package {
        carrier_name: "Post".into(),
        tracking_number: number.parse().unwrap(),
        drive_count: None,
        ship_date: None,
    }
}

/// Both shipping details at once.
fn details(number: &str) -> JobEvent {
    JobEvent::ShippingGiven {
        return_address: Some(Box::new(address())),
        package: Some(package(number)),
        number_taken: false,
    }
}

fn arrived(names: &[&str]) -> JobEvent {
    JobEvent::PackageArrived { serials: serials(names) }
}

fn came(name: &str) -> JobEvent {
    JobEvent::DriveCame { serial: serial(name) }
}

fn never_came(name: &str) -> JobEvent {
    JobEvent::DriveNeverCame { serial: serial(name) }
}

fn started(name: &str) -> JobEvent {
    JobEvent::DriveStarted { serial: serial(name) }
}

fn progressed(name: &str, bytes: u64, total: u64) -> JobEvent {
    JobEvent::DriveProgressed { serial: serial(name), bytes, total }
}

fn finished(name: &str, problems: u64) -> JobEvent {
    JobEvent::DriveFinished { serial: serial(name), bytes: 9, problems }
}

fn drive_returned(name: &str) -> JobEvent {
    JobEvent::DriveReturned { serial: serial(name) }
}

fn returned() -> JobEvent {
    JobEvent::Returned { package: Some(package("BACK1")) }
}

/// A job and all that has followed from what happened to it.
#[derive(Clone)]
struct Story {
    job: ImportJob,
    effects: Vec<Effect>,
    now: Timestamp,
}

impl Story {
    /// A new import job with drives A and B.
    fn new() -> Self {
        Self::of(JobType::Import, &["A", "B"])
    }

    fn of(job_type: JobType, drives: &[&str]) -> Self {
        let job = ImportJob::new(job_type, serials(drives), day(0)).unwrap();
        Self { job, effects: Vec::new(), now: day(0) }
    }

    /// As [`new`](Self::new), and shipped on day 0.
    fn shipped() -> Self {
        Self::new().then(details("TRACK1")).then(JobEvent::ShippingRequested)
    }

    fn at(mut self, days: i64) -> Self {
        self.now = day(days);
        self
    }

    /// What happens next, and must be accepted.
    #[expect(clippy::needless_pass_by_value, reason = "a story is told without ampersands")]
    fn then(mut self, event: JobEvent) -> Self {
        let (job, effects) = self
            .job
            .transition(&event, self.now)
            .unwrap_or_else(|refused| panic!("{event:?} was refused: {refused}"));
        self.job = job;
        self.effects.extend(effects);
        self
    }

    fn tick(self, days: i64) -> Self {
        self.at(days).then(JobEvent::Tick)
    }

    fn refuses(&self, event: &JobEvent) -> Refused {
        self.job.transition(event, self.now).expect_err(&format!("{event:?} was accepted"))
    }

    fn state(&self) -> &'static str {
        self.job.state.name()
    }

    fn drives(&self) -> Vec<&'static str> {
        self.job.drives.iter().map(|drive| drive.state.name()).collect()
    }

    fn customer_was_told(&self, notice: &Notice) -> bool {
        self.effects.contains(&Effect::NotifyCustomer { notice: notice.clone() })
    }

    fn operator_was_told(&self, notice: &Notice) -> bool {
        self.effects.contains(&Effect::NotifyOperator { notice: notice.clone() })
    }
}
