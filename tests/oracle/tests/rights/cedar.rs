//! Cedar's side. Capabilities are actions; a family and a role are groups of actions, so that Cedar's own hierarchy says what they
//! hold. What somebody was given is a policy that permits; a credential and an actor are policies that forbid what they do not hold.

use crate::world::{BUILT_IN, COMMANDS, Given, NAMED, Request as Asked, World};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    EndsLate,
    TargetIgnored,
    TargetByIdAlone,
    ApplicationOutsideItsProject,
    ScopeIgnored,
    ScopeWidens,
    OnlyNearestActorAsked,
    AnyLengthOfChain,
    UnknownAllowed,
    VerbBringsItsSubs,
    FamilyWithoutSubs,
    NothingInherited,
    EighthStepLost,
}

impl Defect {
    pub const ALL: [Self; 13] = [
        Self::EndsLate,
        Self::TargetIgnored,
        Self::TargetByIdAlone,
        Self::ApplicationOutsideItsProject,
        Self::ScopeIgnored,
        Self::ScopeWidens,
        Self::OnlyNearestActorAsked,
        Self::AnyLengthOfChain,
        Self::UnknownAllowed,
        Self::VerbBringsItsSubs,
        Self::FamilyWithoutSubs,
        Self::NothingInherited,
        Self::EighthStepLost,
    ];
}

/// Cedar's answer, with the policies that forbid.
pub struct Said {
    pub allowed: bool,
    pub forbidden: BTreeSet<String>,
}

impl Said {
    /// Whether a policy of this name, or of this group of names, forbids.
    pub fn forbidden_by(&self, name: &str) -> bool {
        self.forbidden.contains(name)
            || self
                .forbidden
                .iter()
                .any(|id| id.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// An org, translated.
pub struct Cedar {
    policies: PolicySet,
    entities: Entities,
    authorizer: Authorizer,
    defect: Option<Defect>,
}

fn uid(of: &str, id: &str) -> EntityUid {
    let of: EntityTypeName = of.parse().expect("a type");
    EntityUid::from_type_name_and_id(of, EntityId::new(id))
}

/// The type of a kind's entities.
fn type_of(kind: &str) -> String {
    format!("{}{}", kind[..1].to_uppercase(), &kind[1..])
}

fn resource(entity: &str) -> EntityUid {
    let (kind, id) = entity.split_once('/').expect("a kind and an id");
    uid(&type_of(kind), id)
}

/// The action, or group of actions, of what can be granted.
fn action(right: &str) -> String {
    right.strip_prefix("cap:").unwrap_or(right).to_owned()
}

fn target(on: &str, defect: Option<Defect>) -> String {
    let Some((kind, id)) = on.split_once('/').filter(|_| defect != Some(Defect::TargetIgnored)) else {
        return r#"resource in Org::"here""#.to_owned();
    };
    let own = format!(r#"resource in {}::"{id}""#, type_of(kind));
    if defect != Some(Defect::TargetByIdAlone) {
        return own;
    }
    let any = ["Run", "Conversation", "Project", "Application"].map(|kind| format!(r#"resource == {kind}::"{id}""#));
    format!("({own} || {})", any.join(" || "))
}

/// When one given thing holds.
fn condition(given: &Given, defect: Option<Defect>) -> String {
    let less = if defect == Some(Defect::EndsLate) { "<=" } else { "<" };
    let until = given
        .until
        .map(|until| format!(" && context.now {less} {until}"))
        .unwrap_or_default();
    let on = target(&given.on, defect);
    format!(r#"(action in Action::"{}" && {on}{until})"#, action(&given.right))
}

/// When any of them holds.
fn any(given: &[Given], defect: Option<Defect>) -> String {
    given.iter().map(|given| condition(given, defect)).collect::<Vec<_>>().join(" || ")
}

fn policies(world: &World, defect: Option<Defect>) -> PolicySet {
    let mut all: Vec<(String, String)> = vec![(
        "everything".to_owned(),
        r#"permit(principal == Principal::"0", action, resource);"#.to_owned(),
    )];
    let mut add = |id: String, text: String| all.push((id, text));
    if defect != Some(Defect::UnknownAllowed) {
        let text = r#"forbid(principal, action, resource) unless { action in Action::"known" };"#;
        add("unknown".to_owned(), text.to_owned());
    }
    if defect != Some(Defect::AnyLengthOfChain) {
        let text = "forbid(principal, action, resource) when { context.length > 4 };";
        add("too-long".to_owned(), text.to_owned());
    }
    for (at, given) in world.principals.iter().enumerate() {
        let who = format!(r#"Principal::"{}""#, at + 1);
        for (place, given) in given.iter().enumerate() {
            let held = condition(given, defect);
            let text = format!("permit(principal == {who}, action, resource) when {{ {held} }};");
            add(format!("grant/{}/{place}", at + 1), text);
        }
        let held = any(given, defect);
        let text = format!("forbid(principal, action, resource) when {{ context.actors.contains({who}) }} unless {{ {held} }};");
        add(format!("actor/{}", at + 1), text);
    }
    for (at, given) in world.credentials.iter().enumerate() {
        let is_shown = format!(r#"context has credential && context.credential == Credential::"{at}""#);
        let held = any(given, defect);
        let text = match defect {
            Some(Defect::ScopeIgnored) => continue,
            Some(Defect::ScopeWidens) => format!("permit(principal, action, resource) when {{ {is_shown} && ({held}) }};"),
            _ => format!("forbid(principal, action, resource) when {{ {is_shown} }} unless {{ {held} }};"),
        };
        add(format!("scope/{at}"), text);
    }
    let parsed = all.into_iter().map(|(id, text)| {
        let policy = Policy::parse(Some(PolicyId::new(id)), &text);
        policy.unwrap_or_else(|problem| panic!("{problem}: {text}"))
    });
    PolicySet::from_policies(parsed).expect("ids are unique")
}

/// The groups that each action and each group is in.
fn actions(world: &World, defect: Option<Defect>) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut put = |what: String, into: String| _ = groups.entry(what).or_default().insert(into);
    for name in COMMANDS.iter().chain(NAMED) {
        let (family, _) = name.split_once('.').expect("a family and a verb");
        put((*name).to_owned(), "known".to_owned());
        if defect != Some(Defect::FamilyWithoutSubs) || !name.contains(':') {
            put((*name).to_owned(), format!("{family}.*"));
        }
        if let (Some(Defect::VerbBringsItsSubs), Some((verb, _))) = (defect, name.split_once(':')) {
            put((*name).to_owned(), verb.to_owned());
        }
    }
    let mut lower = None;
    for (role, holds) in BUILT_IN {
        holds.iter().for_each(|right| put(action(right), format!("role:{role}")));
        lower.into_iter().for_each(|lower| put(lower, format!("role:{role}")));
        lower = Some(format!("role:{role}"));
    }
    for (role, holds) in &world.roles {
        for right in holds {
            let is_lost = match defect {
                Some(Defect::NothingInherited) => right.starts_with("role:"),
                Some(Defect::EighthStepLost) => role == "r8" && right == "role:r7",
                _ => false,
            };
            if !is_lost {
                put(action(right), format!("role:{role}"));
            }
        }
    }
    groups
}

impl Cedar {
    pub fn of(world: &World, defect: Option<Defect>) -> Self {
        let entity = |uid, parents: Vec<EntityUid>| Entity::new_no_attrs(uid, parents.into_iter().collect());
        let actions = actions(world, defect)
            .into_iter()
            .map(|(action, groups)| entity(uid("Action", &action), groups.iter().map(|group| uid("Action", group)).collect()));
        let entities = world.entities.iter().map(|(name, (application, project))| {
            let is_cut = defect == Some(Defect::ApplicationOutsideItsProject) && name.starts_with("application/");
            // What is in an application is in its project by way of it.
            let project = project.filter(|_| application.is_none() && !is_cut);
            let places = application.map(|id| uid("Application", id)).into_iter();
            let places = places.chain(project.map(|id| uid("Project", id))).chain([uid("Org", "here")]);
            entity(resource(name), places.collect())
        });
        Self {
            policies: policies(world, defect),
            entities: Entities::from_entities(actions.chain(entities), None).expect("entities without a circle"),
            authorizer: Authorizer::new(),
            defect,
        }
    }

    pub fn decides(&self, asked: &Asked) -> Said {
        // What has no id yet is asked for as the place that it is made in.
        let place = match asked.places {
            (Some(application), _) => uid("Application", application),
            (None, Some(project)) => uid("Project", project),
            (None, None) => uid("Org", "here"),
        };
        let resource = asked.entity.as_deref().map_or(place, resource);
        let counted = match self.defect {
            Some(Defect::OnlyNearestActorAsked) => 1,
            _ => asked.actors.len(),
        };
        let principal = |at: &usize| uid("Principal", &at.to_string());
        let actors = asked
            .actors
            .iter()
            .take(counted)
            .map(|at| RestrictedExpression::new_entity_uid(principal(at)));
        let number = |number: u64| RestrictedExpression::new_long(number as i64);
        let mut context = vec![
            ("now".to_owned(), number(asked.now)),
            ("length".to_owned(), number(asked.actors.len() as u64)),
            ("actors".to_owned(), RestrictedExpression::new_set(actors)),
        ];
        let credential = asked.credential.map(|at| uid("Credential", &at.to_string()));
        context.extend(credential.map(|uid| ("credential".to_owned(), RestrictedExpression::new_entity_uid(uid))));
        let context = Context::from_pairs(context).expect("names are unique");
        let action = uid("Action", &asked.capability);
        let request = Request::new(principal(&asked.principal), action, resource, context, None).expect("a request");
        let answer = self.authorizer.is_authorized(&request, &self.policies, &self.entities);
        let problems: Vec<String> = answer.diagnostics().errors().map(ToString::to_string).collect();
        assert!(problems.is_empty(), "a policy that fails decides nothing: {problems:?}");
        let allowed = answer.decision() == Decision::Allow;
        let reasons = answer.diagnostics().reason().map(ToString::to_string);
        Said {
            allowed,
            forbidden: reasons.filter(|_| !allowed).collect(),
        }
    }
}
