//! `packmule group prune`, `stop`, `resume`: which recovery points of a group stay in the vault, and the end of its protection.

use super::agent::{StateOptions, with_agent};
use super::keeping::show_deletion;
use super::service::zone;
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Ask as _;
use agent::{Keeping, Kept, KeptPoint};
use clap::Args;
use jiff::Timestamp;
use model::{ByteSize, ErrorKind, GroupName};
use serde_json::json;
use service::{AgentWork, Db, RunOf};
use std::path::Path;
use std::sync::Arc;

/// Apply a group's rules to its recovery points in the vault, and remove data that nobody needs
///
/// Each recovery point is listed with what is decided of it and why; with --dry-run that is all. What no rule keeps is asked to be deleted:
/// the vault hides it at once, holds it for days, and removes it then, unless its administrator undeletes it. The agent does the same by itself, as
/// `[retention]` in agent.toml says. Nothing is deleted while a seed of this server is under way.
///
/// Example: packmule group prune files --dry-run
#[derive(Args, Debug)]
pub(crate) struct Prune {
    /// The group
    name: GroupName,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Leave data where it is: only recovery points go
    #[arg(long)]
    keep_data: bool,
    /// Ends the hold at once: a PIN from the vault's administrator
    #[arg(long, value_name = "PIN", conflicts_with = "dry_run")]
    pin: Option<String>,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// Stop protecting a group
///
/// Its schedule ends, and `packmule backup now` refuses it. With --keep-data its recovery points stay for ever. With --delete-data they are asked to
/// be deleted: the vault holds them for days, and keeps those that its minimum retention protects; the same command later asks for these.
///
/// Example: packmule group stop files --keep-data
/// Example: packmule group stop files --delete-data --dry-run
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("data").required(true))]
pub(crate) struct Stop {
    /// The group
    name: GroupName,
    /// Its recovery points stay
    #[arg(long, group = "data")]
    keep_data: bool,
    /// Its recovery points are deleted
    #[arg(long, group = "data")]
    delete_data: bool,
    /// Only say what would be deleted
    #[arg(short = 'n', long, requires = "delete_data")]
    dry_run: bool,
    /// Ends the hold at once: a PIN from the vault's administrator
    #[arg(long, value_name = "PIN", requires = "delete_data", conflicts_with = "dry_run")]
    pin: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// Take protection of a stopped group up again
///
/// Its schedule goes on with the next time in it. What was asked to be deleted comes back only by packmule vault undelete.
///
/// Example: packmule group resume files
#[derive(Args, Debug)]
pub(crate) struct Resume {
    /// The group
    name: GroupName,
    #[command(flatten)]
    state: StateOptions,
}

impl Prune {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let state = &self.state.state;
        let prune = !self.keep_data;
        let kept = if self.dry_run {
            let password = self.password.read(context, false)?;
            let zone = zone()?;
            let how = Keeping { dry_run: true, prune, pin: None, zone: &zone };
            with_agent(context, state, "pruning", |agent| {
                ::agent::keep(agent, &self.name, password.as_bytes(), how)
            })?
        } else {
            self.apply(context, state, prune)?
        };
        show(context, &kept, self.dry_run);
        Ok(if kept.unreadable > 0 { Status::Damaged } else { Status::Done })
    }

    /// As the service does it, with a row in the history.
    fn apply(&self, context: &Context, state: &Path, prune: bool) -> Result<Kept, Failure> {
        let work = AgentWork {
            state: state.to_owned(),
            author: context.author.clone(),
            threads: context.threads,
            password: std::sync::Arc::new(std::sync::Mutex::new(
                self.password.read(context, false)?,
            )),
            proxies: std::sync::Arc::new(std::sync::Mutex::new(crate::context::proxies())),
            rate: store::Rate::default(),
            wanted: super::seed::By::default().way(),
            zone: Arc::new(std::sync::Mutex::new(zone()?)),
            stop: Arc::clone(&context.stop),
        };
        let group = super::policy::find(context, state, &self.name)?;
        let db = Db::open(state)?;
        let of = RunOf {
            db: &db,
            work: &work,
            state,
            stop: &context.stop,
            now: &Timestamp::now,
            retention: None,
            gate: None,
            events: &|_| {},
        };
        Ok(service::apply_now(of, &group, prune, self.pin.as_deref())??)
    }
}

impl Stop {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let state = &self.state.state;
        super::policy::find(context, state, &self.name)?;
        if !self.dry_run {
            self.confirm(context)?;
        }
        if self.keep_data {
            let group = with_agent(context, state, "stopping", |agent| {
                ::agent::stop_group(agent, &self.name)
            })?;
            context.printer.line(format!(
                "protection of group {} is stopped; its recovery points stay",
                self.name
            ));
            context.printer.object("group", &group);
            return Ok(Status::Done);
        }
        let password = self.password.read(context, false)?;
        let zone = zone()?;
        let how =
            Keeping { dry_run: self.dry_run, prune: true, pin: self.pin.as_deref(), zone: &zone };
        let kept = with_agent(context, state, "stopping", |agent| {
            ::agent::stop_and_delete(agent, &self.name, password.as_bytes(), how)
        })?;
        show(context, &kept, self.dry_run);
        if !self.dry_run {
            context.printer.line(format!("protection of group {} is stopped", self.name));
        }
        Ok(if kept.unreadable > 0 { Status::Damaged } else { Status::Done })
    }

    fn confirm(&self, context: &Context) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let what = match self.delete_data {
            true => "protection ends and its recovery points are deleted",
            false => "protection ends and its recovery points stay",
        };
        let question = format!("group {}: {what}; type its name", self.name);
        let answer = context.terminal().ask("yes", &question)?;
        if answer == self.name.as_str() {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::Interrupted, "not confirmed: nothing was changed"))
    }
}

impl Resume {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let group = with_agent(context, &self.state.state, "resuming", |agent| {
            ::agent::resume_group(agent, &self.name)
        })?;
        context.printer.line(format!("group {} is protected again", self.name));
        context.printer.object("group", &group);
        Ok(Status::Done)
    }
}

fn show(context: &Context, kept: &Kept, dry_run: bool) {
    let printer = &context.printer;
    for KeptPoint { id, time, why } in &kept.points {
        let word = if why.is_some() { "keep  " } else { "delete" };
        let reason = why.as_deref().unwrap_or("no rule keeps it");
        printer.line(format!(
            "{word}  {}  {}  {reason}",
            id.short(),
            time.strftime("%Y-%m-%d %H:%M:%S")
        ));
        let object = json!({"id": id, "time": time, "keep": why.is_some(), "why": why});
        printer.object("recovery_point", &object);
    }
    if kept.unreadable > 0 {
        let what =
            format!("{} snapshots cannot be read; nothing is decided of them", kept.unreadable);
        printer.problem("vault", &what);
    }
    let freed = kept.figures.map(|figures| figures.bytes_freed());
    let room = freed.map_or(String::new(), |freed| format!(", {} less", ByteSize(freed)));
    match dry_run {
        true => printer.line(format!(
            "{} recovery points would stay, {} go{room}; nothing was changed",
            kept.stay(),
            kept.gone()
        )),
        false => printer.line(service::said(kept)),
    }
    if let Some(deletion) = &kept.deletion {
        show_deletion(context, deletion);
    }
    printer.object(
        "summary",
        &json!({
            "group": kept.group, "dry_run": dry_run, "kept": kept.stay(), "gone": kept.gone(),
            "unreadable": kept.unreadable, "bytes_freed": freed, "deletion": kept.deletion,
        }),
    );
}
