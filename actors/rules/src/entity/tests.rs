use super::*;
use crate::scene::{As, Scene, as_role, platform, sent_by};
use quipu_kinds::alias::AliasForm;
use serde_json::json;

fn slug(text: &str) -> AliasName {
    AliasName::new(AliasForm::Slug, text)
}
fn binding(to: BoundTo, id: &str) -> Binding {
    Binding { to, id: id.into() }
}
fn create(aliases: &[&str]) -> EntityCommand {
    EntityCommand::Create(CreateEntity {
        entity_type: EntityType::Assistant,
        name: "Desk".into(),
        project: None,
        aliases: aliases.iter().map(|text| slug(text)).collect(),
        bindings: Vec::new(),
    })
}
fn add(text: &str) -> EntityCommand {
    EntityCommand::AddAlias(AddAlias { alias: slug(text) })
}
fn remove(text: &str) -> EntityCommand {
    EntityCommand::RemoveAlias(RemoveAlias { alias: slug(text) })
}
fn bind(to: BoundTo, id: &str) -> EntityCommand {
    EntityCommand::Bind(BindEntity { binding: binding(to, id) })
}
fn unbind(to: BoundTo, id: &str) -> EntityCommand {
    EntityCommand::Unbind(UnbindEntity { binding: binding(to, id) })
}
fn answered(claim: u64, refused: Option<&str>) -> EntityWord {
    EntityWord::AliasAnswered(AliasAnswered {
        claim,
        refused: refused.map(str::to_owned),
    })
}
fn lose(claim: u64) -> EntityWord {
    EntityWord::LoseAlias(LoseAlias { claim })
}
fn admin() -> As {
    as_role("ada", Some(Role::Admin))
}
fn entered(aliases: &[&str]) -> Scene<Entity> {
    let mut scene = Scene::new("acme/entity/ent_1");
    scene.ok(&admin(), create(aliases));
    scene
}
fn known(scene: &Scene<Entity>) -> &Known {
    match &scene.state {
        EntityState::Known(known) => known,
        EntityState::Missing => panic!("not in the directory"),
    }
}
fn held(scene: &Scene<Entity>) -> Vec<&str> {
    known(scene).held().map(|alias| alias.text.as_str()).collect()
}

#[test]
fn an_alias_is_asked_for_and_held_once_it_answers() {
    let mut scene = entered(&["desk"]);
    let asked = json!({ "claim": { "alias": { "form": "slug", "text": "desk" }, "claim": 1 } });
    assert_eq!(scene.dispatched(), [("acme/alias/slug_desk".to_owned(), asked)]);
    assert!(held(&scene).is_empty());
    scene.unchanged(&admin(), add("desk"));
    scene.refused(&admin(), remove("desk"), 409, "alias_pending");
    scene.ok(&platform(), answered(1, None));
    assert_eq!(held(&scene), ["desk"]);
    scene.unchanged(&platform(), answered(1, Some("late")));
    scene.ok(&admin(), add("help"));
    scene.ok(&platform(), answered(2, Some("alias_taken")));
    assert_eq!((held(&scene), known(&scene).aliases.len()), (vec!["desk"], 1));
}

#[test]
fn a_removed_alias_is_given_up_and_asked_for_under_a_new_number() {
    let mut scene = entered(&["desk"]);
    scene.ok(&platform(), answered(1, None));
    scene.ok(&admin(), remove("desk"));
    let given = json!({ "give_up": { "claim": 1 } });
    assert_eq!(scene.dispatched(), [("acme/alias/slug_desk".to_owned(), given)]);
    scene.refused(&admin(), remove("desk"), 404, "alias_not_held");
    scene.ok(&admin(), add("desk"));
    assert_eq!(scene.dispatched()[0].1["claim"]["claim"], 2);
    scene.unchanged(&platform(), answered(1, None));
    assert!(held(&scene).is_empty(), "an answer to the first claim is none to the second");
}

#[test]
fn an_alias_is_lost_by_its_own_word_alone() {
    let mut scene = entered(&["desk", "help"]);
    for who in [
        platform(),
        sent_by("ada", "acme/alias/slug_help"),
        sent_by("ada", "other/alias/slug_desk"),
    ] {
        scene.refused(&who, lose(1), 403, "not_the_alias");
    }
    let desk = sent_by("ada", "acme/alias/slug_desk");
    // It may be taken before the answer is told.
    scene.ok(&desk, lose(1));
    scene.unchanged(&platform(), answered(1, None));
    scene.unchanged(&desk, lose(1));
    scene.refused(&sent_by("ada", "acme/run/r1"), answered(2, None), 403, "not_the_alias");
}

#[test]
fn what_is_bound_one_at_a_time_is_unbound_first() {
    let mut scene = entered(&[]);
    for to in [BoundTo::Principal, BoundTo::Agent, BoundTo::Node, BoundTo::SecretOwner] {
        scene.ok(&admin(), bind(to, "one"));
        scene.unchanged(&admin(), bind(to, "one"));
        scene.refused(&admin(), bind(to, "two"), 409, "already_bound");
        scene.ok(&admin(), unbind(to, "one"));
        scene.refused(&admin(), unbind(to, "one"), 404, "not_bound");
    }
    for n in 0..PARTICIPANTS {
        scene.ok(&admin(), bind(BoundTo::Participant, &format!("c{n}/bot")));
    }
    scene.refused(&admin(), bind(BoundTo::Participant, "c/bot"), 409, "too_many_bindings");
    scene.refused(&admin(), bind(BoundTo::Participant, "c"), 422, "bad_binding");
    scene.refused(&admin(), bind(BoundTo::Node, "a/b"), 422, "bad_binding");
}
const PARTICIPANTS: usize = quipu_schemas::limits::PARTICIPANT_BINDINGS_MAX;

#[test]
fn sync_changes_what_differs_and_nothing_else() {
    let sync = |aliases: &[&str], node: &str| {
        EntityCommand::Sync(SyncEntity {
            entity_type: EntityType::Assistant,
            name: "Desk".into(),
            status: Some(EntityStatus::Inactive),
            aliases: Some(aliases.iter().map(|text| slug(text)).collect()),
            bindings: Some(vec![binding(BoundTo::Node, node)]),
        })
    };
    let mut scene: Scene<Entity> = Scene::new("acme/entity/ent_1");
    assert_eq!(scene.ok(&admin(), sync(&["desk"], "n1")).len(), 4);
    scene.ok(&platform(), answered(1, None));
    scene.unchanged(&admin(), sync(&["desk"], "n1"));
    let events = scene.ok(&admin(), sync(&["help"], "n2"));
    assert!(matches!(
        &events[..],
        [
            EntityEvent::AliasRemoved { claim: 1, .. },
            EntityEvent::AliasAsked { claim: 2, .. },
            EntityEvent::Unbound { .. },
            EntityEvent::Bound { .. }
        ]
    ));
    let other = EntityCommand::Sync(SyncEntity {
        entity_type: EntityType::User,
        name: "Desk".into(),
        status: None,
        aliases: None,
        bindings: None,
    });
    scene.refused(&admin(), other, 409, "other_type");
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut scene: Scene<Entity> = Scene::new("acme/entity/ent_1");
    scene.refused(&admin(), add("desk"), 404, "entity_not_found");
    scene.refused(&admin(), create(&["Desk"]), 422, "bad_alias");
    let many: Vec<String> = (0..=quipu_schemas::limits::ALIASES_MAX).map(|n| format!("a{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    scene.refused(&admin(), create(&many), 409, "too_many_aliases");
    scene.ok(&admin(), create(&[]));
    scene.refused(&admin(), create(&[]), 409, "entity_exists");
    let nameless = EntityCommand::Rename(RenameEntity { name: " ".into() });
    scene.refused(&admin(), nameless, 422, "bad_name");
}

#[test]
fn an_entity_belongs_to_the_project_that_it_names() {
    let create = json!({ "create": { "type": "user", "name": "Desk", "project": "p1" } });
    let of = |state: &EntityState, command: &serde_json::Value| Entity::belongs_to(state, command).project.map(|id| id.to_string());
    assert_eq!(of(&EntityState::Missing, &create).as_deref(), Some("p1"));
    let mut scene: Scene<Entity> = Scene::new("acme/entity/ent_1");
    scene.ok(&admin(), serde_json::from_value::<EntityCommand>(create.clone()).unwrap());
    assert_eq!(of(&scene.state, &json!({})).as_deref(), Some("p1"));
    let mv = |project: Option<&str>| {
        EntityCommand::Move(MoveEntity {
            project: project.map(|id| EntityId::parse(id).unwrap()),
        })
    };
    scene.unchanged(&admin(), mv(Some("p1")));
    scene.ok(&admin(), mv(None));
    // What the command says counts only before there is anything.
    assert_eq!(of(&scene.state, &create), None);
}

#[test]
fn entity_is_brought_where_it_is_made_or_moved() {
    let into = |state: &EntityState, command: &serde_json::Value| Entity::belongs_to(state, command).into.map(|id| id.to_string());
    let create = json!({ "create": { "type": "user", "name": "Desk", "project": "p1" } });
    let mv = |project: Option<&str>| json!({ "move": { "project": project } });
    assert_eq!(into(&EntityState::Missing, &create).as_deref(), Some("p1"));
    assert_eq!(
        into(&EntityState::Missing, &json!({ "create": { "type": "user", "name": "Desk" } })),
        None
    );
    let mut scene: Scene<Entity> = Scene::new("acme/entity/ent_1");
    scene.ok(&admin(), serde_json::from_value::<EntityCommand>(create).unwrap());
    assert_eq!(into(&scene.state, &mv(Some("p2"))).as_deref(), Some("p2"));
    assert_eq!(into(&scene.state, &mv(Some("p1"))), None);
    assert_eq!(into(&scene.state, &mv(None)), None);
    assert_eq!(into(&scene.state, &json!({ "rename": { "name": "x" } })), None);
}
