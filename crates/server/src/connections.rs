//! Open connections: how many there may be, which one goes for another, and that none is held by a caller
//! who does not read. Knows nothing of TLS and of requests but when they begin and end.
//!
//! ```text
//!  accepted ─▶ waits (handshake, head, nothing) ─▶ is answered ─▶ waits ─▶ …
//!                 │ one too many is open              │ nothing is read for `stall`
//!                 ▼ the longest waiting goes          ▼
//!               closed                              closed
//! ```
//!
//! A crowd that is silent can so take no place from callers who ask. Only when all connections are being
//! answered is another one refused. How long a handshake and a request's head may take is for those who read them.

use crate::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use axum_server::accept::Accept;
use futures::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tower::Service;

/// Files that are open besides connections and what these read and write: database, log, libraries.
const SPARE: u64 = 256;
/// At least so many connections are taken, whatever files may be open.
const FEWEST: u64 = 16;
/// And at most so many where nothing else is said. One that waits takes about 40 KiB.
const MOST: u64 = 16_384;

/// How many connections there may be, where nothing is said: one that is answered has a file open, too. Lets
/// the process have as many files as it may.
pub(crate) fn affordable() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // What cannot be raised is used as it is.
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = (files.saturating_sub(SPARE) / 2).clamp(FEWEST, MOST);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Takes connections, as many as there may be. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    table: Arc<Mutex<Table>>,
    limit: usize,
    stall: Duration,
}

/// Invariant: `open` counts the seats that were neither left nor sent away; those of `waiting` are among them.
#[derive(Debug, Default)]
struct Table {
    open: usize,
    turn: u64,
    /// The longest waiting first.
    waiting: BTreeMap<u64, Arc<Seat>>,
}

/// What a connection has of the table.
#[derive(Debug, Default)]
struct Seat {
    state: Mutex<State>,
    /// It was sent away.
    gone: AtomicBool,
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Answered,
    /// Since that turn.
    Waits(u64),
    /// Its connection is closed.
    Left,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// At most so many connections; one that reads nothing of its answer for `stall` is closed.
    pub(crate) fn new(limit: usize, stall: Duration) -> Self {
        Self { table: Arc::default(), limit, stall }
    }

    /// A seat, which in the worst case the longest waiting has to leave; none if none waits.
    fn take(&self) -> Option<Arc<Seat>> {
        let seat = Arc::new(Seat::default());
        let mut table = locked(&self.table);
        if table.open >= self.limit {
            let (_, longest) = table.waiting.pop_first()?;
            longest.gone.store(true, Ordering::Release);
            longest.reader.wake();
            table.open -= 1;
        }
        table.open += 1;
        table.wait(&seat);
        Some(seat)
    }

    fn begin(&self, seat: &Seat) {
        let mut table = locked(&self.table);
        let mut state = locked(&seat.state);
        if let State::Waits(turn) = *state {
            table.waiting.remove(&turn);
            *state = State::Answered;
        }
    }

    fn end(&self, seat: &Arc<Seat>) {
        let mut table = locked(&self.table);
        let is_open = matches!(*locked(&seat.state), State::Answered);
        if is_open && !seat.gone.load(Ordering::Acquire) {
            table.wait(seat);
        }
    }

    fn leave(&self, seat: &Seat) {
        let mut table = locked(&self.table);
        let state = std::mem::replace(&mut *locked(&seat.state), State::Left);
        if let State::Waits(turn) = state {
            table.waiting.remove(&turn);
        }
        if !seat.gone.load(Ordering::Acquire) {
            table.open -= 1;
        }
    }
}

impl Table {
    fn wait(&mut self, seat: &Arc<Seat>) {
        self.turn += 1;
        *locked(&seat.state) = State::Waits(self.turn);
        self.waiting.insert(self.turn, Arc::clone(seat));
    }
}

impl<S> Accept<TcpStream, S> for Places {
    type Stream = Connection;
    type Service = Answering<S>;
    type Future = Ready<io::Result<(Connection, Answering<S>)>>;

    fn accept(&self, tcp: TcpStream, service: S) -> Self::Future {
        let Some(seat) = self.take() else {
            let words = "every connection there may be is being answered";
            return ready(Err(io::Error::new(ErrorKind::QuotaExceeded, words)));
        };
        let places = self.clone();
        let connection = Connection { tcp, seat: Arc::clone(&seat), places, stalled: None };
        // Answers are small and many: none waits for another packet.
        if let Err(cause) = connection.tcp.set_nodelay(true) {
            return ready(Err(cause));
        }
        ready(Ok((connection, Answering { service, seat, places: self.clone() })))
    }
}

/// A connection with its seat.
pub(crate) struct Connection {
    tcp: TcpStream,
    seat: Arc<Seat>,
    places: Places,
    /// Runs while nothing that is written is taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    fn stays(&self, context: &Context<'_>) -> io::Result<()> {
        self.seat.reader.register(context.waker());
        match self.seat.gone.load(Ordering::Acquire) {
            true => Err(ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    /// An error when nothing was taken for too long.
    fn taken(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.places.stall;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        sleep.as_mut().poll(context).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.places.leave(&self.seat);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stays(context)?;
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stays(context)?;
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.taken(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stays(context)?;
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, bytes);
        self.taken(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// What answers the requests of a connection.
#[derive(Clone)]
pub(crate) struct Answering<S> {
    service: S,
    seat: Arc<Seat>,
    places: Places,
}

impl<S, B> Service<Request<B>> for Answering<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.places.begin(&self.seat);
        let answer = Answer { seat: Arc::clone(&self.seat), places: self.places.clone() };
        let response = self.service.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(response.map(|body| Body::new(Answered { body, _answer: answer })))
        })
    }
}

/// Lives as long as a request is being answered.
struct Answer {
    seat: Arc<Seat>,
    places: Places,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.places.end(&self.seat);
    }
}

/// The body of an answer, until the last of it is handed on.
struct Answered {
    body: Body,
    _answer: Answer,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Says why a connection was not taken, but not for each of a crowd: a log that fills a disk harms more.
pub(crate) fn log() -> impl Fn(Option<&std::net::SocketAddr>, &io::Error) + Send + Sync {
    const EACH: Duration = Duration::from_secs(10);
    let last = Mutex::new((None::<std::time::Instant>, 0_u64));
    move |from, cause| {
        // A handshake that fails is the caller's business.
        if from.is_some() && cause.kind() != ErrorKind::QuotaExceeded {
            tracing::debug!(?from, %cause, "a connection came to nothing");
            return;
        }
        let mut last = locked(&last);
        last.1 += 1;
        if last.0.is_none_or(|at| at.elapsed() >= EACH) {
            tracing::warn!(%cause, times = last.1, "connections cannot be taken");
            *last = (Some(std::time::Instant::now()), 0);
        }
    }
}

/// Listens with room for a crowd that comes at once; the system makes less of it where it must. Needs a runtime.
pub(crate) fn listen(address: std::net::SocketAddr) -> Result<std::net::TcpListener, Error> {
    use tokio::net::TcpSocket;
    const QUEUE: u32 = 4096;
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(QUEUE)?.into_std()
    };
    open().map_err(|cause| Error::Listen { address, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(600);

    fn is_gone(seat: &Seat) -> bool {
        seat.gone.load(Ordering::Acquire)
    }

    #[test]
    fn the_longest_waiting_goes_and_never_one_that_is_being_answered() {
        let places = Places::new(2, LONG);
        let (first, second) = (places.take().unwrap(), places.take().unwrap());
        places.begin(&first);
        let third = places.take().unwrap();
        assert_eq!([&first, &second, &third].map(|seat| is_gone(seat)), [false, true, false]);
        places.begin(&third);
        assert!(places.take().is_none(), "both are being answered");
        // The first is answered last, and so has waited for a shorter time.
        places.end(&third);
        places.end(&first);
        let fourth = places.take().unwrap();
        assert!(is_gone(&third) && !is_gone(&first) && !is_gone(&fourth));
    }

    #[test]
    fn a_seat_that_is_left_is_free_once_and_waits_no_more() {
        let places = Places::new(2, LONG);
        let (first, second) = (places.take().unwrap(), places.take().unwrap());
        places.begin(&first);
        places.leave(&first);
        // Its answer ends after its connection has.
        places.end(&first);
        let third = places.take().unwrap();
        assert!(!is_gone(&second), "there was a seat");
        let fourth = places.take().unwrap();
        assert!(is_gone(&second), "the longest waiting");
        // It was counted out when it was sent away.
        places.leave(&second);
        assert_eq!(locked(&places.table).open, 2);
        places.leave(&third);
        places.leave(&fourth);
        let table = locked(&places.table);
        assert_eq!((table.open, table.waiting.len()), (0, 0));
    }

    async fn pair(places: &Places) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        (places.accept(tcp, ()).await.unwrap().0, caller)
    }

    #[tokio::test]
    async fn a_connection_that_is_sent_away_hears_it_while_it_reads() {
        let places = Places::new(1, LONG);
        let (mut first, _caller) = pair(&places).await;
        let reading = tokio::spawn(async move { first.read_u8().await });
        tokio::task::yield_now().await;
        let (_second, _other) = pair(&places).await;
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_caller_who_does_not_read_is_given_up_and_a_slow_one_is_not() {
        let places = Places::new(2, Duration::from_millis(300));
        let (mut stuck, _caller) = pair(&places).await;
        let bytes = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = stuck.write_all(&bytes).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let (mut slow, mut caller) = pair(&places).await;
        let writing = tokio::spawn(async move {
            for _ in 0..16 {
                slow.write_all(&bytes).await.unwrap();
            }
        });
        // Altogether longer than the limit.
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..16 {
            caller.read_exact(&mut buffer).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        writing.await.unwrap();
    }
}
