//! Room for one piece of a file, and the pool that the room comes from and goes back to.
//!
//! Room is asked of the operating system once, and only its touched pages take memory: a piece of
//! 8 MiB is rare. Knows nothing of files.

use crate::chunker::MAX;
use std::sync::{Mutex, PoisonError};

/// Up to [`MAX`] bytes of a file.
pub(crate) struct Piece {
    room: Vec<u8>,
    length: usize,
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Room for up to that many bytes more: less at the end of the piece's own.
    pub(crate) fn spare(&mut self, most: usize) -> &mut [u8] {
        let end = (self.length + most).min(MAX);
        self.room.get_mut(self.length..end).unwrap_or_default()
    }

    /// So many bytes of what [`spare`](Self::spare) gave are filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.length = (self.length + bytes).min(MAX);
    }

    /// Moves what is behind the first `length` bytes into `rest`, which is empty.
    pub(crate) fn split(&mut self, length: usize, rest: &mut Self) {
        let tail = self.room.get(length..self.length).unwrap_or_default();
        if let Some(front) = rest.room.get_mut(..tail.len()) {
            front.copy_from_slice(tail);
            rest.length = tail.len();
            self.length = length;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }
}

/// Pieces that are not in use.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Piece>>,
}

impl Pool {
    /// An empty piece.
    pub(crate) fn take(&self) -> Piece {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Piece { room: vec![0; MAX], length: 0 })
    }

    pub(crate) fn give_back(&self, mut piece: Piece) {
        piece.clear();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
    }
}
