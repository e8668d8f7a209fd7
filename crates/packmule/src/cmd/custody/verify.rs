//! `packmule custody verify`: a log against the keys that somebody trusts. Asks no server.

use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use ::custody::{Broken, Chain, Keys, Proof, Proving, Receipted, prove};
use clap::Args;
use model::ErrorKind;
use serde_json::json;
use signing::Fingerprint;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Prove an exported custody log, without any server
///
/// Every signature, every link of every chain, the server's countersignatures and the receipt are checked. What is
/// broken is named: line, actor, number of the entry, and what is wrong with it; the exit code is 4 then.
///
/// KEYS has a line for each key that is trusted: the key or its fingerprint, and whose it is. With `source`,
/// `copy`, `dock` or `server`, or with `source/NAME` and so on, it counts for that part only. The source and copy
/// computers show their fingerprint when they write drives, docks when they take in, the server when it starts.
///
/// Example: packmule custody verify seed.custody --trust keys.txt
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The exported log
    file: PathBuf,
    /// Whose signatures count
    #[arg(long, value_name = "KEYS")]
    trust: PathBuf,
}

/// A list of keys is shorter.
const KEYS: u64 = 1 << 20;

impl Verify {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let keys = keys(&self.trust)?;
        let path = &self.file;
        let failed = |cause| Failure::io("reading", path, cause);
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let how = Proving { keys: Some(&keys), each: &mut |_| {} };
        match prove(&mut file, how).map_err(failed)? {
            Ok(proof) => {
                show(context, path, &proof);
                Ok(Status::Done)
            }
            Err(broken) => {
                show_broken(context, path, &broken);
                Ok(Status::Damaged)
            }
        }
    }
}

fn keys(path: &Path) -> Result<Keys, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(KEYS).read_to_string(&mut text));
    read.map_err(|cause| Failure::io("reading", path, cause))?;
    Keys::parse(&text)
        .map_err(|error| Failure::new(ErrorKind::Invalid, format!("{}: {error}", path.display())))
}

fn show(context: &Context, path: &Path, proof: &Proof) {
    let printer = &context.printer;
    let (file, seed) = (path.display(), proof.seed);
    let entries = super::entries(proof.entries);
    printer.line(format!("{file}: proven: the custody log of seed {seed}, {entries}"));
    for chain in &proof.chains {
        let (actor, key) = (&chain.actor, Fingerprint::of(&chain.actor.key));
        let known = match chain.known_as.as_str() {
            "" => String::new(),
            known => format!(" ({known})"),
        };
        printer.line(format!("  {actor}: {}, signed by {key}{known}", super::entries(chain.count)));
    }
    let server = Fingerprint::of(&proof.server);
    printer.line(format!("  countersigned by {server}, complete as of {:.0}", proof.as_of));
    printer.line(format!("  {}", receipt(proof)));
    let chain = |chain: &Chain| {
        json!({
            "actor": chain.actor,
            "fingerprint": Fingerprint::of(&chain.actor.key).to_string(),
            "known_as": chain.known_as,
            "entries": chain.count,
        })
    };
    let (state, covered) = match &proof.receipt {
        Receipted::No => ("none", None),
        Receipted::WithoutHeads => ("without heads", None),
        Receipted::Holds { covered, .. } => ("holds", Some(covered)),
    };
    let object = json!({
        "file": path,
        "proven": true,
        "seed": proof.seed,
        "entries": proof.entries,
        "actors": proof.chains.iter().map(chain).collect::<Vec<_>>(),
        "server": server.to_string(),
        "as_of": proof.as_of,
        "receipt": state,
        "receipt_covers": covered,
    });
    printer.object("proof", &object);
}

fn receipt(proof: &Proof) -> String {
    match &proof.receipt {
        Receipted::No => "there is no receipt: the seed was not published when this was exported, and only the server's word says that nothing is cut off".to_owned(),
        Receipted::WithoutHeads => "the receipt is of an older server and does not say how long the log was: only the server's word says that nothing is cut off".to_owned(),
        Receipted::Holds { issued_at, covered } => {
            let after = super::entries(proof.entries.saturating_sub(*covered));
            let covered = super::entries(*covered);
            format!("the receipt of {issued_at:.0} names the last of {covered}, and all of them are here; {after} came after it")
        }
    }
}

fn show_broken(context: &Context, path: &Path, broken: &Broken) {
    context.printer.line(format!("{}: broken: {broken}", path.display()));
    let object = json!({
        "file": path,
        "proven": false,
        "line": broken.line,
        "actor": broken.actor,
        "number": broken.number,
        "what": broken.fault.to_string(),
    });
    context.printer.object("proof", &object);
}
