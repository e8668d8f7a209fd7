//! Puts a data set back to what it was before it was changed. What a change will overwrite is
//! saved, and the journal written, before the change begins: so a run that dies is put right by
//! the next one. Plans no change.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file or folder as it was.
#[derive(Debug, Serialize, Deserialize)]
enum Before {
    /// It was not there.
    Absent(PathBuf),
    /// A folder, whose time changes with its content.
    Folder(PathBuf, SystemTime),
    /// A regular file.
    File(FileBefore),
}

#[derive(Debug, Serialize, Deserialize)]
struct FileBefore {
    path: PathBuf,
    length: u64,
    modified: SystemTime,
    mode: u32,
    owner: (u32, u32),
    /// Offset and length of each saved part, in the order in which they were saved.
    saved: Vec<(u64, u64)>,
}

/// Saves what a change will overwrite.
#[derive(Debug)]
pub(crate) struct Saver {
    root: PathBuf,
    place: PathBuf,
    before: Vec<Before>,
    bytes: BufWriter<File>,
}

impl Saver {
    /// For changes below `root`. `place` is a folder of its own, which is made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(root: &Path, place: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(place)
            .with_context(|| format!("cannot make {}", place.display()))?;
        let bytes = BufWriter::with_capacity(1 << 20, File::create(place.join(BYTES))?);
        Ok(Self { root: root.to_owned(), place: place.to_owned(), before: Vec::new(), bytes })
    }

    /// `path` will be made.
    pub(crate) fn absent(&mut self, path: &Path) {
        self.before.push(Before::Absent(path.to_owned()));
    }

    /// The content of the folder `path` will change.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn folder(&mut self, path: &Path) -> anyhow::Result<()> {
        let modified = std::fs::symlink_metadata(self.root.join(path))?.modified()?;
        self.before.push(Before::Folder(path.to_owned(), modified));
        Ok(())
    }

    /// Of `path`, no more than `parts`, each an offset and a length, its length and its attributes
    /// will change.
    ///
    /// # Errors
    /// When it cannot be read, or the parts not be saved.
    pub(crate) fn file(&mut self, path: &Path, parts: &[(u64, u64)]) -> anyhow::Result<()> {
        let mut file = File::open(self.root.join(path))
            .with_context(|| format!("cannot open {}", path.display()))?;
        let found = file.metadata()?;
        let mut saved = Vec::new();
        for (offset, length) in parts {
            file.seek(SeekFrom::Start(*offset))?;
            // Less than asked for where the file ends.
            let copied = std::io::copy(&mut (&mut file).take(*length), &mut self.bytes)?;
            saved.push((*offset, copied));
        }
        self.before.push(Before::File(FileBefore {
            path: path.to_owned(),
            length: found.len(),
            modified: found.modified()?,
            mode: found.permissions().mode(),
            owner: (found.uid(), found.gid()),
            saved,
        }));
        Ok(())
    }

    /// Makes all that durable. Only now may the change begin.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn done(self) -> anyhow::Result<()> {
        self.bytes.into_inner()?.sync_all()?;
        let begun = self.place.join("begun.json");
        let mut journal = File::create(&begun)?;
        journal.write_all(&serde_json::to_vec(&self.before)?)?;
        journal.sync_all()?;
        Ok(std::fs::rename(begun, self.place.join(JOURNAL))?)
    }
}

const BYTES: &str = "bytes";
const JOURNAL: &str = "journal.json";

/// Puts back what is saved at `place`, if anything is, and forgets it.
///
/// # Errors
/// When something cannot be put back; then everything stays saved.
pub(crate) fn undo(root: &Path, place: &Path) -> anyhow::Result<()> {
    let Ok(journal) = std::fs::read(place.join(JOURNAL)) else { return Ok(()) };
    let before: Vec<Before> = serde_json::from_slice(&journal)?;
    let mut bytes = BufReader::with_capacity(1 << 20, File::open(place.join(BYTES))?);
    for one in &before {
        match one {
            Before::Absent(path) => remove(&root.join(path))?,
            Before::File(file) => put_back(root, file, &mut bytes)
                .with_context(|| format!("cannot put back {}", file.path.display()))?,
            Before::Folder(..) => {}
        }
    }
    for one in &before {
        if let Before::Folder(path, modified) = one {
            let times = FileTimes::new().set_modified(*modified);
            File::open(root.join(path))?.set_times(times)?;
        }
    }
    std::fs::remove_dir_all(place).with_context(|| format!("cannot clear {}", place.display()))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(std::fs::remove_dir_all(path)?),
        Ok(_) => Ok(std::fs::remove_file(path)?),
        Err(_) => Ok(()),
    }
}

fn put_back(root: &Path, before: &FileBefore, bytes: &mut impl Read) -> anyhow::Result<()> {
    let path = root.join(&before.path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
    file.set_len(before.length)?;
    for (offset, length) in &before.saved {
        file.seek(SeekFrom::Start(*offset))?;
        std::io::copy(&mut bytes.take(*length), &mut file)?;
    }
    // Owners before mode: changing them takes the set-user bits away.
    let (user, group) = before.owner;
    let found = file.metadata()?;
    if (found.uid(), found.gid()) != before.owner {
        std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(before.mode))?;
    Ok(file.set_times(FileTimes::new().set_modified(before.modified))?)
}
