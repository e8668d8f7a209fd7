//! Stock rustic as a second judge, in Rust but by other hands: it reads what we write, we read what
//! it writes, each continues the other. What restic judges is elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{PASSWORD, back_up, everything, init, noise, open, restore, same, skip};
use repo::{BlobKind, CheckOptions, Repository};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use store::Folder;

struct Rustic {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Rustic {
    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// With nothing of the surroundings: no profile, no cache.
    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.program)
            .args(["--no-cache", "--no-progress", "-r"])
            .arg(self.repository())
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env("RUSTIC_PASSWORD", PASSWORD)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // A warning does not change how it ends.
        let clean = !said.contains("[ERROR]") && !said.contains("[WARN]");
        assert!(output.status.success() && clean, "rustic {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn check(&self) {
        self.run(&["check", "--read-data"]);
    }

    fn backup(&self, source: &Path, more: &[&str]) {
        self.run(&[&["backup", "--host", "here", source.to_str().unwrap()], more].concat());
    }

    fn restore(&self, point: &str, source: &Path) -> PathBuf {
        let target = self.folder.path().join("target");
        let below = format!("{point}:{}", source.display());
        self.run(&["restore", &below, target.to_str().unwrap()]);
        target
    }
}

/// The test, with one of everything to back up.
fn with_rustic(test: &str, run: impl FnOnce(&Rustic, &Path)) {
    let Some(program) = std::env::var_os("PACKMULE_RUSTIC").map(PathBuf::from) else {
        let test = format!("rustic::{test}");
        return skip(&test, "PACKMULE_RUSTIC names no rustic: `cargo xtask test --with-rustic`");
    };
    let rustic = Rustic { program, folder: tempfile::tempdir().unwrap() };
    let source = rustic.folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    everything(&source);
    run(&rustic, &source);
}

fn ours(rustic: &Rustic) -> Repository {
    open(Arc::new(Folder::new(rustic.repository())))
}

fn new(rustic: &Rustic) -> Repository {
    init(Arc::new(Folder::new(rustic.repository())))
}

fn sound(repository: &Repository) {
    let report = repository.check(CheckOptions { read_data: true, threads: 2 }, &|_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

fn data(repository: &Repository) -> u64 {
    repository.load_index().unwrap().value.count(BlobKind::Data) as u64
}

#[test]
fn rustic_reads_what_we_write() {
    with_rustic("rustic_reads_what_we_write", |rustic, source| {
        let point = back_up(&new(rustic), source).snapshot;
        rustic.check();
        same(source, &rustic.restore(&point.to_hex(), source));
        assert!(rustic.run(&["snapshots"]).contains(&point.short()));
    });
}

#[test]
fn we_read_what_rustic_writes() {
    with_rustic("we_read_what_rustic_writes", |rustic, source| {
        rustic.run(&["init"]);
        rustic.backup(source, &[]);
        let repository = ours(rustic);
        sound(&repository);
        let point = repository.find_snapshot("latest").unwrap().id;
        let target = rustic.folder.path().join("target");
        let outcome = restore(&repository, point, source, &target);
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        same(source, &target);
    });
}

#[test]
fn rustic_continues_in_ours_without_adding_a_blob() {
    with_rustic("rustic_continues_in_ours_without_adding_a_blob", |rustic, source| {
        let repository = new(rustic);
        back_up(&repository, source);
        let before = data(&repository);
        // Reads every file again: the chunks must be the same ones.
        rustic.backup(source, &["--force"]);
        assert_eq!(data(&repository), before, "rustic cut where we did not");
        std::fs::write(source.join("added"), noise(77, 3 << 20)).unwrap();
        rustic.backup(source, &[]);
        assert!(data(&repository) > before);
        sound(&repository);
        let point = repository.find_snapshot("latest").unwrap().id;
        let target = rustic.folder.path().join("target");
        restore(&repository, point, source, &target);
        same(source, &target);
    });
}

#[test]
fn we_continue_in_rustics_without_adding_a_blob() {
    with_rustic("we_continue_in_rustics_without_adding_a_blob", |rustic, source| {
        rustic.run(&["init"]);
        rustic.backup(source, &[]);
        let repository = ours(rustic);
        let before = data(&repository);
        let outcome = back_up(&repository, source);
        assert_eq!((outcome.summary.data_blobs, data(&repository)), (0, before));
        rustic.check();
        same(source, &rustic.restore(&outcome.snapshot.to_hex(), source));
    });
}
