//! Metrics in the text format of Prometheus. Pure: facts in, text out.

use jiff::Timestamp;
use std::fmt::Write as _;

/// Everything that is told.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Each group.
    pub groups: Vec<GroupFacts>,
    /// Each seed that is not over.
    pub seeds: Vec<SeedFacts>,
    /// Open alerts that are warnings.
    pub warnings: u64,
    /// Open alerts that are errors.
    pub errors: u64,
    /// Bytes a second that may leave; 0 for no limit.
    pub limit: u64,
}

/// What is told of a group.
#[derive(Debug, Clone, Default)]
pub struct GroupFacts {
    /// Its name.
    pub name: String,
    /// When its newest recovery point was made.
    pub success: Option<Timestamp>,
    /// The state of its newest run.
    pub state: Option<&'static str>,
    /// Bytes that the run of the newest recovery point has read.
    pub bytes: u64,
    /// Bytes that it has added.
    pub added: u64,
    /// Items that it has left out.
    pub problems: u64,
    /// When the next one is due.
    pub next: Option<Timestamp>,
}

/// What is told of a seed.
#[derive(Debug, Clone)]
pub struct SeedFacts {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: &'static str,
}

/// A metric: its name, what it is, its kind, and its values by labels.
struct Metric<'a>(&'a str, &'a str, Vec<(String, u64)>);

/// The text.
#[must_use]
pub fn render(facts: &Facts, now: Timestamp) -> String {
    let seconds = |moment: Timestamp| u64::try_from(moment.as_second()).unwrap_or_default();
    let of = |value: &dyn Fn(&GroupFacts) -> Option<u64>| -> Vec<(String, u64)> {
        let pair = |group: &GroupFacts| Some((label("group", &group.name), value(group)?));
        facts.groups.iter().filter_map(pair).collect()
    };
    let age =
        |moment: Timestamp| u64::try_from(now.duration_since(moment).as_secs()).unwrap_or_default();
    let states = facts.groups.iter().filter_map(|group| {
        Some((format!("{},{}", label("group", &group.name), label("state", group.state?)), 1))
    });
    let seeds = facts
        .seeds
        .iter()
        .map(|seed| (format!("{},{}", label("seed", &seed.id), label("state", seed.state)), 1));
    let version = label("version", env!("CARGO_PKG_VERSION"));
    let metrics = [
        Metric("packmule_agent_info", "The agent's version.", vec![(version, 1)]),
        Metric(
            "packmule_last_success_timestamp_seconds",
            "When the newest recovery point of a group was made.",
            of(&|group| group.success.map(seconds)),
        ),
        Metric(
            "packmule_last_success_age_seconds",
            "How old the newest recovery point of a group is.",
            of(&|group| group.success.map(age)),
        ),
        Metric(
            "packmule_last_success_read_bytes",
            "Bytes that the newest recovery point holds.",
            of(&|group| group.success.map(|_| group.bytes)),
        ),
        Metric(
            "packmule_last_success_added_bytes",
            "Bytes that the newest recovery point has added, as stored.",
            of(&|group| group.success.map(|_| group.added)),
        ),
        Metric(
            "packmule_last_success_unread_items",
            "Items that the newest recovery point lacks.",
            of(&|group| group.success.map(|_| group.problems)),
        ),
        Metric("packmule_last_run_state", "The state of a group's newest run.", states.collect()),
        Metric(
            "packmule_next_run_timestamp_seconds",
            "When the next backup of a group is due.",
            of(&|group| group.next.map(seconds)),
        ),
        Metric("packmule_seed_state", "The state of a seed that is on its way.", seeds.collect()),
        Metric(
            "packmule_alerts_open",
            "Alerts that are open.",
            vec![
                (label("severity", "warning"), facts.warnings),
                (label("severity", "error"), facts.errors),
            ],
        ),
        Metric(
            "packmule_upload_limit_bytes_per_second",
            "How fast data may leave; 0 for no limit.",
            vec![(String::new(), facts.limit)],
        ),
    ];
    let mut text = String::new();
    for Metric(name, help, values) in metrics.iter().filter(|metric| !metric.2.is_empty()) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in values {
            let _ = match labels.is_empty() {
                true => writeln!(text, "{name} {value}"),
                false => writeln!(text, "{name}{{{labels}}} {value}"),
            };
        }
    }
    text
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_what_prometheus_reads() {
        let now = Timestamp::from_second(1_780_000_100).unwrap();
        let group = GroupFacts {
            name: "fi\"les".to_owned(),
            success: Some(Timestamp::from_second(1_780_000_000).unwrap()),
            state: Some("waiting"),
            bytes: 5,
            ..GroupFacts::default()
        };
        let never = GroupFacts { name: "new".to_owned(), ..GroupFacts::default() };
        let seeds = vec![SeedFacts { id: "00ff".to_owned(), state: "InTransit" }];
        let facts = Facts { groups: vec![group, never], seeds, errors: 2, ..Facts::default() };
        let text = render(&facts, now);
        for line in [
            "packmule_last_success_age_seconds{group=\"fi\\\"les\"} 100",
            "packmule_last_run_state{group=\"fi\\\"les\",state=\"waiting\"} 1",
            "packmule_seed_state{seed=\"00ff\",state=\"InTransit\"} 1",
            "packmule_alerts_open{severity=\"error\"} 2",
            "packmule_upload_limit_bytes_per_second 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert!(!text.contains("group=\"new\""), "what is not known is not told: {text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            value.parse::<u64>().unwrap();
        }
    }
}
