//! The cases that are measured, in the order in which one repository goes through them.
//! Runs none of them.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One thing that a backup program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Case {
    /// The first backup, into an empty repository.
    First,
    /// A command that does nothing but open the repository: what deriving the key costs.
    Open,
    /// A backup when nothing has changed.
    Unchanged,
    /// A backup when 1 % has changed.
    Increment,
    /// A backup when 1 % of an image's 4 KiB blocks has changed, at scattered places.
    Scattered,
    /// The last backup into an empty file system.
    Restore,
    /// Everything read and verified.
    Check,
}

impl Case {
    /// Those that can be asked for. Opening is always measured, as others are told beyond it.
    pub(crate) const SHOWN: [Self; 6] = [
        Self::First,
        Self::Unchanged,
        Self::Increment,
        Self::Scattered,
        Self::Restore,
        Self::Check,
    ];

    /// The word that names it on the command line and in raw results.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Open => "open",
            Self::Unchanged => "unchanged",
            Self::Increment => "increment",
            Self::Scattered => "scattered",
            Self::Restore => "restore",
            Self::Check => "check",
        }
    }

    /// What it is called in a table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::Open => "opening (key derivation)",
            Self::Unchanged => "unchanged",
            Self::Increment => "increment 1 %",
            Self::Scattered => "increment, scattered",
            Self::Restore => "restore",
            Self::Check => "check, all data",
        }
    }

    /// Whether the time that opening takes is left out when it is compared.
    pub(crate) fn is_beyond_opening(self) -> bool {
        matches!(self, Self::Unchanged | Self::Increment)
    }

    /// Whether what a command leaves in the page cache counts as its own: what is restored is wanted on the medium.
    pub(crate) fn is_until_written(self) -> bool {
        self == Self::Restore
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::SHOWN.into_iter().find(|case| case.word() == text);
        found.ok_or_else(|| {
            let known = Self::SHOWN.map(Self::word).join(", ");
            format!("there is no case {text}; there are {known}")
        })
    }
}
