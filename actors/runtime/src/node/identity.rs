//! What a client may be told of a person who let it in.

use super::Node;
use quipu_schemas::{
    ids::Home,
    personal::{Opened, Personal},
    problem::Problem,
};

/// Who a person is, in the clear. It has no `Debug`: nothing of it belongs in a log line.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Their name.
    pub name: Option<String>,
    /// The first address that they were seen to have, or else their first one.
    pub address: Option<String>,
    /// Whether they were seen to have it.
    pub is_verified: bool,
}

impl Node {
    /// Opens what is known of a person; what was erased is left out.
    pub fn identity(&self, home: &Home) -> Result<Identity, Problem> {
        let person = self.person(home)?;
        let open = |sealed: &Personal<String>| match sealed.open(&*self.0.core.keys).map_err(|e| e.problem())? {
            Opened::Value(text) => Ok::<_, Problem>(Some(text)),
            Opened::Erased => Ok(None),
        };
        let seen = person.addresses.iter().find(|address| address.verified);
        let address = seen.or(person.addresses.first());
        Ok(Identity {
            name: person.name.as_ref().map(open).transpose()?.flatten(),
            address: address.map(|address| open(&address.address)).transpose()?.flatten(),
            is_verified: seen.is_some(),
        })
    }
}
