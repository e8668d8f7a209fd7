//! A set with parity through an import job, by the commands alone: a data drive never arrives, and the seed lands whole
//! without anything sent again.
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
use std::path::Path;
use support::served::Server;
use support::{Place, Said, restic, restic_is_content, restics, s, same};

const SHIPPING: &str = "--yes --carrier FedEx --tracking PARITY-1 --recipient R --street S --city C --postal-code 1 --country NO --phone 1 --email r@example.org";

struct Site {
    server: Server,
    place: Place,
}

impl Site {
    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }
}

/// A group whose first backup is in staging: 36 MB, two drives of data.
fn site() -> Site {
    let site = Site { server: Server::start(), place: Place::new() };
    for words in [
        "storage-account create seedacct",
        "vault create offices",
        "vault credentials offices --for fs01 -o offices.json",
        "dock credentials dock -o dock.json",
    ] {
        site.run(&format!("{words} --server {}", s(&site.server.admin()))).exits(0);
    }
    let source = site.place.source("source", 36 << 20);
    site.run("agent register --credentials offices.json --state state").exits(0);
    let offline = "--import-job seed-1 --storage-account seedacct --container seeds";
    let staging = site.place.path("staging");
    site.run(&format!(
        "group create files --path {} --staging {} {offline} --state state",
        s(&source),
        s(&staging)
    ))
    .exits(0);
    site.run("backup now files --state state").exits(0);
    site
}

/// The serial number on a drive, and whether it is for parity.
fn label(folder: &Path) -> (String, bool) {
    let label = seed::inspect(folder).unwrap().unwrap().body;
    (label.serial.to_string(), !label.role.is_data())
}

fn drives(said: &Said) -> Vec<Value> {
    said.objects().into_iter().filter(|it| it["message_type"] == "drive").collect()
}

#[test]
fn a_drive_that_never_arrives_is_rebuilt_at_the_dock_and_the_seed_lands_whole() {
    let site = site();
    let place = &site.place;
    let [d0, d1, d2] = place.drives();
    let staging = s(&place.path("staging")).to_owned();
    let prepare = |drives: &[&Path], more: &str| {
        let drives: Vec<&str> = drives.iter().map(|drive| s(drive)).collect();
        let drives = drives.join(" ");
        let given = if drives.is_empty() { "" } else { "--drive" };
        let words = format!("diskprep s:{staging} --json --capacity 30M --state state");
        site.run(&format!("{words} {given} {drives} {more}"))
    };
    // The plan says what it takes and what it is good for, and changes nothing.
    let dry = prepare(&[&d0, &d1, &d2], "--parity 1 --dry-run").exits(0);
    let planned = dry.objects();
    assert_eq!(planned.iter().filter(|it| it["parity"] == true).count(), 1);
    assert_eq!(std::fs::read_dir(&d0).unwrap().count(), 0);
    site.run(&format!(
        "diskprep s:{staging} --capacity 30M --state state --drive {} {} {} --parity 1 --dry-run",
        s(&d0),
        s(&d1),
        s(&d2)
    ))
    .exits(0)
    .shows(&["2 drives of data and 1 of parity: any 1 of them may be lost"]);
    // With two bays the data comes first; what was asked for is remembered.
    let first = prepare(&[&d0, &d1], "--parity 1").exits(13);
    let summary = first.object("summary");
    assert_eq!((&summary["remaining_objects"], &summary["parity_missing"]), (&0.into(), &1.into()));
    let done = prepare(&[&d2], "").exits(0);
    assert_eq!(done.object("summary")["job"], "seed-1");
    let roles: Vec<Value> = drives(&done).iter().map(|drive| drive["role"].clone()).collect();
    assert_eq!(roles, ["data", "data", "parity"]);
    let again = prepare(&[], "").exits(0);
    assert_eq!(drives(&again).len(), 3, "{}", again.stdout);
    assert_eq!(drives(&again)[2]["role"], "parity");
    site.run(&format!("diskprep u: --state state {SHIPPING}")).exits(0);

    // One of the two data drives is not in the package.
    let (lost, there) = (label(&d0).0, label(&d1).0);
    let (parity, is_parity) = label(&d2);
    assert!(is_parity);
    site.run(&format!(
        "dock receive --tracking parity1 --drive {there} --drive {parity} --credentials dock.json --state dock-state"
    ))
    .exits(0)
    .shows(&["NeverReceived", "(parity)"]);
    let import = "dock import --job seed-1 --credentials dock.json --state dock-state --drive";
    site.run(&format!("{import} {}", s(&d2))).exits(13).tells(&["has its turn when", &there]);
    let said = site.run(&format!("{import} {} {} --json", s(&d2), s(&d1))).exits(0);
    assert_eq!(said.object("summary")["complete"], true);
    assert!(said.object("summary")["bytes_rebuilt"].as_u64().unwrap() > 0);
    let status = drives(&said)[0]["status"].clone();
    assert_eq!(status["role"], "parity");
    assert_eq!(status["rebuilt"]["drives"][0]["driveId"], lost.as_str());
    assert!(status["rebuilt"]["accountBytes"].as_u64().unwrap() > 0);
    assert_eq!(status["rebuilt"]["from"][0]["driveId"], parity.as_str());
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("job show seed-1 --server {admin}")).exits(0).shows(&[
        "parity drive",
        &format!("drive {lost}: "),
        "rebuilt from",
        "Packaging",
    ]);
    site.run("dock return --job seed-1 --credentials dock.json --state dock-state")
        .exits(0)
        .shows(&["Completed"]);

    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    // Whoever reads the custody log sees that, too.
    let log = site.run(&format!("custody show --server {admin}")).exits(0);
    assert!(
        log.stdout.lines().any(|it| it.contains("repaired") && it.contains(&lost)),
        "{}",
        log.stdout
    );
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    restic_is_content("parity_job", &vault);
    let source = place.path("source");
    for program in restics("parity_job") {
        let target = place.path("by-restic");
        restic(&program, &vault, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&source, &target.join(source.strip_prefix("/").unwrap()));
    }
}

#[test]
fn a_drive_that_breaks_at_the_dock_is_given_up_and_rebuilt() {
    let site = site();
    let place = &site.place;
    let [d0, d1, d2] = place.drives();
    let staging = s(&place.path("staging")).to_owned();
    let three = format!("--drive {} {} {}", s(&d0), s(&d1), s(&d2));
    site.run(&format!("diskprep s:{staging} --capacity 30M --parity 1 --state state {three}"))
        .exits(0)
        .tells(&["2 drives of data and 1 of parity: any 1 of them may be lost"]);
    site.run(&format!("diskprep u: --state state {SHIPPING}")).exits(0);
    site.run("dock receive --tracking parity1 --credentials dock.json --state dock-state").exits(0);
    let all = [d0, d1, d2];
    let data: Vec<_> = all.iter().filter(|drive| !label(drive).1).collect();
    let parity = all.iter().find(|drive| label(drive).1).unwrap();
    let broken = label(data[0]).0;
    let import = "dock import --job seed-1 --credentials dock.json --state dock-state --drive";
    site.run(&format!("{import} {} {}", s(data[1]), s(parity))).exits(13).tells(&[&broken]);
    site.run("dock lost --job seed-1 --drive NOBODY --credentials dock.json").exits(13);
    site.run(&format!("dock lost --job seed-1 --drive {broken} --credentials dock.json"))
        .exits(0)
        .shows(&["NeverReceived"]);
    site.run(&format!("{import} {}", s(parity)))
        .exits(0)
        .shows(&[&format!("drive {broken}: "), "rebuilt from"]);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
}

#[test]
fn parity_that_stays_at_home_is_sent_as_a_job_of_its_own_when_it_is_needed() {
    let site = site();
    let place = &site.place;
    let all: [_; 3] = place.drives();
    let staging = s(&place.path("staging")).to_owned();
    let three = all.iter().map(|drive| s(drive)).collect::<Vec<_>>().join(" ");
    let prepared = site.run(&format!(
        "diskprep s:{staging} --json --capacity 30M --parity 1 --hold-parity --state state --drive {three}"
    ));
    assert_eq!(prepared.exits(0).object("summary")["job"], "seed-1");
    site.run(&format!("diskprep u: --state state {SHIPPING}")).exits(0);
    let parity = all.iter().find(|drive| label(drive).1).unwrap();
    let data: Vec<_> = all.iter().filter(|drive| !label(drive).1).collect();
    let (lost, there) = (label(data[0]).0, label(data[1]).0);
    let dock = "--credentials dock.json --state dock-state";
    site.run(&format!("dock receive --tracking parity1 --drive {there} {dock}"))
        .exits(0)
        .shows(&["NeverReceived"]);

    // One parcel is incomplete; now the other one leaves.
    let send = format!("diskprep s:{staging} --send-parity --state state");
    site.run(&send).exits(0).shows(&["import job seed-1-2: Creating", "(parity)"]);
    site.run(&send).exits(0).shows(&["import job seed-1-2: Creating"]);
    let second = SHIPPING.replace("PARITY-1", "PARITY-2");
    site.run(&format!("diskprep u: --state state {second}")).exits(0).shows(&["seed-1-2"]);
    site.run(&format!("dock receive --tracking parity2 {dock}")).exits(0);
    // What has arrived of the other job is read first.
    let rebuild = format!("dock import --job seed-1-2 {dock} --drive {}", s(parity));
    site.run(&rebuild).exits(13).tells(&["has its turn when", &there]);
    site.run(&format!("dock import --job seed-1 {dock} --drive {}", s(data[1]))).exits(0);
    site.run(&rebuild).exits(0).shows(&[&format!("drive {lost}: "), "rebuilt from"]);
    site.run(&format!("dock return --job seed-1-2 {dock}")).exits(0).shows(&["Completed"]);
    site.run(&format!("dock return --job seed-1 {dock}")).exits(0).shows(&["Closed"]);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    restic_is_content("parity_job", &vault);
}

#[test]
fn parity_that_travels_already_cannot_be_sent_again() {
    let site = site();
    let all: [_; 3] = site.place.drives();
    let staging = s(&site.place.path("staging")).to_owned();
    let three = all.iter().map(|drive| s(drive)).collect::<Vec<_>>().join(" ");
    site.run(&format!(
        "diskprep s:{staging} --capacity 30M --parity 1 --state state --drive {three}"
    ))
    .exits(0);
    site.run(&format!("diskprep s:{staging} --send-parity --state state"))
        .exits(1)
        .tells(&["--hold-parity"]);
}

#[test]
fn a_set_that_is_to_have_fewer_drives_by_now_ends_with_what_it_has_and_the_rest_is_the_next() {
    let site = site();
    let [d0, d1, d2, d3] = site.place.drives();
    let staging = s(&site.place.path("staging")).to_owned();
    let prepare = |drives: &[&Path], more: &str| {
        let drives: Vec<&str> = drives.iter().map(|drive| s(drive)).collect();
        let given = if drives.is_empty() { "" } else { "--drive" };
        let words = format!("diskprep s:{staging} --json --capacity 20M --state state {more}");
        site.run(&format!("{words} {given} {}", drives.join(" ")))
    };
    // One pack fits onto each; three drives are wanted together, and two are sealed.
    prepare(&[&d0, &d1], "--set-drives 3").exits(13);
    let sealed = |drive: &Path| drive.join("packmule/manifest").exists();
    assert!(sealed(&d0) && sealed(&d1));
    // By now one is to be a set: a further one is not taken into this.
    prepare(&[&d2], "--set-drives 1").exits(1).tells(&["at most 1 drives"]);
    assert_eq!(std::fs::read_dir(&d2).unwrap().count(), 0);
    let said = prepare(&[], "--set-drives 1").exits(13);
    assert_eq!(said.object("summary")["job"], "seed-1");
    assert_eq!(drives(&said).len(), 2, "{}", said.stdout);
    let mut jobs = vec!["seed-1".to_owned()];
    for drive in [&d2, &d3] {
        let said = prepare(&[drive], "");
        jobs.push(said.object("summary")["job"].as_str().unwrap().to_owned());
        if said.code == 0 {
            break;
        }
    }
    for (number, job) in jobs.iter().enumerate() {
        let shipping = SHIPPING.replace("PARITY-1", &format!("SET-{number}"));
        site.run(&format!("diskprep u: --job {job} --state state {shipping}")).exits(0);
    }
    let dock = "--credentials dock.json --state dock-state";
    for (number, job) in jobs.iter().enumerate().rev() {
        site.run(&format!("dock receive --tracking set{number} {dock}")).exits(0);
        let all = [&d0, &d1, &d2, &d3].map(|drive| s(drive));
        let own = if number == 0 { all[..2].join(" ") } else { all[number + 1].to_owned() };
        site.run(&format!("dock import --job {job} {dock} --drive {own}")).exits(0);
    }
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
}
