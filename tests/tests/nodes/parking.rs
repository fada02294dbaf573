//! Poison: rules that crash take their own stream out of service and nothing else, people see which, and one of them
//! puts it back once the cause is mended.

use quipu::{
    config::Config,
    serve::{self, Running},
};
use quipu_rules::decider::{Asked, AskedOf, Corrupt, Decider, Decision, Refusal};
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    context::Context,
    envelope::KernelCommand,
    ids::StreamId,
    json::Json,
    problem::Problem,
    reaction::{Dispatch, Reaction},
};
use quipu_tests::caller::{Answer, Caller, wait};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Sound rules.
const SOUND: u8 = 0;
/// Rules whose `decide` crashes on `blow`.
const DECIDES_BADLY: u8 = 1;
/// Rules whose `evolve` crashes on `blown`.
const FOLDS_BADLY: u8 = 2;

/// Counts how often it blew; told so by a person, by its timer, or by another fuse.
struct Fuse<const RULES: u8>;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct FuseState {
    lit: u64,
    blown: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FuseCommand {
    /// Does no harm.
    Light(Nothing),
    /// Blows now.
    Blow(Nothing),
    /// Blows by a timer that is due at once.
    Arm(Nothing),
    /// Blows another one.
    Pass(Pass),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FuseWord {
    /// Its time has come, or another fuse passed it on.
    Burn(Nothing),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pass {
    to: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
enum FuseEvent {
    #[serde(rename = "test.fuse.lit.v1")]
    Lit {},
    #[serde(rename = "test.fuse.blown.v1")]
    Blown {},
    #[serde(rename = "test.fuse.armed.v1")]
    Armed {},
    #[serde(rename = "test.fuse.passed.v1")]
    Passed { to: String },
}

#[derive(Debug)]
enum Never {}

impl Refusal for Never {
    fn problem(&self) -> Problem {
        match *self {}
    }
}

impl<const RULES: u8> Decider for Fuse<RULES> {
    const KIND: &'static str = "fuse";
    const RULES_VERSION: u32 = RULES as u32;
    const HEARS_ENTITIES: bool = true;
    type State = FuseState;
    type Command = FuseCommand;
    type Word = FuseWord;
    type Event = FuseEvent;
    type Rejection = Never;

    fn initial() -> FuseState {
        FuseState::default()
    }

    fn decide(_: &FuseState, asked: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<FuseEvent>, Never> {
        Ok(Decision::one(match asked {
            Asked::Command(FuseCommand::Light(_)) => FuseEvent::Lit {},
            Asked::Command(FuseCommand::Blow(_)) | Asked::Word(FuseWord::Burn(_)) => {
                assert!(RULES != DECIDES_BADLY, "a defect of decide");
                FuseEvent::Blown {}
            }
            Asked::Command(FuseCommand::Arm(_)) => FuseEvent::Armed {},
            Asked::Command(FuseCommand::Pass(pass)) => FuseEvent::Passed { to: pass.to.clone() },
        }))
    }

    fn evolve(mut state: FuseState, event: &FuseEvent) -> Result<FuseState, Corrupt> {
        match event {
            FuseEvent::Lit {} => state.lit += 1,
            FuseEvent::Blown {} => {
                assert!(RULES != FOLDS_BADLY, "a defect of evolve");
                state.blown += 1;
            }
            FuseEvent::Armed {} | FuseEvent::Passed { .. } => {}
        }
        Ok(state)
    }

    fn react(_: &FuseState, event: &FuseEvent) -> Vec<Reaction> {
        match event {
            FuseEvent::Armed {} => vec![Reaction::WakeAt {
                name: "blow".into(),
                due: 1,
            }],
            FuseEvent::Passed { to } => vec![Reaction::Dispatch(Dispatch::new(
                to.parse().expect("a stream"),
                Json(json!({ "burn": {} })),
            ))],
            FuseEvent::Lit {} | FuseEvent::Blown {} => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<FuseWord> {
        matches!(told, KernelCommand::TimerFired { .. }).then_some(FuseWord::Burn(Nothing {}))
    }
}

/// A kind that is called as a view is.
struct Message;

impl Decider for Message {
    const KIND: &'static str = "message";
    const RULES_VERSION: u32 = 1;
    type State = FuseState;
    type Command = FuseCommand;
    type Word = FuseWord;
    type Event = FuseEvent;
    type Rejection = Never;

    fn initial() -> FuseState {
        FuseState::default()
    }

    fn decide(_: &FuseState, _: &AskedOf<Self>, _: &Context<'_>) -> Result<Decision<FuseEvent>, Never> {
        Ok(Decision::Unchanged)
    }

    fn evolve(state: FuseState, _: &FuseEvent) -> Result<FuseState, Corrupt> {
        Ok(state)
    }
}

#[tokio::test]
async fn kind_called_like_a_view_stops_the_start() {
    let data = tempfile::tempdir().expect("a directory");
    let config = Config::at(data.path()).expect("a configuration");
    let error = serve::start_with(config, Kinds::builtin().with::<Message>(), |_| {}).await.err();
    let told = error.map_or_else(String::new, |e| e.to_string());
    assert!(told.contains("kind message cannot be called `messages`: a view is"), "{told:?}");
}

/// What a kind needs besides its rules is nothing: each face knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_is_added_is_on_every_face() {
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::start::<SOUND>(dir.path()).await;
    scene.found_org().await;
    scene.send("f", "light").await;
    scene.send("f", "arm").await;
    let fuse = "/v1/orgs/acme/fuses/f";
    // Its timer fired, over the log.
    let blown = json!({ "lit": 1, "blown": 1 });
    wait("its timer", || async { (scene.state("f").await == blown).then_some(()) }).await;
    let earlier = scene.caller.get(&format!("{fuse}/state?version=1")).await.taken().body;
    assert_eq!(earlier["state"], json!({ "lit": 1, "blown": 0 }));
    assert_eq!(scene.caller.records(fuse).await.len(), 3);
    let refused = scene.try_send("f", "lihgt", json!({})).await.refused(404, "unknown_command");
    assert!(refused.text.contains("light"), "{}", refused.text);
    // Views, feed and documents.
    let commands = scene.caller.fresh("/v1/orgs/acme/activity?kind=fuse").await.taken().body;
    assert!(commands["items"].as_array().is_some_and(|rows| !rows.is_empty()), "{commands}");
    let feed = scene
        .caller
        .get("/v1/orgs/acme/events?kind=fuse&from=start&follow=false")
        .await
        .taken()
        .text;
    for event in ["test.fuse.lit.v1", "test.fuse.armed.v1", "test.fuse.blown.v1"] {
        assert!(feed.contains(event), "{event} in {feed}");
    }
    assert!(feed.contains("/orgs/acme/fuses/f"), "{feed}");
    let documents = [
        ("/docs/openapi.json", "/fuses/{id}/pass"),
        ("/docs/asyncapi.json", "test.fuse.passed.v1"),
        ("/docs/llms.txt", "### fuses"),
    ];
    for (path, wanted) in documents {
        let text = scene.caller.get(path).await.taken().text;
        assert!(text.contains(wanted), "{wanted} in {path}");
    }
    scene.stop(dir.path()).await;
}

struct Scene {
    running: Running,
    caller: Caller,
}

impl Scene {
    async fn start<const RULES: u8>(data: &Path) -> Self {
        let config = Config::at(data).expect("a configuration");
        let kinds = Kinds::builtin().with::<Fuse<RULES>>();
        let running = serve::start_with(config, kinds, |_| {}).await.expect("a node");
        let caller = Caller::new(&running.url(), running.token.expose());
        Self { running, caller }
    }

    /// Stops, and waits until the data directory is free.
    async fn stop(self, data: &Path) {
        self.running.stop().await;
        let lock = fs::File::open(data.join("lock")).expect("the lock file");
        wait("the data directory", || async { lock.try_lock().is_ok().then_some(()) }).await;
    }

    async fn try_send(&self, id: &str, command: &str, body: Value) -> Answer {
        self.caller.post(&format!("/v1/orgs/acme/fuses/{id}/{command}"), body).await
    }

    async fn send(&self, id: &str, command: &str) {
        self.try_send(id, command, json!({})).await.taken();
    }

    async fn found_org(&self) {
        self.caller.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.taken();
    }

    async fn state(&self, id: &str) -> Value {
        self.caller.get(&format!("/v1/orgs/acme/fuses/{id}/state")).await.taken().body["state"].take()
    }

    async fn parked(&self) -> Vec<Value> {
        let page = self.caller.get("/v1/orgs/acme/parked-streams?kind=fuse").await.taken();
        page.body["items"].as_array().expect("items").clone()
    }

    /// Where the only dispatch stands in the view.
    async fn dispatch(&self) -> Value {
        let end = self.running.node.cursor();
        let page = self
            .caller
            .get(&format!("/v1/orgs/acme/dispatches?min_position={end}"))
            .await
            .taken();
        page.body["items"][0]["status"].clone()
    }

    async fn health(&self) -> Value {
        self.caller.get("/health").await.taken().body
    }

    /// Asserts that this fuse is out of service for this reason, that this is seen everywhere, and that others go on.
    async fn is_parked(&self, id: &str, because: &str) {
        let stream = format!("acme/fuse/{id}");
        let refused = self.try_send(id, "light", json!({})).await.refused(503, "stream_parked");
        assert!(refused.text.contains(because), "{}", refused.text);
        let parked = self.parked().await;
        assert_eq!(parked.len(), 1, "{parked:?}");
        assert_eq!((&parked[0]["stream"], &parked[0]["by"]), (&json!(stream), &json!("node")));
        assert!(
            parked[0]["reason"].as_str().is_some_and(|reason| reason.contains(because)),
            "{parked:?}"
        );
        let health = self.health().await;
        assert_eq!(health["status"], "degraded", "{health}");
        assert!(health.to_string().contains(&format!("1 parked: {stream}")), "{health}");
        self.send("sound", "light").await;
    }

    async fn unpark(&self, id: &str) -> Answer {
        let unparked = self.caller.post("/v1/ops/unpark", json!({ "stream": format!("acme/fuse/{id}") }));
        unparked.await
    }

    /// Health follows a moment later: what was parked is carried out first.
    async fn is_well(&self) {
        assert_eq!(self.parked().await, Vec::<Value>::new());
        wait("health to be ok", || async {
            (self.health().await["status"] == "ok").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashing_client_command_is_answered_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::start::<DECIDES_BADLY>(dir.path()).await;
    scene.found_org().await;
    for n in 1..=5 {
        // What waited behind the crash is not blamed for it: its sender may try again.
        wait("the entity to recover", || async {
            let answer = scene.try_send("f", "light", json!({})).await;
            if answer.status == 503 {
                answer.refused(503, "outcome_unknown");
                return None;
            }
            answer.taken();
            Some(())
        })
        .await;
        scene.try_send("f", "blow", json!({})).await.refused(500, "command_crashed");
        assert_eq!(scene.state("f").await, json!({ "lit": n, "blown": 0 }));
    }
    // Whoever sends it harms nobody but himself: the stream stays in service.
    scene.is_well().await;
    scene.stop(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashing_timer_parks_its_stream_until_lifted() {
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::start::<DECIDES_BADLY>(dir.path()).await;
    scene.found_org().await;
    scene.send("f", "light").await;
    scene.send("f", "arm").await;
    wait("the stream to be parked", || async {
        (!scene.parked().await.is_empty()).then_some(())
    })
    .await;
    scene.is_parked("f", "timer `blow`").await;
    // Lifted before the cause is mended, it serves until the timer has crashed it as often again.
    scene.unpark("f").await.taken();
    wait("the stream to be parked again", || async {
        (!scene.parked().await.is_empty()).then_some(())
    })
    .await;
    scene.is_parked("f", "timer `blow`").await;
    scene.stop(dir.path()).await;

    let scene = Scene::start::<SOUND>(dir.path()).await;
    scene.is_parked("f", "timer `blow`").await;
    scene.unpark("f").await.taken();
    wait("the timer", || async { (scene.state("f").await["blown"] == 1).then_some(()) }).await;
    scene.send("f", "light").await;
    assert_eq!(scene.state("f").await, json!({ "lit": 2, "blown": 1 }));
    scene.is_well().await;
    scene.unpark("f").await.refused(409, "not_parked");
    scene.stop(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_crashes_the_fold_parks_until_rules_are_mended() {
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::start::<SOUND>(dir.path()).await;
    scene.found_org().await;
    scene.send("f", "light").await;
    scene.send("f", "blow").await;
    scene.stop(dir.path()).await;

    let scene = Scene::start::<FOLDS_BADLY>(dir.path()).await;
    scene.try_send("f", "light", json!({})).await.refused(503, "stream_parked");
    scene.is_parked("f", "a defect of evolve").await;
    scene.caller.get("/v1/orgs/acme/fuses/f/state").await.refused(503, "stream_parked");
    scene
        .caller
        .get("/v1/orgs/acme/fuses/f/state?version=2")
        .await
        .refused(503, "stream_parked");
    scene.caller.get("/v1/orgs/acme/fuses/f/state?version=1").await.taken();
    // Nothing was mended: it parks at once again.
    scene.unpark("f").await.refused(503, "stream_parked");
    scene.is_parked("f", "a defect of evolve").await;
    // A crash in the fold of a new event stores nothing, and parks nothing.
    scene.try_send("new", "blow", json!({})).await.refused(500, "command_crashed");
    scene.is_parked("f", "a defect of evolve").await;
    scene.stop(dir.path()).await;

    let scene = Scene::start::<SOUND>(dir.path()).await;
    scene.is_parked("f", "a defect of evolve").await;
    scene.unpark("f").await.taken();
    scene.send("f", "light").await;
    assert_eq!(scene.state("f").await, json!({ "lit": 2, "blown": 1 }));
    scene.is_well().await;
    scene.stop(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatch_that_crashes_its_receiver_waits_for_a_person() {
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::start::<DECIDES_BADLY>(dir.path()).await;
    scene.found_org().await;
    scene.send("f", "light").await;
    let to: StreamId = "acme/fuse/f".parse().expect("a stream");
    scene.try_send("from", "pass", json!({ "to": to })).await.taken();
    let given_up = |scene: &Scene| {
        let caller = scene.caller.clone();
        async move {
            let rows = caller.get("/v1/ops/outbox?status=dead").await.taken().body["items"].take();
            rows.as_array().and_then(|rows| rows.first().cloned())
        }
    };
    let row = wait("the dispatch to be given up", || given_up(&scene)).await;
    assert!(
        row["last_error"]
            .as_str()
            .is_some_and(|e| e.contains("crashed its receiver 3 times")),
        "{row}"
    );
    // The receiver stays in service: what crashed it is no longer sent.
    scene.send("f", "light").await;
    scene.is_well().await;
    let key = row["key"].as_str().expect("a key").replace('/', "%2F").replace('@', "%40");
    let retry = format!("/v1/ops/outbox/{key}/retry");
    scene.caller.post(&retry, json!({})).await.taken();
    wait("the dispatch to be taken up", || async {
        given_up(&scene).await.is_none().then_some(())
    })
    .await;
    wait("the dispatch to be given up again", || given_up(&scene)).await;
    scene.stop(dir.path()).await;

    let scene = Scene::start::<SOUND>(dir.path()).await;
    assert_eq!(scene.dispatch().await, json!("parked"));
    scene.caller.post(&retry, json!({})).await.taken();
    wait("the dispatch", || async { (scene.state("f").await["blown"] == 1).then_some(()) }).await;
    assert_eq!(scene.state("f").await, json!({ "lit": 2, "blown": 1 }));
    assert_eq!(scene.dispatch().await, json!("accepted"));
    scene.stop(dir.path()).await;
}
