//! What can go wrong with a store. Says what to do next where there is something to do.

use model::ObjectKey;
use std::io;

/// Why a store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("{location} has no {key}")]
    NotFound {
        /// Where.
        location: String,
        /// Which.
        key: ObjectKey,
    },
    /// The name is taken by other bytes, which stay.
    #[error("{location} already has another {key}")]
    Conflict {
        /// Where.
        location: String,
        /// Which.
        key: ObjectKey,
    },
    /// The bytes are not what their name or length says.
    #[error("{key} in {location} is damaged: {what}")]
    Corrupt {
        /// Where.
        location: String,
        /// Which.
        key: ObjectKey,
        /// How it shows.
        what: String,
    },
    /// Longer than an object of this kind can be.
    #[error("{key} in {location} is {length} bytes long, more than the {limit} it may have")]
    TooLong {
        /// Where.
        location: String,
        /// Which.
        key: ObjectKey,
        /// Its length.
        length: u64,
        /// The most it may have.
        limit: u64,
    },
    /// The place refuses this caller or this operation.
    #[error("{location} refuses: {what}")]
    Denied {
        /// Where.
        location: String,
        /// What was refused.
        what: String,
    },
    /// No room is left.
    #[error(
        "{location} is full; make room there and run the same command again, it goes on where it stopped"
    )]
    Full {
        /// Where.
        location: String,
    },
    /// More than may lie there, whatever room there is.
    #[error("{location} takes no more: {what}")]
    Quota {
        /// Where.
        location: String,
        /// Whose quota, what is used, and what was wanted.
        what: String,
    },
    /// Not reachable, or gone in the middle.
    #[error("{location} cannot be reached")]
    Unavailable {
        /// Where.
        location: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something answers there, but not as a restic REST server does.
    #[error("{location} does not answer as a REST server should: {what}")]
    Protocol {
        /// Where.
        location: String,
        /// What it answered.
        what: String,
    },
    /// This is no location.
    #[error("'{location}' is not a location: {what}")]
    Location {
        /// What was given.
        location: String,
        /// What is wrong with it.
        what: String,
    },
    /// The stream to store from failed.
    #[error("reading what should become {key} failed")]
    Source {
        /// Which.
        key: ObjectKey,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The operating system refused.
    #[error("{action} {path} failed")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}
