//! Programs that judge us and that Debian stable does not have, or must not install: fetched into
//! `target/oracles`, and named to tests by variables. Installs nothing on the machine.

use crate::debian::{self, Apart, Had, complete};
use crate::process::{complain, output, say, status};
use crate::tools::{self, is_installed};
use crate::workspace;
use anyhow::ensure;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a network share is made of. Unpacked only: installed, the server would start by itself.
const SHARE: [(&str, &str); 2] = [("smbd", "samba"), ("smbnetfs", "smbnetfs")];

/// Of one version, so that the same seed makes the same requests.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// A mail server and a proxy, of one version each.
const SERVERS: [&str; 2] = ["aiosmtpd==1.4.6", "proxy.py==2.4.10"];

/// A variable for tests, and the program or folder that it names.
pub(crate) type Named = (&'static str, PathBuf);

/// How much may be done to have the oracles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Packages may be fetched.
    pub(crate) fetch: bool,
    /// rustic may be built, which takes many minutes.
    pub(crate) build_rustic: bool,
    /// The Azure CLI may be fetched, which is 700 MB.
    pub(crate) fetch_azure_cli: bool,
}

/// Has the oracles that can be had with that effort, and names them. What a variable names already
/// is left as it is.
///
/// Never fails: a test without its oracle says so itself, as a skip.
pub(crate) fn prepare(root: &Path, effort: Effort) -> Vec<Named> {
    let unset = kinds(effort).into_iter().filter(|kind| std::env::var_os(kind.variable).is_none());
    unset.filter_map(|kind| Some((kind.variable, kind.have(root)?))).collect()
}

/// The program or folder that `variable` names, already or after that effort for it alone.
pub(crate) fn one(root: &Path, variable: &str, effort: Effort) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from);
    set.or_else(|| kinds(effort).into_iter().find(|kind| kind.variable == variable)?.have(root))
}

/// An oracle, where it lies, and how to get it.
struct Kind {
    variable: &'static str,
    folder: &'static str,
    /// Within the folder.
    program: &'static str,
    get: Had,
}

fn kinds(effort: Effort) -> [Kind; 8] {
    let kind = |variable, folder, program, get| Kind { variable, folder, program, get };
    let share = had(effort.fetch && !has_share(), fetch_share);
    [
        kind("PACKMULE_RESTIC", "restic", "usr/bin/restic", had(effort.fetch, fetch_restic)),
        kind("PACKMULE_SHARE", "share", "", share),
        kind("PACKMULE_RUSTIC", "rustic", "bin/rustic", had(effort.build_rustic, build_rustic)),
        kind(
            "PACKMULE_AZURE_PYTHON",
            "azure-python",
            "bin/python",
            had(effort.fetch, fetch_python),
        ),
        kind("PACKMULE_AZURE_NODE", "azure-node", "", had(effort.fetch, fetch_node)),
        kind(
            "PACKMULE_SCHEMATHESIS",
            "schemathesis",
            "bin/schemathesis",
            had(effort.fetch, |into| fetch_pip(into, &[SCHEMATHESIS])),
        ),
        kind(
            "PACKMULE_SERVERS_PYTHON",
            "servers-python",
            "bin/python",
            had(effort.fetch, |into| fetch_pip(into, &SERVERS)),
        ),
        kind(
            "PACKMULE_AZURE_CLI",
            "azure-cli",
            "bin",
            had(effort.fetch_azure_cli, |into| fetch_pip(into, &["azure-cli"])),
        ),
    ]
}

impl Kind {
    /// Has it if that can be; says why not.
    fn have(&self, root: &Path) -> Option<PathBuf> {
        let place = root.join("target/oracles").join(self.folder);
        let there = complete(&place, self.get)
            .inspect_err(|why| complain(&format!("no oracle {}: {why:#}", self.variable)));
        there.ok()?.then(|| place.join(self.program))
    }
}

/// `cargo xtask oracles`: has those that can be had, and prints them as a shell's assignments.
pub(crate) fn run(build_rustic: bool) -> anyhow::Result<ExitCode> {
    let effort = Effort { fetch: true, build_rustic, fetch_azure_cli: false };
    for (variable, path) in prepare(&workspace::root()?, effort) {
        say(&format!("{variable}={}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Only what may be fetched is.
fn had(allowed: bool, get: fn(&Path) -> anyhow::Result<()>) -> Had {
    allowed.then_some(get)
}

/// Debian unstable's restic, which needs nothing but libc, so that stable runs it, too.
fn fetch_restic(into: &Path) -> anyhow::Result<()> {
    let unstable = Apart::new("unstable", "main", into)?;
    unstable.unpack_alone(&["restic"], into)?;
    unstable.done()
}

/// Whether the machine has a server and a client for shares already.
fn has_share() -> bool {
    SHARE.iter().all(|(program, _)| is_installed(program))
}

/// The share's server and client.
fn fetch_share(into: &Path) -> anyhow::Result<()> {
    debian::unpack_with_dependencies(&SHARE.map(|(_, package)| package), into)
}

/// Azure's clients in Python, and the older libraries that people still have.
fn fetch_python(into: &Path) -> anyhow::Result<()> {
    fetch_pip(
        into,
        &[
            "adal",
            "azure-identity",
            "azure-mgmt-authorization",
            "azure-mgmt-recoveryservices",
            "azure-mgmt-resource",
            "azure-mgmt-storage",
            "azure-mgmt-storageimportexport",
            "msal",
        ],
    )
}

fn fetch_pip(into: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let venv = || output(Command::new("python3").args(["-m", "venv"]).arg(into));
    if venv().is_err() {
        tools::install(&["python3-venv"])?;
        venv()?;
    }
    let mut pip = Command::new(into.join("bin/pip"));
    output(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    follow(&into.join("bin"), into, &into.with_extension(""))
}

/// Scripts name their interpreter by its whole path, and the folder gets another name once it is complete.
fn follow(scripts: &Path, before: &Path, after: &Path) -> anyhow::Result<()> {
    let (before, after) = (format!("#!{}/", before.display()), format!("#!{}/", after.display()));
    for entry in std::fs::read_dir(scripts)? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if let Some(rest) = text.strip_prefix(&before) {
            std::fs::write(&path, format!("{after}{rest}"))?;
        }
    }
    Ok(())
}

/// Azure's clients in JavaScript; those of `identity` that run on Debian's node.
fn fetch_node(into: &Path) -> anyhow::Result<()> {
    if !is_installed("npm") {
        tools::install(&["nodejs", "npm"])?;
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(into);
    output(npm.args(["@azure/arm-storageimportexport@2", "@azure/identity@~4.13"])).map(|_| ())
}

fn build_rustic(into: &Path) -> anyhow::Result<()> {
    complain("building rustic: this takes many minutes");
    let mut cargo = crate::process::cargo(into);
    cargo.args(["install", "rustic-rs", "--locked", "--no-default-features", "--root"]);
    ensure!(status(cargo.arg(into))?.success(), "cargo install failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_follow_the_folder_to_its_name() {
        let place = tempfile::tempdir().unwrap();
        let (begun, named) = (place.path().join("a.begun"), place.path().join("a"));
        let bin = begun.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("x"), format!("#!{}/bin/python\nimport x\n", begun.display()))
            .unwrap();
        std::fs::write(bin.join("y"), "#!/bin/sh\n").unwrap();
        follow(&bin, &begun, &named).unwrap();
        let x = std::fs::read_to_string(bin.join("x")).unwrap();
        assert_eq!(x, format!("#!{}/bin/python\nimport x\n", named.display()));
        assert_eq!(std::fs::read_to_string(bin.join("y")).unwrap(), "#!/bin/sh\n");
    }
}
