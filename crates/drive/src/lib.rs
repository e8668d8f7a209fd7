//! Block devices that are to carry a seed: which ones there are, and which of them may be used.
//!
//! Reads what the kernel says of them below `/sys`, `/proc` and `/run/udev`, and asks `blkid` for
//! what lies on them. Writes to none.

mod device;
mod discover;
mod password;
mod signature;
mod sysfs;
mod verdict;

pub use device::{Bus, Device, FormFactor, Medium, Partition, Usage};
pub use discover::{Error, Source, discover};
pub use model::{DrivePassword, DrivePasswordError};
pub use password::random_password;
pub use signature::{Blkid, Probe, Signature};
pub use verdict::{MOST_BYTES, Refusal, judge};
