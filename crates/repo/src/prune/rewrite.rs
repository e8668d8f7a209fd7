//! Indexes without the packs that go. Removes none of the old ones.

use super::{PruneEvent, PrunePlan};
use crate::Error;
use crate::index::{BlobKind, IndexFile, IndexedPack};
use crate::repository::DOCUMENT;
use crate::writer::INDEX_BLOBS;
use model::{Digest, ObjectKey};

/// So many times as many index files as there need be, and these more, are tolerated.
const CROWD: (usize, usize) = (4, 8);

impl PrunePlan<'_> {
    /// Whether there are so many small indexes that they are better joined.
    fn crowded(&self) -> bool {
        let index = self.index.index();
        let blobs = index.count(BlobKind::Data) + index.count(BlobKind::Tree);
        let (times, more) = CROWD;
        self.indexes.len() > times * blobs.div_ceil(INDEX_BLOBS) + more
    }

    /// Writes indexes anew, where they name packs that go. Answers which ones are of no use any more.
    ///
    /// Memory: one index that is read, and one that is written.
    pub(super) fn rewrite_indexes(&self) -> Result<Vec<Digest>, Error> {
        let (dropped, crowded) = (self.dropped(), self.crowded());
        if dropped.is_empty() && !crowded {
            return Ok(Vec::new());
        }
        (self.options.events)(PruneEvent::Indexing);
        let (mut old, mut pending) = (Vec::new(), Vec::<IndexedPack>::new());
        let mut blobs = 0;
        for name in &self.indexes {
            self.options.go_on()?;
            let file: IndexFile =
                self.repository.load_document(ObjectKey::Index(*name), DOCUMENT)?;
            let before = file.packs.len();
            let held: usize = file.packs.iter().map(|pack| pack.blobs.len()).sum();
            let mut packs = file.packs;
            packs.retain(|pack| !dropped.contains(&pack.id));
            if packs.len() == before && !(crowded && held < INDEX_BLOBS / 2) {
                continue;
            }
            old.push(*name);
            blobs += packs.iter().map(|pack| pack.blobs.len()).sum::<usize>();
            pending.append(&mut packs);
            if blobs >= INDEX_BLOBS {
                blobs = 0;
                self.write_index(std::mem::take(&mut pending))?;
            }
        }
        self.write_index(pending)?;
        Ok(old)
    }

    fn write_index(&self, packs: Vec<IndexedPack>) -> Result<(), Error> {
        self.lock.alone()?;
        self.repository.write_index(packs)
    }
}
