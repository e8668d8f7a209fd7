//! `Microsoft.ImportExport`: jobs, their drives' keys, locations and operations, in its three versions.
//! Maps to and from what `jobs` keeps; decides no transition.

mod details;
mod jobs;
mod locations;
mod request;
mod view;

pub(super) use jobs::{delete, get, keys, list, list_in_group, patch, put};
pub(super) use locations::{location, locations, operations};
