//! The password of an encrypted drive: eight groups of six digits, as import services have a field
//! for it and people can read it out over the telephone.
//!
//! Each group is 16 random bits times 11, padded with zeros: 128 bits in all. A number that 11 divides
//! stays none when one digit is changed, or two neighbours are exchanged: so a slip is found, and in
//! which group it is.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const GROUPS: usize = 8;
const BYTES: usize = 2 * GROUPS;
const DIGITS: usize = 6;
const FACTOR: u32 = 11;

/// A drive's password. Shown to nobody by accident: it has no `Display`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DrivePassword([u16; GROUPS]);

impl DrivePassword {
    /// From its 128 bits: each pair of bytes, little-endian, is a group. Where they come from is the
    /// caller's matter: they must be random, and are to be wiped.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let mut groups = [0; GROUPS];
        for (group, pair) in groups.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *group = u16::from_le_bytes(*pair);
        }
        Self(groups)
    }

    /// Its digits, with hyphens between the groups: what the drive is locked with, byte by byte.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        // Written in place: a piece that is put into a longer string would stay behind in memory.
        let mut text = Zeroizing::new(String::with_capacity(GROUPS * (DIGITS + 1)));
        for group in &self.0 {
            if !text.is_empty() {
                text.push('-');
            }
            let mut number = u32::from(*group) * FACTOR;
            let mut digits = Zeroizing::new([0; DIGITS]);
            for digit in digits.iter_mut().rev() {
                *digit = u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
            digits.iter().for_each(|digit| text.push(char::from(b'0' + digit)));
        }
        text
    }
}

impl JsonSchema for DrivePassword {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DrivePassword".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Eight groups of six digits; each group is a number below 720896 that 11 divides",
            "pattern": "^[0-7][0-9]{5}(-[0-7][0-9]{5}){7}$",
        })
    }
}

impl std::fmt::Debug for DrivePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DrivePassword(…)")
    }
}

/// What was typed is no password. Does not repeat what was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrivePasswordError {
    /// It has not the right form at all.
    #[error(
        "a drive's password has eight groups of six digits with hyphens between them; this has {groups} groups"
    )]
    Groups {
        /// How many groups there are.
        groups: usize,
    },
    /// A slip in one group.
    #[error(
        "group {group} of the drive's password is not right: compare its six digits with the original"
    )]
    Slip {
        /// Which one, from 1.
        group: usize,
    },
}

impl FromStr for DrivePassword {
    type Err = DrivePasswordError;

    fn from_str(text: &str) -> Result<Self, DrivePasswordError> {
        let typed: Vec<&str> = text.trim().split('-').collect();
        if typed.len() != GROUPS {
            return Err(DrivePasswordError::Groups { groups: typed.len() });
        }
        let mut groups = [0; GROUPS];
        for (at, (group, typed)) in groups.iter_mut().zip(typed).enumerate() {
            let digits = typed.len() == DIGITS && typed.bytes().all(|byte| byte.is_ascii_digit());
            let number = typed.parse::<u32>().ok().filter(|number| digits && number % FACTOR == 0);
            let number = number.and_then(|number| u16::try_from(number / FACTOR).ok());
            *group = number.ok_or(DrivePasswordError::Slip { group: at + 1 })?;
        }
        Ok(Self(groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn password() -> impl Strategy<Value = DrivePassword> {
        any::<[u16; GROUPS]>().prop_map(DrivePassword)
    }

    #[test]
    fn it_has_eight_groups_of_six_digits() {
        let password = DrivePassword([0, 1, 11, 65_535, 9_091, 40_000, 12_345, 2]);
        let text = "000000-000011-000121-720885-100001-440000-135795-000022";
        assert_eq!(password.text().as_str(), text);
        assert_eq!(text.parse(), Ok(password));
    }

    #[test]
    fn every_bit_is_in_the_digits_and_none_is_shown() {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&[1, 0, 0, 1]);
        let password = DrivePassword::from_bytes(&bytes);
        assert_eq!(password.text().get(..13), Some("000011-002816"));
        assert_eq!(format!("{password:?}"), "DrivePassword(…)");
    }

    #[test]
    fn what_is_no_password_is_refused_without_being_repeated() {
        let groups = |groups| Err(DrivePasswordError::Groups { groups });
        let slip = |group| Err(DrivePasswordError::Slip { group });
        let parse = |text: &str| text.parse::<DrivePassword>();
        assert_eq!(parse(""), groups(1));
        assert_eq!(parse("000000-000011"), groups(2));
        let with = |third: &str| parse(&format!("000000-000011-{third}{}", "-000000".repeat(5)));
        assert!(with("720885").is_ok());
        for third in ["720896", "00011", "0000011", "+00011", "00001١", "999999", "000012"] {
            assert_eq!(with(third), slip(3), "{third}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_down_is_read_back(password in password()) {
            prop_assert_eq!(password.text().parse::<DrivePassword>(), Ok(password.clone()));
        }

        #[test]
        fn a_slip_is_found_in_its_group(
            password in password(), group in 0..GROUPS, place in 0..DIGITS, by in 1..10u8, exchange in any::<bool>(),
        ) {
            let mut text = password.text().as_bytes().to_vec();
            let at = group * (DIGITS + 1) + place;
            if exchange && place + 1 < DIGITS {
                prop_assume!(text[at] != text[at + 1]);
                text.swap(at, at + 1);
            } else {
                text[at] = b'0' + (text[at] - b'0' + by) % 10;
            }
            let slipped = std::str::from_utf8(&text).unwrap().parse::<DrivePassword>();
            prop_assert_eq!(slipped, Err(DrivePasswordError::Slip { group: group + 1 }));
        }
    }
}
