//! A small real HTTP server that speaks restic's REST protocol over a store, well or badly.
//! For tests only: it trusts its client and its threads end with the test.

use packmule_store as store;

use model::{ObjectKey, ObjectKind};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use store::{Error, Store};
use url::Url;

/// How the server behaves all the time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    /// What it answers to a POST of an object that is there; 0: 200 if identical, else 409.
    pub(crate) existing: u16,
    /// Whether it knows nothing of `Expect: 100-continue`.
    pub(crate) never_invites: bool,
    /// Whether it ignores `Range`.
    pub(crate) no_ranges: bool,
    /// Whether it lists names without sizes.
    pub(crate) version_1: bool,
    /// Whether a list of nothing is a 404.
    pub(crate) missing_folders: bool,
    /// Whether only `me` with password `pass word` may use it.
    pub(crate) private: bool,
    /// Whether DELETE is forbidden but for locks.
    pub(crate) append_only: bool,
}

/// What the server does to one request, once.
#[derive(Debug, Clone)]
pub(crate) enum Trick {
    /// Answers that status, with that text, without looking further.
    Answer(u16, &'static str),
    /// Announces the whole answer and breaks the connection after that many bytes of its body.
    BreakAfter(usize),
    /// Answers with that many bytes of the body fewer, as if they were all.
    Shorten(usize),
    /// Answers with these bytes after the body, as if they belonged to it.
    Lengthen(&'static str),
    /// Says in `Content-Range` that the range begins elsewhere.
    OtherRange,
    /// Breaks the connection without an answer, before the body is read.
    HangUp,
    /// Stores the object and breaks the connection without an answer.
    LoseAnswer,
    /// Refuses without reading the body, and breaks the connection.
    RefuseUnread(u16),
    /// Answers nothing, and keeps the connection.
    Silence,
    /// Lets the request pass.
    Pass,
}

/// A running server.
pub(crate) struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: bool,
}

struct Shared {
    store: Arc<dyn Store>,
    manners: Manners,
    tricks: Mutex<VecDeque<Trick>>,
    seen: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Server {
    pub(crate) fn start(store: Arc<dyn Store>, manners: Manners) -> Self {
        Self::start_with(store, manners, None)
    }

    pub(crate) fn start_with(
        store: Arc<dyn Store>,
        manners: Manners,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_tls = tls.is_some();
        let shared = Arc::new(Shared {
            store,
            manners,
            tricks: Mutex::default(),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            stop: AtomicBool::new(false),
            tls,
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accepting.accept(&listener));
        Self { shared, address, tls: is_tls }
    }

    pub(crate) fn url(&self) -> Url {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/some/repository/", self.address).parse().unwrap()
    }

    /// The next requests meet these, one each.
    pub(crate) fn tricks(&self, tricks: impl IntoIterator<Item = Trick>) {
        self.shared.tricks.lock().unwrap().extend(tricks);
    }

    /// Method and path of each request so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Breaks every connection, as a restart does.
    pub(crate) fn break_connections(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.break_connections();
        let _ = TcpStream::connect(self.address);
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> u64 {
        self.header("content-length").map_or(0, |length| length.parse().unwrap())
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers: Vec::new(), body: body.into() }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let (stream, shared) = (stream.unwrap(), self.clone());
            self.connections.fetch_add(1, Ordering::SeqCst);
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let end = stream.try_clone().unwrap();
                let _ = match &shared.tls {
                    None => shared.serve(&mut BufReader::new(stream)),
                    Some(tls) => {
                        let tls = rustls::ServerConnection::new(tls.clone()).unwrap();
                        shared.serve(&mut BufReader::new(rustls::StreamOwned::new(tls, stream)))
                    }
                };
                let _ = end.shutdown(Shutdown::Both);
            });
        }
    }

    /// Serves one connection until it ends, which an error says.
    fn serve<S: Stream>(&self, stream: &mut BufReader<S>) -> io::Result<()> {
        loop {
            let request = read_request(stream)?;
            self.seen.lock().unwrap().push(format!("{} {}", request.method, request.path));
            let trick = self.tricks.lock().unwrap().pop_front().unwrap_or(Trick::Pass);
            match &trick {
                Trick::HangUp => return Ok(()),
                Trick::Silence => loop {
                    // Ends when the client gives up.
                    if stream.read(&mut [0; 1024])? == 0 {
                        return Ok(());
                    }
                },
                Trick::RefuseUnread(status) => {
                    return send(stream.get_mut(), &request, &reply(*status, "no"), &Trick::Pass);
                }
                _ => {}
            }
            let answer = match self.read_body(stream, &request)? {
                Err(refusal) => refusal,
                Ok(_) if matches!(trick, Trick::Answer(..)) => {
                    let Trick::Answer(status, text) = trick else { unreachable!() };
                    reply(status, text)
                }
                Ok(body) => self.answer(&request, &body),
            };
            if matches!(trick, Trick::LoseAnswer) {
                return Ok(());
            }
            send(stream.get_mut(), &request, &answer, &trick)?;
            if matches!(trick, Trick::BreakAfter(_)) {
                return Ok(());
            }
        }
    }

    /// The body, or the refusal that came before it.
    fn read_body<S: Stream>(
        &self,
        stream: &mut BufReader<S>,
        request: &Request,
    ) -> io::Result<Result<Vec<u8>, Reply>> {
        let waits = request.header("expect") == Some("100-continue");
        if waits && !self.manners.never_invites {
            if self.manners.existing != 0
                && key_of(&request.path).is_some_and(|key| self.store.length(&key).is_ok())
            {
                return Ok(Err(reply(self.manners.existing, "it exists")));
            }
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.get_mut().flush()?;
        }
        let mut body = Vec::new();
        stream.take(request.length()).read_to_end(&mut body)?;
        if (body.len() as u64) < request.length() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Ok(body))
    }

    fn answer(&self, request: &Request, body: &[u8]) -> Reply {
        // "me:pass word"
        if self.manners.private && request.header("authorization") != Some("Basic bWU6cGFzcyB3b3Jk")
        {
            return reply(401, "who are you?");
        }
        let path = request.path.strip_prefix("/some/repository/").unwrap_or("?");
        let folder = path.strip_suffix('/').and_then(ObjectKind::from_folder);
        match (request.method.as_str(), key_of(&request.path), folder) {
            ("POST", None, None) if path == "?create=true" => {
                self.store.create().map_or_else(|error| fail(&error), |()| reply(200, ""))
            }
            ("GET", None, Some(kind)) => self.list(kind),
            ("GET" | "HEAD", Some(key), None) => self.get(request, &key),
            ("POST", Some(key), None) => self.post(&key, body),
            ("DELETE", Some(key), None) => {
                if self.manners.append_only && key.kind() != ObjectKind::Lock {
                    return reply(403, "append only");
                }
                self.store.remove(&key).map_or_else(|error| fail(&error), |()| reply(200, ""))
            }
            _ => reply(404, "no such place"),
        }
    }

    fn list(&self, kind: ObjectKind) -> Reply {
        let list = match self.store.list(kind) {
            Ok(list) if list.is_empty() && self.manners.missing_folders => return reply(404, ""),
            Ok(list) => list,
            Err(error) => return fail(&error),
        };
        let entries: Vec<_> = list
            .iter()
            .map(|listed| (listed.key.id().unwrap(), listed.length))
            .map(|(id, length)| match self.manners.version_1 {
                true => format!("\"{id}\""),
                false => format!("{{\"name\":\"{id}\",\"size\":{length}}}"),
            })
            .collect();
        reply(200, format!("[{}]", entries.join(",")))
    }

    fn get(&self, request: &Request, key: &ObjectKey) -> Reply {
        let bytes = match self.store.get(key, u64::MAX) {
            Ok(bytes) => bytes,
            Err(error) => return fail(&error),
        };
        let Some(range) = request.header("range").filter(|_| !self.manners.no_ranges) else {
            return reply(200, bytes);
        };
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        let total = bytes.len() as u64;
        if first >= total {
            return reply(416, "");
        }
        let last = last.min(total - 1);
        let part = bytes[usize::try_from(first).unwrap()..=usize::try_from(last).unwrap()].to_vec();
        let headers = vec![("Content-Range", format!("bytes {first}-{last}/{total}"))];
        Reply { status: 206, headers, body: part }
    }

    fn post(&self, key: &ObjectKey, body: &[u8]) -> Reply {
        if self.manners.existing != 0 && self.store.length(key).is_ok() {
            return reply(self.manners.existing, "it exists");
        }
        self.store.put(key, body).map_or_else(|error| fail(&error), |()| reply(200, ""))
    }
}

fn key_of(path: &str) -> Option<ObjectKey> {
    let path = path.strip_prefix("/some/repository/")?;
    if path == "config" {
        return Some(ObjectKey::Config);
    }
    let (folder, name) = path.split_once('/')?;
    Some(ObjectKey::new(ObjectKind::from_folder(folder)?, name.parse().ok()?))
}

fn fail(error: &Error) -> Reply {
    match error {
        Error::NotFound { .. } => reply(404, ""),
        Error::Conflict { .. } => reply(409, "other bytes"),
        Error::Denied { .. } => reply(403, ""),
        Error::Full { .. } => reply(507, ""),
        _ => reply(500, error.to_string()),
    }
}

fn read_request<S: Stream>(stream: &mut BufReader<S>) -> io::Result<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines[0].split(' ');
    let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let header = |line: &String| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Ok(Request { method, path, headers: lines[1..].iter().map(header).collect() })
}

fn send(
    stream: &mut impl Write,
    request: &Request,
    reply: &Reply,
    trick: &Trick,
) -> io::Result<()> {
    let mut body = reply.body.clone();
    match trick {
        Trick::Shorten(by) => body.truncate(body.len().saturating_sub(*by)),
        Trick::Lengthen(with) => body.extend_from_slice(with.as_bytes()),
        _ => {}
    }
    let mut head =
        format!("HTTP/1.1 {} Whatever\r\ncontent-length: {}\r\n", reply.status, body.len());
    for (name, value) in &reply.headers {
        let value = match trick {
            Trick::OtherRange => "bytes 9999-10000/20000",
            _ => value,
        };
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        let end = match trick {
            Trick::BreakAfter(after) => (*after).min(body.len()),
            _ => body.len(),
        };
        stream.write_all(&body[..end])?;
    }
    stream.flush()
}
