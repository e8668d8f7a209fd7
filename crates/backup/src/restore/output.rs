//! Plain bytes into files: small files in one go, others piece by piece; a file gets its attributes
//! and its name once it is whole. Knows nothing of packs.

use super::batch::{Batch, FileToDo, Piece};
use super::blocks::{BLOCK, Blocks, Buffer, Evicted, Part, Put, Room, Whole, parts};
use super::dirs::Handles;
use super::place::Place;
use super::unfinished::{HOLE, OpenFiles, Writable, is_zero, release};
use super::{Action, Broken, Run};
use crate::error::{Fault, full};
use crossbeam_channel::{Receiver, Sender};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What waits in the page cache is sent to the medium after so many bytes, while others work.
const SYNC_EVERY: u64 = 128 << 20;

/// What all threads share.
pub(super) struct Output<'a> {
    run: &'a Run<'a>,
    open: OpenFiles,
    blocks: Blocks,
    /// Bytes of small files that went into the page cache.
    cached: AtomicU64,
}

/// What each thread that has bytes to write has of its own.
pub(super) struct Hand {
    handles: Handles,
    /// Wakes the thread that syncs.
    wake: Sender<()>,
    /// To the threads that write blocks.
    whole: Sender<Whole>,
}

impl Hand {
    pub(super) fn new(wake: &Sender<()>, whole: &Sender<Whole>) -> Self {
        Self { handles: Handles::default(), wake: wake.clone(), whole: whole.clone() }
    }
}

impl<'a> Output<'a> {
    pub(super) fn new(run: &'a Run<'a>) -> Self {
        Self {
            run,
            open: OpenFiles::default(),
            blocks: Blocks::default(),
            cached: AtomicU64::new(0),
        }
    }

    /// Writes a blob to one of its places; the file may be whole then.
    pub(super) fn put(&self, hand: &mut Hand, batch: &Arc<Batch>, piece: &Piece, plain: &[u8]) {
        let Some(file) = batch.file(piece) else { return };
        let bytes = (plain.len() as u64).saturating_mul(piece.times.into());
        if file.is_one(plain.len() as u64) && !self.run.goes_direct(file.size) {
            let done = self.whole(hand, batch.number(piece.file), file, plain);
            self.run.wrote(bytes);
            return self.settle(file, done);
        }
        let done = if file.broken.get().is_some() {
            Ok(())
        } else {
            self.pieces(hand, batch, piece, file, plain)
        };
        self.run.wrote(bytes);
        self.piece_done(&mut hand.handles, batch, piece.file, done);
    }

    /// A file of no bytes.
    pub(super) fn put_empty(&self, hand: &mut Hand, number: u64, file: &FileToDo) {
        let done = self.whole(hand, number, file, &[]);
        self.settle(file, done);
    }

    /// A file that will not be there.
    pub(super) fn give_up(&self, hand: &mut Hand, batch: &Arc<Batch>, file: u32, why: Broken) {
        if let Some(file) = batch.files.get(file as usize) {
            let _ = file.broken.set(Box::new(why));
        }
        self.piece_done(&mut hand.handles, batch, file, Ok(()));
    }

    /// Removes what is not whole and has a name for the time being.
    pub(super) fn discard_all(&self) {
        self.open.discard_all(self.run);
    }

    /// Writes blocks until no more come.
    pub(super) fn write_blocks(&self, whole: &Receiver<Whole>) {
        let mut handles = Handles::default();
        while let Ok(block) = whole.recv() {
            let done = self.write_block(&mut handles, &block);
            self.blocks.arrived(block.buffer);
            let (batch, number) = block.of;
            self.piece_done(&mut handles, &batch, number, done);
        }
    }

    fn write_block(&self, handles: &mut Handles, block: &Whole) -> io::Result<()> {
        if let Err(error) = self.run.stopped() {
            // Nobody else may notice: this may be all that was left to do.
            self.run.fail(error);
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (batch, number) = &block.of;
        let to = self.open.get(self.run, handles, batch, *number)?;
        let bytes = block.buffer.bytes().get(..block.length).unwrap_or_default();
        to.write_block(block.offset, bytes)
    }

    /// A small file of which all is at hand.
    fn whole(&self, hand: &mut Hand, number: u64, file: &FileToDo, plain: &[u8]) -> io::Result<()> {
        let place = self.run.place()?;
        let folder = hand.handles.of(self.run, &file.dir)?;
        if file.dir.hidden_number().is_some() {
            let name = OsStr::from_bytes(&file.name);
            let to =
                Writable::cached(Place::begin_named(folder, name, file.attributes.first_mode())?);
            let done = write_whole(&to, plain);
            match &done {
                Ok(()) => self.told(file, file.attributes.set_on_file(&to.file, self.run.giving())),
                Err(_) => Place::discard_named(folder, name),
            }
            self.note_cached(hand, file.size);
            return done;
        }
        let (made, named) = place.begin(folder, number, file.attributes.first_mode())?;
        let to = Writable::cached(made);
        let done =
            write_whole(&to, plain).and_then(|()| self.publish(folder, number, file, &to, named));
        if done.is_err() && named {
            place.discard(folder, number);
        }
        self.note_cached(hand, file.size);
        done
    }

    /// Wakes the thread that syncs when there is something to do for it.
    fn note_cached(&self, hand: &Hand, bytes: u64) {
        let before = self.cached.fetch_add(bytes, Ordering::Relaxed);
        if before / SYNC_EVERY != (before + bytes) / SYNC_EVERY {
            // It may be at it: then it does this, too, or the end does.
            let _ = hand.wake.try_send(());
        }
    }

    /// One piece of a larger file, as often as it is there.
    fn pieces(
        &self,
        hand: &mut Hand,
        batch: &Arc<Batch>,
        piece: &Piece,
        file: &FileToDo,
        plain: &[u8],
    ) -> io::Result<()> {
        let to = self.open.get(self.run, &mut hand.handles, batch, piece.file)?;
        let into = Into { batch, number: piece.file, file, to: &to };
        if plain.is_empty() {
            return Ok(());
        }
        let mut offset = piece.offset;
        if piece.times > 1 && is_zero(plain) {
            let length = (plain.len() as u64).saturating_mul(piece.times.into());
            return self.zeros(hand, &into, offset, length, plain);
        }
        for _ in 0..piece.times {
            self.run.stopped().map_err(io::Error::other)?;
            self.range(hand, &into, offset, plain)?;
            offset += plain.len() as u64;
        }
        Ok(())
    }

    /// Many zeros: only blocks that other pieces share are touched.
    fn zeros(
        &self,
        hand: &mut Hand,
        into: &Into<'_>,
        offset: u64,
        length: u64,
        some: &[u8],
    ) -> io::Result<()> {
        if !into.to.is_direct() {
            return Ok(());
        }
        let (block, end) = (BLOCK as u64, offset.saturating_add(length));
        let first = offset.next_multiple_of(block).min(end);
        let last = if end == into.file.size { end } else { (end - end % block).max(first) };
        for (mut at, end) in [(offset, first), (last, end)] {
            while at < end {
                let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(some.len());
                self.range(hand, into, at, some.get(..count).unwrap_or_default())?;
                at += count as u64;
            }
        }
        Ok(())
    }

    fn range(&self, hand: &mut Hand, into: &Into<'_>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !into.to.is_direct() {
            return into.to.write(offset, bytes);
        }
        parts(into.file.size, offset, bytes).try_for_each(|part| self.part(hand, into, &part))
    }

    /// Part of a block, or all of it.
    fn part(&self, hand: &mut Hand, into: &Into<'_>, part: &Part<'_>) -> io::Result<()> {
        let Some(unfinished) = into.file.unfinished.get() else { return Ok(()) };
        if part.is_whole() && is_zero(part.bytes) {
            return Ok(());
        }
        let of = (into.batch, into.number, &**unfinished);
        let mut spare = None;
        let put = loop {
            match self.blocks.put(of, part, &mut spare) {
                Put::NeedsRoom => spare = Some(self.buffer(hand)),
                other => break other,
            }
        };
        if let Some(spare) = spare {
            self.blocks.give_back(spare);
        }
        match put {
            Put::Loose => into.to.write(part.offset(), part.bytes),
            Put::Whole(buffer) => self.send(hand, into, part, buffer),
            Put::Kept | Put::NeedsRoom => Ok(()),
        }
    }

    /// Hands a block to those who write.
    fn send(
        &self,
        hand: &Hand,
        into: &Into<'_>,
        part: &Part<'_>,
        buffer: Buffer,
    ) -> io::Result<()> {
        // It is one piece more to be done before the file is finished.
        into.file.left.fetch_add(1, Ordering::AcqRel);
        self.blocks.on_its_way();
        let of = (Arc::clone(into.batch), into.number);
        let block = Whole { of, offset: part.block_offset(), length: part.length, buffer };
        // Fails only when those who write are gone, and they outlive this.
        hand.whole.send(block).map_err(io::Error::other)
    }

    /// A buffer for a block, if need be that of another.
    fn buffer(&self, hand: &mut Hand) -> Buffer {
        loop {
            let ((batch, number), block) = match self.blocks.room() {
                Room::Buffer(buffer) => return buffer,
                Room::After(block) => block,
            };
            let Some(file) = batch.files.get(number as usize) else { continue };
            let Some(unfinished) = file.unfinished.get() else { continue };
            // One piece more is not written: so the file is not finished meanwhile.
            let hold = || {
                file.left.fetch_add(1, Ordering::AcqRel);
            };
            if let Some(evicted) = Blocks::take_from(unfinished, block, hold) {
                return self.write_evicted(hand, &batch, number, block, evicted);
            }
        }
    }

    fn write_evicted(
        &self,
        hand: &mut Hand,
        batch: &Arc<Batch>,
        number: u32,
        block: u64,
        evicted: Evicted,
    ) -> Buffer {
        let offset = block * BLOCK as u64;
        let bytes = evicted.buffer.bytes();
        let opened = self.open.get(self.run, &mut hand.handles, batch, number);
        let done = opened.and_then(|to| {
            evicted.there.iter().try_for_each(|there| {
                let bytes = bytes.get(there.clone()).unwrap_or_default();
                to.write(offset + there.start as u64, bytes)
            })
        });
        self.piece_done(&mut hand.handles, batch, number, done);
        evicted.buffer
    }

    /// One piece less to do: after the last one the file is finished.
    fn piece_done(
        &self,
        handles: &mut Handles,
        batch: &Arc<Batch>,
        number: u32,
        done: io::Result<()>,
    ) {
        let Some(file) = batch.files.get(number as usize) else { return };
        if let Err(cause) = done {
            self.unwritable(file, cause);
        }
        if file.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let done = self.finish(handles, batch, number, file);
        self.settle(file, done);
    }

    fn unwritable(&self, file: &FileToDo, cause: io::Error) {
        let _ = file.broken.set(Box::new(Broken::Unwritable(cause.to_string())));
        if full(&cause) {
            self.run.fail_writing(&file.path(), cause);
        }
    }

    fn finish(
        &self,
        handles: &mut Handles,
        batch: &Arc<Batch>,
        number: u32,
        file: &FileToDo,
    ) -> io::Result<()> {
        let name = batch.number(number);
        let to = match file.broken.get() {
            None => Some(self.open.get(self.run, handles, batch, number)),
            Some(_) => None,
        };
        if let Some(unfinished) = file.unfinished.get() {
            self.blocks.abandon(batch, number, unfinished);
        }
        let named = self.open.close(batch, number, file);
        let folder = handles.of(self.run, &file.dir)?;
        let done = match to {
            Some(to) => to.and_then(|to| self.publish(folder, name, file, &to, named)),
            None => Ok(()),
        };
        if named && (done.is_err() || file.broken.get().is_some()) {
            self.run.place()?.discard(folder, name);
        }
        done
    }

    /// Gives a file that is whole its attributes, and then its name.
    fn publish(
        &self,
        folder: &OwnedFd,
        number: u64,
        file: &FileToDo,
        to: &Writable,
        named: bool,
    ) -> io::Result<()> {
        let place = self.run.place()?;
        if !file.dense.is_empty() && place.reserves {
            // Blocks too many are no reason to go without the file.
            let _ = release(&to.file, file.size);
        }
        let set = file.attributes.set_on_file(&to.file, self.run.giving());
        let unnamed = (!named).then_some(&to.file);
        let replace = file.action == Action::Replace;
        place.finish(folder, number, unnamed, OsStr::from_bytes(&file.name), replace)?;
        self.told(file, set);
        Ok(())
    }

    fn told(&self, file: &FileToDo, set: Result<(), Errno>) {
        if let Err(errno) = set {
            self.run.problem(&file.path(), Fault::AttributesUnset(errno.into()));
        }
    }

    /// It is there, or will not be.
    fn settle(&self, file: &FileToDo, done: io::Result<()>) {
        if let Err(cause) = done {
            self.unwritable(file, cause);
        }
        let broken = file.broken.get();
        match broken {
            None => {
                super::count(&self.run.tally.files);
                self.run.tally.item(file.action);
            }
            // What is not finished because everything ends is no news.
            Some(_) if self.run.stopped().is_err() => {}
            Some(why) => self.run.problem(&file.path(), why.fault()),
        }
        if let Some(outcome) = &file.outcome {
            let _ = outcome.set(broken.map(|why| Broken::clone(why)));
        }
        (self.run.options.events)(super::RestoreEvent::File);
        file.dir.release(self.run);
    }
}

/// All bytes of a file that has none yet.
fn write_whole(to: &Writable, plain: &[u8]) -> io::Result<()> {
    let last = plain.chunks(HOLE).next_back().unwrap_or_default();
    if !last.is_empty() && is_zero(last) {
        rustix::fs::ftruncate(&to.file, plain.len() as u64)?;
    }
    to.write(0, plain)
}

/// A file and where its bytes go.
struct Into<'a> {
    batch: &'a Arc<Batch>,
    number: u32,
    file: &'a FileToDo,
    to: &'a Writable,
}
