//! `packmule agent register`, `passphrase`, `recovery-kit`, `keys`, `token`: who this server is, and what opens its repository.

use super::agent::{StateOptions, with_agent};
use super::seed::recover;
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Ask as _;
use ::agent::{Enrolment, Kit, RecoveryPoints, Registration};
use clap::Args;
use credfile::VaultCredentials;
use model::{Digest, ErrorKind, ServerName};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use wire::Code;
use zeroize::Zeroizing;

/// Longer than any credentials file.
const LONGEST: u64 = 2 << 20;

/// Register this server with its vault
///
/// By a vault's credentials, which are good for ten days, this server gets a certificate of its own, which is renewed by
/// itself. Registering again renews it at once; repository, groups and history stay as they are.
///
/// A recovery kit is made with it: a second key of the repository, for paper. For that the repository gets its passphrase now. On a
/// terminal the passphrase is asked for, and the kit shown.
///
/// Example: packmule agent register --credentials branch-offices.VaultCredentials --name fs01 --recovery-kit /media/usb/fs01.txt
#[derive(Args, Debug)]
pub(crate) struct Register {
    /// The credentials file that the cloud administrator handed over: a vault's, NAME.VaultCredentials,
    /// or this server's own
    #[arg(long, value_name = "FILE")]
    credentials: PathBuf,
    /// With a vault's credentials: the name that this server has there [default: the one that it has, or its host
    /// name]
    #[arg(long, value_name = "NAME")]
    name: Option<ServerName>,
    /// Move to another vault, if registered with one already
    #[arg(long)]
    replace: bool,
    /// Take the place of the machine that has this name: it was rebuilt, or is this one. Its certificate ends, and what its
    /// repository holds is listed
    #[arg(long)]
    take_over: bool,
    /// Do not ask whether that is meant
    #[arg(long, requires = "take_over")]
    yes: bool,
    /// Where a recovery kit is written to, as a new file [default: shown on a terminal, once]
    #[arg(long, value_name = "FILE")]
    recovery_kit: Option<PathBuf>,
    /// Make none now: packmule agent recovery-kit does it later
    #[arg(long, conflicts_with = "recovery_kit")]
    no_recovery_kit: bool,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// Change the repository's passphrase
///
/// The new one opens everything before the old one is taken away anywhere. In the vault the old one still works for 14 days: a
/// machine may delete nothing there at once. Drives that are on their way keep the old one, and so does whoever has a copy of a
/// key file. Called again after an interruption, it goes on. A recovery kit's secret is good as the old one.
///
/// Example: packmule agent passphrase --password-file old --new-password-file new
#[derive(Args, Debug)]
pub(crate) struct Passphrase {
    /// File whose first line is the new passphrase, of at least 16 characters [default: asked for]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// Make a recovery kit: a second key of the repository, for paper
///
/// Without a passphrase nobody can read the backups, and nobody can give one back. The kit opens the repository without it. It is
/// written once, and kept nowhere here.
///
/// Example: packmule agent recovery-kit --output /media/usb/fs01-recovery-kit.txt
#[derive(Args, Debug)]
pub(crate) struct RecoveryKit {
    /// Where it is written to, as a new file [default: shown]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Let the kits before it go; without --output, let all of them go and make none
    #[arg(long)]
    revoke: bool,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// List what opens the repository
///
/// Example: packmule agent keys
#[derive(Args, Debug)]
pub(crate) struct Keys {
    /// Let this key stay, which somebody has asked to be removed
    #[arg(long, value_name = "KEY")]
    keep: Option<Digest>,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// Show an access token of this server, for stock restic
///
/// It is good for an hour, as the password of rest: locations.
///
/// Example: packmule agent token
#[derive(Args, Debug)]
pub(crate) struct Token {
    #[command(flatten)]
    state: StateOptions,
}

impl Register {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let failed = |error| Failure::io("reading", &self.credentials, error);
        if std::fs::metadata(&self.credentials).map_err(failed)?.len() > LONGEST {
            let file = self.credentials.display();
            let words = format!("{file} is longer than any credentials file");
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let bytes = Zeroizing::new(std::fs::read(&self.credentials).map_err(failed)?);
        // Before anything happens that cannot be taken back.
        let paper = self.recovery_kit.as_deref().map(Paper::new).transpose()?;
        let password =
            paper.as_ref().map(|_| self.password.read(context, !self.take_over)).transpose()?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let done = match text.trim_ascii_start().starts_with(b"<") {
            true => self.by_vault(context, &bytes)?,
            false => {
                let credentials = client::load_credentials(&self.credentials)?;
                with_agent(context, &self.state.state, "registering", |agent| {
                    ::agent::register(agent, &credentials, self.replace)
                })?
            }
        };
        let printer = &context.printer;
        printer.line(format!(
            "registered as {} with vault {} at {} (version {})",
            done.server, done.vault, done.endpoint, done.version
        ));
        let machine = ::agent::machine(&self.state.state)?;
        if let Some(machine) = machine {
            printer.line(format!(
                "its certificate is good until {:.0}, and renewed by itself",
                machine.until
            ));
        }
        let object = json!({"vault": done.vault, "server": done.server, "endpoint": done.endpoint, "certificate_until": machine.map(|machine| machine.until)});
        printer.object("registered", &object);
        let found = if self.take_over { self.found(context)? } else { Status::Done };
        match (self.kit(context, paper, password, found), found) {
            (Ok(Status::Done), found) => Ok(found),
            (made, _) => made,
        }
    }

    /// The recovery kit that goes with a registration.
    fn kit(
        &self,
        context: &Context,
        paper: Option<Paper>,
        password: Option<Zeroizing<String>>,
        found: Status,
    ) -> Outcome {
        let (printer, state) = (&context.printer, &self.state.state);
        let later = "packmule agent recovery-kit --output FILE makes one";
        let is_taken_empty = self.take_over && found == Status::Partial;
        if is_taken_empty && paper.is_some() {
            printer.note(format!(
                "no recovery kit was made: a seed of the machine before may be on its way, and brings the repository; then {later}"
            ));
            return Ok(Status::Partial);
        }
        if paper.is_none() {
            if self.no_recovery_kit || self.take_over || ::agent::has_kit(state)? {
                return Ok(Status::Done);
            }
            let is_seen = std::io::stdout().is_terminal() && context.terminal().is_there();
            if !is_seen || printer.is_json() {
                printer.note(format!(
                    "there is no recovery kit, and a lost passphrase loses everything: {later}, and so does --recovery-kit FILE here"
                ));
                return Ok(Status::Done);
            }
        }
        let done = self.make_kit(context, paper, password);
        if done.is_err() {
            printer.note(format!(
                "this server is registered, and the recovery kit was not made: {later}"
            ));
        }
        done.map(|()| Status::Done)
    }

    fn make_kit(
        &self,
        context: &Context,
        paper: Option<Paper>,
        password: Option<Zeroizing<String>>,
    ) -> Result<(), Failure> {
        let password = match password {
            Some(password) => password,
            None => {
                context.printer.note("a recovery kit is made now (--no-recovery-kit leaves it for later): the passphrase of this server's backups, of 16 characters at least, which is never sent anywhere:");
                self.password.read(context, true)?
            }
        };
        let state = &self.state.state;
        with_agent(context, state, "making the repository", |agent| {
            ::agent::begin_repository(agent, password.as_bytes())
        })?;
        hand_over(context, state, paper, &password).map(drop)
    }

    fn by_vault(&self, context: &Context, bytes: &[u8]) -> Result<Registration, Failure> {
        let file = VaultCredentials::read(bytes)?;
        let state = &self.state.state;
        let known =
            ::agent::credentials(state).ok().filter(|it| it.vault.as_ref() == Some(&file.vault));
        let name = match (&self.name, known.and_then(|known| known.server)) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name,
            (None, None) => context.author.hostname.parse().map_err(|e: model::NameError| {
                Failure::new(ErrorKind::Invalid, format!("{e}; give one with --name"))
            })?,
        };
        let enrol = |take_over| {
            let what = Enrolment { file: &file, name: &name, replace: self.replace, take_over };
            with_agent(context, state, "registering", |agent| ::agent::enrol(agent, &what))
        };
        match enrol(false) {
            Err(refused) if self.take_over && is_taken(&refused) => {
                context.printer.note(refused.chain().join(": "));
                if !self.yes {
                    let question = format!("Type yes to take the place of {name}");
                    if context.terminal().ask("yes", &question)? != "yes" {
                        let words = "not confirmed: nothing was changed";
                        return Err(Failure::new(ErrorKind::Interrupted, words));
                    }
                }
                enrol(true)
            }
            other => other,
        }
    }

    /// What the repository has that was taken over.
    fn found(&self, context: &Context) -> Outcome {
        let printer = &context.printer;
        let password = self.password.read(context, false)?;
        let seeds = recover(context, &self.state.state, None);
        if let Err(failure) = &seeds {
            printer.note(format!(
                "not every seed that is on its way was found ({}): packmule seed recover looks again",
                failure.chain().join(": ")
            ));
        }
        let travels = seeds.is_ok_and(|seeds| !seeds.is_empty());
        let points = with_agent(context, &self.state.state, "looking", |agent| {
            ::agent::recovery_points(agent, None, password.as_bytes())
        });
        let points = match points {
            Err(failure) if failure.kind == ErrorKind::NoRepository && travels => {
                printer.line("next: packmule group apply FILE, or packmule group create, over the network and with the same names and paths; then packmule backup now GROUP has the seed published once it has arrived");
                return Ok(Status::Partial);
            }
            Err(failure) if failure.kind == ErrorKind::NoRepository => {
                printer.note("the vault has no repository of this server: where a seed of it is on its way, its operator can have it published, and then register with --take-over again to see what it holds");
                return Ok(Status::Partial);
            }
            Err(failure) if failure.kind == ErrorKind::WrongPassword => {
                printer.note("this server is registered, but what was given does not open its repository: nothing is lost. Try the secret of its recovery kit: packmule recovery-point list GROUP, then packmule agent passphrase");
                return Err(failure);
            }
            other => other?,
        };
        for (group, found) in by_group(&points) {
            let newest = found.iter().map(|point| point.time).max();
            let paths = found.last().map(|point| point.paths.clone()).unwrap_or_default();
            let host = found.last().map(|point| point.hostname.clone()).unwrap_or_default();
            printer.line(format!(
                "group {group}: {} recovery points, newest {}, of {} on {host}",
                found.len(),
                newest.map_or(String::new(), |at| at.strftime("%Y-%m-%d %H:%M").to_string()),
                paths.join(", ")
            ));
            let object = json!({"group": group, "points": found.len(), "newest": newest, "paths": paths, "hostname": host});
            printer.object("found", &object);
        }
        for fault in &points.damaged {
            printer.problem("recovery point", &fault.to_string());
        }
        printer.line("next: packmule group apply FILE, or packmule group create with the same names and paths: settings of groups were on the machine alone");
        Ok(if points.damaged.is_empty() { Status::Done } else { Status::Damaged })
    }
}

fn is_taken(failure: &Failure) -> bool {
    let error = failure.error.downcast_ref::<::agent::Error>();
    matches!(error, Some(::agent::Error::Client(error)) if error.code() == Some(&Code::AlreadyExists))
}

fn by_group(points: &RecoveryPoints) -> BTreeMap<String, Vec<&::agent::RecoveryPoint>> {
    let mut groups: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for point in &points.points {
        let group = point.group.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        groups.entry(group).or_default().push(point);
    }
    groups
}

impl Passphrase {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let printer = &context.printer;
        let old = self.password.read(context, false)?;
        let new = PasswordOptions::read_new(context, self.new_password_file.as_deref())?;
        let done = with_agent(context, &self.state.state, "changing the passphrase", |agent| {
            ::agent::change_passphrase(agent, old.as_bytes(), new.as_bytes())
        })?;
        printer.line("the new passphrase opens the repository");
        if let Some(until) = done.old_until {
            printer.line(format!("in the vault the old one does, too, until {until:.0}"));
        }
        for place in &done.old_stays {
            printer.line(format!(
                "the old one stays in {} until its seed is confirmed, and on drives that were written",
                place.display()
            ));
        }
        if let Some(why) = &done.away {
            printer.note(format!("the vault could not be told ({why}): it is with the next connection; until then only the old one opens it"));
        }
        printer.line("next: put the new one where the service reads it, and packmule agent run is to be started anew");
        let object = json!({"key": done.key, "old_until": done.old_until, "old_stays": done.old_stays, "vault_told": done.away.is_none()});
        printer.object("passphrase", &object);
        Ok(Status::Done)
    }
}

impl RecoveryKit {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let state = &self.state.state;
        let password = self.password.read(context, false)?;
        if self.revoke && self.output.is_none() {
            return self.revoke(context, &password, None);
        }
        // Before there is a key that nobody has.
        let paper = self.output.as_deref().map(Paper::new).transpose()?;
        let kit = hand_over(context, state, paper, &password)?;
        if self.revoke { self.revoke(context, &password, Some(&kit)) } else { Ok(Status::Done) }
    }

    fn revoke(&self, context: &Context, password: &str, keep: Option<&Kit>) -> Outcome {
        let (count, stays) = with_agent(context, &self.state.state, "revoking", |agent| {
            ::agent::revoke_kits(agent, password.as_bytes(), keep)
        })?;
        context.printer.line(match count {
            0 => "no other recovery kit was made here".to_owned(),
            count => format!("{count} recovery kits are to go: the vault keeps their keys for 14 days, see packmule agent keys"),
        });
        for place in &stays {
            context.printer.line(format!(
                "  their keys stay in {} until its seed is confirmed",
                place.display()
            ));
        }
        context.printer.object("revoked", &json!({"kits": count, "stays": stays}));
        Ok(Status::Done)
    }
}

/// Makes a recovery kit, and gives it to whoever sits there: on that paper, or on the terminal.
fn hand_over(
    context: &Context,
    state: &Path,
    paper: Option<Paper>,
    password: &str,
) -> Result<Kit, Failure> {
    let kit = with_agent(context, state, "making a recovery kit", |agent| {
        ::agent::recovery_kit(agent, password.as_bytes())
    })?;
    let text = kit.text();
    let path = match paper {
        Some(paper) => {
            let path = paper.write(text.as_bytes())?;
            context.printer.line(format!(
                "the recovery kit is in {}: keep it where this server is not",
                path.display()
            ));
            Some(path)
        }
        None => {
            context.printer.line(text.as_str());
            None
        }
    };
    if let Some(why) = &kit.away {
        context.printer.note(format!(
            "the vault does not have its key yet ({why}): it gets it with the next connection"
        ));
    }
    // Shown to a program only where it was not written to a file.
    let secret = path.is_none().then(|| kit.secret().to_string());
    let object = json!({"key": kit.key, "repository": kit.repository, "file": path, "secret": secret, "vault_told": kit.away.is_none()});
    context.printer.object("recovery_kit", &object);
    with_agent(context, state, "noting", |agent| ::agent::handed_over(agent, &kit))?;
    Ok(kit)
}

/// A file that was not there, that nobody else reads, and that is gone again unless a kit is written to it.
struct Paper {
    path: PathBuf,
    file: std::fs::File,
    written: bool,
}

impl Paper {
    fn new(path: &Path) -> Result<Self, Failure> {
        let mut options = std::fs::OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(path);
        let file = made.map_err(|error| Failure::io("creating", path, error))?;
        Ok(Self { path: path.to_owned(), file, written: false })
    }

    fn write(mut self, text: &[u8]) -> Result<PathBuf, Failure> {
        // With its folder: what is noted after it says that there is a kit.
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        let written = self.file.write_all(text).and_then(|()| self.file.sync_all());
        let written =
            written.and_then(|()| store::durable::sync_folder(folder.unwrap_or(Path::new("."))));
        written.map_err(|error| Failure::io("writing", &self.path, error))?;
        self.written = true;
        Ok(self.path.clone())
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Keys {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let (printer, state) = (&context.printer, &self.state.state);
        if let Some(key) = self.keep {
            with_agent(context, state, "asking", |agent| ::agent::keep_key(agent, key))?;
            printer.line(format!("key {key} stays"));
            printer.object("kept", &json!({"key": key}));
            return Ok(Status::Done);
        }
        let password = self.password.read(context, false)?;
        let keys = with_agent(context, state, "looking", |agent| {
            ::agent::repository_keys(agent, password.as_bytes())
        })?;
        let mut foreign = false;
        for key in &keys {
            let what = if key.is_kit { "recovery kit" } else { "passphrase" };
            let goes = key.goes.map_or(String::new(), |at| format!(", to be removed on {at:.0}"));
            printer.line(format!(
                "{}  {what}, made {} by {}@{}{goes}",
                key.info.id, key.info.created, key.info.username, key.info.hostname
            ));
            if key.goes.is_some() && !key.by_us {
                foreign = true;
                printer.problem(&key.info.id.to_string(), "somebody else has asked for this key to be removed; to let it stay: packmule agent keys --keep KEY");
            }
            let object = json!({"key": key.info.id, "created": key.info.created, "recovery_kit": key.is_kit, "removed_on": key.goes, "asked_for_here": key.by_us});
            printer.object("key", &object);
        }
        Ok(if foreign { Status::Partial } else { Status::Done })
    }
}

impl Token {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let client = ::agent::client(&self.state.state, &crate::context::proxies())?;
        let known = client.credentials();
        let token = match client.tokens() {
            Some(tokens) => tokens.get()?,
            None => Zeroizing::new(known.token.clone()),
        };
        let own = known.vault.as_ref().zip(known.server.as_ref());
        let repository =
            own.map(|(vault, server)| client.repository_url(vault, server).to_string());
        context.printer.line(token.as_str());
        let object = json!({"user": known.user, "token": token.as_str(), "repository": repository, "ca": known.ca_pem});
        context.printer.object("token", &object);
        Ok(Status::Done)
    }
}
