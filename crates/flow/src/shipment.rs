//! The package that a job's drives travel in, one a job, and the clock that runs while it is on
//! the way. Does not know which drives are inside.

use crate::effect::{customer, operator};
use crate::timer::{CLOSE_AFTER, Due, OVERDUE_AFTER, Timer};
use crate::{Deadline, Effect, Notice, Refused, Step};
use jiff::{SignedDuration, Timestamp};
use model::Package;
use serde::{Deserialize, Serialize};

/// A package with its carrier and tracking number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shipment {
    /// Carrier, tracking number, number of drives.
    pub package: Package,
    /// Where it is.
    pub state: ShipmentState,
}

/// Where a package is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum ShipmentState {
    /// Its details are known; it is not on its way yet.
    Announced,
    /// With the carrier, for at most [`OVERDUE_AFTER`].
    InTransit {
        /// Since it left, or its details were corrected, or more time was asked for.
        timer: Timer,
    },
    /// It did not arrive in time, or none of its drives was in it; for at most [`CLOSE_AFTER`].
    Overdue {
        /// Since it was found overdue.
        timer: Timer,
        /// A package did arrive, without any drive of the job.
        opened: bool,
    },
    /// At the dock.
    Delivered {
        /// Since when.
        at: Timestamp,
    },
    /// Given up.
    Lost {
        /// Since when.
        at: Timestamp,
    },
}

/// What happens to a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ShipmentEvent {
    /// Its details are other ones; the carrier's time starts anew.
    Corrected {
        /// The right details.
        package: Package,
    },
    /// It was given to the carrier.
    HandedOver,
    /// It is at the dock, with drives of the job in it.
    Arrived,
    /// It was opened, and no drive of the job is there.
    FoundEmpty,
    /// The customer asks for more time.
    Extended,
    /// The job is over; nobody waits for the package any more.
    GivenUp,
    /// Time passed.
    Tick,
}

impl Shipment {
    /// A package that is not on its way yet.
    #[must_use]
    pub fn new(package: Package) -> Self {
        Self { package, state: ShipmentState::Announced }
    }

    /// The next value and what follows from it.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn transition(&self, event: &ShipmentEvent, now: Timestamp) -> Step<Self> {
        let mut next = self.clone();
        let mut effects = Vec::new();
        match event {
            ShipmentEvent::Corrected { package } => next.correct(package, now)?,
            ShipmentEvent::HandedOver => next.hand_over(now)?,
            ShipmentEvent::Arrived => next.arrive(now)?,
            ShipmentEvent::FoundEmpty => effects = next.find_empty(now)?,
            ShipmentEvent::Extended => next.extend(now)?,
            ShipmentEvent::GivenUp => next.give_up(now)?,
            ShipmentEvent::Tick => effects = next.tick(now),
        }
        Ok((next, effects))
    }

    fn correct(&mut self, package: &Package, now: Timestamp) -> Result<(), Refused> {
        let state = match self.state {
            ShipmentState::Announced => ShipmentState::Announced,
            ShipmentState::InTransit { .. } | ShipmentState::Overdue { .. } => {
                ShipmentState::InTransit { timer: Timer::starting(now) }
            }
            ShipmentState::Delivered { .. } => return Err(Refused::PackageIsHere),
            ShipmentState::Lost { .. } => return Err(Refused::PackageLost),
        };
        if self.package != *package {
            self.package = package.clone();
            self.state = state;
        }
        Ok(())
    }

    fn hand_over(&mut self, now: Timestamp) -> Result<(), Refused> {
        match self.state {
            ShipmentState::Announced => {
                self.state = ShipmentState::InTransit { timer: Timer::starting(now) };
                Ok(())
            }
            ShipmentState::InTransit { .. } | ShipmentState::Overdue { .. } => Ok(()),
            ShipmentState::Delivered { .. } => Err(Refused::PackageIsHere),
            ShipmentState::Lost { .. } => Err(Refused::PackageLost),
        }
    }

    fn arrive(&mut self, now: Timestamp) -> Result<(), Refused> {
        match self.state {
            ShipmentState::Announced => Err(Refused::PackageNotShipped),
            ShipmentState::InTransit { .. } | ShipmentState::Overdue { .. } => {
                self.state = ShipmentState::Delivered { at: now };
                Ok(())
            }
            ShipmentState::Delivered { .. } => Ok(()),
            ShipmentState::Lost { .. } => Err(Refused::PackageLost),
        }
    }

    fn find_empty(&mut self, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        match self.state {
            ShipmentState::Announced => return Err(Refused::PackageNotShipped),
            ShipmentState::Lost { .. } => return Err(Refused::PackageLost),
            ShipmentState::Overdue { opened: true, .. } => return Ok(Vec::new()),
            _ => {}
        }
        self.state = ShipmentState::Overdue { timer: Timer::starting(now), opened: true };
        Ok(vec![customer(Notice::PackageEmpty), operator(Notice::PackageEmpty)])
    }

    fn extend(&mut self, now: Timestamp) -> Result<(), Refused> {
        match self.state {
            ShipmentState::Overdue { .. } => {
                self.state = ShipmentState::InTransit { timer: Timer::starting(now) };
                Ok(())
            }
            ShipmentState::Announced | ShipmentState::InTransit { .. } => Err(Refused::NotOverdue),
            ShipmentState::Delivered { .. } => Err(Refused::PackageIsHere),
            ShipmentState::Lost { .. } => Err(Refused::PackageLost),
        }
    }

    fn give_up(&mut self, now: Timestamp) -> Result<(), Refused> {
        match self.state {
            ShipmentState::Delivered { .. } => Err(Refused::PackageIsHere),
            ShipmentState::Lost { .. } => Ok(()),
            _ => {
                self.state = ShipmentState::Lost { at: now };
                Ok(())
            }
        }
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let (deadline, length, timer) = match &mut self.state {
            ShipmentState::InTransit { timer } => (Deadline::Arrival, OVERDUE_AFTER, timer),
            ShipmentState::Overdue { timer, .. } => (Deadline::Closing, CLOSE_AFTER, timer),
            _ => return Vec::new(),
        };
        match timer.look(now, length) {
            Due::Nothing => Vec::new(),
            Due::Warn(days) => {
                vec![Effect::WarnExpiry { deadline, days, at: timer.deadline(length) }]
            }
            Due::Passed => self.run_out(now),
        }
    }

    /// The timer that ran has passed. The next one starts now, not at the missed deadline: people
    /// get their whole time from the moment they are told.
    fn run_out(&mut self, now: Timestamp) -> Vec<Effect> {
        let (state, notice) = match self.state {
            ShipmentState::InTransit { .. } => (
                ShipmentState::Overdue { timer: Timer::starting(now), opened: false },
                Notice::PackageOverdue,
            ),
            _ => (ShipmentState::Lost { at: now }, Notice::PackageLost),
        };
        self.state = state;
        vec![customer(notice.clone()), operator(notice)]
    }

    /// Gives the running timer its whole length again.
    pub(crate) fn restart_timer(&mut self, now: Timestamp) {
        if let ShipmentState::InTransit { timer } | ShipmentState::Overdue { timer, .. } =
            &mut self.state
        {
            *timer = Timer::starting(now);
        }
    }

    /// The deadline that is running.
    #[must_use]
    pub fn deadline(&self) -> Option<(Deadline, Timestamp)> {
        let running = |deadline, timer: &Timer, length: SignedDuration| {
            Some((deadline, timer.deadline(length)))
        };
        match &self.state {
            ShipmentState::InTransit { timer } => running(Deadline::Arrival, timer, OVERDUE_AFTER),
            ShipmentState::Overdue { timer, .. } => running(Deadline::Closing, timer, CLOSE_AFTER),
            _ => None,
        }
    }
}

impl ShipmentState {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Announced => "Announced",
            Self::InTransit { .. } => "InTransit",
            Self::Overdue { .. } => "Overdue",
            Self::Delivered { .. } => "Delivered",
            Self::Lost { .. } => "Lost",
        }
    }
}
