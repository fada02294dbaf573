use super::*;

#[test]
fn frames_are_whole_in_both_forms() {
    let mut out = String::new();
    Framing::Sse.event(&mut out, "c1", "{\"a\":\n1}");
    Framing::Sse.control(&mut out, "caught_up", "c2", json!({}));
    Framing::Sse.heartbeat(&mut out, "c3");
    assert_eq!(
        out,
        "id: c1\ndata: {\"a\":\ndata: 1}\n\nevent: caught_up\nid: c2\ndata: {\"cursor\":\"c2\"}\n\n: heartbeat\nid: c3\n\n"
    );
    let mut out = String::new();
    Framing::NdJson.event(&mut out, "c1", "{\"a\":\n1}");
    Framing::NdJson.control(&mut out, "end", "c2", json!({ "detail": "x" }));
    assert_eq!(out, "{\"a\":1}\n{\"control\":\"end\",\"cursor\":\"c2\",\"detail\":\"x\"}\n");
}

#[test]
fn accept_chooses_the_framing() {
    let framing = |accept: &str| Framing::of(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]));
    assert_eq!(framing("text/html, text/event-stream;q=0.9"), Framing::Sse);
    assert_eq!(framing("application/x-ndjson, text/event-stream;q=0.5"), Framing::NdJson);
    assert_eq!(framing("text/event-stream;q=0"), Framing::NdJson);
    assert_eq!(framing("*/*"), Framing::NdJson);
    assert_eq!(Framing::of(&HeaderMap::new()), Framing::NdJson);
}
