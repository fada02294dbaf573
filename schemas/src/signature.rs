//! Signatures over raw bytes: HMAC with SHA-256, compared in constant time.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Whether this is the signature of the parts, one after the other, under the key. How long it takes says nothing about how much of
/// it is right.
pub fn is_signed(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(signature).is_ok()
}

/// The bytes of hex digits, of either case.
pub fn of_hex(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok()
}

/// The bytes of base64 with padding.
pub fn of_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_these_bytes_alone() {
        // RFC 4231, test case 2.
        let signature = hex::decode("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843").unwrap();
        let what = b"what do ya want for nothing?";
        assert!(is_signed(b"Jefe", &[&what[..4], &what[4..]], &signature));
        assert!(!is_signed(b"Jefe", &[b"what do ya want for nothing!"], &signature));
        assert!(!is_signed(b"jefe", &[what], &signature) && !is_signed(b"Jefe", &[what], &signature[..31]));
        assert!(!is_signed(b"Jefe", &[what], b""));
    }
}
