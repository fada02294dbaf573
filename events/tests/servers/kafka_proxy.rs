//! A TCP proxy that speaks enough of Kafka's protocol to hold, lose or cut one kind of request.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Number of a produce request.
pub const PRODUCE: i16 = 0;
/// Number of the request that ends a transaction.
pub const END_TXN: i16 = 26;

/// What happens to the next request of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives; its answer does not, and nothing passes and nobody connects until [`Proxy::mend`].
    CutAfter(i16),
    /// It does not arrive; nothing passes and nobody connects until [`Proxy::mend`].
    CutBefore(i16),
    /// It arrives; the connection breaks before its answer.
    BreakAfter(i16),
    /// It and everything behind it waits until [`Proxy::mend`].
    Hold(i16),
}

#[derive(Default)]
struct State {
    fate: Option<Fate>,
    cut: bool,
    held: bool,
    /// Connection and correlation id of an answer that must not pass, and whether everything is cut then.
    doomed: Option<(usize, i32, bool)>,
    connections: Vec<TcpStream>,
    made: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A proxy on a loopback port of its own.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Waits while everything is held.
    fn wait(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        self.changed.wait_while(&mut state, |s| s.held);
        state
    }
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
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let of = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let n = {
                    let mut state = of.lock();
                    if state.cut {
                        continue;
                    }
                    let both = [client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket")];
                    state.connections.extend(both);
                    state.made += 1;
                    state.made
                };
                for socket in [&client, &upstream] {
                    socket.set_nodelay(true).expect("a socket");
                }
                let (to_client, to_server) = (client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket"));
                let (up, down) = (of.clone(), of.clone());
                thread::spawn(move || pump(client, to_server, &up, n, true));
                thread::spawn(move || pump(upstream, to_client, &down, n, false));
            }
        });
        Self { port, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Decides about the next request of a kind.
    pub fn next(&self, fate: Fate) {
        self.shared.lock().fate = Some(fate);
    }

    /// Whether everything is held now.
    pub fn holds(&self) -> bool {
        self.shared.lock().held
    }

    /// Lets connections and what was held through again.
    pub fn mend(&self) {
        let mut state = self.shared.lock();
        (state.cut, state.held) = (false, false);
        drop(state);
        self.shared.changed.notify_all();
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).map_or([0; N], |b| b.try_into().expect("N bytes"))
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared, connection: usize, upward: bool) {
    let mut length = [0; 4];
    while from.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; 4 + usize::try_from(i32::from_be_bytes(length)).unwrap_or(0)];
        bytes[..4].copy_from_slice(&length);
        if from.read_exact(&mut bytes[4..]).is_err() {
            break;
        }
        let passes = if upward {
            up(&bytes, shared, connection)
        } else {
            down(&bytes, shared, connection)
        };
        if !passes || to.write_all(&bytes).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Whether a request passes.
fn up(bytes: &[u8], shared: &Shared, connection: usize) -> bool {
    let kind = i16::from_be_bytes(number(bytes, 4));
    let correlation = i32::from_be_bytes(number(bytes, 8));
    let mut state = shared.wait();
    let fate = state.fate.take_if(|fate| match fate {
        Fate::CutAfter(k) | Fate::CutBefore(k) | Fate::BreakAfter(k) | Fate::Hold(k) => *k == kind,
    });
    match fate {
        None => true,
        Some(Fate::CutAfter(_)) => {
            state.doomed = Some((connection, correlation, true));
            true
        }
        Some(Fate::BreakAfter(_)) => {
            state.doomed = Some((connection, correlation, false));
            true
        }
        Some(Fate::CutBefore(_)) => {
            state.cut = true;
            state.break_all();
            false
        }
        Some(Fate::Hold(_)) => {
            state.held = true;
            drop(state);
            drop(shared.wait());
            true
        }
    }
}

/// Whether an answer passes.
fn down(bytes: &[u8], shared: &Shared, connection: usize) -> bool {
    let correlation = i32::from_be_bytes(number(bytes, 4));
    let mut state = shared.wait();
    match state.doomed {
        Some((c, id, all)) if (c, id) == (connection, correlation) => {
            state.doomed = None;
            if all {
                state.cut = true;
                state.break_all();
            }
            false
        }
        _ => true,
    }
}
