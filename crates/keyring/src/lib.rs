//! Passwords of drives at rest: sealed by a key file, kept until nobody needs them. Removes none, and
//! formats no drive.
//!
//! ```text
//!  DriveKeys::password(serial)  ─▶ sealed, on the disk for good ─▶ only now: luksFormat
//!  DriveKeys::formatted(serial, header hash) ─▶ on the disk for good ─▶ only now: data
//! ```
//!
//! What always holds:
//!
//! - **No password is given out that is not on the disk**, so no drive is ever locked with one that a
//!   crash could lose.
//! - **A drive keeps its password**: asked again, the same is answered.
//! - **A key file that is gone is not replaced** where it has sealed something.
//! - **What is sealed opens in its place only**: the place is part of what is authenticated.

mod drive_keys;
mod error;
mod seal;

pub use drive_keys::{DriveKey, DriveKeys};
pub use error::Error;
pub use seal::Keyring;
