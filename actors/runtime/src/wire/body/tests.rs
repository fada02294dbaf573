use super::*;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use serde_json::json;
use std::io::Write;

fn body(headers: &[(&'static str, &str)], bytes: &[u8]) -> Body {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect();
    let mut body = Body::of(&headers);
    for chunk in bytes.chunks(10_000) {
        if body.take(chunk) == Reading::Enough {
            break;
        }
    }
    body
}

fn kept(headers: &[(&'static str, &str)], bytes: &[u8]) -> Result<Kept, Unreadable> {
    body(headers, bytes).keep(&Blot::new(["hunter2"]))
}

fn text(text: &str) -> Kept {
    Kept::Text(text.into())
}

#[test]
fn small_bodies_are_json_where_they_can_be() {
    let echo = r#"{"a":"hunter2","\u0068unter2":"\u0068unt\u0065r2"}"#;
    assert_eq!(
        kept(&[], echo.as_bytes()),
        Ok(Kept::Json(json!({"a": "[secret]", "[secret]": "[secret]"})))
    );
    assert_eq!(kept(&[], b""), Ok(Kept::Json(Value::Null)));
    assert_eq!(kept(&[], b"\xef\xbb\xbf[1]"), Ok(Kept::Json(json!([1]))), "a byte order mark");
    assert_eq!(kept(&[], b"\xff!"), Ok(text("\u{fffd}!")));
    assert_eq!(kept(&[], b"hi hunter2"), Ok(text("hi [secret]")));
    // Imitated ciphertext and deep nesting stay text.
    assert_eq!(kept(&[], br#"{"$sealed":"x"}"#), Ok(text(r#"{"$sealed":"x"}"#)));
    assert_eq!(kept(&[], "[".repeat(60).as_bytes()), Ok(text(&"[".repeat(60))));
}

#[test]
fn large_json_is_never_a_text_and_large_text_says_so() {
    let items = |n: usize| json!({"items": vec!["x".repeat(100); n]}).to_string();
    for n in [400, 2_000, 20_000, 90_000] {
        let large = items(n);
        let size = large.len() as u64;
        let length = size.to_string();
        assert_eq!(kept(&[("content-length", &length)], large.as_bytes()), Ok(Kept::JsonTooLarge(size)));
        let Ok(Kept::JsonTooLarge(counted)) = kept(&[], large.as_bytes()) else {
            panic!("{n}")
        };
        assert!(
            counted == size || (counted > RESPONSE_COUNT_MAX_BYTES && size > RESPONSE_COUNT_MAX_BYTES),
            "{counted} {size}"
        );
    }
    // Blanks do not count: what is kept is JSON without them.
    let spaced = items(250).replace("\",", "\",                                                  ");
    assert!(spaced.len() > RESPONSE_KEEP_BYTES);
    assert!(matches!(kept(&[], spaced.as_bytes()), Ok(Kept::Json(_))));

    let log = "[2026-01-02] started\n".repeat(20_000);
    let Ok(Kept::CutText(beginning, full)) = kept(&[], log.as_bytes()) else {
        panic!()
    };
    assert!(log.starts_with(&beginning) && beginning.len() > RESPONSE_KEEP_BYTES / 2 && beginning.len() <= RESPONSE_KEEP_BYTES);
    assert_eq!(full, log.len() as u64);
    let hostile = body(&[], &vec![1u8; RESPONSE_KEEP_BYTES]).keep(&Blot::default());
    assert!(matches!(hostile, Ok(Kept::CutText(text, _)) if json!(text).to_string().len() <= RESPONSE_KEEP_BYTES));
    assert_eq!(cut_encoded("äöü", 6), "äö");
}

#[test]
fn a_secret_that_the_cut_divides_leaves_nothing() {
    for size in (RESPONSE_READ_BYTES - 7)..RESPONSE_READ_BYTES {
        let echo = format!("{}hunter2{}", "\u{1}".repeat(size), " ".repeat(50));
        let read = body(&[], echo.as_bytes());
        assert!(read.cut);
        let (decoded, ..) = read.text().unwrap();
        let clean = Blot::new(["hunter2"]).cut_text(&decoded);
        assert!(clean.ends_with("\u{1}[secret]"), "{size}");
    }
}

fn packed(name: &str, bytes: &[u8]) -> Vec<u8> {
    match name {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zlib" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

#[test]
fn content_encodings_are_undone_within_bounds_or_named() {
    for (form, header) in [
        ("gzip", "gzip"),
        ("gzip", "X-GZIP"),
        ("zlib", "deflate"),
        ("raw", "deflate"),
        ("", "identity"),
    ] {
        let plain = br#"{"a":"hunter2"}"#;
        let bytes = if form.is_empty() { plain.to_vec() } else { packed(form, plain) };
        assert_eq!(
            kept(&[("content-encoding", header)], &bytes),
            Ok(Kept::Json(json!({"a": "[secret]"}))),
            "{header}"
        );
    }
    let bomb = packed("gzip", &vec![b' '; 64 * 1024 * 1024]);
    let limit = RESPONSE_READ_BYTES as u64 + RESPONSE_COUNT_MAX_BYTES;
    assert!(matches!(kept(&[("content-encoding", "gzip")], &bomb), Ok(Kept::JsonTooLarge(full) | Kept::CutText(_, full)) if full == limit));
    for (header, bytes, code) in [
        ("br", &b"x"[..], "encoding_unsupported"),
        ("gzip, br", b"x", "encoding_unsupported"),
        ("gzip", b"{\"a\":1}", "encoding_damaged"),
        ("deflate", b"{\"a\":1}", "encoding_damaged"),
    ] {
        let error = kept(&[("content-encoding", header)], bytes).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(header), "{error}");
    }
    assert_eq!(
        kept(&[("content-encoding", "br")], b""),
        Ok(Kept::Json(Value::Null)),
        "no body, as after HEAD"
    );
}

#[test]
fn charsets_are_decoded_or_named() {
    for (charset, bytes) in [
        ("text/plain; charset=iso-8859-1", &b"Gr\xfc\xdfe"[..]),
        ("text/plain;charset=\"UTF-8\"; x=y", "Grüße".as_bytes()),
        ("text/html; Charset=utf-16le", b"G\0r\0\xfc\0\xdf\0e\0"),
    ] {
        assert_eq!(kept(&[("content-type", charset)], bytes), Ok(text("Grüße")), "{charset}");
    }
    let error = kept(&[("content-type", "text/plain; charset=klingon")], b"x").unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("klingon")), ("charset_unsupported", true));
}
