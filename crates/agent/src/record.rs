//! A seed as the source remembers it: where it is, what it holds, its jobs, its receipt, and what
//! has happened to it. Reads and writes nothing.

use crate::Error;
use crate::next::Drives;
use flow::{Effect, SeedEvent, SeedState};
use jiff::Timestamp;
use model::{
    AccountName, ContainerName, Digest, DriveRole, DriveSerial, GroupName, JobName, ObjectKind,
};
use seed::Object;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use wire::{KeysFrom, MAX_DRIVES, PublicKey, SeedId, SignedReceipt};

/// A seed: one first full backup on its way from staging to the vault.
///
/// invariant: once [`contents`](Self::contents) is set, it changes by a revision alone, and
/// [`revisions`](Self::revisions) keeps what it was; jobs are only added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeedRecord {
    /// The seed.
    pub id: SeedId,
    /// When the record was made.
    pub created: Timestamp,
    /// The folder that holds the first full backup; of a direct seed, what is kept of it here.
    pub staging: PathBuf,
    /// It is written straight onto its drives: the folder has everything but what was in the files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// This record was lost with the state directory, and made anew from what the server has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
    /// An item could not be read while a direct seed was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// The name that was given for its import job; further jobs get a number after it.
    pub import_job: JobName,
    /// The storage account it arrives in first.
    pub storage_account: AccountName,
    /// The container there.
    pub container: ContainerName,
    /// Where it is.
    pub seed: flow::Seed,
    /// The repository in staging, by the SHA-256 of its config, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Digest>,
    /// The first backup of each group in it.
    #[serde(default)]
    pub backups: BTreeMap<GroupName, StagedBackup>,
    /// It brings what a vault that has a repository lacks: staging holds what is added to that, and no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub catch_up: bool,
    /// What it holds, once that is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// What it was revised by, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Revised>,
    /// Folders that packs made anew were put into, where that was not the staging folder; into the last one the next are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_in: Vec<PathBuf>,
    /// Drives that are encrypted, of those that were ever given for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub encrypted: BTreeSet<DriveSerial>,
    /// Recovery points that were made while it travelled and are not published, as last said.
    #[serde(default, skip_serializing_if = "is_none_of")]
    pub withheld: u64,
    /// Parity drives of the set that is being written, as last asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parity: u32,
    /// Drives that a set has at most, where that is fewer than can travel together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_drives: Option<u32>,
    /// Parity drives stay at home when the others of their set leave.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold_parity: bool,
    /// Its import jobs, in the order in which they were made.
    #[serde(default)]
    pub jobs: Vec<SeedJob>,
    /// The vault's receipt, once it was compared and the vault was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<KeptReceipt>,
    /// Everything that changed its state.
    #[serde(default)]
    pub history: Vec<Happened>,
}

/// A group's first backup in staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StagedBackup {
    /// The newest snapshot of the group there.
    pub snapshot: Digest,
    /// When it was taken.
    pub time: Timestamp,
    /// Items that could not be read then.
    pub problems: u64,
}

/// What a seed holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// When the list was frozen.
    pub frozen: Timestamp,
    /// The SHA-256 of the repository's config.
    pub repository: Digest,
    /// Who signed the drives.
    pub signer: PublicKey,
    /// The SHA-256 of the inventory's file.
    pub inventory: Digest,
    /// Where that file is.
    pub inventory_file: PathBuf,
    /// The snapshots, ascending.
    pub snapshots: Vec<Digest>,
    /// All of it.
    pub whole: Sum,
    /// All but the key files, which a vault that has a repository keeps of its own.
    pub without_keys: Sum,
}

/// A seed's contents were changed, as some of them were lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revised {
    /// Which revision, from 1.
    pub number: u32,
    /// The SHA-256 of its file.
    pub digest: Digest,
    /// When the seed went by it.
    pub at: Timestamp,
    /// What the seed held before.
    pub before: Contents,
    /// Snapshots, and what stands in their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<(Digest, Digest)>,
    /// Files that are in no snapshot of it any more; their names are beside it.
    #[serde(default)]
    pub lost: u64,
}

/// A set of objects in three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their root.
    pub root: Digest,
}

/// An import job of a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeedJob {
    /// Its name.
    pub name: JobName,
    /// Its drive set, counted from 0.
    pub set: u32,
    /// When it was decided on.
    pub created: Timestamp,
    /// Its drives.
    pub drives: Vec<JobDrive>,
    /// It has the parity drives of its set alone, which were kept when the others left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parity: bool,
}

/// A drive of an import job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDrive {
    /// Its serial number.
    pub serial: DriveSerial,
    /// What it is for.
    #[serde(default, skip_serializing_if = "DriveRole::is_data")]
    pub role: DriveRole,
    /// The SHA-256 of its manifest.
    pub manifest: Digest,
    /// The SHA-256 of its LUKS2 header area; none when it is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Digest>,
    /// Objects on it.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The receipt, as it was believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptReceipt {
    /// Exactly as signed.
    pub signed: SignedReceipt,
    /// When the vault was found to hold everything.
    pub confirmed: Timestamp,
}

/// A change of a seed's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: SeedEvent,
    /// What followed from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
fn is_none_of(count: &u64) -> bool {
    *count == 0
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Sum {
    pub(crate) fn of<'o>(objects: impl Iterator<Item = &'o Object> + Clone) -> Self {
        Self {
            objects: objects.clone().count() as u64,
            bytes: objects.clone().fold(0, |sum, object| sum.saturating_add(object.length)),
            root: seed::root(objects),
        }
    }
}

impl Contents {
    /// What a receipt must count, by whose keys the vault has.
    #[must_use]
    pub fn sum(&self, keys: KeysFrom) -> Sum {
        match keys {
            KeysFrom::Seed => self.whole,
            KeysFrom::Vault => self.without_keys,
        }
    }
}

/// Whether a receipt of that kind covers the object.
pub(crate) fn covered(object: &Object, keys: KeysFrom) -> bool {
    keys == KeysFrom::Seed || object.kind != ObjectKind::Key
}

impl SeedRecord {
    /// Where the seed is.
    #[must_use]
    pub fn state(&self) -> SeedState {
        self.seed.state
    }

    /// How `diskprep` is told this seed.
    pub(crate) fn drives(&self, group: Option<GroupName>) -> Drives {
        match group.filter(|_| self.direct) {
            Some(group) => Drives::Of(group),
            None => Drives::From(self.staging.clone()),
        }
    }

    /// The revision that it goes by; 0 where it is as its drives say.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.revisions.last().map_or(0, |last| last.number)
    }

    /// Who has signed the drives that the seed was sent with, whoever has revised it since.
    #[must_use]
    pub fn drives_signer(&self) -> Option<PublicKey> {
        let first = self.revisions.first().map(|revised| &revised.before);
        first.or(self.contents.as_ref()).map(|contents| contents.signer)
    }

    /// Whether the vault has everything or nobody wants it: then nothing waits for it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.seed.state.is_end()
    }

    /// Lets something happen; the answer is what follows from it. What changes nothing is not
    /// noted.
    pub(crate) fn happen(
        &mut self,
        event: SeedEvent,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Error> {
        let (next, effects) = self.seed.transition(&event, now)?;
        if next != self.seed {
            self.seed = next;
            self.history.push(Happened { at: now, event, effects: effects.clone() });
        }
        Ok(effects)
    }

    /// The job that the drive set travels with; none when there is none yet or the last one failed.
    /// Drives of a set, parity included, at most.
    pub(crate) fn most(&self) -> usize {
        self.most_drives.and_then(|most| usize::try_from(most).ok()).unwrap_or(MAX_DRIVES)
    }

    pub(crate) fn job_of_set(&self, set: u32) -> Option<&SeedJob> {
        let job = self.jobs.iter().rev().find(|job| job.set == set && !job.parity)?;
        let state = self.seed.sets.iter().find(|known| known.job == job.name).map(|set| set.state);
        let failed = matches!(state, Some(flow::SetState::Lost));
        (!failed).then_some(job)
    }

    /// The drive set that is to be written next: the first that has no job, where drives are still
    /// being prepared; else the first whose job failed.
    pub(crate) fn next_set(&self) -> Option<u32> {
        match self.seed.set_count {
            None => (0..).find(|set| !self.is_settled_set(*set)),
            Some(count) => (0..count).find(|set| !self.is_settled_set(*set)),
        }
    }

    /// Whether the drive set has a job, and that has not failed.
    pub(crate) fn is_settled_set(&self, set: u32) -> bool {
        let number = set.saturating_add(1);
        self.seed
            .sets
            .iter()
            .any(|known| known.number == number && !matches!(known.state, flow::SetState::Lost))
    }
}
