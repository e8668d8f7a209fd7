//! What the target has already, and what becomes of it. Changes nothing.
//!
//! Whether a file is what it should be is judged by its content alone, blob by blob: a restore that was killed goes
//! on without a record of what it has written, and what somebody else has changed meanwhile is not taken for ours.
//! Cost: a file of the right size is read once.

use model::Digest;
use repo::Location;
use rustix::fs::{Advice, AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

/// What becomes of what is in the target already. Directories are one with those of the same name, and what is as the
/// snapshot has it stays, whatever is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// A target that holds something is refused, unless this restore was begun there; what differs then is named.
    #[default]
    Refuse,
    /// It stays, and what the snapshot has in its place is left out.
    Skip,
    /// It is replaced, once what replaces it is whole, and gets the snapshot's attributes.
    Overwrite,
    /// It stays, and what the snapshot has in its place gets a name of its own beside it.
    KeepBoth,
}

/// What is done, or would be, about one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Make,
    /// It is made in place of something else.
    Replace,
    /// It is made beside what has its name, under another.
    Beside,
    /// It is there.
    Same,
    /// Something else is there, and stays.
    Skip,
}

/// Where an item goes.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) name: Box<[u8]>,
    pub(super) action: Action,
    /// Of what is there, where that is the item.
    pub(super) stat: Option<Stat>,
}

/// A directory of the target.
pub(super) struct Around {
    /// None where it is not there.
    pub(super) folder: Option<OwnedFd>,
    /// It was made by this run: nothing else is in it.
    pub(super) is_new: bool,
    /// Names that are not to be had for what goes beside something else.
    pub(super) taken: HashSet<Vec<u8>>,
}

impl Around {
    /// Finds an item's place. `is_same` tells whether what is there under that name is the item already. None when
    /// something else is there, and that was not thought of.
    pub(super) fn spot(
        &mut self,
        name: &[u8],
        (existing, suffix): (Existing, &str),
        mut is_same: impl FnMut(&OwnedFd, &OsStr, &Stat) -> bool,
    ) -> io::Result<Option<Spot>> {
        let spot = |name: &[u8], action| Ok(Some(Spot { name: name.into(), action, stat: None }));
        let Some(folder) = self.folder.as_ref().filter(|_| !self.is_new) else {
            return spot(name, Action::Make);
        };
        let mut look = |name: &[u8]| -> io::Result<Option<(Stat, bool)>> {
            let name = OsStr::from_bytes(name);
            match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => Ok(None),
                Ok(stat) => Ok(Some((stat, is_same(folder, name, &stat)))),
                Err(errno) => Err(errno.into()),
            }
        };
        let same = |name: &[u8], stat| {
            Ok(Some(Spot { name: name.into(), action: Action::Same, stat: Some(stat) }))
        };
        match (look(name)?, existing) {
            (None, _) => return spot(name, Action::Make),
            (Some((stat, true)), _) => return same(name, stat),
            (Some(_), Existing::Refuse) => return Ok(None),
            (Some(_), Existing::Skip) => return spot(name, Action::Skip),
            (Some((stat, false)), Existing::Overwrite) => {
                gives_way(folder, OsStr::from_bytes(name), &stat)?;
                return spot(name, Action::Replace);
            }
            (Some(_), Existing::KeepBoth) => {}
        }
        for number in 1_u32.. {
            let name = beside(name, suffix, number);
            if self.taken.contains(&name) {
                continue;
            }
            match look(&name)? {
                Some((_, false)) => {}
                Some((stat, true)) => return same(&name, stat),
                None => {
                    self.taken.insert(name.clone());
                    return spot(&name, Action::Beside);
                }
            }
        }
        Ok(None)
    }
}

/// A directory that is not empty is replaced by nothing: all that is in it would have to go before.
fn gives_way(folder: &OwnedFd, name: &OsStr, stat: &Stat) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    match super::place::entries(&inside)?.is_empty() {
        true => Ok(()),
        false => Err(io::ErrorKind::DirectoryNotEmpty.into()),
    }
}

/// The most bytes a name has.
const NAME: usize = 255;

/// The name of what goes beside something of that name. The suffix is the end of it, so that no program takes the copy in
/// a folder of settings for one of its own.
fn beside(name: &[u8], suffix: &str, number: u32) -> Vec<u8> {
    let end = if number == 1 { suffix.to_owned() } else { format!("{suffix}-{number}") };
    let mut room = NAME.saturating_sub(end.len()).min(name.len());
    // Not in the middle of a character.
    while room > 0 && name.get(room).is_some_and(|byte| byte & 0xC0 == 0x80) {
        room -= 1;
    }
    [name.get(..room).unwrap_or_default(), end.as_bytes()].concat()
}

/// Reads files to see what is in them.
pub(super) struct Reader {
    buffer: Vec<u8>,
    /// The names of so many zeros.
    zeros: HashMap<u32, Digest>,
    from_medium: bool,
}

impl Reader {
    /// With `from_medium`, what is in the page cache does not count.
    pub(super) fn new(from_medium: bool) -> Self {
        Self { buffer: Vec::new(), zeros: HashMap::new(), from_medium }
    }

    /// Opens a regular file, if that is what has the name.
    pub(super) fn open(folder: &OwnedFd, name: &OsStr) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((file.into(), stat))
    }

    /// Whether a file is just that content. What cannot be read is not.
    pub(super) fn has(
        &mut self,
        (folder, name, stat): (&OwnedFd, &OsStr, &Stat),
        (content, size): (&[Location], u64),
        go_on: impl Fn() -> bool,
    ) -> bool {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || u64::try_from(stat.st_size) != Ok(size) {
            return false;
        }
        let Ok((file, stat)) = Self::open(folder, name) else { return false };
        if self.from_medium {
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        let mut holes =
            Holes { file: &file, data: (blocks.saturating_mul(512) >= size).then_some(0) };
        let mut offset = 0;
        for at in content {
            let length = at.blob.size();
            if !go_on() || !self.blob(&mut holes, offset, length, &at.blob.id) {
                return false;
            }
            offset += u64::from(length);
        }
        // It may have grown meanwhile.
        rustix::fs::fstat(&file).is_ok_and(|after| after.st_size == stat.st_size)
    }

    fn blob(&mut self, holes: &mut Holes<'_>, offset: u64, length: u32, id: &Digest) -> bool {
        if holes.has(offset, length) {
            let zeros = self.zeros.entry(length);
            let zeros = zeros.or_insert_with(|| hash_of_zeros(length));
            return zeros == id;
        }
        let length = length as usize;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let Some(buffer) = self.buffer.get_mut(..length) else { return false };
        holes.file.read_exact_at(buffer, offset).is_ok() && Digest(sha256::hash(buffer)) == *id
    }
}

fn hash_of_zeros(length: u32) -> Digest {
    let block = [0; 4096];
    let mut hash = Sha256::new();
    let mut left = length as usize;
    while left > 0 {
        let part = left.min(block.len());
        hash.update(block.get(..part).unwrap_or_default());
        left -= part;
    }
    Digest(hash.finalize().into())
}

/// Where a file has holes, asked for as it is read.
struct Holes<'a> {
    file: &'a File,
    /// From here on there is data, or the file has no holes at all: none before this was looked for.
    data: Option<u64>,
}

impl Holes<'_> {
    /// Whether all of that is a hole.
    fn has(&mut self, offset: u64, length: u32) -> bool {
        let end = offset + u64::from(length);
        match self.data {
            Some(0) => return false,
            Some(data) if data >= end => return true,
            _ => {}
        }
        let data = match rustix::fs::seek(self.file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            Err(Errno::NXIO) => u64::MAX,
            Err(_) => offset,
        };
        // Zero says that there are none at all.
        self.data = Some(data.max(1));
        data >= end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beside_something_has_a_name_that_fits() {
        assert_eq!(beside(b"a.conf", ".restored-12345678", 1), b"a.conf.restored-12345678");
        assert_eq!(beside(b"a", ".restored-12345678", 12), b"a.restored-12345678-12");
        let long = "\u{e9}".repeat(127);
        let name = beside(long.as_bytes(), ".restored-12345678", 2);
        assert!(name.len() <= NAME && name.len() >= NAME - 2);
        assert!(std::str::from_utf8(&name).is_ok());
        assert_eq!(hash_of_zeros(10_000), Digest(sha256::hash(&[0; 10_000])));
    }
}
