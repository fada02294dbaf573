//! What speaks Kafka's protocol to a test: Apache Kafka, or Tansu where there is no Java for it, which is then said.

use crate::servers::{
    kafka::{self, Kafka},
    tansu::{self, Tansu},
};

/// A running broker.
pub enum Broker {
    /// Apache Kafka.
    Kafka(Box<Kafka>),
    /// Tansu: in memory, without restarts, and telling no settings.
    Tansu(Tansu),
}

/// An Apache Kafka that syncs before it acknowledges, or a Tansu and a line that says so, or nothing and a line that says what is not
/// checked. `QUIPU_REQUIRE_SERVERS` makes anything but Kafka an error.
///
/// # Panics
/// Where that is set and there is no Kafka.
pub fn start_or_skip(what: &str) -> Option<Broker> {
    let broker = or_tansu(kafka::start_or_skip(true, what), what)?;
    broker.say(what);
    Some(broker)
}

/// As [`start_or_skip`], of an Apache Kafka that was started otherwise, if it was. Of a Tansu the caller says what it checks.
///
/// # Panics
/// As [`start_or_skip`].
pub fn or_tansu(kafka: Option<Kafka>, what: &str) -> Option<Broker> {
    if let Some(kafka) = kafka {
        return Some(Broker::Kafka(Box::new(kafka)));
    }
    Some(Broker::Tansu(tansu::start_or_skip(what)?))
}

impl Broker {
    /// Says where this is checked, if not where it counts.
    pub fn say(&self, what: &str) {
        if matches!(self, Self::Tansu(_)) {
            crate::skipped::on_tansu_only(what);
        }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.address(),
            Self::Tansu(tansu) => tansu.address(),
        }
    }

    /// Address of a log on it with so many partitions.
    pub fn log(&self, name: &str, partitions: u16) -> String {
        let accepted = match self {
            Self::Kafka(_) => "",
            Self::Tansu(_) => "&accept=unsynced",
        };
        format!("kafka://{}/{name}?partitions={partitions}{accepted}", self.address())
    }
}
