//! Calls: a request on `quipu.v1.call.…` is answered with the receipt when the command is durable, or with a problem.
//! One node of the queue group takes each; a call that nobody waits for is not taken.

use super::{
    message::{self, Incoming},
    nats_message,
    pace::{Pace, until},
    status::{Part, Status},
    subject::CALL,
};
use crate::{
    app::{App, Stage},
    metrics::BUS_CALLS,
    problems,
};
use async_nats::{Client, Message, Subject};
use futures::StreamExt;
use quipu_schemas::limits::BUS_CALLS_MAX;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

/// The group of whose members one takes each call.
pub(super) const GROUP: &str = "quipu";

/// Answers calls until the node begins to stop; then finishes those that it has, up to the deadline that `stop` tells.
pub(super) async fn serve(app: App, client: Client, status: Arc<Status>, mut stop: watch::Receiver<Option<Instant>>) {
    let mut running = JoinSet::new();
    listen(&app, &client, &status, &mut running).await;
    if !until(&mut stop, Option::is_some).await {
        return;
    }
    let deadline = stop.borrow().unwrap_or_else(Instant::now);
    let finished = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), finished)
        .await
        .is_err()
    {
        tracing::warn!("calls over the bus were still running at the end of the drain");
    }
    // Whoever does not get the last answers asks again.
    let _ = tokio::time::timeout(Duration::from_secs(1), client.flush()).await;
}

async fn listen(app: &App, client: &Client, status: &Status, running: &mut JoinSet<()>) {
    let mut stage = app.stage.clone();
    let mut pace = Pace::new();
    loop {
        let mut calls = match client.queue_subscribe(format!("{CALL}.>"), GROUP.to_owned()).await {
            Ok(calls) => calls,
            Err(error) => {
                status.trouble(Part::Calls, error.to_string());
                tokio::select! {
                    () = pace.wait(None) => continue,
                    _ = until(&mut stage, |stage| *stage == Stage::Stopping) => return,
                }
            }
        };
        status.works(Part::Calls);
        loop {
            tokio::select! {
                call = calls.next() => match call {
                    Some(call) => take(app, client, running, call).await,
                    None => break,
                },
                Some(_) = running.join_next() => {}
                _ = until(&mut stage, |stage| *stage == Stage::Stopping) => {
                    // Another node of the group gets what comes next; what came already is told to go there.
                    let _ = calls.unsubscribe().await;
                    while let Some(call) = calls.next().await {
                        take(app, client, running, call).await;
                    }
                    return;
                }
            }
        }
    }
}

async fn take(app: &App, client: &Client, running: &mut JoinSet<()>, call: Message) {
    // An answer on a subject of Quipu's or the servers' own would be published there by us, for whoever may not.
    let answerable = |reply: &Subject| !["quipu.", "$"].iter().any(|own| reply.starts_with(own));
    let Some(reply) = call.reply.clone().filter(answerable) else {
        metrics::counter!(BUS_CALLS, "outcome" => "unanswerable").increment(1);
        return;
    };
    let refusal = if *app.stage.borrow() == Stage::Stopping {
        Some(problems::stopping())
    } else {
        (running.len() >= BUS_CALLS_MAX).then(|| problems::overloaded("calls", BUS_CALLS_MAX))
    };
    if let Some(problem) = refusal {
        metrics::counter!(BUS_CALLS, "outcome" => "refused").increment(1);
        let (headers, body) = nats_message::answer(&Err(problem), None, "");
        // Whoever waits for it asks again.
        let _ = client.publish_with_headers(reply, headers, body).await;
        return;
    }
    let (app, client) = (app.clone(), client.clone());
    running.spawn(async move {
        let (result, id, correlation) = match message::read(
            &app,
            nats_message::arrived(CALL, &call.subject, call.headers.as_ref(), &call.payload),
        ) {
            Ok(Incoming {
                request,
                command_id,
                correlation,
            }) => (message::decide(&app, request).await, Some(command_id), correlation),
            Err(refused) => (Err(refused.problem), refused.command_id, String::new()),
        };
        metrics::counter!(BUS_CALLS, "outcome" => if result.is_ok() { "accepted" } else { "refused" }).increment(1);
        let (headers, body) = nats_message::answer(&result, id.as_ref(), &correlation);
        // Whoever waits for it asks again with the same id.
        let _ = client.publish_with_headers(reply, headers, body).await;
    });
}
