//! Pages of a stream's records, forward and backward, and lookups of one: what they cost is what they return.

use super::{
    Index, IndexError, RecordPlace,
    lookup::place,
    store::{sid, stream_at},
    tail::StreamTail,
};
use quipu_schemas::ids::{EntityId, Kind, OrgId, StreamId};
use rusqlite::{Connection, OptionalExtension, params};

/// Where a record stands in its stream: the order of a stream is that of its keys, and of its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey {
    /// Version of its first event (of the stream's next one, where it has none).
    pub first_version: u64,
    /// Offset within the stream's partition.
    pub offset: u64,
}

/// Where a page forward begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFrom {
    /// At the record that holds this version; at the stream's first record for 0. Where no record holds the version yet, at
    /// the records without events that follow the version before it.
    Version(u64),
    /// Behind this record.
    After(RecordKey),
    /// At the first record at or behind this offset of the stream's partition.
    Offset(u64),
}

/// Where a page backward begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageBefore {
    /// At the stream's last record.
    End,
    /// At the last record that begins at or before this version.
    Version(u64),
    /// Before this record.
    Key(RecordKey),
}

const COLUMNS: &str = "SELECT offset, first_version, events, unit, at, len FROM places";

impl RecordPlace {
    /// Where it stands in its stream.
    pub fn key(&self) -> RecordKey {
        RecordKey {
            first_version: self.first_version,
            offset: self.offset,
        }
    }

    fn has_events(&self) -> bool {
        self.last_version >= self.first_version
    }
}

fn sql(number: u64) -> i64 {
    number.min(i64::MAX as u64) as i64
}

/// The last record with events that begins at or before a version.
fn holder(connection: &Connection, sid: i64, version: u64) -> rusqlite::Result<Option<RecordPlace>> {
    let text = format!("{COLUMNS} WHERE sid = ?1 AND first_version <= ?2 AND events > 0 ORDER BY first_version DESC, offset DESC LIMIT 1");
    connection
        .prepare_cached(&text)?
        .query_row(params![sid, sql(version)], place)
        .optional()
}

/// The first version of the last record below an offset; the search halves the versions, as offsets rise with them.
fn below_offset(connection: &Connection, sid: i64, offset: u64) -> rusqlite::Result<u64> {
    let mut probe = connection.prepare_cached(
        "SELECT first_version, offset FROM places WHERE sid = ?1 AND first_version >= ?2 ORDER BY first_version, offset LIMIT 1",
    )?;
    let mut last = connection.prepare_cached("SELECT first_version FROM places WHERE sid = ?1 ORDER BY first_version DESC LIMIT 1")?;
    let last: Option<i64> = last.query_row(params![sid], |row| row.get(0)).optional()?;
    // Every first version that is known to lie below is at most `low`; none above `high` is.
    let (mut low, mut high) = (0u64, last.unwrap_or(0) as u64);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let found: Option<(i64, i64)> = probe
            .query_row(params![sid, sql(middle)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((first, at)) if (at as u64) < offset => low = first as u64,
            Some(_) | None => high = middle - 1,
        }
    }
    Ok(low)
}

/// Rows at or behind a key.
fn forward(connection: &Connection, sid: i64, from: RecordKey, limit: usize) -> rusqlite::Result<Vec<RecordPlace>> {
    let text = format!("{COLUMNS} WHERE sid = ?1 AND (first_version, offset) >= (?2, ?3) ORDER BY first_version, offset LIMIT ?4");
    let mut statement = connection.prepare_cached(&text)?;
    let rows = statement.query_map(params![sid, sql(from.first_version), sql(from.offset), limit as i64], place)?;
    rows.collect()
}

/// Rows before a key, the last first.
fn backward(connection: &Connection, sid: i64, before: RecordKey, limit: usize) -> rusqlite::Result<Vec<RecordPlace>> {
    let text = format!("{COLUMNS} WHERE sid = ?1 AND (first_version, offset) < (?2, ?3) ORDER BY first_version DESC, offset DESC LIMIT ?4");
    let mut statement = connection.prepare_cached(&text)?;
    let rows = statement.query_map(params![sid, sql(before.first_version), sql(before.offset), limit as i64], place)?;
    rows.collect()
}

/// The first key that may stand behind a record that has been passed.
fn behind(key: RecordKey) -> RecordKey {
    RecordKey {
        offset: key.offset + 1,
        ..key
    }
}

/// Where a page begins that is to hold `version`, if `holder` is the last record with events that begins at or before it.
fn begin(holder: Option<RecordPlace>, version: u64) -> RecordKey {
    match holder {
        None => RecordKey {
            first_version: version,
            offset: 0,
        },
        Some(holder) if holder.last_version >= version => holder.key(),
        Some(holder) => RecordKey {
            first_version: version,
            ..behind(holder.key())
        },
    }
}

impl PageFrom {
    /// No record below this offset belongs to the page.
    fn offset(self) -> u64 {
        match self {
            Self::Version(_) => 0,
            Self::After(key) => key.offset + 1,
            Self::Offset(offset) => offset,
        }
    }
}

impl StreamTail {
    fn place(&self, at: usize) -> RecordPlace {
        RecordPlace::from(&*self.entries[at])
    }

    /// Where a page begins, as far as that is known without the stored records.
    fn begin(&self, from: PageFrom) -> Option<RecordKey> {
        match from {
            PageFrom::Version(0) => Some(begin(None, 0)),
            PageFrom::Version(version) => {
                let end = self.entries.partition_point(|entry| entry.first_version <= version);
                let holder = (0..end).rev().map(|at| self.place(at)).find(RecordPlace::has_events);
                holder.map(|holder| begin(Some(holder), version))
            }
            PageFrom::After(key) => Some(behind(key)),
            PageFrom::Offset(_) => None,
        }
    }

    fn page(&self, from_offset: u64, limit: usize) -> Vec<RecordPlace> {
        let first = self.entries.partition_point(|entry| entry.offset < from_offset);
        (first..self.entries.len()).take(limit).map(|at| self.place(at)).collect()
    }
}

impl Index {
    /// At most `limit` of the stream's records, in order, those without events among them.
    pub fn places_page(&self, stream: &StreamId, from: PageFrom, limit: usize) -> Result<Vec<RecordPlace>, IndexError> {
        // The tail first: what a flush moves in between is then seen twice, and never missed.
        let (known, newest) = {
            let tail = self.tail();
            match tail.streams.get(stream) {
                None => (StreamTail::default().begin(from), Vec::new()),
                Some(tail) => {
                    let known = tail.begin(from);
                    (known, tail.page(known.map_or_else(|| from.offset(), |key| key.offset), limit))
                }
            }
        };
        let (begins, mut places) = self.store.read(|connection| {
            let Some(sid) = sid(connection, stream)? else {
                let begins = match (known, from) {
                    (Some(key), _) => key,
                    (None, PageFrom::Version(version)) => begin(None, version),
                    (None, from) => RecordKey {
                        first_version: 0,
                        offset: from.offset(),
                    },
                };
                return Ok((begins, Vec::new()));
            };
            let begins = match (known, from) {
                (Some(key), _) => key,
                (None, PageFrom::Version(version)) => begin(holder(connection, sid, version)?, version),
                (None, PageFrom::After(key)) => behind(key),
                (None, PageFrom::Offset(offset)) => RecordKey {
                    first_version: below_offset(connection, sid, offset)?,
                    offset,
                },
            };
            Ok((begins, forward(connection, sid, begins, limit)?))
        })?;
        let stored = places.last().map(|place| place.offset);
        let room = limit - places.len();
        let fits = |place: &RecordPlace| stored.is_none_or(|stored| place.offset > stored) && place.key() >= begins;
        places.extend(newest.into_iter().filter(fits).take(room));
        Ok(places)
    }

    /// At most `limit` of the stream's records before a point, the last one first, those without events among them.
    pub fn places_back(&self, stream: &StreamId, before: PageBefore, limit: usize) -> Result<Vec<RecordPlace>, IndexError> {
        let end = match before {
            PageBefore::End => RecordKey {
                first_version: u64::MAX,
                offset: u64::MAX,
            },
            PageBefore::Version(version) => RecordKey {
                first_version: version,
                offset: u64::MAX,
            },
            PageBefore::Key(key) => key,
        };
        let mut places: Vec<RecordPlace> = {
            let tail = self.tail();
            tail.streams.get(stream).map_or_else(Vec::new, |tail| {
                let key = |entry: &super::IndexEntry| (entry.first_version, entry.offset);
                let last = tail.entries.partition_point(|entry| key(entry) < (end.first_version, end.offset));
                (0..last).rev().take(limit).map(|at| tail.place(at)).collect()
            })
        };
        if places.len() < limit {
            let (end, room) = (places.last().map_or(end, RecordPlace::key), limit - places.len());
            places.extend(self.store.read(|connection| match sid(connection, stream)? {
                Some(sid) => backward(connection, sid, end, room),
                None => Ok(Vec::new()),
            })?);
        }
        Ok(places)
    }

    /// The record that holds a version, if there is one.
    pub fn place_of(&self, stream: &StreamId, version: u64) -> Result<Option<RecordPlace>, IndexError> {
        let page = self.places_page(stream, PageFrom::Version(version), 1)?;
        Ok(page
            .into_iter()
            .next()
            .filter(|place| place.first_version <= version && version <= place.last_version))
    }

    /// The streams of an org with this id, of these kinds, that have a record.
    pub fn streams_named(&self, org: &OrgId, id: &EntityId, kinds: &[Kind]) -> Result<Vec<StreamId>, IndexError> {
        let mut found = Vec::new();
        for kind in kinds {
            let stream = StreamId::new(org.clone(), kind.clone(), id.clone());
            if self.has_records(&stream)? {
                found.push(stream);
            }
        }
        Ok(found)
    }

    /// The streams of a kind in an org; `None` if there are more than `most`.
    pub fn few_streams(&self, org: &OrgId, kind: &Kind, most: usize) -> Result<Option<Vec<StreamId>>, IndexError> {
        // The smallest id there is: ids are not empty, and `-` is the first sign of their alphabet.
        let first = StreamId::new(org.clone(), kind.clone(), EntityId::from_static("-"));
        let mut streams: Vec<StreamId> = {
            let tail = self.tail();
            let same = |stream: &&StreamId| stream.org == *org && stream.kind == *kind;
            tail.streams
                .range(first..)
                .map(|(stream, _)| stream)
                .take_while(same)
                .take(most + 1)
                .cloned()
                .collect()
        };
        streams.extend(self.store.read(|connection| {
            let text = "SELECT kind, org, id FROM streams WHERE kind = ?1 AND org = ?2 AND records > 0 LIMIT ?3";
            let mut statement = connection.prepare_cached(text)?;
            let rows = statement.query_map(params![kind.as_str(), org.as_str(), most as i64 + 1], |row| stream_at(row, 0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?);
        streams.sort();
        streams.dedup();
        Ok((streams.len() <= most).then_some(streams))
    }

    /// The streams of an org, of whatever kind; `None` if there are more than `most`.
    pub fn few_streams_of(&self, org: &OrgId, most: usize) -> Result<Option<Vec<StreamId>>, IndexError> {
        // As in `few_streams`; kinds begin with a letter.
        let first = StreamId::new(org.clone(), Kind::from_static("a"), EntityId::from_static("-"));
        let mut streams: Vec<StreamId> = {
            let tail = self.tail();
            let known = tail.streams.range(first..).map(|(stream, _)| stream);
            known.take_while(|stream| stream.org == *org).take(most + 1).cloned().collect()
        };
        streams.extend(self.store.read(|connection| {
            // Rows are sorted by kind first: a look a kind, rather than one at every stream of every org.
            let mut following = connection.prepare_cached("SELECT MIN(kind) FROM streams WHERE kind > ?1")?;
            let text = "SELECT kind, org, id FROM streams WHERE kind = ?1 AND org = ?2 AND records > 0 LIMIT ?3";
            let mut of_kind = connection.prepare_cached(text)?;
            let (mut found, mut kind) = (Vec::new(), String::new());
            while found.len() <= most
                && let Some(next) = following.query_row(params![kind], |row| row.get::<_, Option<String>>(0))?
            {
                let rows = of_kind.query_map(params![next, org.as_str(), most as i64 + 1], |row| stream_at(row, 0))?;
                found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
                kind = next;
            }
            Ok(found)
        })?);
        streams.sort();
        streams.dedup();
        Ok((streams.len() <= most).then_some(streams))
    }

    fn has_records(&self, stream: &StreamId) -> Result<bool, IndexError> {
        if self.tail().streams.contains_key(stream) {
            return Ok(true);
        }
        self.store.read(|connection| {
            let text = "SELECT 1 FROM streams WHERE kind = ?1 AND org = ?2 AND id = ?3 AND records > 0";
            let mut statement = connection.prepare_cached(text)?;
            statement.exists(params![stream.kind.as_str(), stream.org.as_str(), stream.id.as_str()])
        })
    }
}
