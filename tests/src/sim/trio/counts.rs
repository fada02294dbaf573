//! What happened in the world of three nodes.

/// The counters, once: their names, and what they count.
macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// How often each thing happened in a run.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $field: u64),*
        }

        impl Counts {
            /// Adds another run's.
            pub fn add(&mut self, other: &Counts) {
                $(self.$field += other.$field;)*
            }
            /// Every counter with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field)),*]
            }
        }
    };
}

counters!(
    /// Steps taken.
    steps,
    /// Commands sent by clients, repetitions included.
    sent,
    /// Commands that must be refused, sent to learn a version.
    probed,
    /// Repetitions of a command, at any node.
    repeated,
    /// Receipts that reached a client.
    acknowledged,
    /// Refusals that reached a client.
    refused,
    /// Refusals that named a version, checked against the history.
    versions_refused,
    /// Answers that say that nobody knows.
    unknown,
    /// Answers that never reached their client.
    lost_answers,
    /// Crashes.
    crashes,
    /// Crashes with an append or a claim on its way.
    crashes_while_writing,
    /// Pauses of a whole process.
    pauses,
    /// Pauses longer than a lease.
    pauses_past_the_lease,
    /// Wall clocks set wrong, or right again.
    clocks_set,
    /// One node cut off from the broker.
    cuts_from_the_broker,
    /// One node cut off from the other nodes.
    cuts_from_the_nodes,
    /// Times that no node reached the broker.
    cuts_of_all,
    /// Runs in which a clock runs worse than the lease's margin allows.
    drifts_past_the_margin,
    /// Nodes that left in order.
    left,
    /// Nodes that joined running ones.
    joined,
    /// Appends and claims that never reached the broker.
    lost_appends,
    /// Appends and claims that arrived once more, later.
    late_appends,
    /// Appends that arrived when their sender was dead or another life of it.
    appends_of_the_dead,
    /// Acknowledgements that were lost.
    lost_acknowledgements,
    /// Acknowledgements that came after their sender had asked again.
    late_acknowledgements,
    /// Acknowledgements that came twice.
    doubled_acknowledgements,
    /// Appends of replaced owners that the broker refused by their sequence.
    stale_refused,
    /// Appends of replaced owners that lie in the stream and are passed over.
    stale_passed_over,
    /// Questions to the store of leases that were lost.
    lost_lease_questions,
    /// Answers of the store of leases that were lost.
    lost_lease_answers,
    /// Commands that one node sent to another.
    forwarded,
    /// Of those, lost on the way.
    lost_forwards,
    /// Of those, arrived twice.
    doubled_forwards,
    /// Answers to forwarded commands that were lost.
    lost_forward_answers,
    /// Times that a node began to admit.
    admitted,
    /// Times that the node before it had been another.
    takeovers,
    /// Events that the subscriber has read.
    fed,
    /// Reads of views that waited for one's own write and got it.
    own_writes_read,
    /// Effects that reached the sink.
    delivered,
    /// Timers fired.
    fired,
    /// Entities put to sleep.
    passivated,
    /// Simulated time that passed, milliseconds.
    simulated_ms,
    /// Records in the log at the end.
    records,
);
