//! What a seed still lacks at its destination, and whose it is to bring it. Looks for nothing itself.

use crate::Manifest;
use crate::inventory::part_of;
use model::{Digest, DriveSerial, JobName, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use wire::{ExportPart, SeedId};

/// What is still wanted of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The seed.
    pub seed: SeedId,
    /// Whether its whole list is known. If not, at least one more drive is missing: the last one
    /// carries the list.
    pub inventory: bool,
    /// Objects known of, in all.
    pub objects: u64,
    /// Those that are not there.
    pub wanted: Vec<Wanted>,
    /// By the export jobs that bring them, where several bring it together: those of which something is missing.
    pub by_job: Vec<OfJob>,
}

/// An object that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its repository.
    pub repository: Digest,
    /// Which object.
    pub key: ObjectKey,
    /// Its length.
    pub length: u64,
}

/// What is missing of an export job that is one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfJob {
    /// The job.
    pub job: JobName,
    /// Which of them; from 0.
    pub set: u32,
    /// How many they are.
    pub jobs: usize,
    /// Objects that are missing.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Drives that have them, as far as the manifests that came say it.
    pub drives: BTreeSet<DriveSerial>,
    /// Objects that no such manifest lists: they are on drives that were not here.
    pub unknown: u64,
}

/// What is wanted, by the jobs that bring it. `manifests` are those of drives that were here.
pub(crate) fn by_job(
    parts: &[ExportPart],
    manifests: &[Manifest],
    wanted: &[Wanted],
) -> Vec<OfJob> {
    let mut carriers: BTreeMap<ObjectKey, &DriveSerial> = BTreeMap::new();
    let lacking: BTreeSet<ObjectKey> = wanted.iter().map(|wanted| wanted.key).collect();
    for manifest in manifests {
        let keys = manifest.objects.iter().map(crate::Object::key);
        let of_it = keys.filter(|key| lacking.contains(key));
        carriers.extend(of_it.map(|key| (key, &manifest.header.serial)));
    }
    let mut jobs: BTreeMap<usize, OfJob> = BTreeMap::new();
    for it in wanted {
        let at = part_of(parts, &it.key);
        let Some(part) = parts.get(at) else { continue };
        let of_job = jobs.entry(at).or_insert_with(|| OfJob {
            job: part.job.clone(),
            set: u32::try_from(at).unwrap_or(u32::MAX),
            jobs: parts.len(),
            objects: 0,
            bytes: 0,
            drives: BTreeSet::new(),
            unknown: 0,
        });
        of_job.objects += 1;
        of_job.bytes = of_job.bytes.saturating_add(it.length);
        let carrier = carriers.get(&it.key).map(|serial| (*serial).clone());
        of_job.unknown += u64::from(carrier.is_none());
        of_job.drives.extend(carrier);
    }
    jobs.into_values().collect()
}
