//! Attempts, model calls and turns, in Prometheus' text format.

use super::{ATTEMPTS, DEAD, MODEL_ERRORS, MODEL_SECONDS, OUTBOX_STATE, TURNS};
use quipu_runtime::{
    kernel::{relay::Standing, vitals::Times},
    node::Node,
};
use std::fmt::Write;

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// How the reactions in memory stand.
pub fn outbox_of(standing: &Standing) -> String {
    let mut page = String::new();
    head(&mut page, OUTBOX_STATE, "gauge", "Effects and dispatches in memory, by state");
    let Standing {
        waiting,
        under_way,
        retrying,
    } = standing;
    for (state, value) in [("waiting", waiting), ("under_way", under_way), ("retrying", retrying)] {
        let _ = writeln!(page, "{OUTBOX_STATE}{{state=\"{state}\"}} {value}");
    }
    page
}

/// Adds what the node counted since it started. A series is there from its first event on, as in any client of Prometheus.
pub(super) fn add(page: &mut String, node: &Node) {
    let vitals = node.vitals();
    head(page, ATTEMPTS, "counter", "Attempts of effects that ended");
    for ((effect, ended), count) in vitals.attempts() {
        let outcome = ended.name();
        let _ = writeln!(page, "{ATTEMPTS}{{effect=\"{effect}\",outcome=\"{outcome}\"}} {count}");
    }
    head(page, DEAD, "counter", "Effects and dispatches that were given up");
    let _ = writeln!(page, "{DEAD} {}", vitals.dead());
    head(page, MODEL_SECONDS, "histogram", "How long model calls took, in seconds");
    for (provider, times) in vitals.calls() {
        histogram(page, &label(provider), times);
    }
    head(page, MODEL_ERRORS, "counter", "Model calls that failed");
    for (provider, errors) in vitals.errors() {
        let _ = writeln!(page, "{MODEL_ERRORS}{{provider=\"{}\"}} {}", label(provider), errors.total);
    }
    head(page, TURNS, "counter", "Turns that ended");
    for outcome in ["answered", "interrupted", "failed"] {
        let count = vitals.turns().get(outcome).copied().unwrap_or(0);
        let _ = writeln!(page, "{TURNS}{{outcome=\"{outcome}\"}} {count}");
    }
}

fn histogram(page: &mut String, provider: &str, times: &Times) {
    let of = format!("provider=\"{provider}\"");
    for (bound_ms, count) in times.cumulative() {
        let _ = writeln!(page, "{MODEL_SECONDS}_bucket{{{of},le=\"{}\"}} {count}", seconds(bound_ms));
    }
    let count = times.count();
    let _ = writeln!(page, "{MODEL_SECONDS}_bucket{{{of},le=\"+Inf\"}} {count}");
    let _ = writeln!(page, "{MODEL_SECONDS}_sum{{{of}}} {}", seconds(times.sum_ms()));
    let _ = writeln!(page, "{MODEL_SECONDS}_count{{{of}}} {count}");
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// A configured name as the value of a label.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
