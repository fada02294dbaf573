//! How many requests to orgs the whole node lets through.

use parking_lot::Mutex;
use quipu_runtime::kernel::limiter::{Limiter, Refused, Standing};
use quipu_schemas::{limits, quota::Rate};
use std::time::Instant;

/// Counts them; nothing, where the node has no rate.
pub struct NodeRate {
    rate: Option<Rate>,
    limiter: Mutex<Limiter<()>>,
    begun: Instant,
}

impl NodeRate {
    /// So many a minute; 0: as many as come.
    pub fn per_minute(requests: u32) -> Self {
        Self {
            rate: (requests > 0).then_some(Rate { requests, per_seconds: 60 }),
            limiter: Mutex::new(Limiter::new(1, limits::RATE_ENTRIES_MAX)),
            begun: Instant::now(),
        }
    }

    /// Counts one that comes now.
    pub fn take(&self) -> Result<Option<Standing>, Refused> {
        let Some(rate) = self.rate else { return Ok(None) };
        let now = self.begun.elapsed().as_millis() as u64;
        let standings = self.limiter.lock().take(&[((), rate)], now)?;
        Ok(standings.first().copied())
    }
}
