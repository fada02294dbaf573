//! The right to a command: its actor's, cut by the credential that was shown and by whoever sent it for the actor.

use super::{Admission, Question, actor};
use crate::kernel::{
    refusals::{credential_ended, missing_right, no_access},
    rights::{ActorRights, KnownKey},
};
use quipu_rules::{
    decider::Right,
    rights::{Asked, Cap, Chain, Charter, CommandRight, Lacking, Rights},
};
use quipu_schemas::{
    envelope::{CommandBody, CommandEnvelope},
    ids::PrincipalId,
    problem::Problem,
    rights::Capability,
};

/// What a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing: the kernel says it, or another entity does in words that no client may send.
    Nothing,
    /// A right, and that of speaking for others.
    Right(CommandRight, Option<Cap>),
    /// No kind has such a command: nobody holds a right to it.
    Unknown,
}

/// Why a command is not permitted (yet).
pub(super) enum Held {
    /// This has to be looked up first.
    Unknown(Question),
    /// Somebody of its chain does not hold the right.
    Not(Box<Problem>),
}

/// To speak for others.
const ACT_AS: Capability = Capability::named("principal.act_as");

fn name(command: &CommandEnvelope) -> &str {
    match &command.body {
        CommandBody::Given { command, .. } => command.0.as_object().and_then(|map| map.keys().next()).map_or("", String::as_str),
        CommandBody::Kernel(_) => "",
    }
}

/// Whether a command names somebody else than its actor in this field.
fn names_another(command: &CommandEnvelope, field: &str) -> bool {
    let CommandBody::Given { command: given, .. } = &command.body else {
        return false;
    };
    let named = given.0.get(name(command)).and_then(|body| body.get(field));
    named.is_some_and(|named| !named.is_null() && named.as_str() != Some(actor(command).as_str()))
}

impl Takes {
    pub(super) fn of(command: &CommandEnvelope, charter: &Charter) -> Self {
        let CommandBody::Given { settles, .. } = &command.body else {
            return Self::Nothing;
        };
        match charter.command(&command.stream.kind, name(command)) {
            Some(right) => Self::Right(right, charter.catalogue().cap(&ACT_AS)),
            // Words and commands never share a name, and only a dispatch is read as a word.
            None if settles.is_some() => Self::Nothing,
            None => Self::Unknown,
        }
    }
}

/// Whether a command is the platform's own: the kernel's, or of the holder of the node's token, who speaks for nobody.
pub(super) fn is_platform(command: &CommandEnvelope) -> bool {
    matches!(command.body, CommandBody::Kernel(_)) || (is_by_token(command) && command.on_behalf_of.is_none())
}

/// Whether the node's own token was shown, for whomever.
fn is_by_token(command: &CommandEnvelope) -> bool {
    command.principal == PrincipalId::BOOTSTRAP && command.credential.is_none()
}

impl Admission {
    fn asked(&self, cap: Cap) -> Asked<'_> {
        let stream = &self.command.stream;
        Asked {
            cap,
            entity: Some((&stream.kind, &stream.id)),
            application: None,
            project: None,
            now: self.now,
        }
    }

    /// Whether the actor's own rights hold what the command takes.
    pub(super) fn is_permitted(&self, actor: &ActorRights) -> bool {
        match self.takes {
            Takes::Right(right, _) => actor.rights.holds(&self.asked(right.cap)),
            Takes::Nothing | Takes::Unknown => false,
        }
    }

    /// Whether it came by a key that opens less than its principal may.
    pub(super) fn is_narrowed(&self) -> bool {
        matches!(&self.key, Some(Some(key)) if key.is_narrow())
    }

    /// Whether the command may be put to its rules.
    pub(super) fn lacking(&self, actor_rights: &ActorRights) -> Result<(), Held> {
        let command = &*self.command;
        let (right, act_as) = match self.takes {
            Takes::Nothing => return Ok(()),
            Takes::Right(..) | Takes::Unknown if is_platform(command) => return Ok(()),
            Takes::Right(right, act_as) => (right, act_as),
            Takes::Unknown => {
                let capability = Capability::of_command(&command.stream.kind, name(command));
                return Err(Held::not(missing_right(&capability, Lacking::Principal)));
            }
        };
        let key = self.shown()?;
        let scope = key.map(|key| &key.scope);
        let sender = self.sent_by()?;
        let refuse = |lacking, capability: &Capability| {
            let is_known = match lacking {
                Lacking::Principal => actor_rights.is_known,
                Lacking::Scope => true,
                Lacking::Actor(_) => sender.is_none_or(|sender| sender.is_known),
            };
            Held::not(if is_known {
                missing_right(capability, lacking)
            } else {
                no_access()
            })
        };
        if let Some(sender) = sender {
            let may = act_as.is_some_and(|cap| {
                let asked = self.asked(cap);
                sender.rights.holds(&asked) && scope.is_none_or(|scope| scope.holds(&asked))
            });
            if !may {
                return Err(refuse(Lacking::Actor(0), &ACT_AS));
            }
        }
        // Where the rules decide what the actor may, the credential and whoever speaks for the actor are asked all the same.
        let actors = sender.map(|sender| [&sender.rights]);
        let chain = |principal| Chain {
            principal,
            scope,
            actors: actors.as_ref().map_or(&[], |actors| &actors[..]),
        };
        let own = match right.right {
            Right::Role(_) => chain(&actor_rights.rights),
            Right::Rules => chain(&Rights::All),
        };
        own.permits(&self.asked(right.cap)).map_err(|lacking| {
            let capability = Capability::of_command(&command.stream.kind, name(command));
            refuse(lacking, &capability)
        })?;
        // In whose name an entity acts is asked for when it is named, and again with everything that it sends.
        if !right.names_actor.is_some_and(|field| names_another(command, field)) {
            return Ok(());
        }
        match act_as {
            Some(cap) => {
                let named = chain(&actor_rights.rights).permits(&self.asked(cap));
                named.map_err(|lacking| refuse(lacking, &ACT_AS))
            }
            None => Err(refuse(Lacking::Principal, &ACT_AS)),
        }
    }

    /// The key that was shown, where one was and it is still valid.
    fn shown(&self) -> Result<Option<&KnownKey>, Held> {
        let command = &*self.command;
        let Some(credential) = &command.credential else {
            return Ok(None);
        };
        // A key acts in its own org and nowhere else, by whatever it sets in motion.
        let is_foreign = |settles: &quipu_schemas::reaction::ReactionKey| settles.stream.org != command.stream.org;
        if super::settles(&command.body).is_some_and(is_foreign) {
            return Err(Held::not(no_access()));
        }
        let Some(id) = credential.api_key() else {
            return Err(Held::not(credential_ended()));
        };
        match &self.key {
            None => Err(Held::Unknown(Question::Key(id.clone()))),
            Some(Some(key)) if key.principal == command.principal && !key.has_ended(self.now) => Ok(Some(key)),
            Some(_) => Err(Held::not(credential_ended())),
        }
    }

    /// Who sent the command for its actor, where that was somebody else than the holder of the node's token.
    fn sent_by(&self) -> Result<Option<&ActorRights>, Held> {
        let command = &*self.command;
        if command.on_behalf_of.is_none() || is_by_token(command) || actor(command) == &command.principal {
            return Ok(None);
        }
        match &self.sender {
            None => Err(Held::Unknown(Question::Sender(command.principal.clone()))),
            Some(sender) => Ok(Some(sender)),
        }
    }
}

impl Held {
    fn not(problem: Problem) -> Self {
        Self::Not(Box::new(problem))
    }
}
