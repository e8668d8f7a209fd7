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

/// Whether a line is a warning that nothing is wrong behind.
pub(crate) fn is_harmless(kind: Kind, line: &str) -> bool {
    // What is a folder now was none in the snapshot before: rustic says so, and goes on.
    kind == Kind::Rustic && line.starts_with("[WARN] ignoring parent node ")
}

/// Whether some of the files may have other cuts by rustic than by everybody else.
///
/// At the shortest length of a chunk, rustic fills its window of 64 bytes with 63 (`rustic_cdc`
/// 0.3.1, `reset_and_prefill_window`): the byte before the place counts nowhere. The hash of zeros is
/// zero, so it cuts where that byte is the first after zeros, and others do not. Elsewhere this
/// takes a chance of one in 16,000 for each chunk.
pub(crate) fn has_other_cuts(kind: Kind, folder: &Path) -> bool {
    let ends_zeros = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        bytes.windows(64).any(|window| window[63] != 0 && window[62] == 0 && zero(&window[..63]))
    };
    let is_file = |path: &&PathBuf| path.symlink_metadata().is_ok_and(|kind| kind.is_file());
    kind == Kind::Rustic && support::walk(folder).iter().filter(is_file).any(ends_zeros)
}
