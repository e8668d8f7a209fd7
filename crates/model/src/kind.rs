//! What went wrong, coarsely enough to act on. Does not carry the words.

/// The kind of an error. Each library's error has one; the binary maps it to an exit code,
/// the server to an HTTP status, each in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// There is no repository at the location.
    NoRepository,
    /// It exists already with other content, or changed meanwhile.
    Conflict,
    /// Somebody else holds a lock that forbids this.
    Locked,
    /// The input is malformed or against a rule.
    Invalid,
    /// Not allowed for this caller.
    Denied,
    /// No key opens with this password.
    WrongPassword,
    /// A drive is missing, of another job, or the same one twice.
    WrongDrive,
    /// Stored bytes are not what they must be.
    Corrupt,
    /// The medium has no room.
    Full,
    /// Not reachable now; trying again may help.
    Unavailable,
    /// Stopped because the caller asked for it.
    Interrupted,
    /// Our own fault, or the operating system's.
    Internal,
}
