//! Who a source server is and what opens its repository, by the binary alone: registered by a vault's credentials, rebuilt, with a
//! lost passphrase, with a changed one.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use support::served::Server;
use support::{PASSWORD, Place, Said, s, same};

const NEW: &str = "an altogether new passphrase";

struct Site {
    server: Server,
    place: Place,
    source: PathBuf,
}

impl Site {
    /// Registered by a vault's credentials, with a group whose first backup is in the vault.
    fn new() -> Self {
        let server = Server::start();
        let place = Place::new();
        let source = place.source("source", 1 << 20);
        let site = Self { server, place, source };
        let admin = s(&site.server.admin()).to_owned();
        site.run(&format!("vault create offices --server {admin}")).exits(0);
        let made = format!("vault credentials offices -o v.VaultCredentials --server {admin}");
        site.run(&made).exits(0);
        site.register("--no-recovery-kit").exits(0).shows(&["its certificate is good until"]);
        site.group();
        site.run("backup now files --state state").exits(0);
        site
    }

    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn run_as(&self, password: &str, words: &str) -> Said {
        let mut command = self.place.packmule(&words.split_whitespace().collect::<Vec<_>>());
        Said::of(command.env("PACKMULE_PASSWORD", password).output().unwrap())
    }

    fn register(&self, more: &str) -> Said {
        let words = "agent register --credentials v.VaultCredentials --name fs01 --state state";
        self.run(&format!("{words} {more}"))
    }

    fn group(&self) {
        let source = s(&self.source);
        self.run(&format!("group create files --path {source} --state state")).exits(0);
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.place.path(name), format!("{text}\n")).unwrap();
    }

    fn restores(&self, password: &str) {
        let said = self.run_as(password, "restore files --target restored --state state");
        said.exits(0);
        let restored = self.place.path("restored");
        same(&self.source, &restored.join(self.source.strip_prefix("/").unwrap()));
        std::fs::remove_dir_all(restored).unwrap();
    }
}

#[test]
fn a_rebuilt_machine_takes_its_repository_over_and_another_one_only_by_saying_so() {
    let site = Site::new();
    std::fs::rename(site.place.path("state"), site.place.path("old-state")).unwrap();
    let refused = site.register("").exits(1);
    refused.tells(&["fs01 is registered", "last heard of at", "--take-over", "another --name"]);
    let nobody = site.register("--take-over").exits(1);
    nobody.tells(&["last heard of at", "no terminal", "--yes"]);
    site.run("agent status --state old-state").exits(0);
    let said = site.register("--take-over --yes").exits(0);
    said.shows(&[
        "registered as fs01",
        "group files: 1 recovery points",
        s(&site.source),
        "next: ",
    ]);
    let gone = site.run("agent status --state old-state").exits(3);
    gone.tells(&["another machine may have taken its place"]);
    site.restores(PASSWORD);
    site.group();
    let said = site.run("backup now files --json --state state").exits(0);
    let summary = said.object("summary");
    assert_eq!(summary["data_blobs"], 0, "{summary}");
    assert_eq!(summary["files_unmodified"], 3, "{summary}");
    // With another passphrase it is registered all the same, and says what to do.
    std::fs::rename(site.place.path("state"), site.place.path("second")).unwrap();
    let words = "agent register --credentials v.VaultCredentials --name fs01 --state state --take-over --yes";
    let wrong = site.run_as("something else altogether", words);
    wrong.exits(12).tells(&["is registered", "nothing is lost", "recovery kit"]);
    site.restores(PASSWORD);
}

#[test]
fn registering_again_on_the_same_machine_asks_nobody() {
    let site = Site::new();
    let machine = || std::fs::read(site.place.path("state/machine.pem")).unwrap();
    let before = machine();
    site.register("").exits(0);
    assert_ne!(before, machine());
    site.run("backup now files --state state").exits(0);
    let mode =
        std::fs::metadata(site.place.path("state/machine.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = "agent register --credentials v.VaultCredentials --name fs02 --state state";
    site.run(other).exits(1).tells(&["registered as fs01"]);
    assert!(!site.server.log().contains("PRIVATE"), "no key in the log");
}

#[test]
fn a_lost_passphrase_is_no_loss_with_the_recovery_kit() {
    let site = Site::new();
    site.run("agent status --state state").exits(0).shows(&["recovery kit: none", "recovery-kit"]);
    let made = site.run("agent recovery-kit --output kit.txt --state state").exits(0);
    let kit = std::fs::read_to_string(site.place.path("kit.txt")).unwrap();
    let mode = std::fs::metadata(site.place.path("kit.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = kit.split_whitespace().find(|word| word.starts_with("PACKMULE-")).unwrap();
    assert!(!made.stdout.contains(secret) && !made.stderr.contains(secret));
    for file in support::walk(&site.place.path("state")) {
        let text = std::fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(secret), "{}", file.display());
    }
    site.run("agent recovery-kit --output kit.txt --state state").exits(1).tells(&["kit.txt"]);
    site.run("agent status --state state").exits(0).shows(&["recovery kit: made"]);
    // From paper.
    let typed = secret.to_lowercase().replace('0', "o");
    site.restores(&typed);
    let mut slip = secret.to_owned().into_bytes();
    slip[10] = if slip[10] == b'7' { b'8' } else { b'7' };
    let slip = String::from_utf8(slip).unwrap();
    let said = site.run_as(&slip, "recovery-point list files --state state");
    said.exits(1).tells(&["group 1 of the recovery kit's secret"]);
    // Without Packmule.
    let token = site.run("agent token --json --state state").exits(0).object("token");
    std::fs::write(site.place.path("ca.pem"), token["ca"].as_str().unwrap()).unwrap();
    let url = token["repository"].as_str().unwrap().replacen(
        "https://",
        &format!(
            "https://{}:{}@",
            token["user"].as_str().unwrap(),
            token["token"].as_str().unwrap()
        ),
        1,
    );
    for restic in support::restics("identity::a_lost_passphrase") {
        let repository = PathBuf::from(format!("rest:{url}"));
        let mut command = support::restic_command(&restic, &repository, &["snapshots"]);
        command.arg("--cacert").arg(site.place.path("ca.pem")).env("RESTIC_PASSWORD", secret);
        Said::of(command.output().unwrap()).exits(0);
    }
    // And a new passphrase is set with it.
    site.write("new", NEW);
    let words = "agent passphrase --new-password-file new --state state";
    site.run_as(secret, words).exits(0).shows(&["the new passphrase opens"]);
    site.restores(NEW);
    site.restores(secret);
    let again = site.run_as(NEW, "agent recovery-kit --revoke --state state --json").exits(0);
    assert_eq!(again.object("revoked")["kits"], 1);
    site.run("agent keys --state state").exits(0).shows(&["recovery kit", "to be removed on"]);
}

#[test]
fn a_server_is_registered_with_a_recovery_kit_that_opens_all_that_comes_after() {
    let server = Server::start();
    let place = Place::new();
    let source = place.source("source", 1 << 20);
    let site = Site { server, place, source };
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("vault create offices --server {admin}")).exits(0);
    site.run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}")).exits(0);
    // Nothing has happened where the paper cannot be written, or the passphrase is missing.
    site.register("--recovery-kit nowhere/kit.txt").exits(1).tells(&["nowhere/kit.txt"]);
    let words = "agent register --credentials v.VaultCredentials --name fs01 --state state --recovery-kit kit.txt";
    let mut silent = site.place.packmule(&words.split_whitespace().collect::<Vec<_>>());
    silent.env_remove("PACKMULE_PASSWORD");
    Said::of(silent.output().unwrap()).exits(1).tells(&["no password"]);
    assert!(!site.place.path("kit.txt").exists() && !site.place.path("state/agent.json").exists());
    site.run_as("fifteen letters", words)
        .exits(1)
        .tells(&["16 at least", "this server is registered, and the recovery kit was not made"]);
    assert!(!site.place.path("kit.txt").exists());
    let said = site.register("").exits(0);
    said.tells(&["there is no recovery kit", "--recovery-kit FILE"]);
    let quiet = site.register("--no-recovery-kit").exits(0);
    assert!(!quiet.stderr.contains("recovery kit"), "{}", quiet.stderr);
    site.run("agent status --state state").exits(0).shows(&["recovery kit: none"]);

    site.run(words).exits(0).shows(&["registered as fs01", "the recovery kit is in kit.txt"]);
    site.run("agent status --state state").exits(0).shows(&["recovery kit: made"]);
    site.register("").exits(0);
    let kit = std::fs::read_to_string(site.place.path("kit.txt")).unwrap();
    let secret = kit.split_whitespace().find(|word| word.starts_with("PACKMULE-")).unwrap();
    site.group();
    site.run_as("not what was chosen then", "backup now files --state state").exits(12);
    site.run("backup now files --state state").exits(0);
    site.restores(secret);
    let vault = support::walk(&site.server.data());
    let config = vault.iter().find(|file| file.ends_with("fs01/repository/config")).unwrap();
    let repository = config.parent().unwrap();
    assert!(kit.contains(&support::hash_of(config)), "{kit}");
    for restic in support::restics("identity::a_server_is_registered") {
        let mut command = support::restic_command(&restic, repository, &["snapshots"]);
        Said::of(command.arg("--no-lock").env("RESTIC_PASSWORD", secret).output().unwrap())
            .exits(0)
            .shows(&["1 snapshots"]);
    }
}

#[test]
fn a_passphrase_is_changed_and_short_ones_are_refused() {
    let site = Site::new();
    site.write("new", NEW);
    site.write("short", "too short");
    let change = |file: &str| format!("agent passphrase --new-password-file {file} --state state");
    site.run(&change("short")).exits(1).tells(&["16", "9 characters"]);
    site.run_as("not the one that it is", &change("new")).exits(12);
    let said = site.run(&change("new")).exits(0);
    said.shows(&["in the vault the old one does, too, until", "where the service reads it"]);
    site.run_as(NEW, "backup now files --state state").exits(0);
    site.restores(NEW);
    site.restores(PASSWORD);
    let said = site.run_as(NEW, "agent keys --state state").exits(0);
    assert_eq!(said.stdout.lines().count(), 2, "{}", said.stdout);
    said.shows(&["to be removed on"]);
    site.run("agent status --state state").exits(0).shows(&["a key that was taken away"]);
    // A machine whose repository is still to be made.
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("vault credentials offices -o w.VaultCredentials --server {admin}")).exits(0);
    site.run("agent register --credentials w.VaultCredentials --name fs02 --state state2").exits(0);
    let source = s(&site.source);
    site.run(&format!("group create files --path {source} --state state2")).exits(0);
    let none = site.run("agent recovery-kit --state state2");
    none.exits(10).tells(&["there is no repository of this server yet"]);
    let short = site.run_as("fifteen letters", "backup now files --state state2").exits(1);
    short.tells(&["15 characters", "16"]);
}
