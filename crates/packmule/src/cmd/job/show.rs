//! An import job for people: in one line, and whole.

use super::super::location::address;
use crate::context::Context;
use crate::failure::Failure;
use client::Client;
use jiff::Timestamp;
use model::{ByteSize, JobName};
use serde_json::json;
use wire::{Audience, DriveStatus, ExportStatus, Job, JobState, Notice};

/// Whether nothing more will happen to it.
pub(super) fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Completed | JobState::Closed | JobState::Canceled)
}

/// Bytes that have landed, and that there are.
pub(super) fn bytes(job: &Job) -> (u64, u64) {
    // What was rebuilt is of the data drives.
    let sum = |of: fn(&DriveStatus) -> u64| {
        job.drive_list.iter().filter(|drive| drive.role.is_data()).map(of).sum()
    };
    (sum(|drive| drive.bytes_succeeded), sum(|drive| drive.bytes_total))
}

/// One line, or one object.
pub(super) fn line(context: &Context, job: &Job) {
    super::super::dock::show_job(context, job);
}

/// All of it.
pub(super) fn whole(context: &Context, client: &Client, name: &JobName) -> Result<(), Failure> {
    let job = client.job(name)?;
    let notices = match client.credentials().role {
        // A dock is told nothing of them.
        wire::Role::Dock => Vec::new(),
        _ => notices(client, Some(name))?,
    };
    let (waiting, deadline) = (waiting(&job), deadline(&job, &notices));
    let look = format!("{}{}", client.credentials().endpoint, job.id);
    let line = |text: String| context.printer.line(text);
    line(format!("import job {}: {:?}, {} %", job.name, job.state, job.percent_complete));
    if let Some(waiting) = waiting {
        line(waiting.to_owned());
        line(format!("  look with: packmule job watch {}; or at {look}", job.name));
    }
    details(&job).into_iter().for_each(line);
    if let Some((what, at)) = &deadline {
        line(format!("  deadline: {what} by {at:.0} at the latest"));
    }
    for drive in &job.drive_list {
        drive_lines(drive).into_iter().for_each(line);
    }
    for notice in &notices {
        line(format!("  {}", words(notice)));
    }
    let deadlines: Vec<_> =
        deadline.iter().map(|(what, at)| json!({"what": what, "atTheLatest": at})).collect();
    let extra =
        json!({"waiting": waiting, "look": look, "deadlines": deadlines, "notices": notices});
    context.printer.object("import_job", &super::super::place::merged(&job, &extra));
    Ok(())
}

/// What users of seeds look for, word by word, as long as their drives have not been taken in.
fn waiting(job: &Job) -> Option<&'static str> {
    (job.carries.is_some() && job.export.is_none() && !is_over(job.state))
        .then_some(flow::WAITING_FOR_IMPORT)
}

/// What ends by itself, and by when at the latest: clocks start no later than the last change. The notices give
/// the exact time as soon as it comes near.
fn deadline(job: &Job, notices: &[Notice]) -> Option<(&'static str, Timestamp)> {
    let (what, after) = match (job.state, late(notices)) {
        (JobState::Creating, _) => {
            ("the job expires unless it is shipped or updated", flow::EXPIRE_AFTER)
        }
        (JobState::Shipping, None) => {
            ("the package is overdue unless it arrives", flow::OVERDUE_AFTER)
        }
        (JobState::Shipping, Some(since)) if since >= job.changed_at => (
            "the job is closed unless a drive turns up or more time is asked for",
            flow::CLOSE_AFTER,
        ),
        // Whatever has changed since it was late may have started its clock anew, or may not.
        _ => return None,
    };
    job.changed_at.checked_add(after).ok().map(|at| (what, at))
}

/// When the package was said to be late, or empty, the last time.
fn late(notices: &[Notice]) -> Option<Timestamp> {
    let late = [flow::Notice::PackageOverdue, flow::Notice::PackageEmpty].map(|it| it.to_string());
    let mut said = notices.iter().rev().filter(|notice| late.contains(&notice.text));
    said.next().map(|notice| notice.at)
}

/// What is exported, and whose signature is to be expected on the drives.
fn exported(export: &ExportStatus) -> Vec<String> {
    let mut lines = vec![format!(
        "  exports {} snapshots: {} objects, {}",
        export.snapshots.len(),
        export.objects,
        ByteSize(export.bytes)
    )];
    if let Some(writer) = &export.writer {
        let signer = seed::Fingerprint::of(writer);
        lines.push(format!("  drives are signed by {signer}"));
    }
    lines
}

fn details(job: &Job) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(carries) = &job.carries {
        let seed = &carries.seed;
        let sets = seed.sets.map(|sets| format!(" of {sets}")).unwrap_or_default();
        lines.push(format!("  vault {}, server {}", carries.vault, carries.server));
        if let Some(export) = &job.export {
            lines.extend(exported(export));
        } else {
            lines.push(format!("  seed {}, set {}{sets}", seed.id, seed.set.saturating_add(1)));
            lines.push(format!("  lands in {}/{}", job.storage_account, carries.container));
        }
    } else {
        lines.push(format!("  {} with storage account {}", job.job_type, job.storage_account));
    }
    lines.push(format!("  created {:.0}, changed {:.0}", job.created_at, job.changed_at));
    if let Some(to) = &job.shipping_information {
        lines.push(format!("  ship to: {}", address(to)));
    }
    if let Some(back) = &job.return_address {
        let (phone, email) = (&back.phone, &back.email);
        lines.push(format!("  back to: {}; {phone}, {email}", address(back)));
    }
    if let Some(package) = &job.delivery_package {
        let count = package.drive_count.map(|count| format!(", {count} drives"));
        lines.push(format!(
            "  package: {} {}{}",
            package.carrier_name,
            package.tracking_number,
            count.unwrap_or_default()
        ));
    }
    if job.cancel_requested && job.state != JobState::Canceled {
        lines.push("  cancelling was asked for".to_owned());
    }
    lines
}

fn drive_lines(drive: &DriveStatus) -> Vec<String> {
    let kind = if drive.role.is_data() { "drive" } else { "parity drive" };
    let mut line = format!("  {kind} {}: {:?}", drive.drive_id, drive.state);
    if drive.bytes_total > 0 {
        let (done, total) = (ByteSize(drive.bytes_succeeded), ByteSize(drive.bytes_total));
        line.push_str(&format!(", {} %, {done} of {total}", drive.percent_complete));
    }
    if !drive.manifest_received && drive.manifest_hash.is_some() {
        line.push_str(", its manifest is not at the server");
    }
    let mut lines = vec![line];
    let rebuilt = drive.rebuilt.iter().flat_map(crate::cmd::dock::rebuilt);
    lines.extend(rebuilt.map(|line| format!("    {line}")));
    for failure in &drive.failures {
        lines.push(format!("    {}: {}", failure.key, failure.reason));
    }
    let named = u64::try_from(drive.failures.len()).unwrap_or(u64::MAX);
    if let Some(more) = drive.failure_count.checked_sub(named).filter(|more| *more > 0) {
        lines.push(format!("    and {more} more are damaged or missing"));
    }
    lines
}

/// All of them, page by page.
pub(super) fn notices(client: &Client, job: Option<&JobName>) -> client::Result<Vec<Notice>> {
    let mut all: Vec<Notice> = Vec::new();
    loop {
        let after = all.last().map_or(0, |notice| notice.id);
        let page = client.notices(job, after)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn words(notice: &Notice) -> String {
    let to = match notice.audience {
        Audience::Customer => "",
        Audience::Operator => " (data centre)",
    };
    format!("{:.0}{to}: {}", notice.at, notice.text)
}

/// One notice in a list of many jobs'.
pub(super) fn notice(context: &Context, notice: &Notice) {
    let job = notice.job.as_ref().map(ToString::to_string);
    let of = job.or_else(|| notice.vault.as_ref().map(|vault| format!("vault {vault}")));
    context.printer.line(format!("{}  {}", of.unwrap_or_default(), words(notice)));
    context.printer.object("notice", notice);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState, changed: &str) -> Job {
        let text = json!({
            "name": "job1", "version": 1, "jobType": "Import", "state": state, "storageAccount": "acct01",
            "diagnosticsPath": "waimportexport", "cancelRequested": false, "percentComplete": 0,
            "inventoryReceived": false, "driveList": [], "createdAt": changed, "changedAt": changed,
        });
        serde_json::from_value(text).unwrap()
    }

    fn overdue(at: &str) -> Notice {
        let text = flow::Notice::PackageOverdue.to_string();
        let (job, audience) = (Some("job1".parse().unwrap()), Audience::Customer);
        Notice { id: 1, at: at.parse().unwrap(), job, vault: None, server: None, audience, text }
    }

    #[test]
    fn a_deadline_follows_from_the_last_change_and_from_what_was_said() {
        let at =
            |job: &Job, notices: &[Notice]| deadline(job, notices).map(|(_, at)| at.to_string());
        let creating = job(JobState::Creating, "2026-01-01T00:00:00Z");
        assert_eq!(at(&creating, &[]).unwrap(), "2026-01-15T00:00:00Z");
        let shipping = job(JobState::Shipping, "2026-01-01T00:00:00Z");
        assert_eq!(at(&shipping, &[]).unwrap(), "2026-01-15T00:00:00Z");
        let late = overdue("2026-01-01T00:00:00Z");
        assert_eq!(at(&shipping, &[late]).unwrap(), "2026-01-31T00:00:00Z");
        assert_eq!(at(&shipping, &[overdue("2025-12-31T00:00:00Z")]), None);
        assert_eq!(at(&job(JobState::Received, "2026-01-01T00:00:00Z"), &[]), None);
    }

    #[test]
    fn only_a_seed_that_has_not_come_waits() {
        let mut seed = job(JobState::Packaging, "2026-01-01T00:00:00Z");
        assert_eq!(waiting(&seed), None, "it carries none");
        seed.carries = serde_json::from_value(json!({
            "vault": "vault1", "server": "fs01", "container": "seeds",
            "seed": {"id": "0".repeat(32), "set": 0, "signer": "1".repeat(64)},
        }))
        .unwrap();
        assert_eq!(waiting(&seed), Some(flow::WAITING_FOR_IMPORT));
        assert_eq!(waiting(&Job { state: JobState::Completed, ..seed }), None);
    }
}
