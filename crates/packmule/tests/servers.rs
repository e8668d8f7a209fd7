//! Servers that stand between the agent and others: an HTTP proxy on the way to the vault, and a mail server that takes alerts.
//! Both are other people's programs.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::served::Server;
use support::{PASSWORD, Place, Said, s};

/// The interpreter that has both; none, with a word about it, where it was not fetched.
fn python(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PACKMULE_SERVERS_PYTHON").map(PathBuf::from);
    if found.is_none() {
        support::skip(test, "PACKMULE_SERVERS_PYTHON is not set: cargo xtask oracles");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // With the processes that it has made.
        if let Some(group) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// A proxy that asks for a user and a password.
struct Proxy {
    port: u16,
    log: PathBuf,
    _running: Running,
}

impl Proxy {
    fn start(python: &PathBuf, place: &Place) -> Self {
        let (port, log) = (free_port(), place.path("proxy.log"));
        let mut command = Command::new(python);
        command.args(["-m", "proxy", "--hostname", "127.0.0.1", "--num-workers", "1"]);
        command.args(["--num-acceptors", "1", "--basic-auth", "me:s3cret", "--port"]);
        command.arg(port.to_string()).arg("--log-file").arg(&log);
        command.env("HOME", place.path("")).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.process_group(0).spawn().unwrap());
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "the proxy does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { port, log, _running: running }
    }

    /// How many tunnels it has made so far, going by its log.
    fn tunnels(&self) -> usize {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|line| line.contains("CONNECT 127.0.0.1")).count()
    }

    fn has_made_more_than(&self, before: usize) {
        let began = Instant::now();
        while self.tunnels() <= before {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing went through the proxy");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Registered by a vault's credentials, with a group.
struct Site {
    server: Server,
    place: Place,
}

impl Site {
    fn new() -> Self {
        let site = Self { server: Server::start(), place: Place::new() };
        let admin = s(&site.server.admin()).to_owned();
        site.run(&format!("vault create offices --server {admin}")).exits(0);
        let made = format!("vault credentials offices -o v.VaultCredentials --server {admin}");
        site.run(&made).exits(0);
        site
    }

    fn run(&self, words: &str) -> Said {
        self.with(words, &[])
    }

    fn with(&self, words: &str, environment: &[(&str, &str)]) -> Said {
        let mut command = self.place.packmule(&words.split_whitespace().collect::<Vec<_>>());
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        Said::of(command.envs(environment.iter().copied()).output().unwrap())
    }
}

#[test]
fn everything_goes_through_the_proxy_that_is_named_and_nothing_tells_its_password() {
    let Some(python) = python("servers::proxy") else { return };
    let site = Site::new();
    let proxy = Proxy::start(&python, &site.place);
    let url = format!("http://me:s3cret@127.0.0.1:{}", proxy.port);
    let through = [("HTTPS_PROXY", url.as_str())];
    let source = site.place.source("source", 1 << 20);
    let register = "agent register --credentials v.VaultCredentials --name fs01 --state state";
    site.with(register, &through).exits(0);
    proxy.has_made_more_than(0);
    let before = proxy.tunnels();
    let group = format!("group create files --path {} --state state", s(&source));
    site.with(&group, &through).exits(0);
    site.with("backup now files --state state", &through).exits(0);
    proxy.has_made_more_than(before);
    // Without a password it is the proxy that refuses, and that is said.
    let nobody = format!("http://127.0.0.1:{}", proxy.port);
    let refused = site.with("backup now files --state state", &[("HTTPS_PROXY", &nobody)]);
    refused.exits(1).tells(&["the proxy does not let", "407", "http://user:password@host:port"]);
    let wrong = format!("http://me:wr0ng@127.0.0.1:{}", proxy.port);
    let refused = site.with("agent status --state state", &[("https_proxy", &wrong)]).exits(3);
    assert!(!refused.stderr.contains("wr0ng") && !refused.stdout.contains("wr0ng"));
    // No proxy is there, but hosts that are reached without one are.
    let dead = format!("http://me:s3cret@127.0.0.1:{}", free_port());
    let gone = site.with("backup now files --state state", &[("HTTPS_PROXY", &dead)]);
    assert!(gone.code != 0 && !gone.stderr.contains("s3cret"), "{}", gone.stderr);
    let direct = [("HTTPS_PROXY", dead.as_str()), ("NO_PROXY", "localhost,127.0.0.1")];
    site.with("backup now files --state state", &direct).exits(0);
    let unusable =
        site.with("agent status --state state", &[("HTTPS_PROXY", "socks5://a:s3cret@b")]);
    assert_eq!(unusable.code, 1);
    assert!(!unusable.stderr.contains("s3cret"), "{}", unusable.stderr);
    // The settings name one, too; the environment goes before it.
    let before = proxy.tunnels();
    let text = format!(
        "proxy = '{url}'\n[[group]]\nname = 'files'\npaths = [{:?}]\nschedule = ['* * * * *']\n",
        s(&source)
    );
    std::fs::write(site.place.path("agent.toml"), text).unwrap();
    let mut service =
        site.place.packmule(&["agent", "run", "--config", "agent.toml", "--state", "state"]);
    let log = std::fs::File::create(site.place.path("service.log")).unwrap();
    service.env_remove("HTTPS_PROXY").env_remove("https_proxy").stdout(Stdio::null()).stderr(log);
    let running = Running(service.process_group(0).spawn().unwrap());
    proxy.has_made_more_than(before);
    drop(running);
    let log = std::fs::read_to_string(site.place.path("service.log")).unwrap();
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_reload_takes_another_proxy_and_a_webhook_goes_through_it() {
    let Some(python) = python("servers::reload") else { return };
    let site = Site::new();
    let source = site.place.source("source", 1000);
    site.run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook_at = hook.local_addr().unwrap();
    let config = |head: &str, groups: &[&str]| {
        let mut text = format!("{head}\n");
        for name in groups {
            text += &format!(
                "[[group]]\nname = '{name}'\npaths = [{:?}]\nschedule = ['* * * * *']\nbefore = {{ command = ['{}'] }}\n",
                s(&source),
                if *name == "fails" { "false" } else { "true" },
            );
        }
        std::fs::write(site.place.path("agent.toml"), text).unwrap();
    };
    config("", &["files"]);
    let proxy = Proxy::start(&python, &site.place);
    let mut service =
        site.place.packmule(&["agent", "run", "--config", "agent.toml", "--state", "state"]);
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        service.env_remove(name).env_remove(name.to_lowercase());
    }
    let log = std::fs::File::create(site.place.path("service.log")).unwrap();
    service.stdout(Stdio::piped()).stderr(log);
    let mut running = Running(service.process_group(0).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("the agent runs") {}
    assert_eq!(proxy.tunnels(), 0);
    let url = format!("http://me:s3cret@127.0.0.1:{}", proxy.port);
    let head = format!("proxy = '{url}'\n[alerts]\nwebhook = 'http://{hook_at}/hook'");
    config(&head, &["files", "fails"]);
    let pid = rustix::process::Pid::from_raw(running.0.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    // Each group is named once.
    let mut said = Vec::new();
    while !said.iter().any(|line: &String| line.contains("group fails: created")) {
        said.push(lines.next().unwrap().unwrap());
    }
    assert_eq!(said, ["group files: unchanged", "group fails: created"]);
    hook.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let mut called = loop {
        if let Ok((called, _)) = hook.accept() {
            break called;
        }
        assert!(began.elapsed() < Duration::from_secs(150), "nobody has called the webhook");
        std::thread::sleep(Duration::from_millis(100));
    };
    called.set_nonblocking(false).unwrap();
    let mut lines = BufReader::new(called.try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("POST /hook"));
    std::io::Write::write_all(&mut called, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    // What the reload itself asks of the server goes through it, and so does what is told. A tunnel is in the log once it has ended.
    drop((called, lines));
    let began = Instant::now();
    loop {
        let tunnels = std::fs::read_to_string(&proxy.log).unwrap();
        let (hook, other): (Vec<&str>, Vec<&str>) = tunnels
            .lines()
            .filter(|line| line.contains("CONNECT 127.0.0.1"))
            .partition(|line| line.contains(&format!("CONNECT {hook_at}")));
        if !hook.is_empty() && !other.is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it came another way: {tunnels}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = std::fs::read_to_string(site.place.path("service.log")).unwrap();
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn alerts_go_to_a_mail_server_by_starttls_with_a_login() {
    let Some(python) = python("servers::mail") else { return };
    let site = Site::new();
    let source = site.place.source("source", 1000);
    site.run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    let group = format!("group create files --path {} --state state", s(&source));
    site.run(&group).exits(0);
    let (data, port) = (site.server.data(), free_port());
    let mut smtp = Command::new(python);
    smtp.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/smtp.py"));
    smtp.arg(data.join("tls/server.pem")).arg(data.join("tls/server.key"));
    smtp.args(["fs01", "m4il", &port.to_string()]).stdout(Stdio::piped());
    let mut smtp = Running(smtp.process_group(0).spawn().unwrap());
    let mut mails = BufReader::new(smtp.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&mails.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["ready"], true);
    std::fs::write(site.place.path("mail-password"), "m4il\n").unwrap();
    let text = format!(
        "[alerts.mail]\nto = ['backup@example.com']\nfrom = 'fs01@example.com'\nserver = 'localhost'\nport = {port}\nuser = 'fs01'\npassword-file = {:?}\n",
        s(&site.place.path("mail-password"))
    );
    std::fs::write(site.place.path("agent.toml"), text).unwrap();
    std::fs::remove_dir_all(&source).unwrap();
    site.run("backup now files --state state").exits(1);
    let mut service =
        site.place.packmule(&["agent", "run", "--config", "agent.toml", "--state", "state"]);
    let log = std::fs::File::create(site.place.path("service.log")).unwrap();
    service.env("SSL_CERT_FILE", data.join("tls/ca.pem")).stdout(Stdio::null()).stderr(log);
    let running = Running(service.process_group(0).spawn().unwrap());
    let mail = next();
    assert_eq!((&mail["tls"], &mail["user"]), (&Value::Bool(true), &Value::from("fs01")), "{mail}");
    assert_eq!(mail["to"][0], "backup@example.com");
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("group/files/failed") && !text.contains(PASSWORD), "{text}");
    drop(running);
    let log = std::fs::read_to_string(site.place.path("service.log")).unwrap();
    assert!(!log.contains("m4il"), "{log}");
}

#[test]
fn the_unit_is_one_that_systemd_understands_and_reloads() {
    let place = Place::new();
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/packmule-agent.service");
    let text = std::fs::read_to_string(unit).unwrap();
    assert!(text.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"));
    let text = text.replace("/usr/local/bin/packmule", env!("CARGO_BIN_EXE_packmule"));
    std::fs::write(place.path("packmule-agent.service"), text).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(place.path("packmule-agent.service"));
    let Ok(output) = verify.output() else {
        return support::skip("servers::unit", "systemd-analyze is not installed");
    };
    let said = Said::of(output).exits(0);
    assert_eq!(said.stderr, "", "it complains about something");
}
