//! The custody log of a whole journey, by the commands alone; proven by ours and by a program in Python that was
//! written from the document.
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
use std::path::{Path, PathBuf};
use std::process::Command;
use support::served::Server;
use support::{Place, Said, s, skip};

const SHIPPING: &str = "--yes --carrier FedEx --tracking CUSTODY-1 --recipient R --street S --city C --postal-code 1 --country NO --phone 1 --email r@example.org";

struct Site {
    server: Server,
    place: Place,
}

impl Site {
    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn admin(&self, words: &str) -> Said {
        self.run(&format!("{words} --server {}", s(&self.server.admin())))
    }

    fn verify(&self, keys: &str) -> Said {
        std::fs::write(self.place.path("keys"), keys).unwrap();
        self.run("custody verify log --trust keys")
    }
}

/// From the first backup to drives that went home.
fn journey() -> Site {
    let site = Site { server: Server::start(), place: Place::new() };
    for words in [
        "vault create offices",
        "storage-account create seedacct",
        "vault credentials offices -o offices.VaultCredentials",
        "dock credentials dock -o dock.json",
    ] {
        site.admin(words).exits(0);
    }
    let source = site.place.source("source", 30 << 20);
    let (source, staging) = (s(&source).to_owned(), s(&site.place.folder("staging")).to_owned());
    site.run("agent register --credentials offices.VaultCredentials --name fs01 --state state")
        .exits(0);
    let offline = "--import-job seed-1 --storage-account seedacct --container seeds";
    let group = format!("group create files --path {source} --staging {staging} {offline}");
    site.run(&format!("{group} --state state")).exits(0);
    site.run("backup now files --state state").exits(0);
    site.place.folder("d1");
    site.place.folder("d2");
    let drives = "--drive d1 d2 --capacity 25M";
    site.run(&format!("diskprep s:{staging} {drives} --state state")).exits(0);
    site.run(&format!("diskprep u: {SHIPPING} --state state")).exits(0);
    let dock = "--credentials dock.json --state dock-state --actor north";
    let says = ["this dock signs custody logs as"];
    site.run(&format!("dock receive --tracking custody1 {dock}")).exits(0).tells(&says);
    site.run(&format!("dock import --job seed-1 {dock} --drive d1 d2")).exits(0);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.run(&format!("dock return --job seed-1 {dock}")).exits(0);
    site
}

/// Every key, as those would read it out who have it: by the name that it writes under.
fn keys(site: &Site) -> Vec<(String, String)> {
    let shown = site.admin("custody show --json").exits(0);
    let mut actors = shown.objects();
    actors.retain(|object| object["message_type"] == "actor");
    let key = |actor: &Value| {
        let text = |name: &str| actor["actor"][name].as_str().unwrap().to_owned();
        (text("key"), format!("{}/{}", text("kind"), text("name")))
    };
    actors.iter().map(key).collect()
}

fn list(keys: &[(String, String)]) -> String {
    keys.iter().map(|(key, name)| format!("{key} {name}\n")).collect()
}

/// What the program in Python says; none, with a word about it, where there is no Python.
fn oracle(log: &Path, keys: &[(String, String)]) -> Option<(bool, Value)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/custody/verify.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(log).args(keys.iter().map(|(key, name)| format!("{key}={name}")));
    let Ok(output) = command.output() else {
        skip("custody::a_journey_is_proven_by_two_programs", "python3 is not installed");
        return None;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let said = serde_json::from_str(&said)
        .unwrap_or_else(|why| panic!("{why}: {said} {}", String::from_utf8_lossy(&output.stderr)));
    Some((output.status.success(), said))
}

#[test]
fn a_journey_is_proven_by_two_programs() {
    let site = journey();
    let keys = keys(&site);
    let names: Vec<&str> = keys.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["source/fs01", "dock/north", "server/server"]);
    site.run("custody export -o log --agent-state state").exits(0).shows(&["receipt"]);
    let proof = site.verify(&list(&keys)).exits(0).shows(&[
        "proven",
        "source/fs01: 5 entries",
        "dock/north: 8 entries",
        "the last of 12 entries, and all of them are here; 2 entries came after it",
    ]);
    assert!(proof.stderr.is_empty(), "{}", proof.stderr);
    site.run("custody show --agent-state state").exits(0).shows(&[
        "sealed",
        "handed-over",
        "received",
        "ingested",
        "verified",
        "published",
        "returned",
    ]);
    let log = site.place.path("log");
    let Some((content, said)) = oracle(&log, &keys) else { return };
    assert!(content, "{said}");
    assert_eq!((said["entries"].as_u64(), said["covered"].as_u64()), (Some(14), Some(12)));
    // Whatever is changed, both name the same line.
    let whole = std::fs::read(&log).unwrap();
    let broken = site.place.path("log");
    let mut rng = support::trees::Rng::new(7);
    for _ in 0..20 {
        let at = usize::from(rng.bytes(2)[0]) * 256 + usize::from(rng.bytes(1)[0]);
        let at = at % whole.len();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&broken, &bytes).unwrap();
        let said = site.run("custody verify log --trust keys --json").exits(4).object("proof");
        let line = whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        assert_eq!(said["line"].as_u64(), Some(line), "byte {at}: {said}");
        let (content, theirs) = oracle(&broken, &keys).unwrap();
        assert!(!content, "byte {at}");
        // An end of line that is none any more may be missed at the place where it was only by us.
        assert!(theirs["line"].as_u64() == Some(line) || whole[at] == b'\n', "{theirs}, {said}");
    }
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for left in 1..lines.len() {
        std::fs::write(&broken, lines[..left].concat()).unwrap();
        site.run("custody verify log --trust keys").exits(4).shows(&["cut off"]);
        assert!(!oracle(&broken, &keys).unwrap().0, "{left} lines");
    }
}

fn fails(site: &Site, code: i32, words: &[&str]) {
    site.run("custody verify log --trust keys").exits(code).tells(words);
}

#[test]
fn whom_one_trusts_decides_and_what_cannot_be_read_is_said() {
    let site = journey();
    let keys = keys(&site);
    site.admin("custody export -o log").exits(0);
    site.verify(&list(&keys[..1])).exits(4).shows(&["line 1", "not among the trusted keys"]);
    let without_dock = [keys[0].clone(), keys[2].clone()];
    let shown = site.verify(&list(&without_dock)).exits(4);
    shown.shows(&["dock/north, entry 0", "not among the trusted keys"]);
    let mut posing = keys.clone();
    posing[1].1 = "dock/south".to_owned();
    site.verify(&list(&posing)).exits(4).shows(&["trusted as dock/south and not as dock/north"]);
    let mut labelled = keys.clone();
    labelled[1].1 = "the one in the north".to_owned();
    site.verify(&list(&labelled)).exits(0).shows(&["(the one in the north)"]);
    std::fs::write(site.place.path("keys"), "rubbish\n").unwrap();
    fails(&site, 1, &["line 1 of the trusted keys"]);
    std::fs::remove_file(site.place.path("keys")).unwrap();
    fails(&site, 1, &["keys"]);
    site.run("custody verify log").exits(2);
    std::fs::write(site.place.path("keys"), list(&keys)).unwrap();
    let log: PathBuf = site.place.path("log");
    std::fs::remove_file(log).unwrap();
    fails(&site, 1, &["log"]);
}
