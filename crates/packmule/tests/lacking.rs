//! A catch-up seed of standalone sets, by the commands alone: only what the other end lacks travels, and joins what is there.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use support::{
    Place, Said, contents, names_are_right, objects_of, restic, restic_is_content, restics, s,
    same, walk,
};

struct Site {
    place: Place,
    source: PathBuf,
}

impl Site {
    /// A repository that was brought elsewhere on a drive, and has grown since.
    fn grown() -> Self {
        let place = Place::new();
        place.repository("repo");
        let source = place.source("source", 20 << 20);
        let site = Self { place, source };
        site.back_up();
        site.place.folder("d0");
        site.run("seed prepare -r repo --drive d0 --state state").exits(0);
        site.run("seed import --into there --drive d0").exits(0);
        let mut rng = support::trees::Rng::new(5);
        fs::write(site.source.join("new"), rng.bytes(36 << 20)).unwrap();
        site.back_up();
        site
    }

    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn back_up(&self) {
        self.run(&format!("repo backup -r repo {}", s(&self.source))).exits(0);
    }

    fn lacking(&self, more: &str) -> Said {
        self.run(&format!("seed prepare -r repo --lacking-in there --state state --json {more}"))
    }

    /// Names of a kind that the repository has and the other end lacks.
    fn difference(&self, kind: &str) -> BTreeSet<String> {
        let names = |at: &str| -> BTreeSet<String> {
            let files = objects_of(&self.place.path(at), kind);
            files.iter().map(|file| name(file)).collect()
        };
        names("repo").difference(&names("there")).cloned().collect()
    }

    fn arrives(&self) {
        let there = self.place.path("there");
        names_are_right(&there);
        restic_is_content("lacking", &there);
        for (n, program) in restics("lacking").iter().enumerate() {
            let target = self.place.folder(&format!("restored{n}"));
            restic(program, &there, &["restore", "latest", "--target", s(&target)]).exits(0);
            same(&target.join(self.source.strip_prefix("/").unwrap()), &self.source);
            let said = restic(program, &there, &["snapshots", "--json"]).exits(0);
            let all: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
            assert_eq!(all.as_array().unwrap().len(), 2);
        }
        let said = self.lacking("--drive d0").exits(0);
        assert_eq!(said.object("summary")["lacking_objects"], 0, "{}", said.stdout);
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Objects on a drive, by name.
fn on(drive: &Path) -> BTreeSet<String> {
    walk(&drive.join("repositories")).iter().map(|file| name(file)).collect()
}

#[test]
fn only_what_the_other_end_lacks_travels_and_joins_what_is_there() {
    let site = Site::grown();
    let expected: BTreeSet<String> =
        ["data", "index", "snapshots"].iter().flat_map(|kind| site.difference(kind)).collect();
    assert!(expected.len() > 3);
    let before = contents(&site.place.path("there"));
    let (first, second) = (site.place.folder("d1"), site.place.folder("d2"));
    // A plan makes nothing.
    let dry = site.lacking("--drive d1 --dry-run").exits(0);
    assert_eq!(dry.object("lacking")["objects"], expected.len());
    assert!(walk(&first).is_empty() && !site.place.path("state/lacking").exists());
    // The drive of the seed before is none of this one.
    site.lacking("--drive d0").exits(13);
    let said = site.lacking("--drive d1 --capacity 20M").exits(13);
    assert_eq!(said.object("lacking")["objects"], expected.len());
    // What comes to the repository meanwhile waits for the next seed, and what was chosen goes on.
    fs::write(site.source.join("late"), "late").unwrap();
    let said = site.lacking("--drive d2 --capacity 40M").exits(0);
    assert!(said.object("lacking")["begun"].is_string(), "{}", said.stdout);
    let all: BTreeSet<String> = on(&first).union(&on(&second)).cloned().collect();
    assert_eq!(all, expected);
    assert_eq!(contents(&site.place.path("there")), before, "nothing is written there");
    fs::remove_file(site.source.join("late")).unwrap();

    let signer = said.object("summary")["signer"].as_str().unwrap().to_owned();
    let import = format!("seed import --into there --signer {signer} --drive");
    site.run(&format!("{import} d2")).exits(13);
    site.run("seed missing --into there").exits(13);
    site.run(&format!("{import} d1")).exits(0).shows(&["complete and published"]);
    site.arrives();
}

#[test]
fn a_seed_after_that_has_what_has_come_since() {
    let site = Site::grown();
    site.place.folder("d1");
    site.lacking("--drive d1").exits(0);
    // The same again, while it is on its way.
    let again = site.lacking("--drive d1").exits(0);
    assert_eq!(again.object("summary")["complete"], true);
    fs::write(site.source.join("late"), "late").unwrap();
    site.back_up();
    site.place.folder("d2");
    let said = site.lacking("--drive d2").exits(0);
    // The first one has not arrived yet: this one has that, too.
    assert!(said.object("lacking")["begun"].is_null());
    assert!(on(&site.place.path("d2")).is_superset(&on(&site.place.path("d1"))));
    site.run("seed import --into there --drive d1").exits(0);
    site.run("seed import --into there --drive d2").exits(0);
    restic_is_content("lacking", &site.place.path("there"));
    assert!(site.difference("snapshots").is_empty());
}

#[test]
fn what_goes_missing_at_the_other_end_meanwhile_is_named_and_nothing_is_published() {
    let site = Site::grown();
    site.place.folder("d1");
    let packs = objects_of(&site.place.path("there"), "data");
    site.lacking("--drive d1").exits(0);
    let victim = &packs[0];
    fs::remove_file(victim).unwrap();
    let said = site.run("seed import --into there --drive d1").exits(13);
    assert!(said.stdout.contains(&name(victim)), "{}", said.stdout);
    assert_eq!(objects_of(&site.place.path("there"), "snapshots").len(), 1);
    // The next choice has it.
    site.place.folder("d2");
    site.lacking("--drive d2").exits(0);
    assert!(on(&site.place.path("d2")).contains(&name(victim)));
    // Whichever of the two comes first by its name.
    site.run("seed import --into there --drive d2").exits(0);
    site.run("seed missing --into there").exits(0);
    site.arrives();
}

#[test]
fn what_cannot_be_is_refused_before_a_drive_is_touched() {
    let site = Site::grown();
    let drive = site.place.folder("d1");
    site.place.repository("other");
    let words = "seed prepare -r repo --state state --drive d1 --lacking-in";
    site.run(&format!("{words} other")).exits(1).tells(&["holds repository"]);
    site.place.folder("nothing");
    site.run(&format!("{words} nothing")).exits(10).tells(&["leave --lacking-in out"]);
    assert!(walk(&drive).is_empty());
    // A damaged object there is named: the right one cannot take its place before it is gone.
    let victim = objects_of(&site.place.path("there"), "data").remove(0);
    let bytes = fs::read(&victim).unwrap();
    fs::write(&victim, &bytes[..bytes.len() / 2]).unwrap();
    let said = site.lacking("--drive d1").exits(3);
    let told = format!("{}{}", said.stdout, said.stderr);
    assert!(told.contains("other bytes of that name"), "{told}");
    fs::remove_file(&victim).unwrap();
    site.run("seed import --into there --drive d1").exits(0);
    site.arrives();
}

/// The other end is a vault, on a server, and is asked over its REST protocol alone.
#[test]
fn what_a_vault_lacks_travels_and_nothing_is_written_there() {
    let (server, place) = (support::served::Server::start(), Place::new());
    let source = place.source("source", 20 << 20);
    let site = Site { place, source };
    for words in ["vault create offices", "vault credentials offices --for fs01 -o offices.json"] {
        site.run(&format!("{words} --server {}", s(&server.admin()))).exits(0);
    }
    site.run("agent register --credentials offices.json --state agent").exits(0);
    site.run(&format!("group create files --path {} --state agent", s(&site.source))).exits(0);
    site.run("backup now files --state agent").exits(0);
    // The source has the same repository at home, and it has grown.
    let vault = server.data().join("objects/vaults/offices/fs01/repository");
    copy(&vault, &site.place.path("repo"));
    let mut rng = support::trees::Rng::new(6);
    fs::write(site.source.join("new"), rng.bytes(36 << 20)).unwrap();
    site.back_up();
    let known = fs::read_to_string(site.place.path("offices.json")).unwrap();
    let known: serde_json::Value = serde_json::from_str(&known).unwrap();
    fs::write(site.place.path("ca.pem"), known["caPem"].as_str().unwrap()).unwrap();
    let endpoint = known["endpoint"].as_str().unwrap().trim_start_matches("https://");
    let at = |token: &str| format!("rest:https://fs01:{token}@{endpoint}/vaults/offices/fs01/");
    let lacking = |token: &str, more: &str| {
        let at = at(token);
        let words = format!("seed prepare -r repo --lacking-in {at} --cacert ca.pem");
        site.run(&format!("{words} --state state --json {more}"))
    };
    let token = known["token"].as_str().unwrap();
    let before = contents(&vault);
    let drive = site.place.folder("d1");
    let wrong = lacking("wrong", "--drive d1");
    assert_ne!(wrong.code, 0, "{}", wrong.stdout);
    assert!(walk(&drive).is_empty());
    let dry = lacking(token, "--drive d1 --dry-run").exits(0);
    let said = lacking(token, "--drive d1").exits(0);
    assert_eq!(dry.object("lacking")["objects"], said.object("lacking")["objects"]);
    assert!(!format!("{}{}", said.stdout, said.stderr).contains(token), "a secret is shown");
    assert_eq!(contents(&vault), before, "nothing is written there");
    copy(&vault, &site.place.path("there"));
    let expected: BTreeSet<String> =
        ["data", "index", "snapshots"].iter().flat_map(|kind| site.difference(kind)).collect();
    assert_eq!((on(&drive), expected.len() > 3), (expected, true));
    // Where the drives are taken in, it joins what the vault has.
    site.run("seed import --into there --drive d1").exits(0);
    site.arrives();
    // Somebody else's vault has another repository.
    site.place.repository("other");
    let words = format!("seed prepare -r other --lacking-in {} --cacert ca.pem", at(token));
    site.place.folder("d2");
    site.run(&format!("{words} --state state --drive d2")).exits(1).tells(&["holds repository"]);
}

/// A copy of every file below.
fn copy(from: &Path, to: &Path) {
    for file in walk(from).into_iter().filter(|file| file.is_file()) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

/// The same without staging: the vault's indexes and directories are read over its REST protocol, and a lock is held there meanwhile.
#[test]
fn what_a_vault_lacks_goes_straight_onto_drives() {
    let (server, place) = (support::served::Server::start(), Place::new());
    let source = place.source("source", 20 << 20);
    let site = Site { place, source };
    for words in ["vault create offices", "vault credentials offices --for fs01 -o offices.json"] {
        site.run(&format!("{words} --server {}", s(&server.admin()))).exits(0);
    }
    site.run("agent register --credentials offices.json --state agent").exits(0);
    site.run(&format!("group create files --path {} --state agent", s(&site.source))).exits(0);
    site.run("backup now files --state agent").exits(0);
    let vault = server.data().join("objects/vaults/offices/fs01/repository");
    let mut rng = support::trees::Rng::new(6);
    fs::write(site.source.join("new"), rng.bytes(9 << 20)).unwrap();
    let known = fs::read_to_string(site.place.path("offices.json")).unwrap();
    let known: serde_json::Value = serde_json::from_str(&known).unwrap();
    fs::write(site.place.path("ca.pem"), known["caPem"].as_str().unwrap()).unwrap();
    let endpoint = known["endpoint"].as_str().unwrap().trim_start_matches("https://");
    let token = known["token"].as_str().unwrap();
    let before = contents(&vault);
    let drive = site.place.folder("d1");
    let said = site.run(&format!(
        "seed backup {} --lacking-in rest:https://fs01:{token}@{endpoint}/vaults/offices/fs01/ --cacert ca.pem --state state --json --drive d1",
        s(&site.source)
    ));
    let said = said.exits(0);
    assert!(!format!("{}{}", said.stdout, said.stderr).contains(token), "a secret is shown");
    assert_eq!(contents(&vault), before, "nothing is written there");
    assert!(!walk(&vault.join("locks")).iter().any(|path| path.is_file()), "a lock is left");
    let files = walk(&drive).into_iter().filter(|path| path.is_file());
    let carried: u64 = files.map(|path| path.metadata().unwrap().len()).sum();
    assert!((9 << 20..14 << 20).contains(&carried), "{carried}");
    copy(&vault, &site.place.path("there"));
    site.run("seed import --into there --drive d1").exits(0);
    let there = site.place.path("there");
    names_are_right(&there);
    restic_is_content("lacking", &there);
    let target = site.place.folder("restored");
    site.run("repo restore -r there latest --target restored").exits(0);
    same(&target.join(site.source.strip_prefix("/").unwrap()), &site.source);
}
