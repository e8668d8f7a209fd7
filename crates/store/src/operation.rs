//! The operations of a store, by name: what [`Recorder`](crate::Recorder) counts and
//! [`Faulty`](crate::Faulty) breaks. Calls none of them.

use std::fmt;

/// One of the calls of [`Store`](crate::Store).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Operation {
    Create,
    Put,
    PutFrom,
    Get,
    ReadAt,
    Open,
    Length,
    List,
    Remove,
}

impl Operation {
    /// Whether it changes what is stored.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Put | Self::PutFrom | Self::Remove)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Put => "put",
            Self::PutFrom => "put_from",
            Self::Get => "get",
            Self::ReadAt => "read_at",
            Self::Open => "open",
            Self::Length => "length",
            Self::List => "list",
            Self::Remove => "remove",
        })
    }
}
