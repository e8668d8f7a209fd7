//! Snapshots by groups, what rules decide of each, and their removal. Touches no data: that is `prune`.
//!
//! A group is what goes on in time: by default the snapshots of one machine and the same paths. Rules are
//! applied to each group by itself, and no group is emptied unless somebody asks for just that.

use crate::keep::{Decision, Rules, decide, has_tags};
use crate::{Error, LockGuard, NamedSnapshot, Repository, Snapshot};
use jiff::{Timestamp, tz::TimeZone};
use model::{Digest, ObjectKey};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What snapshots of one group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The machine.
    pub host: bool,
    /// The paths.
    pub paths: bool,
    /// The labels.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self { host: true, paths: true, tags: false }
    }
}

impl FromStr for GroupBy {
    type Err = String;

    /// `host,paths,tags` or some of these; nothing for one group of all.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut by = Self { host: false, paths: false, tags: false };
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "host" | "hosts" => by.host = true,
                "path" | "paths" => by.paths = true,
                "tag" | "tags" => by.tags = true,
                _ => return Err(format!("'{word}' is none of host, paths, tags")),
            }
        }
        Ok(by)
    }
}

/// Which snapshots are looked at, of all that there are. What is empty lets everything pass.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of one of these machines.
    pub hosts: Vec<String>,
    /// With all labels of one of these lists; a list of one empty label is for those without any.
    pub tags: Vec<Vec<String>>,
    /// With all of these paths.
    pub paths: Vec<String>,
}

impl Filter {
    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.tags.is_empty() && self.paths.is_empty()
    }

    /// Whether it passes.
    #[must_use]
    pub fn passes(&self, snapshot: &Snapshot) -> bool {
        let of_these = self.hosts.is_empty() || self.hosts.contains(&snapshot.hostname);
        let labelled =
            self.tags.is_empty() || self.tags.iter().any(|tags| has_tags(&snapshot.tags, tags));
        of_these && labelled && self.paths.iter().all(|path| snapshot.paths.contains(path))
    }
}

/// What the snapshots of a group have in common; what they are not grouped by is not said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The machine.
    pub host: Option<String>,
    /// The paths, sorted.
    pub paths: Option<Vec<String>>,
    /// The labels, sorted.
    pub tags: Option<Vec<String>>,
}

impl GroupKey {
    fn of(snapshot: &Snapshot, by: GroupBy) -> Self {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        Self {
            host: by.host.then(|| snapshot.hostname.clone()),
            paths: by.paths.then(|| sorted(&snapshot.paths)),
            tags: by.tags.then(|| sorted(&snapshot.tags)),
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.host.as_ref().map(|host| format!("host {host}")));
        parts.extend(self.paths.as_ref().map(|paths| format!("paths {}", paths.join(", "))));
        parts.extend(self.tags.as_ref().map(|tags| format!("tags {}", tags.join(", "))));
        match parts.as_slice() {
            [] => f.write_str("all snapshots"),
            parts => f.write_str(&parts.join("; ")),
        }
    }
}

/// What is decided of the snapshots of a group.
#[derive(Debug, Clone)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// From the newest to the oldest.
    pub decisions: Vec<Decision>,
}

impl Group {
    /// Whether nothing of it would be left.
    #[must_use]
    pub fn is_emptied(&self) -> bool {
        !self.decisions.iter().any(Decision::is_kept)
    }

    /// The snapshots that go.
    pub fn forgotten(&self) -> impl Iterator<Item = Digest> + '_ {
        let goes = |decision: &&Decision| !decision.is_kept();
        self.decisions.iter().filter(goes).map(|decision| decision.snapshot.id)
    }
}

/// What rules decide of snapshots, group by group. `now` and `zone` are those of [`decide`].
#[must_use]
pub fn plan_forget(
    snapshots: Vec<NamedSnapshot>,
    rules: &Rules,
    by: GroupBy,
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<Group> {
    let mut groups: BTreeMap<GroupKey, Vec<NamedSnapshot>> = BTreeMap::new();
    for named in snapshots {
        groups.entry(GroupKey::of(&named.snapshot, by)).or_default().push(named);
    }
    groups
        .into_iter()
        .map(|(key, group)| Group { key, decisions: decide(group, rules, now, zone) })
        .collect()
}

impl Repository {
    /// Removes these snapshots, for whoever has the repository alone; tells `each` what became of them. One that cannot be removed does not stop
    /// the others.
    ///
    /// # Errors
    /// [`Error::NotAlone`]; [`Error::LockLost`].
    pub fn forget(
        &self,
        lock: &LockGuard,
        snapshots: &[Digest],
        mut each: impl FnMut(Digest, Result<(), Error>),
    ) -> Result<(), Error> {
        for id in snapshots {
            lock.alone()?;
            let removed = self.store().remove(&ObjectKey::Snapshot(*id));
            each(*id, removed.map_err(Error::from));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LockMode;
    use crate::keep::Limit;
    use crate::testing::repository;
    use model::ObjectKind;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn snapshot(second: i64, host: &str, paths: &[&str], tags: &[&str]) -> Snapshot {
        Snapshot {
            time: Timestamp::from_second(second).unwrap(),
            hostname: host.into(),
            paths: strings(paths),
            tags: strings(tags),
            ..Snapshot::of_tree(Digest([1; 32]))
        }
    }

    #[test]
    fn rules_count_in_each_group_by_itself() {
        let repository = repository();
        for second in 0..3 {
            for (host, paths) in [("a", &["/x", "/y"][..]), ("a", &["/y", "/x"]), ("b", &["/x"])] {
                let tags = if second == 0 { &["old"][..] } else { &[] };
                let second = second * 10 + i64::from(paths[0] == "/y");
                repository.save_snapshot(&snapshot(second, host, paths, tags)).unwrap();
            }
        }
        let plan = |by: &str| {
            let all = repository.snapshots().unwrap().value;
            let rules = Rules { last: Limit::AtMost(1), ..Rules::default() };
            let now = Timestamp::from_second(1000).unwrap();
            plan_forget(all, &rules, by.parse().unwrap(), now, &TimeZone::UTC)
        };
        let sizes = |by: &str| plan(by).iter().map(|it| it.decisions.len()).collect::<Vec<_>>();
        assert_eq!(sizes("host,paths"), [6, 3]);
        assert_eq!(sizes(""), [9]);
        assert_eq!(sizes("tags"), [6, 3]);
        assert_eq!(sizes("paths"), [3, 6]);
        assert!("day".parse::<GroupBy>().is_err());
        let plan = plan("host,paths");
        assert_eq!(plan[0].key.to_string(), "host a; paths /x, /y");
        assert!(plan.iter().all(|group| !group.is_emptied()));
        assert_eq!(plan.iter().map(|group| group.forgotten().count()).sum::<usize>(), 7);
    }

    #[test]
    fn a_filter_lets_pass_what_has_all_that_it_asks_for() {
        let one = snapshot(1, "a", &["/x", "/y"], &["t", "u"]);
        let bare = snapshot(1, "b", &["/x"], &[]);
        let passes = |hosts: &[&str], tags: &[&[&str]], paths: &[&str]| {
            let tags = tags.iter().map(|list| strings(list)).collect();
            let filter = Filter { hosts: strings(hosts), tags, paths: strings(paths) };
            (filter.passes(&one), filter.passes(&bare))
        };
        assert_eq!(passes(&[], &[], &[]), (true, true));
        assert_eq!(passes(&["b", "c"], &[], &[]), (false, true));
        assert_eq!(passes(&[], &[&["t", "u"], &["v"]], &["/y"]), (true, false));
        assert_eq!(passes(&[], &[&["t", "v"]], &[]), (false, false));
        assert_eq!(passes(&[], &[&[""]], &["/x"]), (false, true));
    }

    #[test]
    fn only_who_has_the_repository_alone_forgets_and_one_failure_stops_nobody() {
        let store = std::sync::Arc::new(store::Faulty::new(store::Memory::new()));
        let shared = std::sync::Arc::clone(&store);
        let repository = crate::testing::repository_in(shared);
        let ids: Vec<_> = (0..4)
            .map(|n| repository.save_snapshot(&snapshot(n, "a", &[], &[])).unwrap())
            .collect();
        let lock = repository.lock(LockMode::Shared).unwrap();
        let refused = repository.forget(&lock, &ids, |_, _| panic!("nothing is removed"));
        assert!(matches!(refused, Err(Error::NotAlone { .. })));
        drop(lock);
        let lock = repository.lock(LockMode::Exclusive).unwrap();
        let (remove, kind) = (store::Operation::Remove, ObjectKind::Snapshot);
        store.fail_nth_of(remove, kind, 2, store::Fault::Denied);
        let mut failed = Vec::new();
        let each = |id, outcome: Result<(), Error>| failed.extend(outcome.err().map(|_| id));
        repository.forget(&lock, &ids[..3], each).unwrap();
        assert_eq!(failed, [ids[1]]);
        let mut left = [ids[1], ids[3]];
        left.sort_unstable();
        assert_eq!(repository.names(ObjectKind::Snapshot).unwrap(), left);
    }
}
