//! An export job that brings once more what did not arrive by others: a further drive set of theirs. Creates none.

use super::others;
use crate::Error;
use crate::jobs::record::Record;
use sqlx::SqliteConnection;
use wire::{Code, JobRequest, PublicKey};

/// Who has signed the drives of that export. One that brings something again is of the same list, and a set of its own.
///
/// # Errors
/// There is no such export, nothing of it was written, or another job is that set.
pub(super) async fn writer(
    on: &mut SqliteConnection,
    own: &JobRequest,
) -> Result<PublicKey, Error> {
    let others = others(on, own).await?;
    let refused = |message: String| Err(Error::refused(Code::JobState, message));
    let is_of_it = |other: &Record| {
        let same = |request: &JobRequest| {
            (&request.vault, &request.server, request.seed.signer, request.seed.sets)
                == (&own.vault, &own.server, own.seed.signer, own.seed.sets)
        };
        other.export.is_some() && other.request.as_ref().is_some_and(same)
    };
    if others.is_empty() || !others.iter().all(is_of_it) {
        let id = own.seed.id;
        return refused(format!("no export {id} of that signer is known here; export it anew"));
    }
    let set = |other: &Record| other.request.as_ref().map(|request| request.seed.set);
    if let Some(other) = others.iter().find(|other| set(other) == Some(own.seed.set)) {
        let message = format!("export job {} is that drive set; take the next one", other.name);
        return Err(Error::refused(Code::AlreadyExists, message));
    }
    match others.iter().find_map(|other| other.export.as_ref()?.writer) {
        Some(writer) => Ok(writer),
        None => refused(format!("nothing of export {} was written before", own.seed.id)),
    }
}
