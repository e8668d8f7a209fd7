//! Is everything there, and is it what it must be? Every finding names what it is about.
//!
//! Without reading packs: every snapshot, index and tree opens; every blob that a snapshot needs is
//! indexed; every indexed pack is there, and as long as its blobs and header say. Reading them: each
//! pack hashes to its name, its header agrees with the index, and each blob decrypts, decompresses
//! and hashes to its name. Repairs nothing.

use crate::blob::Opener;
use crate::index::{BlobKind, Index, Location, PackSummary};
use crate::pack::{self, PackedBlob};
use crate::tree::{Node, NodeKind};
use crate::{Error, Repository};
use model::{Digest, ObjectKey, ObjectKind};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest pack that is read: restic allows 128 MiB, plus its last blob and header.
const PACK_LIMIT: u64 = 512 << 20;

/// What to check.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// Read every pack.
    pub read_data: bool,
    /// With how many threads.
    pub threads: usize,
}

/// What is happening.
#[derive(Debug, Clone, Copy)]
pub enum CheckEvent<'a> {
    /// Trees are being walked.
    Snapshots {
        /// How many snapshots.
        count: usize,
    },
    /// Packs are about to be read.
    Reading {
        /// How many.
        packs: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// One pack was read.
    PackRead {
        /// Its bytes.
        bytes: u64,
    },
    /// Something is wrong.
    Found(&'a Finding),
}

/// One thing that is wrong, or odd.
#[derive(Debug)]
pub enum Finding {
    /// A file, tree or blob that is not what it must be.
    Damaged(Error),
    /// An indexed pack that is not there.
    PackMissing {
        /// Which.
        pack: Digest,
    },
    /// A pack whose length is not what its index entries add up to.
    PackLength {
        /// Which.
        pack: Digest,
        /// Bytes it has.
        actual: u64,
        /// Bytes it must have.
        expected: u64,
    },
    /// A pack whose header and index disagree.
    PackHeader {
        /// Which.
        pack: Digest,
    },
    /// A blob that a snapshot needs and no index has.
    BlobMissing {
        /// Data or tree.
        kind: BlobKind,
        /// Which.
        blob: Digest,
        /// The snapshot that needs it.
        snapshot: Digest,
        /// For what, a path in it.
        path: String,
    },
    /// No damage: a pack that no index names, left behind by an interrupted run.
    PackUnindexed {
        /// Which.
        pack: Digest,
    },
}

impl Finding {
    /// Whether data is at risk, rather than space wasted.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::PackUnindexed { .. })
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(fault) => write!(f, "{fault}"),
            Self::PackMissing { pack } => write!(f, "pack {pack} is indexed but not there"),
            Self::PackLength { pack, actual, expected } => {
                write!(f, "pack {pack} has {actual} bytes where its index entries need {expected}")
            }
            Self::PackHeader { pack } => write!(f, "pack {pack} and its index disagree"),
            Self::BlobMissing { kind, blob, snapshot, path } => {
                let what = if *kind == BlobKind::Tree { "directory" } else { "part" };
                write!(f, "snapshot {} lacks a {what} of {path}: blob {blob}", snapshot.short())
            }
            Self::PackUnindexed { pack } => {
                write!(f, "pack {pack} is in no index; the next backup takes it in")
            }
        }
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Snapshots opened.
    pub snapshots: usize,
    /// Distinct trees opened.
    pub trees: usize,
    /// Packs present.
    pub packs: usize,
    /// Packs read in full.
    pub packs_read: usize,
    /// Bytes read for that.
    pub bytes_read: u64,
    /// Everything found.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether anything is damaged.
    #[must_use]
    pub fn damaged(&self) -> bool {
        self.findings.iter().any(Finding::is_damage)
    }
}

struct Run<'a> {
    repository: &'a Repository,
    index: Index,
    report: Mutex<CheckReport>,
    events: &'a (dyn Fn(CheckEvent<'_>) + Sync),
}

impl Repository {
    /// Checks, as the module says.
    ///
    /// # Errors
    /// Only what stops the check itself; what is wrong with the repository is in the report.
    pub fn check(
        &self,
        options: CheckOptions,
        events: &(dyn Fn(CheckEvent<'_>) + Sync),
    ) -> Result<CheckReport, Error> {
        self.forget_tree_packs();
        let snapshots = self.snapshots()?;
        let index = self.load_index()?;
        let report =
            Mutex::new(CheckReport { snapshots: snapshots.value.len(), ..CheckReport::default() });
        let run = Run { repository: self, index: index.value, report, events };
        for fault in snapshots.damaged.into_iter().chain(index.damaged) {
            run.found(Finding::Damaged(fault));
        }
        let lengths = run.pack_lengths()?;
        run.check_lengths(&lengths);
        events(CheckEvent::Snapshots { count: snapshots.value.len() });
        run.walk(snapshots.value.iter().map(|named| (named.id, named.snapshot.tree)))?;
        if options.read_data {
            run.read_packs(&lengths, options.threads.max(1))?;
        }
        Ok(run.report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Run<'_> {
    fn report(&self) -> std::sync::MutexGuard<'_, CheckReport> {
        self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn found(&self, finding: Finding) {
        (self.events)(CheckEvent::Found(&finding));
        self.report().findings.push(finding);
    }

    fn pack_lengths(&self) -> Result<HashMap<Digest, u64>, Error> {
        let listed = self.repository.store().list(ObjectKind::Pack)?;
        let lengths: HashMap<Digest, u64> =
            listed.iter().filter_map(|entry| Some((entry.key.id()?, entry.length))).collect();
        self.report().packs = lengths.len();
        Ok(lengths)
    }

    fn check_lengths(&self, lengths: &HashMap<Digest, u64>) {
        for (pack, PackSummary { end, header, .. }) in self.index.packs() {
            match lengths.get(&pack) {
                None => self.found(Finding::PackMissing { pack }),
                Some(&actual) if actual != end + header => {
                    self.found(Finding::PackLength { pack, actual, expected: end + header });
                }
                Some(_) => {}
            }
        }
        for pack in lengths.keys().filter(|pack| !self.index.has_pack(pack)) {
            self.found(Finding::PackUnindexed { pack: *pack });
        }
    }

    fn walk(&self, roots: impl Iterator<Item = (Digest, Digest)>) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let mut missing = HashSet::new();
        for (snapshot, root) in roots {
            let mut pending = vec![(root, String::from("/"))];
            while let Some((tree, path)) = pending.pop() {
                if seen.insert(tree) {
                    self.check_tree(snapshot, tree, &path, &mut pending, &mut missing)?;
                }
            }
        }
        self.report().trees = seen.len();
        Ok(())
    }

    fn check_tree(
        &self,
        snapshot: Digest,
        tree: Digest,
        path: &str,
        pending: &mut Vec<(Digest, String)>,
        missing: &mut HashSet<Digest>,
    ) -> Result<(), Error> {
        let nodes = match self.repository.read_tree(&self.index, &tree) {
            Ok(nodes) => nodes,
            Err(Error::BlobUnknown { blob }) => {
                let path = path.to_owned();
                self.found(Finding::BlobMissing { kind: BlobKind::Tree, blob, snapshot, path });
                return Ok(());
            }
            Err(Error::Store(
                cause @ (store::Error::Unavailable { .. } | store::Error::Denied { .. }),
            )) => {
                return Err(cause.into());
            }
            Err(fault) => {
                self.found(Finding::Damaged(fault));
                return Ok(());
            }
        };
        for node in nodes {
            let path =
                format!("{}/{}", path.trim_end_matches('/'), String::from_utf8_lossy(&node.name));
            match (node.kind, node.subtree) {
                (NodeKind::Dir, Some(subtree)) => pending.push((subtree, path)),
                (NodeKind::Dir, None) => self.found(Finding::Damaged(Error::Tree {
                    tree: tree.to_hex(),
                    what: format!("{path} is a directory without a tree"),
                })),
                (NodeKind::File, _) => self.check_file(snapshot, tree, &path, &node, missing),
                _ => {}
            }
        }
        Ok(())
    }

    fn check_file(
        &self,
        snapshot: Digest,
        tree: Digest,
        path: &str,
        node: &Node,
        missing: &mut HashSet<Digest>,
    ) {
        let (mut size, mut whole) = (0, true);
        for &blob in node.content.as_deref().unwrap_or_default() {
            if let Some(at) = self.index.find(BlobKind::Data, &blob) {
                size += u64::from(at.blob.size());
                continue;
            }
            whole = false;
            if missing.insert(blob) {
                let (kind, path) = (BlobKind::Data, path.to_owned());
                self.found(Finding::BlobMissing { kind, blob, snapshot, path });
            }
        }
        if whole && size != node.size {
            let what = format!("{path} has parts of {size} bytes, its size is {}", node.size);
            self.found(Finding::Damaged(Error::Tree { tree: tree.to_hex(), what }));
        }
    }

    fn read_packs(&self, lengths: &HashMap<Digest, u64>, threads: usize) -> Result<(), Error> {
        let mut packs: Vec<(Digest, u64)> =
            lengths.iter().map(|(id, length)| (*id, *length)).collect();
        packs.sort_unstable();
        let bytes = packs.iter().map(|(_, length)| length).sum();
        (self.events)(CheckEvent::Reading { packs: packs.len(), bytes });
        let next = AtomicUsize::new(0);
        let stop = Mutex::new(None);
        let openers: Vec<Opener> =
            (0..threads).map(|_| self.repository.opener()).collect::<Result<_, _>>()?;
        std::thread::scope(|scope| {
            for mut opener in openers {
                let (packs, next, stop) = (&packs, &next, &stop);
                scope.spawn(move || {
                    while let Some((pack, length)) = packs.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if let Err(fault) = self.read_pack(*pack, *length, &mut opener) {
                            *stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                                Some(fault);
                            next.store(packs.len(), Ordering::Relaxed);
                        }
                        (self.events)(CheckEvent::PackRead { bytes: *length });
                    }
                });
            }
        });
        match stop.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Err only when the store cannot be reached at all.
    fn read_pack(&self, pack: Digest, length: u64, opener: &mut Opener) -> Result<(), Error> {
        let key = ObjectKey::Pack(pack);
        let damaged = |what: String| self.found(Finding::Damaged(Error::Damaged { key, what }));
        let mut bytes = Vec::new();
        let mut stream = match self.repository.store().open(&key) {
            Ok(stream) => stream.take(PACK_LIMIT),
            Err(store::Error::NotFound { .. }) => {
                self.found(Finding::PackMissing { pack });
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        };
        if let Err(fault) = stream.read_to_end(&mut bytes) {
            damaged(format!("it cannot be read ({fault})"));
            return Ok(());
        }
        {
            let mut report = self.report();
            report.packs_read += 1;
            report.bytes_read += bytes.len() as u64;
        }
        if Digest(Sha256::digest(&bytes).into()) != pack {
            damaged("its bytes do not hash to its name".to_owned());
        }
        match self.listed_blobs(&bytes, length) {
            Ok(blobs) => self.check_blobs(pack, &bytes, &blobs, opener),
            Err(what) => damaged(what),
        }
        Ok(())
    }

    fn listed_blobs(&self, bytes: &[u8], length: u64) -> Result<Vec<PackedBlob>, String> {
        let last = *bytes.last_chunk::<4>().ok_or("it is cut short")?;
        let (offset, header) = pack::header_place(bytes.len() as u64, last)?;
        let at = usize::try_from(offset).map_err(|_| "it is too large")?;
        let sealed = bytes.get(at..at + header).ok_or("it is cut short")?;
        if bytes.len() as u64 != length {
            return Err(format!("{} of {length} bytes could be read", bytes.len()));
        }
        pack::open_header(self.repository.key(), sealed.to_vec(), offset)
    }

    fn check_blobs(&self, pack: Digest, bytes: &[u8], blobs: &[PackedBlob], opener: &mut Opener) {
        let mut agrees =
            self.index.summary(&pack).is_none_or(|it| it.blobs as usize == blobs.len());
        for blob in blobs {
            let from = blob.offset as usize;
            let stored = bytes.get(from..from + blob.length as usize).unwrap_or_default();
            if let Err(what) = opener.open_bytes(stored, &blob.id, blob.plain_length) {
                self.found(Finding::Damaged(Error::BlobDamaged { blob: blob.id, pack, what }));
            }
            let here = |at: Location| at.pack == pack && at.blob == *blob;
            agrees &=
                !self.index.has_pack(&pack) || self.index.copies(blob.kind, &blob.id).any(here);
        }
        if !agrees {
            self.found(Finding::PackHeader { pack });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{IndexFile, IndexedPack};
    use crate::repository::hash;
    use crate::testing::repository;
    use crate::tree;
    use crate::{LockMode, Snapshot, Writer, WriterOptions};

    const FULL: CheckOptions = CheckOptions { read_data: true, threads: 2 };

    /// One snapshot of a directory with one file of `blobs` blobs.
    fn with_one_file(repository: &Repository, blobs: usize) -> Digest {
        let lock = repository.lock(LockMode::Shared).unwrap();
        let writer = Writer::new(
            &lock,
            Index::default(),
            WriterOptions { pack_size: 1024, ..WriterOptions::default() },
        )
        .unwrap();
        let mut file = Node::new(b"file", NodeKind::File);
        let mut content = Vec::new();
        for n in 0..blobs {
            let bytes = vec![u8::try_from(n).unwrap(); 300 + n];
            writer.save(BlobKind::Data, hash(&bytes), &bytes).unwrap();
            content.push(hash(&bytes));
            file.size += bytes.len() as u64;
        }
        file.content = Some(content);
        let text = tree::encode(&[file]);
        writer.save(BlobKind::Tree, hash(&text), &text).unwrap();
        writer.finish().unwrap();
        save_snapshot(repository, hash(&text))
    }

    fn save_snapshot(repository: &Repository, tree: Digest) -> Digest {
        repository.save_snapshot(&Snapshot::of_tree(tree)).unwrap()
    }

    fn check(repository: &Repository) -> CheckReport {
        repository.check(FULL, &|_| {}).unwrap()
    }

    #[test]
    fn a_sound_repository_has_no_findings() {
        let repository = repository();
        with_one_file(&repository, 40);
        let report = check(&repository);
        assert_eq!(report.findings.len(), 0, "{:?}", report.findings);
        assert_eq!((report.snapshots, report.trees, report.packs_read), (1, 1, report.packs));
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_pack_is_found_by_name() {
        let repository = repository();
        with_one_file(&repository, 6);
        for pack in repository.names(ObjectKind::Pack).unwrap() {
            let key = ObjectKey::Pack(pack);
            let good = repository.store().get(&key, u64::MAX).unwrap();
            for at in (0..good.len()).step_by(29) {
                let mut bad = good.clone();
                bad[at] ^= 4;
                repository.store().remove(&key).unwrap();
                repository.store().put(&key, &bad).unwrap();
                let report = check(&repository);
                assert!(report.damaged(), "byte {at}");
                assert!(report.findings.iter().any(|f| f.to_string().contains(&pack.to_hex())));
            }
            repository.store().remove(&key).unwrap();
            repository.store().put(&key, &good).unwrap();
        }
        assert!(!check(&repository).damaged());
    }

    #[test]
    fn a_missing_pack_and_a_missing_index_are_named() {
        let repository = repository();
        let snapshot = with_one_file(&repository, 6);
        let pack = repository.names(ObjectKind::Pack).unwrap()[0];
        let key = ObjectKey::Pack(pack);
        let bytes = repository.store().get(&key, u64::MAX).unwrap();
        repository.store().remove(&key).unwrap();
        assert!(
            check(&repository)
                .findings
                .iter()
                .any(|f| matches!(f, Finding::PackMissing { pack: p } if *p == pack))
        );
        repository.store().put(&key, &bytes[..bytes.len() - 1]).unwrap();
        assert!(
            check(&repository).findings.iter().any(|f| matches!(f, Finding::PackLength { .. }))
        );
        for index in repository.names(ObjectKind::Index).unwrap() {
            repository.store().remove(&ObjectKey::Index(index)).unwrap();
        }
        let report = check(&repository);
        assert!(
            report
                .findings
                .iter()
                .any(|f| matches!(f, Finding::BlobMissing { snapshot: s, .. } if *s == snapshot))
        );
    }

    #[test]
    fn a_snapshot_of_a_tree_that_never_was_is_damage() {
        let repository = repository();
        save_snapshot(&repository, Digest([3; 32]));
        assert!(check(&repository).damaged());
    }

    #[test]
    fn an_index_that_says_other_than_a_pack_is_found_though_the_blob_is_elsewhere() {
        let repository = repository();
        with_one_file(&repository, 6);
        let pack = repository.names(ObjectKind::Pack).unwrap()[0];
        let length = repository.store().length(&ObjectKey::Pack(pack)).unwrap();
        let mut blobs = repository.read_pack_header(pack, length).unwrap();
        blobs[0].id = Digest([5; 32]);
        for name in repository.names(ObjectKind::Index).unwrap() {
            let key = ObjectKey::Index(name);
            let mut file: IndexFile = repository.load_document(key, u64::MAX).unwrap();
            let lies = file.packs.iter_mut().find(|listed| listed.id == pack).unwrap();
            let elsewhere = IndexedPack { id: Digest([6; 32]), ..lies.clone() };
            *lies = IndexedPack::new(pack, &blobs);
            // The true blob is known from another pack too, seen first.
            file.packs.insert(0, elsewhere);
            repository.save_document(ObjectKind::Index, &file).unwrap();
            repository.store().remove(&key).unwrap();
        }
        let header =
            |finding: &Finding| matches!(finding, Finding::PackHeader { pack: p } if *p == pack);
        assert!(check(&repository).findings.iter().any(header));
    }

    #[test]
    fn a_file_whose_parts_do_not_make_its_size_is_damage() {
        let repository = repository();
        with_one_file(&repository, 2);
        let lock = repository.lock(LockMode::Shared).unwrap();
        let writer = Writer::new(&lock, Index::default(), WriterOptions::default()).unwrap();
        let mut file = Node::new(b"file", NodeKind::File);
        file.content = Some(vec![hash(&[0; 300])]);
        file.size = 301;
        let text = tree::encode(&[file]);
        writer.save(BlobKind::Tree, hash(&text), &text).unwrap();
        writer.finish().unwrap();
        save_snapshot(&repository, hash(&text));
        let report = check(&repository);
        assert!(report.findings.iter().any(|f| f.to_string().contains("its size is 301")));
    }

    #[test]
    fn leftover_packs_are_no_damage() {
        let repository = repository();
        let lock = repository.lock(LockMode::Shared).unwrap();
        let writer = Writer::new(
            &lock,
            Index::default(),
            WriterOptions { pack_size: 64, ..WriterOptions::default() },
        )
        .unwrap();
        writer.save(BlobKind::Data, hash(b"x"), b"x").unwrap();
        for n in 0..9u8 {
            writer.save(BlobKind::Data, hash(&[n; 99]), &[n; 99]).unwrap();
        }
        drop(writer);
        let report = check(&repository);
        assert!(!report.damaged() && !report.findings.is_empty());
    }
}
