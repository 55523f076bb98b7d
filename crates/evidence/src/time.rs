//! Dates in verdicts: what is not yet valid and what is expired are different answers.

use crate::pki::Certificate;
use crate::verdict::{Numbered, Recorder};
use core::time::Duration;

/// First and last second at which something is good, unix time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Dates {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        Self { from: certificate.not_before(), to: certificate.not_after() }
    }

    /// Both ends belong to it (RFC 5280 section 4.1.2.5).
    pub(crate) fn record(self, recorder: &mut Recorder, early: impl Numbered, expired: impl Numbered, now: u64) {
        let Self { from, to } = self;
        let at = date(now);
        recorder.check(early, from <= now, at.clone(), "from ".to_owned() + &date(from));
        recorder.check(expired, now <= to, at, "to ".to_owned() + &date(to));
    }
}

/// An instant as people write it: seconds since 1970, or RFC 3339 (section 5.6) with any offset; fractions of a second are
/// dropped.
pub fn instant(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let upper = text.to_ascii_uppercase().replacen(' ', "T", 1);
    let (local, rest) = upper.split_at_checked("2026-01-01T00:00:00".len())?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) if !fraction.starts_with(|c: char| c.is_ascii_digit()) => return None,
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let seconds = format!("{local}Z").parse::<der::DateTime>().ok()?.unix_duration().as_secs();
    if zone == "Z" {
        return Some(seconds);
    }
    let (sign, offset) = zone.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let digits = |text: &str, most: u64| {
        let number: u64 = text.parse().ok()?;
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) && number <= most).then_some(number)
    };
    let offset = digits(hours, 23)?.checked_mul(3600)?.checked_add(digits(minutes, 59)?.checked_mul(60)?)?;
    match sign {
        "+" => seconds.checked_sub(offset),
        "-" => seconds.checked_add(offset),
        _ => None,
    }
}

/// Unix seconds as a date for people: `2025-08-15T05:08:18Z`, or the number where there is no such date.
pub fn date(seconds: u64) -> String {
    let Ok(date) = der::DateTime::from_unix_duration(Duration::from_secs(seconds)) else {
        return format!("second {seconds}");
    };
    // A verdict has dozens: digit by digit is four times as fast as `Display`.
    let mut text = String::with_capacity(20);
    let [thousands, units] = [date.year() / 100, date.year() % 100].map(|pair| u8::try_from(pair).unwrap_or(0));
    for (pair, after) in [
        (thousands, ""),
        (units, "-"),
        (date.month(), "-"),
        (date.day(), "T"),
        (date.hour(), ":"),
        (date.minutes(), ":"),
        (date.seconds(), "Z"),
    ] {
        text.push(char::from(b'0'.saturating_add(pair / 10)));
        text.push(char::from(b'0'.saturating_add(pair % 10)));
        text.push_str(after);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_people_write_them() {
        for text in [
            "1735689600",
            "2025-01-01T00:00:00Z",
            "2025-01-01t00:00:00.999z",
            "2025-01-01 00:00:00Z",
            "2025-01-01T02:30:00+02:30",
            "2024-12-31T23:00:00-01:00",
        ] {
            assert_eq!(instant(text), Some(1_735_689_600), "{text}");
        }
        for text in [
            "",
            "-1",
            "2025-01-01",
            "2025-01-01T00:00:00",
            "2025-13-01T00:00:00Z",
            "2025-01-01T00:00:00+2:00",
            "2025-01-01T00:00:00+24:00",
            "2025-01-01T00:00:00Zulu",
            "2025-01-01T00:00:00.Z",
            "99999999999999999999",
            "1970-01-01T00:00:00+00:01",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
        assert_eq!(date(1_735_689_600), "2025-01-01T00:00:00Z");
    }

    #[test]
    fn dates_are_those_of_rfc_3339() {
        for seconds in [0, 59, 951_782_400, 1_709_164_799, 1_709_251_200, 4_102_444_799, 253_402_300_799] {
            let known = der::DateTime::from_unix_duration(Duration::from_secs(seconds)).expect("a date");
            assert_eq!(date(seconds), known.to_string());
        }
        assert_eq!(date(1_755_234_498), "2025-08-15T05:08:18Z");
        assert_eq!(date(u64::MAX), "second 18446744073709551615");
    }
}
