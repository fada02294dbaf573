//! A nats-server in this process, as far as the log needs one: for machines where no real one can be had, and as a second
//! reader of the protocol. It keeps its streams in memory and shows no durability; promises are proved on real servers.

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

const INFO: &str = r#"INFO {"server_id":"FAKE","server_name":"fake","version":"2.15.1","proto":1,"go":"","host":"127.0.0.1","port":0,"headers":true,"max_payload":1048576,"jetstream":true}"#;

#[derive(Default)]
struct Stream {
    config: Value,
    messages: Vec<Vec<u8>>,
}

type Streams = Arc<Mutex<BTreeMap<String, Stream>>>;

/// A fake server on a loopback port of its own.
pub struct Fake {
    port: u16,
}

impl Fake {
    /// Starts it.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let streams = Streams::default();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let streams = streams.clone();
                thread::spawn(move || Connection::new(client, streams).serve());
            }
        });
        Self { port }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

struct Connection {
    from: BufReader<TcpStream>,
    to: TcpStream,
    streams: Streams,
    subscriptions: Vec<(String, String)>,
}

impl Connection {
    fn new(client: TcpStream, streams: Streams) -> Self {
        // Answers are small: held back for company they would wait for the other side.
        client.set_nodelay(true).expect("a socket");
        let to = client.try_clone().expect("a socket");
        Self {
            from: BufReader::new(client),
            to,
            streams,
            subscriptions: Vec::new(),
        }
    }

    /// Until the client goes away.
    fn serve(mut self) -> Option<()> {
        self.to.write_all(format!("{INFO}\r\n").as_bytes()).ok()?;
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PING"] => self.to.write_all(b"PONG\r\n").ok()?,
                ["SUB", subject, sid] => self.subscriptions.push(((*subject).to_owned(), (*sid).to_owned())),
                ["PUB", subject, reply, length] => {
                    let body = self.payload(length.parse().ok()?)?;
                    self.answer(subject, reply, "", &body)?;
                }
                ["HPUB", subject, reply, headers, length] => {
                    let bytes = self.payload(length.parse().ok()?)?;
                    let (headers, body) = bytes.split_at(headers.parse().ok()?);
                    let headers = String::from_utf8_lossy(headers).into_owned();
                    self.answer(subject, reply, &headers, body)?;
                }
                // CONNECT, PONG, UNSUB.
                _ => {}
            }
        }
    }

    fn payload(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length + 2];
        self.from.read_exact(&mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    fn sid(&self, inbox: &str) -> Option<String> {
        let takes = |pattern: &str| pattern == inbox || pattern.strip_suffix('*').is_some_and(|prefix| inbox.starts_with(prefix));
        self.subscriptions
            .iter()
            .find(|(pattern, _)| takes(pattern))
            .map(|(_, sid)| sid.clone())
    }

    fn send(&mut self, inbox: &str, headers: Option<&str>, body: &[u8]) -> Option<()> {
        let sid = self.sid(inbox)?;
        let mut bytes = match headers {
            None => format!("MSG {inbox} {sid} {}\r\n", body.len()).into_bytes(),
            Some(h) => format!("HMSG {inbox} {sid} {} {}\r\n{h}", h.len(), h.len() + body.len()).into_bytes(),
        };
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
        self.to.write_all(&bytes).ok()
    }

    fn answer(&mut self, subject: &str, reply: &str, headers: &str, body: &[u8]) -> Option<()> {
        let streams = self.streams.clone();
        let mut streams = streams.lock();
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = if let Some(name) = subject.strip_prefix("$JS.API.DIRECT.GET.") {
            let messages = streams.get(name).map(|s| s.messages.clone()).unwrap_or_default();
            drop(streams);
            return self.direct(reply, &asked, &messages);
        } else if let Some(name) = subject.strip_prefix("$JS.API.STREAM.INFO.") {
            match streams.get(name) {
                Some(stream) => info(stream),
                None => refused(404, 10059, "stream not found"),
            }
        } else if let Some(name) = subject.strip_prefix("$JS.API.STREAM.CREATE.") {
            let stream = streams.entry(name.to_owned()).or_insert_with(|| Stream {
                config: asked.clone(),
                messages: Vec::new(),
            });
            if stream.config == asked {
                info(stream)
            } else {
                refused(400, 10058, "stream name already in use with a different configuration")
            }
        } else if let Some(name) = subject.strip_prefix("$JS.API.STREAM.UPDATE.") {
            let stream = streams.get_mut(name)?;
            stream.config = asked;
            info(stream)
        } else if let Some(name) = subject.strip_prefix("$JS.API.STREAM.MSG.GET.") {
            let messages = &streams.get(name)?.messages;
            let sequence = asked["seq"].as_u64().map_or(messages.len(), |n| n as usize);
            match sequence.checked_sub(1).and_then(|at| messages.get(at)) {
                Some(message) => json!({ "message": { "seq": sequence, "data": base64(message) } }),
                None => refused(404, 10037, "no message found"),
            }
        } else {
            let stream = streams.values_mut().find(|s| s.config["subjects"][0] == subject);
            match stream {
                Some(stream) => append(stream, headers, body),
                None => return self.send(reply, Some("NATS/1.0 503\r\n\r\n"), b""),
            }
        };
        self.send(reply, None, said.to_string().as_bytes())
    }

    fn direct(&mut self, reply: &str, asked: &Value, messages: &[Vec<u8>]) -> Option<()> {
        let first = asked["seq"].as_u64()? as usize;
        let batch = asked["batch"].as_u64();
        let end = messages.len().min(first - 1 + batch.unwrap_or(1) as usize);
        let found = messages.get(first - 1..end).filter(|found| !found.is_empty());
        let Some(found) = found else {
            return self.send(reply, Some("NATS/1.0 404 Message Not Found\r\n\r\n"), b"");
        };
        for (message, sequence) in found.iter().zip(first..) {
            let headers = format!("NATS/1.0\r\nNats-Sequence: {sequence}\r\n\r\n");
            self.send(reply, Some(&headers), message)?;
        }
        match batch {
            Some(_) => self.send(reply, Some("NATS/1.0 204 EOB\r\n\r\n"), b""),
            None => Some(()),
        }
    }
}

fn append(stream: &mut Stream, headers: &str, body: &[u8]) -> Value {
    let last = stream.messages.len();
    let expected = headers.lines().find_map(|l| l.strip_prefix("Nats-Expected-Last-Sequence: "));
    if expected.is_some_and(|e| e.trim().parse() != Ok(last)) {
        return refused(400, 10071, &format!("wrong last sequence: {last}"));
    }
    stream.messages.push(body.to_vec());
    json!({ "stream": stream.config["name"], "seq": last + 1 })
}

fn info(stream: &Stream) -> Value {
    json!({ "config": stream.config, "state": { "last_seq": stream.messages.len() } })
}

fn refused(code: u32, err_code: u32, description: &str) -> Value {
    json!({ "error": { "code": code, "err_code": err_code, "description": description } })
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}
