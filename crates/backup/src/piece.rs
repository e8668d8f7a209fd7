//! Room for one piece of a file, and the pool that rooms come from and go back to.
//!
//! Most pieces are short, a few are eight times as long: so there are rooms of three sizes, and a
//! piece that outgrows its own moves. Only touched pages take memory. Knows nothing of files.

use crate::chunker::MAX;
use std::sync::{Mutex, PoisonError};

/// What four of five pieces fit into, all but one of thirty, and all.
const ROOMS: [usize; 3] = [2 << 20, 4 << 20, MAX];

/// What rooms of each size may take while they are not in use.
const IDLE: usize = 8 << 20;

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

    /// Memory that it takes, as far as it was ever used.
    pub(crate) fn room(&self) -> usize {
        self.room.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Room for up to that many bytes more, for [`filled`](Self::filled); none when it has [`MAX`].
    pub(crate) fn spare(&mut self, most: usize, pool: &Pool) -> &mut [u8] {
        let end = (self.length + most).min(MAX);
        if end > self.room.len() {
            let mut larger = pool.room(end);
            self.split(0, &mut larger);
            pool.give_back(std::mem::replace(self, larger));
        }
        self.room.get_mut(self.length..end).unwrap_or_default()
    }

    /// So many bytes of what [`spare`](Self::spare) gave are filled.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.length = (self.length + bytes).min(self.room.len());
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

    fn of(room: usize) -> Self {
        let mut room = vec![0; room];
        heap::in_large_pages(&mut room);
        Self { room, length: 0 }
    }
}

/// Pieces that are not in use, all of them empty.
#[derive(Default)]
pub(crate) struct Pool {
    /// By their rooms, as in [`ROOMS`].
    idle: [Mutex<Vec<Piece>>; ROOMS.len()],
}

impl Pool {
    /// An empty piece with room for a short one.
    pub(crate) fn take(&self) -> Piece {
        self.room(0)
    }

    /// An empty piece with room for `length` bytes, or [`MAX`].
    fn room(&self, length: usize) -> Piece {
        let mut rooms = ROOMS.iter().zip(&self.idle);
        let Some((size, idle)) = rooms.find(|(size, _)| **size >= length.min(MAX)) else {
            return Piece::of(MAX);
        };
        let idle = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Piece::of(*size))
    }

    pub(crate) fn give_back(&self, mut piece: Piece) {
        piece.clear();
        let room = ROOMS.iter().zip(&self.idle).find(|(size, _)| **size == piece.room.len());
        if let Some((size, idle)) = room {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            // The larger ones are rare, and too much to keep for the next time.
            if idle.len() < IDLE / size {
                idle.push(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_outgrows_its_room_keeps_its_bytes_and_the_room_is_used_again() {
        let pool = Pool::default();
        let mut piece = pool.take();
        let mut expected = Vec::new();
        for step in 0..40_u8 {
            let room = piece.spare(256 << 10, &pool);
            room.fill(step);
            let count = room.len();
            expected.extend(std::iter::repeat_n(step, count));
            piece.filled(count);
        }
        assert_eq!(piece.len(), MAX);
        assert!(piece.bytes() == expected);
        assert!(piece.spare(1, &pool).is_empty());
        let idle = || pool.idle.each_ref().map(|room| room.lock().unwrap().len());
        assert_eq!(idle(), [1, 1, 0]);
        pool.give_back(piece);
        assert_eq!(idle(), [1, 1, 1]);
        (0..10)
            .map(|_| pool.room(MAX))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|p| pool.give_back(p));
        assert_eq!(idle(), [1, 1, 1]);
        drop(pool.room(MAX));
        assert!(pool.take().is_empty() && pool.room(MAX).is_empty());
        assert_eq!(idle(), [0, 1, 0]);
    }
}
