//! A backup straight onto drives: passes over the source until one loses nothing. Knows no drive; how packs get
//! onto them is in `seed::direct`, and why it is so in `docs/design/direct.md`.

pub(crate) mod life;

use crate::{Error, names};
use backup::{BackupOptions, BackupOutcome};
use model::Digest;
use repo::{LockGuard, LockMode, Repository};
use seed::direct::{DriveSet, Ended, Host};
use seed::{DriveSpec, Event, Events};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Overlay, Store};
use wire::SeedId;

/// Who is told, and asked.
pub trait Desk: Events {
    /// No drive at hand has room: another one, or none to end here. `refused` is why the one that was given
    /// before cannot be used.
    fn next_drive(&mut self, refused: Option<&seed::Error>) -> Option<DriveSpec>;

    /// Something was lost, and the source is gone over once more: only files with something lost are read.
    fn another_pass(&mut self);
}

/// How it ended.
#[derive(Debug)]
pub enum Direct {
    /// Everything is on sealed drives.
    Complete(Box<BackupOutcome>),
    /// It was before; nothing was backed up now.
    Already,
    /// Another drive is needed. The same call with one goes on.
    NeedsDrive,
}

/// Backs up onto the drives of a set. `repository` is the one that the set keeps locally. Nobody else uses it. What is `known` is
/// the same repository elsewhere: what that has is not stored again.
///
/// # Errors
/// Whatever stops it; what counts on drives by then stays, and the same call goes on. An unreadable item and a
/// drive that fails are no errors.
pub fn backup_onto_drives(
    repository: &Repository,
    set: &mut DriveSet<'_>,
    desk: &mut dyn Desk,
    options: &BackupOptions<'_>,
    known: Option<Arc<dyn Store>>,
) -> Result<Direct, Error> {
    if set.is_complete() {
        return Ok(Direct::Already);
    }
    let near = set.near();
    let store: Arc<dyn Store> = match known {
        Some(known) => Arc::new(Overlay::new(set.store(), known)),
        None => set.store(),
    };
    let over = repository.across(store, Arc::clone(&near));
    let beside = repository.across(Arc::clone(&near), near);
    let lock = over.lock(LockMode::Shared)?;
    loop {
        beside.drop_lost_packs(&lock)?;
        set.forget_lost();
        let mut host = Indexing { desk, repository: &beside, lock: &lock, failed: None };
        let (done, ended) = set.run(&mut host, || backup::backup(&over, &lock, options));
        if let Some(error) = host.failed {
            return Err(error.into());
        }
        match (ended, done) {
            (Ended::Failed(error), _) => return Err(error.into()),
            (Ended::NeedsDrive, _) => return Ok(Direct::NeedsDrive),
            (Ended::Lost, _) => desk.another_pass(),
            (Ended::Through, Some(Ok(outcome))) => return Ok(Direct::Complete(Box::new(outcome))),
            (Ended::Through, Some(Err(error))) => return Err(error.into()),
            (Ended::Through, None) => return Err(seed::Error::Interrupted.into()),
        }
    }
}

/// What is written to a drive would be backed up onto it.
///
/// # Errors
/// [`Error::DriveInside`] for a drive that lies within one of the paths.
pub fn refuse_inside<'d>(
    paths: &[PathBuf],
    drives: impl IntoIterator<Item = &'d Path>,
) -> Result<(), Error> {
    for drive in drives {
        let at = names::resolved(drive);
        if let Some(path) = paths.iter().find(|path| at.starts_with(names::resolved(path))) {
            let (drive, source_path) = (drive.to_owned(), path.clone());
            return Err(Error::DriveInside { drive, source_path });
        }
    }
    Ok(())
}

/// The seed that a set without staging is: a repository that lies on such drives is one seed, whose id follows from
/// the repository's, so that it need not be remembered.
#[must_use]
pub fn seed_of_drives(repository: &Repository) -> SeedId {
    let mut hash = Sha256::new();
    hash.update(b"packmule direct seed v1\n");
    hash.update(repository.identity().as_bytes());
    let hash = Digest(hash.finalize().into());
    SeedId(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// Indexes what is on a drive before it is sealed, and may be taken away.
struct Indexing<'a> {
    desk: &'a mut dyn Desk,
    repository: &'a Repository,
    lock: &'a LockGuard,
    failed: Option<repo::Error>,
}

impl Indexing<'_> {
    fn index(&self) -> Result<(), repo::Error> {
        let mut index = self.repository.load_index()?.value;
        self.repository.adopt_packs(self.lock, &mut index).map(drop)
    }
}

impl Events for Indexing<'_> {
    fn event(&mut self, event: Event<'_>) {
        self.desk.event(event);
    }

    fn stop(&self) -> bool {
        self.desk.stop()
    }
}

impl Host for Indexing<'_> {
    fn before_sealing(&mut self) -> bool {
        self.failed = self.index().err();
        self.failed.is_none()
    }

    fn next_drive(&mut self, refused: Option<&seed::Error>) -> Option<DriveSpec> {
        self.desk.next_drive(refused)
    }
}
