//! `packmule custody`: who has had the drives of a seed, what was done to them, and the proof of it. Writes no entry.

mod verify;

use super::caller::CallerOptions;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use ::custody::{Logged, Proof, Proving, prove};
use clap::{Args, Subcommand};
use client::Client;
use model::{DriveSerial, ErrorKind};
use serde_json::json;
use signing::Fingerprint;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use wire::SeedId;

/// The custody log: who has had the drives of a seed, and what was done to them
#[derive(Subcommand, Debug)]
pub(crate) enum Custody {
    Show(Show),
    Export(Export),
    Verify(verify::Verify),
}

/// Show the custody log of a seed
///
/// It is shown as the server has it, once it hangs together. Whose signatures these are is for
/// `custody verify` to say.
///
/// Example: packmule custody show --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    caller: CallerOptions,
}

/// Write the custody log of a seed to a file, to be proven anywhere
///
/// The file holds every entry with its signatures, and the vault's receipt once there is one. Nothing else is
/// needed to verify it but the keys that are trusted.
///
/// Example: packmule custody export -o seed.custody --server /srv/pm/admin.json
#[derive(Args, Debug)]
pub(crate) struct Export {
    #[command(flatten)]
    which: Which,
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    caller: CallerOptions,
}

/// Which seed.
#[derive(Args, Debug)]
struct Which {
    /// The seed [default: the only one that has import jobs]
    #[arg(value_name = "SEED")]
    seed: Option<SeedId>,
}

/// A log is at most this long: as many entries as a seed can have, and the first line.
const LONGEST: u64 =
    ::custody::MAX_ENTRIES * ::custody::MAX_LINE as u64 + ::custody::MAX_FRONT as u64;

impl Custody {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Show(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Verify(command) => command.run(context),
        }
    }
}

impl Which {
    fn seed(&self, client: &Client) -> Result<SeedId, Failure> {
        if let Some(seed) = self.seed {
            return Ok(seed);
        }
        let jobs = client.jobs()?;
        let carried = jobs.iter().filter_map(|job| job.carries.as_ref());
        let seeds: BTreeSet<SeedId> = carried.map(|carries| carries.seed.id).collect();
        let mut seeds = seeds.into_iter();
        match (seeds.next(), seeds.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => {
                Err(Failure::new(ErrorKind::NotFound, "no seed has import jobs yet: name one"))
            }
            (Some(first), Some(second)) => {
                let words =
                    format!("there are several seeds: name one, such as {first} or {second}");
                Err(Failure::new(ErrorKind::Invalid, words))
            }
        }
    }
}

fn fetch(client: &Client, seed: SeedId) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = client.custody(seed)?.take(LONGEST).read_to_end(&mut bytes);
    read.map_err(|cause| Failure::new(ErrorKind::Unavailable, cause.to_string()))?;
    Ok(bytes)
}

/// Whether it hangs together, whoever has signed it.
fn look(bytes: &[u8], each: &mut dyn FnMut(&Logged)) -> Result<Proof, Failure> {
    let looked = prove(&mut &*bytes, Proving { keys: None, each });
    let looked = looked.map_err(|cause| Failure::new(ErrorKind::Internal, cause.to_string()))?;
    looked.map_err(|broken| {
        let words = format!("what the server answers does not hang together: {broken}");
        Failure::new(ErrorKind::Corrupt, words)
    })
}

impl Show {
    fn run(&self, context: &Context) -> Outcome {
        let client = self.caller.client()?;
        let bytes = fetch(&client, self.which.seed(&client)?)?;
        let proof = look(&bytes, &mut |logged| show(context, logged))?;
        if proof.entries == 0 {
            context
                .printer
                .note(format!("nothing is in the custody log of seed {} yet", proof.seed));
        }
        for chain in &proof.chains {
            let (actor, key) = (&chain.actor, Fingerprint::of(&chain.actor.key));
            let entries = entries(chain.count);
            context.printer.line(format!("{actor}: {entries}, signed by {key}"));
            let object =
                json!({"actor": actor, "fingerprint": key.to_string(), "entries": chain.count});
            context.printer.object("actor", &object);
        }
        let server = Fingerprint::of(&proof.server);
        context.printer.line(format!("countersigned by the server's key {server}"));
        context.printer.note("packmule custody verify proves it against the keys that you trust");
        let object = json!({
            "seed": proof.seed,
            "entries": proof.entries,
            "server": server.to_string(),
        });
        context.printer.object("summary", &object);
        Ok(Status::Done)
    }
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn show(context: &Context, logged: &Logged) {
    let (entry, taken) = (logged.entry(), logged.taken());
    let drive = entry.event.drive().map_or("", DriveSerial::as_str);
    context.printer.line(format!(
        "{:>4}  {:.0}  {:<20}  {:<11}  {:<20}  {}",
        taken.order,
        entry.time,
        entry.actor.to_string(),
        entry.event.what(),
        drive,
        entry.event
    ));
    let object = json!({"order": taken.order, "taken": taken.time, "entry": entry});
    context.printer.object("custody", &object);
}

impl Export {
    fn run(&self, context: &Context) -> Outcome {
        let client = self.caller.client()?;
        let bytes = fetch(&client, self.which.seed(&client)?)?;
        let proof = look(&bytes, &mut |_| {})?;
        let path = &self.output;
        store::durable::replace(path, &bytes, 0o644)
            .map_err(|cause| Failure::io("writing", path, cause))?;
        let receipt = proof.receipt != ::custody::Receipted::No;
        let with = if receipt { "with the vault's receipt" } else { "there is no receipt yet" };
        let entries = entries(proof.entries);
        context.printer.line(format!(
            "{}: custody log of seed {}, {entries}, {with}",
            path.display(),
            proof.seed
        ));
        let object = json!({
            "seed": proof.seed,
            "file": path,
            "entries": proof.entries,
            "receipt": receipt,
        });
        context.printer.object("summary", &object);
        Ok(Status::Done)
    }
}
