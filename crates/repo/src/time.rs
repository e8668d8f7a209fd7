//! Times as Go writes them: RFC 3339 with up to nine decimals and the local offset.
//!
//! Trees are named by their hash, so their text must be what restic's would be. Reads no clock.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// A moment in local time, to the nanosecond.
#[must_use]
pub(crate) fn format(moment: Timestamp) -> String {
    format_in(moment, &local())
}

/// The zone of this machine, to be asked for once for many moments.
pub(crate) fn local() -> TimeZone {
    TimeZone::system()
}

pub(crate) fn format_in(moment: Timestamp, zone: &TimeZone) -> String {
    // The text has no seconds in an offset, as zones had before they were standardised: a moment
    // written with such a one would be another moment when it is read.
    let offset = Some(zone.to_offset(moment)).filter(|offset| offset.seconds() % 60 == 0);
    let offset = offset.unwrap_or(Offset::UTC);
    let local = offset.to_datetime(moment);
    let mut text = String::with_capacity(35);
    let mut part = |before: &str, number: i32, digits: u32| {
        text.push_str(before);
        for place in (0..digits).rev() {
            let digit = u8::try_from(number / 10i32.pow(place) % 10).unwrap_or_default();
            text.push(char::from(b'0' + digit));
        }
    };
    part("", local.year().into(), 4);
    part("-", local.month().into(), 2);
    part("-", local.day().into(), 2);
    part("T", local.hour().into(), 2);
    part(":", local.minute().into(), 2);
    part(":", local.second().into(), 2);
    let nanos = local.subsec_nanosecond();
    if nanos != 0 {
        part(".", nanos, 9);
        text.truncate(text.trim_end_matches('0').len());
    }
    let minutes = offset.seconds() / 60;
    if minutes == 0 {
        text.push('Z');
    } else {
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.abs();
        text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    }
    text
}

/// The moment that a text as above means. None for anything else, and for years outside 0 to 9999.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    parse_with_offset(text).map(|(moment, _)| moment)
}

/// As [`parse`], with the offset that the text has.
pub(crate) fn parse_with_offset(text: &str) -> Option<(Timestamp, Offset)> {
    let (clock, rest) = text.as_bytes().split_first_chunk::<19>()?;
    #[rustfmt::skip]
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T' | b't', h1, h2, b':', mi1, mi2, b':', s1, s2] = *clock
    else {
        return None;
    };
    let year = number(&[y1, y2, y3, y4])?;
    let days = days(year, number(&[mo1, mo2])?, number(&[d1, d2])?)?;
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[mi1, mi2])?, number(&[s1, s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let offset = offset_seconds(zone)?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let moment = Timestamp::new(seconds, nanos).ok()?;
    // Beyond a day there is none; the moment is one all the same.
    let offset = i32::try_from(offset).ok().and_then(|offset| Offset::from_seconds(offset).ok());
    Some((moment, offset.unwrap_or(Offset::UTC)))
}

/// What digits mean; none where there is anything else.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// Days since the epoch, in the calendar that was made to begin in March, where the odd day is the
/// last of a year.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let year = if month < 3 { year - 1 } else { year };
    let before_year = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Of the months from March on, every five have 153 days.
    let before_month = (153 * ((month + 9) % 12) + 2) / 5;
    // 1 March of the year 0 lies 719,468 days before the epoch.
    (1..=last).contains(&day).then_some(before_year + before_month + day - 1 - 719_468)
}

/// Nanoseconds from up to nine decimals, and what follows them.
fn fraction(rest: &[u8]) -> Option<(i32, &[u8])> {
    let Some((b'.', rest)) = rest.split_first() else { return Some((0, rest)) };
    let count = rest.iter().take_while(|digit| digit.is_ascii_digit()).count();
    let (digits, zone) = rest.split_at_checked(count)?;
    let missing = 9u32.checked_sub(u32::try_from(count).ok()?)?;
    let nanos = number(digits)? * 10i64.pow(missing);
    Some((i32::try_from(nanos).ok()?, zone))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = number(&[h1, h2])? * 3600 + number(&[m1, m2])? * 60;
            Some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_as_go_writes_it() {
        let moment: Timestamp = "2014-12-22T13:47:59.9124187Z".parse().unwrap();
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(format_in(moment, &berlin), "2014-12-22T14:47:59.9124187+01:00");
        assert_eq!(format_in(moment, &TimeZone::UTC), "2014-12-22T13:47:59.9124187Z");
        assert_eq!(format_in(Timestamp::UNIX_EPOCH, &TimeZone::UTC), "1970-01-01T00:00:00Z");
        let newfoundland = TimeZone::fixed(jiff::tz::Offset::from_seconds(-12_600).unwrap());
        assert_eq!(format_in(Timestamp::UNIX_EPOCH, &newfoundland), "1969-12-31T20:30:00-03:30");
        assert_eq!(parse("1969-12-31T20:30:00-03:30"), Some(Timestamp::UNIX_EPOCH));
    }

    proptest! {
        #[test]
        fn a_moment_survives_its_text(seconds in -62_000_000_000i64..253_000_000_000, nanos in 0i32..1_000_000_000, offset in -50_000i32..50_000) {
            let moment = Timestamp::new(seconds, nanos).unwrap();
            let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(offset).unwrap());
            prop_assert_eq!(parse(&format_in(moment, &zone)), Some(moment));
        }

        // jiff's own reading of RFC 3339, which takes more than Go writes, and leap seconds.
        #[test]
        fn what_is_read_is_what_it_says(text in "[0-9]{4}-(0[0-9]|1[0-3])-[0-3][0-9][Tt][0-2][0-9]:[0-6][0-9]:[0-5][0-9](\\.[0-9]{0,10})?([Zz]|[+-](0[0-9]|1[0-4]):[0-5][0-9])") {
            let jiff = text.parse::<Timestamp>().ok().filter(|_| !text.starts_with("9999"));
            let read = parse(&text).filter(|_| !text.starts_with("9999"));
            let bare = text.contains(".Z") || text.contains(".z") || text.contains(".+") || text.contains(".-");
            prop_assert!(read == jiff || bare, "{:?} {:?}", read, jiff);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9T:.+Z-]{10,40}") {
            let _ = parse(&text);
        }
    }
}
