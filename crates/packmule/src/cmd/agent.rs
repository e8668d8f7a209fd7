//! `packmule agent`, `backup`, `recovery-point`: the source server.

use super::deletions::Deletions;
use super::identity::{Keys, Passphrase, RecoveryKit, Register, Token};
use super::seed::By;
use super::service::{Alerts, Jobs, Limit, Run};
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Progress;
use ::agent::{BackupReport, Cleaning, Event, Phase, Place};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::{ByteSize, ErrorKind, GroupName};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where the agent's state is.
#[derive(Args, Debug, Clone)]
pub(crate) struct StateOptions {
    /// The agent's state: credentials, groups, seeds, signing key
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR", default_value = "/var/lib/packmule")]
    pub(crate) state: PathBuf,
}

/// This server's agent
#[derive(Subcommand, Debug)]
pub(crate) enum Agent {
    Register(Register),
    Passphrase(Passphrase),
    RecoveryKit(RecoveryKit),
    Keys(Keys),
    Deletions(Deletions),
    Token(Token),
    Run(Run),
    Jobs(Jobs),
    Alerts(Alerts),
    Limit(Limit),
    /// Show everything in one place: groups, seeds, import jobs, and what is expected next
    ///
    /// Example: packmule agent status
    Status {
        /// The service's settings, for the time zone that schedules are in [default: /etc/packmule/agent.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        state: StateOptions,
    },
    /// Remove a confirmed seed from its staging location
    ///
    /// Refused until the vault's receipt was verified. With --dry-run, only says what would go.
    ///
    /// Example: packmule agent clean 6f0e8d2c4b6a48909c1e2d3f4a5b6c7d --dry-run
    Clean {
        /// The seed
        #[arg(value_name = "SEED")]
        seed: wire::SeedId,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        password: PasswordOptions,
        #[command(flatten)]
        state: StateOptions,
    },
}

/// Back up protection groups
#[derive(Subcommand, Debug)]
pub(crate) enum Backup {
    /// Do the right next thing for a group now
    ///
    /// The first backup goes into staging. While its drives are on the way, this backs up beside them and says where they
    /// are; once they have landed it has the vault publish them, verifies the receipt and the vault,
    /// and then sends the increment over the network. The first backup of a group that goes straight onto drives is made by
    /// packmule diskprep --group: until its drives are written, this says so and ends with exit code 13.
    ///
    /// Example: packmule backup now files
    Now {
        /// The group
        group: GroupName,
        /// Which way what the vault lacks of a seed goes, once all its drives were read
        #[arg(long, value_enum, default_value_t)]
        wanted: By,
        #[command(flatten)]
        password: PasswordOptions,
        #[command(flatten)]
        state: StateOptions,
    },
}

/// Recovery points of a group
#[derive(Subcommand, Debug)]
pub(crate) enum RecoveryPoint {
    /// List a group's recovery points, oldest first
    ///
    /// Example: packmule recovery-point list files
    List {
        /// The group
        group: GroupName,
        #[command(flatten)]
        password: PasswordOptions,
        #[command(flatten)]
        state: StateOptions,
    },
}

/// Calls an operation of the agent, showing what it tells.
pub(crate) fn with_agent<T>(
    context: &Context,
    state: &Path,
    what: &str,
    operation: impl FnOnce(&::agent::Context<'_>) -> ::agent::Result<T>,
) -> Result<T, Failure> {
    with_agent_beside(context, state, (what, By::default()), |agent, _| operation(agent))
}

/// The same for what has something to ask meanwhile.
pub(crate) fn with_agent_beside<T>(
    context: &Context,
    state: &Path,
    (what, by): (&str, By),
    operation: impl FnOnce(&::agent::Context<'_>, &Progress<'_>) -> ::agent::Result<T>,
) -> Result<T, Failure> {
    super::service::use_proxies_of_settings(None);
    let progress = Progress::new(&context.printer, what);
    let rates = super::seed::Rates::default();
    let events = |event: Event<'_>| show(&progress, &rates, &event);
    let now = Timestamp::now;
    let mut agent =
        ::agent::Context::new(state, context.author.clone(), &now, &context.stop, &events);
    agent.threads = context.threads;
    agent.wanted = by.way();
    agent.proxies = crate::context::proxies();
    let result = operation(&agent, &progress);
    progress.finish();
    Ok(result?)
}

fn show(progress: &Progress<'_>, rates: &super::seed::Rates, event: &Event<'_>) {
    match event {
        Event::Phase(phase) => progress.note(words(*phase)),
        Event::Backup(event) => super::repo::show_backup(progress, event),
        Event::Workload(notice) => progress.note(&notice.to_string()),
        Event::Check(repo::CheckEvent::Reading { packs, bytes }) => {
            progress.total(*bytes, *packs as u64);
        }
        Event::Check(repo::CheckEvent::Found(finding)) => {
            progress.problem("vault", &finding.to_string());
        }
        Event::Publication(publication) => {
            progress.total(publication.bytes_total, publication.objects_total);
            progress.reach(publication.bytes);
        }
        Event::Drive(event) => super::seed::show_event(progress, rates, event),
        Event::Direct(event) => super::seed::show_direct(progress, rates, event),
        Event::Prune(repo::PruneEvent::Reading { packs, bytes }) => {
            progress.total(*bytes, *packs as u64);
        }
        Event::Prune(repo::PruneEvent::PackRead { bytes }) => {
            progress.item();
            progress.bytes(*bytes);
        }
        Event::AnotherPass => progress.note(super::seed::ANOTHER_PASS),
        Event::Sent { bytes, all, .. } => {
            progress.total(*all, 0);
            progress.reach(*bytes);
        }
        Event::Answered(sent) => progress.note(&format!(
            "{} of {} wanted objects sent, {} wait for a next drive, {} are not kept here",
            sent.objects + sent.before,
            sent.wanted,
            sent.left,
            sent.gone.len()
        )),
        Event::Removed { bytes } => progress.bytes(*bytes),
        Event::Regain(backup::RegainEvent::Regained(bytes)) => progress.bytes(*bytes),
        Event::Regain(backup::RegainEvent::Problem(problem)) => {
            progress.problem(&problem.path.display().to_string(), &problem.fault.to_string());
        }
        Event::NotKept { seed, why } => progress.note(&format!(
            "seed {seed}: what tells what is in its packs could not be kept ({why}); without it, what is lost with staging cannot be made anew; a later call tries again"
        )),
        Event::KitVoid => progress.note("the recovery kit that was made at registration opens nothing: there was a repository of another making already, which goes on; make another kit: packmule agent recovery-kit --output FILE"),
        Event::NotRefilled { seed, why } => progress.note(&format!(
            "seed {seed}: what is gone here is not made anew by itself: {why}; see packmule seed refill"
        )),
        Event::NotRenewed { why } => progress.note(&format!(
            "this machine's certificate could not be renewed yet ({why}); the one before goes on, and a later call tries again"
        )),
        Event::CustodyUnsent { seed, why } => {
            progress
                .note(&format!("custody log of seed {seed}: {why}; it is sent by a later call"));
        }
        _ => {}
    }
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Init(_) => "making the repository",
        Phase::Backup(Place::Staging) => "backing up into staging",
        Phase::Backup(Place::Drives) => "backing up straight onto the drives",
        Phase::Backup(Place::Increments) => "backing up into the vault, beside the seed",
        Phase::Backup(Place::Vault) => "backing up into the vault",
        Phase::Keeping => "deciding which recovery points are kept",
        Phase::Prune(_) => "finding out what nobody needs any more",
        Phase::Choosing => "finding out what the recovery points need",
        Phase::Drives => "writing drives",
        Phase::ImportJob => "creating the import job",
        Phase::Publication => "asking the vault to publish",
        Phase::Wanted => "sending what the vault asks for",
        Phase::Refill => "making anew from the source what is lost",
        Phase::Receipt => "verifying the receipt",
        Phase::Check => "checking the vault, snapshot by snapshot",
        Phase::Cleaning => "cleaning staging",
        _ => "working",
    }
}

impl Agent {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Register(register) => register.run(context),
            Self::Passphrase(passphrase) => passphrase.run(context),
            Self::RecoveryKit(kit) => kit.run(context),
            Self::Keys(keys) => keys.run(context),
            Self::Deletions(deletions) => deletions.run(context),
            Self::Token(token) => token.run(context),
            Self::Run(run) => run.run(context),
            Self::Jobs(jobs) => jobs.run(context),
            Self::Alerts(alerts) => alerts.run(context),
            Self::Limit(limit) => limit.run(context),
            Self::Status { config, state } => status(context, config.as_deref(), state),
            Self::Clean { seed, dry_run, password, state } => {
                clean(context, *seed, *dry_run, password, state)
            }
        }
    }
}

fn status(context: &Context, config: Option<&Path>, state: &StateOptions) -> Outcome {
    let status = with_agent(context, &state.state, "asking", ::agent::status)?;
    let printer = &context.printer;
    match &status.registration {
        Some(known) => printer.line(format!(
            "registered as {} with vault {} at {}",
            known.server, known.vault, known.endpoint
        )),
        None => printer.line("not registered: packmule agent register --credentials FILE"),
    }
    if let Some(away) = &status.away {
        printer.problem("server", &away.to_string());
    }
    let mut foreign = super::service::show_identity(context, &status);
    foreign |= super::deletions::warn(context, &status.deletions);
    for group in &status.groups {
        printer.line(format!("group {}: next: {}", group.group.name, group.next));
        printer.object("group", &json!({"name": group.group.name, "paths": group.group.paths, "seed": group.seed, "next": group.next.to_string()}));
    }
    for seed in &status.seeds {
        let name = seed.record.state().name();
        let at = seed.record.staging.display();
        let place = match (seed.record.direct, seed.record.found) {
            (true, true) => "found again, with nothing of it here".to_owned(),
            (true, false) => format!("straight onto drives, beside them in {at}"),
            (false, _) => format!("staged in {at}"),
        };
        printer.line(format!("seed {}: {name}, {place}; next: {}", seed.record.id, seed.next));
        if seed.record.withheld > 0 {
            printer.line(format!(
                "  {} recovery points that were made while it travelled are not published, as they may lack files; the ones made since are complete",
                seed.record.withheld
            ));
        }
        for revised in seed.record.revisions.iter().filter(|revised| revised.lost > 0) {
            let what = match revised.repaired.is_empty() {
                true => "what was made while it travelled lacks",
                false => "published without",
            };
            printer.line(format!(
                "  {what} {} files that could not be had any more: see seeds/{}.refill/lost-{} in the state folder",
                revised.lost, seed.record.id, revised.number
            ));
        }
        for job in &seed.jobs {
            match &job.server {
                Some(job) => super::dock::show_job(context, job),
                None => printer.line(format!(
                    "import job {}: the server does not answer for it",
                    job.own.name
                )),
            }
        }
        printer.object("seed", &json!({"seed": seed.record.id, "state": name, "staging": seed.record.staging, "direct": seed.record.direct, "found": seed.record.found, "next": seed.next.to_string(), "revision": seed.record.revision(), "lost_files": seed.record.revisions.iter().map(|revised| revised.lost).sum::<u64>(), "jobs": seed.jobs.iter().map(|job| &job.own.name).collect::<Vec<_>>()}));
    }
    let known: Vec<_> = status.groups.iter().map(|it| it.group.clone()).collect();
    let refused = super::service::show_out_of_date(context, config, &state.state, &known)?;
    let wrong = super::service::status(context, config, &state.state)?;
    Ok(if wrong || refused || foreign || status.away.is_some() {
        Status::Partial
    } else {
        Status::Done
    })
}

fn clean(
    context: &Context,
    seed: wire::SeedId,
    dry_run: bool,
    password: &PasswordOptions,
    state: &StateOptions,
) -> Outcome {
    let password = if dry_run { None } else { Some(password.read(context, false)?) };
    let cleaning = match &password {
        Some(password) => Cleaning::Remove { password: password.as_bytes() },
        None => Cleaning::DryRun,
    };
    let cleaned = with_agent(context, &state.state, "cleaning", |agent| {
        ::agent::clean_staging(agent, seed, cleaning)
    })?;
    let would = if cleaned.dry_run { "would be removed" } else { "removed" };
    for key in cleaned.removed.iter().filter(|_| cleaned.dry_run) {
        context.printer.line(format!("  {key}"));
    }
    for path in cleaned.made.iter().filter(|_| cleaned.dry_run) {
        context.printer.line(format!("  {}", path.display()));
    }
    context.printer.line(format!(
        "{} objects ({}) {would} from {}, {} stay",
        cleaned.removed.len() + cleaned.made.len(),
        ByteSize(cleaned.bytes),
        cleaned.staging.display(),
        cleaned.kept.len()
    ));
    let object = json!({
        "seed": cleaned.seed,
        "staging": cleaned.staging,
        "dry_run": cleaned.dry_run,
        "objects": cleaned.removed.len() + cleaned.made.len(),
        "bytes": cleaned.bytes,
        "kept": cleaned.kept.len(),
    });
    context.printer.object("summary", &object);
    Ok(Status::Done)
}

impl Backup {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let Self::Now { group, wanted, password, state } = self;
        let password = password.read(context, false)?;
        super::service::warn_of_short(context, &password);
        let started = std::time::Instant::now();
        let progress = Progress::new(&context.printer, "backing up");
        let rates = super::seed::Rates::default();
        let work = service::AgentWork {
            state: state.state.clone(),
            author: context.author.clone(),
            threads: context.threads,
            password: std::sync::Arc::new(std::sync::Mutex::new(password)),
            rate: store::Rate::default(),
            wanted: wanted.way(),
            zone: std::sync::Arc::new(std::sync::Mutex::new(super::service::zone()?)),
            proxies: std::sync::Arc::new(std::sync::Mutex::new(crate::context::proxies())),
            stop: std::sync::Arc::clone(&context.stop),
        };
        let events = |event: &Event<'_>| show(&progress, &rates, event);
        let ran = super::service::run_by_hand(context, &state.state, group, &work, &events);
        progress.finish();
        let service::Outcome { report, beside, .. } = ran?;
        let report = match (report, beside) {
            (None, Some(why)) => return Err(why.into()),
            (None, None) => return Ok(Status::Partial),
            (Some(report), beside) => {
                if let Some(why) = beside {
                    context.printer.problem("after", &why.full());
                    let status = report_backup(context, report?, started.elapsed())?;
                    return Ok(if status == Status::Done { Status::Partial } else { status });
                }
                report?
            }
        };
        report_backup(context, report, started.elapsed())
    }
}

/// What a backup came to.
fn report_backup(context: &Context, report: BackupReport, elapsed: std::time::Duration) -> Outcome {
    match report {
        BackupReport::Staged { seed, outcome, unannounced } => {
            let extra = json!({
                "outcome": "staged", "seed": seed, "announced": unannounced.is_none(),
            });
            super::repo::summarize(context, &outcome, elapsed, &extra);
            context.printer.line(format!("the first backup is in staging (seed {seed})"));
            if let Some(why) = unannounced {
                context.printer.note(format!(
                        "the seed could not be announced ({why}): only this computer can write its drives until `packmule backup now` has done it"
                    ));
            }
            Ok(status_of(&outcome))
        }
        BackupReport::Waiting(waiting) => {
            context.printer.line(&waiting.message);
            if let Some(refilled) = &waiting.refilled {
                super::seed::show_refilled(context, refilled);
            }
            waiting.jobs.iter().for_each(|job| super::dock::show_job(context, job));
            if let Some(why) = &waiting.paused {
                context.printer.line(why);
            }
            context.printer.line(format!("next: {}", waiting.next));
            if let Some(why) = &waiting.stuck {
                context.printer.problem("seed", &crate::failure::chain(why.as_ref()).join(": "));
            }
            let extra = json!({
                "outcome": "waiting",
                "seed": waiting.seed,
                "message": waiting.message,
                "next": waiting.next.to_string(),
                "paused": waiting.paused,
                "on_drives": waiting.on_drives,
            });
            let status = match &waiting.increment {
                Some(outcome) => {
                    super::repo::summarize(context, outcome, elapsed, &extra);
                    if waiting.on_drives {
                        context.printer.line(::agent::ON_DRIVES);
                    }
                    status_of(outcome)
                }
                None => {
                    context.printer.object("summary", &extra);
                    Status::Done
                }
            };
            // Nothing protects the group until somebody has done that.
            if matches!(waiting.next, ::agent::Next::WriteDrives { .. }) {
                return Ok(Status::DriveMissing);
            }
            let refilled = waiting.refilled.as_deref().map_or(Status::Done, super::seed::exit_of);
            Ok(match &waiting.stuck {
                Some(why) if why.kind() == ErrorKind::Corrupt => Status::Damaged,
                Some(_) => Status::Partial,
                None if refilled != Status::Done => refilled,
                None => status,
            })
        }
        BackupReport::Stored { confirmed, outcome, unpublished } => {
            let confirmed = confirmed.as_deref();
            Ok(report_stored(context, (confirmed, &outcome), unpublished.as_deref(), elapsed))
        }
    }
}

fn report_stored(
    context: &Context,
    (confirmed, outcome): (Option<&::agent::Confirmed>, &backup::BackupOutcome),
    unpublished: Option<&::agent::Error>,
    elapsed: std::time::Duration,
) -> Status {
    let printer = &context.printer;
    let mut extra = json!({"outcome": "stored"});
    if let (Some(confirmed), Some(fields)) = (confirmed, extra.as_object_mut()) {
        printer.line(format!(
            "seed {}: the vault's receipt is verified: {} objects, {}; {} snapshots complete in the vault",
            confirmed.seed,
            confirmed.receipt.objects,
            ByteSize(confirmed.receipt.bytes),
            confirmed.snapshots
        ));
        fields.insert("seed".into(), json!(confirmed.seed));
        fields.insert("receipt_objects".into(), json!(confirmed.receipt.objects));
        fields.insert("receipt_bytes".into(), json!(confirmed.receipt.bytes));
    }
    super::repo::summarize(context, outcome, elapsed, &extra);
    let Some(why) = unpublished else { return status_of(outcome) };
    let words = crate::failure::chain(why).join(": ");
    // What passes by itself takes nothing from what is stored: the next backup makes it visible.
    if why.kind() == ErrorKind::Unavailable {
        printer.note(words);
        return status_of(outcome);
    }
    printer.problem("seed", &words);
    Status::Partial
}

fn status_of(outcome: &backup::BackupOutcome) -> Status {
    if outcome.problems.is_empty() { Status::Done } else { Status::Partial }
}

impl RecoveryPoint {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let Self::List { group, password, state } = self;
        let password = password.read(context, false)?;
        let points = with_agent(context, &state.state, "listing", |agent| {
            ::agent::recovery_points(agent, Some(group), password.as_bytes())
        })?;
        let place = match points.place {
            Place::Vault => "vault",
            Place::Origin | Place::Staging | Place::Increments => "staging",
            Place::Drives => "drives",
        };
        context.printer.line(match points.place {
            Place::Drives => ON_DRIVES.to_owned(),
            _ => format!("in {place} at {}", points.location),
        });
        for point in &points.points {
            let time = point.time.strftime("%Y-%m-%d %H:%M:%S");
            context.printer.line(format!(
                "{}  {time}  {}",
                point.id.short(),
                point.paths.join(", ")
            ));
            let object = json!({
                "id": point.id,
                "time": point.time,
                "group": point.group,
                "hostname": point.hostname,
                "paths": point.paths,
                "place": place,
            });
            context.printer.object("recovery_point", &object);
        }
        for fault in &points.damaged {
            context.printer.problem("recovery point", &fault.to_string());
        }
        if let Some(why) = &points.unseen {
            let words = crate::failure::chain(why).join(": ");
            context.printer.problem("recovery points made while the seed travels", &words);
        }
        Ok(match (points.damaged.is_empty(), &points.unseen) {
            (false, _) => Status::Damaged,
            (true, Some(_)) => Status::Partial,
            (true, None) => Status::Done,
        })
    }
}

/// What is said of recovery points that nothing but drives has.
pub(crate) const ON_DRIVES: &str = "on the drives alone: until the vault has them, nothing can be restored but with all of these \
    drives, by packmule seed import and packmule repo restore; what was backed up since needs them, too";
