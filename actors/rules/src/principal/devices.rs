//! Devices that wait for a person: one asks, a person answers once, and the device gets its session once.

use super::{Decided, Device, DevicePhase, PrincipalRejection, PrincipalState, sessions::is_equal};
use crate::decider::Decision;
use quipu_kinds::principal::{AnswerDevice, AskDevice, PrincipalEvent, TakeDevice};
use quipu_schemas::{
    context::Millis,
    ids::EntityId,
    limits::{DEVICE_CODE_MS, SESSION_METHODS_MAX, SESSION_SCOPES_MAX, SESSION_WORD_MAX_CHARS},
};

/// A name that no device waits under any more is free again.
pub(super) fn ask(state: &PrincipalState, id: &EntityId, ask: &AskDevice, now: Millis) -> Decided {
    let is_free = match state {
        PrincipalState::Missing => true,
        PrincipalState::Device(device) => now >= device.expires_at,
        PrincipalState::Active(_) | PrincipalState::Suspended { .. } | PrincipalState::Retired { .. } => false,
    };
    if !is_free {
        return Err(PrincipalRejection::Exists(id.clone()));
    }
    let is_word = |text: &str| !text.is_empty() && text.len() <= SESSION_WORD_MAX_CHARS;
    let is_none_or_word = |text: &Option<String>| text.as_deref().is_none_or(is_word);
    let request = &ask.request;
    let fields = [
        ("client", is_word(&request.client)),
        ("scope", request.scope.len() <= SESSION_SCOPES_MAX),
        ("audience", is_none_or_word(&request.audience)),
        ("network", is_none_or_word(&request.network)),
        ("lifetime_ms", (1..=DEVICE_CODE_MS).contains(&ask.lifetime_ms)),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, is_right)| !is_right) {
        return Err(PrincipalRejection::BadSession(field));
    }
    Ok(Decision::one(PrincipalEvent::DeviceAsked {
        request: request.clone(),
        expires_at: now.saturating_add(ask.lifetime_ms),
    }))
}

fn waiting(state: &PrincipalState, now: Millis) -> Result<&Device, PrincipalRejection> {
    let device = state.device().filter(|device| now < device.expires_at);
    device.ok_or(PrincipalRejection::SessionEnded)
}

/// The first answer counts.
pub(super) fn answer(state: &PrincipalState, answer: &AnswerDevice, now: Millis) -> Decided {
    if waiting(state, now)?.phase != DevicePhase::Waiting {
        return Err(PrincipalRejection::SessionEnded);
    }
    let is_right = answer.login.as_ref().is_none_or(|login| {
        let is_word = |text: &String| !text.is_empty() && text.len() <= SESSION_WORD_MAX_CHARS;
        answer.session.is_some() && login.home.is_person() && login.amr.len() <= SESSION_METHODS_MAX && login.amr.iter().all(is_word)
    });
    if !is_right {
        return Err(PrincipalRejection::BadSession("login"));
    }
    Ok(Decision::one(PrincipalEvent::DeviceAnswered {
        login: answer.login.clone(),
        session: answer.session.clone().filter(|_| answer.login.is_some()),
    }))
}

/// What a person allowed is taken once, by whoever asked for it. Whether it still opens anything, the person's own session says that waits
/// for it; an answer of an earlier release made none.
pub(super) fn take(state: &PrincipalState, take: &TakeDevice, now: Millis) -> Decided {
    let device = waiting(state, now)?;
    if !is_equal(&device.request.hash, &take.hash) {
        return Err(PrincipalRejection::WrongSecret);
    }
    match &device.phase {
        DevicePhase::Allowed { session: Some(_), .. } => Ok(Decision::one(PrincipalEvent::DeviceTaken {})),
        DevicePhase::Allowed { .. } | DevicePhase::Waiting | DevicePhase::Refused | DevicePhase::Taken => {
            Err(PrincipalRejection::SessionEnded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        principal::Principal,
        scene::{Scene, as_role, platform},
    };
    use quipu_kinds::principal::{DeviceLogin, DeviceRequest, PrincipalWord};
    use quipu_schemas::{digest::Digest, role::Role};

    fn asked(n: u8) -> PrincipalWord {
        PrincipalWord::AskDevice(AskDevice {
            request: DeviceRequest {
                client: "acme.app_1".into(),
                scope: Vec::new(),
                audience: None,
                hash: Digest([n; 32]),
                network: Some("192.0.2.0/24".into()),
            },
            lifetime_ms: DEVICE_CODE_MS,
        })
    }

    fn answered(home: Option<&str>) -> PrincipalWord {
        let login = home.map(|home| DeviceLogin {
            home: home.parse().unwrap(),
            amr: vec!["pwd".into()],
            auth_time: 1,
        });
        PrincipalWord::AnswerDevice(AnswerDevice {
            login,
            session: Some(EntityId::from_static("ses_1")),
        })
    }

    fn taken(n: u8) -> PrincipalWord {
        PrincipalWord::TakeDevice(TakeDevice { hash: Digest([n; 32]) })
    }

    fn scene() -> Scene<Principal> {
        Scene::new("_platform/principal/dev_1")
    }

    const USR: Option<&str> = Some("_platform/usr_1");

    #[test]
    fn a_device_is_let_in_once_by_the_first_answer() {
        let mut scene = scene();
        scene.refused(&platform(), answered(USR), 403, "grant_refused");
        scene.ok(&platform(), asked(1));
        scene.refused(&platform(), asked(2), 409, "principal_exists");
        scene.refused(&platform(), taken(1), 403, "grant_refused");
        scene.refused(&platform(), answered(Some("acme/bot")), 422, "bad_session");
        scene.ok(&platform(), answered(USR));
        scene.refused(&platform(), answered(None), 403, "grant_refused");
        scene.refused(&platform(), taken(2), 403, "grant_refused");
        scene.ok(&platform(), taken(1));
        scene.refused(&platform(), taken(1), 403, "grant_refused");
        assert!(scene.state.kind().is_none() && scene.state.account().is_none(), "it is nobody");
    }

    #[test]
    fn a_refused_device_gets_nothing() {
        let mut scene = scene();
        scene.ok(&platform(), asked(1));
        scene.ok(&platform(), answered(None));
        scene.refused(&platform(), taken(1), 403, "grant_refused");
        scene.refused(&platform(), answered(USR), 403, "grant_refused");
    }

    #[test]
    fn after_its_time_a_device_gets_nothing_and_its_name_is_free() {
        let mut scene = scene();
        scene.ok(&platform(), asked(1));
        scene.now += DEVICE_CODE_MS;
        scene.refused(&platform(), answered(USR), 403, "grant_refused");
        scene.ok(&platform(), asked(2));
        scene.ok(&platform(), answered(USR));
        scene.now += DEVICE_CODE_MS;
        scene.refused(&platform(), taken(2), 403, "grant_refused");
    }

    #[test]
    fn only_the_node_speaks_of_devices_and_somebody_is_none() {
        let mut scene = scene();
        scene.refused(&as_role("ada", Some(Role::Owner)), asked(1), 403, "not_the_node");
        let mut person: Scene<Principal> = Scene::new("_platform/principal/usr_1");
        let nobody = quipu_kinds::principal::Register {
            name: None,
            address: None,
            password: None,
        };
        person.ok(&platform(), PrincipalWord::Register(nobody));
        person.refused(&platform(), asked(1), 409, "principal_exists");
        person.refused(&platform(), answered(USR), 403, "grant_refused");
    }
}
