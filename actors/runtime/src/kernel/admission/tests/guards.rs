//! What takes an approval or a recent sign-in, and who changes the lists of it.

use super::{
    rights::{ADA, dispatched, named, saying, somebody},
    *,
};
use serde_json::{Value, json};

fn code(desk: &mut Desk, command: CommandEnvelope) -> Result<Option<String>, String> {
    desk.asked.clear();
    let admitted = desk.admit(command, HERE);
    admitted
        .map(|admitted| admitted.refused.map(|problem| problem.code))
        .map_err(|problem| problem.code)
}

#[test]
fn a_gated_command_is_decided_for_an_approval_alone() {
    let mut desk = Desk::new(somebody(Some(Role::Owner)));
    desk.gates = vec!["cap:grant.*".parse().unwrap()];
    let give = || named("acme/grant/bob", "give");
    assert_eq!(code(&mut desk, give()), Err("approval_required".to_owned()));
    assert_eq!(code(&mut desk, named("acme/role/all", "set")), Ok(None));
    assert_eq!(code(&mut desk, dispatched(give(), "acme/approval/apr_1")), Ok(None));
    // Another entity's dispatch is settled as refused, and so is that of another org's approval.
    for (from, who) in [("acme/run/r1", ADA), ("other/approval/apr_1", PrincipalId::from_static("usr_1"))] {
        let sent = dispatched(CommandEnvelope { principal: who, ..give() }, from);
        assert_eq!(code(&mut desk, sent), Ok(Some("approval_required".to_owned())), "{from}");
    }
    // The node's own token is how an org with one admin gets out again.
    let by_token = CommandEnvelope {
        principal: PrincipalId::BOOTSTRAP,
        ..give()
    };
    assert_eq!(code(&mut desk, by_token), Ok(None));
    // Who lacks the right is told that, whether or not it takes an approval.
    desk.org = somebody(Some(Role::Viewer));
    assert_eq!(code(&mut desk, give()), Err("missing_right".to_owned()));
}

fn settings(of: Value) -> CommandEnvelope {
    saying("acme/org/acme", "change_settings", json!({ "settings": of }))
}

#[test]
fn approval_gates_lose_an_item_by_an_approval_alone() {
    let mut desk = Desk::new(somebody(Some(Role::Owner)));
    desk.gates = vec!["cap:grant.*".parse().unwrap(), "cap:org.suspend".parse().unwrap()];
    let required = || Err("approval_required".to_owned());
    for less in [
        json!(null),
        json!([]),
        json!(["cap:grant.*"]),
        json!(["cap:grant.give", "cap:org.suspend"]),
    ] {
        let change = || settings(json!({ "approvals.required": less }));
        assert_eq!(code(&mut desk, change()), required(), "{less}");
        assert_eq!(code(&mut desk, dispatched(change(), "acme/approval/apr_1")), Ok(None), "{less}");
        let by_token = CommandEnvelope {
            principal: PrincipalId::BOOTSTRAP,
            ..change()
        };
        assert_eq!(code(&mut desk, by_token), Ok(None), "{less}");
    }
    for more in [
        json!({ "approvals.required": ["cap:grant.*", "cap:org.*"] }),
        json!({ "step_up.required": ["cap:org.suspend"] }),
        json!({ "theme": "dark" }),
    ] {
        assert_eq!(code(&mut desk, settings(more.clone())), Ok(None), "{more}");
    }
}

#[test]
fn step_up_lists_weaken_by_a_recent_sign_in_alone() {
    let mut desk = Desk::new(somebody(Some(Role::Owner)));
    let longer = || settings(json!({ "step_up.max_age_s": 31 }));
    assert_eq!(code(&mut desk, longer()), Ok(None), "nothing is guarded yet");
    desk.step_up = vec!["cap:grant.give".parse().unwrap()];
    let required = || Err("insufficient_user_authentication".to_owned());
    for weaker in [
        settings(json!({ "step_up.required": null })),
        settings(json!({ "step_up.required": ["cap:org.suspend"] })),
        longer(),
    ] {
        assert_eq!(code(&mut desk, weaker), required());
    }
    for stronger in [
        json!({ "step_up.required": ["cap:grant.*"] }),
        json!({ "approvals.required": ["cap:grant.*"] }),
    ] {
        assert_eq!(code(&mut desk, settings(stronger.clone())), Ok(None), "{stronger}");
    }
}
