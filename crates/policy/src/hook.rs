//! A command beside a backup. Runs nothing.

use crate::Invalid;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

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
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    command: Vec<String>,
    #[serde(default = "timeout")]
    timeout: SignedDuration,
    #[serde(default = "required")]
    required: bool,
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
        let Written { command, timeout, required } = written;
        if command.first().is_none_or(String::is_empty) {
            return Err(Invalid::new(
                "[]",
                "a command: give the program and its arguments as a list",
            ));
        }
        if timeout <= SignedDuration::ZERO {
            return Err(Invalid::new(&format!("{timeout:#}"), "a time that a command may take"));
        }
        Ok(Self { command, timeout, required })
    }
}
