//! What the file system allows: large direct writes, reads from the page cache, new small files.
//! Leaves nothing behind.

use super::clock::timed;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

const PART: usize = 4 << 20;
const PARTS: usize = 128;
const SMALL_FILES: u32 = 2000;
const SMALL: usize = 4096;

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rates {
    /// Bytes a second, written past the page cache and synced at the end; 0 where that cannot be done.
    direct_write_rate: f64,
    /// Bytes a second of one core, read from the page cache.
    cached_read_rate: f64,
    /// Seconds of one core for making one small file with 4 KiB in it.
    small_file: f64,
}

/// Measures large files in `work` and small ones in `fresh`: folders that must be there.
pub(crate) fn measure(work: &Path, fresh: &Path) -> io::Result<Rates> {
    let large = work.join("stages-large");
    let direct_write_rate = direct_write(&large);
    if direct_write_rate.is_err() {
        std::fs::write(&large, vec![7; PART * PARTS / 8])?;
    }
    // The first time it comes from the disk.
    cached_read(&large)?;
    let cached_read_rate = cached_read(&large)?;
    std::fs::remove_file(&large)?;
    let small_file = small_files(&fresh.join("stages-small"))?;
    Ok(Rates { direct_write_rate: direct_write_rate.unwrap_or(0.0), cached_read_rate, small_file })
}

fn direct_write(path: &Path) -> io::Result<f64> {
    // Direct writes come from whole blocks of memory.
    let mut buffer = vec![7_u8; PART + SMALL];
    let offset = buffer.as_ptr().align_offset(SMALL);
    let part = buffer.get_mut(offset..offset + PART).unwrap_or_default();
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
    let started = Instant::now();
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags)
        .open(path)?;
    for _ in 0..PARTS {
        file.write_all(part)?;
    }
    file.sync_all()?;
    Ok((PART * PARTS) as f64 / started.elapsed().as_secs_f64())
}

fn cached_read(path: &Path) -> io::Result<f64> {
    let mut buffer = vec![0; PART];
    let mut file = File::open(path)?;
    let (mut bytes, mut seconds) = (0, 0.0);
    loop {
        match timed(&mut seconds, || file.read(&mut buffer))? {
            0 => return Ok(bytes as f64 / seconds),
            count => bytes += count,
        }
    }
}

fn small_files(folder: &Path) -> io::Result<f64> {
    std::fs::create_dir_all(folder)?;
    let content = [7; SMALL];
    let mut seconds = 0.0;
    timed(&mut seconds, || {
        (0..SMALL_FILES)
            .try_for_each(|number| std::fs::write(folder.join(number.to_string()), content))
    })?;
    std::fs::remove_dir_all(folder)?;
    Ok(seconds / f64::from(SMALL_FILES))
}
