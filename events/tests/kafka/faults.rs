//! Answers that are lost, connections that break.

use super::*;

/// Every unknown outcome is unknown, blocks until claimed again, and is told by reading.
fn unknown_outcomes(broker: &str, address: &str, proxy: &Proxy) {
    for partitions in [4, 1] {
        for (n, fate) in [Fate::CutAfter(END_TXN), Fate::CutBefore(END_TXN), Fate::CutBefore(PRODUCE)]
            .into_iter()
            .enumerate()
        {
            let mut options = options(address, &format!("unknown{n}-{partitions}"), partitions);
            options.outcome = Duration::from_millis(1500);
            let mut subject = Topic::new(options, Some((proxy, fate)));
            contract::unknown_outcome_blocks_until_claimed_and_read_back(&mut subject);
            println!("{broker} {fate:?} with {partitions}: settled");
        }
    }
}

#[test]
fn unknown_outcome_blocks_until_claimed_and_read_back() {
    let Some(kafka) = kafka::start_or_skip(false, "unknown outcomes") else {
        return;
    };
    unknown_outcomes("Kafka", &kafka.proxied(), &kafka.proxy);
}

#[test]
fn an_unknown_outcome_on_tansu() {
    let Some(tansu) = tansu::start_or_skip("unknown outcomes") else {
        return;
    };
    unknown_outcomes("Tansu", &tansu.address(), &tansu.proxy);
}

#[test]
fn a_connection_that_breaks_costs_no_frame_and_doubles_none() {
    let Some((kafka, _turn)) = shared_proxied("broken connections") else {
        return;
    };
    let options = options(&kafka.proxied(), "breaks", 1);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    for kind in [PRODUCE, END_TXN] {
        for _ in 0..3 {
            kafka.proxy.next(Fate::BreakAfter(kind));
            // The client asks again, under the same number.
            owner.write(&*log, 2);
        }
    }
    let frames = read_all(&*log, 0, 1 << 20).unwrap();
    assert_eq!(
        frames.iter().map(|f| f.records.len()).collect::<Vec<_>>(),
        [0, 2, 2, 2, 2, 2, 2],
        "once each"
    );
    assert_eq!(log.head(0).unwrap(), owner.head);
}
