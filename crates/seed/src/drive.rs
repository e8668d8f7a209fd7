//! What is on a drive: its documents and objects, read without believing any of it.
//! Writes nothing.

use crate::beneath::{self, Beneath};
use crate::event::Reason;
use crate::label::{DriveRole, Label};
use crate::sign::{Fingerprint, Trust};
use crate::{Document, Error, Inventory, Manifest, Object, Refused, Signed, object_path};
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

/// The folder of everything that is not an object.
pub(crate) const FOLDER: &str = "packmule";
/// The label's file.
pub(crate) const LABEL: &str = "packmule/label";
/// The inventory's file.
pub(crate) const INVENTORY: &str = "packmule/inventory";
/// The file of extent hashes.
pub(crate) const EXTENTS: &str = "packmule/extents";
/// The manifest's file.
pub(crate) const MANIFEST: &str = "packmule/manifest";
/// What is being written: never means anything.
pub(crate) const PARTIAL: &str = "packmule/partial";
/// Objects that are being written: they never mean anything.
pub(crate) const PARTIALS: &str = "packmule/partials";
/// What did not come back as it was written. Never means anything.
pub(crate) const BAD: &str = "packmule/bad";
/// Room kept for what sealing writes.
pub(crate) const RESERVE: &str = "packmule/reserve";

/// What file systems put at their root by themselves.
pub(crate) const LOST_AND_FOUND: &str = "lost+found";

/// Bytes read or written at a time: large enough for a disk, small enough for a cache.
pub(crate) const BUFFER: usize = 1 << 20;

/// A folder's path for messages.
pub(crate) fn place(folder: &Beneath) -> String {
    folder.path().display().to_string()
}

/// The bytes of a document and what they say.
pub(crate) type Found<T> = (Vec<u8>, Signed<T>);

/// A document; none when there is no such file.
pub(crate) fn document<T>(
    folder: &Beneath,
    path: &str,
    document: Document,
    decode: impl FnOnce(&[u8]) -> Result<Signed<T>, Refused>,
) -> Result<Option<Found<T>>, Error> {
    let full = folder.path().join(path);
    let bytes =
        folder.read_if_there(path, document.limit()).map_err(Error::io("reading", &full))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let decoded = decode(&bytes).map_err(|refused| refused.at(document, &place(folder)))?;
    Ok(Some((bytes, decoded)))
}

pub(crate) fn label(folder: &Beneath, trust: &Trust) -> Result<Option<Signed<Label>>, Error> {
    let found = document(folder, LABEL, Document::Label, |bytes| Label::decode(bytes, trust))?;
    Ok(found.map(|(_, label)| label))
}

/// The manifest that fits the label.
pub(crate) fn manifest(
    folder: &Beneath,
    label: &Signed<Label>,
    trust: &Trust,
) -> Result<Option<Found<Manifest>>, Error> {
    let decode = |bytes: &[u8]| Manifest::decode(bytes, trust);
    let found = document(folder, MANIFEST, Document::Manifest, decode)?;
    let Some((bytes, manifest)) = found else { return Ok(None) };
    let (said, is) = (&manifest.body.header, &label.body);
    let fits = said.label == label.digest
        && manifest.signer == label.signer
        && (said.seed, said.set, said.drive) == (is.seed, is.set, is.drive)
        && said.serial == is.serial
        && said.repositories == is.repositories
        && said.parity.is_some() == (is.role == DriveRole::Parity);
    if !fits {
        return Err(Error::Swapped { place: place(folder) });
    }
    Ok(Some((bytes, manifest)))
}

/// The inventory, where the drive has one.
///
/// It must be of the label's seed and signer; that it is the one the manifest names is compared
/// where there is a manifest.
pub(crate) fn inventory(
    folder: &Beneath,
    label: &Signed<Label>,
    trust: &Trust,
) -> Result<Option<Found<Inventory>>, Error> {
    let decode = |bytes: &[u8]| Inventory::decode(bytes, trust);
    let found = document(folder, INVENTORY, Document::Inventory, decode)?;
    let Some((bytes, inventory)) = found else { return Ok(None) };
    let fits = inventory.signer == label.signer
        && inventory.body.seed == label.body.seed
        && inventory.body.repositories == label.body.repositories;
    if !fits {
        return Err(Error::Swapped { place: place(folder) });
    }
    Ok(Some((bytes, inventory)))
}

/// A sealed drive's documents.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) label: Signed<Label>,
    pub(crate) manifest: Signed<Manifest>,
    pub(crate) manifest_bytes: Vec<u8>,
}

/// Of a drive that carries objects.
pub(crate) fn sealed(folder: &Beneath, trust: &Trust) -> Result<Sealed, Error> {
    let sealed = sealed_any(folder, trust)?;
    match sealed.label.body.role {
        DriveRole::Data => Ok(sealed),
        DriveRole::Parity => Err(Error::Parity { place: place(folder) }),
    }
}

/// Whatever the drive carries.
pub(crate) fn sealed_any(folder: &Beneath, trust: &Trust) -> Result<Sealed, Error> {
    let place = || place(folder);
    let label = label(folder, trust)?.ok_or_else(|| Error::NotADrive { place: place() })?;
    let Some((manifest_bytes, manifest)) = manifest(folder, &label, trust)? else {
        return Err(Error::NotSealed { place: place(), serial: label.body.serial });
    };
    Ok(Sealed { label, manifest, manifest_bytes })
}

/// Whether the label with that hash is still there. Read from the medium where the operating
/// system lets go of what it remembers: a drive that was pulled out can seem there otherwise.
pub(crate) fn has_label(folder: &Beneath, digest: &Digest) -> bool {
    let read = || -> io::Result<bool> {
        let (file, _) = folder.file(LABEL)?;
        // Only advice: without it the answer may come from memory.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        let mut bytes = Vec::new();
        file.take(Document::Label.limit()).read_to_end(&mut bytes)?;
        Ok(Digest(Sha256::digest(&bytes).into()) == *digest)
    };
    read().unwrap_or(false)
}

/// Whose signature the label has, without believing it. For telling people what to compare.
pub(crate) fn found_signer(folder: &Beneath) -> Result<Fingerprint, Error> {
    let label = label(folder, &Trust::AsFound)?;
    let label = label.ok_or_else(|| Error::NotADrive { place: place(folder) })?;
    Ok(Fingerprint::of(&label.signer))
}

/// The path of an object below a drive's root.
pub(crate) fn path_of(repositories: &[Digest], object: &Object) -> Option<String> {
    let repository = repositories.get(usize::from(object.repository))?;
    Some(object_path(repository, &object.key()))
}

/// Opens an object whose length is right.
pub(crate) fn open_object(
    folder: &Beneath,
    path: &str,
    object: &Object,
) -> Result<impl Read + use<>, Reason> {
    open_file(folder, path, object).map(|file| file.take(object.length))
}

/// The same, as the file that it is.
pub(crate) fn open_file(
    folder: &Beneath,
    path: &str,
    object: &Object,
) -> Result<std::fs::File, Reason> {
    let (file, length) = folder.file(path).map_err(|cause| reason(&cause))?;
    if length != object.length {
        return Err(Reason::Length { found: length, expected: object.length });
    }
    Ok(file)
}

fn reason(cause: &io::Error) -> Reason {
    match cause.kind() {
        io::ErrorKind::NotFound => Reason::Missing,
        io::ErrorKind::InvalidData => Reason::NotAFile,
        _ if beneath::leads_away(cause) => Reason::NotAFile,
        _ => Reason::Unreadable(cause.to_string()),
    }
}

/// Reads an object, hands its bytes to `feed`, and says what is wrong with it and how many bytes
/// were fed. An error is one of `feed`.
pub(crate) fn read_object(
    folder: &Beneath,
    path: &str,
    object: &Object,
    feed: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Option<Reason>, u64)> {
    let mut file = match open_object(folder, path, object) {
        Ok(file) => file,
        Err(reason) => return Ok((Some(reason), 0)),
    };
    let mut buffer = vec![0; BUFFER];
    let mut hash = Sha256::new();
    let mut fed = 0;
    loop {
        let bytes = match read_some(&mut file, &mut buffer) {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(cause) => return Ok((Some(Reason::Unreadable(cause.to_string())), fed)),
        };
        hash.update(bytes);
        feed(bytes)?;
        fed += bytes.len() as u64;
    }
    if fed != object.length {
        return Ok((Some(Reason::Length { found: fed, expected: object.length }), fed));
    }
    let right = Digest(hash.finalize().into()) == object.name;
    Ok(((!right).then_some(Reason::Hash), fed))
}

/// The next bytes of a stream, none at its end.
pub(crate) fn read_some<'b>(
    from: &mut (impl Read + ?Sized),
    buffer: &'b mut [u8],
) -> io::Result<&'b [u8]> {
    loop {
        match from.read(buffer) {
            Ok(count) => return Ok(buffer.get(..count).unwrap_or_default()),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}
