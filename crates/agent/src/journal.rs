//! The inventory of a seed at the source: found again, or made anew bit for bit from staging, or the manifests of
//! its drives, when its file is lost. Never made from a staging folder that has changed.

use crate::Error;
use crate::record::{Contents, SeedRecord, Sum};
use crate::state::State;
use model::{Digest, ErrorKind, ObjectKind};
use seed::{Inventory, Manifest, Object, Signed, Trust};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use store::Folder;
use wire::PublicKey;

/// A row is about 73 bytes; this is ten million objects.
pub(crate) const LIMIT: u64 = 1 << 30;

/// What the record keeps of an inventory.
pub(crate) fn contents(
    inventory: &Inventory,
    digest: Digest,
    file: &Path,
    signer: PublicKey,
) -> Option<Contents> {
    let [repository] = inventory.repositories.as_slice() else { return None };
    let objects = &inventory.objects;
    let snapshots = objects.iter().filter(|object| object.kind == ObjectKind::Snapshot);
    Some(Contents {
        frozen: inventory.created,
        repository: *repository,
        signer,
        inventory: digest,
        inventory_file: file.to_owned(),
        snapshots: snapshots.map(|object| object.name).collect(),
        whole: Sum::of(objects.iter()),
        without_keys: Sum::of(objects.iter().filter(|object| object.kind != ObjectKind::Key)),
    })
}

/// The seed's objects, as its inventory lists them.
///
/// # Errors
/// [`Error::InventoryLost`] when neither its file nor staging has them any more.
pub(crate) fn objects(
    state: &State,
    record: &SeedRecord,
    contents: &Contents,
) -> Result<Vec<Object>, Error> {
    let bytes = match file(contents)? {
        Some(bytes) => bytes,
        None => restored(state, record, contents)?,
    };
    let inventory = Inventory::decode(&bytes, &Trust::Key(contents.signer));
    inventory.map(|signed| signed.body.objects).map_err(|_| lost(record))
}

/// Puts the inventory's file back where it was, if it is not there. Answers whether it is there
/// now.
pub(crate) fn put_back(
    state: &State,
    record: &SeedRecord,
    contents: &Contents,
) -> Result<bool, Error> {
    if file(contents)?.is_some() {
        return Ok(true);
    }
    let bytes = match restored(state, record, contents) {
        Err(Error::InventoryLost { .. }) => return Ok(false),
        other => other?,
    };
    let path = &contents.inventory_file;
    if let Some(folder) = path.parent() {
        store::durable::create_folder(folder, 0o700).map_err(Error::io("creating", folder))?;
    }
    store::durable::replace(path, &bytes, 0o600).map_err(Error::io("writing", path))?;
    Ok(true)
}

/// The inventory's file; none when it is not there or not that one.
fn file(contents: &Contents) -> Result<Option<Vec<u8>>, Error> {
    let path = &contents.inventory_file;
    let file = match File::open(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("opening", path))?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).map_err(Error::io("reading", path))?;
    Ok(Some(bytes).filter(|bytes| hash(bytes) == contents.inventory))
}

/// Signatures are a function of key and message, so the same list gives the same bytes.
fn restored(state: &State, record: &SeedRecord, contents: &Contents) -> Result<Vec<u8>, Error> {
    let (repositories, objects) = match record.direct {
        true => (vec![contents.repository], sealed(state, record)?),
        false => match seed::freeze(&[&Folder::new(&record.staging)]) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRepository) => {
                return Err(lost(record));
            }
            other => other.map(|frozen| (frozen.repositories, frozen.objects))?,
        },
    };
    let (seed, created) = (record.id, contents.frozen);
    let inventory = Inventory { seed, created, repositories, objects, parts: Vec::new() };
    let bytes = inventory.encode(&state.signing_key()?).map_err(|_| lost(record))?;
    if hash(&bytes) == contents.inventory { Ok(bytes) } else { Err(lost(record)) }
}

/// Everything on sealed drives, which of a direct seed is everything.
fn sealed(state: &State, record: &SeedRecord) -> Result<Vec<Object>, Error> {
    let trust = Trust::Key(state.signing_key()?.public());
    let manifests = seed::sealed_before(&state.seed_folder(record.id), &trust)?;
    let objects: BTreeSet<Object> =
        manifests.into_iter().flat_map(|manifest| manifest.body.objects).collect();
    Ok(objects.into_iter().collect())
}

/// The manifests that a folder keeps of drives that were sealed here: with this server's key, or with the one that it had when
/// the seed was sent.
///
/// # Errors
/// Somebody else has signed one, or it is damaged.
pub(crate) fn sealed_here(
    state: &State,
    record: &SeedRecord,
    folder: &Path,
) -> Result<Vec<Signed<Manifest>>, Error> {
    let own = state.signing_key()?.public();
    let before = record.drives_signer().filter(|signer| *signer != own);
    match (seed::sealed_before(folder, &Trust::Key(own)), before) {
        (Err(_), Some(before)) => Ok(seed::sealed_before(folder, &Trust::Key(before))?),
        (sealed, _) => Ok(sealed?),
    }
}

fn lost(record: &SeedRecord) -> Error {
    Error::InventoryLost { seed: record.id, staging: record.staging.clone() }
}

fn hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
