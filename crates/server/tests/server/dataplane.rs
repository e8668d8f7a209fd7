//! The data plane's rules, over TLS.

use crate::sample::{Journey, Sample, hash};
use crate::site::{Answer, Site, files, own, raw, skip, vault_of};
use client::Client;
use model::{ObjectKey, ObjectKind};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use store::{Listed, Store};
use ureq::http::Method;

fn ask(
    agent: &Client,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    raw(
        agent.credentials(),
        own(agent),
        method,
        &format!("/vaults/vault1/fs01/{path}"),
        headers,
        body,
    )
}

/// The vault through the client, with removals done behind its back: it is append-only, and the
/// suite wants to see that what is gone is gone.
#[derive(Debug)]
struct WithRemoval {
    rest: Arc<dyn Store>,
    folder: store::Folder,
}

impl Store for WithRemoval {
    fn location(&self) -> String {
        self.rest.location()
    }
    fn create(&self) -> store::Result<()> {
        self.rest.create()
    }
    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> store::Result<()> {
        self.rest.put(key, bytes)
    }
    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> store::Result<()> {
        self.rest.put_from(key, length, from)
    }
    fn get(&self, key: &ObjectKey, limit: u64) -> store::Result<Vec<u8>> {
        self.rest.get(key, limit)
    }
    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> store::Result<()> {
        self.rest.read_at(key, offset, buffer)
    }
    fn open(&self, key: &ObjectKey) -> store::Result<Box<dyn Read + Send>> {
        self.rest.open(key)
    }
    fn length(&self, key: &ObjectKey) -> store::Result<u64> {
        self.rest.length(key)
    }
    fn list(&self, kind: ObjectKind) -> store::Result<Vec<Listed>> {
        self.rest.list(kind)
    }
    fn remove(&self, key: &ObjectKey) -> store::Result<()> {
        match key {
            ObjectKey::Lock(_) => self.rest.remove(key),
            _ => self.folder.remove(key),
        }
    }
}

#[test]
fn the_vault_is_a_store() {
    let site = Site::new();
    let next = AtomicU32::new(0);
    store::conformance::run(|| {
        let server = format!("fs{}", next.fetch_add(1, Ordering::Relaxed));
        let rest = vault_of(&site.agent("vault1", &server));
        let folder = site.objects().join(format!("vaults/vault1/{server}/repository"));
        (Arc::new(WithRemoval { rest, folder: store::Folder::new(folder) }), ())
    });
}

#[test]
fn nothing_but_a_lock_is_removed() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let vault = vault_of(&agent);
    vault.put(&ObjectKey::Config, b"config").unwrap();
    for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
        let key = ObjectKey::new(kind, hash(b"x"));
        vault.put(&key, b"x").unwrap();
        let path = format!("{}/{}", kind.folder(), hash(b"x"));
        let answer = ask(&agent, &Method::DELETE, &path, &[], b"");
        let expected = if kind == ObjectKind::Lock { 200 } else { 403 };
        assert_eq!(answer.status, expected, "{kind:?}");
        assert_eq!(vault.length(&key).is_ok(), kind != ObjectKind::Lock);
    }
    assert_eq!(ask(&agent, &Method::DELETE, "config", &[], b"").status, 405);
    assert_eq!(ask(&agent, &Method::DELETE, "", &[], b"").status, 405);
}

#[test]
fn a_config_is_written_once() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    assert_eq!(ask(&agent, &Method::HEAD, "config", &[], b"").status, 404);
    assert_eq!(ask(&agent, &Method::POST, "config", &[], b"one").status, 200);
    for body in [b"one", b"two"] {
        let answer = ask(&agent, &Method::POST, "config", &[], body);
        assert_eq!((answer.status, answer.code().as_str()), (403, "AppendOnly"));
    }
    assert_eq!(ask(&agent, &Method::GET, "config", &[], b"").body, b"one");
}

#[test]
fn an_object_is_stored_under_its_hash_only_and_again_is_a_success() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let path = format!("data/{}", hash(b"right"));
    let answer = ask(&agent, &Method::POST, &path, &[], b"wrong");
    assert_eq!((answer.status, answer.code().as_str()), (400, "HashMismatch"));
    assert_eq!(files(&site.objects()), Vec::<String>::new());
    for _ in 0..2 {
        assert_eq!(ask(&agent, &Method::POST, &path, &[], b"right").status, 200);
    }
    assert_eq!(ask(&agent, &Method::POST, &path, &[], b"wrong").status, 409);
    assert_eq!(ask(&agent, &Method::GET, &path, &[], b"").body, b"right");
}

#[test]
fn lists_are_of_the_version_asked_for() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let names = [hash(b"a"), hash(b"bb")];
    for (name, body) in names.iter().zip([b"a".as_slice(), b"bb"]) {
        ask(&agent, &Method::POST, &format!("data/{name}"), &[], body);
    }
    let (v1, v2) = ("application/vnd.x.restic.rest.v1", "application/vnd.x.restic.rest.v2");
    for headers in [&[("accept", v1)][..], &[("accept", "")]] {
        let answer = ask(&agent, &Method::GET, "data/", headers, b"");
        assert_eq!((answer.status, answer.header("content-type")), (200, v1));
        let mut listed: Vec<model::Digest> = serde_json::from_slice(&answer.body).unwrap();
        listed.sort();
        let mut expected = names;
        expected.sort();
        assert_eq!(listed, expected);
    }
    let answer = ask(&agent, &Method::GET, "data/", &[("accept", v2)], b"");
    assert_eq!(answer.header("content-type"), v2);
    let listed: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(
        listed
            .as_array()
            .unwrap()
            .contains(&serde_json::json!({"name": hash(b"bb").to_string(), "size": 2}))
    );
    let empty = ask(&agent, &Method::GET, "index/", &[("accept", v2)], b"");
    assert_eq!((empty.status, empty.body.as_slice()), (200, &b"[]"[..]));
}

#[test]
fn ranges_and_lengths_are_http_s() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let path = format!("data/{}", hash(b"0123456789"));
    ask(&agent, &Method::POST, &path, &[], b"0123456789");
    let head = ask(&agent, &Method::HEAD, &path, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
    for (range, status, content, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=4-", 206, "bytes 4-9/10", "456789"),
        ("bytes=1-2,5-6", 200, "", "0123456789"),
    ] {
        let answer = ask(&agent, &Method::GET, &path, &[("range", range)], b"");
        assert_eq!((answer.status, answer.header("content-range")), (status, content), "{range}");
        assert_eq!(String::from_utf8(answer.body).unwrap(), body, "{range}");
    }
    let answer = ask(&agent, &Method::GET, &path, &[("range", "bytes=10-12")], b"");
    assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */10"));
}

#[test]
fn hostile_paths_reach_nothing() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let id = hash(b"x");
    for path in [
        "data/..%2f..%2fconfig".to_owned(),
        "data/%2e%2e".to_owned(),
        format!("..%2f..%2fvault2/{id}"),
        format!("data%2f..%2flocks/{id}"),
        format!("data/{}", id.to_string().to_uppercase()),
        format!("data/{id}%00"),
        format!("data/{id}x"),
        format!("secrets/{id}"),
        format!("config/{id}"),
        "data/".to_owned() + &"a".repeat(4000),
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD] {
            let answer = ask(&agent, &method, &path, &[], b"x");
            assert!([400, 404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    assert_eq!(files(&site.objects()), Vec::<String>::new());
}

#[test]
fn what_is_too_long_is_refused_whether_it_says_so_or_not() {
    let site = Site::with(|config| (config.pack_limit, config.object_limit) = (1000, 2000));
    let agent = site.agent("vault1", "fs01");
    for (kind, limit) in [("data", 1000), ("index", 2000), ("snapshots", 2000)] {
        let (fits, long) = (vec![7; limit], vec![7; limit + 1]);
        let fits_path = format!("{kind}/{}", hash(&fits));
        assert_eq!(ask(&agent, &Method::POST, &fits_path, &[], &fits).status, 200);
        let path = format!("{kind}/{}", hash(&long));
        assert_eq!(ask(&agent, &Method::POST, &path, &[], &long).status, 413);
        let chunked = [("transfer-encoding", "chunked")];
        assert_eq!(ask(&agent, &Method::POST, &path, &chunked, &long).status, 413);
        assert_eq!(ask(&agent, &Method::HEAD, &path, &[], b"").status, 404);
    }
    assert_eq!(ask(&agent, &Method::POST, "config", &[], &vec![0; 65 << 10]).status, 413);
}

#[test]
fn a_body_cut_in_the_middle_leaves_nothing() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let credentials = agent.credentials();
    let body = vec![9_u8; 3 << 20];
    {
        let path = format!("/vaults/vault1/fs01/data/{}", hash(&body));
        let mut tls = tls(credentials);
        tls.write_all(head(credentials, "POST", &path, body.len()).as_bytes()).unwrap();
        tls.write_all(&body[..2 << 20]).unwrap();
        tls.flush().unwrap();
    }
    // The next request may arrive before the broken one is noticed; only an object would be wrong.
    let path = format!("data/{}", hash(&body));
    assert_eq!(ask(&agent, &Method::HEAD, &path, &[], b"").status, 404);
    let mut site = site;
    site.stop();
    assert_eq!(files(&site.objects()), Vec::<String>::new());
}

/// A body nobody asks for may arrive after its answer: the connection is still good for the next.
#[test]
fn a_body_that_comes_late_and_is_not_looked_at_breaks_no_connection() {
    let site = Site::new();
    let admin = site.admin();
    admin.create_vault(&"vault1".parse().unwrap()).unwrap();
    let credentials = admin.credentials();
    let mut tls = tls(credentials);
    for _ in 0..3 {
        let head = head(credentials, "PUT", "/api/v1/vaults/vault1", 4);
        tls.write_all(head.as_bytes()).unwrap();
        tls.flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        tls.write_all(b"null").unwrap();
        tls.flush().unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut byte = [0];
            assert_eq!(tls.read(&mut byte).unwrap(), 1, "the connection was closed");
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// The head of a request with a body of `length` octets.
fn head(credentials: &wire::Credentials, method: &str, path: &str, length: usize) -> String {
    use base64::Engine as _;
    let pair = format!("{}:{}", credentials.user, credentials.token);
    let auth = base64::engine::general_purpose::STANDARD.encode(pair);
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {auth}\r\ncontent-length: {length}\r\n\r\n"
    )
}

fn tls(
    credentials: &wire::Credentials,
) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let pem = credentials.ca_pem.as_ref().unwrap();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let url = url::Url::parse(&credentials.endpoint).unwrap();
    let address = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let name = address.0.clone().try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(connection, std::net::TcpStream::connect(address).unwrap())
}

#[test]
fn a_dock_adds_only_to_what_a_job_at_the_dock_announces() {
    let site = Site::new();
    let sample = Sample::new("announced", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let landing = journey.landing();
    let (config, bytes) = &sample.objects[0];
    let refused = |why: &str| {
        let path = format!("/storage/seedacct/seeds/{}/config", sample.repository);
        let post = |path: &str| {
            raw(journey.dock.credentials(), own(&journey.dock), &Method::POST, path, &[], bytes)
        };
        assert_eq!(post(&path).code(), "AppendOnly", "{why}");
        let create = path.replace("config", "?create=true");
        assert_eq!(post(&create).code(), "AppendOnly", "{why}");
    };
    refused("no job");
    journey.create();
    refused("not shipped");
    journey.ship("T-1000");
    refused("not received");
    journey.receive("t1000");
    landing.create().unwrap();
    landing.put(&config.key(), bytes).unwrap();
    landing.put(&config.key(), bytes).unwrap();
    let error = landing.put(&config.key(), b"another config").unwrap_err();
    assert!(
        matches!(error, store::Error::Corrupt { .. } | store::Error::Conflict { .. }),
        "{error}"
    );
    let url = journey.dock.landing_url(&journey.account, &crate::sample::container(), &hash(b"?"));
    let elsewhere = crate::site::rest(&url, journey.dock.credentials());
    assert!(elsewhere.put(&ObjectKey::Config, b"?").is_err(), "another repository");
    assert!(landing.remove(&config.key()).is_err());
    journey.import(0, &[]);
    refused("all of it is read");
}

/// A small file system of its own; none where this user may not mount one.
pub(crate) struct Small(std::path::PathBuf);

impl Small {
    pub(crate) fn mount(at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs"])
            .arg(&at)
            .output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_said_so_and_leaves_nothing() {
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let Some(_small) = Small::mount(site.objects().join("vaults")) else {
        skip("a_full_disk_is_said_so_and_leaves_nothing", "mounting needs root");
        return;
    };
    let large: Vec<u8> = (0..4 << 20).map(|n| (n % 251) as u8).collect();
    let path = format!("data/{}", hash(&large));
    let answer = ask(&agent, &Method::POST, &path, &[], &large);
    assert_eq!((answer.status, answer.code().as_str()), (507, "StorageFull"));
    assert_eq!(ask(&agent, &Method::HEAD, &path, &[], b"").status, 404);
    let small = vec![1; 1 << 20];
    let path = format!("data/{}", hash(&small));
    assert_eq!(ask(&agent, &Method::POST, &path, &[], &small).status, 200, "room is given back");
    assert_eq!(files(&site.objects()).len(), 1);
}
