//! Every decision and every reason is stock restic's, whatever the snapshots and the rules, in any time zone.

use super::*;
use crate::forget::{Filter, GroupBy, plan_forget};
use crate::testing::{PASSWORD, repository_in, restics};
use crate::{Repository, Snapshot, time};
use model::{Digest, ObjectKind};
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Zones with a summer time, without one, and with odd ones.
const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"];

#[derive(Debug, Clone)]
struct Made {
    seconds: i64,
    /// By which clock: this machine's, or one so many hours ahead.
    elsewhere: Option<i8>,
    host: usize,
    paths: usize,
    tags: Vec<&'static str>,
}

fn made() -> impl Strategy<Value = Made> {
    let now = Timestamp::now().as_second();
    let ago = prop_oneof![
        4 => 3_600..400_000i64,
        4 => 3_600..9_000_000i64,
        4 => 3_600..200_000_000i64,
        // The same hours again and again.
        4 => (1..40i64, 0..3i64).prop_map(|(days, hours)| days * 86_400 + hours * 3_600),
        1 => -40_000_000..-3_600i64,
    ];
    let tags = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    let elsewhere = prop::option::weighted(0.3, -11..14i8);
    (ago, elsewhere, 0..2usize, 0..2usize, tags).prop_map(
        move |(ago, elsewhere, host, paths, mut tags)| {
            tags.sort_unstable();
            tags.dedup();
            Made { seconds: now - ago, elsewhere, host, paths, tags }
        },
    )
}

fn rules() -> impl Strategy<Value = Rules> {
    let limit = || {
        prop_oneof![
            5 => Just(Limit::AtMost(0)),
            5 => (1..9u32).prop_map(Limit::AtMost),
            1 => Just(Limit::Unlimited),
        ]
    };
    let part = |most: u32| prop_oneof![2 => Just(0), 1 => 0..most];
    let period = (part(3), part(15), part(40), part(60))
        .prop_map(|(years, months, days, hours)| Period { years, months, days, hours })
        .prop_filter("says something", |period| *period != Period::default());
    let period = || prop::option::weighted(0.2, period.clone());
    let list = prop::sample::subsequence(vec!["a".to_owned(), "b".to_owned()], 1..=2);
    let list = prop_oneof![4 => list, 1 => Just(vec![String::new()])];
    let tags = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(list, 1..3)];
    let counts = (limit(), limit(), limit(), limit(), limit(), limit());
    let periods = (period(), period(), period(), period(), period(), period());
    (counts, periods, tags)
        .prop_map(|(counts, periods, tags)| Rules {
            last: counts.0,
            hourly: counts.1,
            daily: counts.2,
            weekly: counts.3,
            monthly: counts.4,
            yearly: counts.5,
            within: periods.0,
            within_hourly: periods.1,
            within_daily: periods.2,
            within_weekly: periods.3,
            within_monthly: periods.4,
            within_yearly: periods.5,
            tags,
        })
        .prop_filter("says something", |rules| !rules.is_empty())
}

fn arguments(rules: &Rules) -> Vec<String> {
    let mut arguments = Vec::new();
    for (every, limit) in rules.counts() {
        match limit {
            Limit::AtMost(0) => {}
            Limit::AtMost(n) => {
                arguments.extend([format!("--keep-{}", every.word()), n.to_string()]);
            }
            Limit::Unlimited => {
                arguments.extend([format!("--keep-{}", every.word()), "unlimited".into()]);
            }
        }
    }
    let within = rules.within.map(|period| ("--keep-within".to_owned(), period));
    let periods = rules.periods().into_iter();
    let periods = periods
        .filter_map(|(every, period)| Some((format!("--keep-within-{}", every.word()), period?)));
    for (name, period) in within.into_iter().chain(periods) {
        arguments.extend([name, period.to_string()]);
    }
    for tags in &rules.tags {
        arguments.extend(["--keep-tag".to_owned(), tags.join(",")]);
    }
    arguments
}

fn save(repository: &Repository, made: &Made, zone: &TimeZone) {
    let moment = Timestamp::from_second(made.seconds).unwrap();
    let elsewhere = made.elsewhere.map(|hours| TimeZone::fixed(jiff::tz::offset(hours)));
    let paths = [["/x", "/y"], ["/z", "/x"]][made.paths];
    let host = ["one", "other"][made.host];
    let document = json!({
        "time": time::format_in(moment, elsewhere.as_ref().unwrap_or(zone)),
        "tree": Digest([1; 32]),
        "paths": paths,
        "hostname": host,
        "username": "somebody",
        "tags": made.tags,
    });
    repository.save_document(ObjectKind::Snapshot, &document).unwrap();
}

/// Each snapshot, with the reasons why it is kept.
type Verdict = BTreeMap<String, Vec<String>>;

fn theirs(
    program: &Path,
    repository: &Path,
    zone: &str,
    given: &[String],
) -> Result<Verdict, String> {
    let output = Command::new(program)
        .args(["--no-cache", "--no-lock", "forget", "--dry-run", "--json", "-r"])
        .arg(repository)
        .args(given)
        .env("RESTIC_PASSWORD", String::from_utf8_lossy(PASSWORD).as_ref())
        .env("TZ", zone)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // Where there is no snapshot of that host, it says nothing at all.
    let said = if output.stdout.is_empty() { b"[]".as_slice() } else { &output.stdout };
    let groups: Value = serde_json::from_slice(said)
        .unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(said)));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let id = |snapshot: &Value| snapshot["id"].as_str().unwrap().to_owned();
    let mut verdict = Verdict::new();
    for group in list(&groups) {
        verdict.extend(list(&group["remove"]).iter().map(|gone| (id(gone), vec![])));
        // Old ones do not name the snapshot of a reason: they come in the order of what is kept.
        for (kept, reason) in list(&group["keep"]).iter().zip(list(&group["reasons"])) {
            let matches = list(&reason["matches"]);
            let matches = matches.iter().map(|text| text.as_str().unwrap().to_owned()).collect();
            verdict.insert(id(kept), matches);
        }
    }
    Ok(verdict)
}

/// Old ones do not keep the oldest snapshot while a rule has something left.
fn keeps_the_oldest(program: &Path) -> bool {
    let help = Command::new(program).args(["help", "forget"]).output().unwrap().stdout;
    String::from_utf8_lossy(&help).contains("oldest snapshot")
}

fn ours(
    repository: &Repository,
    rules: &Rules,
    by: GroupBy,
    filter: &Filter,
    zone: &TimeZone,
) -> Verdict {
    let mut all = repository.snapshots().unwrap().value;
    all.retain(|named| filter.passes(&named.snapshot));
    let groups = plan_forget(all, rules, by, Timestamp::now(), zone);
    let decisions = groups.into_iter().flat_map(|group| group.decisions);
    decisions
        .map(|decision| {
            let reasons = decision.reasons.iter().map(ToString::to_string).collect();
            (decision.snapshot.id.to_hex(), reasons)
        })
        .collect()
}

#[test]
fn every_decision_and_every_reason_is_stock_restics() {
    let restics = restics("keep::every_decision_and_every_reason_is_stock_restics");
    let zones: Vec<&str> = ZONES
        .into_iter()
        .filter(|zone| *zone == "UTC" || Path::new("/usr/share/zoneinfo").join(zone).is_file())
        .collect();
    let by = prop::sample::select(vec!["host,paths", "", "host", "tags", "paths,tags"]);
    let group = prop::collection::vec(made(), 1..40);
    let round = (rules(), by, prop::option::weighted(0.3, 0..2usize));
    let rounds = prop::collection::vec(round, 3);
    // Each case is six processes.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = cases.unwrap_or(6);
    let input = (group, prop::sample::select(zones), rounds);
    proptest!(Config::with_cases(cases), |((mut group, zone, rounds) in input)| {
        // Of two at the same moment either may be the newer one.
        group.sort_by_key(|made| made.seconds);
        group.dedup_by_key(|made| made.seconds);
        let folder = tempfile::tempdir().unwrap();
        let repository = repository_in(Arc::new(store::Folder::new(folder.path())));
        let tz = TimeZone::get(zone).unwrap();
        group.iter().for_each(|made| save(&repository, made, &tz));
        for (rules, by, host) in &rounds {
            let hosts: Vec<String> = host.map(|n| ["one", "other"][n].to_owned()).into_iter().collect();
            let filter = Filter { hosts, ..Filter::default() };
            let mut given = arguments(rules);
            given.extend(["--group-by".to_owned(), (*by).to_owned()]);
            filter.hosts.iter().for_each(|host| given.extend(["--host".to_owned(), host.clone()]));
            let ours = ours(&repository, rules, by.parse().unwrap(), &filter, &tz);
            for program in &restics {
                let mut ours = ours.clone();
                if !keeps_the_oldest(program) {
                    let oldest = |reason: &String| reason.starts_with("oldest ");
                    ours.values_mut().for_each(|reasons| reasons.retain(|reason| !oldest(reason)));
                }
                match theirs(program, folder.path(), zone, &given) {
                    Ok(theirs) => prop_assert_eq!(&ours, &theirs, "{:?} {:?}", program, given),
                    // Old ones do not know the word.
                    Err(said) if said.contains("unlimited") => {}
                    // It keeps a group from being emptied before it says what it would have done.
                    Err(said) if said.contains("refusing to delete last snapshot") => {}
                    Err(said) => panic!("{program:?} {given:?}: {said}"),
                }
            }
        }
    });
}

#[test]
fn a_snapshot_tells_by_which_clock_it_was_made() {
    let repository = crate::testing::repository();
    let moment = "2024-05-01T22:30:00Z".parse().unwrap();
    let zone = TimeZone::fixed(jiff::tz::offset(5));
    let document = json!({ "time": time::format_in(moment, &zone), "tree": Digest([1; 32]) });
    let id = repository.save_document(ObjectKind::Snapshot, &document).unwrap();
    let named = repository.load_snapshot(id).unwrap();
    let expected = Snapshot { time: moment, ..Snapshot::of_tree(Digest([1; 32])) };
    assert_eq!((named.snapshot, named.offset), (expected, jiff::tz::offset(5)));
}
