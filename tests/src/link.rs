//! A network link between one node and a server, which a test can silence: as when a switch between them fails, nothing
//! comes through and nobody is told. What was on its way comes late.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

const LOOK: Duration = Duration::from_millis(5);

/// A link on a loopback port of its own; it ends with the test.
pub struct Link {
    port: u16,
    silent: Arc<AtomicBool>,
}

impl Link {
    /// A link to a server's port.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let silent = Arc::new(AtomicBool::new(false));
        let state = silent.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let state = state.clone();
                thread::spawn(move || {
                    // Nobody answers who is not reached.
                    wait_while(&state);
                    let Ok(far) = TcpStream::connect(("127.0.0.1", server)) else {
                        return;
                    };
                    let (Ok(near_again), Ok(far_again)) = (near.try_clone(), far.try_clone()) else {
                        return;
                    };
                    let there = state.clone();
                    thread::spawn(move || carry(near, far, &there));
                    carry(far_again, near_again, &state);
                });
            }
        });
        Self { port, silent }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing comes through.
    pub fn silence(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// What waited comes through, and what follows.
    pub fn heal(&self) {
        self.silent.store(false, Ordering::SeqCst);
    }
}

fn wait_while(silent: &AtomicBool) {
    while silent.load(Ordering::SeqCst) {
        thread::sleep(LOOK); // poll
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, silent: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    // So that silence is noticed between two reads.
    if from.set_read_timeout(Some(LOOK)).is_err() || to.set_nodelay(true).is_err() {
        return;
    }
    loop {
        wait_while(silent);
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) => {
                wait_while(silent);
                if to.write_all(&bytes[..n]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    for end in [from, to] {
        // It may be closed already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_link_keeps_what_is_sent_until_it_heals() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::to(server.local_addr().unwrap().port());
        let mut near = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
        near.write_all(b"before").unwrap();
        let (mut far, _) = server.accept().unwrap();
        let mut got = [0; 6];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"before");
        link.silence();
        near.write_all(b"during").unwrap();
        far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(far.read(&mut got).is_err(), "something came through");
        link.heal();
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"during");
    }
}
