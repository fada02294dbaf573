//! From when until when a certificate is valid: the one thing of it that the TLS library does not tell. Whether it is well formed
//! otherwise is for the library.

use quipu_schemas::context::Millis;
use time::{Date, Month, OffsetDateTime, Time};

/// From when until when, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: Millis,
    pub(super) ends: Millis,
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] EXPLICIT`, the version.
const VERSION: u8 = 0xa0;

/// The validity of a DER certificate (RFC 5280, 4.1).
pub(super) fn read(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut rest, _) = expect(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = expect(rest, tag)?.1;
    }
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (begins, rest) = moment(validity)?;
    let (ends, _) = moment(rest)?;
    Some(Validity { begins, ends })
}

/// The tag, contents and rest of the element that begins here.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        let length = digits
            .iter()
            .try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))?;
        (length, rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(bytes)?;
    (tag == wanted).then_some((contents, rest))
}

fn moment(bytes: &[u8]) -> Option<(Millis, &[u8])> {
    let (tag, contents, rest) = element(bytes)?;
    let text = std::str::from_utf8(contents).ok()?.strip_suffix('Z')?;
    let (year, text) = match tag {
        UTC_TIME => {
            let short: i32 = text.get(..2)?.parse().ok()?;
            (if short < 50 { 2000 + short } else { 1900 + short }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| -> Option<u8> { text.get(at..at + 2)?.parse().ok() };
    let month = Month::try_from(part(0)?).ok()?;
    let date = Date::from_calendar_date(year, month, part(2)?).ok()?;
    let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    (text.len() == 10).then_some(())?;
    let millis = OffsetDateTime::new_utc(date, time).unix_timestamp().checked_mul(1_000)?;
    // Before 1970 is always.
    Some((u64::try_from(millis).unwrap_or(0), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = contents.len();
        let mut out = vec![tag];
        if length < 0x80 {
            out.push(length as u8);
        } else {
            out.extend([0x82, (length >> 8) as u8, length as u8]);
        }
        out.extend(contents);
        out
    }

    fn certificate(begins: &[u8], ends: &[u8], with_version: bool) -> Vec<u8> {
        let validity = der(SEQUENCE, &[begins, ends].concat());
        let version = if with_version { der(VERSION, &der(INTEGER, &[2])) } else { vec![] };
        let issuer = der(SEQUENCE, &[0; 200]);
        let head = [version, der(INTEGER, &[1; 20]), der(SEQUENCE, &[]), issuer, validity].concat();
        der(SEQUENCE, &der(SEQUENCE, &head))
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let (utc, general) = (der(UTC_TIME, b"491231235959Z"), der(GENERALIZED_TIME, b"20500101000000Z"));
        for with_version in [true, false] {
            let valid = read(&certificate(&utc, &general, with_version)).unwrap();
            assert_eq!(valid.ends - valid.begins, 1_000);
            assert_eq!(valid.ends, 2_524_608_000_000);
        }
        let old = der(UTC_TIME, b"500101000000Z");
        assert_eq!(read(&certificate(&old, &utc, true)).unwrap().begins, 0);
    }

    #[test]
    fn cut_or_changed_bytes_never_panic() {
        let whole = certificate(&der(UTC_TIME, b"240101000000Z"), &der(UTC_TIME, b"250101000000Z"), true);
        assert!(read(&whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), None, "{cut}");
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = read(&changed);
            }
        }
        for bad in [
            &b"240101000000"[..],
            b"241301000000Z",
            b"2401010000Z",
            b"24010100000\xffZ",
            b"240101000000ZZ",
            b"240101000000.5Z",
        ] {
            assert_eq!(
                read(&certificate(&der(UTC_TIME, bad), &der(UTC_TIME, b"250101000000Z"), true)),
                None,
                "{bad:?}"
            );
        }
    }
}
