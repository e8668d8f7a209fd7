//! The server: control plane, vaults' data plane, publication. Embedded by default: one process, one
//! data folder. Has no command line and reads no environment; the binary hands it a [`Config`].
//!
//! ```text
//!  routes ─▶ auth ─┬▶ subscriptions, accounts, vaults, docks ─▶ db, backends
//!                  ├▶ jobs ─▶ flow, seed, db, accounts, objects
//!                  ├▶ entra ─▶ db
//!                  ├▶ arm ─▶ groups, accounts, vaults, jobs
//!                  ├▶ publication ─▶ jobs, seed, accounts, objects, custody, receipt
//!                  ├▶ custody ─▶ jobs, receipt, db
//!                  ├▶ deletions ─▶ jobs, exports, settings, objects, db
//!                  └▶ dataplane ─▶ accounts, deletions, quota, objects
//! ```
//!
//! What always holds:
//!
//! - **Nothing is stored under a name that it does not hash to**, and nothing half.
//! - **No object of a repository but a lock is removed** when somebody asks: it is held for days first, and comes back
//!   when they are told to. No drive's password ever is.
//! - **A visible snapshot is complete**: publication shows packs, then indexes, then snapshots.
//! - **A lost race is said**: every change of a job compares the version it has read.
//! - **No token is stored or logged**, only its hash is.

mod accounts;
mod admin;
mod app;
mod arm;
mod audit;
mod auth;
mod backends;
mod config;
mod connections;
mod custody;
mod data;
mod dataplane;
mod db;
mod deletions;
mod docks;
mod entra;
mod error;
mod exports;
mod files;
mod groups;
mod http;
mod identity;
mod jobs;
mod key_removals;
mod machines;
mod notices;
mod objects;
mod openapi;
mod place;
mod principals;
mod publication;
mod quota;
mod receipt;
mod routes;
mod run;
mod seeds;
mod seen;
mod settings;
mod subscriptions;
mod target;
mod token;
mod vaults;

pub use auth::Access;
pub use config::{Checkpoint, Clock, Config, TlsFiles};
pub use entra::Right;
pub use error::Error;
pub use publication::Step;
pub use routes::{Route, routes};
pub use run::{Server, Stopper, run};
