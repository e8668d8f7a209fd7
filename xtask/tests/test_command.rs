//! `xtask test`, run as a program over a small workspace of its own, with the real cargo.
//! Never touches the tree it lives in.
#![expect(clippy::unwrap_used, reason = "a test stops on a surprise, its helpers too")]

use std::path::Path;
use std::process::Command;

const REPORTING: &str = r#"//! Toy.

/// Adds.
///
/// ```
/// assert_eq!(toy::add(1, 2), 3);
/// ```
pub fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[cfg(test)]
mod tests {
    #[test]
    fn passes() {}

    #[test]
    fn needs_a_drive() {
        use std::io::Write as _;
        let Some(path) = std::env::var_os("PACKMULE_SKIPS") else { return };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(b"SKIP: toy::needs_a_drive: no drive\n").unwrap();
    }
}
"#;

fn workspace(library: &str, skips: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let full = folder.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, text).unwrap();
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"toy\"]\n");
    write("toy/Cargo.toml", "[package]\nname = \"toy\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    write("toy/src/lib.rs", library);
    write("xtask/skips.txt", skips);
    folder
}

/// Runs `xtask test ARGS` over `root`: whether it succeeded, and what it printed.
fn run(root: &Path, args: &[&str], cargo: Option<&Path>) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("test").args(args).current_dir(root);
    command.env("CARGO_MANIFEST_DIR", root.join("xtask"));
    command.env("CARGO_TARGET_DIR", root.join("target")).env("CARGO_NET_OFFLINE", "true");
    if let Some(cargo) = cargo {
        command.env("CARGO", cargo);
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), printed)
}

fn last_line(printed: &str) -> &str {
    printed.lines().last().unwrap_or_default()
}

#[test]
fn a_skip_fails_the_run_until_it_is_allowed() {
    let folder = workspace(REPORTING, "");
    let (passed, printed) = run(folder.path(), &["--no-install"], None);
    assert!(!passed, "{printed}");
    assert!(printed.contains("skipped: toy::needs_a_drive: no drive"), "{printed}");
    assert_eq!(last_line(&printed), "2 passed, 0 failed, 1 skipped");

    let allowed = "toy::needs_a_drive: no machine of ours has a spare drive\n";
    std::fs::write(folder.path().join("xtask/skips.txt"), allowed).unwrap();
    let (passed, printed) = run(folder.path(), &["--no-install"], None);
    assert!(passed, "{printed}");
    assert_eq!(last_line(&printed), "2 passed, 0 failed, 1 skipped");
}

#[test]
fn a_failing_test_fails_the_run() {
    let failing = REPORTING.replace("fn passes() {}", "fn passes() { panic!() }");
    let folder = workspace(&failing, "");
    let (passed, printed) = run(folder.path(), &["--quick"], None);
    assert!(!passed, "{printed}");
    assert_eq!(last_line(&printed), "0 passed, 1 failed, 1 skipped");
}

#[test]
fn code_that_does_not_compile_fails_the_run() {
    let folder = workspace("//! Toy.\nfn broken( {}\n", "");
    assert!(!run(folder.path(), &["--quick"], None).0);
}

#[test]
fn a_filter_that_matches_nothing_fails_the_run() {
    let folder = workspace(REPORTING, "");
    let (passed, printed) = run(folder.path(), &["--quick", "no_such_test"], None);
    assert!(!passed && printed.contains("no test ran"), "{printed}");
    let (passed, printed) = run(folder.path(), &["--quick", "passes"], None);
    assert!(passed, "{printed}");
    assert_eq!(last_line(&printed), "1 passed, 0 failed, 0 skipped");
}

#[test]
fn a_virtual_machine_that_cannot_be_had_is_a_skip() {
    let folder = workspace(REPORTING, "");
    let binary = folder.path().join("target/debug/packmule");
    std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
    std::fs::write(binary, "").unwrap();
    let args = ["--no-install", "vm::list"];
    let (passed, printed) = run(folder.path(), &args, None);
    assert!(!passed && printed.contains("skipped: vm::list: "), "{printed}");
    assert_eq!(last_line(&printed), "0 passed, 0 failed, 1 skipped");

    std::fs::write(folder.path().join("xtask/skips.txt"), "vm::list: no QEMU\n").unwrap();
    let (passed, printed) = run(folder.path(), &args, None);
    assert!(passed, "{printed}");
}

#[cfg(unix)]
#[test]
fn without_nextest_the_account_is_the_same() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = workspace(REPORTING, "toy::needs_a_drive: no spare drive\n");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let wrapper = folder.path().join("cargo");
    let script = format!("#!/bin/sh\n[ \"$1\" = nextest ] && exit 101\nexec \"{cargo}\" \"$@\"\n");
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (passed, printed) = run(folder.path(), &["--no-install"], Some(&wrapper));
    assert!(passed, "{printed}");
    assert!(printed.contains("running 2 tests"), "{printed}");
    assert_eq!(last_line(&printed), "2 passed, 0 failed, 1 skipped");
}
