use super::*;

#[test]
fn commands_have_their_place_in_the_grid() {
    let stream: StreamId = "acme/run/r-1".parse().unwrap();
    assert_eq!(
        Command::to(&stream, "approve", Value::Null).path(),
        "/v1/orgs/acme/runs/r-1/approve"
    );
    let create = Command::to(&stream, "create", Value::Null);
    assert_eq!(create.path(), "/v1/orgs/acme/runs/r-1");
    assert_eq!(Command { id: None, ..create }.path(), "/v1/orgs/acme/runs");
    assert_eq!(Command::to(&stream, "a/b?", Value::Null).path(), "/v1/orgs/acme/runs/r-1/a%2Fb%3F");
    assert_eq!(segment("acme/run/r@1.0"), "acme%2Frun%2Fr%401.0");
    assert_eq!(with_query("/x", &[("at", "1+1 é"), ("b", "")]), "/x?at=1%2B1%20%C3%A9&b=");
    assert_eq!(with_query("/x", &[]), "/x");
}

#[test]
fn only_web_addresses_are_taken() {
    for bad in ["", "127.0.0.1:80", "ftp://x", "/v1"] {
        assert!(matches!(Client::new(bad, "t"), Err(ClientError::BadUrl(_))), "{bad}");
    }
    assert_eq!(Client::new("http://127.0.0.1:1/", "t").unwrap().url(), "http://127.0.0.1:1");
}
