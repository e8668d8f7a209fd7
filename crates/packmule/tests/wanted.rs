//! A lost drive without parity, by the commands alone: what is missing is named, comes once more by network or on
//! a next drive, and nothing else is sent.
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
use std::path::PathBuf;
use support::served::Server;
use support::{Place, Said, s, same, walk};

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
    site.run(&format!("diskprep s:{staging} --drive d1 d2 --capacity 25M --state state")).exits(0);
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
