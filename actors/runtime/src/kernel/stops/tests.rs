use super::*;
use crate::{kernel::stops::Stop, kinds::Kinds};
use quipu_kinds::{
    api_key::ApiKeyEvent,
    principal::{PrincipalEvent, PrincipalType, SessionStart},
};
use quipu_rules::{
    api_key::ApiKey,
    application::{App, Described},
    decider::Decider,
    principal::Principal,
};
use quipu_schemas::{
    digest::Digest,
    envelope::DataClass,
    ids::{CredentialId, PrincipalId},
};
use std::collections::BTreeMap;

const NOW: Millis = 1_000;
const ACME: OrgId = OrgId::from_static("acme");
const BOT: PrincipalId = PrincipalId::from_static("bot");
const USR: PrincipalId = PrincipalId::from_static("usr_1");
const KEY: EntityId = EntityId::from_static("key_1");
const SES: EntityId = EntityId::from_static("ses_1");

/// What is known; nothing can be looked up where it is away.
#[derive(Default)]
struct Desk {
    principals: BTreeMap<Home, Arc<KnownPrincipal>>,
    key: Option<Arc<KnownKey>>,
    portal: Option<ApplicationState>,
    is_away: bool,
}

impl Look for Desk {
    fn principal(&mut self, home: &Home, _: Option<&EntityId>) -> Result<Option<Arc<KnownPrincipal>>, Unknown> {
        if self.is_away {
            Err(Unknown)
        } else {
            Ok(self.principals.get(home).cloned())
        }
    }
    fn key(&mut self, _: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, Unknown> {
        Ok(self.key.clone().filter(|_| *id == KEY))
    }
    fn application(&mut self, _: &ClientId) -> Result<Option<ApplicationState>, Unknown> {
        Ok(self.portal.clone())
    }
}

impl Desk {
    fn with(mut self, home: Home, events: &[PrincipalEvent]) -> Self {
        let charter = Kinds::builtin().charter([]);
        let born = if home.is_person() {
            PrincipalEvent::Registered { name: None }
        } else {
            PrincipalEvent::Created {
                kind: PrincipalType::Service,
                name: "Bot".into(),
                owner: PrincipalId::from_static("ada"),
            }
        };
        let state = [born].iter().chain(events).fold(Principal::initial(), |state, event| {
            Principal::evolve(state, event).expect("it fits")
        });
        let known = KnownPrincipal::of(home.clone(), 2, &state, &charter.roles([]), &charter).expect("somebody");
        self.principals.insert(home, Arc::new(known));
        self
    }

    fn stop(&mut self, cause: &Cause) -> &'static str {
        match stop_of(cause, &ACME, NOW, self) {
            Stop::Goes => "goes",
            Stop::Waits => "waits",
            Stop::Ends(ending) => ending.code,
        }
    }
}

fn by(principal: PrincipalId, credential: Option<CredentialId>) -> Cause {
    Cause {
        principal,
        on_behalf_of: None,
        home: None,
        credential,
        correlation: None,
        traceparent: None,
        environment: None,
        data_class: DataClass::None,
        time: NOW,
    }
}

fn at_home(who: PrincipalId) -> Home {
    Home::of(&ACME, &who)
}

fn suspended() -> PrincipalEvent {
    PrincipalEvent::Suspended { reason: String::new() }
}

fn session(act: Vec<Home>, client: Option<&str>) -> PrincipalEvent {
    PrincipalEvent::SessionStarted {
        session: SessionStart {
            id: SES,
            client: client.map(str::to_owned),
            amr: Vec::new(),
            auth_time: 0,
            scope: Vec::new(),
            audience: None,
            act,
            parent: None,
        },
        expires_at: NOW + 1,
        refresh: None,
        code: None,
        code_until: None,
    }
}

#[test]
fn namesake_of_another_org_is_not_stopped() {
    let from_beta = Cause {
        home: Some(OrgId::from_static("beta")),
        ..by(BOT, None)
    };
    let mut here = Desk::default().with(at_home(BOT), &[suspended()]);
    assert_eq!((here.stop(&by(BOT, None)), here.stop(&from_beta)), ("waits", "goes"));
    let mut there = Desk::default().with(Home::of(&OrgId::from_static("beta"), &BOT), &[suspended()]);
    assert_eq!((there.stop(&by(BOT, None)), there.stop(&from_beta)), ("goes", "waits"));
}

#[test]
fn whoever_is_suspended_waits_in_whatever_place() {
    let plain = by(BOT, None);
    let for_bot = Cause {
        on_behalf_of: Some(BOT),
        ..by(PrincipalId::BOOTSTRAP, None)
    };
    let from_bot = Cause {
        on_behalf_of: Some(USR),
        ..by(BOT, None)
    };
    for cause in [plain, for_bot, from_bot] {
        assert_eq!(
            Desk::default().stop(&cause),
            "goes",
            "of a name that no principal has nothing is known"
        );
        let active = Desk::default().with(at_home(BOT), &[]).stop(&cause);
        let stopped = Desk::default().with(at_home(BOT), &[suspended()]).stop(&cause);
        let resumed = Desk::default()
            .with(at_home(BOT), &[suspended(), PrincipalEvent::Resumed {}])
            .stop(&cause);
        assert_eq!((active, stopped, resumed), ("goes", "waits", "goes"));
        let retired = [suspended(), PrincipalEvent::Retired { reason: String::new() }];
        assert_eq!(Desk::default().with(at_home(BOT), &retired).stop(&cause), "principal_retired");
    }
    let namesake: Home = "beta/bot".parse().expect("a home");
    assert_eq!(Desk::default().with(namesake, &[suspended()]).stop(&by(BOT, None)), "goes");
}

#[test]
fn a_person_is_stopped_in_every_org() {
    let mut desk = Desk::default().with(at_home(USR), &[suspended()]);
    assert_eq!(desk.stop(&by(USR, None)), "waits");
    let bare = PrincipalId::BOOTSTRAP;
    assert_eq!(desk.stop(&by(bare, None)), "goes", "the platform's own");
}

#[test]
fn what_cannot_be_looked_up_waits() {
    let mut desk = Desk {
        is_away: true,
        ..Desk::default()
    };
    assert_eq!(desk.stop(&by(BOT, None)), "waits");
}

#[test]
fn whoever_acts_by_a_session_and_its_client_are_asked_for() {
    let by_session = by(USR, Some(CredentialId::of_session(SES)));
    let stop = |of_bot: &[PrincipalEvent], portal: Option<ApplicationState>| {
        let begun = session(vec![at_home(BOT)], Some("acme.portal"));
        let mut desk = Desk::default().with(at_home(USR), &[begun]).with(at_home(BOT), of_bot);
        desk.portal = portal;
        desk.stop(&by_session)
    };
    let app = || App {
        is: Described {
            name: "Portal".into(),
            grants: Vec::new(),
            authentication: quipu_kinds::application::ClientAuthentication::None,
            redirect_uris: Vec::new(),
            scopes: Vec::new(),
            keys: Vec::new(),
        },
        service: None,
        secret: None,
        old_secret: None,
    };
    let reason = String::new;
    let active = || Some(ApplicationState::Active(app()));
    assert_eq!(stop(&[], active()), "goes");
    assert_eq!(stop(&[suspended()], active()), "waits");
    let held = ApplicationState::Suspended {
        app: app(),
        reason: reason(),
    };
    assert_eq!(stop(&[], Some(held)), "waits");
    let retired = ApplicationState::Retired {
        app: app(),
        reason: reason(),
    };
    assert_eq!(
        stop(&[suspended()], Some(retired)),
        "credential_ended",
        "what never goes does not wait"
    );
    // A session that has ended stops nothing by itself.
    assert_eq!(Desk::default().with(at_home(USR), &[]).stop(&by_session), "goes");
}

#[test]
fn a_key_that_was_revoked_with_all_that_it_caused_ends_it() {
    let key = |events: &[ApiKeyEvent]| {
        let charter = Kinds::builtin().charter([]);
        let created = ApiKeyEvent::Created {
            name: "key".into(),
            principal: BOT,
            scopes: Vec::new(),
            networks: Vec::new(),
            lifetime_days: 1,
            expires_at: NOW + 1,
            hash: Digest::ZERO,
            argon2id: false,
            made_by: None,
        };
        let state = [created]
            .iter()
            .chain(events)
            .fold(ApiKey::initial(), |state, event| ApiKey::evolve(state, event).expect("it fits"));
        Desk {
            key: KnownKey::of(&KEY, &state, &charter.roles([]), &charter).map(Arc::new),
            ..Desk::default()
        }
    };
    let by_key = by(BOT, Some(CredentialId::of_api_key(KEY)));
    let revoked = |cascade| ApiKeyEvent::Revoked {
        reason: "lost".into(),
        cascade,
    };
    assert_eq!(key(&[]).stop(&by_key), "goes");
    assert_eq!(
        key(&[revoked(false)]).stop(&by_key),
        "goes",
        "what it caused goes on unless it was asked for"
    );
    assert_eq!(key(&[revoked(true)]).stop(&by_key), "credential_revoked");
    assert_eq!(
        key(&[revoked(false), revoked(true)]).stop(&by_key),
        "credential_revoked",
        "also later"
    );
    assert_eq!(key(&[ApiKeyEvent::Expired {}, revoked(true)]).stop(&by_key), "credential_revoked");
    assert_eq!(key(&[revoked(true)]).stop(&by(BOT, None)), "goes");
}
