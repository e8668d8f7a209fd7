//! What was measured, raw, and the medians of it. Measures and prints nothing.

use super::bound::{self, Pass};
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
    /// What the stages of a backup cost one core.
    pub(crate) passes: Vec<Pass>,
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
    /// From 1.
    pub(crate) run: usize,
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
        median(self.of(set, case, tool).map(|one| one.usage.seconds))
    }

    /// Median seconds that `sync` took afterwards.
    pub(crate) fn settle_seconds(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        median(self.of(set, case, tool).map(|one| one.settle_seconds))
    }

    /// Median seconds as they are compared. Without those of opening the repository where that is left out: run by run,
    /// as what a key costs is chosen anew for each repository. With those of writing what a command left in the page
    /// cache, where some commands wait for that and others do not.
    pub(crate) fn seconds_compared(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        if case.is_until_written() {
            return median(
                self.of(set, case, tool).map(|one| one.usage.seconds + one.settle_seconds),
            );
        }
        if !case.is_beyond_opening() {
            return self.seconds(set, case, tool);
        }
        let beyond = self.of(set, case, tool).filter_map(|sample| {
            let opening = self.of(set, Case::Open, tool).filter(|one| one.run == sample.run);
            let seconds = sample.usage.seconds - median(opening.map(|one| one.usage.seconds))?;
            // What is left must stay something to divide by.
            Some(seconds.max(0.001))
        });
        median(beyond)
    }

    /// Median processor seconds.
    pub(crate) fn cpu_seconds(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        median(self.of(set, case, tool).map(|one| one.usage.cpu_seconds))
    }

    /// Median peak memory in MiB.
    pub(crate) fn peak_mib(&self, set: Set, case: Case, tool: &str) -> Option<f64> {
        let mib = |one: &Sample| one.usage.peak_bytes as f64 / f64::from(1 << 20);
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

    /// The shortest time that the machine allows.
    pub(crate) fn bound(&self, set: Set, case: Case) -> Option<f64> {
        bound::bound(&self.passes, self.machine.cores, set, case)
    }

    fn of(&self, set: Set, case: Case, tool: &str) -> impl Iterator<Item = &Sample> {
        let wanted =
            move |one: &&Sample| (one.set, one.case, one.tool.as_str()) == (set, case, tool);
        self.samples.iter().filter(wanted)
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    if values.len() % 2 == 1 { Some(*upper) } else { Some((values.get(middle - 1)? + upper) / 2.0) }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Results that nobody measured. Knows no rule.

    use super::*;

    /// Results of programs by those names, on set A alone, with nothing measured yet.
    pub(crate) fn results(tools: &[&str]) -> Results {
        let named = |name: &&str| Named { name: (*name).to_owned(), about: "1.0".to_owned() };
        let machine = Machine {
            processor: "Some CPU".to_owned(),
            cores: 2,
            memory_gib: 24,
            kernel: "6.1".to_owned(),
            date: "2026-01-02".to_owned(),
        };
        let set = SetSize { set: Set::A, origin: "scale 1".to_owned(), files: 3, bytes: 4_000_000 };
        Results {
            machine,
            runs: 3,
            ground: "a folder".to_owned(),
            tools: tools.iter().map(named).collect(),
            missing: Vec::new(),
            sets: vec![set],
            samples: Vec::new(),
            sizes: Vec::new(),
            passes: Vec::new(),
            faults: Vec::new(),
        }
    }

    impl Results {
        /// Adds a command of set A that took `seconds` in that run, and 10 MiB.
        pub(crate) fn took(&mut self, tool: &str, case: Case, run: usize, seconds: f64) {
            let usage =
                Usage { seconds, cpu_seconds: seconds, peak_bytes: 10 << 20, exit: Some(0) };
            let (set, tool) = (Set::A, tool.to_owned());
            self.samples.push(Sample { set, case, run, tool, usage, settle_seconds: 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        let of = |values: &[f64]| median(values.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5.0]), Some(5.0));
        assert_eq!(of(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(of(&[9.0, 1.0, 5.0, 6.0]), Some(5.5));
    }

    #[test]
    fn opening_is_left_out_run_by_run() {
        let mut results = fixture::results(&["packmule"]);
        for (run, opening, seconds) in [(1, 0.1, 1.1), (2, 5.0, 7.0), (3, 0.5, 3.5)] {
            results.took("packmule", Case::Open, run, opening);
            results.took("packmule", Case::Unchanged, run, seconds);
            results.took("packmule", Case::First, run, seconds);
        }
        let compared = |case| results.seconds_compared(Set::A, case, "packmule").unwrap();
        // 1, 2 and 3 seconds beyond opening.
        assert!((compared(Case::Unchanged) - 2.0).abs() < 1e-9);
        assert!((compared(Case::First) - 3.5).abs() < 1e-9);
        assert_eq!(results.seconds_compared(Set::B, Case::First, "packmule"), None);
        results.took("packmule", Case::Restore, 1, 4.0);
        for sample in &mut results.samples {
            sample.settle_seconds = 0.5;
        }
        assert_eq!(results.seconds_compared(Set::A, Case::Restore, "packmule"), Some(4.5));
        assert_eq!(
            results.seconds_compared(Set::A, Case::First, "packmule"),
            results.seconds(Set::A, Case::First, "packmule")
        );
        assert_eq!(results.peak_mib(Set::A, Case::First, "packmule"), Some(10.0));
    }

    #[test]
    fn raw_results_can_be_read_again() {
        let mut results = fixture::results(&["packmule"]);
        results.took("packmule", Case::First, 1, 2.5);
        let text = serde_json::to_string(&results).unwrap();
        assert!(text.contains("\"case\":\"first\"") && text.contains("\"seconds\":2.5"), "{text}");
        let again: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(again.seconds(Set::A, Case::First, "packmule"), Some(2.5));
    }
}
