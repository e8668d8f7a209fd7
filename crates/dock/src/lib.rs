//! The life of a drive at the data centre: its package is received, what is on it is copied into
//! the storage account, it goes home. Of an export job, what it asks for is written onto it. Blocks; prints nothing;
//! writes to no drive but those of export jobs.
//!
//! A drive is attacker-controlled input. Nothing on it is believed because it is there:
//!
//! ```text
//!  label ──▶ is it a drive of this job? ──▶ label and manifest signed by the job's signer?
//!                                                   │
//!        the manifest's hash as the job announces it? ◀┘
//!                 │
//!                 └──▶ started ──▶ every object by its name and length ──▶ finished ──▶ copy log
//! ```
//!
//! invariant: until the last question is answered nothing is said to the server about a drive and
//! nothing is copied from it. From then on a call may end anywhere: the next one goes on, because
//! what the account has already is not copied again.

mod account;
mod admit;
mod chain;
mod control;
mod copy;
mod error;
mod event;
mod export;
mod hardware;
mod import;
mod journal;
mod log;
mod package;
mod parity;
mod patience;
mod run;

pub use chain::Custody;
pub use copy::Taken;
pub use error::Error;
pub use event::Event;
pub use export::{ExportOptions, Exported, export, export_state, to_be_exported};
pub use hardware::{BlockDevices, Found, Hardware, Mounted};
pub use import::{DriveOutcome, ImportOptions, ImportOutcome, import};
pub use log::{LINE_VERSION, Status};
pub use package::{lost, receive, returned};
pub use run::{RunOptions, Visit, run};

#[cfg(test)]
mod tests;
