//! For each decoder of the format a function that takes any bytes: what the fuzz targets call.
//!
//! Each holds what must be true whatever the bytes are, by an assertion, and answers whether they
//! were understood. Not part of what users get: only with the feature `fuzzing`, and in tests,
//! where every function is run over its seeds so that none rots.

use crate::condense::{Condensed, Condenser};
use crate::crypto::Key;
use crate::entry::{Entry, write_tree};
use crate::former::Former;
use crate::index::BlobKind;
use crate::lock::LockFile;
use crate::repository::hash;
use crate::tree::{self, Node};
use crate::{Author, Content, Error, KdfParams, Opener, Repository, Snapshot};
use crate::{codec, pack, quote, time};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use model::{Digest, ObjectKey, ObjectKind};
use std::sync::{Arc, LazyLock};
use store::{Memory, Store};

/// A target with its name, which is that of its seeds' folder, too.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("config", config),
    ("key_file", key_file),
    ("master_key", master_key),
    ("document", document),
    ("compressed", compressed),
    ("index", index),
    ("snapshot", snapshot),
    ("tree", tree),
    ("former", former),
    ("pack", pack),
    ("blob", blob),
    ("lock", lock),
    ("text", text),
];

const PASSWORD: &[u8] = b"geheim";

/// A store with a repository, and the same one open.
struct Home {
    store: Arc<Memory>,
    repository: Repository,
}

impl Home {
    fn new() -> Option<Self> {
        let store = Arc::new(Memory::new());
        let shared: Arc<dyn Store> = Arc::<Memory>::clone(&store);
        let (weak, start) = (KdfParams::WEAK, Timestamp::UNIX_EPOCH);
        let repository = Repository::init(shared, PASSWORD, weak, Author::default(), start).ok()?;
        Some(Self { store, repository })
    }

    /// An open repository of its own, with what the bytes are and, once more, with them sealed:
    /// behind its key everything must be as safe as before it.
    fn each(data: &[u8], decode: impl Fn(&Self, &[u8]) -> bool) -> bool {
        let Some(home) = Self::new() else { return false };
        let sealed = home.seal(data);
        let raw = decode(&home, data);
        decode(&home, &sealed) | raw
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        let done = self.repository.key().seal(plain, &mut sealed);
        assert!(done.is_ok());
        sealed
    }

    /// Puts the bytes under their own name.
    fn put(&self, kind: ObjectKind, bytes: &[u8]) -> Digest {
        let id = hash(bytes);
        self.store.overwrite(&ObjectKey::new(kind, id), bytes);
        id
    }

    fn open(&self) -> Result<Repository, Error> {
        let shared: Arc<dyn Store> = Arc::<Memory>::clone(&self.store);
        Repository::open(shared, PASSWORD, Author::default())
    }
}

/// The file `config`.
pub fn config(data: &[u8]) -> bool {
    Home::each(data, |home, bytes| {
        home.store.overwrite(&ObjectKey::Config, bytes);
        let Ok(opened) = home.open() else { return false };
        let config = opened.config();
        assert!((1..=2).contains(&config.version));
        assert!((8..=53).contains(&config.chunker_polynomial.degree()));
        true
    })
}

/// Whether deriving a key with these parameters takes no time worth speaking of.
fn cheap(file: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(file) else { return true };
    let number = |name: &str| json.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    // Beyond what is allowed it is refused before anything is derived.
    let work = number("N").saturating_mul(number("r")).saturating_mul(number("p"));
    work <= 1 << 12 || number("N") > 1 << 30 || number("r") > 1024 || number("p") > 64
}

/// A file below `keys/`.
pub fn key_file(data: &[u8]) -> bool {
    let Some(home) = Home::new().filter(|_| cheap(data)) else { return false };
    for listed in home.store.list(ObjectKind::Key).unwrap_or_default() {
        let _ = home.store.remove(&listed.key);
    }
    home.put(ObjectKind::Key, data);
    match home.open() {
        Ok(_) | Err(Error::WrongPassword { .. }) => true,
        // The key of another repository: understood, and of no use here.
        Err(Error::Damaged { key, .. }) => key == ObjectKey::Config,
        Err(_) => false,
    }
}

/// What a key file encrypts under its password.
pub fn master_key(data: &[u8]) -> bool {
    const SALT: &[u8] = &[7; 64];
    static DERIVED: LazyLock<Option<Key>> =
        LazyLock::new(|| KdfParams::WEAK.derive(PASSWORD, SALT).ok());
    let mut sealed = Vec::new();
    let Some(Ok(())) = DERIVED.as_ref().map(|key| key.seal(data, &mut sealed)) else {
        return false;
    };
    let KdfParams { log_n, r, p } = KdfParams::WEAK;
    let (n, salt, data) = (1u64 << log_n, STANDARD.encode(SALT), STANDARD.encode(sealed));
    let json = serde_json::json!({"kdf":"scrypt","N":n,"r":r,"p":p,"salt":salt,"data":data});
    key_file(json.to_string().as_bytes())
}

/// Any document: decrypted, its encoding told, decompressed.
pub fn document(data: &[u8]) -> bool {
    Home::each(data, |home, bytes| {
        let opened = codec::open_document(home.repository.key(), bytes.to_vec());
        opened.is_ok_and(|plain| {
            assert!(plain.len() as u64 <= codec::DOCUMENT_LIMIT);
            true
        })
    })
}

/// Compressed bytes that may be far longer when they are not.
pub fn compressed(data: &[u8]) -> bool {
    const LIMIT: u64 = 1 << 20;
    codec::decompress(data, LIMIT).is_ok_and(|plain| {
        assert!(plain.len() as u64 <= LIMIT);
        true
    })
}

/// An index: taken in, asked, and believed as far as reading what it claims.
pub fn index(data: &[u8]) -> bool {
    Home::each(data, |home, bytes| {
        home.store.overwrite(&ObjectKey::Pack(Digest([0; 32])), &[1; 100]);
        let id = home.put(ObjectKind::Index, bytes);
        let Ok(loaded) = home.repository.load_index() else { return false };
        let _ = home.store.remove(&ObjectKey::Index(id));
        let claims_nothing_that_is_there =
            home.repository.load_blob(&loaded.value, BlobKind::Data, &Digest([0; 32]));
        assert!(claims_nothing_that_is_there.is_err());
        let _ = home.repository.load_blob(&loaded.value, BlobKind::Tree, &Digest([1; 32]));
        for (pack, _) in loaded.value.packs() {
            assert!(loaded.value.has_pack(&pack));
        }
        loaded.damaged.is_empty()
    })
}

/// A snapshot, which means the same once it is written again.
pub fn snapshot(data: &[u8]) -> bool {
    Home::each(data, |home, bytes| {
        let id = home.put(ObjectKind::Snapshot, bytes);
        let Ok(named) = home.repository.load_snapshot(id) else { return false };
        if writable(named.snapshot.time) && named.snapshot.summary.is_none() {
            let json = serde_json::to_vec(&named.snapshot).unwrap_or_default();
            let again = serde_json::from_slice::<Snapshot>(&json);
            assert!(again.is_ok_and(|again| again == named.snapshot));
        }
        true
    })
}

/// Whether a moment has four digits of year wherever it is written.
fn writable(moment: Timestamp) -> bool {
    (-62_167_000_000..253_402_000_000).contains(&moment.as_second())
}

/// A tree, which means the same once it is written again.
pub fn tree(data: &[u8]) -> bool {
    let Ok(nodes) = tree::decode(data) else { return false };
    assert!(nodes.iter().all(|node| tree::safe_name(&node.name)));
    assert!(nodes.is_sorted_by(|a, b| a.name < b.name));
    let times = |node: &Node| [node.mtime, node.atime, node.ctime].into_iter().all(writable);
    if nodes.iter().all(times) {
        let again = tree::decode(&tree::encode(&nodes));
        assert!(again.is_ok_and(|again| again == nodes));
    }
    true
}

/// The entries of a tree as they stand in it: those that the decoder finds, in texts that make an
/// equal tree.
pub fn former(data: &[u8]) -> bool {
    let mut condenser = Condenser::new();
    condenser.feed(data);
    if let Some(condensed) = condenser.finish() {
        former_of(data, condensed);
    }
    former_of(data, Condensed::whole(data.to_vec()))
}

fn former_of(data: &[u8], mut text: Condensed) -> bool {
    let (entries, nodes) = (text.entries(), tree::decode(data));
    let (Ok(entries), Ok(nodes)) = (&entries, &nodes) else {
        // The decoder passes over fields that it does not know, whatever is in them.
        let is_text = std::str::from_utf8(data).is_ok();
        assert!(nodes.is_err() || !is_text, "an entry of a whole tree is not found");
        return false;
    };
    assert_eq!(entries.len(), nodes.len());
    for (entry, node) in entries.iter().zip(nodes) {
        assert_eq!((&entry.name, entry.kind, entry.size), (&node.name, node.kind, node.size));
        assert_eq!((entry.mtime, entry.ctime), (node.mtime, node.ctime));
        assert_eq!((entry.inode, entry.device_id), (node.inode, node.device_id));
        assert_eq!((entry.uid, entry.gid), (node.uid, node.gid));
        assert_eq!((&*entry.user, &*entry.group), (node.user.as_str(), node.group.as_str()));
        assert_eq!(entry.subtree, node.subtree);
        let content = node.content.as_ref().map(|content| content.iter().copied().collect());
        assert!(content.is_none_or(|content: Content| content == entry.content));
    }
    let texts: Vec<Entry> = entries.iter().map(Former::entry).collect();
    let mut joined = Vec::new();
    write_tree(&texts, &mut |part| joined.extend_from_slice(part));
    assert!(tree::decode(&joined).is_ok_and(|again| again == *nodes));
    true
}

/// A pack: as it is, and with the bytes as what its header says of the blobs before it.
pub fn pack(data: &[u8]) -> bool {
    let Some(home) = Home::new() else { return false };
    let (blobs, header) = data.split_first_chunk::<2>().unwrap_or((&[0; 2], data));
    let mut made = vec![0; usize::from(u16::from_le_bytes(*blobs))];
    let sealed = home.seal(header);
    made.extend_from_slice(&sealed);
    made.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or(0).to_le_bytes());
    let mut understood = false;
    for bytes in [data, &made] {
        let id = home.put(ObjectKind::Pack, bytes);
        let length = bytes.len() as u64;
        let Ok(listed) = home.repository.read_pack_header(id, length) else { continue };
        let mut end = 0;
        for blob in &listed {
            assert_eq!(u64::from(blob.offset), end);
            end += u64::from(blob.length);
        }
        assert_eq!(end + pack::header_length(&listed), length);
        understood = true;
    }
    understood
}

/// A blob of any claimed length: the first four bytes, none when they are zero.
pub fn blob(data: &[u8]) -> bool {
    let Some((length, stored)) = data.split_first_chunk::<4>() else { return false };
    let plain_length = Some(u32::from_le_bytes(*length)).filter(|length| *length > 0);
    // Named rightly where that is possible, so that more than the name is looked at.
    let plain = codec::decompress(stored, 1 << 20).ok().filter(|_| plain_length.is_some());
    let id = hash(&plain.unwrap_or_else(|| stored.to_vec()));
    Home::each(stored, |home, bytes| {
        let Ok(mut opener) = Opener::new(home.repository.key()) else { return false };
        opener.open_bytes(bytes, &id, plain_length).is_ok_and(|plain| {
            assert!(plain_length.is_none_or(|length| plain.len() == length as usize));
            assert_eq!(hash(plain), id);
            true
        })
    })
}

/// A lock, and whether it is held for abandoned.
pub fn lock(data: &[u8]) -> bool {
    Home::each(data, |home, bytes| {
        let id = home.put(ObjectKind::Lock, bytes);
        let loaded = home.repository.load_document::<LockFile>(ObjectKey::Lock(id), 1 << 16);
        loaded.is_ok_and(|lock| {
            let _ = lock.stale(&Author::default(), Timestamp::UNIX_EPOCH);
            true
        })
    })
}

/// Names and times.
pub fn text(data: &[u8]) -> bool {
    assert_eq!(quote::unquote(&quote::quote(data)).as_deref(), Some(data));
    let mut json = Vec::new();
    quote::json_string(data, &mut json);
    let text = String::from_utf8_lossy(data);
    let parsed = serde_json::from_slice::<String>(&json).ok();
    // Go has one replacement for each byte, Rust one for each run that could have been a character.
    assert!(parsed.is_some_and(|parsed| parsed.chars().count() >= text.chars().count()));
    let name = quote::unquote(&text);
    if let Some(name) = &name {
        assert_eq!(quote::unquote(&quote::quote(name)).as_ref(), Some(name));
    }
    let moment = time::parse(&text);
    if let Some(moment) = moment.filter(|moment| writable(*moment)) {
        assert_eq!(time::parse(&time::format(moment)), Some(moment));
    }
    name.is_some() || moment.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// What the fuzzer begins with, in order of name.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let entries = std::fs::read_dir(&folder);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    #[test]
    fn every_target_has_seeds_that_reach_its_depth_and_some_that_do_not() {
        for (name, target) in TARGETS {
            let understood = seeds(name).iter().filter(|seed| target(seed)).count();
            assert!(understood > 0, "{name}: no seed is understood");
            assert!(understood < seeds(name).len(), "{name}: no seed is refused");
        }
    }

    #[test]
    fn every_target_is_one_of_the_fuzzers() {
        for (name, _) in TARGETS {
            let file = format!("../../fuzz/targets/{name}.rs");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(text.contains(&format!("fuzz::{name}(")), "{file}");
        }
    }

    /// A seed with a stretch of it replaced.
    fn mutated()
    -> impl Strategy<Value = (usize, prop::sample::Index, prop::sample::Index, usize, Vec<u8>)>
    {
        let index = any::<prop::sample::Index>;
        let bytes = prop::collection::vec(any::<u8>(), 0..9);
        (0..TARGETS.len(), index(), index(), 0..9usize, bytes)
    }

    proptest! {
        #[test]
        fn nothing_near_a_seed_breaks_a_target((target, seed, at, length, bytes) in mutated()) {
            let (name, target) = TARGETS[target];
            let seeds = seeds(name);
            let mut data = seed.get(&seeds).clone();
            let at = at.index(data.len() + 1);
            data.splice(at..data.len().min(at + length), bytes);
            target(&data);
        }

        #[test]
        fn no_bytes_break_a_target(target in 0..TARGETS.len(), data: Vec<u8>) {
            TARGETS[target].1(&data);
        }
    }
}
