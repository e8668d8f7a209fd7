//! A command beside a backup. Runs nothing.

use crate::Invalid;
use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// How long a command may take that says nothing else.
pub const TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// A command beside a backup.
///
/// invariant: there is a program, and it may take some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "Written")]
pub struct Hook {
    /// The program and its arguments; no shell in between.
    pub command: Vec<String>,
    /// After so long it is ended.
    pub timeout: SignedDuration,
    /// Before a backup: whether its failure stops that. After one: whether its failure makes that a failure.
    pub required: bool,
    /// After a backup: when that is.
    #[serde(default, skip_serializing_if = "When::is_end")]
    pub when: When,
}

/// When a command after a backup runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// When the backup is through.
    #[default]
    End,
    /// As soon as snapshots hold everything that is backed up; where they do not, when the backup is through.
    Snapshot,
}

impl When {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
    fn is_end(&self) -> bool {
        *self == Self::End
    }
}

/// A command before a backup, which has no choice of its time.
pub(crate) fn before<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Hook>, D::Error> {
    let hook = Option::<Hook>::deserialize(from)?;
    match &hook {
        Some(Hook { when: When::Snapshot, .. }) => {
            Err(D::Error::custom("`when` is for the command after a backup"))
        }
        _ => Ok(hook),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    command: Vec<String>,
    #[serde(default = "timeout")]
    timeout: SignedDuration,
    #[serde(default = "required")]
    required: bool,
    #[serde(default)]
    when: When,
}

fn timeout() -> SignedDuration {
    TIMEOUT
}

fn required() -> bool {
    true
}

impl TryFrom<Written> for Hook {
    type Error = Invalid;

    fn try_from(written: Written) -> Result<Self, Invalid> {
        let Written { command, timeout, required, when } = written;
        if command.first().is_none_or(String::is_empty) {
            return Err(Invalid::new(
                "[]",
                "a command: give the program and its arguments as a list",
            ));
        }
        if timeout <= SignedDuration::ZERO {
            return Err(Invalid::new(&format!("{timeout:#}"), "a time that a command may take"));
        }
        Ok(Self { command, timeout, required, when })
    }
}
