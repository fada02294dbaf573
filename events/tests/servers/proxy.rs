//! A TCP proxy that speaks enough of NATS to lose, refuse, double or cut one publish to a log or of a lease.

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// What happens to the next publish to a log's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives; its acknowledgement does not.
    LoseAck,
    /// It arrives; the connection breaks before its acknowledgement.
    BreakBeforeAck,
    /// It does not arrive, and nothing says so.
    LosePublish,
    /// It does not arrive; the answer is a refusal with this error code.
    Refuse(u32),
    /// It arrives; the answer is a refusal with this error code.
    StoreAndRefuse(u32),
    /// It arrives twice, one right behind the other, as when it is sent again while the first one is still under way.
    Twice,
    /// It arrives; then nothing passes and nobody connects until [`Proxy::mend`].
    CutAfter,
    /// It does not arrive; nothing passes and nobody connects until [`Proxy::mend`].
    CutBefore,
}

#[derive(Default)]
struct State {
    /// Fates are those of leases, not of a log's messages.
    of_leases: bool,
    fates: VecDeque<Fate>,
    cut: bool,
    connections: Vec<TcpStream>,
    /// Inbox of an answer that must not pass, and what is sent instead.
    doomed: BTreeMap<String, Option<u32>>,
    /// Inboxes of publishes that arrive twice.
    twice: BTreeSet<String>,
    /// The first answers to those.
    first_answers: Vec<String>,
    /// Publishes to a log that were seen.
    publishes: usize,
}

/// A proxy on a loopback port of its own.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl State {
    fn break_all(&mut self) {
        for connection in self.connections.drain(..) {
            // It may be broken already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Proxy {
    /// A proxy before a server.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                {
                    let mut state = shared.lock();
                    if state.cut {
                        continue;
                    }
                    state
                        .connections
                        .extend([client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket")]);
                }
                let (to_client, to_server) = (client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket"));
                let (up, down) = (shared.clone(), shared.clone());
                thread::spawn(move || pump(client, to_server, &up, true));
                thread::spawn(move || pump(upstream, to_client, &down, false));
            }
        });
        Self { port, state }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Decides about the next publishes, in order.
    pub fn next(&self, fates: &[Fate]) {
        self.state.lock().fates.extend(fates);
    }

    /// Lets pass what no publish has met yet.
    pub fn forget_fates(&self) {
        self.state.lock().fates.clear();
    }

    /// Publishes to a log that were seen.
    pub fn publishes(&self) -> usize {
        self.state.lock().publishes
    }

    /// From now on it decides about publishes of leases, and counts them.
    pub fn turn_to_leases(&self) {
        self.state.lock().of_leases = true;
    }

    /// What was answered first to each publish that arrived twice.
    pub fn first_answers(&self) -> Vec<String> {
        self.state.lock().first_answers.clone()
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.lock().cut = false;
    }
}

fn pump(from: TcpStream, mut to: TcpStream, state: &Mutex<State>, upward: bool) {
    let mut from = BufReader::new(from);
    loop {
        let mut bytes = Vec::new();
        if !matches!(from.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
            break;
        }
        let line = String::from_utf8_lossy(&bytes).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        let op = words.first().copied().unwrap_or_default();
        if ["PUB", "HPUB", "MSG", "HMSG"].contains(&op) {
            let length: usize = words.last().and_then(|n| n.parse().ok()).unwrap_or(0);
            let start = bytes.len();
            bytes.resize(start + length + 2, 0);
            if from.read_exact(&mut bytes[start..]).is_err() {
                break;
            }
        }
        let passes = if upward {
            up(&words, state, &mut bytes)
        } else {
            down(&words, state, &mut bytes)
        };
        let Some(()) = passes else { continue };
        if to.write_all(&bytes).is_err() {
            break;
        }
        let mut state = state.lock();
        if upward && state.cut {
            state.break_all();
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.get_ref().shutdown(Shutdown::Both);
}

/// Whether something of the client passes to the server.
fn up(words: &[&str], state: &Mutex<State>, bytes: &mut Vec<u8>) -> Option<()> {
    let (Some(&"HPUB"), Some(subject), Some(inbox)) = (words.first(), words.get(1), words.get(2)) else {
        return Some(());
    };
    let mut state = state.lock();
    let decided = if state.of_leases { "quipu.lease." } else { "quipu.log." };
    if !subject.starts_with(decided) {
        return Some(());
    }
    state.publishes += 1;
    match state.fates.pop_front() {
        None => Some(()),
        Some(Fate::LoseAck) => {
            state.doomed.insert((*inbox).to_owned(), None);
            Some(())
        }
        Some(Fate::BreakBeforeAck) => {
            state.doomed.insert((*inbox).to_owned(), Some(0));
            Some(())
        }
        Some(Fate::StoreAndRefuse(code)) => {
            state.doomed.insert((*inbox).to_owned(), Some(code));
            Some(())
        }
        Some(Fate::Refuse(code)) => {
            // Sent to a subject that nobody takes, it is answered with "no responders", which becomes the refusal.
            state.doomed.insert((*inbox).to_owned(), Some(code));
            let line = bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
            let changed = String::from_utf8_lossy(&bytes[..line]).replace(decided, "quipu.gone.");
            bytes.splice(..line, changed.into_bytes());
            Some(())
        }
        Some(Fate::LosePublish) => None,
        Some(Fate::Twice) => {
            bytes.extend_from_within(..);
            state.twice.insert((*inbox).to_owned());
            Some(())
        }
        Some(Fate::CutAfter) => {
            state.doomed.insert((*inbox).to_owned(), None);
            state.cut = true;
            Some(())
        }
        Some(Fate::CutBefore) => {
            state.cut = true;
            state.break_all();
            None
        }
    }
}

/// Whether something of the server passes to the client, perhaps changed.
fn down(words: &[&str], state: &Mutex<State>, bytes: &mut Vec<u8>) -> Option<()> {
    let (Some(&("MSG" | "HMSG")), Some(inbox), Some(sid)) = (words.first(), words.get(1), words.get(2)) else {
        return Some(());
    };
    let mut state = state.lock();
    if state.twice.remove(*inbox) {
        state.first_answers.push(String::from_utf8_lossy(bytes).into_owned());
    }
    match state.doomed.remove(*inbox) {
        None => Some(()),
        Some(None) => None,
        Some(Some(0)) => {
            state.break_all();
            None
        }
        Some(Some(code)) => {
            *bytes = refusal(inbox, sid, code);
            Some(())
        }
    }
}

fn refusal(inbox: &str, sid: &str, code: u32) -> Vec<u8> {
    let body =
        format!("{{\"error\":{{\"code\":400,\"err_code\":{code},\"description\":\"wrong last sequence\"}},\"stream\":\"\",\"seq\":0}}");
    format!("MSG {inbox} {sid} {}\r\n{body}\r\n", body.len()).into_bytes()
}
