//! The steps that the world may take, and what each changes.

use super::world::{Broker, Leases, Node, Plant, Reply, Request, Seen, State, Step, Way, World};
use quipu_runtime::kernel::ownership::{Input, LeaseAnswer, Ownership, State as At};

/// The world's laws of motion.
pub(crate) struct Motion<'a> {
    pub(crate) world: &'a World,
    pub(crate) seen: &'a Seen,
}

impl Motion<'_> {
    fn fresh(&self, lag: u64) -> Node {
        Node {
            machine: Ownership::new(self.world.timing()),
            lag,
            wanted: false,
            admitting: false,
            lease: None,
            log: None,
            reading: None,
            known: vec![None; usize::from(self.world.commands)],
            next_offset: 0,
            guard: 0,
            in_flight: None,
        }
    }

    pub(crate) fn start(&self) -> State {
        let w = self.world;
        let mut state = State {
            now: 0,
            nodes: (0..w.nodes).map(|_| self.fresh(0)).collect(),
            grant: 0,
            lease: None,
            log: Vec::new(),
            producer: 0,
            strays: Vec::new(),
            receipts: vec![None; usize::from(w.commands)],
            sends: w.sends,
            faults: w.faults,
            lags: w.lags,
            handoffs: w.handoffs,
            denied: Vec::new(),
            two_receipts: false,
            refused_outside_lease: false,
            refused_stale: false,
        };
        for n in 0..w.nodes {
            self.own(&mut state, n);
        }
        state
    }

    fn own(&self, s: &mut State, n: usize) {
        s.nodes[n].wanted = true;
        self.feed(s, n, Input::Own);
    }

    /// Every step that the world may take.
    pub(crate) fn choices(&self, s: &State, out: &mut Vec<Step>) {
        let w = self.world;
        out.push(Step::Time { behind: None });
        if s.lags > 0 {
            out.extend((0..w.nodes).map(|n| Step::Time { behind: Some(n) }));
        }
        out.extend(
            (0..s.strays.len())
                .filter(|&i| i == 0 || s.strays[i] != s.strays[i - 1])
                .map(Step::Stray),
        );
        let claims_left = s.log.iter().filter(|f| f.command.is_none()).count() < w.claims as usize && s.producer < w.claims;
        for (n, node) in s.nodes.iter().enumerate() {
            if *node.machine.state() == At::Stopped {
                out.push(Step::Start(n));
                continue;
            }
            out.push(Step::Tick(n));
            // What else a node could hear is what it knows.
            let news = match node.machine.state() {
                At::Follower { .. } => s.lease.is_none(),
                At::Acquiring { .. } | At::Stopped => false,
                At::Claiming { lease, .. } | At::Restoring { lease, .. } | At::Owner { lease, .. } | At::Draining { lease, .. } => {
                    lease.grant < s.grant && s.lease.is_some()
                }
            };
            if news {
                out.push(Step::See(n));
            }
            match node.lease {
                Some((_, Way::There(_))) => out.push(Step::LeaseArrives(n)),
                Some((_, Way::Back(_))) => out.push(Step::LeaseAnswers(n)),
                None => {}
            }
            match node.log {
                Some(Way::There(Request::Claim)) if !claims_left => {}
                Some(Way::There(_)) => out.push(Step::LogArrives(n)),
                Some(Way::Back(_)) => out.push(Step::LogAnswers(n)),
                None => {}
            }
            if s.faults > 0 {
                if node.lease.is_some() {
                    out.push(Step::LeaseTimesOut(n));
                }
                if node.log.is_some() {
                    out.push(Step::LogTimesOut(n));
                }
                if matches!(node.log, Some(Way::There(Request::Append { .. } | Request::ClaimFrame { .. }))) {
                    out.push(Step::Repeat(n));
                }
                if *node.machine.state()
                    != (At::Follower {
                        not_before: 0,
                        rest_until: 0,
                    })
                {
                    out.push(Step::Crash(n));
                }
            }
            if node.reading.is_some() {
                out.push(Step::Read(n));
            }
            if node.admitting && node.in_flight.is_none() {
                if s.sends > 0 {
                    out.extend((0..w.commands).map(|c| Step::Send(n, c)));
                }
                if w.leases == Leases::Kept {
                    out.push(Step::Refuse(n));
                }
            }
            if node.wanted && s.handoffs > 0 && !matches!(node.machine.state(), At::Follower { .. } | At::Acquiring { .. }) {
                out.push(Step::HandOff(n));
                out.push(Step::Shutdown(n));
            }
            if !node.wanted {
                out.push(Step::Own(n));
            }
        }
    }

    /// The state after a step; `None` if nothing changes.
    pub(crate) fn after(&self, last: &State, step: Step) -> Option<State> {
        let mut s = last.clone();
        self.apply(&mut s, step);
        self.forget(&mut s);
        s.strays.sort_unstable();
        (s != *last).then_some(s)
    }

    /// Drops what can change nothing any more, whenever it arrives.
    fn forget(&self, s: &mut State) {
        let (last_grant, length, producer, held) = (s.grant, s.log.len() as u64, s.producer, s.lease.is_some());
        s.strays.retain(|request| match *request {
            Request::Ask { .. } | Request::Claim => true,
            Request::Renew { grant } => grant == last_grant && held,
            Request::ClaimFrame { guard, .. } | Request::Append { guard, .. } => {
                let alive = match self.world.broker {
                    _ if self.world.plant == Plant::StoreAnyEpoch => true,
                    Broker::CompareAndSet => guard >= length,
                    Broker::Producers => guard >= producer,
                };
                if !alive {
                    self.seen.count("late frame refused");
                }
                alive
            }
        });
    }

    pub(crate) fn apply(&self, s: &mut State, step: Step) {
        match step {
            Step::Time { behind } => {
                s.now += 1;
                if let Some(n) = behind {
                    s.nodes[n].lag += 1;
                    s.lags -= 1;
                }
            }
            Step::Tick(n) => self.feed(s, n, Input::Tick),
            Step::See(n) => {
                let clock = s.clock(n);
                let seen = s.lease.map(|(_, expires)| (s.grant, clock + expires.saturating_sub(s.now)));
                self.feed(s, n, Input::LeaseSeen(seen));
            }
            Step::LeaseArrives(n) => {
                if let Some((asked_at, Way::There(request))) = s.nodes[n].lease {
                    let reply = self.store(s, request);
                    s.nodes[n].lease = reply.map(|reply| (asked_at, Way::Back(reply)));
                }
            }
            Step::LeaseAnswers(n) => {
                if let Some((asked_at, Way::Back(reply))) = s.nodes[n].lease.take() {
                    let until = |for_ms| s.clock(n) + for_ms;
                    let answer = match reply {
                        Reply::Granted { grant } => LeaseAnswer::Granted { grant },
                        Reply::Held { for_ms } => LeaseAnswer::Refused { until: until(for_ms) },
                        Reply::Claimed { .. } | Reply::Appended(_) => unreachable!("a reply of the log"),
                    };
                    self.feed(s, n, Input::Lease { asked_at, answer });
                }
            }
            Step::LeaseTimesOut(n) => {
                s.faults -= 1;
                self.seen.count("lease answer lost or late");
                if let Some((asked_at, way)) = s.nodes[n].lease.take() {
                    s.stray(way);
                    self.feed(
                        s,
                        n,
                        Input::Lease {
                            asked_at,
                            answer: LeaseAnswer::Unknown,
                        },
                    );
                }
            }
            Step::LogArrives(n) => {
                if let Some(Way::There(request)) = s.nodes[n].log {
                    s.nodes[n].log = self.broker(s, request);
                }
            }
            Step::LogAnswers(n) => {
                if let Some(Way::Back(reply)) = s.nodes[n].log.take() {
                    self.answered(s, n, reply);
                }
            }
            Step::LogTimesOut(n) => {
                s.faults -= 1;
                if let Some(way) = s.nodes[n].log.take() {
                    self.timed_out(s, n, way);
                }
            }
            Step::Repeat(n) => {
                s.faults -= 1;
                self.seen.count("request repeated");
                if let Some(Way::There(request)) = s.nodes[n].log {
                    s.strays.push(request);
                }
            }
            Step::Stray(i) => {
                let request = s.strays.remove(i);
                match request {
                    Request::Ask { .. } | Request::Renew { .. } => drop(self.store(s, request)),
                    Request::Claim | Request::ClaimFrame { .. } | Request::Append { .. } => {
                        let before = s.log.len();
                        if let Some(Way::There(next)) = self.broker(s, request) {
                            s.strays.push(next);
                        } else {
                            self.seen.count(if s.log.len() > before {
                                "late frame stored"
                            } else {
                                "late frame refused"
                            });
                        }
                    }
                }
            }
            Step::Read(n) => {
                if let (Some(epoch), Ok((reader, taken))) = (s.nodes[n].reading.take(), s.readable()) {
                    let node = &mut s.nodes[n];
                    node.known.fill(None);
                    for record in taken {
                        if let Some(command) = record.command {
                            node.known[usize::from(command)].get_or_insert(record.offset);
                        }
                    }
                    node.next_offset = reader.next_offset();
                    let newest = if self.world.plant == Plant::AdmitBeforeClaim {
                        epoch
                    } else {
                        reader.epoch()
                    };
                    self.feed(
                        s,
                        n,
                        Input::CaughtUp {
                            epoch,
                            newest,
                            next_offset: reader.next_offset(),
                        },
                    );
                }
            }
            Step::Send(n, command) => {
                s.sends -= 1;
                match s.nodes[n].known[usize::from(command)] {
                    Some(offset) => {
                        self.seen.count("repeat got its receipt");
                        self.receipt(s, command, offset);
                    }
                    None => self.append(s, n, command),
                }
            }
            Step::Refuse(n) => self.refuse(s, n),
            Step::HandOff(n) => {
                s.handoffs -= 1;
                s.nodes[n].wanted = false;
                self.seen.count("handoff");
                self.feed(s, n, Input::HandOff);
            }
            Step::Own(n) => self.own(s, n),
            Step::Shutdown(n) => {
                s.handoffs -= 1;
                s.nodes[n].wanted = false;
                self.seen.count("shutdown");
                self.feed(s, n, Input::Shutdown);
            }
            Step::Start(n) => {
                let lag = s.nodes[n].lag;
                s.nodes[n] = self.fresh(lag);
                self.own(s, n);
            }
            Step::Crash(n) => {
                s.faults -= 1;
                self.seen.count("crash");
                let lag = s.nodes[n].lag;
                let old = std::mem::replace(&mut s.nodes[n], self.fresh(lag));
                for way in old.lease.map(|(_, way)| way).into_iter().chain(old.log) {
                    s.stray(way);
                }
                self.own(s, n);
            }
        }
    }
}

impl State {
    /// Nobody waits for this request any longer; it may still arrive.
    pub(crate) fn stray(&mut self, way: Way) {
        if let Way::There(request) = way {
            self.strays.push(request);
        }
    }
}
