//! Alerts of this machine's certificate, of what opens its repository, and of what is deleted from it. Changes nothing itself.

use crate::alert::Severity;
use crate::{Db, Error, Work};
use agent::KeysStatus;
use jiff::{SignedDuration, Timestamp};
use wire::Deletion;

/// So long before its end, a certificate that cannot be renewed is an alert.
const WARNED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The alert that tells of this machine's certificate.
const CERTIFICATE: &str = "certificate";
/// The alert that tells of what somebody wants deleted.
const DELETIONS: &str = "deletions";
/// The alert that tells of keys that somebody wants removed.
const KEYS: &str = "keys";

/// Has the certificate renewed when that is due. One that is near its end, and could not be renewed, is an alert.
pub(crate) fn certificate(db: &Db, work: &dyn Work, now: Timestamp) -> Result<(), Error> {
    let why = match work.renew() {
        Ok(Some(machine)) if machine.from > now => {
            let text = format!(
                "this machine's certificate begins on {:.0}, so a clock was ahead when it was made, or is behind now; if the clock is right, register again with fresh credentials of the vault: packmule agent register --credentials FILE",
                machine.from
            );
            return db.raise(CERTIFICATE, Severity::Error, &text, now);
        }
        // Somebody else is at it just now, as a run that has begun: it has ended all the same.
        Ok(Some(machine)) if machine.until <= now => "another run tries it just now".to_owned(),
        Ok(_) => return db.close(CERTIFICATE, now),
        Err(why) => why.to_string(),
    };
    let Some(machine) = work.certificate() else { return Ok(()) };
    if machine.until.duration_since(now) > WARNED {
        tracing::warn!("this machine's certificate is not renewed yet: {why}");
        return Ok(());
    }
    let (severity, ends) = match machine.until <= now {
        true => (Severity::Error, "ended"),
        false => (Severity::Warning, "ends"),
    };
    let text = format!(
        "this machine's certificate {ends} on {:.0} and could not be renewed: {why}",
        machine.until
    );
    db.raise(CERTIFICATE, severity, &text, now)
}

/// Tells of a key that somebody else wants removed; `asked` says whether the server could be asked.
pub(crate) fn keys(db: &Db, keys: &KeysStatus, asked: bool, now: Timestamp) -> Result<(), Error> {
    let Some(removal) = keys.foreign.first() else {
        return if asked { db.close(KEYS, now) } else { Ok(()) };
    };
    let text = format!(
        "somebody has asked the vault to remove key {} of this server's repository on {:.0}, and it was not this machine: look at packmule agent keys, and let it stay with --keep",
        removal.key.short(),
        removal.due_at
    );
    db.raise(KEYS, Severity::Error, &text, now)
}

/// Tells of what somebody else wants deleted from this server's repository; `asked` as for [`keys`].
pub(crate) fn deletions(
    db: &Db,
    foreign: &[Deletion],
    asked: bool,
    now: Timestamp,
) -> Result<(), Error> {
    // The first one: to undelete it is to undelete those after it.
    let Some(first) = foreign.iter().min_by_key(|deletion| deletion.id) else {
        return if asked { db.close(DELETIONS, now) } else { Ok(()) };
    };
    let Deletion { id, subject, due_at, .. } = first;
    let sum = |of: fn(&Deletion) -> u64| foreign.iter().map(of).sum::<u64>();
    let text = format!(
        "somebody has asked the vault to delete {} recovery points and {} packs of this server, and it was not this machine (deletion {id}, by {subject}, carried out from {due_at:.0} on): packmule agent deletions --undelete {id} brings all of it back; if it is wanted: packmule agent deletions --allow {id}",
        sum(|deletion| deletion.snapshots),
        sum(|deletion| deletion.packs),
    );
    db.raise(DELETIONS, Severity::Error, &text, now)
}
