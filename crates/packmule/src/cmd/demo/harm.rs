//! What happens to drives on their way, where it was asked for. Plain work on files; knows no step.

use crate::failure::Failure;
use model::DriveRole;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Places that are overwritten, and bytes at each of them.
const PLACES: usize = 10;
const BYTES: u64 = 64 << 10;

/// What is to happen.
#[derive(Debug, Clone, Copy)]
pub(in crate::cmd) struct Harm {
    pub(super) lose: bool,
    pub(super) damage: bool,
}

impl Harm {
    /// Parity drives that make up for it: one for each drive that something happens to.
    pub(super) fn parity(self) -> u32 {
        u32::from(self.lose) + u32::from(self.damage)
    }
}

/// Takes the first data drive away. Answers its serial number.
pub(super) fn lose(carried: &mut Vec<PathBuf>, to: &Path) -> Result<Option<String>, Failure> {
    let Some((at, serial)) = data_drive(carried)? else { return Ok(None) };
    let from = carried.remove(at);
    std::fs::rename(&from, to).map_err(|e| Failure::io("losing", &from, e))?;
    Ok(Some(serial))
}

/// Overwrites places of the first data drive that is left, each in another pack as far as there are some. Answers its
/// serial number.
pub(super) fn damage(carried: &[PathBuf]) -> Result<Option<String>, Failure> {
    let Some((at, serial)) = data_drive(carried)? else { return Ok(None) };
    let Some(drive) = carried.get(at) else { return Ok(None) };
    let mut packs = Vec::new();
    super::folders::list(&drive.join("repositories"), &mut packs)?;
    let mut packs: Vec<(u64, PathBuf)> = packs
        .into_iter()
        .filter_map(|path| Some((path.metadata().ok()?.len(), path)))
        .filter(|(length, path)| *length > 0 && path.iter().any(|part| part == "data"))
        .collect();
    packs.sort_by(|one, other| other.cmp(one));
    packs.truncate(PLACES);
    for place in 0..PLACES {
        let Some((length, path)) = packs.get(place % packs.len().max(1)) else { break };
        let count = BYTES.min(*length);
        // Somewhere in the middle, elsewhere when a pack has its turn again.
        let at = (length - count) / PLACES as u64 * place as u64;
        let overwrite = || -> std::io::Result<()> {
            let bytes = vec![0x5a; usize::try_from(count).unwrap_or(0)];
            File::options().write(true).open(path)?.write_all_at(&bytes, at)
        };
        overwrite().map_err(|e| Failure::io("overwriting", path, e))?;
    }
    Ok(Some(serial))
}

fn data_drive(carried: &[PathBuf]) -> Result<Option<(usize, String)>, Failure> {
    for (at, path) in carried.iter().enumerate() {
        let label = seed::inspect(path)?.map(|label| label.body);
        if let Some(label) = label.filter(|label| label.role == DriveRole::Data) {
            return Ok(Some((at, label.serial.to_string())));
        }
    }
    Ok(None)
}
