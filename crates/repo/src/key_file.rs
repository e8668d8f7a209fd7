//! Key files: the master key encrypted under a password, derived with scrypt.
//!
//! Source: restic's doc/design.rst, "Keys, Encryption and MAC". Does not touch a store.

use crate::{Error, crypto::Key, time};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// The cost of deriving a key from a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// log2 of scrypt's N.
    pub log_n: u8,
    /// scrypt's r.
    pub r: u32,
    /// scrypt's p.
    pub p: u32,
}

impl KdfParams {
    /// What new keys get: about half a second on one core of 2020 by a plain implementation, as restic's own calibration aims at; an
    /// even number of lanes, because two cores derive one more in the time of the last one.
    pub const STANDARD: Self = Self { log_n: 15, r: 8, p: 6 };
    /// For tests only: no protection at all.
    pub const WEAK: Self = Self { log_n: 4, r: 8, p: 1 };
    /// What the lanes of a key file may be together, in bytes: a hostile one could ask for all memory there is, and for days.
    const MAX_LANES: u64 = 1 << 30;

    pub(crate) fn derive(self, password: &[u8], salt: &[u8]) -> Result<Key, Error> {
        let Self { log_n, r, p } = self;
        let absurd = || Error::KeyParameters(format!("scrypt with N=2^{log_n}, r={r}, p={p}"));
        let lane = (128 * u64::from(r)).checked_shl(u32::from(log_n)).unwrap_or(u64::MAX);
        let lanes = lane.saturating_mul(p.into());
        if log_n > 30 || p > 64 || r > 1024 || lanes > Self::MAX_LANES {
            return Err(absurd());
        }
        let mut bytes = Zeroizing::new([0u8; 64]);
        kdf::scrypt(password, salt, kdf::Cost { log_n, r, p }, bytes.as_mut())
            .map_err(|kdf::Absurd| absurd())?;
        let part = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
        let mut encrypt = [0; 32];
        encrypt.copy_from_slice(part(0..32));
        let mut mac_k = [0; 16];
        mac_k.copy_from_slice(part(32..48));
        let mut mac_r = [0; 16];
        mac_r.copy_from_slice(part(48..64));
        Ok(Key::new(encrypt, mac_k, mac_r))
    }
}

/// A file below `keys/`, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeyFile {
    // For people only: rustic leaves out what it was not told.
    #[serde(default)]
    created: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

#[derive(Serialize, Deserialize)]
struct MasterKey {
    mac: MacKey,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacKey {
    k: String,
    r: String,
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.mac.k.zeroize();
        self.mac.r.zeroize();
        self.encrypt.zeroize();
    }
}

/// Who makes a key or a lock, as it is recorded in clear.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    /// Host name.
    pub hostname: String,
    /// User name.
    pub username: String,
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Process.
    pub pid: u32,
}

impl KeyFile {
    /// Encrypts `master` under `password`.
    ///
    /// # Errors
    /// [`Error::Random`]; [`Error::KeyParameters`].
    pub(crate) fn seal(
        master: &Key,
        password: &[u8],
        params: KdfParams,
        author: &Author,
        now: jiff::Timestamp,
    ) -> Result<Self, Error> {
        let mut salt = [0; 64];
        getrandom::fill(&mut salt).map_err(Error::Random)?;
        let (encrypt, k, r) = master.parts();
        let document = MasterKey {
            mac: MacKey { k: STANDARD.encode(k), r: STANDARD.encode(r) },
            encrypt: STANDARD.encode(encrypt),
        };
        let plain = Zeroizing::new(
            serde_json::to_vec(&document).map_err(|e| Error::KeyParameters(e.to_string()))?,
        );
        let mut data = Vec::new();
        params.derive(password, &salt)?.seal(&plain, &mut data)?;
        Ok(Self {
            created: time::format(now),
            username: author.username.clone(),
            hostname: author.hostname.clone(),
            kdf: "scrypt".into(),
            n: 1u64.checked_shl(u32::from(params.log_n)).unwrap_or(0),
            r: params.r,
            p: params.p,
            salt: STANDARD.encode(salt),
            data: STANDARD.encode(data),
        })
    }

    /// When, by whom and where it was made.
    pub(crate) fn said(self) -> (String, String, String) {
        (self.created, self.username, self.hostname)
    }

    /// The master key, or none when the password is not this key's.
    ///
    /// # Errors
    /// [`Error::KeyParameters`] when the file is malformed or asks for too much memory.
    pub(crate) fn open(&self, password: &[u8]) -> Result<Option<Key>, Error> {
        if self.kdf != "scrypt" || !self.n.is_power_of_two() || self.n < 2 {
            return Err(Error::KeyParameters(format!("{} with N={}", self.kdf, self.n)));
        }
        let log_n = u8::try_from(self.n.trailing_zeros()).unwrap_or(u8::MAX);
        let decode = |text: &str, what: &str| {
            STANDARD.decode(text).map_err(|_| Error::KeyParameters(format!("{what} is not base64")))
        };
        let salt = decode(&self.salt, "salt")?;
        let mut data = decode(&self.data, "data")?;
        let params = KdfParams { log_n, r: self.r, p: self.p };
        if params.derive(password, &salt)?.open(&mut data).is_err() {
            return Ok(None);
        }
        let data = Zeroizing::new(data);
        let master: MasterKey = serde_json::from_slice(&data)
            .map_err(|_| Error::KeyParameters("the master key inside is not readable".into()))?;
        Ok(Some(Key::new(
            array(&master.encrypt, "encrypt")?,
            array(&master.mac.k, "k")?,
            array(&master.mac.r, "r")?,
        )))
    }
}

fn array<const N: usize>(text: &str, what: &str) -> Result<[u8; N], Error> {
    let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
    bytes
        .as_slice()
        .try_into()
        .map_err(|_| Error::KeyParameters(format!("{what} of the master key is not {N} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Key, KeyFile) {
        let master = Key::random().unwrap();
        let file = KeyFile::seal(
            &master,
            b"geheim",
            KdfParams::WEAK,
            &Author::default(),
            jiff::Timestamp::UNIX_EPOCH,
        )
        .unwrap();
        (master, file)
    }

    #[test]
    fn only_the_password_opens_the_key() {
        let (master, file) = sealed();
        assert_eq!(file.open(b"geheim").unwrap().unwrap().parts(), master.parts());
        assert!(file.open(b"Geheim").unwrap().is_none());
    }

    // RFC 7914, section 12, the third vector.
    #[test]
    fn scrypt_is_the_standards() {
        let params = KdfParams { log_n: 10, r: 8, p: 16 };
        let key = params.derive(b"password", b"NaCl").unwrap();
        let (encrypt, k, r) = key.parts();
        let hex: String =
            [&encrypt[..], k, r].concat().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        );
    }

    #[test]
    fn a_key_file_cannot_ask_for_all_memory() {
        let (_, mut file) = sealed();
        file.n = 1 << 40;
        assert!(matches!(file.open(b"geheim"), Err(Error::KeyParameters(_))));
        file.n = 12345;
        assert!(matches!(file.open(b"geheim"), Err(Error::KeyParameters(_))));
        file.n = 1 << 15;
        file.r = u32::MAX;
        assert!(matches!(file.open(b"geheim"), Err(Error::KeyParameters(_))));
    }

    #[test]
    fn a_key_that_does_not_say_whose_it_is_opens() {
        // As rustic 0.11 made it, under the password "x".
        let text = r#"{"kdf":"scrypt","N":131072,"r":8,"p":1,"data":"avOid8Jic/9g97iTjgAxaEtaeLMHUIWggkumOzpMQEHLMCI8n+tpxyVEgM2ty18yp/AuJsNp0E8/QMnlNFKIUvpZj6mrosxybPgLdTFnEUoYbOnbNzkNknJzPZNpFa8O79oKwheIxfuyQZsJBcwaYFLtFtWUU5ITekntNgeV+jzSYKkcUGJ+3Cvcdc7oeM3mIevWKE5tE9CCD9xpydFq3w==","salt":"mbFckI7NhkZ4SlWjdaIdAkGznQJw1dpFtGLz3AeKu+0TJjy2b4QaWyIYdqh0T+epEI+A1HWZcUMAKXYrvL6PEg=="}"#;
        let file: KeyFile = serde_json::from_str(text).unwrap();
        assert!(file.open(b"x").unwrap().is_some());
        assert!(file.open(b"y").unwrap().is_none());
    }

    #[test]
    fn the_standard_cost_is_what_restic_reads() {
        let (_, file) = sealed();
        let json: serde_json::Value = serde_json::to_value(&file).unwrap();
        for field in ["created", "username", "hostname", "kdf", "N", "r", "p", "salt", "data"] {
            assert!(json.get(field).is_some(), "{field}");
        }
    }
}
