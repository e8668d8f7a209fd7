//! Files that are not whole yet: what of them is open, and how bytes get into them. Knows nothing of
//! repositories.
//!
//! Large files are written past the page cache, whose pages cost more than the copying: whole
//! blocks, from memory that is aligned. What cannot be written so goes the ordinary way.

use super::Run;
use super::batch::{Batch, FileToDo};
use super::dirs::Handles;
use super::place::fd_path;
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::blocks::Block;
use super::lock;

/// Files in several pieces that are open at once, each with two handles: half of what a process
/// usually may have.
const OPEN: usize = 256;
/// What direct writes must be multiples of: no medium has larger blocks.
pub(super) const ALIGN: usize = 4096;
/// A hole is left where this many bytes are all zero.
pub(super) const HOLE: usize = 64 << 10;

/// A file that is not written in one go.
#[derive(Default)]
pub(super) struct Unfinished {
    open: Mutex<Option<Arc<Writable>>>,
    /// It has a name for the time being.
    named: AtomicBool,
    /// Where not all bytes of a block are there yet.
    pub(super) blocks: Mutex<HashMap<u64, Block>>,
}

/// An open file.
pub(super) struct Writable {
    pub(super) file: File,
    /// The same, for writing past the page cache.
    direct: Option<File>,
}

impl Writable {
    /// A file that goes through the page cache.
    pub(super) fn cached(file: File) -> Self {
        Self { file, direct: None }
    }

    /// A file that is to have `size`.
    fn new(run: &Run<'_>, file: File, size: u64) -> Self {
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let open = || rustix::fs::open(fd_path(&file), flags, Mode::empty());
        let direct = run.goes_direct(size).then(open);
        if let Some(Err(Errno::INVAL)) = direct {
            run.direct.store(false, Ordering::Relaxed);
        }
        Self { file, direct: direct.and_then(Result::ok).map(File::from) }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Writes what is not zero, through the page cache: the file is one hole to begin with.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        islands(bytes).try_for_each(|island| {
            let offset = offset + island.start as u64;
            self.file.write_all_at(bytes.get(island).unwrap_or_default(), offset)
        })
    }

    /// As [`write`](Self::write), past the page cache where that works. Both the offset and the place of
    /// the bytes in memory are multiples of [`ALIGN`].
    pub(super) fn write_block(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(direct) = &self.direct else { return self.write(offset, bytes) };
        islands(bytes).try_for_each(|island| {
            let offset = offset + island.start as u64;
            let bytes = bytes.get(island).unwrap_or_default();
            let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % ALIGN);
            match direct.write_all_at(whole, offset) {
                // A file system that allows it to be opened so, and then has other conditions.
                Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => {
                    self.file.write_all_at(whole, offset)?;
                }
                other => other?,
            }
            self.file.write_all_at(rest, offset + whole.len() as u64)
        })
    }
}

/// The parts of `bytes` that are not zero. All but the last end at a multiple of [`HOLE`], and each
/// begins at one.
fn islands(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let mut chunks = rest.chunks(HOLE);
        let zeros: usize =
            chunks.by_ref().take_while(|chunk| is_zero(chunk)).map(<[u8]>::len).sum();
        let start = at + zeros;
        let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let length: usize =
            rest.chunks(HOLE).take_while(|chunk| !is_zero(chunk)).map(<[u8]>::len).sum();
        at = start + length;
        Some(start..at)
    })
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// Gives a file its blocks, as far as there are any. Failing costs speed: who writes will see why.
fn reserve(file: &File, dense: &[Range<u64>]) {
    let _ = dense.iter().try_for_each(|range| {
        rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, range.start, range.end - range.start)
    });
}

/// Makes holes of what was reserved and is not written.
pub(super) fn release(file: &File, size: u64) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        // What is reserved and not written counts as a hole, and so does the end.
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at))?.min(size);
        let data = match rustix::fs::seek(file, SeekFrom::Data(hole)) {
            Err(Errno::NXIO) => size,
            data => data?.min(size),
        };
        if data > hole {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(file, flags, hole, data - hole)?;
        }
        at = data;
    }
    Ok(())
}

/// A file of a batch.
pub(super) type Numbered = (Arc<Batch>, u32);

/// All files that are open, or have a name for the time being.
#[derive(Default)]
pub(super) struct OpenFiles {
    /// The one opened first in front.
    open: Mutex<VecDeque<Numbered>>,
    named: Mutex<HashMap<u64, Numbered>>,
}

impl OpenFiles {
    /// The file, opened or made when it is not open.
    pub(super) fn get(
        &self,
        run: &Run<'_>,
        handles: &mut Handles,
        batch: &Arc<Batch>,
        number: u32,
    ) -> io::Result<Arc<Writable>> {
        let file = batch.files.get(number as usize).ok_or(io::ErrorKind::NotFound)?;
        let unfinished = file.unfinished.get_or_init(Box::default);
        if let Some(open) = &*lock(&unfinished.open) {
            return Ok(Arc::clone(open));
        }
        self.make_room(run, handles);
        let mut open = lock(&unfinished.open);
        if let Some(open) = &*open {
            return Ok(Arc::clone(open));
        }
        let name = batch.number(number);
        let folder = handles.of(run, &file.dir)?;
        let opened = if unfinished.named.load(Ordering::Acquire) {
            run.place()?.reopen(folder, name)?
        } else {
            let (made, named) = run.place()?.begin(folder, name, Mode::RUSR | Mode::WUSR)?;
            if named {
                self.note_named(unfinished, batch, number);
            }
            rustix::fs::ftruncate(&made, file.size)?;
            if run.place()?.reserves && run.goes_direct(file.size) {
                reserve(&made, &file.dense);
            }
            made
        };
        let opened = Arc::new(Writable::new(run, opened, file.size));
        *open = Some(Arc::clone(&opened));
        lock(&self.open).push_back((Arc::clone(batch), number));
        Ok(opened)
    }

    /// Closes the file that was opened first, if there are too many.
    fn make_room(&self, run: &Run<'_>, handles: &mut Handles) {
        let oldest = {
            let mut open = lock(&self.open);
            if open.len() < OPEN { None } else { open.pop_front() }
        };
        let Some((batch, number)) = oldest else { return };
        let Some(file) = batch.files.get(number as usize) else { return };
        let Some(unfinished) = file.unfinished.get() else { return };
        let mut open = lock(&unfinished.open);
        let Some(closing) = &*open else { return };
        if !unfinished.named.load(Ordering::Acquire) {
            let parked = handles
                .of(run, &file.dir)
                .and_then(|folder| run.place()?.park(folder, batch.number(number), &closing.file));
            if parked.is_err() {
                // It stays open: one too many.
                return lock(&self.open).push_back((Arc::clone(&batch), number));
            }
            self.note_named(unfinished, &batch, number);
        }
        *open = None;
    }

    fn note_named(&self, unfinished: &Unfinished, batch: &Arc<Batch>, number: u32) {
        unfinished.named.store(true, Ordering::Release);
        lock(&self.named).insert(batch.number(number), (Arc::clone(batch), number));
    }

    /// Takes a file out that is whole, or will not be. Answers whether it has a name for the time being.
    pub(super) fn close(&self, batch: &Arc<Batch>, number: u32, file: &FileToDo) -> bool {
        let Some(unfinished) = file.unfinished.get() else { return false };
        let same = |(other, at): &Numbered| Arc::ptr_eq(other, batch) && *at == number;
        lock(&self.open).retain(|open| !same(open));
        *lock(&unfinished.open) = None;
        lock(&unfinished.blocks).clear();
        lock(&self.named).remove(&batch.number(number)).is_some()
    }

    /// Removes everything that has a name for the time being.
    pub(super) fn discard_all(&self, run: &Run<'_>) {
        let mut handles = Handles::default();
        for (name, (batch, number)) in lock(&self.named).drain() {
            let Some(file) = batch.files.get(number as usize) else { continue };
            if let (Ok(folder), Ok(place)) = (handles.of(run, &file.dir), run.place()) {
                place.discard(folder, name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn islands_hold_every_byte_that_is_not_zero_and_no_large_hole(
            marks in prop::collection::vec(0usize..400_000, 0..6),
            length in 0usize..400_000,
        ) {
            let mut bytes = vec![0; length];
            marks.iter().filter(|at| **at < length).for_each(|at| bytes[*at] = 1);
            let mut rest = bytes.clone();
            for island in islands(&bytes) {
                prop_assert!(island.start % HOLE == 0);
                prop_assert!(island.end % HOLE == 0 || island.end == length);
                prop_assert!(bytes[island.clone()].chunks(HOLE).all(|chunk| !is_zero(chunk)));
                rest[island].fill(0);
            }
            prop_assert!(is_zero(&rest));
        }
    }
}
