//! Reads what is still used of packs that go, opens it, and has it stored in new packs as it is.
//!
//! A blob's stored bytes are the same in every pack: but for old trees nothing is compressed or encrypted a second time. But each is decrypted and
//! compared with its name before it counts, and so is the copy that is kept of a blob of which another copy
//! goes: it may be the one that is damaged. What is damaged is taken from another copy, where there is a whole one.
//!
//! Memory of a thread: the longest range of a pack that is read at once, and a few times the longest blob.

use super::judge::Fate;
use super::{PruneEvent, PrunePlan};
use crate::blob::{Opener, SealedBlob};
use crate::index::{At, BlobKind, Index, Location};
use crate::writer::Writer;
use crate::{Error, Repository};
use model::{ErrorKind, ObjectKey};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Unused bytes that are read along rather than asked around.
const GAP: u32 = 128 << 10;
/// What is read at once, unless one blob alone is longer.
const RANGE: u32 = 8 << 20;

/// A blob that is read: in which pack, of which kind, and its number. Those of a pack are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Task {
    pack: u32,
    kind: BlobKind,
    number: usize,
}

impl PrunePlan<'_> {
    pub(super) fn repack(&self) -> Result<(), Error> {
        let tasks = self.tasks();
        let packs: Vec<&[Task]> = tasks.chunk_by(|a, b| a.pack == b.pack).collect();
        if packs.is_empty() {
            return Ok(());
        }
        let bytes = packs.iter().map(|tasks| self.length(tasks)).sum();
        (self.options.events)(PruneEvent::Reading { packs: packs.len(), bytes });
        // Told of nothing: what is stored again is known already, and is to be stored all the same.
        let writer = Writer::new(self.lock, Index::default(), self.options.writer)?;
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let threads = self.options.threads.max(1);
        let readers = (0..threads).map(|_| Reader::new(self, &writer));
        let readers = readers.collect::<Result<Vec<_>, Error>>()?;
        std::thread::scope(|scope| {
            for mut reader in readers {
                let (packs, next, failure) = (&packs, &next, &failure);
                scope.spawn(move || {
                    while let Some(tasks) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(fault) = reader.pack(tasks) {
                            let mut failure =
                                failure.lock().unwrap_or_else(PoisonError::into_inner);
                            failure.get_or_insert(fault);
                            next.store(packs.len(), Ordering::Relaxed);
                        }
                        let bytes = self.length(tasks);
                        (self.options.events)(PruneEvent::PackRead { bytes });
                    }
                });
            }
        });
        if let Some(fault) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(fault);
        }
        writer.finish().map(drop)
    }

    /// The blobs to read: of packs that are packed anew the used ones, and of what is there several times the copies
    /// that are kept when others go.
    fn tasks(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        let repacks = |pack| self.fate(pack) == Fate::Repack;
        for kind in [BlobKind::Data, BlobKind::Tree] {
            let used = self.index.each(kind).filter(|(number, _)| self.used.has(kind, *number));
            let here = used.filter(|(_, at)| {
                repacks(at.pack) && !self.retained.contains_key(&(kind, at.blob.id))
            });
            tasks.extend(here.map(|(number, at)| Task { pack: at.pack, kind, number }));
        }
        for (kind, id, places) in self.index.repeated() {
            let Some(at) = self.retained.get(&(kind, id)) else { continue };
            let stays = |at: &At| self.fate(at.pack) == Fate::Keep;
            if repacks(at.pack) || !places.iter().all(stays) {
                let number = self.index.number(kind, &id);
                tasks.extend(number.map(|number| Task { pack: at.pack, kind, number }));
            }
        }
        tasks.sort_unstable();
        tasks
    }

    /// Where a task's blob is read.
    fn place(&self, task: Task) -> Option<At> {
        let first = self.index.numbered(task.kind, task.number)?;
        Some(self.retained.get(&(task.kind, first.blob.id)).copied().unwrap_or(first))
    }

    /// Bytes that are read of a pack.
    fn length(&self, tasks: &[Task]) -> u64 {
        let places = tasks.iter().filter_map(|task| self.place(*task));
        places.map(|at| u64::from(at.blob.length)).sum()
    }
}

/// What one thread uses again for each pack.
struct Reader<'a> {
    plan: &'a PrunePlan<'a>,
    repository: &'a Repository,
    writer: &'a Writer,
    opener: Opener,
    range: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(plan: &'a PrunePlan<'a>, writer: &'a Writer) -> Result<Self, Error> {
        let repository = plan.repository;
        let opener = repository.opener()?;
        Ok(Self { plan, repository, writer, opener, range: Vec::new() })
    }

    /// Reads the blobs of one pack, in the order in which they lie there.
    fn pack(&mut self, tasks: &[Task]) -> Result<(), Error> {
        let Some(pack) = tasks.first().map(|task| task.pack) else { return Ok(()) };
        let mut blobs: Vec<Location> = tasks
            .iter()
            .filter_map(|task| self.plan.index.location(&self.plan.place(*task)?))
            .collect();
        blobs.sort_unstable_by_key(|at| at.blob.offset);
        let copy = self.plan.fate(pack) == Fate::Repack;
        let mut rest = blobs.as_slice();
        while let Some((first, _)) = rest.split_first() {
            self.plan.options.go_on()?;
            let (count, length) = range(rest);
            let (these, others) = rest.split_at(count);
            rest = others;
            self.range(first, length, these, copy)?;
        }
        Ok(())
    }

    /// Reads a range of a pack, and what of it is wanted.
    fn range(
        &mut self,
        first: &Location,
        length: u32,
        blobs: &[Location],
        copy: bool,
    ) -> Result<(), Error> {
        // The pack is as long as its blobs say, by the store's list.
        self.range.resize(length as usize, 0);
        let begin = u64::from(first.blob.offset);
        let key = ObjectKey::Pack(first.pack);
        let read = self.repository.store().read_at(&key, begin, &mut self.range);
        if let Err(fault) = &read
            && !matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
        {
            return Ok(read?);
        }
        for at in blobs {
            let from = (at.blob.offset - first.blob.offset) as usize;
            let stored = self.range.get(from..from + at.blob.length as usize).unwrap_or_default();
            let opened = match &read {
                Ok(()) => self.opener.open(at, stored),
                Err(_) => Err(Error::BlobDamaged {
                    blob: at.blob.id,
                    pack: at.pack,
                    what: "its pack ends before it".to_owned(),
                }),
            };
            match opened {
                Ok(plain) if copy && raw_tree(at) => {
                    self.writer.save(at.blob.kind, at.blob.id, plain)?;
                }
                Ok(_) if copy => {
                    let blob = SealedBlob { bytes: stored, plain_length: at.blob.plain_length };
                    self.writer.save_sealed(at.blob.kind, at.blob.id, &blob)?;
                }
                Ok(_) => {}
                Err(fault) => self.save_other_copy(at, fault)?,
            }
        }
        Ok(())
    }

    /// Stores a blob again from another copy.
    fn save_other_copy(&self, at: &Location, fault: Error) -> Result<(), Error> {
        let Location { pack, blob } = *at;
        let others = self.plan.index.index().copies(blob.kind, &blob.id);
        let others = others.filter(|other| (other.pack, other.blob.offset) != (pack, blob.offset));
        match self.repository.read_any(&blob.id, others) {
            Ok(plain) => self.writer.save(blob.kind, blob.id, &plain).map(drop),
            Err(other) if matches!(other.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                self.repository.whole(vec![fault])
            }
            Err(other) => Err(other),
        }
    }
}

/// Whether it is a tree that is not compressed: new ones are.
fn raw_tree(at: &Location) -> bool {
    at.blob.kind == BlobKind::Tree && at.blob.plain_length.is_none()
}

/// How many of these blobs are read at once, and how many bytes that are. They are in order of their offsets.
fn range(blobs: &[Location]) -> (usize, u32) {
    let begin = blobs.first().map_or(0, |at| at.blob.offset);
    let (mut count, mut length) = (0, 0_u32);
    for at in blobs {
        let from = at.blob.offset.saturating_sub(begin);
        let end = from.saturating_add(at.blob.length);
        if count > 0 && (from > length.saturating_add(GAP) || end > RANGE) {
            break;
        }
        (count, length) = (count + 1, length.max(end));
    }
    (count, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackedBlob;
    use model::Digest;

    fn ranges(blobs: &[Location]) -> Vec<(usize, u32)> {
        let (mut rest, mut found) = (blobs, Vec::new());
        while !rest.is_empty() {
            let one = range(rest);
            rest = &rest[one.0..];
            found.push(one);
        }
        found
    }

    #[test]
    fn neighbours_are_read_together_and_far_ones_apart() {
        let at = |offset, length| {
            let (id, kind) = (Digest([1; 32]), BlobKind::Data);
            let blob = PackedBlob { id, kind, offset, length, plain_length: None };
            Location { pack: Digest([2; 32]), blob }
        };
        let near = [at(100, 50), at(150, 50), at(200 + GAP, 10), at(2 * GAP + 211, 10)];
        assert_eq!(ranges(&near), [(3, 110 + GAP), (1, 10)]);
        let long = [at(0, RANGE + 5), at(RANGE + 5, RANGE), at(2 * RANGE + 5, 1)];
        assert_eq!(ranges(&long), [(1, RANGE + 5), (1, RANGE), (1, 1)]);
    }
}
