//! The part of Microsoft Graph that registers applications and their credentials. Knows no people, no
//! groups and no devices: a server has none.

mod error;

pub(crate) use error::GraphError;

/// The handlers, for the table of routes.
pub(crate) mod handlers {}
