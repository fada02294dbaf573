//! Threads that read the log for feeds that catch up: few, of lower priority, and in turn for each org.

use crate::{
    background::lower_priority,
    kernel::turns::{Turns, feed_readers},
};
use parking_lot::{Condvar, Mutex};
use quipu_schemas::ids::OrgId;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    turns: Turns<Job>,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

/// The queue of those threads, which begin when there is something to read. A feed has one page in it at most, so it is as long
/// as there are feeds.
#[derive(Default)]
pub(crate) struct Readers {
    state: Mutex<State>,
    is_more: Condvar,
}

impl Readers {
    /// Reads a page in its turn. Where no thread can be had it is dropped, and its feed asks again.
    pub(crate) fn add(self: &Arc<Self>, org: OrgId, job: Job) {
        let most = feed_readers(std::thread::available_parallelism().map_or(1, usize::from));
        let mut state = self.state.lock();
        state.turns.add(org, job);
        if state.idle > 0 {
            self.is_more.notify_one();
            return;
        }
        if state.threads < most {
            match self.begin(state.threads) {
                Ok(()) => state.threads += 1,
                Err(error) => {
                    tracing::error!(%error, "no thread to read the log for feeds");
                    if state.threads == 0 {
                        drop(state.turns.next());
                    }
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, n: usize) -> std::io::Result<()> {
        let readers = self.clone();
        let work = move || {
            lower_priority("feeds");
            while let Some(job) = readers.next() {
                // A page that crashes is its feed's alone: the feed hears that nothing was read.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("reading a page of a feed crashed");
                }
            }
        };
        std::thread::Builder::new().name(format!("quipu-feeds-{n}")).spawn(work).map(drop)
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.turns.next() {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state.idle += 1;
            self.is_more.wait(&mut state);
            state.idle -= 1;
        }
    }

    /// The threads end once nothing waits any more.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.is_more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_crash_of_one_page_leaves_the_thread_to_the_next() {
        let readers = Arc::new(Readers::default());
        let (said, heard) = mpsc::channel();
        let org = OrgId::from_static("acme");
        let most = feed_readers(std::thread::available_parallelism().map_or(1, usize::from));
        for n in 0..3 * most {
            let said = said.clone();
            readers.add(org.clone(), Box::new(|| panic!("a page")));
            readers.add(org.clone(), Box::new(move || said.send(n).unwrap()));
        }
        let mut heard: Vec<usize> = heard.iter().take(3 * most).collect();
        heard.sort_unstable();
        assert_eq!(heard, (0..3 * most).collect::<Vec<_>>());
        assert!(readers.state.lock().threads <= most);
        readers.close();
    }
}
