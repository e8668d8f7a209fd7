//! `packmule group apply`, `set`, `show`: what is to be done for a group, and when, from a file or by command.

use super::agent::{StateOptions, with_agent};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use agent::{Group, NewGroup, NewInitial};
use clap::Args;
use jiff::SignedDuration;
use model::{ErrorKind, GroupName};
use policy::{Exclude, Hook, Keep, Missed, Policy, Schedule, Size, Snapshot};
use serde_json::json;
use service::GroupEntry;
use std::path::{Path, PathBuf};
use wire::SeedId;

/// Create and change groups as a settings file says
///
/// Groups that are not in the file stay as they are. `packmule agent run` does the same when it starts.
///
/// Example: packmule group apply /etc/packmule/agent.toml --dry-run
#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// The settings file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    state: StateOptions,
}

/// Change what is to be done for a group, and when
///
/// What is not given stays. An empty value (--schedule "") takes a setting away.
///
/// Example: packmule group set files --schedule "mon-fri 12:00, 22:00" --keep-daily 14 --exclude "*.tmp"
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The group
    name: GroupName,
    /// When it is backed up: days and times as "mon-fri 12:00, 22:00", or a cron pattern; may be repeated
    #[arg(long, value_name = "WHEN")]
    schedule: Vec<String>,
    /// Begin up to so much later, so that many servers do not begin at once
    #[arg(long, value_name = "DURATION")]
    jitter: Option<SignedDuration>,
    /// What becomes of a backup that was missed: run, or skip
    #[arg(long, value_name = "WHAT")]
    missed: Option<String>,
    /// Keep the newest so many recovery points
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Keep the newest of each of so many hours
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,
    /// Keep the newest of each of so many days
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Keep the newest of each of so many weeks
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// Keep the newest of each of so many months
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// Keep the newest of each of so many years
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,
    /// Leave out what matches, as in a .gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out files larger than this; "" for none
    #[arg(long, value_name = "SIZE")]
    exclude_larger_than: Option<String>,
    /// Leave out folders that have a file of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    exclude_if_present: Vec<String>,
    /// Stay on the file systems of the paths that are given
    #[arg(long, value_name = "BOOL")]
    one_file_system: Option<bool>,
    /// Back up from snapshots of the file systems (btrfs, ZFS, LVM): off; auto, where there can be one; require, or not at all
    #[arg(long, value_name = "WHEN")]
    snapshot: Option<Snapshot>,
    /// Program to run before each backup, with its arguments: a shell is not asked; "" for none
    #[arg(long, value_name = "COMMAND")]
    before: Option<String>,
    /// Program to run after each backup, however it ended
    #[arg(long, value_name = "COMMAND")]
    after: Option<String>,
    #[command(flatten)]
    state: StateOptions,
}

/// Show a group's settings
///
/// Example: packmule group show files
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The group
    name: GroupName,
    #[command(flatten)]
    state: StateOptions,
}

impl Apply {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let file = service::File::read(&self.file)?;
        if file.group.is_empty() {
            context.printer.note(format!("{} names no group", self.file.display()));
        }
        apply(context, &self.state.state, &file.group, self.dry_run)?;
        Ok(Status::Done)
    }
}

/// Whether the groups can be made as they are wanted, as far as that shows beforehand. Says nothing.
///
/// # Errors
/// As [`apply`].
pub(crate) fn check(context: &Context, state: &Path, wanted: &[GroupEntry]) -> Result<(), Failure> {
    looked_at(context, state, wanted).map(drop)
}

/// The groups that there are, if what is wanted of them can be.
fn looked_at(
    context: &Context,
    state: &Path,
    wanted: &[GroupEntry],
) -> Result<Vec<Group>, Failure> {
    let known = with_agent(context, state, "listing", agent::groups)?;
    for entry in wanted {
        if let Some(group) = known.iter().find(|group| group.name == entry.name) {
            same_way(context, state, group, entry)?;
        }
    }
    Ok(known)
}

/// What is said of each group whose file names a seed that was given up: the group goes on, by the way that it has now.
pub(crate) fn out_of_date(
    context: &Context,
    state: &Path,
    known: &[Group],
    wanted: &[GroupEntry],
) -> Result<Vec<String>, Failure> {
    let mut said = Vec::new();
    for entry in wanted {
        let Some(group) = known.iter().find(|group| group.name == entry.name) else { continue };
        let (Some(seed), Some(offline)) = (same_way(context, state, group, entry)?, &entry.offline)
        else {
            continue;
        };
        let (goes, then) = match group.offline() {
            None => ("its backups go over the network".to_owned(), "take [group.offline] out"),
            Some(now) => {
                (format!("it travels by import job {}", now.import_job), "write that into it")
            }
        };
        said.push(format!(
            "group {}: agent.toml still names import job {}, but seed {seed} was given up, and {goes}; {then} when you edit the file next",
            group.name, offline.import_job
        ));
    }
    Ok(said)
}

/// Makes the groups as they are wanted. All are looked at before one is changed.
pub(crate) fn apply(
    context: &Context,
    state: &Path,
    wanted: &[GroupEntry],
    dry_run: bool,
) -> Result<(), Failure> {
    let known = looked_at(context, state, wanted)?;
    let find = |name: &GroupName| known.iter().find(|group| group.name == *name);
    let printer = &context.printer;
    for entry in wanted {
        let name = &entry.name;
        let what = match find(name) {
            None => "created",
            Some(group) if group.policy == entry.policy && group.paths == entry.paths => {
                "unchanged"
            }
            Some(_) => "changed",
        };
        let would = if dry_run && what != "unchanged" { "would be " } else { "" };
        if !dry_run && what == "created" {
            let new = NewGroup {
                name: name.clone(),
                paths: entry.paths.clone(),
                initial: initial(entry),
            };
            let created = with_agent(context, state, "looking at the paths", |agent| {
                agent::create_group(agent, &new)
            })?;
            created.warnings.iter().for_each(|warning| printer.note(format!("note: {warning}")));
        }
        if !dry_run && what != "unchanged" {
            with_agent(context, state, "changing", |agent| {
                agent::change_group(agent, name, Some(&entry.paths), &entry.policy)
            })?;
        }
        printer.line(format!("group {name}: {would}{what}"));
        printer.object("group", &json!({"name": name, "dry_run": dry_run, "outcome": what}));
    }
    for words in out_of_date(context, state, &known, wanted)? {
        printer.note(words);
    }
    Ok(())
}

fn initial(entry: &GroupEntry) -> NewInitial {
    match &entry.offline {
        None => NewInitial::Network,
        Some(offline) => NewInitial::Offline {
            staging: offline.staging.to_string_lossy().into_owned(),
            import_job: offline.import_job.clone(),
            storage_account: offline.storage_account.clone(),
            container: offline.container.clone(),
        },
    }
}

/// How a first backup travels is decided once; a file that says something else is not what is there. Answers which seed it names that
/// was given up: that one is out of date, as whoever gives a seed up has no time to edit files.
fn same_way(
    context: &Context,
    state: &Path,
    group: &Group,
    entry: &GroupEntry,
) -> Result<Option<SeedId>, Failure> {
    let Some(offline) = &entry.offline else { return Ok(None) };
    let same = group.offline().is_some_and(|inputs| {
        inputs.import_job == offline.import_job
            && inputs.storage_account == offline.storage_account
            && inputs.container == offline.container
            && inputs.staging == offline.staging
    });
    if same {
        return Ok(None);
    }
    let way = initial(entry);
    let seed = with_agent(context, state, "asking", |agent| agent::given_up(agent, &way))?;
    if seed.is_some() {
        return Ok(seed);
    }
    let words = format!(
        "group {}: how its first backup travels was decided when it was created, and is something else in the file; take [group.offline] out of the file, or use packmule group catch-up for what the vault lacks",
        group.name
    );
    Err(Failure::new(ErrorKind::Conflict, words))
}

impl Set {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let state = &self.state.state;
        let known = find(context, state, &self.name)?;
        let policy = self.changed(known.policy)?;
        let group = with_agent(context, state, "changing", |agent| {
            agent::change_group(agent, &self.name, None, &policy)
        })?;
        show(context, &group);
        Ok(Status::Done)
    }

    fn changed(&self, mut policy: Policy) -> Result<Policy, Failure> {
        let invalid = |why: String| Failure::new(ErrorKind::Invalid, why);
        if !self.schedule.is_empty() {
            let entries = self.schedule.iter().map(String::as_str).filter(|text| !text.is_empty());
            policy.schedule = Schedule::parse(entries).map_err(|why| invalid(why.to_string()))?;
        }
        policy.jitter = self.jitter.unwrap_or(policy.jitter);
        policy.missed = match self.missed.as_deref() {
            None => policy.missed,
            Some("run") => Missed::Run,
            Some("skip") => Missed::Skip,
            Some(other) => return Err(invalid(format!("--missed {other}: write run, or skip"))),
        };
        let keep = policy.keep;
        policy.keep = Keep {
            last: self.keep_last.unwrap_or(keep.last),
            hourly: self.keep_hourly.unwrap_or(keep.hourly),
            daily: self.keep_daily.unwrap_or(keep.daily),
            weekly: self.keep_weekly.unwrap_or(keep.weekly),
            monthly: self.keep_monthly.unwrap_or(keep.monthly),
            yearly: self.keep_yearly.unwrap_or(keep.yearly),
        };
        policy.exclude = self.excluded(policy.exclude)?;
        policy.snapshot = self.snapshot.unwrap_or(policy.snapshot);
        policy.before = hook(self.before.as_deref(), policy.before)?;
        policy.after = hook(self.after.as_deref(), policy.after)?;
        Ok(policy)
    }

    fn excluded(&self, known: Exclude) -> Result<Exclude, Failure> {
        let list = |given: &[String], known: Vec<String>| match given {
            [] => known,
            given => given.iter().filter(|text| !text.is_empty()).cloned().collect(),
        };
        let larger_than = match self.exclude_larger_than.as_deref() {
            None => known.larger_than,
            Some("") => None,
            Some(text) => {
                let size = text.parse().map(Size);
                let wrong =
                    |why: model::SizeError| Failure::new(ErrorKind::Invalid, why.to_string());
                Some(size.map_err(wrong)?)
            }
        };
        Ok(Exclude {
            patterns: list(&self.exclude, known.patterns),
            larger_than,
            if_present: list(&self.exclude_if_present, known.if_present),
            one_file_system: self.one_file_system.unwrap_or(known.one_file_system),
        })
    }
}

/// Words apart by spaces; for anything finer there is the settings file.
fn hook(given: Option<&str>, known: Option<Hook>) -> Result<Option<Hook>, Failure> {
    let Some(text) = given else { return Ok(known) };
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains(['"', '\'', '\\']) {
        let words = "a command on the command line is words apart by spaces; write one with quotes into agent.toml, as a list";
        return Err(Failure::new(ErrorKind::Invalid, words));
    }
    let command = text.split_whitespace().map(str::to_owned).collect();
    // Another command at the same moment.
    let when = known.map(|known| known.when).unwrap_or_default();
    Ok(Some(Hook { command, timeout: policy::TIMEOUT, required: true, when }))
}

impl Show {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        show(context, &find(context, &self.state.state, &self.name)?);
        Ok(Status::Done)
    }
}

pub(crate) fn find(context: &Context, state: &Path, name: &GroupName) -> Result<Group, Failure> {
    let groups = with_agent(context, state, "listing", agent::groups)?;
    let group = groups.into_iter().find(|group| group.name == *name);
    group.ok_or_else(|| agent::Error::NoGroup(name.clone()).into())
}

fn show(context: &Context, group: &Group) {
    let printer = &context.printer;
    let paths: Vec<String> = group.paths.iter().map(|path| path.display().to_string()).collect();
    printer.line(format!("{}: {}", group.name, paths.join(", ")));
    if let Some(stopped) = &group.stopped {
        let data = if stopped.delete { "to be deleted" } else { "kept" };
        printer.line(format!(
            "  protection stopped at {:.0}; its recovery points are {data}",
            stopped.since
        ));
    }
    let policy = &group.policy;
    match policy.schedule.is_empty() {
        true => printer.line("  no schedule: packmule backup now backs it up"),
        false => printer.line(format!("  schedule: {}", policy.schedule)),
    }
    let keep = policy.keep;
    let rules = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    let rules: Vec<String> =
        rules.iter().filter(|(_, n)| *n > 0).map(|(rule, n)| format!("{rule} {n}")).collect();
    match rules.is_empty() {
        true => printer.line("  keeps every recovery point"),
        false => printer.line(format!("  keeps: {}", rules.join(", "))),
    }
    if !policy.exclude.patterns.is_empty() {
        printer.line(format!("  leaves out: {}", policy.exclude.patterns.join(", ")));
    }
    if let Some(size) = policy.exclude.larger_than {
        printer.line(format!("  leaves out files larger than {}", size.0));
    }
    if !policy.exclude.if_present.is_empty() {
        printer.line(format!("  leaves out folders with {}", policy.exclude.if_present.join(", ")));
    }
    if policy.exclude.one_file_system {
        printer.line("  stays on the file systems of its paths");
    }
    if policy.snapshot != Snapshot::Off {
        printer.line(format!("  snapshots of its file systems: {}", policy.snapshot.word()));
    }
    for (when, hook) in [("before", &policy.before), ("after", &policy.after)] {
        if let Some(hook) = hook {
            printer.line(format!("  {when}: {}", hook.command.join(" ")));
        }
    }
    printer.object("group", group);
}
