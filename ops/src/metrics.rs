//! Names of the metrics that this crate records, and the page that shows all of them. No tenant labels, ever.

mod vitals;

pub use vitals::outbox_of;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use quipu_runtime::node::{Counters, Node};
use std::{
    fmt::Write,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Requests answered; labels `method`, `route` (a template, never a path) and `status`.
pub const HTTP_REQUESTS: &str = "quipu_http_requests_total";
/// Time to the first byte of an answer, in seconds; label `route`.
pub const HTTP_SECONDS: &str = "quipu_http_request_seconds";
/// Requests being served.
pub const HTTP_IN_FLIGHT: &str = "quipu_http_requests_in_flight";
/// Requests refused before any work; label `reason`.
pub const HTTP_REFUSED: &str = "quipu_http_refused_total";
/// Open feeds and live channels.
pub const HTTP_STREAMS: &str = "quipu_http_streams_open";
/// Records that views are behind the log; label `partition`.
pub const VIEW_LAG_RECORDS: &str = "quipu_view_lag_records";
/// Records projected.
pub const VIEW_RECORDS: &str = "quipu_view_records_total";
/// Failed projection batches.
pub const VIEW_ERRORS: &str = "quipu_view_errors_total";
/// Calls over the bus; label `outcome`.
pub const BUS_CALLS: &str = "quipu_bus_calls_total";
/// Commands of the durable queue that were taken from it; label `outcome`.
pub const BUS_COMMANDS: &str = "quipu_bus_commands_total";
/// Events that the bus took.
pub const BUS_EVENTS: &str = "quipu_bus_events_total";
/// Records of this node's partitions that the feed of the bus is behind the log.
pub const BUS_FEED_LAG: &str = "quipu_bus_feed_lag_records";
/// 1 while the bus is connected.
pub const BUS_CONNECTED: &str = "quipu_bus_connected";
/// Effects and dispatches in the relays' memory; label `state`. What they do not hold waits in the index.
pub const OUTBOX_STATE: &str = "quipu_outbox_depth";
/// Attempts of effects that ended; labels `effect` and `outcome`.
pub const ATTEMPTS: &str = "quipu_effect_attempts_total";
/// Effects and dispatches that were given up.
pub const DEAD: &str = "quipu_effects_dead_total";
/// How long model calls took; label `provider`, a configured name.
pub const MODEL_SECONDS: &str = "quipu_model_call_seconds";
/// Model calls that failed; label `provider`.
pub const MODEL_ERRORS: &str = "quipu_model_call_errors_total";
/// Turns that ended; label `outcome`.
pub const TURNS: &str = "quipu_turns_finished_total";
/// Failed writes of the heads file.
pub const HEADS_ERRORS: &str = "quipu_heads_errors_total";

/// Bytes that the program has allocated.
pub const HEAP_ALLOCATED: &str = "quipu_heap_allocated_bytes";
/// Bytes of physical memory that the allocator holds, free ones included.
pub const HEAP_RESIDENT: &str = "quipu_heap_resident_bytes";
/// Entities in memory.
pub const ENTITIES_ACTIVE: &str = "quipu_entities_active";

/// What a node counts since it started: the name, its help text, and where it stands.
type Count = (&'static str, &'static str, fn(&Counters) -> &AtomicU64);
const COUNTS: &[Count] = &[
    ("quipu_commands_accepted_total", "Commands answered with a receipt", |c| &c.accepted),
    ("quipu_commands_refused_total", "Commands answered with a problem", |c| &c.refused),
    ("quipu_commands_overloaded_total", "Commands refused for a full queue", |c| {
        &c.overloaded
    }),
    ("quipu_entities_recovered_total", "Entities recovered from the log", |c| {
        &c.recovered
    }),
    ("quipu_entities_passivated_total", "Entities put to sleep", |c| &c.passivated),
    ("quipu_entities_crashed_total", "Entities that crashed and were dropped", |c| {
        &c.crashed
    }),
    ("quipu_frames_appended_total", "Frames appended to the log", |c| &c.frames),
    ("quipu_records_appended_total", "Records appended to the log", |c| &c.records),
    ("quipu_appends_crashed_total", "Appends of which what follows crashed", |c| {
        &c.appends_crashed
    }),
    ("quipu_snapshots_stored_total", "Snapshots stored", |c| &c.snapshots),
    ("quipu_snapshots_wrong_total", "Snapshots whose audit gave another state", |c| {
        &c.snapshots_wrong
    }),
    ("quipu_records_read_total", "Records of single streams read from the log", |c| {
        &c.records_read
    }),
    (
        "quipu_feed_records_looked_total",
        "Records whose headers feeds read from the log",
        |c| &c.feed_looked,
    ),
    (
        "quipu_feed_records_decoded_total",
        "Records that feeds read from the log and decoded",
        |c| &c.feed_decoded,
    ),
];

/// What a node counts and where it stands, in Prometheus' text format. Not of the process's recorder, which several nodes of a
/// process share. No tenant is named.
pub fn page_of(node: &Node) -> String {
    let mut page = String::new();
    let mut line = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    for (name, help, of) in COUNTS {
        line(name, "counter", help, of(node.counters()).load(Ordering::Relaxed));
    }
    let lines = crate::log_lines::lost();
    line(
        "quipu_log_lines_lost_total",
        "counter",
        "Log lines that could not be written",
        lines,
    );
    let restarts = node.tasks().restarts();
    line(
        "quipu_task_restarts_total",
        "counter",
        "Tasks of the node that crashed and were started again",
        restarts,
    );
    let restarts = node.partition_restarts();
    line(
        "quipu_partition_restarts_total",
        "counter",
        "Actors of partitions that crashed and were started again",
        restarts,
    );
    let partitions = node.partitions();
    let mut gauge = |name, help, value: usize| line(name, "gauge", help, value as u64);
    gauge(ENTITIES_ACTIVE, "Entities in memory", node.active_entities());
    gauge("quipu_commands_waiting", "Commands that wait for their answers", node.waiting());
    let feeds = node.feeds();
    gauge("quipu_feeds_open", "Feeds that follow the log", feeds.open);
    gauge(
        "quipu_feeds_catching_up",
        "Feeds that read the log, or wait for their turn to",
        feeds.catching_up,
    );
    gauge("quipu_feed_kept_bytes", "Bytes of records kept for live feeds", feeds.kept_bytes);
    gauge(
        "quipu_reads_held_bytes",
        "Bytes that reads and unwritten answers hold",
        node.reads_held(),
    );
    let owned = partitions.iter().filter(|p| p.here).count();
    gauge("quipu_partitions_owned", "Partitions whose commands this node takes", owned);
    let unowned = partitions.iter().filter(|p| p.owner.is_none()).count();
    gauge(
        "quipu_partitions_without_owner",
        "Partitions that no node owns, as this one sees it",
        unowned,
    );
    let trouble = usize::from(node.log().trouble().is_some());
    gauge("quipu_log_trouble", "1 while the log takes no appends", trouble);
    gauge("quipu_mailbox_depth", "Commands that wait for entities", node.mailbox_depth());
    gauge(
        "quipu_model_calls_open",
        "Model calls under way, or whose end is not recorded yet",
        node.open_model_calls(),
    );
    // Where the index does not answer there is no number; health says why.
    if let Ok(parked) = node.parked() {
        gauge(
            "quipu_streams_parked",
            "Streams that the node has taken out of service",
            parked.len(),
        );
    }
    if let Ok(backlog) = node.backlog() {
        let late_s = backlog.late_ms / 1_000;
        for (name, help, value) in [
            (
                "quipu_outbox_pending",
                "Effects and dispatches that are not settled",
                backlog.pending,
            ),
            ("quipu_outbox_dead", "Effects and dispatches that were given up", backlog.dead),
            ("quipu_timers_due", "Timers that are due and not fired yet", backlog.due),
            ("quipu_timers_late", "Timers that are due for more than 5 s", backlog.late),
            ("quipu_timer_lateness_seconds", "How long the latest timer has been due", late_s),
        ] {
            line(name, "gauge", help, value);
        }
    }
    if let Some(heap) = crate::heap::held() {
        let mut gauge = |name, help, value: usize| line(name, "gauge", help, value as u64);
        gauge(HEAP_ALLOCATED, "Bytes that the program has allocated", heap.allocated);
        gauge(HEAP_RESIDENT, "Bytes of physical memory that the allocator holds", heap.resident);
    }
    vitals::add(&mut page, node);
    page
}

/// The recorder of this process, installed on first use.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let buckets = [
                0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ];
            let handle = PrometheusBuilder::new().set_buckets(&buckets).ok()?.install_recorder().ok()?;
            describe();
            Some(handle)
        })
        .as_ref()
}

fn describe() {
    metrics::describe_counter!(HTTP_REQUESTS, "Requests answered");
    metrics::describe_histogram!(HTTP_SECONDS, metrics::Unit::Seconds, "Time to the first byte of an answer");
    metrics::describe_gauge!(HTTP_IN_FLIGHT, "Requests being served");
    metrics::describe_counter!(HTTP_REFUSED, "Requests refused before any work");
    metrics::describe_gauge!(HTTP_STREAMS, "Open feeds and live channels");
    metrics::describe_gauge!(VIEW_LAG_RECORDS, "Records that views are behind the log");
    metrics::describe_counter!(VIEW_RECORDS, "Records projected");
    metrics::describe_counter!(VIEW_ERRORS, "Failed projection batches");
    metrics::describe_counter!(BUS_CALLS, "Calls over the bus");
    metrics::describe_counter!(BUS_COMMANDS, "Commands taken from the bus's durable queue");
    metrics::describe_counter!(BUS_EVENTS, "Events that the bus took");
    metrics::describe_gauge!(BUS_FEED_LAG, "Records that the feed of the bus is behind the log");
    metrics::describe_gauge!(BUS_CONNECTED, "1 while the bus is connected");
    metrics::describe_counter!(HEADS_ERRORS, "Failed writes of the heads file");
}
