//! Blocks of large files, put together from pieces that come in any order, and written when they
//! are whole. Knows nothing of repositories.
//!
//! Memory: [`BUFFERS`] blocks in all, and one for each thread. When that is not enough, the block
//! that was begun first is written as far as it is there, and the rest of it as it comes.

use super::unfinished::{ALIGN, Numbered, Unfinished, Writable};
use super::{batch::Batch, lock};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Written in one go.
pub(super) const BLOCK: usize = 2 << 20;
/// Blocks that may be incomplete at once.
const BUFFERS: usize = 24;

/// Room for one block, aligned for direct writes.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let bytes = vec![0; BLOCK + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { bytes, start }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + BLOCK).unwrap_or_default()
    }

    /// A copy of `bytes`, which are at most [`BLOCK`], where direct writes can have it.
    pub(super) fn aligned(&mut self, bytes: &[u8]) -> &[u8] {
        let room = self.bytes().get_mut(..bytes.len()).unwrap_or_default();
        room.copy_from_slice(bytes);
        room
    }
}

/// A block of which something is there.
pub(super) struct Block {
    missing: usize,
    /// None once what was there had to be written.
    buffer: Option<Buffer>,
    there: Vec<Range<usize>>,
}

/// Part of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// Which block of the file.
    pub(super) block: u64,
    /// How long the block is: the file's last one may be shorter.
    pub(super) length: usize,
    /// Where in it.
    pub(super) start: usize,
    pub(super) bytes: &'a [u8],
}

impl Part<'_> {
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() == self.length
    }

    /// Where the block is in the file.
    pub(super) fn block_offset(&self) -> u64 {
        self.block * BLOCK as u64
    }

    fn offset(&self) -> u64 {
        self.block_offset() + self.start as u64
    }
}

/// `bytes` at `offset` of a file of that size, block by block.
pub(super) fn parts(size: u64, offset: u64, bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let (mut at, mut rest) = (offset, bytes);
    std::iter::from_fn(move || {
        let block = at / BLOCK as u64;
        let begin = block * BLOCK as u64;
        // Both below the length of a block.
        let start = usize::try_from(at - begin).ok()?;
        let length = usize::try_from(size.saturating_sub(begin).min(BLOCK as u64)).ok()?;
        let count = rest.len().min(length.saturating_sub(start));
        let (bytes, after) = rest.split_at_checked(count).filter(|(bytes, _)| !bytes.is_empty())?;
        (at, rest) = (at + count as u64, after);
        Some(Part { block, length, start, bytes })
    })
}

/// Which block of which file.
type BlockOf = (Numbered, u64);

/// The buffers, and the blocks that have one.
#[derive(Default)]
pub(super) struct Blocks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<Buffer>,
    /// In use, whether or not in a block.
    taken: usize,
    /// The block begun first in front.
    begun: VecDeque<BlockOf>,
}

/// What a thread that needs a buffer gets.
pub(super) enum Room {
    /// One.
    Buffer(Buffer),
    /// None, unless what is there of this block is written first: see [`Blocks::take_from`].
    After(BlockOf),
}

/// What was in a block that had to give up its buffer.
pub(super) struct Evicted {
    pub(super) buffer: Buffer,
    pub(super) there: Vec<Range<usize>>,
}

impl Blocks {
    pub(super) fn room(&self) -> Room {
        let mut state = lock(&self.state);
        if state.taken >= BUFFERS
            && let Some(oldest) = state.begun.pop_front()
        {
            return Room::After(oldest);
        }
        state.taken += 1;
        Room::Buffer(state.free.pop().unwrap_or_else(Buffer::new))
    }

    pub(super) fn give_back(&self, buffer: Buffer) {
        let mut state = lock(&self.state);
        state.taken = state.taken.saturating_sub(1);
        if state.free.len() < BUFFERS {
            state.free.push(buffer);
        }
    }

    /// Takes the buffer of an incomplete block away, if it has one. `meanwhile` is called while the
    /// block certainly is incomplete, and so is its file.
    pub(super) fn take_from(
        unfinished: &Unfinished,
        block: u64,
        meanwhile: impl FnOnce(),
    ) -> Option<Evicted> {
        let mut blocks = lock(&unfinished.blocks);
        let block = blocks.get_mut(&block)?;
        let buffer = block.buffer.take()?;
        meanwhile();
        Some(Evicted { buffer, there: std::mem::take(&mut block.there) })
    }

    /// Puts a part into its block, and writes the block if it is whole then. A block that is begun
    /// takes the `spare` buffer; without one the answer is that one is needed.
    pub(super) fn put(
        &self,
        of: (&Arc<Batch>, u32, &Unfinished),
        to: &Writable,
        part: &Part<'_>,
        spare: &mut Option<Buffer>,
    ) -> io::Result<bool> {
        let (batch, file, unfinished) = of;
        let mut blocks = lock(&unfinished.blocks);
        let block = match blocks.entry(part.block) {
            Entry::Occupied(begun) => begun.into_mut(),
            Entry::Vacant(place) => {
                let Some(buffer) = spare.take() else { return Ok(false) };
                lock(&self.state).begun.push_back(((Arc::clone(batch), file), part.block));
                let (missing, buffer) = (part.length, Some(buffer));
                place.insert(Block { missing, buffer, there: Vec::new() })
            }
        };
        block.missing = block.missing.saturating_sub(part.bytes.len());
        let whole = block.missing == 0;
        let end = part.start + part.bytes.len();
        if let Some(buffer) = &mut block.buffer {
            if let Some(room) = buffer.bytes().get_mut(part.start..end) {
                room.copy_from_slice(part.bytes);
            }
            block.there.push(part.start..end);
            if !whole {
                return Ok(true);
            }
        }
        let buffer = if whole { blocks.remove(&part.block).and_then(|b| b.buffer) } else { None };
        drop(blocks);
        let Some(mut buffer) = buffer else {
            return to.write(part.offset(), part.bytes).map(|()| true);
        };
        self.forget(batch, file, part.block);
        let bytes = buffer.bytes().get(..part.length).unwrap_or_default();
        let written = to.write_block(part.block_offset(), bytes);
        self.give_back(buffer);
        written.map(|()| true)
    }

    fn forget(&self, batch: &Arc<Batch>, file: u32, block: u64) {
        lock(&self.state).begun.retain(|((of, number), other)| {
            !(Arc::ptr_eq(of, batch) && *number == file && *other == block)
        });
    }

    /// Takes back the buffers of a file that will not be whole.
    pub(super) fn abandon(&self, batch: &Arc<Batch>, file: u32, unfinished: &Unfinished) {
        let blocks = std::mem::take(&mut *lock(&unfinished.blocks));
        for (number, block) in blocks {
            self.forget(batch, file, number);
            if let Some(buffer) = block.buffer {
                self.give_back(buffer);
            }
        }
    }
}
