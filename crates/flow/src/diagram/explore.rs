//! Walks a machine through every state that representative events lead to. Tests walk the same
//! way. Changes nothing in the machines.

use crate::{
    Drive, DriveEvent, DriveState, ImportJob, JobEvent, JobState, JobType, Refused, Seed,
    SeedEvent, Shipment, ShipmentEvent, ShipmentState, Step,
};
use jiff::Timestamp;
use model::{Address, DriveSerial, JobName, Package};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// A machine that can be walked through.
pub(crate) trait Machine: Clone + PartialEq + Debug {
    /// What happens to it.
    type Event: Debug;
    /// Its heading.
    const TITLE: &'static str;
    /// Every state: name, meaning, what ends it.
    const STATES: &'static [(&'static str, &'static str, &'static str)];
    /// States that nothing leaves.
    const ENDS: &'static [&'static str];
    /// Where it can begin; the first is drawn.
    fn starts() -> Vec<Self>;
    /// One event of each sort, with every argument that makes a difference, and its time.
    fn events(&self) -> Vec<(Self::Event, Timestamp)>;
    /// The machine's own transition.
    fn step(&self, event: &Self::Event, now: Timestamp) -> Step<Self>;
    /// The name of its state.
    fn name(&self) -> &'static str;
    /// Everything that decides what can happen next, and nothing else: two values of one key have
    /// the same future. Times are left out because timers are relative.
    fn key(&self) -> String;
}

/// One event that was tried.
pub(crate) struct Tried {
    /// The state it was tried in.
    pub(crate) from: &'static str,
    /// The event's name.
    pub(crate) event: String,
    /// The state it led to; none when it was refused.
    pub(crate) to: Option<&'static str>,
    /// Whether the same event was accepted again.
    pub(crate) again: Option<bool>,
}

/// All that was found.
pub(crate) struct Found<M> {
    /// One value for each key.
    pub(crate) values: Vec<M>,
    /// Every event tried on each of them.
    pub(crate) steps: Vec<Tried>,
    /// Every refusal met.
    pub(crate) refused: Vec<Refused>,
}

/// Walks breadth first from the starts.
pub(crate) fn explore<M: Machine>() -> Found<M> {
    let mut found = Found { values: M::starts(), steps: Vec::new(), refused: Vec::new() };
    let mut seen: BTreeSet<String> = found.values.iter().map(M::key).collect();
    let mut next = 0;
    while let Some(value) = found.values.get(next).cloned() {
        next += 1;
        for (event, now) in value.events() {
            let mut tried =
                Tried { from: value.name(), event: sort(&event), to: None, again: None };
            match value.step(&event, now) {
                Err(refused) => found.refused.push(refused),
                Ok((to, _)) => {
                    tried.to = Some(to.name());
                    tried.again = Some(to.step(&event, now).is_ok());
                    if seen.insert(to.key()) {
                        found.values.push(to);
                    }
                }
            }
            found.steps.push(tried);
        }
    }
    found
}

/// The event's name as it is serialised.
pub(crate) fn sort(event: &impl Debug) -> String {
    let text = format!("{event:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

const START: Timestamp = Timestamp::UNIX_EPOCH;

/// Two drives of the job, and one that is in no job.
fn serials() -> Vec<DriveSerial> {
    ["DRIVE-A", "DRIVE-B", "DRIVE-X"].into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn address() -> Address {
    Address {
        recipient_name: "Operations".into(),
        street_address1: "1 Main Street".into(),
        city: "Oslo".into(),
        postal_code: "0150".into(),
        country_or_region: "NO".into(),
        phone: "4722000000".into(),
        email: "operations@example.com".into(),
        ..Address::default()
    }
}

fn packages() -> Vec<Package> {
    ["1Z999AA1", "1Z999AA2"]
        .into_iter()
        .filter_map(|number| number.parse().ok())
        .map(|tracking_number| Package {
            carrier_name: "Carrier".into(),
            tracking_number,
            drive_count: None,
            ship_date: None,
        })
        .collect()
}

impl Machine for ImportJob {
    type Event = JobEvent;
    const TITLE: &'static str = "Import job";
    const STATES: &'static [(&'static str, &'static str, &'static str)] = super::tables::JOB;
    const ENDS: &'static [&'static str] = &["Completed", "Closed", "Canceled"];

    fn starts() -> Vec<Self> {
        let listed = serials().into_iter().take(2).collect();
        let plain = Self::new(JobType::Import, listed, START).into_iter();
        let parity: Vec<_> = serials().into_iter().skip(1).take(1).collect();
        let imports = plain.flat_map(|job| [job.clone(), job.with_parity(&parity)]);
        let export = Self::new(JobType::Export, Vec::new(), START).into_iter();
        imports.chain(export).collect()
    }

    fn events(&self) -> Vec<(JobEvent, Timestamp)> {
        let later = self.deadline().map_or(self.changed, |(_, at)| at);
        let mut events = customer_events();
        events.extend(dock_events());
        let mut events: Vec<_> = events.into_iter().map(|event| (event, self.changed)).collect();
        events.push((JobEvent::Tick, later));
        events
    }

    fn step(&self, event: &JobEvent, now: Timestamp) -> Step<Self> {
        self.transition(event, now)
    }

    fn name(&self) -> &'static str {
        self.state.name()
    }

    fn key(&self) -> String {
        let drives: Vec<_> =
            self.drives.iter().map(|drive| (drive.role, Machine::key(drive))).collect();
        let gone = self.state.is_end() && self.deadline().is_none();
        let reason = match &self.state {
            JobState::Closed { reason, .. } => format!("{reason:?}"),
            JobState::Canceled { reason, .. } => format!("{reason:?}"),
            _ => String::new(),
        };
        format!(
            "{} {reason} {:?} {} {drives:?} {:?} {} {} {} {gone}",
            self.name(),
            self.job_type,
            self.exported,
            self.shipment.as_ref().map(Machine::key),
            self.return_address.is_some(),
            self.cancel_requested,
            self.faulted.is_some(),
        )
    }
}

fn customer_events() -> Vec<JobEvent> {
    let listed: Vec<_> = serials().into_iter().take(2).collect();
    let package = packages().into_iter().next();
    let other = packages().into_iter().next_back();
    let given = |return_address, package| JobEvent::ShippingGiven {
        return_address,
        package,
        number_taken: false,
    };
    vec![
        JobEvent::Updated,
        JobEvent::DrivesReplaced { serials: Vec::new() },
        JobEvent::DrivesReplaced { serials: listed.clone() },
        given(Some(Box::new(address())), None),
        given(None, package.clone()),
        given(None, other),
        JobEvent::ShippingGiven { return_address: None, package, number_taken: true },
        JobEvent::ShippingRequested,
        JobEvent::ExtensionRequested,
        JobEvent::CancelRequested,
        JobEvent::Faulted { reason: "customs".into() },
        JobEvent::FaultResolved,
        JobEvent::OperatorAbandoned { reason: "damaged".into() },
    ]
    .into_iter()
    .chain(listed.into_iter().map(|serial| JobEvent::DriveAdded { serial }))
    .collect()
}

fn dock_events() -> Vec<JobEvent> {
    let all = serials();
    let parcels = [0..0, 0..1, 1..2, 0..2, 0..3, 2..3];
    let mut events: Vec<_> = parcels
        .into_iter()
        .filter_map(|range| all.get(range))
        .map(|serials| JobEvent::PackageArrived { serials: serials.to_vec() })
        .collect();
    events.push(JobEvent::Exported);
    events.push(JobEvent::Returned { package: packages().into_iter().next() });
    for serial in all {
        let s = || serial.clone();
        events.extend([
            JobEvent::DriveCame { serial: s() },
            JobEvent::DriveNeverCame { serial: s() },
            JobEvent::DriveStarted { serial: s() },
            JobEvent::DriveProgressed { serial: s(), bytes: 1, total: 2 },
            JobEvent::DriveProgressed { serial: s(), bytes: 3, total: 2 },
            JobEvent::DriveFinished { serial: s(), bytes: 2, problems: 0 },
            JobEvent::DriveFinished { serial: s(), bytes: 1, problems: 1 },
            JobEvent::DriveReturned { serial: s() },
        ]);
    }
    events
}

impl Machine for Drive {
    type Event = DriveEvent;
    const TITLE: &'static str = "Drive";
    const STATES: &'static [(&'static str, &'static str, &'static str)] = super::tables::DRIVE;
    const ENDS: &'static [&'static str] = &["ShippedBack"];

    fn starts() -> Vec<Self> {
        serials().into_iter().take(1).map(Self::new).collect()
    }

    fn events(&self) -> Vec<(DriveEvent, Timestamp)> {
        [
            DriveEvent::Came,
            DriveEvent::NeverCame,
            DriveEvent::Started,
            DriveEvent::Progressed { bytes: 1, total: 2 },
            DriveEvent::Progressed { bytes: 3, total: 2 },
            DriveEvent::Finished { bytes: 2, problems: 0 },
            DriveEvent::Finished { bytes: 1, problems: 1 },
            DriveEvent::Returned,
        ]
        .map(|event| (event, START))
        .to_vec()
    }

    fn step(&self, event: &DriveEvent, now: Timestamp) -> Step<Self> {
        self.transition(event, now)
    }

    fn name(&self) -> &'static str {
        self.state.name()
    }

    fn key(&self) -> String {
        let problems = match self.state {
            DriveState::CompletedMoreInfo { problems, .. } => Some(problems),
            DriveState::ShippedBack { problems, .. } => problems,
            _ => None,
        };
        format!("{} {problems:?}", self.name())
    }
}

impl Machine for Shipment {
    type Event = ShipmentEvent;
    const TITLE: &'static str = "Shipment";
    const STATES: &'static [(&'static str, &'static str, &'static str)] = super::tables::SHIPMENT;
    const ENDS: &'static [&'static str] = &["Lost"];

    fn starts() -> Vec<Self> {
        packages().into_iter().take(1).map(Self::new).collect()
    }

    fn events(&self) -> Vec<(ShipmentEvent, Timestamp)> {
        let later = self.deadline().map_or(START, |(_, at)| at);
        let corrected = packages().into_iter().map(|package| ShipmentEvent::Corrected { package });
        [
            ShipmentEvent::HandedOver,
            ShipmentEvent::Arrived,
            ShipmentEvent::FoundEmpty,
            ShipmentEvent::Extended,
            ShipmentEvent::GivenUp,
            ShipmentEvent::Tick,
        ]
        .into_iter()
        .chain(corrected)
        .map(|event| (event, later))
        .collect()
    }

    fn step(&self, event: &ShipmentEvent, now: Timestamp) -> Step<Self> {
        self.transition(event, now)
    }

    fn name(&self) -> &'static str {
        self.state.name()
    }

    fn key(&self) -> String {
        let opened = matches!(self.state, ShipmentState::Overdue { opened: true, .. });
        format!("{} {opened} {}", self.name(), self.package.tracking_number)
    }
}

impl Machine for Seed {
    type Event = SeedEvent;
    const TITLE: &'static str = "Seed";
    const STATES: &'static [(&'static str, &'static str, &'static str)] = super::tables::SEED;
    const ENDS: &'static [&'static str] = &["Confirmed", "Abandoned"];

    fn starts() -> Vec<Self> {
        vec![Self::new(START)]
    }

    fn events(&self) -> Vec<(SeedEvent, Timestamp)> {
        let jobs: Vec<JobName> =
            ["set-1", "set-2", "spare"].into_iter().filter_map(|name| name.parse().ok()).collect();
        let mut events = vec![
            SeedEvent::StagingFinished,
            SeedEvent::PreparationStarted,
            SeedEvent::PreparationFinished { sets: 1 },
            SeedEvent::PreparationFinished { sets: 2 },
            SeedEvent::MissingCounted { missing: 0 },
            SeedEvent::MissingCounted { missing: 2 },
            SeedEvent::PublicationStarted,
            SeedEvent::PublicationFinished,
            SeedEvent::ReceiptVerified,
            SeedEvent::OwnerAbandoned,
            SeedEvent::StagingCleaned,
            SeedEvent::KeysDeleted,
        ];
        let mixed_up = jobs.iter().take(1).cloned();
        events.extend(mixed_up.map(|job| SeedEvent::SetPrepared { set: 2, job, objects: 2 }));
        for (job, set) in jobs.into_iter().zip([1, 2, 1]) {
            let j = || job.clone();
            events.extend([
                SeedEvent::SetPrepared { set, job: j(), objects: 2 },
                SeedEvent::JobShipped { job: j() },
                SeedEvent::JobArrived { job: j() },
                SeedEvent::JobLanded { job: j(), missing: 0 },
                SeedEvent::JobLanded { job: j(), missing: 2 },
                SeedEvent::JobLost { job: j() },
            ]);
        }
        events.into_iter().map(|event| (event, START)).collect()
    }

    fn step(&self, event: &SeedEvent, now: Timestamp) -> Step<Self> {
        self.transition(event, now)
    }

    fn name(&self) -> &'static str {
        self.state.name()
    }

    fn key(&self) -> String {
        let mut sets = self.sets.clone();
        sets.sort_by_key(|set| set.number);
        format!(
            "{:?} {sets:?} {:?} {} {}",
            self.state, self.set_count, self.staging_cleaned, self.keys_deleted
        )
    }
}
