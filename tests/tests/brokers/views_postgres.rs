//! A node with its views in PostgreSQL: the same rows, commands whatever becomes of the database, and no password shown.

use quipu_tests::{
    caller::wait,
    office::{Office, path},
    process::Launch,
    servers::postgres::start_or_skip,
};
use serde_json::{Value, json};

const PASSWORD: &str = "not-to-be-seen";

fn with_password(url: &str, options: &str) -> String {
    format!("{}?{options}", url.replace("postgres@", &format!("postgres:{PASSWORD}@")))
}

/// Every message that ada sees, in order.
async fn messages(office: &Office) -> Vec<Value> {
    let page = office.ada.fresh("/v1/orgs/acme/messages?limit=1000").await;
    page.taken().body["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|row| row["id"].clone())
        .collect()
}

#[tokio::test]
async fn commands_go_on_without_the_database_and_views_catch_up() {
    for options in ["schema=shared", "schema=apart&schema_per_org=true"] {
        let Some(mut server) = start_or_skip("a node with views in PostgreSQL") else {
            return;
        };
        let mut office = Office::open_with(|launch| launch.set("views.store", with_password(&server.url(), options))).await;
        office.room("desk", &[], 0).await;
        office.say("desk", "m0", "before").await.taken();
        assert_eq!(messages(&office).await, ["m0"]);
        assert!(!office.launch.data().join("views").exists(), "nothing of the views is on this disk");

        // The database crashes: queries say so, commands are taken as ever.
        server.kill();
        office.say("desk", "m1", "meanwhile").await.taken();
        wait("queries to fail", || async {
            let page = office.ada.get("/v1/orgs/acme/messages").await;
            (page.status == 503 && page.code() == "views_unavailable").then_some(())
        })
        .await;
        wait("health to tell", || async {
            let health = office.ada.get("/health").await.body.to_string();
            health.contains("view storage").then_some(())
        })
        .await;

        // The node dies as well, and comes back while the database is still away.
        office.kill().await;
        office.start().await;
        office.say("desk", "m2", "still away").await.taken();
        office.ada.get("/v1/orgs/acme/messages").await.refused(503, "views_unavailable");

        server.restart();
        assert_eq!(messages(&office).await, ["m0", "m1", "m2"]);
        let room = office.ada.fresh(&path("conversation", "desk")).await.taken();
        assert_eq!(room.body["message_count"], 3);

        // What the command line does to views, it does to these.
        let data = office.launch.data().display().to_string();
        for verb in ["verify", "rebuild", "verify", "lag"] {
            let output = office.launch.run(&["views", verb, "--json", "--data", &data]).await;
            assert!(output.status.success(), "{verb}: {output:?}");
            let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_ne!(shown["equal"], json!(false), "{verb}: {shown}");
        }
        assert_eq!(messages(&office).await, ["m0", "m1", "m2"]);
        assert!(!office.node().log_text().contains(PASSWORD));
        office.node.take().expect("the node is up").stop().await;
    }
}

#[tokio::test]
async fn effective_settings_hide_the_password_and_nonsense_is_refused() {
    let launch = Launch::new();
    let url = with_password("postgres://postgres@127.0.0.1:1/quipu", "pool=2");
    let output = launch.run(&["serve", "--check", "--views", &url]).await;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && shown.contains("postgres://postgres:<redacted>@127.0.0.1:1/quipu?pool=2"),
        "{output:?}"
    );
    assert!(!shown.contains(PASSWORD));
    for (views, named) in [
        (with_password("postgres://postgres@127.0.0.1:1/quipu", "pool=none"), "pool"),
        ("tape".to_owned(), "views.store"),
        ("env:NO_SUCH_VARIABLE".to_owned(), "NO_SUCH_VARIABLE"),
    ] {
        let output = launch.run(&["serve", "--check", "--views", &views]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && text.contains(named) && !text.contains(PASSWORD),
            "{views}: {text}"
        );
    }
    let output = launch.run(&["serve", "--check", "--memory", "--views", &url]).await;
    assert!(!output.status.success(), "views of a log in memory are in memory");
}
