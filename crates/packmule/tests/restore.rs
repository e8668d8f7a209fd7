//! `packmule restore` and `repo restore` as people call them: to another place and the original one, by pattern and moment, on
//! another machine, killed and called again, and by somebody who is not root.
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
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::served::Server;
use support::trees::Rng;
use support::{Place, Said, restic, s, same};

/// A repository of a source.
struct Scene {
    place: Place,
    source: PathBuf,
    repository: PathBuf,
}

impl Scene {
    fn new(bytes: usize) -> Self {
        let place = Place::new();
        let source = place.source("source", bytes);
        let repository = place.repository("repository");
        place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
        Self { place, source, repository }
    }

    fn arguments<'a>(&'a self, below: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["--json", "repo", "restore", "-r", s(&self.repository), below], more].concat()
    }

    fn below(&self) -> String {
        format!("latest:{}", s(&self.source))
    }

    fn restore(&self, more: &[&str]) -> Said {
        let below = self.below();
        self.place.run(&self.arguments(&below, more))
    }
}

fn summary(said: &Said) -> Value {
    said.objects().into_iter().find(|it| it["message_type"] == "summary").unwrap()
}

fn inodes(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            found.extend(inodes(&path));
        } else {
            found.insert(path, stat.ino());
        }
    }
    found
}

#[test]
fn a_restore_that_is_killed_again_and_again_ends_as_the_source_and_writes_nothing_twice() {
    let scene = Scene::new(3 << 20);
    let mut rng = Rng::new(20_261_126);
    for n in 0..400 {
        let folder = scene.source.join(format!("many/{}", n % 20));
        fs::create_dir_all(&folder).unwrap();
        let length = usize::try_from(rng.below(90_000)).unwrap();
        fs::write(folder.join(format!("{n}")), rng.bytes(length)).unwrap();
    }
    fs::set_permissions(scene.source.join("many/3"), PermissionsExt::from_mode(0o711)).unwrap();
    scene.place.run(&["repo", "backup", "-r", s(&scene.repository), s(&scene.source)]).exits(0);
    let choices: [&[&str]; 4] =
        [&[], &["--existing", "skip"], &["--existing", "overwrite"], &["--existing", "keep-both"]];
    let mut landed = 0;
    for (number, choice) in choices.iter().enumerate() {
        let target = scene.place.path(&format!("target{number}"));
        let more = [&["--target", s(&target)], *choice].concat();
        let below = scene.below();
        let mut known = BTreeMap::<PathBuf, u64>::new();
        for _ in 0..12 {
            let mut command = scene.place.packmule(&scene.arguments(&below, &more));
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(rng.below(120)));
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                // It was faster: nothing is left to be gone on with.
                fs::remove_dir_all(&target).unwrap();
                known.clear();
                continue;
            }
            landed += 1;
            let there = inodes(&target);
            for (path, inode) in &known {
                assert_eq!(there.get(path), Some(inode), "{} was written again", path.display());
            }
            let named = |path: &PathBuf| !s(path).contains(".packmule-unfinished-");
            known = there.into_iter().filter(|(path, _)| named(path)).collect();
        }
        let before = known.len() as u64;
        let done = scene.restore(&[&more[..], &["--verify"]].concat()).exits(0);
        let summary = summary(&done);
        assert!(summary["same"].as_u64().unwrap() >= before, "{summary} of {before}");
        same(&scene.source, &target);
        let again = scene.restore(
            &[&more[..], &["--existing", "skip"][..2 * usize::from(choice.is_empty())]].concat(),
        );
        assert_eq!(self::summary(&again.exits(0))["bytes_restored"], 0);
    }
    assert!(landed > 10, "only {landed} kills have hit");
    for (number, program) in support::restics("restore::killed_again_and_again").iter().enumerate()
    {
        let target = scene.place.path(&format!("restic{number}"));
        restic(program, &scene.repository, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&target.join(scene.source.strip_prefix("/").unwrap()), &scene.place.path("target0"));
    }
}

#[test]
fn what_a_dry_run_lists_is_done_and_what_is_in_the_way_is_dealt_with_as_said() {
    let scene = Scene::new(100_000);
    let target = scene.place.path("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("text"), "somebody's own").unwrap();
    let to = ["--target", s(&target)];
    scene.restore(&to).exits(1);
    let plain = |more: &[&str]| {
        let below = scene.below();
        let arguments = scene.arguments(&below, &[&to[..], more].concat());
        scene.place.run(&arguments[1..])
    };
    let listed = plain(&["--existing", "skip", "--dry-run"]).exits(0);
    listed.shows(&["keep     ", "make     ", "would restore"]);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    plain(&["--existing", "skip"]).exits(0).shows(&["1 left out"]);
    assert_eq!(fs::read(target.join("text")).unwrap(), b"somebody's own");
    let both = plain(&["--existing", "keep-both"]).exits(0);
    both.shows(&["restored 1 files", "name of their own"]);
    let copy = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path());
    let copy = copy.into_iter().find(|path| s(path).contains("text.restored-")).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), fs::read(scene.source.join("text")).unwrap());
    plain(&["--existing", "overwrite"]).exits(0).shows(&["1 of them replaced something"]);
    fs::remove_file(copy).unwrap();
    same(&scene.source, &target);
}

#[test]
fn one_who_is_not_root_gets_the_data_and_is_told_whose_it_was() {
    if !support::is_root() {
        return support::skip(
            "restore::one_who_is_not_root_gets_the_data",
            "needs root, not to be it",
        );
    }
    let scene = Scene::new(100_000);
    let target = scene.place.path("for-nobody");
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::chown(&target, Some(65_534), Some(65_534)).unwrap();
    // Others may look, all the way down.
    let look = Command::new("chmod").args(["-R", "go+rX"]).arg(&scene.repository).status();
    assert!(look.unwrap().success());
    let binary = scene.place.path("packmule");
    fs::copy(env!("CARGO_BIN_EXE_packmule"), &binary).unwrap();
    fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    let below = scene.below();
    let more = ["--no-lock", "--target", s(&target), "--existing", "skip"];
    let mut command = Command::new(&binary);
    command.args(scene.arguments(&below, &more)).env("PACKMULE_PASSWORD", support::PASSWORD);
    command.env("HOME", &target).current_dir("/");
    let output = command.uid(65_534).gid(65_534).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    let summary = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let summary = summary.into_iter().find(|it| it["message_type"] == "summary").unwrap();
    assert!(summary["owners_not_set"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(
        fs::read(target.join("text")).unwrap(),
        fs::read(scene.source.join("text")).unwrap()
    );
}

/// Registered, with one group over the network, and one recovery point.
struct Site {
    server: Server,
    place: Place,
    source: PathBuf,
}

impl Site {
    fn new() -> Self {
        let server = Server::start();
        let place = Place::new();
        let source = place.source("source", 3 << 20);
        let admin = s(&server.admin()).to_owned();
        let site = Self { server, place, source };
        site.run(&format!("vault create offices --server {admin}")).exits(0);
        site.run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}"))
            .exits(0);
        site.run("agent register --credentials v.VaultCredentials --name fs01 --state state")
            .exits(0);
        let source = s(&site.source).to_owned();
        site.run(&format!("group create files --path {source} --state state")).exits(0);
        site.run("backup now files --state state").exits(0);
        site
    }

    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn restored(&self, target: &str) -> PathBuf {
        self.place.path(target).join(self.source.strip_prefix("/").unwrap())
    }
}

#[test]
fn another_machine_restores_with_the_vaults_credentials_and_the_password() {
    let site = Site::new();
    let other =
        site.run("agent register --credentials v.VaultCredentials --name fs01 --state other");
    other.exits(1).tells(&["fs01"]);
    site.run(
        "agent register --credentials v.VaultCredentials --name fs01 --take-over --yes --state other",
    )
    .exits(0);
    site.run("recovery-point list files --state other").exits(0).shows(&[s(&site.source)]);
    site.run("restore files --target elsewhere --verify --state other").exits(0);
    same(&site.source, &site.restored("elsewhere"));
    let noted = site.run("agent jobs --restores --state other").exits(0);
    noted.shows(&["done", "elsewhere", "0 left out"]);
    // No group needs to be known, and none named.
    site.run("restore --target again --state other").exits(0);
    same(&site.source, &site.restored("again"));
}

#[test]
fn what_travels_is_restored_from_staging_and_what_came_since_with_it() {
    let server = Server::start();
    let place = Place::new();
    let source = place.source("source", 3 << 20);
    let site = Site { server, place, source };
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("storage-account create account --server {admin}")).exits(0);
    site.run(&format!("vault create offices --server {admin}")).exits(0);
    site.run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}")).exits(0);
    site.run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    let (source, staging) = (s(&site.source).to_owned(), site.place.path("staging"));
    let staging = s(&staging);
    site.run(&format!(
        "group create files --path {source} --staging {staging} --import-job job --storage-account account --container seeds --state state"
    ))
    .exits(0);
    site.run("backup now files --state state").exits(0);
    site.run("restore files --target staged --verify --state state").exits(0);
    same(&site.source, &site.restored("staged"));
    let drive = site.place.folder("drive");
    site.run(&format!("diskprep s:{staging} --drive {} --state state", s(&drive))).exits(0);
    fs::write(site.source.join("late"), "while it travels").unwrap();
    site.run("backup now files --state state").exits(0);
    let some = format!("restore files --path {source}/late --target some --state state");
    site.run(&some).exits(0).shows(&["restored 1 files"]);
    assert_eq!(fs::read(site.restored("some").join("late")).unwrap(), b"while it travels");
    site.run("restore files --target some --existing skip --state state").exits(0);
    same(&site.source, &site.restored("some"));
}

#[test]
fn a_moment_names_the_recovery_point_that_was_there_then() {
    let site = Site::new();
    fs::write(site.source.join("late"), "later").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    site.run("backup now files --state state").exits(0);
    let listed = site.run("recovery-point list files --state state --json").exits(0);
    let points: Vec<Value> =
        listed.objects().into_iter().filter(|it| it["message_type"] == "recovery_point").collect();
    let [first, second] = &points[..] else { panic!("{points:?}") };
    let time = first["time"].as_str().unwrap();
    site.run(&format!("restore files --point {time} --target then --state state")).exits(0);
    assert!(!site.restored("then").join("late").exists());
    let now = second["time"].as_str().unwrap();
    site.run(&format!("restore files --point {now} --target now --state state")).exits(0);
    assert!(site.restored("now").join("late").exists());
    site.run("restore files --point 2001-01-01 --target never --state state")
        .exits(1)
        .tells(&["no recovery point"]);
    site.run("restore files --point yesterday --target never --state state").exits(2);
    let slip =
        format!("restore files --path {}/nowhere --target never --state state", s(&site.source));
    site.run(&slip).exits(1).tells(&["nowhere"]);
    let one = format!(
        "restore files --path {}/late --include *.none --target one --state state",
        s(&site.source)
    );
    site.run(&one).exits(0).shows(&["restored 1 files"]);
}

#[test]
fn a_latest_recovery_point_from_the_future_is_restored_and_that_is_said() {
    let site = Site::new();
    let restore =
        |target: &str| site.run(&format!("restore files --target {target} --state state")).exits(0);
    assert!(!restore("before").stderr.contains("future"));
    // As a backup leaves it that was made while the clock was ahead.
    let vault = support::open(&site.server.data().join("objects/vaults/offices/fs01/repository"));
    let mut ahead = vault.snapshots().unwrap().value.pop().unwrap().snapshot;
    ahead.time += jiff::SignedDuration::from_hours(24 * 365);
    let id = vault.save_snapshot(&ahead).unwrap();
    let said = restore("after");
    said.tells(&[&id.short().to_string(), "dated in the future", "recovery-point list"]);
    same(&site.source, &site.restored("after"));
}

#[test]
fn the_original_place_is_restored_to_once_that_is_confirmed() {
    let site = Site::new();
    let kept = site.place.path("kept");
    assert!(Command::new("cp").arg("-a").arg(&site.source).arg(&kept).status().unwrap().success());
    fs::remove_dir_all(site.source.join("folder")).unwrap();
    fs::write(site.source.join("text"), "changed by mistake").unwrap();
    site.run("restore files --original --state state").exits(2).tells(&["--existing"]);
    let asked = site.run("restore files --original --existing overwrite --state state").exits(1);
    asked.tells(&["--dry-run", "--yes"]);
    let planned =
        site.run("restore files --original --existing overwrite --dry-run --state state").exits(0);
    planned.shows(&["replace  ", "make     ", "would restore"]);
    assert_eq!(fs::read(site.source.join("text")).unwrap(), b"changed by mistake");
    site.run("restore files --original --existing overwrite --yes --state state").exits(0);
    same(&kept, &site.source);
    // As after a loss: nothing is there any more.
    fs::remove_dir_all(&site.source).unwrap();
    site.run("restore files --original --existing skip --yes --state state").exits(0);
    same(&kept, &site.source);
}
