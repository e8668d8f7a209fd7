//! What is wanted of our speed and memory, and whether it is so. Prints nothing.

use super::case::Case;
use super::data::Set;
use super::results::Results;

/// How many times as fast as others we want to be in one case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) set: Set,
    pub(crate) case: Case,
    pub(crate) restic: Option<f64>,
    /// Against the fastest peer of any format.
    pub(crate) best: Option<f64>,
}

/// The wanted ratios, from the issue that asked for this engine: against restic, against the best.
/// Where nothing is wanted, what it is is shown all the same.
fn wanted(case: Case, set: Set) -> (Option<f64>, Option<f64>) {
    match (case, set) {
        (Case::First, Set::B) => (Some(4.5), Some(1.2)),
        (Case::First, _) => (Some(3.0), Some(2.0)),
        (Case::Unchanged | Case::Increment, Set::A | Set::B) => (Some(3.0), Some(1.0)),
        (Case::Restore, Set::B) => (Some(2.5), Some(1.2)),
        (Case::Restore, _) => (Some(2.5), Some(2.0)),
        (Case::Check, _) => (Some(1.5), Some(1.2)),
        _ => (None, None),
    }
}

/// All goals, by case and set.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    let pairs = Case::SHOWN.into_iter().flat_map(|case| Set::ALL.map(|set| (case, set)));
    pairs.map(|(case, set)| {
        let (restic, best) = wanted(case, set);
        Goal { set, case, restic, best }
    })
}

/// Whether a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// Nothing is wanted, or there is nobody to compare with.
    Unknown,
}

/// A goal held against results.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    /// Our seconds.
    pub(crate) ours: f64,
    /// How many times as fast as restic.
    pub(crate) restic: Option<f64>,
    /// How many times as fast as the fastest peer, and its name.
    pub(crate) best: Option<(String, f64)>,
    pub(crate) verdict: Verdict,
}

/// None when we were not measured.
pub(crate) fn judge(results: &Results, goal: &Goal) -> Option<Judged> {
    let seconds = |tool: &str| results.seconds_compared(goal.set, goal.case, tool);
    let ours = seconds(&results.tools.first()?.name)?;
    let restic = seconds("restic").map(|theirs| theirs / ours);
    let all = results.peers().filter_map(|peer| Some((peer.to_owned(), seconds(peer)? / ours)));
    let best = all.min_by(|(_, one), (_, other)| one.total_cmp(other));
    let reached = [(goal.restic, restic), (goal.best, best.as_ref().map(|(_, times)| *times))]
        .into_iter()
        .filter_map(|(wanted, is)| Some((wanted?, is)));
    let verdict = verdict(&reached.collect::<Vec<_>>());
    Some(Judged { ours, restic, best, verdict })
}

fn verdict(reached: &[(f64, Option<f64>)]) -> Verdict {
    let missed = |(wanted, is): &(f64, Option<f64>)| is.is_some_and(|is| is < *wanted);
    let unknown = reached.is_empty() || reached.iter().any(|(_, is)| is.is_none());
    match (reached.iter().any(missed), unknown) {
        (true, _) => Verdict::Missed,
        (false, true) => Verdict::Unknown,
        (false, false) => Verdict::Met,
    }
}

/// Something of which we want no more than restic needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    pub(crate) what: String,
    pub(crate) ours: f64,
    pub(crate) restic: f64,
    /// How many times restic's it may be.
    pub(crate) most: f64,
}

/// Memory in each case, and the repository's size.
pub(crate) fn limits(results: &Results, cases: &[Case]) -> Vec<Limit> {
    let Some(us) = results.tools.first() else { return Vec::new() };
    let mut limits = Vec::new();
    for set in results.sets() {
        for case in cases {
            let peak = |tool: &str| results.peak_mib(set, *case, tool);
            if let (Some(ours), Some(restic)) = (peak(&us.name), peak("restic")) {
                let what = format!("peak memory, {} {}, MiB", case.title(), set.word());
                limits.push(Limit { what, ours, restic, most: 1.0 });
            }
        }
        if let (Some(ours), Some(restic)) =
            (results.size(set, &us.name), results.size(set, "restic"))
        {
            let what = format!("repository {}, MB", set.word());
            limits.push(Limit { what, ours: ours / 1e6, restic: restic / 1e6, most: 1.02 });
        }
    }
    limits
}
