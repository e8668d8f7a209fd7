//! The passwords of a seed's drives: kept before the drives are formatted, handed over with their import
//! job, fetched from a job where they were lost here. Formats no drive; removes no password.
//!
//! ```text
//!  drive_keys ─▶ password(serial) ─▶ luksFormat ─▶ formatted(serial, header hash) ─▶ prepare ─▶ job
//!   └─ whoever formats calls these; each answers when it is on the disk ─┘
//! ```

use crate::Error;
use crate::context::Context;
use crate::names;
use crate::record::{JobDrive, SeedRecord};
use crate::state::State;
use crate::vault::Vault;
use keyring::{DriveKey, DriveKeys};
use model::{DriveSerial, JobName};
use wire::{Code, DriveBitLockerKey};

/// The passwords of the drives of the seed with that staging location. Whoever formats a drive for it
/// asks for the drive's password here first, and tells the header's hash before the drive gets data.
///
/// # Errors
/// [`Error::NoSeedAt`]; what the keyring refuses.
pub fn drive_keys(ctx: &Context<'_>, staging: &str) -> Result<DriveKeys, Error> {
    let state = State::open(ctx.state)?;
    let record = state.seed_at(&names::staging_folder(staging)?)?;
    let record = record.ok_or_else(|| Error::NoSeedAt(staging.to_owned()))?;
    state.drive_keys(record.id)
}

/// The passwords of these sealed drives, and in each drive the header's hash. Whether a drive is
/// encrypted is what the record says, and an earlier job that carries it as it is now; what the keyring
/// has of others is of what they were before.
pub(crate) fn of(
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    drives: &mut [JobDrive],
) -> Result<Vec<DriveKey>, Error> {
    let mut found = Vec::new();
    for drive in drives {
        let announced = announced(record, drive);
        if announced.is_none() && !record.encrypted.contains(&drive.serial) {
            continue;
        }
        let known = match state.known_drive_keys(record.id)? {
            Some(keys) => keys.get(&drive.serial)?,
            None => None,
        };
        let lost = || Error::PasswordLost { serial: drive.serial.clone() };
        let key = match (known, announced) {
            (Some(key), _) => key,
            (None, Some(job)) => fetch(state, vault, record, job, &drive.serial)?,
            (None, None) => return Err(lost()),
        };
        let not_formatted = || Error::NotFormatted { serial: drive.serial.clone() };
        drive.header = Some(key.header_hash.ok_or_else(not_formatted)?);
        found.push(key);
    }
    Ok(found)
}

/// The newest job that carries this drive as it is now, and as an encrypted one.
fn announced<'r>(record: &'r SeedRecord, drive: &JobDrive) -> Option<&'r JobName> {
    let same = |known: &JobDrive| {
        (&known.serial, known.manifest) == (&drive.serial, drive.manifest) && known.header.is_some()
    };
    record.jobs.iter().rev().find(|job| job.drives.iter().any(same)).map(|job| &job.name)
}

/// Takes a password back from the job that was given it.
fn fetch(
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    job: &JobName,
    serial: &DriveSerial,
) -> Result<DriveKey, Error> {
    let there = match vault.client.drive_keys(job) {
        Err(error) if error.code() == Some(&Code::ResourceNotFound) => Vec::new(),
        other => other?,
    };
    let mut there = there.into_iter();
    let lost = || Error::PasswordLost { serial: serial.clone() };
    let DriveBitLockerKey { drive_id, bit_locker_key, drive_header_hash } =
        there.find(|key| key.drive_id == *serial).ok_or_else(lost)?;
    let header_hash = Some(drive_header_hash);
    let key = DriveKey { serial: drive_id, password: bit_locker_key, header_hash };
    state.drive_keys(record.id)?.restore(&key)?;
    Ok(key)
}
