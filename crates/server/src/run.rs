//! Starts and stops a server: data folder, identity, database, listener, background work. Answers no
//! request itself.

use crate::app::App;
use crate::backends::Backends;
use crate::config::Config;
use crate::data::DataFolder;
use crate::db::Db;
use crate::deletions::Carrier;
use crate::entra::Entra;
use crate::error::causes;
use crate::exports::Lists;
use crate::identity::Identity;
use crate::objects::{self, Objects};
use crate::publication::{self, Publications};
use crate::quota::Usage;
use crate::receipt::ReceiptKey;
use crate::seen::Seen;
use crate::{
    Error, admin, connections, deletions, groups, jobs, key_removals, machines, notices, routes,
};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How long requests may take to end after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Of a connection, hyper keeps so much that was read and so much that was not written yet. A request's head
/// is shorter.
const BUFFER: usize = 128 << 10;

/// A running server. Stops when dropped, or when [`shutdown`](Self::shutdown) is called.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    endpoint: String,
    admin: PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Server {
    /// Starts a server on threads of its own, and answers once it takes requests.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has the data folder; [`Error::Listen`]; whatever else
    /// keeps it from starting.
    pub fn start(config: Config) -> Result<Self, Error> {
        let (stop, stopped) = watch::channel(false);
        let (ready, started) = mpsc::channel();
        let admin = config.data.join(admin::FILE);
        let failed = Error::io("starting a thread for", config.data.clone());
        let body = move || {
            let runtime =
                Runtime::new().map_err(Error::io("starting threads for", &config.data))?;
            let done = runtime.block_on(serve(config, stopped, ready));
            runtime.shutdown_timeout(GRACE);
            done
        };
        let thread = std::thread::Builder::new().name("server".to_owned()).spawn(body);
        let thread = thread.map_err(failed)?;
        match started.recv() {
            Ok((address, endpoint)) => {
                Ok(Self { address, endpoint, admin, stop, thread: Some(thread) })
            }
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(Error::Damaged { what: "the server".into(), why: "it died".into() }),
            },
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What callers are told to use.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The file with the administrator's credentials.
    #[must_use]
    pub fn admin_file(&self) -> &std::path::Path {
        &self.admin
    }

    /// Stops taking requests, lets those under way end, and closes everything.
    ///
    /// # Errors
    /// What went wrong while serving or closing.
    pub fn shutdown(mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        self.join()
    }

    /// Blocks until the server ends by itself.
    ///
    /// # Errors
    /// What went wrong while serving.
    pub fn wait(mut self) -> Result<(), Error> {
        self.join()
    }

    /// What tells the server to stop, for a signal handler.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    fn join(&mut self) -> Result<(), Error> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                Err(Error::Damaged { what: "the server".into(), why: "it died".into() })
            }
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let _ = self.join();
    }
}

/// Tells a server to stop.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Stop now. Returns at once.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Runs a server until the process is told to stop (SIGINT or SIGTERM). `ready` hears where it
/// listens.
///
/// # Errors
/// As [`Server::start`]; what went wrong while serving.
pub fn run(config: Config, ready: impl FnOnce(&Server)) -> Result<(), Error> {
    let runtime = Runtime::new().map_err(Error::io("starting threads for", &config.data))?;
    let server = Server::start(config)?;
    ready(&server);
    let stopper = server.stopper();
    runtime.spawn(async move {
        if signalled().await.is_ok() {
            stopper.stop();
        }
    });
    let result = server.wait();
    runtime.shutdown_background();
    result
}

async fn signalled() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn serve(
    config: Config,
    mut stopped: watch::Receiver<bool>,
    ready: mpsc::Sender<(SocketAddr, String)>,
) -> Result<(), Error> {
    let data = DataFolder::open(&config.data)?;
    let listener = connections::listen(config.listen)?;
    let affordable = connections::affordable();
    let connections = config.connections.unwrap_or(affordable);
    if connections > affordable {
        tracing::warn!(
            connections,
            affordable,
            "so many connections may need more files than can be open"
        );
    }
    let places = connections::Places::new(connections, config.stall);
    // A connection with a stream is being answered all the time: some are left for everybody else.
    let streams = config.event_streams.min(connections / 2);
    let changes = jobs::Changes::new(streams, stopped.clone());
    let (handshake, head) = (config.handshake, config.head);
    let address = listener.local_addr().map_err(listening(config.listen))?;
    let (app, tls) = open(&data, config, address, changes).await?;
    sweep(&data, &app.backends);
    publication::void_leases(&app).await?;
    publication::resume(&app).await?;
    let ticking = tokio::spawn(tick(Arc::clone(&app)));
    let carrying = tokio::spawn(deletions::carry_out(Arc::clone(&app)));
    let renewing = tokio::spawn(renew(Arc::clone(&app), data, tls.clone()));
    let handle = Handle::new();
    let service = routes::router(&app).into_make_service_with_connect_info::<SocketAddr>();
    let server = from_tcp_rustls(listener, tls).map_err(listening(address))?;
    let server = server.map(|tls| tls.handshake_timeout(handshake).acceptor(places));
    // Finding out which version a caller speaks has no time limit, and there is one only.
    let mut server = server.http1_only().accept_error_handler(connections::log());
    server.http_builder().http1().header_read_timeout(head).max_buf_size(BUFFER);
    let serving = tokio::spawn(server.handle(handle.clone()).serve(service));
    tracing::info!(%address, endpoint = app.endpoint, "listening");
    let _ = ready.send((address, app.endpoint.clone()));
    // An error means that the other half is gone: time to stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
    tracing::info!("stopping");
    handle.graceful_shutdown(Some(GRACE));
    let served = serving.await?;
    ticking.abort();
    carrying.abort();
    renewing.abort();
    // The data folder is its own, too: it is let go of before anybody hears that the server has ended.
    let _ = renewing.await;
    if let Err(error) = app.seen.end(&app.db, &app.config.clock).await {
        tracing::error!(%error, "the time since the last look does not count for holds");
    }
    app.db.close().await;
    served.map_err(listening(address))
}

fn listening(address: SocketAddr) -> impl FnOnce(std::io::Error) -> Error {
    move |cause| Error::Listen { address, cause }
}

async fn open(
    data: &DataFolder,
    config: Config,
    address: SocketAddr,
    changes: jobs::Changes,
) -> Result<(Arc<App>, RustlsConfig), Error> {
    let now = config.clock.now();
    let identity = Identity::find(data, &config, &names(&config), now)?;
    let receipt_key = ReceiptKey::open(data)?;
    let db = Db::open(&data.join("packmule.db")).await?;
    let keyring = jobs::open_keyring(data, &db).await?;
    let objects = Objects::open(&data.folder("objects")?)?;
    let endpoint = config.endpoint.clone().unwrap_or_else(|| endpoint(address));
    let entra = Entra::open(data, &db, now).await?;
    let (own, folders) = (objects.clone(), &config.backends);
    let backends = Backends::open(own, &config.data, folders, &db, &entra.tenant).await?;
    let group = groups::adopt(&db, entra.subscription.as_str(), now).await?;
    let known = admin::Known {
        endpoint: &endpoint,
        receipt_key: receipt_key.public(),
        entra: &entra,
        ca_file: identity.ca_file,
    };
    admin::open(data, &db, known, now).await?;
    let seen = Seen::open(&db, &config.clock).await?;
    let tls = RustlsConfig::from_config(identity.tls);
    let app = App {
        config,
        db,
        objects,
        backends,
        receipt_key,
        keyring,
        ca_pem: identity.ca_pem,
        endpoint,
        publications: Publications::new()?,
        exports: Lists::default(),
        carrier: Carrier::default(),
        usage: Usage::default(),
        changes,
        group,
        entra,
        heard: machines::Heard::default(),
        seen,
    };
    Ok((Arc::new(app), tls))
}

/// Names that the certificate is for, each once.
fn names(config: &Config) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let own = config.listen.ip();
    let given = (!own.is_unspecified()).then(|| own.to_string());
    let host = (!host.is_empty() && host != "(none)").then_some(host);
    for name in host.into_iter().chain(given).chain(config.names.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn endpoint(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("https://localhost:{}", address.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => format!("https://{address}"),
    }
}

/// In the background: a large store takes long to walk. Where that cannot be, it is for the next start.
fn sweep(data: &DataFolder, backends: &Backends) {
    for root in std::iter::once(data.join("objects")).chain(backends.folders()) {
        let started = match objects::clock(&root) {
            Ok(started) => started,
            Err(error) => {
                tracing::warn!(%error, cause = causes(&error), "unfinished uploads are left behind");
                continue;
            }
        };
        tokio::task::spawn_blocking(move || {
            let swept = objects::sweep(&root, started);
            if swept > 0 {
                tracing::info!(swept, "unfinished uploads of an earlier run are removed");
            }
        });
    }
}

async fn tick(app: Arc<App>) {
    let mut interval = tokio::time::interval(app.config.tick);
    loop {
        interval.tick().await;
        if let Err(error) = see(&app).await {
            tracing::error!(%error, "the time that has passed cannot be kept");
        }
        if let Err(error) = jobs::tick_all(&app).await {
            tracing::error!(%error, "the import jobs' timers cannot be looked at");
        }
        if let Err(error) = key_removals::carry_out(&app).await {
            tracing::error!(%error, "key files that are due cannot be removed");
        }
    }
}

/// Keeps the time that was seen to pass. A clock that was moved is said: its holds count on as if it had not been.
async fn see(app: &App) -> Result<(), Error> {
    app.seen.keep(&app.db, &app.config.clock).await?;
    let Some(by) = app.seen.moved(&app.config.clock) else { return Ok(()) };
    let way = if by.is_negative() { "back" } else { "ahead" };
    let text = format!(
        "this server's clock was moved {way} by {:#}, or its machine slept so long; holds of deletions go on as if it had not been: look at what sets it",
        by.abs().round(jiff::Unit::Minute).unwrap_or(by)
    );
    notices::of_server(&app.db, &text, app.now()).await
}

/// Shows a new certificate when there is one: renewed by the server itself, or in the files that it was
/// given. One that cannot be used is said, and the one before is shown on.
async fn renew(app: Arc<App>, data: DataFolder, tls: RustlsConfig) {
    let names = names(&app.config);
    let mut interval = tokio::time::interval(app.config.tick);
    interval.tick().await;
    loop {
        interval.tick().await;
        match Identity::find(&data, &app.config, &names, app.now()) {
            Ok(identity) => tls.reload_from_config(identity.tls),
            Err(error) => {
                tracing::error!(%error, "the certificate cannot be renewed; the one before is shown on");
            }
        }
    }
}
