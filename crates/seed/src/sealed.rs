//! A sealed drive, opened once: whoever has to compare what it says with what is known elsewhere
//! looks here first, and copies from the very same documents afterwards. Writes nothing.

use crate::beneath::Beneath;
use crate::drive::{self, Sealed};
use crate::event::Events;
use crate::import::{Landing, Unloaded, refuse_unpinned, unload_sealed};
use crate::manifest::ParityOf;
use crate::sign::Trust;
use crate::{Error, Label, Manifest, Signed};
use std::path::Path;

/// A drive whose label and manifest belong together and are signed by whom they should be.
#[derive(Debug)]
pub struct SealedDrive {
    folder: Beneath,
    sealed: Sealed,
}

impl SealedDrive {
    /// Opens the drive mounted at `folder`.
    ///
    /// # Errors
    /// [`Error::NoSigner`] for [`Trust::AsFound`]; there is no sealed drive, its documents are
    /// damaged, or somebody else has signed them.
    pub fn open(folder: &Path, trust: &Trust) -> Result<Self, Error> {
        let folder = Beneath::open(folder).map_err(Error::io("opening", folder))?;
        refuse_unpinned(&folder, trust)?;
        let sealed = drive::sealed_any(&folder, trust)?;
        Ok(Self { folder, sealed })
    }

    pub(crate) fn of(folder: Beneath, sealed: Sealed) -> Self {
        Self { folder, sealed }
    }

    pub(crate) fn folder(&self) -> &Beneath {
        &self.folder
    }

    pub(crate) fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// What it is parity of, where it is a parity drive.
    #[must_use]
    pub fn parity(&self) -> Option<&ParityOf> {
        self.sealed.manifest.body.header.parity.as_ref()
    }

    /// Its label.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.sealed.label.body
    }

    /// Its manifest, with the hash of its file.
    #[must_use]
    pub fn manifest(&self) -> &Signed<Manifest> {
        &self.sealed.manifest
    }

    /// As [`unload`](crate::unload), from the documents read when it was opened. A parity drive has no objects
    /// that could be copied: see [`rebuild`](crate::rebuild).
    ///
    /// # Errors
    /// The drive is gone, or the landing takes nothing more.
    pub fn unload(
        &self,
        landing: &dyn Landing,
        events: &mut dyn Events,
    ) -> Result<Unloaded, Error> {
        unload_sealed(&self.folder, &self.sealed, landing, events)
    }
}
