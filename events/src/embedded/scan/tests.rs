//! What a scan tells of a segment, place by place: one damage after another to the same few flushes.

use super::*;
use crate::heads::HeadEntry;
use quipu_schemas::position::LogId;
use sheet::{HEAD, SEGMENT, Sheet, frame_of};

mod sheet;
mod window;

const UNPROVEN: Synced = Synced { flush: 0, byte: 0 };

/// All that is told of a damaged sheet, which ends where it ended: nothing more is wrong.
#[track_caller]
fn tells(sheet: &Sheet, synced: Synced, told: &[Vec<String>]) {
    let expected: Vec<String> = told.concat();
    assert_eq!(sheet.told(Some(11), synced), (expected, (sheet.end(), 14), None));
}

fn one(text: String) -> Vec<String> {
    vec![text]
}

#[test]
fn intact_segment_ends_behind_its_last_flush() {
    for sheet in [
        Sheet::three(),
        Sheet::three().reserved(100),
        Sheet::three().mark(),
        Sheet::three().mark().reserved(100),
    ] {
        tells(&sheet, UNPROVEN, &[sheet.whole(0..5)]);
        // Where the header cannot be read, the first flush says its number itself.
        assert_eq!(sheet.told(None, UNPROVEN).1, (sheet.end(), 14));
    }
    let empty = Sheet::new().reserved(100);
    assert_eq!(empty.told(Some(11), UNPROVEN), (vec![], (SEGMENT_HEADER, 11), None));
    assert_eq!(empty.told(None, UNPROVEN), (vec![], (SEGMENT_HEADER, 0), None));
}

#[test]
fn damaged_body_is_a_gap_in_its_partition_and_others_serve() {
    let detail = FrameError::Crc.to_string();
    for p in 0..3 {
        let clean = Sheet::three();
        let (from, to) = clean.frames[p];
        let damaged = clean.damage(to - 1);
        let gap = one(format!("{from}-{to}: gap of {p}, {detail}"));
        tells(&damaged, UNPROVEN, &[damaged.whole(0..p), gap, damaged.whole(p + 1..5)]);
    }
}

#[test]
fn damaged_header_is_an_unowned_gap_up_to_the_next_frame() {
    for (p, next) in [(0, Some(1)), (1, None), (2, None)] {
        let clean = Sheet::three();
        let (from, to) = clean.frames[p];
        assert_eq!(next.map_or(to, |next: usize| clean.frames[next].0), to);
        for (at, detail) in [(0, FrameError::Magic), (20, FrameError::HeaderCrc)] {
            let damaged = Sheet::three().damage(from + at);
            let gap = one(format!("{from}-{to}: gap, {detail}"));
            tells(&damaged, UNPROVEN, &[damaged.whole(0..p), gap, damaged.whole(p + 1..5)]);
        }
    }
}

/// A frame is looked for again byte by byte: neither the damaged frame's own beginning nor its likeness passes for the next.
#[test]
fn false_frame_start_does_not_hide_the_frame_behind_it() {
    let clean = Sheet::three();
    let ((from, to), next) = (clean.frames[0], clean.frames[1].0);
    let mut damaged = clean.damage(from + 20);
    damaged.bytes[from + 40..from + 44].copy_from_slice(&frame::MAGIC);
    damaged.bytes[to - 5..to - 1].copy_from_slice(&frame::MAGIC);
    let gap = one(format!("{from}-{next}: gap, {}", FrameError::HeaderCrc));
    tells(&damaged, UNPROVEN, &[gap, damaged.whole(1..5)]);
}

#[test]
fn a_damaged_flush_header_costs_no_frame() {
    let clean = Sheet::three();
    let starts = clean.flushes.clone();
    for (n, frames) in [(0, 0..2), (1, 2..3)] {
        let damaged = Sheet::three().damage(starts[n] + 6);
        let scratch = one(format!("{}-{}: scratch, flush header is damaged", starts[n], starts[n] + HEAD));
        tells(
            &damaged,
            UNPROVEN,
            &[damaged.whole(0..frames.start), scratch, damaged.whole(frames.start..5)],
        );
    }
    // The last one only if something proves that it was synced.
    let damaged = Sheet::three().damage(starts[2] + 6).reserved(50);
    let scratch = one(format!("{}-{}: scratch, flush header is damaged", starts[2], starts[2] + HEAD));
    let zeros = (damaged.end(), damaged.bytes.len());
    let end = damaged.end() as u64;
    assert_eq!(
        damaged.told(Some(11), Synced { flush: 0, byte: end }),
        (
            [damaged.whole(0..3), scratch.clone(), damaged.whole(3..5)].concat(),
            (damaged.end(), 14),
            None
        )
    );
    let (told, at, tail) = damaged.told(Some(11), Synced { flush: 14, byte: 0 });
    // How long it was, nobody knows: what was reserved behind it is told as lost with it.
    let header = one(format!("{}-{}: gap, flush header is damaged", starts[2], starts[2] + HEAD));
    let rest = one(format!("{}-{}: gap, {}", zeros.0, zeros.1, FrameError::Magic));
    assert_eq!(told, [damaged.whole(0..3), header, damaged.whole(3..5), rest].concat());
    assert_eq!((at, tail), ((zeros.1, 14), None));
    // Noted exactly up to it, the heads say nothing of it.
    let exactly = Synced {
        flush: 14,
        byte: starts[2] as u64,
    };
    assert_eq!(damaged.told(Some(11), exactly).0, told);
    let (told, at, tail) = damaged.told(Some(11), UNPROVEN);
    assert_eq!((told, at), (damaged.whole(0..3), (starts[2], 13)));
    let bytes = zeros.0 - starts[2];
    assert_eq!(
        tail,
        Some((starts[2], zeros.0, format!("{bytes} bytes that are not an intact flush")))
    );
}

#[test]
fn a_flush_header_and_a_frame_behind_it_may_both_be_damaged() {
    let clean = Sheet::three();
    let (start, (from, to)) = (clean.flushes[0], clean.frames[1]);
    let damaged = clean.damage(start + 6).damage(to - 1);
    let header = one(format!("{start}-{}: gap, flush header is damaged", start + HEAD));
    let gap = one(format!("{from}-{to}: gap of 1, {}", FrameError::Crc));
    tells(&damaged, UNPROVEN, &[header, damaged.whole(0..1), gap, damaged.whole(2..5)]);
}

#[test]
fn a_flush_that_is_gone_is_a_gap_wherever_it_was() {
    let clean = Sheet::three();
    let starts = clean.flushes.clone();
    for (n, frames) in [(0, 0..2), (1, 2..3)] {
        let zeroed = Sheet::three().zero(starts[n], starts[n + 1]);
        // Its frames are looked for where they were.
        let header = one(format!("{}-{}: gap, flush header is damaged", starts[n], starts[n] + HEAD));
        let body = one(format!("{}-{}: gap, {}", starts[n] + HEAD, starts[n + 1], FrameError::Magic));
        tells(
            &zeroed,
            UNPROVEN,
            &[zeroed.whole(0..frames.start), header, body, zeroed.whole(frames.end..5)],
        );
    }
    // The last one leaves nothing, and is missed only by what was noted elsewhere; see the log's end.
    let zeroed = Sheet::three().zero(starts[2], starts[3]);
    assert_eq!(
        zeroed.told(
            Some(11),
            Synced {
                flush: 14,
                byte: starts[3] as u64
            }
        ),
        (zeroed.whole(0..3), (starts[2], 13), None)
    );
    // Before a mark it is known to have been there.
    let marked = Sheet::three().mark().reserved(30).zero(starts[2], starts[3]);
    let header = one(format!("{}-{}: gap, flush header is damaged", starts[2], starts[2] + HEAD));
    let body = one(format!("{}-{}: gap, {}", starts[2] + HEAD, starts[3], FrameError::Magic));
    tells(&marked, UNPROVEN, &[marked.whole(0..3), header, body]);
}

/// Behind lost flushes the mark says which number comes next, however many they were.
#[test]
fn the_mark_says_which_flush_comes_next() {
    let starts = Sheet::three().flushes;
    let marked = Sheet::three().mark().zero(starts[1], starts[3]);
    assert_eq!(marked.told(Some(11), UNPROVEN).1, (starts[3], 14));
    assert_eq!(marked.told(None, UNPROVEN).1, (starts[3], 14));
    // Nothing but a mark: where the header cannot be read either, the number is not known.
    let only = Sheet::three().mark().zero(starts[0], starts[3]);
    assert_eq!(only.told(Some(11), UNPROVEN).1, (starts[3], 14));
    assert_eq!(only.told(None, UNPROVEN).1, (starts[3], 0));
}

#[test]
fn a_flush_of_another_number_tells_that_some_are_missing() {
    let sheet = Sheet::three();
    let missing = one(format!("{SEGMENT_HEADER}-{SEGMENT_HEADER}: gap, flush 11 where flush 9 should be"));
    assert_eq!(
        sheet.told(Some(9), UNPROVEN),
        ([missing.clone(), sheet.whole(0..5)].concat(), (sheet.end(), 14), None)
    );
    // Also where it is damaged itself.
    let (from, to) = sheet.frames[0];
    let damaged = Sheet::three().damage(to - 1);
    let gap = one(format!("{from}-{to}: gap of 0, {}", FrameError::Crc));
    assert_eq!(
        damaged.told(Some(9), UNPROVEN),
        (
            [gap.clone(), damaged.whole(1..2), missing, damaged.whole(2..5)].concat(),
            (sheet.end(), 14),
            None
        )
    );
    assert_eq!(damaged.told(None, UNPROVEN).0, [gap, damaged.whole(1..5)].concat());
}

#[test]
fn the_last_flush_cut_short_is_torn_unless_something_proves_it() {
    let clean = Sheet::three();
    let (start, end, last) = (clean.flushes[2], clean.flushes[3], clean.frames[4].0);
    for len in [start + HEAD, start + HEAD + 7, last, last + 9, end - 1] {
        let cut = Sheet::three().cut(len);
        let (told, at, tail) = cut.told(Some(11), UNPROVEN);
        assert_eq!((told, at), (cut.whole(0..3), (start, 13)), "cut at {len}");
        // Up to the last byte that is not zero: zeros at its end are not told from what was only reserved.
        let used = cut.bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
        let torn = Some((start, used, "flush 13 is not whole".into()));
        assert_eq!(tail, torn, "cut at {len}");
        let zeroed = Sheet::three().zero(len, end).reserved(20);
        let (told, at, tail) = zeroed.told(Some(11), UNPROVEN);
        assert_eq!((told, at), (zeroed.whole(0..3), (start, 13)), "zeros from {len}");
        assert_eq!(tail, torn, "zeros from {len}");
        // Proven, it is damage: what is whole in it is served, and what is not even there is nobody's.
        for synced in [
            Synced { flush: 14, byte: 0 },
            Synced {
                flush: 0,
                byte: start as u64 + 1,
            },
        ] {
            let kept = if len >= last { 4 } else { 3 };
            let (told, at, tail) = cut.told(Some(11), synced);
            let (frames, gaps): (Vec<String>, Vec<String>) = told.into_iter().partition(|t| t.contains(": frame"));
            assert_eq!((frames, at, tail), (cut.whole(0..kept), (len, 14), None), "cut at {len}");
            assert_eq!(gaps.len(), 1, "cut at {len}: {gaps:?}");
            let frame = if len > last { last } else { start + HEAD };
            let expected = match len == start + HEAD || len == last {
                true => format!("{start}-{len}: gap, flush 13 does not hold what its header says"),
                false => format!("{frame}-{len}: gap, {}", FrameError::Truncated),
            };
            assert_eq!(gaps[0], expected, "cut at {len}");
        }
    }
    // Flushes of the numbers before are proven by the next segment's first, this one is not.
    let cut = Sheet::three().cut(end - 1);
    assert!(
        cut.told(
            Some(11),
            Synced {
                flush: 13,
                byte: start as u64
            }
        )
        .2
        .is_some()
    );
}

/// A flush that was cut out of the middle: the next one begins before this one's end.
#[test]
fn a_flush_that_is_cut_short_by_the_next_one_is_damage() {
    let short = frame_of(2, 50);
    let clean = Sheet::new()
        .flush(&[frame_of(0, 30), frame_of(1, 40)])
        .flush(std::slice::from_ref(&short));
    let (start, last) = (clean.flushes[0], clean.frames[1].0);
    for kept in [0, 50] {
        // What came behind lies where the rest of the first was, and knows that it is there.
        let mut bytes = clean.bytes[..last + kept].to_vec();
        let at = bytes.len();
        let header = FlushHeader {
            body_len: short.len() as u32,
            frames: 1,
            at: at as u32,
            flush: 12,
            segment: SEGMENT,
        };
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&short);
        let sheet = Sheet {
            bytes,
            next: 13,
            flushes: vec![],
            frames: clean.frames.clone(),
        };
        let (told, end, tail) = sheet.told(Some(11), UNPROVEN);
        let gap = match kept {
            0 => format!("{start}-{at}: gap, flush 11 does not hold what its header says"),
            _ => format!("{last}-{at}: gap, {}", FrameError::Truncated),
        };
        assert_eq!(told, [clean.whole(0..1), one(gap), one(format!("{}: frame 2", at + HEAD))].concat());
        assert_eq!((end, tail), ((sheet.bytes.len(), 13), None));
    }
}

/// A header that says more or fewer frames than there are, although its own checksum fits.
#[test]
fn flush_with_a_wrong_frame_count_is_reported() {
    for says in [1, 3] {
        let mut sheet = Sheet::three();
        let len = sheet.flushes[1] - sheet.flushes[0] - HEAD;
        let at = sheet.flushes[0];
        let header = FlushHeader {
            body_len: len as u32,
            frames: says,
            at: at as u32,
            flush: 11,
            segment: SEGMENT,
        };
        sheet.bytes[at..at + HEAD].copy_from_slice(&header.encode());
        let gap = one(format!(
            "{at}-{}: gap, flush 11 does not hold what its header says",
            sheet.flushes[1]
        ));
        tells(&sheet, UNPROVEN, &[sheet.whole(0..2), gap, sheet.whole(2..5)]);
    }
}

/// Its frames are whole, and the rest of what its header says is not there, or is no frame.
#[test]
fn a_flush_that_should_be_longer_than_its_frames_is_not_whole() {
    for junk in [0, 10] {
        let mut sheet = Sheet::three();
        let (at, end) = (sheet.flushes[2], sheet.end());
        let header = FlushHeader {
            body_len: (end - at - HEAD + 10) as u32,
            frames: 2,
            at: at as u32,
            flush: 13,
            segment: SEGMENT,
        };
        sheet.bytes[at..at + HEAD].copy_from_slice(&header.encode());
        sheet.bytes.resize(end + junk, 0xEE);
        let tail = Some((at, end + junk, "flush 13 is not whole".to_owned()));
        assert_eq!(sheet.told(Some(11), UNPROVEN), (sheet.whole(0..3), (at, 13), tail), "{junk} bytes");
    }
}

/// Whose the damaged frame was is known, of those that are not even there nothing is.
#[test]
fn frames_cut_off_behind_a_damaged_one_are_a_gap_of_their_own() {
    let sheet = Sheet::new().flush(&[frame_of(0, 30), frame_of(1, 40), frame_of(2, 50)]);
    let ((start, to), cut) = (sheet.frames[0], sheet.frames[2].0);
    let sheet = sheet.damage(to - 1).cut(cut);
    let gaps = [
        one(format!("{start}-{to}: gap of 0, {}", FrameError::Crc)),
        sheet.whole(1..2),
        one(format!("{SEGMENT_HEADER}-{cut}: gap, flush 11 does not hold what its header says")),
    ];
    let synced = Synced { flush: 12, byte: 0 };
    assert_eq!(sheet.told(Some(11), synced), (gaps.concat(), (cut, 12), None));
}

/// Of a torn flush the later bytes may be there and the first not: the mark stands before them.
#[test]
fn what_is_torn_behind_a_mark_is_told() {
    let sheet = Sheet::three().mark();
    let from = sheet.bytes.len() + 7;
    let mut sheet = sheet.reserved(7);
    sheet.bytes.resize(from + 50, 0xEE);
    let tail = Some((from, from + 50, "50 bytes that are not an intact flush".to_owned()));
    assert_eq!(sheet.told(Some(11), UNPROVEN), (sheet.whole(0..5), (sheet.end(), 14), tail));
}

#[test]
fn coverage_ends_at_noted_place_and_next_segments_first_flush() {
    let synced = Synced { flush: 5, byte: 100 };
    for (flush, at, covered) in [
        (None, 99, true),
        (None, 100, false),
        (Some(4), 100, true),
        (Some(5), 100, false),
        (Some(5), 99, true),
    ] {
        assert_eq!(synced.covers(flush, at), covered, "{flush:?} at {at}");
    }
    let next = |segment| SegmentHeader {
        log_id: LogId([1; 16]),
        generation: 1,
        partitions: 1,
        segment,
        first_flush: 5,
    };
    let noted = |segment| Heads {
        log_id: LogId([1; 16]),
        synced: (segment, 100),
        entries: Vec::<HeadEntry>::new(),
    };
    let of = |following: u64, heads: u64| {
        let synced = Synced::of(SEGMENT, Some(&next(following)), Some(&noted(heads)));
        (synced.flush, synced.byte)
    };
    assert_eq!(of(SEGMENT + 1, SEGMENT), (5, 100));
    // Neither a header further on nor what was noted in another segment says anything of this one.
    assert_eq!(of(SEGMENT + 2, SEGMENT + 1), (0, 0));
}
