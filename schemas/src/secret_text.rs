//! How a secret is written together with the ids of what it opens: `PREFIX ID.ID.SECRET`, with a checksum at its end.
//!
//! The secret is 43 letters of base64url (32 bytes), the checksum 8 hex digits: the CRC-32 of all that stands before it. A text that
//! was mistyped or cut is told apart without any look-up, and programs that search for leaked secrets find them by their form.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Letters of the secret and of the checksum.
const SECRET_CHARS: usize = 43;
const CHECK_CHARS: usize = 8;

/// The ids and the secret of a text; `None` where it is not the one text of anything.
pub(crate) fn take_apart<'a, const N: usize>(prefix: &str, text: &'a str, most: usize) -> Option<([&'a str; N], [u8; 32])> {
    if text.len() > most || !text.is_ascii() {
        return None;
    }
    let (body, check) = text.split_at_checked(text.len().checked_sub(CHECK_CHARS)?)?;
    if check != checksum(body) {
        return None;
    }
    let mut parts = body.strip_prefix(prefix)?.split('.');
    let mut ids = [""; N];
    for id in &mut ids {
        *id = parts.next()?;
    }
    let (Some(secret), None) = (parts.next(), parts.next()) else {
        return None;
    };
    if secret.len() != SECRET_CHARS {
        return None;
    }
    let mut bytes = [0; 32];
    let decoded = URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).ok()?;
    (decoded == bytes.len()).then_some((ids, bytes))
}

/// The text of these.
pub(crate) fn put_together(prefix: &str, ids: &[&str], secret: &[u8; 32]) -> String {
    let body = format!("{prefix}{}.{}", ids.join("."), URL_SAFE_NO_PAD.encode(secret));
    let check = checksum(&body);
    body + &check
}

pub(crate) fn checksum(body: &str) -> String {
    format!("{:08x}", crc32fast::hash(body.as_bytes()))
}
