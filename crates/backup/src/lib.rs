//! Files into a repository, and out of it again.
//!
//! [`backup()`] walks paths, reads what changed, cuts it where restic would, and leaves a snapshot.
//! [`restore()`] makes a folder equal to what a snapshot holds, and never leaves that folder, whatever
//! names the repository has. Both collect what is wrong with single items and go on. Nothing here
//! prints, schedules, or decides what is worth backing up.

mod backup;
mod chunker;
mod compare;
mod error;
mod exclude;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod journal;
mod lost;
mod meta;
mod mode;
mod piece;
mod regain;
mod repair;
mod restore;
mod run;
mod scan;
mod select;
mod targets;
mod view;
mod walk;
mod work;

pub use backup::{
    BackupEvent, BackupOptions, BackupOutcome, KeptJournal, backup, backup_with_journal,
};
pub use chunker::{Chunker, MAX as CHUNK_MAX, MIN as CHUNK_MIN};
pub use compare::{Comparison, Difference, compare};
pub use error::{Error, Fault, Problem};
pub use exclude::Exclude;
pub use lost::{LostFile, lost_files};
pub use regain::{RegainEvent, RegainOptions, regain};
pub use repair::{REPAIRED, Repair};
pub use restore::{Action, Existing, RestoreEvent, RestoreOptions, RestoreOutcome, is_in, restore};
pub use scan::{Totals, scan};
pub use select::Select;
pub use targets::absolute;
pub use view::View;
