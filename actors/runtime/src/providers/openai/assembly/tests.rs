use super::{super::chunk::error_word, *};
use quipu_schemas::reaction::ToolCallRef;
use serde_json::{Value, json};

fn assemble(chunks: &[Value]) -> Result<Answer, ChunkError> {
    let mut assembly = Assembly::default();
    for chunk in chunks {
        assembly.push(&chunk.to_string())?;
    }
    Ok(assembly.finish("asked", "s"))
}

fn delta(delta: Value) -> Value {
    json!({"model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

#[test]
fn parallel_calls_are_assembled_with_and_without_indices() {
    let indexed = [
        delta(json!({"role": "assistant", "content": null})),
        delta(json!({"tool_calls": [{"index": 0, "id": "c0", "type": "function", "function": {"name": "look", "arguments": ""}}]})),
        delta(json!({"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "find", "arguments": "{\"q\":"}}]})),
        delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "1}"}}]})),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}),
    ];
    let answer = assemble(&indexed).unwrap();
    let refs: Vec<ToolCallRef> = answer.message.tool_calls.iter().flatten().map(ToolCallRef::of).collect();
    assert_eq!(
        refs.iter().map(|r| (r.id.as_str(), r.name.as_str())).collect::<Vec<_>>(),
        [("c0", "look"), ("c1", "find")]
    );
    assert_eq!(refs[1].fingerprint, Digest::of(&[b"find", b"{\"q\":1}"]));
    assert_eq!(
        (answer.message.content, answer.finish_reason.as_str(), answer.prompt_tokens),
        (None, "tool_calls", 5)
    );

    let bare = assemble(&[
        delta(json!({"tool_calls": [{"id": "a", "function": {"name": "x", "arguments": "{}"}}]})),
        delta(json!({"tool_calls": [{"id": "b", "function": {"name": "y", "arguments": "{"}}]})),
        delta(json!({"tool_calls": [{"function": {"arguments": "}"}}]})),
    ]);
    let calls = bare.unwrap().message.tool_calls.unwrap();
    assert_eq!(
        calls
            .iter()
            .map(|c| (c.id.as_str(), c.function.arguments.as_str()))
            .collect::<Vec<_>>(),
        [("a", "{}"), ("b", "{}")]
    );
}

#[test]
fn whole_empty_and_refusing_answers_are_answers() {
    let whole =
        assemble(&[json!({"model": "m", "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]})]);
    assert_eq!(whole.unwrap().message.content.as_deref(), Some("Hi"));
    let empty = assemble(&[]).unwrap();
    assert_eq!(
        (empty.message.content.as_deref(), empty.model.as_str(), empty.finish_reason.as_str()),
        (Some(""), "asked", "stop")
    );
    assert_eq!(
        assemble(&[delta(json!({"refusal": "No."}))]).unwrap().message.content.as_deref(),
        Some("No.")
    );
}

#[test]
fn size_is_bounded_text_by_cutting_and_calls_by_refusal() {
    let mut assembly = Assembly::default();
    let long = "ä".repeat(LLM_ANSWER_MAX_BYTES);
    let Ok(Progress::Full(text)) = assembly.push(&delta(json!({"content": long})).to_string()) else {
        panic!("not cut")
    };
    assert!(text.len() <= LLM_ANSWER_MAX_BYTES && text.len() > LLM_ANSWER_MAX_BYTES - 2);
    assert_eq!(assembly.finish("m", "s").finish_reason, "length");

    let call = |arguments: &str| delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "x", "arguments": arguments}}]}));
    assert_eq!(assemble(&[call(&long)]), Err(ChunkError::TooLarge));
    assert_eq!(assemble(&[call("{}"), delta(json!({"content": long}))]), Err(ChunkError::TooLarge));
    let many: Vec<Value> = (0..=LLM_TOOL_CALLS_MAX)
        .map(|n| delta(json!({"tool_calls": [{"index": n}]})))
        .collect();
    assert_eq!(assemble(&many), Err(ChunkError::TooLarge));
}

#[test]
fn errors_are_named_by_word_only() {
    let error = json!({"error": {"message": "prompt was: secret", "type": "server_error", "code": null}});
    let said = assemble(&[error]).unwrap_err().to_string();
    assert!(said.contains("server_error") && !said.contains("secret"), "{said}");
    assert_eq!(error_word(&json!({"code": "Key sk-123"})), None);
    assert_eq!(assemble(&[json!([1])]), Err(ChunkError::Form));
}

/// The names, ids and arguments of the calls that such pieces make.
fn calls(pieces: &[Value]) -> Vec<(String, String, String)> {
    let chunks: Vec<Value> = pieces.iter().map(|piece| delta(json!({"tool_calls": [piece]}))).collect();
    let calls = assemble(&chunks).unwrap().message.tool_calls.unwrap_or_default();
    calls
        .into_iter()
        .map(|call| (call.function.name, call.id, call.function.arguments))
        .collect()
}

#[test]
fn parallel_calls_are_told_apart_however_they_are_counted() {
    let piece = |index: Value, id: Value, name: Value, arguments: Value| json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}});
    let call = |name: &str, id: &str, arguments: &str| (name.to_owned(), id.to_owned(), arguments.to_owned());
    let (none, a, b) = (Value::Null, "{\"q\":\"a\"}", "{\"q\":\"b\"}");
    let both = [call("look", "call_a", a), call("find", "call_b", b)];
    let one = [call("look", "call_a", a)];
    for (what, pieces, expected) in [
        (
            "index always 0",
            vec![
                piece(json!(0), json!("call_a"), json!("look"), json!(a)),
                piece(json!(0), json!("call_b"), json!("find"), json!(b)),
            ],
            &both[..],
        ),
        (
            "no index",
            vec![
                piece(none.clone(), json!("call_a"), json!("look"), json!(a)),
                piece(none.clone(), json!("call_b"), json!("find"), json!(b)),
            ],
            &both,
        ),
        (
            "whole objects",
            vec![
                piece(json!(0), json!("call_a"), json!("look"), json!({"q": "a"})),
                piece(json!(0), json!("call_b"), json!("find"), json!({"q": "b"})),
            ],
            &both,
        ),
        (
            "empty id and name go on",
            vec![
                piece(none.clone(), json!("call_a"), json!("look"), json!("{\"q\":")),
                piece(none.clone(), json!(""), json!(""), json!("\"a\"}")),
            ],
            &one,
        ),
        (
            "the same id and name in each piece",
            vec![
                piece(json!(0), json!("call_a"), json!("look"), json!("{\"q\":")),
                piece(json!(0), json!("call_a"), json!("look"), json!("\"a\"}")),
            ],
            &one,
        ),
        (
            "another id in each piece",
            vec![
                piece(json!(0), json!("call_a"), json!("look"), json!("{\"q\":")),
                piece(json!(0), json!("call_z"), none.clone(), json!("\"a\"}")),
            ],
            &one,
        ),
        (
            "the id after the name",
            vec![
                piece(json!(0), none.clone(), json!("look"), json!("")),
                piece(json!(0), json!("call_a"), none.clone(), json!(a)),
            ],
            &one,
        ),
        (
            "arguments as an object",
            vec![piece(json!(0), json!("call_a"), json!("look"), json!({"q": "a"}))],
            &one,
        ),
        (
            "an empty piece at the end",
            vec![
                piece(json!(0), json!("call_a"), json!("look"), json!(a)),
                piece(json!(1), none.clone(), none.clone(), none.clone()),
            ],
            &one,
        ),
    ] {
        assert_eq!(calls(&pieces), expected, "{what}");
    }
    let unnamed = calls(&[
        piece(json!(0), none.clone(), json!("look"), json!(a)),
        piece(json!(0), none.clone(), json!("look"), json!(b)),
        piece(json!(0), none.clone(), json!("find"), json!("")),
    ]);
    assert_eq!(
        unnamed
            .iter()
            .map(|(name, _, arguments)| (name.as_str(), arguments.as_str()))
            .collect::<Vec<_>>(),
        [("look", a), ("look", b), ("find", "")]
    );
    let same = calls(&[
        piece(json!(0), json!("x"), json!("look"), json!(a)),
        piece(json!(1), json!("x"), json!("find"), json!(b)),
    ]);
    for calls in [unnamed, same] {
        let ids: BTreeSet<&String> = calls.iter().map(|(_, id, _)| id).collect();
        assert!(
            ids.len() == calls.len() && ids.iter().all(|id| (1..=40).contains(&id.len())),
            "{ids:?}"
        );
    }
}

#[test]
fn an_empty_finish_reason_is_no_end() {
    let chunk =
        |text: &str, reason: Value| json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}).to_string();
    let mut assembly = Assembly::default();
    assembly.push(&chunk("Hel", json!(""))).unwrap();
    assert!(!assembly.is_finished());
    assembly.push(&chunk("lo", json!("stop"))).unwrap();
    assert!(assembly.is_finished());
    assembly.push(&chunk("", json!(""))).unwrap();
    assert_eq!(assembly.finish("m", "s").finish_reason, "stop");
}
