//! `cargo xtask bench engine`: our engine against every peer that can be had, on data sets that can
//! be made again. Never part of the tests: it takes long, and its figures are only worth something
//! on a machine that does nothing else.

mod agent;
mod bound;
mod case;
mod cycle;
mod data;
mod drives;
mod gather;
mod goal;
mod ground;
mod machine;
mod measure;
mod memory;
mod mutate;
mod noise;
mod options;
mod peers;
mod publish;
mod report;
mod results;
mod seed;
mod text;
mod tool;
mod tree;
mod undo;

pub(crate) use agent::{Options as AgentOptions, agent};
pub(crate) use drives::{Options as DriveOptions, drives};
pub(crate) use measure::{WORD as MEASURED, measured};
pub(crate) use memory::{memory, mounts};
pub(crate) use options::Options;
pub(crate) use seed::{Options as SeedOptions, seed};

use crate::process::{complain, say};
use crate::workspace;
use anyhow::Context;
use cycle::Cycle;
use data::Data;
use machine::Machine;
use peers::Field;
use results::{Named, Results, SetSize};
use std::path::Path;
use std::process::ExitCode;

/// Makes the data sets, runs every program on them in turn, and prints what they took.
pub(crate) fn engine(options: &Options) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let base = crate::process::target(&root).join("bench");
    let data = options.data.clone().unwrap_or_else(|| base.join("data"));
    // A folder of its own wherever it is: it is emptied before each run.
    let work = options.work.as_ref().unwrap_or(&base).join("engine-work");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let (data, work) = (data.canonicalize()?, absolute(&work)?);
    let field = peers::field(&root, options)?;
    let sets = prepare(&data, options)?;
    let stages = options.bound.then(|| bound::build(&root)).transpose()?;
    let mut results = empty(options, &field);
    for set in &sets {
        let size = tree::amount(&set.folder)?;
        let (files, bytes, origin) = (size.files, size.bytes, set.origin.clone());
        results.sets.push(SetSize { set: set.set, origin, files, bytes });
        for number in 1..=options.runs {
            complain(&format!("set {}: run {number} of {}", set.set.word(), options.runs));
            // The machine may be as slow as it was a moment ago, not as it was an hour ago.
            if let Some(stages) = &stages {
                cycle::make_room(&work, bytes, 0)?;
                results.passes.extend(bound::measure(stages, set, &work, &options.cases)?);
            }
            cycle::make_room(&work, bytes, field.tools.len())?;
            let (tools, work) = (field.tools.as_slice(), work.as_path());
            Cycle { options, tools, data: set, number, work, results: &mut results }.run()?;
        }
        save(options, &results)?;
    }
    if !options.keep {
        std::fs::remove_dir_all(&work)?;
    }
    finish(&root, options, &results)
}

fn absolute(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("no such place: {}", path.display()))
}

fn prepare(data: &Path, options: &Options) -> anyhow::Result<Vec<Data>> {
    options.sets.iter().map(|set| data::prepare(data, *set, options.scale)).collect()
}

fn empty(options: &Options, field: &Field) -> Results {
    let tools = field.tools.iter();
    let missing = field.missing.iter();
    Results {
        machine: Machine::this(),
        runs: options.runs,
        ground: String::new(),
        tools: tools
            .map(|tool| Named { name: tool.name.to_owned(), about: tool.version.clone() })
            .collect(),
        missing: missing
            .map(|(name, why)| Named { name: name.clone(), about: why.clone() })
            .collect(),
        sets: Vec::new(),
        samples: Vec::new(),
        sizes: Vec::new(),
        passes: Vec::new(),
        faults: Vec::new(),
    }
}

/// Leaves the raw results where they are wanted, after each set.
fn save(options: &Options, results: &Results) -> anyhow::Result<()> {
    let Some(path) = &options.json else { return Ok(()) };
    std::fs::write(path, serde_json::to_vec_pretty(results)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn finish(root: &Path, options: &Options, results: &Results) -> anyhow::Result<ExitCode> {
    let text = report::render(results, &options.cases);
    say(&text);
    if options.write {
        publish::publish(root, publish::ENGINE, &text)?;
    }
    let ours = results.tools.first().map(|tool| tool.name.as_str());
    let failed = results.faults.iter().any(|fault| Some(fault.tool.as_str()) == ours);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
