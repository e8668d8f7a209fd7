//! Parity while the data drives are written: planned, begun, gone on with. Writes no data drive, and seals nothing:
//! whether the streams are as they were planned is known once the data drives are sealed.
//!
//! ```text
//!  readers ─▶ belt ─▶ thread of drive 0 ─▶ its stream ─┐
//!                 ├─▶ thread of drive 1 ─▶ its stream ─┼─▶ works ─▶ thread of each parity drive
//!                 └─▶ thread of drive 2 ─▶ its stream ─┘
//! ```
//!
//! Where something comes otherwise than planned, as an object that cannot be read or a drive that is full, parity ends
//! there and the data drives go on. What of it is as the drives are stays; the rest is written in a pass of its own.

use super::lane::{self, End, Note, Work};
use super::place::{Set, indexes};
use super::planned::{self, NOWHERE, Planned};
use super::tee::{Tee, Teed};
use super::works::{Giver, Inlet, Outlet, Taker, Works};
use super::{PER_FILE, needed};
use crate::bay::{Bay, Job, Stopped};
use crate::belt::{Belt, Share, Watch};
use crate::plan::Filling;
use crate::run::Run;
use crate::writer::Told;
use crate::{EXTENT, Error, Object, journal};
use model::{Digest, DriveSerial};
use std::sync::mpsc::{Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use store::Store;

/// A data drive of the set.
struct Column {
    /// Its objects by their place in the inventory, ascending; and their bytes.
    order: Vec<u32>,
    bytes: u64,
    /// Its place among the drives that are written now; none of one that is sealed.
    open: Option<usize>,
}

impl Column {
    fn extents(&self) -> u64 {
        self.bytes.div_ceil(EXTENT)
    }
}

/// A parity drive.
struct Row {
    index: u32,
    number: u32,
    /// Parity files that it has already.
    files: u64,
}

/// Parity that is written with the data.
pub(crate) struct Draft {
    plan: Digest,
    count: u32,
    columns: Vec<Column>,
    /// Of each drive given for parity; none where it has nothing to do.
    rows: Vec<Option<Row>>,
    stripes: u64,
}

/// What the drives at hand are to get where an earlier call has begun parity with a plan, and that can still come about.
pub(crate) fn kept_shares(
    run: &Run<'_>,
    open: &[&mut Bay],
    shares: Vec<Share>,
    todo: &[Object],
) -> Option<(Vec<Share>, Vec<Object>)> {
    let (count, _) = run.parity?;
    let objects = &run.job.inventory.objects;
    let planned = Planned::kept(run.state, &run.inventory, objects.len())?;
    let is_same = planned.set == run.job.set && u64::from(planned.parity) == count;
    if !is_same || is_scattered(run) {
        return None;
    }
    let place_of = |serial: &DriveSerial| {
        let place = planned.drives.iter().position(|drive| drive == serial)?;
        u8::try_from(place).ok()
    };
    let planned_for = |object: &Object| {
        let at = objects.binary_search(object).ok()?;
        planned.places.get(at).copied().filter(|place| *place != NOWHERE)
    };
    let has_its = |serial: &DriveSerial, mut has: Box<dyn Iterator<Item = &Object> + '_>| {
        let place = place_of(serial);
        has.all(|object| place.is_some() && planned_for(object) == place)
    };
    let sealed = Set::of(&run.earlier, run.job.set, planned.parity).covered;
    let sealed_as_planned = sealed.iter().all(|manifest| {
        let body = &manifest.body;
        let place = place_of(&body.header.serial);
        let planned = planned.places.iter().filter(|it| Some(**it) == place).count();
        has_its(&body.header.serial, Box::new(body.objects.iter())) && planned == body.objects.len()
    });
    let open_as_planned =
        open.iter().all(|bay| has_its(&bay.spec.serial, Box::new(bay.objects.iter())));
    if !sealed_as_planned || !open_as_planned {
        return None;
    }
    let (mut shares, mut rest) = (shares, Vec::new());
    for object in todo {
        let Some(place) = planned_for(object) else {
            rest.push(*object);
            continue;
        };
        let serial = planned.drives.get(usize::from(place))?;
        let at = open.iter().position(|bay| bay.spec.serial == *serial)?;
        let share = shares.get_mut(at)?;
        share.room.add(object.length);
        share.objects.push(*object);
    }
    Some((shares, rest))
}

/// Whether drives of the set are away that are not sealed: what they hold may come back, and is written last.
fn is_scattered(run: &Run<'_>) -> bool {
    run.absent().any(|held| held.set == run.job.set)
}

impl Draft {
    /// None where parity has to wait until the data drives are sealed. `numbers` are those that the drives written now
    /// get, and behind them those of the parity drives.
    pub(crate) fn plan(
        run: &Run<'_>,
        open: &[&mut Bay],
        (shares, rest): (&[Share], &[Object]),
        numbers: &[u32],
        parity: &[Bay],
    ) -> Result<Option<Self>, Error> {
        let Some(count) = run.parity.and_then(|(count, _)| u32::try_from(count).ok()) else {
            return Ok(None);
        };
        let filled = shares.iter().filter(|share| !share.objects.is_empty()).count();
        // Drives that are filled one after the other have no stripes before the last one.
        let side_by_side = run.filling == Filling::Even || filled <= 1;
        if parity.is_empty() || !side_by_side || is_scattered(run) {
            return Ok(None);
        }
        let (columns, serials) = columns(run, open, shares, numbers);
        let is_final = rest.is_empty() || columns.len() + count as usize >= run.most;
        let stripes = columns.iter().map(Column::extents).max().unwrap_or(0);
        if !is_final || stripes == 0 || columns.iter().all(|column| column.open.is_none()) {
            return Ok(None);
        }
        let sizes = columns.iter().map(|column| (column.bytes, column.order.len() as u64));
        // Until then the drive has the hashes of what its parity is made of, too.
        let hashes = stripes.saturating_mul(32 * columns.len() as u64);
        let needed = needed(sizes, run.job.inventory_bytes.len() as u64).saturating_add(hashes);
        if parity.iter().any(|bay| bay.limit < needed) {
            return Ok(None);
        }
        let planned = planned(run, count, &columns, serials);
        let (plan, digest) = planned.encode(&run.inventory);
        let path = run.state.folder().path();
        planned::keep(run.state.folder(), &plan).map_err(Error::io("writing below", path))?;
        let mut draft = Self { plan: digest, count, columns, rows: Vec::new(), stripes };
        let begun = |bay: &Bay, index| {
            lane::complete_files(bay, &draft.note(index)).is_ok_and(|files| files > 0)
        };
        let bays: Vec<&Bay> = parity.iter().collect();
        let indexes = indexes(&bays, (0..count).collect(), &begun);
        let numbers = numbers.get(open.len()..).unwrap_or_default();
        let mut rows = Vec::new();
        for ((bay, index), number) in parity.iter().zip(indexes).zip(numbers) {
            let row = |index| {
                let files = lane::complete_files(bay, &draft.note(index)).unwrap_or(0);
                Row { index, number: *number, files: files.min(stripes / PER_FILE) }
            };
            rows.push(index.map(row));
        }
        draft.rows = rows;
        Ok(Some(draft))
    }

    fn note(&self, index: u32) -> Note {
        Note::planned((index, self.count), self.columns.len(), &self.plan)
    }

    /// The first stripe that a parity drive lacks.
    fn first(&self) -> u64 {
        let files = self.rows.iter().flatten().map(|row| row.files).min();
        files.unwrap_or(0).saturating_mul(PER_FILE)
    }

    /// Whether the parity drive at that place gets something.
    pub(crate) fn has(&self, at: usize) -> bool {
        self.rows.get(at).is_some_and(Option::is_some)
    }

    /// What it takes to make the stripes.
    pub(crate) fn works(&self) -> Machinery {
        let inlets = self.columns.iter().map(|column| Inlet::new(column.extents()));
        let (givers, inlets): (Vec<_>, Vec<_>) = inlets.unzip();
        let (mut takers, mut outlets) = (Vec::new(), Vec::new());
        for row in &self.rows {
            takers.push(row.as_ref().map(|row| {
                let (taker, outlet) = Outlet::new(row.index as usize, row.files * PER_FILE);
                outlets.push(outlet);
                taker
            }));
        }
        let shape = super::stripe::Shape { data: self.columns.len(), parity: self.count as usize };
        let works = Works::new(shape, inlets, outlets, self.first()..self.stripes);
        Machinery { works, givers, takers }
    }

    /// Starts the threads: of the streams, of the works, of the parity drives. `bays` are the parity drives.
    pub(crate) fn start<'scope, 'env>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        (works, givers, takers): (&'env Works, Vec<Giver>, Vec<Option<Taker>>),
        beside: &Beside<'env>,
        bays: &'env mut [Bay],
    ) -> Started<'scope> {
        let mut tees: Vec<Option<Sender<Teed>>> = (0..beside.drives).map(|_| None).collect();
        for (column, giver) in self.columns.iter().zip(givers) {
            let (sender, teed) = channel();
            let objects = beside.job.inventory.objects.as_slice();
            let tee = Tee::new(
                (objects, column.order.clone()),
                beside.sources.clone(),
                beside.is_stopped,
                (giver, self.first()),
            );
            let (belt, at) = (beside.belt, column.open);
            match at.and_then(|at| tees.get_mut(at)) {
                Some(place) => *place = Some(sender),
                // It is written already.
                None => drop(sender.send(Teed::Done)),
            }
            crate::beneath::spawn(scope, move || {
                let _watch = Watch(belt);
                tee.run(&teed, |buffer| belt.give_back(at.unwrap_or(usize::MAX), buffer));
            });
        }
        for _ in 0..Works::threads() {
            crate::beneath::spawn(scope, || works.run());
        }
        let mut lanes = Vec::new();
        for ((at, bay), (row, taker)) in
            bays.iter_mut().enumerate().zip(self.rows.iter().zip(takers))
        {
            let work = row.as_ref().zip(taker).map(|(row, taker)| {
                let work = Work {
                    at: beside.drives + at,
                    job: beside.job,
                    number: row.number,
                    note: self.note(row.index),
                    files: row.files,
                    stripes: self.stripes,
                    told: beside.told.clone(),
                    is_stopped: beside.is_stopped,
                };
                let belt = beside.belt;
                crate::beneath::spawn(scope, move || {
                    let _watch = Watch(belt);
                    work.run(bay, taker)
                })
            });
            lanes.push(work);
        }
        Started { tees, lanes }
    }
}

/// What the stripes are made with.
pub(crate) struct Machinery {
    pub(crate) works: Works,
    pub(crate) givers: Vec<Giver>,
    pub(crate) takers: Vec<Option<Taker>>,
}

/// What the threads of parity work beside.
pub(crate) struct Beside<'a> {
    pub(crate) job: &'a Job<'a>,
    pub(crate) belt: &'a Belt,
    /// How many drives are written.
    pub(crate) drives: usize,
    pub(crate) sources: Vec<&'a dyn Store>,
    pub(crate) told: Sender<Told>,
    pub(crate) is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// How a drive's thread has ended.
pub(crate) type Ended = Result<End, Stopped>;

/// The threads of parity.
pub(crate) struct Started<'scope> {
    /// For the drives that are written, whoever has a stream.
    pub(crate) tees: Vec<Option<Sender<Teed>>>,
    /// Of the parity drives.
    pub(crate) lanes: Vec<Option<ScopedJoinHandle<'scope, Ended>>>,
}

/// The data drives of the set, in the order of their numbers, with their serial numbers.
fn columns(
    run: &Run<'_>,
    open: &[&mut Bay],
    shares: &[Share],
    numbers: &[u32],
) -> (Vec<Column>, Vec<DriveSerial>) {
    let inventory = &run.job.inventory.objects;
    let column = |objects: &mut dyn Iterator<Item = &Object>, open| {
        let (mut order, mut bytes) = (Vec::new(), 0_u64);
        for object in objects {
            order.extend(journal::places(inventory, [object]));
            bytes = bytes.saturating_add(object.length);
        }
        order.sort_unstable();
        Column { order, bytes, open }
    };
    let mut all = Vec::new();
    for (at, ((bay, share), number)) in open.iter().zip(shares).zip(numbers).enumerate() {
        let mut objects = bay.objects.iter().chain(&share.objects);
        let number = bay.label().map_or(*number, |label| label.drive);
        let column = column(&mut objects, Some(at));
        all.push((number, bay.spec.serial.clone(), column));
    }
    let sealed = Set::of(&run.earlier, run.job.set, 0).covered;
    for manifest in sealed {
        let header = &manifest.body.header;
        let column = column(&mut manifest.body.objects.iter(), None);
        all.push((header.drive, header.serial.clone(), column));
    }
    all.retain(|(_, _, column)| !column.order.is_empty());
    all.sort_by_key(|(number, ..)| *number);
    all.into_iter().map(|(_, serial, column)| (column, serial)).unzip()
}

fn planned(run: &Run<'_>, parity: u32, columns: &[Column], drives: Vec<DriveSerial>) -> Planned {
    let mut places = vec![NOWHERE; run.job.inventory.objects.len()];
    for (column, place) in columns.iter().zip(0..) {
        for at in &column.order {
            let at = usize::try_from(*at).unwrap_or(usize::MAX);
            if let Some(it) = places.get_mut(at) {
                *it = place;
            }
        }
    }
    Planned { set: run.job.set, parity, drives, places }
}
