//! The words of the domain as types: ids, sizes, names, addresses, error kinds.
//!
//! Pure: no I/O, no clock, no randomness. Raw text becomes one of these once, at the
//! edge, and only these travel; a value of one of these types is valid.

mod address;
mod digest;
mod drive_password;
mod kind;
mod name;
mod object;
mod recovery_code;
mod role;
mod size;

pub use address::{Address, AddressError, Package, TrackingNumber};
pub use digest::{Digest, DigestError};
pub use drive_password::{DrivePassword, DrivePasswordError};
pub use kind::ErrorKind;
pub use name::{
    AccountName, ActorName, BackendName, ContainerName, DriveSerial, GroupName, JobName, NameError,
    ServerName, VaultName,
};
pub use object::{ObjectKey, ObjectKind};
pub use recovery_code::{RECOVERY_BYTES, RecoveryCode, RecoveryCodeError};
pub use role::DriveRole;
pub use size::{ByteSize, SizeError};
