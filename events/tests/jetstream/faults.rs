//! Answers that are lost, connections that break, refusals in passing.

use super::*;

/// Publishes that arrive twice at three servers.
const TWICE: usize = 20;

/// A log behind a proxy, with short deadlines.
fn behind_proxy(nats: &Nats, prefix: &str, partitions: u16) -> (Proxy, JetStreamOptions) {
    let proxy = Proxy::before(nats.port(0));
    let mut options = options(&format!("nats://{USER}@127.0.0.1:{}", proxy.port()), prefix, partitions, 1);
    // The servers are asked about their sync mode over the same proxy.
    options.request = Duration::from_millis(250);
    (proxy, options)
}

#[test]
fn unknown_outcome_blocks_until_claimed_and_read_back() {
    let Some(nats) = start_or_skip(SINGLE, "unknown outcomes on JetStream") else {
        return;
    };
    for partitions in [16, 1] {
        for fate in [Fate::CutAfter, Fate::CutBefore] {
            let (proxy, mut options) = behind_proxy(&nats, &format!("{fate:?}{partitions}"), partitions);
            options.outcome = Duration::from_millis(600);
            let mut subject = Stream::new(options, Some((proxy, fate)));
            contract::unknown_outcome_blocks_until_claimed_and_read_back(&mut subject);
        }
    }
}

#[test]
fn lost_answers_and_refusals_are_read_back_not_conflicts() {
    let Some(nats) = start_or_skip(SINGLE, "lost acknowledgements on JetStream") else {
        return;
    };
    let cases: [&[Fate]; 8] = [
        &[Fate::LoseAck],
        &[Fate::BreakBeforeAck],
        &[Fate::LosePublish],
        &[Fate::LosePublish, Fate::LoseAck],
        &[Fate::Refuse(10164), Fate::Refuse(10164), Fate::Refuse(10164)],
        &[Fate::Refuse(10071)],
        &[Fate::StoreAndRefuse(10071)],
        &[Fate::StoreAndRefuse(10164), Fate::LoseAck],
    ];
    for (n, fates) in cases.into_iter().enumerate() {
        let (proxy, options) = behind_proxy(&nats, &format!("lost{n}"), 1);
        let log = open(&options);
        let mut owner = Owner::claim(&*log, 0);
        owner.write(&*log, 1);
        let before = proxy.publishes();
        proxy.next(fates);
        owner.write(&*log, 2);
        let stored_at_first = matches!(fates[0], Fate::LoseAck | Fate::BreakBeforeAck | Fate::StoreAndRefuse(_));
        assert_eq!(proxy.publishes() - before > 1, !stored_at_first, "{fates:?}");
        owner.write(&*log, 1);
        let frames = read_all(&*log, 0, 1 << 20).unwrap();
        assert_eq!(
            frames.iter().map(|f| f.records.len()).collect::<Vec<_>>(),
            [0, 1, 2, 1],
            "{fates:?}: once each"
        );
        assert_eq!(log.head(0).unwrap(), owner.head);
    }
}

#[test]
fn refusals_of_three_servers_are_read_back_not_conflicts() {
    let Some(nats) = start_or_skip(CLUSTER, "refusals by sequence of three servers") else {
        return;
    };
    let proxy = Proxy::before(nats.port(0));
    let mut options = options(&format!("nats://{USER}@127.0.0.1:{}", proxy.port()), "refused", 1, 3);
    options.request = Duration::from_millis(1_000);
    let log = open(&options);
    let mut owner = Owner::claim(&*log, 0);
    let cases: [&[Fate]; 3] = [
        &[Fate::Refuse(10164), Fate::Refuse(10164), Fate::Refuse(10164)],
        &[Fate::StoreAndRefuse(10164)],
        &[Fate::StoreAndRefuse(10164), Fate::LoseAck],
    ];
    for fates in cases {
        proxy.next(fates);
        owner.write(&*log, 2);
        // A record that was read back at once is not sent again, and leaves the fate of its repetition to nobody.
        proxy.forget_fates();
    }
    // The leader refuses the second one of these while the first one is still on its way to the others: its refusal is the first
    // answer to what becomes stored.
    for _ in 0..TWICE {
        proxy.next(&[Fate::Twice]);
        owner.write(&*log, 1);
    }
    let answers = proxy.first_answers();
    assert_eq!(answers.len(), TWICE, "{answers:?}");
    let [by_sequence, in_process] = [10071, 10164].map(|code| answers.iter().filter(|answer| answer.contains(&code.to_string())).count());
    println!("three servers: of {TWICE} publishes that arrived twice, {by_sequence} were answered 10071 first and {in_process} 10164");
    assert!(by_sequence + in_process > 0, "the servers never refused by themselves: {answers:?}");
    let frames = read_all(&*log, 0, 1 << 20).unwrap();
    let mut records = vec![0];
    records.extend(vec![2; cases.len()]);
    records.extend(vec![1; TWICE]);
    assert_eq!(frames.iter().map(|f| f.records.len()).collect::<Vec<_>>(), records, "once each");
    assert_eq!(log.head(0).unwrap(), owner.head);
}

#[test]
fn a_lost_acknowledgement_of_a_claim_is_read_back() {
    let Some(nats) = start_or_skip(SINGLE, "lost claims on JetStream") else {
        return;
    };
    for (n, fate) in [Fate::LoseAck, Fate::BreakBeforeAck, Fate::LosePublish, Fate::StoreAndRefuse(10071)]
        .into_iter()
        .enumerate()
    {
        let (proxy, options) = behind_proxy(&nats, &format!("claim{n}"), 1);
        let log = open(&options);
        proxy.next(&[fate]);
        let mut owner = Owner::claim(&*log, 0);
        assert_eq!(owner.head.epoch, 1, "{fate:?}");
        owner.write(&*log, 1);
    }
}
