//! The right to a command: its actor's, cut by the credential that was shown and by whoever sent it for the actor.

use super::{Admission, Question, actor};
use crate::kernel::{
    principals::{KnownPrincipal, KnownSession},
    refusals::{application_suspended, credential_ended, credential_revoked, missing_right, no_access, project_archived, stopped},
    rights::ActorRights,
};
use quipu_rules::{
    application::ApplicationState,
    decider::{Refusal, Right},
    rights::{Asked, Cap, Chain, Charter, CommandRight, Lacking, Rights, known_rights},
};
use quipu_schemas::{
    envelope::{CommandBody, CommandEnvelope},
    ids::{EntityId, Home, PrincipalId},
    limits::SESSION_ACTORS_MAX,
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

/// What cuts a command besides the rights of its actor.
#[derive(Default)]
struct Cut<'a> {
    /// Of the credential, and of those that it was made from.
    scopes: Vec<&'a Rights>,
    /// Of whoever acts by it.
    actors: Vec<&'a Rights>,
}

/// To speak for others.
const ACT_AS: Capability = Capability::named("principal.act_as");

pub(super) fn name(command: &CommandEnvelope) -> &str {
    match &command.body {
        CommandBody::Given { command, .. } => command.0.as_object().and_then(|map| map.keys().next()).map_or("", String::as_str),
        CommandBody::Kernel(_) | CommandBody::Told { .. } => "",
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

/// Why a command names a right that the node does not know, where it does.
pub(super) fn unknown(command: &CommandEnvelope, charter: &Charter) -> Option<Problem> {
    let CommandBody::Given { command: given, .. } = &command.body else {
        return None;
    };
    let (name, body) = given.0.as_object()?.iter().next()?;
    let known = known_rights(charter, &command.stream.kind, name, body);
    known.err().map(|unknown| unknown.problem())
}

/// Whether a command is the platform's own: the kernel's, a node's word, or of the holder of the node's token, who speaks for nobody.
pub(super) fn is_platform(command: &CommandEnvelope) -> bool {
    matches!(command.body, CommandBody::Kernel(_) | CommandBody::Told { .. }) || (is_by_token(command) && command.on_behalf_of.is_none())
}

/// Whether the node's own token was shown, for whomever.
pub(super) fn is_by_token(command: &CommandEnvelope) -> bool {
    command.principal == PrincipalId::BOOTSTRAP && command.credential.is_none()
}

impl Admission {
    fn asked(&self, cap: Cap) -> Asked<'_> {
        let stream = &self.command.stream;
        Asked {
            cap,
            entity: Some((&stream.kind, &stream.id)),
            application: self.belongs.application.as_ref(),
            project: self.belongs.project.as_ref(),
            now: self.now,
        }
    }

    /// The same for the project into which the command brings the entity: what is held on the entity alone does not count there.
    fn asked_there(&self, cap: Cap) -> Option<Asked<'_>> {
        let into = self.belongs.into.as_ref()?;
        Some(Asked {
            cap,
            entity: None,
            application: None,
            project: Some(into),
            now: self.now,
        })
    }

    /// Whether the actor's own rights hold what the command takes.
    pub(super) fn is_permitted(&self, actor: &ActorRights) -> bool {
        match self.takes {
            Takes::Right(right, _) => {
                let asked = [Some(self.asked(right.cap)), self.asked_there(right.cap)];
                asked.into_iter().flatten().all(|asked| actor.rights.holds(&asked))
            }
            Takes::Nothing | Takes::Unknown => false,
        }
    }

    /// Whether everybody of the chain may manage entities of the kind, where that is a right of its own.
    pub(super) fn manages(&self, actor: &ActorRights) -> bool {
        let Takes::Right(CommandRight { manage: Some(cap), .. }, _) = self.takes else {
            return false;
        };
        let (Ok(cut), Ok(sender)) = (self.shown(), self.sent_by()) else {
            return false;
        };
        let others = cut.scopes.into_iter().chain(cut.actors).chain(sender.map(|sender| &sender.rights));
        let asked = self.asked(cap);
        others.chain([&actor.rights]).all(|rights| rights.holds(&asked))
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
        self.nobody_stopped()?;
        let cut = self.shown()?;
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
                sender.rights.holds(&asked) && cut.scopes.iter().all(|scope| scope.holds(&asked))
            });
            if !may {
                return Err(refuse(Lacking::Actor(0), &ACT_AS));
            }
        }
        // Where the rules decide what the actor may, the credential and whoever speaks for the actor are asked all the same.
        let actors: Vec<&Rights> = sender.map(|sender| &sender.rights).into_iter().chain(cut.actors).collect();
        let permits = |principal: &Rights, cap: Cap, capability: &Capability| {
            let chain = Chain {
                principal,
                scope: cut.scopes.first().copied(),
                actors: &actors,
            };
            for asked in [Some(self.asked(cap)), self.asked_there(cap)].into_iter().flatten() {
                chain.permits(&asked).map_err(|lacking| refuse(lacking, capability))?;
                // Of a session that was made from another one, that one's scope counts too.
                if !cut.scopes.iter().skip(1).all(|scope| scope.holds(&asked)) {
                    return Err(refuse(Lacking::Scope, capability));
                }
            }
            Ok(())
        };
        let principal = match right.right {
            Right::Role(_) => &actor_rights.rights,
            Right::Rules => &Rights::All,
        };
        let capability = Capability::of_command(&command.stream.kind, name(command));
        permits(principal, right.cap, &capability)?;
        self.gates(actor_rights, right.cap, &capability)?;
        // In whose name an entity acts is asked for when it is named, and again with everything that it sends.
        if !right.names_actor.is_some_and(|field| names_another(command, field)) {
            return Ok(());
        }
        match act_as {
            Some(cap) => permits(&actor_rights.rights, cap, &ACT_AS),
            None => Err(refuse(Lacking::Principal, &ACT_AS)),
        }
    }

    /// What holds for everybody, whatever they may: rights that are named are known, and nothing is brought into a project that has ended.
    pub(super) fn fits(&self) -> Result<(), Held> {
        if let Some(problem) = &self.unknown {
            return Err(Held::not(problem.clone()));
        }
        let Some(into) = &self.belongs.into else { return Ok(()) };
        match self.is_archived {
            None => Err(Held::Unknown(Question::Project(into.clone()))),
            Some(true) => Err(Held::not(project_archived(into))),
            Some(false) => Ok(()),
        }
    }

    /// What is known of a principal.
    pub(super) fn known(&self, home: &Home) -> Result<Option<&KnownPrincipal>, Held> {
        let known = self.principals.iter().find(|(of, _)| of == home);
        let (_, known) = known.ok_or_else(|| Held::Unknown(Question::Principal(home.clone())))?;
        Ok(known.as_deref())
    }

    /// Whoever acts, and whoever sends it for them, are not stopped, and of this org. Of a name that no principal has nothing is known.
    fn nobody_stopped(&self) -> Result<(), Held> {
        let command = &*self.command;
        for who in [actor(command), &command.principal] {
            if !who.is_platform() {
                self.not_stopped(&command.home_of(who))?;
            }
        }
        // Whoever is of another org holds nothing here, whatever their namesake of this one holds.
        if command.foreign_home().is_some() {
            return Err(Held::not(no_access()));
        }
        Ok(())
    }

    fn not_stopped(&self, home: &Home) -> Result<(), Held> {
        match self.known(home)?.and_then(stopped) {
            Some(problem) => Err(Held::not(problem)),
            None => Ok(()),
        }
    }

    /// What the credential that was shown cuts the command to, where one was and it is still valid.
    fn shown(&self) -> Result<Cut<'_>, Held> {
        let command = &*self.command;
        let Some(credential) = &command.credential else {
            return Ok(Cut::default());
        };
        // A key acts in its own org and nowhere else, by whatever it sets in motion; so does a session of whoever is of one org.
        let is_foreign = |settles: &quipu_schemas::reaction::ReactionKey| settles.stream.org != command.stream.org;
        let is_bound = credential.session().is_none() || !command.principal.is_person();
        if is_bound && super::settles(&command.body).is_some_and(is_foreign) {
            return Err(Held::not(no_access()));
        }
        if credential.session().is_some() {
            return self.session_cut();
        }
        let Some(id) = credential.api_key() else {
            return Err(Held::not(credential_ended()));
        };
        match &self.key {
            None => Err(Held::Unknown(Question::Key(id.clone()))),
            Some(Some(key)) if key.ends_what_it_caused() => Err(Held::not(credential_revoked())),
            Some(Some(key)) if key.principal == command.principal && !key.has_ended(self.now) => Ok(Cut {
                scopes: vec![&key.scope],
                actors: Vec::new(),
            }),
            Some(_) => Err(Held::not(credential_ended())),
        }
    }

    /// The session that was shown, where one was; an error where it has ended.
    pub(super) fn shown_session(&self) -> Result<Option<&KnownSession>, Held> {
        let command = &*self.command;
        let Some(id) = super::Admission::session(command) else {
            return Ok(None);
        };
        self.live(&command.home_of(&command.principal), id).map(Some)
    }

    fn live(&self, home: &Home, id: &EntityId) -> Result<&KnownSession, Held> {
        self.not_stopped(home)?;
        let session = self.known(home)?.and_then(|known| known.session(id, self.now));
        let session = session.ok_or_else(|| Held::not(credential_ended()))?;
        self.client_permits(home, session)?;
        Ok(session)
    }

    /// A session opens as much as each of those that it was made from, and as whoever acts by it may in this org.
    fn session_cut(&self) -> Result<Cut<'_>, Held> {
        let mut cut = Cut::default();
        let mut next = self.shown_session()?;
        while let Some(session) = next {
            // Those that are made of each other are never so many; what is not, opens nothing.
            if cut.scopes.len() > SESSION_ACTORS_MAX {
                return Err(Held::not(credential_ended()));
            }
            cut.scopes.push(&session.scope);
            for home in &session.act {
                self.not_stopped(home)?;
                if !home.acts_in(&self.command.stream.org) {
                    return Err(Held::not(no_access()));
                }
                cut.actors.push(&self.rights_of(&home.id)?.rights);
            }
            next = match &session.parent {
                Some(parent) => Some(self.live(&parent.home, &parent.session)?),
                None => None,
            };
        }
        Ok(cut)
    }

    /// The client of an org that began a session is not stopped, and may still ask for all that the session is cut to. Other names are
    /// those of programs that no org knows.
    fn client_permits(&self, home: &Home, session: &KnownSession) -> Result<(), Held> {
        let Some(client) = session.org_client() else {
            return Ok(());
        };
        let known = self.applications.iter().find(|(of, _)| *of == client);
        let (_, known) = known.ok_or_else(|| Held::Unknown(Question::Application(client.clone())))?;
        match known {
            Some(ApplicationState::Suspended { .. }) => Err(Held::not(application_suspended(&client))),
            Some(state) if session.is_permitted_by(home, &client, state) => Ok(()),
            _ => Err(Held::not(credential_ended())),
        }
    }

    /// What the org says of somebody else than the actor.
    fn rights_of(&self, principal: &PrincipalId) -> Result<&ActorRights, Held> {
        let known = self.senders.iter().find(|(of, _)| of == principal);
        let (_, rights) = known.ok_or_else(|| Held::Unknown(Question::Sender(principal.clone())))?;
        Ok(rights)
    }

    /// Who sent the command for its actor, where that was somebody else than the holder of the node's token.
    fn sent_by(&self) -> Result<Option<&ActorRights>, Held> {
        let command = &*self.command;
        if command.on_behalf_of.is_none() || is_by_token(command) || actor(command) == &command.principal {
            return Ok(None);
        }
        self.rights_of(&command.principal).map(Some)
    }
}

impl Held {
    pub(super) fn not(problem: Problem) -> Self {
        Self::Not(Box::new(problem))
    }
}
