//! The server in process, over a real database, a real object store and real TLS on the loopback
//! address. One binary, because linking is what takes long.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "tests may stop on a surprise; helpers outside of them as well"
)]

extern crate packmule_server as server;

mod arm;
mod backends;
mod custody;
mod dataplane;
mod entra;
mod events;
mod exports;
mod files;
mod increments;
mod jobs;
mod jumps;
mod keeping;
mod key_removals;
mod keys;
mod lifecycle;
mod maintenance;
mod moved;
mod parity;
mod publication;
mod restic;
mod revisions;
mod routes;
mod sample;
mod site;
mod subscriptions;
mod successors;
mod tls;
