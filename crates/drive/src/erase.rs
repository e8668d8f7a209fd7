//! Makes what is on a drive unreadable for good.

use crate::attach::{close_leftovers, lock};
use crate::step::{BLKDISCARD, BLOCKDEV, Step, WIPEFS};
use crate::volume::{Aligned, HEADER_BYTES, Volume, forget, open_direct};
use crate::{Blkid, Error};
use rustix::fs::OFlags;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// The keys were destroyed: without them, the rest is noise.
    pub header: bool,
    /// Bytes that were overwritten.
    pub overwritten: u64,
    /// The drive was told that nothing on it is needed any more.
    pub discarded: bool,
}

/// Erases a drive that nobody uses. Of an encrypted one the header is overwritten, which has all the
/// keys; of another one all of it. `told` hears of bytes that were overwritten, and answers whether to go on.
///
/// # Errors
/// It cannot be written; [`Error::NotErased`] when something else is read back.
pub fn erase(volume: &Volume, told: &mut dyn FnMut(u64) -> bool) -> Result<Erased, Error> {
    let _lock = lock(&volume.serial)?;
    close_leftovers(volume)?;
    volume.refuse_another()?;
    let device = volume.device.as_path();
    // A dock has set it read-only.
    let writable = |path: &Path| {
        let step = Step::new("setting the drive writable", BLOCKDEV);
        step.args(["--setrw".as_ref(), path]).run()
    };
    writable(device)?;
    let encrypted = matches!(volume.is_encrypted(&Blkid), Ok(true));
    let overwritten = if encrypted {
        let part = volume.part()?;
        writable(part)?;
        overwrite(part, HEADER_BYTES, told)?
    } else {
        overwrite(device, u64::MAX, told)?
    };
    if encrypted {
        // The table and the marks go, too, so that nobody takes it for a drive that holds something.
        let step = Step::new("removing marks from the drive", WIPEFS);
        step.args(["--all", "--quiet", "--"]).args([device]).run()?;
    }
    volume.refuse_another()?;
    // Turning disks, and many adaptors, do not know how. Not forced: it asks the kernel first whether
    // anybody uses the drive.
    let step = Step::new("discarding", BLKDISCARD).args([device]);
    let discarded = step.output()?.status.success();
    forget(device)?;
    Ok(Erased { header: encrypted, overwritten, discarded })
}

/// Writes zeros from the start on, at most `length`. Reads back as much as a header takes, and the end.
fn overwrite(path: &Path, length: u64, told: &mut dyn FnMut(u64) -> bool) -> Result<u64, Error> {
    let fail = |cause: io::Error| Error::io("overwriting", path)(cause);
    let file = open_direct(path, OFlags::RDWR | OFlags::EXCL).map_err(fail)?;
    let end = size(&file).map_err(fail)?.min(length);
    let mut buffer = Aligned::new();
    let mut at = 0;
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(Aligned::LENGTH).min(Aligned::LENGTH);
        let piece = buffer.bytes().get(..left).unwrap_or_default();
        file.write_all_at(piece, at).map_err(fail)?;
        at += left as u64;
        if !told(at) {
            return Err(Error::Interrupted);
        }
    }
    file.sync_all().map_err(fail)?;
    let last = end.saturating_sub(Aligned::LENGTH as u64);
    let first = (0..end.min(HEADER_BYTES)).step_by(Aligned::LENGTH);
    for at in first.chain([last]) {
        let left = usize::try_from(end - at).unwrap_or(Aligned::LENGTH).min(Aligned::LENGTH);
        let piece = buffer.bytes().get_mut(..left).unwrap_or_default();
        piece.fill(1);
        file.read_exact_at(piece, at).map_err(fail)?;
        if piece.iter().any(|byte| *byte != 0) {
            return Err(Error::NotErased { device: path.to_owned() });
        }
    }
    Ok(end)
}

fn size(file: &std::fs::File) -> io::Result<u64> {
    use std::io::Seek as _;
    let mut file = file;
    file.seek(io::SeekFrom::End(0))
}
