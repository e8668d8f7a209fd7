//! Removes what no snapshot needs, and packs anew what is still needed of packs that are mostly waste.
//!
//! ```text
//! plan    snapshots ─▶ their trees ─▶ blobs that are used ─▶ what becomes of each pack
//! write   used blobs of repacked packs into new packs ─▶ their indexes ─▶ indexes without what goes
//!         ─▶ every used blob is looked for in what stays
//! remove  old indexes ─▶ packs
//! ```
//! invariant: a used blob is at any moment named by an index, in a pack that is there. So a prune may die between any two
//! of its steps: what it leaves behind are blobs that are there twice and packs that no index names, and the next one removes them.
//! Where anything that is used is missing or damaged, or a snapshot or index cannot be read, nothing is removed at all.
//!
//! The three parts are separate, because a vault takes new objects at once and removes old ones by their
//! names, on request and much later.
//!
//! Memory: the index, a bit for each blob, 80 bytes a pack, 16 bytes for each blob that is packed anew, and the writer's packs.

mod confirm;
mod judge;
mod judged;
mod remove;
mod repack;
mod rewrite;
pub(crate) mod used;

use crate::index::{Index, Marks, Numbered};
use crate::{Error, LockGuard, Repository, WriterOptions};
use judge::Fate;
pub use judge::MaxUnused;
use judged::Retained;
use model::{Digest, ObjectKind};
pub use remove::Removals;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a prune works.
pub struct PruneOptions<'a> {
    /// How much waste is tolerated.
    pub max_unused: MaxUnused,
    /// How many bytes of packs are packed anew at most.
    pub max_repack: Option<u64>,
    /// Packs below this many bytes count as small, and are joined once there are ten; 1 MiB if nothing is said.
    pub small: Option<u64>,
    /// Only packs of trees are packed anew.
    pub trees_only: bool,
    /// Snapshots that are as good as forgotten: nothing is kept for them.
    pub without: &'a HashSet<Digest>,
    /// Snapshots that are not in the repository yet, and whose blobs it must keep.
    pub pending: &'a [Pending<'a>],
    /// Of new packs.
    pub writer: WriterOptions,
    /// With how many threads.
    pub threads: usize,
    /// Ends it before the next step, once it is set.
    pub stop: &'a AtomicBool,
    /// Is told what happens.
    pub events: &'a (dyn Fn(PruneEvent) + Sync),
}

impl PruneOptions<'_> {
    fn go_on(&self) -> Result<(), Error> {
        go_on(self.stop)
    }
}

fn go_on(stop: &AtomicBool) -> Result<(), Error> {
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Snapshots on their way into the repository. Some of their blobs are in it, the others wherever these can be read.
pub struct Pending<'a> {
    /// The repository, together with what is on its way.
    pub repository: &'a Repository,
    /// Everything that it names.
    pub index: &'a Index,
    /// The snapshots' trees.
    pub trees: &'a [Digest],
}

/// What is happening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneEvent {
    /// Trees are being walked.
    Snapshots {
        /// Of how many snapshots.
        count: usize,
    },
    /// Packs are about to be read.
    Reading {
        /// How many.
        packs: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// One pack was read, and what is used of it is on its way into others.
    PackRead {
        /// Its bytes.
        bytes: u64,
    },
    /// New indexes are being written.
    Indexing,
    /// Objects are about to be removed.
    Removing {
        /// How many indexes.
        indexes: usize,
        /// How many packs.
        packs: usize,
    },
    /// One object was removed.
    Removed,
}

/// What there is, and what a plan makes of it. Bytes are those of stored blobs, but where packs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneFigures {
    /// Snapshots that are kept.
    pub snapshots: usize,
    /// Blobs that these need.
    pub used_blobs: u64,
    /// Their bytes.
    pub used_bytes: u64,
    /// Blobs that nobody needs, and second copies.
    pub unused_blobs: u64,
    /// Their bytes.
    pub unused_bytes: u64,
    /// How many of these are second copies.
    pub duplicate_blobs: u64,
    /// Packs that stay as they are.
    pub packs_kept: usize,
    /// Packs of which nothing is used.
    pub packs_removed: usize,
    /// Bytes of these packs.
    pub bytes_removed: u64,
    /// Packs of which the rest is packed anew.
    pub packs_repacked: usize,
    /// Bytes of these packs.
    pub bytes_repacked: u64,
    /// Bytes of the blobs in them that are used, and written once more.
    pub bytes_written: u64,
    /// Packs that no index names.
    pub packs_unindexed: usize,
    /// Bytes of these packs.
    pub bytes_unindexed: u64,
    /// Packs that indexes name, that are not there, and that nobody needs.
    pub packs_missing: usize,
    /// Bytes that nobody needs and that stay, because they are tolerated.
    pub bytes_tolerated: u64,
}

impl PruneFigures {
    /// How many bytes the repository has less afterwards, up to headers and indexes.
    #[must_use]
    pub fn bytes_freed(&self) -> u64 {
        (self.bytes_removed + self.bytes_unindexed + self.bytes_repacked)
            .saturating_sub(self.bytes_written)
    }

    /// Whether everything stays as it is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let packs = [self.packs_removed, self.packs_repacked, self.packs_unindexed];
        packs.iter().sum::<usize>() + self.packs_missing == 0
    }
}

/// What a prune will do. Made under a lock that must be held until it is done.
pub struct PrunePlan<'a> {
    repository: &'a Repository,
    lock: &'a LockGuard,
    options: &'a PruneOptions<'a>,
    index: Numbered,
    used: Marks,
    retained: Retained,
    /// Of each pack, by its number.
    fates: Vec<Fate>,
    unindexed: Vec<Digest>,
    /// The indexes that were there.
    indexes: Vec<Digest>,
    figures: PruneFigures,
}

impl Repository {
    /// Finds out what is used, and what is to become of each pack. Changes nothing: a shared lock will do.
    ///
    /// # Errors
    /// [`Error::NotWhole`] where something is missing or damaged; [`Error::ReadOnlyFormat`];
    /// [`Error::Interrupted`]; those of the store.
    pub fn plan_prune<'a>(
        &'a self,
        lock: &'a LockGuard,
        options: &'a PruneOptions<'a>,
    ) -> Result<PrunePlan<'a>, Error> {
        self.refuse_old_format()?;
        lock.settled()?;
        self.forget_tree_packs();
        let mut snapshots = self.snapshots()?;
        let indexes = self.names(ObjectKind::Index)?;
        let index = self.load_index()?;
        self.whole(snapshots.damaged.into_iter().chain(index.damaged).collect())?;
        snapshots.value.retain(|named| !options.without.contains(&named.id));
        (options.events)(PruneEvent::Snapshots { count: snapshots.value.len() });
        let index = Numbered::new(index.value);
        let used = index.marks();
        let trees = snapshots.value.iter().map(|named| named.snapshot.tree).collect();
        let limits = (options.threads, options.stop);
        self.whole(used::mark(self, &index, &used, trees, options.pending, limits)?)?;
        self.forget_tree_packs();
        let judged = judged::judge_all(self, &index, &used, options)?;
        let figures = PruneFigures { snapshots: snapshots.value.len(), ..judged.figures };
        Ok(PrunePlan {
            repository: self,
            lock,
            options,
            index,
            used,
            retained: judged.retained,
            fates: judged.fates,
            unindexed: judged.unindexed,
            indexes,
            figures,
        })
    }

    /// Refuses to go on where there are problems.
    fn whole(&self, mut problems: Vec<Error>) -> Result<(), Error> {
        let count = problems.len();
        if count == 0 {
            return Ok(());
        }
        let first = Box::new(problems.swap_remove(0));
        Err(Error::NotWhole { location: self.location(), problems: count, first })
    }
}

impl PrunePlan<'_> {
    /// What it makes of what there is.
    #[must_use]
    pub fn figures(&self) -> PruneFigures {
        self.figures
    }

    /// Writes everything that will be needed once the rest is gone, and makes sure that it is there. Removes nothing;
    /// answers what may be removed then, in the order in which it must be.
    ///
    /// # Errors
    /// [`Error::NotAlone`]; [`Error::NotWhole`] where a blob that is used is damaged everywhere; [`Error::Interrupted`];
    /// those of the store. What was written then is of no harm.
    pub fn write(self) -> Result<Removals, Error> {
        self.lock.alone()?;
        self.repack()?;
        let indexes = self.rewrite_indexes()?;
        let packs = self.packs_to_remove();
        self.confirm(&indexes, &packs)?;
        Ok(Removals { indexes, packs })
    }

    fn fate(&self, pack: u32) -> Fate {
        self.fates.get(pack as usize).copied().unwrap_or(Fate::Keep)
    }

    /// Packs that indexes must not name any more.
    fn dropped(&self) -> HashSet<Digest> {
        let packs = self.index.packs().zip(&self.fates);
        packs.filter(|(_, fate)| **fate != Fate::Keep).map(|((pack, _), _)| pack).collect()
    }

    /// Packs that are there and not needed, ascending.
    fn packs_to_remove(&self) -> Vec<Digest> {
        let packs = self.index.packs().zip(&self.fates);
        let gone = packs.filter(|(_, fate)| matches!(fate, Fate::Remove | Fate::Repack));
        let mut gone: Vec<Digest> = gone.map(|((pack, _), _)| pack).collect();
        gone.extend(&self.unindexed);
        gone.sort_unstable();
        gone
    }
}

#[cfg(test)]
mod tests;
