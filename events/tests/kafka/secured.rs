//! A broker with TLS and SASL, and who may connect to it. Only in a build with the feature `kafka-tls`:
//! `cargo test -p quipu-tests -p quipu-events --features quipu-events/kafka-tls --test kafka secured`.

use super::certificates::Authority;
use super::*;
use kafka::java;
use quipu_events::kafka::Password;
use std::process::{Command, Stdio};

const USER: &str = "quipu";
const PASSWORD: &str = "p-w-of-tests";

/// A broker whose listener `SECURE` takes users over TLS. Of two more, the certificate of `NAMED` is for another host, and that of
/// `ENDED` has ended.
struct Secured {
    kafka: Kafka,
    ports: Vec<u16>,
    dir: tempfile::TempDir,
}

/// What a broker must be told of its certificates: the file that each listener shows.
fn keystores(dir: &Path) -> Result<String, String> {
    let ours = Authority::make(dir, "ours")?;
    Authority::make(dir, "theirs")?;
    let mut lines = "ssl.keystore.type=PEM\n".to_owned();
    for (listener, names, days) in [
        ("secure", "IP:127.0.0.1,DNS:localhost", "2"),
        ("named", "DNS:elsewhere.example", "2"),
        ("ended", "IP:127.0.0.1,DNS:localhost", "-1"),
    ] {
        let issued = ours.issue_for(listener, names, days)?;
        // Kafka reads both from one file.
        let both = dir.join(format!("{listener}.pem"));
        let read = |path: &Path| fs::read_to_string(path).map_err(|e| e.to_string());
        fs::write(&both, read(&issued.key)? + &read(&issued.certificate)?).map_err(|e| e.to_string())?;
        lines += &format!("listener.name.{listener}.ssl.keystore.type=PEM\n");
        lines += &format!("listener.name.{listener}.ssl.keystore.location={}\n", both.display());
    }
    Ok(lines)
}

/// The user of tests, by both mechanisms: a broker takes no two of a user in one request.
fn make_user(kafka: &Kafka) -> Result<(), String> {
    let asked = ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| {
        let mut user: Command = java(kafka.jars());
        user.args(["kafka.admin.ConfigCommand", "--bootstrap-server", &kafka.address(), "--alter"])
            .args(["--entity-type", "users", "--entity-name", USER])
            .args(["--add-config", &format!("{mechanism}=[password={PASSWORD}]")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        user.spawn()
    });
    for made in asked {
        let made = made
            .and_then(std::process::Child::wait_with_output)
            .map_err(|e| format!("java: {e}"))?;
        if !made.status.success() {
            let (out, err) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
            return Err(format!("no user: {out}{err}"));
        }
    }
    Ok(())
}

fn start() -> Result<Secured, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let keystores = keystores(dir.path())?;
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let lines = format!(
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n{keystores}\
         listener.name.secure.scram-sha-256.sasl.jaas.config={scram}\nlistener.name.secure.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n"
    );
    let mut ports = Vec::new();
    let listeners = [("SECURE", "SASL_SSL"), ("NAMED", "SSL"), ("ENDED", "SSL")];
    let kafka = Kafka::start_with(false, &listeners, &lines, |at| {
        ports.push(at);
        at
    })?;
    make_user(&kafka)?;
    Ok(Secured { kafka, ports, dir })
}

impl Secured {
    /// Opens a log at a listener, and writes to it and reads it: why it does not, otherwise.
    fn opens(&self, listener: usize, prefix: &str, password: Option<&str>, keys: &str) -> Result<(), String> {
        let port = self.ports[listener];
        let text = format!("kafka://127.0.0.1:{port}/{prefix}?partitions=1&accept=unsynced&{keys}");
        let mut options: KafkaOptions = text.parse().map_err(|e| format!("{e}"))?;
        options.security.password = password.map(|password| Password(password.into()));
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
        let keys = format!("security=sasl_ssl&mechanism={mechanism}&user={USER}&secret=kafka&ca={ca}");
        let opened = secured.opens(0, &format!("s-{mechanism}"), Some(PASSWORD), &keys);
        assert_eq!(opened, Ok(()), "{mechanism}");
    }
    let theirs = secured.ca("theirs");
    let sasl = |user: &str, ca: &str| format!("security=sasl_ssl&user={user}&secret=kafka&ca={ca}");
    for (what, listener, password, keys, key) in [
        ("another password", 0, Some("wrong-word"), sasl(USER, &ca), "secret"),
        ("nobody", 0, Some(PASSWORD), sasl("nobody", &ca), "secret"),
        ("another authority", 0, Some(PASSWORD), sasl(USER, &theirs), "ca"),
        ("no file", 0, Some(PASSWORD), sasl(USER, "/nowhere/ca.pem"), "ca"),
        ("another host", 1, None, format!("security=ssl&ca={ca}"), "ca"),
        ("an ended certificate", 2, None, format!("security=ssl&ca={ca}"), "ca"),
    ] {
        let began = Instant::now();
        let refused = secured.opens(listener, "s-refused", password, &keys).expect_err(what);
        println!("{what}, {:?}: {refused}", began.elapsed());
        assert!(refused.contains(&format!("`{key}` of the address: ")), "{what}: {refused}");
        assert!(!refused.contains(PASSWORD) && !refused.contains("wrong-word"), "{what}: {refused}");
    }
    // The log that was made over TLS is the one that is there in the clear.
    let plain: KafkaOptions = format!("kafka://{}/s-plain?partitions=1&accept=unsynced", secured.kafka.address())
        .parse()
        .expect("an address");
    assert!(KafkaLog::open(&plain).is_ok());
}
