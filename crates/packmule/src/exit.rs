//! Exit codes: one table, and the one place that maps kinds of error to it.

use model::ErrorKind;

/// One way to end, with what it means to a script.
pub(crate) struct Code {
    /// The number.
    pub(crate) number: u8,
    /// What it says.
    pub(crate) meaning: &'static str,
}

/// Every exit code. The documents' tables are made from this one.
pub(crate) const TABLE: &[Code] = &[
    Code { number: 0, meaning: "done" },
    Code { number: 1, meaning: "failed" },
    Code { number: 2, meaning: "the command line is wrong" },
    Code { number: 3, meaning: "finished, but some items could not be read or written" },
    Code { number: 4, meaning: "verification found damage" },
    Code { number: 10, meaning: "there is no repository" },
    Code { number: 11, meaning: "the repository or state is locked by somebody else" },
    Code { number: 12, meaning: "wrong password" },
    Code { number: 13, meaning: "wrong or missing drive" },
    Code { number: 130, meaning: "interrupted" },
];

/// The table for the help text.
pub(crate) fn help() -> String {
    let codes: Vec<String> =
        TABLE.iter().map(|code| format!("  {:>3}  {}", code.number, code.meaning)).collect();
    format!("Exit codes:\n{}", codes.join("\n"))
}

/// How a command that ran to its end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything asked for is done.
    Done,
    /// It ran to its end, and some items were left out or are incomplete.
    Partial,
    /// It was looked at, and it is damaged.
    Damaged,
    /// It waits for a drive.
    DriveMissing,
}

impl Status {
    /// Its exit code.
    #[must_use]
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Partial => 3,
            Self::Damaged => 4,
            Self::DriveMissing => 13,
        }
    }
}

/// The exit code of an error.
#[must_use]
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NoRepository => 10,
        ErrorKind::Locked => 11,
        ErrorKind::WrongPassword => 12,
        ErrorKind::WrongDrive => 13,
        ErrorKind::Corrupt => 4,
        ErrorKind::Interrupted => 130,
        ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Invalid
        | ErrorKind::Denied
        | ErrorKind::Full
        | ErrorKind::Unavailable
        | ErrorKind::Internal => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_is_used_is_in_the_table() {
        use ErrorKind::{Conflict, Corrupt, Denied, Full, Internal, Interrupted, Invalid, Locked};
        use ErrorKind::{NoRepository, NotFound, Unavailable, WrongDrive, WrongPassword};
        let kinds = [
            NotFound,
            NoRepository,
            Conflict,
            Locked,
            Invalid,
            Denied,
            WrongPassword,
            WrongDrive,
            Corrupt,
            Full,
            Unavailable,
            Interrupted,
            Internal,
        ];
        let statuses = [Status::Done, Status::Partial, Status::Damaged, Status::DriveMissing];
        let used = kinds.map(code).into_iter().chain(statuses.map(Status::code));
        for number in used {
            assert!(TABLE.iter().any(|code| code.number == number), "{number}");
        }
    }
}
