//! Drive sets: plan, write, seal, verify and import what a seed consists of.
//!
//! Knows objects, lengths and hashes; never blobs, passwords or repository keys. The bytes on a
//! drive are described in `docs/format.md`.

mod arrive;
mod arrived;
mod batch;
mod bay;
mod belt;
mod beneath;
pub mod direct;
mod drive;
mod envelope;
mod error;
mod event;
mod extent;
mod fill;
mod freeze;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod import;
mod inspect;
mod intake;
mod inventory;
mod journal;
mod label;
mod lacking;
mod landing;
mod manifest;
mod missing;
mod object;
mod parity;
mod plan;
mod prepare;
mod reader;
mod rebuilt;
mod revision;
mod rooms;
mod run;
mod seal;
mod sealed;
mod sign;
mod state;
mod stream;
mod verify;
mod want_list;
mod writer;

pub use bay::{DriveSpec, PlainReads, ReadBack};
pub use envelope::{Document, Malformed, Refused, Signed};
pub use error::Error;
pub use event::{Event, Events, Problem, Reason};
pub use extent::EXTENT;
pub use fill::{Filled, fill};
pub use freeze::{Frozen, freeze, identity};
pub use import::{Landing, Unloaded, unload};
pub use inspect::inspect;
pub use inventory::Inventory;
pub use label::{DriveRole, Label};
pub use lacking::{Lacking, lacking};
pub use landing::{Imported, Landed, import, missing};
pub use manifest::{Manifest, ManifestHeader, ParityOf};
pub use missing::{Missing, OfJob, Wanted};
pub use object::{Object, object_path, root};
pub use parity::kept_free;
pub use plan::{Filling, Plan, Room, Shortfall, TooLarge, cost, plan, reserve};
pub use prepare::{AbsentDrive, DriveState, Options, Prepared, PreparedDrive, prepare};
pub use rebuilt::{Arrived, Rebuilt, RebuiltDrive, rebuild};
pub use revision::{Revision, RevisionHeader};
pub use sealed::SealedDrive;
pub use sign::{Fingerprint, FingerprintError, SigningKey, Trust};
pub use state::sealed_before;
pub use verify::{MAX_EXTRA, Report, verify};
pub use want_list::{WantList, WantListHeader};

#[cfg(test)]
mod tests;
