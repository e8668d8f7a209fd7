//! Whether files are backed up from snapshots of their file systems. Takes none.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Whether files are backed up from snapshots of their file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snapshot {
    /// They are read as they are.
    #[default]
    Off,
    /// Where there can be one; what is read as it is, is said.
    Auto,
    /// Nothing is backed up without.
    Require,
}

impl Snapshot {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
    pub(crate) fn is_off(&self) -> bool {
        *self == Self::Off
    }

    /// As people write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Require => "require",
        }
    }
}

impl FromStr for Snapshot {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let all = [Self::Off, Self::Auto, Self::Require];
        let found = all.into_iter().find(|one| one.word() == text);
        found.ok_or_else(|| Invalid::new(text, "off, auto or require"))
    }
}
