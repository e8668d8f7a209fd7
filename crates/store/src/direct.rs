//! Large files written and read past the page cache, where the file system is known to do that well.
//!
//! Bytes that are synced at once and not read soon gain nothing from the cache: through it, each page
//! is copied, kept, and written later. And what is read to be sure of a device must not come from it.
//! Elsewhere, and for a file's last bytes, which fill no block, the same calls go through the cache.
//! Syncs nothing.

use rustix::fs::{FsWord, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// What addresses, offsets and lengths are multiples of: the largest block of the devices in use.
pub const BLOCK: usize = 4096;
/// Bytes a write has.
const ROOM: usize = 1 << 20;

/// ext4, XFS, Btrfs and F2FS, by the numbers in Linux's `magic.h`.
const WELL: [FsWord; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];

const TMPFS: FsWord = 0x0102_1994;

/// Whether a file or folder is on a file system of the kernel's own that is meant for disks: these
/// take direct writes well, and keep what `syncfs` promises.
pub fn is_on_a_disk(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| WELL.contains(&stat.f_type))
}

/// Whether whatever is put into that folder is in everybody's next listing of it: so on the file systems of disks, and in
/// memory. What comes over a network may have been cached.
pub(crate) fn lists_at_once(folder: impl AsFd) -> bool {
    rustix::fs::fstatfs(folder)
        .is_ok_and(|stat| stat.f_type == TMPFS || WELL.contains(&stat.f_type))
}

/// Lets a file's reads and writes pass the page cache by, or no longer.
///
/// # Errors
/// The file system cannot do that.
pub fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// Bytes at an address that is a multiple of [`BLOCK`].
#[derive(Debug)]
pub struct Aligned {
    /// One block longer than what is used of it.
    buffer: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// That many bytes, all zero.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let buffer = vec![0; length + BLOCK];
        let start = buffer.as_ptr().addr().next_multiple_of(BLOCK) - buffer.as_ptr().addr();
        Self { buffer, start, length }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.start + self.length).unwrap_or_default()
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.start + self.length).unwrap_or_default()
    }
}

/// Whether these bytes begin where [`write_whole`] needs them to.
pub(crate) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(BLOCK)
}

/// Writes one new file from its beginning, which is in memory as a whole, at an address that is a multiple of [`BLOCK`].
pub(crate) fn write_whole(file: &File, bytes: &[u8]) -> io::Result<()> {
    let mut output = Output::new(file);
    let (blocks, tail) = bytes.split_at(bytes.len() - bytes.len() % BLOCK);
    output.write(blocks)?;
    output.write_tail(tail)
}

/// Writes one new file from its beginning.
pub(crate) struct LargeFile<'f> {
    output: Output<'f>,
    buffer: Aligned,
    filled: usize,
}

/// Where a file has come to.
struct Output<'f> {
    file: &'f File,
    direct: bool,
    offset: u64,
}

impl<'f> LargeFile<'f> {
    pub(crate) fn new(file: &'f File) -> Self {
        Self { output: Output::new(file), buffer: Aligned::new(ROOM), filled: 0 }
    }

    /// Room for the bytes that come next. Never empty.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut().get_mut(self.filled..).unwrap_or_default()
    }

    /// The first `bytes` of the room are filled.
    pub(crate) fn filled(&mut self, bytes: usize) -> io::Result<()> {
        self.filled += bytes;
        if self.filled < ROOM { Ok(()) } else { self.write() }
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let tail = self.filled % BLOCK;
        self.filled -= tail;
        let at = self.filled;
        self.write()?;
        self.output.write_tail(self.buffer.bytes().get(at..at + tail).unwrap_or_default())
    }

    fn write(&mut self) -> io::Result<()> {
        self.output.write(self.buffer.bytes().get(..self.filled).unwrap_or_default())?;
        self.filled = 0;
        Ok(())
    }
}

impl<'f> Output<'f> {
    fn new(file: &'f File) -> Self {
        let direct = is_on_a_disk(file) && set_direct(file, true).is_ok();
        Self { file, direct, offset: 0 }
    }

    /// Whole blocks.
    fn write(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.file.write_at(rest, self.offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.offset += count as u64;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                // A device with larger blocks, or a write cut short inside one.
                Err(cause) if self.direct && cause.kind() == io::ErrorKind::InvalidInput => {
                    set_direct(self.file, false)?;
                    self.direct = false;
                }
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// What fills no block, and ends the file.
    fn write_tail(mut self, tail: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.direct) {
            set_direct(self.file, false)?;
        }
        self.file.write_all_at(tail, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
    }

    /// Written in steps of up to `step` bytes.
    fn written(length: usize, step: usize) -> Vec<u8> {
        // In the crate, which is on a disk: the folder for temporary files often is not.
        let folder = tempfile::tempdir_in(".").unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        let mut large = LargeFile::new(&file);
        let all = bytes(length);
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let room = large.room();
            let count = rest.len().min(step).min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            large.filled(count).unwrap();
            rest = &rest[count..];
        }
        large.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn what_is_not_a_disk_may_list_late() {
        assert!(!lists_at_once(File::open("/proc").unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let file = File::open(folder.path()).unwrap();
        assert!(lists_at_once(&file) || !is_on_a_disk(&file));
    }

    #[test]
    fn every_length_arrives_whole_in_steps_of_any_size() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM + 77] {
            for step in [ROOM / 3 + 5, 2 * ROOM] {
                assert!(written(length, step) == bytes(length), "{length} in steps of {step}");
            }
        }
    }

    #[test]
    fn every_length_is_written_whole_from_where_it_lies() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let path = folder.path().join("file");
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * ROOM + 77] {
            let mut memory = Aligned::new(length);
            memory.bytes_mut().copy_from_slice(&bytes(length));
            assert!(is_aligned(memory.bytes()));
            write_whole(&File::create(&path).unwrap(), memory.bytes()).unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes(length), "{length}");
        }
    }

    #[test]
    fn a_file_system_that_refuses_is_written_through_its_cache() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        let mut large = LargeFile::new(&file);
        // What a device with larger blocks answers to: an offset that is none of theirs.
        large.output.direct = set_direct(&file, true).is_ok();
        large.output.offset = 1;
        large.filled = 0;
        large.room()[..BLOCK].fill(7);
        large.filled(BLOCK).unwrap();
        large.finish().unwrap();
        let mut expected = vec![7; BLOCK + 1];
        expected[0] = 0;
        assert_eq!(std::fs::read(path).unwrap(), expected);
    }
}
