//! What of the paths is left out: by pattern, by size, by a file that marks its folder, by file system. Looks at names, and at what it must;
//! decides nothing about paths that were named themselves.

use crate::Error;
use ignore::gitignore::Gitignore;
use rustix::fs::{AtFlags, FileType};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is left out. Nothing, by default.
#[derive(Debug, Clone)]
pub struct Exclude {
    patterns: Vec<String>,
    matcher: Gitignore,
    larger_than: Option<u64>,
    if_present: Vec<Vec<u8>>,
    named: Vec<Vec<u8>>,
    pub(crate) one_file_system: bool,
}

impl Default for Exclude {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            matcher: Gitignore::empty(),
            larger_than: None,
            if_present: Vec::new(),
            named: Vec::new(),
            one_file_system: false,
        }
    }
}

impl Exclude {
    /// What these patterns match, as in a `.gitignore` in the root of the file system.
    ///
    /// # Errors
    /// [`Error::Pattern`] for the first that is none.
    pub fn new(patterns: &[String]) -> Result<Self, Error> {
        let matcher = crate::select::matcher(patterns)?;
        Ok(Self { patterns: patterns.to_vec(), matcher, ..Self::default() })
    }

    /// Also files of more bytes than that.
    #[must_use]
    pub fn larger_than(self, bytes: Option<u64>) -> Self {
        Self { larger_than: bytes, ..self }
    }

    /// Also what is in a folder that has an entry of one of these names, but for that entry.
    #[must_use]
    pub fn if_present(self, names: &[String]) -> Self {
        let if_present = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { if_present, ..self }
    }

    /// Also what is on another file system than the path that was named.
    #[must_use]
    pub fn one_file_system(self, one: bool) -> Self {
        Self { one_file_system: one, ..self }
    }

    /// Also what has one of these names, wherever it is: what is ours. A snapshot does not name them.
    #[must_use]
    pub fn named(self, names: &[&str]) -> Self {
        let named = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { named, ..self }
    }

    /// The patterns as they were given: a snapshot names them.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    fn is_nothing(&self) -> bool {
        self.patterns.is_empty()
            && self.larger_than.is_none()
            && self.if_present.is_empty()
            && self.named.is_empty()
            && !self.one_file_system
    }

    /// Takes what is left out from the entries of a directory. `device` is the file system to stay on.
    pub(crate) fn filter(
        &self,
        path: &Path,
        handle: Option<&File>,
        device: Option<u64>,
        listed: &mut Vec<(Vec<u8>, FileType)>,
    ) {
        if self.is_nothing() {
            return;
        }
        listed.retain(|(name, _)| !self.named.contains(name));
        let mark = |name: &Vec<u8>| self.if_present.contains(name);
        if !self.if_present.is_empty() && listed.iter().any(|(name, _)| mark(name)) {
            listed.retain(|(name, _)| mark(name));
        }
        listed.retain(|(name, kind)| !self.leaves_out(path, handle, device, name, *kind));
    }

    fn leaves_out(
        &self,
        path: &Path,
        handle: Option<&File>,
        device: Option<u64>,
        name: &[u8],
        kind: FileType,
    ) -> bool {
        let name = OsStr::from_bytes(name);
        // One look where the name alone does not do. What cannot be looked at stays, and is a problem later.
        let wants_look =
            kind == FileType::Unknown || self.larger_than.is_some() || device.is_some();
        let stat = handle
            .filter(|_| wants_look)
            .and_then(|handle| rustix::fs::statat(handle, name, AtFlags::SYMLINK_NOFOLLOW).ok());
        let kind = stat.as_ref().map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
        let is_dir = kind == FileType::Directory;
        if self.matcher.matched(path.join(name), is_dir).is_ignore() {
            return true;
        }
        let Some(stat) = stat.filter(|_| kind == FileType::RegularFile) else { return false };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        // A folder of another file system stays, with nothing in it: there something can be mounted after a restore.
        self.larger_than.is_some_and(|most| size > most)
            || device.is_some_and(|device| device != stat.st_dev)
    }
}
