//! A lost drive without parity, by the commands alone: what is missing is named, comes once more by network or on
//! a next drive, and nothing else is sent; what staging has lost, too, is made anew from the source.
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
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::served::Server;
use support::{Place, Said, restic, restic_is_content, restics, s, same, trees, walk};

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

    fn ship(&self, job: &str, number: &str) {
        let address = "--recipient R --street S --city C --postal-code 1 --country NO --phone 1";
        let package = format!("--yes --carrier Posten --tracking {number}");
        let words = format!(
            "diskprep u: --job {job} {package} {address} --email r@example.org --state state"
        );
        self.run(&words).exits(0);
    }

    fn wanted(&self) -> Vec<Value> {
        let said = self.run("seed status --json --state state").exits(13);
        said.objects().into_iter().filter(|it| it["message_type"] == "wanted").collect()
    }

    fn restores(&self) {
        self.run("restore files --target restored --state state").exits(0);
        let source = self.place.path("source");
        same(&source, &self.place.path("restored").join(source.strip_prefix("/").unwrap()));
    }
}

/// Files beside the large one.
const FURTHER: [&str; 4] = ["one", "two", "three", "four"];

/// Two drives have been shipped, and one of them never came.
fn site() -> Site {
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
    for (name, seed) in FURTHER.into_iter().zip(1..) {
        std::fs::write(source.join(name), trees::Rng::new(seed).bytes(2 << 20)).unwrap();
    }
    site.run("agent register --credentials offices.VaultCredentials --name fs01 --state state")
        .exits(0);
    let staging = s(&site.place.path("staging")).to_owned();
    let offline = "--import-job seed-1 --storage-account seedacct --container seeds";
    let source = s(&source);
    site.run(&format!(
        "group create files --path {source} --staging {staging} {offline} --state state"
    ))
    .exits(0);
    site.run("backup now files --state state").exits(0);
    site.run("seed status --state state").exits(0).shows(&["no seed"]);
    ["d1", "d2", "d3"].into_iter().for_each(|name| drop(site.place.folder(name)));
    site.run(&format!("diskprep s:{staging} --drive d1 d2 --capacity 27M --state state")).exits(0);
    site.ship("seed-1", "WANT-1");
    site.run("seed status --state state").exits(0).shows(&["asks for nothing"]);
    let arrived = site.serial("d1");
    site.run(&format!(
        "dock receive --tracking want1 --drive {arrived} --credentials dock.json --state dock-state"
    ))
    .exits(0);
    site.run("dock import --job seed-1 --credentials dock.json --state dock-state --drive d1")
        .exits(0);
    site
}

impl Site {
    fn serial(&self, drive: &str) -> String {
        let said = self.run(&format!("seed verify --json --drive {drive}"));
        said.objects()[0]["serial"].as_str().unwrap().to_owned()
    }

    /// Objects on a drive, by their path in the repository.
    fn on(&self, drive: &str) -> Vec<String> {
        let root = self.place.path(drive).join("repositories");
        let files: Vec<PathBuf> = walk(&root).into_iter().filter(|path| path.is_file()).collect();
        let below = |path: &PathBuf| {
            let parts = path.strip_prefix(&root).unwrap().components().skip(1);
            parts.collect::<PathBuf>().to_str().unwrap().to_owned()
        };
        let mut names: Vec<String> = files.iter().map(below).collect();
        names.sort();
        names
    }
}

#[test]
fn a_drive_that_never_came_is_made_up_for_by_network() {
    let site = site();
    let lost = site.on("d2");
    let said = site.run("backup now files --wanted drive --state state").exits(0);
    said.shows(&["packmule seed send"]);
    let mut wanted: Vec<String> =
        site.wanted().iter().map(|it| it["object"].as_str().unwrap().to_owned()).collect();
    wanted.sort();
    assert_eq!(wanted, lost);
    let serial = site.serial("d2");
    assert!(site.wanted().iter().all(|it| it["was_on"] == serial && it["was_in_job"] == "seed-1"));
    site.run("seed send --by drive --state state").exits(13).shows(&["wait for a next drive"]);
    site.run("seed send --by network --limit-rate 50M --state state").exits(0);
    assert!(site.wanted().iter().all(|it| it["state"] == "sent"));
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.run("seed send --state state").exits(1).tells(&["asks for nothing"]);
    site.restores();
}

#[test]
fn a_drive_that_never_came_is_made_up_for_by_another_with_just_that() {
    let site = site();
    let staging = s(&site.place.path("staging")).to_owned();
    site.run("backup now files --wanted drive --state state").exits(0);
    let prepare = format!("diskprep s:{staging} --missing --drive d3 --capacity 25M --state state");
    site.run(&prepare).exits(0).shows(&["seed-1-2"]);
    assert_eq!(site.on("d3"), site.on("d2"));
    site.ship("seed-1-2", "WANT-2");
    site.run("dock receive --tracking want2 --credentials dock.json --state dock-state").exits(0);
    site.run("dock import --job seed-1-2 --credentials dock.json --state dock-state --drive d3")
        .exits(0);
    site.run("backup now files --wanted drive --state state")
        .exits(0)
        .shows(&["receipt is verified"]);
    site.restores();
}

impl Site {
    /// The published repository, as files of the server.
    fn vault(&self) -> PathBuf {
        self.server.data().join("objects/vaults/offices/fs01/repository")
    }

    /// The only snapshot in staging, by its name.
    fn staged(&self) -> String {
        let files = walk(&self.place.path("staging/snapshots"));
        assert_eq!(files.len(), 1);
        files[0].file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// A snapshot of the vault as stock restic restores it.
    fn restored_by_restic(&self, program: &Path, snapshot: &str) -> PathBuf {
        let target = self.place.path(&format!("restic-{snapshot}"));
        let words = ["restore", snapshot, "--no-lock", "--target", s(&target)];
        restic(program, &self.vault(), &words).exits(0);
        target.join(self.place.path("source").strip_prefix("/").unwrap())
    }
}

/// Every file below, with its content.
fn contents(folder: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let read = |path: &PathBuf| {
        (path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(path).unwrap())
    };
    walk(folder).iter().map(read).collect()
}

#[test]
fn what_staging_has_lost_too_is_made_anew_however_often_that_is_killed() {
    let site = site();
    let snapshot = site.staged();
    let bytes = std::fs::read(site.place.path("staging/snapshots").join(&snapshot)).unwrap();
    let arrived: BTreeSet<String> = site.on("d1").into_iter().collect();
    std::fs::remove_dir_all(site.place.path("staging")).unwrap();
    // A backup does not take an unmounted folder for a lost one.
    site.run("backup now files --wanted network --state state").exits(0);
    assert!(!site.place.path("staging").exists());
    site.run("seed status --state state").exits(13).shows(&["packmule seed refill"]);
    site.run("seed send --by network --state state").exits(3).shows(&["packmule seed refill"]);
    let plan = site.run("seed refill --dry-run --json --state state").exits(0);
    assert!(plan.object("summary")["gone_packs"].as_u64().unwrap() > 0);
    assert!(plan.objects().iter().any(|it| it["message_type"] == "file"));
    // Killed ever later, until one is through.
    let mut killed = 0;
    for delay in std::iter::successors(Some(50), |before| Some(before * 3 / 2)) {
        let words = ["seed", "refill", "--json", "--state", "state"];
        let mut child = site.place.start(&words);
        std::thread::sleep(Duration::from_millis(delay));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        let said = Said::of(child.wait_with_output().unwrap());
        if said.code == 0 {
            break;
        }
        // Killed after all was made, before it was said.
        if said.code == 1 {
            said.tells(&["is in staging or kept here"]);
            break;
        }
        assert_eq!(said.code, 137, "{}", said.stderr);
    }
    assert!(killed > 1, "{killed}");
    assert!(site.wanted().iter().all(|it| it["state"] == "wanted"));
    let sent: BTreeSet<String> =
        site.wanted().iter().map(|it| it["object"].as_str().unwrap().to_owned()).collect();
    assert!(sent.is_disjoint(&arrived), "nothing that has arrived is sent again");
    site.run("seed send --by network --limit-rate 50M --state state").exits(0);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.restores();
    let there = std::fs::read(site.vault().join("snapshots").join(&snapshot)).unwrap();
    assert_eq!(there, bytes, "the recovery point is what it was, byte for byte");
    restic_is_content("refill", &site.vault());
    for program in restics("refill") {
        same(&site.place.path("source"), &site.restored_by_restic(&program, &snapshot));
    }
}

#[test]
fn what_the_source_has_no_more_is_named_and_left_out_only_by_choice() {
    let site = site();
    let source = site.place.path("source");
    let mut before = contents(&source);
    let old = site.staged();
    let on_drive: BTreeSet<String> = site.on("d2").into_iter().collect();
    for object in on_drive.iter().filter(|object| object.starts_with("data/")) {
        std::fs::remove_file(site.place.path("staging").join(object)).unwrap();
    }
    // Other content under every name of a large file: which of them the lost drive had is for chance to say.
    for (name, seed) in FURTHER.into_iter().chain(["noise"]).zip(50..) {
        std::fs::write(source.join(name), trees::Rng::new(seed).bytes(2 << 20)).unwrap();
    }
    std::fs::remove_file(source.join("folder/small")).unwrap();
    let said = site.run("backup now files --wanted network --json --state state");
    let lost = |said: &Said| -> BTreeSet<PathBuf> {
        let files = said.objects().into_iter().filter(|it| it["message_type"] == "lost_file");
        files.map(|it| PathBuf::from(it["path"].as_str().unwrap())).collect()
    };
    let named = lost(&said);
    let said = said.exits(3);
    assert!(!named.is_empty());
    assert_eq!(said.object("refilled")["revision"], Value::Null);
    assert!(said.object("summary")["next"].as_str().unwrap().contains("--publish-repaired"));
    assert!(!site.vault().exists());
    let again = site.run("seed refill --json --state state").exits(3);
    assert_eq!(lost(&again), named);
    let done = site.run("seed refill --publish-repaired --json --state state").exits(3);
    assert_eq!(lost(&done), named);
    let repaired = done.object("summary")["repaired"].clone();
    assert_eq!(repaired[0]["snapshot"], old.as_str());
    let new = repaired[0]["as"].as_str().unwrap();
    // What was backed up meanwhile may need them, too: none of it is shown, and that is said.
    let said = site.run("backup now files --state state").exits(3);
    said.shows(&["receipt is verified"]).tells(&["not published", "complete recovery point"]);
    let words = format!("without {} files", named.len());
    site.run("agent status --state state").exits(3).shows(&[&words]);
    before.retain(|(path, _)| !named.contains(&source.join(path)));
    assert!(!site.vault().join("snapshots").join(&old).exists());
    restic_is_content("repaired", &site.vault());
    for program in restics("repaired") {
        let listed =
            restic(&program, &site.vault(), &["snapshots", "--json", "--no-lock"]).exits(0);
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        let mut all = listed.as_array().unwrap().iter();
        let there = all.find(|it| it["id"] == new).unwrap();
        assert_eq!(there["original"], old.as_str());
        assert!(there["tags"].as_array().unwrap().contains(&"repaired".into()));
        assert_eq!(contents(&site.restored_by_restic(&program, new)), before);
    }
}

#[test]
fn a_machine_that_has_lost_its_signing_key_revises_by_its_certificate() {
    let site = site();
    let snapshot = site.staged();
    site.run("backup now files --wanted drive --state state").exits(0);
    std::fs::remove_dir_all(site.place.path("staging")).unwrap();
    for name in ["signing.key", "machine.pem"] {
        std::fs::remove_file(site.place.path("state").join(name)).unwrap();
    }
    site.run("seed refill --state state").exits(1).tells(&["--take-over"]);
    let register = "agent register --credentials offices.VaultCredentials --name fs01";
    // The vault has no repository yet: that is said.
    site.run(&format!("{register} --take-over --yes --state state")).exits(3);
    let said = site.run("seed refill --json --state state").exits(0);
    assert_eq!(said.object("summary")["revision"], 1, "{}", said.stdout);
    let log = site.admin("custody show").exits(0);
    assert_eq!(log.stdout.matches("signer-named").count(), 1, "{}", log.stdout);
    site.run("seed send --by network --state state").exits(0);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.restores();
    restic_is_content("refill", &site.vault());
    for program in restics("refill") {
        same(&site.place.path("source"), &site.restored_by_restic(&program, &snapshot));
    }
}
