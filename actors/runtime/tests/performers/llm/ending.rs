//! How calls end before their answer is whole.

use super::{SECOND, delta, event, stage, stage_with, streamed, text};
use crate::{
    fake::{Fake, Step, chunk, response, stream_head},
    stage::{ask, attempt, conversation, failed, open, retryable, user},
};
use quipu_runtime::{
    breaker::BreakerState,
    performers::{AttemptEnd, BREAKER_OPEN, CancelToken, cancel_pair},
    providers::OpenAiConfig,
};
use quipu_schemas::{
    ids::OrgId,
    limits::BREAKER_FAILURES,
    reaction::{Effect, Outcome},
};
use serde_json::json;
use std::time::Instant;

#[tokio::test]
async fn only_before_the_first_piece_is_a_broken_answer_retryable() {
    let early = Fake::start(|_, _| vec![Step::Send(stream_head()), Step::Send(chunk(b": warming up\n\n"))]).await;
    let (code, ..) = retryable(stage(&early).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert_eq!(code, "connection_lost");

    let clean_end = Fake::start(|_, _| streamed("", 1)).await;
    assert_eq!(
        retryable(stage(&clean_end).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await).0,
        "connection_lost"
    );

    let late = Fake::start(|_, _| vec![Step::Send(stream_head()), Step::Send(chunk(text("Half an ans").as_bytes()))]).await;
    let (code, detail) = failed(stage(&late).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert_eq!(code, "stream_interrupted");
    assert!(detail.contains("after 11 characters") && !detail.contains("Half"), "{detail}");

    let unfinished = Fake::start(|_, _| streamed(&text("Half"), 64)).await;
    assert_eq!(
        failed(stage(&unfinished).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await).0,
        "stream_interrupted"
    );

    let error = event(&json!({"error": {"message": "m", "type": "server_error"}}));
    let (first, after) = (error.clone(), format!("{}{error}", text("Half")));
    let first = Fake::start(move |_, _| streamed(&first, 64)).await;
    assert_eq!(
        retryable(stage(&first).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await).0,
        "provider_error"
    );
    let after = Fake::start(move |_, _| streamed(&after, 64)).await;
    assert_eq!(
        failed(stage(&after).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await).0,
        "stream_interrupted"
    );
}

#[tokio::test]
async fn silence_ends_in_a_timeout_and_the_connection_is_closed() {
    let mut silent = Fake::start(|_, _| vec![Step::Hold]).await;
    let stage = stage_with(&silent, |config| config.first_byte_timeout_ms = 80);
    let (code, detail, _) = retryable(stage.perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert_eq!(code, "timeout");
    assert!(detail.contains("80 ms"), "{detail}");
    silent.client_gone(SECOND).await;

    let mut headed = Fake::start(|_, _| vec![Step::Send(stream_head()), Step::Hold]).await;
    let stage = stage_with(&headed, |config| config.first_byte_timeout_ms = 80);
    assert_eq!(
        retryable(stage.perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await).0,
        "timeout"
    );
    headed.client_gone(SECOND).await;

    for change in [(|config| config.idle_timeout_ms = 80) as fn(&mut OpenAiConfig), |config| {
        config.total_timeout_ms = 400
    }] {
        let mut idle = Fake::start(|_, _| vec![Step::Send(stream_head()), Step::Send(chunk(text("Well").as_bytes())), Step::Hold]).await;
        let stage = stage_with(&idle, change);
        assert_eq!(
            failed(stage.perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await).0,
            "stream_interrupted"
        );
        idle.client_gone(SECOND).await;
    }
}

#[tokio::test]
async fn cancelled_call_aborts_within_a_second_with_partial_text() {
    let mut fake = Fake::start(|_, _| {
        vec![
            Step::Send(stream_head()),
            Step::Send(chunk(text("So far").as_bytes())),
            Step::Send(chunk(text(" so good").as_bytes())),
            Step::Hold,
        ]
    })
    .await;
    let stage = stage(&fake);
    let mut listener = stage.volatile.subscribe(&conversation());
    let (source, token) = cancel_pair();
    let performers = stage.performers.clone();
    let call = tokio::spawn(async move {
        performers
            .perform(attempt(Effect::LlmInvoke(ask("openai", vec![user("?")])), 1, token))
            .await
    });
    assert_eq!(delta(&mut listener).await.1, "So far");
    assert_eq!(delta(&mut listener).await, (1, " so good".into()));

    let cancelled = Instant::now();
    source.cancel();
    let end = call.await.unwrap();
    fake.client_gone(SECOND).await;
    assert!(cancelled.elapsed() < SECOND, "{:?}", cancelled.elapsed());
    let AttemptEnd::Cancelled(Outcome::Cancelled { partial: Some(partial) }) = end else {
        panic!("{end:?}")
    };
    assert_eq!(open(&partial), "So far so good");
}

#[tokio::test]
async fn a_call_is_cancelled_before_its_answer_and_before_it_is_made() {
    let mut fake = Fake::start(|_, _| vec![Step::Hold]).await;
    let stage = stage(&fake);
    let (source, token) = cancel_pair();
    let performers = stage.performers.clone();
    let call = tokio::spawn(async move {
        performers
            .perform(attempt(Effect::LlmInvoke(ask("openai", vec![user("?")])), 1, token))
            .await
    });
    fake.next().await;
    source.cancel();
    assert_eq!(call.await.unwrap(), AttemptEnd::Cancelled(Outcome::Cancelled { partial: None }));
    fake.client_gone(SECOND).await;

    let end = stage
        .performers
        .perform(attempt(Effect::LlmInvoke(ask("openai", vec![user("?")])), 1, source.token()))
        .await;
    assert_eq!(end, AttemptEnd::Cancelled(Outcome::Cancelled { partial: None }));
    assert!(!fake.was_called());
}

#[tokio::test]
async fn a_dropped_attempt_closes_its_connection() {
    let mut fake = Fake::start(|_, _| vec![Step::Send(stream_head()), Step::Hold]).await;
    let stage = stage(&fake);
    let performers = stage.performers.clone();
    let call = tokio::spawn(async move {
        performers
            .perform(attempt(Effect::LlmInvoke(ask("openai", vec![user("?")])), 1, CancelToken::never()))
            .await
    });
    fake.next().await;
    call.abort();
    fake.client_gone(SECOND).await;
}

#[tokio::test]
async fn a_failing_provider_is_left_alone() {
    let mut fake = Fake::answering(response(500, &[], "")).await;
    let stage = stage(&fake);
    let call = || Effect::LlmInvoke(ask("openai", vec![user("?")]));
    for _ in 0..BREAKER_FAILURES {
        assert_eq!(retryable(stage.perform(call()).await).0, "status_500");
        fake.next().await;
    }
    let (code, _, wait) = retryable(stage.perform(call()).await);
    assert_eq!(code, BREAKER_OPEN);
    assert!(wait.unwrap() > 20_000 && !fake.was_called());
    assert!(matches!(
        stage.performers.breaker_state(&call(), &OrgId::from_static("acme")),
        BreakerState::Open { .. }
    ));
}
