//! How often devices ask whether somebody has let them in: each has to wait between two questions, and longer once it did not.

use quipu_schemas::{
    context::Millis,
    ids::PrincipalId,
    limits::{DEVICE_POLL_MAX_SECONDS, DEVICE_POLL_SECONDS, DEVICES_POLLED_MAX},
};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, Copy)]
struct Asked {
    next: Millis,
    every: Millis,
}

/// The last questions of devices, in bounded memory: the oldest are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Polls {
    asked: BTreeMap<PrincipalId, Asked>,
    by_age: VecDeque<PrincipalId>,
}

impl Polls {
    /// Whether a device may ask now. One that asks too soon waits five seconds longer each time from then on (RFC 8628).
    pub(crate) fn may_ask(&mut self, device: &PrincipalId, now: Millis) -> bool {
        let every = DEVICE_POLL_SECONDS * 1_000;
        let Some(asked) = self.asked.get_mut(device) else {
            while self.by_age.len() >= DEVICES_POLLED_MAX {
                let Some(oldest) = self.by_age.pop_front() else { break };
                self.asked.remove(&oldest);
            }
            self.by_age.push_back(device.clone());
            let next = now.saturating_add(every);
            self.asked.insert(device.clone(), Asked { next, every });
            return true;
        };
        let is_soon = now < asked.next;
        if is_soon {
            asked.every = asked.every.saturating_add(every).min(DEVICE_POLL_MAX_SECONDS * 1_000);
        }
        asked.next = now.saturating_add(asked.every);
        !is_soon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: usize) -> PrincipalId {
        PrincipalId::parse(format!("dev_{n}")).unwrap()
    }

    #[test]
    fn a_device_that_asks_too_soon_waits_longer() {
        let (mut polls, one) = (Polls::default(), device(1));
        assert!(polls.may_ask(&one, 0) && polls.may_ask(&device(2), 1));
        assert!(polls.may_ask(&one, 5_000));
        assert!(!polls.may_ask(&one, 9_999), "ten seconds from here on");
        assert!(!polls.may_ask(&one, 19_998), "fifteen");
        assert!(polls.may_ask(&one, 34_998));
        for _ in 0..100 {
            polls.may_ask(&one, 34_999);
        }
        assert!(polls.may_ask(&one, 34_999 + DEVICE_POLL_MAX_SECONDS * 1_000), "a minute at most");
    }

    #[test]
    fn devices_beyond_the_bound_push_out_the_oldest() {
        let mut polls = Polls::default();
        for n in 0..=DEVICES_POLLED_MAX {
            assert!(polls.may_ask(&device(n), 0));
        }
        assert_eq!((polls.asked.len(), polls.by_age.len()), (DEVICES_POLLED_MAX, DEVICES_POLLED_MAX));
        assert!(polls.may_ask(&device(0), 0) && !polls.may_ask(&device(DEVICES_POLLED_MAX), 0));
    }
}
