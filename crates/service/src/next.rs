//! What people are told of the service without asking it: when a group is due, and where settings are. Begins nothing.

use crate::{Db, Error};
use agent::Group;
use jiff::Timestamp;
use policy::{Due, due};
use std::path::Path;

/// When a group is due next, for people: as the service will decide.
///
/// # Errors
/// [`Error::History`].
pub fn next_due(
    db: &Db,
    group: &Group,
    zone: &jiff::tz::TimeZone,
    host: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    if group.stopped.is_some() {
        return Ok(None);
    }
    let last = db.last_scheduled(&group.name, now)?;
    let key = format!("{host}/{}", group.name);
    Ok(match due(&group.policy, &key, zone, (last, now), now) {
        Due::Now { .. } | Due::Skipped { .. } => Some(now),
        Due::At(at) => Some(at),
        Due::Never => None,
    })
}

/// The place of the settings file that is read when none is named.
#[must_use]
pub fn default_settings() -> &'static Path {
    Path::new("/etc/packmule/agent.toml")
}
