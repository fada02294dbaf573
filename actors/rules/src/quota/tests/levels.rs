//! Where a spend counts: whoever spends neither leaves their own levels out nor fills those of others.

use super::*;
use quipu_schemas::{context::Authority, ids::CredentialId};

fn by_key(key: &str) -> CredentialId {
    CredentialId::of_api_key(entity(key))
}

fn held(scene: &Scene<Quota>, at: &str) -> u64 {
    counted(scene, at, Window::Total).1
}

fn plain(key: &str) -> QuotaCommand {
    reserve(key, 60, vec![hold(&[], TOKENS, 6)])
}

#[test]
fn own_key_and_agent_count_where_they_are_left_out() {
    let mut scene = limited(&[("agent/bot", Window::Total, 10), ("key/key_1", Window::Total, 20)]);
    scene.credential = Some(by_key("key_1"));
    scene.ok(&member(), plain("r"));
    assert_eq!((held(&scene, "agent/bot"), held(&scene, "key/key_1")), (6, 6));
    // Named or not, it counts once, and it is the same reservation.
    scene.unchanged(&member(), reserve("r", 60, vec![hold(&["key/key_1", "agent/bot"], TOKENS, 6)]));
    scene.refused(&member(), plain("s"), 402, "budget_exceeded");
    scene.credential = None;
    scene.refused(&member(), plain("s"), 402, "budget_exceeded");
}

#[test]
fn levels_of_others_take_the_right_to_manage() {
    let mut scene = limited(&[("agent/scout", Window::Total, 10), ("key/key_2", Window::Total, 10)]);
    scene.credential = Some(by_key("key_1"));
    for named in ["agent/scout", "key/key_2"] {
        let theirs = || reserve("r", 60, vec![hold(&["project/p", named], TOKENS, 6)]);
        scene.refused(&member(), theirs(), 403, "not_your_level");
        let problem = scene.decide(&member(), theirs()).unwrap_err();
        assert!(
            problem.detail.contains(named) && problem.field.as_deref() == Some("holds"),
            "{problem}"
        );
    }
    assert_eq!((held(&scene, "agent/scout"), held(&scene, "key/key_2")), (0, 0));
    let manager = As {
        authority: Authority {
            manages: true,
            ..member().authority
        },
        ..member()
    };
    let both = reserve("r", 60, vec![hold(&["agent/scout", "key/key_2"], TOKENS, 6)]);
    scene.ok(&manager, both);
    assert_eq!((held(&scene, "agent/scout"), held(&scene, "key/key_2")), (6, 6));
    // What several share is nobody's own.
    scene.ok(&member(), reserve("s", 60, vec![hold(&["project/p", "label/x"], TOKENS, 1)]));
}

#[test]
fn all_who_act_for_somebody_count() {
    let mut scene = limited(&[("agent/bot", Window::Total, 10), ("agent/scout", Window::Total, 10)]);
    let mut person = as_role("usr_01", Some(Role::Member));
    // A person is no agent: alone, only the org counts.
    scene.ok(&person, plain("alone"));
    assert_eq!(held(&scene, "agent/bot"), 0);
    person.authority.acting = vec![id("scout")];
    scene.sender = Some(id("bot"));
    scene.ok(&person, plain("r"));
    assert_eq!((held(&scene, "agent/bot"), held(&scene, "agent/scout")), (6, 6));
    // Whoever acts for an agent spends from its budget, and needs no other right for it.
    scene.sender = None;
    scene.ok(
        &as_role("scout", Some(Role::Member)),
        reserve("s", 60, vec![hold(&["agent/scout"], TOKENS, 4)]),
    );
    assert_eq!(held(&scene, "agent/scout"), 10);
}
