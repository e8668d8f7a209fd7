//! What can be wrong with a log, and where. Each fault is of one line.

use crate::Actor;
use model::Digest;
use signing::Fingerprint;
use std::fmt;

/// The first link of a log that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which line of the file, from 1.
    pub line: u64,
    /// Whose entry it is, as far as that can be told.
    pub actor: Option<Box<Actor>>,
    /// Which entry of its chain.
    pub number: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(actor) = &self.actor {
            write!(f, ", {actor}")?;
        }
        if let Some(number) = self.number {
            write!(f, ", entry {number}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for Broken {}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is nothing.
    #[error("the file is empty")]
    Empty,
    /// The file ends in the middle of it.
    #[error("it is cut off: it has no end of line")]
    NoEnd,
    /// It is longer than any.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The longest.
        limit: usize,
    },
    /// More of them than there can be.
    #[error("there are more entries than a seed can have")]
    TooMany,
    /// Not UTF-8.
    #[error("it is no text")]
    NotText,
    /// Not what it should be.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// Something has been added, left out or written in another way.
    #[error("it is not in the form in which it was signed")]
    OtherForm,
    /// Of another version.
    #[error("it is of version {0}, which this program does not know")]
    Version(u32),
    /// Text that must not be shown.
    #[error("a text in it is longer than it may be, or has control characters")]
    Unsound,
    /// Not by the key that is named.
    #[error("its signature is not that of the key it names: it was changed")]
    Signature,
    /// By a key that nobody trusts.
    #[error("it is signed by {found}, which is not among the trusted keys")]
    Untrusted {
        /// Whose signature it has.
        found: Fingerprint,
    },
    /// By a key that is trusted as somebody else.
    #[error("it is signed by {found}, which is trusted as {known} and not as {claimed}")]
    OtherName {
        /// Whose signature it has.
        found: Fingerprint,
        /// As whom that is trusted.
        known: String,
        /// As whom it signs.
        claimed: String,
    },
    /// Of another seed.
    #[error("it is of another seed")]
    OtherSeed,
    /// Taken away, brought in or moved.
    #[error("it is number {found} of the log, where {expected} has to be")]
    Order {
        /// What it says.
        found: u64,
        /// What is missing here.
        expected: u64,
    },
    /// Of its chain, something is missing or twice.
    #[error("it is entry {found} of its chain, where {expected} has to be")]
    Number {
        /// What it says.
        found: u64,
        /// What is missing here.
        expected: u64,
    },
    /// Made after another entry.
    #[error("it does not follow from the entry before it in its chain")]
    Previous,
    /// Countersigned after another line.
    #[error("it does not follow from the line before it")]
    Before,
    /// Two keys under one name.
    #[error("the same name has signed with another key before: {before}")]
    SecondKey {
        /// The first one's.
        before: Fingerprint,
    },
    /// The server's part is not by the server's key.
    #[error("it is countersigned by {found}, and the log is {expected}'s")]
    OtherServer {
        /// Whose countersignature it has.
        found: Fingerprint,
        /// Whose it should have.
        expected: Fingerprint,
    },
    /// Not by the server's key.
    #[error("the server's signature is not that of the key it names: it was changed")]
    Countersignature,
    /// Who countersigns is nobody's but the server's key.
    #[error("the key that countersigns this log has written entries as {0}")]
    ServerAsActor(String),
    /// Something of the end is gone.
    #[error(
        "the log is cut off: it has {found} entries here, and the server has signed for {count}"
    )]
    CutOff {
        /// How many there are.
        found: u64,
        /// How many there should be.
        count: u64,
    },
    /// Something came after the end.
    #[error("the server has signed for {count} entries, and here is one more")]
    TooLate {
        /// How many there should be.
        count: u64,
    },
    /// Another last line.
    #[error("the last line is another one than the server has signed for")]
    OtherLast,
    /// The receipt is not to be believed.
    #[error("the receipt: {0}")]
    Receipt(String),
    /// There should be one.
    #[error("the seed is published here, and the log has no receipt")]
    NoReceipt,
    /// A chain is shorter than the receipt says.
    #[error("the chain is cut off: the receipt says {count} entries, and here are {found}")]
    Head {
        /// How many there are.
        found: u64,
        /// How many there were.
        count: u64,
    },
    /// A chain is another one.
    #[error("the receipt names {} as the hash of this entry, and it is {}", expected.short(), found.short())]
    OtherHead {
        /// What it is.
        found: Digest,
        /// What it was.
        expected: Digest,
    },
}
