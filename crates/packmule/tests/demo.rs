//! The demo from outside: what its summary names is there, and is what stock restic says it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PACKMULE: &str = env!("CARGO_BIN_EXE_packmule");

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A source with spaces in its name, a file larger than a chunk, links, and names that are no text.
fn source(folder: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let source = folder.join("the source");
    std::fs::create_dir_all(source.join("deep/er")).unwrap();
    for n in 0..40 {
        std::fs::write(
            source.join(format!("deep/file {n}")),
            noise(n, 20_000 + 1000 * usize::try_from(n).unwrap()),
        )
        .unwrap();
    }
    std::fs::write(source.join("large"), noise(99, 30 << 20)).unwrap();
    std::fs::write(source.join("empty"), b"").unwrap();
    std::fs::hard_link(source.join("large"), source.join("deep/er/same")).unwrap();
    std::os::unix::fs::symlink("../large", source.join("deep/link")).unwrap();
    std::fs::write(source.join(std::ffi::OsStr::from_bytes(b"\xff name")), b"x").unwrap();
    source
}

fn restic(repository: &Path, password_file: &str, arguments: &[&str]) -> Output {
    Command::new("restic")
        .args(["--no-cache", "--no-lock", "-r"])
        .arg(repository)
        .args(["--password-file", password_file])
        .args(arguments)
        .output()
        .unwrap()
}

fn same(left: &Path, right: &Path) {
    let mut differences = backup::compare(left, right).unwrap().differences;
    differences.retain(|difference| difference.path != Path::new("."));
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn the_journey_leaves_what_its_summary_names() {
    let folder = tempfile::tempdir().unwrap();
    let given = source(folder.path());
    let untouched = folder.path().join("untouched");
    let copied = Command::new("cp").arg("-a").arg(&given).arg(&untouched).status().unwrap();
    assert!(copied.success());
    let work = folder.path().join("work folder");
    let output = Command::new(PACKMULE)
        .args(["demo", "--json", "--keep", "--source"])
        .arg(&given)
        .arg("--workdir")
        .arg(&work)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().all(|line| line["message_type"].is_string()));
    let summary = lines.last().unwrap();
    assert_eq!(summary["message_type"], "summary");
    same(&untouched, &given);

    let text = |field: &str| summary[field].as_str().unwrap().to_owned();
    let password_file = text("password_file");
    // What the drives brought lies in the storage account as a repository of its own.
    let landed = work.join("server/objects/accounts/seedaccount/seeds");
    let landed = std::fs::read_dir(landed).unwrap().next().unwrap().unwrap().path();
    for repository in [&text("vault"), &text("staging"), landed.to_str().unwrap()] {
        let checked = restic(Path::new(repository), &password_file, &["check", "--read-data"]);
        assert!(
            checked.status.success(),
            "{repository}: {}",
            String::from_utf8_lossy(&checked.stderr)
        );
    }
    let drives = summary["drives"].as_array().unwrap();
    assert!(drives.len() >= 2, "{} drives", drives.len());
    for drive in drives {
        assert!(drive["objects"].as_u64().unwrap() > 0 && drive["bytes"].as_u64().unwrap() > 0);
        let verified = Command::new(PACKMULE)
            .args(["seed", "verify", "--drive", drive["path"].as_str().unwrap()])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    let points = summary["recovery_points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    for point in points {
        let id = point["id"].as_str().unwrap();
        let target = folder.path().join(id);
        let vault = PathBuf::from(text("vault"));
        let restored =
            restic(&vault, &password_file, &["restore", id, "--target", &target.to_string_lossy()]);
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        let source = point["source"].as_str().unwrap();
        same(
            Path::new(point["source_copy"].as_str().unwrap()),
            &target.join(source.strip_prefix('/').unwrap()),
        );
    }
}

#[test]
fn a_lost_and_a_damaged_drive_are_rebuilt_and_it_is_said_from_where() {
    let folder = tempfile::tempdir().unwrap();
    let given = source(folder.path());
    let work = folder.path().join("work");
    let output = Command::new(PACKMULE)
        .args(["demo", "--json", "--keep", "--lose-drive", "--damage", "--source"])
        .arg(&given)
        .arg("--workdir")
        .arg(&work)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let label = seed::inspect(&work.join("lost")).unwrap().unwrap().body;
    let rebuilt = summary["rebuilt"].as_array().unwrap();
    assert_eq!(rebuilt.len(), 1, "{rebuilt:?}");
    let drives = rebuilt[0]["drives"].as_array().unwrap();
    assert!(drives.iter().any(|drive| drive["driveId"] == label.serial.as_str()), "{drives:?}");
    assert_eq!(drives.len(), 2, "the lost one, and the damaged one");
    assert!(rebuilt[0]["from"].as_array().unwrap().len() >= 2, "both parity drives");
    let (vault, password) = (summary["vault"].as_str().unwrap(), &summary["password_file"]);
    let checked = restic(Path::new(vault), password.as_str().unwrap(), &["check", "--read-data"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_work_folder_that_holds_something_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious"), b"x").unwrap();
    let output = Command::new(PACKMULE)
        .args(["demo", "--workdir"])
        .arg(folder.path())
        .args(["--source", "/usr/share/doc"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
