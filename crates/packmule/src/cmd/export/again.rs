//! `packmule export again` and `packmule export fetch`: what drives of an export did not bring.

use crate::cmd::agent::{StateOptions, with_agent};
use crate::cmd::dock::show_job;
use crate::cmd::seed::{destination, show_missing};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::Args;
use model::{AccountName, ByteSize, ErrorKind, JobName, ObjectKey};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use wire::SeedId;

/// Ask for what did not arrive of an export, on further drives
///
/// Where the drives of an export were taken in and something is missing that parity does not make up for, the vault still has it.
/// What is missing is listed where they were taken in: `packmule --json seed missing --into LOCATION > FILE`. Run this with that file
/// where `packmule export create` was run: it creates a further job, whose drives bring just that. Take them in where the others were. Where the
/// vault can be reached from there, `packmule export fetch` needs no drives.
///
/// Example: packmule export again restore-1-again --wanted missing.json
#[derive(Args, Debug)]
pub(crate) struct Again {
    /// The new export job's name
    #[arg(value_name = "NAME")]
    name: JobName,
    /// What `packmule --json seed missing` says
    #[arg(long, value_name = "FILE")]
    wanted: PathBuf,
    /// The export, by the id that `seed missing` shows, where FILE names several
    #[arg(long, value_name = "ID")]
    seed: Option<SeedId>,
    /// The storage account that the job lies with; nothing is put there [default: that of the newest seed]
    #[arg(long, value_name = "ACCOUNT")]
    storage_account: Option<AccountName>,
    /// Parity drives: how many drives may be lost on their way
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..10))]
    parity: u32,
    /// Only say what would be asked for
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    state: StateOptions,
}

impl Again {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let (export, wanted, bytes) = self.wanted()?;
        let (printer, count) = (&context.printer, wanted.len());
        printer.line(format!("of export {export} {count} objects, {}", ByteSize(bytes)));
        let object = json!({"seed": export, "objects": count, "bytes": bytes});
        printer.object("selection", &object);
        if self.dry_run {
            return Ok(Status::Done);
        }
        let asked = ::agent::AskedAgain {
            job: &self.name,
            export,
            wanted: &wanted,
            account: self.storage_account.as_ref(),
            parity: self.parity,
        };
        let job = with_agent(context, &self.state.state, "exporting", |agent| {
            ::agent::export_again(agent, &asked)
        })?;
        show_job(context, &job);
        let name = &job.name;
        printer.note(format!("send empty drives that can hold that: packmule job ship {name}"));
        Ok(Status::Done)
    }

    fn wanted(&self) -> Result<(SeedId, BTreeSet<ObjectKey>, u64), Failure> {
        let path = &self.wanted;
        let text = std::fs::read_to_string(path).map_err(|e| Failure::io("reading", path, e))?;
        let mut seeds = of_seeds(&text, path)?;
        if let Some(seed) = self.seed {
            seeds.retain(|found, _| *found == seed);
        }
        let invalid = |words: String| Failure::new(ErrorKind::Invalid, words);
        let path = path.display();
        match (seeds.len(), seeds.pop_first()) {
            (1, Some((seed, (wanted, bytes)))) => Ok((seed, wanted, bytes)),
            (0, _) => Err(invalid(format!(
                "{path} names nothing that is missing: it is what packmule --json seed missing --into LOCATION says"
            ))),
            _ => Err(invalid(format!("{path} names objects of several seeds: say --seed ID"))),
        }
    }
}

/// A line of `seed missing`.
#[derive(Deserialize)]
struct Line {
    message_type: String,
    seed: Option<SeedId>,
    object: Option<String>,
    length: Option<u64>,
}

type OfSeeds = BTreeMap<SeedId, (BTreeSet<ObjectKey>, u64)>;

fn of_seeds(text: &str, path: &Path) -> Result<OfSeeds, Failure> {
    let mut seeds = OfSeeds::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let bad = |what: &str| {
            let words = format!("{} is not what seed missing says: {what}", path.display());
            Failure::new(ErrorKind::Invalid, words)
        };
        let line: Line = serde_json::from_str(line).map_err(|why| bad(&why.to_string()))?;
        if line.message_type != "missing" {
            continue;
        }
        let key = line.object.as_deref().and_then(ObjectKey::from_path);
        let (Some(seed), Some(key)) = (line.seed, key) else {
            return Err(bad("a line names no object"));
        };
        let (keys, bytes) = seeds.entry(seed).or_default();
        if keys.insert(key) {
            *bytes = bytes.saturating_add(line.length.unwrap_or(0));
        }
    }
    Ok(seeds)
}

/// Fetch what drives of exports did not bring, over the network
///
/// Run it on a machine that is registered with the vault as the source server, with the folder that the drives were taken into. Each
/// object is checked against its name, and what is complete then is published. Exit code 13 while something is still missing.
///
/// Example: packmule export fetch --into /srv/restored
#[derive(Args, Debug)]
pub(crate) struct Fetch {
    /// The folder that the drives were taken into
    #[arg(long, value_name = "LOCATION")]
    into: String,
    #[command(flatten)]
    state: StateOptions,
}

impl Fetch {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let into = destination(&self.into)?;
        let fetched = with_agent(context, &self.state.state, "fetching", |agent| {
            ::agent::fetch_export(agent, &into)
        })?;
        let printer = &context.printer;
        if fetched.filled.is_empty() && fetched.others.is_empty() {
            printer.line("no seed waits here: nothing is missing");
        }
        let (mut open, mut problems) = (!fetched.others.is_empty(), 0);
        for seed in &fetched.others {
            printer.problem(&seed.to_string(), "it is no export of this server: left alone");
        }
        for (seed, filled) in &fetched.filled {
            let (count, bytes) = (filled.fetched, ByteSize(filled.bytes));
            printer.line(format!("seed {seed}: {count} objects ({bytes}) fetched"));
            printer.object(
                "fetched",
                &json!({
                    "seed": seed, "objects": count, "bytes": filled.bytes,
                    "published": filled.landed.published, "problems": filled.problems.len(),
                }),
            );
            problems += filled.problems.len();
            match filled.landed.published {
                true => printer.line(format!("seed {seed} is complete and published")),
                false => show_missing(context, &filled.landed.missing),
            }
            open |= !filled.landed.published;
        }
        Ok(match (open, problems) {
            (true, _) => Status::DriveMissing,
            (false, 0) => Status::Done,
            (false, _) => Status::Partial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_read_as_it_was_written() {
        let (seed, pack) = ("ee".repeat(16), "ab".repeat(32));
        let line = |object: &str| {
            format!(
                r#"{{"message_type":"missing","seed":"{seed}","repository":"{pack}","object":"{object}","length":7}}"#
            )
        };
        let text = format!(
            "{}\n{}\n{}\n{}\n",
            line(&format!("data/ab/{pack}")),
            line("config"),
            line("config"),
            r#"{"message_type":"summary","seeds":1,"missing_objects":2}"#
        );
        let found = of_seeds(&text, Path::new("f")).map_err(|_| ()).unwrap();
        let (keys, bytes) = &found[&SeedId([0xee; 16])];
        assert_eq!((keys.len(), *bytes), (2, 14));
        for bad in [line("data/ab/../../x"), "no json".to_owned()] {
            assert!(of_seeds(&bad, Path::new("f")).is_err(), "{bad}");
        }
    }
}
