//! Packages at the dock: received on arrival, their drives sent home at the end. Reads no drive.

use crate::Error;
use crate::chain::Custody;
use crate::control::Control;
use client::Client;
use model::{DriveSerial, JobName, TrackingNumber};
use wire::{DriveEvent, DriveState, Job, ReceiveRequest};

/// A package has arrived and was opened: the drives found in it, or all that its job announces.
/// Saying so again changes nothing.
///
/// # Errors
/// [`Error::Server`], such as when no job has that tracking number or none was shipped.
pub fn receive(
    client: &Client,
    custody: Option<&Custody<'_>>,
    tracking: &TrackingNumber,
    drives: Option<&[DriveSerial]>,
) -> Result<Job, Error> {
    let drives = drives.map(<[DriveSerial]>::to_vec);
    let request = ReceiveRequest { tracking_number: tracking.clone(), drives };
    let job = client.receive(&request).map_err(Error::Server)?;
    if let Some(custody) = custody {
        custody.received_all(&job)?;
        custody.send_through(client);
    }
    Ok(job)
}

/// Drives were handed to the carrier for the way home: those named, or all that are at the dock.
/// Answers the job as it is then. Drives that are on their way already are passed over.
///
/// # Errors
/// [`Error::NotInJob`], before anything is reported; [`Error::Server`] when the job's state does
/// not allow it. Doing it again goes on with the rest.
pub fn returned(
    client: &Client,
    custody: Option<&Custody<'_>>,
    job: &JobName,
    drives: Option<&[DriveSerial]>,
) -> Result<Job, Error> {
    returned_through(client, custody, job, drives)
}

pub(crate) fn returned_through(
    control: &dyn Control,
    custody: Option<&Custody<'_>>,
    job: &JobName,
    drives: Option<&[DriveSerial]>,
) -> Result<Job, Error> {
    let before = control.job(job).map_err(Error::Server)?;
    let left = on_their_way(&before, drives)?;
    for serial in &left {
        control.drive_event(job, serial, &DriveEvent::Returned).map_err(Error::Server)?;
    }
    let after = control.job(job).map_err(Error::Server)?;
    if let Some(custody) = custody {
        note(custody, &after, &left)?;
        custody.send_through(control);
    }
    Ok(after)
}

/// Those that left by this call, and by one that died before it noted them: they were in hand here.
fn note(custody: &Custody<'_>, job: &Job, left: &[DriveSerial]) -> Result<(), Error> {
    for drive in job.drive_list.iter().filter(|drive| drive.state == DriveState::ShippedBack) {
        let serial = &drive.drive_id;
        if left.contains(serial) || custody.had(job, serial)? {
            custody.returned(job, serial)?;
        }
    }
    Ok(())
}

/// A drive that counts as received is not there, or cannot be read any more: nobody waits for it from then on.
/// What it lacks can be rebuilt where the set has parity. Answers the job as it is then.
///
/// # Errors
/// [`Error::NotInJob`]; [`Error::Server`] when it was read or sent back already.
pub fn lost(client: &Client, job: &JobName, drive: &DriveSerial) -> Result<Job, Error> {
    lost_through(client, job, drive)
}

pub(crate) fn lost_through(
    control: &dyn Control,
    job: &JobName,
    serial: &DriveSerial,
) -> Result<Job, Error> {
    let before = control.job(job).map_err(Error::Server)?;
    let entry = before.drive_list.iter().find(|drive| drive.drive_id == *serial);
    let missing = || Error::NotInJob { job: job.clone(), serial: serial.clone() };
    let event = match entry.ok_or_else(missing)?.state {
        // The server looks for itself what of it has landed.
        DriveState::Transferring => {
            DriveEvent::Finished { bytes: 0, failures: Vec::new(), rebuilt: None }
        }
        _ => DriveEvent::NeverCame,
    };
    control.drive_event(job, serial, &event).map_err(Error::Server)?;
    control.job(job).map_err(Error::Server)
}

fn on_their_way(job: &Job, drives: Option<&[DriveSerial]>) -> Result<Vec<DriveSerial>, Error> {
    use DriveState as S;
    let Some(named) = drives else {
        let is_here = |state| !matches!(state, S::Specified | S::NeverReceived | S::ShippedBack);
        let here = job.drive_list.iter().filter(|drive| is_here(drive.state));
        return Ok(here.map(|drive| drive.drive_id.clone()).collect());
    };
    let mut wanted = Vec::new();
    for serial in named {
        let mut entries = job.drive_list.iter();
        let entry = entries.find(|drive| drive.drive_id == *serial);
        let missing = || Error::NotInJob { job: job.name.clone(), serial: serial.clone() };
        if entry.ok_or_else(missing)?.state != S::ShippedBack && !wanted.contains(serial) {
            wanted.push(serial.clone());
        }
    }
    Ok(wanted)
}
