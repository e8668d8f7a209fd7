//! Block devices that are to carry a seed: which ones there are, which of them may be used, and how they
//! are encrypted, mounted and erased.
//!
//! What there is is read from `/sys`, `/proc` and `/run/udev`, and asked of `blkid`. What changes a device
//! is done by the programs that everybody trusts with it: `sfdisk`, `cryptsetup`, `mkfs.ext4`.

mod attach;
mod device;
mod discover;
mod erase;
mod error;
mod header;
mod machine;
mod password;
mod signature;
mod step;
mod sysfs;
mod verdict;
mod volume;

pub use attach::{Access, Attached, MOUNTS, release, release_all, require_mapper};
pub use device::{Bus, Device, FormFactor, Medium, Partition, Usage};
pub use discover::{Glance, Source, Unread, discover, glance};
pub use erase::{Erased, erase};
pub use error::Error;
pub use machine::hypervisor;
pub use model::{DrivePassword, DrivePasswordError};
pub use password::random_password;
pub use signature::{Blkid, Probe, Signature};
pub use step::Step;
pub use verdict::{MOST_BYTES, Refusal, judge};
pub use volume::{Formatted, HEADER_BYTES, Plan, Protection, Volume};
