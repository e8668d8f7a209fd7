//! `packmule seed status` and `packmule seed send`: what the vault still asks for, and the answer over the network.

use crate::cmd::agent::{StateOptions, with_agent};
use crate::context::Context;
use crate::exit::Status as Exit;
use crate::failure::Outcome;
use agent::{Answer, Sending, Sent, WantedRow, Way};
use clap::{Args, ValueEnum};
use model::ByteSize;
use serde_json::json;
use std::time::Duration;
use wire::SeedId;

/// Show what the vault still asks for of this server's seeds, object by object
///
/// What is on drives that may still be read is not asked for. Exit code 13 while something is wanted.
///
/// Example: packmule seed status
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Only of this seed
    #[arg(long, value_name = "SEED")]
    seed: Option<SeedId>,
    #[command(flatten)]
    state: StateOptions,
}

/// Send what the vault still asks for over the network, from staging
///
/// Nothing is sent twice, and an interrupted call goes on. When the network would take longer than a next drive,
/// it stops and says so; a drive with just these objects is written by packmule diskprep s:STAGING --missing.
///
/// Example: packmule seed send --limit-rate 2M
/// Example: packmule seed send --by network
#[derive(Args, Debug)]
pub(crate) struct Send {
    /// Only of this seed
    #[arg(long, value_name = "SEED")]
    seed: Option<SeedId>,
    /// Which way it is to go
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// Bytes a second at most, such as 10M; 0 for no limit
    #[arg(long, value_name = "BYTES", default_value = "0")]
    limit_rate: ByteSize,
    #[command(flatten)]
    state: StateOptions,
}

/// Which way what is wanted goes.
#[derive(ValueEnum, Debug, Clone, Copy, Default)]
pub(crate) enum By {
    /// Over the network, unless a next drive is expected sooner
    #[default]
    Sooner,
    /// Over the network, however long it takes
    Network,
    /// Not over the network
    Drive,
}

impl By {
    /// The agent's word for it.
    pub(crate) fn way(self) -> Way {
        match self {
            Self::Sooner => Way::Sooner,
            Self::Network => Way::Network,
            Self::Drive => Way::Drive,
        }
    }
}

impl Status {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let seeds = with_agent(context, &self.state.state, "asking", |agent| {
            agent::wanted(agent, self.seed)
        })?;
        if seeds.is_empty() {
            context.printer.line("no seed of this server is on its way");
        }
        let mut count = 0;
        for (seed, rows) in &seeds {
            let bytes = rows.iter().map(|row| row.bytes).sum();
            let wanted = rows.len();
            let line = match wanted {
                0 => format!("seed {seed}: the vault asks for nothing"),
                _ => format!("seed {seed}: {wanted} objects ({}) are wanted", ByteSize(bytes)),
            };
            context.printer.line(line);
            rows.iter().for_each(|row| show(context, *seed, row));
            let gone = rows.iter().filter(|row| row.answer == Answer::Gone).count();
            if gone > 0 {
                context.printer.line(format!(
                    "  {gone} of them are gone here: mount the staging location, if it is not, or have them made anew from the source: packmule seed refill"
                ));
            }
            count += wanted;
        }
        context.printer.object("summary", &json!({"seeds": seeds.len(), "wanted_objects": count}));
        Ok(if count == 0 { Exit::Done } else { Exit::DriveMissing })
    }
}

fn show(context: &Context, seed: SeedId, row: &WantedRow) {
    let (word, drive) = match &row.answer {
        Answer::None => ("wanted", None),
        Answer::Sent => ("sent", None),
        Answer::OnDrive(serial) => ("on_drive", Some(serial)),
        Answer::Gone => ("gone", None),
    };
    let words = match drive {
        Some(serial) => format!("on drive {serial}"),
        None if row.answer == Answer::Gone => "neither sent nor kept here".to_owned(),
        None => word.to_owned(),
    };
    let carried = row.carried.as_ref().map_or_else(String::new, |(serial, job)| {
        let job = job.as_ref().map(|job| format!(" of import job {job}")).unwrap_or_default();
        format!("; was on drive {serial}{job}")
    });
    context.printer.line(format!("  {} {}: {words}{carried}", row.key, ByteSize(row.bytes)));
    let object = json!({
        "seed": seed, "object": row.key.to_string(), "bytes": row.bytes, "state": word, "drive": drive,
        "was_on": row.carried.as_ref().map(|(serial, _)| serial),
        "was_in_job": row.carried.as_ref().and_then(|(_, job)| job.as_ref()),
    });
    context.printer.object("wanted", &object);
}

impl Send {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let what = Sending {
            way: self.by.way(),
            limit_rate: self.limit_rate.0,
            seed: self.seed,
            ..Sending::default()
        };
        let sent = with_agent(context, &self.state.state, "sending", |agent| {
            agent::send_wanted(agent, &what)
        })?;
        show_sent(context, &sent);
        Ok(match (sent.gone.is_empty(), sent.left) {
            (false, _) => Exit::Partial,
            (true, 0) => Exit::Done,
            (true, _) => Exit::DriveMissing,
        })
    }
}

/// Renders what sending came to.
pub(crate) fn show_sent(context: &Context, sent: &Sent) {
    let printer = &context.printer;
    printer.line(format!(
        "seed {}: {} of {} wanted objects sent ({}), {} were there",
        sent.seed,
        sent.objects,
        sent.wanted,
        ByteSize(sent.bytes),
        sent.before
    ));
    for object in &sent.gone {
        printer.problem("not kept here", &object.key().to_string());
    }
    if !sent.gone.is_empty() {
        printer.line("next: packmule seed refill, which makes anew from the source what is gone");
    }
    if sent.left > 0 {
        let by_drive = rough(sent.by_drive);
        let why = sent.estimate.map_or_else(String::new, |it| {
            format!(
                ": over the network they would take {}, a next drive about {by_drive}",
                rough(it)
            )
        });
        printer.line(format!("{} objects wait for a next drive{why}", sent.left));
        printer.line(
            "next: packmule diskprep s:STAGING --missing, or packmule seed send --by network",
        );
    } else if sent.gone.is_empty() {
        printer.line("next: packmule backup now GROUP, which publishes and checks");
    }
    let object = json!({
        "seed": sent.seed, "wanted_objects": sent.wanted, "wanted_bytes": sent.wanted_bytes,
        "sent_objects": sent.objects, "sent_bytes": sent.bytes, "there_before": sent.before,
        "gone": sent.gone.iter().map(|object| object.key().to_string()).collect::<Vec<_>>(),
        "left": sent.left, "estimate_seconds": sent.estimate.map(|it| it.as_secs()),
        "by_drive_seconds": sent.by_drive.as_secs(),
    });
    printer.object("summary", &object);
}

/// For people: hours below two days, else days.
fn rough(time: Duration) -> String {
    let hours = time.as_secs() / 3600;
    match hours {
        0 => "less than an hour".to_owned(),
        1..48 => format!("{hours} h"),
        _ => format!("{} days", hours / 24),
    }
}
