//! What a server lives through: full file systems, items that cannot be read, files that change meanwhile, a vault that is
//! away. No recovery point is lost or made up, and what is wrong is said by the command, by `agent status` and as an alert.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::served::Server;
use support::{PASSWORD, Place, Said, Small, is_root, s, same, skip};

/// Nobody's, on every Debian.
const NOBODY: u32 = 65534;

struct Site {
    server: Server,
    place: Place,
    source: PathBuf,
}

impl Site {
    fn new(bytes: usize) -> Self {
        let server = Server::start();
        let place = Place::new();
        let source = place.source("source", bytes);
        let site = Self { server, place, source };
        let admin = s(&site.server.admin()).to_owned();
        site.run(&format!("vault create offices --server {admin}")).exits(0);
        site.run(&format!("storage-account create account --server {admin}")).exits(0);
        site.run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}"))
            .exits(0);
        site
    }

    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// Registers, with one group over the network.
    fn register(self) -> Self {
        self.run("agent register --credentials v.VaultCredentials --name fs01 --state state")
            .exits(0);
        let source = s(&self.source).to_owned();
        self.run(&format!("group create files --path {source} --state state")).exits(0);
        self
    }

    fn points(&self) -> Vec<String> {
        let said = self.run("recovery-point list files --json --state state").exits(0);
        said.objects()
            .iter()
            .filter_map(|object| object["id"].as_str().map(str::to_owned))
            .collect()
    }

    fn restored(&self, into: &str) -> PathBuf {
        let target = self.place.path(into);
        let below = s(&self.source).to_owned();
        self.run(&format!("restore files --below {below} --target {into} --state state")).exits(0);
        target
    }

    fn restores(&self) {
        let restored = self.restored("restored");
        same(&self.source, &restored);
        fs::remove_dir_all(restored).unwrap();
    }
}

/// Takes what room there is.
fn fill(folder: &Path) -> PathBuf {
    let file = folder.join("fill");
    let output = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", &format!("of={}", s(&file))])
        .output()
        .unwrap();
    assert!(!output.status.success(), "it is full");
    file
}

#[test]
fn a_full_state_directory_is_said_and_loses_nothing() {
    let name = "agent_faults::a_full_state_directory_is_said_and_loses_nothing";
    let site = Site::new(1 << 20);
    let Some(small) = Small::mount(name, site.place.path("state"), 64 << 20) else { return };
    let site = site.register();
    site.run("backup now files --state state").exits(0);
    let before = site.points();
    let full = fill(&small.mount);
    fs::write(site.source.join("more"), "more").unwrap();
    let said = site.run("backup now files --state state");
    assert_ne!(said.code, 0, "{}{}", said.stdout, said.stderr);
    said.tells(&["has room"]);
    fs::remove_file(full).unwrap();
    assert_eq!(site.points(), before, "what failed has made none");
    site.run("backup now files --state state").exits(0);
    let after = site.points();
    assert!(after.len() > before.len() && before.iter().all(|id| after.contains(id)));
    site.run("agent alerts --state state").exits(0);
    site.restores();
}

#[test]
fn a_full_staging_is_said_and_goes_on_where_it_was() {
    let name = "agent_faults::a_full_staging_is_said_and_goes_on_where_it_was";
    let site = Site::new(40 << 20);
    let Some(small) = Small::mount(name, site.place.path("staging"), 24 << 20) else { return };
    site.run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    let source = s(&site.source).to_owned();
    site.run(&format!(
        "group create files --path {source} --staging {} --import-job job --storage-account account --container seeds --state state",
        s(&small.mount)
    ))
    .exits(0);
    let said = site.run("backup now files --state state");
    assert_ne!(said.code, 0, "{}{}", said.stdout, said.stderr);
    said.tells(&["staging is full; make room there"]);
    site.run("agent status --state state").exits(3).tells(&["group/files/failed"]);
    small.resize(200 << 20);
    site.run("backup now files --state state").exits(0).shows(&["the first backup is in staging"]);
    site.run("agent alerts --state state").exits(0);
    let check = Command::new("restic")
        .args(["--no-cache", "--no-lock", "check", "--read-data", "-r", s(&small.mount)])
        .env("RESTIC_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn an_item_that_cannot_be_read_is_named_until_it_can() {
    let name = "agent_faults::an_item_that_cannot_be_read_is_named_until_it_can";
    if !is_root() {
        skip(name, "only root can be somebody else");
        return;
    }
    let site = Site::new(1 << 20);
    chown(site.place.folder("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    let run = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = site.place.packmule(&words);
        Said::of(command.uid(NOBODY).gid(NOBODY).output().unwrap())
    };
    fs::set_permissions(site.place.path("v.VaultCredentials"), PermissionsExt::from_mode(0o644))
        .unwrap();
    run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    run(&format!("group create files --path {} --state state", s(&site.source))).exits(0);
    let secret = site.source.join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    run("backup now files --state state").exits(3).tells(&["secret", "ermission denied"]);
    run("agent status --state state").exits(3).tells(&["group/files/unread"]);
    run("agent jobs --unread 1 --state state").exits(0).shows(&["secret"]);
    // It stays wrong as long as it is, and the rest is protected meanwhile.
    fs::write(site.source.join("new"), "new").unwrap();
    run("backup now files --state state").exits(3);
    run("agent alerts --state state").exits(3);
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    run("backup now files --state state").exits(0);
    run("agent alerts --state state").exits(0);
}

#[test]
fn a_file_that_shrinks_and_grows_while_it_is_read_harms_nothing_else() {
    let site = Site::new(1 << 20).register();
    let large = site.source.join("large");
    let noise: Vec<u8> =
        (0..24_000_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    fs::write(&large, &noise[..60 << 20]).unwrap();
    // As slow as a link, so that it changes while it is read.
    site.run("agent limit 8M --state state").exits(0);
    let child = site.place.start(&["backup", "now", "files", "--state", "state"]);
    std::thread::sleep(Duration::from_secs(3));
    let file = fs::File::options().write(true).open(&large).unwrap();
    file.set_len(10 << 20).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    file.set_len(20 << 20).unwrap();
    site.run("agent limit 0 --state state").exits(0);
    let said = Said::of(child.wait_with_output().unwrap());
    assert!([0, 3].contains(&said.code), "{}: {}{}", said.code, said.stdout, said.stderr);
    if said.code == 3 {
        said.tells(&["large"]);
    }
    // All else is there; of that file nothing that it never held.
    let restored = site.restored("first");
    assert_eq!(
        fs::read(restored.join("noise")).unwrap(),
        fs::read(site.source.join("noise")).unwrap()
    );
    if let Ok(bytes) = fs::read(restored.join("large")) {
        let held = bytes.iter().zip(&noise).position(|(a, b)| a != b).unwrap_or(bytes.len());
        assert!(bytes[held..].iter().all(|byte| *byte == 0), "{} of {}", held, bytes.len());
    }
    // The next one has it as it is.
    site.run("backup now files --state state").exits(0);
    site.restores();
    site.run("agent alerts --state state").exits(0);
}

#[test]
fn a_vault_that_is_away_is_said_and_what_was_there_is_there_afterwards() {
    let site = Site::new(1 << 20).register();
    site.run("backup now files --state state").exits(0);
    let before = site.points();
    let pid = rustix::process::Pid::from_raw(i32::try_from(site.server.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    fs::write(site.source.join("more"), "more").unwrap();
    let child = site.place.start(&["backup", "now", "files", "--state", "state"]);
    std::thread::sleep(Duration::from_secs(4));
    // The first one waits for what is under way, which does not end; the second one does not.
    support::signal(&child, rustix::process::Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    support::signal(&child, rustix::process::Signal::INT);
    let said = Said::of(child.wait_with_output().unwrap());
    assert_ne!(said.code, 0, "{}{}", said.stdout, said.stderr);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(site.points(), before);
    site.run("backup now files --state state").exits(0);
    assert_eq!(site.points().len(), before.len() + 1);
    site.run("agent alerts --state state").exits(0);
    site.restores();
}
