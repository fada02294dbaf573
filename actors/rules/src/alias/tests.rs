use super::*;
use crate::scene::{As, Scene, as_role, sent_by};
use quipu_kinds::alias::AliasForm;

fn desk() -> AliasName {
    AliasName::new(AliasForm::Slug, "desk")
}
fn claim(claim: u64) -> AliasWord {
    AliasWord::Claim(ClaimAlias { alias: desk(), claim })
}
fn give_up(claim: u64) -> AliasWord {
    AliasWord::GiveUp(GiveUpAlias { claim })
}
fn release() -> AliasCommand {
    AliasCommand::Release(ReleaseAlias { reason: "moved".into() })
}
fn one() -> As {
    sent_by("ada", "acme/entity/ent_1")
}
fn two() -> As {
    sent_by("ada", "acme/entity/ent_2")
}
fn admin() -> As {
    as_role("ada", Some(Role::Admin))
}
fn scene() -> Scene<Alias> {
    Scene::new("acme/alias/slug_desk")
}

#[test]
fn the_first_claim_wins_until_it_is_given_up() {
    let mut scene = scene();
    scene.ok(&one(), claim(1));
    scene.refused(&two(), claim(1), 409, "alias_taken");
    scene.unchanged(&one(), claim(1));
    scene.unchanged(&two(), give_up(1));
    scene.ok(&one(), give_up(1));
    scene.ok(&two(), claim(7));
    assert!(matches!(&scene.state, AliasState::Held(held) if held.entity.id.as_str() == "ent_2" && held.claim == 7));
}

#[test]
fn a_later_claim_outlives_the_giving_up_of_an_earlier_one() {
    let mut scene = scene();
    scene.ok(&one(), claim(1));
    scene.ok(&one(), claim(2));
    scene.unchanged(&one(), give_up(1));
    assert!(matches!(&scene.state, AliasState::Held(held) if held.claim == 2));
}

#[test]
fn nobody_but_an_entity_of_the_org_claims_for_itself() {
    let mut scene = scene();
    for who in [
        admin(),
        sent_by("ada", "acme/run/r1"),
        sent_by("ada", "other/entity/ent_1"),
        sent_by("ada", "acme/agent/ent_1"),
    ] {
        scene.refused(&who, claim(1), 403, "not_a_claim");
        scene.refused(&who, give_up(1), 403, "not_a_claim");
    }
    let other = AliasWord::Claim(ClaimAlias {
        alias: AliasName::new(AliasForm::Slug, "other"),
        claim: 1,
    });
    scene.refused(&one(), other, 403, "not_a_claim");
}

#[test]
fn a_released_alias_is_free_and_its_entity_is_told() {
    let mut scene = scene();
    scene.refused(&admin(), release(), 404, "alias_not_found");
    scene.ok(&one(), claim(3));
    scene.ok(&admin(), release());
    let told = serde_json::json!({ "lose_alias": { "claim": 3 } });
    assert_eq!(scene.dispatched(), [("acme/entity/ent_1".to_owned(), told)]);
    scene.ok(&two(), claim(1));
    let long = AliasCommand::Release(ReleaseAlias {
        reason: "x".repeat(REASON_MAX_CHARS + 1),
    });
    scene.refused(&admin(), long, 422, "bad_reason");
}
