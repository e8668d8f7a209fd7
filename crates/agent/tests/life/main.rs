//! The agent against a server in process, over real TLS on the loopback address: whole lives of
//! seeds, every place where a process can die, and everything that must be refused.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may stop on a surprise; helpers outside of them as well"
)]

mod abandon;
mod catch_up;
mod check;
mod copy;
mod custody;
mod deaths;
mod direct;
mod distrust;
mod groups;
mod identity;
mod in_transit;
mod journey;
mod keeping;
mod keys;
mod origin;
mod recover;
mod refill;
mod site;
mod wanted;
