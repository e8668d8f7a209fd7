//! Staging locations as people write them, and whether two paths are, or lie within, one another.
//! Reads links; changes nothing.

use crate::Error;
use std::fs;
use std::path::{Component, Path, PathBuf};
use store::OpenOptions;

/// The folder that `text` names: an absolute path, or `local:` and one.
///
/// # Errors
/// [`Error::Staging`] for anything else that names a repository's place.
pub(crate) fn staging_folder(text: &str) -> Result<PathBuf, Error> {
    let refuse = |what: String| Error::Staging { staging: text.to_owned(), what };
    if text.starts_with("rest:") {
        let what = "it is the folder that drives are written from, not a server".to_owned();
        return Err(refuse(what));
    }
    let place = store::open_location(text, &OpenOptions::default());
    place.map_err(|error| refuse(error.to_string()))?;
    let path = Path::new(text.strip_prefix("local:").unwrap_or(text));
    if !path.is_absolute() {
        return Err(refuse("give its absolute path".to_owned()));
    }
    Ok(clean(path))
}

/// The path without `.`, `..` and doubled slashes, links as they are.
pub(crate) fn clean(path: &Path) -> PathBuf {
    backup::absolute(Path::new("/"), path)
}

/// Where the path leads: links are followed as far as it exists.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        if let Ok(found) = fs::canonicalize(at) {
            return rest.iter().rev().fold(found, |path, name| path.join(name));
        }
        match (at.parent(), at.components().next_back()) {
            (Some(parent), Some(Component::Normal(name))) => {
                rest.push(name.to_owned());
                at = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

/// Whether one of two paths is the other, or lies within it, by whatever links.
pub(crate) fn overlap(one: &Path, other: &Path) -> bool {
    let (one, other) = (resolved(one), resolved(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// Whether two paths lead to the same place.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    resolved(one) == resolved(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_absolute_folders_are_staging_locations() {
        for text in ["/srv/staging", "local:/srv/staging", "/srv/x/../staging/."] {
            assert_eq!(staging_folder(text).unwrap(), Path::new("/srv/staging"), "{text}");
        }
        for text in ["", "staging", "local:staging", "rest:https://host/", "s3:host/bucket"] {
            assert!(matches!(staging_folder(text), Err(Error::Staging { .. })), "{text}");
        }
    }

    #[test]
    fn links_hide_no_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let (source, link) = (dir.path().join("source"), dir.path().join("link"));
        fs::create_dir(&source).unwrap();
        symlink(&source, &link).unwrap();
        assert!(overlap(&source, &link.join("not/yet/there")));
        assert!(overlap(&link.join("x"), &source));
        assert!(same(&link.join("x"), &source.join("x")));
        assert!(!overlap(&source, &dir.path().join("source2")));
    }
}
