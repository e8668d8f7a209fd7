//! Objects of a seed that the vault asks for and the source has no more: packs of data are made anew from what the source
//! itself still has, and the seed is revised by them. Sends nothing: that is as before, from staging.
//!
//! ```text
//!  want-list ─ nowhere here? ─▶ lost packs ─ the kept indexes ─▶ lost blobs ─ the kept trees ─▶ files ─▶ read again
//!                                                                                                      │
//!   a folder ◀─ new packs ◀── blobs that the source still has ◀────────────────────────────────────────┘
//!   revision ◀─ indexes without the lost packs · snapshots as they are, or, if that is chosen, without the lost files
//! ```
//!
//! Why it is so, and what happens if it dies anywhere, is in `docs/design/refill.md`.

mod room;

use crate::bench::Bench;
use crate::context::{Context, Event, Phase};
use crate::kept::{self, Held};
use crate::record::{Contents, SeedRecord};
use crate::revise::{self, Draft, LostFile, Note};
use crate::send::Sent;
use crate::state::State;
use crate::vault::Vault;
use crate::{Error, journal, publication, wanted};
use backup::{RegainOptions, Repair};
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use repo::{BlobKind, Index, LockGuard, LockMode, Repository, WithoutPacks, Writer, WriterOptions};
use seed::Object;
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use store::{Folder, Overlay, Rate, RateLimit, Store};
use wire::{Role, SeedId};

/// What is to be made anew, and how.
#[derive(Debug, Clone, Default)]
pub struct Refilling {
    /// Which seed; none for the only one that something is wanted of.
    pub seed: Option<SeedId>,
    /// What the source cannot give any more is left out: snapshots are made without the files concerned.
    pub repaired: bool,
    /// Where new packs are put: in the staging folder, where none was ever named for the seed.
    pub packs: Option<PathBuf>,
    /// Bytes a second that are written there at most; 0 for no limit.
    pub limit_rate: u64,
    /// Only say which files would be read.
    pub dry_run: bool,
}

/// What was made anew.
#[derive(Debug)]
pub struct Refilled {
    /// The seed.
    pub seed: SeedId,
    /// Packs that the vault asks for and that are nowhere here.
    pub gone: Vec<Object>,
    /// Packs with what the source still had of them, there now, whichever call has made them.
    pub packs: u64,
    /// Where new ones are put.
    pub folder: PathBuf,
    /// Their bytes.
    pub bytes: u64,
    /// Files that could not be read.
    pub problems: Vec<backup::Problem>,
    /// Files that lack something: of a dry run, those that would be read; else those that cannot be had whole.
    pub lost: Vec<backup::LostFile>,
    /// Snapshots, and what stands in their place.
    pub repaired: Vec<(Digest, Digest)>,
    /// The revision by which the seed goes now; none where nothing was changed.
    pub revision: Option<u32>,
}

/// Makes anew what the vault asks for and the source has no more. Nothing is read that is not lost, and nothing that has
/// arrived is touched. Where the source cannot give all of it, the seed stays as it is unless
/// [`repaired`](Refilling::repaired) says otherwise; what could be had stays where new packs are put. The password is the repository's.
///
/// # Errors
/// [`Error::NothingWanted`]; [`Error::NothingGone`]; [`Error::NothingKept`]; [`Error::NotSigner`]; [`Error::SetBegun`]; no room
/// where new packs are put; what stops the reading, the disk or the server. What was made by then stays, and the same call goes on.
pub fn refill(ctx: &Context<'_>, what: &Refilling, password: &[u8]) -> Result<Refilled, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    if vault.client.credentials().role == Role::Copy {
        return Err(Error::OnTheSource);
    }
    let (record, objects) = wanted::only_one(ctx, &state, &vault, what.seed)?;
    let _lock = state.lock_seed(record.id)?;
    let there = wanted::there(&*vault.pending(ctx, 0)?, &objects)?;
    let held = Held::of(&state, &record);
    let mut gone = Vec::new();
    for object in objects.iter().filter(|object| !there.contains(object)) {
        ctx.check_stop()?;
        if !held.has_whole(object)? {
            gone.push(*object);
        }
    }
    if gone.is_empty() {
        return Err(Error::NothingGone { seed: record.id });
    }
    let how = How { what, spare: 0 };
    let done = run(ctx, &state, &vault, &record, gone, &how, password)?;
    if done.revision.is_some() {
        // So that what is wanted now is known.
        publication::until_published(ctx, &state, &vault, &state.seed(record.id)?)?;
    }
    Ok(done)
}

/// What a backup does by itself about objects that could not be sent: nothing where staging is not there at all, as it may
/// only not be mounted; and nothing that needs a choice.
pub(crate) fn by_itself(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    sent: &Sent,
    password: &[u8],
) -> Result<Option<Refilled>, Error> {
    if sent.gone.is_empty() || sent.left > 0 || !Held::of(state, record).has_staging() {
        return Ok(None);
    }
    // The state directory's disk is not one that was chosen for so much.
    let is_chosen = !record.direct || !record.made_in.is_empty();
    let lost = sent.gone.iter().fold(0_u64, |sum, object| sum.saturating_add(object.length));
    let how = How { what: &Refilling::default(), spare: if is_chosen { 0 } else { lost } };
    match run(ctx, state, vault, record, sent.gone.clone(), &how, password) {
        // Somebody has to decide: the seed waits, and says for what.
        Err(error) if needs_somebody(&error) => {
            ctx.tell(Event::NotRefilled { seed: record.id, why: &crate::wanted::causes(&error) });
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn needs_somebody(error: &Error) -> bool {
    let is_full = error.kind() == ErrorKind::Full;
    is_full
        || matches!(
            error,
            Error::NothingKept { .. } | Error::NotSigner { .. } | Error::SetBegun { .. }
        )
}

/// What is to be done, and how many bytes have to stay free beside it.
struct How<'a> {
    what: &'a Refilling,
    spare: u64,
}

fn run(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    gone: Vec<Object>,
    how: &How<'_>,
    password: &[u8],
) -> Result<Refilled, Error> {
    let what = how.what;
    ctx.tell(Event::Phase(Phase::Refill));
    let contents = record.contents.as_ref().ok_or(flow::Refused::StillPreparing)?;
    refuse(state, vault, record, contents)?;
    if !kept::is_kept(state, record.id) {
        let seed = record.id;
        let nothing = |error: Error| Error::NothingKept { seed, what: error.to_string() };
        kept::try_keep(ctx, state, record, contents, password).map_err(nothing)?;
    }
    let lost = packs(record, &gone)?;
    let own = journal::objects(state, record, contents)?;
    let view = view(ctx, state, vault, record, &own, password)?;
    let mut without = view.without_packs(&lost)?;
    if without.lost.keys().any(|(kind, _)| *kind == BlobKind::Tree) {
        let what = "packs with the lists of folders are among what is lost".to_owned();
        return Err(Error::NothingKept { seed: record.id, what });
    }
    let mut done = Refilled {
        seed: record.id,
        gone,
        packs: 0,
        bytes: 0,
        folder: room::place(record, what.packs.as_deref()),
        problems: Vec::new(),
        lost: Vec::new(),
        repaired: Vec::new(),
        revision: None,
    };
    let of_seed = view.clone();
    let (view, later) = with_increments(ctx, vault, record, view)?;
    if !later.is_empty() {
        without.index = known(&view, &lost, &without)?;
    }
    if what.dry_run {
        done.lost = backup::lost_files(&view, &without.index, &contents.snapshots, ctx.stop)?;
        return Ok(done);
    }
    let places = room::Places::take(state, record, what.packs.as_deref(), &own)?;
    places.check_room(&done.gone, how.spare)?;
    let mut work = Work { ctx, state, record, contents, view, later, own, lost, without, places };
    let (bench, lock) = work.bench(what.limit_rate)?;
    let (mut index, made) = work.read(&bench, &lock, &mut done)?;
    if !work.later.is_empty() {
        // The seed is whole by itself: nothing that only increments have counts as there for it.
        index = work.with_made(&of_seed, &bench, &made)?;
    }
    done.lost = backup::lost_files(&work.view, &index, &contents.snapshots, ctx.stop)?;
    done.lost.extend(work.lacking(&bench, &made)?);
    if !done.lost.is_empty() && !what.repaired {
        return Ok(done);
    }
    let draft = work.draft(&bench, &lock, index, &made, &mut done)?;
    let record = revise::revise(ctx, state, vault, record, draft)?;
    done.revision = Some(record.revision());
    Ok(done)
}

/// What stands against a revision, before anything is read.
fn refuse(
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    contents: &Contents,
) -> Result<(), Error> {
    // By its certificate a machine can say that it signs from now on.
    let is_signer = state.signing_key()?.public() == contents.signer;
    if !is_signer && vault.client.tokens().is_none() {
        return Err(Error::NotSigner { seed: record.id });
    }
    let set = record.seed.set_count.ok_or(flow::Refused::StillPreparing)?;
    let folder = wanted::folder(state, record, set);
    if wanted::is_begun(state, record, &folder)? && !record.is_settled_set(set) {
        return Err(Error::SetBegun { seed: record.id, folder });
    }
    Ok(())
}

/// The packs among what is gone. Nothing else can be made anew: it is what is kept.
fn packs(record: &SeedRecord, gone: &[Object]) -> Result<HashSet<Digest>, Error> {
    match gone.iter().find(|object| object.kind != ObjectKind::Pack) {
        Some(object) => {
            let what = format!("{} is neither kept nor in staging", object.key());
            Err(Error::NothingKept { seed: record.id, what })
        }
        None => Ok(gone.iter().map(|object| object.name).collect()),
    }
}

/// The repository as far as its trees: what is kept of the seed, over the vault where the seed brings what that lacks.
fn view(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    own: &[Object],
    password: &[u8],
) -> Result<Repository, Error> {
    let kept: Arc<dyn Store> = Arc::new(Held::of(state, record).kept(own));
    let alone = Repository::open(Arc::clone(&kept), password, ctx.author.clone())?;
    if Some(alone.identity()) != record.repository {
        return Err(Error::OtherRepository { location: alone.location(), seed: record.id });
    }
    if !record.catch_up {
        return Ok(alone);
    }
    Ok(alone.seen_through(Arc::new(Overlay::new(kept, Arc::clone(&vault.store)))))
}

/// The same with what was backed up while the seed travels, and the snapshots of that: they rely on the seed's packs, and
/// become visible after it as they are.
fn with_increments(
    ctx: &Context<'_>,
    vault: &Vault,
    record: &SeedRecord,
    view: Repository,
) -> Result<(Repository, Vec<Digest>), Error> {
    let since = vault.increments(ctx, record.id)?;
    let listed = since.list(ObjectKind::Snapshot)?;
    let later: Vec<Digest> = listed.iter().filter_map(|listed| listed.key.id()).collect();
    if later.is_empty() {
        return Ok((view, later));
    }
    let both = Overlay::new(since, Arc::clone(view.store()));
    Ok((view.seen_through(Arc::new(both)), later))
}

/// Everything but what the seed has lost: what was backed up since may have it, and is visible later than the seed.
fn known(
    view: &Repository,
    packs: &HashSet<Digest>,
    without: &WithoutPacks,
) -> Result<Index, Error> {
    let mut index = view.without_packs(packs)?.index;
    without.lost.keys().for_each(|(kind, id)| index.distrust(*kind, id));
    Ok(index)
}

struct Work<'a, 'c> {
    ctx: &'a Context<'c>,
    state: &'a State,
    record: &'a SeedRecord,
    contents: &'a Contents,
    view: Repository,
    /// Snapshots that were made while the seed travels.
    later: Vec<Digest>,
    own: Vec<Object>,
    lost: HashSet<Digest>,
    without: WithoutPacks,
    places: room::Places,
}

impl Work<'_, '_> {
    /// The repository that what is made anew is put into, and its lock: nobody else sees it.
    fn bench(&self, limit_rate: u64) -> Result<(Repository, LockGuard), Error> {
        let at = self.state.work_folder(self.record.id);
        match std::fs::remove_dir_all(&at) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("removing", &at)(cause));
            }
            _ => {}
        }
        for folder in [at.as_path(), self.places.chosen()] {
            store::durable::create_folder(folder, 0o700).map_err(Error::io("creating", folder))?;
        }
        let rest: Arc<dyn Store> = Arc::new(Folder::new(at));
        let (rate, clock) = (Rate::new(limit_rate), Arc::clone(&self.ctx.clock));
        let packs = RateLimit::new(Folder::new(self.places.chosen()), rate, clock);
        let packs = self.places.over(Arc::new(packs));
        let bench = Bench::new(packs, Arc::clone(&rest));
        bench.create()?;
        bench.remove_leftovers()?;
        let repository = self.view.across(Arc::new(bench), rest);
        let lock = repository.lock(LockMode::Shared)?;
        Ok((repository, lock))
    }

    /// Packs there that the seed does not list: what an earlier call has made. Each is read whole, and counts only as
    /// what its name says.
    fn made_before(&self, bench: &Repository, index: &mut Index) -> Result<(), Error> {
        for object in self.places.strays(&self.own)? {
            self.ctx.check_stop()?;
            if !self.places.has_whole(&object)? {
                continue;
            }
            match bench.read_pack_header(object.name, object.length) {
                Ok(blobs) => {
                    let is_lost = |blob: &&repo::PackedBlob| {
                        self.without.lost.contains_key(&(blob.kind, blob.id))
                    };
                    if blobs.iter().any(|blob| is_lost(&blob)) {
                        index.add(object.name, &blobs);
                    }
                }
                // Of another repository: somebody else's.
                Err(repo::Error::Damaged { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// Reads what is lost from the source. Answers the index with that, and the packs that it is in.
    fn read(
        &mut self,
        bench: &Repository,
        lock: &LockGuard,
        done: &mut Refilled,
    ) -> Result<(Index, BTreeSet<Digest>), Error> {
        let mut index = std::mem::take(&mut self.without.index);
        self.made_before(bench, &mut index)?;
        let writer = Writer::new(lock, index, self.options())?;
        let snapshots = [self.contents.snapshots.as_slice(), &self.later].concat();
        let options = RegainOptions {
            snapshots: &snapshots,
            lost: &self.without.lost,
            threads: self.ctx.threads,
            stop: self.ctx.stop,
            events: &|event| self.ctx.tell(Event::Regain(event)),
        };
        let read = backup::regain(&self.view, &writer, &options);
        // What was read is worth keeping, whatever has stopped the rest.
        let finished = writer.finish();
        done.problems = read?;
        let index = finished?;
        let lost = self.without.lost.keys();
        let made: BTreeSet<Digest> =
            lost.filter_map(|(kind, id)| index.find(*kind, id)).map(|at| at.pack).collect();
        for pack in &made {
            let length = bench.store().length(&ObjectKey::Pack(*pack))?;
            done.bytes = done.bytes.saturating_add(length);
        }
        done.packs = made.len() as u64;
        Ok((index, made))
    }

    /// Files of what was backed up while the seed travels that would lack something: nobody can make these snapshots anew
    /// where they are.
    fn lacking(
        &self,
        bench: &Repository,
        made: &BTreeSet<Digest>,
    ) -> Result<Vec<backup::LostFile>, Error> {
        if self.later.is_empty() {
            return Ok(Vec::new());
        }
        let index = self.with_made(&self.view, bench, made)?;
        Ok(backup::lost_files(&self.view, &index, &self.later, self.ctx.stop)?)
    }

    /// What a view of the repository has without what is lost, and what was made anew.
    fn with_made(
        &self,
        view: &Repository,
        bench: &Repository,
        made: &BTreeSet<Digest>,
    ) -> Result<Index, Error> {
        let mut index = view.without_packs(&self.lost)?.index;
        for pack in made {
            let length = bench.store().length(&ObjectKey::Pack(*pack))?;
            index.add(*pack, &bench.read_pack_header(*pack, length)?);
        }
        Ok(index)
    }

    fn options(&self) -> WriterOptions {
        WriterOptions { pack_size: self.ctx.pack_size, ..WriterOptions::default() }
    }

    /// What the seed consists of then: its objects without what is lost, and what stands in its place, all of it durable.
    fn draft(
        &self,
        bench: &Repository,
        lock: &LockGuard,
        index: Index,
        made: &BTreeSet<Digest>,
        done: &mut Refilled,
    ) -> Result<Draft, Error> {
        let work = Folder::new(self.state.work_folder(self.record.id));
        // Indexes of what was made come from the packs themselves: some of these are an earlier call's.
        for listed in work.list(ObjectKind::Index)? {
            work.remove(&listed.key)?;
        }
        let over = Overlay::new(Arc::clone(bench.store()), Arc::clone(self.view.store()));
        let over = bench.seen_through(Arc::new(over));
        over.save_index_of(made)?;
        over.save_indexes_without(&self.without.named_by, &self.lost)?;
        if !done.lost.is_empty() {
            done.repaired = self.repair(bench, lock, index)?;
        }
        let gone = |object: &Object| match object.kind {
            ObjectKind::Pack => self.lost.contains(&object.name),
            ObjectKind::Index => self.without.named_by.contains(&object.name),
            ObjectKind::Snapshot => done.repaired.iter().any(|(old, _)| *old == object.name),
            _ => false,
        };
        let mut objects: Vec<Object> =
            self.own.iter().filter(|object| !gone(object)).copied().collect();
        let kept = Folder::new(self.state.kept_folder(self.record.id));
        for kind in [ObjectKind::Index, ObjectKind::Snapshot, ObjectKind::Pack] {
            for listed in work.list(kind)? {
                let Some(name) = listed.key.id() else { continue };
                let object = Object { repository: 0, kind, name, length: listed.length };
                kept::copy(&work, &kept, &object)?;
                objects.push(object);
            }
        }
        for name in made {
            let (kind, name) = (ObjectKind::Pack, *name);
            let length = bench.store().length(&ObjectKey::Pack(name))?;
            objects.push(Object { repository: 0, kind, name, length });
        }
        objects.sort_unstable();
        objects.dedup();
        let lost = done.lost.iter().map(|file| LostFile {
            path: file.path.display().to_string(),
            snapshot: file.snapshot,
            size: file.size,
        });
        let note = Note { repaired: done.repaired.clone(), lost: lost.collect() };
        // With a repaired snapshot the vault shows none of them. With the seed as it was it would show all.
        let withholds_increments = done.repaired.is_empty() && !done.lost.is_empty();
        Ok(Draft { objects, note, withholds_increments })
    }

    /// Makes each snapshot that lacks something anew, without that.
    fn repair(
        &self,
        bench: &Repository,
        lock: &LockGuard,
        index: Index,
    ) -> Result<Vec<(Digest, Digest)>, Error> {
        let writer = Writer::new(lock, index, self.options())?;
        let mut repair = Repair::new(&self.view, &writer, self.ctx.stop);
        let mut new = Vec::new();
        for id in &self.contents.snapshots {
            let named = self.view.load_snapshot(*id)?;
            if let Some(snapshot) = repair.snapshot(&named, &self.ctx.program_version)? {
                new.push((*id, snapshot));
            }
        }
        drop(repair);
        writer.finish()?;
        let save =
            |(id, snapshot): (Digest, repo::Snapshot)| Ok((id, bench.save_snapshot(&snapshot)?));
        new.into_iter().map(save).collect()
    }
}
