//! Codes that are sent to an address.

use super::*;
use quipu_kinds::principal::{AskCode, UseCode};
use quipu_schemas::{
    limits::{MAIL_PAUSE_MS, RESET_CODE_MS},
    mail::MailPurpose,
    reaction::Effect,
};

fn asked(n: u8, purpose: MailPurpose, mail: bool) -> PrincipalWord {
    PrincipalWord::AskCode(AskCode {
        id: EntityId::parse(format!("ask_{n}")).unwrap(),
        purpose,
        address: EntityId::from_static("adr_1"),
        hash: hash(n),
        mail,
    })
}

fn used(n: u8, purpose: MailPurpose) -> PrincipalWord {
    PrincipalWord::UseCode(UseCode {
        id: EntityId::parse(format!("ask_{n}")).unwrap(),
        purpose,
        hash: hash(n),
        password: (purpose == MailPurpose::ResetPassword).then(|| password(true)),
    })
}

use MailPurpose::{Invite, ResetPassword, VerifyAddress};

fn is_verified(scene: &Scene<Principal>) -> bool {
    scene.state.person().unwrap().addresses[0].verified
}

#[test]
fn a_code_is_taken_once_for_what_it_was_sent_for() {
    let mut scene = person();
    scene.ok(&node(), asked(1, VerifyAddress, true));
    let [Reaction::Perform(perform)] = scene.reactions.as_slice() else {
        panic!("{:?}", scene.reactions)
    };
    let Effect::Mail(call) = &perform.effect else {
        panic!("{perform:?}")
    };
    assert_eq!((call.purpose, call.ask.as_str()), (VerifyAddress, "ask_1"));
    for purpose in [ResetPassword, Invite] {
        scene.refused(&node(), used(1, purpose), 403, "code_refused");
    }
    let other = PrincipalWord::UseCode(UseCode {
        id: EntityId::from_static("ask_1"),
        purpose: VerifyAddress,
        hash: hash(2),
        password: None,
    });
    scene.refused(&node(), other, 403, "code_refused");
    assert!(!is_verified(&scene));
    scene.ok(&node(), used(1, VerifyAddress));
    assert!(is_verified(&scene));
    scene.refused(&node(), used(1, VerifyAddress), 403, "code_refused");
    scene.unchanged(&node(), asked(2, VerifyAddress, true));
    scene.refused(&node(), asked(3, Invite, true), 403, "code_refused");
    // No client says any of this.
    scene.refused(&admin(), asked(4, ResetPassword, true), 403, "not_the_node");
    scene.refused(&admin(), used(4, ResetPassword), 403, "not_the_node");
}

#[test]
fn a_code_that_sets_a_password_is_short_lived() {
    let mut scene = person();
    scene.ok(&node(), started(start(1)));
    scene.ok(&node(), asked(1, ResetPassword, true));
    // One letter is on its way.
    scene.unchanged(&node(), asked(2, ResetPassword, true));
    scene.now += MAIL_PAUSE_MS;
    scene.ok(&node(), asked(3, ResetPassword, true));
    scene.refused(&node(), used(1, ResetPassword), 403, "code_refused");
    scene.now += RESET_CODE_MS;
    scene.refused(&node(), used(3, ResetPassword), 403, "code_refused");
    // What is shown waits for no letter, and takes the place of what was shown before.
    scene.ok(&node(), asked(4, ResetPassword, false));
    assert!(scene.reactions.is_empty());
    scene.ok(&node(), asked(5, ResetPassword, false));
    scene.refused(&node(), used(4, ResetPassword), 403, "code_refused");
    scene.ok(&node(), used(5, ResetPassword));
    assert_eq!(live(&scene), 0);
    assert!(!is_verified(&scene), "no letter was read at the address");
    // Another password makes what was sent before worth nothing.
    scene.ok(&node(), asked(6, ResetPassword, false));
    scene.ok(&node(), PrincipalWord::SetPassword(password(true)));
    scene.refused(&node(), used(6, ResetPassword), 403, "code_refused");
}

#[test]
fn whoever_took_an_address_first_keeps_no_way_in() {
    let mut scene = person();
    let key: PublicJwk =
        serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })).unwrap();
    let add = || PrincipalCommand::AddPublicKey(AddPublicKey { key: key.clone() });
    scene.ok(&node(), add());
    scene.ok(&node(), asked(1, ResetPassword, true));
    scene.ok(&node(), used(1, ResetPassword));
    assert!(scene.state.account().unwrap().public_keys.is_empty() && is_verified(&scene));
    // One whose address was verified before keeps what is theirs.
    scene.ok(&node(), add());
    scene.now += MAIL_PAUSE_MS;
    scene.ok(&node(), asked(2, ResetPassword, true));
    scene.ok(&node(), used(2, ResetPassword));
    assert_eq!(scene.state.account().unwrap().public_keys.len(), 1);
}

#[test]
fn a_reset_by_an_unproved_address_leaves_no_authenticator() {
    let set_up = || {
        let mut scene = person();
        let other = AddAddress {
            id: EntityId::from_static("adr_2"),
            address: sealed(&"squatter@example.org".to_owned()),
        };
        scene.ok(&node(), PrincipalWord::AddAddress(other));
        let secret = sealed(&"JBSWY3DPEHPK3PXP".to_owned());
        scene.ok(&node(), PrincipalWord::EnrolTotp(EnrolTotp { secret }));
        let confirm = ConfirmTotp {
            step: 7,
            recovery: vec![hash(9)],
        };
        scene.ok(&node(), PrincipalWord::ConfirmTotp(confirm));
        scene.ok(&node(), started(start(1)));
        scene
    };
    let has_totp = |scene: &Scene<Principal>| scene.state.person().unwrap().totp != Totp::Off;
    let mut scene = set_up();
    scene.ok(&node(), asked(1, ResetPassword, true));
    scene.ok(&node(), used(1, ResetPassword));
    let left = scene.state.person().unwrap();
    assert_eq!((&left.totp, left.recovery.len(), left.addresses.len()), (&Totp::Off, 0, 1));
    assert!(is_verified(&scene) && live(&scene) == 0);
    // What the node shows proves no address, and whoever has proved one keeps what is theirs.
    let mut shown = set_up();
    shown.ok(&node(), asked(1, ResetPassword, false));
    shown.ok(&node(), used(1, ResetPassword));
    assert!(has_totp(&shown));
    let mut proved = set_up();
    proved.ok(&node(), asked(1, VerifyAddress, true));
    proved.ok(&node(), used(1, VerifyAddress));
    proved.ok(&node(), asked(2, ResetPassword, true));
    proved.ok(&node(), used(2, ResetPassword));
    assert!(has_totp(&proved) && proved.state.person().unwrap().addresses.len() == 2);
}

#[test]
fn an_unproved_address_beside_a_proved_one_resets_nothing() {
    let mut scene = person();
    let mistyped = AddAddress {
        id: EntityId::from_static("adr_2"),
        address: sealed(&"somebody@example.net".to_owned()),
    };
    scene.ok(&node(), PrincipalWord::AddAddress(mistyped));
    let to_second = |n: u8| match asked(n, ResetPassword, true) {
        PrincipalWord::AskCode(ask) => PrincipalWord::AskCode(AskCode {
            address: EntityId::from_static("adr_2"),
            ..ask
        }),
        word => word,
    };
    // Asked for while no address was proved, and shown once one was.
    scene.ok(&node(), to_second(1));
    scene.ok(&node(), asked(2, VerifyAddress, true));
    scene.ok(&node(), used(2, VerifyAddress));
    scene.refused(&node(), used(1, ResetPassword), 403, "code_refused");
    scene.refused(&node(), to_second(3), 403, "code_refused");
    scene.ok(&node(), asked(4, ResetPassword, true));
    scene.ok(&node(), used(4, ResetPassword));
}

#[test]
fn codes_go_with_their_address_and_from_nobody_who_is_stopped() {
    let mut scene = person();
    scene.ok(&node(), asked(1, VerifyAddress, true));
    scene.ok(&node(), PrincipalCommand::Suspend(SuspendPrincipal { reason: String::new() }));
    scene.refused(&node(), asked(2, ResetPassword, true), 403, "principal_suspended");
    scene.refused(&node(), used(1, VerifyAddress), 403, "principal_suspended");
    scene.ok(&node(), PrincipalCommand::Resume(ResumePrincipal {}));
    let named = AddressNamed {
        id: EntityId::from_static("adr_1"),
    };
    scene.ok(&node(), PrincipalWord::RemoveAddress(named));
    scene.refused(&node(), used(1, VerifyAddress), 403, "code_refused");
    scene.refused(&node(), asked(3, ResetPassword, true), 404, "address_not_found");
}
