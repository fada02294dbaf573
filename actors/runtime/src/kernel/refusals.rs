//! How the machines refuse: each problem is worded here, once.

use super::principals::{KnownPrincipal, Standing};
use quipu_rules::{
    principal::suspended,
    rights::{CREDENTIAL_REVOKED, Lacking},
};
use quipu_schemas::{
    client_secret::ClientId,
    context::Millis,
    gates::{APPROVALS_SETTING, STEP_UP_SETTING},
    ids::{CommandId, EntityId, OrgId, StreamId},
    limits::RECORD_MAX_BYTES,
    problem::Problem,
    rights::Capability,
};

/// Code of the problem that a partition changes hands.
pub const NOT_OPEN: &str = "partition_not_open";

/// Code of the problem that what a command was done by counts no longer.
pub(crate) const CREDENTIAL_ENDED: &str = "credential_ended";

const SAME_ID: &str = "send the command again with the same id";

/// The answer when nobody knows whether the record was stored.
pub fn outcome_unknown() -> Problem {
    Problem::new(503, "outcome_unknown", "the append's outcome is not known")
        .fix("send the same command again with the same id: it is decided once")
        .retry_after(1)
}

/// The answer to a command that appended nothing itself when an append of its entity failed for `problem`: a full disk stored
/// nothing of either, anything else leaves it open what it was decided on.
pub fn undecided(problem: &Problem) -> Problem {
    if problem.status == 507 {
        problem.clone()
    } else {
        outcome_unknown()
    }
}

pub(crate) fn unknown_org(org: &OrgId) -> Problem {
    Problem::new(404, "unknown_org", format!("no such org: {org}"))
        .field("org")
        .fix(format!("create it with POST /v1/orgs/{org}/orgs"))
}

/// The answer to somebody of whom an org knows nothing. It is the same whether or not there is such an org.
pub fn no_access() -> Problem {
    Problem::new(403, "no_access", "you have no access here, whether or not such an org exists")
        .fix("check the org's name, or ask one of its admins to make you a member or to grant you a right")
}

/// The answer to somebody who is known and lacks this one right.
pub fn missing_right(right: &Capability, lacking: Lacking) -> Problem {
    let (detail, fix) = match lacking {
        Lacking::Principal => (
            format!("this takes the right {right}, which the acting principal does not hold"),
            "ask an admin of the org for a role or a grant that holds it; what admins do not hold, an owner gives",
        ),
        Lacking::Scope => (
            format!("this takes the right {right}, which the scopes of the key or session that was shown do not hold"),
            "use one with a wider scope: sign in for more, or ask whoever may create keys for this principal",
        ),
        Lacking::Actor(_) => (
            format!("this takes the right {right}, which whoever acts for the principal does not hold"),
            "ask an admin of the org to grant it to the sender as well; what admins do not hold, an owner grants",
        ),
    };
    Problem::new(403, "missing_right", detail).right(right).fix(fix)
}

/// The answer to a command that others have to agree to.
pub(crate) fn approval_required(stream: &StreamId, right: &Capability) -> Problem {
    let verb = right.as_str().split_once('.').map_or("", |(_, verb)| verb);
    let detail = format!("in this org {right} takes an approval by somebody else");
    Problem::new(403, "approval_required", detail).right(right).fix(format!(
        "ask for it: POST /v1/orgs/{}/approvals with {{\"kind\":\"{}\",\"id\":\"{}\",\"command\":\"{verb}\",\"body\":…}}; it is sent when somebody agrees",
        stream.org, stream.kind, stream.id
    ))
}

/// The answer to whoever takes off alone what takes an approval.
pub(crate) fn gate_guarded(stream: &StreamId, right: &Capability) -> Problem {
    let detail = "what takes an approval in this org is taken off its list by an approval alone";
    Problem {
        detail: detail.to_owned(),
        ..approval_required(stream, right)
    }
    .field(format!("settings.{APPROVALS_SETTING}"))
}

/// Code of the problem that somebody has to sign in again, and with a second factor (RFC 9470).
pub const STEP_UP: &str = "insufficient_user_authentication";

/// The answer to a command that takes a recent sign-in.
pub(crate) fn step_up_required(right: &Capability, age_ms: Millis) -> Problem {
    let seconds = age_ms / 1_000;
    let detail = format!("in this org {right} takes a person who signed in with a second factor at most {seconds} s ago");
    let mut problem = Problem::new(401, STEP_UP, detail)
        .right(right)
        .fix("sign in again with a code of your authenticator, and send it with the new session; keys cannot");
    problem.context.max_age = Some(seconds);
    problem
}

/// The answer to whoever takes off what takes a recent sign-in, and has none.
pub(crate) fn step_up_guarded(right: &Capability, age_ms: Millis) -> Problem {
    let seconds = age_ms / 1_000;
    let detail = format!(
        "what takes a recent sign-in in this org is taken off its list by somebody who signed in with a second factor at most {seconds} s ago"
    );
    Problem {
        detail,
        ..step_up_required(right, age_ms)
    }
    .field(format!("settings.{STEP_UP_SETTING}"))
}

/// The answer to a command that brings something into a project that has ended.
pub(crate) fn project_archived(project: &EntityId) -> Problem {
    Problem::new(409, "project_archived", format!("project {project} is archived"))
        .field("project")
        .fix("name another project, or none")
}

/// The answer to what is done by a credential that counts no longer.
pub fn credential_ended() -> Problem {
    Problem::new(
        403,
        CREDENTIAL_ENDED,
        "the credential that this is done by was revoked or has expired",
    )
    .fix("do it again with a credential that is valid")
}

/// The answer to what was caused by a credential that was revoked with all that it caused.
pub(crate) fn credential_revoked() -> Problem {
    Problem::new(
        403,
        CREDENTIAL_REVOKED,
        "the credential that this was caused by was revoked with all that it caused",
    )
    .fix("do it again with a credential that is valid")
}

/// Code of the problem that whoever does this is gone for good.
pub(crate) const PRINCIPAL_RETIRED: &str = "principal_retired";
/// Code of the problem that whoever does this is stopped.
pub(crate) const PRINCIPAL_SUSPENDED: &str = "principal_suspended";

/// Code of the problem that the client by which this is done is stopped.
pub(crate) const APPLICATION_SUSPENDED: &str = "application_suspended";

/// The answer to what is done by a client that was stopped.
pub(crate) fn application_suspended(client: &ClientId) -> Problem {
    Problem::new(403, APPLICATION_SUSPENDED, format!("application {client} is suspended"))
        .fix("do it by another client, or have the application resumed")
}

/// The answer to whatever comes from a principal that was stopped; `None` where it was not.
pub(crate) fn stopped(known: &KnownPrincipal) -> Option<Problem> {
    match known.standing {
        Standing::Active => None,
        Standing::Suspended => Some(suspended(known.home.id.as_str())),
        Standing::Retired => Some(
            Problem::new(403, PRINCIPAL_RETIRED, format!("principal {} is gone for good", known.home.id))
                .fix("do it again as somebody who is there"),
        ),
    }
}

pub(crate) fn authority_stale(org: &OrgId) -> Problem {
    let detail = format!("what this node knows of org {org} is too old to decide by");
    Problem::new(503, "authority_stale", detail).fix(SAME_ID).retry_after(1)
}

pub(crate) fn lease_ended() -> Problem {
    let detail = "this node's lease on the partition ended before it could answer";
    Problem::new(503, "lease_ended", detail).fix(SAME_ID).retry_after(1)
}

pub(crate) fn idempotency_key_required() -> Problem {
    Problem::new(
        400,
        "idempotency_key_required",
        "the org requires an Idempotency-Key on every command",
    )
    .field("Idempotency-Key")
    .fix("send an Idempotency-Key, and the same one when you repeat the command")
}

pub(crate) fn entity_busy(stream: &StreamId, waiting: usize) -> Problem {
    let mut problem = Problem::new(429, "entity_busy", format!("{waiting} commands wait for {stream}")).retry_after(1);
    problem.queue_depth = Some(waiting as u64);
    problem
}

/// A word that its kind takes from the kernel alone.
pub(crate) fn not_the_kernel(stream: &StreamId) -> Problem {
    Problem::new(
        403,
        "not_the_kernel",
        format!("{stream} takes this word from the kernel, and from no entity"),
    )
    .fix("nothing; the kernel says it when it is due")
}

pub(crate) fn too_large(bytes: usize) -> Problem {
    Problem::new(413, "record_too_large", format!("the decision takes {bytes} bytes"))
        .fix(format!("keep what one command stores under {RECORD_MAX_BYTES} bytes"))
}

pub(crate) fn reused_id(id: &CommandId) -> Problem {
    Problem::new(
        409,
        "command_id_reused",
        format!("command id {id} was used before with another body or by another principal"),
    )
    .field("Idempotency-Key")
    .fix("use a new id for a new command; repeat an old one unchanged")
}
