//! How fast a backup can be at all on this machine: the sum of what the stages cost one core, shared
//! by all cores, or what the disk needs, whichever is longer. Measured on the data sets themselves by
//! the example `stages` of the crate `backup`, in each run, before everything else.

use super::case::Case;
use super::data::{Data, Set};
use super::ground::{self, Ground};
use super::mutate::{self, Kind};
use super::results::median;
use super::{tree, undo};
use crate::process::{cargo, complain, output, status};
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One pass over a data set: what each stage took, in seconds of one core.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stages {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) cut_bytes: u64,
    pub(crate) new_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) look: f64,
    pub(crate) read: f64,
    pub(crate) note: f64,
    pub(crate) key: f64,
    pub(crate) cut: f64,
    pub(crate) hash: f64,
    pub(crate) compress: f64,
    pub(crate) seal: f64,
    pub(crate) name: f64,
    pub(crate) open: f64,
    pub(crate) decompress: f64,
    /// Bytes a second; 0 where direct writes are not possible.
    pub(crate) direct_write_rate: f64,
    /// Bytes a second.
    pub(crate) cached_read_rate: f64,
    pub(crate) small_file: f64,
}

/// A pass that belongs to a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub(crate) set: Set,
    /// A kind of backup.
    pub(crate) case: Case,
    pub(crate) stages: Stages,
}

/// What the figures in [`Stages`] make of a case, in words.
pub(crate) const FORMULA: &str = "\
The bound of a case is its core seconds divided by the cores, or the bytes that it writes divided by the rate of direct
writes, if that is more. Core seconds of a backup: look + read + cut + hash + compress + seal + name, for what it reads
and what is new, reading again what was written (open + decompress + hash), and trees and index, which go the same way; of an unchanged one: look; of a restore: reading what is stored + open + decompress + hash of what is
unique + making every file; of a check: reading what is stored + name + open + decompress + hash of what is unique.
The key is in it where opening is not left out. Not in it: reading trees and indexes, and waiting.";

impl Stages {
    /// The shortest time for `case` on that many cores; none when a pass does not tell it.
    fn bound(&self, case: Case, cores: usize) -> Option<f64> {
        let (core_seconds, written) = match case {
            Case::First | Case::Increment | Case::Scattered => (self.backup(), self.stored_bytes),
            Case::Unchanged => (self.look, 0),
            Case::Restore => (self.restore(), self.bytes),
            Case::Check => (self.again() + self.name + self.read_stored(), 0),
            Case::Open => return None,
        };
        let key = if case.is_beyond_opening() { 0.0 } else { self.key };
        let processor = (core_seconds + key) / cores.max(1) as f64;
        let disk = match self.direct_write_rate {
            rate if rate > 0.0 => written as f64 / rate,
            _ => 0.0,
        };
        Some(processor.max(disk))
    }

    fn backup(&self) -> f64 {
        let Self { look, read, note, cut, hash, compress, seal, name, .. } = self;
        look + read + note + cut + hash + compress + seal + name + self.again()
    }

    fn restore(&self) -> f64 {
        self.again() + self.read_stored() + self.files as f64 * self.small_file
    }

    /// From what is stored back to what is known to be right.
    pub(crate) fn again(&self) -> f64 {
        let unique = self.new_bytes as f64 / self.read_bytes.max(1) as f64;
        self.open + self.decompress + self.hash * unique
    }

    fn read_stored(&self) -> f64 {
        self.stored_bytes as f64 / self.cached_read_rate.max(1.0)
    }
}

/// The shortest time for a case: the median of the passes that were made.
pub(crate) fn bound(passes: &[Pass], cores: usize, set: Set, case: Case) -> Option<f64> {
    let backup = match case {
        Case::Increment | Case::Scattered => case,
        // They are about everything that there is.
        _ => Case::First,
    };
    let passes = passes.iter().filter(|pass| (pass.set, pass.case) == (set, backup));
    median(passes.filter_map(|pass| pass.stages.bound(case, cores)))
}

/// Of each set and backup the pass in the middle.
pub(crate) fn typical(passes: &[Pass]) -> Vec<&Pass> {
    let mut left: Vec<&Pass> = passes.iter().collect();
    let mut typical = Vec::new();
    while let Some(first) = left.first().map(|pass| (pass.set, pass.case)) {
        let (mut of_it, others): (Vec<&Pass>, _) =
            left.into_iter().partition(|pass| (pass.set, pass.case) == first);
        of_it.sort_by(|one, other| one.stages.backup().total_cmp(&other.stages.backup()));
        typical.extend(of_it.get((of_it.len() - 1) / 2));
        left = others;
    }
    typical
}

/// Builds the program that measures stages.
///
/// # Errors
/// When it does not build.
pub(crate) fn build(root: &Path) -> anyhow::Result<PathBuf> {
    complain("building the example stages in release");
    let mut build = cargo(root);
    build.args(["build", "--release", "--package", "packmule-backup", "--example", "stages"]);
    ensure!(status(&mut build)?.success(), "the example stages does not build");
    Ok(crate::process::target(root).join("release/examples/stages"))
}

/// Measures the stages of those of `cases` that are backups. The set is as it was afterwards.
///
/// # Errors
/// When a pass fails.
pub(crate) fn measure(
    program: &Path,
    data: &Data,
    work: &Path,
    cases: &[Case],
) -> anyhow::Result<Vec<Pass>> {
    let saved = data.saved();
    undo::undo(&data.folder, &saved)?;
    let passes = passes(program, data, work, cases);
    undo::undo(&data.folder, &saved)?;
    passes
}

fn passes(program: &Path, data: &Data, work: &Path, cases: &[Case]) -> anyhow::Result<Vec<Pass>> {
    let state = work.join("known.json");
    if state.exists() {
        std::fs::remove_file(&state)?;
    }
    let mut passes = Vec::new();
    for (case, kind) in changes(data.set).into_iter().filter(|(case, _)| {
        // The later ones are measured beyond the first.
        *case == Case::First || cases.contains(case)
    }) {
        if let Some(kind) = kind {
            mutate::change(&data.folder, &data.saved(), kind)?;
        }
        tree::warm(&data.folder)?;
        ground::settle()?;
        complain(&format!("{} {:<12} stages", data.set.word(), case.word()));
        let fresh = Ground::fresh(work, 0)?;
        let mut stages = Command::new(program);
        let said = output(stages.arg(&data.folder).arg(work).arg(fresh.target()).arg(&state))?;
        let stages = serde_json::from_str(&said).context("cannot understand the example stages")?;
        passes.push(Pass { set: data.set, case, stages });
    }
    Ok(passes)
}

/// The backups of a set, and what changes before each.
fn changes(set: Set) -> Vec<(Case, Option<Kind>)> {
    let mut all = vec![(Case::First, None), (Case::Increment, Some(mutate::usual(set)))];
    if set == Set::C {
        all.push((Case::Scattered, Some(Kind::Scattered)));
    }
    all
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Stages that nobody measured. Knows no rule.

    use super::Stages;

    /// 4 GB read, half of it new, 1 GB stored; every stage takes a second, but `look` a tenth.
    pub(crate) fn stages() -> Stages {
        Stages {
            files: 1000,
            bytes: 4_000_000_000,
            read_bytes: 4_000_000_000,
            cut_bytes: 4_000_000_000,
            new_bytes: 2_000_000_000,
            stored_bytes: 1_000_000_000,
            look: 0.1,
            read: 1.0,
            note: 0.2,
            key: 0.5,
            cut: 1.0,
            hash: 1.0,
            compress: 1.0,
            seal: 1.0,
            name: 1.0,
            open: 1.0,
            decompress: 1.0,
            direct_write_rate: 2e9,
            cached_read_rate: 10e9,
            small_file: 0.0001,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stages: Stages, case: Case, cores: usize) -> f64 {
        let passes = [Pass { set: Set::A, case: Case::First, stages }];
        bound(&passes, cores, Set::A, case).unwrap()
    }

    fn is(bound: f64, expected: f64) -> bool {
        (bound - expected).abs() < 1e-9
    }

    #[test]
    fn core_seconds_are_shared_by_the_cores() {
        let first = |cores| of(fixture::stages(), Case::First, cores);
        // Half of it is hashed again.
        assert!(is(first(2), 9.3 / 2.0) && is(first(1), 9.3));
        assert!(is(of(fixture::stages(), Case::Unchanged, 2), 0.05));
        // Opened, decompressed, half of it hashed; stored bytes named and read; and the key.
        assert!(is(of(fixture::stages(), Case::Check, 2), (2.5 + 1.0 + 0.1 + 0.5) / 2.0));
    }

    #[test]
    fn the_disk_is_a_bound_where_it_is_the_slower_one() {
        // 4 GB at 2 GB/s are more than (2.5 + 0.1 + 0.1 + 0.5) / 2.
        assert!(is(of(fixture::stages(), Case::Restore, 2), 2.0));
        let unknown = Stages { direct_write_rate: 0.0, ..fixture::stages() };
        assert!(is(of(unknown, Case::Restore, 2), 3.2 / 2.0));
        assert!(is(of(fixture::stages(), Case::First, 1000), 0.5));
    }

    #[test]
    fn of_several_passes_the_one_in_the_middle_counts() {
        let pass = |case, compress| {
            let stages = Stages { compress, ..fixture::stages() };
            Pass { set: Set::A, case, stages }
        };
        let (first, increment) = (Case::First, Case::Increment);
        let passes = [pass(first, 3.0), pass(increment, 7.0), pass(first, 1.0), pass(first, 2.0)];
        let expected = bound(&passes[3..], 2, Set::A, first).unwrap();
        assert!(is(bound(&passes, 2, Set::A, first).unwrap(), expected));
        let typical: Vec<_> =
            typical(&passes).iter().map(|pass| (pass.case, pass.stages.compress)).collect();
        assert_eq!(typical, [(first, 2.0), (increment, 7.0)]);
    }

    #[test]
    fn an_increment_has_a_bound_only_where_it_was_measured() {
        let first = Pass { set: Set::A, case: Case::First, stages: fixture::stages() };
        assert_eq!(bound(&[first], 2, Set::A, Case::Increment), None);
        assert_eq!(bound(&[], 2, Set::A, Case::First), None);
    }
}
