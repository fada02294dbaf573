//! A connection whose peer takes nothing for too long is closed: whoever does not read must not hold what waits for them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::AsyncWrite,
    time::{Instant, Sleep, sleep},
};

/// Ends with an error when a write has made no progress for so long.
pub(super) struct WriteDeadline<T, H> {
    io: T,
    /// Let go of with the connection.
    _held: H,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether a write waits, since the timer was set.
    is_waiting: bool,
}

impl<T, H> WriteDeadline<T, H> {
    pub(super) fn new(io: T, idle: Duration, held: H) -> Self {
        Self {
            io,
            _held: held,
            idle,
            timer: Box::pin(sleep(idle)),
            is_waiting: false,
        }
    }

    fn watch<R>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if write.is_ready() {
            self.is_waiting = false;
            return write;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.idle);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing of its answer")))
    }
}

impl<T: AsyncWrite + Unpin, H: Unpin> AsyncWrite for WriteDeadline<T, H> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(context, write)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.io).poll_write_vectored(context, parts);
        self.watch(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(context, shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const IDLE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_peer_that_takes_nothing_ends_the_write() {
        let (near, _far) = duplex(16);
        let mut near = WriteDeadline::new(near, IDLE, ());
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_is_slow_gets_everything() {
        let (near, mut far) = duplex(1);
        let mut near = WriteDeadline::new(near, IDLE, ());
        let begun = Instant::now();
        let read = async {
            let mut taken = 0;
            // Each byte comes well within the deadline, and all of them long after it.
            while taken < 12 {
                tokio::time::sleep(IDLE / 5).await; // the peer is slow
                taken += far.read(&mut [0; 1]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 12]), read);
        written.unwrap();
        assert!(begun.elapsed() > IDLE);
    }
}
