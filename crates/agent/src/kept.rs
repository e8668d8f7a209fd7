//! What tells what is in a seed's packs, kept at the source from the first drive until the vault has confirmed the seed:
//! config, keys, indexes, snapshots and packs of trees. So what is lost can be named, and made anew, when staging is gone.
//! And what the source still has of a seed at all: this, and staging. Makes nothing anew; `refill` does.

use crate::context::{Context, Event};
use crate::init::open_seed_staging;
use crate::record::{Contents, SeedRecord};
use crate::state::State;
use crate::{Error, journal, key_files};
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use seed::Object;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use store::{Folder, Overlay, Part, Store};
use wire::SeedId;

/// A config, key file, index or snapshot; packs of trees are shorter.
pub(crate) const METADATA: u64 = 256 << 20;

/// Keeps what the seed's inventory lists of it, from staging; what is kept stays. Nothing that is on its way waits for it: why
/// it could not be kept is told, and the next call tries again.
///
/// # Errors
/// [`Error::Interrupted`].
pub(crate) fn keep(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    password: &[u8],
) -> Result<(), Error> {
    let Some(contents) = &record.contents else { return Ok(()) };
    // Of one that was found again without staging there is nothing to keep.
    let nothing = record.found && record.direct;
    if nothing || is_kept(state, record.id) || record.is_over() {
        return Ok(());
    }
    match try_keep(ctx, state, record, contents, password) {
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => {
            ctx.tell(Event::NotKept { seed: record.id, why: &error.to_string() });
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Whether everything is kept that is to be.
pub(crate) fn is_kept(state: &State, seed: SeedId) -> bool {
    state.refill_folder(seed).join("complete").exists()
}

/// # Errors
/// Staging is not there, or not the seed's; the disk.
pub(crate) fn try_keep(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    contents: &Contents,
    password: &[u8],
) -> Result<(), Error> {
    let staging = open_seed_staging(ctx, record, password)?;
    let trees = staging.packs_of_trees()?;
    let kept = Folder::new(state.kept_folder(record.id));
    store::durable::create_folder(kept.root(), 0o700)
        .map_err(Error::io("creating", kept.root()))?;
    kept.create()?;
    let is_kept =
        |object: &&Object| object.kind != ObjectKind::Pack || trees.contains(&object.name);
    for object in journal::objects(state, record, contents)?.iter().filter(is_kept) {
        ctx.check_stop()?;
        copy(staging.store(), &kept, object)?;
    }
    // The inventory knows the keys of its time.
    key_files::put_into(state, &kept, staging.identity())?;
    let mark = state.refill_folder(record.id).join("complete");
    let text = format!("{}\n", contents.inventory);
    store::durable::replace(&mark, text.as_bytes(), 0o600).map_err(Error::io("writing", &mark))
}

/// Copies an object that hashes to its name.
pub(crate) fn copy(from: &dyn Store, to: &Folder, object: &Object) -> Result<(), Error> {
    let key = object.key();
    if to.length(&key).is_ok_and(|length| length == object.length) {
        return Ok(());
    }
    if object.kind == ObjectKind::Config {
        let bytes = from.get(&key, METADATA)?;
        if Digest(Sha256::digest(&bytes).into()) != object.name {
            let location = from.location();
            let what = "its config is another one".to_owned();
            return Err(Error::Staging { staging: location, what });
        }
        return Ok(to.put(&key, &bytes)?);
    }
    Ok(to.put_from(&key, object.length, &mut from.open(&key)?)?)
}

/// Nobody needs it any more. What cannot be removed takes room and does no harm.
pub(crate) fn forget(state: &State, seed: SeedId) {
    for folder in [state.kept_folder(seed), state.work_folder(seed)] {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// What the source has of a seed: what is kept, staging, and packs that were made anew elsewhere.
#[derive(Debug)]
pub(crate) struct Held {
    kept: Arc<Folder>,
    staging: Arc<Folder>,
    made: Vec<Arc<Folder>>,
}

impl Held {
    pub(crate) fn of(state: &State, record: &SeedRecord) -> Self {
        let kept = Arc::new(Folder::new(state.kept_folder(record.id)));
        let made = record.made_in.iter().map(|at| Arc::new(Folder::new(at))).collect();
        Self { kept, staging: Arc::new(Folder::new(&record.staging)), made }
    }

    fn places(&self) -> impl Iterator<Item = &Folder> {
        let own = [self.kept.as_ref(), self.staging.as_ref()];
        own.into_iter().chain(self.made.iter().map(Arc::as_ref))
    }

    /// Whether something of that name and length is there.
    pub(crate) fn has(&self, object: &Object) -> bool {
        let key = object.key();
        self.places().any(|it| it.length(&key).is_ok_and(|it| it == object.length))
    }

    /// The object; none when it is nowhere here, or nowhere what its name says.
    pub(crate) fn read(&self, object: &Object) -> Result<Option<Vec<u8>>, Error> {
        for place in self.places() {
            match place.get(&object.key(), object.length) {
                Ok(bytes) if is(object, &bytes) => return Ok(Some(bytes)),
                Ok(_) => {}
                Err(error) if may_be_gone(error.kind()) || !is_there(place) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Whether the object is here as its name says: read, and hashed.
    pub(crate) fn has_whole(&self, object: &Object) -> Result<bool, Error> {
        for place in self.places() {
            let key = object.key();
            let same = |length| length == object.length;
            if place.length(&key).is_ok_and(same) && hashes(place, object)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All as one store, what is kept first. Nothing may be added.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        let kept: Arc<dyn Store> = Arc::<Folder>::clone(&self.kept);
        let own = Arc::new(Overlay::new(kept, Arc::<Folder>::clone(&self.staging)));
        over(own, self.made.iter().map(Arc::as_ref))
    }

    /// What is kept of these objects.
    pub(crate) fn kept(&self, objects: &[Object]) -> Part {
        let shown: BTreeSet<ObjectKey> = objects.iter().map(Object::key).collect();
        Part::new(Arc::<Folder>::clone(&self.kept), shown)
    }

    /// Whether staging holds the seed's repository at all.
    pub(crate) fn has_staging(&self) -> bool {
        self.staging.length(&ObjectKey::Config).is_ok()
    }
}

/// A store over those of the folders that are there.
pub(crate) fn over<'f>(
    first: Arc<dyn Store>,
    others: impl IntoIterator<Item = &'f Folder>,
) -> Arc<dyn Store> {
    let there = others.into_iter().filter(|other| is_there(other));
    there.fold(first, |above, other| {
        Arc::new(Overlay::new(above, Arc::new(Folder::new(other.root()))))
    })
}

fn is(object: &Object, bytes: &[u8]) -> bool {
    bytes.len() as u64 == object.length && Digest(Sha256::digest(bytes).into()) == object.name
}

/// Whether what is there hashes to its name; read in parts.
pub(crate) fn hashes(place: &Folder, object: &Object) -> Result<bool, Error> {
    let mut source = match place.open(&object.key()) {
        Ok(source) => source,
        Err(error) if may_be_gone(error.kind()) || !is_there(place) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(Digest(hash.finalize().into()) == object.name),
            Ok(count) => hash.update(buffer.get(..count).unwrap_or_default()),
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            // A disk that cannot read it does not have it.
            Err(_) => return Ok(false),
        }
    }
}

/// Whether there is a folder at all: one that cannot be reached may still be there.
pub(crate) fn is_there(place: &Folder) -> bool {
    let found = std::fs::symlink_metadata(place.root());
    !found.is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
}

fn may_be_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NoRepository | ErrorKind::Corrupt)
}
