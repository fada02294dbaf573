//! A node and the servers outside it: brokers, buses, PostgreSQL, Prometheus.

mod broker_away;
mod bus;
mod bus_kafka;
mod bus_nats;
mod deploy;
mod forgotten;
mod kafka_acls;
mod views_postgres;
