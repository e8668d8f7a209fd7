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
    /// There is nobody to compare with.
    Unknown,
    /// Nothing is wanted.
    Free,
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
    /// Which part of the speed that the machine allows.
    pub(crate) bound: Option<f64>,
    pub(crate) verdict: Verdict,
}

/// None when we were not measured.
pub(crate) fn judge(results: &Results, goal: &Goal) -> Option<Judged> {
    let seconds = |tool: &str| results.seconds_compared(goal.set, goal.case, tool);
    let ours = seconds(&results.tools.first()?.name)?;
    let restic = seconds("restic").map(|theirs| theirs / ours);
    let all = results.peers().filter_map(|peer| Some((peer.to_owned(), seconds(peer)? / ours)));
    let best = all.min_by(|(_, one), (_, other)| one.total_cmp(other));
    let bound = results.bound(goal.set, goal.case).map(|bound| bound / ours);
    let best_times = best.as_ref().map(|(_, times)| *times);
    let verdict = verdict(&[(goal.restic, restic), (goal.best, best_times)], bound);
    Some(Judged { ours, restic, best, bound, verdict })
}

/// The part of what the machine allows that is enough, however fast others are.
pub(crate) const ENOUGH: f64 = 0.85;

/// Of pairs of what is wanted and what is.
fn verdict(pairs: &[(Option<f64>, Option<f64>)], bound: Option<f64>) -> Verdict {
    let wanted: Vec<(f64, Option<f64>)> =
        pairs.iter().filter_map(|(wanted, is)| Some(((*wanted)?, *is))).collect();
    if wanted.is_empty() {
        Verdict::Free
    } else if bound.is_some_and(|part| part >= ENOUGH) {
        Verdict::Met
    } else if wanted.iter().any(|(wanted, is)| is.is_some_and(|is| is < *wanted)) {
        Verdict::Missed
    } else if wanted.iter().any(|(_, is)| is.is_none()) {
        Verdict::Unknown
    } else {
        Verdict::Met
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

#[cfg(test)]
mod tests {
    use super::super::results::fixture;
    use super::*;

    const GOAL: Goal = Goal { set: Set::A, case: Case::First, restic: Some(3.0), best: Some(2.0) };

    fn judged(seconds: &[(&str, f64)]) -> Judged {
        let names: Vec<&str> = seconds.iter().map(|(name, _)| *name).collect();
        let mut results = fixture::results(&names);
        for (name, seconds) in seconds {
            results.took(name, Case::First, 1, *seconds);
        }
        judge(&results, &GOAL).unwrap()
    }

    #[test]
    fn a_goal_is_met_against_restic_and_against_the_fastest_of_all() {
        let met = judged(&[("packmule", 10.0), ("restic", 30.0), ("borg", 20.0), ("slow", 90.0)]);
        assert_eq!((met.restic, met.verdict), (Some(3.0), Verdict::Met));
        assert_eq!(met.best, Some(("borg".to_owned(), 2.0)));
        let missed = judged(&[("packmule", 10.0), ("restic", 30.0), ("borg", 19.0)]);
        assert_eq!(missed.verdict, Verdict::Missed);
        let missed = judged(&[("packmule", 10.0), ("restic", 29.0), ("borg", 90.0)]);
        assert_eq!(missed.verdict, Verdict::Missed);
    }

    #[test]
    fn without_restic_nothing_is_met_but_something_may_be_missed() {
        assert_eq!(judged(&[("packmule", 1.0), ("borg", 20.0)]).verdict, Verdict::Unknown);
        assert_eq!(judged(&[("packmule", 20.0), ("borg", 20.0)]).verdict, Verdict::Missed);
        assert_eq!(judged(&[("packmule", 20.0)]).verdict, Verdict::Unknown);
    }

    #[test]
    fn what_the_machine_allows_is_enough() {
        let slow = [(Some(3.0), Some(1.5))];
        assert_eq!(verdict(&slow, Some(0.86)), Verdict::Met);
        assert_eq!(verdict(&slow, Some(0.84)), Verdict::Missed);
        assert_eq!(verdict(&[(None, Some(1.0))], Some(0.9)), Verdict::Free);
    }

    #[test]
    fn every_wanted_ratio_of_the_issue_is_asked_for() {
        let wanted = |case, set| {
            let goal = all().find(|goal| (goal.case, goal.set) == (case, set)).unwrap();
            (goal.restic, goal.best)
        };
        assert_eq!(wanted(Case::First, Set::A), (Some(3.0), Some(2.0)));
        assert_eq!(wanted(Case::First, Set::B), (Some(4.5), Some(1.2)));
        assert_eq!(wanted(Case::First, Set::C), (Some(3.0), Some(2.0)));
        assert_eq!(wanted(Case::Increment, Set::B), (Some(3.0), Some(1.0)));
        assert_eq!(wanted(Case::Increment, Set::C), (None, None));
        assert_eq!(wanted(Case::Restore, Set::B), (Some(2.5), Some(1.2)));
        assert_eq!(wanted(Case::Restore, Set::C), (Some(2.5), Some(2.0)));
        assert_eq!(wanted(Case::Check, Set::A), (Some(1.5), Some(1.2)));
    }

    #[test]
    fn memory_and_size_are_held_against_restic() {
        let mut results = fixture::results(&["packmule", "restic"]);
        results.took("packmule", Case::First, 1, 1.0);
        results.took("restic", Case::First, 1, 1.0);
        let what: Vec<String> =
            limits(&results, &Case::SHOWN).into_iter().map(|limit| limit.what).collect();
        assert_eq!(what, ["peak memory, first backup A, MiB"]);
    }
}
