//! How the paths to back up become one tree, as restic lays it out: every path at its absolute place.
//!
//! `/srv/a` and `/srv/b` give a root with `srv` in it, which holds `a` and `b` and nothing else.
//! Touches no file system.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A directory on the way to targets, or a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Backed up whole.
    Whole(PathBuf),
    /// Only these entries of it.
    Way(BTreeMap<Vec<u8>, Target>),
}

/// The tree of these absolute paths. A path below another one adds nothing.
pub(crate) fn tree(paths: &[PathBuf]) -> Target {
    let mut root = Target::Way(BTreeMap::new());
    for path in paths {
        insert(&mut root, path);
    }
    root
}

fn insert(root: &mut Target, path: &Path) {
    let mut at = root;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        let Target::Way(entries) = at else { return };
        at =
            entries.entry(name.as_bytes().to_vec()).or_insert_with(|| Target::Way(BTreeMap::new()));
    }
    if !matches!(at, Target::Whole(_)) {
        *at = Target::Whole(path.to_owned());
    }
}

/// Absolute, without `.` and `..`, links as they are: what the snapshot calls the path.
///
/// `base` is the folder that a relative path is relative to.
#[must_use]
pub fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in base.join(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Vec<PathBuf> {
        list.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn paths_share_their_way() {
        let Target::Way(root) = tree(&paths(&["/srv/a", "/srv/b", "/etc"])) else { panic!() };
        assert_eq!(root.len(), 2);
        assert_eq!(root[&b"etc"[..]], Target::Whole("/etc".into()));
        let Target::Way(srv) = &root[&b"srv"[..]] else { panic!() };
        assert_eq!(srv.keys().collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn a_path_below_another_adds_nothing() {
        for list in [["/a", "/a/b"], ["/a/b", "/a"]] {
            let Target::Way(root) = tree(&paths(&list)) else { panic!() };
            assert_eq!(root[&b"a"[..]], Target::Whole("/a".into()));
        }
        assert_eq!(tree(&paths(&["/x", "/"])), Target::Whole("/".into()));
    }

    #[test]
    fn paths_become_absolute_and_clean() {
        let base = Path::new("/home/x");
        assert_eq!(absolute(base, Path::new("a/../b/./c")), Path::new("/home/x/b/c"));
        assert_eq!(absolute(base, Path::new("/../etc//")), Path::new("/etc"));
    }
}
