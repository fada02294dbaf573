//! Three brokers: the contract on a replicated log, and brokers that are killed one after the other.

use super::{
    kafkas::{self, BROKERS},
    owners::{all_there, wait_for, write_through},
    *,
};

/// A replicated log that needs no broker in particular.
fn replicated(address: &str, prefix: &str, partitions: u16) -> KafkaOptions {
    let text = format!("kafka://{address}/{prefix}?partitions={partitions}&replicas=3&min_insync=2");
    text.parse().expect("options of a test")
}

#[test]
fn contract_holds_on_three_brokers_losing_each_in_turn() {
    let Some(mut kafkas) = kafkas::start_or_skip("the log contract and lost brokers") else {
        return;
    };
    let addresses = kafkas.addresses();
    keeps_every_promise(
        "three brokers",
        &[1],
        |name, partitions| replicated(&addresses, name, partitions),
        Durability::QuorumFsync,
    );
    let options = replicated(&kafkas.addresses(), "lose", 4);
    let log = open(&options);
    let acknowledged = write_through(&log, |count| {
        for n in 0..BROKERS {
            wait_for(count, count.load(Ordering::Relaxed) + 40);
            kafkas.kill(n);
            // Two of three take everything: one of them leads what the lost one led.
            wait_for(count, count.load(Ordering::Relaxed) + 40);
            kafkas.restart(n);
        }
        wait_for(count, count.load(Ordering::Relaxed) + 40);
    });
    assert!(acknowledged.len() > 400, "{}", acknowledged.len());
    all_there(&*log, &acknowledged);
    drop(log);
    all_there(&*open(&options), &acknowledged);
}
