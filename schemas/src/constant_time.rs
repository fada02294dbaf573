//! The one comparison of secrets, hashes of secrets and MACs.

use subtle::ConstantTimeEq;

/// Whether both are the same. How long it takes says how long they are, and nothing else of them.
pub fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_bytes_are_equal() {
        assert!(is_equal(b"", b"") && is_equal(&[7; 32], &[7; 32]));
        for other in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!is_equal(b"abc", other), "{other:?}");
        }
    }
}
