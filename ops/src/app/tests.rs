//! A node in memory, for tests of faces in parts, and what may be read of it.

use super::{Access, App, Stage};
use crate::{
    caller::{Caller, Credential, InOrg},
    config::Config,
    token::Token,
    views::Views,
    views_in::ViewsIn,
};
use quipu_projections::families::Families;
use quipu_runtime::{
    accounts::NewSession,
    api::{CommandRequest, FeedFilter, FeedItem},
    kinds::Kinds,
    node::{Node, PageFrom},
};
use quipu_schemas::{
    envelope::DataClass,
    ids::{CommandId, EntityId, Home, Kind, OrgId, StreamId},
    position::Cursor,
    problem::Problem,
};
use serde_json::json;
use tokio::sync::watch;

/// The app of a node in memory without views, which serves for as long as the sender is kept.
pub(crate) async fn in_memory() -> (App, watch::Sender<Stage>) {
    in_memory_with(Access::default()).await
}

/// The same with callers as these.
pub(crate) async fn in_memory_with(access: Access) -> (App, watch::Sender<Stage>) {
    let config = Config::in_memory().unwrap();
    let node = Node::start(config.node().unwrap(), Kinds::builtin(), |_| {}).await.unwrap();
    let views = Views::open(&ViewsIn::Off, None, &node, Families::house()).unwrap();
    let (stage, is_at) = watch::channel(Stage::Serving);
    let app = App::new(node, views, Token::mint().unwrap(), access, None, is_at);
    (app, stage)
}

fn leave(org: &'static str) -> InOrg {
    InOrg::admit(&Caller::with(Credential::Token), OrgId::from_static(org)).unwrap()
}

pub(crate) async fn create_org(app: &App, org: &'static str) {
    let request = CommandRequest {
        org: OrgId::from_static(org),
        kind: Kind::parse("org").unwrap(),
        id: Some(EntityId::parse(org).unwrap()),
        command: "create".into(),
        body: json!({ "name": org }),
        command_id: None,
        principal: Caller::with(Credential::Token).principal().unwrap().clone(),
        on_behalf_of: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    };
    app.command(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_one_org_reads_nothing_of_another() {
    let (app, _stage) = in_memory().await;
    create_org(&app, "acme").await;
    create_org(&app, "other").await;
    let (by, theirs) = (leave("acme"), StreamId::of_org(&OrgId::from_static("other")));
    let reads = app.reads(&by);
    assert!(reads.exists(&StreamId::of_org(by.org())).await.unwrap());

    let refused = |problem: Problem| (problem.status, problem.code.to_string());
    let not_found = (404, "not_found".to_owned());
    let id = CommandId::parse("c-1").unwrap();
    assert_eq!(refused(reads.exists(&theirs).await.unwrap_err()), not_found);
    assert_eq!(
        refused(reads.history(&theirs, PageFrom::Version(0), 1).await.err().unwrap()),
        not_found
    );
    assert_eq!(refused(reads.state(&theirs, None, None).await.err().unwrap()), not_found);
    assert_eq!(refused(reads.receipt(&theirs, &id).await.unwrap_err()), not_found);
    assert_eq!(refused(reads.listen(&theirs).await.err().unwrap()), not_found);

    let start = Cursor {
        next: vec![0; app.cursor().next.len()],
        ..app.cursor()
    };
    let filter = FeedFilter {
        org: Some(theirs.org.clone()),
        ..FeedFilter::default()
    };
    let mut feed = reads.feed(start, filter);
    let mut seen = Vec::new();
    while let Some(item) = feed.next().await {
        match item {
            FeedItem::Record(entry) => seen.push(entry.record.header.stream.org.clone()),
            FeedItem::CaughtUp(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(!seen.is_empty() && seen.iter().all(|org| org == by.org()), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_session_is_its_principals_and_noted_at_home() {
    let (app, _stage) = in_memory().await;
    create_org(&app, "acme").await;
    let clerk: Home = "acme/clerk".parse().unwrap();
    let create = CommandRequest {
        org: OrgId::from_static("acme"),
        kind: Kind::PRINCIPAL,
        id: Some(EntityId::from_static("clerk")),
        command: "create".into(),
        body: json!({ "name": "Clerk" }),
        command_id: None,
        principal: Caller::with(Credential::Token).principal().unwrap().clone(),
        on_behalf_of: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    };
    app.command(create).await.unwrap();
    let new = NewSession {
        client: Some("test".into()),
        lifetime_ms: 60_000,
        ..NewSession::default()
    };
    let session = app.node.start_session(&clerk, new).await.unwrap();
    let token = app.open(clerk.clone(), session).await.unwrap().token;
    app.node.end_sessions(&clerk).await.unwrap();
    let claims = app.read_token(&token).unwrap();
    assert_eq!(app.account(&claims).err().map(|problem| problem.status), Some(401));
    // Whatever org was asked for.
    for asked in [None, Some("acme"), Some("other")] {
        let asker = app.session_asker(&token, asked).expect("somebody");
        assert!(
            format!("{asker:?}").contains("acme") && format!("{asker:?}").contains("session/ses_"),
            "{asker:?}"
        );
        app.note_refused(&asker, "/v1/orgs/other/runs", &Problem::new(401, "unauthenticated", "ended"));
    }
    let noted = app.denials.lock().take(app.now(), true);
    let [(org, denial)] = &noted[..] else { panic!("{noted:?}") };
    assert_eq!((org.as_str(), denial.principal.as_str(), denial.count), ("acme", "clerk", 3));
    let forged = format!("{token}x");
    assert!(app.session_asker(&forged, Some("acme")).is_none());
}
