//! Certificates for tests, made while they run: P-256, signed by themselves, for `localhost` and 127.0.0.1.

use base64::{Engine, engine::general_purpose::STANDARD};
use quipu_schemas::context::Millis;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use std::{fs, path::Path};
use time::{OffsetDateTime, macros::format_description};

/// A certificate and its key, as PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Made {
    /// One that is valid from a day ago until so many days from now.
    pub(super) fn for_days(days: i64) -> Self {
        let now = OffsetDateTime::now_utc();
        Self::between(now - time::Duration::days(30), now + time::Duration::days(days))
    }

    fn between(begins: OffsetDateTime, ends: OffsetDateTime) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap();
        let body = body(pair.public_key().as_ref(), begins, ends);
        let signature = pair.sign(&random, &body).unwrap();
        let certificate = sequence(&[&body, &sequence(&[&oid(ECDSA_SHA256)]), &bits(signature.as_ref())]);
        Self {
            certificate: pem("CERTIFICATE", &certificate),
            key: pem("PRIVATE KEY", key.as_ref()),
        }
    }

    /// Writes both files.
    pub(super) fn write(&self, directory: &Path) -> quipu::tls::TlsFiles {
        let files = quipu::tls::TlsFiles {
            certificate: directory.join("node.pem"),
            key: directory.join("node.key"),
        };
        fs::write(&files.certificate, &self.certificate).unwrap();
        fs::write(&files.key, &self.key).unwrap();
        files
    }
}

/// Now, as certificates are compared with it.
pub(super) fn now() -> Millis {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap()
}

const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = u16::try_from(contents.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let head = match length {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, contents].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    der(0x06, &[bytes])
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    der(0x03, &[&[0], bytes])
}

fn utc(at: OffsetDateTime) -> Vec<u8> {
    let text = at
        .format(format_description!("[year repr:last_two][month][day][hour][minute][second]Z"))
        .unwrap();
    der(0x17, &[text.as_bytes()])
}

fn body(public: &[u8], begins: OffsetDateTime, ends: OffsetDateTime) -> Vec<u8> {
    let name = sequence(&[&der(0x31, &[&sequence(&[&oid(COMMON_NAME), &der(0x0c, &[b"quipu test"])])])]);
    let names = sequence(&[&der(0x82, &[b"localhost"]), &der(0x87, &[&[127, 0, 0, 1]])]);
    let extension = sequence(&[&oid(ALTERNATIVE_NAMES), &der(0x04, &[&names])]);
    let mut serial = [0u8; 8];
    getrandom::fill(&mut serial).unwrap();
    serial[0] = 1;
    sequence(&[
        &der(0xa0, &[&der(0x02, &[&[2]])]),
        &der(0x02, &[&serial]),
        &sequence(&[&oid(ECDSA_SHA256)]),
        &name,
        &sequence(&[&utc(begins), &utc(ends)]),
        &name,
        &sequence(&[&sequence(&[&oid(EC_PUBLIC_KEY), &oid(P256)]), &bits(public)]),
        &der(0xa3, &[&sequence(&[&extension])]),
    ])
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
