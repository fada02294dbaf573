//! How tests say what they did not check. CI looks for these lines, so there is no other spelling.

/// Says what is not checked, and why. `QUIPU_REQUIRE_SERVERS` makes that an error.
///
/// # Panics
/// Where that is set.
pub fn skipped(what: &str, why: &str) {
    assert!(std::env::var_os("QUIPU_REQUIRE_SERVERS").is_none(), "{what}: {why}");
    say(&format!("SKIPPED {what}: {why}\n"));
}

/// Says that something was checked on Tansu, which stands in for Apache Kafka.
pub fn on_tansu_only(what: &str) {
    say(&format!("checked on Tansu only: {what}\n"));
}

fn say(line: &str) {
    // Not captured with the output of a test that passes.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
