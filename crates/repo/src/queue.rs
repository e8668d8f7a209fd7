//! Work that makes more work, for several threads: directories, of which each names others. Reads nothing.

use crate::Error;
use std::sync::{Condvar, Mutex, PoisonError};

/// What is left to do, the newest first, so that there is never much of it.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: Vec<T>,
    /// How many are being done: more may come of them.
    busy: usize,
    failure: Option<Error>,
}

impl<T: Send> Queue<T> {
    /// Does all of it with so many threads. `work` answers what else there is to do; a failure ends
    /// it, once everybody is done with what he has.
    pub(crate) fn work_off(
        items: Vec<T>,
        threads: usize,
        work: impl Fn(T) -> Result<Vec<T>, Error> + Sync,
    ) -> Result<(), Error> {
        let state = State { items, busy: 0, failure: None };
        let queue = Self { state: Mutex::new(state), changed: Condvar::new() };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(item) = queue.next() {
                        queue.done(work(item));
                    }
                });
            }
        });
        let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.failure.map_or(Ok(()), Err)
    }

    /// The next one; none when all is done, or something failed.
    fn next(&self) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(item) = state.items.pop() {
                state.busy += 1;
                return Some(item);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One that was given out is done.
    fn done(&self, more: Result<Vec<T>, Error>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        match more {
            Ok(more) => state.items.extend(more),
            Err(failure) => state.failure = Some(failure),
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn everything_is_done_once_and_a_failure_ends_it() {
        let sum = AtomicUsize::new(0);
        let work = |n: usize| {
            sum.fetch_add(n, Ordering::Relaxed);
            Ok(if n > 1 { vec![n / 2, n / 2] } else { vec![] })
        };
        Queue::work_off(vec![8, 8], 3, work).unwrap();
        assert_eq!(sum.into_inner(), 2 * 8 * 4);
        let fails = |n: usize| if n == 3 { Err(Error::WriterGone) } else { Ok(vec![n + 1]) };
        assert!(matches!(Queue::work_off(vec![0], 2, fails), Err(Error::WriterGone)));
    }
}
