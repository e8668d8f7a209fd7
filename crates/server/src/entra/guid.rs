//! GUIDs, as Azure's clients write them: read in any case, kept and written in lower case.

use crate::{Error, token};
use std::fmt;
use std::str::FromStr;

/// A GUID in lower case, with its hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Guid(String);

impl Guid {
    /// A random one (RFC 9562, version 4).
    pub(crate) fn draw() -> Result<Self, Error> {
        let mut bytes = [0_u8; 16];
        token::random(&mut bytes)?;
        let version = 0xffff_ffff_ffff_0fff_3fff_ffff_ffff_ffff_u128;
        let marks = 0x0000_0000_0000_4000_8000_0000_0000_0000_u128;
        let number = (u128::from_be_bytes(bytes) & version) | marks;
        let hex = format!("{number:032x}");
        let mut text = String::with_capacity(36);
        for (position, digit) in hex.chars().enumerate() {
            if HYPHENS.contains(&position) {
                text.push('-');
            }
            text.push(digit);
        }
        Ok(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Before which of its 32 digits a GUID has a hyphen.
const HYPHENS: [usize; 4] = [8, 12, 16, 20];

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is no GUID.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a GUID has 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12")]
pub(crate) struct NoGuid;

impl FromStr for Guid {
    type Err = NoGuid;

    fn from_str(text: &str) -> Result<Self, NoGuid> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths = groups.iter().map(|group| group.len());
        let hex = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if !hex || !lengths.eq([8, 4, 4, 4, 12]) {
            return Err(NoGuid);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_guid_is_of_version_4_and_reads_back() {
        let guid = Guid::draw().unwrap();
        assert_eq!(guid.as_str().parse::<Guid>().unwrap(), guid);
        assert_eq!(guid.as_str().as_bytes()[14], b'4');
        assert!(b"89ab".contains(&guid.as_str().as_bytes()[19]));
        assert_ne!(Guid::draw().unwrap(), guid);
    }

    #[test]
    fn case_does_not_count_and_shape_does() {
        let upper: Guid = "00000003-0000-0000-C000-000000000000".parse().unwrap();
        assert_eq!(upper.as_str(), "00000003-0000-0000-c000-000000000000");
        let bad = ["", "x", "00000003-0000-0000-c000-00000000000", "{00000003-0000-0000-c000-0}"];
        for bad in bad {
            assert_eq!(bad.parse::<Guid>(), Err(NoGuid), "{bad}");
        }
    }
}
