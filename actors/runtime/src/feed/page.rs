//! One page of a partition for a feed that catches up: from the index where few streams are asked for, else from the log,
//! where no more of a record is decoded than tells whether it is asked for.

use crate::{
    api::{FeedEntry, FeedFilter, FeedItem, Stopped},
    core::Core,
};
use quipu_events::index::{PageFrom, RecordPlace};
use quipu_schemas::{
    ids::StreamId,
    limits::{FEED_PAGE_RECORDS, FEED_READ_BYTES, FEED_STREAMS_MAX},
    position::Position,
    record,
};
use std::sync::{Arc, atomic::Ordering};

/// What was read of a partition.
pub(crate) struct Page {
    /// Records and parks, each with the bytes that it takes in the log.
    pub(crate) items: Vec<(usize, FeedItem)>,
    /// The next offset.
    pub(crate) next: u64,
    /// The partition ends here.
    pub(crate) stopped: Option<Stopped>,
}

impl Page {
    /// Nothing was read.
    pub(crate) fn nothing(from: u64) -> Self {
        Self {
            items: Vec::new(),
            next: from,
            stopped: None,
        }
    }
}

/// Reads on from an offset, before `until`, holding about `most` bytes of records. Blocks.
pub(crate) fn read(core: &Core, filter: &FeedFilter, partition: u16, from: u64, until: u64, most: usize) -> Page {
    // Damage, or an index that does not answer: the log says where it ends.
    by_index(core, filter, partition, from, until, most).unwrap_or_else(|| by_log(core, filter, partition, from, until, most))
}

/// The streams that are asked for, if they are known and few.
fn streams(core: &Core, filter: &FeedFilter) -> Option<Vec<StreamId>> {
    let org = filter.org.as_ref()?;
    match (&filter.kind, &filter.id) {
        (Some(kind), Some(id)) => Some(vec![StreamId::new(org.clone(), kind.clone(), id.clone())]),
        (None, Some(id)) => {
            let kinds: Vec<_> = core.kinds.commands().map(|(kind, _)| kind.clone()).collect();
            core.index.streams_named(org, id, &kinds).ok()
        }
        (Some(kind), None) => core.index.few_streams(org, kind, FEED_STREAMS_MAX).ok()?,
        (None, None) => core.index.few_streams_of(org, FEED_STREAMS_MAX).ok()?,
    }
}

fn by_index(core: &Core, filter: &FeedFilter, partition: u16, from: u64, until: u64, most: usize) -> Option<Page> {
    // What is behind damage is not there, though the index may know it.
    let end = core.stopped(partition).map_or(until, |stopped| until.min(stopped.offset));
    // An index that was not told of everything would pass over the rest in silence.
    if end <= from || core.index.next_offset(partition) < end {
        return None;
    }
    // Only now: a stream that the index learned of after its streams were listed would be passed over.
    let streams = streams(core, filter)?;
    let streams = streams.iter().filter(|stream| stream.partition(core.meta.partitions) == partition);
    let (mut places, mut all): (Vec<RecordPlace>, bool) = (Vec::new(), true);
    for stream in streams {
        let page = core.index.places_page(stream, PageFrom::Offset(from), FEED_PAGE_RECORDS).ok()?;
        all &= page.len() < FEED_PAGE_RECORDS;
        places.extend(page.into_iter().filter(|place| place.offset < end));
    }
    places.sort_by_key(|place| place.offset);
    all &= places.len() <= FEED_PAGE_RECORDS;
    places.truncate(FEED_PAGE_RECORDS);
    let mut next = match places.last() {
        Some(last) if !all => last.offset + 1,
        _ => end,
    };
    let (mut wanted, mut bytes) = (Vec::new(), 0);
    for place in &places {
        if bytes >= most {
            next = place.offset;
            break;
        }
        bytes += place.place.len as usize;
        wanted.push(*place);
    }
    let stored = core.log.read_at(&wanted.iter().map(|place| place.place).collect::<Vec<_>>()).ok()?;
    let mut items = Vec::new();
    for (place, bytes) in wanted.iter().zip(stored) {
        core.counters.feed_decoded.fetch_add(1, Ordering::Relaxed);
        let record = record::decode(&bytes).ok()?;
        if filter.takes_stream(&record.header.stream) && filter.takes_record(&record) {
            let position = Position {
                partition,
                offset: place.offset,
                index: 0,
            };
            items.push((bytes.len(), FeedItem::Record(Arc::new(FeedEntry::new(position, Arc::new(record))))));
        }
    }
    Some(Page {
        items,
        next,
        stopped: None,
    })
}

/// The same, from the log alone.
pub(crate) fn by_log(core: &Core, filter: &FeedFilter, partition: u16, from: u64, until: u64, most: usize) -> Page {
    let mut page = Page::nothing(from);
    let frames = match core.log.read(partition, from, FEED_READ_BYTES) {
        Ok(frames) => frames,
        Err(error) => {
            // Read from the middle of the damage, the log names where it begins.
            page.stopped = Some(core.stopped(partition).unwrap_or(Stopped {
                partition,
                offset: from,
                detail: error.to_string(),
            }));
            return page;
        }
    };
    let mut held = 0;
    for frame in frames {
        for (offset, (_, bytes)) in (frame.first_offset..).zip(frame.records) {
            // A read begins with the whole frame that holds the offset.
            if offset < page.next {
                continue;
            }
            if offset >= until || held >= most {
                return page;
            }
            match item(core, filter, partition, offset, &bytes) {
                Ok(None) => {}
                Ok(Some(item)) => {
                    held += bytes.len();
                    page.items.push((bytes.len(), item));
                }
                Err(stopped) => {
                    page.stopped = Some(stopped);
                    return page;
                }
            }
            page.next = offset + 1;
        }
    }
    page
}

/// A record as the feed gives it, if it is asked for.
fn item(core: &Core, filter: &FeedFilter, partition: u16, offset: u64, bytes: &[u8]) -> Result<Option<FeedItem>, Stopped> {
    core.counters.feed_looked.fetch_add(1, Ordering::Relaxed);
    let position = Position {
        partition,
        offset,
        index: 0,
    };
    let header = record::decode_header(bytes).map_err(|error| Stopped {
        partition,
        offset,
        detail: error.to_string(),
    })?;
    if !filter.takes_stream(&header.stream) {
        return Ok(None);
    }
    core.counters.feed_decoded.fetch_add(1, Ordering::Relaxed);
    match record::decode(bytes) {
        Ok(record) if filter.takes_record(&record) => Ok(Some(FeedItem::Record(Arc::new(FeedEntry::new(position, Arc::new(record)))))),
        Ok(_) => Ok(None),
        Err(error) => Ok(Some(FeedItem::Parked {
            stream: header.stream,
            position,
            detail: error.to_string(),
        })),
    }
}
