//! Why a principal stays as it is.

use crate::{decider::Refusal, rights::NotHandedOn};
use quipu_schemas::{
    ids::{EntityId, PrincipalId},
    limits::{
        ADDRESSES_MAX, NAME_MAX_CHARS, PUBLIC_KEYS_MAX, REASON_MAX_CHARS, SESSION_ACTORS_MAX, SESSION_LIFETIME_MAX_MS, SESSION_SCOPES_MAX,
        SESSION_WORD_MAX_CHARS,
    },
    problem::Problem,
};

/// Why a principal stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalRejection {
    /// The actor may not.
    NotHandedOn(NotHandedOn),
    /// Only a node says this.
    NotTheNode,
    /// There is somebody already.
    Exists(EntityId),
    /// There is nobody.
    NotFound(EntityId),
    /// It is suspended.
    Suspended(EntityId),
    /// It is gone for good.
    Retired(EntityId),
    /// The id is kept for others.
    ReservedId(EntityId),
    /// Nobody of the platform answers for anything.
    ReservedOwner(PrincipalId),
    /// This is for people.
    NotAPerson(EntityId),
    /// This is not for people.
    APerson(EntityId),
    /// The name is out of bounds.
    BadName,
    /// The reason is too long.
    BadReason,
    /// The key's parts do not fit each other.
    BadKey,
    /// Too many public keys.
    TooManyKeys,
    /// No such public key.
    UnknownKey,
    /// Too many addresses.
    TooManyAddresses,
    /// No such address.
    UnknownAddress(EntityId),
    /// The stored form of a password is out of bounds.
    BadPassword,
    /// A part of a session is out of bounds.
    BadSession(&'static str),
    /// The session ended, or never was.
    SessionEnded,
    /// What was shown does not open it.
    WrongSecret,
    /// No secret for codes was made, or it was confirmed already.
    NotEnrolled,
    /// The code was used already, or is none of the person's.
    CodeUsed,
    /// The code of a letter was used, is over, or was never sent.
    CodeRefused,
}

impl From<NotHandedOn> for PrincipalRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

/// How a session is refused whatever was wrong: nobody learns what.
fn refused_grant(detail: &str) -> Problem {
    Problem::new(403, "grant_refused", detail).fix("log in again")
}

impl Refusal for PrincipalRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotHandedOn(why) => why.problem(),
            Self::NotTheNode => {
                Problem::new(403, "not_the_node", "only the node itself says this to a principal").fix("use the routes of accounts")
            }
            Self::Exists(id) => Problem::new(409, "principal_exists", format!("principal {id} exists")).fix("choose another id"),
            Self::NotFound(id) => {
                Problem::new(404, "principal_not_found", format!("principal {id} does not exist")).fix("see the view `principals`")
            }
            Self::Suspended(id) => suspended(id.as_str()),
            Self::Retired(id) => {
                Problem::new(409, "principal_retired", format!("principal {id} is gone for good")).fix("make another one under another id")
            }
            Self::ReservedId(id) => Problem::new(422, "reserved_id", format!("ids like {id} are kept for others"))
                .field("id")
                .fix("choose one that does not begin with `usr_`, and not `bootstrap`"),
            Self::ReservedOwner(who) => Problem::new(
                422,
                "reserved_id",
                format!("{who} belongs to the platform, and answers for nothing"),
            )
            .field("owner")
            .fix("name a principal of the org: not `bootstrap`, and without a leading _"),
            Self::NotAPerson(id) => Problem::new(409, "not_a_person", format!("principal {id} is not a person"))
                .fix("name a person: their ids begin with `usr_`"),
            Self::APerson(id) => Problem::new(409, "a_person", format!("principal {id} is a person, and answers for themselves"))
                .fix("name an agent or a service"),
            Self::BadName => Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
                .field("name")
                .fix("use at most so many characters, some of them visible, and no line breaks or direction overrides"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            Self::BadKey => Problem::new(422, "bad_public_key", "the parts of the key do not fit each other")
                .field("key")
                .fix("give kty EC, crv P-256, x and y, or kty OKP, crv Ed25519 and x; each 32 bytes in base64url"),
            Self::TooManyKeys => Problem::new(
                409,
                "too_many_public_keys",
                format!("a principal has at most {PUBLIC_KEYS_MAX} public keys"),
            )
            .fix("remove one first"),
            Self::UnknownKey => Problem::new(404, "public_key_not_found", "the principal has no such public key")
                .field("id")
                .fix("name it by its thumbprint, as its state shows it"),
            Self::TooManyAddresses => {
                Problem::new(409, "too_many_addresses", format!("a person has at most {ADDRESSES_MAX} addresses")).fix("remove one first")
            }
            Self::UnknownAddress(id) => Problem::new(404, "address_not_found", format!("no such address: {id}"))
                .field("id")
                .fix("see the addresses of the account"),
            Self::BadPassword => Problem::new(422, "bad_password_hash", "the stored form of the password is out of bounds")
                .field("phc")
                .fix("set the password again"),
            Self::BadSession(field) => Problem::new(422, "bad_session", format!("`{field}` of the session is out of bounds"))
                .field(*field)
                .fix(format!(
                    "texts have 1 to {SESSION_WORD_MAX_CHARS} characters, scopes at most {SESSION_SCOPES_MAX} entries, at most \
                     {SESSION_ACTORS_MAX} act, and a session lives 1 to {SESSION_LIFETIME_MAX_MS} ms"
                )),
            Self::SessionEnded => refused_grant("the session has ended, or never was"),
            Self::WrongSecret => refused_grant("what was shown does not open the session"),
            Self::NotEnrolled => Problem::new(409, "not_enrolled", "no secret waits to be confirmed").fix("enrol first"),
            Self::CodeRefused => code_refused(),
            Self::CodeUsed => Problem::new(403, "code_used", "the code was used already, or is none of this person's")
                .fix("wait for the next code, or use a recovery code that was not used"),
        }
    }
}

/// The answer to whoever shows the code of a letter that is none, whatever is wrong with it.
pub fn code_refused() -> Problem {
    Problem::new(403, "code_refused", "the code was used already, is over, or was never sent")
        .field("code")
        .fix("ask for another one")
}

/// The answer to whatever comes from a principal that is suspended.
pub fn suspended(id: &str) -> Problem {
    Problem::new(403, "principal_suspended", format!("principal {id} is suspended")).fix("ask an admin of the org to resume it")
}
