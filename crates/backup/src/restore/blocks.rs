//! Blocks of large files, put together from pieces that come in any order. Those that are whole
//! wait for threads that do nothing but write: nobody who decrypts waits for a medium. Writes nothing.
//!
//! Memory: [`BUFFERS`] blocks in all. Who needs one more waits for one that is being written; if none
//! is, the block that was begun first is written as far as it is there, and the rest of it as it
//! comes.

use super::unfinished::{ALIGN, Numbered, Unfinished};
use super::{batch::Batch, lock};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Written in one go.
pub(super) const BLOCK: usize = 2 << 20;
/// Blocks that may be incomplete, or on their way, at once.
const BUFFERS: usize = 24;
/// Threads that write blocks.
pub(super) const WRITERS: usize = 4;

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

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + BLOCK).unwrap_or_default()
    }

    fn put(&mut self, start: usize, bytes: &[u8]) {
        let start = self.start + start;
        if let Some(room) = self.bytes.get_mut(start..start + bytes.len()) {
            room.copy_from_slice(bytes);
        }
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

    pub(super) fn offset(&self) -> u64 {
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

/// A block that is whole.
pub(super) struct Whole {
    pub(super) of: Numbered,
    /// Where in the file.
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) buffer: Buffer,
}

/// What became of a part.
pub(super) enum Put {
    /// It begins a block, which needs a buffer.
    NeedsRoom,
    /// It is kept until the block is whole.
    Kept,
    /// It made the block whole.
    Whole(Buffer),
    /// The block has no buffer any more: the part is to be written as it is.
    Loose,
}

/// The buffers, and the blocks that have one.
#[derive(Default)]
pub(super) struct Blocks {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    free: Vec<Buffer>,
    /// In use, whether or not in a block.
    taken: usize,
    /// Of these, on their way.
    written: usize,
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
    /// Waits while there is hope for one. Whoever asks has none in hand.
    pub(super) fn room(&self) -> Room {
        let mut state = lock(&self.state);
        loop {
            if state.taken < BUFFERS {
                state.taken += 1;
                return Room::Buffer(state.free.pop().unwrap_or_else(Buffer::new));
            }
            if state.written == 0
                && let Some(oldest) = state.begun.pop_front()
            {
                return Room::After(oldest);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A buffer that was got from here is handed to those who write.
    pub(super) fn on_its_way(&self) {
        lock(&self.state).written += 1;
    }

    /// And is written.
    pub(super) fn arrived(&self, buffer: Buffer) {
        let mut state = lock(&self.state);
        state.written = state.written.saturating_sub(1);
        drop(state);
        self.give_back(buffer);
    }

    pub(super) fn give_back(&self, buffer: Buffer) {
        let mut state = lock(&self.state);
        state.taken = state.taken.saturating_sub(1);
        state.free.push(buffer);
        drop(state);
        self.changed.notify_all();
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

    /// Puts a part into its block. A block that is begun takes the `spare` buffer.
    pub(super) fn put(
        &self,
        of: (&Arc<Batch>, u32, &Unfinished),
        part: &Part<'_>,
        spare: &mut Option<Buffer>,
    ) -> Put {
        let (batch, file, unfinished) = of;
        let mut blocks = lock(&unfinished.blocks);
        let block = match blocks.entry(part.block) {
            Entry::Occupied(begun) => begun.into_mut(),
            Entry::Vacant(place) => {
                let Some(mut buffer) = spare.take() else { return Put::NeedsRoom };
                if part.is_whole() {
                    drop(blocks);
                    buffer.put(part.start, part.bytes);
                    return Put::Whole(buffer);
                }
                lock(&self.state).begun.push_back(((Arc::clone(batch), file), part.block));
                self.changed.notify_all();
                let (missing, buffer) = (part.length, Some(buffer));
                place.insert(Block { missing, buffer, there: Vec::new() })
            }
        };
        block.missing = block.missing.saturating_sub(part.bytes.len());
        let whole = block.missing == 0;
        if let Some(buffer) = &mut block.buffer {
            buffer.put(part.start, part.bytes);
            block.there.push(part.start..part.start + part.bytes.len());
            if !whole {
                return Put::Kept;
            }
        }
        let buffer = if whole { blocks.remove(&part.block).and_then(|b| b.buffer) } else { None };
        drop(blocks);
        let Some(buffer) = buffer else { return Put::Loose };
        self.forget(batch, file, part.block);
        Put::Whole(buffer)
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
