//! Times as Go writes them: RFC 3339 with up to nine decimals and the local offset.
//!
//! Trees are named by their hash, so their text must be what restic's would be. Reads no clock.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// A moment in local time, to the nanosecond.
#[must_use]
pub(crate) fn format(moment: Timestamp) -> String {
    format_in(moment, &local())
}

fn local() -> TimeZone {
    TimeZone::system()
}

fn format_in(moment: Timestamp, zone: &TimeZone) -> String {
    // The text has no seconds in an offset, as zones had before they were standardised: a moment
    // written with such a one would be another moment when it is read.
    let offset = Some(zone.to_offset(moment)).filter(|offset| offset.seconds() % 60 == 0);
    let offset = offset.unwrap_or(jiff::tz::Offset::UTC);
    let local = offset.to_datetime(moment);
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    );
    let nanos = local.subsec_nanosecond();
    if nanos != 0 {
        text.push('.');
        text.push_str(format!("{nanos:09}").trim_end_matches('0'));
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
    let (date, rest) = text.split_once(['T', 't'])?;
    let zone_at = rest.rfind(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) =
        (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':');
    let (hour, minute, second) =
        (number(clock.next()?, 2)?, number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    let narrow = |n: i32| i8::try_from(n).ok();
    let local = civil::DateTime::new(
        i16::try_from(year).ok()?,
        narrow(month)?,
        narrow(day)?,
        narrow(hour)?,
        narrow(minute)?,
        narrow(second)?,
        nanos,
    )
    .ok()?;
    let utc = jiff::tz::Offset::UTC.to_timestamp(local).ok()?;
    utc.checked_sub(SignedDuration::from_secs(offset_seconds(zone)?)).ok()
}

fn number(text: &str, digits: usize) -> Option<i32> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = i64::from(number(hours, 2)?) * 3600 + i64::from(number(minutes, 2)?) * 60;
    Some(if sign == "-" { -seconds } else { seconds })
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

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9T:.+Z-]{10,40}") {
            let _ = parse(&text);
        }
    }
}
