//! Recovery points of a vault, by drive, through an export job and by the commands alone: asked for by the key holder,
//! written by a dock that has no key, read by stock restic in place.
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
use support::served::Server;
use support::{
    Place, Said, names_are_right, restic, restic_is_content, restics, s, same, signal, until, walk,
};

const SHIPPING: &str = "--yes --carrier FedEx --tracking EXPORT-1 --recipient R --street S --city C --postal-code 1 --country NO --phone 1 --email r@example.org";

struct Site {
    server: Server,
    place: Place,
    source: PathBuf,
    /// Of the two states of the source, in order.
    snapshots: Vec<String>,
}

impl Site {
    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// What a dock says, with the credentials and the state of that one.
    fn dock(&self, words: &str) -> Said {
        self.run(&format!("dock {words} --credentials dock.json --state dock-state"))
    }

    fn admin(&self) -> &str {
        s(Box::leak(self.server.admin().into_boxed_path()))
    }

    /// Asks for an export, and sends empty drives of these numbers.
    fn ask_and_ship(&self, snapshot: &str, more: &str, drives: &[&str]) {
        self.run(&format!(
            "export create restore-1 {snapshot} --storage-account seedacct --state state {more}"
        ))
        .exits(0)
        .shows(&["1 snapshots need", "restore-1: Creating"]);
        self.run(&format!("job ship restore-1 --agent-state state {SHIPPING}")).exits(0);
        let named: Vec<String> = drives.iter().map(|drive| format!("--drive {drive}")).collect();
        self.dock(&format!("receive --tracking export1 {}", named.join(" "))).exits(0);
    }

    /// What is wanted in a folder is asked for by a further job, written onto that drive, and taken in from there.
    fn ask_again(&self, into: &str, job: &str, signer: &str) {
        let missing = self.run(&format!("seed missing --json --into {into}")).exits(13);
        let wanted = missing.objects().iter().filter(|it| it["message_type"] == "missing").count();
        let (list, drive) = (self.place.path("missing"), self.place.folder(job));
        fs::write(&list, &missing.stdout).unwrap();
        let again = format!("export again {job} --wanted missing --storage-account seedacct");
        self.run(&format!("{again} --state state --dry-run")).exits(0);
        self.run(&format!("job show {job} --agent-state state")).exits(1);
        // Twice is once.
        for _ in 0..2 {
            let said = self.run(&format!("{again} --state state")).exits(0);
            said.shows(&[&format!("{wanted} objects"), &format!("{job}: Creating")]);
        }
        let shipping = SHIPPING.replace("EXPORT-1", job);
        self.run(&format!("job ship {job} --agent-state state {shipping}")).exits(0);
        self.dock(&format!("receive --tracking {job} --drive SN-{job}")).exits(0);
        let given = format!("--job {job} --drive {} --serial SN-{job}", s(&drive));
        self.run(&format!("dock export {given} --credentials dock.json --state other-state"))
            .exits(1)
            .tells(&["go on at that dock"]);
        self.dock(&format!("export {given}")).exits(0);
        self.dock(&format!("return --job {job}")).exits(0).shows(&[": Completed"]);
        let files = walk(&drive.join("repositories")).into_iter().filter(|it| it.is_file());
        let count = files.count();
        assert!(count == wanted || count == wanted + 1, "just that, and the config: {count}");
        let given = format!("--drive {} --into {into} --signer {signer}", s(&drive));
        self.run(&format!("seed import {given}")).exits(0).shows(&["complete and published"]);
    }

    fn signer(&self, job: &str) -> String {
        let shown = self.run(&format!("job show {job} --agent-state state")).exits(0);
        let signer = shown.stdout.split("drives are signed by ").nth(1).unwrap();
        signer.split_whitespace().next().unwrap().to_owned()
    }

    /// By stock restic: whole, with that recovery point alone, and as the source was then.
    fn has_come(&self, into: &str, snapshot: &str) {
        let into = self.place.path(into);
        restic_is_content("export_job", &into);
        for program in restics("export_job") {
            restic(&program, &into, &["check", "--read-data", "--no-lock"]).exits(0);
            let listed = restic(&program, &into, &["snapshots", "--json", "--no-lock"]).exits(0);
            let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
            assert_eq!(listed.as_array().unwrap().len(), 1);
            assert_eq!(listed[0]["id"], snapshot);
            let target = self.place.path("by-restic");
            let restore = ["restore", snapshot, "--no-lock", "--target", s(&target)];
            restic(&program, &into, &restore).exits(0);
            let then = target.join(self.source.strip_prefix("/").unwrap());
            assert_eq!(fs::metadata(then.join("noise")).unwrap().len(), 36 << 20);
            assert!(then.join("text").exists() && then.join("folder").exists());
            fs::remove_dir_all(target).unwrap();
        }
    }

    /// The repository on a drive.
    fn on(&self, drive: &Path) -> PathBuf {
        let repositories = fs::read_dir(drive.join("repositories")).unwrap();
        repositories.map(|entry| entry.unwrap().path()).next().unwrap()
    }
}

/// A vault with two recovery points that share no file.
fn site(bytes: usize) -> Site {
    let (server, place) = (Server::start(), Place::new());
    let source = place.source("source", bytes);
    let mut site = Site { server, place, source, snapshots: Vec::new() };
    for words in [
        "storage-account create seedacct",
        "vault create offices",
        "vault credentials offices --for fs01 -o offices.json",
        "dock credentials dock -o dock.json",
    ] {
        site.run(&format!("{words} --server {}", s(&site.server.admin()))).exits(0);
    }
    site.run("agent register --credentials offices.json --state state").exits(0);
    site.run(&format!("group create files --path {} --state state", s(&site.source))).exits(0);
    for n in 0..2 {
        if n == 1 {
            let more = site.place.source("more", 6 << 20);
            fs::copy(more.join("noise"), site.source.join("noise")).unwrap();
            fs::remove_file(site.source.join("text")).unwrap();
            fs::remove_dir_all(site.source.join("folder")).unwrap();
        }
        site.run("backup now files --state state").exits(0);
    }
    let listed = site.run("recovery-point list files --json --state state").exits(0);
    let points = listed.objects().into_iter().filter(|it| it["message_type"] == "recovery_point");
    site.snapshots = points.map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(site.snapshots.len(), 2, "{}", listed.stdout);
    site
}

#[test]
fn a_recovery_point_of_a_vault_comes_by_drive_and_stock_restic_reads_it_in_place() {
    let site = site(12 << 20);
    let (drive, spare) = (site.place.folder("d1"), site.place.folder("d2"));
    site.run("export create restore-1 latest --storage-account seedacct --dry-run --state state")
        .exits(0)
        .shows(&["1 snapshots need"]);
    site.run("job show restore-1 --agent-state state").exits(1);
    site.ask_and_ship("latest", "", &["E1", "E2"]);
    // Nothing of it is taken in.
    site.dock("import --job restore-1 --drive d1").exits(1).tells(&["dock export --job restore-1"]);
    let given = format!("--drive {} {} --serial E1 E2", s(&drive), s(&spare));
    let said = site.dock(&format!("export --job restore-1 {given}")).exits(0);
    said.shows(&["every object of the seed is on a sealed drive", "restore-1: Packaging, 100 %"]);
    assert_eq!(fs::read_dir(&spare).unwrap().count(), 0, "one drive is enough");
    // Again: it is done already.
    site.dock(&format!("export --job restore-1 {given}")).exits(0);
    site.dock("return --job restore-1").exits(0).shows(&["restore-1: Completed"]);

    // Alone and in place, without anything of ours: one recovery point, and nothing of the other.
    let alone = site.on(&drive);
    names_are_right(&alone);
    let packs =
        |root: &Path| walk(&root.join("data")).into_iter().filter(|it| it.is_file()).count();
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    assert!(packs(&alone) < packs(&vault));
    for program in restics("export_job") {
        restic(&program, &alone, &["check", "--read-data", "--no-lock"]).exits(0);
        let listed = restic(&program, &alone, &["snapshots", "--json", "--no-lock"]).exits(0);
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1);
        assert_eq!(listed[0]["id"], site.snapshots[1].as_str());
        let target = site.place.path("by-restic");
        restic(&program, &alone, &["restore", "latest", "--no-lock", "--target", s(&target)])
            .exits(0);
        same(&site.source, &target.join(site.source.strip_prefix("/").unwrap()));
        fs::remove_dir_all(target).unwrap();
    }
    // The owner hears whose signature to expect, and compares.
    let signer = site.signer("restore-1");
    let wrong = "0123-4567-89ab-cdef-0123-4567-89ab-cdef";
    let import = |signer: &str| {
        site.run(&format!("seed import --drive {} --into into --signer {signer}", s(&drive)))
    };
    assert_ne!(import(wrong).code, 0);
    import(&signer).exits(0);
    restic_is_content("export_job", &site.place.path("into"));
    site.run("job keys restore-1 --agent-state state").exits(0).tells(&["none of its drives"]);
    // The vault publishes nothing for it, and the next backup goes on as ever.
    site.run("backup now files --state state").exits(0);
    // As Azure's clients see it.
    let listed = site.run(&format!("job list --json --server {}", site.admin())).exits(0);
    let job = listed.object("import_job");
    assert_eq!((&job["jobType"], &job["export"]["complete"]), (&"Export".into(), &true.into()));
    assert_eq!(job["export"]["snapshots"][0], site.snapshots[1].as_str());
    // What has happened to the drives can be proven.
    let id = job["seed"]["id"].as_str().unwrap();
    let log = site.run(&format!("custody show {id} --server {}", site.admin())).exits(0);
    for what in ["received", "formatted", "written", "sealed", "returned"] {
        assert!(log.stdout.contains(what), "{what} in {}", log.stdout);
    }
}

#[test]
fn a_dock_that_is_killed_goes_on_and_drives_that_run_out_are_added_to() {
    let site = site(36 << 20);
    let (d1, d2, d3) = (site.place.folder("d1"), site.place.folder("d2"), site.place.folder("d3"));
    let first = &site.snapshots[0];
    site.ask_and_ship(first, "--parity 1", &["E1"]);
    let small = "--capacity 30M --credentials dock.json --state dock-state";
    // Killed in the middle of the first drive.
    let words = format!(
        "dock export --job restore-1 --drive {} --serial E1 --limit-rate 8M {small}",
        s(&d1)
    );
    let mut child = site.place.start(&words.split_whitespace().collect::<Vec<_>>());
    until("a pack is on the drive", || {
        walk(&d1.join("repositories")).into_iter().find(|it| s(it).contains("/data/"))
    });
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert!(!d1.join("packmule/manifest").exists());
    let one = format!("--drive {} --serial E1", s(&d1));
    // 36 MB do not fit onto one drive of 30.
    let said = site.run(&format!("dock export --job restore-1 {one} {small}")).exits(13);
    said.shows(&["are on no drive yet"]);
    // Two more that were in no package: the second for data, the third for parity.
    let rest = format!("--drive {} {} --serial E2 E3", s(&d2), s(&d3));
    let done = site.run(&format!("dock export --job restore-1 {rest} {small} --json")).exits(0);
    assert_eq!(done.object("import_job")["export"]["complete"], true);
    let roles: Vec<_> = done.objects();
    let roles: Vec<_> = roles.iter().filter(|it| it["message_type"] == "drive").collect();
    assert_eq!(roles.iter().filter(|it| it["role"] == "parity").count(), 1);
    site.dock("return --job restore-1").exits(0).shows(&["restore-1: Completed"]);
    // One data drive is lost on the way home.
    let is_parity = |drive: &Path| {
        let label = seed::inspect(drive).unwrap().unwrap().body;
        !label.role.is_data()
    };
    let all = [d1, d2, d3];
    let lost = all.iter().position(|drive| !is_parity(drive)).unwrap();
    let left: Vec<&str> =
        all.iter().enumerate().filter(|(n, _)| *n != lost).map(|(_, drive)| s(drive)).collect();
    site.run(&format!("seed import --into into --drive {}", left.join(" "))).exits(0);
    restic_is_content("export_job", &site.place.path("into"));
    site.place.run(&["repo", "restore", "-r", "into", "latest", "--target", "restored"]).exits(0);
}

#[test]
fn nothing_is_written_for_a_job_that_is_not_at_the_dock_or_that_another_dock_writes() {
    let site = site(12 << 20);
    let drive = site.place.folder("d1");
    let export = |state: &str| {
        site.run(&format!(
            "dock export --job restore-1 --drive {} --serial E1 --credentials dock.json --state {state}",
            s(&drive)
        ))
    };
    assert_ne!(export("dock-state").code, 0);
    let create = "export create restore-1 latest --storage-account seedacct --state state";
    site.run(create).exits(0);
    // The same again is the same; another choice under its name is not.
    site.run(create).exits(0);
    let first = &site.snapshots[0];
    site.run(&format!("export create restore-1 {first} --storage-account seedacct --state state"))
        .exits(1)
        .tells(&["choose another name"]);
    export("dock-state").exits(1).tells(&["has not shipped empty drives"]);
    site.run(&format!("job ship restore-1 --agent-state state {SHIPPING}")).exits(0);
    export("dock-state").exits(1).tells(&["receive its package first"]);
    site.dock("receive --tracking export1").exits(1).tells(&["lists no drives"]);
    site.dock("receive --tracking export1 --drive E1").exits(0);
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);
    export("dock-state").exits(0);
    export("other-state").exits(1).tells(&["go on at that dock"]);
    site.run("job cancel restore-1 --agent-state state").exits(1);
}

#[test]
fn more_than_a_jobs_drives_hold_is_asked_for_in_several_jobs_each_of_which_is_enough_for_itself() {
    let site = site(36 << 20);
    let all = site.snapshots.join(" ");
    let create = format!(
        "export create restore-1 {all} --storage-account seedacct --state state --capacity 42M --set-drives 1"
    );
    let parts = |said: &Said| -> Vec<serde_json::Value> {
        let objects = said.objects().into_iter();
        objects.filter(|it| it["message_type"] == "export_part").collect()
    };
    // The plan says which jobs there are, and what is on which drive, and asks for nothing.
    let plan = parts(&site.run(&format!("{create} --dry-run --json")).exits(0));
    assert_eq!(plan.len(), 2, "{plan:?}");
    for part in &plan {
        let drives = part["drives"].as_array().unwrap();
        assert_eq!((drives.len(), part["snapshots"].as_array().unwrap().len()), (1, 1));
        assert!(drives[0]["bytes"].as_u64().unwrap() >= part["bytes"].as_u64().unwrap());
    }
    site.run("job show restore-1 --agent-state state").exits(1);
    let one = format!("{create} --dry-run").replace("42M", "90M");
    assert_eq!(parts(&site.run(&format!("{one} --json")).exits(0)).len(), 1);
    let small = format!("{create} --dry-run").replace("42M", "4M");
    site.run(&small).exits(1).tells(&["fits no drive of that size"]);
    site.run(&format!("{create} --dry-run --parity 1")).exits(1).tells(&["none for data"]);
    // A name among theirs that is taken is found before the first of them is made.
    site.run("export create other-2 latest --storage-account seedacct --state state").exits(0);
    let other = create.replace("restore-1", "other");
    site.run(&other).exits(1).tells(&["the name other-2 is taken"]);
    site.run("job show other --agent-state state").exits(1);

    let said = site.run(&create).exits(0);
    said.shows(&["restore-1: 1 recovery points", "drive 1: ", "restore-1-2: Creating"]);
    // Again it is the same, however large drives are by now; another choice needs another name.
    site.run(&create.replace("42M", "90M")).exits(0).shows(&["restore-1-2: Creating"]);
    let other = create.replace(&site.snapshots[0], "");
    site.run(&other).exits(1).tells(&["choose another name"]);

    let mut signer = String::new();
    for (number, part) in plan.iter().enumerate() {
        let (job, drive) = (part["job"].as_str().unwrap(), format!("d{number}"));
        let folder = site.place.folder(&drive);
        let shipping = SHIPPING.replace("EXPORT-1", &format!("EXPORT-1{number}"));
        site.run(&format!("job ship {job} --agent-state state {shipping}")).exits(0);
        site.dock(&format!("receive --tracking export1{number} --drive E{number}")).exits(0);
        let given = format!("--drive {} --serial E{number} --capacity 45M", s(&folder));
        site.dock(&format!("export --job {job} {given}")).exits(0);
        site.dock(&format!("return --job {job}")).exits(0).shows(&[": Completed"]);
        signer = site.signer(job);

        // By itself: stock restic in place, and taken in.
        let alone = site.on(&folder);
        for program in restics("export_job") {
            restic(&program, &alone, &["check", "--read-data", "--no-lock"]).exits(0);
            let listed = restic(&program, &alone, &["snapshots", "--json", "--no-lock"]).exits(0);
            let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
            assert_eq!(listed.as_array().unwrap().len(), 1);
            assert_eq!(listed[0]["id"], part["snapshots"][0]);
        }
        let into = format!("alone{number}");
        site.run(&format!("seed import --drive {} --into {into} --signer {signer}", s(&folder)))
            .exits(0);
        restic_is_content("export_job", &site.place.path(&into));

        // What is on the drive is in its copy log, as a data centre leaves one for an import.
        let log = site.server.data().join(format!(
            "objects/accounts/seedacct/waimportexport/{job}/E{number}.copylog.jsonl"
        ));
        let log = fs::read_to_string(&log).unwrap();
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (last, objects) = lines.split_last().unwrap();
        assert_eq!(last["summary"]["objects"], objects.len());
        assert_eq!((&last["summary"]["failed"], &last["summary"]["job"]), (&0.into(), &job.into()));
        let mut named: Vec<PathBuf> = objects
            .iter()
            .inspect(|line| assert_eq!(line["status"], "Completed", "{line}"))
            .map(|line| folder.join("repositories").join(line["name"].as_str().unwrap()))
            .collect();
        named.sort();
        let mut there: Vec<PathBuf> = walk(&folder.join("repositories"));
        there.retain(|it| it.is_file());
        there.sort();
        assert_eq!(named, there);
    }
    // Together: the drives of both jobs, in one call.
    let both = format!("--drive {} {}", s(&site.place.path("d0")), s(&site.place.path("d1")));
    site.run(&format!("seed import {both} --into both --signer {signer}")).exits(0);
    let both = site.place.path("both");
    restic_is_content("export_job", &both);
    let target = site.place.path("restored-both");
    site.place
        .run(&["repo", "restore", "-r", "both", &site.snapshots[1], "--target", s(&target)])
        .exits(0);
    same(&site.source, &target.join(site.source.strip_prefix("/").unwrap()));
    for program in restics("export_job") {
        restic(&program, &both, &["check", "--read-data", "--no-lock"]).exits(0);
        let listed = restic(&program, &both, &["snapshots", "--json", "--no-lock"]).exits(0);
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_recovery_point_that_is_more_than_a_jobs_drives_comes_by_several_jobs_in_any_order() {
    let site = site(36 << 20);
    let first = &site.snapshots[0];
    let create = format!(
        "export create restore-1 {first} --storage-account seedacct --state state --capacity 30M --parity 1 --set-drives 2"
    );
    let plan = site.run(&format!("{create} --dry-run --json")).exits(0).objects();
    let plan: Vec<_> = plan.iter().filter(|it| it["message_type"] == "export_part").collect();
    assert_eq!(plan.len(), 2, "{plan:?}");
    assert_eq!((&plan[1]["part"], &plan[1]["parts"]), (&2.into(), &2.into()));
    site.run(&create).exits(0).shows(&["part 1 of 2 of a recovery point", "restore-1-2: Creating"]);
    // Again it is the same.
    site.run(&create).exits(0).shows(&["restore-1-2: Creating"]);
    let jobs = ["restore-1", "restore-1-2"];
    let mut drives: Vec<Vec<PathBuf>> = Vec::new();
    let mut signer = String::new();
    // The second one is written first.
    for (number, job) in jobs.iter().enumerate().rev() {
        let shipping = SHIPPING.replace("EXPORT-1", &format!("EXPORT-1{number}"));
        site.run(&format!("job ship {job} --agent-state state {shipping}")).exits(0);
        let serials = format!("E{number}1 E{number}2");
        site.dock(&format!(
            "receive --tracking export1{number} --drive {}",
            serials.replace(' ', " --drive ")
        ))
        .exits(0);
        let own: Vec<PathBuf> =
            (1..3).map(|n| site.place.folder(&format!("d{number}{n}"))).collect();
        let given =
            format!("--drive {} {} --serial {serials} --capacity 32M", s(&own[0]), s(&own[1]));
        if number == 0 {
            // Drives of one list are written by one dock.
            site.run(&format!(
                "dock export --job {job} {given} --credentials dock.json --state other-state"
            ))
            .exits(1)
            .tells(&["go on at that dock"]);
        }
        site.dock(&format!("export --job {job} {given}")).exits(0);
        site.dock(&format!("return --job {job}")).exits(0).shows(&[": Completed"]);
        let shown = site.run(&format!("job show {job} --agent-state state")).exits(0);
        let said = shown.stdout.split("drives are signed by ").nth(1).unwrap();
        signer = said.split_whitespace().next().unwrap().to_owned();
        drives.push(own);
    }
    drives.reverse();
    let packs = |drives: &[PathBuf]| -> std::collections::BTreeSet<_> {
        let files = drives.iter().flat_map(|it| walk(&it.join("repositories")));
        files
            .filter(|it| s(it).contains("/data/") && it.is_file())
            .map(|it| it.file_name().unwrap().to_owned())
            .collect()
    };
    assert!(packs(&drives[0]).is_disjoint(&packs(&drives[1])), "each pack travels once");

    // One alone is nothing yet, and says what is missing; a data drive of the other is lost on its way.
    let import = |given: &[PathBuf]| {
        let given: Vec<&str> = given.iter().map(|it| s(it)).collect();
        site.run(&format!("seed import --drive {} --into into --signer {signer}", given.join(" ")))
    };
    import(&drives[1]).exits(13).shows(&[
        "export job restore-1, 1 of 2",
        "not here",
        "job show restore-1",
    ]);
    assert!(!site.place.path("into/config").exists());
    site.run("seed missing --into into").exits(13).shows(&["export job restore-1, 1 of 2"]);
    let is_data = |it: &&PathBuf| seed::inspect(it).unwrap().unwrap().body.role.is_data();
    let lost = drives[0].iter().find(is_data).unwrap();
    fs::remove_dir_all(lost).unwrap();
    let left: Vec<PathBuf> = drives[0].iter().filter(|it| *it != lost).cloned().collect();
    import(&left).exits(0).shows(&["rebuilt", "complete and published"]);
    site.has_come("into", first);

    // Of another one both drives of the first job are lost: what they had comes once more, by a job of its own.
    let given: Vec<&str> = drives[1].iter().map(|it| s(it)).collect();
    let given = format!("--drive {} --into again --signer {signer}", given.join(" "));
    site.run(&format!("seed import {given}")).exits(13);
    site.ask_again("again", "restore-2", &signer);
    site.has_come("again", first);
}

#[test]
fn what_did_not_arrive_of_an_export_comes_on_a_further_drive_or_over_the_network() {
    let site = site(36 << 20);
    let first = site.snapshots[0].clone();
    let drives = [site.place.folder("d1"), site.place.folder("d2")];
    site.ask_and_ship(&first, "", &["E1", "E2"]);
    let given = format!("--drive {} {} --serial E1 E2", s(&drives[0]), s(&drives[1]));
    site.dock(&format!("export --job restore-1 {given} --capacity 30M")).exits(0);
    site.dock("return --job restore-1").exits(0).shows(&["restore-1: Completed"]);
    let signer = site.signer("restore-1");
    for (at, drive) in drives.iter().enumerate() {
        // The other one never came home.
        let (by_drive, by_network) = (format!("by-drive-{at}"), format!("by-network-{at}"));
        for into in [&by_drive, &by_network] {
            let given = format!("--drive {} --into {into} --signer {signer}", s(drive));
            site.run(&format!("seed import {given}")).exits(13);
        }
        site.ask_again(&by_drive, &format!("restore-again-{at}"), &signer);
        site.has_come(&by_drive, &first);
        let fetch = format!("export fetch --into {by_network} --state state");
        site.run(&fetch).exits(0).shows(&["fetched", "complete and published"]);
        site.has_come(&by_network, &first);
        site.run(&fetch).exits(0).shows(&["nothing is missing"]);
    }
    // Of something else, or of nothing that was asked for here, nothing is asked for again.
    fs::write(site.place.path("none"), "{\"message_type\":\"summary\"}\n").unwrap();
    let again = "export again restore-9 --storage-account seedacct --state state --wanted";
    site.run(&format!("{again} none")).exits(1).tells(&["names nothing that is missing"]);
    let line = |seed: &str| {
        let pack = "ab".repeat(32);
        format!(
            "{{\"message_type\":\"missing\",\"seed\":\"{seed}\",\"object\":\"data/ab/{pack}\",\"length\":1}}\n"
        )
    };
    fs::write(site.place.path("foreign"), line(&"ee".repeat(16))).unwrap();
    site.run(&format!("{again} foreign")).exits(1).tells(&["state directory"]);
}
