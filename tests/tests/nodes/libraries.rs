//! Libraries of others, unmodified, against a node over TLS: OAuth and OpenID Connect, and signed deliveries both ways.
//!
//! They are installed once under `.tools`, each in the version that is named here; where they cannot be had, the tests say so and pass.

use super::clients::{PYTHON, bench, flow, packages, root, succeed};
use quipu_tests::{
    caller::wait,
    office::path,
    process::{Launch, Process},
    receiver::{Receiver, SECRET},
    venv::{run, skipped, venv},
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// What makes certificates is among them.
const OAUTH: &[&str] = &[
    "Authlib==1.9.10",
    "PyJWT==2.15.1",
    "joserfc==1.8.0",
    "requests==2.32.5",
    "cryptography==50.0.2",
];
const OAUTH_NODE: &[&str] = &["openid-client@6.9.0", "oauth4webapi@3.8.8", "jose@6.2.18"];
const SIGNING: &[&str] = &["standardwebhooks==1.1.0"];
const SIGNING_NODE: &[&str] = &["standardwebhooks@1.1.1", "@octokit/webhooks-methods@6.0.0"];
const ADDRESS: &str = "ada@people.example";
const PASSWORD: &str = "correct horse battery staple";

/// A node that speaks TLS, in which Ada has an account and owns the org `acme`.
struct Secured {
    files: TempDir,
    launch: Launch,
    node: Process,
}

impl Secured {
    /// `python` has the packages of [`OAUTH`].
    async fn open(python: &Path, configure: impl FnOnce(Launch) -> Launch) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        succeed(
            Command::new(python.join("bin/python"))
                .arg(root().join("tests/clients/authority.py"))
                .arg(files.path()),
        );
        let mut launch = configure(Launch::new().secured(files.path()));
        let node = launch.start().await;
        assert!(node.caller.base().starts_with("https://127.0.0.1:"), "{}", node.caller.base());
        let ada = json!({ "name": "Ada", "address": ADDRESS, "password": PASSWORD });
        let made = node.caller.post("/v1/auth/register", ada).await;
        let ada = made.body["principal"].as_str().unwrap_or_else(|| panic!("{}", made.text));
        let ada = node.caller.acting_for(ada);
        ada.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.taken();
        Self { files, launch, node }
    }

    /// Runs a program against it, which knows the authority as it knows others: by the settings of its platform.
    async fn run(&self, mut command: Command) -> String {
        let authority = self.files.path().join("ca.pem");
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            command.env(name, &authority);
        }
        command.env("PERSON_ADDRESS", ADDRESS).env("PERSON_PASSWORD", PASSWORD);
        flow(command, &self.launch, &self.node).await
    }
}

/// A script in a directory with the packages of Node.js that it needs.
fn modules(script: &str, home: &Path) -> TempDir {
    let bench = bench(script);
    symlink(home.join("node_modules"), bench.path().join("node_modules")).expect("the packages");
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauth_libraries_of_python_work_unmodified() {
    let tools = match venv("oauth", OAUTH) {
        Ok(tools) => tools,
        Err(why) => return skipped("Authlib, PyJWT and joserfc against a node", &why),
    };
    let bench = bench("oauth.py");
    let secured = Secured::open(&tools, |launch| launch).await;
    let mut python = Command::new(tools.join("bin/python"));
    python.current_dir(bench.path()).arg("oauth.py");
    assert_eq!(secured.run(python).await, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauth_libraries_of_javascript_work_unmodified() {
    let found = venv("clients", PYTHON).and_then(|tools| {
        let home = packages(&tools, "oauth-node", OAUTH_NODE)?;
        Ok((venv("oauth", OAUTH)?, home, tools))
    });
    let (python, home, tools) = match found {
        Ok(found) => found,
        Err(why) => return skipped("openid-client, oauth4webapi and jose against a node", &why),
    };
    let bench = modules("oauth.mjs", &home);
    let secured = Secured::open(&python, |launch| launch).await;
    let mut script = Command::new(tools.join("bin/node"));
    script.current_dir(bench.path()).arg("oauth.mjs");
    assert_eq!(secured.run(script).await, "done");
}

/// The client in Go, built if need be; or why it cannot be. What does not compile fails.
fn go_client() -> Result<PathBuf, String> {
    let (source, home) = (root().join("tests/clients/go"), root().join(".tools/oauth-go"));
    let go = || {
        let mut go = Command::new("go");
        go.current_dir(&source).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly");
        go
    };
    run(go().args(["mod", "download"])).map_err(|e| format!("no Go, or not its modules: {e}"))?;
    fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    let client = home.join("client");
    succeed(go().args(["build", "-o"]).arg(&client).arg("."));
    Ok(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauth_libraries_of_go_work_unmodified() {
    let found = venv("oauth", OAUTH).and_then(|tools| Ok((tools, go_client()?)));
    let (python, client) = match found {
        Ok(found) => found,
        Err(why) => return skipped("go-oidc and x/oauth2 against a node", &why),
    };
    let secured = Secured::open(&python, |launch| launch).await;
    assert_eq!(secured.run(Command::new(client)).await, "done");
}

/// A delivery of the node, as it arrived: its headers and its body.
async fn delivery(secured: &Secured, receiver: &Receiver) -> Value {
    let definition = json!({
        "name": "tell", "inputs": { "order": { "type": "object" } }, "outputs": { "answer": {} },
        "nodes": [{ "id": "tell", "component": "webhook.call", "config": {
            "url": receiver.url("/orders"), "type": "order.placed", "data": { "number": "=input.number" }, "secret": "hook"
        }}],
        "edges": [{ "from": "input.order", "to": "tell.in" }, { "from": "tell.out", "to": "output.answer" }],
    });
    let run = json!({ "definition": definition, "input": { "order": { "number": "4711" } } });
    let ada = secured.node.caller.acting_for("ada");
    ada.post(&path("run", "tells"), run).await.taken();
    let arrival = wait("a delivery", || async { receiver.at("/orders").pop() }).await;
    json!({ "headers": arrival.signature, "body": arrival.body })
}

async fn callbacks(secured: &Secured) {
    let (hook, hub) = (SECRET, "It's a Secret to Everybody");
    let caller = &secured.node.caller;
    let ada = caller.acting_for("ada");
    ada.post(&path("conversation", "c"), json!({ "type": "group" })).await.taken();
    let secret = format!("{}/set", path("secret", "hub"));
    caller.post(&secret, json!({ "value": hub })).await.taken();
    for (id, scheme, by) in [
        ("hooks", "standard_webhooks", json!({ "value": hook })),
        ("hub", "github", json!({ "name": "hub" })),
    ] {
        let callback = json!({
            "name": id, "scheme": scheme, "secret": by, "principal": "ada", "mapping": { "body": "=body.text" },
            "target": { "kind": "conversation", "id": "c", "command": "post" }
        });
        caller.post(&path("callback", id), callback).await.taken();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_real_libraries_sign_are_taken_once() {
    let what = "deliveries signed and verified by standardwebhooks and @octokit/webhooks-methods";
    let found = venv("clients", PYTHON).and_then(|tools| {
        let home = packages(&tools, "signing-node", SIGNING_NODE)?;
        Ok((venv("signing", SIGNING)?, venv("oauth", OAUTH)?, home, tools))
    });
    let (python, maker, home, tools) = match found {
        Ok(found) => found,
        Err(why) => return skipped(what, &why),
    };
    let receiver = Receiver::start().await;
    let secured = Secured::open(&maker, |launch| launch.reaching(&[receiver.address]).secret("acme/hook", SECRET)).await;
    let owner = json!({ "principal": "ada", "role": "admin" });
    secured.node.caller.post("/v1/orgs/acme/orgs/acme/add_member", owner).await.taken();
    callbacks(&secured).await;
    let delivered = delivery(&secured, &receiver).await.to_string();
    let modules = modules("callbacks.mjs", &home);
    for (program, directory, script) in [
        (python.join("bin/python"), root().join("tests/clients"), "callbacks.py"),
        (tools.join("bin/node"), modules.path().to_owned(), "callbacks.mjs"),
    ] {
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .arg(script)
            .env("HOOK_SECRET", SECRET)
            .env("HUB_SECRET", "It's a Secret to Everybody")
            .env("DELIVERY", &delivered);
        assert_eq!(secured.run(command).await, "done", "{script}");
    }
    let messages = format!("{}/messages", path("conversation", "c"));
    wait("one message a delivery", || async {
        let page = secured.node.caller.get(&messages).await.body;
        page["items"].as_array().filter(|items| items.len() == 3).map(Vec::len)
    })
    .await;
}
