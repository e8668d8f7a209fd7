//! Backups from snapshots by the binary: killed in the middle, the next one removes what was left, and nothing else.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::served::Server;
use support::trees::Rng;
use support::{Place, restic, s, same, until};

/// A btrfs, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(test: &str, place: &Place) -> Option<Self> {
        if !support::is_root() {
            support::skip(test, "only root may mount a file system");
            return None;
        }
        let (image, mount) = (place.path("image"), place.folder("disk"));
        File::create(&image).unwrap().set_len(512 << 20).unwrap();
        for words in
            [vec!["mkfs.btrfs", "-q", s(&image)], vec!["mount", "-o", "loop", s(&image), s(&mount)]]
        {
            let ran = Command::new(words[0]).args(&words[1..]).output();
            let said = match ran {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(cause) => format!("{}: {cause}", words[0]),
            };
            support::skip(test, said);
            return None;
        }
        Some(Self(mount))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn btrfs(words: &[&str]) {
    assert!(Command::new("btrfs").args(words).stdout(Stdio::null()).status().unwrap().success());
}

#[test]
fn what_a_killed_backup_leaves_is_removed_by_the_next_one_and_nothing_else_is() {
    let place = Place::new();
    let test =
        "snapshot::what_a_killed_backup_leaves_is_removed_by_the_next_one_and_nothing_else_is";
    let Some(disk) = Disk::mount(test, &place) else { return };
    let source = disk.0.join("data");
    fs::create_dir(&source).unwrap();
    let mut rng = Rng::new(7);
    for n in 0..6 {
        fs::write(source.join(format!("{n}")), rng.bytes(12 << 20)).unwrap();
    }
    let repository = place.repository("repository");
    let words =
        ["repo", "backup", "--json", "-r", s(&repository), "--snapshot", "require", s(&source)];
    let folder = disk.0.join(".packmule-snapshots");
    for _ in 0..3 {
        let mut command = place.packmule(&words);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let before = entries(&folder);
        until("snapshot", || {
            let now = entries(&folder);
            now.into_iter().find(|path| !before.contains(path) && path.join("data").is_dir())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        // The one before is gone, the one of this run is there.
        assert_eq!(entries(&folder).len(), 1);
    }
    let notes = place.path(".local/state/packmule/snapshots");
    assert_eq!(entries(&notes).len(), 1);
    // Somebody else's, one of another agent with a name like ours, and a note that names what is not ours.
    let others = ["somebody-elses", "packmule-0123456789abcdef"].map(|name| folder.join(name));
    others.iter().for_each(|path| btrfs(&["subvolume", "create", s(path)]));
    let victim = disk.0.join("victim");
    btrfs(&["subvolume", "create", s(&victim)]);
    let lie = format!("packmule snapshot 1\n{}", s(&victim));
    fs::write(notes.join("packmule-00000000deadbeef"), lie).unwrap();
    let said = place.run(&words[..2].iter().chain(&words[3..]).collect::<Vec<_>>()).exits(0);
    said.tells(&["was cut off, was removed", "not ours"]);
    let mut left = entries(&folder);
    left.sort();
    assert_eq!(left, [&others[1], &others[0]].map(Clone::clone));
    assert!(victim.is_dir());
    place
        .run(&[
            "repo",
            "restore",
            "-r",
            s(&repository),
            &format!("latest:{}", s(&source)),
            "--target",
            "out",
        ])
        .exits(0);
    same(&source, &place.path("out"));
    for (number, program) in support::restics(test).iter().enumerate() {
        let target = place.path(&format!("restic{number}"));
        restic(program, &repository, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&source, &target.join(source.strip_prefix("/").unwrap()));
    }
}

#[test]
fn a_group_that_requires_snapshots_is_backed_up_from_one_or_not_at_all() {
    let place = Place::new();
    let test = "snapshot::a_group_that_requires_snapshots_is_backed_up_from_one_or_not_at_all";
    let Some(disk) = Disk::mount(test, &place) else { return };
    let source = disk.0.join("data");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "before").unwrap();
    let server = Server::start();
    let admin = s(&server.admin()).to_owned();
    let run = |words: &str| place.run(&words.split_whitespace().collect::<Vec<_>>());
    run(&format!("vault create offices --server {admin}")).exits(0);
    run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}")).exits(0);
    run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    run(&format!("group create files --path {} --state state", s(&source))).exits(0);
    run("group set files --snapshot require --state state")
        .exits(0)
        .shows(&["snapshots", "require"]);
    run("backup now files --state state").exits(0);
    let folder = disk.0.join(".packmule-snapshots");
    assert!(folder.is_dir() && entries(&folder).is_empty());
    let first = run("backup now files --json --state state").exits(0).object("summary");
    assert_eq!((&first["files_unmodified"], &first["data_blobs"]), (&1.into(), &0.into()));
    run("restore files --target out --state state").exits(0);
    same(&source, &place.path("out").join(source.strip_prefix("/").unwrap()));
    // On a file system without snapshots.
    let plain = Path::new("/dev/shm");
    run(&format!("group create shm --path {} --state state", s(plain))).exits(0);
    run("group set shm --snapshot require --state state").exits(0);
    run("backup now shm --state state").exits(1).tells(&["no snapshot of /dev/shm", "auto"]);
}

/// What brings a program to rest, and lets it go on as soon as its files are held.
#[test]
fn the_command_after_a_backup_runs_while_the_snapshot_is_there_when_it_is_told_so() {
    let place = Place::new();
    let test =
        "snapshot::the_command_after_a_backup_runs_while_the_snapshot_is_there_when_it_is_told_so";
    let Some(disk) = Disk::mount(test, &place) else { return };
    let source = disk.0.join("data");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "at rest").unwrap();
    let server = Server::start();
    let admin = s(&server.admin()).to_owned();
    let run = |words: &str| place.run(&words.split_whitespace().collect::<Vec<_>>());
    run(&format!("vault create offices --server {admin}")).exits(0);
    run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}")).exits(0);
    run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    let (folder, seen) = (disk.0.join(".packmule-snapshots"), place.path("seen"));
    // It writes again at once, and counts the snapshots that there are.
    let thaw = format!(
        "rm {0}/frozen; echo on > {0}/file; ls {1} | wc -l > {2}",
        s(&source),
        s(&folder),
        s(&seen)
    );
    let group = |when: &str, more: &str| {
        let text = format!(
            "[[group]]\nname = 'files'\npaths = [{0:?}]\nsnapshot = 'require'\nbefore = {{ command = ['touch', '{1}/frozen'] }}\nafter = {{ command = ['sh', '-c', {2:?}], when = '{when}' }}\n",
            s(&source),
            s(&source),
            format!("{thaw}{more}"),
        );
        fs::write(place.path("agent.toml"), text).unwrap();
        run("group apply agent.toml --state state").exits(0);
        fs::write(source.join("file"), "at rest").unwrap();
    };
    group("snapshot", "");
    run("backup now files --state state").exits(0);
    assert_eq!(fs::read_to_string(&seen).unwrap().trim(), "1", "the snapshot is there");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "on\n");
    run("restore files --target out --state state").exits(0);
    let restored = place.path("out").join(source.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored.join("file")).unwrap(), "at rest");
    assert!(restored.join("frozen").exists());
    // By default, when it is through; and what fails is said, with the recovery point made.
    group("end", "; exit 3");
    run("backup now files --state state").exits(3).tells(&["after", "exit status: 3"]);
    assert_eq!(fs::read_to_string(&seen).unwrap().trim(), "0", "the snapshot is gone");
    group("snapshot", "; exit 3");
    run("backup now files --state state").exits(3).tells(&["after", "exit status: 3"]);
    assert_eq!(fs::read_to_string(&seen).unwrap().trim(), "1");
    assert!(entries(&folder).is_empty());
    run("agent jobs files --state state").exits(0).shows(&["partial", "done"]);
}
