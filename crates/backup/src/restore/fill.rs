//! Second pass: packs are read, each wanted part once, and every blob goes to all its places.
//!
//! Memory: at most `threads × (RUN + the largest blob)` bytes. Writes only into files that the
//! first pass made.

use super::Run;
use super::make::{Made, Piece, reachable};
use crate::error::{Error, Fault, full};
use model::{Digest, ObjectKey};
use repo::BlobKind;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Neighbouring blobs are read in one go, up to this many bytes.
const RUN: u64 = 8 << 20;
/// A gap up to this many bytes is read along rather than skipped: cheaper than another request.
const GAP: u64 = 64 << 10;
/// Files that a thread keeps open.
const OPEN_FILES: usize = 64;
/// A hole is left where this many bytes are all zero.
const HOLE: usize = 64 << 10;

/// Why a file could not be filled.
#[derive(Debug, Clone)]
pub(super) enum Broken {
    /// The repository does not give it.
    Damaged(String),
    /// The target does not take it.
    Unwritable(String),
}

impl Broken {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Damaged(why) => Fault::Damaged(why.clone()),
            Self::Unwritable(why) => Fault::Unwritable(io::Error::other(why.clone())),
        }
    }
}

/// Fills the files, and names each as soon as it is whole. Answers those that are not, with the reason.
pub(super) fn all(run: &Run<'_>, made: &mut Made) -> Result<HashMap<PathBuf, Broken>, Error> {
    let mut packs: Vec<(Digest, Vec<Piece>)> =
        std::mem::take(&mut made.packs).into_iter().collect();
    // In the order of the first file that needs them, so that files fill one after the other.
    packs.sort_by_key(|(_, pieces)| pieces.iter().map(|p| (p.file, p.offset)).min());
    for (_, pieces) in &mut packs {
        pieces.sort_by_key(|piece| piece.at.blob.offset);
    }
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(HashMap::new());
    let fatal = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..run.options.threads.max(1) {
            scope.spawn(|| {
                let mut filler = Filler { run, made, open: Vec::new(), broken: &broken };
                while let Some((pack, pieces)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = filler.pack(*pack, pieces) {
                        *fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        next.store(packs.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    match fatal.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(broken.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

struct Filler<'a> {
    run: &'a Run<'a>,
    made: &'a Made,
    open: Vec<(usize, File)>,
    broken: &'a Mutex<HashMap<PathBuf, Broken>>,
}

impl Filler<'_> {
    fn pack(&mut self, pack: Digest, pieces: &[Piece]) -> Result<(), Error> {
        let mut rest = pieces;
        while !rest.is_empty() {
            self.run.stopped()?;
            let (together, after) = rest.split_at(run_length(rest));
            self.stretch(pack, together)?;
            rest = after;
        }
        Ok(())
    }

    /// Neighbouring blobs of one pack.
    fn stretch(&mut self, pack: Digest, pieces: &[Piece]) -> Result<(), Error> {
        let start = pieces.first().map_or(0, |piece| u64::from(piece.at.blob.offset));
        let end = pieces.iter().map(end).max().unwrap_or(start);
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        // One blob alone may claim any length; reading it through the repository checks the claim.
        if pieces.len() > 1 || end - start <= RUN {
            bytes.resize(length, 0);
            match self.run.repository.store().read_at(&ObjectKey::Pack(pack), start, &mut bytes) {
                Ok(()) => {}
                Err(error) => {
                    let error = repo::Error::from(error);
                    if !reachable(&error) {
                        return Err(error.into());
                    }
                    // Cut short, perhaps: what is before the cut can still be had, blob by blob.
                    bytes.clear();
                }
            }
        }
        let mut rest = pieces;
        while let Some(piece) = rest.first() {
            let same = rest.iter().take_while(|other| other.at.blob == piece.at.blob).count();
            let (places, after) = rest.split_at(same);
            let opened = self.plain(piece, &bytes, start);
            match opened {
                Ok(plain) => self.write(places, &plain)?,
                Err(error) if reachable(&error) => {
                    let why = Broken::Damaged(error.to_string());
                    places.iter().for_each(|place| self.broken(place.file, &why));
                }
                Err(error) => return Err(error.into()),
            }
            rest = after;
        }
        Ok(())
    }

    /// A blob out of `bytes`, which begin at `start` of its pack; where it is not whole there, from
    /// whichever pack has it.
    fn plain(&self, piece: &Piece, bytes: &[u8], start: u64) -> Result<Vec<u8>, repo::Error> {
        let blob = &piece.at.blob;
        let from = usize::try_from(u64::from(blob.offset) - start).unwrap_or(usize::MAX);
        let stored = bytes.get(from..from.saturating_add(blob.length as usize));
        let whole = stored.map(|stored| self.run.repository.open_stored_blob(&piece.at, stored));
        match whole {
            Some(Ok(plain)) => Ok(plain),
            _ => self.run.repository.load_blob(self.run.index, BlobKind::Data, &blob.id),
        }
    }

    fn broken(&self, file: usize, why: &Broken) {
        if let Some(file) = self.made.files.get(file) {
            let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
            broken.entry(file.path.clone()).or_insert_with(|| why.clone());
        }
    }

    fn write(&mut self, places: &[Piece], plain: &[u8]) -> Result<(), Error> {
        for place in places {
            let written = self
                .file(place.file)
                .and_then(|file| write_sparse(file, place.offset, plain))
                .and_then(|()| self.written(place.file));
            match written {
                Ok(()) => self.run.wrote(plain.len() as u64),
                Err(cause) if full(&cause) => {
                    let path = self.run.options.target.clone();
                    return Err(Error::Io { action: "writing", path, cause });
                }
                Err(cause) => self.broken(place.file, &Broken::Unwritable(cause.to_string())),
            }
        }
        Ok(())
    }

    /// One piece more is there: after the last one the file gets its name.
    fn written(&self, number: usize) -> io::Result<()> {
        let file = self.made.files.get(number).ok_or(io::ErrorKind::NotFound)?;
        if file.open.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        self.run.place.finish(&file.path, number).inspect_err(|_| {
            file.open.store(1, Ordering::Release);
        })
    }

    fn file(&mut self, number: usize) -> io::Result<&File> {
        let found = self.open.iter().position(|(open, _)| *open == number);
        let at = match found {
            Some(at) => at,
            None => {
                let path = &self.made.files.get(number).ok_or(io::ErrorKind::NotFound)?.path;
                if self.open.len() >= OPEN_FILES {
                    self.open.remove(0);
                }
                self.open.push((number, self.run.place.file(path, number)?));
                self.open.len() - 1
            }
        };
        self.open.get(at).map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn end(piece: &Piece) -> u64 {
    u64::from(piece.at.blob.offset) + u64::from(piece.at.blob.length)
}

/// How many of these are near enough to be read in one go: one at least.
fn run_length(pieces: &[Piece]) -> usize {
    let Some(first) = pieces.first() else { return 0 };
    let start = u64::from(first.at.blob.offset);
    let mut reach = end(first);
    let near = pieces.iter().take_while(|piece| {
        let fits = u64::from(piece.at.blob.offset) <= reach + GAP && end(piece) - start <= RUN;
        reach = reach.max(end(piece));
        fits
    });
    near.count().max(1)
}

/// Writes what is not zero: the file is one hole to begin with.
fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut at = 0;
    let mut pending: Option<usize> = None;
    for block in bytes.chunks(HOLE) {
        let zero = block.iter().all(|byte| *byte == 0);
        match (zero, pending) {
            (false, None) => pending = Some(at),
            (true, Some(from)) => {
                file.write_all_at(bytes.get(from..at).unwrap_or_default(), offset + from as u64)?;
                pending = None;
            }
            _ => {}
        }
        at += block.len();
    }
    match pending {
        Some(from) => {
            file.write_all_at(bytes.get(from..).unwrap_or_default(), offset + from as u64)
        }
        None => Ok(()),
    }
}
