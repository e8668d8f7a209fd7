//! A protection group without a staging location, by the commands alone: backed up onto its drives by diskprep, shipped, taken in,
//! published, and restored by stock restic; killed on the way, and with a drive pulled half-way.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use support::served::Server;
use support::{
    Place, Said, restic, restic_is_content, restics, s, same, signal, stop, until, walk,
};

const SHIPPING: &str = "--yes --carrier FedEx --recipient R --street S --city C --postal-code 1 --country NO --phone 1 --email r@example.org";

struct Site {
    server: Server,
    place: Place,
}

impl Site {
    /// A registered server with 40 MB of noise in files of 2 MB.
    fn registered() -> Self {
        let site = Self { server: Server::start(), place: Place::new() };
        for words in [
            "vault create offices",
            "storage-account create seedacct",
            "vault credentials offices --for fs01 -o offices.json",
            "dock credentials dock -o dock.json",
        ] {
            site.run(&format!("{words} --server {}", s(&site.server.admin()))).exits(0);
        }
        let source = site.place.source("source", 2 << 20);
        let mut rng = support::trees::Rng::new(11);
        for n in 0..20 {
            let folder = source.join(format!("folder{}", n % 3));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("file{n}")), rng.bytes(2 << 20)).unwrap();
        }
        site.run("agent register --credentials offices.json --state state").exits(0);
        site
    }

    /// The same with a group without a staging location.
    fn new() -> Self {
        let site = Self::registered();
        site.run(&site.create("files", "--direct"))
            .exits(0)
            .tells(&["only the source"])
            .shows(&["packmule diskprep --group files"]);
        site
    }

    fn create(&self, name: &str, how: &str) -> String {
        let offline = "--import-job seed-1 --storage-account seedacct --container seeds";
        let source = self.place.path("source");
        format!("group create {name} --path {} {how} {offline} --state state", s(&source))
    }

    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn start(&self, words: &str) -> Child {
        self.place.start(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// Shipped, taken in, published; whole by stock restic, restored by it, and the next backup sends nothing again.
    fn arrives(&self, drives: &[&str]) {
        self.run(&format!(
            "diskprep u: --group files --tracking DIRECT-1 {SHIPPING} --state state"
        ))
        .exits(0);
        // What is new goes at once, though nothing of what travels can be read here.
        std::fs::write(self.place.path("source/since"), "made while the drives travelled").unwrap();
        let since = self.run("backup now files --state state").exits(0);
        since.shows(&["Waiting for Azure Import Job", "nothing of it can be restored before"]);
        let dock = "--credentials dock.json --state dock-state";
        self.run(&format!("dock receive --tracking direct1 {dock}")).exits(0);
        self.run(&format!("dock import --job seed-1 {dock} --drive {}", drives.join(" "))).exits(0);
        let said = self.run("backup now files --json --state state").exits(0);
        assert!(said.object("summary")["receipt_objects"].as_u64().unwrap() > 4, "{}", said.stdout);
        assert_eq!(said.object("summary")["data_blobs"], 0, "{}", said.stdout);
        let vault = self.server.data().join("objects/vaults/offices/fs01/repository");
        restic_is_content("direct_job", &vault);
        let source = self.place.path("source");
        for (n, program) in restics("direct_job").iter().enumerate() {
            let target = self.place.folder(&format!("by-restic{n}"));
            restic(program, &vault, &["restore", "latest", "--target", s(&target)]).exits(0);
            same(&target.join(source.strip_prefix("/").unwrap()), &source);
        }
        self.run("recovery-point list files --state state").exits(0).shows(&["in vault"]);
        let admin = s(&self.server.admin()).to_owned();
        let log = self.run(&format!("custody show --server {admin}")).exits(0);
        for word in ["written", "sealed", "handed-over", "ingested", "published"] {
            assert!(log.stdout.contains(word), "{word} in {}", log.stdout);
        }
    }

    /// What is in the vault is content to stock restic, which restores the source from it.
    fn restic_restores(&self) {
        let vault = self.server.data().join("objects/vaults/offices/fs01/repository");
        restic_is_content("direct_job", &vault);
        let source = self.place.path("source");
        for (n, program) in restics("direct_job").iter().enumerate() {
            let target = self.place.folder(&format!("restored{n}"));
            restic(program, &vault, &["restore", "latest", "--target", s(&target)]).exits(0);
            same(&target.join(source.strip_prefix("/").unwrap()), &source);
        }
    }

    fn drive(&self, name: &str) -> PathBuf {
        self.place.folder(name)
    }
}

fn is_sealed(drive: &Path) -> bool {
    drive.join("packmule/manifest").exists()
}

fn packs(drive: &Path) -> usize {
    walk(&drive.join("repositories")).len()
}

const WRITE: &str = "diskprep --group files --state state --json --window 20M";

#[test]
fn drives_come_one_after_the_other_and_the_seed_arrives() {
    let site = Site::new();
    site.run("backup now files --state state").exits(13).shows(&["diskprep --group files"]);
    // Nothing protects it until then, and that is an alert.
    site.run("agent status --state state").exits(3).shows(&["diskprep --group files"]);
    site.run("recovery-point list files --state state").exits(0).shows(&["on the drives alone"]);
    let (first, second) = (site.drive("d1"), site.drive("d2"));
    let dry = site.run(&format!("{WRITE} --drive d1 --capacity 30M --dry-run")).exits(0);
    assert_eq!(dry.object("summary")["files"], 23);
    assert!(packs(&first) == 0 && !site.place.path("state/direct").exists());
    let said = site.run(&format!("{WRITE} --drive d1 --capacity 30M")).exits(13);
    assert_eq!(said.object("summary")["complete"], false);
    assert!(is_sealed(&first));
    site.run("agent status --state state").exits(3).shows(&["straight onto drives"]);
    // It has left by now.
    let said = site.run(&format!("{WRITE} --drive d2 --capacity 60M")).exits(0);
    let summary = said.object("summary");
    assert_eq!((&summary["complete"], &summary["job"]), (&true.into(), &"seed-1".into()));
    assert!(is_sealed(&second));
    let local: u64 = walk(&site.place.path("state/direct"))
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(local < 1 << 20, "there is no staging: {local}");
    let again = site.run(WRITE).exits(0);
    assert_eq!(again.object("summary")["jobs"], summary["jobs"]);
    site.run("recovery-point list files --state state").exits(0).shows(&["seed import"]);
    site.run("restore files --target nowhere --state state").exits(1).tells(&["drives alone"]);
    site.arrives(&["d1", "d2"]);
    let seed = summary["seed"].as_str().unwrap();
    site.run(&format!("agent clean {seed} --state state")).exits(0).shows(&["state/direct"]);
    site.run("backup now files --state state").exits(0);
}

#[test]
fn a_seed_that_nobody_goes_on_with_is_given_up_and_deletions_work_again() {
    let site = Site::new();
    site.drive("d1");
    let said = site.run(&format!("{WRITE} --drive d1")).exits(0);
    let seed = said.object("summary")["seed"].as_str().unwrap().to_owned();
    std::fs::write(site.place.path("source/since"), "made while the drive waited").unwrap();
    site.run("backup now files --state state").exits(0);
    site.run("group set files --keep-last 1 --state state").exits(0);
    site.run("group prune files --state state").exits(1).tells(&["under way", "seed abandon"]);

    let words = format!("seed abandon {seed} --state state");
    let would = site.run(&format!("{words} --dry-run")).exits(0);
    would.shows(&[
        "would be given up",
        "recovery point of files",
        "not restorable any more",
        "1 recovery points that were made while it travelled",
        "import job seed-1 (",
        "would be cancelled",
        "group files: the next backup goes over the network",
    ]);
    site.run(&words).exits(1).tells(&["no terminal", "--yes"]);
    site.run("agent status --state state").exits(0).shows(&["Prepared"]);
    let done = site.run(&format!("{words} --yes --json")).exits(0).object("abandoned");
    assert_eq!((&done["points_since"], &done["dry_run"]), (&1.into(), &false.into()), "{done}");
    assert_eq!(done["jobs"][0]["becomes"], "canceled", "{done}");
    site.run("agent status --state state").exits(0).shows(&["Abandoned", "over the network"]);
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("job show seed-1 --server {admin}")).exits(0).shows(&["Canceled"]);
    site.run(&format!("custody show --server {admin}")).exits(0).shows(&["abandoned"]);

    site.run("backup now files --state state").exits(0);
    std::fs::write(site.place.path("source/later"), "once more").unwrap();
    site.run("backup now files --state state").exits(0);
    site.run("group prune files --state state").exits(0);
    let deletions = site.run(&format!("vault deletions offices --server {admin}")).exits(0);
    deletions.shows(&["fs01", "carried out from"]);
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    for program in restics("direct_job::abandoned") {
        let target = site.place.folder("by-restic");
        restic(&program, &vault, &["restore", "latest", "--target", s(&target)]).exits(0);
        let source = site.place.path("source");
        same(&target.join(source.strip_prefix("/").unwrap()), &source);
        std::fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn killed_again_and_again_it_goes_on_with_what_is_there() {
    let site = Site::new();
    let drive = site.drive("d1");
    let words = format!("{WRITE} --drive d1");
    let mut waits = (1..).map(|n: u64| Duration::from_millis(n * 37 % 900));
    let mut killed = 0;
    let done = loop {
        let mut child = site.start(&words);
        let (begun, wait) = (Instant::now(), waits.next().unwrap());
        while begun.elapsed() < wait && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // Enough of that: it has to come to its end one day.
        if killed < 12 && child.try_wait().unwrap().is_none() {
            killed += 1;
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        break Said::of(child.wait_with_output().unwrap()).exits(0);
    };
    assert!(killed >= 3 && is_sealed(&drive), "{killed}");
    assert_eq!(done.object("summary")["complete"], true);
    let all: u64 = walk(&drive).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(all < 60 << 20, "what was there is gone on with: {all}");
    site.arrives(&["d1"]);
}

#[test]
fn a_drive_pulled_half_way_is_made_up_for_from_the_source() {
    let site = Site::new();
    let (victim, next) = (site.drive("d1"), site.drive("d2"));
    // The first one is larger, and so the first in use.
    let child = site.start(&format!("{WRITE} --drive d1 d2 --capacity 200M,190M"));
    until("a pack is named", || (packs(&victim) > 0).then_some(()));
    // It must not be done before the drive is out.
    stop(&child);
    assert!(!is_sealed(&victim));
    fs::remove_dir_all(&victim).unwrap();
    signal(&child, Signal::CONT);
    let said = Said::of(child.wait_with_output().unwrap()).exits(0);
    assert!(is_sealed(&next) && !is_sealed(&victim), "{}", said.stdout);
    let told = format!("{}{}", said.stdout, said.stderr);
    assert!(told.contains("backed up again"), "{told}");
    site.arrives(&["d2"]);
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_nothing_is_written() {
    let site = Site::new();
    let drive = site.drive("d1");
    fs::write(site.place.path("settings"), "").unwrap();
    for (words, reason) in [
        ("--parity 1", "at least one for data"),
        ("--parity 1 --set-drives 1", "leave none for data"),
        ("--limit-rate 10M", "--limit-rate"),
        ("p:settings", "the source server itself"),
        ("s:/mnt/staging", "not both"),
    ] {
        let said = site.run(&format!("{WRITE} {words} --drive d1")).exits(1);
        let told = format!("{}{}", said.stdout, said.stderr);
        assert!(told.contains(reason), "{words}: {told}");
    }
    site.run(&format!("{WRITE} --drive source/folder")).exits(1).tells(&["lies within"]);
    site.run("diskprep --group nobody --drive d1 --state state").exits(1);
    let other_job = site.create("second", "--direct").replace("seed-1", "seed-9");
    site.run(&other_job).exits(1).tells(&["seed-1"]);
    let staged = site.create("second", "--staging staging");
    site.run(&staged).exits(1).tells(&["straight onto drives"]);
    site.run(&site.create("both", "--staging staging --direct")).exits(2);
    let stranger = site.drive("stranger");
    fs::write(stranger.join("thesis"), "mine").unwrap();
    site.run(&format!("{WRITE} --drive d1 stranger")).exits(13).tells(&["not empty"]);
    assert_eq!((walk(&drive).len(), walk(&stranger).len()), (0, 1));
    assert_eq!(walk(&site.place.path("source/folder")).len(), 1);
}

/// The serial number that a drive's label has.
fn serial(drive: &Path) -> String {
    let trust = seed::inspect(drive).unwrap().unwrap();
    trust.body.serial.to_string()
}

#[test]
fn with_parity_the_job_comes_last_and_a_lost_drive_is_rebuilt_at_the_dock() {
    let site = Site::new();
    let drives: Vec<PathBuf> = (1..4).map(|n| site.drive(&format!("d{n}"))).collect();
    let said = site.run(&format!("{WRITE} --drive d1 d2 --capacity 40M --parity 1")).exits(13);
    assert_eq!(said.object("summary")["complete"], false);
    // The number of parity drives is remembered.
    let said = site.run(&format!("{WRITE} --drive d1 d2 d3 --capacity 40M")).exits(0);
    let summary = said.object("summary");
    assert_eq!((&summary["complete"], &summary["job"]), (&true.into(), &"seed-1".into()));
    assert!(drives.iter().all(|drive| is_sealed(drive)), "{}", said.stdout);
    assert_eq!(packs(&drives[2]), 0, "the last one has the parity");
    site.run(&format!("diskprep u: --group files --tracking DIRECT-1 {SHIPPING} --state state"))
        .exits(0);
    let dock = "--credentials dock.json --state dock-state";
    let lost = serial(&drives[0]);
    let there: Vec<String> = drives[1..].iter().map(|drive| serial(drive)).collect();
    site.run(&format!(
        "dock receive --tracking direct1 {dock} --drive {}",
        there.join(" --drive ")
    ))
    .exits(0);
    site.run(&format!("dock import --job seed-1 {dock} --drive d2 d3")).exits(0);
    let said = site.run("backup now files --json --state state").exits(0);
    assert!(said.object("summary")["receipt_objects"].as_u64().unwrap() > 4, "{}", said.stdout);
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    restic_is_content("direct_job", &vault);
    let source = site.place.path("source");
    for (n, program) in restics("direct_job").iter().enumerate() {
        let target = site.place.folder(&format!("by-restic{n}"));
        restic(program, &vault, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&target.join(source.strip_prefix("/").unwrap()), &source);
    }
    let admin = s(&site.server.admin()).to_owned();
    let log = site.run(&format!("custody show --server {admin}")).exits(0);
    let repaired = |it: &str| it.contains("repaired") && it.contains(&lost);
    assert!(log.stdout.lines().any(repaired), "{}", log.stdout);
}

/// The drive was sealed and its parity was not made yet: nothing but the source has what was on it.
#[test]
fn a_data_drive_lost_before_its_parity_is_gone_without_and_made_up_for_from_the_source() {
    let site = Site::new();
    for n in 1..5 {
        site.drive(&format!("d{n}"));
    }
    let said = site.run(&format!("{WRITE} --drive d1 d2 --capacity 40M --parity 1")).exits(13);
    assert_eq!(said.object("summary")["complete"], false);
    let sealed =
        ["d1", "d2"].map(|name| site.place.path(name)).into_iter().find(|it| is_sealed(it));
    let (lost, number) = (serial(&sealed.clone().unwrap()), sealed.unwrap());
    fs::remove_dir_all(&number).unwrap();
    let left: Vec<&str> =
        ["d1", "d2", "d3", "d4"].into_iter().filter(|it| site.place.path(it) != number).collect();
    let with =
        |more: &str| site.run(&format!("{WRITE} --drive {} --capacity 40M {more}", left.join(" ")));
    with("").exits(1).tells(&["--parity 0"]);
    let said = with("--parity 0").exits(0);
    let summary = said.object("summary");
    assert_eq!((&summary["complete"], &summary["job"]), (&true.into(), &"seed-1".into()));
    site.run(&format!("diskprep u: --group files --tracking DIRECT-1 {SHIPPING} --state state"))
        .exits(0);
    let dock = "--credentials dock.json --state dock-state";
    let there: Vec<&str> =
        left.iter().copied().filter(|name| is_sealed(&site.place.path(name))).collect();
    let serials: Vec<String> = there.iter().map(|name| serial(&site.place.path(name))).collect();
    assert!(!serials.is_empty() && !serials.contains(&lost), "{serials:?}");
    site.run(&format!(
        "dock receive --tracking direct1 {dock} --drive {}",
        serials.join(" --drive ")
    ))
    .exits(0)
    .shows(&["NeverReceived"]);
    site.run(&format!("dock import --job seed-1 {dock} --drive {}", there.join(" "))).exits(0);
    // What was on the lost drive alone is read from the source once more, and sent.
    let said = site.run("backup now files --json --state state").exits(0);
    assert!(said.object("summary")["receipt_objects"].as_u64().unwrap() > 4, "{}", said.stdout);
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    restic_is_content("direct_job", &vault);
    let source = site.place.path("source");
    for (n, program) in restics("direct_job").iter().enumerate() {
        let target = site.place.folder(&format!("by-restic{n}"));
        restic(program, &vault, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&target.join(source.strip_prefix("/").unwrap()), &source);
    }
}

/// Neither drives nor staging: the source alone, by the commands.
#[test]
fn a_direct_seed_whose_parcel_is_lost_is_made_anew_from_the_source_onto_another_drive() {
    let site = Site::new();
    let (first, second) = (site.drive("d1"), site.drive("d2"));
    site.run(&format!("{WRITE} --drive d1")).exits(0);
    let snapshots = |folder: PathBuf| -> Vec<_> {
        walk(&folder).iter().map(|it| it.file_name().unwrap().to_owned()).collect()
    };
    let before = snapshots(site.place.path("state/direct/seed-1/repository/snapshots"));
    site.run(&format!("diskprep u: --group files --tracking DIRECT-1 {SHIPPING} --state state"))
        .exits(0);
    site.run("job cancel seed-1 --agent-state state").exits(0);
    fs::remove_dir_all(&first).unwrap();
    let said = site.run("backup now files --wanted drive --state state");
    assert!(said.stdout.contains("packmule seed refill"), "{}", said.stdout);
    site.run("seed refill --dry-run --state state").exits(0).shows(&["packs are gone"]);
    site.run("seed refill --packs source/packs --state state").exits(1);
    let packs = site.place.path("packs");
    let said =
        site.run(&format!("seed refill --packs {} --json --state state", s(&packs))).exits(0);
    assert_eq!(said.object("summary")["revision"], 1);
    assert!(self::packs_in(&packs) > 0);
    site.run("diskprep --group files --missing --drive d2 --state state").exits(0);
    assert!(is_sealed(&second));
    let ship = "diskprep u: --job seed-1-2 --tracking DIRECT-2";
    site.run(&format!("{ship} {SHIPPING} --state state")).exits(0);
    let dock = "--credentials dock.json --state dock-state";
    site.run(&format!("dock receive --tracking direct2 {dock}")).exits(0);
    site.run(&format!("dock import --job seed-1-2 {dock} --drive d2")).exits(0);
    site.run("backup now files --wanted drive --state state")
        .exits(0)
        .shows(&["receipt is verified"]);
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    assert!(before.iter().all(|it| snapshots(vault.join("snapshots")).contains(it)));
    restic_is_content("direct_job", &vault);
    let source = site.place.path("source");
    for (n, program) in restics("direct_job").iter().enumerate() {
        let target = site.place.folder(&format!("by-restic{n}"));
        restic(program, &vault, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&target.join(source.strip_prefix("/").unwrap()), &source);
    }
    let seed = said.object("summary")["seed"].as_str().unwrap().to_owned();
    site.run(&format!("agent clean {seed} --state state")).exits(0);
    assert_eq!(self::packs_in(&packs), 0);
}

fn packs_in(folder: &Path) -> usize {
    walk(&folder.join("data")).into_iter().filter(|it| it.is_file()).count()
}

#[test]
fn parity_of_a_direct_seed_stays_at_home_and_is_sent_when_it_is_needed() {
    let site = Site::new();
    let drives: Vec<PathBuf> = (1..4).map(|n| site.drive(&format!("d{n}"))).collect();
    let write = format!("{WRITE} --drive d1 d2 d3 --capacity 40M --parity 1 --hold-parity");
    let said = site.run(&write).exits(0);
    assert_eq!(said.object("summary")["job"], "seed-1");
    let (data, parity): (Vec<&PathBuf>, Vec<&PathBuf>) =
        drives.iter().partition(|drive| seed::inspect(drive).unwrap().unwrap().body.role.is_data());
    let (lost, there) = (serial(data[0]), serial(data[1]));
    let admin = s(&site.server.admin()).to_owned();
    let job = site.run(&format!("job show seed-1 --server {admin}")).exits(0);
    assert!(!job.stdout.contains(&serial(parity[0])), "{}", job.stdout);
    site.run(&format!("diskprep u: --group files --tracking DIRECT-1 {SHIPPING} --state state"))
        .exits(0);
    let dock = "--credentials dock.json --state dock-state";
    site.run(&format!("dock receive --tracking direct1 {dock} --drive {there}"))
        .exits(0)
        .shows(&["NeverReceived"]);
    fs::remove_dir_all(data[0]).unwrap();
    let send = "diskprep --group files --send-parity --state state";
    site.run(send).exits(0).shows(&["import job seed-1-2: Creating", "(parity)"]);
    site.run(send).exits(0).shows(&["import job seed-1-2: Creating"]);
    let ship = format!("diskprep u: --job seed-1-2 --tracking DIRECT-2 {SHIPPING} --state state");
    site.run(&ship).exits(0);
    site.run(&format!("dock receive --tracking direct2 {dock}")).exits(0);
    site.run(&format!("dock import --job seed-1 {dock} --drive {}", s(data[1]))).exits(0);
    site.run(&format!("dock import --job seed-1-2 {dock} --drive {}", s(parity[0])))
        .exits(0)
        .shows(&[&format!("drive {lost}: "), "rebuilt from"]);
    let said = site.run("backup now files --json --state state").exits(0);
    assert!(said.object("summary")["receipt_objects"].as_u64().unwrap() > 4, "{}", said.stdout);
    // Nothing was made anew: parity had it all.
    assert!(!said.stdout.contains("refilled"), "{}", said.stdout);
    site.restic_restores();
}

#[test]
fn sets_of_fewer_drives_get_a_job_each_and_one_that_is_lost_is_made_up_for() {
    let site = Site::new();
    for name in ["d1", "d2", "d3"] {
        site.drive(name);
    }
    site.run(&format!("{WRITE} --set-drives 1 --drive d1 --capacity 30M")).exits(13);
    // How many was remembered.
    let said = site.run(&format!("{WRITE} --drive d2 d3 --capacity 60M")).exits(0);
    assert_eq!(said.object("summary")["jobs"], serde_json::json!(["seed-1", "seed-1-2"]));
    for (job, number) in [("seed-1", "DIRECT-1"), ("seed-1-2", "DIRECT-2")] {
        let words = format!("diskprep u: --job {job} --tracking {number} {SHIPPING}");
        site.run(&format!("{words} --state state")).exits(0);
    }
    let second = if is_sealed(&site.place.path("d2")) { "d2" } else { "d3" };
    let dock = "--credentials dock.json --state dock-state";
    site.run(&format!("dock receive --tracking direct2 {dock}")).exits(0);
    site.run(&format!("dock import --job seed-1-2 {dock} --drive {second}")).exits(0);
    // The other parcel does not come: what it had is read from the source again, by the next drive.
    fs::remove_dir_all(site.place.path("d1")).unwrap();
    site.run("job cancel seed-1 --agent-state state").exits(0);
    site.run("seed send --state state").exits(3);
    let packs = site.place.path("packs");
    site.run(&format!("seed refill --packs {} --state state", s(&packs))).exits(0);
    site.run("seed send --state state").exits(0);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.restic_restores();
}

/// The repository is in the vault; what is new since travels straight onto drives, one of which is lost.
#[test]
fn the_next_drives_bring_what_the_vault_lacks_without_staging() {
    let site = Site::registered();
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    site.run("group create files --path source --state state").exits(0);
    site.run("backup now files --state state").exits(0);
    let there = packs_in(&vault);
    let mut rng = support::trees::Rng::new(12);
    for n in 0..10 {
        fs::write(site.place.path(&format!("source/new{n}")), rng.bytes(2 << 20)).unwrap();
    }
    let drives: Vec<PathBuf> = (1..4).map(|n| site.drive(&format!("d{n}"))).collect();
    let how = "--import-job seed-1 --storage-account seedacct --container seeds --state state";
    site.run(&format!("group catch-up files --direct {how}")).exits(0).tells(&["only the source"]);
    site.run("backup now files --state state").exits(13).shows(&["diskprep --group files"]);
    let write = format!("{WRITE} --drive d1 d2 d3 --capacity 20M --parity 1");
    let said = site.run(&write).exits(0);
    let all: u64 =
        drives.iter().flat_map(|it| walk(&it.join("repositories"))).map(|it| len(&it)).sum();
    assert!((20 << 20..26 << 20).contains(&all), "what is new, and no more: {all}");
    assert_eq!((&said.object("summary")["job"], packs_in(&vault)), (&"seed-1".into(), there));
    // What the vault has can be restored all the time.
    site.run("recovery-point list files --state state").exits(0).shows(&["in vault"]);
    site.run("restore files --target before --state state").exits(0);
    site.run(&format!("diskprep u: --group files --tracking DIRECT-1 {SHIPPING} --state state"))
        .exits(0);
    fs::write(site.place.path("source/since"), "made while the drives travelled").unwrap();
    site.run("backup now files --state state").exits(0);
    let fullest = drives.iter().max_by_key(|it| packs(it)).unwrap();
    let left: Vec<&PathBuf> = drives.iter().filter(|it| *it != fullest).collect();
    let there: Vec<String> = left.iter().map(|it| serial(it)).collect();
    fs::remove_dir_all(fullest).unwrap();
    let dock = "--credentials dock.json --state dock-state";
    let receive =
        format!("dock receive --tracking direct1 {dock} --drive {}", there.join(" --drive "));
    site.run(&receive).exits(0);
    let drives = format!("{} {}", s(left[0]), s(left[1]));
    site.run(&format!("dock import --job seed-1 {dock} --drive {drives}"))
        .exits(0)
        .shows(&["rebuilt from"]);
    site.run("backup now files --state state").exits(0).shows(&["receipt is verified"]);
    site.restic_restores();
    let seed = said.object("summary")["seed"].as_str().unwrap().to_owned();
    site.run(&format!("agent clean {seed} --state state")).exits(0);
}

fn len(path: &Path) -> u64 {
    path.metadata().map_or(0, |it| it.len())
}

/// Two groups onto one set of drives, a drive of which breaks half-way and another one is lost on its way.
#[test]
fn several_groups_travel_together_without_staging() {
    let site = Site::registered();
    let mut rng = support::trees::Rng::new(13);
    for n in 0..6 {
        let folder = site.place.folder("other");
        fs::write(folder.join(format!("file{n}")), rng.bytes(2 << 20)).unwrap();
    }
    // They share what is in this one.
    fs::copy(site.place.path("source/folder0/file0"), site.place.path("other/shared")).unwrap();
    let other = site.place.path("other");
    site.run(&site.create("files", "--direct")).exits(0);
    let second = site.create("more", "--direct").replace(s(&site.place.path("source")), s(&other));
    site.run(&second).exits(0);
    site.run("backup now more --state state").exits(13).shows(&["diskprep --group"]);
    for name in ["d1", "d2", "d3", "d4"] {
        site.drive(name);
    }
    let victim = site.place.path("d1");
    // The first one is larger, and so the first in use.
    let child = site.start(&format!("{WRITE} --drive d1 d2 d3 --capacity 200M,60M,60M"));
    until("packs are named", || (packs(&victim) > 2).then_some(()));
    stop(&child);
    assert!(!is_sealed(&victim));
    fs::remove_dir_all(&victim).unwrap();
    signal(&child, Signal::CONT);
    let said = Said::of(child.wait_with_output().unwrap()).exits(0);
    let summary = said.object("summary");
    assert_eq!((&summary["complete"], &summary["job"]), (&true.into(), &"seed-1".into()));
    assert_eq!(said.object("with_it")["group"], "more");
    let left: Vec<&str> =
        ["d2", "d3"].into_iter().filter(|it| is_sealed(&site.place.path(it))).collect();
    site.run("recovery-point list more --state state").exits(0).shows(&["on the drives"]);
    site.run(&format!("diskprep u: --group more --tracking DIRECT-1 {SHIPPING} --state state"))
        .exits(0);
    // Each goes on meanwhile.
    fs::write(other.join("since"), "made while the drives travelled").unwrap();
    site.run("backup now more --state state").exits(0);
    site.run("backup now files --state state").exits(0);
    let dock = "--credentials dock.json --state dock-state";
    site.run(&format!("dock receive --tracking direct1 {dock}")).exits(0);
    site.run(&format!("dock import --job seed-1 {dock} --drive {}", left.join(" "))).exits(0);
    site.run("backup now more --state state").exits(0).shows(&["receipt is verified"]);
    site.run("backup now files --state state").exits(0);
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    restic_is_content("direct_job", &vault);
    for (n, program) in restics("direct_job").iter().enumerate() {
        for folder in ["source", "other"] {
            let (of, target) =
                (site.place.path(folder), site.place.folder(&format!("{folder}{n}")));
            let words = ["restore", "latest", "--path", s(&of), "--target", s(&target)];
            restic(program, &vault, &words).exits(0);
            same(&target.join(of.strip_prefix("/").unwrap()), &of);
        }
    }
    // One group is told of its own points alone.
    for (group, count) in [("files", 3), ("more", 3)] {
        let listed = site.run(&format!("recovery-point list {group} --json --state state"));
        let points = listed.objects().into_iter();
        let points = points.filter(|it| it["message_type"] == "recovery_point").count();
        assert!(points >= count - 1, "{group}: {points}");
    }
}

/// The disk with the state died while the drives travelled: registered again, the machine finds its seed, and goes on.
#[test]
fn a_machine_that_has_lost_its_state_finds_its_seed_again() {
    let site = Site::new();
    site.drive("d1");
    let said = site.run(&format!("{WRITE} --drive d1")).exits(0);
    let seed = said.object("summary")["seed"].as_str().unwrap().to_owned();
    let ship = format!("diskprep u: --group files --tracking DIRECT-1 {SHIPPING} --state state");
    site.run(&ship).exits(0);
    fs::remove_dir_all(site.place.path("state")).unwrap();
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}")).exits(0);
    let register = "agent register --credentials v.VaultCredentials --name fs01 --state state";
    let said = site.run(&format!("{register} --take-over --yes")).exits(3);
    said.shows(&[&seed, "found again by import job seed-1", "next: packmule group apply"]);
    site.run("seed status --state state").exits(0).shows(&[&seed]);
    site.run("agent status --state state").shows(&[&seed]);
    site.run("seed recover --state state").exits(0).shows(&["no seed of this server"]);
    let source = site.place.path("source");
    site.run(&format!("group create files --path {} --state state", s(&source))).exits(0);
    let said = site.run("backup now files --state state");
    said.shows(&["Waiting for Azure Import Job", "cannot be known"]);
    let dock = "--credentials dock.json --state dock-state";
    site.run(&format!("dock receive --tracking direct1 {dock}")).exits(0);
    site.run(&format!("dock import --job seed-1 {dock} --drive d1")).exits(0);
    let said = site.run("backup now files --json --state state").exits(0);
    assert_eq!(said.object("summary")["data_blobs"], 0, "{}", said.stdout);
    assert!(said.object("summary")["receipt_objects"].as_u64().unwrap() > 4, "{}", said.stdout);
    fs::write(source.join("later"), "an increment").unwrap();
    site.run("backup now files --state state").exits(0);
    site.restic_restores();
}
