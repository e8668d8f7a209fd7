//! Which paths of a snapshot are wanted: by path, by pattern, or all. Looks at names alone.

use crate::Error;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::path::{Path, PathBuf};

/// Which paths of a snapshot are wanted. All, by default.
#[derive(Debug, Clone)]
pub struct Select {
    paths: Vec<PathBuf>,
    include: Gitignore,
    exclude: Gitignore,
    within: Option<PathBuf>,
}

impl Default for Select {
    fn default() -> Self {
        let nothing = Gitignore::empty;
        Self { paths: Vec::new(), include: nothing(), exclude: nothing(), within: None }
    }
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is left out, with all below it.
    Out,
    /// A directory that is there only for what may be wanted below it.
    Way,
    /// It is wanted.
    In,
}

impl Select {
    /// These paths with all below them, and what matches a pattern of `include`; everything where there is neither. Without
    /// what matches one of `exclude`. Patterns are as in a `.gitignore` in the root of the file system.
    ///
    /// # Errors
    /// [`Error::Pattern`] for the first that is none; [`Error::RelativePath`].
    pub fn new(paths: &[PathBuf], include: &[String], exclude: &[String]) -> Result<Self, Error> {
        if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
            return Err(Error::RelativePath { path: path.clone() });
        }
        let paths = paths.iter().map(|path| crate::absolute(Path::new("/"), path)).collect();
        let (include, exclude) = (matcher(include)?, matcher(exclude)?);
        Ok(Self { paths, include, exclude, within: None })
    }

    /// Of these, only what is this path or below it.
    #[must_use]
    pub fn within(self, path: &Path) -> Self {
        Self { within: Some(path.to_owned()), ..self }
    }

    /// The paths that were named.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.takes_all() && self.exclude.is_empty() && self.within.is_none()
    }

    fn takes_all(&self) -> bool {
        self.paths.is_empty() && self.include.is_empty()
    }

    /// What becomes of a path of the snapshot. `inherited` is whether what it lies in is wanted for all below it; the second
    /// value is that for what lies in this.
    pub(crate) fn judge(&self, path: &Path, is_dir: bool, inherited: bool) -> (Judged, bool) {
        if self.exclude.matched(path, is_dir).is_ignore() {
            return (Judged::Out, false);
        }
        let matched = self.include.matched(path, is_dir);
        let named = self.paths.iter().any(|wanted| wanted == path);
        let wanted = named
            || matched.is_ignore()
            || (!matched.is_whitelist() && (inherited || self.takes_all()));
        let on_the_way = |to: &PathBuf| to != path && to.starts_with(path);
        let judged = match wanted {
            true => Judged::In,
            false if !is_dir => Judged::Out,
            false if !self.include.is_empty() || self.paths.iter().any(on_the_way) => Judged::Way,
            false => Judged::Out,
        };
        let judged = match &self.within {
            Some(within) if on_the_way(within) && is_dir => Judged::Way,
            Some(within) if !path.starts_with(within) => Judged::Out,
            _ => judged,
        };
        (judged, wanted)
    }
}

/// Patterns as in a `.gitignore` in the root of the file system.
///
/// # Errors
/// [`Error::Pattern`] for the first that is none.
pub(crate) fn matcher(patterns: &[String]) -> Result<Gitignore, Error> {
    let mut builder = GitignoreBuilder::new("/");
    let wrong = |pattern: &str, why: ignore::Error| Error::Pattern {
        pattern: pattern.to_owned(),
        why: why.to_string(),
    };
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(|why| wrong(pattern, why))?;
    }
    builder.build().map_err(|why| wrong(&patterns.join(" "), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Judged::{In, Out, Way};

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn select(paths: &[&str], include: &[&str], exclude: &[&str]) -> Select {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        Select::new(&paths, &strings(include), &strings(exclude)).unwrap()
    }

    /// As a walk from the root comes to it.
    fn judged(select: &Select, path: &str, is_dir: bool) -> Judged {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let (mut at, mut inherited) = (PathBuf::from("/"), false);
        for (number, part) in parts.iter().enumerate() {
            at.push(part);
            let last = number + 1 == parts.len();
            let (judged, below) = select.judge(&at, is_dir || !last, inherited);
            if last || judged == Out {
                return judged;
            }
            inherited = below;
        }
        In
    }

    #[test]
    fn everything_is_wanted_where_nothing_is_said() {
        let all = Select::default();
        assert!(all.is_everything());
        assert_eq!(judged(&all, "/srv/a", false), In);
    }

    #[test]
    fn a_path_brings_what_is_below_it_and_nothing_beside_it() {
        let one = select(&["/srv/[a]/x"], &[], &[]);
        assert_eq!(judged(&one, "/srv", true), Way);
        assert_eq!(judged(&one, "/srv/[a]", true), Way);
        assert_eq!(judged(&one, "/srv/a", true), Out);
        assert_eq!(judged(&one, "/srv/[a]/x/deep/file", false), In);
        assert_eq!(judged(&one, "/srv/[a]/xx", false), Out);
        assert!(Select::new(&["srv".into()], &[], &[]).is_err());
    }

    #[test]
    fn patterns_take_in_and_leave_out() {
        let some =
            select(&["/etc"], &["*.txt", "/srv/all/", "!/srv/all/not"], &["*.tmp", "cache/"]);
        for (path, is_dir, expected) in [
            ("/srv/deep/a.txt", false, In),
            ("/srv/deep/a.doc", false, Out),
            ("/srv/deep", true, Way),
            ("/srv/all/a.doc", false, In),
            ("/srv/all/not", false, Out),
            ("/srv/all/a.tmp", false, Out),
            ("/srv/cache/a.txt", false, Out),
            ("/etc/x/y", false, In),
        ] {
            assert_eq!(judged(&some, path, is_dir), expected, "{path}");
        }
        assert!(Select::new(&[], &strings(&["a{"]), &[]).is_err());
    }

    #[test]
    fn what_is_within_a_path_is_wanted_as_before_and_the_way_to_it_only_as_a_way() {
        let within = select(&[], &[], &["*.tmp"]).within(Path::new("/srv/a"));
        assert_eq!(judged(&within, "/srv", true), Way);
        assert_eq!(judged(&within, "/srv/b", true), Out);
        assert_eq!(judged(&within, "/srv/a", true), In);
        assert_eq!(judged(&within, "/srv/a/x.tmp", false), Out);
        assert_eq!(judged(&within, "/srv/a/x", false), In);
    }
}
