//! What is used of each pack, and which copy is kept of what is there several times. Reads nothing but lists.

use super::judge::{Fate, Limits, PackUse, judge};
use super::{PruneFigures, PruneOptions};
use crate::index::{At, BlobKind, Marks, Numbered};
use crate::{Error, Repository};
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::{HashMap, HashSet};

/// Packs below this many bytes are small, as restic has it since 0.19.
const SMALL: u64 = 1 << 20;

/// Of used blobs that have several places, the one that counts.
pub(super) type Retained = HashMap<(BlobKind, Digest), At>;

pub(super) struct Judged {
    pub(super) fates: Vec<Fate>,
    pub(super) retained: Retained,
    pub(super) unindexed: Vec<Digest>,
    pub(super) figures: PruneFigures,
}

/// A pack as the index and the store have it.
struct Pack {
    id: Digest,
    /// There, and as long as its blobs and header say.
    sound: bool,
    /// Its length, where it is there at all.
    length: Option<u64>,
    expected: u64,
    contents: PackUse,
}

pub(super) fn judge_all(
    repository: &Repository,
    index: &Numbered,
    used: &Marks,
    options: &PruneOptions<'_>,
) -> Result<Judged, Error> {
    let listed = repository.store().list(ObjectKind::Pack)?;
    let lengths: HashMap<Digest, u64> =
        listed.iter().filter_map(|listed| Some((listed.key.id()?, listed.length))).collect();
    let mut packs = packs(index, &lengths);
    let mut figures = PruneFigures::default();
    let problems = count_single(index, used, &mut packs, &mut figures);
    repository.whole(problems)?;
    let (retained, problems) = retain(index, used, &mut packs, &mut figures);
    repository.whole(problems)?;
    let fates = fates(&packs, options, &mut figures);
    let named: HashSet<&Digest> = packs.iter().map(|pack| &pack.id).collect();
    let unindexed = lengths.iter().filter(|(id, _)| !named.contains(id));
    let (unindexed, bytes): (Vec<Digest>, Vec<u64>) = unindexed.unzip();
    figures.packs_unindexed = unindexed.len();
    figures.bytes_unindexed = bytes.iter().sum();
    Ok(Judged { fates, retained, unindexed, figures })
}

fn packs(index: &Numbered, lengths: &HashMap<Digest, u64>) -> Vec<Pack> {
    let mut packs: Vec<Pack> = Vec::with_capacity(index.pack_count());
    packs.extend(index.packs().map(|(id, summary)| {
        let (length, expected) = (lengths.get(&id).copied(), summary.end + summary.header);
        let contents = PackUse {
            blobs: summary.blobs,
            length: length.unwrap_or_default(),
            ..PackUse::default()
        };
        Pack { id, sound: length == Some(expected), length, expected, contents }
    }));
    packs
}

/// Counts all blobs, and the uses of those that have one place. Answers what is used and cannot be had.
fn count_single(
    index: &Numbered,
    used: &Marks,
    packs: &mut [Pack],
    figures: &mut PruneFigures,
) -> Vec<Error> {
    let repeated: HashSet<(BlobKind, Digest)> =
        index.repeated().map(|(kind, id, _)| (kind, id)).collect();
    let mut lost = HashSet::new();
    for kind in [BlobKind::Data, BlobKind::Tree] {
        for (number, at) in index.each(kind) {
            let Some(pack) = packs.get_mut(at.pack as usize) else { continue };
            pack.holds(&at);
            let several = !repeated.is_empty() && repeated.contains(&(kind, at.blob.id));
            if used.has(kind, number) {
                if !several {
                    pack.uses(&at);
                    lost.extend((!pack.sound).then_some(at.pack));
                }
                figures.used_blobs += 1;
                figures.used_bytes += u64::from(at.blob.length);
            } else {
                figures.unused(&at);
            }
        }
    }
    for at in index.further() {
        let Some(pack) = packs.get_mut(at.pack as usize) else { continue };
        pack.holds(&at);
        figures.unused(&at);
    }
    let mut lost: Vec<u32> = lost.into_iter().collect();
    lost.sort_unstable();
    lost.iter().filter_map(|pack| packs.get(*pack as usize)).map(Pack::fault).collect()
}

/// Chooses a copy of each used blob that has several: in a sound pack, and there in the one of which most is
/// used, as that is the one most likely to stay.
fn retain(
    index: &Numbered,
    used: &Marks,
    packs: &mut [Pack],
    figures: &mut PruneFigures,
) -> (Retained, Vec<Error>) {
    let is_used =
        |kind, id: &Digest| index.number(kind, id).is_some_and(|number| used.has(kind, number));
    let mut repeated: Vec<_> =
        index.repeated().filter(|(kind, id, _)| is_used(*kind, id)).collect();
    // The same choice in a rehearsal and in earnest.
    repeated.sort_unstable_by_key(|(kind, id, _)| (*kind, *id));
    let (mut retained, mut problems) = (Retained::with_capacity(repeated.len()), Vec::new());
    for (kind, id, places) in repeated {
        figures.duplicate_blobs += places.len() as u64 - 1;
        let sound = |at: &&At| packs.get(at.pack as usize).is_some_and(|pack| pack.sound);
        let most = |at: &&At| {
            let pack = packs.get(at.pack as usize).map(|pack| (pack.contents.used_bytes, pack.id));
            (pack, std::cmp::Reverse(at.blob.offset))
        };
        let Some(at) = places.iter().filter(sound).max_by_key(most).copied() else {
            let lost = places.first().and_then(|at| packs.get(at.pack as usize));
            problems.push(lost.map_or(Error::BlobUnknown { blob: id }, Pack::fault));
            continue;
        };
        if let Some(pack) = packs.get_mut(at.pack as usize) {
            pack.uses(&at);
        }
        retained.insert((kind, id), at);
    }
    (retained, problems)
}

fn fates(packs: &[Pack], options: &PruneOptions<'_>, figures: &mut PruneFigures) -> Vec<Fate> {
    let there: Vec<(Digest, PackUse)> = packs
        .iter()
        .filter(|pack| pack.length.is_some())
        .map(|pack| (pack.id, pack.contents))
        .collect();
    let limits = Limits {
        max_unused: options.max_unused,
        max_repack: options.max_repack.unwrap_or(u64::MAX),
        small: options.small.unwrap_or(SMALL.min(options.writer.pack_size as u64 / 4)),
        trees_only: options.trees_only,
    };
    let mut judged = judge(&there, &limits).into_iter();
    let fate = |pack: &Pack| match pack.length {
        Some(_) => judged.next().unwrap_or(Fate::Keep),
        None => Fate::Missing,
    };
    let fates: Vec<Fate> = packs.iter().map(fate).collect();
    for (pack, fate) in packs.iter().zip(&fates) {
        let PackUse { length, bytes, used_bytes, .. } = pack.contents;
        match fate {
            Fate::Keep => {
                figures.packs_kept += 1;
                figures.bytes_tolerated += bytes.saturating_sub(used_bytes);
            }
            Fate::Remove => {
                figures.packs_removed += 1;
                figures.bytes_removed += length;
            }
            Fate::Repack => {
                figures.packs_repacked += 1;
                figures.bytes_repacked += length;
                figures.bytes_written += used_bytes;
            }
            Fate::Missing => figures.packs_missing += 1,
        }
    }
    fates
}

impl PruneFigures {
    fn unused(&mut self, at: &At) {
        self.unused_blobs += 1;
        self.unused_bytes += u64::from(at.blob.length);
    }
}

impl Pack {
    fn holds(&mut self, at: &At) {
        self.contents.bytes += u64::from(at.blob.length);
        match at.blob.kind {
            BlobKind::Data => self.contents.data = true,
            BlobKind::Tree => {
                self.contents.trees = true;
                self.contents.raw_trees |= at.blob.plain_length.is_none();
            }
        }
    }

    fn uses(&mut self, at: &At) {
        self.contents.used_blobs += 1;
        self.contents.used_bytes += u64::from(at.blob.length);
    }

    fn fault(&self) -> Error {
        let what = match self.length {
            None => "it is indexed but not there".to_owned(),
            Some(actual) => {
                format!("it has {actual} bytes where its index entries need {}", self.expected)
            }
        };
        Error::Damaged { key: ObjectKey::Pack(self.id), what }
    }
}
