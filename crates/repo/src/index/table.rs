//! All blobs of one kind: a few sorted runs, and what came last. Knows nothing of other copies.
//!
//! What is new goes into a small hash table. When that is full it becomes a run, and a run that is no
//! longer much smaller than the one before is merged into it: so there are a handful of them however
//! many blobs there are, each blob is moved some hundred times at most, and merging never needs more
//! room than the smaller of two runs.

use super::run::{Entry, Place, Run, Said};
use model::Digest;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

/// When what happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// So many blobs become a run.
    pub(super) recent: usize,
    /// A run is at least so many times as long as the next.
    pub(super) ratio: usize,
}

impl Default for Sizes {
    /// A run's fixed cost of 256 KiB is small against 4096 records; a sixty-fourth bounds what
    /// merging needs to 1.6 % of the index.
    fn default() -> Self {
        Self { recent: 4096, ratio: 64 }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    sizes: Sizes,
    /// The longest first. invariant: an id is in one of them at most, and not in `recent` as well.
    runs: Vec<Run>,
    recent: HashMap<Digest, Place>,
    /// What no record has room for: blobs beyond 16 MiB, packs beyond the sixteen-millionth.
    wide: HashMap<Digest, Place>,
    known: usize,
}

impl Table {
    #[cfg(test)]
    pub(super) fn with_sizes(sizes: Sizes) -> Self {
        Self { sizes, ..Self::default() }
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn len(&self) -> usize {
        self.known
    }

    /// Where a blob is.
    pub(super) fn get(&self, id: &Digest) -> Option<Place> {
        if let Some(place) = self.recent.get(id) {
            return Some(*place);
        }
        self.place(id, self.runs.iter().find_map(|run| run.find(id).map(|at| run.get(at)))?)
    }

    /// Answers where a blob is that is known, else takes it in.
    pub(super) fn insert(&mut self, id: Digest, place: Place) -> Option<Place> {
        if let Some(known) = self.get(&id) {
            return Some(known);
        }
        self.known += 1;
        if !self.revive(&id, place) {
            self.recent.insert(id, place);
            if self.recent.len() >= self.sizes.recent {
                self.settle();
            }
        }
        None
    }

    /// Says anew where a blob is whose record says nothing any more, if there is one.
    fn revive(&mut self, id: &Digest, place: Place) -> bool {
        let found = self.runs.iter_mut().find_map(|run| run.find(id).map(|at| (run, at)));
        let Some((run, at)) = found else { return false };
        run.set(at, keep(&mut self.wide, id, place));
        true
    }

    /// Takes in all of `batch`, in its order: each blob where it is said to be first. `known` is told of
    /// blobs that are known elsewhere already, where, and where else.
    pub(super) fn extend(
        &mut self,
        batch: &mut Vec<(Digest, Place)>,
        mut known: impl FnMut(Digest, Place, Place),
    ) {
        batch.sort_by(|(a, _), (b, _)| order(a, b));
        let mut last: Option<(Digest, Place)> = None;
        batch.retain(|&(id, place)| {
            let here = last.filter(|(last, _)| *last == id).map(|(_, place)| place);
            if let Some(here) = here.or_else(|| self.get(&id)) {
                known(id, here, place);
                return false;
            }
            self.known += 1;
            last = Some((id, place));
            !self.revive(&id, place)
        });
        if self.recent.len() + batch.len() < self.sizes.recent {
            self.recent.extend(batch.iter().copied());
        } else {
            self.add_run(batch);
        }
    }

    /// Says that so many blobs may come, so that the memory of the longest run need not be moved.
    pub(super) fn expect(&mut self, most: usize) {
        if self.runs.is_empty() && most >= self.sizes.recent {
            let mut run = Run::new();
            run.expect(most);
            self.runs.push(run);
        }
    }

    /// Gives back what was expected and did not come.
    pub(super) fn trim(&mut self) {
        self.runs.retain(|run| run.len() > 0);
        self.runs.iter_mut().for_each(Run::trim);
    }

    /// Gives every blob a number below [`numbers`](Self::numbers), until something is added.
    pub(super) fn settle_all(&mut self) {
        if !self.recent.is_empty() {
            self.settle();
        }
    }

    /// One more than the highest number of a blob. Some numbers may be nobody's.
    pub(super) fn numbers(&self) -> usize {
        self.runs.iter().map(Run::len).sum()
    }

    /// A blob's number.
    pub(super) fn number(&self, id: &Digest) -> Option<usize> {
        let mut before = 0;
        for run in &self.runs {
            if let Some(at) = run.find(id) {
                return (run.get(at) != Said::Gone).then_some(before + at);
            }
            before += run.len();
        }
        None
    }

    /// The blob that has this number, and where it is.
    pub(super) fn numbered(&self, number: usize) -> Option<(Digest, Place)> {
        let mut at = number;
        for run in &self.runs {
            if at < run.len() {
                let id = run.id(at)?;
                return Some((id, self.place(&id, run.get(at))?));
            }
            at -= run.len();
        }
        None
    }

    /// Every blob with its number, ascending in it.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, Digest, Place)> + '_ {
        let all = self.runs.iter().flat_map(Run::iter).enumerate();
        all.filter_map(|(number, (id, said))| Some((number, id, self.place(&id, said)?)))
    }

    fn place(&self, id: &Digest, said: Said) -> Option<Place> {
        match said {
            Said::Here(place) => Some(place),
            Said::Wide => self.wide.get(id).copied(),
            Said::Gone => None,
        }
    }

    /// Forgets a blob.
    pub(super) fn remove(&mut self, id: &Digest) {
        if self.get(id).is_none() {
            return;
        }
        self.known -= 1;
        self.wide.remove(id);
        if self.recent.remove(id).is_none()
            && let Some((run, at)) =
                self.runs.iter_mut().find_map(|run| run.find(id).map(|at| (run, at)))
        {
            run.set(at, Said::Gone);
        }
    }

    /// Lets `change` say anew where each blob is; none forgets it.
    pub(super) fn change(&mut self, mut change: impl FnMut(&Digest, Place) -> Option<Place>) {
        let Self { runs, recent, wide, known, .. } = self;
        let mut gone = 0;
        recent.retain(|id, place| match change(id, *place) {
            Some(now) => {
                *place = now;
                true
            }
            None => {
                gone += 1;
                false
            }
        });
        for run in runs {
            run.change(|id, said| {
                let place = match said {
                    Said::Here(place) => Some(place),
                    Said::Wide => wide.remove(id),
                    Said::Gone => None,
                };
                let Some(place) = place else { return Said::Gone };
                match change(id, place) {
                    Some(now) => keep(wide, id, now),
                    None => {
                        gone += 1;
                        Said::Gone
                    }
                }
            });
        }
        *known -= gone;
    }

    fn settle(&mut self) {
        let mut batch: Vec<(Digest, Place)> = self.recent.drain().collect();
        batch.sort_unstable_by(|(a, _), (b, _)| order(a, b));
        self.add_run(&batch);
    }

    /// `batch` is ascending, and nothing in it is known.
    fn add_run(&mut self, batch: &[(Digest, Place)]) {
        for (id, place) in batch {
            keep(&mut self.wide, id, *place);
        }
        let fresh = batch.iter().map(|(id, place)| (*id, place.said()));
        let ratio = self.sizes.ratio;
        match self.runs.last_mut() {
            Some(last) if last.len() < batch.len().saturating_mul(ratio) => {
                last.merge(batch.len(), fresh);
            }
            _ => {
                let mut run = Run::new();
                run.merge(batch.len(), fresh);
                self.runs.push(run);
            }
        }
        while let [.., longer, last] = self.runs.as_mut_slice()
            && longer.len() < last.len().saturating_mul(ratio)
        {
            let rest = last.iter().filter(|(_, said): &Entry| *said != Said::Gone);
            longer.merge(rest.clone().count(), rest);
            self.runs.pop();
        }
    }
}

/// By the first eight bytes, which nearly always tell.
fn order(a: &Digest, b: &Digest) -> Ordering {
    let front = |id: &Digest| id.0.first_chunk().map_or(0, |front| u64::from_be_bytes(*front));
    front(a).cmp(&front(b)).then_with(|| a.cmp(b))
}

/// What a record says of a place; one that it has no room for is kept in `wide`.
fn keep(wide: &mut HashMap<Digest, Place>, id: &Digest, place: Place) -> Said {
    let said = place.said();
    match (said, wide.entry(*id)) {
        (Said::Wide, slot) => {
            slot.insert_entry(place);
        }
        (_, Slot::Occupied(slot)) => {
            slot.remove();
        }
        _ => {}
    }
    said
}
