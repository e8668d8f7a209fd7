//! Results as tables in Markdown: what each program took, ours against what is wanted, and what
//! the machine allows. Judges nothing.

use super::bound::{self, FORMULA, Pass, Stages};
use super::case::Case;
use super::data::Set;
use super::goal::{self, ENOUGH, Goal, Judged, Limit, Verdict};
use super::results::Results;
use std::fmt::Write as _;

/// Everything that there is to say.
pub(crate) fn render(results: &Results, cases: &[Case]) -> String {
    let parts =
        [head(results), goals(results, cases), seconds(results, cases), bounds(&results.passes)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn head(results: &Results) -> String {
    let mut lines = vec![format!("{}; medians of {} runs.", results.machine.told(), results.runs)];
    if !results.ground.is_empty() {
        lines.push(format!("Restored into {}.", results.ground));
    }
    lines.push(String::new());
    lines.extend(results.tools.iter().map(|tool| format!("- {}: {}", tool.name, tool.about)));
    let missing = results.missing.iter();
    lines.extend(missing.map(|peer| format!("- {}: missing: {}", peer.name, first(&peer.about))));
    lines.extend(results.sets.iter().map(|set| {
        let gigabytes = set.bytes as f64 / 1e9;
        format!("- set {}: {} files, {gigabytes:.2} GB ({})", set.set.word(), set.files, set.origin)
    }));
    lines.extend(results.faults.iter().map(|fault| {
        let (set, case) = (fault.set.word(), fault.case.title());
        format!("- {} failed, {case} {set}: {}", fault.tool, first(&fault.why))
    }));
    lines.join("\n") + "\n"
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A table, with a heading in each column.
fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

fn goals(results: &Results, cases: &[Case]) -> String {
    let wanted = goal::all().filter(|goal| cases.contains(&goal.case));
    let judged = wanted.filter_map(|goal| Some((goal, goal::judge(results, &goal)?)));
    let speed: Vec<_> = judged.map(|(goal, judged)| goal_row(&goal, &judged)).collect();
    let limits: Vec<_> = goal::limits(results, cases).iter().map(limit_row).collect();
    let bound = format!("of the bound ({ENOUGH})");
    let titles = ["times as fast as", "ours, s", "restic", "the best peer", &bound, "met"];
    let mut out = "What is wanted is in brackets. Unchanged and increment: beyond opening the repository. Restore: until all is \
        on the medium.\n\n"
        .to_owned();
    out += &table(&titles, &speed);
    if !limits.is_empty() {
        out += "\n";
        out += &table(&["no more than", "ours", "of restic's", "met"], &limits);
    }
    out
}

fn goal_row(goal: &Goal, judged: &Judged) -> Vec<String> {
    let best = judged.best.as_ref();
    let named = best.map(|(name, times)| format!("{times:.2} by {name}")).unwrap_or_default();
    vec![
        format!("{} {}", goal.case.title(), goal.set.word()),
        format!("{:.2}", judged.ours),
        with_wanted(
            judged.restic.map(|times| format!("{times:.2}")).unwrap_or_default(),
            goal.restic,
        ),
        with_wanted(named, goal.best),
        judged.bound.map(|part| format!("{part:.2}")).unwrap_or_default(),
        word(judged.verdict).to_owned(),
    ]
}

fn with_wanted(is: String, wanted: Option<f64>) -> String {
    match wanted {
        Some(wanted) if !is.is_empty() => format!("{is} ({wanted})"),
        _ => is,
    }
}

fn limit_row(limit: &Limit) -> Vec<String> {
    let times = limit.ours / limit.restic;
    let verdict = if times <= limit.most { Verdict::Met } else { Verdict::Missed };
    vec![
        limit.what.clone(),
        format!("{:.1}", limit.ours),
        with_wanted(format!("{times:.2}"), Some(limit.most)),
        word(verdict).to_owned(),
    ]
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "yes",
        Verdict::Missed => "no",
        Verdict::Unknown => "not measured",
        Verdict::Free => "",
    }
}

fn seconds(results: &Results, cases: &[Case]) -> String {
    let titles: Vec<&str> = ["seconds (of processor; MiB)"]
        .into_iter()
        .chain(results.tools.iter().map(|tool| tool.name.as_str()))
        .chain(["bound"])
        .collect();
    let mut rows = Vec::new();
    for set in results.sets() {
        let shown = with_opening(cases).into_iter().map(|case| seconds_row(results, set, case));
        rows.extend(shown.filter(|row| row.iter().skip(1).any(|cell| !cell.is_empty())));
        let sizes = results.tools.iter().map(|tool| {
            let size = results.size(set, &tool.name);
            size.map(|bytes| format!("{:.1}", bytes / 1e6)).unwrap_or_default()
        });
        let what = format!("repository {}, MB", set.word());
        rows.push([what].into_iter().chain(sizes).chain([String::new()]).collect());
    }
    table(&titles, &rows)
}

/// The cases that are asked for, and opening, from which two of them are counted.
fn with_opening(cases: &[Case]) -> Vec<Case> {
    let mut all: Vec<Case> = cases.iter().copied().chain([Case::Open]).collect();
    all.sort();
    all
}

fn seconds_row(results: &Results, set: Set, case: Case) -> Vec<String> {
    let what = format!("{} {}", case.title(), set.word());
    let cells = results.tools.iter().map(|tool| seconds_cell(results, set, case, &tool.name));
    let bound = results.bound(set, case).map(|bound| format!("{bound:.2}")).unwrap_or_default();
    [what].into_iter().chain(cells).chain([bound]).collect()
}

fn seconds_cell(results: &Results, set: Set, case: Case, tool: &str) -> String {
    let figures = (
        results.seconds(set, case, tool),
        results.cpu_seconds(set, case, tool),
        results.peak_mib(set, case, tool),
    );
    match figures {
        (Some(seconds), Some(cpu), Some(peak)) => {
            let settle = results.settle_seconds(set, case, tool);
            let later = settle.filter(|_| case.is_until_written()).filter(|later| *later >= 0.005);
            let later = later.map(|later| format!(" + {later:.2}")).unwrap_or_default();
            format!("{seconds:.2}{later} ({cpu:.1}; {peak:.0})")
        }
        _ => String::new(),
    }
}

fn bounds(passes: &[Pass]) -> String {
    let passes = bound::typical(passes);
    let Some(any) = passes.first() else { return String::new() };
    let titles: Vec<String> = ["core seconds".to_owned()]
        .into_iter()
        .chain(passes.iter().map(|pass| format!("{} {}", pass.case.title(), pass.set.word())))
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = STAGES
        .iter()
        .map(|(what, show)| {
            let cells = passes.iter().map(|pass| show(&pass.stages));
            [(*what).to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    let Stages { direct_write_rate, cached_read_rate, small_file, .. } = any.stages;
    format!(
        "{FORMULA}\n\n{}\nDirect writes {:.2} GB/s, reads from the page cache {:.1} GB/s, a new file of 4 KiB {:.0} µs.\n",
        table(&titles, &rows),
        direct_write_rate / 1e9,
        cached_read_rate / 1e9,
        small_file * 1e6,
    )
}

type Show = fn(&Stages) -> String;

/// Amounts in GB first, then each stage with its rate in GB/s.
const STAGES: [(&str, Show); 15] = [
    ("read, GB", |s| gigabytes(s.read_bytes)),
    ("new, GB", |s| gigabytes(s.new_bytes)),
    ("stored, GB", |s| gigabytes(s.stored_bytes)),
    ("key", |s| format!("{:.2}", s.key)),
    ("look", |s| format!("{:.2}", s.look)),
    ("read", |s| stage(s.read, s.read_bytes)),
    ("cut", |s| stage(s.cut, s.cut_bytes)),
    ("hash", |s| stage(s.hash, s.read_bytes)),
    ("compress", |s| stage(s.compress, s.new_bytes)),
    ("seal", |s| stage(s.seal, s.stored_bytes)),
    ("name", |s| stage(s.name, s.stored_bytes)),
    ("open", |s| stage(s.open, s.stored_bytes)),
    ("decompress", |s| stage(s.decompress, s.new_bytes)),
    ("trees and index", |s| format!("{:.2}", s.note)),
    ("reading again what was written", |s| format!("{:.2}", s.again())),
];

fn gigabytes(bytes: u64) -> String {
    format!("{:.3}", bytes as f64 / 1e9)
}

fn stage(seconds: f64, bytes: u64) -> String {
    if seconds > 0.0 && bytes > 0 {
        format!("{seconds:.2} at {:.2} GB/s", bytes as f64 / 1e9 / seconds)
    } else {
        format!("{seconds:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::bound::fixture::stages;
    use super::super::results::{Fault, Named, Size, fixture};
    use super::*;

    fn measured() -> Results {
        let mut results = fixture::results(&["packmule", "restic", "borg"]);
        for (tool, seconds) in [("packmule", 5.6), ("restic", 14.0), ("borg", 11.2)] {
            results.took(tool, Case::First, 1, seconds);
            let bytes = 2_500_000;
            results.sizes.push(Size { set: Set::A, tool: tool.to_owned(), bytes });
        }
        let why = "is not installed\nat all".to_owned();
        results.missing.push(Named { name: "rustic".to_owned(), about: why });
        results.passes.push(Pass { set: Set::A, case: Case::First, stages: stages() });
        results
    }

    fn assert_says(text: &str, wanted: &[&str]) {
        for wanted in wanted {
            assert!(text.lines().any(|line| line == *wanted), "no line {wanted} in\n{text}");
        }
    }

    #[test]
    fn what_was_measured_is_told_with_machine_versions_and_peers_that_are_missing() {
        let text = render(&measured(), &Case::SHOWN);
        assert_says(
            &text,
            &[
                "Some CPU, 2 cores, 24 GiB, Linux 6.1, 2026-01-02; medians of 3 runs.",
                "- borg: 1.0",
                "- rustic: missing: is not installed",
                "- set A: 3 files, 0.00 GB (scale 1)",
                "| first backup A | 5.60 (5.6; 10) | 14.00 (14.0; 10) | 11.20 (11.2; 10) | 4.65 |",
                "| repository A, MB | 2.5 | 2.5 | 2.5 |  |",
                "| cut | 1.00 at 4.00 GB/s |",
            ],
        );
        // Nothing was opened: there is no row for it.
        assert!(!text.contains("opening (key"));
    }

    #[test]
    fn ratios_stand_beside_what_is_wanted() {
        let text = render(&measured(), &[Case::First]);
        assert_says(
            &text,
            &[
                "| first backup A | 5.60 | 2.50 (3) | 2.00 by borg (2) | 0.83 | no |",
                "| peak memory, first backup A, MiB | 10.0 | 1.00 (1) | yes |",
                "| repository A, MB | 2.5 | 1.00 (1.02) | yes |",
            ],
        );
        let mut faster = measured();
        faster.took("packmule", Case::First, 2, 4.2);
        let text = render(&faster, &[Case::First]);
        // 0.85 of what the machine allows is enough.
        assert_says(
            &text,
            &["| first backup A | 4.90 | 2.86 (3) | 2.29 by borg (2) | 0.95 | yes |"],
        );
    }

    #[test]
    fn a_program_that_failed_is_named_and_the_others_stay() {
        let mut results = measured();
        let (tool, why) = ("borg".to_owned(), "it broke\nbadly".to_owned());
        results.faults.push(Fault { set: Set::A, case: Case::Check, tool, why });
        let text = render(&results, &Case::SHOWN);
        assert_says(&text, &["- borg failed, check, all data A: it broke"]);
        assert!(text.contains("2.00 by borg"));
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_head() {
        let text = render(&measured(), &Case::SHOWN);
        let cells = |line: &str| line.matches('|').count();
        for block in text.split("\n\n") {
            let mut lines = block.lines().filter(|line| line.starts_with('|'));
            let Some(head) = lines.next() else { continue };
            assert!(lines.all(|line| cells(line) == cells(head)), "{block}");
        }
    }
}
