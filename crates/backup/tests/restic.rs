//! Stock restic as the judge: it reads what we write, we read what it writes, each continues the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{PASSWORD, back_up, everything, init, noise, open, restore, same, skip};
use model::ObjectKind;
use repo::{CheckOptions, LockMode, Repository};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use store::Folder;

/// `restic` of the path, and any newer one that the environment names.
fn restics() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("restic")];
    found.extend(std::env::var_os("PACKMULE_RESTIC").map(PathBuf::from));
    found.retain(|program| Command::new(program).arg("version").output().is_ok());
    assert!(
        !found.is_empty(),
        "restic is not installed: run `cargo xtask test`, which installs it"
    );
    found
}

struct Restic<'a> {
    program: &'a Path,
    repository: &'a Path,
}

impl Restic<'_> {
    fn output(&self, arguments: &[&str]) -> Output {
        Command::new(self.program)
            .args(["--no-cache", "-r"])
            .arg(self.repository)
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sound, by restic's fullest check.
    fn check(&self) {
        self.run(&["check", "--read-data"]);
    }

    fn restore(&self, point: &str, target: &Path, source: &Path) -> PathBuf {
        self.run(&["restore", point, "--target", &target.to_string_lossy()]);
        target.join(source.strip_prefix("/").unwrap())
    }
}

fn each(test: impl Fn(&Restic<'_>, &Path, &Path)) {
    for program in restics() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        everything(&source);
        if !keeps_raw_links(&program) {
            std::fs::remove_file(source.join("dangling")).unwrap();
        }
        let repository = folder.path().join("repository");
        test(&Restic { program: &program, repository: &repository }, folder.path(), &source);
    }
}

/// Before 0.16 restic replaced the bytes of a link's target that are not UTF-8.
fn keeps_raw_links(program: &Path) -> bool {
    let version = Command::new(program).arg("version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor.unwrap() >= 16
}

fn ours(repository: &Path) -> Repository {
    open(Arc::new(Folder::new(repository)))
}

fn sound(repository: &Repository) {
    let report = repository.check(CheckOptions { read_data: true, threads: 2 }, &|_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

#[test]
fn a_restic_of_today_is_among_the_judges() {
    let Some(program) = std::env::var_os("PACKMULE_RESTIC").map(PathBuf::from) else {
        let reason = "PACKMULE_RESTIC names no newer restic than the installed one";
        return skip("restic::a_restic_of_today_is_among_the_judges", reason);
    };
    assert!(restics().contains(&program), "{} does not run", program.display());
    assert!(keeps_raw_links(&program), "{} is as old as Debian stable's", program.display());
}

#[test]
fn restic_reads_what_we_write() {
    each(|restic, folder, source| {
        let repository = init(Arc::new(Folder::new(restic.repository)));
        let point = back_up(&repository, source).snapshot;
        restic.check();
        let target = restic.restore(&point.to_hex(), &folder.join("target"), source);
        same(source, &target);
        assert!(restic.run(&["snapshots"]).contains(&point.short()));
    });
}

#[test]
fn we_read_what_restic_writes_in_both_formats() {
    for format in ["1", "2"] {
        each(|restic, folder, source| {
            restic.run(&["init", "--repository-version", format]);
            restic.run(&["backup", &source.to_string_lossy()]);
            let repository = ours(restic.repository);
            sound(&repository);
            let point = repository.find_snapshot("latest").unwrap().id;
            let target = folder.join("target");
            let outcome = restore(&repository, point, source, &target);
            assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
            same(source, &target);
        });
    }
}

#[test]
fn format_1_is_not_written() {
    each(|restic, _, source| {
        restic.run(&["init", "--repository-version", "1"]);
        let repository = ours(restic.repository);
        let refused =
            common::try_back_up(&repository, source, &std::sync::atomic::AtomicBool::new(false));
        assert!(refused.unwrap_err().to_string().contains("format 1"));
        restic.check();
    });
}

#[test]
fn restic_continues_in_ours_without_adding_a_blob() {
    each(|restic, folder, source| {
        let repository = init(Arc::new(Folder::new(restic.repository)));
        back_up(&repository, source);
        let data = |repository: &Repository| {
            repository.load_index().unwrap().value.count(repo::BlobKind::Data)
        };
        let before = data(&repository);
        // Reads every file again: the chunks must be the same ones.
        restic.run(&["backup", "--force", &source.to_string_lossy()]);
        assert_eq!(data(&repository), before, "restic cut where we did not");
        std::fs::write(source.join("added"), noise(77, 3 << 20)).unwrap();
        restic.run(&["backup", &source.to_string_lossy()]);
        sound(&repository);
        let point = repository.find_snapshot("latest").unwrap().id;
        let target = folder.join("target");
        restore(&repository, point, source, &target);
        same(source, &target);
    });
}

#[test]
fn we_continue_in_restics_without_adding_a_blob() {
    each(|restic, folder, source| {
        restic.run(&["init", "--repository-version", "2"]);
        restic.run(&["backup", "--host", "here", &source.to_string_lossy()]);
        let repository = ours(restic.repository);
        let outcome = back_up(&repository, source);
        assert!(outcome.parent.is_some(), "restic's snapshot serves as parent");
        assert_eq!(outcome.summary.data_blobs, 0);
        assert_eq!(outcome.summary.files_unmodified, outcome.summary.total_files_processed);
        // Only folders above the source, whose times others change, may have a new tree.
        assert!(outcome.summary.tree_blobs <= 2, "{} trees differ", outcome.summary.tree_blobs);
        restic.check();
        let point = outcome.snapshot.to_hex();
        let target = restic.restore(&point, &folder.join("target"), source);
        same(source, &target);
    });
}

#[test]
fn locks_are_respected_both_ways() {
    each(|restic, _, source| {
        let repository = init(Arc::new(Folder::new(restic.repository)));
        back_up(&repository, source);
        let exclusive = repository.lock(LockMode::Exclusive).unwrap();
        let refused = restic.output(&["backup", &source.to_string_lossy()]);
        assert!(!refused.status.success(), "restic ignored our exclusive lock");
        drop(exclusive);
        let shared = repository.lock(LockMode::Shared).unwrap();
        restic.run(&["backup", &source.to_string_lossy()]);
        assert!(!restic.output(&["prune"]).status.success(), "restic pruned under our lock");
        drop(shared);
        restic.run(&["prune"]);
        assert_eq!(repository.names(ObjectKind::Lock).unwrap(), []);
        sound(&repository);
    });
}
