//! Codes that follow from the time (RFC 6238: SHA-1, six digits, 30 seconds), and the codes for whoever has lost what makes them.

use super::Password;
use hmac::{Hmac, Mac};
use quipu_schemas::{constant_time::is_equal, context::Millis, digest::Digest, ids::Home, problem::Problem};
use sha1::Sha1;

/// Recovery codes that are made at a time.
pub(crate) const RECOVERY_CODES: usize = 10;

const STEP_MS: Millis = 30_000;
const DIGITS: usize = 6;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Makes and checks codes of one log.
pub(crate) struct Codes {
    pepper: [u8; 32],
}

impl Codes {
    pub(crate) fn new(digest_key: &[u8; 32]) -> Self {
        let pepper = Digest::keyed(digest_key, &[b"quipu recovery code pepper v1"]).0;
        Self { pepper }
    }

    /// A recovery code and what is stored of it: 80 bits, of which nobody guesses one.
    pub(crate) fn recovery(&self, home: &Home) -> Result<(String, Digest), Problem> {
        let text = base32(&random::<10>()?);
        let hash = self.hash(home, &text);
        Ok((text, hash))
    }

    /// What is stored of a recovery code, however it was typed.
    pub(crate) fn hash(&self, home: &Home, typed: &str) -> Digest {
        let text: String = typed
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase())
            .collect();
        Digest::keyed(&self.pepper, &[home.to_string().as_bytes(), text.as_bytes()])
    }
}

fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Problem::new(500, "no_entropy", format!("the system gives no randomness: {e}")))?;
    Ok(bytes)
}

/// A fresh secret, in base 32.
pub(crate) fn fresh_secret() -> Result<String, Problem> {
    Ok(base32(&random::<20>()?))
}

/// The interval whose code this is, around now; `None` where it is none of them.
pub(crate) fn step_of(secret: &str, code: &Password, now: Millis) -> Option<u64> {
    let secret = of_base32(secret)?;
    let typed: String = code.as_str().chars().filter(|c| !c.is_whitespace()).collect();
    let at = now / STEP_MS;
    // A clock may be off by one interval. Each is compared, whichever it is.
    let steps = [at.saturating_sub(1), at, at + 1];
    let equal = steps.map(|step| is_equal(code_at(&secret, step).as_bytes(), typed.as_bytes()).then_some(step));
    equal.into_iter().flatten().max()
}

fn code_at(secret: &[u8], step: u64) -> String {
    let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 0xf);
    let number = u32::from_be_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]) & 0x7fff_ffff;
    format!("{:0width$}", number % 10u32.pow(DIGITS as u32), width = DIGITS)
}

/// The code of an interval, as whoever has the secret makes it.
#[cfg(test)]
pub(crate) fn code_of(secret: &str, step: u64) -> String {
    code_at(&of_base32(secret).expect("base 32"), step)
}

/// Whether what was typed has the form of a code that follows from the time.
pub(crate) fn is_from_time(code: &Password) -> bool {
    let mut digits = code.as_str().chars().filter(|c| !c.is_whitespace());
    digits.clone().count() == DIGITS && digits.all(|c| c.is_ascii_digit())
}

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(BASE32[(held >> bits & 31) as usize]));
        }
    }
    text
}

fn of_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for letter in text.bytes() {
        let value = BASE32.iter().position(|known| *known == letter)?;
        held = held << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret and the last six digits of RFC 6238, appendix B.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = base32(b"12345678901234567890");
        assert_eq!(of_base32(&secret).unwrap(), b"12345678901234567890");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let now = seconds * 1_000;
            let typed = Password::new(code);
            assert_eq!(step_of(&secret, &typed, now), Some(seconds / 30));
            assert_eq!(
                step_of(&secret, &typed, now + STEP_MS),
                Some(seconds / 30),
                "a clock that is behind"
            );
            assert_eq!(step_of(&secret, &typed, now + 2 * STEP_MS), None);
            assert!(is_from_time(&typed));
        }
        assert_eq!(step_of(&secret, &Password::new("28708"), 59_000), None);
        assert_eq!(step_of(&secret, &Password::new("287 082"), 59_000), Some(1));
    }

    #[test]
    fn a_recovery_code_is_one_persons_however_it_is_typed() {
        let codes = Codes::new(&[1; 32]);
        let (ada, bob): (Home, Home) = ("_platform/usr_1".parse().unwrap(), "_platform/usr_2".parse().unwrap());
        let (text, hash) = codes.recovery(&ada).unwrap();
        assert_eq!(text.len(), 16);
        assert!(!is_from_time(&Password::new(text.clone())));
        assert_eq!(codes.hash(&ada, &format!("{}-{}", &text[..8], text[8..].to_lowercase())), hash);
        assert_ne!(codes.hash(&bob, &text), hash);
        assert_ne!(Codes::new(&[2; 32]).hash(&ada, &text), hash);
    }
}
