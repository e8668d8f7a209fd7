//! One module a command. Each parses its own options, calls a library, and renders what it says.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod certgen;
pub(crate) mod demo;
pub(crate) mod diskprep;
pub(crate) mod dock;
pub(crate) mod drive;
pub(crate) mod repo;
pub(crate) mod seed;
pub(crate) mod serve;
