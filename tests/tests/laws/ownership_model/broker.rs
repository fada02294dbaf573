//! The lease store and the log, as they answer requests.

use super::{
    motion::Motion,
    world::{Broker, LEASE, Plant, Reply, Request, State, Stored, Way, batch},
};
use quipu_runtime::kernel::ownership::{AppendOutcome, ClaimOutcome};

impl Motion<'_> {
    pub(crate) fn store(&self, s: &mut State, request: Request) -> Option<Reply> {
        let now = s.now;
        match request {
            Request::Ask { node } => Some(match s.lease {
                Some((_, expires)) if now < expires => Reply::Held { for_ms: expires - now },
                Some(_) | None => {
                    s.grant += 1;
                    s.lease = Some((node, now + LEASE));
                    Reply::Granted { grant: s.grant }
                }
            }),
            Request::Renew { grant } => Some(match &mut s.lease {
                Some((_, expires)) if grant == s.grant => {
                    *expires = now + LEASE;
                    Reply::Granted { grant }
                }
                lease => Reply::Held {
                    for_ms: lease.map_or(0, |(_, expires)| expires.saturating_sub(now)),
                },
            }),
            Request::Claim | Request::ClaimFrame { .. } | Request::Append { .. } => unreachable!("a request to the log"),
        }
    }

    pub(crate) fn broker(&self, s: &mut State, request: Request) -> Option<Way> {
        let end = s.end();
        let length = s.log.len() as u64;
        let open = |s: &State, guard| match self.world.broker {
            _ if self.world.plant == Plant::StoreAnyEpoch => true,
            Broker::CompareAndSet => guard == length,
            Broker::Producers => guard == s.producer,
        };
        // An idempotent producer's repeat is recognised by its sequence number.
        let recognised = |s: &State, guard, frame: &Stored| {
            let idempotent = self.world.broker == Broker::Producers && self.world.plant != Plant::NotIdempotent;
            idempotent && open(s, guard) && s.log.contains(frame)
        };
        match request {
            Request::Claim => {
                let guard = match self.world.broker {
                    Broker::CompareAndSet => length,
                    Broker::Producers => {
                        s.producer += 1;
                        s.producer
                    }
                };
                Some(Way::There(Request::ClaimFrame {
                    epoch: end.epoch() + 1,
                    guard,
                    offset: end.next_offset(),
                }))
            }
            Request::ClaimFrame { epoch, guard, offset } => {
                let frame = Stored {
                    epoch,
                    offset,
                    command: None,
                };
                let outcome = if recognised(s, guard, &frame) {
                    ClaimOutcome::Durable {
                        epoch,
                        next_offset: offset,
                    }
                } else if open(s, guard) {
                    s.log.push(frame);
                    ClaimOutcome::Durable {
                        epoch,
                        next_offset: offset,
                    }
                } else {
                    self.seen.count("claim refused");
                    ClaimOutcome::Stale
                };
                let guard = if self.world.broker == Broker::CompareAndSet {
                    length + 1
                } else {
                    guard
                };
                Some(Way::Back(Reply::Claimed { outcome, guard }))
            }
            Request::Append {
                epoch,
                guard,
                offset,
                command,
            } => {
                let frame = Stored {
                    epoch,
                    offset,
                    command: Some(command),
                };
                let outcome = if recognised(s, guard, &frame) {
                    AppendOutcome::Stored
                } else if open(s, guard) {
                    s.log.push(frame);
                    AppendOutcome::Stored
                } else if self.world.broker == Broker::Producers || end.epoch() > epoch {
                    self.seen.count("stale append refused");
                    AppendOutcome::Fenced
                } else {
                    self.seen.count("wrong last sequence");
                    AppendOutcome::Unknown(batch(epoch, command))
                };
                Some(Way::Back(Reply::Appended(outcome)))
            }
            Request::Ask { .. } | Request::Renew { .. } => unreachable!("a request to the lease store"),
        }
    }
}
