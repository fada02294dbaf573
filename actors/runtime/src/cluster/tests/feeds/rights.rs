//! Rights at a node that owns nothing: what it follows keeps up what it knows of them, and nothing is read again.

use super::*;
use quipu_schemas::role::Role;

/// Sends a command to the owner and lets the watcher see it.
async fn told(owner: &Node, watcher: &Node, kind: &'static str, id: &str, command: &str, body: Value) {
    owner.here(owner.envelope(kind, id, command, body)).await.expect("taken");
    let core = watcher.core.clone();
    tokio::task::spawn_blocking(move || shadow::follow(&core, 0))
        .await
        .expect("no crash");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followed_records_change_what_is_known_of_rights() {
    let log = log(1);
    let (of_owner, of_watcher) = (Store::new(PATIENCE), Store::new(PATIENCE));
    let owner = Node::new(&log, &of_owner, Kinds::builtin(), &[]);
    owner.own(0).await;
    owner.org().await;
    let watcher = Node::new(&log, &of_watcher, Kinds::builtin(), &[]);
    let (acme, ada) = (OrgId::from_static("acme"), PrincipalId::from_static("ada"));
    let (key, core) = (EntityId::from_static("key_1"), watcher.core.clone());
    let role = || core.rights(&acme, &ada, false).expect("known").org.role;
    let is_revoked = || core.api_key(&acme, &key).expect("known").is_none_or(|key| key.has_ended(0));

    told(
        &owner,
        &watcher,
        "org",
        "acme",
        "add_member",
        json!({ "principal": "ada", "role": "member" }),
    )
    .await;
    told(
        &owner,
        &watcher,
        "api-key",
        "key_1",
        "create",
        json!({ "name": "k", "principal": "ada" }),
    )
    .await;
    assert_eq!((role(), is_revoked()), (Some(Role::Member), false));

    let read = core.counters.records_read.load(Ordering::Relaxed);
    told(
        &owner,
        &watcher,
        "org",
        "acme",
        "set_role",
        json!({ "principal": "ada", "role": "admin" }),
    )
    .await;
    assert_eq!(role(), Some(Role::Admin));
    told(&owner, &watcher, "api-key", "key_1", "revoke", json!({})).await;
    assert!(is_revoked());
    assert_eq!(
        core.counters.records_read.load(Ordering::Relaxed),
        read,
        "followed, and not read again"
    );
}
