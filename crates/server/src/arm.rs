//! The resource manager as Azure's clients know it: paths, versions, errors and resources in its own
//! words. Keeps nothing itself: what it answers is what the rest of the server has stored.
//!
//! ```text
//!  path (made plain) ─▶ guard ─▶ api-version ─▶ subscription, group ─▶ resource ─▶ jobs, accounts, vaults
//! ```

mod accounts;
mod authorization;
mod body;
mod fault;
mod groups;
mod import_export;
mod path;
mod routes;
mod scope;
mod subscriptions;
mod vaults;
mod version;

pub(crate) use fault::Fault;
pub(crate) use path::plain;
pub(crate) use routes::add;
