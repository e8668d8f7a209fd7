//! The extent hashes of a drive in a file, wherever a copy of it is. Believed once the whole file was found to be what
//! the drive's manifest names.

use crate::extent::ExtentHash;
use crate::{EXTENT, Manifest};
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};

/// Hashes by the extent's number.
#[derive(Debug)]
pub(crate) struct HashFile {
    file: BufReader<File>,
    /// The extent whose hash would be read next.
    next: u64,
    count: u64,
}

impl HashFile {
    /// None when it is not the file that the manifest names.
    pub(crate) fn open(
        mut file: File,
        length: u64,
        manifest: &Manifest,
    ) -> io::Result<Option<Self>> {
        Self::check(&mut file, length, manifest.bytes().div_ceil(EXTENT), &manifest.header.extents)
            .map(|right| right.then(|| Self::of(file, length / 32)))
    }

    fn of(file: File, count: u64) -> Self {
        Self { file: BufReader::new(file), next: 0, count }
    }

    /// The same for a parity drive, whose manifest has no objects: as many as the file has.
    pub(crate) fn of_parity(
        mut file: File,
        length: u64,
        extents: &Digest,
    ) -> io::Result<Option<Self>> {
        Self::check(&mut file, length, length / 32, extents)
            .map(|right| right.then(|| Self::of(file, length / 32)))
    }

    fn check(file: &mut File, length: u64, count: u64, digest: &Digest) -> io::Result<bool> {
        if length != count.saturating_mul(32) {
            return Ok(false);
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut from = (&mut *file).take(length);
        loop {
            match from.read(&mut buffer)? {
                0 => break,
                count => hash.update(buffer.get(..count).unwrap_or_default()),
            }
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(hash.finalize().as_slice() == digest.as_bytes())
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The hash of an extent.
    pub(crate) fn get(&mut self, number: u64) -> io::Result<ExtentHash> {
        if number != self.next {
            self.file.seek(SeekFrom::Start(number.saturating_mul(32)))?;
        }
        let mut hash = [0; 32];
        self.file.read_exact(&mut hash)?;
        self.next = number.saturating_add(1);
        Ok(hash)
    }
}
