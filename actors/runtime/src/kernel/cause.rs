//! In whose name, for whom and by what a consequence is done.

use quipu_schemas::{
    context::Millis,
    envelope::DataClass,
    ids::{CredentialId, Home, OrgId, PrincipalId},
    record::Header,
};

/// What a consequence inherits from its cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// In whose name it is done: the sender's of the causing command, unless the entity acts in another's.
    pub principal: PrincipalId,
    /// For whom.
    pub on_behalf_of: Option<PrincipalId>,
    /// The org that they and the credential belong to, where that is not the org of the record.
    pub home: Option<OrgId>,
    /// The credential whose scope cuts it.
    pub credential: Option<CredentialId>,
    /// Correlation.
    pub correlation: Option<String>,
    /// Trace.
    pub traceparent: Option<String>,
    /// Label.
    pub environment: Option<String>,
    /// Label.
    pub data_class: DataClass,
    /// Record time.
    pub time: Millis,
}

impl From<&Header> for Cause {
    fn from(header: &Header) -> Self {
        // Whoever an entity acts as was let into its org before.
        let (principal, on_behalf_of, credential, home) = match &header.acts_as {
            Some(acting) => (&acting.principal, &acting.on_behalf_of, &acting.credential, &None),
            None => (&header.principal, &header.on_behalf_of, &header.credential, &header.home),
        };
        Self {
            principal: principal.clone(),
            on_behalf_of: on_behalf_of.clone(),
            home: home.clone(),
            credential: credential.clone(),
            correlation: header.correlation.clone(),
            traceparent: header.traceparent.clone(),
            environment: header.environment.clone(),
            data_class: header.data_class,
            time: header.time,
        }
    }
}

impl Cause {
    /// Who is meant by the one in whose name it is done, or for whom, where the record is of an org.
    pub fn home_of(&self, org: &OrgId, who: &PrincipalId) -> Home {
        Home::of(self.home.as_ref().unwrap_or(org), who)
    }

    /// Whose key seals what an effect brings back: `org/actor`.
    pub fn subject(&self, org: &OrgId) -> String {
        format!("{org}/{}", self.on_behalf_of.as_ref().unwrap_or(&self.principal))
    }
}
