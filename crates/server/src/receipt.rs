//! The receipt key, and the signatures over receipts and want-lists; custody logs are signed with it, too. What these say is decided
//! elsewhere.

use crate::Error;
use crate::data::DataFolder;
use crate::token;
use seed::WantList;
use signing::SigningKey;
use wire::{PublicKey, Receipt, Signature, SignedReceipt};
use zeroize::Zeroizing;

const FILE: &str = "receipt.key";

/// The key that the vault signs receipts with, and custody logs; 32 bytes in a private file.
#[derive(Debug)]
pub(crate) struct ReceiptKey(SigningKey);

impl ReceiptKey {
    /// The key in the data folder, made where there is none.
    pub(crate) fn open(data: &DataFolder) -> Result<Self, Error> {
        if let Some(bytes) = data.read(FILE)?.map(Zeroizing::new) {
            let seed = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Error::Damaged {
                what: FILE.to_owned(),
                why: format!("it is {} bytes long, not 32", bytes.len()),
            })?;
            return Ok(Self(SigningKey::from_bytes(&Zeroizing::new(seed))));
        }
        let mut seed = Zeroizing::new([0_u8; 32]);
        token::random(&mut *seed)?;
        data.replace(FILE, &*seed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// For custody logs.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.0
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// A want-list's file.
    pub(crate) fn sign_wanted(&self, list: &WantList) -> Result<Vec<u8>, Error> {
        let damaged = |cause: seed::Malformed| Error::Damaged {
            what: "a want-list".into(),
            why: cause.to_string(),
        };
        list.encode(&self.0).map_err(damaged)
    }

    /// The receipt's text as it will be stored and sent, and its signature.
    pub(crate) fn sign(&self, receipt: &Receipt) -> Result<SignedReceipt, Error> {
        let damaged = |cause: serde_json::Error| Error::Damaged {
            what: "a receipt".into(),
            why: cause.to_string(),
        };
        let text = serde_json::to_string(receipt).map_err(damaged)?;
        let message = [Receipt::DOMAIN, text.as_bytes()].concat();
        let signature = Signature(self.0.sign(&message));
        Ok(SignedReceipt { receipt: text, public_key: self.public(), signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_stays_the_same_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let first = ReceiptKey::open(&data).unwrap().public();
        assert_eq!(ReceiptKey::open(&data).unwrap().public(), first);
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join(FILE), b"short").unwrap();
        assert!(matches!(ReceiptKey::open(&data), Err(Error::Damaged { .. })));
    }
}
