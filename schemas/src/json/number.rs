//! Numbers of JSON that cannot be kept as they were written.
//!
//! One rule, whatever the way in: **a number keeps every digit that it was given, or it is refused.** Without a point and an
//! exponent it is an integer and fits 64 bits (`-9223372036854775808` to `18446744073709551615`). With one it is a double,
//! and the double nearest to it, written with as many digits, gives back the same digits. So `0.1`, `1e300` and
//! `0.10000000000000001` are taken, and `100000000000000000001`, `123456789012345.678`, `1e-400` and `1e400` are not.

/// Most digits that any double has before only zeros follow.
const DIGITS_OF_ANY_DOUBLE: usize = 767;

/// The first number of a JSON text that cannot be kept: which of its numbers it is (from 0), and how it is written.
///
/// The text is one that a JSON parser took, or refused for a number that is out of range; of any other the answer says
/// nothing.
pub fn first_inexact(text: &[u8]) -> Option<(usize, &str)> {
    let mut nth = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at + 1),
            b'-' | b'0'..=b'9' => {
                let end = number_end(text, at);
                let number = std::str::from_utf8(&text[at..end]).unwrap_or_default();
                if !is_exact(number) {
                    return Some((nth, number));
                }
                (nth, at) = (nth + 1, end);
            }
            _ => at += 1,
        }
    }
    None
}

/// The place behind the string whose first character is at `at`.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn number_end(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    at + rest
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        .unwrap_or(rest.len())
}

/// Whether a number, as JSON writes it, is kept with every digit.
pub fn is_exact(number: &str) -> bool {
    if !number.contains(['.', 'e', 'E']) {
        return number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
    }
    let (Some(given), Ok(double)) = (Decimal::of(number), number.parse::<f64>()) else {
        return false;
    };
    if !double.is_finite() || given.digits.len() > DIGITS_OF_ANY_DOUBLE {
        return false;
    }
    // As short as it can be written, and with as many digits as were given: whoever wrote a double, wrote one of the two.
    let same = |text: &str| Decimal::of(text).is_some_and(|kept| kept == given);
    same(&format!("{double:e}")) || same(&format!("{double:.*e}", given.digits.len().saturating_sub(1)))
}

/// A decimal number in its one shortest form: no zeros around its digits.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    /// The power of ten of the last digit.
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            // An exponent that does not fit 64 bits is that of no double, whatever stands before it.
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let mut exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent = exponent.checked_add(1)?;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..leading);
        if digits.is_empty() {
            exponent = 0;
        }
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_within_64_bits() {
        for number in ["0", "-0", "7", "-9223372036854775808", "18446744073709551615"] {
            assert!(is_exact(number), "{number}");
        }
        for number in [
            "18446744073709551616",
            "-9223372036854775809",
            "100000000000000000000",
            "100000000000000000001",
        ] {
            assert!(!is_exact(number), "{number}");
        }
    }

    #[test]
    fn doubles_are_exact_where_no_digit_is_lost() {
        for number in [
            "0.0",
            "-0.0",
            "0e999",
            "1.10",
            "0.1",
            "4.0",
            "1e300",
            "1E5",
            "1e+20",
            "5e-324",
            "1.7976931348623157e308",
            "0.30000000000000004",
            // What C writes of 0.1 with %.17g and with %.25f.
            "0.10000000000000001",
            "0.1000000000000000055511151",
            "9007199254740993e0",
        ] {
            let expected = number != "9007199254740993e0";
            assert_eq!(is_exact(number), expected, "{number}");
        }
        for number in [
            "1e-400",
            "1e400",
            "-1e400",
            "123456789012345.678",
            "3.141592653589793238",
            "1e99999999999999999999",
            &format!("0.{}1", "3".repeat(900)),
        ] {
            assert!(!is_exact(number), "{number}");
        }
    }

    #[test]
    fn every_double_written_by_us_is_exact() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let double = f64::from_bits(bits);
            if double.is_finite() {
                for text in [
                    format!("{double:e}"),
                    format!("{double:.16e}"),
                    serde_json::json!(double).to_string(),
                ] {
                    assert!(is_exact(&text), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_first_inexact_number_is_found_past_strings() {
        let text = br#"{"a \" 1e400":[1,-2.5,"1e400\\"],"b":1e400,"c":1e-400}"#;
        assert_eq!(first_inexact(text), Some((2, "1e400")));
        assert_eq!(first_inexact(br#"{"a":[1,2,{"b":0.5}]}"#), None);
        assert_eq!(first_inexact(b"\"open"), None);
        assert_eq!(first_inexact(b"\"open\\"), None);
    }
}
