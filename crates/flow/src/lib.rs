//! The life of an import job, a drive, a shipment and a seed as pure state machines.
//!
//! Each machine is a value with one function, `transition(&state, &event, now)`, that answers the
//! next value and the [`Effect`]s that follow from it, or a [`Refused`] that names the rule. No
//! I/O, no clock, no database: the caller reads the stored state, calls, stores the new state with
//! compare-and-set, and only then carries out the effects.
//!
//! What always holds, whatever the sequence of events:
//!
//! - **Nothing is deletable early.** [`Seed::keys_may_be_deleted`] and
//!   [`Seed::staging_may_be_cleaned`] are true after the vault's receipt was verified or the owner
//!   abandoned the seed, and at no other time. No job state has a say in it.
//! - **Nothing is published early.** A seed starts publication from `Landed` only, and that needs
//!   every object of every job.
//! - **The end is the end.** A job that is Completed, Closed or Canceled stays so, and so does a
//!   seed that is Confirmed or Abandoned.
//! - **No dead ends.** From every other state some named event or timer leads to an end.
//! - **A refusal changes nothing**; neither does the same event given twice: it is refused, or it
//!   answers the same value and no effects.
//! - **A clock that steps back does nothing**: times in a value never decrease, and no timer runs
//!   out early.
//!
//! `docs/states.md` shows the diagrams; [`diagrams`] makes them from the machines themselves.

mod diagram;
mod drive;
mod effect;
mod job;
mod refused;
mod seed;
mod shipment;
mod timer;

#[cfg(test)]
mod tests;

pub use diagram::diagrams;
pub use drive::{Drive, DriveEvent, DriveState};
pub use effect::{Deadline, Effect, Notice};
pub use job::{
    CancelReason, CloseReason, End, Fault, ImportJob, JobEvent, JobState, JobType, MAX_DRIVES,
};
pub use refused::Refused;
pub use seed::{DriveSet, Seed, SeedEvent, SeedState, SetState, WAITING_FOR_IMPORT};
pub use shipment::{Shipment, ShipmentEvent, ShipmentState};
pub use timer::{CLOSE_AFTER, EXPIRE_AFTER, KEEP_RECORD_FOR, OVERDUE_AFTER, Timer, WARNING_DAYS};

/// What a transition answers: the next value with the effects to carry out, or the rule against it.
pub type Step<S> = Result<(S, Vec<Effect>), Refused>;
