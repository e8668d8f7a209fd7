//! The passwords of drives in a folder, one file a drive, sealed by the key file beside them. Formats
//! no drive; removes nothing.
//!
//! ```text
//! <folder>/drives.key       32 random bytes, mode 0600
//! <folder>/<serial>.json    {"version": 1, "serial", "sealed": base64, "headerHash"?: 64 digits}
//! ```
//!
//! Order: the password is in its file before anybody hears it; the header's hash is, before the drive
//! gets data. So after a crash at any moment a drive that is locked has its password here, and one
//! that has data its hash as well. Several processes may work in one folder.

use crate::{Error, Keyring};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{Digest, DrivePassword, DriveSerial};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use store::durable;
use zeroize::Zeroizing;

const VERSION: u32 = 1;
const KEY_FILE: &str = "drives.key";
const EXTENSION: &str = "json";
/// A file has some three hundred bytes.
const LIMIT: u64 = 4096;

/// The passwords of the drives of one seed, or of one drive set that travels without an import job.
#[derive(Debug)]
pub struct DriveKeys {
    folder: PathBuf,
    keyring: Keyring,
}

/// A drive's password, and which header it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveKey {
    /// The drive.
    pub serial: DriveSerial,
    /// Its password.
    pub password: DrivePassword,
    /// SHA-256 of the drive's LUKS2 header area; none until [`DriveKeys::formatted`] was told.
    pub header_hash: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    version: u32,
    serial: DriveSerial,
    sealed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header_hash: Option<Digest>,
}

impl DriveKeys {
    /// The passwords in that folder; it and its key file are made when missing.
    ///
    /// # Errors
    /// [`Error::KeyFileLost`] when there are passwords and no key file; [`Error::KeyFile`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        durable::create_folder(folder, 0o700).map_err(Error::io("creating", folder))?;
        let path = folder.join(KEY_FILE);
        let keyring = match files(folder)?.is_empty() {
            true => Keyring::load_or_create(&path)?,
            false => Keyring::load(&path).map_err(|error| match error {
                Error::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                    Error::KeyFileLost { path }
                }
                other => other,
            })?,
        };
        Ok(Self { folder: folder.to_owned(), keyring })
    }

    /// The drive's password: the one it has, or a new one, which is on the disk for good by now.
    /// Ask before the drive is formatted.
    ///
    /// # Errors
    /// What is here of the drive cannot be used, [`Error::Random`], or the disk: then the drive
    /// must not be formatted.
    pub fn password(&self, serial: &DriveSerial) -> Result<DrivePassword, Error> {
        if self.get(serial)?.is_none() {
            let (serial, password) = (serial.clone(), random()?);
            self.add(&DriveKey { serial, password, header_hash: None })?;
        }
        self.sync()?;
        // Another process may have been faster: what is in the file counts.
        Ok(self.known(serial)?.password)
    }

    /// The drive is formatted with its password, and this is the SHA-256 of its header area. Tell
    /// it before the drive gets data. A drive that is formatted again tells it again.
    ///
    /// # Errors
    /// [`Error::NoPassword`]; as [`password`](Self::password).
    pub fn formatted(&self, serial: &DriveSerial, header_hash: Digest) -> Result<(), Error> {
        let mut key = self.known(serial)?;
        if key.header_hash == Some(header_hash) {
            return self.sync();
        }
        key.header_hash = Some(header_hash);
        let path = self.file(serial);
        durable::replace(&path, &self.document(&key)?, 0o600).map_err(Error::io("writing", &path))
    }

    /// Takes in what somebody else has kept, as an import job after this folder was lost. What is
    /// here already stays.
    ///
    /// # Errors
    /// [`Error::OtherPassword`]; as [`password`](Self::password).
    pub fn restore(&self, key: &DriveKey) -> Result<(), Error> {
        let serial = &key.serial;
        if self.get(serial)?.is_none() {
            self.add(key)?;
        }
        let known = self.known(serial)?;
        if known.password != key.password {
            return Err(Error::OtherPassword { serial: serial.clone() });
        }
        match (known.header_hash, key.header_hash) {
            (None, Some(hash)) => self.formatted(serial, hash),
            _ => self.sync(),
        }
    }

    /// What is known of a drive.
    ///
    /// # Errors
    /// [`Error::Sealed`], [`Error::Damaged`], [`Error::Version`].
    pub fn get(&self, serial: &DriveSerial) -> Result<Option<DriveKey>, Error> {
        let path = self.file(serial);
        let text = match read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("reading", &path))?,
        };
        self.parse(&path, &text, serial).map(Some)
    }

    /// Every drive, by its serial number.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn list(&self) -> Result<Vec<DriveKey>, Error> {
        let mut keys = Vec::new();
        for serial in files(&self.folder)? {
            keys.extend(self.get(&serial)?);
        }
        Ok(keys)
    }

    fn known(&self, serial: &DriveSerial) -> Result<DriveKey, Error> {
        self.get(serial)?.ok_or_else(|| Error::NoPassword { serial: serial.clone() })
    }

    /// Writes a file where there is none; one that is there stays.
    fn add(&self, key: &DriveKey) -> Result<(), Error> {
        let path = self.file(&key.serial);
        match durable::write(&path, &self.document(key)?, 0o600) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(Error::io("writing", &path)),
        }
    }

    /// A file that was found may be of a process that died before it made the name last.
    fn sync(&self) -> Result<(), Error> {
        durable::sync_folder(&self.folder).map_err(Error::io("syncing", &self.folder))
    }

    fn file(&self, serial: &DriveSerial) -> PathBuf {
        self.folder.join(format!("{serial}.{EXTENSION}"))
    }

    fn document(&self, key: &DriveKey) -> Result<Vec<u8>, Error> {
        let sealed = self.keyring.seal(&context(&key.serial), key.password.text().as_bytes())?;
        let document = Document {
            version: VERSION,
            serial: key.serial.clone(),
            sealed: STANDARD.encode(sealed),
            header_hash: key.header_hash,
        };
        let mut text = serde_json::to_vec_pretty(&document)
            .map_err(|cause| damaged(&self.file(&key.serial), cause))?;
        text.push(b'\n');
        Ok(text)
    }

    fn parse(&self, path: &Path, text: &[u8], serial: &DriveSerial) -> Result<DriveKey, Error> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let what = || format!("the password in {}", path.display());
        let found: Version = serde_json::from_slice(text).map_err(|e| damaged(path, e))?;
        if found.version != VERSION {
            return Err(Error::Version { what: what(), version: found.version });
        }
        let document: Document = serde_json::from_slice(text).map_err(|e| damaged(path, e))?;
        if document.serial != *serial {
            return Err(damaged(path, format!("it is of drive {}", document.serial)));
        }
        let sealed = STANDARD.decode(&document.sealed).map_err(|e| damaged(path, e))?;
        let secret = self.keyring.open(&context(serial), &sealed, what)?;
        let password = std::str::from_utf8(&secret).ok().and_then(|text| text.parse().ok());
        let password = password.ok_or_else(|| damaged(path, "it holds no password"))?;
        Ok(DriveKey { serial: document.serial, password, header_hash: document.header_hash })
    }
}

fn context(serial: &DriveSerial) -> Vec<u8> {
    format!("drive {serial}").into_bytes()
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn damaged(path: &Path, what: impl ToString) -> Error {
    Error::Damaged { path: path.to_owned(), what: what.to_string() }
}

fn random() -> Result<DrivePassword, Error> {
    let mut bytes = Zeroizing::new([0; 16]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| Error::Random)?;
    Ok(DrivePassword::from_bytes(&bytes))
}

/// The serial numbers that have a file, ascending.
fn files(folder: &Path) -> Result<Vec<DriveSerial>, Error> {
    let mut serials = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("listing", folder))? {
        let name = entry.map_err(Error::io("listing", folder))?.file_name();
        let serial = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
        serials.extend(serial.and_then(|serial| serial.parse::<DriveSerial>().ok()));
    }
    serials.sort_unstable();
    Ok(serials)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn serial(text: &str) -> DriveSerial {
        text.parse().unwrap()
    }

    fn key(serial_number: &str, byte: u8, header: Option<u8>) -> DriveKey {
        DriveKey {
            serial: serial(serial_number),
            password: DrivePassword::from_bytes(&[byte; 16]),
            header_hash: header.map(|byte| Digest([byte; 32])),
        }
    }

    #[test]
    fn a_password_is_on_the_disk_before_it_is_heard_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/keys");
        let first = DriveKeys::open(&folder).unwrap().password(&serial("D0")).unwrap();
        // As after a crash: nothing of the first one lives.
        let keys = DriveKeys::open(&folder).unwrap();
        assert_eq!(keys.list().unwrap().len(), 1);
        assert_eq!(keys.password(&serial("D0")).unwrap(), first);
        assert!(keys.password(&serial("D1")).unwrap() != first);
        let known = keys.get(&serial("D0")).unwrap().unwrap();
        assert_eq!((known.password, known.header_hash), (first.clone(), None));
        // Formatting was interrupted or not: the same password, whatever header there is now.
        for byte in [1, 1, 2] {
            keys.formatted(&serial("D0"), Digest([byte; 32])).unwrap();
            let known = DriveKeys::open(&folder).unwrap().get(&serial("D0")).unwrap().unwrap();
            assert_eq!(known.header_hash, Some(Digest([byte; 32])));
            assert_eq!(known.password, first);
        }
    }

    #[test]
    fn a_drive_without_a_password_cannot_have_been_formatted() {
        let dir = tempfile::tempdir().unwrap();
        let keys = DriveKeys::open(dir.path()).unwrap();
        let refused = keys.formatted(&serial("D0"), Digest([1; 32]));
        assert!(matches!(refused, Err(Error::NoPassword { .. })));
        assert_eq!(keys.list().unwrap(), []);
        assert_eq!(keys.get(&serial("D0")).unwrap(), None);
    }

    #[test]
    fn of_many_that_ask_at_once_all_hear_the_same_password() {
        let dir = tempfile::tempdir().unwrap();
        let ask = || DriveKeys::open(dir.path()).and_then(|keys| keys.password(&serial("D0")));
        let heard: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert!(heard.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_full_or_read_only_disk_gives_no_password() {
        let dir = tempfile::tempdir().unwrap();
        let keys = DriveKeys::open(dir.path()).unwrap();
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(matches!(keys.password(&serial("D0")), Err(Error::Io { .. })));
    }

    #[test]
    fn no_digit_is_on_the_disk_in_clear_and_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = DriveKeys::open(dir.path()).unwrap();
        let text = keys.password(&serial("D0")).unwrap().text();
        for name in ["drives.key", "D0.json"] {
            let path = dir.path().join(name);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let bytes = fs::read(&path).unwrap();
            for group in text.split('-') {
                assert!(!bytes.windows(6).any(|window| window == group.as_bytes()), "{name}");
            }
        }
    }

    #[test]
    fn a_drives_file_is_not_another_drives() {
        let dir = tempfile::tempdir().unwrap();
        let keys = DriveKeys::open(dir.path()).unwrap();
        keys.password(&serial("D0")).unwrap();
        let text = fs::read_to_string(dir.path().join("D0.json")).unwrap();
        let moved = |text: &str| {
            fs::write(dir.path().join("D1.json"), text).unwrap();
            keys.password(&serial("D1"))
        };
        assert!(matches!(moved(&text), Err(Error::Damaged { .. })));
        assert!(matches!(moved(&text.replace("D0", "D1")), Err(Error::Sealed { .. })));
        assert!(matches!(moved("{"), Err(Error::Damaged { .. })));
        assert!(matches!(moved(r#"{"version":2}"#), Err(Error::Version { .. })));
        assert!(matches!(moved(&"x".repeat(1 << 20)), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_key_file_that_is_gone_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        DriveKeys::open(dir.path()).unwrap().password(&serial("D0")).unwrap();
        fs::remove_file(dir.path().join("drives.key")).unwrap();
        for _ in 0..2 {
            assert!(matches!(DriveKeys::open(dir.path()), Err(Error::KeyFileLost { .. })));
        }
        fs::remove_file(dir.path().join("D0.json")).unwrap();
        DriveKeys::open(dir.path()).unwrap();
    }

    #[test]
    fn what_others_have_kept_is_taken_in_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let keys = DriveKeys::open(dir.path()).unwrap();
        keys.restore(&key("D0", 1, None)).unwrap();
        keys.restore(&key("D0", 1, Some(5))).unwrap();
        keys.restore(&key("D0", 1, Some(6))).unwrap();
        assert!(matches!(keys.restore(&key("D0", 2, Some(5))), Err(Error::OtherPassword { .. })));
        assert_eq!(keys.list().unwrap(), [key("D0", 1, Some(5))]);
    }
}
