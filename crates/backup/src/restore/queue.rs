//! Blocks that are whole and wait to be written. Neighbours that wait at the same time go together:
//! a file system lets one write at a time add blocks to a file, so the longer each is, the better.
//! Writes nothing.

use super::blocks::Buffer;
use super::lock;
use super::unfinished::Numbered;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Blocks written at once.
const TOGETHER: usize = 8;

/// A block that is whole.
pub(super) struct Whole {
    pub(super) of: Numbered,
    /// Where in the file.
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) buffer: Buffer,
}

impl Whole {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.bytes().get(..self.length).unwrap_or_default()
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        is_same(&self.of, &next.of) && self.offset + self.length as u64 == next.offset
    }
}

/// What all who write take from.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Whole>,
    /// What somebody is writing to: whoever came next would only wait, and what waits here grows longer.
    busy: Vec<Numbered>,
    is_closed: bool,
}

impl Queue {
    pub(super) fn push(&self, whole: Whole) {
        lock(&self.state).waiting.push_back(whole);
        self.changed.notify_one();
    }

    /// No more come.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_all();
    }

    /// Has a block written, and those that follow it in its file, again and again, until no more come.
    pub(super) fn work(&self, mut write: impl FnMut(Vec<Whole>)) {
        let mut state = lock(&self.state);
        loop {
            let run = state.next();
            let Some(of) = run.first().map(|first| first.of.clone()) else {
                if state.is_closed && state.waiting.is_empty() {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.busy.push(of.clone());
            drop(state);
            write(run);
            state = lock(&self.state);
            state.busy.retain(|busy| !is_same(busy, &of));
            // Others may have left out what was busy.
            self.changed.notify_all();
        }
    }
}

impl State {
    /// The block that waits longest of those nobody is in the way of, and what follows it.
    fn next(&mut self) -> Vec<Whole> {
        let Self { waiting, busy, .. } = self;
        let is_free = |next: &Whole| !busy.iter().any(|busy| is_same(busy, &next.of));
        let first = waiting.iter().position(is_free).and_then(|at| waiting.remove(at));
        let mut run: Vec<Whole> = first.into_iter().collect();
        while let Some(last) = run.last().filter(|_| run.len() < TOGETHER) {
            let Some(at) = waiting.iter().position(|next| last.is_followed_by(next)) else { break };
            run.extend(waiting.remove(at));
        }
        run
    }
}

fn is_same((batch, file): &Numbered, (other, at): &Numbered) -> bool {
    Arc::ptr_eq(batch, other) && file == at
}

#[cfg(test)]
mod tests {
    use super::super::batch::Batch;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_block_is_written_once_by_one_writer_a_file_in_runs_of_neighbours(
            order in Just((0..60u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let (batch, queue) = (Arc::new(Batch::new()), Queue::default());
            let busy = Mutex::new(HashMap::new());
            let written = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| queue.work(|run| {
                        let file = run[0].of.1;
                        assert_eq!(lock(&busy).insert(file, ()), None, "two write one file");
                        assert!(run.len() <= TOGETHER);
                        assert!(run.windows(2).all(|two| two[0].is_followed_by(&two[1])));
                        std::thread::yield_now();
                        lock(&written).extend(run.iter().map(|block| (file, block.offset)));
                        lock(&busy).remove(&file);
                    }));
                }
                for number in &order {
                    let (file, offset) = ((number % 3) as u32, number / 3 * 10);
                    let of = (Arc::clone(&batch), file);
                    queue.push(Whole { of, offset, length: 10, buffer: Buffer::new() });
                }
                queue.close();
            });
            let mut written = written.into_inner().unwrap();
            written.sort_unstable();
            let all: Vec<_> = (0..3).flat_map(|file| (0..20).map(move |at| (file, at * 10))).collect();
            prop_assert_eq!(written, all);
        }
    }
}
