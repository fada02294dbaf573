//! Who asks, and what they may reach: no face gets at what a node holds without one of these.
//!
//! A face makes a [`Caller`] of a credential that it has checked. From a caller, and from nothing else, comes the leave to read in
//! an org ([`InOrg`]), to operate the node ([`Operator`]) and to speak as another node ([`Peer`]). The app opens what it holds to
//! those alone, so a handler that has not asked does not compile.

use quipu_schemas::{
    ids::{EntityId, Kind, OrgId, PrincipalId, StreamId},
    problem::Problem,
};

/// What a caller has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The node's token.
    Token,
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
}

impl Caller {
    /// Whoever has shown this. Only who has checked a credential calls this.
    pub(crate) fn with(credential: Credential) -> Self {
        let principal = match credential {
            Credential::Token | Credential::Bus => Some(PrincipalId::BOOTSTRAP),
            Credential::Cluster | Credential::Nothing => None,
        };
        Self { credential, principal }
    }

    /// What they have shown.
    pub fn credential(&self) -> Credential {
        self.credential
    }

    /// As whom they act, unless they say that it is on behalf of somebody.
    pub fn principal(&self) -> Result<&PrincipalId, Problem> {
        self.principal.as_ref().ok_or_else(nobody)
    }
}

/// Leave to read in one org.
#[derive(Debug, Clone)]
pub struct InOrg {
    org: OrgId,
    caller: Caller,
}

impl InOrg {
    /// Decides whether a caller may read in an org: whoever is somebody may.
    pub fn admit(caller: &Caller, org: OrgId) -> Result<Self, Problem> {
        caller.principal()?;
        Ok(Self {
            org,
            caller: caller.clone(),
        })
    }

    /// The org.
    pub fn org(&self) -> &OrgId {
        &self.org
    }

    /// Who reads.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The stream of one of its entities.
    pub fn stream(&self, kind: Kind, id: EntityId) -> StreamId {
        StreamId::new(self.org.clone(), kind, id)
    }
}

/// Leave to operate the node, whose orgs are all open to it.
#[derive(Debug, Clone)]
pub struct Operator(Caller);

impl Operator {
    /// Decides whether a caller may operate the node: whoever has its token may.
    pub fn admit(caller: &Caller) -> Result<Self, Problem> {
        match caller.credential {
            Credential::Token => Ok(Self(caller.clone())),
            Credential::Cluster | Credential::Bus | Credential::Nothing => Err(nobody()),
        }
    }

    /// Who operates.
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

/// Leave to speak as another node.
#[derive(Debug, Clone)]
pub struct Peer(());

impl Peer {
    /// Decides whether a caller may: whoever has the cluster's secret may.
    pub fn admit(caller: &Caller) -> Result<Self, Problem> {
        match caller.credential {
            Credential::Cluster => Ok(Self(())),
            Credential::Token | Credential::Bus | Credential::Nothing => Err(nobody()),
        }
    }
}

fn nobody() -> Problem {
    Problem::new(401, "unauthenticated", "what was shown opens nothing here").fix("send the credential that this surface asks for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_credential_opens_its_own_and_nothing_else() {
        let org = || OrgId::parse("acme").unwrap();
        for (credential, reads, operates, is_peer) in [
            (Credential::Token, true, true, false),
            (Credential::Bus, true, false, false),
            (Credential::Cluster, false, false, true),
            (Credential::Nothing, false, false, false),
        ] {
            let caller = Caller::with(credential);
            assert_eq!(InOrg::admit(&caller, org()).is_ok(), reads, "{credential:?}");
            assert_eq!(Operator::admit(&caller).is_ok(), operates, "{credential:?}");
            assert_eq!(Peer::admit(&caller).is_ok(), is_peer, "{credential:?}");
            assert_eq!(caller.principal().is_ok(), reads, "{credential:?}");
        }
        let refused = Operator::admit(&Caller::with(Credential::Cluster)).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (401, "unauthenticated"));
    }
}
