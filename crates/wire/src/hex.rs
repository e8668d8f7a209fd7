//! Fixed numbers of bytes as lower-case hexadecimal text. Knows no cryptography.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Not the hexadecimal text that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HexError {
    text: String,
    digits: usize,
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not {} hexadecimal digits", self.text, self.digits)
    }
}

impl std::error::Error for HexError {}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `N` bytes from exactly `2 N` digits of either case.
pub(crate) fn decode<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let refuse = || HexError { text: text.chars().take(80).collect(), digits: 2 * N };
    if text.len() != 2 * N {
        return Err(refuse());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return Err(refuse()) };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(refuse()) };
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

fn encode(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! hex {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                decode(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": format!("^[0-9a-fA-F]{{{}}}$", 2 * $length),
                })
            }
        }
    };
}

hex!(
    /// The id of a seed: 16 random bytes, drawn at the source.
    SeedId, 16
);
hex!(
    /// An ed25519 public key.
    PublicKey, 32
);
hex!(
    /// An ed25519 signature.
    Signature, 64
);

/// A [`model::Digest`] that may come in upper-case digits, as the import/export service's tools
/// write hashes; it goes out in lower case.
pub(crate) mod any_case {
    use model::Digest;
    use serde::{Deserialize, Deserializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        super::decode(&text).map(Digest).map_err(serde::de::Error::custom)
    }

    /// Where there may be none.
    pub(crate) mod optional {
        use super::{Deserialize, Deserializer, Digest};

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Digest>, D::Error> {
            let text = Option::<std::borrow::Cow<'de, str>>::deserialize(from)?;
            let digest = text.map(|text| crate::hex::decode(&text).map(Digest));
            digest.transpose().map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_bytes_are_the_same_thing(bytes: [u8; 16]) {
            let id = SeedId(bytes);
            prop_assert_eq!(id.to_string().parse::<SeedId>(), Ok(id));
            prop_assert_eq!(id.to_string().to_uppercase().parse::<SeedId>(), Ok(id));
        }

        #[test]
        fn anything_else_is_refused_without_a_panic(text in "\\PC{0,40}") {
            prop_assert_eq!(text.parse::<SeedId>().is_ok(), text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
