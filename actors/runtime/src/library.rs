//! The records of one stream, read page by page: nobody holds more of a stream than a page, and a reader who has gone away
//! stops at the next one.

mod recovery;

pub(crate) use recovery::refold;

use crate::{
    api::Stopped,
    core::Core,
    refusals::{index_problem, partition_stopped, read_problem},
};
use quipu_events::{
    index::{PageBefore, PageFrom, RecordPlace},
    port::ReadError,
};
use quipu_schemas::{
    ids::StreamId,
    limits::{READ_PAGE_BYTES, READ_PAGE_RECORDS},
    position::Position,
    problem::Problem,
    record::{self, Record},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tells a read that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

/// Cancels when it is dropped.
pub(crate) struct CancelOnDrop(Cancel);

impl Cancel {
    pub(crate) fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Refuses to go on for nobody.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.0.load(Ordering::Acquire) {
            return Err(Problem::new(503, "read_cancelled", "the reader has gone").retry_after(1));
        }
        Ok(())
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Release);
    }
}

/// A record and where it is.
pub(crate) type Placed = (Position, Record);

/// The records of a stream, forward. What stops it short is kept in [`Records::end`].
pub(crate) struct Records<'c> {
    core: &'c Core,
    stream: &'c StreamId,
    from: PageFrom,
    page: VecDeque<Placed>,
    places: VecDeque<RecordPlace>,
    is_last: bool,
    cancel: Cancel,
    trouble: Option<Problem>,
}

impl Records<'_> {
    /// Whether everything was read that was asked for.
    pub(crate) fn end(self) -> Result<(), Problem> {
        self.trouble.map_or(Ok(()), Err)
    }

    fn fill(&mut self) -> Result<(), Problem> {
        self.cancel.check()?;
        if self.places.is_empty() && !self.is_last {
            let page = self
                .core
                .index
                .places_page(self.stream, self.from, READ_PAGE_RECORDS)
                .map_err(|e| index_problem(&e))?;
            self.is_last = page.len() < READ_PAGE_RECORDS;
            if let Some(last) = page.last() {
                self.from = PageFrom::After(last.key());
            }
            self.places = page.into();
        }
        let count = within(self.places.iter(), READ_PAGE_BYTES);
        let places: Vec<RecordPlace> = self.places.drain(..count).collect();
        self.page = self.core.read_places(self.stream, &places)?.into();
        Ok(())
    }
}

impl Iterator for Records<'_> {
    type Item = Placed;

    fn next(&mut self) -> Option<Placed> {
        if self.page.is_empty() && self.trouble.is_none() {
            self.trouble = self.fill().err();
        }
        self.page.pop_front()
    }
}

/// How many of these records take so many bytes together: one at least.
pub(crate) fn within<'p>(places: impl Iterator<Item = &'p RecordPlace>, bytes: usize) -> usize {
    let mut held = 0;
    places
        .enumerate()
        .take_while(|(at, place)| {
            held += place.place.len as usize;
            *at == 0 || held <= bytes
        })
        .count()
}

impl Core {
    /// The stream's records from a place on. Fails where the stream's partition is damaged: what can be read may not be all,
    /// and must not pass for it.
    pub(crate) fn read_on<'c>(&'c self, stream: &'c StreamId, from: PageFrom, cancel: &Cancel) -> Result<Records<'c>, Problem> {
        self.is_whole(stream)?;
        Ok(Records {
            core: self,
            stream,
            from,
            page: VecDeque::new(),
            places: VecDeque::new(),
            is_last: false,
            cancel: cancel.clone(),
            trouble: None,
        })
    }

    /// A page of records before a place, the last first; empty at the stream's beginning.
    pub(crate) fn read_back(&self, stream: &StreamId, before: PageBefore) -> Result<Vec<Placed>, Problem> {
        self.is_whole(stream)?;
        let mut places = self
            .index
            .places_back(stream, before, READ_PAGE_RECORDS)
            .map_err(|e| index_problem(&e))?;
        places.truncate(within(places.iter(), READ_PAGE_BYTES));
        self.read_places(stream, &places)
    }

    /// The record that holds a version, if there is one.
    pub(crate) fn record_of(&self, stream: &StreamId, version: u64) -> Result<Option<Record>, Problem> {
        self.is_whole(stream)?;
        let place = self.index.place_of(stream, version).map_err(|e| index_problem(&e))?;
        let records = self.read_places(stream, place.as_slice())?;
        Ok(records.into_iter().next().map(|(_, record)| record))
    }

    /// Where a partition stops before its end, if it does: met when the node started, or by a read since.
    pub(crate) fn stopped(&self, partition: u16) -> Option<Stopped> {
        match self.log.damage(partition) {
            Some(error @ ReadError::Damaged { offset, .. }) => Some(Stopped {
                partition,
                offset,
                detail: error.to_string(),
            }),
            // A log that does not answer is not damaged; its reader gets the error.
            Some(_) | None => self.unreadable.get(&partition).cloned(),
        }
    }

    /// Refuses streams of a partition that is damaged.
    pub(crate) fn is_whole(&self, stream: &StreamId) -> Result<(), Problem> {
        match self.stopped(stream.partition(self.meta.partitions)) {
            Some(stopped) => Err(partition_stopped(&stopped)),
            None => Ok(()),
        }
    }

    /// Reads and decodes records of a stream. One that is damaged parks it.
    pub(crate) fn read_places(&self, stream: &StreamId, rows: &[RecordPlace]) -> Result<Vec<Placed>, Problem> {
        let places: Vec<_> = rows.iter().map(|row| row.place).collect();
        let stored = self.log.read_at(&places).map_err(|error| match &error {
            ReadError::Record(_) => self.park(stream, &error.to_string()),
            _ => read_problem(&error),
        })?;
        self.counters.records_read.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let partition = stream.partition(self.meta.partitions);
        let decode = |(row, bytes): (&RecordPlace, Vec<u8>)| {
            let position = Position {
                partition,
                offset: row.offset,
                index: 0,
            };
            record::decode(&bytes)
                .map(|record| (position, record))
                .map_err(|error| self.park(stream, &error.to_string()))
        };
        rows.iter().zip(stored).map(decode).collect()
    }
}
