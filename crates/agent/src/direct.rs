//! A backup straight onto drives: passes over the source until one loses nothing. Knows no drive; how packs get
//! onto them is in `seed::direct`, and why it is so in `docs/design/direct.md`.

pub(crate) mod life;
mod seat;
pub(crate) mod series;

use crate::{Error, names};
use backup::{BackupOptions, BackupOutcome, KeptJournal};
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
    /// Everything is on sealed drives: what each backup did, in the order in which they were given.
    Complete(Vec<BackupOutcome>),
    /// It was before; nothing was backed up now.
    Already,
    /// Another drive is needed. The same call with one goes on.
    NeedsDrive,
}

/// Backs up onto the drives of a set, one after the other if there are several: all of them are on the drives, or none is. `repository`
/// is the one that the set keeps locally. Nobody else uses it. What is `known` is the same repository elsewhere: what that has is not
/// stored again.
///
/// # Errors
/// Whatever stops it; what counts on drives by then stays, and the same call goes on. An unreadable item and a
/// drive that fails are no errors.
pub fn backup_onto_drives(
    repository: &Repository,
    set: &mut DriveSet<'_>,
    desk: &mut dyn Desk,
    backups: &[BackupOptions<'_>],
    known: Option<&Arc<dyn Store>>,
) -> Result<Direct, Error> {
    if set.is_complete() {
        return Ok(Direct::Already);
    }
    let near = set.near();
    let seen = |store: Arc<dyn Store>| -> Arc<dyn Store> {
        match known {
            Some(known) => Arc::new(Overlay::new(store, Arc::clone(known))),
            None => store,
        }
    };
    let over = repository.across(seen(set.store()), Arc::clone(&near));
    let before_last = repository.across(seen(set.store_before_last()), Arc::clone(&near));
    let beside = repository.across(Arc::clone(&near), near);
    let lock = over.lock(LockMode::Shared)?;
    loop {
        beside.drop_lost_packs(&lock)?;
        set.forget_lost();
        let mut host = Indexing { desk, repository: &beside, lock: &lock, failed: None };
        let (done, ended) = set.run(&mut host, || pass((&before_last, &over), &lock, backups));
        if let Some(error) = host.failed {
            return Err(error.into());
        }
        match (ended, done) {
            (Ended::Failed(error), _) => return Err(error.into()),
            (Ended::NeedsDrive, _) => return Ok(Direct::NeedsDrive),
            (Ended::Lost, _) => desk.another_pass(),
            (Ended::Through, Some(Ok(done))) => {
                let (outcomes, journals): (Vec<_>, Vec<_>) = done.into_iter().unzip();
                // One that stays is of no use to the next backup of these paths, and does it no harm.
                journals.into_iter().for_each(|journal| drop(journal.remove()));
                return Ok(Direct::Complete(outcomes));
            }
            (Ended::Through, Some(Err(error))) => return Err(error.into()),
            (Ended::Through, None) => return Err(seed::Error::Interrupted.into()),
        }
    }
}

/// What was read stays noted until nothing can be lost any more: another pass reads only what it has to.
fn pass(
    (before_last, over): (&Repository, &Repository),
    lock: &LockGuard,
    backups: &[BackupOptions<'_>],
) -> Result<Vec<(BackupOutcome, KeptJournal)>, backup::Error> {
    let one = |(at, options): (usize, &BackupOptions<'_>)| {
        let is_last = at.saturating_add(1) == backups.len();
        backup::backup_with_journal(if is_last { over } else { before_last }, lock, options)
    };
    backups.iter().enumerate().map(one).collect()
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
