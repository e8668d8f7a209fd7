//! Buffers of packs: as many as may be in memory at once, each used again and again.
//!
//! Whoever begins a pack waits here while too many others are full and not yet stored: that is the
//! bound on a writer's memory. Knows nothing of what is in a pack.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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

    /// An empty buffer, once there is one.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(buffer) = state.idle.pop() {
                return buffer;
            }
            if state.left > 0 || state.closed {
                state.left = state.left.saturating_sub(1);
                return Vec::with_capacity(self.room);
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
            assert!(again.is_empty() && again.as_ptr() == place);
        });
        assert!(second.capacity() >= 100);
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
