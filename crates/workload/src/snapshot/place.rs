//! Places at which only we look: snapshots are mounted there, read-only. Takes none.

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::path::Path;

/// Whatever is in a snapshot, it is only read.
const FLAGS: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NODEV)
    .union(MountFlags::NOSUID)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME);

/// Makes a place and mounts something there.
///
/// # Errors
/// In words.
pub(super) fn mount(what: &Path, kind: &str, options: &str, at: &Path) -> Result<(), String> {
    store::durable::create_folder(at, 0o700)
        .map_err(|cause| format!("{}: {cause}", at.display()))?;
    let options = CString::new(options).map_err(|_| "options with a zero")?;
    rustix::mount::mount(what, at, kind, FLAGS, Some(options.as_c_str()))
        .map_err(|cause| format!("its {kind} cannot be mounted: {}", std::io::Error::from(cause)))
}

/// Unmounts what is mounted at a place, if something is, and removes the place.
///
/// # Errors
/// It is in use, in words.
pub(super) fn leave(at: &Path) -> Result<(), String> {
    match rustix::mount::unmount(at, UnmountFlags::NOFOLLOW) {
        // Nothing is mounted there, or there is no such place.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(cause) => return Err(format!("{}: {}", at.display(), std::io::Error::from(cause))),
    }
    // What is not empty is not ours, and what stays is found empty by the next one.
    let _ = std::fs::remove_dir(at);
    Ok(())
}
