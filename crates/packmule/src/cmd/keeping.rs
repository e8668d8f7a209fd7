//! `packmule vault set`, `pin`, `deletions`, `undelete`: what a vault keeps, and what is removed from it.

use super::admin::{AdminOptions, write_credentials};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Ask as _;
use clap::{Args, ValueEnum};
use client::Client;
use model::{ByteSize, ErrorKind, ServerName, VaultName};
use serde_json::json;
use std::path::PathBuf;
use wire::{
    Deletion, DeletionState, Immutability, ServerPatch, ServerRequest, ServerSettings, VaultPatch,
    VaultSettings,
};

/// Show or change what a vault allows: hold, minimum retention, immutability, quota
///
/// What is not given stays; with nothing given, shows what holds and how much lies there. With --for, the quota is that of one
/// source server. An immutable vault is only ever tightened: no PIN shortens a hold there, and its hold and minimum retention
/// grow only. `enabled` can be disabled again, `locked` never.
///
/// Example: packmule vault set branch-offices --minimum-retention 30 --immutability enabled --server /srv/pm/admin.json
/// Example: packmule vault set branch-offices --for fs01 --quota 2T --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The vault
    name: VaultName,
    /// Days until a deletion is carried out: 7 at least
    #[arg(long, value_name = "DAYS", conflicts_with = "source")]
    hold: Option<u32>,
    /// Days for which no recovery point is deleted, from its arrival on
    #[arg(long, value_name = "DAYS", conflicts_with = "source")]
    minimum_retention: Option<u32>,
    /// Whether that can be loosened
    #[arg(long, value_enum, value_name = "STATE", conflicts_with = "source")]
    immutability: Option<State>,
    /// Bytes that may lie there, such as 10T; 0 for no limit
    #[arg(long, value_name = "SIZE")]
    quota: Option<ByteSize>,
    /// The one source server whose quota it is
    #[arg(long = "for", value_name = "NAME", id = "source")]
    source: Option<ServerName>,
    /// Lock without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    admin: AdminOptions,
}

/// As people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Disabled,
    Enabled,
    Locked,
}

impl From<State> for Immutability {
    fn from(state: State) -> Self {
        match state {
            State::Disabled => Self::Disabled,
            State::Enabled => Self::Enabled,
            State::Locked => Self::Locked,
        }
    }
}

/// Make a PIN that ends the hold of a deletion
///
/// It is shown only now, lives for five minutes, and is good once. Whoever has the repository's key gives it to
/// `packmule group prune --pin`, or `packmule group stop --pin`. Refused while the vault is immutable.
///
/// Example: packmule vault pin branch-offices --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Pin {
    /// The vault
    name: VaultName,
    #[command(flatten)]
    admin: AdminOptions,
}

/// List what is to be deleted from a vault, and what was: the newest first
///
/// Example: packmule vault deletions branch-offices --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Deletions {
    /// The vault
    name: VaultName,
    /// Only those of this source server
    #[arg(long = "for", value_name = "NAME")]
    source: Option<ServerName>,
    /// Also those that were carried out or undeleted
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    admin: AdminOptions,
}

/// Let another machine prune a source server's repository
///
/// Writes the credentials by which `packmule repo forget --credentials` and `repo prune --credentials` work there. Whoever has them, and the
/// repository's password, plans what goes; the vault holds it like what the agent asks for. It can store no recovery point and no key.
///
/// Example: packmule vault maintenance branch-offices --for fs01 -o fs01-maintenance.json --server /srv/pm/admin.json
/// Example: packmule vault maintenance branch-offices --for fs01 --end --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Maintenance {
    /// The vault
    name: VaultName,
    /// The source server
    #[arg(long = "for", value_name = "NAME")]
    source: ServerName,
    /// Where to write them; readable for this user only
    #[arg(short, long, value_name = "FILE", required_unless_present = "end")]
    output: Option<PathBuf>,
    /// Replace those that there are: they stop working
    #[arg(long)]
    replace: bool,
    /// Instead, end those that there are
    #[arg(long, conflicts_with_all = ["output", "replace"])]
    end: bool,
    #[command(flatten)]
    admin: AdminOptions,
}

/// Bring back what a deletion holds
///
/// Those of the same source server that were asked for later come back with it: they were planned without what it took.
///
/// Example: packmule vault undelete branch-offices 17 --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Undelete {
    /// The vault
    name: VaultName,
    /// The deletion, as `packmule vault deletions` names it
    #[arg(value_name = "DELETION")]
    id: u64,
    #[command(flatten)]
    admin: AdminOptions,
}

impl Set {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let client = self.admin.client()?;
        let quota = self.quota.map(|size| size.0);
        if let Some(server) = &self.source {
            if quota.is_some() {
                client.set_server(&self.name, server, &ServerPatch { quota })?;
            }
            let settings = client.server_settings(&self.name, server, true)?;
            show_server(context, (&self.name, server), &settings);
            return Ok(Status::Done);
        }
        let patch = VaultPatch {
            hold_days: self.hold,
            minimum_retention_days: self.minimum_retention,
            immutability: self.immutability.map(Immutability::from),
            quota,
        };
        if patch != VaultPatch::default() {
            self.confirm(context)?;
            client.set_vault(&self.name, &patch)?;
        }
        show(context, &self.name, &client.vault_settings(&self.name, true)?);
        Ok(Status::Done)
    }

    /// What can never be taken back.
    fn confirm(&self, context: &Context) -> Result<(), Failure> {
        if self.immutability != Some(State::Locked) || self.yes {
            return Ok(());
        }
        let question = format!("vault {} stays immutable for ever; type its name", self.name);
        let answer = context.terminal().ask("yes", &question)?;
        if answer == self.name.as_str() {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::Interrupted, "not confirmed: nothing was changed"))
    }
}

fn days(count: u32) -> String {
    if count == 1 { "1 day".to_owned() } else { format!("{count} days") }
}

fn quota_words(quota: Option<u64>, used: Option<u64>) -> String {
    let quota = quota.map_or("no quota".to_owned(), |quota| format!("quota {}", ByteSize(quota)));
    let used = used.map_or(String::new(), |used| format!(", used {}", ByteSize(used)));
    format!("{quota}{used}")
}

fn show(context: &Context, name: &VaultName, settings: &VaultSettings) {
    let printer = &context.printer;
    printer.line(format!("vault {name}"));
    printer.line(format!("  deletions are held for {}", days(settings.hold_days)));
    match settings.minimum_retention_days {
        0 => printer.line("  no minimum retention"),
        count => printer.line(format!("  every recovery point is kept for {}", days(count))),
    }
    printer.line(match settings.immutability {
        Immutability::Disabled => "  immutability: disabled",
        Immutability::Enabled => "  immutability: enabled",
        Immutability::Locked => "  immutability: locked",
    });
    printer.line(format!("  {}", quota_words(settings.quota, settings.used)));
    printer.object("vault_settings", settings);
}

fn show_server(
    context: &Context,
    (vault, server): (&VaultName, &ServerName),
    settings: &ServerSettings,
) {
    let words = quota_words(settings.quota, settings.used);
    context.printer.line(format!("source server {server} in vault {vault}: {words}"));
    context.printer.object("server_settings", settings);
}

impl Pin {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let pin = self.admin.client()?.make_pin(&self.name)?;
        context.printer.line(&pin.pin);
        context.printer.note(format!("good once, until {:.0}", pin.expires_at));
        context.printer.object("pin", &json!({"pin": pin.pin, "expires_at": pin.expires_at}));
        Ok(Status::Done)
    }
}

impl Deletions {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let all = self.admin.client()?.deletions(&self.name, self.source.as_ref())?;
        let open = |deletion: &&Deletion| {
            self.all || matches!(deletion.state, DeletionState::Held | DeletionState::Going)
        };
        let mut shown = 0;
        for deletion in all.iter().filter(open) {
            show_deletion(context, deletion);
            shown += 1;
        }
        if shown == 0 {
            context.printer.line("nothing is to be deleted");
        }
        Ok(Status::Done)
    }
}

pub(crate) fn show_deletion(context: &Context, deletion: &Deletion) {
    let Deletion { id, server, subject, reason, asked_at, due_at, .. } = deletion;
    let group = deletion.group.as_ref().map(|group| format!(" of group {group}"));
    let times = match (deletion.oldest, deletion.newest) {
        (Some(oldest), Some(newest)) => {
            format!(" from {} to {}", oldest.strftime("%Y-%m-%d"), newest.strftime("%Y-%m-%d"))
        }
        _ => String::new(),
    };
    let state = match (deletion.state, deletion.ended_at) {
        (DeletionState::Held, _) if deletion.waits.is_some() => "waits".to_owned(),
        (DeletionState::Held, _) => format!("carried out from {due_at:.0} on"),
        (DeletionState::Going, _) => "being carried out".to_owned(),
        (DeletionState::Done, Some(at)) => format!("carried out at {at:.0}"),
        (DeletionState::Undone, Some(at)) => format!("undeleted at {at:.0}"),
        (DeletionState::Done, None) => "carried out".to_owned(),
        (DeletionState::Undone, None) => "undeleted".to_owned(),
    };
    context.printer.line(format!(
        "{id}  {server}: {} recovery points{}{times}, {} indexes, {} packs, {}: {state}",
        deletion.snapshots,
        group.unwrap_or_default(),
        deletion.indexes,
        deletion.packs,
        ByteSize(deletion.bytes),
    ));
    context.printer.line(format!("    asked for by {subject} at {asked_at:.0}: {reason}"));
    if let Some(waits) = &deletion.waits {
        context.printer.line(format!("    waits: {waits}"));
    }
    context.printer.object("deletion", deletion);
}

impl Maintenance {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let client = self.admin.client()?;
        let Some(output) = &self.output else {
            client.end_maintenance_host(&self.name, &self.source)?;
            context
                .printer
                .line(format!("nobody but {} itself prunes its repository", self.source));
            context.printer.object("ended", &json!({"vault": self.name, "server": self.source}));
            return Ok(Status::Done);
        };
        let request = ServerRequest { replace: self.replace };
        let made = client.make_maintenance_host(&self.name, &self.source, &request)?;
        write_credentials(context, output, &made)?;
        Ok(Status::Done)
    }
}

impl Undelete {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let client = self.admin.client()?;
        let server = find(&client, &self.name, self.id)?;
        for deletion in client.undelete(&self.name, &server, self.id)? {
            show_deletion(context, &deletion);
        }
        Ok(Status::Done)
    }
}

/// Whose deletion it is.
fn find(client: &Client, vault: &VaultName, id: u64) -> Result<ServerName, Failure> {
    let all = client.deletions(vault, None)?;
    let found = all.into_iter().find(|deletion| deletion.id == id);
    found.map(|deletion| deletion.server).ok_or_else(|| {
        let words = format!(
            "vault {vault} has no deletion {id}; packmule vault deletions {vault} lists them"
        );
        Failure::new(ErrorKind::NotFound, words)
    })
}
