//! The secret of a recovery kit: `PACKMULE-` and eight groups of five letters and digits, fit for paper.
//!
//! 160 random bits, five in a symbol (Crockford's base 32: no I, L, O and U). The fifth symbol of a group
//! checks the four before it and the group's place: in the field of 32 elements it is their sum, each
//! times another power of the field's generator. So one wrong symbol, two that are exchanged, and groups
//! in another order are found, and in which group the slip is. As typed it is the password of a key of
//! the repository: whoever reads it aloud to another program needs the hyphens and capitals, too.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const PREFIX: &str = "PACKMULE";
const GROUPS: usize = 8;
/// Symbols of a group that count.
const COUNT: usize = 4;
/// 160 bits.
pub const RECOVERY_BYTES: usize = GROUPS * COUNT * 5 / 8;

/// A recovery kit's secret. Shown to nobody by accident: it has no `Display`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode([[u8; COUNT]; GROUPS]);

/// What was typed is no such secret. Does not repeat what was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "group {group} of the recovery kit's secret is not right: compare its five letters and digits with the paper"
)]
pub struct RecoveryCodeError {
    /// Which group, from 1.
    pub group: usize,
}

impl RecoveryCode {
    /// From its 160 bits, which must be random and are to be wiped by whoever has drawn them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; RECOVERY_BYTES]) -> Self {
        let mut groups = [[0; COUNT]; GROUPS];
        let (mut held, mut bits, mut rest) = (0_u32, 0_u32, bytes.iter());
        for symbol in groups.iter_mut().flatten() {
            if bits < 5 {
                held = held << 8 | rest.next().map_or(0, |byte| u32::from(*byte));
                bits += 8;
            }
            bits -= 5;
            *symbol = u8::try_from(held >> bits & 31).unwrap_or_default();
            held &= (1 << bits) - 1;
        }
        Self(groups)
    }

    /// As it is printed, and as it is the password: byte by byte.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(PREFIX);
        for (place, group) in self.0.iter().enumerate() {
            text.push('-');
            for symbol in group.iter().chain([&check(place, group)]) {
                text.push(char::from(ALPHABET.get(usize::from(*symbol)).copied().unwrap_or(b'?')));
            }
        }
        text
    }

    /// The secret as somebody types it from paper: in any case, with blanks, O for 0 and I or L for 1. None
    /// when it does not look like one at all.
    ///
    /// # Errors
    /// Which group has the first slip.
    pub fn typed(text: &str) -> Result<Option<Self>, RecoveryCodeError> {
        let plain: Zeroizing<String> = Zeroizing::new(
            text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_uppercase).collect(),
        );
        let Some(rest) = plain.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')) else {
            return Ok(None);
        };
        if rest.split('-').count() != GROUPS {
            return Ok(None);
        }
        let mut groups = [[0; COUNT]; GROUPS];
        for (place, (group, typed)) in groups.iter_mut().zip(rest.split('-')).enumerate() {
            let slip = RecoveryCodeError { group: place + 1 };
            let typed = typed.as_bytes();
            let (Some(own), Some(last), true) =
                (typed.first_chunk::<COUNT>(), typed.last(), typed.len() == COUNT + 1)
            else {
                return Err(slip);
            };
            for (symbol, letter) in group.iter_mut().zip(own) {
                *symbol = value(*letter).ok_or(slip)?;
            }
            if value(*last) != Some(check(place, group)) {
                return Err(slip);
            }
        }
        Ok(Some(Self(groups)))
    }
}

fn value(letter: u8) -> Option<u8> {
    let meant = match letter {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    let at = ALPHABET.iter().position(|known| *known == meant)?;
    u8::try_from(at).ok()
}

/// Horner's rule over x^5 + x^2 + 1, whose root generates the field.
fn check(place: usize, group: &[u8; COUNT]) -> u8 {
    let times = |value: u8| match value & 16 {
        0 => value << 1,
        _ => (value << 1 ^ 0b10_0101) & 31,
    };
    let sum = group.iter().fold(0, |sum, symbol| times(sum ^ symbol));
    sum ^ u8::try_from(place).unwrap_or_default()
}

impl std::fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_printed_in_groups_that_say_nothing_else() {
        let code = RecoveryCode::from_bytes(&[0; RECOVERY_BYTES]);
        let text = "PACKMULE-00000-00001-00002-00003-00004-00005-00006-00007";
        assert_eq!(code.text().as_str(), text);
        assert_eq!(RecoveryCode::typed(text), Ok(Some(code.clone())));
        assert_eq!(format!("{code:?}"), "RecoveryCode(…)");
        let all = RecoveryCode::from_bytes(&[0xff; RECOVERY_BYTES]);
        assert!(all.text().starts_with("PACKMULE-ZZZZ"));
    }

    #[test]
    fn what_does_not_look_like_one_is_somebodys_own_passphrase() {
        for text in ["", "correct horse battery", "packmule", "PACKMULE-1", "packmule-is-my-choice"]
        {
            assert_eq!(RecoveryCode::typed(text), Ok(None), "{text}");
        }
        let short = "PACKMULE-0000-00001-00002-00003-00004-00005-00006-00007";
        assert_eq!(RecoveryCode::typed(short), Err(RecoveryCodeError { group: 1 }));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back_however_it_is_typed(bytes: [u8; RECOVERY_BYTES]) {
            let code = RecoveryCode::from_bytes(&bytes);
            let sloppy = code.text().to_lowercase().replacen('0', "o", 1).replacen('1', " l", 1);
            prop_assert_eq!(RecoveryCode::typed(&sloppy), Ok(Some(code.clone())));
            prop_assert_eq!(RecoveryCode::typed(&code.text()), Ok(Some(code)));
        }

        #[test]
        fn every_bit_counts(bytes: [u8; RECOVERY_BYTES], at in 0..RECOVERY_BYTES * 8) {
            let mut other = bytes;
            other[at / 8] ^= 1 << (at % 8);
            let (one, other) = (RecoveryCode::from_bytes(&bytes), RecoveryCode::from_bytes(&other));
            prop_assert_ne!(one.text(), other.text());
        }

        #[test]
        fn a_slip_is_found_in_its_group(
            bytes: [u8; RECOVERY_BYTES], group in 0..GROUPS, place in 0..=COUNT, by in 1..32_u8, exchange: bool,
        ) {
            let text = RecoveryCode::from_bytes(&bytes).text().clone();
            let mut text = text.as_bytes().to_vec();
            let at = PREFIX.len() + 1 + group * (COUNT + 2) + place;
            if exchange && place < COUNT {
                prop_assume!(text[at] != text[at + 1]);
                text.swap(at, at + 1);
            } else {
                let was = value(text[at]).unwrap();
                text[at] = ALPHABET[usize::from((was + by) % 32)];
            }
            let slipped = RecoveryCode::typed(std::str::from_utf8(&text).unwrap());
            prop_assert_eq!(slipped, Err(RecoveryCodeError { group: group + 1 }));
        }

        #[test]
        fn groups_in_another_order_are_found(bytes: [u8; RECOVERY_BYTES], one in 0..GROUPS, other in 0..GROUPS) {
            let text = RecoveryCode::from_bytes(&bytes).text();
            let mut groups: Vec<&str> = text.split('-').skip(1).collect();
            prop_assume!(one != other);
            groups.swap(one, other);
            let swapped = format!("{PREFIX}-{}", groups.join("-"));
            prop_assert!(RecoveryCode::typed(&swapped).is_err(), "{}", swapped);
        }
    }
}
