//! Rules of an org: members, roles, settings, suspension. Its rights come from its own state.

use crate::{
    decider::{AskedOf, Corrupt, Decider, Decision, NoWord, Refusal, Right},
    rights::{NotHandedOn, acts_alone, acts_whole},
    text,
};
use quipu_kinds::org::{AddMember, ChangeSettings, CreateOrg, OrgCommand, OrgEvent, RemoveMember, RenameOrg, SetRole};
use quipu_schemas::{
    context::{Context, Millis},
    gates::{APPROVALS_SETTING, STEP_UP_AGE_SETTING, STEP_UP_SETTING, gates, step_up_age_ms},
    idempotency::{KEY_REQUIRED_SETTING, is_key_required},
    ids::{OrgId, PrincipalId},
    json::Json,
    limits::{
        GATES_MAX, MEMBERS_MAX, NAME_MAX_CHARS, REASON_MAX_CHARS, RETENTION_DAYS_MAX, SETTING_MAX_BYTES, SETTINGS_MAX, STEP_UP_DEFAULT_MS,
        STEP_UP_MAX_SECONDS, STEP_UP_MIN_SECONDS,
    },
    problem::Problem,
    retention::{RETENTION_SETTING, retention_ms},
    rights::Pattern,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kind `org`.
pub struct Org;

/// State of an org.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrgState {
    /// Not created.
    #[default]
    Missing,
    /// Takes commands.
    Active(Tenant),
    /// Takes `resume` alone.
    Suspended {
        /// The org as it was.
        org: Tenant,
        /// Why.
        reason: String,
    },
}

/// An org that exists. It has at least one owner, always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tenant {
    /// Display name.
    pub name: String,
    /// Parent org, for a workspace.
    pub parent: Option<OrgId>,
    /// Members and their roles.
    pub members: BTreeMap<PrincipalId, Role>,
    /// Settings by name.
    pub settings: BTreeMap<String, Json>,
}

impl OrgState {
    /// A member's role, whether or not the org is suspended.
    pub fn role(&self, principal: &PrincipalId) -> Option<Role> {
        match self {
            OrgState::Missing => None,
            OrgState::Active(org) | OrgState::Suspended { org, .. } => org.members.get(principal).copied(),
        }
    }
}

impl OrgState {
    /// Whether commands to the org need an idempotency key of their sender's.
    pub fn requires_key(&self) -> bool {
        match self {
            OrgState::Missing => false,
            OrgState::Active(org) | OrgState::Suspended { org, .. } => {
                org.settings.get(KEY_REQUIRED_SETTING).and_then(is_key_required).unwrap_or(false)
            }
        }
    }

    /// Which commands take an approval.
    pub fn gates(&self) -> Vec<Pattern> {
        match self {
            OrgState::Missing => Vec::new(),
            OrgState::Active(org) | OrgState::Suspended { org, .. } => {
                org.settings.get(APPROVALS_SETTING).and_then(gates).unwrap_or_default()
            }
        }
    }

    /// Which commands take a recent sign-in, and how many milliseconds ago it may be.
    pub fn step_up(&self) -> (Vec<Pattern>, Millis) {
        match self {
            OrgState::Missing => (Vec::new(), STEP_UP_DEFAULT_MS),
            OrgState::Active(org) | OrgState::Suspended { org, .. } => (
                org.settings.get(STEP_UP_SETTING).and_then(gates).unwrap_or_default(),
                org.settings
                    .get(STEP_UP_AGE_SETTING)
                    .and_then(step_up_age_ms)
                    .unwrap_or(STEP_UP_DEFAULT_MS),
            ),
        }
    }
}

impl Tenant {
    fn is_last_owner(&self, principal: &PrincipalId) -> bool {
        self.members.get(principal) == Some(&Role::Owner) && self.members.values().filter(|role| **role == Role::Owner).count() == 1
    }

    /// Refuses an actor whose role is lower.
    fn require(&self, needed: Role, context: &Context<'_>) -> Result<(), OrgRejection> {
        let held = self.members.get(context.actor()).copied();
        if context.authority.platform || held.is_some_and(|held| held >= needed) {
            Ok(())
        } else {
            let actor = context.actor().clone();
            Err(NotHandedOn::RoleNeeded { actor, needed, held }.into())
        }
    }

    /// Refuses an actor who has neither the role, by the newest state of the org, nor the command's right by a grant. A role
    /// that the kernel still knows and this state does not is one that was just taken.
    fn permit(&self, needed: Role, context: &Context<'_>) -> Result<(), OrgRejection> {
        let by_grant = context.may() && context.authority.role.is_none_or(|role| role < needed);
        if by_grant { Ok(()) } else { self.require(needed, context) }
    }

    /// Whoever changes members by a grant alone makes nobody more than they are themselves, and touches nobody who is.
    fn require_not_below(&self, theirs: Role, context: &Context<'_>) -> Result<(), OrgRejection> {
        let needed = if theirs == Role::Owner {
            Role::Owner
        } else {
            theirs.min(Role::Admin)
        };
        if needed == Role::Viewer {
            Ok(())
        } else {
            self.require(needed, context)
        }
    }
}

/// Why an org refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrgRejection {
    /// Already created.
    Exists(OrgId),
    /// Not created.
    NotFound(OrgId),
    /// Its stream must bear its own id.
    IdMismatch(OrgId),
    /// Ids that begin with `_` belong to the platform.
    ReservedId(OrgId),
    /// Nobody of the platform is made a member by name.
    ReservedPrincipal(PrincipalId),
    /// Only the platform names another first owner.
    OwnerNotActor(PrincipalId),
    /// Only the platform places an org under another.
    ParentNotAllowed(OrgId),
    /// An org is not its own parent.
    OwnParent(OrgId),
    /// The role is too low, or a membership, which is a right, is handed on by who may not.
    NotHandedOn(NotHandedOn),
    /// Everything but `resume` is refused.
    Suspended(OrgId),
    /// The name is out of bounds.
    BadName,
    /// The reason is too long.
    BadReason,
    /// Already a member, with another role or with details given.
    AlreadyMember(PrincipalId),
    /// No member.
    NotAMember(PrincipalId),
    /// The last owner stays.
    LastOwner(PrincipalId),
    /// The org is full.
    TooManyMembers,
    /// A setting's name is outside its grammar.
    BadSettingName(String),
    /// A setting of the platform has a value that it cannot have.
    BadSetting(String),
    /// What takes an approval, or a recent sign-in, must be a list of capabilities.
    BadGates(String),
    /// A setting's value is too large.
    SettingTooLarge(String),
    /// Too many settings.
    TooManySettings(usize),
}

impl From<NotHandedOn> for OrgRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

/// What a setting of the platform takes.
fn bad_setting(name: &str) -> Problem {
    let (detail, fix) = if name == KEY_REQUIRED_SETTING {
        (
            format!("{name} is neither true nor false"),
            "set true or false, or null to unset it",
        )
    } else if name == STEP_UP_AGE_SETTING {
        (
            format!("{name} is not from {STEP_UP_MIN_SECONDS} to {STEP_UP_MAX_SECONDS}"),
            "set whole seconds, or null for five minutes",
        )
    } else {
        (
            format!("{name} is not from 1 to {RETENTION_DAYS_MAX}"),
            "set whole days, or null to keep everything",
        )
    };
    Problem::new(422, "bad_setting", detail).field(format!("settings.{name}")).fix(fix)
}

impl Refusal for OrgRejection {
    fn problem(&self) -> Problem {
        match self {
            OrgRejection::Exists(org) => Problem::new(409, "org_exists", format!("org {org} exists")).fix("choose another id"),
            OrgRejection::NotFound(org) => Problem::new(404, "org_not_found", format!("org {org} does not exist")).fix("create it first"),
            OrgRejection::IdMismatch(org) => Problem::new(422, "org_id_mismatch", format!("the org's id must be {org}"))
                .field("id")
                .fix(format!("use the id {org}")),
            OrgRejection::ReservedId(org) => Problem::new(422, "reserved_id", format!("{org} begins with _, which is reserved"))
                .field("id")
                .fix("choose an id without a leading _"),
            OrgRejection::OwnerNotActor(owner) => {
                Problem::new(403, "owner_not_actor", format!("only the platform makes {owner} the first owner"))
                    .field("owner")
                    .fix("leave it out: the actor becomes the owner")
            }
            OrgRejection::ParentNotAllowed(parent) => {
                Problem::new(403, "parent_not_allowed", format!("only the platform places an org under {parent}"))
                    .field("parent")
                    .fix("leave it out")
            }
            OrgRejection::OwnParent(org) => Problem::new(422, "own_parent", format!("{org} cannot be its own parent"))
                .field("parent")
                .fix("name another org"),
            OrgRejection::NotHandedOn(why) => why.problem(),
            OrgRejection::Suspended(org) => {
                Problem::new(403, "org_suspended", format!("org {org} is suspended")).fix("an owner or the platform can resume it")
            }
            OrgRejection::BadName => Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
                .field("name")
                .fix("use at most so many characters, some of them visible, and no line breaks or direction overrides"),
            OrgRejection::ReservedPrincipal(who) => Problem::new(422, "reserved_id", format!("{who} belongs to the platform"))
                .field("principal")
                .fix("name a principal of the org: not `bootstrap`, and without a leading _"),
            OrgRejection::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            OrgRejection::AlreadyMember(who) => Problem::new(409, "already_member", format!("{who} is a member already"))
                .field("principal")
                .fix("use set_role to change the role"),
            OrgRejection::NotAMember(who) => Problem::new(404, "not_a_member", format!("{who} is not a member"))
                .field("principal")
                .fix("add them first"),
            OrgRejection::LastOwner(who) => Problem::new(409, "last_owner", format!("{who} is the last owner"))
                .field("principal")
                .fix("make another member an owner first"),
            OrgRejection::TooManyMembers => Problem::new(409, "too_many_members", format!("an org has at most {MEMBERS_MAX} members"))
                .fix("remove a member or use another org"),
            OrgRejection::BadSettingName(name) => Problem::new(422, "bad_setting_name", format!("`{name}` is not a setting's name"))
                .field("settings")
                .fix("use [a-z][a-z0-9_.]{0,63}"),
            OrgRejection::BadSetting(name) => bad_setting(name),
            OrgRejection::BadGates(name) => bad_gates(name),
            OrgRejection::SettingTooLarge(name) => {
                Problem::new(422, "setting_too_large", format!("{name} is larger than {SETTING_MAX_BYTES} bytes"))
                    .field(format!("settings.{name}"))
                    .fix("store less")
            }
            OrgRejection::TooManySettings(count) => {
                Problem::new(422, "too_many_settings", format!("{count} settings; at most {SETTINGS_MAX}"))
                    .field("settings")
                    .fix("unset some with null")
            }
        }
    }
}

fn bad_gates(name: &str) -> Problem {
    let detail = format!("{name} is a list of at most {GATES_MAX} capabilities and families");
    Problem::new(422, "bad_setting", detail)
        .field(format!("settings.{name}"))
        .fix("use [\"cap:grant.give\", \"cap:org.*\"], or null where it is to be none")
}

impl Decider for Org {
    const KIND: &'static str = "org";
    const RULES_VERSION: u32 = 1;
    type State = OrgState;
    type Command = OrgCommand;
    type Word = NoWord;
    type Event = OrgEvent;
    type Rejection = OrgRejection;

    fn initial() -> OrgState {
        OrgState::Missing
    }

    fn decide(state: &OrgState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<OrgEvent>, OrgRejection> {
        let id = &context.stream.org;
        let command = asked.command();
        match state {
            OrgState::Missing => match command {
                OrgCommand::Create(create) => decide_create(create, context),
                OrgCommand::Rename(_)
                | OrgCommand::AddMember(_)
                | OrgCommand::SetRole(_)
                | OrgCommand::RemoveMember(_)
                | OrgCommand::ChangeSettings(_)
                | OrgCommand::Suspend(_)
                | OrgCommand::Resume(_) => Err(OrgRejection::NotFound(id.clone())),
            },
            OrgState::Active(org) => decide_active(org, command, context),
            OrgState::Suspended { org, .. } => match command {
                OrgCommand::Resume(_) => {
                    org.permit(Role::Owner, context)?;
                    Ok(Decision::one(OrgEvent::Resumed {}))
                }
                OrgCommand::Create(_) => Err(OrgRejection::Exists(id.clone())),
                OrgCommand::Rename(_)
                | OrgCommand::AddMember(_)
                | OrgCommand::SetRole(_)
                | OrgCommand::RemoveMember(_)
                | OrgCommand::ChangeSettings(_)
                | OrgCommand::Suspend(_) => Err(OrgRejection::Suspended(id.clone())),
            },
        }
    }

    fn evolve(state: OrgState, event: &OrgEvent) -> Result<OrgState, Corrupt> {
        let corrupt = |what: &str| Err(Corrupt(format!("{what}: {event:?}")));
        match state {
            OrgState::Missing => match event {
                OrgEvent::Created { name, parent } => Ok(OrgState::Active(Tenant {
                    name: name.clone(),
                    parent: parent.clone(),
                    members: BTreeMap::new(),
                    settings: BTreeMap::new(),
                })),
                OrgEvent::Renamed { .. }
                | OrgEvent::MemberAdded { .. }
                | OrgEvent::RoleSet { .. }
                | OrgEvent::MemberRemoved { .. }
                | OrgEvent::SettingsChanged { .. }
                | OrgEvent::Suspended { .. }
                | OrgEvent::Resumed {} => corrupt("the org does not exist"),
            },
            OrgState::Active(mut org) => {
                match event {
                    OrgEvent::Created { .. } => return corrupt("the org exists"),
                    OrgEvent::Renamed { name } => org.name.clone_from(name),
                    OrgEvent::MemberAdded { principal, role, .. } => {
                        if org.members.insert(principal.clone(), *role).is_some() {
                            return corrupt("already a member");
                        }
                    }
                    OrgEvent::RoleSet { principal, role } => match org.members.get_mut(principal) {
                        Some(held) => *held = *role,
                        None => return corrupt("no member"),
                    },
                    OrgEvent::MemberRemoved { principal } => {
                        if org.members.remove(principal).is_none() {
                            return corrupt("no member");
                        }
                    }
                    OrgEvent::SettingsChanged { settings } => {
                        for (name, value) in settings {
                            if value.0.is_null() {
                                org.settings.remove(name);
                            } else {
                                org.settings.insert(name.clone(), value.clone());
                            }
                        }
                    }
                    OrgEvent::Suspended { reason } => {
                        return Ok(OrgState::Suspended {
                            org,
                            reason: reason.clone(),
                        });
                    }
                    OrgEvent::Resumed {} => return corrupt("the org is not suspended"),
                }
                Ok(OrgState::Active(org))
            }
            OrgState::Suspended { org, .. } => match event {
                OrgEvent::Resumed {} => Ok(OrgState::Active(org)),
                OrgEvent::Created { .. }
                | OrgEvent::Renamed { .. }
                | OrgEvent::MemberAdded { .. }
                | OrgEvent::RoleSet { .. }
                | OrgEvent::MemberRemoved { .. }
                | OrgEvent::SettingsChanged { .. }
                | OrgEvent::Suspended { .. } => corrupt("the org is suspended"),
            },
        }
    }

    fn right(command: &str) -> Right {
        match command {
            // Whoever creates an org is nobody in it yet, and everybody may leave.
            "create" | "remove_member" => Right::Rules,
            "suspend" | "resume" => Right::Role(Role::Owner),
            _ => Right::Role(Role::Admin),
        }
    }

    fn names_rights(command: &str) -> &'static [&'static str] {
        match command {
            "change_settings" => &["/settings/approvals.required", "/settings/step_up.required"],
            _ => &[],
        }
    }

    fn ignores_suspension(command: &OrgCommand) -> bool {
        // The other commands are refused here too, by the org itself and with the same code.
        matches!(command, OrgCommand::Resume(_))
    }

    fn data_subject(command: &str, raw: &serde_json::Value) -> Option<String> {
        if command != "add_member" {
            return None;
        }
        raw.get("principal")
            .or_else(|| raw.get(command)?.get("principal"))?
            .as_str()
            .map(str::to_owned)
    }
}

fn decide_create(create: &CreateOrg, context: &Context<'_>) -> Result<Decision<OrgEvent>, OrgRejection> {
    let (id, platform) = (&context.stream.org, context.authority.platform);
    if context.stream.id.as_str() != id.as_str() {
        return Err(OrgRejection::IdMismatch(id.clone()));
    }
    if id.is_reserved() && !platform {
        return Err(OrgRejection::ReservedId(id.clone()));
    }
    check_name(&create.name)?;
    if let Some(parent) = &create.parent {
        if parent == id {
            return Err(OrgRejection::OwnParent(id.clone()));
        }
        // A parent's rights are in another stream, which decide cannot see.
        if !platform {
            return Err(OrgRejection::ParentNotAllowed(parent.clone()));
        }
    }
    let owner = create.owner.as_ref().unwrap_or(context.actor());
    if owner != context.actor() && !platform {
        return Err(OrgRejection::OwnerNotActor(owner.clone()));
    }
    if owner != context.actor() && owner.is_platform() {
        return Err(OrgRejection::ReservedPrincipal(owner.clone()));
    }
    Ok(Decision::Accept(vec![
        OrgEvent::Created {
            name: create.name.clone(),
            parent: create.parent.clone(),
        },
        OrgEvent::MemberAdded {
            principal: owner.clone(),
            role: Role::Owner,
            name: None,
            email: None,
        },
    ]))
}

fn decide_active(org: &Tenant, command: &OrgCommand, context: &Context<'_>) -> Result<Decision<OrgEvent>, OrgRejection> {
    match command {
        OrgCommand::Create(_) => Err(OrgRejection::Exists(context.stream.org.clone())),
        OrgCommand::Rename(RenameOrg { name }) => {
            org.permit(Role::Admin, context)?;
            check_name(name)?;
            Ok(if *name == org.name {
                Decision::Unchanged
            } else {
                Decision::one(OrgEvent::Renamed { name: name.clone() })
            })
        }
        OrgCommand::AddMember(add) => decide_add(org, add, context),
        OrgCommand::SetRole(SetRole { principal, role }) => {
            org.permit(Role::Admin, context)?;
            acts_whole(context)?;
            let held = org
                .members
                .get(principal)
                .ok_or_else(|| OrgRejection::NotAMember(principal.clone()))?;
            org.require_not_below(*held.max(role), context)?;
            if held == role {
                return Ok(Decision::Unchanged);
            }
            if org.is_last_owner(principal) {
                return Err(OrgRejection::LastOwner(principal.clone()));
            }
            Ok(Decision::one(OrgEvent::RoleSet {
                principal: principal.clone(),
                role: *role,
            }))
        }
        OrgCommand::RemoveMember(RemoveMember { principal }) => decide_remove(org, principal, context),
        OrgCommand::ChangeSettings(change) => {
            org.permit(Role::Admin, context)?;
            decide_settings(org, change)
        }
        OrgCommand::Suspend(suspend) => {
            org.permit(Role::Owner, context)?;
            if !text::is_reason(&suspend.reason) {
                return Err(OrgRejection::BadReason);
            }
            Ok(Decision::one(OrgEvent::Suspended {
                reason: suspend.reason.clone(),
            }))
        }
        OrgCommand::Resume(_) => {
            org.permit(Role::Owner, context)?;
            Ok(Decision::Unchanged)
        }
    }
}

fn decide_remove(org: &Tenant, principal: &PrincipalId, context: &Context<'_>) -> Result<Decision<OrgEvent>, OrgRejection> {
    let held = org.members.get(principal);
    // Everybody may leave.
    if held.is_none() || principal != context.actor() {
        acts_alone(context)?;
        org.require(if held == Some(&Role::Owner) { Role::Owner } else { Role::Admin }, context)?;
    }
    if held.is_none() {
        return Err(OrgRejection::NotAMember(principal.clone()));
    }
    if org.is_last_owner(principal) {
        return Err(OrgRejection::LastOwner(principal.clone()));
    }
    Ok(Decision::one(OrgEvent::MemberRemoved {
        principal: principal.clone(),
    }))
}

fn decide_add(org: &Tenant, add: &AddMember, context: &Context<'_>) -> Result<Decision<OrgEvent>, OrgRejection> {
    org.permit(Role::Admin, context)?;
    acts_whole(context)?;
    org.require_not_below(add.role, context)?;
    match org.members.get(&add.principal) {
        // Sealed details cannot be compared, so the same details sent again count as a change.
        Some(role) if *role == add.role && add.name.is_none() && add.email.is_none() => Ok(Decision::Unchanged),
        Some(_) => Err(OrgRejection::AlreadyMember(add.principal.clone())),
        None if add.principal.is_platform() => Err(OrgRejection::ReservedPrincipal(add.principal.clone())),
        None if org.members.len() >= MEMBERS_MAX => Err(OrgRejection::TooManyMembers),
        None => Ok(Decision::one(OrgEvent::MemberAdded {
            principal: add.principal.clone(),
            role: add.role,
            name: add.name.clone(),
            email: add.email.clone(),
        })),
    }
}

/// Whether a setting can have this value: those of the platform have values of their own, others any.
fn is_value_of(name: &str, value: &Json) -> bool {
    match name {
        RETENTION_SETTING => retention_ms(value).is_some(),
        KEY_REQUIRED_SETTING => is_key_required(value).is_some(),
        STEP_UP_AGE_SETTING => step_up_age_ms(value).is_some(),
        _ => true,
    }
}

fn decide_settings(org: &Tenant, change: &ChangeSettings) -> Result<Decision<OrgEvent>, OrgRejection> {
    let mut changed = BTreeMap::new();
    let mut count = org.settings.len();
    for (name, value) in &change.settings {
        if !is_setting_name(name) {
            return Err(OrgRejection::BadSettingName(name.chars().take(80).collect()));
        }
        if !value.0.is_null() && !is_value_of(name, value) {
            return Err(OrgRejection::BadSetting(name.clone()));
        }
        if [APPROVALS_SETTING, STEP_UP_SETTING].contains(&name.as_str()) && !value.0.is_null() && gates(value).is_none() {
            return Err(OrgRejection::BadGates(name.clone()));
        }
        if value.to_text().len() > SETTING_MAX_BYTES {
            return Err(OrgRejection::SettingTooLarge(name.clone()));
        }
        match org.settings.get(name) {
            Some(held) if held == value => continue,
            None if value.0.is_null() => continue,
            Some(_) => count -= usize::from(value.0.is_null()),
            None => count += 1,
        }
        changed.insert(name.clone(), value.clone());
    }
    if count > SETTINGS_MAX {
        return Err(OrgRejection::TooManySettings(count));
    }
    Ok(if changed.is_empty() {
        Decision::Unchanged
    } else {
        Decision::one(OrgEvent::SettingsChanged { settings: changed })
    })
}

fn check_name(name: &str) -> Result<(), OrgRejection> {
    if text::is_display_name(name) {
        Ok(())
    } else {
        Err(OrgRejection::BadName)
    }
}

fn is_setting_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
}

#[cfg(test)]
mod tests;
