use super::*;
use proptest::prelude::*;

fn header(owner: Option<&str>) -> FrameHeader {
    FrameHeader {
        log_id: LogId([7; 16]),
        generation: 2,
        partition: 3,
        epoch: 5,
        batch_id: [8; 16],
        first_offset: 41,
        previous: Digest([9; 32]),
        owner: owner.map(Into::into),
    }
}

fn encode(header: &FrameHeader, records: &[Vec<u8>]) -> (Vec<u8>, Encoded) {
    let mut out = vec![0xAA; 3];
    let encoded = encode_onto(&mut out, header, records.iter().map(Vec::as_slice)).unwrap();
    (out[3..].to_vec(), encoded)
}

#[test]
fn frames_round_trip_and_their_bytes_never_change() {
    let records = vec![vec![1; 40], vec![2; 33]];
    let (bytes, encoded) = encode(&header(None), &records);
    assert_eq!(encoded.range, 3..3 + bytes.len());
    assert_eq!(bytes.len(), encoded_len(None, records.iter().map(Vec::len)));
    let decoded = decode(&bytes).unwrap();
    assert_eq!(
        (decoded.header, decoded.hash, decoded.len),
        (header(None), encoded.hash, bytes.len())
    );
    assert_eq!(bytes[decoded.records[1].clone()], records[1]);
    // Golden: a change here is a change of the stored form.
    assert_eq!(encoded.hash.to_string(), GOLDEN_HASH);
    let (bytes, encoded) = encode(&header(Some("http://node-1:7000")), &[]);
    let decoded = decode(&bytes).unwrap();
    assert_eq!(decoded.header.owner.as_deref(), Some("http://node-1:7000"));
    assert_eq!(decoded.hash, encoded.hash);
}
const GOLDEN_HASH: &str = "b41a28d6d65528d5a38448e5f9c15ddfacf14fb1650ee655518dea6a99dc90f7";

#[test]
fn every_bit_flip_and_every_cut_is_detected() {
    for bytes in [
        encode(&header(None), &[vec![1; 40], vec![2; 70]]).0,
        encode(&header(Some("n")), &[]).0,
    ] {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit} flipped unnoticed");
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err());
        }
    }
}

/// A header with a field changed and its CRC made to fit: what is then wrong is told by the field alone.
#[test]
fn headers_whose_checksums_fit_are_still_checked_field_by_field() {
    let records = encode(&header(None), &[vec![1; 40]]).0;
    let claim = encode(&header(Some("node")), &[]).0;
    let with = |bytes: &[u8], at: usize, field: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + field.len()].copy_from_slice(field);
        let owner = usize::from(u16::from_le_bytes(array(&bytes, 6)));
        let owned = bytes.get(HEADER_BYTES..HEADER_BYTES + owner).unwrap_or_default().to_vec();
        let crc = header_crc(&bytes, &owned);
        bytes[HASHED..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        peek(&bytes)
    };
    let no_kind = Err(FrameError::Header("unknown kind or bytes that must be zero"));
    let no_pair = Err(FrameError::Header("a frame has an owner or records"));
    let too_big = Err(FrameError::Header("over a limit"));
    // Kind; bytes that must be zero.
    assert!(with(&records, 4, &[1]).is_ok() && with(&claim, 4, &[2]).is_ok());
    for (at, field) in [(4, [0]), (4, [3]), (5, [1]), (38, [1]), (39, [1])] {
        assert_eq!(with(&records, at, &field), no_kind, "byte {at}");
    }
    // An owner goes with a claim, records with the others.
    assert_eq!(with(&records, 4, &[2]), no_pair);
    assert_eq!(with(&claim, 4, &[1]), no_pair);
    assert_eq!(with(&records, 12, &0u32.to_le_bytes()), no_pair);
    assert_eq!(with(&claim, 12, &1u32.to_le_bytes()), no_pair);
    assert_eq!(with(&records, 6, &4u16.to_le_bytes()), no_pair);
    // Limits: of records, of the frame, of the owner.
    let count = |count: usize| with(&records, 12, &(count as u32).to_le_bytes());
    assert_eq!(count(FRAME_MAX_RECORDS).unwrap().count as usize, FRAME_MAX_RECORDS);
    assert_eq!(count(FRAME_MAX_RECORDS + 1), too_big);
    let body = |body: usize| with(&records, 8, &(body as u32).to_le_bytes());
    let most = FRAME_MAX_BYTES - frame_len(0, 0);
    assert_eq!(body(most).unwrap().len, FRAME_MAX_BYTES);
    for beyond in [most + 1, FRAME_MAX_BYTES, FRAME_MAX_BYTES + 1, u32::MAX as usize] {
        assert_eq!(body(beyond), too_big);
    }
    let owner = |length: usize| {
        let mut bytes = claim.clone();
        bytes.truncate(HEADER_BYTES);
        bytes.resize(HEADER_BYTES + length, b'n');
        with(&bytes, 6, &(length as u16).to_le_bytes())
    };
    assert_eq!(owner(OWNER_MAX_BYTES).unwrap().header.owner.unwrap().len(), OWNER_MAX_BYTES);
    assert_eq!(owner(OWNER_MAX_BYTES + 1), too_big);
    assert_eq!(with(&claim, HEADER_BYTES, &[0xFF]), Err(FrameError::Header("owner is not text")));
}

/// What is cut is told apart from what is wrong, by the bytes that are there.
#[test]
fn a_header_is_read_as_soon_as_it_is_there() {
    let (bytes, _) = encode(&header(None), &[vec![1; 40]]);
    for length in 0..HEADER_BYTES {
        assert_eq!(peek(&bytes[..length]), Err(FrameError::Truncated), "{length} bytes");
    }
    assert_eq!(peek(&bytes[..HEADER_BYTES]).unwrap().len, bytes.len());
    assert_eq!(peek(b"QG\0\x01"), Err(FrameError::Magic));
    assert_eq!(peek(b"QG"), Err(FrameError::Truncated));
}

/// Frames whose checksums fit, and whose records do not fill the body.
#[test]
fn records_fill_the_body_and_no_more() {
    let (bytes, _) = encode(&header(None), &[vec![1; 40], vec![2; 40]]);
    let with = |first: u32, count: u32| {
        let mut bytes = bytes.clone();
        bytes[12..16].copy_from_slice(&count.to_le_bytes());
        bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&first.to_le_bytes());
        let crc = header_crc(&bytes, &[]);
        bytes[HASHED..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        let end = bytes.len() - CRC;
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
        decode(&bytes).map(|decoded| decoded.records.len())
    };
    assert_eq!(with(40, 2), Ok(2));
    assert_eq!(with(84, 1), Ok(1), "one record of all the bytes");
    for (first, count) in [
        (40, 1),
        (40, 3),
        (84, 2),
        (85, 1),
        (83, 1),
        (82, 2),
        (80, 2),
        (31, 2),
        (u32::MAX, 1),
    ] {
        assert_eq!(with(first, count), Err(FrameError::Records), "{first} {count}");
    }
    // A record too short to hold its hash, although all lengths add up.
    let mut first = vec![1; 40];
    first[8..12].copy_from_slice(&72u32.to_le_bytes());
    let bytes = encode(&header(None), &[first, vec![2; 40]]).0;
    let short = |length: u32| {
        let mut bytes = bytes.clone();
        bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&length.to_le_bytes());
        let end = bytes.len() - CRC;
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
        decode(&bytes).map(|decoded| decoded.records.len())
    };
    assert_eq!((short(40), short(8)), (Ok(2), Err(FrameError::Records)));
}

#[test]
fn a_header_vouches_for_itself() {
    for (bytes, header_len) in [
        (encode(&header(None), &[vec![1; 40]]).0, HEADER_BYTES),
        (encode(&header(Some("node")), &[]).0, HEADER_BYTES + 4),
    ] {
        for bit in 0..header_len * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(peek(&flipped).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn frames_are_taken_up_to_their_limits() {
    let takes = |header: &FrameHeader, records: &[Vec<u8>]| {
        let encoded = encode_onto(&mut Vec::new(), header, records.iter().map(Vec::as_slice));
        assert!(
            !matches!(encoded, Err(ref error) if !matches!(error, FrameError::Limit(_))),
            "{encoded:?}"
        );
        encoded.is_ok()
    };
    let plain = header(None);
    let claim = |length: usize| header(Some(&"n".repeat(length)));
    assert!(takes(&plain, &vec![vec![0; RECORD_HASH]; FRAME_MAX_RECORDS]));
    assert!(!takes(&plain, &vec![vec![0; RECORD_HASH]; FRAME_MAX_RECORDS + 1]));
    assert!(takes(&plain, &[vec![0; RECORD_MAX_BYTES]]) && !takes(&plain, &[vec![0; RECORD_MAX_BYTES + 1]]));
    assert!(takes(&plain, &[vec![0; RECORD_HASH]]) && !takes(&plain, &[vec![0; RECORD_HASH - 1]]));
    assert!(takes(&claim(OWNER_MAX_BYTES), &[]) && !takes(&claim(OWNER_MAX_BYTES + 1), &[]));
    // A whole frame of three records, and one of a byte more.
    let rest = |bytes: usize| {
        let mut records = vec![vec![0; RECORD_MAX_BYTES - 4]];
        let so_far = encoded_len(None, records.iter().map(Vec::len).chain([0, 0]));
        let left = bytes - so_far;
        records.extend([vec![0; left / 2], vec![0; left - left / 2]]);
        assert_eq!(encoded_len(None, records.iter().map(Vec::len)), bytes);
        records
    };
    assert!(takes(&plain, &rest(FRAME_MAX_BYTES)) && !takes(&plain, &rest(FRAME_MAX_BYTES + 1)));
    let (bytes, _) = encode(&plain, &rest(FRAME_MAX_BYTES));
    assert_eq!(decode(&bytes).unwrap().len, FRAME_MAX_BYTES);
}

#[test]
fn limits_are_refused_and_leave_the_buffer_alone() {
    let mut out = vec![1, 2, 3];
    let big = vec![0u8; RECORD_MAX_BYTES + 1];
    let small = vec![0u8; 64];
    let full = vec![0u8; RECORD_MAX_BYTES];
    for records in [vec![&big], vec![], vec![&small; FRAME_MAX_RECORDS + 1], vec![&full; 4]] {
        let refused = encode_onto(&mut out, &header(None), records.iter().map(|r| r.as_slice()));
        assert!(matches!(refused, Err(FrameError::Limit(_))));
        assert_eq!(out, [1, 2, 3]);
    }
}

proptest! {
    #[test]
    fn decoding_is_total_on_hostile_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), patch in any::<bool>(), fix in any::<bool>()) {
        if patch && bytes.len() > 12 {
            bytes[..4].copy_from_slice(&MAGIC);
            bytes[7] = 0;
        }
        // Even with checksums that match.
        if fix && bytes.len() > HEADER_BYTES {
            let owner = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
            if let Some(text) = bytes.get(HEADER_BYTES..HEADER_BYTES + owner) {
                let crc = header_crc(&bytes, text);
                bytes[HASHED..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            }
        }
        let _ = peek(&bytes);
        let _ = decode(&bytes);
    }

    #[test]
    fn any_records_round_trip(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 32..200), 1..20)) {
        let (bytes, encoded) = encode(&header(None), &records);
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(decoded.hash, encoded.hash);
        for (range, record) in decoded.records.iter().zip(&records) {
            prop_assert_eq!(&bytes[range.clone()], record.as_slice());
        }
    }
}
