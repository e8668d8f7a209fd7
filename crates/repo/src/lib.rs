//! The restic repository format: what is in each file, how it is encrypted, found, locked, checked.
//!
//! Format 2 is written, 1 and 2 are read; stock restic and rustic are the judges. Everything goes
//! through a [`store::Store`]; nothing here knows where that is, nor what a file system is.
//!
//! Order of writing, which nothing may change: a pack is durable before an index names it, an
//! index before a snapshot needs it. Order of reading is the reverse: snapshots are listed before
//! indexes are loaded, so that what a snapshot needs is indexed.

mod blob;
mod buffers;
mod check;
mod codec;
mod condense;
mod content;
mod crypto;
mod entry;
mod error;
mod forget;
pub mod former;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod index;
mod keep;
mod key_file;
mod keys;
mod lock;
mod lost;
mod noise;
mod pack;
mod polynomial;
mod prune;
mod queue;
mod quote;
mod repository;
mod selection;
mod snapshot;
mod stats;
mod time;
pub mod tree;
mod tree_packs;
mod writer;

#[cfg(test)]
mod testing;

pub use blob::{Compression, Opener, Parts};
pub use check::{CheckEvent, CheckOptions, CheckReport, Finding};
pub use condense::Condensed;
pub use content::{BlobRun, Content};
pub use entry::{Entry, tree_length, write_tree};
pub use error::Error;
pub use forget::{Filter, Group, GroupBy, GroupKey, plan_forget};
pub use index::{BlobKind, Index, Location, PackSummary};
pub use keep::{Decision, Every, Limit, Period, Reason, Rules, decide};
pub use key_file::{Author, KdfParams};
pub use keys::{KeyInfo, NewKey, key_opens, keys_of};
pub use lock::{LockGuard, LockMode};
pub use lost::WithoutPacks;
pub use pack::PackedBlob;
pub use polynomial::Polynomial;
pub use prune::{MaxUnused, Pending, PruneEvent, PruneFigures, PruneOptions, PrunePlan, Removals};
pub use repository::{Config, Loaded, NamedSnapshot, Repository};
pub use selection::Selection;
pub use snapshot::{Snapshot, Summary};
pub use stats::{Stats, StatsOptions};
pub use writer::{Adopted, Saved, Writer, WriterOptions};
