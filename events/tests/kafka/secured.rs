//! A broker with TLS and SASL, and who may connect to it. Only in a build with the feature `kafka-tls`:
//! `cargo test -p quipu-events --features kafka-tls --test kafka secured`.

use super::certificates::Authority;
use super::*;
use kafka::java;
use quipu_events::kafka::Password;
use std::process::{Command, Stdio};

const USER: &str = "quipu";
const PASSWORD: &str = "p-w-of-tests";

/// A broker whose listener `SECURE` takes users over TLS, its address there, and the authority of its certificate.
struct Secured {
    kafka: Kafka,
    port: u16,
    dir: tempfile::TempDir,
}

fn start() -> Result<Secured, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let ours = Authority::make(dir.path(), "ours")?;
    Authority::make(dir.path(), "theirs")?;
    let server = ours.issue("server")?;
    // Kafka reads both from one file.
    let both = dir.path().join("server.pem");
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| e.to_string());
    fs::write(&both, read(&server.key)? + &read(&server.certificate)?).map_err(|e| e.to_string())?;
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let lines = format!(
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\nssl.keystore.type=PEM\nssl.keystore.location={}\n\
         listener.name.secure.scram-sha-256.sasl.jaas.config={scram}\nlistener.name.secure.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n",
        both.display()
    );
    let mut port = 0;
    let kafka = Kafka::start_with(false, &[("SECURE", "SASL_SSL")], &lines, |at| {
        port = at;
        at
    })?;
    let added = format!("SCRAM-SHA-256=[password={PASSWORD}],SCRAM-SHA-512=[password={PASSWORD}]");
    let mut user: Command = java(kafka.jars());
    user.args([
        "kafka.admin.ConfigCommand",
        "--bootstrap-server",
        &kafka.address(),
        "--alter",
        "--add-config",
        &added,
    ])
    .args(["--entity-type", "users", "--entity-name", USER])
    .stdin(Stdio::null());
    let made = user.output().map_err(|e| format!("java: {e}"))?;
    if !made.status.success() {
        return Err(format!("no user: {}", String::from_utf8_lossy(&made.stdout)));
    }
    Ok(Secured { kafka, port, dir })
}

impl Secured {
    /// Opens a log there as a user, and writes to it and reads it: why it does not, otherwise.
    fn opens(&self, prefix: &str, (user, password): (&str, &str), keys: &str) -> Result<(), String> {
        let text = format!(
            "kafka://127.0.0.1:{}/{prefix}?partitions=1&accept=unsynced&security=sasl_ssl&user={user}&secret=kafka&{keys}",
            self.port
        );
        let mut options: KafkaOptions = text.parse().map_err(|e| format!("{e}"))?;
        options.security.password = Some(Password(password.into()));
        options.open = Duration::from_secs(8);
        let log = KafkaLog::open(&options).map_err(|e| e.to_string())?;
        let mut owner = Owner::claim(&log, 0);
        owner.write(&log, 3);
        let frames = read_all(&log, 0, 1 << 20).map_err(|e| format!("{e:?}"))?;
        assert_eq!(frames.iter().map(|frame| frame.records.len()).sum::<usize>(), 3);
        Ok(())
    }

    fn ca(&self, whose: &str) -> String {
        self.dir.path().join(whose).join("ca.pem").display().to_string()
    }
}

#[test]
fn log_is_kept_over_tls_by_each_mechanism() {
    let secured = match start() {
        Ok(secured) => secured,
        Err(why) => return skipped::skipped("TLS and SASL to Kafka", &why),
    };
    let ca = secured.ca("ours");
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        let prefix = format!("s-{mechanism}");
        let opened = secured.opens(&prefix, (USER, PASSWORD), &format!("mechanism={mechanism}&ca={ca}"));
        assert_eq!(opened, Ok(()), "{mechanism}");
    }
    let theirs = secured.ca("theirs");
    for (what, user, keys) in [
        ("another password", (USER, "wrong-word"), format!("mechanism=scram-sha-512&ca={ca}")),
        ("nobody", ("nobody", PASSWORD), format!("mechanism=scram-sha-256&ca={ca}")),
        (
            "another authority",
            (USER, PASSWORD),
            format!("mechanism=scram-sha-512&ca={theirs}"),
        ),
    ] {
        let refused = secured.opens("s-refused", user, &keys).expect_err(what);
        assert!(!refused.contains(PASSWORD) && !refused.contains("wrong-word"), "{what}: {refused}");
    }
    // The log that was made over TLS is the one that is there in the clear.
    let plain: KafkaOptions = format!("kafka://{}/s-plain?partitions=1&accept=unsynced", secured.kafka.address())
        .parse()
        .expect("an address");
    assert!(KafkaLog::open(&plain).is_ok());
}
