//! The scene itself, act by act.

mod order;

use super::{Answers, Play, receiver::Receiver, witness::Witness};
use crate::{
    client::{ClientError, Command, FeedLine},
    stage::{
        child::{Launch, Node},
        error::StageError,
        story::Story,
    },
};
use quipu_events::backend::Backend;
use quipu_schemas::{
    envelope::Receipt,
    ids::{CommandId, OrgId, PrincipalId, StreamId},
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const ORG: OrgId = OrgId::from_static("acme");
const ADA: PrincipalId = PrincipalId::from_static("ada");
const SCOUT: PrincipalId = PrincipalId::from_static("scout");
const CLERK: PrincipalId = PrincipalId::from_static("clerk");
/// What ada says; the proof looks for these words in the log's files.
pub(super) const QUESTION: &str = "Can we still take order 4711 (3 brass lamps, 240 EUR) before the weekend?";
const ORDER: &str = include_str!("order.yaml");
const SECRET_ENV: &str = "DEMO_HOOK_SECRET";
const LOG_ENV: &str = "DEMO_LOG";
const VIEWS_ENV: &str = "DEMO_VIEWS";
/// Long enough that the crash falls into it.
const COOL_DOWN_MS: u64 = 4_000;

/// The node, the receiver, and whoever watches.
pub(super) struct Stage {
    pub(super) data: PathBuf,
    pub(super) launch: Launch,
    node: Option<Node>,
    pub(super) receiver: Receiver,
    witness: Option<Witness>,
    answers: Answers,
    model: String,
    /// Where the node's log is.
    pub(super) log: Backend,
}

fn stream(kind: &str, id: &str) -> Result<StreamId, StageError> {
    format!("{ORG}/{kind}/{id}")
        .parse()
        .map_err(|e: quipu_schemas::ids::BadId| StageError::Scene(e.to_string()))
}

fn command_id(text: &str) -> Result<CommandId, StageError> {
    CommandId::parse(text).map_err(|e| StageError::Scene(e.to_string()))
}

impl Stage {
    /// Starts the receiver and the node.
    pub(super) async fn open(data: &Path, play: &Play, story: &mut Story) -> Result<Self, StageError> {
        story.act("A node, and another system")?;
        if play.answers == Answers::Scripted {
            story.tell("agents answer by the provider `scripted`: no model, no network, no key")?;
        }
        let log: Backend = play.log.parse().map_err(|e| StageError::Scene(format!("{e}")))?;
        let receiver = Receiver::start().await?;
        story.tell(&format!("a webhook receiver of another system listens on {}", receiver.address))?;
        let mut launch = Launch {
            data: data.to_owned(),
            listen: None,
            // Loopback addresses are refused to effects unless allowed by name.
            set: vec![
                ("egress.allow".into(), format!("[\"{}\"]", receiver.address)),
                ("secrets.acme/demo-hook".into(), format!("env:{SECRET_ENV}")),
                // By the environment: addresses may hold passwords.
                ("log.backend".into(), format!("env:{LOG_ENV}")),
                ("views.store".into(), format!("env:{VIEWS_ENV}")),
            ],
            env: vec![
                (SECRET_ENV, receiver.secret.clone()),
                (LOG_ENV, play.log.clone()),
                (VIEWS_ENV, play.views.clone()),
            ],
        };
        let node = launch.start().await?;
        launch.listen = Some(node.address);
        story.tell(&format!(
            "node {} is up at {} (a process of its own, data in {}, log: {log})",
            node.pid,
            node.client.url(),
            data.display()
        ))?;
        story.note("a node starts", format!("process {}", node.pid), Some(node.started_in), true);
        Ok(Self {
            data: data.to_owned(),
            launch,
            node: Some(node),
            receiver,
            witness: None,
            answers: play.answers,
            model: play.model.clone(),
            log,
        })
    }

    /// The node, while there is one.
    pub(super) fn node(&self) -> Result<&Node, StageError> {
        self.node.as_ref().ok_or_else(|| StageError::Scene("the node is down".into()))
    }

    /// The node, while there is one.
    pub(super) fn node_mut(&mut self) -> Result<&mut Node, StageError> {
        self.node.as_mut().ok_or_else(|| StageError::Scene("the node is down".into()))
    }

    /// Whoever watches.
    pub(super) fn witness(&mut self) -> Result<&mut Witness, StageError> {
        self.witness.as_mut().ok_or_else(|| StageError::Scene("nobody watches yet".into()))
    }

    /// Takes the node off the stage, to end it.
    pub(super) fn take_node(&mut self) -> Result<Node, StageError> {
        self.node.take().ok_or_else(|| StageError::Scene("the node is down".into()))
    }

    /// Starts the node again, on the same data and port.
    pub(super) async fn start_again(&mut self) -> Result<(), StageError> {
        self.node = Some(self.launch.start().await?);
        Ok(())
    }

    /// Stops the node in order.
    pub(super) async fn close(&mut self) -> Result<(), StageError> {
        match self.node.take() {
            Some(node) => node.stop().await,
            None => Ok(()),
        }
    }

    async fn send(&self, by: &PrincipalId, to: &StreamId, name: &str, body: Value, id: &str) -> Result<Receipt, StageError> {
        let command = Command::to(to, name, body).id(command_id(id)?).on_behalf_of(Some(by));
        Ok(self.node()?.client.command(&command).await?)
    }

    /// Commands to try, with ids that exist.
    pub(super) fn ideas(&self) -> [String; 5] {
        [
            format!("get {ORG} conversation desk messages"),
            format!("replay {ORG} run order-4711 --diff 5 now"),
            format!("tail {ORG} --from start --kind run --no-follow"),
            format!("send {ORG} conversation desk post '{{\"body\":\"And order 4712?\"}}' --as {ADA}"),
            "ops tree".into(),
        ]
    }

    /// Plays every act.
    pub(super) async fn play(&mut self, story: &mut Story) -> Result<(), StageError> {
        self.people_and_agents(story).await?;
        self.who_answers(story).await?;
        self.an_order(story).await?;
        self.crash(story).await?;
        self.after_the_crash(story).await
    }

    async fn people_and_agents(&mut self, story: &mut Story) -> Result<(), StageError> {
        story.act("An org, a person, two agents")?;
        let begun = Instant::now();
        let org = StreamId::of_org(&ORG);
        let receipt = self.send(&ADA, &org, "create", json!({ "name": "Acme Lamps" }), "demo:org").await?;
        story.tell(&format!(
            "org {ORG} is created by {ADA}, who owns it: version {}, at {}, durable by {}",
            receipt.version,
            receipt.position,
            durability(&receipt)
        ))?;
        let again = self.send(&ADA, &org, "create", json!({ "name": "Acme Lamps" }), "demo:org").await?;
        let same = again.duplicate && again.position == receipt.position;
        story.proven("the same command again gets the first receipt, and changes nothing")?;
        story.note(
            "a repeated command is decided once",
            format!("receipt {} both times", receipt.position),
            None,
            same,
        );
        for (agent, says) in [
            (
                SCOUT,
                "The workshop has 3 brass lamps in stock, so order 4711 can leave on Friday. I will ask for the usual approval.",
            ),
            (CLERK, "Order 4711 is noted."),
        ] {
            let about = format!("You are {agent} of a lamp shop. Answer in one or two short sentences.");
            let (model, directive) = match self.answers {
                Answers::Scripted => (
                    json!({ "provider": "scripted", "model": "demo" }),
                    format!("{about}\nscripted: delay_ms 35 per token\nscripted: reply {says} (scripted)"),
                ),
                Answers::Openai => (json!({ "provider": "openai", "model": self.model }), about),
            };
            let body = json!({ "name": agent.as_str(), "model": model, "directive": directive });
            self.send(
                &ADA,
                &stream("agent", agent.as_str())?,
                "create",
                body,
                &format!("demo:agent:{agent}"),
            )
            .await?;
        }
        story.tell(&format!(
            "agents {SCOUT} and {CLERK} are registered, each with a directive (provider {})",
            self.provider()
        ))?;
        story.note(
            "org, person, two agents",
            "3 commands, all durable".to_owned(),
            Some(begun.elapsed()),
            true,
        );
        self.witness = Some(Witness::begin(&self.node()?.client, &ORG).await?);
        self.witness()?.wait_for_event("org.created", ORG.as_str(), |_| true).await?;
        Ok(())
    }

    fn provider(&self) -> &'static str {
        match self.answers {
            Answers::Scripted => "scripted",
            Answers::Openai => "openai",
        }
    }

    async fn who_answers(&mut self, story: &mut Story) -> Result<(), StageError> {
        story.act("Both agents could answer; exactly one does")?;
        let desk = stream("conversation", "desk")?;
        let agent = |principal: PrincipalId| json!({ "principal": principal, "kind": "agent" });
        let room =
            json!({ "type": "group", "title": "Sales desk", "participants": [agent(SCOUT), agent(CLERK)], "claim_window_ms": 5_000 });
        self.send(&ADA, &desk, "create", room, "demo:desk").await?;
        let mut live = self.node()?.client.live(&desk).await?;
        let asked = Instant::now();
        self.send(
            &ADA,
            &desk,
            "post",
            json!({ "body": QUESTION, "message_id": "question" }),
            "demo:question",
        )
        .await?;
        story.tell(&format!("{ADA} asks: {QUESTION}"))?;
        let opened = self.witness()?.wait_for_event("conversation.turn_opened", "desk", |_| true).await?;
        let turn = opened.data()["turn"].as_str().unwrap_or_default().to_owned();
        story.tell(&format!("a turn is open; eligible: {}", names(&opened.data()["eligible"])))?;
        for (who, confidence, reason) in [(CLERK, 0.55, "orders are mine to note"), (SCOUT, 0.9, "I can see the stock")] {
            let claim = json!({ "turn": turn, "reason": reason, "confidence": confidence, "priority": "normal" });
            self.send(&who, &desk, "claim", claim, &format!("demo:claim:{who}")).await?;
            story.tell(&format!("{who} claims it, confidence {confidence}: {reason} (scripted claim)"))?;
        }
        let decided = self
            .witness()?
            .wait_for_event("conversation.turn_decided", "desk", |_| true)
            .await?;
        let winner = decided.data()["winner"].as_str().unwrap_or_default().to_owned();
        story.proven(&format!("decided: {}", decided.data()["why"].as_str().unwrap_or_default()))?;
        let (answer, tokens, first) = self.listen(story, &mut live, &winner, &turn, asked).await?;
        let said = answer.data()["body"].as_str().unwrap_or_default().to_owned();
        let by = answer.data()["sender"].as_str().unwrap_or_default();
        story.proven(&format!(
            "{by}'s answer is a message of the log now ({tokens} deltas came before it, none of them logged)"
        ))?;
        let late = json!({ "turn": turn, "reason": "me too", "confidence": 1.0 });
        let refused = self.send(&CLERK, &desk, "claim", late, "demo:late-claim").await;
        let refused = match refused {
            Err(StageError::Client(ClientError::Refused(problem))) => problem.code.clone(),
            Err(other) => return Err(other),
            Ok(_) => String::new(),
        };
        story.tell(&format!("a late claim by {CLERK} is refused: {refused}"))?;
        let answers = self
            .witness()?
            .events
            .iter()
            .filter(|e| e.data()["turn"] == turn && e.event().ends_with("message_posted.v1"))
            .count();
        let one = answers == 1 && by == winner && winner == SCOUT.as_str() && !refused.is_empty();
        story.note(
            "two could answer, one won",
            format!("{winner}, by the better claim; {answers} answer"),
            None,
            one,
        );
        let good = tokens > 0 && !said.is_empty();
        story.note(
            "streamed token by token",
            format!("{tokens} deltas ({}); the first after the question:", self.provider()),
            first,
            good,
        );
        Ok(())
    }

    /// Shows deltas as they come, until the answer is in the log.
    async fn listen(
        &mut self,
        story: &mut Story,
        live: &mut crate::client::Live,
        winner: &str,
        turn: &str,
        asked: Instant,
    ) -> Result<(FeedLine, u64, Option<Duration>), StageError> {
        const PATIENCE: Duration = Duration::from_secs(90);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (mut tokens, mut first) = (0, None);
        let speaker = format!("{winner} ({})", self.provider());
        let is_answer = |event: &FeedLine| event.event() == "quipu.conversation.message_posted.v1" && event.data()["turn"] == turn;
        let mut answer = self.witness()?.events.iter().find(|event| is_answer(event)).cloned();
        let witness = self
            .witness
            .as_mut()
            .ok_or_else(|| StageError::Scene("nobody watches yet".into()))?;
        loop {
            tokio::select! {
                // What was said before the answer is shown before it.
                biased;
                message = live.next() => {
                    let Some(message) = message? else { return Err(StageError::Scene("the live channel ended".into())) };
                    let data: Value = serde_json::from_str(&message.data).unwrap_or_default();
                    if message.event == "delta" && data["turn"] == turn {
                        tokens += 1;
                        first.get_or_insert_with(|| asked.elapsed());
                        story.token(&speaker, data["text"].as_str().unwrap_or_default())?;
                    }
                }
                event = witness.next(), if answer.is_none() => {
                    let event = event?;
                    if is_answer(event) {
                        answer = Some(event.clone());
                    } else if event.event() == "quipu.conversation.turn_finished.v1" && event.data()["outcome"]["is"] == "failed" {
                        return Err(StageError::Scene(format!("the turn failed: {}", event.data()["outcome"])));
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(50)), if answer.is_some() => {
                    story.end_tokens()?;
                    return answer.map(|answer| (answer, tokens, first)).ok_or_else(|| StageError::Scene("no answer".into()));
                }
                () = tokio::time::sleep_until(deadline) => return Err(StageError::Scene(format!("no answer within {PATIENCE:?}"))),
            }
        }
    }
}

/// What the receipt promises, in one word.
fn durability(receipt: &Receipt) -> String {
    serde_json::to_value(receipt.durability)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Names of a list.
fn names(list: &Value) -> String {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// An event's record time.
fn millis(event: &FeedLine) -> u64 {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let text = event.value["time"].as_str().unwrap_or_default();
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|t| u64::try_from(t.unix_timestamp_nanos() / 1_000_000).ok())
        .unwrap_or_default()
}
