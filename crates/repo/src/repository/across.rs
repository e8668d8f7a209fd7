//! A repository whose objects are in two places: what is stored where. Reads and writes nothing.

use super::{Inner, Repository, TreePacks};
use crate::index::BlobKind;
use model::Digest;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Store;

impl Repository {
    /// The same repository as another store shows it: a part of it, or with something over it. The caller knows that
    /// it is the same.
    #[must_use]
    pub fn seen_through(&self, store: Arc<dyn Store>) -> Self {
        self.shown(store, None, Arc::default())
    }

    /// The same, where new packs of trees are stored in `trees`; `store` shows these, too. What one of several such
    /// repositories, made from the same one, has adopted, the others do not index again.
    #[must_use]
    pub fn across(&self, store: Arc<dyn Store>, trees: Arc<dyn Store>) -> Self {
        self.shown(store, Some(trees), Arc::clone(&self.inner.adopted))
    }

    fn shown(
        &self,
        store: Arc<dyn Store>,
        trees: Option<Arc<dyn Store>>,
        adopted: Arc<Mutex<HashSet<Digest>>>,
    ) -> Self {
        let Inner { key, config, identity, author, .. } = self.inner.as_ref();
        let inner = Inner {
            store,
            key: key.clone(),
            config: config.clone(),
            identity: *identity,
            author: author.clone(),
            tree_packs: TreePacks::default(),
            openers: Mutex::default(),
            trees,
            adopted,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Packs whose index need not be written any more.
    pub(crate) fn adopted(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.inner.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where new packs of that kind go.
    pub(crate) fn store_for(&self, kind: BlobKind) -> &dyn Store {
        match &self.inner.trees {
            Some(trees) if kind == BlobKind::Tree => trees.as_ref(),
            _ => self.inner.store.as_ref(),
        }
    }
}
