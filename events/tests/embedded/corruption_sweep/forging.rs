//! Forgeries whose checksums all fit.

use super::{DIR, FLUSH_HEADER, Files, SEGMENT_HEADER, check, each, ends_in, on, sample, served};
use quipu_events::{
    embedded::LOG_DIR,
    frame::{self, FrameHeader},
    heads::HEADS_FILE,
};
use std::{collections::BTreeMap, path::Path, time::Instant};

/// A frame as its parts: what a forger would write again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    header: FrameHeader,
    records: Vec<Vec<u8>>,
    /// Whether it comes after the last head of its partition.
    late: bool,
}

/// A log as flushes of frames, segment by segment.
type Model = Vec<Vec<Vec<Frame>>>;

fn model(files: &Files) -> Model {
    let disk = on(files);
    let heads = quipu_events::heads::read(&disk, Path::new(DIR)).expect("heads").expect("heads");
    let mut model = Vec::new();
    for (_, bytes) in files.iter().filter(|(path, _)| ends_in(path, "seg")) {
        let (mut at, mut flushes) = (SEGMENT_HEADER, Vec::new());
        while bytes.get(at..at + 4) == Some(b"QG\0\x01") {
            let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
            if len == 0 {
                break;
            }
            let (mut frames, mut from) = (Vec::new(), at + FLUSH_HEADER);
            while from < at + FLUSH_HEADER + len {
                let decoded = frame::decode(&bytes[from..]).expect("a frame");
                let end = decoded.header.first_offset + decoded.records.len() as u64;
                let noted = heads.entries[usize::from(decoded.header.partition)].offset;
                frames.push(Frame {
                    late: end > noted,
                    records: decoded
                        .records
                        .iter()
                        .map(|r| bytes[from + r.start..from + r.end].to_vec())
                        .collect(),
                    header: decoded.header,
                });
                from += decoded.len;
            }
            flushes.push(frames);
            at += FLUSH_HEADER + len;
        }
        model.push(flushes);
    }
    model
}

/// Writes a model down: every checksum, length, place and number as a writer of just these frames would have written it.
fn written(model: &Model, files: &Files) -> Files {
    let mut out: Files = files
        .iter()
        .filter(|(path, _)| path.ends_with(HEADS_FILE))
        .map(|(p, b)| (p.clone(), b.clone()))
        .collect();
    let mut flush = 1u64;
    for (segment, flushes) in (1u64..).zip(model) {
        let path = Path::new(DIR).join(LOG_DIR).join(format!("{segment:016}.seg"));
        let mut bytes = files[&path][..SEGMENT_HEADER].to_vec();
        bytes[40..48].copy_from_slice(&flush.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        for frames in flushes.iter().filter(|frames| !frames.is_empty()) {
            let at = bytes.len();
            bytes.resize(at + FLUSH_HEADER, 0);
            for frame in frames {
                frame::encode_onto(&mut bytes, &frame.header, frame.records.iter().map(Vec::as_slice)).expect("a frame");
            }
            let body = (bytes.len() - at - FLUSH_HEADER) as u32;
            let head = &mut bytes[at..at + FLUSH_HEADER];
            head[..4].copy_from_slice(b"QG\0\x01");
            head[4..8].copy_from_slice(&body.to_le_bytes());
            head[8..12].copy_from_slice(&(frames.len() as u32).to_le_bytes());
            head[12..16].copy_from_slice(&(at as u32).to_le_bytes());
            head[16..24].copy_from_slice(&flush.to_le_bytes());
            head[24..32].copy_from_slice(&segment.to_le_bytes());
            let crc = crc32fast::hash(&head[..36]);
            head[36..40].copy_from_slice(&crc.to_le_bytes());
            flush += 1;
        }
        let len = files[&path].len().max(bytes.len());
        bytes.resize(len, 0);
        out.insert(path, bytes);
    }
    out
}

/// One forgery: what it is called, the log, and the partitions that it touches before (true) or behind their last head.
struct Forged {
    kind: &'static str,
    model: Model,
    touched: Vec<(u16, bool)>,
}

fn places(model: &Model) -> Vec<(usize, usize, usize)> {
    let mut out = Vec::new();
    for (s, flushes) in model.iter().enumerate() {
        for (f, frames) in flushes.iter().enumerate() {
            out.extend((0..frames.len()).map(|n| (s, f, n)));
        }
    }
    out
}

fn touched(frame: &Frame) -> (u16, bool) {
    (frame.header.partition, !frame.late)
}

/// Every forgery of a frame, a flush or a record of `honest`; frames that are put in come from `other`, a log of the same id.
fn forgeries(honest: &Model, other: &Model) -> Vec<Forged> {
    let mut out = Vec::new();
    let mut forge = |kind, touched: Vec<(u16, bool)>, change: &dyn Fn(&mut Model)| {
        let mut model = honest.clone();
        change(&mut model);
        out.push(Forged { kind, model, touched });
    };
    let all = places(honest);
    let frame = |(s, f, n): (usize, usize, usize)| &honest[s][f][n];
    for (at, &place) in all.iter().enumerate() {
        let (s, f, n) = place;
        forge("frame dropped", vec![touched(frame(place))], &|m| drop(m[s][f].remove(n)));
        forge("frame doubled", vec![touched(frame(place))], &|m| {
            let again = m[s][f][n].clone();
            m[s][f].insert(n, again);
        });
        // With the next frame of its own partition: of different partitions there is no order.
        let next = all[at + 1..]
            .iter()
            .copied()
            .find(|p| frame(*p).header.partition == frame(place).header.partition);
        if let Some((s2, f2, n2)) = next {
            forge("frames swapped", vec![touched(frame(place))], &|m| {
                let one = m[s][f][n].clone();
                m[s][f][n] = std::mem::replace(&mut m[s2][f2][n2], one);
            });
        }
        let stranger = places(other).into_iter().map(|(s, f, n)| &other[s][f][n]).find(|o| {
            let (a, b) = (&o.header, &frame(place).header);
            (a.partition, a.first_offset, a.owner.is_some()) == (b.partition, b.first_offset, b.owner.is_some()) && *o != frame(place)
        });
        if let Some(stranger) = stranger {
            forge("frame of another log put in", vec![touched(frame(place))], &|m| {
                m[s][f].insert(n, stranger.clone())
            });
            forge("frame replaced by another log's", vec![touched(frame(place))], &|m| {
                m[s][f][n] = stranger.clone()
            });
        }
        let records = frame(place).records.len();
        for r in 0..records {
            let here = vec![touched(frame(place))];
            if records > 1 {
                forge("record dropped", here.clone(), &|m| drop(m[s][f][n].records.remove(r)));
            }
            forge("record doubled", here.clone(), &|m| {
                let again = m[s][f][n].records[r].clone();
                m[s][f][n].records.insert(r, again);
            });
            if r + 1 < records {
                forge("records swapped", here.clone(), &|m| m[s][f][n].records.swap(r, r + 1));
            }
            if let Some(stranger) = all
                .iter()
                .map(|p| frame(*p))
                .find(|o| o.header.partition != frame(place).header.partition && !o.records.is_empty())
            {
                let record = stranger.records[0].clone();
                forge("record of another partition put in", here.clone(), &|m| {
                    m[s][f][n].records.insert(r, record.clone())
                });
            }
        }
    }
    for (s, flushes) in honest.iter().enumerate() {
        for (f, frames) in flushes.iter().enumerate() {
            let here: Vec<_> = frames.iter().map(touched).collect();
            forge("flush dropped", here.clone(), &|m| drop(m[s].remove(f)));
            forge("flush doubled", here.clone(), &|m| {
                let again = m[s][f].clone();
                m[s].insert(f, again);
            });
            let in_both = |a: &Frame| {
                flushes
                    .get(f + 1)
                    .is_some_and(|next| next.iter().any(|b| b.header.partition == a.header.partition))
            };
            if frames.iter().any(in_both) {
                let both = frames.iter().filter(|a| in_both(a)).map(touched).collect();
                forge("flushes swapped", both, &|m| m[s].swap(f, f + 1));
            }
        }
    }
    out
}

#[test]
fn tampering_with_valid_checksums_is_detected() {
    let started = Instant::now();
    let files = sample(20, 14, 0);
    let honest = model(&files);
    // What is written down again is what was there: the forger's pen is right.
    let again = written(&honest, &files);
    let clean = check(&on(&again));
    assert!(clean.is_intact() && clean.torn.is_empty(), "{clean:?}");
    assert_eq!(
        (clean.digest.clone(), clean.frames),
        (check(&on(&files)).digest, check(&on(&files)).frames)
    );
    let before = served(&again);
    let forged = forgeries(&honest, &model(&sample(20, 14, 1)));
    let table = parking_lot::Mutex::new(BTreeMap::<&str, (usize, usize)>::new());
    each(forged.len(), |n| {
        let Forged { kind, model, touched } = &forged[n];
        let files = written(model, &again);
        let report = check(&on(&files));
        let promised = touched.iter().any(|(_, early)| *early);
        if report.is_intact() {
            assert!(!promised, "{kind} {n}, before the last head, unnoticed");
        } else {
            // Located: one of the partitions that it touches is named, and no partition that it does not.
            let named: Vec<u16> = report.problems.iter().filter_map(|p| p.partition).collect();
            assert!(
                named.iter().any(|p| touched.iter().any(|(t, _)| t == p)),
                "{kind} {n}: {:?}",
                report.problems
            );
            let known = |p: &u16| touched.iter().any(|(t, _)| t == p) || kind.contains("another partition");
            assert!(named.iter().all(known), "{kind} {n} of {touched:?}: {:?}", report.problems);
        }
        let mut table = table.lock();
        let entry = table.entry(kind).or_default();
        *(if report.is_intact() { &mut entry.1 } else { &mut entry.0 }) += 1;
        drop(table);
        // Served is a beginning of what was there; the partitions that it does not touch are whole.
        let records_forged = kind.starts_with("record") || kind.starts_with("frame replaced");
        for (p, ((after, stopped), (whole, _))) in (0u16..).zip(served(&files).iter().zip(&before)) {
            let here = touched.iter().find(|(t, _)| *t == p);
            match here {
                None => assert!(after == whole && !stopped, "{kind} {n}: partition {p} was not touched"),
                Some((_, true)) => assert!(
                    *stopped && whole.starts_with(after) || after == whole || records_forged,
                    "{kind} {n}: partition {p} serves on"
                ),
                Some((_, false)) => assert!(
                    whole.starts_with(after) || records_forged,
                    "{kind} {n}: partition {p} serves something else"
                ),
            }
        }
    });
    let table = table.into_inner();
    let sum = |of: fn(&(usize, usize)) -> usize| table.values().map(of).sum::<usize>();
    for (kind, (located, silent)) in &table {
        println!("{located:>7} located {silent:>5} behind the last head, not promised  {kind}");
    }
    println!(
        "forgeries: {} located, {} not promised; {:.1} s",
        sum(|n| n.0),
        sum(|n| n.1),
        started.elapsed().as_secs_f64()
    );
    assert!(sum(|n| n.0) > 300 && table.len() == 12, "{table:?}");
}
