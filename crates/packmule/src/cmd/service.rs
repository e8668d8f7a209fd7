//! `packmule agent run`, `jobs`, `alerts`, `limit`: the agent as a service, and what it has to tell.

use super::agent::StateOptions;
use super::serve::LogFormat;
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use model::{ByteSize, ErrorKind, GroupName};
use serde_json::json;
use service::{AgentWork, Db, File, Reload, RunState, Service, ServiceOptions, Work};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// Run as a service: back groups up when they are due, take seeds further, raise alerts
///
/// Runs in the foreground until it is stopped; under systemd it says when it is ready and feeds the watchdog. A state
/// directory has one such service. On SIGHUP it reads its settings and the password again. The repository's password comes from --password-file, from systemd's credential
/// packmule-password, or from the environment.
///
/// Example: packmule agent run --password-file /etc/packmule/password
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// Settings and groups [default: /etc/packmule/agent.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the log on stderr
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// List what was run, the newest first
///
/// Example: packmule agent jobs files --last 5
#[derive(Args, Debug)]
pub(crate) struct Jobs {
    /// Only this group
    group: Option<GroupName>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: u32,
    /// Instead, name the items that this run has left out
    #[arg(long, value_name = "RUN", conflicts_with_all = ["group", "last"])]
    unread: Option<i64>,
    /// Instead, list what was restored
    #[arg(long, conflicts_with_all = ["group", "unread"])]
    restores: bool,
    /// Instead, say of each recovery point why this retention has kept it or let it go
    #[arg(long, value_name = "RETENTION", conflicts_with_all = ["group", "last", "unread"])]
    why: Option<i64>,
    #[command(flatten)]
    state: StateOptions,
}

/// List what is wrong
///
/// Exit code 3 when something is.
///
/// Example: packmule agent alerts
#[derive(Args, Debug)]
pub(crate) struct Alerts {
    /// Also what was wrong within the last month
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    state: StateOptions,
}

/// Limit how fast data may leave, at once, whatever the settings say
///
/// Without a rate, says what holds. Example: packmule agent limit 500K --for 2h
#[derive(Args, Debug)]
pub(crate) struct Limit {
    /// Bytes a second such as 2M; 0 for no limit; `settings` for what agent.toml says
    rate: Option<String>,
    /// After so long agent.toml has it again, such as 90m
    #[arg(long = "for", value_name = "DURATION", requires = "rate")]
    within: Option<SignedDuration>,
    #[command(flatten)]
    state: StateOptions,
}

/// The settings file that was named, or the usual one where it is.
pub(crate) fn settings(given: Option<&Path>) -> Result<File, Failure> {
    match given {
        Some(path) => Ok(File::read(path)?),
        None if service::default_settings().exists() => {
            Ok(File::read(service::default_settings())?)
        }
        None => Ok(File::default()),
    }
}

impl Run {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        super::serve::log(self.log_format);
        let file = settings(self.config.as_deref())?;
        use_proxies_of_settings(Some(&file));
        let state = self.state.state.clone();
        if !file.group.is_empty() {
            super::group::apply(context, &state, &file.group, false)?;
        }
        workload::clear(&state.join("snapshots"), &|notice| {
            context.printer.note(notice.to_string());
        });
        // Before anything is due: a service that finds out at night that it has no password has protected nothing.
        let password = self.password.read(context, false)?;
        warn_of_short(context, &password);
        let rate = store::Rate::default();
        let password = Arc::new(Mutex::new(password));
        let settings = settings_of(&file);
        let proxies = Arc::new(Mutex::new(settings.proxies.clone()));
        let zone = Arc::new(Mutex::new(settings.zone.clone()));
        let reload = self.reload(context, &password, (&proxies, &zone))?;
        let work = AgentWork {
            state: state.clone(),
            author: context.author.clone(),
            threads: context.threads,
            password,
            rate: rate.clone(),
            wanted: super::seed::By::default().way(),
            zone,
            proxies,
            stop: Arc::clone(&context.stop),
        };
        let mut service = Service::new(ServiceOptions {
            state: state.clone(),
            settings,
            host: context.author.hostname.clone(),
            work: Arc::new(work),
            rate,
            stop: Arc::clone(&context.stop),
            now: Arc::new(Timestamp::now),
            reload: Some(reload),
        })?;
        context.printer.line(format!("the agent runs with {}", state.display()));
        let metrics = service.metrics_address().map(|address| address.to_string());
        if let Some(address) = &metrics {
            context.printer.line(format!("metrics at http://{address}/metrics"));
        }
        context.printer.object("ready", &json!({"state": state, "metrics": metrics}));
        service.run()?;
        context.printer.note("stopped");
        Ok(Status::Done)
    }

    /// On SIGHUP the file is read again, the passphrase, too, and groups become as the file wants them. They are looked at by way of the
    /// proxy that the file names now, and retention is counted in its zone.
    fn reload(
        &self,
        context: &Context,
        password: &Arc<Mutex<Zeroizing<String>>>,
        (proxies, zone): (&Arc<Mutex<store::Proxies>>, &Arc<Mutex<jiff::tz::TimeZone>>),
    ) -> Result<Reload, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&asked))
            .map_err(|cause| Failure::new(ErrorKind::Internal, format!("signals: {cause}")))?;
        let (config, options) = (self.config.clone(), self.password.clone());
        let (state, own, kept) = (self.state.state.clone(), context.clone(), Arc::clone(password));
        let (used, counted) = (Arc::clone(proxies), Arc::clone(zone));
        let read = move || {
            let said = |failure: Failure| failure.chain().join(": ");
            let file = settings(config.as_deref()).map_err(said)?;
            // Nobody sits there to be asked.
            let new = options.kept(&own).map_err(said)?;
            let before = crate::context::proxies();
            use_proxies_of_settings(Some(&file));
            let looked = super::group::check(&own, &state, &file.group);
            let applied =
                looked.and_then(|()| super::group::apply(&own, &state, &file.group, false));
            if let Err(failure) = applied {
                crate::context::use_proxies(before);
                return Err(said(failure));
            }
            let settings = settings_of(&file);
            *used.lock().unwrap_or_else(PoisonError::into_inner) = settings.proxies.clone();
            *counted.lock().unwrap_or_else(PoisonError::into_inner) = settings.zone.clone();
            if let Some(new) = new {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = new;
            }
            Ok(settings)
        };
        Ok(Reload { asked, read: Box::new(read) })
    }
}

/// What the file says of the whole agent, with the proxies that are used.
fn settings_of(file: &File) -> service::Settings {
    service::Settings { proxies: crate::context::proxies(), ..file.settings() }
}

/// A repository that was made before, or by another program, goes on with the passphrase that it has.
pub(crate) fn warn_of_short(context: &Context, password: &str) {
    if ::agent::is_short(password.as_bytes()) {
        context.printer.note("the repository's passphrase has fewer than 16 characters, and whoever has a drive or a copy of the vault can guess it for ever: packmule agent passphrase sets a better one");
    }
}

/// This machine's certificate, and what opens its repository. Answers whether somebody else wants something of that removed.
pub(crate) fn show_identity(context: &Context, status: &::agent::Status) -> bool {
    let (printer, keys) = (&context.printer, &status.keys);
    if let Some(machine) = &status.machine {
        printer.line(format!(
            "certificate: good until {:.0}, renewed from {:.0} on",
            machine.until, machine.renewed_from
        ));
    }
    match keys.kit {
        Some(made) => printer.line(format!("recovery kit: made {made:.0}")),
        None if status.registration.is_some() => printer.line(
            "recovery kit: none, and a lost passphrase loses everything: packmule agent recovery-kit --output FILE",
        ),
        None => {}
    }
    if let Some(begun) = keys.change {
        printer.line(format!("passphrase: its change of {begun:.0} is not finished, and the old one opens everything: packmule agent passphrase goes on with it"));
    }
    if let Some(goes) = keys.goes.filter(|goes| *goes > Timestamp::now()) {
        printer.line(format!("a key that was taken away still opens the vault until {goes:.0}"));
    }
    if keys.waits {
        printer.line("the vault has to hear of a changed key yet: it does with the next backup");
    }
    for removal in &keys.foreign {
        let words = format!(
            "somebody has asked the vault to remove it on {:.0}, and it was not this machine: packmule agent keys shows it, --keep {} lets it stay",
            removal.due_at, removal.key
        );
        printer.problem(&format!("key {}", removal.key.short()), &words);
    }
    printer.object("identity", &json!({
        "certificate_until": status.machine.map(|machine| machine.until), "recovery_kit": keys.kit,
        "passphrase_change": keys.change, "old_key_until": keys.goes, "vault_told": !keys.waits,
        "foreign_removals": keys.foreign.len(),
    }));
    !keys.foreign.is_empty()
}

/// The proxies of a settings file, where the environment names none; of the usual one where none is given.
pub(crate) fn use_proxies_of_settings(file: Option<&File>) {
    let usual = || settings(None).ok();
    let proxies = match file {
        Some(file) => file.proxies().ok(),
        None if crate::context::has_proxies() => None,
        None => usual().and_then(|file| file.proxies().ok()),
    };
    if let Some(proxies) = proxies {
        crate::context::use_proxies(proxies);
    }
}

/// The zone in which schedules and retention are counted.
pub(crate) fn zone() -> Result<jiff::tz::TimeZone, Failure> {
    Ok(settings(None)?.settings().zone)
}

/// The history, where there is one.
pub(crate) fn history(state: &Path) -> Result<Option<Db>, Failure> {
    Ok(if state.join("agent.db").exists() { Some(Db::open(state)?) } else { None })
}

impl Jobs {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let printer = &context.printer;
        let Some(db) = history(&self.state.state)? else {
            printer.line("nothing was run yet");
            return Ok(Status::Done);
        };
        if let Some(run) = self.unread {
            for left in db.left(run)? {
                printer.line(format!("{}: {}", left.path, left.why));
                printer.object("left", &left);
            }
            return Ok(Status::Done);
        }
        if self.restores {
            for restored in db.restores(self.last)? {
                show_restored(context, &restored);
            }
            return Ok(Status::Done);
        }
        if let Some(retention) = self.why {
            for decided in db.decisions(retention)? {
                let word = if decided.why.is_some() { "keep  " } else { "delete" };
                let why = decided.why.as_deref().unwrap_or("no rule keeps it");
                let time = decided.time.strftime("%Y-%m-%d %H:%M:%S");
                let id: String = decided.snapshot.chars().take(8).collect();
                printer.line(format!("{word}  {id}  {time}  {why}"));
                printer.object("decision", &decided);
            }
            return Ok(Status::Done);
        }
        let mut retentions = db.retentions(self.group.as_ref(), self.last)?.into_iter().peekable();
        for run in db.runs(self.group.as_ref(), self.last)? {
            while let Some(applied) = retentions.next_if(|it| it.started >= run.started) {
                show_retention(context, &applied);
            }
            show(context, &run);
        }
        retentions.for_each(|applied| show_retention(context, &applied));
        Ok(Status::Done)
    }
}

/// The same of a time at which a group's rules were applied.
fn show_retention(context: &Context, applied: &service::Applied) {
    context.printer.line(format!(
        "{:>6}  {}  {:<12} {:<11} retention: {} kept, {} go, {} less",
        applied.id,
        applied.started.strftime("%Y-%m-%d %H:%M:%S"),
        applied.group.as_str(),
        applied.state,
        applied.kept,
        applied.forgotten,
        ByteSize(applied.freed),
    ));
    if let Some(message) = &applied.message {
        context.printer.line(format!("        {message}"));
    }
    context.printer.object("retention", applied);
}

/// One line, and below it what it says.
pub(crate) fn show(context: &Context, run: &service::Run) {
    let took = run.ended.map(|ended| ended.duration_since(run.started));
    let rate = took.filter(|took| took.as_secs() > 0).and_then(|took| {
        u64::try_from(took.as_secs()).ok().and_then(|secs| run.bytes.checked_div(secs))
    });
    let took = took.map_or(String::new(), |took| format!(" in {took:#.0}"));
    let rate = rate.map_or(String::new(), |rate| format!(", {}/s", ByteSize(rate)));
    let left =
        if run.problems > 0 { format!(", {} left out", run.problems) } else { String::new() };
    context.printer.line(format!(
        "{:>6}  {}  {:<12} {:<11} {} files, {}, {} added{took}{rate}{left}",
        run.id,
        run.started.strftime("%Y-%m-%d %H:%M:%S"),
        run.group.as_str(),
        run.state.word(),
        run.files,
        ByteSize(run.bytes),
        ByteSize(run.added),
    ));
    if let Some(message) = &run.message {
        context.printer.line(format!("        {message}"));
    }
    context.printer.object("run", run);
}

fn show_restored(context: &Context, restored: &service::Restored) {
    let state = match restored.ended {
        None => "not ended",
        Some(_) => restored.state.word(),
    };
    context.printer.line(format!(
        "{:>6}  {}  {:<11} {} files, {}, {} left out, {} to {}",
        restored.id,
        restored.started.strftime("%Y-%m-%d %H:%M:%S"),
        state,
        restored.files,
        ByteSize(restored.bytes),
        restored.problems,
        restored.snapshot.get(..8).unwrap_or_default(),
        restored.target.as_deref().unwrap_or("the original place"),
    ));
    if let Some(message) = &restored.message {
        context.printer.line(format!("        {message}"));
    }
    context.printer.object("restored", restored);
}

impl Alerts {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let alerts = match history(&self.state.state)? {
            Some(db) => db.alerts(self.all)?,
            None => Vec::new(),
        };
        for alert in &alerts {
            let how = if alert.closed.is_some() { "over" } else { alert.severity.word() };
            context.printer.line(format!(
                "{how:<8} {}  since {}, {} times: {}",
                alert.key,
                alert.opened.strftime("%Y-%m-%d %H:%M:%S"),
                alert.count,
                alert.text
            ));
            context.printer.object("alert", alert);
        }
        let open = alerts.iter().any(|alert| alert.closed.is_none());
        if alerts.is_empty() {
            context.printer.line("nothing is wrong");
        }
        Ok(if open { Status::Partial } else { Status::Done })
    }
}

impl Limit {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let db = Db::open(&self.state.state)?;
        let Some(rate) = &self.rate else {
            let known = db.setting("limit")?;
            let words = match known
                .as_deref()
                .map(|text| text.split_once(" until ").unwrap_or((text, "")))
            {
                None => "as agent.toml says".to_owned(),
                Some((bytes, until)) => {
                    let bytes = ByteSize(bytes.parse().unwrap_or_default());
                    let until =
                        until.parse().ok().and_then(|at| Timestamp::from_millisecond(at).ok());
                    let until = until.map_or(String::new(), |until| format!(" until {until:.0}"));
                    if bytes.0 == 0 {
                        format!("no limit{until}")
                    } else {
                        format!("{bytes}/s{until}")
                    }
                }
            };
            context.printer.line(&words);
            context.printer.object("limit", &json!({"limit": known}));
            return Ok(Status::Done);
        };
        if rate == "settings" {
            db.set("limit", None)?;
            context.printer.line("as agent.toml says");
            return Ok(Status::Done);
        }
        let size: ByteSize = rate
            .parse()
            .map_err(|why: model::SizeError| Failure::new(ErrorKind::Invalid, why.to_string()))?;
        let until = self.within.map(|within| Timestamp::now().saturating_add(within));
        let until =
            until.transpose().map_err(|_| Failure::new(ErrorKind::Invalid, "that is too long"))?;
        let value = match until {
            Some(until) => format!("{} until {}", size.0, until.as_millisecond()),
            None => size.0.to_string(),
        };
        db.set("limit", Some(&value))?;
        let until = until.map_or(String::new(), |until| format!(" until {until:.0}"));
        let rate = if size.0 == 0 { "no limit".to_owned() } else { format!("{size}/s") };
        context.printer.line(format!("{rate}{until}, within a second where the agent runs"));
        Ok(Status::Done)
    }
}

/// Where the settings file is out of date about its groups, or would not be taken, for `agent status`. Answers whether that is wrong.
pub(crate) fn show_out_of_date(
    context: &Context,
    config: Option<&Path>,
    state: &Path,
    known: &[::agent::Group],
) -> Result<bool, Failure> {
    let file = match config {
        Some(_) => settings(config)?,
        None => settings(None).unwrap_or_default(),
    };
    match super::group::out_of_date(context, state, known, &file.group) {
        Ok(said) => {
            for words in said {
                context.printer.line(&words);
                context.printer.object("out_of_date", &json!({"message": words}));
            }
            Ok(false)
        }
        Err(why) if why.kind == ErrorKind::Conflict => {
            context.printer.problem("agent.toml", &why.chain().join(": "));
            Ok(true)
        }
        Err(why) => Err(why),
    }
}

/// What the service knows of groups and alerts, for `agent status`. Answers whether something is wrong.
pub(crate) fn status(
    context: &Context,
    config: Option<&Path>,
    state: &Path,
) -> Result<bool, Failure> {
    let Some(db) = history(state)? else { return Ok(false) };
    let file = match config {
        Some(_) => settings(config)?,
        None => settings(None).unwrap_or_default(),
    };
    let zone = file.settings().zone;
    let work = super::agent::with_agent(context, state, "asking", ::agent::groups)?;
    for group in &work {
        let name = &group.name;
        let last = db.last(name)?;
        let success = db.last_success(name)?;
        let next =
            service::next_due(&db, group, &zone, &context.author.hostname, Timestamp::now())?;
        let next_words = next.map_or("no schedule".to_owned(), |at| {
            format!("next run {}", at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z"))
        });
        let success_words = success.as_ref().map_or("no recovery point yet".to_owned(), |run| {
            format!("newest recovery point {}", run.started.strftime("%Y-%m-%d %H:%M"))
        });
        let next_words = match &group.stopped {
            Some(stopped) => format!("protection stopped at {:.0}", stopped.since),
            None => next_words,
        };
        context.printer.line(format!("group {name}: {success_words}; {next_words}"));
        if let Some(run) = last.as_ref().filter(|run| run.state != RunState::Done) {
            let said = run.message.as_deref().unwrap_or_default();
            context.printer.line(format!("  last run: {} {said}", run.state.word()));
        }
        let object = json!({"group": name, "last": last, "newest": success, "next": next});
        context.printer.object("protection", &object);
    }
    let alerts = db.alerts(false)?;
    for alert in &alerts {
        context.printer.problem(&alert.key, &alert.text);
    }
    Ok(!alerts.is_empty())
}

/// A run by hand: with history, commands beside it and alerts like any other.
pub(crate) fn run_by_hand(
    context: &Context,
    state: &Path,
    name: &GroupName,
    work: &AgentWork,
    events: &(dyn Fn(&::agent::Event<'_>) + Sync),
) -> Result<service::Outcome, Failure> {
    let groups = work.groups()?;
    let group = groups.iter().find(|group| group.name == *name);
    let group = group.ok_or_else(|| ::agent::Error::NoGroup(name.clone()))?;
    let db = Db::open(state)?;
    let (stop, now) = (&*context.stop, &Timestamp::now);
    let of =
        service::RunOf { db: &db, work, state, stop, now, retention: None, gate: None, events };
    Ok(service::run(of, group, service::Cause::Command, None, 1)?)
}
