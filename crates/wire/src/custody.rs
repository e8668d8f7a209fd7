//! The custody log of a seed, as far as it travels beside its own format: who writes into it, how long each chain
//! is, entries on their way to the server. Signs and verifies nothing: the custody crate does.

use crate::PublicKey;
use model::{ActorName, Digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What part somebody has in a seed's journey.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// The source server.
    Source,
    /// A copy computer.
    Copy,
    /// A dock.
    Dock,
    /// The server of the control plane.
    Server,
}

impl ActorKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Source, Self::Copy, Self::Dock, Self::Server];

    /// Its word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Copy => "copy",
            Self::Dock => "dock",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for ActorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How far one actor's chain goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustodyHead {
    /// What the actor is.
    pub kind: ActorKind,
    /// Its name.
    pub name: ActorName,
    /// The key that signs its entries.
    pub key: PublicKey,
    /// How many entries; at least one.
    pub count: u64,
    /// The hash of the last of them.
    pub last: Digest,
}

/// Entries of one actor, on their way into the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustodyEntries {
    /// Each exactly as it was signed, in the order of their numbers.
    #[schemars(length(min = 1, max = crate::MAX_CUSTODY_ENTRIES))]
    pub entries: Vec<String>,
}

/// What the server has of that actor then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustodyTaken {
    /// How many entries.
    pub count: u64,
}
