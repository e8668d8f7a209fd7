//! Whether a receipt is to be believed. Compares no root: that takes the caller's own inventory.

use crate::{Error, Result};
use ed25519_dalek::{Signature, VerifyingKey};
use wire::{PublicKey, Receipt, SignedReceipt};

/// The receipt in `signed`, if the key that the caller has pinned has signed exactly its text.
///
/// # Errors
/// [`Error::Receipt`] for another key, a wrong signature, or a document of another version.
pub fn verify_receipt(signed: &SignedReceipt, pinned: &PublicKey) -> Result<Receipt> {
    let bad = |what: &str| Error::Receipt { what: what.to_owned() };
    if signed.public_key != *pinned {
        return Err(bad("another key than the one in the credentials has signed it"));
    }
    let key =
        VerifyingKey::from_bytes(&pinned.0).map_err(|_| bad("the pinned key is not a key"))?;
    let message = [Receipt::DOMAIN, signed.receipt.as_bytes()].concat();
    key.verify_strict(&message, &Signature::from_bytes(&signed.signature.0))
        .map_err(|_| bad("its signature does not match"))?;
    let receipt: Receipt =
        serde_json::from_str(&signed.receipt).map_err(|cause| bad(&cause.to_string()))?;
    if receipt.version != Receipt::VERSION {
        return Err(bad("it is of a version newer than this program"));
    }
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    fn signed(text: &str, domain: &[u8]) -> (SignedReceipt, PublicKey) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = PublicKey(key.verifying_key().to_bytes());
        let signature = key.sign(&[domain, text.as_bytes()].concat());
        let signed = SignedReceipt {
            receipt: text.to_owned(),
            public_key: public,
            signature: wire::Signature(signature.to_bytes()),
        };
        (signed, public)
    }

    fn text(version: u32) -> String {
        format!(
            r#"{{"version":{version},"vault":"v1","server":"s","seed":"{}","repository":"{}","snapshots":[],
               "objects":1,"bytes":2,"root":"{}","keys":"seed","issuedAt":"2026-01-02T03:04:05Z"}}"#,
            "0".repeat(32),
            "1".repeat(64),
            "2".repeat(64)
        )
    }

    #[test]
    fn a_receipt_is_believed_only_with_the_pinned_key_and_its_exact_text() {
        let (good, key) = signed(&text(1), Receipt::DOMAIN);
        assert_eq!(verify_receipt(&good, &key).unwrap().bytes, 2);
        let other_key = PublicKey(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
        assert!(verify_receipt(&good, &other_key).is_err());
        let mut edited = good.clone();
        edited.receipt = edited.receipt.replace("\"bytes\":2", "\"bytes\":3");
        assert!(verify_receipt(&edited, &key).is_err());
        let mut claimed = good;
        claimed.public_key = other_key;
        assert!(verify_receipt(&claimed, &key).is_err());
    }

    #[test]
    fn a_signature_made_for_something_else_is_no_receipt() {
        let (signed, key) = signed(&text(1), b"packmule manifest v1\n");
        assert!(verify_receipt(&signed, &key).is_err());
    }

    #[test]
    fn a_newer_receipt_is_refused() {
        let (signed, key) = signed(&text(2), Receipt::DOMAIN);
        assert!(verify_receipt(&signed, &key).unwrap_err().to_string().contains("newer"));
    }
}
