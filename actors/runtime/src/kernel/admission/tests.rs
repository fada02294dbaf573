use super::*;
use crate::{kernel::rights::OrgView, kinds::Kinds};
use quipu_rules::rights::Given;
use quipu_schemas::{
    client_secret::ClientId,
    digest::Digest,
    envelope::{DataClass, KernelCommand},
    ids::{CommandId, OrgId, StreamId},
    json::Json,
    position::Position,
    rights::Pattern,
    role::Role,
};

const NOW: Millis = 1_000;
/// How old a sign-in may be.
const STEP_UP_MS: Millis = 100;
const HERE: OrgPartition = OrgPartition {
    is_fresh: true,
    is_elsewhere: false,
};
const ELSEWHERE: OrgPartition = OrgPartition {
    is_fresh: true,
    is_elsewhere: true,
};
const MISSING: OrgView = OrgView {
    version: 0,
    suspended: false,
    requires_key: false,
    role: None,
};
const ACTIVE: OrgView = OrgView {
    version: 3,
    suspended: false,
    requires_key: false,
    role: Some(Role::Member),
};

fn given(settles: Option<ReactionKey>) -> CommandBody {
    CommandBody::Given {
        command: Json(serde_json::json!({ "post": {} })),
        settles,
    }
}

fn word(key: ReactionKey) -> CommandBody {
    CommandBody::Kernel(KernelCommand::TimerFired {
        key,
        name: "tick".into(),
        due: 1,
    })
}

fn key() -> ReactionKey {
    ReactionKey {
        stream: "acme/run/r".parse().expect("a stream"),
        version: 1,
        ordinal: 0,
    }
}

fn command(stream: &str, body: CommandBody) -> CommandEnvelope {
    CommandEnvelope {
        stream: stream.parse().expect("a stream"),
        command_id: CommandId::from_static("c1"),
        digest: Digest::ZERO,
        body,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        home: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        causation: None,
        traceparent: None,
        seed: 0,
    }
}

/// What the machine was told, and what it asked for.
struct Desk {
    org: OrgView,
    /// What the org is once its partition was read to the end.
    org_read: OrgView,
    receipt: Option<FirstReceipt>,
    settled: Option<Settled>,
    asked: Vec<Question>,
    seen: SeenCommands,
    /// What the actor was given besides their role, and whoever sends for them.
    given: Vec<Given>,
    of_sender: Vec<Given>,
    keys: Vec<KnownKey>,
    principals: Vec<KnownPrincipal>,
    applications: Vec<(ClientId, ApplicationState)>,
    /// What the entity belongs to.
    belongs: Belongs,
    /// Whether the project into which it is brought has ended.
    is_archived: bool,
    /// What takes an approval.
    gates: Vec<Pattern>,
    /// What takes a recent sign-in.
    step_up: Vec<Pattern>,
    /// What its state has forgotten.
    recalls: Vec<String>,
}

fn by_key(envelope: CommandEnvelope) -> CommandEnvelope {
    CommandEnvelope {
        credential: Some(CredentialId::of_api_key(EntityId::from_static("key_1"))),
        ..envelope
    }
}

impl Desk {
    fn new(org: OrgView) -> Self {
        Self {
            org,
            org_read: org,
            receipt: None,
            settled: None,
            asked: Vec::new(),
            seen: SeenCommands::after(0),
            given: Vec::new(),
            of_sender: Vec::new(),
            keys: Vec::new(),
            principals: Vec::new(),
            applications: Vec::new(),
            belongs: Belongs::default(),
            is_archived: false,
            gates: Vec::new(),
            step_up: Vec::new(),
            recalls: Vec::new(),
        }
    }

    fn admit(&mut self, command: CommandEnvelope, partition: OrgPartition) -> Result<Admitted, Problem> {
        let charter = Kinds::builtin().charter([]);
        let terms = Terms {
            charter: &charter,
            durability: Durability::Fsync,
            partition,
            belongs: &self.belongs,
            recalls: self.recalls.clone(),
            now: NOW,
        };
        let mut admission = Admission::of(7, Arc::new(command), terms);
        loop {
            let question = match admission.step(&mut self.seen) {
                Step::Ask(question) => question,
                Step::Admit(admitted) => return Ok(admitted),
                Step::Refuse(problem) => return Err(problem),
            };
            assert!(
                !self.asked.contains(&question) || question == Question::Marks,
                "{question:?} is asked twice"
            );
            self.asked.push(question.clone());
            match question {
                Question::Org { is_read_first } => {
                    let org = if is_read_first { self.org_read } else { self.org };
                    let rights = ActorRights::of(org, &self.given, &charter.roles([]), &charter);
                    let rights = rights.gated(&self.gates, &charter.roles([]), &charter);
                    let rights = rights.recent(&(self.step_up.clone(), STEP_UP_MS), &charter.roles([]), &charter);
                    admission.org(Arc::new(rights), is_read_first);
                }
                Question::Sender(principal) => {
                    let org = OrgView { role: None, ..self.org };
                    let rights = ActorRights::of(org, &self.of_sender, &charter.roles([]), &charter);
                    admission.sender(principal, Arc::new(rights));
                }
                Question::Principal(home) => {
                    let known = self.principals.iter().find(|known| known.home == home);
                    admission.principal(home, known.cloned().map(Arc::new));
                }
                Question::Application(client) => {
                    let known = self.applications.iter().find(|(of, _)| *of == client);
                    admission.application(client.clone(), known.map(|(_, state)| state.clone()));
                }
                Question::Key(id) => {
                    let is_it = |key: &&KnownKey| key.credential.id == id;
                    admission.key(self.keys.iter().find(is_it).cloned().map(Arc::new));
                }
                Question::Project(_) => admission.project(self.is_archived),
                Question::Marks => self.seen.load(Some(Default::default())),
                Question::Receipt => admission.receipt(self.receipt.clone()),
                Question::Settlement(_) => admission.settlement(self.settled.clone()),
                Question::Named(name) => admission.recalled(name, Vec::new()),
            }
        }
    }

    fn code(&mut self, command: CommandEnvelope, partition: OrgPartition) -> String {
        self.admit(command, partition)
            .err()
            .map_or_else(String::new, |problem| problem.code)
    }
}

const ROOM: &str = "acme/conversation/room";

#[test]
fn stale_org_refuses_before_anything_is_looked_up() {
    let mut desk = Desk::new(ACTIVE);
    let stale = OrgPartition {
        is_fresh: false,
        is_elsewhere: true,
    };
    assert_eq!(desk.code(command(ROOM, given(None)), stale), "authority_stale");
    assert_eq!(desk.asked, []);
}

#[test]
fn missing_org_takes_its_own_commands_and_the_kernels_only() {
    assert_eq!(Desk::new(MISSING).code(command(ROOM, given(None)), HERE), "unknown_org");
    assert_eq!(Desk::new(MISSING).code(command(ROOM, given(Some(key()))), HERE), "unknown_org");
    assert_eq!(Desk::new(MISSING).code(command("acme/org/acme", given(None)), HERE), "");
    assert_eq!(Desk::new(MISSING).code(command(ROOM, word(key())), HERE), "");
}

#[test]
fn org_made_elsewhere_is_read_once_before_it_is_missing() {
    let mut desk = Desk::new(MISSING);
    desk.org_read = ACTIVE;
    let admitted = desk.admit(command(ROOM, given(None)), ELSEWHERE).map_err(|problem| problem.code);
    assert_eq!(admitted.map(|admitted| admitted.authority.org_version), Ok(3));
    assert!(desk.asked.contains(&Question::Org { is_read_first: true }));
    assert_eq!(Desk::new(MISSING).code(command(ROOM, given(None)), ELSEWHERE), "unknown_org");
    let mut known = Desk::new(ACTIVE);
    assert_eq!(known.code(command(ROOM, given(None)), ELSEWHERE), "");
    assert!(!known.asked.contains(&Question::Org { is_read_first: true }));
}

#[test]
fn refused_command_leaves_no_mark() {
    let mut desk = Desk::new(MISSING);
    assert_eq!(desk.code(command(ROOM, given(None)), HERE), "unknown_org");
    desk.org = ACTIVE;
    desk.asked.clear();
    assert_eq!(desk.code(command(ROOM, given(None)), HERE), "");
    assert!(!desk.asked.contains(&Question::Receipt), "{:?}", desk.asked);
}

#[test]
fn repeated_command_gets_its_first_receipt() {
    let mut desk = Desk::new(ACTIVE);
    assert_eq!(desk.code(command(ROOM, given(None)), HERE), "");
    assert_eq!(desk.asked, [Question::Org { is_read_first: false }, Question::Marks]);
    desk.asked.clear();
    let receipt = FirstReceipt {
        digest: Digest::ZERO,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        version: 5,
        position: Position {
            partition: 0,
            offset: 9,
            index: 0,
        },
        unchanged: false,
        durability: Durability::Fsync,
    };
    desk.receipt = Some(receipt.clone());
    let admitted = desk.admit(command(ROOM, given(None)), HERE).map_err(|problem| problem.code);
    assert_eq!(admitted.map(|admitted| admitted.seen), Ok(Some(receipt)));
    assert_eq!(desk.asked, [Question::Org { is_read_first: false }, Question::Receipt]);
}

#[test]
fn names_are_looked_up_for_decisions_alone() {
    let mut desk = Desk::new(ACTIVE);
    desk.recalls = vec!["m1".into(), "m2".into()];
    let named = |desk: &Desk| desk.asked.iter().filter(|asked| matches!(asked, Question::Named(_))).count();
    let admitted = desk.admit(command(ROOM, given(None)), HERE).map_err(|problem| problem.code);
    let recalled: Vec<String> = admitted.into_iter().flat_map(|admitted| admitted.recalled.into_keys()).collect();
    assert_eq!((recalled, named(&desk)), (vec!["m1".to_owned(), "m2".to_owned()], 2));
    // What is refused looks for nothing.
    let mut missing = Desk::new(MISSING);
    missing.recalls = vec!["m1".into()];
    assert_eq!(missing.code(command(ROOM, given(None)), HERE), "unknown_org");
    assert_eq!(named(&missing), 0);
}

#[test]
fn settlement_is_asked_for_where_a_command_settles() {
    for body in [given(Some(key())), word(key())] {
        let mut desk = Desk::new(ACTIVE);
        desk.settled = Some(Settled::Accepted);
        let admitted = desk.admit(command(ROOM, body), HERE).map_err(|problem| problem.code);
        assert_eq!(admitted.map(|admitted| admitted.settled), Ok(Some(Settled::Accepted)));
        assert!(desk.asked.contains(&Question::Settlement(key())));
    }
}

#[test]
fn rights_are_the_platforms_or_the_roles() {
    let rights = |envelope: CommandEnvelope| {
        let admitted = Desk::new(ACTIVE).admit(envelope, HERE).map_err(|problem| problem.code);
        admitted.map(|admitted| {
            (
                admitted.authority.platform,
                admitted.authority.role,
                admitted.authority.dispatched_by,
            )
        })
    };
    let own = command(ROOM, given(None));
    let for_ada = CommandEnvelope {
        on_behalf_of: Some(PrincipalId::from_static("ada")),
        credential: None,
        ..own.clone()
    };
    let of_ada = CommandEnvelope {
        principal: PrincipalId::from_static("ada"),
        ..own.clone()
    };
    let dispatched = CommandEnvelope {
        body: given(Some(key())),
        ..of_ada.clone()
    };
    let of_kernel = CommandEnvelope {
        body: word(key()),
        ..for_ada.clone()
    };
    assert_eq!(actor(&for_ada), &PrincipalId::from_static("ada"));
    assert_eq!(actor(&own), &PrincipalId::BOOTSTRAP);
    let member = Some(Role::Member);
    assert_eq!(rights(own), Ok((true, member, None)));
    assert_eq!(rights(for_ada), Ok((false, member, None)));
    assert_eq!(rights(of_ada), Ok((false, member, None)));
    let sender: StreamId = key().stream;
    assert_eq!(rights(dispatched), Ok((false, member, Some(sender))));
    assert_eq!(rights(of_kernel), Ok((true, member, None)));
}

mod clients;
mod guards;
mod managing;
mod named;
mod namesakes;
mod places;
mod principals;
mod rights;

#[test]
fn suspension_and_version_come_from_the_org() {
    let suspended = OrgView {
        version: 8,
        suspended: true,
        requires_key: false,
        role: None,
    };
    let admitted = Desk::new(suspended)
        .admit(command(ROOM, given(None)), HERE)
        .map_err(|problem| problem.code);
    let authority = admitted.map(|admitted| (admitted.authority.org_version, admitted.authority.org_suspended));
    assert_eq!(authority, Ok((8, true)));
}

#[test]
fn full_queue_refuses_clients_only() {
    let queued = |body, waiting| queued(&command(ROOM, body), waiting).map_err(|problem| (problem.code, problem.queue_depth));
    let full = Err(("entity_busy".to_owned(), Some(ENTITY_QUEUE_MAX as u64)));
    assert_eq!(queued(given(None), ENTITY_QUEUE_MAX), full);
    assert_eq!(queued(given(None), ENTITY_QUEUE_MAX - 1), Ok(()));
    assert_eq!(queued(given(Some(key())), ENTITY_QUEUE_MAX), Ok(()));
    assert_eq!(queued(word(key()), ENTITY_QUEUE_MAX), Ok(()));
}

#[test]
fn refusals_end_with_the_lease_and_failures_do_not() {
    let refused = || Err(Problem::new(412, "wrong_version", ""));
    let failed = || Err(Problem::new(503, "outcome_unknown", ""));
    let code = |answer: Result<Receipt, Problem>| answer.err().map(|problem| problem.code);
    assert_eq!(code(within_lease(refused(), true)).as_deref(), Some("wrong_version"));
    assert_eq!(code(within_lease(refused(), false)).as_deref(), Some("lease_ended"));
    assert_eq!(code(within_lease(failed(), false)).as_deref(), Some("outcome_unknown"));
}

#[test]
fn commands_go_to_the_next_owner_where_there_is_one() {
    let again = |code, is_shared, is_damaged| is_for_next_owner(&Problem::new(503, code, ""), is_shared, is_damaged);
    assert!(again(NOT_OPEN, false, true), "it opens in a moment");
    for code in ["lease_ended", "outcome_unknown", "owner_unreachable", "partition_stopped"] {
        assert!(again(code, true, false) && !again(code, false, false), "{code}");
    }
    assert!(!again("partition_stopped", true, true));
    assert!(!again("stream_parked", true, false) && !again("entity_busy", true, false));
}
