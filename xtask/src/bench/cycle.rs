//! One run over one data set: every program makes a repository and goes through all cases, all of
//! them in turn in each case, so that a machine that gets slower gets slower for all. Changes the
//! data set in between, and puts it back.

use super::case::Case;
use super::data::{Data, Set};
use super::ground::{self, Ground};
use super::measure::{self, Usage};
use super::mutate::{self, Kind};
use super::options::Options;
use super::results::{Fault, Results, Sample, Size};
use super::tool::{Action, Place, Tool};
use super::{tree, undo};
use crate::process::{complain, output};
use anyhow::ensure;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// How often opening is measured in a run: it is short, and is taken from others.
const OPENINGS: usize = 3;

/// A run in progress.
#[derive(Debug)]
pub(crate) struct Cycle<'a> {
    pub(crate) options: &'a Options,
    pub(crate) tools: &'a [Tool],
    pub(crate) data: &'a Data,
    /// The how-manieth run it is.
    pub(crate) number: usize,
    /// A folder for everything that the run makes.
    pub(crate) work: &'a Path,
    pub(crate) results: &'a mut Results,
}

impl<'a> Cycle<'a> {
    /// Goes through all cases. What a program cannot do is a fault of it, and not an error.
    ///
    /// # Errors
    /// When the benchmark itself cannot go on.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        undo::undo(&self.data.folder, &self.data.saved())?;
        let done = self.cases();
        undo::undo(&self.data.folder, &self.data.saved())?;
        for tool in self.tools.iter().filter(|_| !self.options.keep) {
            self.place(tool).remove()?;
        }
        done
    }

    fn cases(&mut self) -> anyhow::Result<()> {
        for tool in self.tools {
            self.make(tool)?;
        }
        let mut last = self.backup(Case::First)?;
        self.measure_sizes()?;
        for _ in 0..OPENINGS {
            self.each(Case::Open, Action::Open)?;
        }
        if self.wants(Case::Unchanged) {
            last = self.backup(Case::Unchanged)?;
        }
        if self.wants(Case::Increment) {
            self.change(mutate::usual(self.data.set))?;
            last = self.backup(Case::Increment)?;
        }
        if self.wants(Case::Scattered) {
            self.change(Kind::Scattered)?;
            last = self.backup(Case::Scattered)?;
        }
        if self.wants(Case::Restore) {
            self.restore(last)?;
        }
        if self.wants(Case::Check) {
            self.each(Case::Check, Action::Check)?;
        }
        Ok(())
    }

    fn wants(&self, case: Case) -> bool {
        let possible = case != Case::Scattered || self.data.set == Set::C;
        possible && self.options.cases.contains(&case)
    }

    fn make(&mut self, tool: &Tool) -> anyhow::Result<()> {
        let place = self.place(tool);
        place.make()?;
        for mut command in tool.init(&place) {
            if let Err(why) = output(&mut command) {
                self.fault(tool, Case::First, &why);
                break;
            }
        }
        Ok(())
    }

    /// Backs the set up with every program. Answers the backup's name.
    fn backup(&mut self, case: Case) -> anyhow::Result<&'static str> {
        self.each(case, Action::Backup(&self.data.folder, case.word()))?;
        Ok(case.word())
    }

    fn change(&self, kind: Kind) -> anyhow::Result<()> {
        mutate::change(&self.data.folder, &self.data.saved(), kind)?;
        ground::settle()
    }

    fn restore(&mut self, name: &'static str) -> anyhow::Result<()> {
        let wanted = tree::amount(&self.data.folder)?;
        for tool in self.in_turn() {
            let ground = Ground::fresh(self.work, wanted.bytes)?;
            ground.kind().clone_into(&mut self.results.ground);
            let target = ground.target();
            self.one(tool, Case::Restore, Action::Restore(name, &target))?;
            if !self.has_failed(tool) {
                let restored = tree::amount(&target)?;
                if restored != wanted {
                    let why = anyhow::anyhow!("restored {restored:?}, not {wanted:?}");
                    self.fault(tool, Case::Restore, &why);
                }
            }
        }
        Ok(())
    }

    fn each(&mut self, case: Case, action: Action<'_>) -> anyhow::Result<()> {
        self.in_turn().into_iter().try_for_each(|tool| self.one(tool, case, action))
    }

    /// All programs. Another one is first in each run: nobody always comes after the same one.
    fn in_turn(&self) -> Vec<&'a Tool> {
        let count = self.tools.len();
        self.tools.iter().cycle().skip(self.number - 1).take(count).collect()
    }

    /// Measures one command, unless the program has failed before.
    fn one(&mut self, tool: &Tool, case: Case, action: Action<'_>) -> anyhow::Result<()> {
        let place = self.place(tool);
        let Some(command) = tool.act(&place, action) else { return Ok(()) };
        if self.has_failed(tool) {
            return Ok(());
        }
        self.warm(&place, action)?;
        match measure::run(&command, &self.work.join("log")) {
            Ok(usage) => self.note(tool, case, usage)?,
            Err(why) => self.fault(tool, case, &why),
        }
        Ok(())
    }

    /// What a command reads comes from the page cache: also for who has written past it before.
    fn warm(&self, place: &Place, action: Action<'_>) -> anyhow::Result<()> {
        match action {
            Action::Backup(source, _) => tree::warm(source),
            Action::Restore(..) | Action::Forget(_) | Action::Check => {
                tree::warm(&place.repository())
            }
            Action::Open => Ok(()),
        }
    }

    /// Waits until everything is on disk, and keeps the sample.
    fn note(&mut self, tool: &Tool, case: Case, usage: Usage) -> anyhow::Result<()> {
        let started = Instant::now();
        ground::settle()?;
        let settle_seconds = started.elapsed().as_secs_f64();
        complain(&format!(
            "{} {:<12} {:<14} {:7.2} s, {:7.2} s of processor, {:5} MiB, {settle_seconds:.2} s until written",
            self.data.set.word(),
            case.word(),
            tool.name,
            usage.seconds,
            usage.cpu_seconds,
            usage.peak_bytes >> 20,
        ));
        let (set, name) = (self.data.set, tool.name.to_owned());
        let sample = Sample { set, case, run: self.number, tool: name, usage, settle_seconds };
        self.results.samples.push(sample);
        Ok(())
    }

    fn measure_sizes(&mut self) -> anyhow::Result<()> {
        for tool in self.tools.iter().filter(|tool| !self.has_failed(tool)).collect::<Vec<_>>() {
            let bytes = tree::amount(&self.place(tool).repository())?.bytes;
            let size = Size { set: self.data.set, tool: tool.name.to_owned(), bytes };
            self.results.sizes.push(size);
        }
        Ok(())
    }

    fn fault(&mut self, tool: &Tool, case: Case, why: &anyhow::Error) {
        complain(&format!(
            "{} {}: {} failed: {why:#}",
            self.data.set.word(),
            case.word(),
            tool.name
        ));
        let why = format!("{why:#}");
        let fault = Fault { set: self.data.set, case, tool: tool.name.to_owned(), why };
        self.results.faults.push(fault);
    }

    fn has_failed(&self, tool: &Tool) -> bool {
        let ours = |fault: &Fault| fault.set == self.data.set && fault.tool == tool.name;
        self.results.faults.iter().any(ours)
    }

    fn place(&self, tool: &Tool) -> Place {
        Place::new(self.work.join(self.data.set.word()).join(tool.name))
    }
}

/// Removes an earlier run's leftovers, and makes sure that there is room for a new one.
///
/// # Errors
/// When there is not.
pub(crate) fn make_room(work: &Path, bytes: u64, programs: usize) -> anyhow::Result<()> {
    if work.exists() {
        Ground::fresh(work, 0)?;
        output(Command::new("rm").args(["-rf", "--"]).arg(work))?;
    }
    std::fs::create_dir_all(work)?;
    // A repository each, an increment of half of it, and what one of them restores.
    let needed = bytes * (programs as u64 * 3 + 2) / 2;
    let free = ground::free_bytes(work)?;
    ensure!(needed < free, "this needs {needed} bytes at {}, {free} are free", work.display());
    Ok(())
}
