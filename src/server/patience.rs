//! How long a connection may stay silent: one deadline while it waits for a request, or for somebody to take its answer,
//! a shorter one from the first byte of a request's head to its last, none while the gateway itself is at work.
//!
//! hyper's own head time-out also counts the idle time between requests, so the deadlines are kept here, in the
//! stream. The sleep is only ever re-armed when it fires early, so a busy connection costs no timer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What a connection is doing, told by the service and read by the stream.
#[derive(Debug, Default)]
pub struct Patience(AtomicU8);

/// Nothing has come yet.
const FRESH: u8 = 0;
const WAITING: u8 = 1;
const IN_HEAD: u8 = 2;
const BUSY: u8 = 3;

impl Patience {
    /// A whole head has arrived; the gateway is at work.
    pub fn busy(&self) {
        self.0.store(BUSY, Ordering::Release);
    }

    /// Whether somebody is about to ask: part of a head is here, or a connection was made, which nobody does in vain.
    pub fn expects_request(&self) -> bool {
        matches!(self.0.load(Ordering::Acquire), FRESH | IN_HEAD)
    }

    /// The answer is made; the next head may come.
    pub fn waiting(&self) {
        self.0.store(WAITING, Ordering::Release);
    }
}

/// A stream that loses patience.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    patience: Arc<Patience>,
    idle: Duration,
    head: Duration,
    seen: u8,
    /// How long it may do what it is doing; nothing while the gateway is at work.
    allowed: Option<Duration>,
    /// The end of that, once there was something to wait for: a head that comes whole needs none.
    deadline: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// Wraps a fresh connection, which waits for its first head.
    pub fn new(stream: S, patience: Arc<Patience>, idle: Duration, head: Duration) -> Self {
        let allowed = head.max(idle.min(FIRST_REQUEST));
        let deadline = Instant::now() + allowed;
        let sleep = Box::pin(sleep_until(deadline));
        let (allowed, deadline) = (Some(allowed), Some(deadline));
        Self { stream, patience, idle, head, seen: FRESH, allowed, deadline, sleep }
    }

    /// Takes note of what changed since the last look.
    fn look(&mut self) {
        let state = self.patience.0.load(Ordering::Acquire);
        if state == self.seen {
            return;
        }
        self.seen = state;
        self.deadline = None;
        self.allowed = match state {
            WAITING => Some(self.idle),
            IN_HEAD => Some(self.head),
            _ => None,
        };
    }

    fn first_byte(&mut self) {
        let swap = |from| self.patience.0.compare_exchange(from, IN_HEAD, Ordering::AcqRel, Ordering::Acquire);
        if swap(WAITING).or_else(|_| swap(FRESH)).is_ok() {
            self.look();
        }
    }

    /// What a write, or a goodbye, came to; one that must wait for the other end to read waits no longer than an idle connection may.
    fn patiently<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        self.look();
        self.poll_patience(context).map(Err)
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(allowed) = self.allowed else {
            return Poll::Pending;
        };
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + allowed);
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.look();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                this.first_byte();
            }
            return Poll::Ready(read);
        }
        this.poll_patience(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, buffer);
        this.patiently(written, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.patiently(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_shutdown(context);
        this.patiently(said, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        this.patiently(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// How long a fresh connection may take to send anything.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(90);
    const HEAD: Duration = Duration::from_secs(5);

    fn pair() -> (DuplexStream, Patient<DuplexStream>, Arc<Patience>) {
        let (client, server) = duplex(1024);
        let patience = Arc::new(Patience::default());
        (client, Patient::new(server, Arc::clone(&patience), IDLE, HEAD), patience)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_be_complete_in_time_from_its_first_byte() {
        let (mut client, mut stream, _) = pair();
        client.write_all(b"G").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
        let began = Instant::now();
        let error = stream.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), HEAD.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_may_stand_idle_for_longer() {
        let (_client, mut stream, patience) = pair();
        patience.busy();
        stream.look();
        patience.waiting();
        let began = Instant::now();
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_not_offered_for_ever() {
        let (_client, mut stream, patience) = pair();
        patience.busy();
        stream.look();
        patience.waiting();
        let began = Instant::now();
        let error = stream.write_all(&[0; 4_096]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), IDLE.as_secs());
    }

    /// As TLS does whose last words find no room.
    struct NeverDone;

    impl AsyncWrite for NeverDone {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_goodbye_that_nobody_takes_is_not_offered_for_ever() {
        let mut stream = Patient::new(NeverDone, Arc::default(), IDLE, HEAD);
        let said = tokio::time::timeout(10 * IDLE, stream.shutdown()).await;
        assert_eq!(said.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_gateway_works_nobody_loses_patience() {
        let (_client, mut stream, patience) = pair();
        patience.busy();
        let read = tokio::time::timeout(10 * IDLE, stream.read(&mut [0; 8])).await;
        assert!(read.is_err(), "still waiting");
    }
}
