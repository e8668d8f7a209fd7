//! The custody log of a seed: who has had its drives, what was done to them, when; proven without any server.
//!
//! Each actor writes a chain of its own, in which every entry names the one before by its hash and is signed by the
//! actor's key. The server puts the entries of all chains into one log, in which every line names the line before,
//! and countersigns. Format and reasons: `docs/format.md`, `docs/design/custody.md`.
//!
//! ```text
//!  source   0 ◀─ 1 ◀─ 2           each ◀─ is a hash below the actor's signature
//!  dock         0 ◀─ 1
//!  log      0 ◀─ 1 ◀─ 2 ◀─ 3 ◀─ 4  each ◀─ is a hash below the server's signature
//! ```
//!
//! Pure but for [`Book`], an actor's own chain in a file: no clock, no randomness, no network.

mod book;
mod entry;
mod event;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod keys;
mod lines;
mod log;
mod prove;

pub use book::{Book, Error};
pub use entry::{Actor, Entry, Signed};
pub use event::{Event, Wiping};
pub use fault::{Broken, Fault};
pub use keys::{Keys, KeysError};
pub use lines::LongLines;
pub use log::{Front, Logged, Taken};
pub use prove::{Chain, Proof, Proving, Receipted, prove};

/// The version of entries and logs that this code writes and reads.
pub const VERSION: u32 = 1;
/// An entry's line is at most this long: the longest, a parcel of ten drives, has a third of it.
pub const MAX_ENTRY: usize = 4096;
/// A line of the log, with the countersignature, is.
pub const MAX_LINE: usize = MAX_ENTRY + 1024;
/// The first line of a log, which holds the receipt, is.
pub const MAX_FRONT: usize = 16 << 20;
/// Entries of one seed at most: a thousand drives, each of which everything happens to, have a fifth of it.
pub const MAX_ENTRIES: u64 = 1 << 16;

#[cfg(test)]
mod tests;
