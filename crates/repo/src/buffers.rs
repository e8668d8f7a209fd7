//! Buffers of packs: as many as may be in memory at once, each used again and again, in large pages.
//!
//! Whoever begins a pack waits here while too many others are full and not yet stored: that is the
//! bound on a writer's memory. Knows nothing of what is in a pack.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What lies at a multiple of this in memory can be written without being copied: [`store::direct::BLOCK`].
const ALIGNMENT: usize = store::direct::BLOCK;

#[derive(Debug)]
pub(crate) struct Buffers {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes each has room for. Untouched room takes no memory.
    room: usize,
}

#[derive(Debug)]
struct State {
    idle: Vec<Vec<u8>>,
    /// How many more may be made.
    left: usize,
    /// Nobody gives any back any more: nobody must wait.
    closed: bool,
}

impl Buffers {
    /// At most `count` buffers of `room` bytes. One that had to grow stays as long as it is.
    pub(crate) fn new(count: usize, room: usize) -> Self {
        let state = State { idle: Vec::new(), left: count, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), room }
    }

    /// A buffer, once there is one. What is in it only makes its next byte lie where it is written from without being copied.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(buffer) = state.idle.pop() {
                return aligned(buffer);
            }
            if state.left > 0 || state.closed {
                state.left = state.left.saturating_sub(1);
                drop(state);
                let mut buffer = Vec::with_capacity(self.room + ALIGNMENT);
                heap::in_large_pages(&mut buffer);
                return aligned(buffer);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.state().idle.push(buffer);
        self.changed.notify_one();
    }

    /// From now on nobody waits.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills an empty buffer up to where its next byte is aligned.
fn aligned(mut buffer: Vec<u8>) -> Vec<u8> {
    let start = buffer.as_ptr().addr();
    buffer.resize(start.next_multiple_of(ALIGNMENT) - start, 0);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_none_waits_until_one_is_given_back() {
        let buffers = Buffers::new(2, 100);
        let (mut first, second) = (buffers.take(), buffers.take());
        first.extend_from_slice(b"abc");
        let place = first.as_ptr();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| buffers.take());
            buffers.give_back(first);
            let again = waiting.join().unwrap();
            assert!(again.len() < ALIGNMENT && again.as_ptr() == place);
        });
        assert!(second.capacity() >= 100);
    }

    #[test]
    fn what_comes_next_can_be_written_without_being_copied() {
        let buffers = Buffers::new(1, 100);
        for _ in 0..2 {
            let mut buffer = buffers.take();
            let start = buffer.len();
            buffer.extend_from_slice(&[7; 100]);
            assert!(buffer[start..].as_ptr().addr().is_multiple_of(ALIGNMENT));
            buffers.give_back(buffer);
        }
    }

    #[test]
    fn nobody_waits_for_one_that_will_not_come() {
        let buffers = Buffers::new(1, 100);
        let _taken = buffers.take();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| buffers.take());
            buffers.close();
            waiting.join().unwrap();
        });
    }
}
