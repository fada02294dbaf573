//! Devices on which nobody can sign in: they show a short code, and a person lets them in elsewhere (RFC 8628).
//!
//! A device that waits lies beside people, under a name that follows from its short code by a keyed hash: every node finds it by what
//! somebody typed, and whoever reads the log learns no code.

use super::{Node, accounts::word};
use crate::{
    accounts::{AskedDevice, DeviceStands, LoggedIn, NewDevice, StartedSession, refused_grant},
    ingress,
};
use quipu_kinds::principal::{
    AnswerDevice, AskDevice, Code, DeviceLogin, DeviceRequest, RedeemSession, SessionStart, StartSession, TakeDevice,
};
use quipu_rules::principal::{Device, DevicePhase};
use quipu_schemas::{
    digest::Digest,
    envelope::Shown,
    ids::{EntityId, Home, OrgId, PrincipalId},
    limits::{DEVICE_CODE_MS, DEVICE_USER_CODE_CHARS, SESSION_OF_GRANT_MS},
    problem::Problem,
    session_text::{Purpose, SessionText},
};

/// Letters that nobody takes for another one, and that make no words (RFC 8628, 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How often another code is tried where one is taken.
const TRIES: usize = 8;
/// The one session that a device waits for.
const SESSION: EntityId = EntityId::from_static("device");

/// A short code of these random bytes; `None` where too few of them fit.
fn code_of(random: [u8; 16]) -> Option<String> {
    let letters = LETTERS.len() as u8;
    let even = u8::MAX - u8::MAX % letters;
    let fits = random.into_iter().filter(|byte| *byte < even);
    let code: String = fits
        .map(|byte| char::from(LETTERS[usize::from(byte % letters)]))
        .take(DEVICE_USER_CODE_CHARS)
        .collect();
    (code.len() == DEVICE_USER_CODE_CHARS).then_some(code)
}

/// What somebody typed, without what only parts it; `None` where it cannot be a code.
fn typed(text: &str) -> Option<String> {
    let letters = text.chars().filter(|c| !matches!(c, '-' | ' '));
    let code: String = letters.map(|c| c.to_ascii_uppercase()).take(DEVICE_USER_CODE_CHARS + 1).collect();
    (code.len() == DEVICE_USER_CODE_CHARS && code.bytes().all(|b| LETTERS.contains(&b))).then_some(code)
}

fn parted(code: &str) -> String {
    let (front, back) = code.split_at(DEVICE_USER_CODE_CHARS / 2);
    format!("{front}-{back}")
}

impl Node {
    fn device_of(&self, code: &str) -> Home {
        let key = self.0.core.keys.digest_key();
        let name = Digest::keyed(&key, &[b"quipu device user code v1", code.as_bytes()]).to_string();
        Home {
            org: OrgId::PLATFORM,
            id: PrincipalId::parse(format!("dev_{}", &name[..32])).expect("hexadecimal digits are an id"),
        }
    }

    /// A device asks for a session, and waits ten minutes for a person.
    pub async fn ask_device(&self, new: NewDevice) -> Result<AskedDevice, Problem> {
        let keys = self.0.core.keys.digest_key();
        for _ in 0..TRIES {
            let Some(code) = code_of(ingress::entropy()?.to_be_bytes()) else {
                continue;
            };
            let home = self.device_of(&code);
            let secret = SessionText::new(Purpose::Device, home.clone(), SESSION, ingress::entropy()?.to_be_bytes(), &keys);
            let ask = AskDevice {
                request: DeviceRequest {
                    client: new.client.clone(),
                    scope: new.scope.clone(),
                    audience: new.audience.clone(),
                    hash: secret.hash(&keys),
                    network: new.network.clone(),
                },
                lifetime_ms: DEVICE_CODE_MS,
            };
            let now = self.now();
            match self.tell(&home, word("ask_device", &ask)?, None).await {
                // Somebody else waits under this code.
                Err(problem) if problem.status == 409 => {}
                answer => {
                    answer?;
                    return Ok(AskedDevice {
                        user_code: parted(&code),
                        device_code: Shown::new(secret.to_text()),
                        expires_at: now.saturating_add(DEVICE_CODE_MS),
                    });
                }
            }
        }
        Err(Problem::new(503, "no_device_code", "no code is free right now")
            .fix("try again")
            .retry_after(5))
    }

    /// The device that waits for somebody who typed this; `None` where none does.
    pub fn waiting_device(&self, text: &str) -> Result<Option<(Home, Device)>, Problem> {
        match typed(text) {
            Some(code) => self.named_device(&self.device_of(&code)),
            None => Ok(None),
        }
    }

    /// The same by the name under which it waits.
    pub fn named_device(&self, home: &Home) -> Result<Option<(Home, Device)>, Problem> {
        let now = self.now();
        let found = self.0.core.device(home)?;
        let waiting = found.filter(|device| device.phase == DevicePhase::Waiting && now < device.expires_at);
        Ok(waiting.map(|device| (home.clone(), device)))
    }

    /// A person lets a device in, or nobody does. The first answer counts.
    pub async fn answer_device(&self, home: &Home, login: Option<LoggedIn>) -> Result<(), Problem> {
        let Some(login) = login else {
            return self.tell_answer(home, None).await;
        };
        let Some((_, device)) = self.named_device(home)? else {
            return Err(refused_grant());
        };
        let session = self.begin_waiting(home, device.request, &login).await?;
        let answer = DeviceLogin {
            home: login.home.clone(),
            amr: login.amr,
            auth_time: login.auth_time,
        };
        let answered = self.tell_answer(home, Some((answer, session.clone()))).await;
        if answered.is_err() {
            // Nobody comes for it. Where this fails as well, its own ten minutes end it.
            let ended = self.end_session(&login.home, &session).await;
            ended.unwrap_or_else(|problem| tracing::warn!(code = problem.code, "a session waits for no device"));
        }
        answered
    }

    async fn tell_answer(&self, device: &Home, answer: Option<(DeviceLogin, EntityId)>) -> Result<(), Problem> {
        let (login, session) = answer.unzip();
        self.tell(device, word("answer_device", &AnswerDevice { login, session })?, None)
            .await
            .map(|_| ())
    }

    /// A session of the person that waits for the device, among their own: what ends those ends it, and they decide whether it is opened.
    async fn begin_waiting(&self, device: &Home, asked: DeviceRequest, login: &LoggedIn) -> Result<EntityId, Problem> {
        let id = EntityId::parse(self.minted("ses")?).expect("a TypeID is an id");
        let start = StartSession {
            session: SessionStart {
                id: id.clone(),
                client: Some(asked.client),
                amr: login.amr.clone(),
                auth_time: login.auth_time,
                scope: asked.scope,
                audience: asked.audience,
                act: Vec::new(),
                parent: None,
            },
            lifetime_ms: SESSION_OF_GRANT_MS,
            refresh: None,
            code: Some(Code {
                hash: asked.hash,
                challenge: SESSION.to_string(),
                redirect_uri: device.to_string(),
            }),
            waits_ms: Some(DEVICE_CODE_MS),
            reuse: false,
        };
        self.tell(&login.home, word("start_session", &start)?, None).await?;
        Ok(id)
    }

    /// What becomes of a device that shows its code; `None` where it is none, or is another client's. Once somebody let it in, it gets
    /// its session, and its code is worth nothing any more.
    pub async fn poll_device(&self, shown: &str, client: &str, refresh: bool) -> Result<Option<DeviceStands>, Problem> {
        let keys = self.0.core.keys.digest_key();
        let secret = SessionText::parse(Purpose::Device, shown).ok();
        let Some(secret) = secret.filter(|secret| secret.is_authentic(&keys)) else {
            return Ok(None);
        };
        let hash = secret.hash(&keys);
        let Some(device) = self.0.core.device(&secret.home)? else {
            return Ok(None);
        };
        // Another one may wait under this name by now.
        if device.request.hash != hash {
            return Ok(Some(DeviceStands::Over));
        }
        if device.request.client != client {
            return Ok(None);
        }
        if self.now() >= device.expires_at {
            return Ok(Some(DeviceStands::Over));
        }
        if !self.0.core.accounts.polls.lock().may_ask(&secret.home.id, self.0.core.monotonic()) {
            return Ok(Some(DeviceStands::TooSoon));
        }
        match device.phase {
            DevicePhase::Waiting => Ok(Some(DeviceStands::Waiting)),
            DevicePhase::Refused => Ok(Some(DeviceStands::Refused)),
            DevicePhase::Taken => Ok(Some(DeviceStands::Over)),
            DevicePhase::Allowed { login, session: Some(id) } => {
                self.let_in(&secret.home, device.request, (login, id), refresh).await.map(Some)
            }
            // Let in by a node of an earlier release, which asked nothing more of the person.
            DevicePhase::Allowed { session: None, .. } => Ok(Some(DeviceStands::Over)),
        }
    }

    async fn let_in(
        &self,
        device: &Home,
        asked: DeviceRequest,
        (login, id): (DeviceLogin, EntityId),
        refresh: bool,
    ) -> Result<DeviceStands, Problem> {
        let take = TakeDevice { hash: asked.hash };
        match self.tell(device, word("take_device", &take)?, None).await {
            Ok(_) => {}
            // It was taken a moment ago.
            Err(problem) if problem.status == 403 => return Ok(DeviceStands::Over),
            Err(problem) => return Err(problem),
        }
        let keys = self.0.core.keys.digest_key();
        let random = ingress::entropy()?.to_be_bytes();
        let refresh = refresh.then(|| SessionText::new(Purpose::Refresh, login.home.clone(), id.clone(), random, &keys));
        let redeem = RedeemSession {
            id: id.clone(),
            code: asked.hash,
            client: Some(asked.client),
            redirect_uri: device.to_string(),
            challenge: SESSION.to_string(),
            refresh: refresh.as_ref().map(|text| text.hash(&keys)),
        };
        let receipt = match self.tell(&login.home, word("redeem_session", &redeem)?, None).await {
            Ok(receipt) => receipt,
            // It ended with the others of the person, or they were stopped.
            Err(problem) if matches!(problem.status, 403 | 404 | 410) => return Ok(DeviceStands::Over),
            Err(problem) => return Err(problem),
        };
        let known = self.0.core.principal_at(&login.home, receipt.version)?;
        let Some(session) = known.as_ref().and_then(|known| known.session(&id, self.now())) else {
            return Ok(DeviceStands::Over);
        };
        let started = StartedSession {
            id,
            expires_at: session.expires_at,
            refresh: refresh.map(|text| Shown::new(text.to_text())),
            code: None,
        };
        Ok(DeviceStands::Allowed(Box::new((login.home, started))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_of_letters_that_nobody_confuses() {
        let code = code_of([0, 1, 255, 240, 19, 20, 239, 7, 8, 9, 10, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(code, "BCZBZKLM");
        assert_eq!(code_of([255; 16]), None);
        for (text, code) in [("bczb-zklm", Some("BCZBZKLM")), (" BCZB ZKLM", Some("BCZBZKLM")), ("BCZBZKL", None)] {
            assert_eq!(typed(text).as_deref(), code, "{text}");
        }
        for text in ["", "BCZBZKLMN", "BCZB-ZKL0", "BCZB-ZKLA", "BCZB_ZKLM", "\u{e9}CZBZKLM"] {
            assert_eq!(typed(text), None, "{text}");
        }
        assert_eq!(typed(&parted("BCZBZKLM")).as_deref(), Some("BCZBZKLM"));
    }
}
