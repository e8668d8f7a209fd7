//! Removes what a prune has made superfluous: old indexes, then packs. Decides nothing.

use super::{PruneEvent, PruneOptions};
use crate::{Error, LockGuard};
use model::{Digest, ObjectKey};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many packs are removed at once: a disk syncs a folder for each, a network answers each.
const AT_ONCE: usize = 8;

/// What may be removed, once everything that replaces it is there: first the indexes, then the packs.
///
/// Whoever has it removed by others must see to it that nobody is shown these packs any more from the moment on at which
/// they are asked to: a backup would rely on what is in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Removals {
    /// Indexes that name packs which go.
    pub indexes: Vec<Digest>,
    /// Packs that nothing needs and no index names then.
    pub packs: Vec<Digest>,
}

impl Removals {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty() && self.packs.is_empty()
    }

    /// Removes them.
    ///
    /// # Errors
    /// [`Error::NotAlone`], [`Error::LockLost`], [`Error::Interrupted`], those of the store: what is left then is of no harm, and the next
    /// prune removes it.
    pub fn carry_out(self, lock: &LockGuard, options: &PruneOptions<'_>) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let (indexes, packs) = (self.indexes.len(), self.packs.len());
        (options.events)(PruneEvent::Removing { indexes, packs });
        for index in &self.indexes {
            remove(lock, options, ObjectKey::Index(*index))?;
        }
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(packs) {
                scope.spawn(|| {
                    while let Some(pack) = self.packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(fault) = remove(lock, options, ObjectKey::Pack(*pack)) {
                            let mut failure =
                                failure.lock().unwrap_or_else(PoisonError::into_inner);
                            failure.get_or_insert(fault);
                            next.store(packs, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => Err(fault),
            None => Ok(lock.repository().store().remove_leftovers()?),
        }
    }
}

fn remove(lock: &LockGuard, options: &PruneOptions<'_>, key: ObjectKey) -> Result<(), Error> {
    options.go_on()?;
    lock.alone()?;
    lock.repository().store().remove(&key)?;
    (options.events)(PruneEvent::Removed);
    Ok(())
}
