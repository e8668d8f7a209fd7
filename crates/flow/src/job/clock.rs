//! What time and operators do to a job: expiry, overdue packages, faults, giving up. Reads no
//! clock.

use super::{CancelReason, CloseReason, End, Fault, ImportJob, JobState};
use crate::effect::{customer, operator};
use crate::timer::{Due, EXPIRE_AFTER, KEEP_RECORD_FOR, Timer, has_passed};
use crate::{Deadline, DriveEvent, DriveState, Effect, Notice, ShipmentEvent, ShipmentState};
use jiff::Timestamp;

impl ImportJob {
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        match &mut self.state {
            JobState::Creating { timer } => match timer.look(now, EXPIRE_AFTER) {
                Due::Nothing => Vec::new(),
                Due::Warn(days) => vec![Effect::WarnExpiry {
                    deadline: Deadline::Shipping,
                    days,
                    at: timer.deadline(EXPIRE_AFTER),
                }],
                Due::Passed => self.expire(now),
            },
            JobState::Shipping { .. } => self.tick_shipment(now),
            JobState::Completed { end }
            | JobState::Closed { end, .. }
            | JobState::Canceled { end, .. } => end.tick(now),
            JobState::Received { .. }
            | JobState::Transferring { .. }
            | JobState::Packaging { .. } => Vec::new(),
        }
    }

    fn expire(&mut self, now: Timestamp) -> Vec<Effect> {
        self.give_up_package(now);
        self.state = JobState::Canceled { end: End::now(now), reason: CancelReason::Expired };
        vec![customer(Notice::JobExpired)]
    }

    fn tick_shipment(&mut self, now: Timestamp) -> Vec<Effect> {
        let Some(shipment) = &self.shipment else { return Vec::new() };
        let Ok((shipment, mut effects)) = shipment.transition(&ShipmentEvent::Tick, now) else {
            return Vec::new();
        };
        let lost = matches!(shipment.state, ShipmentState::Lost { .. });
        if lost || matches!(shipment.state, ShipmentState::Overdue { .. }) {
            self.mark_missing(now);
        }
        self.shipment = Some(shipment);
        if lost {
            effects.extend(self.close_unarrived(now));
        }
        effects
    }

    /// Drives that nobody has seen are missing. They may still turn up.
    fn mark_missing(&mut self, now: Timestamp) {
        for drive in &mut self.drives {
            if drive.state == DriveState::Specified
                && let Ok((missing, _)) = drive.transition(&DriveEvent::NeverCame, now)
            {
                *drive = missing;
            }
        }
    }

    fn close_unarrived(&mut self, now: Timestamp) -> Vec<Effect> {
        let end = End::now(now);
        if self.cancel_requested {
            self.state = JobState::Canceled { end, reason: CancelReason::Requested };
            return vec![customer(Notice::JobCanceled)];
        }
        self.state = JobState::Closed { end, reason: CloseReason::NeverArrived };
        vec![customer(Notice::JobClosed)]
    }

    pub(super) fn fault(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        if self.faulted.as_ref().is_some_and(|fault| fault.reason == reason) {
            return Vec::new();
        }
        self.faulted = Some(Fault { reason: reason.to_owned(), since: now });
        let notice = Notice::JobFaulted { reason: reason.to_owned() };
        vec![customer(notice.clone()), operator(notice)]
    }

    /// The customer could do nothing meanwhile, so deadlines start over.
    pub(super) fn resolve(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.faulted.take().is_none() {
            return Vec::new();
        }
        if let JobState::Creating { timer } = &mut self.state {
            *timer = Timer::starting(now);
        }
        if let Some(shipment) = &mut self.shipment {
            shipment.restart_timer(now);
        }
        vec![customer(Notice::FaultResolved)]
    }

    pub(super) fn abandon(&mut self, reason: &str, now: Timestamp) -> Vec<Effect> {
        self.faulted = None;
        self.give_up_package(now);
        self.state = JobState::Closed {
            end: End::now(now),
            reason: CloseReason::Abandoned { reason: reason.to_owned() },
        };
        let mut effects = vec![customer(Notice::JobAbandoned { reason: reason.to_owned() })];
        if self.drives.iter().any(crate::Drive::is_here) {
            effects.push(operator(Notice::ReadyToReturn));
        }
        effects
    }
}

impl End {
    fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.record_may_go || !has_passed(self.at, KEEP_RECORD_FOR, now) {
            return Vec::new();
        }
        self.record_may_go = true;
        vec![Effect::RecordMayGo]
    }
}
