//! What the source remembers of a seed between calls: its frozen list, the manifests of its sealed
//! drives, and what the others hold. Nothing here is the only copy: drives carry the same documents.
//!
//! ```text
//! <state>/inventory                         the frozen list, exactly as on the drives
//! <state>/elsewhere                         what of it is on none of the drives: the place that they go to has it
//! <state>/manifests/<set>-<drive>-<serial>  a copy of each sealed drive's manifest
//! <state>/extents/<set>-<drive>-<serial>    a copy of its extent hashes, where parity is made of it
//! <state>/journal                           what drives hold that are not sealed: see `journal`
//! ```

use crate::beneath::Beneath;
use crate::drive::{self, Found};
use crate::journal::{JOURNAL, Journal};
use crate::parity::HashFile;
use crate::sign::Trust;
use crate::{Document, Error, Inventory, Manifest, ManifestHeader, Object, Signed};
use std::fs::File;
use std::path::{Path, PathBuf};

const INVENTORY: &str = "inventory";
const ELSEWHERE: &str = "elsewhere";
const MANIFESTS: &str = "manifests";
const EXTENTS: &str = "extents";
/// What is being written: never means anything.
pub(crate) const PARTIAL: &str = "partial";

/// The manifests that a state folder keeps of drives sealed so far, at hand or not.
///
/// # Errors
/// Another process has the folder; a manifest there is damaged, or somebody else has signed it.
pub fn sealed_before(state: &Path, trust: &Trust) -> Result<Vec<Signed<Manifest>>, Error> {
    State::open(state)?.manifests(trust)
}

/// The state folder, locked against other processes.
#[derive(Debug)]
pub(crate) struct State {
    folder: Beneath,
}

impl State {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        store::durable::create_folder(path, 0o700).map_err(Error::io("creating", path))?;
        let folder = Beneath::open(path).map_err(Error::io("opening", path))?.private();
        if !folder.lock().map_err(Error::io("locking", path))? {
            return Err(Error::Busy { place: path.display().to_string() });
        }
        Ok(Self { folder })
    }

    pub(crate) fn inventory(&self, trust: &Trust) -> Result<Option<Found<Inventory>>, Error> {
        let decode = |bytes: &[u8]| Inventory::decode(bytes, trust);
        drive::document(&self.folder, INVENTORY, Document::Inventory, decode)
    }

    pub(crate) fn keep_inventory(&self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.path().join(INVENTORY);
        self.folder.write(INVENTORY, PARTIAL, bytes).map_err(Error::io("writing", &path))
    }

    /// The list was of a seed that did not come about.
    pub(crate) fn forget_inventory(&self) -> Result<(), Error> {
        let path = self.folder.path().join(INVENTORY);
        let forget = || {
            self.folder.remove(INVENTORY)?;
            self.folder.sync_folder(".")
        };
        forget().map_err(Error::io("removing", &path))
    }

    /// Remembers what a list names beside what its drives carry, before it names it.
    pub(crate) fn keep_elsewhere(&self, bytes: Option<&[u8]>) -> Result<(), Error> {
        let path = self.folder.path().join(ELSEWHERE);
        let kept = match bytes {
            Some(bytes) => self.folder.write(ELSEWHERE, PARTIAL, bytes),
            None => self.folder.remove(ELSEWHERE),
        };
        kept.map_err(Error::io("writing", &path))
    }

    /// What of a list its drives carry, ascending.
    pub(crate) fn own(&self, list: &Inventory, trust: &Trust) -> Result<Vec<Object>, Error> {
        let decode = |bytes: &[u8]| Inventory::decode(bytes, trust);
        let found = drive::document(&self.folder, ELSEWHERE, Document::Inventory, decode)?;
        let elsewhere = found.map(|(_, found)| found.body.objects).unwrap_or_default();
        let is_own = |object: &&Object| elsewhere.binary_search(object).is_err();
        Ok(list.objects.iter().filter(is_own).copied().collect())
    }

    /// The folder itself, for what is kept in it by others.
    pub(crate) fn folder(&self) -> &Beneath {
        &self.folder
    }

    /// The manifests of every drive sealed so far, as far as is remembered.
    pub(crate) fn manifests(&self, trust: &Trust) -> Result<Vec<Signed<Manifest>>, Error> {
        let path = self.folder.path().join(MANIFESTS);
        let mut names = Vec::new();
        self.folder
            .walk(MANIFESTS, &mut |found| {
                names.push(found.path);
                true
            })
            .map_err(Error::io("listing", &path))?;
        names.sort();
        let decode = |bytes: &[u8]| Manifest::decode(bytes, trust);
        let read = |name: &String| {
            let found = drive::document(&self.folder, name, Document::Manifest, decode);
            found.map(|found| found.map(|(_, manifest)| manifest)).transpose()
        };
        names.iter().filter_map(read).collect()
    }

    /// What drives of this inventory hold that are not sealed, as far as is remembered.
    pub(crate) fn journal(&self, inventory: &Signed<Inventory>) -> Result<Journal, Error> {
        let path = self.folder.path().join(JOURNAL);
        let journal = Journal::open(&self.folder, &inventory.digest, inventory.body.objects.len());
        journal.map_err(Error::io("opening", &path))
    }

    /// For `map_err`: a record could not be written.
    pub(crate) fn not_noted(&self) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::io("writing", &self.folder.path().join(JOURNAL))
    }

    /// Where the inventory is below a state folder.
    pub(crate) fn inventory_file(state: &Path) -> PathBuf {
        state.join(INVENTORY)
    }

    /// Where a manifest is below a state folder.
    pub(crate) fn manifest_file(state: &Path, manifest: &Manifest) -> PathBuf {
        state.join(manifest_name(manifest))
    }

    /// Remembers a sealed drive.
    pub(crate) fn keep_manifest(&self, manifest: &Manifest, bytes: &[u8]) -> Result<(), Error> {
        let name = manifest_name(manifest);
        let path = self.folder.path().join(&name);
        let keep = || {
            self.folder.create_folders(MANIFESTS)?;
            self.folder.write(&name, PARTIAL, bytes)
        };
        keep().map_err(Error::io("writing", &path))
    }
}

impl State {
    /// The file of a manifest that is kept.
    pub(crate) fn manifest_bytes(&self, manifest: &Manifest) -> Result<Vec<u8>, Error> {
        let name = manifest_name(manifest);
        let read = self.folder.read(&name, Document::Manifest.limit());
        read.map_err(Error::io("reading", &self.folder.path().join(&name)))
    }

    /// Keeps a copy of a drive's extent hashes, before the drive counts as sealed.
    pub(crate) fn keep_extents(
        &self,
        header: &ManifestHeader,
        from: &mut File,
    ) -> Result<(), Error> {
        let name = extents_name(header);
        let path = self.folder.path().join(&name);
        let partial = format!("{name}.partial");
        let mut keep = || {
            self.folder.create_folders(EXTENTS)?;
            self.folder.remove(&partial)?;
            let mut into = self.folder.create(&partial)?;
            std::io::copy(from, &mut into)?;
            into.sync()?;
            self.folder.rename(&partial, &name)?;
            self.folder.sync_folder(EXTENTS)
        };
        keep().map_err(Error::io("writing", &path))
    }

    /// The copy of a drive's extent hashes, as a file; none where there is none.
    pub(crate) fn extents_file(&self, manifest: &Manifest) -> Result<Option<File>, Error> {
        let name = extents_name(&manifest.header);
        match self.folder.file(&name) {
            Ok((file, _)) => Ok(Some(file)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::io("reading", &self.folder.path().join(&name))(cause)),
        }
    }

    /// The extent hashes of a sealed drive; none where no right copy is kept.
    pub(crate) fn extents(&self, manifest: &Manifest) -> Result<Option<HashFile>, Error> {
        let Some(file) = self.extents_file(manifest)? else { return Ok(None) };
        let path = self.folder.path().join(extents_name(&manifest.header));
        let length = file.metadata().map_err(Error::io("reading", &path))?.len();
        HashFile::open(file, length, manifest).map_err(Error::io("reading", &path))
    }
}

fn extents_name(header: &ManifestHeader) -> String {
    format!("{EXTENTS}/{}-{}-{}", header.set, header.drive, header.serial)
}

fn manifest_name(manifest: &Manifest) -> String {
    let header = &manifest.header;
    format!("{MANIFESTS}/{}-{}-{}", header.set, header.drive, header.serial)
}
