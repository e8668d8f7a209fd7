//! Results as tables: what each program took, and ours against what is wanted. Decides nothing
//! beyond whether a wanted ratio is met.

use super::case::Case;
use super::data::Set;
use super::goal::{self, Verdict};
use super::results::Results;
use std::fmt::Write as _;

/// Everything that there is to say, in Markdown.
pub(crate) fn render(results: &Results, cases: &[Case]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_head(&mut out, results);
    let _ = write_seconds(&mut out, results, cases);
    let _ = write_goals(&mut out, results, cases);
    out
}

fn write_head(out: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(out, "{}; medians of {} runs.", results.machine.told(), results.runs)?;
    if !results.ground.is_empty() {
        writeln!(out, "Restored into {}.", results.ground)?;
    }
    writeln!(out)?;
    for tool in &results.tools {
        writeln!(out, "- {}: {}", tool.name, tool.about)?;
    }
    for peer in &results.missing {
        writeln!(out, "- {}: missing: {}", peer.name, first_line(&peer.about))?;
    }
    for set in &results.sets {
        let gigabytes = set.bytes as f64 / 1e9;
        let (name, files, origin) = (set.set.word(), set.files, &set.origin);
        writeln!(out, "- set {name}: {files} files, {gigabytes:.2} GB ({origin})")?;
    }
    for fault in &results.faults {
        let (set, case) = (fault.set.word(), fault.case.title());
        writeln!(out, "- {} failed at {case} of {set}: {}", fault.tool, first_line(&fault.why))?;
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn write_seconds(out: &mut String, results: &Results, cases: &[Case]) -> std::fmt::Result {
    writeln!(out, "\nSeconds (processor seconds; peak memory in MiB):\n")?;
    write!(out, "| |")?;
    results.tools.iter().try_for_each(|tool| write!(out, " {} |", tool.name))?;
    writeln!(out, "\n|---|{}", "---|".repeat(results.tools.len()))?;
    for set in results.sets() {
        for case in rows(cases) {
            let cells: Vec<String> =
                results.tools.iter().map(|tool| cell(results, set, case, &tool.name)).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                writeln!(out, "| {} {} | {} |", case.title(), set.word(), cells.join(" | "))?;
            }
        }
        let sizes: Vec<String> = results
            .tools
            .iter()
            .map(|tool| results.size(set, &tool.name).map(in_mb).unwrap_or_default())
            .collect();
        writeln!(out, "| repository {}, MB | {} |", set.word(), sizes.join(" | "))?;
    }
    Ok(())
}

/// The cases that are asked for, with opening, from which two of them are counted.
fn rows(cases: &[Case]) -> Vec<Case> {
    let mut rows: Vec<Case> = cases.iter().copied().chain([Case::Open]).collect();
    rows.sort();
    rows
}

fn cell(results: &Results, set: Set, case: Case, tool: &str) -> String {
    let figures = (
        results.seconds(set, case, tool),
        results.cpu_seconds(set, case, tool),
        results.peak_mib(set, case, tool),
    );
    match figures {
        (Some(seconds), Some(cpu), Some(peak)) => format!("{seconds:.2} ({cpu:.1}; {peak:.0})"),
        _ => String::new(),
    }
}

fn in_mb(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

fn write_goals(out: &mut String, results: &Results, cases: &[Case]) -> std::fmt::Result {
    writeln!(out, "\nOurs against what is wanted (unchanged and increment: beyond opening):\n")?;
    writeln!(out, "| | ours | against restic | wanted | against the best peer | wanted | met |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for goal in goal::all().filter(|goal| cases.contains(&goal.case)) {
        let Some(judged) = goal::judge(results, &goal) else { continue };
        let what = format!("{} {}", goal.case.title(), goal.set.word());
        let best =
            judged.best.map_or(String::new(), |(name, times)| format!("{times:.2} ({name})"));
        writeln!(
            out,
            "| {what} | {:.2} s | {} | {} | {best} | {} | {} |",
            judged.ours,
            judged.restic.map_or(String::new(), |times| format!("{times:.2}")),
            number(goal.restic),
            number(goal.best),
            word(judged.verdict),
        )?;
    }
    for limit in goal::limits(results, cases) {
        let (what, ours, restic) = (limit.what, limit.ours, limit.restic);
        let times = ours / restic;
        let met = word(if times <= limit.most { Verdict::Met } else { Verdict::Missed });
        writeln!(out, "| {what} | {ours:.1} | {times:.2} | at most {} | | | {met} |", limit.most)?;
    }
    Ok(())
}

fn number(wanted: Option<f64>) -> String {
    wanted.map_or(String::new(), |times| times.to_string())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "yes",
        Verdict::Missed => "no",
        Verdict::Unknown => "not measured",
    }
}
