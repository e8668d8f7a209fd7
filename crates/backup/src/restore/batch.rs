//! Some thousand files at a time, and the order in which the repository is read for them. Reads and
//! writes nothing.
//!
//! Memory: [`PIECE`] bytes a piece, 200 and its name a file, at most [`FILES`] files and, but for the
//! file that exceeds it, [`PIECES`] pieces in a batch; two batches are alive at once, and the last
//! files of a third.

use super::attributes::Attributes;
use super::blocks::BLOCK;
use super::dirs::Dir;
use super::unfinished::Unfinished;
use super::{Action, Broken};
use model::Digest;
use repo::{BlobKind, Location, PackedBlob};
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// A batch is full with this many files. The first ones are smaller, so that work begins early.
const FILES: usize = 128 << 10;
const FIRST_FILES: usize = 8 << 10;
/// A batch is full with this many pieces.
const PIECES: usize = 256 << 10;
/// What a piece takes.
const PIECE: usize = 64;
const _: () = assert!(size_of::<Piece>() <= PIECE && size_of::<FileToDo>() <= 216);

/// A file is large from this size on.
const DENSE_FROM: u64 = 4 * BLOCK as u64;

/// Neighbouring blobs of a pack are read in one go, up to this many bytes.
pub(super) const STRETCH: u64 = 4 << 20;
/// A gap up to this many bytes is read along rather than skipped: cheaper than another request.
const GAP: u64 = 64 << 10;

/// A file that is to be written.
pub(super) struct FileToDo {
    pub(super) dir: Arc<Dir>,
    pub(super) name: Box<[u8]>,
    pub(super) size: u64,
    pub(super) action: Action,
    pub(super) attributes: Attributes,
    /// Where a large file has anything but one blob many times over, which mostly is zeros.
    pub(super) dense: Box<[Range<u64>]>,
    /// Pieces that are not written yet.
    pub(super) left: AtomicU32,
    /// Why it will not be there, once that is known.
    pub(super) broken: OnceLock<Box<Broken>>,
    /// What there is of it, unless it is written in one go.
    pub(super) unfinished: OnceLock<Box<Unfinished>>,
    /// Told what became of it, where it has more names.
    pub(super) outcome: Option<Outcome>,
}

/// What became of a file with several names: why it is not there, if it is not.
pub(super) type Outcome = Arc<OnceLock<Option<Broken>>>;

impl FileToDo {
    pub(super) fn path(&self) -> PathBuf {
        self.dir.path_of(&self.name)
    }

    /// Whether a piece of so many bytes is all of it: there may be empty ones beside it.
    pub(super) fn is_one(&self, bytes: u64) -> bool {
        bytes == self.size
            && self.left.load(Ordering::Acquire) == 1
            && self.unfinished.get().is_none()
    }
}

/// One blob's way into one file.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    id: Digest,
    /// Where in the file.
    pub(super) offset: u64,
    /// Which of the batch's packs.
    pack: u32,
    at: u32,
    length: u32,
    plain_length: Option<std::num::NonZeroU32>,
    /// Which of the batch's files.
    pub(super) file: u32,
    /// How often in a row.
    pub(super) times: u32,
}

impl Piece {
    /// Whether it is made of the same stored bytes.
    pub(super) fn same_blob(&self, other: &Self) -> bool {
        (self.pack, self.at, self.length, self.id) == (other.pack, other.at, other.length, other.id)
    }

    /// Where its stored bytes lie in the pack.
    pub(super) fn stored(&self) -> Range<u64> {
        let start = u64::from(self.at);
        start..start + u64::from(self.length)
    }

    pub(super) fn id(&self) -> &Digest {
        &self.id
    }

    /// Plain bytes.
    pub(super) fn size(&self) -> u32 {
        self.packed().size()
    }

    fn packed(&self) -> PackedBlob {
        PackedBlob {
            id: self.id,
            kind: BlobKind::Data,
            offset: self.at,
            length: self.length,
            plain_length: self.plain_length.map(Into::into),
        }
    }
}

/// Files that are filled together.
pub(super) struct Batch {
    /// What its first file is called by.
    first: u64,
    limit: usize,
    pub(super) files: Vec<FileToDo>,
    pieces: Vec<Piece>,
    packs: Vec<Digest>,
    numbers: HashMap<Digest, u32>,
    /// Parts of `pieces`, in the order of the files.
    stretches: Vec<Range<usize>>,
}

impl Batch {
    /// The first one.
    pub(super) fn new() -> Self {
        Self::starting(0, FIRST_FILES)
    }

    /// What comes after this one.
    pub(super) fn next(&self) -> Self {
        Self::starting(self.number_of_next(), self.limit.saturating_mul(4).min(FILES))
    }

    fn starting(first: u64, limit: usize) -> Self {
        Self {
            first,
            limit,
            files: Vec::new(),
            pieces: Vec::new(),
            packs: Vec::new(),
            numbers: HashMap::new(),
            stretches: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= self.limit || self.pieces.len() >= PIECES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// A number that no other file of this restore has.
    pub(super) fn number(&self, file: u32) -> u64 {
        self.first + u64::from(file)
    }

    /// The number of the file that is taken in next.
    pub(super) fn number_of_next(&self) -> u64 {
        self.first + self.files.len() as u64
    }

    /// Takes in a file that `content`, one after the other, is the content of.
    pub(super) fn add(&mut self, file: FileToDo, content: &[Location]) {
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let mut offset = 0;
        let before = self.pieces.len();
        for at in content {
            let size = u64::from(at.blob.size());
            match self.pieces.get_mut(before..).and_then(<[Piece]>::last_mut) {
                Some(last) if last.id == at.blob.id && last.times < u32::MAX => last.times += 1,
                _ => {
                    let piece = self.piece(at, number, offset);
                    self.pieces.push(piece);
                }
            }
            offset += size;
        }
        let pieces = self.pieces.get(before..).unwrap_or_default();
        let dense = if file.size < DENSE_FROM { Box::default() } else { dense(pieces) };
        let left = u32::try_from(pieces.len()).unwrap_or(u32::MAX).into();
        self.files.push(FileToDo { dense, left, ..file });
    }

    fn piece(&mut self, at: &Location, file: u32, offset: u64) -> Piece {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let pack = *self.numbers.entry(at.pack).or_insert(next);
        if pack == next {
            self.packs.push(at.pack);
        }
        Piece {
            id: at.blob.id,
            offset,
            pack,
            at: at.blob.offset,
            length: at.blob.length,
            plain_length: at.blob.plain_length.and_then(std::num::NonZeroU32::new),
            file,
            times: 1,
        }
    }

    /// Plans the reading: each wanted part of a pack once, as much as possible in one go, and in
    /// the order in which files need it, so that they fill from their beginning, one after the other.
    pub(super) fn plan(&mut self) {
        self.numbers = HashMap::new();
        self.pieces.sort_unstable_by_key(|piece| (piece.pack, piece.at, piece.file, piece.offset));
        let mut rest = 0..self.pieces.len();
        while let Some(pieces) = self.pieces.get(rest.clone()).filter(|rest| !rest.is_empty()) {
            let end = rest.start + stretch_length(pieces);
            self.stretches.push(rest.start..end);
            rest.start = end;
        }
        let pieces = &self.pieces;
        self.stretches.sort_by_cached_key(|stretch| {
            let pieces = pieces.get(stretch.clone()).unwrap_or_default();
            pieces.iter().map(|piece| (piece.file, piece.offset)).min()
        });
    }

    /// The pieces that are read in one go, in the order of their places in the pack.
    pub(super) fn stretch(&self, number: usize) -> Option<&[Piece]> {
        self.pieces.get(self.stretches.get(number)?.clone())
    }

    pub(super) fn file(&self, piece: &Piece) -> Option<&FileToDo> {
        self.files.get(piece.file as usize)
    }

    pub(super) fn pack(&self, piece: &Piece) -> Option<Digest> {
        self.packs.get(piece.pack as usize).copied()
    }

    /// Where the piece's blob is.
    pub(super) fn location(&self, piece: &Piece) -> Option<Location> {
        Some(Location { pack: self.pack(piece)?, blob: piece.packed() })
    }
}

fn dense(pieces: &[Piece]) -> Box<[Range<u64>]> {
    let mut dense: Vec<Range<u64>> = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.times == 1) {
        let end = piece.offset + u64::from(piece.size());
        match dense.last_mut().filter(|last| last.end == piece.offset) {
            Some(last) => last.end = end,
            None => dense.push(piece.offset..end),
        }
    }
    dense.into()
}

/// How many of these are near enough to be read in one go: one at least.
fn stretch_length(pieces: &[Piece]) -> usize {
    let Some(first) = pieces.first() else { return 0 };
    let start = first.stored().start;
    let mut reach = first.stored().end;
    let near = pieces.iter().take_while(|piece| {
        let Range { start: from, end } = piece.stored();
        let fits = piece.pack == first.pack && from <= reach + GAP && end - start <= STRETCH;
        reach = reach.max(end);
        fits
    });
    // All places of one blob belong together, and one blob alone may be as long as it likes.
    near.count().max(pieces.iter().take_while(|piece| piece.same_blob(first)).count())
}
