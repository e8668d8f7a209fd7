//! `packmule audit`: who has changed what.

use super::admin::AdminOptions;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Args;
use client::Client;
use model::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::AuditEntry;

/// Show who has changed what, from where, in the order of time
///
/// Without --since, the newest thousand entries.
///
/// Example: packmule audit --follow --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// Go on until Ctrl-C, with what is written down meanwhile
    #[arg(long)]
    follow: bool,
    /// Only what came after that entry, all of it
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    #[command(flatten)]
    admin: AdminOptions,
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// How soon Ctrl-C is noticed.
const LOOK: Duration = Duration::from_millis(100);

impl Audit {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let client = self.admin.client()?;
        let mut last = self.since;
        loop {
            match self.newer(context, &client, last) {
                Ok(newer) => last = newer,
                // Somebody who follows is not interested in a restart of the server.
                Err(error) if self.follow && error.kind() == ErrorKind::Unavailable => {
                    context.printer.problem("server", &format!("{error}; it is asked again"));
                }
                Err(error) => return Err(error.into()),
            }
            if !self.follow || !wait(context) {
                return Ok(Status::Done);
            }
        }
    }

    /// Shows what came after that entry, and says which one was the last.
    fn newer(
        &self,
        context: &Context,
        client: &Client,
        last: Option<u64>,
    ) -> client::Result<Option<u64>> {
        let mut last = last;
        loop {
            let entries = client.audit(last)?;
            entries.iter().for_each(|entry| show(context, entry));
            let Some(newest) = entries.last() else { return Ok(last.or(Some(0))) };
            // An answer without a beginning has the newest entries: there are no more.
            let is_all = last.is_none();
            last = Some(newest.id);
            if is_all {
                return Ok(last);
            }
        }
    }
}

/// Until the next look; false after Ctrl-C.
fn wait(context: &Context) -> bool {
    let until = std::time::Instant::now() + EVERY;
    while std::time::Instant::now() < until {
        if context.stop.load(Ordering::Relaxed) {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

fn show(context: &Context, entry: &AuditEntry) {
    let AuditEntry { id, at, subject, origin, method, path, status, .. } = entry;
    context.printer.line(format!("{id}  {at:.0}  {subject} ({origin})  {method} {path}: {status}"));
    context.printer.object("audit", entry);
}
