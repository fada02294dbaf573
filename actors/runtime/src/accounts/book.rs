//! The index of addresses as a node keeps it: filled at first need, and kept up by each record of a person.

use super::addresses::{Addresses, Normal};
use crate::core::Core;
use parking_lot::Mutex;
use quipu_kinds::principal::PrincipalEvent;
use quipu_schemas::{
    codec,
    context::Keys,
    ids::{EntityId, Home, Kind, OrgId, StreamId},
    personal::Opened,
    problem::Problem,
    record::Record,
};

/// Streams of people that are read at a time.
const PAGE_STREAMS: usize = 1_000;

#[derive(Default)]
enum Book {
    /// Nobody has asked yet, or something could not be read.
    #[default]
    Unread,
    /// Being filled; what became durable meanwhile, with its offsets.
    Reading(Vec<(u64, Record)>),
    /// Filled.
    Read(Addresses),
}

/// Whose an address is.
#[derive(Default)]
pub(crate) struct AddressBook {
    book: Mutex<Book>,
    /// One fills it at a time.
    filling: Mutex<()>,
}

fn is_of_people(stream: &StreamId) -> bool {
    stream.kind == Kind::PRINCIPAL && stream.org == OrgId::PLATFORM
}

impl AddressBook {
    /// A record is durable, at this offset of its partition.
    pub(crate) fn record(&self, keys: &dyn Keys, offset: u64, record: &Record) {
        if !is_of_people(&record.header.stream) {
            return;
        }
        match &mut *self.book.lock() {
            Book::Unread => {}
            Book::Reading(meanwhile) => meanwhile.push((offset, record.clone())),
            Book::Read(addresses) => apply(addresses, keys, offset, record),
        }
    }

    /// A record of this stream cannot be read: whose address is what is found out again.
    pub(crate) fn forget(&self, stream: &StreamId) {
        if is_of_people(stream) {
            *self.book.lock() = Book::Unread;
        }
    }

    /// Whose an address is. Reads every person's records at the first call; blocks.
    pub(crate) fn holder(&self, core: &Core, address: &Normal) -> Result<Option<Home>, Problem> {
        self.ask(core, |addresses| addresses.holder(address).cloned())
    }

    /// Whether this address of a person is theirs alone, or they were the first to have it. Blocks as the other does.
    pub(crate) fn holds(&self, core: &Core, address: &Normal, home: &Home, id: &EntityId) -> Result<bool, Problem> {
        self.ask(core, |addresses| addresses.holds(address, home, id))
    }

    fn ask<T>(&self, core: &Core, ask: impl Fn(&Addresses) -> T) -> Result<T, Problem> {
        loop {
            if let Book::Read(addresses) = &*self.book.lock() {
                return Ok(ask(addresses));
            }
            self.fill(core)?;
        }
    }

    fn fill(&self, core: &Core) -> Result<(), Problem> {
        let _filling = self.filling.lock();
        if matches!(&*self.book.lock(), Book::Read(_)) {
            return Ok(());
        }
        *self.book.lock() = Book::Reading(Vec::new());
        let read = read_all(core);
        let mut book = self.book.lock();
        let meanwhile = std::mem::take(&mut *book);
        let mut addresses = read?;
        if let Book::Reading(meanwhile) = meanwhile {
            for (offset, record) in meanwhile {
                apply(&mut addresses, &*core.keys, offset, &record);
            }
            *book = Book::Read(addresses);
        }
        Ok(())
    }
}

fn read_all(core: &Core) -> Result<Addresses, Problem> {
    let mut addresses = Addresses::default();
    let mut after: Option<StreamId> = None;
    loop {
        let page = core.people(after.as_ref(), PAGE_STREAMS)?;
        for stream in &page {
            core.each_placed(stream, &mut |offset, record| apply(&mut addresses, &*core.keys, offset, record))?;
        }
        if page.len() < PAGE_STREAMS {
            return Ok(addresses);
        }
        after = page.last().cloned();
    }
}

fn apply(addresses: &mut Addresses, keys: &dyn Keys, offset: u64, record: &Record) {
    let Some(home) = Home::of_stream(&record.header.stream) else {
        return;
    };
    for event in &record.events {
        // Most are about sessions.
        let is_about = event.name.starts_with("quipu.principal.address_") || event.name.starts_with("quipu.principal.retired.");
        if !is_about {
            continue;
        }
        match codec::decode_event::<PrincipalEvent>(event) {
            Ok(PrincipalEvent::AddressAdded { id, address }) => {
                if let Ok(Opened::Value(text)) = address.open(keys)
                    && let Some(normal) = Normal::of(&text)
                {
                    addresses.added(normal, home.clone(), id, offset);
                }
            }
            Ok(PrincipalEvent::AddressRemoved { id }) => addresses.removed(&home, &id),
            Ok(PrincipalEvent::Retired { .. }) => addresses.gone(&home),
            Ok(_) => {}
            // Its stream parks where it is folded.
            Err(error) => tracing::warn!(%home, %error, "an address cannot be read"),
        }
    }
}
