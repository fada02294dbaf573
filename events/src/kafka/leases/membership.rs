//! A node as a member of the group of owners.

use super::{BEATS, Group, Heartbeat, Known, LOOK, Other, Own, Shared};
use crate::leases::Change;
use rdkafka::{
    Message as _,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
    producer::BaseRecord,
};
use std::{sync::atomic::Ordering, time::Instant};

impl Shared {
    /// Polls the group, which calls back from there, until the leases end; then leaves it.
    pub(super) fn be_a_member(&self, group: &BaseConsumer<Group>) {
        let mut subscribed = true;
        while !self.ends.load(Ordering::Acquire) {
            if self.has_left.load(Ordering::Acquire) && std::mem::replace(&mut subscribed, false) {
                group.unsubscribe();
            }
            // Nothing is ever written there; errors pass, or end in a lost assignment.
            let Some(Err(error)) = group.poll(LOOK) else { continue };
            let why = match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::InvalidSessionTimeout) => {
                    format!(
                        "{error}: raise cluster.lease_ms ({} now), or lower the brokers' group.min.session.timeout.ms",
                        self.life.as_millis()
                    )
                }
                _ => error.to_string(),
            };
            self.known().trouble = Some(why);
        }
    }

    pub(super) fn listen(&self, ear: &BaseConsumer) {
        while !self.ends.load(Ordering::Acquire) {
            if let Some(Ok(message)) = ear.poll(LOOK)
                && let Some(heard) = message
                    .payload()
                    .and_then(|payload| serde_json::from_slice::<Heartbeat>(payload).ok())
            {
                self.heard(heard);
            }
        }
    }

    pub(super) fn beat(&self) {
        let mut known = self.known();
        while !self.ends.load(Ordering::Acquire) {
            drop(known);
            self.say(false);
            self.forget_the_silent();
            known = self.known();
            self.changed.wait_for(&mut known, self.life / BEATS);
        }
    }

    pub(super) fn say(&self, asks: bool) {
        let holds = {
            let known = self.known();
            (0u16..)
                .zip(&known.own)
                .filter(|(_, own)| own.held)
                .map(|(partition, _)| partition)
                .collect()
        };
        let heartbeat = Heartbeat {
            member: self.me.clone(),
            holds,
            leaving: self.has_left.load(Ordering::Acquire),
            asks,
        };
        let Ok(payload) = serde_json::to_vec(&heartbeat) else { return };
        // Lost ones are followed by others.
        let _ = self
            .voice
            .send(BaseRecord::<(), [u8]>::to(&self.nodes).partition(0).payload(&payload));
    }

    pub(super) fn heard(&self, heartbeat: Heartbeat) {
        let Heartbeat {
            member,
            holds,
            leaving,
            asks,
        } = heartbeat;
        if member.node == self.me.node {
            return;
        }
        if asks {
            self.say(false);
        }
        let mut known = self.known();
        let gone = leaving && holds.is_empty();
        let before = if gone {
            known.others.remove(&member.node)
        } else {
            known.others.insert(
                member.node.clone(),
                Other {
                    member,
                    holds: holds.clone(),
                    heard: Instant::now(),
                },
            )
        };
        let before = before.map(|other| other.holds).unwrap_or_default();
        let left = self.life.as_millis() as u64;
        if let Some(tell) = &known.tell {
            for partition in (0..known.own.len() as u16).filter(|p| before.contains(p) != holds.contains(p)) {
                // Tenures of different nodes have no order: 0 is above nobody's.
                tell(Change::Lease {
                    partition,
                    seen: holds.contains(&partition).then_some((0, left)),
                });
            }
        }
    }

    pub(super) fn forget_the_silent(&self) {
        let mut known = self.known();
        let silent: Vec<String> = known
            .others
            .iter()
            .filter(|(_, other)| other.heard.elapsed() >= self.life)
            .map(|(node, _)| node.clone())
            .collect();
        for node in silent {
            let holds = known.others.remove(&node).map(|other| other.holds).unwrap_or_default();
            if let Some(tell) = &known.tell {
                for partition in holds {
                    tell(Change::Lease { partition, seen: None });
                }
            }
        }
    }

    pub(super) fn assigned(&self, partitions: &[u16]) {
        let mut known = self.known();
        known.has_assigned = true;
        for partition in partitions {
            let Some(own) = known.own.get_mut(usize::from(*partition)) else {
                continue;
            };
            *own = Own {
                assigned: true,
                tenure: own.tenure + 1,
                held: false,
            };
            if let Some(tell) = &known.tell {
                tell(Change::Lease {
                    partition: *partition,
                    seen: None,
                });
                tell(Change::Wanted {
                    partition: *partition,
                    wanted: true,
                });
            }
        }
        drop(known);
        self.changed.notify_all();
    }

    /// The group takes partitions back, and waits until they were let go, unless it has given them away already.
    pub(super) fn revoked(&self, partitions: &[u16], is_lost: bool) {
        let mut known = self.known();
        for partition in partitions {
            if let Some(tell) = &known.tell {
                tell(Change::Wanted {
                    partition: *partition,
                    wanted: false,
                });
            }
        }
        let deadline = Instant::now() + self.life * 2;
        let held = |known: &Known| {
            partitions
                .iter()
                .any(|p| known.own.get(usize::from(*p)).is_some_and(|own| own.held))
        };
        while !is_lost && held(&known) && Instant::now() < deadline && !self.ends.load(Ordering::Acquire) {
            self.changed.wait_for(&mut known, LOOK);
        }
        for partition in partitions {
            if let Some(own) = known.own.get_mut(usize::from(*partition)) {
                *own = Own {
                    assigned: false,
                    held: false,
                    ..*own
                };
            }
        }
        drop(known);
        self.say(false);
    }

    pub(super) fn let_go(&self, partition: u16, grant: u64) {
        let mut known = self.known();
        if let Some(own) = known.own.get_mut(usize::from(partition)).filter(|own| own.tenure == grant) {
            own.held = false;
        }
        let is_assigned = known.own.get(usize::from(partition)).is_some_and(|own| own.assigned);
        if is_assigned && let Some(tell) = &known.tell {
            // Still its own to ask for.
            tell(Change::Lease { partition, seen: None });
        }
        drop(known);
        self.changed.notify_all();
        self.say(false);
    }
}
