//! `packmule group`: what is backed up together, and how its first backup, or what the vault lacks, travels.

use super::agent::{StateOptions, with_agent};
use super::policy::{Apply, Set, Show};
pub(crate) use super::policy::{apply, check, out_of_date};
use super::retention::{Prune, Resume, Stop};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use agent::{CreatedGroup, NewGroup, NewInitial};
use clap::{Args, Subcommand};
use model::{AccountName, ByteSize, ContainerName, GroupName, JobName};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Protection groups: what is backed up together
#[derive(Subcommand, Debug)]
pub(crate) enum Group {
    Create(CreateGroup),
    CatchUp(CatchUp),
    Apply(Apply),
    Set(Set),
    Show(Show),
    Prune(Prune),
    Stop(Stop),
    Resume(Resume),
    /// List the groups
    ///
    /// Example: packmule group list
    List {
        #[command(flatten)]
        state: StateOptions,
    },
}

/// Create a protection group
///
/// With --staging its first backup travels on drives; without, over the network. With --direct it travels on drives, too,
/// and is made straight onto them, for data that no disk has room for a second time: by packmule diskprep --group, on this
/// computer. Until the vault has everything, nothing of it can be restored but from all of the drives. Groups with the same
/// import job travel together, in one way: with a staging location, or without.
///
/// Example: packmule group create files --path /srv --direct --import-job seed-2026 --storage-account seedacct --container seeds
/// Example: packmule group create files --path /srv --staging /mnt/staging --import-job seed-2026 --storage-account seedacct --container seeds
#[derive(Args, Debug)]
pub(crate) struct CreateGroup {
    /// The group's name
    name: GroupName,
    /// What it protects; may be repeated
    #[arg(long, required = true, value_name = "PATH")]
    path: Vec<PathBuf>,
    /// Staging location: the folder or share that receives the first full backup
    #[arg(long, value_name = "DIR", group = "travels", requires_all = ["import_job", "storage_account", "container"])]
    staging: Option<PathBuf>,
    /// No staging location: the first backup is made straight onto its drives
    #[arg(long, group = "travels", requires_all = ["import_job", "storage_account", "container"])]
    direct: bool,
    /// Name of the import job that will carry it
    #[arg(long, value_name = "NAME", requires = "travels")]
    import_job: Option<JobName>,
    /// Storage account in which the drives land
    #[arg(long, value_name = "NAME", requires = "travels")]
    storage_account: Option<AccountName>,
    /// Container in that storage account
    #[arg(long, value_name = "NAME", requires = "travels")]
    container: Option<ContainerName>,
    #[command(flatten)]
    state: StateOptions,
}

/// Let a group's next backup travel on drives, with what the vault lacks by then and nothing else
///
/// The next `packmule backup now` goes into the staging location; drives, import job and everything after that are
/// as for a first backup. Then backups go over the network again. Other groups go on meanwhile. With --direct it is made
/// straight onto the drives, while the vault can be reached: by packmule diskprep --group, on this computer.
///
/// Example: packmule group catch-up files --direct --import-job catch-up-2026 --storage-account seedacct --container seeds
/// Example: packmule group catch-up files --staging /mnt/staging2 --import-job catch-up-2026 --storage-account seedacct --container seeds
#[derive(Args, Debug)]
pub(crate) struct CatchUp {
    /// The group
    name: GroupName,
    /// Staging location: another folder or share than that of an earlier seed
    #[arg(long, value_name = "DIR", required_unless_present = "direct")]
    staging: Option<PathBuf>,
    /// No staging location: the backup is made straight onto its drives, by packmule diskprep --group
    #[arg(long, conflicts_with = "staging")]
    direct: bool,
    /// Name of the import job that will carry it
    #[arg(long, value_name = "NAME")]
    import_job: JobName,
    /// Storage account in which the drives land
    #[arg(long, value_name = "NAME")]
    storage_account: AccountName,
    /// Container in that storage account
    #[arg(long, value_name = "NAME")]
    container: ContainerName,
    #[command(flatten)]
    state: StateOptions,
}

impl Group {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Create(create) => create.run(context),
            Self::CatchUp(catch_up) => catch_up.run(context),
            Self::Apply(apply) => apply.run(context),
            Self::Set(set) => set.run(context),
            Self::Show(show) => show.run(context),
            Self::Prune(prune) => prune.run(context),
            Self::Stop(stop) => stop.run(context),
            Self::Resume(resume) => resume.run(context),
            Self::List { state } => {
                for group in with_agent(context, &state.state, "listing", agent::groups)? {
                    let paths: Vec<String> =
                        group.paths.iter().map(|path| path.display().to_string()).collect();
                    context.printer.line(format!("{}: {}", group.name, paths.join(", ")));
                    context.printer.object("group", &group);
                }
                Ok(Status::Done)
            }
        }
    }
}

impl CreateGroup {
    fn run(&self, context: &Context) -> Outcome {
        let here = here()?;
        let travels = (&self.import_job, &self.storage_account, &self.container);
        let initial = match (travels, &self.staging) {
            ((Some(job), Some(account), Some(container)), Some(staging)) => NewInitial::Offline {
                staging: backup::absolute(&here, staging).to_string_lossy().into_owned(),
                import_job: job.clone(),
                storage_account: account.clone(),
                container: container.clone(),
            },
            ((Some(job), Some(account), Some(container)), None) => NewInitial::Direct {
                import_job: job.clone(),
                storage_account: account.clone(),
                container: container.clone(),
            },
            _ => NewInitial::Network,
        };
        let paths = self.path.iter().map(|path| backup::absolute(&here, path)).collect();
        let new = NewGroup { name: self.name.clone(), paths, initial };
        let created = with_agent(context, &self.state.state, "looking at the paths", |agent| {
            agent::create_group(agent, &new)
        })?;
        show(context, &created);
        Ok(Status::Done)
    }
}

impl CatchUp {
    fn run(&self, context: &Context) -> Outcome {
        let (import_job, storage_account, container) =
            (self.import_job.clone(), self.storage_account.clone(), self.container.clone());
        let initial = match &self.staging {
            Some(staging) => {
                let staging = backup::absolute(&here()?, staging).to_string_lossy().into_owned();
                NewInitial::Offline { staging, import_job, storage_account, container }
            }
            None => NewInitial::Direct { import_job, storage_account, container },
        };
        let changed = with_agent(context, &self.state.state, "looking at the paths", |agent| {
            agent::catch_up(agent, &self.name, &initial)
        })?;
        show(context, &changed);
        Ok(Status::Done)
    }
}

fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|e| Failure::io("looking up", Path::new("."), e))
}

fn show(context: &Context, created: &CreatedGroup) {
    for warning in &created.warnings {
        context.printer.note(format!("note: {warning}"));
    }
    let name = &created.group.name;
    let next = match created.group.offline().is_some_and(|inputs| inputs.direct) {
        true => format!("packmule diskprep --group {name} --drive PATH"),
        false => format!("packmule backup now {name}"),
    };
    context.printer.line(format!(
        "group {name}: {} files, {} to protect; next: {next}",
        created.estimate.files,
        ByteSize(created.estimate.bytes),
    ));
    let warnings: Vec<String> = created.warnings.iter().map(ToString::to_string).collect();
    let object = json!({
        "group": created.group,
        "files": created.estimate.files,
        "bytes": created.estimate.bytes,
        "warnings": warnings,
    });
    context.printer.object("summary", &object);
}
