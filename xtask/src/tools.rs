//! Programs that tests run beside our own, and how to get them on Debian. Never removes anything.

use crate::process::{output, say, status};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that some test needs.
struct Tool {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "restic",
        package: "restic",
        why: "the oracle: what we write it must read, what it writes we must read",
    },
    Tool { program: "cryptsetup", package: "cryptsetup-bin", why: "drives are encrypted by it" },
    Tool { program: "openssl", package: "openssl", why: "the other side of every PKCS#12" },
    Tool {
        program: "python3",
        package: "python3",
        why: "calls OpenSSL where its command line has no word for it",
    },
    Tool {
        program: "mkfs.btrfs",
        package: "btrfs-progs",
        why: "backups from snapshots need a file system that has some",
    },
    Tool { program: "sfdisk", package: "fdisk", why: "drives are partitioned by it" },
];

/// Installs what is missing where that is possible, and says what stays missing and why.
///
/// Never fails: a test that needs a missing program says so itself, as a skip.
pub(crate) fn install_missing() {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !is_installed(tool.program)).collect();
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    say(&format!("tests need packages that are not installed: {}", packages.join(" ")));
    if let Err(why) = install(&packages) {
        say(&format!("cannot install them: {why:#}"));
        for tool in missing.iter().filter(|tool| !is_installed(tool.program)) {
            say(&format!("  missing: {} (package {}): {}", tool.program, tool.package, tool.why));
        }
        say(&format!("  as root: apt-get install {}", packages.join(" ")));
    }
}

/// Installs Debian's packages of those names.
///
/// # Errors
/// When this is no Debian, we may not, or it fails.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    anyhow::ensure!(is_installed("apt-get"), "there is no apt-get here");
    anyhow::ensure!(is_root()?, "that takes root");
    if apt_get("install", packages)? {
        return Ok(());
    }
    // A fresh machine has no package lists yet.
    anyhow::ensure!(apt_get("update", &[])?, "apt-get update failed");
    anyhow::ensure!(apt_get("install", packages)?, "apt-get install failed");
    Ok(())
}

fn apt_get(action: &str, packages: &[&str]) -> anyhow::Result<bool> {
    let mut command = Command::new("apt-get");
    command.args(["--yes", "--quiet"]).arg(action).args(packages);
    if action == "install" {
        command.arg("--no-install-recommends");
    }
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    Ok(status(&mut command)?.success())
}

/// Whether we may install.
pub(crate) fn is_root() -> anyhow::Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Whether a program is where a shell, or root's shell, looks for it.
pub(crate) fn is_installed(program: &str) -> bool {
    installed(program).is_some()
}

/// Where a shell, or root's shell, finds a program.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // mkfs lives where an ordinary user's PATH does not look.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name_only() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-anywhere"));
    }

    #[test]
    fn each_tool_says_why_it_is_needed() {
        assert!(TOOLS.iter().all(|tool| !tool.why.is_empty() && !tool.package.contains(' ')));
    }
}
