//! Sets straight onto drives without a server, one after the other from one state folder: the first brings everything, each later one
//! what is lacking. Writes no drive.
//!
//! ```text
//!  <state>/repository, seed            the first set: the half that stays here, and what is known of its drives
//!  <state>/next/<n>/repository, seed   each one after it, from 1
//!  …/begun                             how it was begun; the first has it only where that was over another place, or with a wish
//! ```
//!
//! invariant: a set is begun when the one before it is complete. What it leaves out is on sealed drives of those before, or in the place
//! that was named; its list names that, so that nothing is published where it is missing.

use crate::direct::seed_of_drives;
use crate::elsewhere::Elsewhere;
use crate::{Error, init};
use model::{Digest, ErrorKind, ObjectKind};
use repo::{Author, KdfParams, LockGuard, LockMode, Repository};
use seed::direct::{Known, known};
use seed::{Object, Trust};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Folder, Overlay, Store};
use wire::{MAX_DRIVES, SeedId};

/// Why a further set cannot be written as wished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// There is nothing that it could go on from.
    #[error(
        "no drives were written from {} yet that these could follow: leave --catch-up out; where another place has the repository already, name that with --lacking-in",
        .0.display()
    )]
    NothingBefore(PathBuf),
    /// What these drives rely on is not at hand.
    #[error(
        "the drives that {} knows of were written over what another place has: name that place with --lacking-in",
        .0.display()
    )]
    PlaceNeeded(PathBuf),
    /// They bring all of it by now.
    #[error(
        "the drives that {} is at were begun without another place: leave --lacking-in out until everything is on sealed drives; for the next ones it can be given with --catch-up",
        .0.display()
    )]
    BegunWithout(PathBuf),
    /// Another repository.
    #[error("{location} has another repository than the one that goes onto these drives")]
    OtherPlace {
        /// Where.
        location: String,
    },
    /// It cannot be read.
    #[error("{} is damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
    },
}

impl SeriesError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::Invalid,
        }
    }
}

/// What a set leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Over {
    /// Nothing: it brings all of the repository.
    Nothing,
    /// What the sets before it carry.
    Earlier,
    /// What a place has that is named with each call.
    Place,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The next set, where the last one is complete.
    pub next: bool,
    /// Whether a place is named that has the repository.
    pub place: bool,
    /// Parity drives of the set.
    pub parity: u32,
    /// Drives of a set at most; none: as before.
    pub most: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Begun {
    version: u32,
    /// None for the one that follows from the repository.
    seed: Option<SeedId>,
    over: Over,
    parity: u32,
    most: Option<u32>,
}

const BEGUN: &str = "begun";
const NEXT: &str = "next";
const VERSION: u32 = 1;

/// The set that a call is about.
#[derive(Debug)]
pub struct Turn {
    /// Which one; from 0.
    pub number: u32,
    /// Whether everything of it is on sealed drives.
    pub complete: bool,
    begun: Begun,
    state: PathBuf,
}

impl Turn {
    /// Which set this call is about: the last one, or the one after it. Changes nothing.
    ///
    /// # Errors
    /// [`SeriesError`]; the state folder cannot be read, or another process has it.
    pub fn find(state: &Path, trust: &Trust, wish: &Wish) -> Result<Self, Error> {
        let last = last(state)?;
        let begun = read(&base(state, last))?;
        let known = look(state, last, trust)?;
        let has_begun = known.begun || begun.is_some();
        let wants = if wish.place { Over::Place } else { Over::Nothing };
        if !has_begun && last == 0 {
            if wish.next && !wish.place {
                return Err(SeriesError::NothingBefore(state.to_owned()).into());
            }
            return Ok(Self::new(state, 0, (wants, None), wish));
        }
        let begun = begun.unwrap_or(Begun {
            version: VERSION,
            seed: None,
            over: Over::Nothing,
            parity: 0,
            most: None,
        });
        let complete = known.complete.is_some();
        let is_covered = known.parity >= begun.parity.min(wish.parity);
        if wish.next && complete && is_covered {
            let wants = if wish.place { Over::Place } else { Over::Earlier };
            refuse_over_place(state, last, wants)?;
            return Ok(Self::new(state, last.saturating_add(1), (wants, None), wish));
        }
        let mut turn = Self { number: last, complete, begun, state: state.to_owned() };
        turn.begun.parity = wish.parity;
        turn.begun.most = wish.most.or(turn.begun.most);
        match (turn.begun.over, wish.place) {
            _ if complete => {}
            (Over::Place, true) | (Over::Nothing | Over::Earlier, false) => {}
            // Nothing was written for it yet: what it leaves out can be chosen anew. The first one has its repository by now.
            (_, true) if !known.begun && last > 0 => turn.begun.over = Over::Place,
            (Over::Place, false) if !known.begun && last > 0 => {
                refuse_over_place(state, last.saturating_sub(1), Over::Earlier)?;
                turn.begun.over = Over::Earlier;
            }
            (Over::Place, false) => return Err(SeriesError::PlaceNeeded(state.to_owned()).into()),
            (_, true) => return Err(SeriesError::BegunWithout(state.to_owned()).into()),
        }
        Ok(turn)
    }

    fn new(state: &Path, number: u32, (over, seed): (Over, Option<SeedId>), wish: &Wish) -> Self {
        let (parity, most) = (wish.parity, wish.most);
        let begun = Begun { version: VERSION, seed, over, parity, most };
        Self { number, complete: false, begun, state: state.to_owned() }
    }

    /// What it leaves out.
    #[must_use]
    pub fn over(&self) -> Over {
        self.begun.over
    }

    /// Drives of a set at most, parity included.
    #[must_use]
    pub fn most(&self) -> usize {
        self.begun.most.map_or(MAX_DRIVES, |most| most as usize)
    }

    /// What is known of its drives.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        base(&self.state, self.number).join("seed")
    }

    /// The half of its repository that stays here.
    #[must_use]
    pub fn local(&self) -> PathBuf {
        base(&self.state, self.number).join("repository")
    }

    /// Whether the half that stays here has a repository.
    #[must_use]
    pub fn has_repository(&self) -> bool {
        self.local().join("config").exists()
    }

    /// Opens its repository, made where there is none: as the one that is named, or that of the sets before, or anew. From then on it has
    /// begun.
    ///
    /// # Errors
    /// [`SeriesError::OtherPlace`]; a password that is wrong.
    pub fn begin(
        &mut self,
        place: Option<&Repository>,
        (password, author): (&[u8], &Author),
        now: jiff::Timestamp,
    ) -> Result<Repository, Error> {
        let folder = base(&self.state, self.number);
        store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
        let (local, over) = (self.local(), self.begun.over);
        let local: Arc<dyn Store> = Arc::new(Folder::new(&local));
        if let Some(place) = place
            && self.identity()?.is_some_and(|expected| expected != place.identity())
        {
            return Err(SeriesError::OtherPlace { location: place.location() }.into());
        }
        if self.begun.seed.is_none() && over != Over::Nothing {
            let mut id = [0; 16];
            getrandom::fill(&mut id).map_err(|_| seed::Error::Random)?;
            self.begun.seed = Some(SeedId(id));
        }
        if over == Over::Place {
            // Whoever goes on with the other one's repository must not take it for one that brings everything.
            self.save(&folder)?;
        }
        if !self.has_repository() {
            init::clear_halfway(local.as_ref())?;
            match (over, place) {
                (Over::Place, Some(place)) => init::copy(place.store().as_ref(), local.as_ref())?,
                (Over::Earlier, _) => init::copy(&first(&self.state), local.as_ref())?,
                _ => {
                    let kdf = KdfParams::STANDARD;
                    Repository::init(Arc::clone(&local), password, kdf, author.clone(), now)?;
                }
            }
        }
        let repository = Repository::open(local, password, author.clone())?;
        self.save(&folder)?;
        Ok(repository)
    }

    /// The repository that it is of; none where the first one is not made yet.
    fn identity(&self) -> Result<Option<Digest>, Error> {
        if self.number == 0 && !self.has_repository() {
            return Ok(None);
        }
        Ok(Some(seed::identity(&first(&self.state))?))
    }

    fn save(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(BEGUN);
        let wrong = |what: serde_json::Error| {
            Error::from(SeriesError::Damaged { path: path.clone(), what: what.to_string() })
        };
        let bytes = serde_json::to_vec(&self.begun).map_err(wrong)?;
        store::durable::replace(&path, &bytes, 0o600).map_err(Error::io("writing", &path))
    }

    /// Its seed.
    #[must_use]
    pub fn seed(&self, repository: &Repository) -> SeedId {
        self.begun.seed.unwrap_or_else(|| seed_of_drives(repository))
    }

    /// What it leaves out; none where it brings everything.
    ///
    /// # Errors
    /// The place cannot be read, or is locked by a prune; what is known of the sets before is damaged.
    pub fn base(&self, trust: &Trust, place: Option<&Repository>) -> Result<Option<Base>, Error> {
        match (self.begun.over, place) {
            (Over::Nothing, _) => Ok(None),
            (Over::Earlier, _) => self.earlier(trust).map(Some),
            (Over::Place, Some(place)) => of_place(place).map(Some),
            (Over::Place, None) => Err(SeriesError::PlaceNeeded(self.state.clone()).into()),
        }
    }

    /// What the sets before it carry: packs of data by name, everything else is here.
    fn earlier(&self, trust: &Trust) -> Result<Base, Error> {
        let mut all: Option<Arc<dyn Store>> = None;
        let mut objects = Vec::new();
        for number in 0..self.number {
            let nothing = || SeriesError::NothingBefore(self.state.clone());
            let list = look(&self.state, number, trust)?.complete.ok_or_else(nothing)?;
            let packs = list.objects.iter().filter(|object| object.kind == ObjectKind::Pack);
            let named = packs.map(|object| (object.key(), object.length)).collect();
            let here = Arc::new(Folder::new(base(&self.state, number).join("repository")));
            let one: Arc<dyn Store> = Arc::new(Elsewhere::new(here, named));
            all = Some(match all {
                Some(before) => Arc::new(Overlay::new(one, before)),
                None => one,
            });
            objects = list.objects;
        }
        // What may go at the other end by itself is not waited for.
        objects.retain(|object| matches!(object.kind, ObjectKind::Pack | ObjectKind::Index));
        let nothing = || SeriesError::NothingBefore(self.state.clone());
        Ok(Base { store: all.ok_or_else(nothing)?, objects, _lock: None })
    }
}

/// What a set leaves out. While it lives, nothing is pruned there.
pub struct Base {
    /// Where it is read.
    pub store: Arc<dyn Store>,
    /// Its packs and indexes, ascending.
    pub objects: Vec<Object>,
    _lock: Option<LockGuard>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("objects", &self.objects.len()).finish_non_exhaustive()
    }
}

fn of_place(place: &Repository) -> Result<Base, Error> {
    let lock = place.lock(LockMode::Shared)?;
    let mut objects = Vec::new();
    // Whatever is added meanwhile: a listed index has its packs listed.
    for kind in [ObjectKind::Index, ObjectKind::Pack] {
        for listed in place.store().list(kind)? {
            let Some(name) = listed.key.id() else { continue };
            objects.push(Object { repository: 0, kind, name, length: listed.length });
        }
    }
    objects.sort_unstable();
    objects.dedup_by_key(|object| object.identity());
    Ok(Base { store: Arc::clone(place.store()), objects, _lock: Some(lock) })
}

fn first(state: &Path) -> Folder {
    Folder::new(base(state, 0).join("repository"))
}

fn base(state: &Path, number: u32) -> PathBuf {
    match number {
        0 => state.to_owned(),
        _ => state.join(NEXT).join(number.to_string()),
    }
}

/// The last set that was begun; 0 where none was.
fn last(state: &Path) -> Result<u32, Error> {
    let folder = state.join(NEXT);
    let entries = match std::fs::read_dir(&folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(Error::io("listing", &folder))?,
    };
    let mut last = 0;
    for entry in entries {
        let name = entry.map_err(Error::io("listing", &folder))?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<u32>().ok());
        // One that died before it was begun has no seed yet.
        let number = number.filter(|number| base(state, *number).join(BEGUN).exists());
        last = last.max(number.unwrap_or(0));
    }
    Ok(last)
}

fn look(state: &Path, number: u32, trust: &Trust) -> Result<Known, Error> {
    let folder = base(state, number).join("seed");
    match folder.is_dir() {
        true => Ok(known(&folder, trust)?),
        false => Ok(Known { begun: false, complete: None, parity: 0 }),
    }
}

/// What the drives before rely on is not theirs: who goes by them alone would store all of it once more.
fn refuse_over_place(state: &Path, last: u32, wants: Over) -> Result<(), Error> {
    if wants != Over::Earlier {
        return Ok(());
    }
    for number in 0..=last {
        if read(&base(state, number))?.is_some_and(|begun| begun.over == Over::Place) {
            return Err(SeriesError::PlaceNeeded(state.to_owned()).into());
        }
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Option<Begun>, Error> {
    let path = folder.join(BEGUN);
    let bytes = match std::fs::read(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("reading", &path))?,
    };
    let damaged = |what: String| Error::from(SeriesError::Damaged { path: path.clone(), what });
    let begun: Begun = serde_json::from_slice(&bytes).map_err(|why| damaged(why.to_string()))?;
    match begun.version {
        VERSION => Ok(Some(begun)),
        other => Err(damaged(format!("it is of version {other}"))),
    }
}
