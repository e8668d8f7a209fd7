//! A repository that is open: its key, its config, and the loading and saving of its files.
//!
//! invariant: nothing is written in any order but packs, then index, then snapshot; the writer and
//! `backup` keep it between them. Does not know files, directories or drives.

use crate::blob::Opener;
use crate::condense::{Condensed, Condenser};
use crate::crypto::Key;
use crate::index::{BlobKind, Filling, Index, IndexFile, IndexedPack, Location};
use crate::key_file::{Author, KdfParams};
use crate::keys::{altered, find_key, master_key};
use crate::pack::{self, PackedBlob};
use crate::polynomial::Polynomial;
use crate::snapshot::Snapshot;
use crate::tree::{self, Node};
use crate::tree_packs::TreePacks;
use crate::{Error, codec};
use crossbeam_channel::bounded;
use jiff::{Timestamp, tz::Offset};
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;

mod across;
mod snapshots;

/// A tree's text of more bytes than this is not in memory as a whole where it need not be.
const CONDENSED: u32 = 8 << 20;
/// The most bytes of a config or key file.
pub(crate) const SMALL: u64 = 1 << 20;
/// The most bytes of an index or snapshot as stored.
pub(crate) const DOCUMENT: u64 = 256 << 20;
/// How many small documents are asked for at once: over a network, each is waited for.
const REQUESTS: usize = 8;
/// How many index files are in memory at once, at most: some 12 MiB each.
const INDEX_FILES: usize = 4;

/// The `config` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// 1 or 2.
    pub version: u32,
    /// 32 random bytes.
    pub id: Digest,
    /// The chunker's parameter.
    pub chunker_polynomial: Polynomial,
}

/// An open repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    key: Key,
    config: Config,
    /// SHA-256 of the config file: the identity in storage accounts and on drives.
    identity: Digest,
    author: Author,
    tree_packs: TreePacks,
    /// Not in use right now: reading one blob needs one of them for a moment.
    openers: Mutex<Vec<Opener>>,
    /// Where packs of trees are stored, where that is not `store`.
    trees: Option<Arc<dyn Store>>,
    /// Packs that were indexed from their own headers while whoever stored them had them still to index.
    adopted: Arc<Mutex<HashSet<Digest>>>,
}

/// A snapshot with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSnapshot {
    /// The name.
    pub id: Digest,
    /// What it says.
    pub snapshot: Snapshot,
    /// How far the clock that its time was read from is ahead of UTC.
    pub offset: Offset,
}

/// Everything a listing yielded, and what of it could not be read.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What could.
    pub value: T,
    /// What could not, each with its reason.
    pub damaged: Vec<Error>,
}

impl Repository {
    /// Makes a new repository of format 2 at an empty place.
    ///
    /// The key is written before the config: a repository that has a config can be opened. A making
    /// that was interrupted between the two goes on with the key that is there.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::ConfigLost`].
    pub fn init(
        store: Arc<dyn Store>,
        password: &[u8],
        params: KdfParams,
        author: Author,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let location = store.location();
        store.create()?;
        match store.length(&ObjectKey::Config) {
            Err(store::Error::NotFound { .. }) => {}
            Ok(_) => return Err(Error::Exists { location }),
            Err(other) => return Err(other.into()),
        }
        refuse_orphans(store.as_ref())?;
        let (key, made) = master_key(store.as_ref(), password, params, &author, now)?;
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(Error::Random)?;
        let config =
            Config { version: 2, id: Digest(id), chunker_polynomial: Polynomial::random()? };
        // The config is encrypted but never compressed: its format says how the rest is encoded.
        let mut sealed = Vec::new();
        key.seal(&to_json(&config)?, &mut sealed)?;
        match store.put(&ObjectKey::Config, &sealed) {
            Err(store::Error::Conflict { .. }) => {
                // Somebody else was faster: beside their config our key would open nothing.
                if let Some(made) = made {
                    store.remove(&made)?;
                }
                return Err(Error::Exists { location });
            }
            other => other?,
        }
        let identity = hash(&sealed);
        let tree_packs = TreePacks::default();
        let openers = Mutex::default();
        let (trees, adopted) = (None, Arc::default());
        let inner =
            Inner { store, key, config, identity, author, tree_packs, openers, trees, adopted };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens what is there.
    ///
    /// # Errors
    /// [`Error::NoRepository`], [`Error::ConfigLost`], [`Error::KeysLost`],
    /// [`Error::WrongPassword`], [`Error::Version`].
    pub fn open(store: Arc<dyn Store>, password: &[u8], author: Author) -> Result<Self, Error> {
        let location = store.location();
        let sealed = match store.get(&ObjectKey::Config, SMALL) {
            Err(store::Error::NotFound { .. }) => {
                // Data without a config is a repository that lost it: a new one is no help. A place
                // that cannot even be listed, because it is not there, holds none.
                return Err(match refuse_orphans(store.as_ref()) {
                    Err(lost @ Error::ConfigLost { .. }) => lost,
                    _ => Error::NoRepository { location },
                });
            }
            other => other?,
        };
        let (key, plain) = find_key(store.as_ref(), password, &sealed)?;
        let identity = hash(&sealed);
        let damaged = |what| Error::Damaged { key: ObjectKey::Config, what };
        let config: Config = serde_json::from_slice(&plain)
            .map_err(|e| damaged(format!("it is no config ({e})")))?;
        if !(1..=2).contains(&config.version) {
            return Err(Error::Version { location, version: config.version });
        }
        let tree_packs = TreePacks::default();
        let openers = Mutex::default();
        let (trees, adopted) = (None, Arc::default());
        let inner =
            Inner { store, key, config, identity, author, tree_packs, openers, trees, adopted };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.inner.store.location()
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The config.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// SHA-256 of the config file: what tells repositories apart on drives and in storage accounts.
    #[must_use]
    pub fn identity(&self) -> Digest {
        self.inner.identity
    }

    /// Who opened it.
    #[must_use]
    pub fn author(&self) -> &Author {
        &self.inner.author
    }

    pub(crate) fn forget_tree_packs(&self) {
        self.inner.tree_packs.clear();
    }

    pub(crate) fn key(&self) -> &Key {
        &self.inner.key
    }

    pub(crate) fn refuse_old_format(&self) -> Result<(), Error> {
        if self.inner.config.version < 2 {
            return Err(Error::ReadOnlyFormat { location: self.location() });
        }
        Ok(())
    }

    /// The names of one kind's files, ascending.
    ///
    /// # Errors
    /// Those of the store.
    pub fn names(&self, kind: ObjectKind) -> Result<Vec<Digest>, Error> {
        let mut names: Vec<Digest> =
            self.inner.store.list(kind)?.iter().filter_map(|listed| listed.key.id()).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn load_document<T: DeserializeOwned>(
        &self,
        key: ObjectKey,
        limit: u64,
    ) -> Result<T, Error> {
        self.load_document_through(key, limit, &mut Vec::new())
    }

    /// As [`load_document`](Self::load_document), its text in room that is used again.
    fn load_document_through<T: DeserializeOwned>(
        &self,
        key: ObjectKey,
        limit: u64,
        text: &mut Vec<u8>,
    ) -> Result<T, Error> {
        let damaged = |what| Error::Damaged { key, what };
        let sealed = self.inner.store.get(&key, limit)?;
        if key.id().is_some_and(|id| hash(&sealed) != id) {
            return Err(damaged("its bytes do not hash to its name".to_owned()));
        }
        codec::open_document_into(&self.inner.key, sealed, text).map_err(damaged)?;
        serde_json::from_slice(text).map_err(|e| damaged(format!("it is not readable ({e})")))
    }

    pub(crate) fn save_document(
        &self,
        kind: ObjectKind,
        document: &impl Serialize,
    ) -> Result<Digest, Error> {
        self.refuse_old_format_unless_lock(kind)?;
        let json = to_json(document)?;
        let sealed = if self.inner.config.version < 2 {
            let mut sealed = Vec::new();
            self.inner.key.seal(&json, &mut sealed)?;
            sealed
        } else {
            codec::seal_document(&self.inner.key, &json)?
        };
        let id = hash(&sealed);
        // What a broken memory changed on the way is found before it counts.
        if codec::open_document(&self.inner.key, sealed.clone()).as_ref() != Ok(&json) {
            return Err(Error::Memory { what: kind.folder(), id });
        }
        self.inner.store.put(&ObjectKey::new(kind, id), &sealed)?;
        Ok(id)
    }

    fn refuse_old_format_unless_lock(&self, kind: ObjectKind) -> Result<(), Error> {
        if kind == ObjectKind::Lock { Ok(()) } else { self.refuse_old_format() }
    }

    /// Stores indexes over packs that are durable already, each with its blobs.
    ///
    /// # Errors
    /// [`Error::ReadOnlyFormat`]; those of the store.
    pub fn save_index(&self, packs: &[(Digest, Vec<PackedBlob>)]) -> Result<(), Error> {
        self.write_index(packs.iter().map(|(id, blobs)| IndexedPack::new(*id, blobs)).collect())
    }

    /// All indexes, merged.
    ///
    /// # Errors
    /// Only when the listing fails; a damaged index is in [`Loaded::damaged`].
    pub fn load_index(&self) -> Result<Loaded<Index>, Error> {
        let listed = self.inner.store.list(ObjectKind::Index)?;
        let stored = listed.iter().fold(0u64, |sum, listed| sum.saturating_add(listed.length));
        let mut index = Filling::of(stored);
        let mut names: Vec<Digest> = listed.iter().filter_map(|listed| listed.key.id()).collect();
        names.sort_unstable();
        let load = || {
            let mut text = Vec::new();
            move |id| {
                let key = ObjectKey::Index(id);
                self.load_document_through::<IndexFile>(key, DOCUMENT, &mut text)
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let damaged = load_all(&names, threads.min(INDEX_FILES), load, |file| index.take(&file))?;
        Ok(Loaded { value: index.finish(), damaged })
    }

    /// The blobs of a pack from its own header.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read_pack_header(&self, pack: Digest, length: u64) -> Result<Vec<PackedBlob>, Error> {
        let key = ObjectKey::Pack(pack);
        let damaged = |what| Error::Damaged { key, what };
        let end = length.checked_sub(4).ok_or_else(|| damaged("it is cut short".to_owned()))?;
        let mut last = [0; 4];
        self.inner.store.read_at(&key, end, &mut last)?;
        let (offset, bytes) = pack::header_place(length, last).map_err(damaged)?;
        let mut sealed = vec![0; bytes];
        self.inner.store.read_at(&key, offset, &mut sealed)?;
        pack::open_header(&self.inner.key, sealed, offset).map_err(damaged)
    }

    /// The key files that are not what was stored, the one that opened this repository among them.
    pub(crate) fn damaged_keys(&self) -> Result<Vec<Error>, Error> {
        let store = self.inner.store.as_ref();
        let mut damaged = Vec::new();
        for entry in store.list(ObjectKind::Key)? {
            match altered(store, entry.key) {
                Ok(fault) => damaged.extend(fault),
                Err(fault) if spoils_one_file(&fault) => damaged.push(fault),
                Err(other) => return Err(other),
            }
        }
        Ok(damaged)
    }

    /// One blob's plain bytes, decrypted, decompressed and compared with its name.
    ///
    /// # Errors
    /// [`Error::BlobDamaged`].
    pub fn read_blob(&self, at: &Location) -> Result<Vec<u8>, Error> {
        if at.blob.kind == BlobKind::Tree
            && let Some(stored) = self.inner.tree_packs.read(
                self.inner.store.as_ref(),
                at.pack,
                at.blob.offset,
                at.blob.length,
            )?
            && let Ok(plain) = self.open_stored_blob(at, &stored)
        {
            return Ok(plain);
        }
        let stored = self.read_stored(at)?;
        self.open_stored_blob(at, &stored)
    }

    fn read_stored(&self, at: &Location) -> Result<Vec<u8>, Error> {
        // Bounded by what a pack can be: a blob never reaches beyond its pack, and reading fails then.
        let length = self.bounded_length(at)?;
        let mut stored = vec![0; length];
        self.inner.store.read_at(
            &ObjectKey::Pack(at.pack),
            u64::from(at.blob.offset),
            &mut stored,
        )?;
        Ok(stored)
    }

    /// A tree's text, from whichever of these places gives it whole. Where it is long its lists of
    /// blobs are taken out of it as it arrives; none where they are not as restic writes them.
    ///
    /// # Errors
    /// Why the first place could not give it.
    pub fn read_condensed(
        &self,
        id: &Digest,
        copies: impl IntoIterator<Item = Location>,
    ) -> Result<Option<Condensed>, Error> {
        first_whole(id, copies, |at| match at.blob.plain_length {
            Some(length) if length > CONDENSED => self.condense(at, length),
            _ => self.read_blob(at).map(|text| Some(Condensed::whole(text))),
        })
    }

    fn condense(&self, at: &Location, length: u32) -> Result<Option<Condensed>, Error> {
        let stored = self.read_stored(at)?;
        let (mut opener, mut condenser) = (self.opener()?, Condenser::new());
        let id = at.blob.id;
        opener
            .open_stream(&stored, &id, Some(length), |plain| condenser.feed(plain))
            .map_err(|what| Error::BlobDamaged { blob: id, pack: at.pack, what })?;
        Ok(condenser.finish())
    }

    /// A blob's plain bytes, from whichever pack gives them whole.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`]; else why the first place that `index` knows could not give it.
    pub fn load_blob(&self, index: &Index, kind: BlobKind, id: &Digest) -> Result<Vec<u8>, Error> {
        self.read_any(id, index.copies(kind, id))
    }

    /// As [`load_blob`](Self::load_blob), from places that were looked up already.
    ///
    /// # Errors
    /// Why the first place could not give it.
    pub fn read_any(
        &self,
        id: &Digest,
        copies: impl IntoIterator<Item = Location>,
    ) -> Result<Vec<u8>, Error> {
        first_whole(id, copies, |at| self.read_blob(at))
    }

    /// What opens blobs whose stored bytes were read already: one for each thread that does.
    ///
    /// # Errors
    /// [`Error::Compress`] when there is no memory for it.
    pub fn opener(&self) -> Result<Opener, Error> {
        Opener::new(&self.inner.key)
    }

    fn open_stored_blob(&self, at: &Location, stored: &[u8]) -> Result<Vec<u8>, Error> {
        let idle = self.inner.openers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut opener = idle.map_or_else(|| self.opener(), Ok)?;
        let plain = opener.open(at, stored).map(<[u8]>::to_vec);
        self.inner.openers.lock().unwrap_or_else(PoisonError::into_inner).push(opener);
        plain
    }

    /// Refuses to allocate for a blob that an index claims to be larger than its pack.
    fn bounded_length(&self, at: &Location) -> Result<usize, Error> {
        const UNQUESTIONED: u32 = 16 << 20;
        if at.blob.length > UNQUESTIONED {
            let pack = self.inner.store.length(&ObjectKey::Pack(at.pack))?;
            if u64::from(at.blob.offset) + u64::from(at.blob.length) > pack {
                let what = format!("the index says it is {} bytes long", at.blob.length);
                return Err(Error::BlobDamaged { blob: at.blob.id, pack: at.pack, what });
            }
        }
        usize::try_from(at.blob.length).map_err(|_| Error::TooLarge { what: "a blob" })
    }

    /// A directory.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::BlobDamaged`], [`Error::Tree`].
    pub fn read_tree(&self, index: &Index, id: &Digest) -> Result<Vec<Node>, Error> {
        let text = self.load_blob(index, BlobKind::Tree, id)?;
        tree::decode(&text).map_err(|what| Error::Tree { tree: id.to_hex(), what })
    }
}

/// What `read` gets from the first place that has it whole.
fn first_whole<T>(
    id: &Digest,
    copies: impl IntoIterator<Item = Location>,
    read: impl Fn(&Location) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut first = None;
    for at in copies {
        match read(&at) {
            Err(fault) if matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                first = first.or(Some(fault));
            }
            other => return other,
        }
    }
    Err(first.unwrap_or(Error::BlobUnknown { blob: *id }))
}

/// Loads documents in threads, and gives them to `take` in the order of their names, so that the
/// outcome does not hang on who was faster. Answers why those that were left out were; with each
/// thread, one document is on its way and one waits.
fn load_all<T: Send, L: FnMut(Digest) -> Result<T, Error> + Send>(
    names: &[Digest],
    threads: usize,
    loader: impl Fn() -> L,
    mut take: impl FnMut(T),
) -> Result<Vec<Error>, Error> {
    let threads = threads.min(names.len());
    std::thread::scope(|scope| {
        let start = |first| {
            let (sender, loaded) = bounded(0);
            let mut load = loader();
            let mut mine = names.iter().skip(first).step_by(threads);
            scope.spawn(move || mine.all(|id| sender.send(load(*id)).is_ok()));
            loaded
        };
        let loaded: Vec<_> = (0..threads).map(start).collect();
        let mut damaged = Vec::new();
        for next in loaded.iter().cycle().take(names.len()) {
            match next.recv().map_err(|_| Error::WriterGone)? {
                Ok(document) => take(document),
                Err(fault) if spoils_one_file(&fault) => damaged.push(fault),
                Err(other) => return Err(other),
            }
        }
        Ok(damaged)
    })
}

/// Whether an error says something about that one file, rather than about the way to all of them.
fn spoils_one_file(fault: &Error) -> bool {
    matches!(
        fault,
        Error::Damaged { .. }
            | Error::Store(
                store::Error::NotFound { .. }
                    | store::Error::Corrupt { .. }
                    | store::Error::TooLong { .. }
            )
    )
}

/// A new key beside existing data would look like theirs and open none of it.
fn refuse_orphans(store: &dyn Store) -> Result<(), Error> {
    for kind in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot] {
        if !store.list(kind)?.is_empty() {
            let location = store.location();
            return Err(Error::ConfigLost { location, folder: kind.folder() });
        }
    }
    Ok(())
}

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

pub(crate) fn to_json(document: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|_| Error::TooLarge { what: "a document" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PASSWORD, author, repository};

    #[test]
    fn a_repository_opens_with_its_password_only() {
        let made = repository();
        let store = Arc::clone(made.store());
        let opened = Repository::open(Arc::clone(&store), PASSWORD, author()).unwrap();
        assert_eq!(opened.config(), made.config());
        assert_eq!(opened.identity(), made.identity());
        let wrong = Repository::open(Arc::clone(&store), b"other", author());
        assert!(matches!(wrong, Err(Error::WrongPassword { keys: 1, .. })));
        let again =
            Repository::init(store, PASSWORD, KdfParams::WEAK, author(), Timestamp::UNIX_EPOCH);
        assert!(matches!(again, Err(Error::Exists { .. })));
    }

    #[test]
    fn a_key_that_was_altered_is_damaged_and_the_password_not_called_wrong() {
        let store = Arc::clone(repository().store());
        let [listed] = store.list(ObjectKind::Key).unwrap()[..] else { panic!("one key") };
        let whole = store.get(&listed.key, SMALL).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            store.remove(&listed.key).unwrap();
            store.put(&listed.key, &bytes).unwrap();
            match Repository::open(Arc::clone(&store), PASSWORD, author()) {
                // Bytes that say when and by whom it was made open nothing.
                Ok(_) => {}
                Err(Error::Damaged { key, .. }) => assert_eq!(key, listed.key),
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }

    #[test]
    fn an_empty_place_is_no_repository() {
        let store = Arc::new(store::Memory::new());
        assert!(matches!(
            Repository::open(store, PASSWORD, author()),
            Err(Error::NoRepository { .. })
        ));
    }

    #[test]
    fn snapshots_are_found_by_beginning_and_latest() {
        let repository = repository();
        let snapshot = |second| Snapshot {
            time: Timestamp::from_second(second).unwrap(),
            ..Snapshot::of_tree(Digest([1; 32]))
        };
        let newest = repository.save_snapshot(&snapshot(20)).unwrap();
        let oldest = repository.save_snapshot(&snapshot(10)).unwrap();
        assert_eq!(repository.find_snapshot("latest").unwrap().id, newest);
        assert_eq!(repository.find_snapshot(&oldest.to_hex()[..10]).unwrap().id, oldest);
        assert!(matches!(repository.find_snapshot("zz"), Err(Error::Snapshot { matches: 0, .. })));
        assert!(matches!(repository.find_snapshot(""), Err(Error::Snapshot { matches: 0, .. })));
    }

    #[test]
    fn an_interrupted_making_goes_on_and_a_stray_key_shuts_nobody_out() {
        let init = |store: &Arc<store::Memory>| {
            let store = Arc::<store::Memory>::clone(store);
            Repository::init(store, PASSWORD, KdfParams::WEAK, author(), Timestamp::UNIX_EPOCH)
        };
        let store = Arc::new(store::Memory::new());
        init(&store).unwrap();
        store.remove(&ObjectKey::Config).unwrap();
        init(&store).unwrap();
        assert_eq!(store.list(ObjectKind::Key).unwrap().len(), 1, "the key is used again");
        // Of several keys with the same password, whatever their order, the right one is found.
        for _ in 0..8 {
            let other = repository();
            let stray = other.store().list(ObjectKind::Key).unwrap()[0].key;
            store.put(&stray, &other.store().get(&stray, SMALL).unwrap()).unwrap();
        }
        let shared: Arc<dyn Store> = Arc::<store::Memory>::clone(&store);
        assert!(Repository::open(shared, PASSWORD, author()).is_ok());
    }

    #[test]
    fn a_repository_that_lost_its_config_is_not_made_anew() {
        let made = repository();
        let store = Arc::clone(made.store());
        store.put(&ObjectKey::Pack(hash(b"x")), b"x").unwrap();
        store.remove(&ObjectKey::Config).unwrap();
        let again =
            Repository::init(store, PASSWORD, KdfParams::WEAK, author(), Timestamp::UNIX_EPOCH);
        assert!(matches!(again, Err(Error::ConfigLost { folder: "data", .. })));
    }

    #[test]
    fn a_lost_config_and_lost_keys_are_named_rather_than_a_new_repository_or_a_wrong_password() {
        let made = repository();
        let store = Arc::clone(made.store());
        let open = || Repository::open(Arc::clone(&store), PASSWORD, author());
        let [key] = store.list(ObjectKind::Key).unwrap()[..] else { panic!("one key") };
        let bytes = store.get(&key.key, SMALL).unwrap();
        store.remove(&key.key).unwrap();
        assert!(matches!(open(), Err(Error::KeysLost { .. })));
        let other = repository();
        let foreign = other.store().list(ObjectKind::Key).unwrap()[0].key;
        store.put(&key.key, &other.store().get(&foreign, SMALL).unwrap()).unwrap();
        assert!(matches!(open(), Err(Error::Damaged { key: named, .. }) if named == key.key));
        store.remove(&key.key).unwrap();
        store.put(&key.key, &bytes).unwrap();
        made.save_snapshot(&Snapshot::of_tree(Digest([1; 32]))).unwrap();
        store.remove(&ObjectKey::Config).unwrap();
        assert!(matches!(open(), Err(Error::ConfigLost { .. })));
    }

    #[test]
    fn a_place_that_is_not_there_holds_no_repository() {
        let nowhere = Arc::new(store::Folder::new("/nowhere/at/all"));
        let opened = Repository::open(nowhere, PASSWORD, author());
        assert!(matches!(opened, Err(Error::NoRepository { .. })));
    }

    #[test]
    fn an_unreadable_snapshot_leaves_the_latest_unknown() {
        let repository = repository();
        repository.save_snapshot(&Snapshot::of_tree(Digest([1; 32]))).unwrap();
        assert!(repository.find_snapshot("latest").is_ok());
        repository.store().put(&ObjectKey::Snapshot(hash(b"junk")), b"junk").unwrap();
        let refused = repository.find_snapshot("latest");
        assert!(matches!(refused, Err(Error::LatestUnknown { unreadable: 1, .. })));
    }

    #[test]
    fn a_damaged_snapshot_does_not_hide_the_others() {
        let repository = repository();
        repository.store().put(&ObjectKey::Snapshot(hash(b"junk")), b"junk").unwrap();
        let loaded = repository.snapshots().unwrap();
        assert_eq!((loaded.value.len(), loaded.damaged.len()), (0, 1));
    }
}
