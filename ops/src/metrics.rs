//! Names of the metrics that this crate records, and the page that shows all of them. No tenant labels, ever.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// Requests answered; labels `method`, `route` (a template, never a path) and `status`.
pub const HTTP_REQUESTS: &str = "quipu_http_requests_total";
/// Time to the first byte of an answer, in seconds; label `route`.
pub const HTTP_SECONDS: &str = "quipu_http_request_seconds";
/// Requests at work.
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
/// Failed writes of the heads file.
pub const HEADS_ERRORS: &str = "quipu_heads_errors_total";

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
    metrics::describe_gauge!(HTTP_IN_FLIGHT, "Requests at work");
    metrics::describe_counter!(HTTP_REFUSED, "Requests refused before any work");
    metrics::describe_gauge!(HTTP_STREAMS, "Open feeds and live channels");
    metrics::describe_gauge!(VIEW_LAG_RECORDS, "Records that views are behind the log");
    metrics::describe_counter!(VIEW_RECORDS, "Records projected");
    metrics::describe_counter!(VIEW_ERRORS, "Failed projection batches");
    metrics::describe_counter!(HEADS_ERRORS, "Failed writes of the heads file");
}
