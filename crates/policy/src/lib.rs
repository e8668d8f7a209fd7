//! What is to be done for a protection group, and when: schedules, retention, exclusions, commands around a
//! backup, bandwidth by time of day.
//!
//! Pure: moments and time zones come in as values. Everything here is read from what people write, so each type has
//! one way to be written, and refuses what it does not know. Runs nothing.

mod bandwidth;
mod days;
mod due;
mod exclude;
mod hook;
mod keep;
mod schedule;
mod snapshot;

pub use bandwidth::{Bandwidth, Hours, WorkDays};
pub use days::Days;
pub use due::{Due, GRACE, due};
pub use exclude::{Exclude, Size};
pub use hook::{Hook, TIMEOUT, When};
pub use keep::Keep;
pub use schedule::Schedule;
pub use snapshot::Snapshot;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Something written that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {wanted}")]
pub struct Invalid {
    text: String,
    wanted: String,
}

impl Invalid {
    pub(crate) fn new(text: &str, wanted: impl Into<String>) -> Self {
        Self { text: text.chars().take(80).collect(), wanted: wanted.into() }
    }
}

/// What is to be done for a protection group. The default does nothing by itself, and keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// When it is backed up by itself.
    #[serde(default, skip_serializing_if = "Schedule::is_empty")]
    pub schedule: Schedule,
    /// A scheduled backup begins up to so much later, so that many servers do not begin at once.
    #[serde(default, skip_serializing_if = "SignedDuration::is_zero")]
    pub jitter: SignedDuration,
    /// What becomes of a backup whose time has passed while nothing could run.
    #[serde(default, skip_serializing_if = "Missed::is_run")]
    pub missed: Missed,
    /// Which recovery points are kept; all while there is no rule.
    #[serde(default, skip_serializing_if = "Keep::is_everything")]
    pub keep: Keep,
    /// What is not backed up.
    #[serde(default, skip_serializing_if = "Exclude::is_nothing")]
    pub exclude: Exclude,
    /// Whether it is backed up from snapshots of its file systems.
    #[serde(default, skip_serializing_if = "Snapshot::is_off")]
    pub snapshot: Snapshot,
    /// Runs before each backup.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "hook::before")]
    pub before: Option<Hook>,
    /// Runs after each backup, however that ended; or within it, once snapshots hold everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Hook>,
}

/// What becomes of a backup whose time has passed while nothing could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// It is made as soon as possible; several that were missed are made up for by one.
    #[default]
    Run,
    /// It is left out.
    Skip,
}

impl Missed {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
    fn is_run(&self) -> bool {
        *self == Self::Run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
schedule = ["mon-fri 12:00, 22:30", "0 3 * * SUN"]
jitter = "10m"
missed = "skip"
keep = { last = 3, daily = 14, weekly = 8, monthly = 12, yearly = 5 }
exclude = { patterns = ["*.tmp", "/srv/cache/"], larger-than = "10 GiB", if-present = [".nobackup"], one-file-system = true }
snapshot = "require"
before = { command = ["/usr/local/bin/freeze", "--now"], timeout = "5m" }
after = { command = ["/usr/local/bin/thaw"], required = false, when = "snapshot" }
"#;

    #[test]
    fn a_policy_is_read_as_people_write_it_and_comes_back_from_json() {
        let policy: Policy = toml::from_str(TEXT).unwrap();
        assert_eq!(policy.jitter, SignedDuration::from_mins(10));
        assert_eq!(policy.missed, Missed::Skip);
        assert_eq!(policy.keep.daily, 14);
        assert_eq!(policy.snapshot, Snapshot::Require);
        assert_eq!(policy.exclude.larger_than.unwrap().0.0, 10 << 30);
        assert_eq!(policy.before.as_ref().unwrap().timeout, SignedDuration::from_mins(5));
        assert!(!policy.after.as_ref().unwrap().required);
        assert_eq!(policy.after.as_ref().unwrap().when, When::Snapshot);
        let sooner = TEXT.replace("timeout = \"5m\"", "when = \"snapshot\"");
        let wrong = toml::from_str::<Policy>(&sooner).unwrap_err().to_string();
        assert!(wrong.contains("for the command after"), "{wrong}");
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }

    #[test]
    fn what_is_not_known_is_refused_and_nothing_is_nothing() {
        assert_eq!(toml::from_str::<Policy>("").unwrap(), Policy::default());
        assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), "{}");
        for wrong in [
            "shedule = []",
            "schedule = ['mon-fry 12:00']",
            "schedule = ['25:00']",
            "schedule = ['* * *']",
            "keep = { dayly = 1 }",
            "missed = 'maybe'",
            "snapshot = 'always'",
            "before = { command = [] }",
            "before = { command = ['x'], timeout = '0s' }",
            "exclude = { larger-than = 'big' }",
            "jitter = 'soon'",
        ] {
            assert!(toml::from_str::<Policy>(wrong).is_err(), "{wrong}");
        }
    }
}
