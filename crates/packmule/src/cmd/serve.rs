//! `packmule serve`: the control plane and the vaults, in one process.

use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::{Args, ValueEnum};
use model::{BackendName, ErrorKind};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Run the server: control plane, storage accounts and vaults
///
/// The first start makes everything below the data folder: database, certificate authority, object
/// folder, and admin.json with the administrator's credentials. Stop it with Ctrl-C.
///
/// Example: packmule serve --data /var/lib/packmule-server --listen 0.0.0.0:8443
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Folder for everything the server keeps
    #[arg(long, env = "PACKMULE_DATA", value_name = "DIR")]
    data: PathBuf,
    /// A further folder for the objects of storage accounts, the server's alone, and its name: accounts are made on
    /// it by `storage-account create --backend`; may be repeated
    #[arg(long, value_name = "NAME=DIR", value_parser = backend)]
    backend: Vec<(BackendName, PathBuf)>,
    /// Address to listen on; port 0 takes any free one
    #[arg(long, env = "PACKMULE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// What others reach the server as, if not by that address: https://host:port
    #[arg(long, env = "PACKMULE_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// Further host name or address that the certificate is for; may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Certificate made elsewhere, in PEM with those between it and its authority; read again when it changes
    #[arg(long, env = "PACKMULE_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, env = "PACKMULE_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The authority that callers are told to trust [default: the last in the certificate's file]
    #[arg(long, env = "PACKMULE_TLS_AUTHORITY", value_name = "FILE", requires = "tls_certificate")]
    tls_authority: Option<PathBuf>,
    /// Where drives are sent, and by whom: a JSON file with a list of {name, address, supportedCarriers}
    #[arg(long, env = "PACKMULE_LOCATIONS", value_name = "FILE")]
    locations: Option<PathBuf>,
    /// Connections that may be open at once [default: half as many as files may be, 16384 at most]
    #[arg(long, value_name = "N")]
    connections: Option<NonZeroUsize>,
    /// How the log is written, on stderr
    #[arg(long, env = "PACKMULE_LOG_FORMAT", value_enum, value_name = "FORMAT", default_value_t)]
    log_format: LogFormat,
    /// Database to use instead of the embedded one. This version has the embedded one only
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Object storage to use instead of a folder. This version has the folder only
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
}

/// How a log is written.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// For people: a line an event, with its fields
    #[default]
    Text,
    /// For collectors: a JSON object a line
    Json,
}

impl Serve {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        for (option, given) in
            [("--database-url", &self.database_url), ("--storage", &self.storage)]
        {
            if given.is_some() {
                let words =
                    format!("this version keeps everything below --data; run it without {option}");
                return Err(Failure::new(ErrorKind::Invalid, words));
            }
        }
        log(self.log_format);
        let mut config = server::Config::new(self.data.clone(), self.listen);
        config.endpoint.clone_from(&self.endpoint);
        config.names.clone_from(&self.name);
        config.tls = self.tls();
        config.backends = self.backends()?;
        config.connections = self.connections.map(NonZeroUsize::get);
        if let Some(path) = &self.locations {
            let text = std::fs::read(path).map_err(|e| Failure::io("reading", path, e))?;
            config.locations = serde_json::from_slice(&text).map_err(|e| {
                Failure::new(
                    ErrorKind::Invalid,
                    format!("{} is no list of locations: {e}", path.display()),
                )
            })?;
        }
        let server = server::Server::start(config)?;
        let (endpoint, admin) = (server.endpoint().to_owned(), server.admin_file().to_owned());
        context.printer.line(format!(
            "serving at {endpoint}; administrator's credentials: {}",
            admin.display()
        ));
        let key = client::load_credentials(&admin)?.receipt_key;
        let key = signing::Fingerprint::of(&key).to_string();
        context.printer.line(format!("receipts and custody logs are signed by {key}"));
        let ready = json!({
            "endpoint": endpoint,
            "address": server.address().to_string(),
            "admin": admin,
            "receipt_key": key,
        });
        context.printer.object("ready", &ready);
        let stopper = server.stopper();
        let stop = Arc::clone(&context.stop);
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                stopper.stop();
            });
            let result = server.wait();
            ended.store(true, Ordering::Relaxed);
            result
        })?;
        context.printer.note("stopped");
        Ok(Status::Done)
    }
}

impl Serve {
    fn tls(&self) -> Option<server::TlsFiles> {
        let (certificate, key) = (self.tls_certificate.clone()?, self.tls_key.clone()?);
        Some(server::TlsFiles { certificate, key, authority: self.tls_authority.clone() })
    }

    fn backends(&self) -> Result<BTreeMap<BackendName, PathBuf>, Failure> {
        let mut backends = BTreeMap::new();
        for (name, folder) in &self.backend {
            if backends.insert(name.clone(), folder.clone()).is_some() {
                let words =
                    format!("backend {name} is given twice; give another name to one of them");
                return Err(Failure::new(ErrorKind::Invalid, words));
            }
        }
        Ok(backends)
    }
}

fn backend(text: &str) -> Result<(BackendName, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !folder.is_empty() => {
            let name = name.parse::<BackendName>().map_err(|why| why.to_string())?;
            Ok((name, PathBuf::from(folder)))
        }
        _ => Err("write NAME=DIR".into()),
    }
}

/// The log goes to stderr; `RUST_LOG` says how much of it.
pub(crate) fn log(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = !plain && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // One that is there already stays.
    let _ = match format {
        LogFormat::Text => log.with_ansi(ansi).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
