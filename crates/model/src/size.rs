//! Sizes in bytes as people write and read them. Binary units, because that is what drives' file
//! systems and backup tools count in.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number of bytes. Parsed from `1234`, `64K`, `10 MiB`, `1.5T`; shown as `1.500 TiB`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a size; write bytes or a number with K, M, G, T, P or E, such as 64M or 1.5T"
)]
pub struct SizeError(String);

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let refuse = || SizeError(text.chars().take(40).collect());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let power = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 1,
            "m" | "mb" | "mib" => 2,
            "g" | "gb" | "gib" => 3,
            "t" | "tb" | "tib" => 4,
            "p" | "pb" | "pib" => 5,
            "e" | "eb" | "eib" => 6,
            _ => return Err(refuse()),
        };
        let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(refuse());
        }
        let scale = 1u128 << (10 * power);
        let whole: u128 = whole.parse().map_err(|_| refuse())?;
        let parts: u128 =
            if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| refuse())? };
        let tens = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| refuse())?);
        let bytes = whole.checked_mul(scale).ok_or_else(refuse)? + parts * scale / tens;
        u64::try_from(bytes).map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = u128::from(self.0) * 1000;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        while value >= 1024 * 1000 {
            value = (value + 512) / 1024;
            unit = units.next();
        }
        write!(f, "{}.{:03} {}", value / 1000, value % 1000, unit.copied().unwrap_or("B"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_sizes_in_many_ways() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("64K", 65536),
            ("64 KiB", 65536),
            ("1.5M", 1_572_864),
            ("10T", 10 << 40),
            ("3 b", 3),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for text in
            ["", "M", "-1", "1..5M", "1.5.5", "10X", "20000P", "1,5M", "99999999999999999999"]
        {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn shown_with_three_decimals() {
        assert_eq!(ByteSize(1023).to_string(), "1023 B");
        assert_eq!(ByteSize(1024).to_string(), "1.000 KiB");
        assert_eq!(ByteSize(3 << 29).to_string(), "1.500 GiB");
        assert_eq!(ByteSize(u64::MAX).to_string(), "16.000 EiB");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,24}") {
            let _ = text.parse::<ByteSize>();
        }

        #[test]
        fn what_is_shown_parses_to_nearly_the_same(bytes: u64) {
            let parsed = ByteSize(bytes).to_string().parse::<ByteSize>();
            if let Ok(ByteSize(parsed)) = parsed {
                prop_assert!(parsed.abs_diff(bytes) <= bytes / 900);
            }
        }
    }
}
