//! Where what is backed up is read from, where that is not where it belongs: a snapshot of its file system, most of all. Reads nothing.
//!
//! A recovery point names things by their own paths and devices, wherever they were read: so it does not differ from one that was made
//! without a view, and what is unchanged is found to be so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where what is backed up is read from. Where it is, by default.
#[derive(Debug, Clone, Default)]
pub struct View {
    places: BTreeMap<PathBuf, PathBuf>,
    /// Devices as they are seen, and as they are.
    devices: Vec<(u64, u64)>,
    /// Inodes, by the paths of places.
    stand_ins: BTreeMap<PathBuf, u64>,
    strict: bool,
    checks: Vec<Check>,
}

/// Whether what is read in place of something is still what it was; if not, why.
#[derive(Clone)]
struct Check(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Check")
    }
}

impl View {
    /// What has that path, and all below it that is not named itself, is read from there.
    pub fn read(&mut self, path: &Path, from: &Path) {
        self.places.insert(path.to_owned(), from.to_owned());
    }

    /// What is seen on one device is on another.
    pub fn device(&mut self, seen: u64, own: u64) {
        self.devices.push((seen, own));
    }

    /// A directory with that inode only stands for one that is not there, where what has that path is read: it is read as it is.
    pub fn stand_in(&mut self, path: &Path, inode: u64) {
        self.stand_ins.insert(path.to_owned(), inode);
    }

    /// Whether it counts as a problem when something has to be read as it is.
    pub fn strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// Asked once everything was read: where it answers why not, nothing of that counts.
    pub fn check(&mut self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.push(Check(Arc::new(check)));
    }

    /// Whether everything was held until now.
    pub(crate) fn was_held(&self) -> Result<(), String> {
        self.checks.iter().try_for_each(|check| check.0())
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Where an entry is read from, if that is not its path. `above` is that of the directory it is in.
    pub(crate) fn of(&self, path: &Path, above: Option<&Path>) -> Option<PathBuf> {
        let own = self.places.get(path).cloned();
        let inherited = || Some(above?.join(path.file_name()?));
        let from = if self.places.is_empty() { None } else { own.or_else(inherited) };
        from.filter(|from| from != path)
    }

    /// The device that something is on.
    pub(crate) fn own_device(&self, seen: u64) -> u64 {
        let own = self.devices.iter().find(|(device, _)| *device == seen);
        own.map_or(seen, |(_, own)| *own)
    }

    /// Whether a directory that was read from elsewhere only stands for another. What was named itself does not.
    pub(crate) fn is_stand_in(&self, path: &Path, inode: u64) -> bool {
        let place = path.ancestors().find(|above| self.places.contains_key(*above));
        place.is_some_and(|place| place != path && self.stand_ins.get(place) == Some(&inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_below_a_place_is_read_below_another_and_what_is_named_from_its_own() {
        let mut view = View::default();
        let of = |view: &View, path: &str, above: Option<&str>| {
            view.of(Path::new(path), above.map(Path::new))
        };
        assert_eq!(of(&view, "/srv/a", None), None);
        view.read(Path::new("/srv"), Path::new("/snap/1"));
        view.read(Path::new("/srv/mounted"), Path::new("/srv/mounted"));
        assert_eq!(of(&view, "/srv", None), Some("/snap/1".into()));
        assert_eq!(of(&view, "/srv/a", Some("/snap/1")), Some("/snap/1/a".into()));
        assert_eq!(of(&view, "/srv/mounted", Some("/snap/1")), None);
        assert_eq!(of(&view, "/srv/mounted/x", None), None);
        assert_eq!(of(&view, "/", None), None);
        view.device(70, 7);
        assert_eq!((view.own_device(70), view.own_device(7)), (7, 7));
        view.stand_in(Path::new("/srv"), 2);
        let stands_in = |path: &str, inode| view.is_stand_in(Path::new(path), inode);
        assert!(stands_in("/srv/a/nested", 2) && !stands_in("/srv/nested", 3));
        assert!(!stands_in("/srv/mounted", 2) && !stands_in("/srv", 2));
        // Another file system has directories with such an inode.
        assert!(!stands_in("/srv/mounted/nested", 2) && !stands_in("/nested", 2));
    }

    #[test]
    fn what_is_not_held_any_more_is_told_with_its_reason() {
        let mut view = View::default();
        assert_eq!(view.was_held(), Ok(()));
        view.check(|| Ok(()));
        view.check(|| Err("it is full".to_owned()));
        assert_eq!(view.clone().was_held(), Err("it is full".to_owned()));
    }
}
