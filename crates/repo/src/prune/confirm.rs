//! The last look before anything is removed: is all that is used in what stays? Believes no plan, only the
//! store.

use super::PrunePlan;
use crate::Error;
use crate::index::{BlobKind, IndexFile};
use crate::pack::PackedBlob;
use crate::repository::DOCUMENT;
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::HashSet;

impl PrunePlan<'_> {
    /// Looks for every used blob in the indexes but `old`, in packs that are there but `gone`, which are ascending.
    ///
    /// # Errors
    /// [`Error::NotWhole`] with the first one that is missing.
    pub(super) fn confirm(self, old: &[Digest], gone: &[Digest]) -> Result<(), Error> {
        if old.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let there: HashSet<Digest> = self.repository.names(ObjectKind::Pack)?.into_iter().collect();
        let old: HashSet<&Digest> = old.iter().collect();
        for name in self.repository.names(ObjectKind::Index)? {
            if old.contains(&name) {
                continue;
            }
            let file: IndexFile =
                self.repository.load_document(ObjectKey::Index(name), DOCUMENT)?;
            let stays = |id: &Digest| there.contains(id) && gone.binary_search(id).is_err();
            for pack in file.packs.iter().filter(|pack| stays(&pack.id)) {
                for blob in pack.blobs.iter().map(PackedBlob::from) {
                    if let Some(number) = self.index.number(blob.kind, &blob.id) {
                        self.used.clear(blob.kind, number);
                    }
                }
            }
        }
        let missing = |kind| {
            let at = self.index.numbered(kind, self.used.first(kind)?)?;
            Some(Error::BlobUnknown { blob: at.blob.id })
        };
        let missing = [BlobKind::Data, BlobKind::Tree].into_iter().filter_map(missing).collect();
        self.repository.whole(missing)
    }
}
