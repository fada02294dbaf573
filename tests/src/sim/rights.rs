//! What must hold of every record by the org that it belongs to: nobody acts in an org that does not exist, that is
//! suspended, or in which they are nobody.

use super::workload::{NAMED, STRANGER};
use quipu_rules::org::{Org, OrgState};
use quipu_runtime::kernel::entity::{Active, Entity};
use quipu_schemas::{
    ids::{Kind, OrgId, PrincipalId},
    position::Position,
    record::Record,
};
use std::collections::BTreeMap;

/// The versions of an org, and whether it was suspended then.
type Past = BTreeMap<u64, bool>;

/// Every command of a client was decided by an org as it once was, and not while that was suspended.
pub(crate) fn check_rights(records: &[(Position, Record)], broken: &mut Vec<String>) {
    let orgs = match pasts(records) {
        Ok(orgs) => orgs,
        Err(error) => return broken.push(error),
    };
    for (_, record) in records {
        let header = &record.header;
        let about = || format!("{} {}", header.stream, header.command_id);
        if header.stream.kind == Kind::ORG {
            if header.on_behalf_of.as_ref().is_some_and(|who| who.as_str() == STRANGER) && !record.events.is_empty() {
                broken.push(format!("{}: {STRANGER} changed an org without being a member of it", about()));
            }
            continue;
        }
        // People belong to no org, and what a node tells a principal is decided by nobody's rights.
        if header.stream.org.is_reserved() || header.principal == PrincipalId::ACCOUNTS {
            continue;
        }
        let known = orgs.get(&header.stream.org).and_then(|org| org.get(&header.authority));
        match known {
            None => broken.push(format!(
                "{}: decided by version {} of its org, which never was",
                about(),
                header.authority
            )),
            // What settles a reaction goes on in a suspended org, and rights are taken in it.
            Some(true) if header.settlement.is_none() && !takes_rights(record) => {
                broken.push(format!("{}: its org was suspended", about()))
            }
            Some(_) => {}
        }
    }
}

/// Whether a record does nothing but end a key, a session or a secret, stop a principal or an application, or take a grant, or notes what
/// was refused.
fn takes_rights(record: &Record) -> bool {
    if record.header.stream.kind == Kind::DENIAL {
        return true;
    }
    let takes = |name: &str| {
        matches!(
            name,
            "quipu.api-key.revoked.v1"
                | "quipu.grant.taken.v1"
                | "quipu.application.suspended.v1"
                | "quipu.application.retired.v1"
                | "quipu.application.service_unlinked.v1"
                | "quipu.principal.sessions_ended.v1"
                | "quipu.principal.public_key_removed.v1"
                | "quipu.principal.suspended.v1"
                | "quipu.principal.retired.v1"
                | "quipu.secret.retired.v1"
                | "quipu.callback.retired.v1"
                | "quipu.invite.revoked.v1"
        )
    };
    let ending = [
        Kind::API_KEY,
        Kind::GRANT,
        Kind::APPLICATION,
        Kind::PRINCIPAL,
        Kind::SECRET,
        Kind::CALLBACK,
        Kind::INVITE,
    ];
    let is_of_rights = ending.contains(&record.header.stream.kind);
    is_of_rights && record.events.iter().all(|event| takes(&event.name))
}

/// Records of commands that runs sent in the name of somebody whom their creators had named.
pub(crate) fn spoken_for(records: &[(Position, Record)]) -> u64 {
    let is_one = |record: &Record| {
        let header = &record.header;
        header.settlement.is_some() && header.on_behalf_of.as_ref().is_some_and(|who| who.as_str() == NAMED)
    };
    records.iter().filter(|(_, record)| is_one(record)).count() as u64
}

fn pasts(records: &[(Position, Record)]) -> Result<BTreeMap<OrgId, Past>, String> {
    let mut orgs: BTreeMap<OrgId, (Active<Org>, Past)> = BTreeMap::new();
    for (_, record) in records {
        let header = &record.header;
        if header.stream.kind != Kind::ORG {
            continue;
        }
        let fresh = || (Active::<Org>::empty(header.stream.clone()), Past::default());
        let (org, past) = orgs.entry(header.stream.org.clone()).or_insert_with(fresh);
        org.fold(record).map_err(|error| error.to_string())?;
        let is_suspended = matches!(org.typed_state(), OrgState::Suspended { .. });
        past.entry(org.version()).or_insert(is_suspended);
    }
    Ok(orgs.into_iter().map(|(org, (_, past))| (org, past)).collect())
}
