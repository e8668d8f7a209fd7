//! JSON web tokens in their compact form (RFC 7515), taken apart leniently in spelling and strictly
//! in meaning. Verifies no signature.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest token that is looked at; with a chain of certificates in it they grow long.
const LONGEST: usize = 32 << 10;

/// URL-safe, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token's parts. Nothing in it is to be believed before its signature is verified.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) header: Header,
    /// The claims as JSON text.
    claims: Vec<u8>,
    /// What the signature is over, as it was sent.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

/// What is read of a header. A key or certificate within it is never even looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    /// What kind of token it is said to be.
    #[serde(default)]
    pub(crate) typ: Option<String>,
    #[serde(default)]
    pub(crate) kid: Option<String>,
    /// SHA-1 of the certificate.
    #[serde(default)]
    x5t: Option<String>,
    /// SHA-256 of the certificate.
    #[serde(default, rename = "x5t#S256")]
    x5t_s256: Option<String>,
    /// Extensions that must be understood; none is.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// What a header names a certificate by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thumbprints {
    pub(crate) sha1: Option<[u8; 20]>,
    pub(crate) sha256: Option<[u8; 32]>,
}

impl Header {
    /// The certificate that the header names. None where what it says is not a digest.
    pub(crate) fn thumbprints(&self) -> Option<Thumbprints> {
        let sha1 = self.x5t.as_deref().map(digest::<20>);
        let sha256 = self.x5t_s256.as_deref().map(digest::<32>);
        match (sha1, sha256) {
            (Some(None), _) | (_, Some(None)) => None,
            (sha1, sha256) => Some(Thumbprints { sha1: sha1.flatten(), sha256: sha256.flatten() }),
        }
    }
}

fn digest<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

/// Base 64 of either alphabet, padded or not.
fn decode(text: &str) -> Option<Vec<u8>> {
    let url_safe = |character| match character {
        '+' => '-',
        '/' => '_',
        other => other,
    };
    LENIENT.decode(text.chars().map(url_safe).collect::<String>()).ok()
}

impl<'a> Parts<'a> {
    /// The parts of a token; none when it is not one that is understood wholly.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let (claims, signature) = (decode(claims)?, decode(signature)?);
        Some(Self { header, claims, signed: signed.as_bytes(), signature })
    }

    /// The claims; none where they are not of this type.
    pub(crate) fn claims<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.claims).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_base_64_are_the_same() {
        let bytes = [0xfb, 0xff, 0xbf, 1];
        for text in ["-_-_AQ", "-_-_AQ==", "+/+/AQ==", "+/+/AQ"] {
            assert_eq!(decode(text).unwrap(), bytes, "{text}");
        }
        for text in ["-_-_A", "-_ -_AQ", "AB=C", "é"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn two_parts_or_four_are_no_token() {
        for bad in ["", ".", "..", "e30.e30", "e30.e30.AA", "eyJhbGciOiJ4In0.e30.AA.AA"] {
            assert!(Parts::parse(bad).is_none(), "{bad}");
        }
        let parts = Parts::parse("eyJhbGciOiJ4In0.e30.").unwrap();
        assert_eq!((parts.header.alg.as_str(), parts.signature.len()), ("x", 0));
        let crit = url(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#);
        assert!(Parts::parse(&format!("{crit}.e30.AA")).is_none());
        let twice = url(r#"{"alg":"RS256","alg":"none"}"#);
        assert!(Parts::parse(&format!("{twice}.e30.AA")).is_none());
    }

    fn url(text: &str) -> String {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Parts::parse(&text);
            let part = base64::engine::general_purpose::URL_SAFE.encode(&bytes);
            let _ = Parts::parse(&format!("{part}.{part}.{part}"));
            let json = url(&format!(r#"{{"alg":"RS256","x5t":"{part}"}}"#));
            if let Some(parts) = Parts::parse(&format!("{json}.{part}.{part}")) {
                let _ = parts.header.thumbprints();
                let _ = parts.claims::<serde_json::Value>();
            }
        }
    }
}
