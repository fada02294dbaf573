//! What is refused, noted for the audit of the org that whoever was refused belongs to: coalesced in memory, written down once a minute.

use super::App;
use crate::{
    caller::{Caller, Credential},
    clock::rfc3339,
    parts::view_named,
};
use quipu_kinds::denial::Denial;
use quipu_runtime::{api::CommandRequest, holder::Holder};
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, CredentialId, EntityId, Kind, OrgId, PrincipalId},
    limits::DENIAL_LOOK_MS,
    problem::Problem,
};
use std::time::Duration;
use tokio::{task::JoinHandle, time::MissedTickBehavior};

/// Who asks, as far as the audit goes.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    org: OrgId,
    principal: PrincipalId,
    on_behalf_of: Option<PrincipalId>,
    credential: Option<String>,
}

impl Asker {
    /// Whoever shows this key.
    pub(crate) fn of_holder(holder: &Holder) -> Self {
        Self {
            org: holder.org().clone(),
            principal: holder.principal().clone(),
            on_behalf_of: holder.speaks_for().cloned(),
            credential: Some(holder.credential().to_string()),
        }
    }

    /// Whoever calls; `None` where nobody of an org does. The holder of the node's token is nobody, but for whom they speak.
    pub(crate) fn of(caller: &Caller, path: &str, on_behalf_of: Option<&PrincipalId>) -> Option<Self> {
        match caller.credential() {
            Credential::Key(holder) => Some(Self::of_holder(holder)),
            Credential::Token => Some(Self {
                org: OrgId::parse(path.split('/').nth(3)?).ok().filter(|org| !org.is_reserved())?,
                principal: on_behalf_of?.clone(),
                on_behalf_of: None,
                credential: None,
            }),
            Credential::Account(_) | Credential::Founder(..) | Credential::Cluster | Credential::Bus | Credential::Nothing => None,
        }
    }
}

impl App {
    /// Whose a key was that has ended.
    pub(crate) async fn ended_asker(&self, text: &str) -> Option<Asker> {
        let (org, principal, credential) = self.node.ended_holder(text).await.ok()??;
        Some(Asker {
            org,
            principal,
            on_behalf_of: None,
            credential: Some(credential.to_string()),
        })
    }

    /// Whose a token is that this node signed, whether or not its session lives. Of people the org that was asked for notes it, where
    /// they are somebody: nobody fills the log of an org that does not know them.
    pub(crate) fn session_asker(&self, token: &str, org: Option<&str>) -> Option<Asker> {
        let claims = self.node.read_token(token).ok()?;
        let org = if claims.home.is_person() {
            let org = OrgId::parse(org?).ok().filter(|org| !org.is_reserved())?;
            self.node
                .rights_in(&org, &claims.home.id)
                .is_ok_and(|rights| rights.is_known)
                .then_some(org)?
        } else {
            claims.home.org.clone()
        };
        Some(Asker {
            org,
            principal: claims.home.id.clone(),
            on_behalf_of: None,
            credential: Some(CredentialId::of_session(claims.sid.clone()).to_string()),
        })
    }

    /// Notes that somebody was refused what lies at this path.
    pub(crate) fn note_refused(&self, asker: &Asker, path: &str, problem: &Problem) {
        if !matches!(problem.status, 401 | 403) {
            return;
        }
        let now = self.now();
        let plural = path.split('/').nth(4).unwrap_or_default();
        let kind = match self.kind(plural) {
            Ok(known) => known.kind.to_string(),
            Err(_) => view_named(self.families(), plural).map_or("other", |view| view.name()).to_owned(),
        };
        let denial = Denial {
            principal: asker.principal.clone(),
            on_behalf_of: asker.on_behalf_of.clone(),
            credential: asker.credential.clone(),
            right: problem.right.clone().unwrap_or_else(|| problem.code.clone()),
            kind,
            code: problem.code.clone(),
            count: 1,
            first: now,
            last: now,
        };
        self.denials.lock().note(&asker.org, denial);
    }

    /// Writes down what is due; all of it where the node stops. What cannot be written now waits; what is refused is given up.
    pub(crate) async fn write_denials(&self, is_all: bool) {
        let due = self.denials.lock().take(self.now(), is_all);
        for (org, denial) in due {
            let request = note(&org, &denial);
            if let Err(problem) = self.command(request).await {
                if problem.is_unavailable() && !is_all {
                    self.denials.lock().note(&org, denial);
                } else {
                    tracing::debug!(%org, code = problem.code, "a refusal was not written down");
                }
            }
        }
    }
}

/// The id is that of the entry: sent again, it is the same command.
fn note(org: &OrgId, denial: &Denial) -> CommandRequest {
    let day: String = rfc3339(denial.first).chars().take(10).collect();
    let who = [denial.principal.as_str(), &denial.right, &denial.kind].join(" ");
    let first: Millis = denial.first;
    let digest = Digest::of(&[who.as_bytes(), &std::process::id().to_be_bytes()]);
    let hash: String = digest.to_string().chars().take(32).collect();
    CommandRequest {
        org: org.clone(),
        kind: Kind::DENIAL,
        id: EntityId::parse(format!("d{day}")).ok(),
        command: "note".into(),
        body: serde_json::json!({ "denial": denial }),
        command_id: CommandId::parse(format!("denial.{first}.{hash}")).ok(),
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    }
}

/// Writes down what is due until it is stopped.
pub(crate) struct Keeper {
    app: App,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins.
    pub(crate) fn begin(app: &App) -> Self {
        let (tasks, keeping) = (app.tasks(), app.clone());
        let task = tokio::spawn(async move { tasks.run("denials", || false, || keep(keeping.clone())).await });
        Self { app: app.clone(), task }
    }

    /// Writes down what waits, and ends.
    pub(crate) async fn stop(self) {
        self.task.abort();
        // Aborted, or ended by itself: either way it has let go of the node.
        let _ = self.task.await;
        self.app.write_denials(true).await;
    }
}

async fn keep(app: App) {
    let mut look = tokio::time::interval(Duration::from_millis(DENIAL_LOOK_MS));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        app.write_denials(false).await;
    }
}
