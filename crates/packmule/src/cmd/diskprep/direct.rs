//! Drives that a group is backed up straight onto: made ready as others are, asked for while they fill, shown. Writes
//! none: the agent does.

use super::dialogue::Round;
use super::{Source, show_jobs};
use crate::cmd::agent::with_agent_beside;
use crate::cmd::seed::{By, DriveOptions, MayUse, Shelf, plan_backup, refuse_mount, show_drives};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use agent::{Group, Written};
use keyring::DriveKeys;
use model::{ErrorKind, GroupName};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

impl Source<'_> {
    /// What goes for the staging location of a group: of one that goes straight onto drives, the folder of what is
    /// kept of it here.
    pub(super) fn staging_of(&self, name: &GroupName) -> Result<String, Failure> {
        let groups = self.agent("asking", agent::groups)?;
        let group = groups.into_iter().find(|group| group.name == *name);
        let group = group.ok_or_else(|| Failure::from(agent::Error::NoGroup(name.clone())))?;
        let inputs = group.offline().ok_or_else(|| {
            let words = format!(
                "protection group {name} is backed up over the network: it needs no drives"
            );
            Failure::new(ErrorKind::Invalid, words)
        })?;
        Ok(inputs.staging.display().to_string())
    }

    /// The group whose first backup is made onto the drives, where that folder goes for its staging location.
    pub(super) fn direct_group(&self, staging: &str) -> Result<Option<Group>, Failure> {
        let is = |group: &Group| {
            let inputs = group.offline().filter(|inputs| inputs.direct);
            inputs.is_some_and(|inputs| inputs.staging == Path::new(staging))
        };
        Ok(self.agent("asking", agent::groups)?.into_iter().find(is))
    }

    /// What the groups protect that travel with this one, its own paths among it.
    fn paths_with(&self, group: &Group) -> Result<Vec<PathBuf>, Failure> {
        let folder = |group: &Group| group.offline().map(|inputs| inputs.staging.clone());
        let mut groups = self.agent("asking", agent::groups)?;
        groups.retain(|it| folder(it) == folder(group));
        Ok(groups.into_iter().flat_map(|group| group.paths).collect())
    }

    pub(super) fn refuse_for_direct(&self) -> Result<(), Failure> {
        let options = self.options;
        let words = if options.writing.limit_rate() > 0 {
            "--limit-rate is for what is read from staging, and there is none: leave it out"
        } else if self.is_copy {
            return Err(only_on_the_source());
        } else {
            return Ok(());
        };
        Err(Failure::new(ErrorKind::Invalid, words))
    }

    /// How much there is, and how much the drives given take.
    pub(super) fn plan_direct(&self, group: &Group, staging: &str) -> Outcome {
        self.refuse_for_direct()?;
        // Nothing is begun for a plan.
        let keys = match self.agent("asking", |agent| agent::drive_keys(agent, staging)) {
            Err(failure) if failure.kind == ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let rooms = self.options.drives.plan(self.context, keys.as_ref())?;
        plan_backup(self.context, &rooms, &self.paths_with(group)?);
        Ok(Status::Done)
    }

    /// One round of backing up onto drives.
    pub(super) fn write_direct(&self, group: &Group, drives: &[PathBuf]) -> Result<Round, Failure> {
        let begun = Instant::now();
        let written = self.back_up(group, drives)?;
        let asks = self.ask.is_there();
        self.show_written(&written, begun.elapsed());
        self.unread.set(self.unread.get() | (written.unread > 0));
        Ok(match (written.complete && !written.uncovered, asks) {
            (true, _) => Round::Complete,
            // Whoever was asked for another one has none.
            (false, true) => Round::Left,
            (false, false) => Round::Needs("another drive is needed".to_owned()),
        })
    }

    fn back_up(&self, group: &Group, drives: &[PathBuf]) -> Result<Written, Failure> {
        self.refuse_for_direct()?;
        let (context, options, name) = (self.context, self.options, &group.name);
        let paths = self.paths_with(group)?;
        let password = self.source_password()?;
        let folder = self.agent("asking", |agent| agent::begin_direct(agent, name))?;
        let staging = folder.display().to_string();
        let keys = self.agent("asking", |agent| agent::drive_keys(agent, &staging))?;
        let may_use = |path: &Path| {
            self.refuse_guest(&[path.to_owned()])?;
            refuse_mount(&paths, path)
        };
        let may_use: &MayUse<'_> = &may_use;
        drives.iter().try_for_each(|path| may_use(path))?;
        let given = DriveOptions { drive: drives.to_vec(), ..options.drives.clone() };
        let may_format = || {
            self.agent("asking", |agent| {
                agent::check_direct(agent, name, Path::new(drive::MOUNTS), password)
            })
        };
        let shelf = Shelf::default();
        let given = shelf.put(given.ready(context, &keys, self.ask, may_format)?);
        let what = agent::Writing {
            group: name,
            drives: &given,
            read_back: &shelf,
            window: options.window.map_or(seed::direct::WINDOW, |window| window.0),
            parity: options.parity,
            most: options.set_drives,
            hold_parity: options.hold_parity,
            job: options.job.as_ref(),
        };
        let working = ("backing up", By::default());
        let written = with_agent_beside(context, &self.state, working, |agent, progress| {
            let mut next = |refused: Option<&seed::Error>| {
                if let Some(error) = refused {
                    progress.problem("this drive", &crate::failure::chain(error).join(": "));
                }
                let ask = || shelf.ask(context, &options.drives, &keys, (progress, may_use));
                self.ask.is_there().then(ask).flatten()
            };
            agent::write_drives(agent, &what, &mut next, password)
        });
        // Whatever became of it: the drives can be taken out afterwards.
        shelf.leave(context);
        let written = written?;
        if !written.uncovered {
            return Ok(written);
        }
        let again = DriveOptions { drive: drives.to_vec(), ..options.drives.clone() };
        let again = again.still_attached(context);
        let (outcome, others) = (written.outcome, written.others);
        let covered = self.cover(&again, name, &keys, password)?;
        Ok(Written { outcome, others, unread: written.unread, ..covered })
    }

    /// Parity, once everything else is on sealed drives.
    fn cover(
        &self,
        drives: &DriveOptions,
        name: &GroupName,
        keys: &DriveKeys,
        password: &[u8],
    ) -> Result<Written, Failure> {
        let shelf = Shelf::default();
        let given = shelf.put(drives.ready(self.context, keys, self.ask, || Ok(()))?);
        let what = agent::Writing {
            group: name,
            drives: &given,
            read_back: &shelf,
            window: seed::direct::WINDOW,
            parity: None,
            most: None,
            hold_parity: false,
            job: self.options.job.as_ref(),
        };
        let covered =
            self.agent("writing parity", |agent| agent::cover_drives(agent, &what, password));
        shelf.leave(self.context);
        covered
    }

    fn show_written(&self, written: &Written, elapsed: Duration) {
        let (context, printer) = (self.context, &self.context.printer);
        show_drives(context, &written.drives);
        printer.line(format!("signer: {}", written.fingerprint));
        let jobs: Vec<_> = written.jobs.iter().map(|job| &job.name).collect();
        let facts = json!({
            "seed": written.seed,
            "signer": written.fingerprint.to_string(),
            "complete": written.complete,
            "job": jobs.first(),
            "jobs": jobs,
            "unread": written.unread,
            "locations": written.locations,
        });
        if written.complete && written.uncovered {
            printer.line("everything is on sealed drives but parity: run the same command with all drives again");
        } else if written.complete {
            printer.line("everything is on sealed drives");
            show_jobs(context, &written.jobs, &written.locations);
        } else {
            printer.line("another drive is needed: run the same command with it");
        }
        for (group, outcome) in &written.others {
            let (files, snapshot) = (outcome.summary.total_files_processed, outcome.snapshot);
            printer.line(format!("group {group}: {files} files, snapshot {}", snapshot.short()));
            let object = json!({"group": group, "files": files, "snapshot_id": snapshot});
            printer.object("with_it", &object);
        }
        match &written.outcome {
            Some(outcome) => crate::cmd::repo::summarize(context, outcome, elapsed, &facts),
            None => printer.object("summary", &facts),
        }
        if written.unread > 0 && written.outcome.is_none() {
            let words = "an earlier call met items that could not be read, and named them";
            printer.problem("the backup", words);
        }
    }
}

pub(super) fn only_on_the_source() -> Failure {
    let words = "the first backup of a group without a staging location is made onto its drives by the source server \
        itself: run packmule diskprep --group there, without p:";
    Failure::new(ErrorKind::Invalid, words)
}
