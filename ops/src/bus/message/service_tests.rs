//! Commands over the bus that act as a service principal of their org.

use super::*;
use crate::app::{
    Access,
    tests::{create_org, in_memory, in_memory_with},
};
use quipu_schemas::ids::{EntityId, Kind, PrincipalId};
use serde_json::{Value, json};

/// A message for an entity of `acme`, on behalf of whom it says.
fn arrived(
    headers: &[(&'static str, &str)],
    (kind, id, command): (&'static str, &str, &str),
    body: &Value,
) -> (http::HeaderMap, Target, Vec<u8>) {
    let mut map = http::HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let target = Target {
        org: OrgId::from_static("acme"),
        kind: Kind::from_static(kind),
        id: Some(EntityId::parse(id.to_owned()).unwrap()),
        command: command.into(),
    };
    (map, target, serde_json::to_vec(body).unwrap())
}

/// What becomes of a command for an entity; the id is that of the message.
async fn send(app: &App, id: &str, named: Option<&str>, to: (&'static str, &str, &str), body: Value) -> Result<Receipt, Problem> {
    let mut headers = vec![("idempotency-key", id)];
    headers.extend(named.map(|named| ("quipu-on-behalf-of", named)));
    let (headers, target, body) = arrived(&headers, to, &body);
    let arrived = Arrived {
        org: None,
        target: Ok(target),
        headers,
        body: &body,
    };
    let incoming = read(app, arrived).map_err(|refused| refused.problem)?;
    decide(app, incoming.request).await
}

/// A node of whose bus messages `svc-bus` acts, and its org.
async fn with_service() -> (App, tokio::sync::watch::Sender<crate::app::Stage>) {
    let access = Access {
        bus_principal: Some(PrincipalId::from_static("svc-bus")),
        ..Access::default()
    };
    let (app, stage) = in_memory_with(access).await;
    create_org(&app, "acme").await;
    (app, stage)
}

/// Something that the platform does in the org.
async fn by_platform(app: &App, id: &str, to: (&'static str, &str, &str), body: Value) {
    let labels = {
        let mut headers = http::HeaderMap::new();
        headers.append(KEY, HeaderValue::from_str(id).unwrap());
        Labels::read(&headers).unwrap()
    };
    let by = InOrg::admit(&Caller::with(crate::caller::Credential::Token), OrgId::from_static("acme")).unwrap();
    let kind = Kind::from_static(to.0);
    let asked = Asked {
        by: &by,
        kind: app.kind(&kind.plural()).unwrap(),
        id: Some(EntityId::parse(to.1.to_owned()).unwrap()),
        command: to.2,
        labels,
        correlation: Correlation("c".into()),
        fields: body,
    };
    app.command(asked.into_request().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn message_names_who_acts_where_no_service_does() {
    let (app, _stage) = in_memory().await;
    create_org(&app, "acme").await;
    let room = ("conversation", "c1", "create");
    let refused = send(&app, "m1", None, room, json!({ "type": "group" })).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (400, "bad_header"));
}

#[tokio::test(flavor = "multi_thread")]
async fn service_acts_by_its_own_rights_and_for_others_by_leave() {
    let (app, _stage) = with_service().await;
    let room = |id| ("conversation", id, "create");
    let group = || json!({ "type": "group" });
    let code = |answer: Result<Receipt, Problem>| answer.map(|_| ()).map_err(|problem| problem.code.to_string());
    // Nobody in the org yet; to name somebody who is does not help.
    for (id, named) in [("m1", None), ("m2", Some("ada"))] {
        assert_eq!(
            code(send(&app, id, named, room("c1"), group()).await),
            Err("no_access".into()),
            "{named:?}"
        );
    }
    for member in ["svc-bus", "ada"] {
        let body = json!({ "principal": member, "role": "member" });
        by_platform(&app, &format!("add-{member}"), ("org", "acme", "add_member"), body).await;
    }
    assert_eq!(code(send(&app, "m3", None, room("c2"), group()).await), Ok(()));
    let refused = send(&app, "m4", Some("ada"), room("c3"), group()).await.unwrap_err();
    assert_eq!(refused.code, "missing_right");
    assert!(refused.detail.contains("cap:principal.act_as"), "{refused}");
    let right = json!({ "right": "cap:principal.act_as" });
    by_platform(&app, "give", ("grant", "svc-bus", "give"), right).await;
    assert_eq!(code(send(&app, "m5", Some("ada"), room("c4"), group()).await), Ok(()));
    // The platform is nobody whom a message may name, whatever the service holds.
    for named in ["bootstrap", "_accounts"] {
        assert_eq!(
            code(send(&app, "m6", Some(named), room("c5"), group()).await),
            Err("reserved_principal".into()),
            "{named}"
        );
    }
}
