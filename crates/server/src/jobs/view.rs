//! An import job as answered. Reads nothing but the record and the configuration.

use super::{DriveRow, Record};
use crate::config::Config;
use flow::{DriveState as FlowDrive, JobState as FlowJob};
use model::ContainerName;
use wire::{Carries, CopyStatus, DriveState, DriveStatus, Job, JobOutcome, JobState, MAX_NAMES};

/// The job as its customer, a dock or an administrator sees it.
pub(crate) fn job(record: &Record, config: &Config, diagnostics: ContainerName) -> Job {
    let drives = record.flow.drives.iter();
    let drive_list = drives
        .filter_map(|drive| {
            let row = record.drives.iter().find(|row| row.serial == drive.serial)?;
            Some(drive_status(drive, row))
        })
        .collect();
    Job {
        name: record.name.clone(),
        version: record.version,
        job_type: job_type(record).to_owned(),
        state: job_state(&record.flow.state),
        id: record.group.resource("Microsoft.ImportExport/jobs", record.name.as_str()),
        carries: record.request.as_ref().map(|request| Carries {
            vault: request.vault.clone(),
            server: request.server.clone(),
            seed: request.seed.clone(),
            container: request.container.clone(),
        }),
        export: record.export.as_ref().map(|export| export.status(record.flow.exported)),
        storage_account: record.account.clone(),
        diagnostics,
        shipping_information: config.locations.first().map(|location| location.address.clone()),
        return_address: record.flow.return_address.clone(),
        delivery_package: record.flow.shipment.as_ref().map(|shipment| shipment.package.clone()),
        cancel_requested: record.flow.cancel_requested,
        percent_complete: record.flow.percent_complete(),
        inventory_received: record.inventory,
        drive_list,
        key_releases: record.releases.clone(),
        created_at: record.created,
        changed_at: record.changed,
    }
}

/// The direction's name on the wire.
pub(crate) fn job_type(record: &Record) -> &'static str {
    match record.flow.job_type {
        flow::JobType::Import => "Import",
        flow::JobType::Export => "Export",
    }
}

impl Record {
    /// The job as far as publication cares.
    pub(crate) fn outcome(&self) -> JobOutcome {
        let drives = self.flow.drives.iter();
        JobOutcome {
            job: self.name.clone(),
            state: job_state(&self.flow.state),
            drives: drives.map(|drive| (drive.serial.clone(), drive_state(&drive.state))).collect(),
        }
    }
}

/// One drive of a job.
pub(crate) fn drive_status(drive: &flow::Drive, row: &DriveRow) -> DriveStatus {
    let (copy_status, bytes) = match &drive.state {
        FlowDrive::Transferring { bytes, .. } => (Some(CopyStatus::InProgress), *bytes),
        FlowDrive::Completed { bytes } => (Some(CopyStatus::Completed), *bytes),
        FlowDrive::CompletedMoreInfo { bytes, .. } => {
            (Some(CopyStatus::CompletedWithErrors), *bytes)
        }
        FlowDrive::ShippedBack { bytes, problems } => {
            let end = |problems| match problems {
                0 => CopyStatus::Completed,
                _ => CopyStatus::CompletedWithErrors,
            };
            (problems.map(end), *bytes)
        }
        _ => (None, 0),
    };
    DriveStatus {
        drive_id: drive.serial.clone(),
        role: drive.role,
        manifest_hash: row.manifest,
        manifest_received: row.repository.is_some(),
        drive_header_hash: row.header,
        key_held: row.key.is_some(),
        state: drive_state(&drive.state),
        copy_status,
        percent_complete: drive.percent_complete().unwrap_or(0),
        bytes_succeeded: bytes,
        bytes_total: row.bytes,
        failures: row.failures.iter().take(MAX_NAMES).cloned().collect(),
        failure_count: row.failure_count,
        rebuilt: row.rebuilt.clone(),
    }
}

/// The state's name on the wire.
pub(crate) fn drive_state(state: &FlowDrive) -> DriveState {
    match state {
        FlowDrive::Specified => DriveState::Specified,
        FlowDrive::Received => DriveState::Received,
        FlowDrive::NeverReceived => DriveState::NeverReceived,
        FlowDrive::Transferring { .. } => DriveState::Transferring,
        FlowDrive::Completed { .. } => DriveState::Completed,
        FlowDrive::CompletedMoreInfo { .. } => DriveState::CompletedMoreInfo,
        FlowDrive::ShippedBack { .. } => DriveState::ShippedBack,
    }
}

/// The state's name on the wire.
pub(crate) fn job_state(state: &FlowJob) -> JobState {
    match state {
        FlowJob::Creating { .. } => JobState::Creating,
        FlowJob::Shipping { .. } => JobState::Shipping,
        FlowJob::Received { .. } => JobState::Received,
        FlowJob::Transferring { .. } => JobState::Transferring,
        FlowJob::Packaging { .. } => JobState::Packaging,
        FlowJob::Completed { .. } => JobState::Completed,
        FlowJob::Closed { .. } => JobState::Closed,
        FlowJob::Canceled { .. } => JobState::Canceled,
    }
}
