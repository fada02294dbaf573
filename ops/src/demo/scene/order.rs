//! An order: a run that waits, crashes with its node, and is approved.

use super::{ADA, COOL_DOWN_MS, ORDER, ORG, SCOUT, Stage, millis, stream};
use crate::{
    client::ClientError,
    stage::{error::StageError, story::Story},
};
use quipu_schemas::ids::StreamId;
use serde_json::{Value, json};
use std::time::Instant;

impl Stage {
    pub(super) async fn an_order(&mut self, story: &mut Story) -> Result<(), StageError> {
        story.act("A workflow run: branch, durable delay, webhook, approval")?;
        let ledger = json!({ "type": "group", "title": "Orders", "auto_turns": false });
        self.send(&ADA, &stream("conversation", "orders")?, "create", ledger, "demo:orders")
            .await?;
        let order = json!({
            "order": {
                "number": "4711", "total": 240, "cool_down_ms": COOL_DOWN_MS,
                "hook": self.receiver.url(), "conversation": "orders",
            }
        });
        let run = stream("run", "order-4711")?;
        self.send(
            &ADA,
            &run,
            "create",
            json!({ "definition_text": ORDER, "input": order }),
            "demo:order-4711",
        )
        .await?;
        let created = self.witness()?.wait_for_event("run.created", "order-4711", |_| true).await?;
        let digest = created.data()["digest"]
            .as_str()
            .unwrap_or_default()
            .get(..12)
            .unwrap_or_default()
            .to_owned();
        story.tell(&format!(
            "run order-4711 of definition `order` is started; the definition is pinned by digest {digest}…"
        ))?;
        let size = self
            .witness()?
            .wait_for_event("run.node_completed", "order-4711", |data| data["node"] == "size")
            .await?;
        let port = size.data()["output"]
            .as_object()
            .and_then(|ports| ports.keys().next().cloned())
            .unwrap_or_default();
        story.tell(&format!("the switch `size` takes the branch `{port}`: 240 is more than 100"))?;
        story.note("a run branches", format!("switch took `{port}`"), None, port == "large");
        let waits = self
            .witness()?
            .wait_for_event("run.node_started", "order-4711", |data| data["node"] == "cool_down")
            .await?;
        let due = waits.data()["work"]["due"].as_u64().unwrap_or_default();
        story.tell(&format!(
            "`cool_down` waits on a durable timer, due at {}",
            crate::clock::rfc3339(due)
        ))?;
        Ok(())
    }

    pub(super) async fn crash(&mut self, story: &mut Story) -> Result<(), StageError> {
        story.act("SIGKILL in the middle")?;
        let before = self.state("run", "order-4711").await?;
        let node = self.take_node()?;
        story.warn(&format!(
            "node {} is killed with SIGKILL: no goodbye, no flush, the timer pending",
            node.pid
        ))?;
        node.kill().await?;
        self.witness()?.drain().await;
        let down = Instant::now();
        self.start_again().await?;
        let started_in = self.node()?.started_in;
        let pid = self.node()?.pid;
        let org = StreamId::of_org(&ORG);
        // The first command after the crash: one that was decided before it.
        let again = self.send(&ADA, &org, "create", json!({ "name": "Acme Lamps" }), "demo:org").await?;
        let first_command = down.elapsed();
        story.tell(&format!(
            "node {pid} is up again on the same data and port, and answers a command {} ms later",
            first_command.as_millis()
        ))?;
        let version = before["version"].to_string();
        let after = self
            .node()?
            .client
            .get(&format!("/v1/orgs/{ORG}/runs/order-4711/state"), &[("version", &version)])
            .await?
            .body;
        let equal = before["digest"] == after["digest"];
        if again.duplicate {
            story.proven("a command from before the crash still gets its first receipt")?;
        }
        if equal {
            story.proven(&format!("the run is where it was: version {version}, equal digest"))?;
        }
        let client = self.node()?.client.clone();
        self.witness()?.resume(&client).await?;
        story.tell("the subscriber resumed its feed from its last cursor")?;
        story.note(
            "SIGKILL, and on from the log",
            format!("{} receipt, equal state", if again.duplicate { "same" } else { "another" }),
            Some(started_in),
            again.duplicate && equal,
        );
        Ok(())
    }

    pub(super) async fn state(&self, kind: &str, id: &str) -> Result<Value, StageError> {
        let stream: StreamId = format!("{ORG}/{kind}/{id}")
            .parse()
            .map_err(|e: quipu_schemas::ids::BadId| StageError::Scene(e.to_string()))?;
        Ok(self.node()?.client.get(&format!("{}/state", stream.path()), &[]).await?.body)
    }

    pub(super) async fn after_the_crash(&mut self, story: &mut Story) -> Result<(), StageError> {
        story.act("The scene goes on")?;
        let waits = self
            .witness()?
            .wait_for_event("run.node_started", "order-4711", |data| data["node"] == "cool_down")
            .await?;
        let due = waits.data()["work"]["due"].as_u64().unwrap_or_default();
        let fired = self
            .witness()?
            .wait_for_event("run.node_completed", "order-4711", |data| data["node"] == "cool_down")
            .await?;
        let late = millis(&fired).saturating_sub(due);
        let early = millis(&fired) < due;
        story.tell(&format!(
            "the timer fires, {late} ms after it was due: late rather than never, and never early"
        ))?;
        let fires = self
            .witness()?
            .events
            .iter()
            .filter(|e| e.event() == "quipu.run.node_completed.v1" && e.data()["node"] == "cool_down")
            .count();
        story.note(
            "a durable timer survives",
            format!("fired {fires}×, {late} ms after due"),
            None,
            !early && fires == 1,
        );
        self.witness()?
            .wait_for_event("run.node_completed", "order-4711", |data| data["node"] == "tell")
            .await?;
        let received = self.receiver.received();
        story.tell(&format!(
            "the receiver has the signed webhook: {} deliveries ({} refused on purpose, so it came again under the same id)",
            received.deliveries, received.refused
        ))?;
        story.tell(&format!("its payload: {}", received.last.clone().unwrap_or_default()))?;
        let good = received.taken.len() == 1 && received.doubled() == 0 && received.forged == 0;
        story.note(
            "a signed webhook, repeated safely",
            format!(
                "{} deliveries, {} id taken, {} doubled, {} forged",
                received.deliveries,
                received.taken.len(),
                received.doubled(),
                received.forged
            ),
            None,
            good,
        );
        self.approval(story).await
    }

    pub(super) async fn approval(&mut self, story: &mut Story) -> Result<(), StageError> {
        let run = stream("run", "order-4711")?;
        let asks = self
            .witness()?
            .wait_for_event("run.node_started", "order-4711", |data| data["node"] == "approval")
            .await?;
        let prompt = asks.data()["work"]["prompt"].as_str().unwrap_or_default().to_owned();
        story.tell(&format!("the run waits for a person: {prompt}"))?;
        let refused = match self
            .send(&SCOUT, &run, "approve", json!({ "node": "approval" }), "demo:not-yours")
            .await
        {
            Err(StageError::Client(ClientError::Refused(problem))) => problem.code.clone(),
            Err(other) => return Err(other),
            Ok(_) => String::new(),
        };
        story.tell(&format!("agent {SCOUT} tries to approve it and is refused: {refused}"))?;
        self.send(
            &ADA,
            &run,
            "approve",
            json!({ "node": "approval", "comment": "go ahead" }),
            "demo:approve",
        )
        .await?;
        story.tell(&format!("{ADA} approves"))?;
        self.witness()?.wait_for_event("run.completed", "order-4711", |_| true).await?;
        let posted = self
            .witness()?
            .wait_for_event("conversation.message_posted", "orders", |_| true)
            .await?;
        story.proven(&format!(
            "the run is completed, and reports in `orders`: {}",
            posted.data()["body"].as_str().unwrap_or_default()
        ))?;
        let reports = self
            .witness()?
            .events
            .iter()
            .filter(|e| e.value["subject"] == "orders" && e.event().ends_with("message_posted.v1"))
            .count();
        story.note(
            "a person approves",
            format!("the agent was refused ({refused}); {reports} report posted"),
            None,
            !refused.is_empty() && reports == 1,
        );
        Ok(())
    }
}
