//! What was measured, raw, and the medians of it. Measures and prints nothing.

use super::case::Case;
use super::data::Set;
use super::machine::Machine;
use super::measure::Usage;
use serde::{Deserialize, Serialize};

/// Everything of one run of the benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// How often everything was measured.
    pub(crate) runs: usize,
    /// Where files were restored to.
    pub(crate) ground: String,
    /// Ours first.
    pub(crate) tools: Vec<Named>,
    /// Peers that did not take part, with the reason.
    pub(crate) missing: Vec<Named>,
    pub(crate) sets: Vec<SetSize>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) sizes: Vec<Size>,
    /// What did not work.
    pub(crate) faults: Vec<Fault>,
}

/// A program, and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) about: String,
}

/// How large a data set was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SetSize {
    pub(crate) set: Set,
    pub(crate) origin: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// One command, measured once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) set: Set,
    pub(crate) case: Case,
    pub(crate) tool: String,
    #[serde(flatten)]
    pub(crate) usage: Usage,
    /// What `sync` took afterwards: what the command left to others to write.
    pub(crate) settle_seconds: f64,
}

/// A repository after the first backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) set: Set,
    pub(crate) tool: String,
    pub(crate) bytes: u64,
}

/// Something that a program could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) set: Set,
    pub(crate) case: Case,
    pub(crate) tool: String,
    pub(crate) why: String,
}

impl Results {
    /// Median seconds.
    pub(crate) fn seconds(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        median(self.of(set, case, tool).map(|usage| usage.seconds))
    }

    /// Median seconds, without those of opening the repository where that is left out.
    pub(crate) fn seconds_compared(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        let seconds = self.seconds(set, case, tool)?;
        if !case.is_beyond_opening() {
            return Some(seconds);
        }
        // What is left must stay something to divide by.
        Some((seconds - self.seconds(set, Case::Open, tool)?).max(0.001))
    }

    /// Median processor seconds.
    pub(crate) fn cpu_seconds(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        median(self.of(set, case, tool).map(|usage| usage.cpu_seconds))
    }

    /// Median peak memory in MiB.
    pub(crate) fn peak_mib(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        let mib = |usage: Usage| usage.peak_bytes as f64 / f64::from(1 << 20);
        median(self.of(set, case, tool).map(mib))
    }

    /// Median bytes of the repository.
    pub(crate) fn size(&self, set: Set, tool: &str) -> Option<f64> {
        let of = self.sizes.iter().filter(|size| size.set == set && size.tool == tool);
        median(of.map(|size| size.bytes as f64))
    }

    /// The sets that were measured, once each.
    pub(crate) fn sets(&self) -> Vec<Set> {
        self.sets.iter().map(|size| size.set).collect()
    }

    /// Names of all peers that took part.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().skip(1).map(|tool| tool.name.as_str())
    }

    fn of(&self, set: Set, case: Case, tool: &str) -> impl Iterator<Item = Usage> {
        let wanted = move |sample: &&Sample| {
            (sample.set, sample.case, sample.tool.as_str()) == (set, case, tool)
        };
        self.samples.iter().filter(wanted).map(|sample| sample.usage)
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    if values.len() % 2 == 1 { Some(*upper) } else { Some((values.get(middle - 1)? + upper) / 2.0) }
}
