//! Leases, members and keys of nodes that share a log on Apache Kafka.

use super::*;
use quipu_events::{
    kafka::KafkaLeases,
    keyring::KeyStore,
    leases::{LeaseAnswer, Leases, Member},
};

const LIFE: Duration = Duration::from_millis(1_500);
const PARTITIONS: u16 = 8;

/// A node: its log, and its leases.
struct Node {
    runtime: tokio::runtime::Runtime,
    leases: Arc<KafkaLeases>,
    _log: KafkaLog,
}

impl Node {
    fn join(options: &KafkaOptions, name: &str) -> Self {
        let log = KafkaLog::open(options).expect("the log");
        let me = Member::new(name, format!("http://{name}"));
        let leases = log.join(options, me, LIFE).expect("joining");
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

    fn renew(&self, partition: u16, grant: u64) -> LeaseAnswer {
        self.runtime.block_on(self.leases.renew(partition, grant))
    }

    fn wanted(&self) -> Vec<u16> {
        (0..PARTITIONS).filter(|partition| self.leases.is_wanted(*partition)).collect()
    }

    /// Asks for everything that the group assigned, and lets go what it takes back, as partitions' actors do.
    fn attend(&self, held: &mut BTreeMap<u16, u64>) {
        let wanted = self.wanted();
        held.retain(|partition, _| wanted.contains(partition));
        for partition in wanted {
            if let LeaseAnswer::Granted { grant } = self.ask(partition) {
                held.insert(partition, grant);
            }
        }
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(10)); // poll
    }
}

/// Lets go whatever the group takes back.
fn lets_go(node: &Node) {
    let leases = Arc::downgrade(&node.leases);
    node.leases.on_change(Box::new(move |change| {
        if let quipu_events::leases::Change::Wanted { partition, wanted: false } = change {
            let leases = leases.clone();
            // Not from within: whoever tells holds what the answer needs.
            thread::spawn(move || {
                let Some(leases) = leases.upgrade() else { return };
                for grant in 1..8 {
                    drop(leases.release(partition, grant));
                }
            });
        }
    }));
}

/// Plays a scene on Apache Kafka, or on Tansu where there is no Java for it, which is then said.
fn on_a_broker(what: &str, scene: impl FnOnce(&str)) {
    if let Some(kafka) = shared(true, what) {
        return scene(&kafka.address());
    }
    if let Some(tansu) = tansu::start_or_skip(what) {
        crate::skipped::on_tansu_only(what);
        scene(&tansu.address());
    }
}

#[test]
fn group_gives_each_partition_to_one_node_proved_by_commit() {
    on_a_broker("leases", each_partition_is_given_to_one_node);
}

fn each_partition_is_given_to_one_node(address: &str) {
    let options = options(address, "lease", PARTITIONS);
    let a = Node::join(&options, "a");
    lets_go(&a);
    until("a to be assigned everything", || a.wanted().len() == usize::from(PARTITIONS));
    let mut held = BTreeMap::new();
    a.attend(&mut held);
    assert_eq!(held.len(), usize::from(PARTITIONS), "alone it owns everything");
    assert_eq!(a.renew(0, held[&0]), LeaseAnswer::Granted { grant: held[&0] });
    assert!(
        matches!(a.renew(0, held[&0] + 1), LeaseAnswer::Refused { .. }),
        "a grant that was never given"
    );

    // A second one gets its share, and only what the first has let go.
    let b = Node::join(&options, "b");
    lets_go(&b);
    let mut of_b = BTreeMap::new();
    until("partitions to be shared", || {
        a.attend(&mut held);
        b.attend(&mut of_b);
        held.len() == 4 && of_b.len() == 4
    });
    assert!(held.keys().all(|partition| !of_b.contains_key(partition)), "{held:?} {of_b:?}");
    for partition in of_b.keys() {
        assert!(matches!(a.ask(*partition), LeaseAnswer::Refused { .. }), "{partition} is b's");
        until("a to hear who holds it", || {
            a.leases.holder(*partition).is_some_and(|holder| holder.node == "b")
        });
    }
    let names = |node: &Node| node.leases.members().into_iter().map(|m| m.node).collect::<Vec<_>>();
    until("both to know both", || names(&a) == ["a", "b"] && names(&b) == ["a", "b"]);

    // Who leaves in order hands over at once; who is gone is missed when its session has ended.
    let begun = Instant::now();
    b.runtime.block_on(b.leases.leave());
    until("a to get them back", || {
        a.attend(&mut held);
        held.len() == usize::from(PARTITIONS)
    });
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(
        of_b.iter()
            .all(|(partition, grant)| matches!(b.renew(*partition, *grant), LeaseAnswer::Refused { .. }))
    );
}

#[test]
fn the_first_key_of_a_name_counts_for_every_node() {
    on_a_broker("shared keys", the_first_key_counts);
}

fn the_first_key_counts(address: &str) {
    let options = options(address, "keys", 1);
    let stores: Vec<_> = (0..2).map(|_| KafkaLog::keys(&options).expect("keys")).collect();
    assert_eq!(stores[0].get("ada"), Ok(None));
    let added: Vec<bool> = thread::scope(|scope| {
        let adding: Vec<_> = stores
            .iter()
            .enumerate()
            .map(|(n, store)| scope.spawn(move || store.add("ada", &format!("wrapped by {n}")).expect("an answer")))
            .collect();
        adding.into_iter().map(|added| added.join().expect("no panic")).collect()
    });
    assert_eq!(added.iter().filter(|first| **first).count(), 1, "{added:?}");
    let known: Vec<_> = stores.iter().map(|store| store.get("ada").expect("an answer")).collect();
    let winner = added.iter().position(|first| *first).map(|n| format!("wrapped by {n}"));
    assert_eq!(known, [winner.clone(), winner.clone()]);
    assert_eq!(stores[1].add("ada", "another"), Ok(false));
    // A store that was opened later reads the same.
    assert_eq!(KafkaLog::keys(&options).expect("keys").get("ada"), Ok(winner));
}
