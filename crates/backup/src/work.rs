//! What is left to do in a backup, and who does it: one pool of workers for everything.
//!
//! A worker takes a piece of a file before a file, and a file before a directory: what is begun is
//! finished before more is begun, which bounds memory. Nobody ever waits for room: whoever finds a
//! queue full does the work itself. So a large file's pieces go to whoever has nothing to do, and
//! small files stay with one worker from opening to storing. A worker may keep something back, to do
//! it with what comes next; before it sleeps it is told to finish that. Knows nothing of what the work is.

use crate::files::{ChunkJob, FileJob};
use crate::walk::Pending;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many files may be known and not begun.
const FILES_AHEAD: usize = 256;

/// Memory of pieces that may wait for each worker: a piece and a half, on average.
const AHEAD: usize = 3 << 20;

/// Something to do.
pub(crate) enum Task {
    Chunk(ChunkJob),
    File(FileJob),
    Directory(Pending),
}

/// Shared by all workers of one backup.
pub(crate) struct Work {
    state: Mutex<State>,
    changed: Condvar,
    /// Memory of pieces that may wait: enough that nobody who is faster than the reader runs dry.
    bytes_ahead: usize,
}

struct State {
    chunks: VecDeque<ChunkJob>,
    files: VecDeque<FileJob>,
    /// The newest first: depth before breadth.
    directories: Vec<Pending>,
    /// Workers that may still add something.
    busy: usize,
    /// Workers that sleep.
    idle: usize,
}

/// While it lives, its worker may add work. Ends with the task, however that ends.
struct Turn<'a>(&'a Work);

impl Work {
    /// With a directory to begin with.
    pub(crate) fn new(root: Pending, workers: usize) -> Self {
        let state = State {
            chunks: VecDeque::new(),
            files: VecDeque::new(),
            directories: vec![root],
            busy: 0,
            idle: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), bytes_ahead: workers * AHEAD }
    }

    /// Does tasks until there are none, and nobody is left who could add one. What `act` keeps back is
    /// finished by `finish`, which adds no work.
    pub(crate) fn take_part(&self, mut act: impl FnMut(Task), mut finish: impl FnMut()) {
        loop {
            let ready = self.ready();
            let next = ready.or_else(|| {
                finish();
                self.next()
            });
            let Some((task, turn)) = next else { return };
            act(task);
            drop(turn);
        }
    }

    pub(crate) fn add_directory(&self, directory: Pending) {
        let mut state = self.state();
        state.directories.push(directory);
        self.wake(&state);
    }

    /// Leaves a file to others; gives it back when enough of them wait already.
    pub(crate) fn offer_file(&self, file: FileJob) -> Result<(), FileJob> {
        let mut state = self.state();
        if state.files.len() >= FILES_AHEAD {
            return Err(file);
        }
        state.files.push_back(file);
        self.wake(&state);
        Ok(())
    }

    /// Leaves a piece to others, if they would run out of work without it; else gives it back.
    pub(crate) fn offer_chunk(&self, chunk: ChunkJob) -> Result<(), ChunkJob> {
        let mut state = self.state();
        let waiting: usize = state.chunks.iter().map(ChunkJob::room).sum();
        let enough = waiting >= self.bytes_ahead || !state.files.is_empty();
        if enough && state.idle == 0 {
            return Err(chunk);
        }
        state.chunks.push_back(chunk);
        self.wake(&state);
        Ok(())
    }

    /// A piece that waits, for who does another one, unless somebody has nothing to do.
    pub(crate) fn take_chunk(&self) -> Option<ChunkJob> {
        let mut state = self.state();
        if state.idle > 0 { None } else { state.chunks.pop_front() }
    }

    /// A task, if there is one now.
    fn ready(&self) -> Option<(Task, Turn<'_>)> {
        self.begin(&mut self.state())
    }

    fn begin(&self, state: &mut State) -> Option<(Task, Turn<'_>)> {
        let task = state.pop()?;
        state.busy += 1;
        Some((task, Turn(self)))
    }

    /// A task, once there is one. None when there will be no more.
    fn next(&self) -> Option<(Task, Turn<'_>)> {
        let mut state = self.state();
        loop {
            if let Some(begun) = self.begin(&mut state) {
                return Some(begun);
            }
            if state.busy == 0 {
                self.changed.notify_all();
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn wake(&self, state: &State) {
        if state.idle > 0 {
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<Task> {
        let chunk = self.chunks.pop_front().map(Task::Chunk);
        chunk
            .or_else(|| self.files.pop_front().map(Task::File))
            .or_else(|| self.directories.pop().map(Task::Directory))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        if state.busy == 0 && state.idle > 0 {
            self.0.changed.notify_all();
        }
    }
}
