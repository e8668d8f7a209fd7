//! A local folder as the destination of drives: everything waits in a pending area until a seed is
//! complete and verified, and is published then. Takes nothing from outside unchecked.
//!
//! ```text
//! <into>/config, keys/, data/, index/, snapshots/   the published repository, when a seed has one
//! <into>/<sha256 of config>/…                       each of them, when it has several
//! <into>/pending/<seed>/inventory                   what must arrive
//! <into>/pending/<seed>/manifests/<sha256>          of each drive taken in so far
//! <into>/pending/<seed>/packmule/partials/…         what is being written; means nothing
//! <into>/pending/<seed>/repositories/<…>/…          what has arrived, as on the drives
//! ```
//!
//! What this very call has hashed, written, synced and named is published as it is. Everything else,
//! as what an earlier call has left, is hashed again before.
//!
//! Publication moves objects by renames: keys, config, packs, indexes, snapshots, each kind synced
//! before the next begins. Keys go before the config because a repository exists from its config
//! on, and one that exists keeps its own keys: a crash between the two must not lose them.

use crate::arrive::{self, Ground};
use crate::arrived::{FolderLanding, Place, conflict_is_absence, holds, length};
use crate::belt::Limits;
use crate::beneath::Beneath;
use crate::drive::{self, PARTIAL, Sealed};
use crate::event::Events;
use crate::import::{Unloaded, refuse_unpinned};
use crate::intake::{self, Admit, Intake, Stopped, Verified};
use crate::missing::{Missing, Wanted, by_job};
use crate::object::REPOSITORIES;
use crate::parity::{self, AtOnce, Rebuilding};
use crate::sign::Trust;
use crate::stream::{self, Heard};
use crate::{Document, Error, Event, Inventory, Manifest, Object, Signed, object_path};
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use store::{Folder, Store};
use wire::{ExportPart, SeedId};

const PENDING: &str = "pending";
/// A published seed on its way to be forgotten. No seed's id looks like this.
const DONE: &str = "pending/done";

/// How a seed stands after an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// What is still wanted; nothing, once it is published.
    pub missing: Missing,
    /// Whether the seed is published: all of it is in the repository.
    pub published: bool,
}

/// What [`import`] has done.
#[derive(Debug)]
pub struct Imported {
    /// Each drive, in the order given: what it gave, or why it was refused.
    pub drives: Vec<(PathBuf, Result<Unloaded, Error>)>,
    /// Each seed of this signer that waits here, or did until now.
    pub seeds: Vec<Landed>,
}

/// Takes in the drives at hand, side by side, and publishes every seed that is complete with them.
/// The drives may come in any order and in any number of calls; a drive that is refused, damaged or
/// gone does not stop the others.
///
/// # Errors
/// The destination cannot be used, or takes nothing more. What has arrived stays, and the same
/// call goes on.
pub fn import(
    into: &Path,
    drives: &[PathBuf],
    trust: &Trust,
    events: &mut dyn Events,
) -> Result<Imported, Error> {
    import_within(Limits::USUAL, into, drives, trust, events)
}

pub(crate) fn import_within(
    limits: Limits,
    into: &Path,
    drives: &[PathBuf],
    trust: &Trust,
    events: &mut dyn Events,
) -> Result<Imported, Error> {
    store::durable::create_folder(into, 0o700).map_err(Error::io("creating", into))?;
    let destination = Destination::open(into)?;
    let ground = Ground::new(&destination.folder, &limits);
    let admission = Admission { destination: &destination, trust, seeds: Mutex::default() };
    let is_parity: Vec<bool> = drives.iter().map(|path| parity::is_on(path)).collect();
    let of_kind = |kind: bool| {
        let these = drives.iter().zip(&is_parity).filter(move |(_, is)| **is == kind);
        these.map(|(path, _)| path.clone()).collect::<Vec<PathBuf>>()
    };
    let (data, of_parity) = (of_kind(false), of_kind(true));
    let with =
        Rebuilding { destination: &destination, ground: &ground, limits, trust, data: &data };
    let at_once = AtOnce::find(&with, &of_parity)?;
    let beside = match &at_once {
        Some(at_once) => at_once.begin(&with, &admission)?,
        None => None,
    };
    let intake = intake::take_in(&data, &admission, (&ground, limits), beside, events)?;
    let Intake { drives: given, mut verified, beside } = intake;
    let before = at_once.as_ref().zip(beside);
    let rebuilt = parity::take_in(&with, &admission, &of_parity, (&mut verified, before), events)?;
    let (mut given, mut rebuilt) = (given.into_iter(), rebuilt.into_iter());
    let mut next = |is: bool| if is { rebuilt.next() } else { given.next() };
    let results = drives.iter().zip(is_parity);
    let results = results
        .map(|(path, is)| (path.clone(), next(is).unwrap_or(Err(Error::Interrupted))))
        .collect();
    let publication = Publication { trust, verified, part: limits.part };
    let (mut landed, mut waiting) = (Vec::new(), destination.waiting()?);
    // What one seed has brought may be what another one lacked: as long as one is published, the others are looked at again.
    loop {
        let mut open = Vec::new();
        let before = landed.len();
        for seed in waiting {
            match destination.publish_if_complete(seed, &publication, events) {
                // Drives of somebody else brought it: theirs to go on with.
                Err(Error::OtherSigner { .. }) => {}
                other => {
                    let seed = other?;
                    if seed.published { landed.push(seed) } else { open.push(seed) }
                }
            }
        }
        if landed.len() == before || open.is_empty() {
            landed.extend(open);
            break;
        }
        waiting = open.iter().map(|seed| seed.missing.seed).collect();
    }
    Ok(Imported { drives: results, seeds: landed })
}

/// What is still wanted of every seed that waits in `into`.
///
/// # Errors
/// The folder cannot be read, or what it remembers of a seed is damaged.
pub fn missing(into: &Path) -> Result<Vec<Missing>, Error> {
    let folder = Beneath::open(into).map_err(Error::io("opening", into))?;
    let destination = Destination { folder };
    // The documents were verified when they came; here they are only read again.
    let missing = |seed| destination.missing(seed, &Trust::AsFound);
    destination.waiting()?.into_iter().map(missing).collect()
}

/// Whether an error is about the destination, not about one drive.
pub(crate) fn ends_everything(error: &Error) -> bool {
    matches!(error, Error::Store(_) | Error::Interrupted | Error::Busy { .. })
}

/// Whether a drive may be used here.
pub(crate) struct Admission<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) trust: &'a Trust,
    /// Seeds that this call has met. Held while documents are written, of which all drives have some.
    pub(crate) seeds: Mutex<BTreeSet<SeedId>>,
}

impl Admit for Admission<'_> {
    fn admit(&self, drive: &Beneath) -> Result<(Sealed, FolderLanding), Stopped> {
        self.open(drive).map_err(|error| match ends_everything(&error) {
            true => Stopped::All(error),
            false => Stopped::Drive(error),
        })
    }
}

impl Admission<'_> {
    /// Keeps a drive's documents; of the first one of its seed after what an earlier call has left half-way is removed.
    pub(crate) fn keep_documents(
        &self,
        drive: &Beneath,
        sealed: &Sealed,
        found: Option<drive::Found<Inventory>>,
    ) -> Result<(), Error> {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        self.clean(sealed.label.body.seed, &mut seeds)?;
        self.destination.keep_documents(drive, sealed, found, self.trust)
    }

    /// Objects of that seed are about to be written by somebody who has no drive's documents to keep.
    pub(crate) fn begin(&self, seed: SeedId) -> Result<(), Error> {
        self.clean(seed, &mut self.seeds.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn clean(&self, seed: SeedId, seeds: &mut BTreeSet<SeedId>) -> Result<(), Error> {
        if !seeds.contains(&seed) {
            let folder = &self.destination.folder;
            let removed = arrive::remove_partials(folder, &pending(seed));
            removed.map_err(Error::io("cleaning up in", folder.path()))?;
            seeds.insert(seed);
        }
        Ok(())
    }

    fn open(&self, drive: &Beneath) -> Result<(Sealed, FolderLanding), Error> {
        let (destination, trust) = (self.destination, self.trust);
        refuse_unpinned(drive, trust)?;
        let sealed = drive::sealed(drive, trust)?;
        let label = &sealed.label.body;
        destination.refuse_other_repository(&label.repositories)?;
        // Another drive has it too; a damaged one is as good as none.
        let found = drive::inventory(drive, &sealed.label, trust).unwrap_or_default();
        self.keep_documents(drive, &sealed, found)?;
        let landing = destination.landing(label.seed, &label.repositories)?;
        Ok((sealed, landing))
    }
}

/// What publishing goes by.
pub(crate) struct Publication<'a> {
    pub(crate) trust: &'a Trust,
    /// What need not be hashed again.
    pub(crate) verified: Verified,
    /// Bytes that are read at a time.
    pub(crate) part: usize,
}

/// The folder that drives are imported into.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) folder: Beneath,
}

impl Destination {
    pub(crate) fn open(into: &Path) -> Result<Self, Error> {
        let folder = Beneath::open(into).map_err(Error::io("opening", into))?.private();
        if !folder.lock().map_err(Error::io("locking", into))? {
            return Err(Error::Busy { place: into.display().to_string() });
        }
        Ok(Self { folder })
    }

    /// The seeds of which something has arrived and that are not published.
    fn waiting(&self) -> Result<BTreeSet<SeedId>, Error> {
        let mut seeds = BTreeSet::new();
        let mut see = |found: crate::beneath::Found| {
            seeds.extend(found.path.split('/').nth(1).and_then(|name| name.parse::<SeedId>().ok()));
            true
        };
        self.folder.walk(PENDING, &mut see).map_err(Error::io("listing", self.folder.path()))?;
        Ok(seeds)
    }

    /// A folder holds one repository for good.
    pub(crate) fn refuse_other_repository(&self, repositories: &[Digest]) -> Result<(), Error> {
        for expected in repositories {
            let root = published_root(self.folder.path(), repositories, expected);
            let published = Folder::new(&root);
            if length(&published, &ObjectKey::Config).map_err(Error::Store)?.is_none() {
                continue;
            }
            let found = crate::identity(&published)?;
            if found != *expected {
                let place = root.display().to_string();
                return Err(Error::OtherRepository { place, found, expected: *expected });
            }
        }
        Ok(())
    }

    /// Keeps what says what must arrive, before the first object arrives. `found` is the drive's
    /// inventory.
    fn keep_documents(
        &self,
        drive: &Beneath,
        sealed: &Sealed,
        found: Option<drive::Found<Inventory>>,
        trust: &Trust,
    ) -> Result<(), Error> {
        let pending = pending(sealed.label.body.seed);
        let io = |cause| Error::io("writing below", self.folder.path())(cause);
        let manifests = format!("{pending}/manifests");
        self.folder.create_folders(&manifests).map_err(io)?;
        self.folder.create_folders(&format!("{pending}/packmule")).map_err(io)?;
        let partial = format!("{pending}/{PARTIAL}");
        let name = format!("{manifests}/{}", sealed.manifest.digest);
        if self.folder.length(&name).map_err(io)?.is_none() {
            self.folder.write(&name, &partial, &sealed.manifest_bytes).map_err(io)?;
        }
        let named = sealed.manifest.body.header.inventory;
        let found = found.filter(|(_, inventory)| Some(inventory.digest) == named);
        let kept = self.inventory(sealed.label.body.seed, trust)?;
        match (kept, found) {
            (Some(kept), Some((_, found))) if kept.digest != found.digest => {
                Err(Error::Disagree { place: drive::place(drive), seed: found.body.seed })
            }
            (None, Some((bytes, _))) => {
                self.folder.write(&format!("{pending}/inventory"), &partial, &bytes).map_err(io)
            }
            _ => Ok(()),
        }
    }

    fn inventory(&self, seed: SeedId, trust: &Trust) -> Result<Option<Signed<Inventory>>, Error> {
        let path = format!("{}/inventory", pending(seed));
        let decode = |bytes: &[u8]| Inventory::decode(bytes, trust);
        let found = drive::document(&self.folder, &path, Document::Inventory, decode)?;
        Ok(found.map(|(_, inventory)| inventory))
    }

    fn manifests(&self, seed: SeedId, trust: &Trust) -> Result<Vec<Manifest>, Error> {
        let path = format!("{}/manifests", pending(seed));
        let mut names = Vec::new();
        let mut see = |found: crate::beneath::Found| {
            names.push(found.path);
            true
        };
        self.folder.walk(&path, &mut see).map_err(Error::io("listing", self.folder.path()))?;
        let decode = |bytes: &[u8]| Manifest::decode(bytes, trust);
        let read = |name: &String| {
            let found = drive::document(&self.folder, name, Document::Manifest, decode);
            found.map(|found| found.map(|(_, manifest)| manifest.body)).transpose()
        };
        names.iter().filter_map(read).collect()
    }

    /// Every object known of, with its repository, and whether that is all of them.
    fn expected(&self, seed: SeedId, trust: &Trust) -> Result<Expected, Error> {
        if let Some(inventory) = self.inventory(seed, trust)? {
            let Inventory { repositories, objects, parts, .. } = inventory.body;
            return Ok(Expected { repositories, objects, parts, whole: true });
        }
        let mut expected = Expected {
            repositories: Vec::new(),
            objects: Vec::new(),
            parts: Vec::new(),
            whole: false,
        };
        for manifest in self.manifests(seed, trust)? {
            expected.repositories = manifest.header.repositories;
            expected.objects.extend(manifest.objects);
        }
        expected.objects.sort_unstable();
        expected.objects.dedup();
        Ok(expected)
    }

    pub(crate) fn landing(
        &self,
        seed: SeedId,
        repositories: &[Digest],
    ) -> Result<FolderLanding, Error> {
        let into = self.folder.path();
        let mut places = BTreeMap::new();
        for repository in repositories {
            let waiting = into.join(pending(seed)).join(REPOSITORIES).join(repository.to_hex());
            let waiting = Folder::new(waiting);
            let published = Folder::new(published_root(into, repositories, repository));
            let exists = length(&published, &ObjectKey::Config).map_err(Error::Store)?.is_some();
            places.insert(*repository, Place { waiting, published, exists });
        }
        Ok(FolderLanding { places })
    }

    pub(crate) fn missing(&self, seed: SeedId, trust: &Trust) -> Result<Missing, Error> {
        let expected = self.expected(seed, trust)?;
        let landing = self.landing(seed, &expected.repositories)?;
        let mut wanted = Vec::new();
        for object in &expected.objects {
            let Some(repository) = expected.repository(object) else { continue };
            let (key, length) = (object.key(), object.length);
            if !landing
                .has(&repository, &key, length)
                .or_else(conflict_is_absence)
                .map_err(Error::Store)?
            {
                wanted.push(Wanted { repository, key, length });
            }
        }
        let by_job = match expected.parts.is_empty() || wanted.is_empty() {
            true => Vec::new(),
            false => by_job(&expected.parts, &self.manifests(seed, trust)?, &wanted),
        };
        let objects = expected.objects.len() as u64;
        Ok(Missing { seed, inventory: expected.whole, objects, wanted, by_job })
    }

    pub(crate) fn publish_if_complete(
        &self,
        seed: SeedId,
        publication: &Publication<'_>,
        events: &mut dyn Events,
    ) -> Result<Landed, Error> {
        let trust = publication.trust;
        let mut missing = self.missing(seed, trust)?;
        if !missing.inventory || !missing.wanted.is_empty() {
            return Ok(Landed { missing, published: false });
        }
        let expected = self.expected(seed, trust)?;
        self.refuse_other_repository(&expected.repositories)?;
        let landing = self.landing(seed, &expected.repositories)?;
        missing.wanted = self.prove(seed, (&expected, &landing), publication, events)?;
        if !missing.wanted.is_empty() {
            return Ok(Landed { missing, published: false });
        }
        self.publish(seed, &expected, &landing, events)?;
        Ok(Landed { missing, published: true })
    }

    /// Reads every object from where it is now, but those that this call has verified. What waits and
    /// is damaged is removed, so that the next drive can bring it; all that is not right is answered.
    fn prove(
        &self,
        seed: SeedId,
        (expected, landing): (&Expected, &FolderLanding),
        publication: &Publication<'_>,
        events: &dyn Events,
    ) -> Result<Vec<Wanted>, Error> {
        let verified = publication.verified.get(&(seed, expected.repositories.clone()));
        let mut unproved = Vec::new();
        for object in &expected.objects {
            if verified.is_some_and(|verified| verified.contains(object)) {
                continue;
            }
            if let Some(path) = self.place(seed, expected, landing, object)? {
                unproved.push((*object, path));
            }
        }
        let mut wrong = Vec::new();
        let mut hear = |heard: Heard<'_>| -> Result<bool, Error> {
            if let Heard::End(object, Some(_)) = heard {
                wrong.push(*object);
            }
            Ok(!events.stop())
        };
        let part = publication.part;
        if events.stop() || !stream::each(&self.folder, unproved.into_iter(), part, &mut hear)? {
            return Err(Error::Interrupted);
        }
        let mut wanted = Vec::new();
        for object in wrong {
            let Some(repository) = expected.repository(&object) else { continue };
            let key = object.key();
            let waiting = format!("{}/{}", pending(seed), object_path(&repository, &key));
            if self.place(seed, expected, landing, &object)?.as_ref() == Some(&waiting) {
                let removed = self.folder.remove(&waiting);
                removed.map_err(Error::io("removing below", self.folder.path()))?;
            }
            wanted.push(Wanted { repository, key, length: object.length });
        }
        Ok(wanted)
    }

    /// Where an object is now, below the folder. None for keys that a repository does not take.
    fn place(
        &self,
        seed: SeedId,
        expected: &Expected,
        landing: &FolderLanding,
        object: &Object,
    ) -> Result<Option<String>, Error> {
        let key = object.key();
        let Some(repository) = expected.repository(object) else { return Ok(None) };
        let Some(place) = landing.places.get(&repository) else { return Ok(None) };
        if key.kind() == ObjectKind::Key && place.exists {
            return Ok(None);
        }
        let published = holds(&place.published, &key, object.length).map_err(Error::Store)?;
        Ok(Some(match published {
            true => published_path(&expected.repositories, &repository, &key),
            false => format!("{}/{}", pending(seed), object_path(&repository, &key)),
        }))
    }

    /// Moves everything that waits to its repository, kind by kind, and forgets the seed.
    fn publish(
        &self,
        seed: SeedId,
        expected: &Expected,
        landing: &FolderLanding,
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        const ORDER: [ObjectKind; 5] = [
            ObjectKind::Key,
            ObjectKind::Config,
            ObjectKind::Pack,
            ObjectKind::Index,
            ObjectKind::Snapshot,
        ];
        events.event(Event::Publishing { objects: expected.objects.len() as u64 });
        for place in landing.places.values() {
            place.published.create().map_err(Error::Store)?;
        }
        for kind in ORDER {
            let of_kind = expected.objects.iter().filter(|object| object.kind == kind);
            let moved = self.move_all(seed, expected, landing, of_kind);
            moved.map_err(Error::io("publishing in", self.folder.path()))?;
        }
        self.forget(seed).map_err(Error::io("cleaning up in", self.folder.path()))
    }

    /// Removes what a published seed has left. Under another name first, so that a crash in the
    /// middle does not leave a seed without its list.
    fn forget(&self, seed: SeedId) -> std::io::Result<()> {
        let done = self.folder.path().join(DONE);
        match std::fs::remove_dir_all(&done) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        self.folder.rename(&pending(seed), DONE)?;
        self.folder.sync_folder(PENDING)?;
        std::fs::remove_dir_all(&done)
    }

    fn move_all<'o>(
        &self,
        seed: SeedId,
        expected: &Expected,
        landing: &FolderLanding,
        objects: impl Iterator<Item = &'o Object>,
    ) -> std::io::Result<()> {
        let mut touched = BTreeSet::new();
        for object in objects {
            let Some(repository) = expected.repository(object) else { continue };
            let keeps_its_keys = landing.places.get(&repository).is_some_and(|place| place.exists);
            let from = format!("{}/{}", pending(seed), object_path(&repository, &object.key()));
            if object.kind == ObjectKind::Key && keeps_its_keys {
                self.folder.remove(&from)?;
                continue;
            }
            let to = published_path(&expected.repositories, &repository, &object.key());
            let parent = to.rsplit_once('/').map_or(".", |(parent, _)| parent);
            // Also where a crash came between the rename and this.
            touched.insert(parent.to_owned());
            if self.folder.length(&to)?.is_some() {
                self.folder.remove(&from)?;
                continue;
            }
            self.folder.create_folders(parent)?;
            self.folder.rename(&from, &to)?;
        }
        for folder in touched {
            self.folder.sync_folder(&folder)?;
        }
        Ok(())
    }
}

/// What must arrive.
struct Expected {
    repositories: Vec<Digest>,
    objects: Vec<Object>,
    parts: Vec<ExportPart>,
    /// Whether this is all of the seed.
    whole: bool,
}

impl Expected {
    fn repository(&self, object: &Object) -> Option<Digest> {
        self.repositories.get(usize::from(object.repository)).copied()
    }
}

pub(crate) fn pending(seed: SeedId) -> String {
    format!("{PENDING}/{seed}")
}

/// Where an object is once it is published, below the folder.
pub(crate) fn published_path(
    repositories: &[Digest],
    repository: &Digest,
    key: &ObjectKey,
) -> String {
    match repositories {
        [_] => key.path(),
        _ => format!("{repository}/{key}"),
    }
}

/// Where a repository is once it is published: the folder itself, or, of several, one in it.
fn published_root(into: &Path, repositories: &[Digest], repository: &Digest) -> PathBuf {
    match repositories {
        [_] => into.to_owned(),
        _ => into.join(repository.to_hex()),
    }
}
