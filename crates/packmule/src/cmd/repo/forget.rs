//! `packmule repo forget`.

use super::prune::{PruneHow, Pruned, run_prune};
use super::target::{Target, ask_for};
use super::which::{Which, labels};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use model::{Digest, ErrorKind};
use repo::{
    Decision, Filter, Group, GroupBy, Limit, LockGuard, LockMode, Period, Repository, Rules,
    plan_forget,
};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Forget snapshots, by their ids or by rules
///
/// With rules, snapshots are grouped by machine and paths, and what any rule keeps of a group is kept: `--keep-daily 7` keeps the newest of
/// each of the last seven days that have one. The data goes with --prune, or with `repo prune` later. Every snapshot is
/// listed with what is decided of it and why; with --dry-run that is all. Of a repository in a vault (--credentials), the vault is asked for
/// what goes, and holds it for days.
///
/// Example: packmule repo forget -r /srv/backup --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
/// Example: packmule repo forget --credentials fs01-maintenance.json --tag group:files --keep-daily 14 --prune
#[derive(Args, Debug)]
pub(crate) struct Forget {
    #[command(flatten)]
    target: Target,
    /// Snapshots to forget: their ids, or unambiguous beginnings of these
    #[arg(
        value_name = "SNAPSHOT",
        conflicts_with_all = ["Keep", "host", "tag", "path"],
        required_unless_present_any = ["Keep", "unsafe_allow_remove_all"]
    )]
    snapshots: Vec<String>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    which: Which,
    /// What snapshots of a group have in common: some of host, paths, tags; '' for one group of all
    #[arg(long, short = 'g', value_name = "WHAT", default_value = "host,paths", value_parser = group_by)]
    group_by: GroupBy,
    /// Allow that nothing is left of a group; without rules, forget everything that --host, --tag and --path let pass
    #[arg(long)]
    unsafe_allow_remove_all: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Remove the data that nobody needs then, as `repo prune` does
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    how: PruneHow,
}

/// What is kept.
#[derive(Args, Debug, Clone, Default)]
#[group(id = "Keep", multiple = true)]
pub(crate) struct Keep {
    /// Keep the last N snapshots, or `unlimited`; so with the other numbers, too
    #[arg(short = 'l', long, value_name = "N", value_parser = limit)]
    keep_last: Option<Limit>,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N", value_parser = limit)]
    keep_hourly: Option<Limit>,
    /// Keep the newest snapshot of each of the last N days that have one
    #[arg(short = 'd', long, value_name = "N", value_parser = limit)]
    keep_daily: Option<Limit>,
    /// Keep the newest snapshot of each of the last N weeks that have one
    #[arg(short = 'w', long, value_name = "N", value_parser = limit)]
    keep_weekly: Option<Limit>,
    /// Keep the newest snapshot of each of the last N months that have one
    #[arg(short = 'm', long, value_name = "N", value_parser = limit)]
    keep_monthly: Option<Limit>,
    /// Keep the newest snapshot of each of the last N years that have one
    #[arg(short = 'y', long, value_name = "N", value_parser = limit)]
    keep_yearly: Option<Limit>,
    /// Keep all snapshots since so long before the newest one: years, months, days, hours, such as 1y5m7d2h
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    keep_within: Option<Period>,
    /// Keep the newest snapshot of each hour within a period
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    keep_within_hourly: Option<Period>,
    /// Keep the newest snapshot of each day within a period
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    keep_within_daily: Option<Period>,
    /// Keep the newest snapshot of each week within a period
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    keep_within_weekly: Option<Period>,
    /// Keep the newest snapshot of each month within a period
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    keep_within_monthly: Option<Period>,
    /// Keep the newest snapshot of each year within a period
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    keep_within_yearly: Option<Period>,
    /// Keep snapshots with this label, or with all of several separated by commas; may be repeated
    #[arg(long, value_name = "TAG,…")]
    keep_tag: Vec<String>,
}

fn limit(text: &str) -> Result<Limit, String> {
    text.parse()
}

fn period(text: &str) -> Result<Period, String> {
    text.parse()
}

fn group_by(text: &str) -> Result<GroupBy, String> {
    text.parse()
}

impl Keep {
    fn rules(&self) -> Rules {
        let limit = Option::unwrap_or_default;
        Rules {
            last: limit(self.keep_last),
            hourly: limit(self.keep_hourly),
            daily: limit(self.keep_daily),
            weekly: limit(self.keep_weekly),
            monthly: limit(self.keep_monthly),
            yearly: limit(self.keep_yearly),
            within: self.keep_within,
            within_hourly: self.keep_within_hourly,
            within_daily: self.keep_within_daily,
            within_weekly: self.keep_within_weekly,
            within_monthly: self.keep_within_monthly,
            within_yearly: self.keep_within_yearly,
            tags: self.keep_tag.iter().map(|list| labels(list)).collect(),
        }
    }
}

/// What is to be forgotten.
struct Chosen {
    gone: Vec<Digest>,
    kept: usize,
    /// Snapshots that cannot be read, and of which nothing is decided.
    unreadable: usize,
}

impl Forget {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let opened = self.target.open(context)?;
        let repository = &opened.repository;
        let mode = if self.dry_run { LockMode::Shared } else { LockMode::Exclusive };
        let lock = repository.lock(mode)?;
        let mut asking = opened.asking(context, &lock)?;
        let mut chosen = if self.snapshots.is_empty() {
            self.by_rules(context, repository)?
        } else {
            self.by_name(context, repository)?
        };
        let failed = match &mut asking {
            _ if self.dry_run => 0,
            None => remove(context, repository, &lock, &chosen.gone)?,
            Some(asking) => {
                chosen.kept += ask_for(context, asking, &mut chosen.gone)?;
                0
            }
        };
        let Chosen { gone, kept, .. } = &chosen;
        let forgotten = gone.len() - failed;
        context.printer.line(match self.dry_run {
            true => format!(
                "{forgotten} snapshots would be forgotten, {kept} kept; nothing was changed"
            ),
            false => format!("{forgotten} snapshots forgotten, {kept} kept"),
        });
        let mut pruned = Value::Null;
        if self.prune && !chosen.gone.is_empty() {
            // In a rehearsal they are still there.
            let without: HashSet<Digest> =
                if self.dry_run { chosen.gone.iter().copied().collect() } else { HashSet::new() };
            let dry_run = self.dry_run;
            let what = Pruned { repository, lock: &lock, without: &without, dry_run };
            pruned = run_prune(context, what, &self.how, asking.as_mut())?;
        }
        if !self.dry_run {
            self.target.asked(context, asking)?;
        }
        context.printer.object(
            "summary",
            &json!({
                "dry_run": self.dry_run,
                "kept": kept,
                "forgotten": forgotten,
                "failed": failed,
                "unreadable": chosen.unreadable,
                "prune": pruned,
            }),
        );
        Ok(match (chosen.unreadable, failed) {
            (0, 0) => Status::Done,
            (0, _) => Status::Partial,
            _ => Status::Damaged,
        })
    }

    fn by_name(&self, context: &Context, repository: &Repository) -> Result<Chosen, Failure> {
        let mut gone = Vec::new();
        for text in &self.snapshots {
            let id = match text.as_str() {
                "latest" => repository.find_snapshot(text)?.id,
                _ => repository.find_snapshot_name(text)?,
            };
            if !gone.contains(&id) {
                gone.push(id);
            }
        }
        for id in &gone {
            context.printer.line(format!("forget  {}  asked for", id.short()));
            let object = json!({ "id": id, "short_id": id.short(), "keep": false, "reasons": [] });
            context.printer.object("snapshot", &object);
        }
        Ok(Chosen { gone, kept: 0, unreadable: 0 })
    }

    fn by_rules(&self, context: &Context, repository: &Repository) -> Result<Chosen, Failure> {
        let (rules, filter) = (self.keep.rules(), self.which.filter());
        self.refuse_everything(&rules, &filter)?;
        let loaded = repository.snapshots()?;
        for fault in &loaded.damaged {
            context.printer.problem("snapshot", &fault.to_string());
        }
        let mut snapshots = loaded.value;
        snapshots.retain(|named| filter.passes(&named.snapshot));
        let (now, zone) = (Timestamp::now(), TimeZone::system());
        let mut groups = plan_forget(snapshots, &rules, self.group_by, now, &zone);
        if rules.is_empty() {
            let decisions = groups.iter_mut().flat_map(|group| &mut group.decisions);
            decisions.for_each(|decision| decision.reasons.clear());
        }
        groups.iter().for_each(|group| explain(context, group));
        let emptied = groups.iter().find(|group| group.is_emptied());
        if let Some(group) = emptied.filter(|_| !self.unsafe_allow_remove_all) {
            let words = format!(
                "these rules leave nothing of a group ({}); nothing was forgotten. If that is meant, add --unsafe-allow-remove-all",
                group.key
            );
            return Err(Failure::new(ErrorKind::Conflict, words));
        }
        let gone: Vec<Digest> = groups.iter().flat_map(Group::forgotten).collect();
        let all: usize = groups.iter().map(|group| group.decisions.len()).sum();
        Ok(Chosen { kept: all - gone.len(), gone, unreadable: loaded.damaged.len() })
    }

    /// Nobody forgets a whole repository by leaving something out.
    fn refuse_everything(&self, rules: &Rules, filter: &Filter) -> Result<(), Failure> {
        if !rules.is_empty() {
            return Ok(());
        }
        let words = match (self.unsafe_allow_remove_all, filter.is_empty()) {
            (true, false) => return Ok(()),
            (true, true) => {
                "--unsafe-allow-remove-all without rules needs --host, --tag or --path; nothing was forgotten"
            }
            (false, _) => "these rules keep nothing at all; nothing was forgotten",
        };
        Err(Failure::new(ErrorKind::Invalid, words))
    }
}

/// Removes them. Answers how many could not be.
fn remove(
    context: &Context,
    repository: &Repository,
    lock: &LockGuard,
    gone: &[Digest],
) -> Result<usize, Failure> {
    let mut failed = 0;
    repository.forget(lock, gone, |id, outcome| {
        if let Err(fault) = outcome {
            failed += 1;
            context.printer.problem(&format!("snapshot {}", id.short()), &fault.to_string());
        }
    })?;
    Ok(failed)
}

/// Shows what is decided of a group, and why.
fn explain(context: &Context, group: &Group) {
    let printer = &context.printer;
    printer.line(group.key.to_string());
    for decision in &group.decisions {
        let Decision { snapshot: named, reasons } = decision;
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let what = if decision.is_kept() { "keep  " } else { "forget" };
        // By the clock that the rules count by.
        let time = named.offset.to_datetime(named.snapshot.time).strftime("%Y-%m-%d %H:%M:%S");
        let line = format!("  {what}  {}  {time}  {}", named.id.short(), reasons.join(", "));
        printer.line(line.trim_end());
        printer.object(
            "snapshot",
            &json!({
                "id": named.id,
                "short_id": named.id.short(),
                "time": named.snapshot.time,
                "hostname": named.snapshot.hostname,
                "paths": named.snapshot.paths,
                "tags": named.snapshot.tags,
                "keep": decision.is_kept(),
                "reasons": reasons,
            }),
        );
    }
}
