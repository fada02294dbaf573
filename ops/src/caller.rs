//! Who asks, and what they may reach: no face gets at what a node holds without one of these.
//!
//! A face makes a [`Caller`] of a credential that it has checked. From a caller, and from nothing else, comes the leave to reach an
//! org ([`InOrg`]), to operate the node ([`Operator`]) and to speak as another node ([`Peer`]). The app opens what it holds to
//! those alone, so a handler that has not asked does not compile.

use quipu_runtime::{
    holder::{HeldOn, Holder},
    kernel::refusals::no_access,
    node::Account,
};
use quipu_schemas::{
    context::Millis,
    ids::{CredentialId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    problem::Problem,
    rights::Capability,
};
use std::sync::Arc;

/// What a caller has shown.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The node's token.
    Token,
    /// A key or a session, and what it opens in an org.
    Key(Arc<Holder>),
    /// A session, where no org is asked for.
    Account(Arc<Account>),
    /// A session of an operator, who makes an org.
    Founder(Arc<Account>, OrgId),
    /// The secret of the cluster.
    Cluster,
    /// Leave of the bus, whose broker says who may publish.
    Bus,
    /// Nothing, where nothing is asked for.
    Nothing,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    credential: Credential,
    principal: Option<PrincipalId>,
    /// When what was shown ends by itself, where it says so.
    until: Option<Millis>,
}

impl Caller {
    /// Whoever has shown this. Only who has checked a credential calls this.
    pub(crate) fn with(credential: Credential) -> Self {
        let principal = match &credential {
            Credential::Token | Credential::Bus => Some(PrincipalId::BOOTSTRAP),
            Credential::Key(holder) => Some(holder.principal().clone()),
            Credential::Account(account) => Some(account.home.id.clone()),
            // Nobody has a right in an org that is not there: the node itself makes it for them.
            Credential::Founder(..) => Some(PrincipalId::BOOTSTRAP),
            Credential::Cluster | Credential::Nothing => None,
        };
        Self {
            credential,
            principal,
            until: None,
        }
    }

    /// Whoever may publish on the bus: as this principal of the org that a message names, or as whom the message says.
    pub(crate) fn over_bus(principal: Option<PrincipalId>) -> Self {
        let over_bus = Self::with(Credential::Bus);
        Self {
            principal: principal.or(over_bus.principal),
            ..over_bus
        }
    }

    /// The same, until then.
    pub(crate) fn until(self, until: Option<Millis>) -> Self {
        Self { until, ..self }
    }

    /// When what was shown ends by itself, where it says so.
    pub fn ends_at(&self) -> Option<Millis> {
        self.until
    }

    /// For whom they act, where that is not for them to say.
    pub fn for_whom(&self) -> Option<&PrincipalId> {
        match &self.credential {
            Credential::Founder(account, _) => Some(&account.home.id),
            _ => None,
        }
    }

    /// What they have shown.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What they have shown, where it is an entity of an org.
    pub fn credential_id(&self) -> Option<CredentialId> {
        Some(self.holder()?.credential().clone())
    }

    /// As whom they act, unless they say that it is on behalf of somebody.
    pub fn principal(&self) -> Result<&PrincipalId, Problem> {
        self.principal.as_ref().ok_or_else(nobody)
    }

    /// What a key opens, where one was shown.
    pub fn holder(&self) -> Option<&Holder> {
        match &self.credential {
            Credential::Key(holder) => Some(holder),
            Credential::Account(_)
            | Credential::Founder(..)
            | Credential::Token
            | Credential::Cluster
            | Credential::Bus
            | Credential::Nothing => None,
        }
    }
}

/// Leave to reach one org.
#[derive(Debug, Clone)]
pub struct InOrg {
    org: OrgId,
    caller: Caller,
}

impl InOrg {
    /// Decides whether a caller may reach an org: by the node's token and by the bus every one, by a key its own, by a
    /// session the one that it was looked up for.
    pub fn admit(caller: &Caller, org: OrgId) -> Result<Self, Problem> {
        match caller.credential() {
            Credential::Token | Credential::Bus => {}
            Credential::Key(holder) if *holder.org() == org => {}
            Credential::Founder(_, made) if *made == org => {}
            Credential::Key(_) | Credential::Account(_) | Credential::Founder(..) => return Err(no_access()),
            Credential::Cluster | Credential::Nothing => return Err(nobody()),
        }
        Ok(Self {
            org,
            caller: caller.clone(),
        })
    }

    /// The org.
    pub fn org(&self) -> &OrgId {
        &self.org
    }

    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The stream of one of its entities.
    pub fn stream(&self, kind: Kind, id: EntityId) -> StreamId {
        StreamId::new(self.org.clone(), kind, id)
    }

    /// Whether everything of the org is open: nothing needs asking then.
    pub fn is_unbounded(&self) -> bool {
        matches!(self.caller.credential(), Credential::Token | Credential::Bus)
    }

    /// Whether a right is held now: on one entity, or on the whole org. The node's token holds each.
    pub fn holds(&self, right: &Capability, on: Option<(&Kind, &EntityId)>, now: Millis) -> bool {
        self.is_unbounded() || self.caller.holder().is_some_and(|holder| holder.holds(right, on, now))
    }

    /// Whether a right is held now on an entity that belongs to a project.
    pub fn holds_within(&self, right: &Capability, on: (&Kind, &EntityId), project: &EntityId, now: Millis) -> bool {
        self.is_unbounded()
            || self
                .caller
                .holder()
                .is_some_and(|holder| holder.holds_within(right, on, project, now))
    }

    /// On which parts of the org a right is held now, for whoever does not hold it on the whole.
    pub fn held_on(&self, right: &Capability, kind: &Kind, now: Millis) -> HeldOn {
        let holder = self.caller.holder();
        holder.map(|holder| holder.held_on(right, kind, now)).unwrap_or_default()
    }

    /// The same; whoever does not hold it is told which it is.
    pub fn ask(&self, right: &Capability, on: Option<(&Kind, &EntityId)>, now: Millis) -> Result<(), Problem> {
        match self.caller.holder() {
            Some(holder) => holder.ask(right, on, now),
            None if self.is_unbounded() => Ok(()),
            None => Err(nobody()),
        }
    }
}

/// Leave to operate the node, whose orgs are all open to it.
#[derive(Debug, Clone)]
pub struct Operator(Caller);

impl Operator {
    /// Decides whether a caller may operate the node: whoever has its token may, and operators by a session that is not cut.
    pub fn admit(caller: &Caller) -> Result<Self, Problem> {
        match caller.credential() {
            Credential::Token => Ok(Self(caller.clone())),
            Credential::Account(account) if account.is_operator => Ok(Self(caller.clone())),
            Credential::Key(_) | Credential::Account(_) | Credential::Founder(..) => Err(no_access()),
            Credential::Cluster | Credential::Bus | Credential::Nothing => Err(nobody()),
        }
    }

    /// Who operates.
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

/// The key that a node has proved to have: of requests on a connection between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeKeyShown(pub Arc<[u8]>);

/// Leave to speak as another node.
#[derive(Debug, Clone)]
pub struct Peer(());

impl Peer {
    /// Decides whether a caller may: whoever has the cluster's secret may, and the key of a node where those are asked for.
    pub fn admit(caller: &Caller) -> Result<Self, Problem> {
        match caller.credential() {
            Credential::Cluster => Ok(Self(())),
            Credential::Token
            | Credential::Key(_)
            | Credential::Account(_)
            | Credential::Founder(..)
            | Credential::Bus
            | Credential::Nothing => Err(nobody()),
        }
    }
}

/// Leave to see and change what is a principal's own.
#[derive(Debug, Clone)]
pub struct Own(Arc<Account>);

impl Own {
    /// Decides whether a caller has an account: whoever has shown a session.
    pub fn admit(caller: &Caller) -> Result<Self, Problem> {
        match caller.credential() {
            Credential::Account(account) => Ok(Self(account.clone())),
            Credential::Token => Err(Problem::new(403, "no_account", "the node's token is nobody's account")
                .field("Authorization")
                .fix("log in: POST /v1/auth/login, or `quipu login`")),
            Credential::Key(_) | Credential::Founder(..) => Err(no_access()),
            Credential::Cluster | Credential::Bus | Credential::Nothing => Err(nobody()),
        }
    }

    /// Whose it is, by which session.
    pub fn account(&self) -> &Account {
        &self.0
    }

    /// Refuses a session that was given to somebody else, or for less than everything: what opens an account is not for those.
    pub fn whole(&self) -> Result<&Account, Problem> {
        if self.0.is_cut {
            let detail = "this session is cut to a scope, or used by somebody for its principal: it changes nothing of the account";
            return Err(Problem::new(403, "session_cut", detail).fix("log in by yourself"));
        }
        Ok(&self.0)
    }
}

fn nobody() -> Problem {
    Problem::new(401, "unauthenticated", "what was shown opens nothing here").fix("send the credential that this surface asks for")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ada of `acme` by a key, who holds this.
    fn holder(capability: &str) -> Credential {
        let ada = PrincipalId::from_static("ada");
        let key = "api-key/key_1".parse().unwrap();
        Credential::Key(Arc::new(Holder::of(
            OrgId::from_static("acme"),
            key,
            ada,
            [capability.parse().unwrap()],
        )))
    }

    #[test]
    fn each_credential_opens_its_own_and_nothing_else() {
        let org = || OrgId::parse("acme").unwrap();
        let key = holder("cap:run.read");
        for (credential, reads, operates, is_peer) in [
            (Credential::Token, true, true, false),
            (key.clone(), true, false, false),
            (Credential::Bus, true, false, false),
            (Credential::Cluster, false, false, true),
            (Credential::Nothing, false, false, false),
        ] {
            let caller = Caller::with(credential.clone());
            assert_eq!(InOrg::admit(&caller, org()).is_ok(), reads, "{credential:?}");
            assert_eq!(Operator::admit(&caller).is_ok(), operates, "{credential:?}");
            assert_eq!(Peer::admit(&caller).is_ok(), is_peer, "{credential:?}");
            assert_eq!(caller.principal().is_ok(), reads, "{credential:?}");
        }
        let refused = Operator::admit(&Caller::with(Credential::Cluster)).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (401, "unauthenticated"));
    }

    #[test]
    fn a_key_reaches_its_own_org_and_is_told_nothing_of_others() {
        let caller = Caller::with(holder("cap:run.read"));
        let refused = |org: &'static str| InOrg::admit(&caller, OrgId::from_static(org)).unwrap_err();
        assert_eq!(refused("other").code, "no_access");
        assert_eq!(refused("other"), refused("_platform"));
        assert_eq!(refused("other"), Operator::admit(&caller).unwrap_err());
        assert_eq!(caller.principal().unwrap().as_str(), "ada");
        assert_eq!(caller.credential_id().unwrap().to_string(), "api-key/key_1");
    }

    #[test]
    fn a_right_that_is_not_held_is_named() {
        let org = OrgId::from_static("acme");
        let by = InOrg::admit(&Caller::with(holder("cap:run.read")), org.clone()).unwrap();
        let read = |kind: &str| Capability::of_command(&Kind::parse(kind).unwrap(), "read");
        assert_eq!(by.ask(&read("run"), None, 0), Ok(()));
        let refused = by.ask(&read("agent"), None, 0).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (403, "missing_right"));
        assert!(refused.detail.contains("cap:agent.read"), "{refused}");
        let by = InOrg::admit(&Caller::with(Credential::Token), org).unwrap();
        assert!(by.holds(&read("agent"), None, 0));
    }
}
