//! One module a command. Each parses its own options, calls a library, and renders what it says.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod app;
pub(crate) mod audit;
pub(crate) mod caller;
pub(crate) mod certgen;
pub(crate) mod custody;
pub(crate) mod demo;
pub(crate) mod diskprep;
pub(crate) mod dock;
pub(crate) mod drive;
pub(crate) mod export;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod keeping;
pub(crate) mod location;
pub(crate) mod place;
pub(crate) mod policy;
pub(crate) mod repo;
pub(crate) mod resource_group;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod seed;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod subscription;
