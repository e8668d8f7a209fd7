//! What stock programs are known not to write or not to give back, each as narrow as it can be
//! said. Everything else must be equal. Excuses nothing of ours.

use crate::actors::Kind;
use crate::model::LAST_IN_64_BITS;
use crate::support;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A thing as it was backed up.
pub(crate) struct Kept<'a> {
    /// The folder with everything.
    pub(crate) root: &'a Path,
    pub(crate) path: &'a Path,
    /// The folder that was named for the backup, not something below it.
    pub(crate) named: bool,
    pub(crate) stat: Metadata,
}

/// A program's limit.
pub(crate) struct Limit {
    pub(crate) of: fn(Kind) -> bool,
    /// When it writes the snapshot.
    pub(crate) writing: bool,
    /// When it restores from it.
    pub(crate) restoring: bool,
    /// How the difference begins, in the words of the comparison. Empty for every one.
    pub(crate) what: &'static str,
    /// Of which things.
    pub(crate) which: fn(&Kept<'_>) -> bool,
    pub(crate) why: &'static str,
}

fn restic_before_16(kind: Kind) -> bool {
    matches!(kind, Kind::Restic(minor) if minor < 16)
}

/// Whether a link that has extended attributes leads to it, by whatever name.
fn is_led_to(kept: &Kept<'_>) -> bool {
    let has_some = |link: &Path| {
        let mut names = [0; 1 << 12];
        rustix::fs::llistxattr(link, names.as_mut_slice()).unwrap() > 0
    };
    let leads_here = |path: &PathBuf| {
        let end = std::fs::metadata(path);
        end.is_ok_and(|end| (end.dev(), end.ino()) == (kept.stat.dev(), kept.stat.ino()))
    };
    let mut links = support::walk(kept.root);
    links.retain(|path| path.is_symlink() && has_some(path));
    links.iter().any(leads_here)
}

/// All that is excused.
pub(crate) const LIMITS: &[Limit] = &[
    Limit {
        of: restic_before_16,
        writing: true,
        restoring: true,
        what: "target",
        which: |kept| {
            let target = std::fs::read_link(kept.path).unwrap();
            std::str::from_utf8(target.as_os_str().as_bytes()).is_err()
        },
        why: "it knows no `linktarget_raw`, and replaces bytes that are not UTF-8",
    },
    Limit {
        of: restic_before_16,
        writing: true,
        restoring: true,
        what: "extended attributes",
        which: |kept| kept.stat.is_symlink(),
        why: "links have no extended attributes for it",
    },
    Limit {
        of: restic_before_16,
        writing: false,
        restoring: true,
        what: "extended attributes",
        which: is_led_to,
        why: "it sets the extended attributes of a link on what the link leads to",
    },
    Limit {
        of: |kind| matches!(kind, Kind::Restic(_)),
        writing: false,
        restoring: true,
        what: "modification time",
        which: |kept| kept.stat.mtime() >= LAST_IN_64_BITS,
        why: "it sets times by nanoseconds since 1970 in 64 bits, which end in 2262",
    },
    Limit {
        of: |kind| kind == Kind::Rustic,
        writing: true,
        restoring: true,
        what: "",
        which: |kept| kept.named,
        why: "it keeps what is below a path, and nothing of the folder itself",
    },
    Limit {
        of: |kind| kind == Kind::Rustic,
        writing: false,
        restoring: true,
        what: "mode",
        which: |kept| kept.stat.is_file() && kept.stat.mode() & 0o7777 == 0,
        why: "the format leaves out a mode of 0, and it then sets none",
    },
];

/// The limit that excuses a difference, if one does.
pub(crate) fn excuse(
    writer: Kind,
    reader: Kind,
    kept: &Kept<'_>,
    what: &str,
) -> Option<&'static Limit> {
    LIMITS.iter().find(|limit| {
        let applies = limit.writing && (limit.of)(writer) || limit.restoring && (limit.of)(reader);
        applies && what.starts_with(limit.what) && (limit.which)(kept)
    })
}
