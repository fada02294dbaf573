use super::*;
use crate::scene::{As, Scene, as_role, id, platform, sealed, sent_by};
use quipu_kinds::principal::{
    AddAddress, Code, ConfirmTotp, EndSession, EnrolTotp, RedeemSession, RefreshSession, Register, SessionStart, SetPassword, StartSession,
    UseRecoveryCode, UseTotp,
};
use quipu_schemas::{context::Millis, digest::Digest, jwk::PublicJwk, limits::ADDRESSES_MAX};
use serde_json::json;

const DAY_MS: u64 = 24 * 3_600_000;

fn admin() -> As {
    as_role("ann", Some(Role::Admin))
}
fn owner() -> As {
    as_role("ola", Some(Role::Owner))
}
fn bot() -> As {
    as_role("bot", None)
}
fn node() -> As {
    platform()
}
fn create() -> PrincipalCommand {
    PrincipalCommand::Create(CreateService {
        name: "Bot".into(),
        owner: None,
    })
}
fn service() -> Scene<Principal> {
    let mut scene = Scene::new("acme/principal/bot");
    scene.ok(&admin(), create());
    scene
}
fn person() -> Scene<Principal> {
    let mut scene = Scene::new("_platform/principal/usr_1");
    scene.ok(
        &node(),
        PrincipalWord::Register(Register {
            name: Some(sealed(&"Ada".to_owned())),
            address: Some(AddAddress {
                id: EntityId::from_static("adr_1"),
                address: sealed(&"ada@example.org".to_owned()),
            }),
            password: Some(password(false)),
        }),
    );
    scene
}
fn password(ends_sessions: bool) -> SetPassword {
    SetPassword {
        phc: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
        ends_sessions,
    }
}
fn hash(n: u8) -> Digest {
    Digest([n; 32])
}
fn session(n: usize) -> SessionStart {
    SessionStart {
        id: EntityId::parse(format!("ses_{n}")).unwrap(),
        client: Some("web".into()),
        amr: vec!["pwd".into()],
        auth_time: 1,
        scope: Vec::new(),
        audience: None,
        act: Vec::new(),
        parent: None,
    }
}
fn start(n: usize) -> StartSession {
    StartSession {
        session: session(n),
        lifetime_ms: DAY_MS,
        refresh: None,
        code: None,
        waits_ms: None,
        reuse: false,
    }
}
fn started(start: StartSession) -> PrincipalWord {
    PrincipalWord::StartSession(start)
}
fn with_refresh(n: usize) -> PrincipalWord {
    started(StartSession {
        refresh: Some(hash(1)),
        ..start(n)
    })
}
fn with_code(n: usize) -> PrincipalWord {
    started(StartSession {
        code: Some(Code {
            hash: hash(7),
            challenge: "c".into(),
            redirect_uri: "https://a.example/back".into(),
        }),
        ..start(n)
    })
}
fn redeem(change: impl FnOnce(&mut RedeemSession)) -> PrincipalWord {
    let mut redeem = RedeemSession {
        id: EntityId::from_static("ses_1"),
        code: hash(7),
        client: Some("web".into()),
        redirect_uri: "https://a.example/back".into(),
        challenge: "c".into(),
        refresh: Some(hash(1)),
    };
    change(&mut redeem);
    PrincipalWord::RedeemSession(redeem)
}
fn refresh(old: u8, new: u8) -> PrincipalWord {
    PrincipalWord::RefreshSession(RefreshSession {
        id: EntityId::from_static("ses_1"),
        hash: hash(old),
        new_hash: hash(new),
        client: Some("web".into()),
    })
}
fn live(scene: &Scene<Principal>) -> usize {
    let account = scene.state.account().unwrap();
    account.sessions.iter().filter(|session| session.is_live(scene.now)).count()
}
fn wakes(scene: &Scene<Principal>) -> Option<Millis> {
    match scene.reactions.as_slice() {
        [Reaction::WakeAt { due, .. }] => Some(*due),
        [Reaction::CancelWake { .. }] => None,
        other => panic!("{other:?}"),
    }
}
fn why(events: &[PrincipalEvent]) -> SessionEnd {
    match events {
        [PrincipalEvent::SessionsEnded { why, .. }] => *why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_is_made_and_changed_by_admins() {
    let mut scene = service();
    assert_eq!(scene.state.kind(), Some(PrincipalType::Service));
    scene.refused(&admin(), create(), 409, "principal_exists");
    let rename = || PrincipalCommand::Rename(RenamePrincipal { name: "Clerk".into() });
    scene.refused(&as_role("eve", Some(Role::Member)), rename(), 403, "role_needed");
    scene.ok(&bot(), rename());
    scene.unchanged(&admin(), rename());
    scene.ok(&admin(), PrincipalCommand::SetOwner(SetOwner { owner: id("eve") }));
    let nobody = PrincipalCommand::SetOwner(SetOwner { owner: id("_accounts") });
    scene.refused(&admin(), nobody, 422, "reserved_id");
}

#[test]
fn ids_of_people_are_taken_by_nobody_else() {
    for stream in ["acme/principal/usr_1", "acme/principal/bootstrap", "acme/principal/_x"] {
        Scene::<Principal>::new(stream).refused(&admin(), create(), 422, "reserved_id");
    }
    let register = || {
        PrincipalWord::Register(Register {
            name: None,
            address: None,
            password: None,
        })
    };
    for stream in ["acme/principal/usr_1", "_platform/principal/ada"] {
        Scene::<Principal>::new(stream).refused(&node(), register(), 422, "reserved_id");
    }
    person().refused(&node(), register(), 409, "principal_exists");
}

#[test]
fn words_are_the_nodes_alone() {
    let mut scene = service();
    let words = [
        started(start(1)),
        redeem(|_| ()),
        refresh(1, 2),
        PrincipalWord::EndSession(EndSession {
            id: EntityId::from_static("ses_1"),
        }),
        PrincipalWord::SetPassword(password(false)),
        PrincipalWord::MakeOperator(MakeOperator { operator: true }),
    ];
    let mut by_a_run = sent_by("bootstrap", "acme/run/r1");
    by_a_run.authority.platform = true;
    for word in words {
        for who in [owner(), bot(), sent_by("ola", "acme/run/r1"), by_a_run.clone()] {
            scene.refused(&who, word.clone(), 403, "not_the_node");
        }
    }
}

#[test]
fn only_the_agent_itself_makes_its_principal() {
    let word = || {
        PrincipalWord::CreateAgent(CreateAgentPrincipal {
            name: "Helper".into(),
            owner: id("ada"),
        })
    };
    let fresh = || Scene::<Principal>::new("acme/principal/helper");
    for from in ["acme/agent/other", "beta/agent/helper", "acme/run/helper"] {
        fresh().refused(&sent_by("ada", from), word(), 403, "not_the_node");
    }
    fresh().refused(&node(), word(), 403, "not_the_node");
    let mut scene = fresh();
    scene.ok(&sent_by("ada", "acme/agent/helper"), word());
    assert_eq!(scene.state.kind(), Some(PrincipalType::Agent));
    scene.refused(&node(), PrincipalWord::SetPassword(password(false)), 409, "not_a_person");
}

#[test]
fn a_public_key_is_added_by_itself_or_an_owner() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let key: PublicJwk = serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "x": x })).unwrap();
    let add = || PrincipalCommand::AddPublicKey(AddPublicKey { key: key.clone() });
    let mut scene = service();
    scene.refused(&admin(), add(), 403, "role_needed");
    let mut narrow = bot();
    narrow.authority.narrowed = true;
    scene.refused(&narrow, add(), 403, "narrow_credential");
    scene.sender = Some(id("ola"));
    scene.refused(&bot(), add(), 403, "delegated");
    scene.sender = None;
    scene.ok(&bot(), add());
    scene.unchanged(&owner(), add());
    let remove = || PrincipalCommand::RemovePublicKey(RemovePublicKey { id: key.thumbprint() });
    scene.ok(&admin(), remove());
    scene.refused(&admin(), remove(), 404, "public_key_not_found");
    let half = PublicJwk {
        y: Some(x.into()),
        ..key.clone()
    };
    scene.refused(
        &bot(),
        PrincipalCommand::AddPublicKey(AddPublicKey { key: half }),
        422,
        "bad_public_key",
    );
}

#[test]
fn what_a_key_opened_ends_with_the_key() {
    let x = [
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "22qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    ];
    let keys = x.map(|x| -> PublicJwk { serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "x": x })).unwrap() });
    let mut scene = service();
    let by_key = |n: usize, key: &PublicJwk| {
        let mut start = start(n);
        start.session.amr = vec!["pop".into(), method_of_key(&key.thumbprint())];
        started(start)
    };
    for (n, key) in keys.iter().enumerate() {
        scene.refused(&node(), by_key(n, key), 404, "public_key_not_found");
        scene.ok(&bot(), PrincipalCommand::AddPublicKey(AddPublicKey { key: key.clone() }));
        scene.ok(&node(), by_key(n, key));
    }
    scene.ok(&node(), with_refresh(7));
    let live = |scene: &Scene<Principal>| -> Vec<EntityId> {
        let sessions = &scene.state.account().unwrap().sessions;
        sessions.iter().map(|session| session.start.id.clone()).collect()
    };
    assert_eq!(live(&scene).len(), 3);
    let id = keys[0].thumbprint();
    let events = scene.ok(&bot(), PrincipalCommand::RemovePublicKey(RemovePublicKey { id }));
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(live(&scene), [start(1).session.id, start(7).session.id]);
    scene.refused(&node(), by_key(8, &keys[0]), 404, "public_key_not_found");
    // What one key opened is not used again by another.
    scene.ok(&bot(), PrincipalCommand::AddPublicKey(AddPublicKey { key: keys[0].clone() }));
    let again = |n: usize, key: &PublicJwk| {
        let mut start = start(n);
        start.session.client = Some("acme/scout".into());
        start.session.amr = vec!["pop".into(), method_of_key(&key.thumbprint())];
        start.reuse = true;
        started(start)
    };
    scene.ok(&node(), again(10, &keys[0]));
    scene.ok(&node(), again(11, &keys[1]));
    scene.unchanged(&node(), again(12, &keys[1]));
}

#[test]
fn a_suspended_principal_begins_nothing_and_comes_back() {
    let mut scene = service();
    scene.ok(&node(), with_refresh(1));
    let suspend = || PrincipalCommand::Suspend(SuspendPrincipal { reason: "leak".into() });
    scene.ok(&admin(), suspend());
    scene.unchanged(&admin(), suspend());
    scene.refused(&node(), started(start(2)), 403, "principal_suspended");
    scene.refused(&node(), refresh(1, 2), 403, "principal_suspended");
    scene.ok(&admin(), PrincipalCommand::EndSessions(EndSessions {}));
    scene.unchanged(&admin(), PrincipalCommand::EndSessions(EndSessions {}));
    scene.ok(&admin(), PrincipalCommand::Resume(ResumePrincipal {}));
    scene.ok(&node(), started(start(2)));
    let retire = || PrincipalCommand::Retire(RetirePrincipal { reason: String::new() });
    scene.ok(&admin(), retire());
    assert_eq!(wakes(&scene), None);
    scene.unchanged(&admin(), retire());
    scene.refused(&node(), started(start(3)), 409, "principal_retired");
    scene.refused(&admin(), create(), 409, "principal_exists");
}

#[test]
fn a_new_password_ends_sessions_where_asked() {
    let mut scene = person();
    scene.ok(&node(), started(start(1)));
    scene.ok(&node(), PrincipalWord::SetPassword(password(false)));
    assert_eq!(live(&scene), 1);
    scene.ok(&node(), PrincipalWord::SetPassword(password(true)));
    assert_eq!(live(&scene), 0);
    let plain = SetPassword {
        phc: "hunter2".into(),
        ends_sessions: false,
    };
    scene.refused(&node(), PrincipalWord::SetPassword(plain), 422, "bad_password_hash");
}

#[test]
fn addresses_are_added_seen_and_removed() {
    let mut scene = person();
    let named = |id: &'static str| AddressNamed {
        id: EntityId::from_static(id),
    };
    scene.ok(&node(), PrincipalWord::VerifyAddress(named("adr_1")));
    scene.unchanged(&node(), PrincipalWord::VerifyAddress(named("adr_1")));
    scene.refused(&node(), PrincipalWord::VerifyAddress(named("adr_9")), 404, "address_not_found");
    scene.ok(&node(), PrincipalWord::RemoveAddress(named("adr_1")));
    for n in 0..ADDRESSES_MAX {
        let id = EntityId::parse(format!("adr_n{n}")).unwrap();
        let address = sealed(&"x@example.org".to_owned());
        scene.ok(&node(), PrincipalWord::AddAddress(AddAddress { id, address }));
    }
    let address = sealed(&"y@example.org".to_owned());
    let id = EntityId::from_static("adr_more");
    scene.refused(
        &node(),
        PrincipalWord::AddAddress(AddAddress { id, address }),
        409,
        "too_many_addresses",
    );
}

#[test]
fn each_code_is_good_once() {
    let mut scene = person();
    let confirm = || {
        PrincipalWord::ConfirmTotp(ConfirmTotp {
            step: 10,
            recovery: vec![hash(1), hash(2)],
        })
    };
    let used = |step| PrincipalWord::UseTotp(UseTotp { step });
    scene.refused(&node(), confirm(), 409, "not_enrolled");
    scene.ok(
        &node(),
        PrincipalWord::EnrolTotp(EnrolTotp {
            secret: sealed(&"JBSWY3DPEHPK3PXP".to_owned()),
        }),
    );
    scene.refused(&node(), used(11), 409, "not_enrolled");
    scene.ok(&node(), confirm());
    scene.refused(&node(), used(10), 403, "code_used");
    scene.ok(&node(), used(11));
    scene.refused(&node(), used(11), 403, "code_used");
    let recover = |n| PrincipalWord::UseRecoveryCode(UseRecoveryCode { hash: hash(n) });
    scene.ok(&node(), recover(1));
    scene.refused(&node(), recover(1), 403, "code_used");
    scene.ok(&node(), recover(2));
    // Another secret is good once it was shown to be; the old one is asked for until then.
    let other = sealed(&"KRSXG5CTMVRXEZLU".to_owned());
    scene.ok(&node(), PrincipalWord::EnrolTotp(EnrolTotp { secret: other }));
    scene.ok(&node(), used(12));
    scene.ok(&node(), confirm());
    scene.refused(&node(), confirm(), 409, "not_enrolled");
}

#[test]
fn an_operator_is_a_person() {
    let word = || PrincipalWord::MakeOperator(MakeOperator { operator: true });
    let mut scene = person();
    scene.ok(&node(), word());
    scene.unchanged(&node(), word());
    assert!(scene.state.person().unwrap().operator);
    service().refused(&node(), word(), 409, "not_a_person");
}

mod codes;
mod sessions;
