//! The index of addresses as a node keeps it: filled at first need, and kept up by each record of a person.

use super::addresses::{Addresses, Normal};
use parking_lot::Mutex;
use quipu_kinds::principal::PrincipalEvent;
use quipu_schemas::{
    codec,
    context::Keys,
    ids::{Home, Kind, OrgId, StreamId},
    personal::Opened,
    problem::Problem,
    record::Record,
};

/// Gives every record of every person with its offset.
pub(crate) type People<'a> = &'a dyn Fn(&mut dyn FnMut(u64, &Record)) -> Result<(), Problem>;

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

    /// Asks whose addresses are whose, once that is known: at first the records of all people are read. Blocks.
    pub(crate) fn ask<T>(&self, keys: &dyn Keys, people: People<'_>, ask: impl FnOnce(&Addresses) -> T) -> Result<T, Problem> {
        loop {
            if let Book::Read(addresses) = &*self.book.lock() {
                return Ok(ask(addresses));
            }
            self.fill(keys, people)?;
        }
    }

    fn fill(&self, keys: &dyn Keys, people: People<'_>) -> Result<(), Problem> {
        let _filling = self.filling.lock();
        if matches!(&*self.book.lock(), Book::Read(_)) {
            return Ok(());
        }
        *self.book.lock() = Book::Reading(Vec::new());
        let mut addresses = Addresses::default();
        let read = people(&mut |offset, record| apply(&mut addresses, keys, offset, record));
        let mut book = self.book.lock();
        let meanwhile = std::mem::take(&mut *book);
        read?;
        if let Book::Reading(meanwhile) = meanwhile {
            for (offset, record) in meanwhile {
                apply(&mut addresses, keys, offset, &record);
            }
            *book = Book::Read(addresses);
        }
        Ok(())
    }
}

fn apply(addresses: &mut Addresses, keys: &dyn Keys, offset: u64, record: &Record) {
    let Some(home) = Home::of_stream(&record.header.stream) else {
        return;
    };
    for event in &record.events {
        // Most are about sessions.
        let is_about = ["address_", "operator_set.", "retired."].iter().any(|about| {
            event
                .name
                .strip_prefix("quipu.principal.")
                .is_some_and(|name| name.starts_with(about))
        });
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
            Ok(PrincipalEvent::OperatorSet { operator }) => addresses.operates(home.clone(), operator),
            Ok(PrincipalEvent::Retired { .. }) => addresses.gone(&home),
            Ok(_) => {}
            // Its stream parks where it is folded.
            Err(error) => tracing::warn!(%home, %error, "an address cannot be read"),
        }
    }
}
