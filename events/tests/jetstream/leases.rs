//! Leases, members and keys of nodes that share a log.

use super::*;
use quipu_events::{
    jetstream::JetStreamLeases,
    keyring::KeyStore,
    leases::{LeaseAnswer, Leases, Member, placement},
};

/// Renewals that arrive twice at three servers.
const RENEWALS: usize = 20;
const LIFE: Duration = Duration::from_millis(800);

/// A node: its log, without which the leases end, and its leases.
struct Node {
    runtime: tokio::runtime::Runtime,
    leases: JetStreamLeases,
    _log: Arc<JetStreamLog>,
}

impl Node {
    fn join(options: &JetStreamOptions, name: &str) -> Self {
        Self::join_for(options, name, LIFE)
    }

    fn join_for(options: &JetStreamOptions, name: &str, life: Duration) -> Self {
        let log = open(options);
        let me = Member::new(name, format!("http://{name}"));
        let leases = log.join(options, me, life).expect("joining");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            runtime,
            leases,
            _log: log,
        }
    }

    fn ask(&self, partition: u16) -> LeaseAnswer {
        self.runtime.block_on(self.leases.ask(partition))
    }

    fn renew(&self, grant: u64) -> LeaseAnswer {
        self.runtime.block_on(self.leases.renew(0, grant))
    }

    fn names(&self) -> Vec<String> {
        self.leases.members().into_iter().map(|member| member.node).collect()
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(5)); // poll
    }
}

#[test]
fn lease_on_three_servers_survives_duplicate_refusals() {
    let Some(nats) = start_or_skip(CLUSTER, "leases of three servers") else {
        return;
    };
    let proxy = Proxy::before(nats.port(0));
    proxy.turn_to_leases();
    let near = options(&format!("nats://{USER}@127.0.0.1:{}", proxy.port()), "twice", 1, 3);
    // Long enough that only refusals can end it.
    let life = Duration::from_secs(20);
    let a = Node::join_for(&near, "a", life);
    let b = Node::join_for(&options(&nats.url(), "twice", 1, 3), "b", life);
    assert_eq!(a.ask(0), LeaseAnswer::Granted { grant: 1 });
    for n in 0..RENEWALS {
        // The leader refuses the second one while the first one is still on its way to the others.
        proxy.next(&[Fate::Twice]);
        assert_eq!(
            a.renew(1),
            LeaseAnswer::Granted { grant: 1 },
            "renewal {n} after {:?}",
            proxy.first_answers()
        );
        assert!(matches!(b.ask(0), LeaseAnswer::Refused { .. }));
    }
    let answers = proxy.first_answers();
    let [by_sequence, in_process] = [10071, 10164].map(|code| answers.iter().filter(|answer| answer.contains(&code.to_string())).count());
    println!("three servers: of {RENEWALS} renewals that arrived twice, {by_sequence} were answered 10071 first and {in_process} 10164");
    assert!(in_process > 0, "the servers never refused by themselves: {answers:?}");
}

#[test]
fn a_lease_has_one_holder_until_it_is_let_go_or_not_renewed() {
    let Some(nats) = start_or_skip(SINGLE, "leases on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "lease", 4, 1);
    let (a, b) = (Node::join(&options, "a"), Node::join(&options, "b"));
    assert_eq!(a.ask(0), LeaseAnswer::Granted { grant: 1 });
    let refused = b.ask(0);
    assert!(
        matches!(refused, LeaseAnswer::Refused { free_in_ms } if free_in_ms <= 801),
        "{refused:?}"
    );
    until("b to see who holds it", || {
        b.leases.holder(0).is_some_and(|holder| holder.node == "a")
    });
    // Renewed, it outlives its first life; counted from when b first saw it, every time anew.
    let begun = Instant::now();
    while begun.elapsed() < LIFE * 2 {
        assert_eq!(a.renew(1), LeaseAnswer::Granted { grant: 1 });
        assert!(matches!(b.ask(0), LeaseAnswer::Refused { .. }));
    }
    // Not renewed, it ends: never before its life has passed.
    assert_eq!(a.renew(1), LeaseAnswer::Granted { grant: 1 });
    let renewed = Instant::now();
    until("the lease to end", || b.ask(0) == LeaseAnswer::Granted { grant: 2 });
    assert!(renewed.elapsed() >= LIFE, "{:?}", renewed.elapsed());
    assert!(matches!(a.renew(1), LeaseAnswer::Refused { .. }), "an old grant renews nothing");
    a.runtime.block_on(a.leases.release(0, 1));
    assert!(matches!(a.ask(0), LeaseAnswer::Refused { .. }), "an old grant lets nothing go");
    // Let go, it is free at once.
    b.runtime.block_on(b.leases.release(0, 2));
    assert_eq!(a.ask(0), LeaseAnswer::Granted { grant: 3 });
    // The same node in its next life takes it back at once, and its earlier life can do nothing with it.
    let again = Node::join(&options, "a");
    assert_eq!(again.ask(0), LeaseAnswer::Granted { grant: 4 });
    assert!(matches!(a.renew(3), LeaseAnswer::Refused { .. }));
}

#[test]
fn racing_nodes_get_a_free_lease_once() {
    let Some(nats) = start_or_skip(SINGLE, "racing leases on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "leaserace", 8, 1);
    let nodes: Vec<Node> = ["a", "b", "c"].iter().map(|name| Node::join(&options, name)).collect();
    for partition in 0..8 {
        let answers: Vec<LeaseAnswer> = thread::scope(|scope| {
            let asked: Vec<_> = nodes.iter().map(|node| scope.spawn(move || node.ask(partition))).collect();
            asked.into_iter().map(|answer| answer.join().expect("an answer")).collect()
        });
        let granted = answers
            .iter()
            .filter(|answer| matches!(answer, LeaseAnswer::Granted { .. }))
            .count();
        assert_eq!(granted, 1, "{answers:?}");
    }
}

#[test]
fn nodes_hear_of_each_other_and_agree_on_who_should_own_what() {
    let Some(nats) = start_or_skip(SINGLE, "members on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "members", 8, 1);
    let a = Node::join(&options, "a");
    assert!(
        (0..8).all(|partition| a.leases.is_wanted(partition)),
        "alone it should own everything"
    );
    let b = Node::join(&options, "b");
    assert_eq!(b.names(), ["a", "b"], "who comes is answered by who is there");
    until("a to hear of b", || a.names() == ["a", "b"]);
    let placed = placement(&a.leases.members(), 8);
    for partition in 0..8 {
        let owner = &placed[usize::from(partition)];
        assert_eq!(
            (a.leases.is_wanted(partition), b.leases.is_wanted(partition)),
            (owner == "a", owner == "b")
        );
    }
    // Who says good-bye is gone at once; who says nothing is missed after a while.
    b.runtime.block_on(b.leases.leave());
    drop(b);
    until("b to be gone", || a.names() == ["a"]);
    let c = Node::join(&options, "c");
    until("a to hear of c", || a.names() == ["a", "c"]);
    drop(c);
    until("c to be missed", || {
        a.names() == ["a"] && (0..8).all(|partition| a.leases.is_wanted(partition))
    });
}

#[test]
fn a_name_gets_one_key_whoever_stores_it_first() {
    let Some(nats) = start_or_skip(SINGLE, "shared keys on JetStream") else {
        return;
    };
    let options = options(&nats.url(), "keys", 1, 1);
    let (one, two) = (open(&options), open(&options));
    let (a, b) = (one.keys(&options).expect("keys"), two.keys(&options).expect("keys"));
    assert_eq!(a.get("acme/ada"), Ok(None));
    assert_eq!(a.add("acme/ada", "first"), Ok(true));
    assert_eq!(b.add("acme/ada", "second"), Ok(false));
    assert_eq!(
        (a.get("acme/ada"), b.get("acme/ada")),
        (Ok(Some("first".into())), Ok(Some("first".into())))
    );
    assert_eq!(b.get("acme/eve"), Ok(None));
}
