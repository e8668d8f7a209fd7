//! What a location lacks of a repository that it has, chosen once for a seed that brings just that. Writes no drive, and
//! nothing to the location.
//!
//! ```text
//!  <state>/1/inventory    everything that the repository has: what must be there in the end
//!  <state>/1/chosen       what of it travels: in the form of an inventory; written first
//!  <state>/2/…            what was lacking the next time
//! ```
//!
//! The inventory has everything, so that whoever takes the drives in holds the location against all of it: what went
//! missing there meanwhile is named, and nothing is published on top of a hole.

use crate::freeze::{freeze, identity};
use crate::sign::{SigningKey, Trust};
use crate::state::sealed_before;
use crate::{Document, Error, Inventory, Object};
use jiff::Timestamp;
use model::{ObjectKey, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use store::Store;
use wire::SeedId;

const CHOSEN: &str = "chosen";
const INVENTORY: &str = "inventory";

/// What travels.
#[derive(Debug, Clone)]
pub struct Lacking {
    /// The state folder of its seed.
    pub folder: PathBuf,
    /// The objects, ascending.
    pub objects: Vec<Object>,
    /// Those of them that the location has with another length: it would have to lose these first.
    pub conflicts: Vec<Object>,
    /// When it was chosen by an earlier call, which this one goes on with.
    pub begun: Option<Timestamp>,
    /// Everything that the repository has.
    inventory: Inventory,
}

/// What `location` lacks of the repository in `source`; what an earlier call has chosen, where that is not on sealed
/// drives yet or is what is lacking still. None when it lacks nothing. Keys stay behind: a location keeps its own.
///
/// # Errors
/// [`Error::OtherLocation`] when the location has another repository; [`Error::Store`], such as when it has none.
pub fn lacking(
    state: &Path,
    trust: &Trust,
    now: Timestamp,
    source: &dyn Store,
    location: &dyn Store,
) -> Result<Option<Lacking>, Error> {
    let (expected, found) = (identity(source)?, identity(location)?);
    if expected != found {
        return Err(Error::OtherLocation { place: location.location(), found, expected });
    }
    let last = numbers(state)?.last().copied().unwrap_or(0);
    let earlier = chosen(&state.join(last.to_string()), trust)?;
    let is_done = match &earlier {
        Some(earlier) => is_sealed(earlier, trust)?,
        None => true,
    };
    if !is_done {
        return Ok(earlier);
    }
    let frozen = freeze(&[source])?;
    let there = lengths(location)?;
    let lacks = |object: &&Object| {
        object.kind != ObjectKind::Key && there.get(&object.key()) != Some(&object.length)
    };
    let objects: Vec<Object> = frozen.objects.iter().filter(lacks).copied().collect();
    if let Some(earlier) = earlier.filter(|earlier| earlier.objects == objects) {
        return Ok(Some(earlier));
    }
    if objects.is_empty() {
        return Ok(None);
    }
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|_| Error::Random)?;
    let conflicts = objects.iter().filter(|object| there.contains_key(&object.key()));
    Ok(Some(Lacking {
        folder: state.join(last.saturating_add(1).to_string()),
        conflicts: conflicts.copied().collect(),
        objects,
        begun: None,
        inventory: Inventory {
            seed: SeedId(seed),
            created: now,
            repositories: frozen.repositories,
            objects: frozen.objects,
            parts: Vec::new(),
        },
    }))
}

impl Lacking {
    /// How many objects the repository has.
    #[must_use]
    pub fn of(&self) -> usize {
        self.inventory.objects.len()
    }

    /// Remembers what was chosen, before the first drive is written. From then on it stays that.
    ///
    /// # Errors
    /// The state folder cannot be written.
    pub fn begin(&self, signer: &SigningKey) -> Result<(), Error> {
        if self.begun.is_some() {
            return Ok(());
        }
        let folder = &self.folder;
        store::durable::create_folder(folder, 0o700).map_err(Error::io("creating", folder))?;
        let chosen = Inventory { objects: self.objects.clone(), ..self.inventory.clone() };
        // The inventory last: with it, it has begun.
        for (name, list) in [(CHOSEN, &chosen), (INVENTORY, &self.inventory)] {
            let path = folder.join(name);
            let bytes = list.encode(signer).map_err(|problem| Error::Malformed {
                document: Document::Inventory,
                place: path.display().to_string(),
                problem,
            })?;
            let written = store::durable::replace(&path, &bytes, 0o600);
            written.map_err(Error::io("writing", &path))?;
        }
        Ok(())
    }
}

/// Numbers of the choices made so far, ascending.
fn numbers(state: &Path) -> Result<BTreeSet<u32>, Error> {
    let entries = match std::fs::read_dir(state) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other.map_err(Error::io("listing", state))?,
    };
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(Error::io("listing", state))?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(numbers)
}

/// What an earlier call has chosen; none where it has not come that far.
fn chosen(folder: &Path, trust: &Trust) -> Result<Option<Lacking>, Error> {
    let Some(inventory) = read(&folder.join(INVENTORY), trust)? else { return Ok(None) };
    let Some(chosen) = read(&folder.join(CHOSEN), trust)? else { return Ok(None) };
    Ok(Some(Lacking {
        folder: folder.to_owned(),
        objects: chosen.objects,
        conflicts: Vec::new(),
        begun: Some(inventory.created),
        inventory,
    }))
}

fn read(path: &Path, trust: &Trust) -> Result<Option<Inventory>, Error> {
    let bytes = match std::fs::read(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("reading", path))?,
    };
    let decoded = Inventory::decode(&bytes, trust);
    let place = path.display().to_string();
    let signed = decoded.map_err(|refused| refused.at(Document::Inventory, &place))?;
    Ok(Some(signed.body))
}

/// Whether all of it is on sealed drives.
fn is_sealed(lacking: &Lacking, trust: &Trust) -> Result<bool, Error> {
    let manifests = sealed_before(&lacking.folder, trust)?;
    let sealed: BTreeSet<Object> =
        manifests.into_iter().flat_map(|manifest| manifest.body.objects).collect();
    Ok(lacking.objects.iter().all(|object| sealed.contains(object)))
}

/// What a location has, and how long it is.
fn lengths(location: &dyn Store) -> Result<BTreeMap<ObjectKey, u64>, Error> {
    // The config is the same: it was compared.
    let frozen = freeze(&[location])?;
    Ok(frozen.objects.iter().map(|object| (object.key(), object.length)).collect())
}
