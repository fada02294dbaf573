use super::*;

const TIMING: Timing = Timing {
    lease_ms: 100,
    margin_ms: 10,
    renew_ms: 30,
    drain_ms: 20,
    rest_ms: 50,
};
const BATCH: BatchId = [7; 16];

/// One that asked for the lease at 0 and got it.
fn claiming() -> Ownership {
    let mut own = Ownership::new(TIMING);
    assert_eq!(own.step(Input::Own, 0), [Action::AskLease { asked_at: 0 }]);
    assert_eq!(
        own.step(
            Input::Lease {
                asked_at: 0,
                answer: LeaseAnswer::Granted { grant: 1 }
            },
            5
        ),
        [Action::Claim]
    );
    own
}

fn claimed(own: &mut Ownership, epoch: u64, next_offset: u64, now: u64) -> Vec<Action> {
    own.step(Input::Claimed(ClaimOutcome::Durable { epoch, next_offset }), now)
}

/// The owner of epoch 3.
fn owner() -> Ownership {
    let mut own = claiming();
    assert_eq!(claimed(&mut own, 3, 8, 6), [Action::ReadToEnd { epoch: 3 }]);
    assert_eq!(
        own.step(
            Input::CaughtUp {
                epoch: 3,
                newest: 3,
                next_offset: 8
            },
            7
        ),
        [Action::Admit { epoch: 3 }]
    );
    own
}

#[test]
fn it_admits_after_lease_claim_and_restore() {
    let own = owner();
    assert_eq!(own.admits(), Some(3));
    assert!(own.may_refuse(89));
    assert!(!own.may_refuse(90), "the margin is taken off, counting from when it asked");
}

#[test]
fn it_reads_again_until_the_claim_itself_was_read() {
    let mut own = claiming();
    claimed(&mut own, 3, 8, 6);
    assert_eq!(
        own.step(
            Input::CaughtUp {
                epoch: 3,
                newest: 2,
                next_offset: 8
            },
            7
        ),
        [Action::ReadToEnd { epoch: 3 }]
    );
    assert_eq!(
        own.step(
            Input::CaughtUp {
                epoch: 3,
                newest: 3,
                next_offset: 7
            },
            7
        ),
        [Action::ReadToEnd { epoch: 3 }]
    );
    assert_eq!(
        own.step(
            Input::CaughtUp {
                epoch: 2,
                newest: 3,
                next_offset: 8
            },
            7
        ),
        [],
        "an earlier question"
    );
    assert_eq!(own.admits(), None);
}

#[test]
fn it_steps_back_when_a_newer_claim_is_read() {
    let mut own = claiming();
    claimed(&mut own, 3, 8, 6);
    let out = own.step(
        Input::CaughtUp {
            epoch: 3,
            newest: 4,
            next_offset: 8,
        },
        7,
    );
    assert_eq!(out[..2], [Action::Abandon, Action::ReleaseLease { grant: 1 }]);
    assert_eq!(own.admits(), None);
}

#[test]
fn a_claim_that_comes_after_the_lease_admits_nothing() {
    let mut own = claiming();
    assert_eq!(own.step(Input::Tick, 95), [], "the claim's answer is awaited");
    let out = claimed(&mut own, 3, 8, 96);
    assert_eq!(
        out,
        [
            Action::Abandon,
            Action::ReleaseLease { grant: 1 },
            Action::AskLease { asked_at: 96 }
        ]
    );
}

#[test]
fn a_stale_or_unknown_claim_is_made_again() {
    let mut own = claiming();
    assert_eq!(own.step(Input::Claimed(ClaimOutcome::Stale), 6), [Action::Claim]);
    assert_eq!(own.step(Input::Claimed(ClaimOutcome::Unknown), 7), [Action::Claim]);
}

#[test]
fn after_a_failed_restore_it_rests_whatever_it_hears() {
    let mut own = claiming();
    claimed(&mut own, 3, 8, 6);
    assert_eq!(
        own.step(Input::RestoreFailed { epoch: 3 }, 10),
        [Action::Abandon, Action::ReleaseLease { grant: 1 }]
    );
    assert_eq!(own.step(Input::LeaseSeen(None), 11), [], "it would claim and fail for ever");
    assert_eq!(own.step(Input::Tick, 60), [Action::AskLease { asked_at: 60 }]);
}

#[test]
fn an_unknown_append_is_settled_only_behind_a_new_claim() {
    let mut own = owner();
    let unknown = Input::Appended {
        epoch: 3,
        outcome: AppendOutcome::Unknown(BATCH),
    };
    assert_eq!(own.step(unknown, 20), [Action::StopAdmission, Action::Claim]);
    assert!(!own.may_refuse(20));
    assert_eq!(claimed(&mut own, 4, 9, 21), [Action::ReadToEnd { epoch: 4 }]);
    let read = Input::CaughtUp {
        epoch: 4,
        newest: 4,
        next_offset: 9,
    };
    assert_eq!(own.step(read, 22), [Action::ReadBack { epoch: 4, batch: BATCH }]);
    assert_eq!(
        own.step(
            Input::ReadBack {
                epoch: 4,
                batch: [8; 16],
                stored: false
            },
            23
        ),
        [],
        "another batch"
    );
    let found = own.step(
        Input::ReadBack {
            epoch: 4,
            batch: BATCH,
            stored: true,
        },
        23,
    );
    assert_eq!(
        found,
        [
            Action::Settle {
                batch: BATCH,
                stored: true
            },
            Action::Admit { epoch: 4 }
        ]
    );
}

#[test]
fn a_fenced_owner_abandons_and_an_old_outcome_changes_nothing() {
    let mut own = owner();
    assert_eq!(
        own.step(
            Input::Appended {
                epoch: 2,
                outcome: AppendOutcome::Fenced
            },
            20
        ),
        []
    );
    assert_eq!(
        own.step(
            Input::Appended {
                epoch: 3,
                outcome: AppendOutcome::Refused
            },
            20
        ),
        []
    );
    let out = own.step(
        Input::Appended {
            epoch: 3,
            outcome: AppendOutcome::Fenced,
        },
        20,
    );
    assert_eq!(
        out[..3],
        [Action::StopAdmission, Action::Abandon, Action::ReleaseLease { grant: 1 }]
    );
}

#[test]
fn a_handoff_drains_then_releases() {
    let mut own = owner();
    assert_eq!(own.step(Input::HandOff, 20), [Action::StopAdmission, Action::Drain { epoch: 3 }]);
    assert_eq!(own.step(Input::Drained { epoch: 2 }, 21), [], "an earlier drain");
    assert_eq!(
        own.step(Input::Drained { epoch: 3 }, 22),
        [Action::Abandon, Action::ReleaseLease { grant: 1 }]
    );
    assert_eq!(own.step(Input::Tick, 500), [], "not wanted");
    assert_eq!(own.step(Input::Own, 501), [Action::AskLease { asked_at: 501 }]);
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let mut own = owner();
    own.step(Input::Shutdown, 20);
    assert_eq!(own.step(Input::Tick, 29), []);
    assert_eq!(own.step(Input::Tick, 40), [Action::Abandon, Action::ReleaseLease { grant: 1 }]);
    assert_eq!(*own.state(), State::Stopped);
    assert_eq!(own.step(Input::Own, 41), [], "stopped for good");
}

#[test]
fn a_paused_owner_wakes_outside_its_lease() {
    let mut own = owner();
    assert!(!own.may_refuse(1_000));
    assert_eq!(
        own.step(Input::Tick, 1_000)[..2],
        [Action::StopAdmission, Action::Drain { epoch: 3 }]
    );
    assert_eq!(own.admits(), None);
}

#[test]
fn the_lease_is_renewed_counting_from_the_question() {
    let mut own = owner();
    assert_eq!(own.step(Input::Tick, 30), [Action::RenewLease { grant: 1, asked_at: 30 }]);
    assert_eq!(own.step(Input::Tick, 31), [], "one question at a time");
    own.step(
        Input::Lease {
            asked_at: 30,
            answer: LeaseAnswer::Granted { grant: 1 },
        },
        80,
    );
    assert!(own.may_refuse(119) && !own.may_refuse(120));
}

#[test]
fn a_renewal_refused_or_a_later_grant_seen_ends_the_lease() {
    let mut refused = owner();
    refused.step(Input::Tick, 30);
    let out = refused.step(
        Input::Lease {
            asked_at: 30,
            answer: LeaseAnswer::Refused { until: 200 },
        },
        35,
    );
    assert_eq!(out, [Action::StopAdmission, Action::Drain { epoch: 3 }]);
    let mut seen = owner();
    assert_eq!(
        seen.step(Input::LeaseSeen(Some((2, 200))), 20),
        [Action::StopAdmission, Action::Drain { epoch: 3 }]
    );
}

#[test]
fn a_lease_granted_after_it_was_given_up_is_let_go() {
    let mut own = Ownership::new(TIMING);
    own.step(Input::Own, 0);
    own.step(
        Input::Lease {
            asked_at: 0,
            answer: LeaseAnswer::Unknown,
        },
        10,
    );
    let out = own.step(
        Input::Lease {
            asked_at: 0,
            answer: LeaseAnswer::Granted { grant: 4 },
        },
        20,
    );
    assert_eq!(out, [Action::ReleaseLease { grant: 4 }]);
}

#[test]
fn reader_skips_stale_frames_and_stops_at_holes() {
    let frame = |epoch, first_offset, count| Frame {
        epoch,
        first_offset,
        count,
    };
    let mut reader = Reader::default();
    assert_eq!(reader.read(frame(1, 0, 0)), Ok(Reading::Taken));
    assert_eq!(reader.read(frame(1, 0, 3)), Ok(Reading::Taken));
    assert_eq!(reader.read(frame(2, 3, 0)), Ok(Reading::Taken));
    assert_eq!(reader.read(frame(1, 3, 1)), Ok(Reading::PassedOver));
    assert_eq!(reader.read(frame(2, 4, 1)), Err(Broken::Offset { expected: 3, found: 4 }));
    assert_eq!(reader.read(frame(3, 3, 1)), Err(Broken::Unclaimed { epoch: 3 }));
    assert_eq!((reader.epoch(), reader.next_offset(), reader.passed_over()), (2, 3, 1));
}
