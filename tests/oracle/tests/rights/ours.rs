//! The house's side.

use crate::world::{BUILT_IN, COMMANDS, Given, Request, World};
use quipu_rules::rights::{Asked, Catalogue, Chain, Lacking, Limited, Rights, RoleSpec, Roles};
use quipu_schemas::{
    ids::{EntityId, Kind},
    rights::{Capability, Pattern, Target},
};
use std::sync::Arc;

/// An org, compiled.
pub struct Ours {
    catalogue: Catalogue,
    principals: Vec<Rights>,
    credentials: Vec<Rights>,
}

fn patterns<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Pattern> {
    texts.into_iter().map(|text| text.parse().expect("a pattern")).collect()
}

fn id(text: &str) -> EntityId {
    EntityId::parse(text).expect("an id")
}

fn rights(given: &[Given], roles: &Roles, catalogue: &Catalogue) -> Rights {
    let is_lasting = |given: &&Given| given.on == "org" && given.until.is_none();
    let lasting = patterns(given.iter().filter(is_lasting).map(|given| given.right.as_str()));
    let limited = given.iter().filter(|given| !is_lasting(given)).map(|given| Limited {
        held: Arc::new(roles.compile(&patterns([given.right.as_str()]), catalogue)),
        on: given.on.parse::<Target>().expect("a target"),
        until: given.until,
    });
    Rights::new(Arc::new(roles.compile(&lasting, catalogue)), limited.collect())
}

impl Ours {
    pub fn of(world: &World) -> Self {
        let catalogue = Catalogue::new(COMMANDS.iter().map(|name| format!("cap:{name}").parse().expect("a capability")));
        let none = Roles::default();
        let mut roles = Roles::built_in((1..=BUILT_IN.len()).map(|upto| {
            let holds = patterns(BUILT_IN[..upto].iter().flat_map(|(_, holds)| holds.iter().copied()));
            (BUILT_IN[upto - 1].0, none.compile(&holds, &catalogue))
        }));
        for (name, holds) in &world.roles {
            let spec = RoleSpec {
                holds: patterns(holds.iter().map(String::as_str)),
            };
            // What names something unknown is set all the same, as an old log may have it.
            let known = RoleSpec {
                holds: spec
                    .holds
                    .iter()
                    .filter(|right| is_there(right, &roles, &catalogue))
                    .cloned()
                    .collect(),
            };
            roles.check(name, &known, &catalogue).expect("a role that may be kept");
            roles.set(name.clone(), spec);
        }
        let of = |given: &Vec<Given>| rights(given, &roles, &catalogue);
        Self {
            principals: [Rights::All].into_iter().chain(world.principals.iter().map(of)).collect(),
            credentials: world.credentials.iter().map(of).collect(),
            catalogue,
        }
    }

    pub fn decides(&self, request: &Request) -> Result<(), Lacking> {
        let capability: Capability = format!("cap:{}", request.capability).parse().expect("a capability");
        // Nobody holds what is unknown.
        let Some(cap) = self.catalogue.cap(&capability) else {
            return Err(Lacking::Principal);
        };
        let entity = request.entity.as_ref().map(|entity| {
            let (kind, at) = entity.split_once('/').expect("a kind and an id");
            (Kind::parse(kind).expect("a kind"), id(at))
        });
        let (application, project) = (request.places.0.map(id), request.places.1.map(id));
        let asked = Asked {
            cap,
            entity: entity.as_ref().map(|(kind, id)| (kind, id)),
            application: application.as_ref(),
            project: project.as_ref(),
            now: request.now,
        };
        let actors: Vec<&Rights> = request.actors.iter().map(|at| &self.principals[*at]).collect();
        Chain {
            principal: &self.principals[request.principal],
            scope: request.credential.map(|at| &self.credentials[at]),
            actors: &actors,
        }
        .permits(&asked)
    }
}

fn is_there(right: &Pattern, roles: &Roles, catalogue: &Catalogue) -> bool {
    match right {
        Pattern::Role(role) => roles.has(role),
        other => catalogue.knows(other),
    }
}
