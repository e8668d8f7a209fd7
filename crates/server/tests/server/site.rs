//! A server with its callers, in a temporary folder.

use client::{Certified, Client};
use credfile::PublishSettings;
use model::{AccountName, VaultName};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use server::{Config, Server};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Rest, RestOptions, Store};
use ureq::http::{Method, Request, Response};
use url::Url;
use wire::{Credentials, DockRequest, SeedId, ServerRequest};
use zeroize::Zeroizing;

/// A server and where it keeps its data.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    backends: &'static [&'static str],
    server: Option<Server>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_backends(&[], change)
    }

    /// With these backends beside `default`, whenever it is started.
    pub(crate) fn with_backends(
        backends: &'static [&'static str],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut site = Self { folder: tempfile::tempdir().unwrap(), backends, server: None };
        site.start(change);
        site
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(self.data(), "127.0.0.1:0".parse().unwrap());
        let backends = self.backends.iter().map(|name| (name.parse().unwrap(), self.backend(name)));
        config.backends = backends.collect();
        config
    }

    /// The folder that a backend was given.
    pub(crate) fn backend(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.data().join("objects")
    }

    pub(crate) fn start(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        change(&mut config);
        self.server = Some(Server::start(config).unwrap());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().unwrap();
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.server.as_ref().unwrap().endpoint().to_owned()
    }

    pub(crate) fn admin(&self) -> Client {
        let file = self.server.as_ref().unwrap().admin_file();
        Client::new(client::load_credentials(file).unwrap()).unwrap()
    }

    /// A registered source server, in a vault that is made for it.
    pub(crate) fn agent(&self, vault: &str, server: &str) -> Client {
        let (vault, server): (VaultName, model::ServerName) =
            (vault.parse().unwrap(), server.parse().unwrap());
        let admin = self.admin();
        admin.create_vault(&vault).unwrap();
        let request = ServerRequest { replace: true };
        Client::new(admin.register_server(&vault, &server, &request).unwrap()).unwrap()
    }

    /// A copy computer for a seed of that source server, which is registered.
    pub(crate) fn copy(&self, vault: &str, server: &str) -> Client {
        let agent = self.agent(vault, server);
        let said = serde_json::json!({
            "importJob": "copied", "storageAccount": self.account("copyacct"), "container": "seeds",
            "repository": "c".repeat(64), "backups": {},
        });
        let seed = SeedId([0xcc; 16]);
        agent.announce_seed(seed, &serde_json::from_value(said).unwrap()).unwrap();
        let admin = self.admin();
        let subscription = admin.credentials().subscription_id.clone().unwrap();
        let file = admin.publish_settings(&subscription).unwrap();
        let settings = PublishSettings::read(&file).unwrap();
        let [one] = settings.subscriptions.as_slice() else { panic!("{settings:?}") };
        let service = one.service.as_ref().unwrap();
        let certified = Certified {
            endpoint: one.service_management_url.as_str(),
            ca_pem: &service.authority.as_ref().unwrap().to_pem(),
            tenant: &service.tenant.to_string(),
            client: &service.client.to_string(),
            certificate: one.identity.certificate().as_der(),
            key: one.identity.private_key(),
            proxies: store::Proxies::default(),
        };
        Client::new(certified.copy_computer(seed).unwrap().credentials).unwrap()
    }

    pub(crate) fn dock(&self) -> Client {
        let request = DockRequest { name: "dock".to_owned(), replace: true };
        Client::new(self.admin().register_dock(&request).unwrap()).unwrap()
    }

    /// A host that prunes the repository of a registered source server.
    pub(crate) fn maintenance(&self, vault: &str, server: &str) -> Client {
        let (vault, server) = (vault.parse().unwrap(), server.parse().unwrap());
        let request = ServerRequest { replace: true };
        let admin = self.admin();
        Client::new(admin.make_maintenance_host(&vault, &server, &request).unwrap()).unwrap()
    }

    pub(crate) fn account(&self, name: &str) -> AccountName {
        let name = name.parse().unwrap();
        self.admin().create_storage_account(&name).unwrap();
        name
    }

    pub(crate) fn account_on(&self, name: &str, backend: &str) -> AccountName {
        let name = name.parse().unwrap();
        self.admin().create_storage_account_on(&name, &backend.parse().unwrap()).unwrap();
        name
    }

    /// A caller's credentials, where the server is now: a restart takes another port.
    pub(crate) fn again(&self, client: &Client) -> Client {
        let mut credentials = client.credentials().clone();
        credentials.endpoint = self.endpoint();
        Client::new(credentials).unwrap()
    }
}

/// Changes the database beside the server.
pub(crate) fn on_database(site: &Site, statement: &str) {
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(site.data().join("packmule.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        // Ours, whatever it is made of.
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&pool).await.unwrap();
        pool.close().await;
    });
}

/// A store behind a data plane URL.
pub(crate) fn rest(url: &Url, credentials: &Credentials) -> Arc<dyn Store> {
    let options = RestOptions {
        credentials: Some(store::Credentials {
            user: credentials.user.clone(),
            password: Zeroizing::new(credentials.token.clone()),
        }),
        ca_pem: credentials.ca_pem.clone().map(String::into_bytes),
        ..RestOptions::default()
    };
    Arc::new(Rest::new(url, &options).unwrap())
}

/// The agent's own repository in its vault.
pub(crate) fn vault_of(agent: &Client) -> Arc<dyn Store> {
    let credentials = agent.credentials();
    let (vault, server) = (credentials.vault.as_ref(), credentials.server.as_ref());
    rest(&agent.repository_url(vault.unwrap(), server.unwrap()), credentials)
}

/// An answer with its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) response: Response<()>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of an error answer.
    pub(crate) fn code(&self) -> String {
        let body: Result<wire::ErrorBody, _> = serde_json::from_slice(&self.body);
        body.map_or_else(|_| String::new(), |body| body.error.code.to_string())
    }
}

/// One request that no client would send.
pub(crate) fn raw(
    credentials: &Credentials,
    auth: Option<(&str, &str)>,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let certificate =
        ureq::tls::Certificate::from_pem(credentials.ca_pem.as_ref().unwrap().as_bytes()).unwrap();
    let tls = ureq::tls::TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[certificate]))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .new_agent();
    let url = format!("{}{path}", credentials.endpoint);
    let mut request = Request::builder().method(method.clone()).uri(url);
    if let Some(pair) = auth {
        request = request.header("authorization", basic(pair));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sends = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    let answer = if sends {
        agent.run(request.body(body).unwrap()).unwrap()
    } else {
        agent.run(request.body(()).unwrap()).unwrap()
    };
    let (parts, mut body) = answer.into_parts();
    Answer {
        status: parts.status.as_u16(),
        body: body.read_to_vec().unwrap_or_default(),
        response: Response::from_parts(parts, ()),
    }
}

/// A connection on which no request has been sent yet.
pub(crate) fn tls(
    credentials: &Credentials,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = credentials.ca_pem.as_ref().unwrap().as_bytes();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let endpoint = Url::parse(&credentials.endpoint).unwrap();
    let address = endpoint.socket_addrs(|| None).unwrap();
    let name = ServerName::try_from(address[0].ip().to_string()).unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(connection, TcpStream::connect(address[0]).unwrap())
}

/// What a caller sends in the header `authorization`.
pub(crate) fn basic((user, token): (&str, &str)) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{token}"));
    format!("Basic {pair}")
}

/// As the caller itself.
pub(crate) fn own(client: &Client) -> Option<(&str, &str)> {
    let credentials = client.credentials();
    Some((credentials.user.as_str(), credentials.token.as_str()))
}

/// Every file below a folder, by its path from there, sorted.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    let mut files: Vec<String> = entries
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(root).unwrap().display().to_string())
        .collect();
    files.sort();
    files
}

/// Says that a test proves nothing on this machine, and why.
pub(crate) fn skip(test: &str, reason: &str) {
    use std::io::Write as _;
    let line = format!("SKIP: {test}: {reason}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
