//! Whoever was asked into an org joins: by the code of the letter, and as who they are or by an account that they get.

use super::{Node, codes::ShownCode};
use crate::{
    accounts::{LogIn, Password, Register, WhoLogsIn, addresses::Normal},
    api::CommandRequest,
    off_worker::off_worker,
};
use quipu_kinds::principal::Address;
use quipu_rules::{
    decider::Refusal,
    invite::{Invitation, Invite, InviteRejection},
    org::OrgRejection,
};
use quipu_schemas::{
    envelope::DataClass,
    ids::{CommandId, EntityId, Home, Kind, OrgId, PrincipalId, StreamId},
    mail::{MailCode, MailPurpose},
    personal::Opened,
    problem::Problem,
    role::Role,
};
use serde_json::json;
use std::net::IpAddr;

/// Who shows the code of an invite.
#[derive(Debug, Clone)]
pub enum Joins {
    /// Somebody who is logged in: they have the address of the invite.
    As(Home),
    /// Whoever has the account of that address, or gets it.
    ByPassword {
        /// Their password; that of a new account where there is none.
        password: Password,
        /// The code that follows from the time, or a recovery code.
        code: Option<Password>,
        /// What they are called, for a new account.
        name: Option<String>,
        /// Whether accounts are made for who is invited.
        may_register: bool,
    },
}

/// Somebody who joins an org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who.
    pub home: Home,
    /// The org.
    pub org: OrgId,
    /// The role that they were asked for.
    pub role: Role,
}

/// The one thing that an invite asks of its entity.
const ASK: EntityId = EntityId::from_static("letter");

impl Node {
    /// Has whoever shows the code of an invite join its org. Whether they do is decided by what whoever asked them may by then, and told
    /// by the invite.
    pub async fn accept_invite(&self, code: &str, who: Joins, from: Option<IpAddr>) -> Result<Joined, Problem> {
        let code = self.authentic(code, MailPurpose::Invite, from)?;
        let stream = StreamId::new(code.org.clone(), Kind::INVITE, code.id.clone());
        let state = off_worker(|| self.0.core.followed_state::<Invite>(&stream))?;
        let (invitation, member) = match (state.open_at(self.now()), state.invitation().zip(state.member())) {
            (Some(invitation), _) => (invitation, None),
            (None, Some((invitation, member))) => (invitation, Some(member)),
            (None, None) => return Err(over(&stream)),
        };
        let address = match invitation.address.open(&*self.0.core.keys).map_err(|e| e.problem())? {
            Opened::Value(address) => address,
            Opened::Erased => return Err(over(&stream)),
        };
        let normal = Normal::parse(&address)?;
        let joined = |home: Home| Joined {
            home,
            org: stream.org.clone(),
            role: invitation.role,
        };
        if let Some(member) = member {
            // Whoever accepted it says so again, and is told the same; nobody else, and no account is made for it.
            let home = self.who_joins(who, &address, &normal, from, false).await.map_err(|problem| {
                match (problem.status, problem.code.as_str()) {
                    (401, "totp_required") => problem,
                    (401 | 403, _) => over(&stream),
                    _ => problem,
                }
            })?;
            return if home.id == *member { Ok(joined(home)) } else { Err(over(&stream)) };
        }
        // Before an account is made for an org that takes nobody.
        if self.0.core.org(&stream.org)?.suspended {
            return Err(OrgRejection::Suspended(stream.org.clone()).problem());
        }
        let home = self.who_joins(who, &address, &normal, from, true).await?;
        self.verify_by_letter(&home, &normal).await?;
        self.join(&stream, &home).await?;
        Ok(joined(home))
    }

    /// Who shows the code: somebody who has the address, by the account of it, or by one that is made.
    async fn who_joins(&self, who: Joins, address: &str, normal: &Normal, from: Option<IpAddr>, may_make: bool) -> Result<Home, Problem> {
        let (password, code, name, may_register) = match who {
            Joins::As(home) => {
                self.has_address(&home, normal)?;
                return Ok(home);
            }
            Joins::ByPassword {
                password,
                code,
                name,
                may_register,
            } => (password, code, name, may_register && may_make),
        };
        let holder = || off_worker(|| self.0.core.addresses(|known| known.holder(normal).cloned()));
        let log_in = async |home: Home, password: Password| {
            let who = WhoLogsIn::Person(home);
            let login = LogIn { who, password, code, from };
            Ok(self.log_in(login).await?.home)
        };
        match holder()? {
            Some(home) => log_in(home, password).await,
            None if may_register => {
                let (address, given) = (Some(address.to_owned()), Some(password.clone()));
                let registered = self
                    .register(Register {
                        name,
                        address,
                        password: given,
                    })
                    .await;
                match (registered, holder()?) {
                    // They accepted it twice at once: the account that the other made is theirs.
                    (Err(problem), Some(home)) if problem.code == "address_taken" => log_in(home, password).await,
                    (registered, _) => registered,
                }
            }
            None => Err(closed()),
        }
    }

    /// The code of an invite, for whoever operates the node to hand on.
    pub fn show_invite(&self, org: &OrgId, id: &EntityId) -> Result<ShownCode, Problem> {
        self.invitation(&StreamId::new(org.clone(), Kind::INVITE, id.clone()))?;
        let keys = self.0.core.keys.digest_key();
        Ok(self.shown(&MailCode::of(MailPurpose::Invite, org.clone(), id.clone(), ASK, &keys)))
    }

    fn invitation(&self, stream: &StreamId) -> Result<Invitation, Problem> {
        let state = off_worker(|| self.0.core.followed_state::<Invite>(stream))?;
        state.open_at(self.now()).cloned().ok_or_else(|| over(stream))
    }

    /// Whoever is logged in has the address that the letter went to. Where it was sent by nobody, only an address that was verified counts.
    fn has_address(&self, home: &Home, wanted: &Normal) -> Result<(), Problem> {
        let found = self.address_like(home, wanted)?;
        if found.is_some_and(|address| address.verified || self.has_mail()) {
            return Ok(());
        }
        Err(
            Problem::new(403, "other_address", "the invite is for another address than those of this account")
                .fix("log in with the account of that address"),
        )
    }

    fn address_like(&self, home: &Home, wanted: &Normal) -> Result<Option<Address>, Problem> {
        for address in self.person(home)?.addresses {
            if Normal::of(&self.opened(&address.address)?).as_ref() == Some(wanted) {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// Whoever shows the code of a letter has its address.
    async fn verify_by_letter(&self, home: &Home, wanted: &Normal) -> Result<(), Problem> {
        let found = self.address_like(home, wanted)?.filter(|address| !address.verified);
        match found.filter(|_| self.has_mail()) {
            Some(address) => self.verify_address(home, &address.id).await,
            None => Ok(()),
        }
    }

    /// Says it in the node's own name: whoever joins is nobody in the org yet.
    async fn join(&self, stream: &StreamId, home: &Home) -> Result<(), Problem> {
        let request = CommandRequest {
            org: stream.org.clone(),
            kind: Kind::INVITE,
            id: Some(stream.id.clone()),
            command: "accept".to_owned(),
            body: json!({ "member": home.id }),
            // An org may ask for one.
            command_id: CommandId::parse(self.minted("cmd")?).ok(),
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            credential: None,
            expected_version: None,
            environment: None,
            data_class: DataClass::None,
            correlation: None,
            traceparent: None,
        };
        self.command(request).await.map(|_| ())
    }
}

fn over(stream: &StreamId) -> Problem {
    InviteRejection::Over(stream.id.clone()).problem()
}

fn closed() -> Problem {
    Problem::new(403, "registration_closed", "nobody registers here by themselves").fix("ask whoever operates this node to register you")
}
