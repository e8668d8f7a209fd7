//! Repository objects by key, wherever they are kept.
//!
//! A [`Store`] is one repository's worth of objects: a local folder, or a server that speaks
//! restic's REST protocol. It knows names and bytes, and nothing of what the bytes mean: no keys,
//! no blobs. Wrappers add one concern each (retry, rate limit, faults on purpose) and are stores
//! themselves. [`conformance`] is the one suite that each of them passes.
//!
//! What every store guarantees:
//!
//! - **Durable**: when [`put`](Store::put) returns, the object survives a power cut.
//! - **Atomic**: an object is there whole, or not at all, whenever the process dies.
//! - **Write once**: an object is never changed. Putting the same bytes again is a success;
//!   other bytes under the same name are a [`Error::Conflict`], and what was there stays.
//! - **Full is an answer**: no room left is [`Error::Full`], and loses nothing.
//! - **Listed means readable**: unfinished writes are never listed.

use model::{ErrorKind, ObjectKey, ObjectKind};
use std::io::Read;

mod clock;
pub mod conformance;
pub mod direct;
pub mod durable;
mod error;
mod faulty;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod location;
mod memory;
mod operation;
mod overlay;
mod part;
mod proxy;
mod rate;
mod recorder;
mod rest;
mod retry;
mod shared;
mod stream;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::Error;
pub use faulty::{Fault, Faulty};
pub use folder::{Folder, Stale};
pub use location::{OpenOptions, open_location};
pub use memory::Memory;
pub use operation::Operation;
pub use overlay::Overlay;
pub use part::Part;
pub use proxy::{Proxies, ProxyError, ProxySettings};
pub use rate::{Rate, RateLimit};
pub use recorder::{Counts, Recorder};
pub use rest::{Credentials, Rest, RestOptions, TokenSource};
pub use retry::{Retry, RetryPolicy};

/// What a store's operations return.
pub type Result<T> = std::result::Result<T, Error>;

/// An object as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Which object.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub length: u64,
}

/// The objects of one repository. See the [crate's contract](crate).
///
/// Calls block; many threads may call at once.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Where this is, for people: a path or a URL, never with a password in it.
    fn location(&self) -> String;

    /// Makes the place ready to take objects. Doing so again changes nothing.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Full`] or [`Error::Unavailable`].
    fn create(&self) -> Result<()>;

    /// Stores `bytes` under `key`. The caller has named them rightly: this hop does not hash.
    ///
    /// # Errors
    /// [`Error::Conflict`] when other bytes have that name, [`Error::Full`] when there is no room.
    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()>;

    /// Stores the `length` bytes that `from` yields, hashing them on the way. Holds no more than a
    /// fixed buffer in memory.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they do not hash to the key's name or are not `length` bytes: then
    /// nothing is stored. A config has no name to compare with; its caller compares beforehand.
    /// [`Error::Source`] when `from` fails. Else as [`put`](Self::put).
    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()>;

    /// The whole object, refused when longer than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::TooLong`].
    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>>;

    /// Exactly `buffer.len()` bytes from `offset`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`] when the object ends before.
    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// The object's bytes from its start, as a stream.
    ///
    /// # Errors
    /// [`Error::NotFound`]. Reading the stream fails with an I/O error of its own.
    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>>;

    /// The object's length in bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn length(&self, key: &ObjectKey) -> Result<u64>;

    /// Every object of that kind, in no order. A kind that has none yet has an empty list.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; a list is whole or an error.
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>>;

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// [`Error::Denied`] where the place is append-only.
    fn remove(&self, key: &ObjectKey) -> Result<()>;

    /// How many large objects are best stored at once: one keeps a disk busy, a network has waits
    /// that others can fill.
    fn puts_at_once(&self) -> usize {
        1
    }

    /// Whether an object that anybody has put is in the next list that anybody asks for. Services, and file systems that come
    /// over a network, may take a moment.
    fn lists_at_once(&self) -> bool {
        false
    }

    /// Removes what writers that died more than a day ago left unfinished. Objects are not touched.
    /// Places where nothing unfinished is ever left have nothing to do.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn remove_leftovers(&self) -> Result<()> {
        Ok(())
    }
}

impl Error {
    /// The kind, for exit codes and HTTP statuses.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Corrupt { .. } | Self::TooLong { .. } => ErrorKind::Corrupt,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Full { .. } | Self::Quota { .. } => ErrorKind::Full,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Location { .. } | Self::Protocol { .. } => ErrorKind::Invalid,
            Self::Source { .. } | Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
