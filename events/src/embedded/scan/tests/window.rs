//! Looking through a file in pieces.

use super::super::*;
use super::sheet::{HEAD, SEGMENT, Sheet};

/// Files are read in pieces: nothing may depend on where they end.
#[test]
fn what_lies_across_the_end_of_a_piece_is_found_whole() {
    let header = |at: usize| {
        FlushHeader {
            body_len: 0,
            frames: 0,
            at: at as u32,
            flush: 1,
            segment: SEGMENT,
        }
        .encode()
    };
    // A magic that is no header: it is passed over, also where its header would end behind the piece.
    let decoy = |bytes: &mut [u8], at: usize| bytes[at..at + 4].copy_from_slice(&FLUSH_MAGIC);
    let sheet = |len: usize| Sheet {
        bytes: vec![0; len],
        next: 0,
        flushes: vec![],
        frames: vec![],
    };
    for at in [
        0,
        CHUNK - HEAD - 1,
        CHUNK - HEAD,
        CHUNK - HEAD + 1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        2 * CHUNK - HEAD + 1,
    ] {
        let mut sheet = sheet(at + HEAD + 100);
        if at > 0 {
            decoy(&mut sheet.bytes, 0);
            decoy(&mut sheet.bytes, at - 2);
        }
        sheet.bytes[at..at + HEAD].copy_from_slice(&header(at));
        assert_eq!(sheet.window().resync(SEGMENT, 0).unwrap(), Some(at as u64), "{at}");
        let from = at.saturating_sub(9) as u64;
        assert_eq!(sheet.window().resync(SEGMENT + 1, from).unwrap(), None, "of another segment");
        assert_eq!(sheet.window().resync(SEGMENT, at as u64 + 1).unwrap(), None, "behind it");
    }
    let mut short = sheet(HEAD);
    short.bytes.copy_from_slice(&header(0));
    assert_eq!(short.window().resync(SEGMENT, 0).unwrap(), Some(0), "a header and no more");
    assert_eq!(short.window().resync(SEGMENT, 5).unwrap(), None);

    let nonzero = |set: &[usize], at: u64| {
        let mut sheet = sheet(CHUNK + 200);
        set.iter().for_each(|at| sheet.bytes[*at] = 1);
        sheet.window().nonzero(at).unwrap()
    };
    assert_eq!(nonzero(&[], 0), None);
    assert_eq!(nonzero(&[5], 6), None);
    let last = CHUNK + 199;
    for set in [vec![0], vec![5, 9], vec![CHUNK - 1, CHUNK], vec![9, CHUNK + 1, last]] {
        let expected = Some((set[0] as u64, set[set.len() - 1] as u64));
        assert_eq!(nonzero(&set, 0), expected, "{set:?}");
    }
    assert_eq!(nonzero(&[3, 8, CHUNK + 7], 4), Some((8, CHUNK as u64 + 7)));

    // A piece that is kept serves what lies in it, and no more.
    let bytes: Vec<u8> = (0..CHUNK + 100).map(|n| (n % 251) as u8).collect();
    let sheet = Sheet {
        bytes: bytes.clone(),
        next: 0,
        flushes: vec![],
        frames: vec![],
    };
    let mut window = sheet.window();
    for (at, want) in [
        (50, 10),
        (50, CHUNK),
        (60, 5),
        (CHUNK + 40, 20),
        (10, 5),
        (CHUNK - 5, 50),
        (CHUNK + 90, 50),
        (CHUNK + 100, 9),
        (0, 3),
    ] {
        let to = (at + want).min(bytes.len());
        assert_eq!(window.bytes(at as u64, want).unwrap(), &bytes[at..to], "{want} from {at}");
    }
}
