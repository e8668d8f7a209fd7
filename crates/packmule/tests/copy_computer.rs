//! Drives written on another computer than the source server, by the commands alone: with publish settings of another
//! subscription than the vault's, and without the repository's password.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use std::process::Stdio;
use support::served::Server;
use support::{Place, Said, s, same};

const SHIPPING: &str = "--yes --carrier FedEx --tracking COPY-12345 --recipient R --street S --city C --postal-code 1 --country NO --phone 1 --email r@example.org";

struct Site {
    server: Server,
    place: Place,
    staging: String,
}

impl Site {
    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn admin(&self, words: &str) -> Said {
        self.run(&format!("{words} --server {}", s(&self.server.admin())))
    }

    /// On the copy computer: another state directory, and no password.
    fn copy(&self, words: &str) -> Said {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = self.place.packmule(&words);
        command.env_remove("PACKMULE_PASSWORD").env("PACKMULE_STATE", self.place.path("copier"));
        Said::of(command.stdin(Stdio::null()).output().unwrap())
    }
}

/// A vault in one subscription, an account in another, and a group that goes by drives.
fn site() -> Site {
    let (server, place) = (Server::start(), Place::new());
    let staging = s(&place.path("staging")).to_owned();
    let site = Site { server, place, staging };
    for words in [
        "subscription create logistics",
        "vault create offices",
        "storage-account create seedacct --subscription logistics",
        "storage-account share seedacct --vault offices",
        "vault credentials offices -o offices.VaultCredentials",
        "dock credentials dock -o dock.json",
        "subscription publish-settings logistics -o logistics.publishsettings",
        "subscription publish-settings packmule -o packmule.publishsettings",
    ] {
        site.admin(words).exits(0);
    }
    let source = site.place.source("source", 30 << 20);
    site.run("agent register --credentials offices.VaultCredentials --name fs01 --state state")
        .exits(0);
    let offline = "--import-job seed-1 --storage-account seedacct --container seeds";
    let (source, staging) = (s(&source), &site.staging);
    site.run(&format!(
        "group create files --path {source} --staging {staging} {offline} --state state"
    ))
    .exits(0);
    site
}

#[test]
fn a_seed_is_copied_and_shipped_elsewhere_and_its_source_goes_on() {
    let site = site();
    let staging = site.staging.clone();
    site.place.folder("d1");
    site.place.folder("d2");
    let drives = "--drive d1 d2 --capacity 25M";
    let prepare = format!("diskprep s:{staging} p:logistics.publishsettings {drives}");
    site.copy(&format!("diskprep p:logistics.publishsettings {drives}"))
        .exits(1)
        .tells(&["s:STAGING"]);
    site.place.folder("staging");
    site.copy(&prepare).exits(1).tells(&["packmule backup now GROUP on the source server"]);
    site.run("backup now files --state state").exits(0);

    let other = format!("diskprep s:{staging} p:packmule.publishsettings {drives}");
    site.copy(&other).exits(1).tells(&["do not open seed"]);
    site.copy(&prepare)
        .exits(0)
        .tells(&["fs01", "vault offices", "seedacct"])
        .shows(&["seed-1", "Import Dock"]);
    // Where the account is, the job is.
    site.admin("job show seed-1").exits(0).shows(&["Creating"]);
    site.run("agent status --state state").exits(0).shows(&["Prepared"]);
    let again = format!("diskprep s:{staging} {drives} --state state");
    site.run(&again).exits(0).shows(&["seed-1"]);

    let update = format!("diskprep u: s:{staging} p:logistics.publishsettings");
    site.copy(&format!("{update} {SHIPPING}")).exits(0).tells(&["import job seed-1"]);
    site.copy(&update).exits(0).shows(&["Shipping"]);
    site.run("diskprep u: --state state").exits(0).shows(&["Shipping"]);
    site.run("dock receive --tracking copy12345 --credentials dock.json --state dock-state")
        .exits(0);
    let import =
        "dock import --job seed-1 --credentials dock.json --state dock-state --drive d1 d2";
    site.run(import).exits(0);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.run("restore files --target restored --state state").exits(0);
    let source = site.place.path("source");
    same(&source, &site.place.path("restored").join(source.strip_prefix("/").unwrap()));
}

/// The copy computer's key is not the source's; that one says by its certificate that it signs for what it makes anew.
#[test]
fn what_drives_from_elsewhere_have_lost_is_made_anew_at_the_source() {
    let site = site();
    let staging = site.staging.clone();
    ["d1", "d2"].into_iter().for_each(|name| drop(site.place.folder(name)));
    site.run("backup now files --state state").exits(0);
    let drives = "--drive d1 d2 --capacity 25M";
    site.copy(&format!("diskprep s:{staging} p:logistics.publishsettings {drives}")).exits(0);
    let update = format!("diskprep u: s:{staging} p:logistics.publishsettings {SHIPPING}");
    site.copy(&update).exits(0);
    // What tells what is in its packs is kept while staging is there.
    site.run("agent status --state state").exits(0);
    site.run("backup now files --state state").exits(0);
    std::fs::remove_dir_all(site.place.path("staging")).unwrap();
    let label = seed::inspect(&site.place.path("d1")).unwrap().unwrap();
    let dock = "--credentials dock.json --state dock-state";
    let there = label.body.serial.to_string();
    site.run(&format!("dock receive --tracking copy12345 --drive {there} {dock}")).exits(0);
    site.run(&format!("dock import --job seed-1 {dock} --drive d1")).exits(0);
    site.run("backup now files --wanted network --state state").exits(0);
    let said = site.run("seed refill --json --state state").exits(0);
    assert_eq!(said.object("summary")["revision"], 1, "{}", said.stdout);
    let log = site.admin("custody show").exits(0);
    assert_eq!(log.stdout.matches("signer-named").count(), 1, "{}", log.stdout);
    site.run("seed send --by network --state state").exits(0);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.run("restore files --target restored --state state").exits(0);
    let source = site.place.path("source");
    same(&source, &site.place.path("restored").join(source.strip_prefix("/").unwrap()));
    // And it can be proven without the server.
    site.admin("custody export -o custody.jsonl").exits(0);
    let shown = site.run("custody verify custody.jsonl --state state");
    assert!(!shown.stdout.contains("broken"), "{}", shown.stdout);
}
