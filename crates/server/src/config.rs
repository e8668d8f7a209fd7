//! What a server is told from outside: where its data is, where it listens, what time it is.
//! Reads no file and no environment.

use crate::Step;
use jiff::{SignedDuration, Timestamp};
use model::BackendName;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::Location;

/// Everything a server is told. Make one with [`Config::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds everything the server keeps.
    pub data: PathBuf,
    /// Folders for the objects of storage accounts beside the data folder's own, by the names that accounts are
    /// made with. Each is the server's alone.
    pub backends: BTreeMap<BackendName, PathBuf>,
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What callers are told to use, `https://host:port`; none: made from the address.
    pub endpoint: Option<String>,
    /// Further DNS names and IP addresses that the server's certificate is for.
    pub names: Vec<String>,
    /// The certificate to show, made elsewhere; none: the server makes one and an authority for it.
    pub tls: Option<TlsFiles>,
    /// How often timers and certificates are looked at.
    pub tick: Duration,
    /// The version that callers are told: this program's.
    pub version: String,
    /// The oldest version of our own agent that is answered: major, minor, patch.
    pub oldest_agent: (u64, u64, u64),
    /// How long a key file that is to be removed from a vault's repository stays there.
    pub key_hold: SignedDuration,
    /// Where drives can be sent.
    pub locations: Vec<Location>,
    /// Where the time comes from.
    pub clock: Clock,
    /// The longest pack taken, in bytes.
    pub pack_limit: u64,
    /// The longest of any other object, manifest or copy log taken, in bytes.
    pub object_limit: u64,
    /// How many connections may be open; none: as many as open files allow.
    pub connections: Option<usize>,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may wait for the whole head of a request, from its handshake or the answer to
    /// the one before.
    pub head: Duration,
    /// How long a request's body may bring nothing, and an answer may not be read, before it is given up.
    pub stall: Duration,
    /// How many import jobs may be watched at once; never more than half of the connections do.
    pub event_streams: usize,
    /// Asked before each step of publication; used by tests to die there.
    pub checkpoint: Checkpoint,
}

impl Config {
    /// The defaults, for that folder and address.
    #[must_use]
    pub fn new(data: PathBuf, listen: SocketAddr) -> Self {
        Self {
            data,
            backends: BTreeMap::new(),
            listen,
            endpoint: None,
            names: Vec::new(),
            tls: None,
            tick: Duration::from_secs(600),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            oldest_agent: (0, 1, 0),
            key_hold: SignedDuration::from_hours(14 * 24),
            locations: Vec::new(),
            clock: Clock::system(),
            pack_limit: 256 << 20,
            object_limit: 512 << 20,
            connections: None,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(60),
            stall: Duration::from_secs(120),
            event_streams: 256,
            checkpoint: Checkpoint::default(),
        }
    }
}

/// A certificate that was made elsewhere. The files are read again at every tick, so that whoever renews
/// them need not stop the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The authority that callers are told to trust, in PEM; none: the last one in the certificate's file.
    pub authority: Option<PathBuf>,
}

/// Tells the time: by a clock that people and programs set, and by one that only goes on.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    steady: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The operating system's clocks.
    #[must_use]
    pub fn system() -> Self {
        let begun = Instant::now();
        Self { now: Arc::new(Timestamp::now), steady: Arc::new(move || begun.elapsed()) }
    }

    /// Any other clock. As much time passes as it says.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let begun = now();
        let now: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(now);
        let wall = Arc::clone(&now);
        let steady = move || wall().duration_since(begun).try_into().unwrap_or_default();
        Self { now, steady: Arc::new(steady) }
    }

    /// The same, while in truth as much time passes as the operating system sees: this one was moved.
    #[must_use]
    pub fn moved(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), ..Self::system() }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// How much time has passed since some moment of this process.
    #[must_use]
    pub fn steady(&self) -> Duration {
        (self.steady)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Asked before each step of publication whether to go on. Where it says no, the task ends at
/// once, as if the process had died there.
#[derive(Clone)]
pub struct Checkpoint(Arc<dyn Fn(Step) -> bool + Send + Sync>);

impl Checkpoint {
    /// Goes on wherever `goes_on` says so.
    #[must_use]
    pub fn from_fn(goes_on: impl Fn(Step) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(goes_on))
    }

    pub(crate) fn goes_on(&self, step: Step) -> bool {
        (self.0)(step)
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self::from_fn(|_| true)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checkpoint")
    }
}
