use super::*;
use crate::scene::{As, Scene, as_role, id, sent_by};
use quipu_schemas::{digest::Digest, rights::Pattern};
use serde_json::{Value, json};

fn said(changes: Value) -> DescribeApplication {
    let mut body = json!({
        "name": "App",
        "grants": ["authorization_code", "refresh_token", "client_credentials"],
        "authentication": "client_secret_basic",
        "redirect_uris": ["https://app.example/cb"],
        "scopes": ["cap:run.*"],
    });
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    serde_json::from_value(body).unwrap()
}
fn create(changes: Value) -> ApplicationCommand {
    ApplicationCommand::Create(said(changes))
}
fn update(changes: Value) -> ApplicationCommand {
    ApplicationCommand::Update(said(changes))
}
fn link(service: &str) -> ApplicationCommand {
    ApplicationCommand::LinkService(LinkService { service: id(service) })
}
fn rotate(grace_hours: Option<u32>, n: u8) -> ApplicationCommand {
    ApplicationCommand::RotateSecret(RotateClientSecret {
        grace_hours,
        hash: Some(Digest([n; 32])),
    })
}
fn stop(reason: &str) -> StopApplication {
    StopApplication { reason: reason.into() }
}
fn ada() -> As {
    as_role("ada", Some(Role::Owner))
}
fn bob() -> As {
    as_role("bob", Some(Role::Admin))
}
fn scene() -> Scene<Application> {
    let mut scene = Scene::new("acme/application/app_1");
    scene.ok(&bob(), create(json!({})));
    scene
}
fn linked() -> Scene<Application> {
    let mut scene = scene();
    scene.ok(&ada(), link("svc_1"));
    scene
}
fn knows(scene: &Scene<Application>, n: u8) -> bool {
    scene.state.app().unwrap().knows_secret(&[n; 32], scene.now)
}
fn key() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
}

#[test]
fn an_application_has_no_secret_until_one_is_made() {
    let mut scene = scene();
    assert!(!knows(&scene, 1));
    scene.ok(&bob(), rotate(None, 1));
    assert!(knows(&scene, 1) && !knows(&scene, 2));
    scene.ok(&bob(), rotate(Some(2), 2));
    assert!(knows(&scene, 1) && knows(&scene, 2));
    scene.now += 2 * HOUR_MS;
    assert!(!knows(&scene, 1) && knows(&scene, 2));
    scene.ok(&bob(), rotate(None, 3));
    assert!(!knows(&scene, 2) && knows(&scene, 3));
    scene.refused(&bob(), rotate(Some(25), 4), 422, "bad_grace");
    scene.refused(&sent_by("bob", "acme/run/r1"), rotate(None, 4), 403, "secret_unseen");
    scene.refused(&bob(), create(json!({})), 409, "application_exists");
}

/// Whoever sees the secret of a linked application acts as the service.
#[test]
fn a_linked_service_is_an_owners_to_hand_on() {
    let mut scene = scene();
    scene.refused(&bob(), link("svc_1"), 403, "role_needed");
    let narrowed = As {
        authority: quipu_schemas::context::Authority {
            narrowed: true,
            ..ada().authority
        },
        ..ada()
    };
    scene.refused(&narrowed, link("svc_1"), 403, "narrow_credential");
    for nobody in ["usr_1", "bootstrap", "_kernel"] {
        scene.refused(&ada(), link(nobody), 422, "bad_service");
    }
    scene.ok(&ada(), link("svc_1"));
    scene.unchanged(&ada(), link("svc_1"));
    scene.refused(&bob(), rotate(None, 1), 403, "role_needed");
    scene.refused(&bob(), update(json!({ "scopes": ["role:owner"] })), 403, "role_needed");
    let signs = json!({ "authentication": "private_key_jwt", "keys": [key()] });
    scene.refused(&bob(), update(signs), 403, "role_needed");
    scene.ok(&bob(), update(json!({ "name": "Other" })));
    scene.ok(&ada(), rotate(None, 1));
    // To take it away takes less.
    scene.ok(
        &bob(),
        ApplicationCommand::UnlinkService(quipu_kinds::application::UnlinkService {}),
    );
    scene.unchanged(
        &bob(),
        ApplicationCommand::UnlinkService(quipu_kinds::application::UnlinkService {}),
    );
    scene.ok(&bob(), rotate(None, 2));
    assert_eq!(scene.state.app().unwrap().service, None);
}

#[test]
fn each_description_is_checked_whole() {
    for (changes, code) in [
        (json!({ "name": "" }), "bad_name"),
        (json!({ "grants": [] }), "no_grants"),
        (json!({ "scopes": [] }), "bad_scopes"),
        (json!({ "redirect_uris": [] }), "bad_redirect_uris"),
        (json!({ "grants": ["client_credentials"] }), "bad_redirect_uris"),
        (json!({ "authentication": "private_key_jwt" }), "bad_keys"),
        (json!({ "keys": [key()] }), "bad_keys"),
        (json!({ "authentication": "none" }), "public_client"),
        (
            json!({ "authentication": "none", "grants": ["token_exchange"], "redirect_uris": [] }),
            "public_client",
        ),
    ] {
        let mut fresh: Scene<Application> = Scene::new("acme/application/app_2");
        fresh.refused(&bob(), create(changes.clone()), 422, code);
        // What a creation refuses, no update lets in.
        scene().refused(&bob(), update(changes), 422, code);
    }
    let public = json!({ "authentication": "none", "grants": ["authorization_code", "refresh_token"] });
    scene().ok(&bob(), update(public));
    scene().unchanged(&bob(), update(json!({})));
}

#[test]
fn a_secret_that_is_no_longer_shown_opens_nothing_again() {
    let mut scene = scene();
    scene.ok(&bob(), rotate(None, 1));
    scene.ok(&bob(), update(json!({ "authentication": "private_key_jwt", "keys": [key()] })));
    assert!(!knows(&scene, 1));
    scene.refused(&bob(), rotate(None, 2), 409, "no_client_secret");
    scene.ok(&bob(), update(json!({})));
    assert!(!knows(&scene, 1));
}

#[test]
fn a_stopped_application_goes_on_and_a_retired_one_never() {
    let mut scene = linked();
    scene.ok(&bob(), ApplicationCommand::Suspend(stop("odd")));
    assert!(scene.state.active().is_none());
    scene.unchanged(&bob(), ApplicationCommand::Suspend(stop("odd")));
    // What it is may change meanwhile, and its secret must.
    scene.ok(&ada(), rotate(None, 1));
    assert!(scene.state.active().is_none());
    let resume = || ApplicationCommand::Resume(quipu_kinds::application::ResumeApplication {});
    scene.ok(&bob(), resume());
    assert!(scene.state.active().is_some() && knows(&scene, 1));
    scene.unchanged(&bob(), resume());
    scene.ok(&bob(), ApplicationCommand::Retire(stop("over")));
    scene.unchanged(&bob(), ApplicationCommand::Retire(stop("over")));
    for command in [resume(), rotate(None, 2), update(json!({})), link("svc_2")] {
        scene.refused(&ada(), command, 409, "application_retired");
    }
    scene.refused(&bob(), create(json!({})), 409, "application_exists");
    let long = "x".repeat(501);
    self::scene().refused(&bob(), ApplicationCommand::Suspend(stop(&long)), 422, "bad_reason");
    let mut missing: Scene<Application> = Scene::new("acme/application/app_9");
    missing.refused(&bob(), resume(), 404, "application_not_found");
    assert!(Application::ignores_suspension(&ApplicationCommand::Retire(stop("x"))));
    assert!(!Application::ignores_suspension(&resume()));
}

#[test]
fn an_application_asks_for_what_it_named_at_most() {
    let scene = scene();
    let app = scene.state.app().unwrap();
    let may = |text: &str| app.may_ask_for(&text.parse().unwrap());
    assert!(may("cap:run.*") && may("cap:run.start") && may("cap:openid.sign_in"));
    assert!(!may("cap:agent.read") && !may("role:owner") && !may("role:viewer") && !may("cap:agent.*"));
    let one: Pattern = "cap:run.start".parse().unwrap();
    assert!(!covers(&one, &"cap:run.*".parse().unwrap()), "one right is not its family");
}

#[test]
fn ports_that_no_server_has_are_refused_and_still_fold() {
    let mut scene: Scene<Application> = Scene::new("acme/application/app_1");
    let odd = json!({ "redirect_uris": ["http://127.0.0.1:99999/cb"] });
    scene.refused(&ada(), create(odd.clone()), 422, "bad_redirect_uris");
    // What an earlier release took goes on.
    let old = ApplicationEvent::Created(said(odd.clone()));
    scene.state = Application::evolve(scene.state.clone(), &old).unwrap();
    scene.refused(
        &ada(),
        update(json!({ "redirect_uris": ["http://127.0.0.1:99999/cb"], "name": "B" })),
        422,
        "bad_redirect_uris",
    );
    scene.ok(&ada(), update(json!({ "redirect_uris": ["http://127.0.0.1:9999/cb"] })));
}
