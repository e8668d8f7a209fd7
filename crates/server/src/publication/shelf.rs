//! A place of a repository together with the store that it is in: what publication looks into and moves between.
//! Decides nothing of what is moved when.

use crate::Error;
use crate::objects::Objects;
use crate::place::Place;
use model::ObjectKey;
use object_store::path::Path;
use seed::Object;

/// A place and its store.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) objects: Objects,
    pub(super) place: Place,
}

impl Shelf {
    pub(super) fn at(&self, key: &ObjectKey) -> Path {
        self.place.object(key)
    }

    pub(super) async fn length(&self, key: &ObjectKey) -> Result<Option<u64>, Error> {
        self.objects.length(&self.at(key)).await
    }

    /// Whether something of the object's name and length is here.
    pub(super) async fn has(&self, object: &Object) -> Result<bool, Error> {
        Ok(self.length(&object.key()).await? == Some(object.length))
    }

    /// Whether the object here is what its name says; none when it is not here.
    pub(super) async fn hashes(&self, object: &Object) -> Result<Option<bool>, Error> {
        let found = self.objects.hash(&self.at(&object.key())).await?;
        Ok(found.map(|found| found == (object.name, object.length)))
    }

    /// Keeps a damaged object for whoever wants to look at it, under a name that nothing reads.
    pub(super) async fn put_aside(&self, object: &Object) -> Result<(), Error> {
        let key = object.key();
        if self.length(&key).await?.is_some() {
            tracing::error!(%key, place = %self.place.folder(), "an object is damaged and put aside");
            self.set_aside(&key).await?;
        }
        Ok(())
    }

    async fn set_aside(&self, key: &ObjectKey) -> Result<(), Error> {
        self.objects.rename(&self.at(key), &self.place.damaged().object(key)).await
    }

    /// Whether what is taken from there is a second name for the same bytes, and costs nothing.
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        self.objects.is(&other.objects)
    }

    /// Takes an object from another shelf, on which it stays.
    ///
    /// Within one store whatever is there is taken, and damage shows when it is hashed here. From another store
    /// damage shows on the way, and nothing is taken.
    pub(super) async fn take(&self, object: &Object, from: &Self) -> Result<(), Error> {
        let key = object.key();
        let (source, to) = (from.at(&key), self.at(&key));
        if self.shares_with(from) {
            if !self.objects.copy(&source, &to).await? {
                // Something of another length has the name: what a broken disk has left.
                self.set_aside(&key).await?;
                self.objects.copy(&source, &to).await?;
            }
            return Ok(());
        }
        if self.length(&key).await?.is_some() {
            self.set_aside(&key).await?;
        }
        let wanted = (object.name, object.length);
        if !self.objects.bring((&from.objects, &source), &to, wanted).await? {
            tracing::error!(%key, place = %from.place.folder(), "an object is damaged and not taken");
        }
        Ok(())
    }
}
