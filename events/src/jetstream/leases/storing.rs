//! Leases as messages of a stream.

use super::super::wire::{Answer, Place, Silence};
use super::{Lease, Seen, Shared};
use crate::leases::{Change, LeaseAnswer};
use crate::pause::Pause;
use quipu_schemas::limits::{BROKER_RENEWAL_ATTEMPTS, BROKER_RENEWAL_PAUSE_MS};
use std::time::Instant;
use tokio::time::sleep;

impl Shared {
    /// Reads a lease; tells if it changed.
    pub(super) async fn look(&self, partition: u16) -> Result<Seen, Silence> {
        let (stream, subject) = (self.stream(), self.subject(partition));
        let place = Place {
            stream: &stream,
            subject: &subject,
        };
        let found = self.wire.at_leader(&place, None).await?;
        let sequence = found.as_ref().map_or(0, |stored| stored.sequence);
        let lease = found.and_then(|stored| serde_json::from_slice::<Lease>(&stored.payload).ok());
        Ok(self.note(partition, lease, sequence))
    }

    pub(super) fn note(&self, partition: u16, lease: Option<Lease>, sequence: u64) -> Seen {
        let mut known = self.known();
        let Some(slot) = known.leases.get_mut(usize::from(partition)) else {
            return Seen {
                lease,
                sequence,
                at: Instant::now(),
            };
        };
        // Answers may overtake each other.
        if let Some(seen) = slot
            && seen.sequence >= sequence
        {
            return seen.clone();
        }
        let seen = Seen {
            lease,
            sequence,
            at: Instant::now(),
        };
        *slot = Some(seen.clone());
        if let Some(tell) = &known.tell {
            tell(Change::Lease {
                partition,
                seen: self.shown(&seen),
            });
        }
        seen
    }

    /// Stores a lease in place of the message `expected`; `None` if another came first.
    pub(super) async fn store(&self, partition: u16, lease: &Lease, expected: u64) -> Result<Option<u64>, Silence> {
        let (stream, subject) = (self.stream(), self.subject(partition));
        let place = Place {
            stream: &stream,
            subject: &subject,
        };
        let payload = serde_json::to_vec(lease).map_err(|e| Silence::Lost(e.to_string()))?;
        match self.wire.replace(&place, expected, payload.into()).await? {
            Answer::Said(sequence) => {
                self.note(partition, Some(lease.clone()), sequence);
                Ok(Some(sequence))
            }
            Answer::Refused(_) => Ok(None),
        }
    }

    pub(super) async fn ask(&self, partition: u16) -> Result<LeaseAnswer, Silence> {
        let seen = self.look(partition).await?;
        let left = self.life.saturating_sub(seen.at.elapsed());
        let grant = match &seen.lease {
            None => 1,
            Some(lease) if lease.free || lease.holder.node == self.me.node || left.is_zero() => lease.grant + 1,
            Some(_) => {
                return Ok(LeaseAnswer::Refused {
                    free_in_ms: left.as_millis() as u64 + 1,
                });
            }
        };
        let lease = Lease {
            grant,
            holder: self.me.clone(),
            free: false,
        };
        Ok(match self.store(partition, &lease, seen.sequence).await? {
            Some(_) => LeaseAnswer::Granted { grant },
            None => {
                let seen = self.look(partition).await?;
                LeaseAnswer::Refused {
                    free_in_ms: self.shown(&seen).map_or(0, |(_, left)| left) + 1,
                }
            }
        })
    }

    pub(super) async fn renew(&self, partition: u16, grant: u64) -> Result<LeaseAnswer, Silence> {
        // The first may meet a renewal of our own whose answer was lost, and servers that still bring that one to each other
        // refuse the next ones too. The lease is ours as long as it reads so, and nobody else can take it meanwhile.
        let mut pause = Pause::new(BROKER_RENEWAL_PAUSE_MS);
        for attempt in 0..BROKER_RENEWAL_ATTEMPTS {
            if attempt > 1 {
                sleep(pause.next_wait()).await;
            }
            let seen = self.look(partition).await?;
            let ours = |lease: &&Lease| lease.grant == grant && lease.holder.node == self.me.node && !lease.free;
            let Some(lease) = seen.lease.as_ref().filter(ours) else { break };
            if self.store(partition, lease, seen.sequence).await?.is_some() {
                return Ok(LeaseAnswer::Granted { grant });
            }
        }
        Ok(LeaseAnswer::Refused {
            free_in_ms: self.life.as_millis() as u64,
        })
    }
}
