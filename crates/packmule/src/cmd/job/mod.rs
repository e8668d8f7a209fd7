//! `packmule job`: import jobs, for their customers and for administrators. Prepares no drive and takes none in.

mod show;
mod watch;

use super::caller::{CallerOptions, is_admin};
use super::diskprep::shipping::{Shipping, confirm};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::{Ask, Nobody};
use clap::{Args, Subcommand};
use client::{Client, DriveKey};
use model::{Address, ErrorKind, JobName, Package};
use serde_json::json;
use wire::{JobPatch, JobState, Role};

/// Import jobs: what is on its way on drives
#[derive(Subcommand, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one command a process")]
pub(crate) enum Job {
    /// List the import jobs
    ///
    /// Example: packmule job list --state Shipping --server /srv/pm/admin.json
    List {
        /// Only those in this state: Creating, Shipping, Received, Transferring, Packaging, Completed, Closed or
        /// Canceled
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<JobState>,
        #[command(flatten)]
        caller: CallerOptions,
    },
    /// Show an import job: state, drives, addresses, package, deadlines and notices
    ///
    /// Example: packmule job show seed-2026 --server /srv/pm/admin.json
    Show {
        #[command(flatten)]
        job: Named,
        #[command(flatten)]
        caller: CallerOptions,
    },
    Watch(watch::Watch),
    /// Cancel an import job
    ///
    /// Before it is shipped, at once. A job that is under way is cancelled when its package is back; later it
    /// cannot be.
    ///
    /// Example: packmule job cancel seed-2026 --server /srv/pm/admin.json
    Cancel {
        #[command(flatten)]
        job: Named,
        #[command(flatten)]
        caller: CallerOptions,
    },
    Ship(Ship),
    /// Delete the record of an import job
    ///
    /// Refused while it is under way, and for a seed that its vault has not confirmed. The keys of its drives
    /// stay on the server. Takes an administrator's credentials.
    ///
    /// Example: packmule job delete seed-2026 --server /srv/pm/admin.json
    Delete {
        #[command(flatten)]
        job: Named,
        #[command(flatten)]
        caller: CallerOptions,
    },
    /// Show the passwords of an import job's drives; the server writes down who has asked
    ///
    /// Example: packmule job keys seed-2026 --server /srv/pm/admin.json
    Keys {
        #[command(flatten)]
        job: Named,
        #[command(flatten)]
        caller: CallerOptions,
    },
    /// Show what people should hear of an import job, or of all of them
    ///
    /// Example: packmule job notices seed-2026 --server /srv/pm/admin.json
    Notices {
        /// The import job [default: all]
        #[arg(value_name = "NAME")]
        name: Option<JobName>,
        #[command(flatten)]
        caller: CallerOptions,
    },
}

/// An import job.
#[derive(Args, Debug, Clone)]
pub(crate) struct Named {
    /// The import job
    #[arg(value_name = "NAME")]
    name: JobName,
}

/// Give the shipping details of an import job, and say that its package is with the carrier
///
/// What is not given is asked for on a terminal. The return address that the job has already need not be given
/// again. Details can be corrected until the package has arrived.
///
/// Example: packmule job ship seed-2026 --carrier Posten --tracking 1Z999AA10123456784 --yes --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Ship {
    #[command(flatten)]
    job: Named,
    #[command(flatten)]
    shipping: Shipping,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    caller: CallerOptions,
}

/// Every state, in the order of a job's life; the last two are the other ends.
const STATES: [JobState; 8] = [
    JobState::Creating,
    JobState::Shipping,
    JobState::Received,
    JobState::Transferring,
    JobState::Packaging,
    JobState::Completed,
    JobState::Closed,
    JobState::Canceled,
];

/// A state as people write it.
fn state(text: &str) -> Result<JobState, String> {
    let is = |state: &JobState| format!("{state:?}").eq_ignore_ascii_case(text);
    STATES.into_iter().find(is).ok_or_else(|| {
        let known: Vec<String> = STATES.iter().map(|state| format!("{state:?}")).collect();
        format!("write one of {}", known.join(", "))
    })
}

impl Job {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::List { state, caller } => {
                let jobs = caller.client()?.jobs()?;
                let wanted = |job: &&wire::Job| state.is_none_or(|state| job.state == state);
                jobs.iter().filter(wanted).for_each(|job| show::line(context, job));
            }
            Self::Show { job, caller } => show::whole(context, &caller.client()?, &job.name)?,
            Self::Watch(watch) => return watch.run(context),
            Self::Cancel { job, caller } => cancel(context, &caller.client()?, &job.name)?,
            Self::Ship(ship) => ship.run(context)?,
            Self::Delete { job, caller } => delete(context, &caller.client()?, &job.name)?,
            Self::Keys { job, caller } => keys(context, &caller.client()?, &job.name)?,
            Self::Notices { name, caller } => {
                let client = caller.client()?;
                if let Some(name) = name {
                    // An unknown job has no notices either; the difference matters.
                    client.job(name)?;
                }
                for notice in show::notices(&client, name.as_ref())? {
                    show::notice(context, &notice);
                }
            }
        }
        Ok(Status::Done)
    }
}

fn refuse_dock(client: &Client, what: &str) -> Result<(), Failure> {
    if client.credentials().role != Role::Dock {
        return Ok(());
    }
    let words = format!("{what} takes the credentials of its source server, or an administrator's");
    Err(Failure::new(ErrorKind::Denied, words))
}

/// Changes a job through the API that is for the caller.
fn change(client: &Client, job: &wire::Job, patch: &JobPatch) -> Result<wire::Job, Failure> {
    Ok(match is_admin(client) {
        true => client.manage_job(job, patch)?,
        false => client.patch_job(&job.name, patch)?,
    })
}

fn cancel(context: &Context, client: &Client, name: &JobName) -> Result<(), Failure> {
    refuse_dock(client, "cancelling a job")?;
    let job = client.job(name)?;
    let patch = JobPatch {
        version: Some(job.version),
        cancel_requested: Some(true),
        ..JobPatch::default()
    };
    let job = change(client, &job, &patch)?;
    show::line(context, &job);
    if job.state != JobState::Canceled {
        let words = "it is noted: the job is cancelled when its package is at the data centre, and the drives are sent back";
        context.printer.note(words);
    }
    Ok(())
}

fn delete(context: &Context, client: &Client, name: &JobName) -> Result<(), Failure> {
    if !is_admin(client) {
        let words = "deleting a job takes an administrator's credentials: --server DATA/admin.json";
        return Err(Failure::new(ErrorKind::Denied, words));
    }
    client.delete_job(&client.job(name)?)?;
    context.printer.line(format!("deleted import job {name}"));
    context.printer.object("deleted", &json!({"name": name}));
    Ok(())
}

fn keys(context: &Context, client: &Client, name: &JobName) -> Result<(), Failure> {
    refuse_dock(client, "reading the passwords of a job")?;
    let job = client.job(name)?;
    let keys: Vec<DriveKey> = if is_admin(client) {
        client.manage_drive_keys(&job)?
    } else {
        let key = |key: wire::DriveBitLockerKey| DriveKey {
            bit_locker_key: key.bit_locker_key.text(),
            drive_id: key.drive_id,
        };
        client.drive_keys(name)?.into_iter().map(key).collect()
    };
    for key in &keys {
        context.printer.line(format!("{}  {}", key.drive_id, key.bit_locker_key.as_str()));
        context.printer.object("drive_key", key);
    }
    match keys.is_empty() {
        true => context.printer.note("none of its drives is encrypted"),
        false => context.printer.note("the server has written down that you have them"),
    }
    Ok(())
}

impl Ship {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = self.caller.client()?;
        refuse_dock(&client, "shipping a job")?;
        let job = client.job(&self.job.name)?;
        if !matches!(job.state, JobState::Creating | JobState::Shipping) {
            let words = format!(
                "import job {} is in {:?}: its shipping details are fixed",
                job.name, job.state
            );
            return Err(Failure::new(ErrorKind::Conflict, words));
        }
        let (address, package) = self.details(context, &job)?;
        let shipping = (job.state == JobState::Creating).then_some(JobState::Shipping);
        let patch = JobPatch {
            version: Some(job.version),
            return_address: Some(address),
            delivery_package: Some(package),
            state: shipping,
            cancel_requested: None,
        };
        let job = change(&client, &job, &patch)?;
        show::line(context, &job);
        let name = &job.name;
        context.printer.note(format!("to see how it goes: packmule job watch {name}"));
        Ok(())
    }

    /// As given, as the job has them, or as they are asked for; confirmed by whoever was asked.
    fn details(&self, context: &Context, job: &wire::Job) -> Result<(Address, Package), Failure> {
        let terminal = context.terminal();
        let asks = !self.yes && !context.printer.is_json() && terminal.is_there();
        let ask: &dyn Ask = if asks { &terminal } else { &Nobody };
        let shipping = match &job.return_address {
            Some(address) => self.shipping.with_address(address),
            None => self.shipping.clone(),
        };
        let (address, mut package) = shipping.ask(ask)?;
        address.check_return().map_err(|e| Failure::new(ErrorKind::Invalid, e.to_string()))?;
        // All drives of a job travel in one package. An export job lists none yet.
        if job.drive_list.is_empty() {
            package.drive_count = None;
        } else {
            package.drive_count = u32::try_from(job.drive_list.len()).ok();
        }
        if asks {
            confirm(context, ask, &address, &package)?;
        }
        Ok((address, package))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_in_any_case() {
        assert_eq!(state("shipping"), Ok(JobState::Shipping));
        assert_eq!(state("CANCELED"), Ok(JobState::Canceled));
        assert!(state("lost").unwrap_err().contains("Packaging"));
    }
}
