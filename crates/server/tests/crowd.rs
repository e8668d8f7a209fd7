//! A crowd of callers who are silent, slow or do not read, and one who behaves. The crowd is a process of its
//! own, this test's binary once more, so that both sides may have ten thousand sockets.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests may stop on a surprise; helpers outside of them as well"
)]

extern crate packmule_server as server;

use client::Client;
use model::{Digest, ObjectKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use server::{Config, Server};
use sha2::{Digest as _, Sha256};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::{Rest, RestOptions, Store as _};
use wire::{Credentials, ServerRequest};

/// How many come.
const CROWD: usize = 10_000;
/// Files that the test needs besides.
const SPARE: usize = 600;
/// How long each of them is waited for.
const LIMIT: Duration = Duration::from_secs(8);
/// What a caller who behaves waits at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer that no buffers on its way can hold.
const LARGE: usize = 16 << 20;

/// Where the process that is the crowd finds whom to call.
const CALLS: &str = "PACKMULE_TEST_CROWD";

/// As many files as the system allows.
fn files() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap())
}

fn start(folder: &Path, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new(folder.join("data"), "127.0.0.1:0".parse().unwrap());
    change(&mut config);
    Server::start(config).unwrap()
}

fn admin(server: &Server) -> Client {
    Client::new(client::load_credentials(server.admin_file()).unwrap()).unwrap()
}

/// Files of this process whose names begin so: all of them, or its sockets.
fn open(prefix: &str) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let names = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with(prefix)).count()
}

/// Waits until it is so; otherwise says what it was that it waited for.
fn until(what: &str, at_most: Duration, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < at_most, "{what}: not after {at_most:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells a thread to stop, also where something else is found wrong.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks over a new connection each time, until it is told to stop; answers how often, and the longest wait.
fn behave(credentials: &Credentials, stop: &AtomicBool) -> (usize, Duration) {
    let (mut times, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let client = Client::new(credentials.clone()).unwrap();
        client.locations().unwrap();
        longest = longest.max(began.elapsed());
        times += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    (times, longest)
}

#[test]
fn ten_thousand_slow_callers_are_bounded_and_leave_nothing_behind() {
    let crowd = CROWD.min(files().saturating_sub(SPARE));
    if crowd < CROWD {
        eprintln!("only {crowd} connections: no more files can be open here");
    }
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), |config| {
        config.connections = Some(crowd + 100);
        (config.handshake, config.head, config.stall) = (LIMIT, LIMIT, LIMIT);
    });
    let agent = agent(&admin(&server));
    let large = upload(&agent);
    // Whatever is opened once is open now.
    behave(&agent, &AtomicBool::new(true));
    let before = (open(""), open("socket:"));

    let stop = AtomicBool::new(false);
    let (times, longest) = std::thread::scope(|scope| {
        let end = Stop(&stop);
        let behaving = scope.spawn(|| behave(&agent, &stop));
        let mut calls = Crowd::start(folder.path(), &agent, &large, crowd);
        let connected = calls.connected();
        let most = open("socket:") - before.1;
        eprintln!("{connected} connected, {most} of them open at once");
        assert_eq!(connected, crowd);
        assert!(most > crowd / 2, "they were gone before all of them were there");
        // A few seconds on a busy machine, beyond the limit of the last that came.
        let at_most = LIMIT + Duration::from_secs(8);
        until("all of them are gone", at_most, || open("socket:") < before.1 + 8);
        drop(end);
        behaving.join().unwrap()
    });
    eprintln!("{times} answers to the one who behaved, after {longest:?} at most");
    assert!(times > 20 && longest < PATIENCE, "{times} answers, after {longest:?} at most");
    until("all sockets are closed", LIMIT, || open("socket:") <= before.1);
    // The database may have opened connections of its own.
    until("all files are closed", LIMIT, || open("") <= before.0 + 40);
    admin(&server).health().unwrap();
    server.shutdown().unwrap();
}

#[test]
fn a_crowd_takes_no_place_from_a_caller_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(600);
    let server = start(folder.path(), |config| {
        config.connections = Some(50);
        (config.handshake, config.head) = (long, long);
    });
    let admin = admin(&server);
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..20 {
        // Fewer at once than there are places: a crowd that comes in the same moment is ordered by chance.
        silent.extend((0..25).map(|_| TcpStream::connect(server.address()).unwrap()));
        let began = Instant::now();
        let again = Client::new(admin.credentials().clone()).unwrap();
        again.health().unwrap();
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
    // The first one went first; nobody but the server has closed it.
    let first = silent.first_mut().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(first.read(&mut [0]), Ok(0) | Err(_)));
    let last = silent.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let kind = last.read(&mut [0]).unwrap_err().kind();
    assert!(
        matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        "{kind}"
    );
}

fn agent(admin: &Client) -> Credentials {
    let (vault, name) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    admin.create_vault(&vault).unwrap();
    admin.register_server(&vault, &name, &ServerRequest { replace: true }).unwrap()
}

/// Puts a large object into the agent's vault; answers its path.
fn upload(agent: &Credentials) -> String {
    let client = Client::new(agent.clone()).unwrap();
    let (vault, name) = (agent.vault.as_ref().unwrap(), agent.server.as_ref().unwrap());
    let options = RestOptions {
        credentials: Some(store::Credentials {
            user: agent.user.clone(),
            password: agent.token.clone().into(),
        }),
        ca_pem: agent.ca_pem.clone().map(String::into_bytes),
        ..RestOptions::default()
    };
    let url = client.repository_url(vault, name);
    let bytes = vec![7; LARGE];
    let id = Digest(Sha256::digest(&bytes).into());
    let key = store::conformance::key_of(ObjectKind::Pack, &bytes);
    Arc::new(Rest::new(&url, &options).unwrap()).put(&key, &bytes).unwrap();
    format!("{}data/{id}", url.path())
}

/// The process that calls.
struct Crowd {
    child: Child,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Crowd {
    fn start(folder: &Path, agent: &Credentials, large: &str, crowd: usize) -> Self {
        let calls = folder.join("calls");
        let text = serde_json::json!({"agent": agent, "large": large, "crowd": crowd});
        std::fs::write(&calls, text.to_string()).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_crowd_calls_when_it_is_told_to", "--nocapture"])
            .env(CALLS, calls)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// How many are connected, once all of them are or could not.
    fn connected(&mut self) -> usize {
        let lines = BufReader::new(self.child.stdout.as_mut().unwrap()).lines();
        let mut counts =
            lines.filter_map(|line| line.unwrap().strip_prefix("crowd: ")?.parse().ok());
        counts.next().unwrap()
    }
}

/// No test unless it is the process that is the crowd: holds its connections until its input ends.
#[test]
fn the_crowd_calls_when_it_is_told_to() {
    let Some(calls) = std::env::var_os(CALLS) else { return };
    let calls: serde_json::Value = serde_json::from_slice(&std::fs::read(calls).unwrap()).unwrap();
    files();
    let agent: Credentials = serde_json::from_value(calls["agent"].clone()).unwrap();
    let crowd = usize::try_from(calls["crowd"].as_u64().unwrap()).unwrap();
    let caller = Caller::new(&agent, calls["large"].as_str().unwrap());
    let parts = 4;
    let call = |part: usize| -> Vec<Held> {
        (part..crowd).step_by(parts).map(|n| caller.call(n)).collect()
    };
    let held: Vec<Held> = std::thread::scope(|scope| {
        let call = &call;
        let threads: Vec<_> = (0..parts).map(|part| scope.spawn(move || call(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // A line of its own: what runs tests writes to the same place.
    println(&format!("\ncrowd: {}\n", held.len()));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn println(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes()).unwrap();
    output.flush().unwrap();
}

/// What keeps a connection open.
#[expect(dead_code, reason = "held and not looked at")]
enum Held {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

struct Caller {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    authorization: String,
    large: String,
    vault: String,
}

impl Caller {
    fn new(agent: &Credentials, large: &str) -> Self {
        use base64::Engine as _;
        let mut roots = RootCertStore::empty();
        let pem = agent.ca_pem.as_ref().unwrap().as_bytes();
        roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let pair = format!("{}:{}", agent.user, agent.token);
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        let endpoint = url::Url::parse(&agent.endpoint).unwrap();
        Self {
            address: *endpoint.socket_addrs(|| None).unwrap().first().unwrap(),
            tls,
            authorization: format!("authorization: Basic {pair}\r\n"),
            large: large.to_owned(),
            vault: large.rsplit_once('/').unwrap().0.to_owned(),
        }
    }

    /// Most are silent or in their handshake, as these cost a caller nothing.
    fn call(&self, n: usize) -> Held {
        let mut tcp = TcpStream::connect(self.address).unwrap();
        match n % 100 {
            0..45 => {}
            // The head of a TLS record with a ClientHello of 512 bytes, and no more of it.
            45..90 => tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).unwrap(),
            90..96 => return self.send(tcp, "GET /healthz HTTP/1.1\r\nhost: x\r\nx-"),
            96..99 => {
                let path = format!("{}/{n:064x}", self.vault);
                let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{}", self.authorization);
                return self.send(tcp, &format!("{head}content-length: 1000000\r\n\r\nno more"));
            }
            _ => {
                let head = format!("GET {} HTTP/1.1\r\nhost: x\r\n", self.large);
                return self.send(tcp, &format!("{head}{}\r\n", self.authorization));
            }
        }
        Held::Plain(tcp)
    }

    fn send(&self, tcp: TcpStream, request: &str) -> Held {
        let name = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        stream.write_all(request.as_bytes()).unwrap();
        stream.flush().unwrap();
        Held::Secure(Box::new(stream))
    }
}
