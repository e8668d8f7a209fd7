//! Is everything there, and is it what it must be? Every finding names what it is about.
//!
//! Without reading packs: every key is as it was stored; every snapshot, index and tree opens; every blob that a snapshot needs is
//! indexed; every indexed pack is there, and as long as its blobs and header say. Reading them: each
//! pack hashes to its name, its header agrees with the index, and each blob decrypts, decompresses
//! and hashes to its name. Repairs nothing.

mod packs;
mod walk;

use crate::index::{BlobKind, Index, PackSummary};
use crate::{Error, Repository};
use model::{Digest, ObjectKind};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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
        let keys = self.damaged_keys()?;
        for fault in snapshots.damaged.into_iter().chain(index.damaged).chain(keys) {
            run.found(Finding::Damaged(fault));
        }
        let lengths = run.pack_lengths()?;
        run.check_lengths(&lengths);
        events(CheckEvent::Snapshots { count: snapshots.value.len() });
        let threads = options.threads.max(1);
        run.walk(snapshots.value.iter().map(|named| (named.id, named.snapshot.tree)), threads)?;
        // Their packs are read again, but one window at a time.
        self.forget_tree_packs();
        if options.read_data {
            run.read_packs(&lengths, threads)?;
        }
        Ok(run.report.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Run<'_> {
    fn report(&self) -> std::sync::MutexGuard<'_, CheckReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
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
}

#[cfg(test)]
mod tests;
