//! A seed that is complete in staging is announced: to the server, and by a note in staging, so that another
//! computer can write its drives. The note is a pointer and is believed in nothing: what the seed is, the server
//! says. Writes no drive.

use crate::Error;
use crate::context::Context;
use crate::names;
use crate::record::{SeedRecord, StagedBackup};
use crate::vault::Vault;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use wire::{FirstBackup, SeedAnnouncement, SeedId};

/// The note's file. No repository has one of that name, and others leave it alone.
const NOTE: &str = "packmule-seed.json";
const VERSION: u32 = 1;
/// A note is some hundred bytes.
const LIMIT: u64 = 1 << 16;

/// What a note in staging says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StagedSeed {
    version: u32,
    /// The seed.
    pub id: SeedId,
    /// The server that knows it.
    pub endpoint: String,
}

/// The seed that the note in a staging location names.
///
/// # Errors
/// [`Error::NoNote`] where there is none; [`Error::Damaged`], [`Error::Version`].
pub fn staged_seed(staging: &str) -> Result<StagedSeed, Error> {
    let folder = names::staging_folder(staging)?;
    let path = folder.join(NOTE);
    let file = match File::open(&path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoNote { staging: folder });
        }
        other => other.map_err(Error::io("opening", &path))?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).map_err(Error::io("reading", &path))?;
    let damaged =
        |what: serde_json::Error| Error::Damaged { path: path.clone(), what: what.to_string() };
    let note: StagedSeed = serde_json::from_slice(&bytes).map_err(damaged)?;
    if note.version != VERSION {
        return Err(Error::Version { path, version: note.version });
    }
    Ok(note)
}

/// Announces the seed. The note comes last: whoever finds it finds the seed at the server, too.
///
/// # Errors
/// The server is away or refuses; staging cannot be written.
pub(crate) fn announce(ctx: &Context<'_>, vault: &Vault, record: &SeedRecord) -> Result<(), Error> {
    ctx.check_stop()?;
    let repository = record.repository.ok_or_else(|| Error::NoSeed(record.id))?;
    let backup = |staged: &StagedBackup| {
        let StagedBackup { snapshot, time, problems } = *staged;
        FirstBackup { snapshot, time, problems }
    };
    let backups = record.backups.iter().map(|(group, staged)| (group.clone(), backup(staged)));
    let announcement = SeedAnnouncement {
        import_job: record.import_job.clone(),
        storage_account: record.storage_account.clone(),
        container: record.container.clone(),
        repository,
        backups: backups.collect(),
    };
    vault.client.announce_seed(record.id, &announcement)?;
    let endpoint = vault.client.credentials().endpoint.clone();
    let note = StagedSeed { version: VERSION, id: record.id, endpoint };
    let path = record.staging.join(NOTE);
    let text = serde_json::to_vec_pretty(&note)
        .map_err(|why| Error::Damaged { path: path.clone(), what: why.to_string() })?;
    store::durable::replace(&path, &text, 0o644).map_err(Error::io("writing", &path))
}

/// Whether a note is in staging: no other computer finds a seed without it.
pub(crate) fn is_announced(record: &SeedRecord) -> bool {
    match staged_seed(&record.staging.to_string_lossy()) {
        Ok(note) => note.id == record.id,
        // One that cannot be read now may have been read before.
        Err(error) => !matches!(error, Error::NoNote { .. }),
    }
}

/// Removes the note of a seed that is over.
pub(crate) fn remove_note(staging: &Path) -> Result<(), Error> {
    let path = staging.join(NOTE);
    match std::fs::remove_file(&path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removing", &path)(cause))
        }
        _ => Ok(()),
    }
}
