//! Rules of an application: what a client of OAuth may do, and who may say so. Its state knows keyed hashes of its secret and never
//! the text.
//!
//! Whoever sees the secret of an application that a service is linked to acts as that service, so its secret, its keys and the link
//! itself take an owner, like a key for somebody else.

mod rejection;
mod state;

pub use rejection::ApplicationRejection;
pub use state::{App, ApplicationState, Described, covers};

use crate::{
    decider::{AskedOf, Corrupt, Decider, Decision, NoWord, Right},
    rights::may_hand_on,
    text,
};
use quipu_kinds::application::{
    ApplicationCommand, ApplicationEvent, ClientAuthentication, DescribeApplication, GrantType, LinkService, RotateClientSecret,
    StopApplication,
};
use quipu_schemas::{
    context::{Context, Millis},
    limits::{APPLICATION_KEYS_MAX, CLIENT_SECRET_GRACE_MAX_HOURS, REDIRECT_URIS_MAX, TOKEN_SCOPES_MAX},
    role::Role,
};

const HOUR_MS: Millis = 3_600_000;

/// The kind `application`.
pub struct Application;

impl Decider for Application {
    const KIND: &'static str = "application";
    const RULES_VERSION: u32 = 1;
    type State = ApplicationState;
    type Command = ApplicationCommand;
    type Word = NoWord;
    type Event = ApplicationEvent;
    type Rejection = ApplicationRejection;

    fn initial() -> ApplicationState {
        ApplicationState::Missing
    }

    fn decide(
        state: &ApplicationState,
        asked: &AskedOf<Self>,
        context: &Context<'_>,
    ) -> Result<Decision<ApplicationEvent>, ApplicationRejection> {
        let id = &context.stream.id;
        if let ApplicationCommand::Create(create) = asked.command() {
            if state.app().is_some() {
                return Err(ApplicationRejection::Exists(id.clone()));
            }
            check(create)?;
            return Ok(Decision::one(ApplicationEvent::Created(create.clone())));
        }
        let app = match state {
            ApplicationState::Missing => return Err(ApplicationRejection::NotFound(id.clone())),
            // Retiring it twice changes nothing; every other command is refused.
            ApplicationState::Retired { .. } => {
                return match asked.command() {
                    ApplicationCommand::Retire(_) => Ok(Decision::Unchanged),
                    _ => Err(ApplicationRejection::Retired(id.clone())),
                };
            }
            ApplicationState::Active(app) | ApplicationState::Suspended { app, .. } => app,
        };
        let is_suspended = matches!(state, ApplicationState::Suspended { .. });
        match asked.command() {
            ApplicationCommand::Create(_) => Err(ApplicationRejection::Exists(id.clone())),
            ApplicationCommand::Update(update) => decide_update(app, update, context),
            ApplicationCommand::LinkService(link) => decide_link(app, link, context),
            ApplicationCommand::UnlinkService(_) => Ok(match app.service {
                Some(_) => Decision::one(ApplicationEvent::ServiceUnlinked {}),
                None => Decision::Unchanged,
            }),
            ApplicationCommand::RotateSecret(rotate) => decide_rotate(app, rotate, context),
            ApplicationCommand::Suspend(stop) => {
                let reason = reason_of(stop)?;
                Ok(if is_suspended {
                    Decision::Unchanged
                } else {
                    Decision::one(ApplicationEvent::Suspended { reason })
                })
            }
            ApplicationCommand::Resume(_) => Ok(if is_suspended {
                Decision::one(ApplicationEvent::Resumed {})
            } else {
                Decision::Unchanged
            }),
            ApplicationCommand::Retire(stop) => Ok(Decision::one(ApplicationEvent::Retired { reason: reason_of(stop)? })),
        }
    }

    fn evolve(state: ApplicationState, event: &ApplicationEvent) -> Result<ApplicationState, Corrupt> {
        match (state, event) {
            (ApplicationState::Missing, ApplicationEvent::Created(said)) => Ok(ApplicationState::Active(App {
                is: Described::from(said),
                service: None,
                secret: None,
                old_secret: None,
            })),
            (ApplicationState::Active(app), ApplicationEvent::Suspended { reason }) => Ok(ApplicationState::Suspended {
                app,
                reason: reason.clone(),
            }),
            (ApplicationState::Suspended { app, .. }, ApplicationEvent::Resumed {}) => Ok(ApplicationState::Active(app)),
            (ApplicationState::Active(app) | ApplicationState::Suspended { app, .. }, ApplicationEvent::Retired { reason }) => {
                Ok(ApplicationState::Retired {
                    app,
                    reason: reason.clone(),
                })
            }
            (ApplicationState::Active(app), event) => Ok(ApplicationState::Active(changed(app, event)?)),
            (ApplicationState::Suspended { app, reason }, event) => Ok(ApplicationState::Suspended {
                app: changed(app, event)?,
                reason,
            }),
            (state, event) => Err(Corrupt(format!("{event:?} of an application that is {state:?}"))),
        }
    }

    fn right(_command: &str) -> Right {
        Right::Role(Role::Admin)
    }

    fn ignores_suspension(command: &ApplicationCommand) -> bool {
        // What has leaked is stopped whatever became of its org.
        match command {
            ApplicationCommand::Suspend(_) | ApplicationCommand::Retire(_) | ApplicationCommand::UnlinkService(_) => true,
            ApplicationCommand::Create(_)
            | ApplicationCommand::Update(_)
            | ApplicationCommand::LinkService(_)
            | ApplicationCommand::RotateSecret(_)
            | ApplicationCommand::Resume(_) => false,
        }
    }

    fn names_rights(command: &str) -> &'static [&'static str] {
        if ["create", "update"].contains(&command) {
            &["/scopes"]
        } else {
            &[]
        }
    }

    fn mints(command: &str) -> Option<&'static str> {
        (command == "rotate_secret").then_some("hash")
    }
}

/// What an event changes of an application that goes on.
fn changed(app: App, event: &ApplicationEvent) -> Result<App, Corrupt> {
    Ok(match event {
        ApplicationEvent::Updated(said) => {
            let is = Described::from(said);
            // What it no longer shows must not open it again after another change.
            let keeps = shows_secret(is.authentication);
            App {
                is,
                secret: app.secret.filter(|_| keeps),
                old_secret: app.old_secret.filter(|_| keeps),
                ..app
            }
        }
        ApplicationEvent::ServiceLinked { service } => App {
            service: Some(service.clone()),
            ..app
        },
        ApplicationEvent::ServiceUnlinked {} => App { service: None, ..app },
        ApplicationEvent::SecretRotated { hash, old_until } => App {
            old_secret: app.secret.zip(*old_until),
            secret: Some(*hash),
            ..app
        },
        ApplicationEvent::Created(_)
        | ApplicationEvent::Suspended { .. }
        | ApplicationEvent::Resumed {}
        | ApplicationEvent::Retired { .. } => {
            return Err(Corrupt(format!("{event:?} of an application that goes on")));
        }
    })
}

/// Whether a client that authenticates so shows a secret.
fn shows_secret(authentication: ClientAuthentication) -> bool {
    match authentication {
        ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost => true,
        ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt => false,
    }
}

/// Whether a description is one that can be kept to. Each change is checked as a whole, like the first.
fn check(said: &DescribeApplication) -> Result<(), ApplicationRejection> {
    let may = |grant| said.grants.contains(&grant);
    if !text::is_display_name(&said.name) {
        return Err(ApplicationRejection::BadName);
    }
    if said.grants.is_empty() {
        return Err(ApplicationRejection::NoGrants);
    }
    if said.scopes.is_empty() || said.scopes.len() > TOKEN_SCOPES_MAX {
        return Err(ApplicationRejection::BadScopes(said.scopes.len()));
    }
    if said.redirect_uris.len() > REDIRECT_URIS_MAX || said.redirect_uris.is_empty() == may(GrantType::AuthorizationCode) {
        return Err(ApplicationRejection::BadRedirects(said.redirect_uris.len()));
    }
    if let Some(uri) = said.redirect_uris.iter().find(|uri| !uri.has_real_port()) {
        return Err(ApplicationRejection::BadPort(uri.clone()));
    }
    let signs = said.authentication == ClientAuthentication::PrivateKeyJwt;
    if said.keys.is_empty() == signs || said.keys.len() > APPLICATION_KEYS_MAX || !said.keys.iter().all(|key| key.is_whole()) {
        return Err(ApplicationRejection::BadKeys);
    }
    let is_public = said.authentication == ClientAuthentication::None;
    if is_public && (may(GrantType::ClientCredentials) || may(GrantType::TokenExchange)) {
        return Err(ApplicationRejection::Public);
    }
    Ok(())
}

fn decide_update(
    app: &App,
    update: &DescribeApplication,
    context: &Context<'_>,
) -> Result<Decision<ApplicationEvent>, ApplicationRejection> {
    check(update)?;
    let is = Described::from(update);
    if is == app.is {
        return Ok(Decision::Unchanged);
    }
    let opens_otherwise = is.keys != app.is.keys || is.authentication != app.is.authentication || is.scopes != app.is.scopes;
    if app.service.is_some() && opens_otherwise {
        may_hand_on(Role::Owner, context)?;
    }
    Ok(Decision::one(ApplicationEvent::Updated(update.clone())))
}

fn decide_link(app: &App, link: &LinkService, context: &Context<'_>) -> Result<Decision<ApplicationEvent>, ApplicationRejection> {
    may_hand_on(Role::Owner, context)?;
    // People act by themselves, and the platform for nobody.
    if link.service.is_platform() || link.service.is_person() {
        return Err(ApplicationRejection::BadService(link.service.clone()));
    }
    if !app.may(GrantType::ClientCredentials) {
        return Err(ApplicationRejection::NoService);
    }
    Ok(if app.service.as_ref() == Some(&link.service) {
        Decision::Unchanged
    } else {
        Decision::one(ApplicationEvent::ServiceLinked {
            service: link.service.clone(),
        })
    })
}

fn decide_rotate(
    app: &App,
    rotate: &RotateClientSecret,
    context: &Context<'_>,
) -> Result<Decision<ApplicationEvent>, ApplicationRejection> {
    // The answer of a dispatch goes to nobody who could keep it, and its command did not come in where secrets are made.
    if context.authority.dispatched_by.is_some() {
        return Err(ApplicationRejection::Unseen);
    }
    if app.service.is_some() {
        may_hand_on(Role::Owner, context)?;
    }
    if !shows_secret(app.is.authentication) {
        return Err(ApplicationRejection::NoSecret);
    }
    let grace_hours = rotate.grace_hours.unwrap_or_default();
    if grace_hours > CLIENT_SECRET_GRACE_MAX_HOURS {
        return Err(ApplicationRejection::BadGrace);
    }
    let until = context.now.saturating_add(Millis::from(grace_hours) * HOUR_MS);
    Ok(Decision::one(ApplicationEvent::SecretRotated {
        hash: rotate.hash.ok_or(ApplicationRejection::Unseen)?,
        old_until: (grace_hours > 0 && app.secret.is_some()).then_some(until),
    }))
}

fn reason_of(stop: &StopApplication) -> Result<String, ApplicationRejection> {
    if text::is_reason(&stop.reason) {
        Ok(stop.reason.clone())
    } else {
        Err(ApplicationRejection::BadReason)
    }
}

#[cfg(test)]
mod tests;
