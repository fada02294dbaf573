//! Jobs of a node, waited for.

use super::{Client, ClientError};
use serde_json::{Value, json};
use std::time::Duration;

/// Starts a job on the views (`verify`, `rebuild`) and waits for its end.
pub(crate) async fn finish_views_job(client: &Client, name: &str, progress: impl Fn(u64)) -> Result<Value, ClientError> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    client.post(&format!("/v1/ops/views/{name}"), &json!({})).await?;
    loop {
        let job = client.get("/v1/ops/views", &[]).await?.body["job"].take();
        if job["status"] != "running" {
            return Ok(job);
        }
        progress(job["records"].as_u64().unwrap_or_default());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
