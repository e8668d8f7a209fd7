//! Drives that have come from somewhere: folders as they are, block devices set read-only, unlocked and
//! mounted. Changes nothing on any.

use super::bays::{find, let_go, serial};
use super::keys_folder;
use crate::context::{Context, state_folder};
use crate::failure::Failure;
use crate::ui::Ask;
use clap::Args;
use drive::{Access, Attached, Blkid, Device, Protection, Usage, Volume};
use keyring::DriveKeys;
use model::{DrivePassword, DriveSerial, ErrorKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which drives, and where their passwords are.
#[derive(Args, Debug, Clone)]
pub(crate) struct ReadOptions {
    /// A drive, such as /dev/sdb, or a folder where one is mounted; may be repeated
    #[arg(long, required = true, value_name = "PATH", num_args = 1..)]
    pub(crate) drive: Vec<PathBuf>,
    /// Passwords of encrypted drives: lines of serial number and password, as `packmule drive key` shows
    /// them [default: those kept here, else asked for]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Where state is kept: passwords of drives that were prepared here
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Drives that can be read.
pub(crate) struct Readers {
    /// Where their files are, in the order given.
    pub(crate) folders: Vec<PathBuf>,
    given: Vec<PathBuf>,
    attached: Vec<Attached>,
}

impl Readers {
    /// What a drive was called when it was given.
    pub(crate) fn name(&self, folder: &Path) -> PathBuf {
        let at = self.folders.iter().position(|other| other == folder);
        at.and_then(|at| self.given.get(at)).map_or_else(|| folder.to_owned(), Clone::clone)
    }

    /// Lets go of the drives. What is in the way is told.
    pub(crate) fn leave(self, context: &Context) {
        let_go(context, self.attached);
    }
}

impl ReadOptions {
    /// Opens every drive.
    ///
    /// # Errors
    /// One cannot be used, or there is no password for it.
    pub(crate) fn open(&self, ask: &dyn Ask) -> Result<Readers, Failure> {
        let passwords = self.passwords()?;
        let (given, mut folders, mut attached) = (self.drive.clone(), Vec::new(), Vec::new());
        for path in &self.drive {
            let Some(device) = find(path)? else {
                folders.push(path.clone());
                continue;
            };
            let opened = self.open_one(&device, &passwords, ask)?;
            folders.push(opened.folder().to_owned());
            attached.push(opened);
        }
        Ok(Readers { folders, given, attached })
    }

    fn open_one(
        &self,
        device: &Device,
        passwords: &BTreeMap<DriveSerial, DrivePassword>,
        ask: &dyn Ask,
    ) -> Result<Attached, Failure> {
        let used = |usage: &&Usage| !matches!(usage, Usage::Unknown { .. });
        if let Some(usage) = device.usage.iter().find(used) {
            let words = format!("{} is not read: {usage}", device.path.display());
            return Err(Failure::new(ErrorKind::WrongDrive, words));
        }
        let volume = Volume::of(device, serial(device)?);
        let protection = if volume.is_encrypted(&Blkid)? {
            let serial = &volume.serial;
            Protection::Luks(match passwords.get(serial) {
                Some(password) => password.clone(),
                None => self.other(serial, ask)?,
            })
        } else {
            Protection::None
        };
        Ok(Attached::new(volume, protection, Access::Read)?)
    }

    /// Kept here, or typed.
    fn other(&self, serial: &DriveSerial, ask: &dyn Ask) -> Result<DrivePassword, Failure> {
        let folder = state_folder(self.state.as_deref()).map(|state| keys_folder(&state));
        if let Ok(folder) = folder
            && folder.is_dir()
            && let Some(key) = DriveKeys::open(&folder)?.get(serial)?
        {
            return Ok(key.password);
        }
        let question = format!("Password of drive {serial}, eight groups of six digits");
        let typed = ask.ask_secret("keys FILE", &question)?;
        let wrong = |e: model::DrivePasswordError| {
            Failure::new(ErrorKind::WrongPassword, format!("drive {serial}: {e}"))
        };
        typed.trim().parse().map_err(wrong)
    }

    fn passwords(&self) -> Result<BTreeMap<DriveSerial, DrivePassword>, Failure> {
        let Some(path) = &self.keys else { return Ok(BTreeMap::new()) };
        let text = std::fs::read_to_string(path).map_err(|e| Failure::io("reading", path, e))?;
        parse(&zeroize::Zeroizing::new(text)).map_err(|(line, why)| {
            let words = format!("line {line} of {}: {why}", path.display());
            Failure::new(ErrorKind::Invalid, words)
        })
    }
}

/// Lines of serial number and password; the number of the first line that is none, and why.
fn parse(text: &str) -> Result<BTreeMap<DriveSerial, DrivePassword>, (usize, String)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let mut words = line.split_whitespace();
            let (Some(serial), Some(password), None) = (words.next(), words.next(), words.next())
            else {
                return Err((number, "write a serial number and a password".to_owned()));
            };
            let serial: DriveSerial = serial
                .parse()
                .map_err(|e: model::NameError| (number, format!("the serial number {e}")))?;
            let password =
                password.parse().map_err(|e: model::DrivePasswordError| (number, e.to_string()))?;
            Ok((serial, password))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_lines_and_a_slip_is_told_by_its_line() {
        let good = "000000-000011-000121-720885-100001-440000-135795-000022";
        let parsed = parse(&format!("WD-1 {good}\n\n  S2\t{good}  \n")).unwrap();
        let serials: Vec<&str> = parsed.keys().map(DriveSerial::as_str).collect();
        assert_eq!(serials, ["S2", "WD-1"]);
        assert_eq!(parsed.values().next().unwrap().text().as_str(), good);
        assert_eq!(parse(&format!("A {good}\nB")).unwrap_err().0, 2);
        let slip = parse(&format!("A {}", good.replace("000121", "000122"))).unwrap_err();
        assert!(slip.1.contains("group 3") && !slip.1.contains("000122"), "{slip:?}");
    }
}
