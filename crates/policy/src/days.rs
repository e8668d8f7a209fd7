//! Days of the week as people write them: `daily`, `mon-fri`, `sat,sun`. Knows no date.

use crate::Invalid;
use jiff::civil::Weekday;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A set of days of the week.
///
/// invariant: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Days([bool; 7]);

impl Days {
    /// Every day.
    pub const DAILY: Self = Self([true; 7]);
    /// Monday to Friday.
    pub const WORK: Self = Self([true, true, true, true, true, false, false]);

    /// Whether that day is one of them.
    #[must_use]
    pub fn contains(&self, day: Weekday) -> bool {
        let at = usize::try_from(day.to_monday_zero_offset()).unwrap_or_default();
        self.0.get(at).copied().unwrap_or_default()
    }

    /// As a field of a cron pattern.
    pub(crate) fn cron(self) -> String {
        if self == Self::DAILY { "*".to_owned() } else { self.list().to_ascii_uppercase() }
    }

    fn list(self) -> String {
        let chosen = NAMES.iter().zip(self.0).filter(|(_, chosen)| *chosen);
        chosen.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
    }
}

impl FromStr for Days {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wanted =
            "days: write daily, or some of mon tue wed thu fri sat sun, such as mon-fri or sat,sun";
        let refuse = || Invalid::new(text, wanted);
        let given = text.trim().to_ascii_lowercase();
        if given == "daily" {
            return Ok(Self::DAILY);
        }
        let day = |name: &str| NAMES.iter().position(|known| *known == name.trim());
        let mut days = [false; 7];
        for part in given.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = day(first).zip(day(last)).ok_or_else(refuse)?;
            // `sat-mon` goes round the week.
            let length = (last + 7 - first) % 7;
            for n in 0..=length {
                if let Some(day) = days.get_mut((first + n) % 7) {
                    *day = true;
                }
            }
        }
        Ok(Self(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if *self == Self::DAILY { "daily".to_owned() } else { self.list() })
    }
}

impl TryFrom<String> for Days {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Days> for String {
    fn from(days: Days) -> Self {
        days.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_lists_and_ranges_that_go_round_the_week() {
        for (text, shown) in [
            ("daily", "daily"),
            ("mon-sun", "daily"),
            ("Mon-Fri", "mon,tue,wed,thu,fri"),
            ("sat-mon", "mon,sat,sun"),
            ("wed", "wed"),
            ("sun, tue-wed", "tue,wed,sun"),
        ] {
            let days: Days = text.parse().unwrap();
            assert_eq!(days.to_string(), shown, "{text}");
            assert_eq!(days.to_string().parse::<Days>().unwrap(), days);
        }
        assert_eq!("mon-fri".parse::<Days>().unwrap(), Days::WORK);
        assert!(Days::WORK.contains(Weekday::Friday) && !Days::WORK.contains(Weekday::Sunday));
        for text in ["", "mo", "mon-", "mon,,tue", "weekdays"] {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
    }
}
