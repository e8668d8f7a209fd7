//! Programs that judge us and that Debian stable does not have, or must not install: fetched into
//! `target/oracles`, and named to tests by variables. Installs nothing on the machine.

use crate::process::{complain, output, say, status};
use crate::tools::{is_installed, is_root};
use crate::workspace;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Debian's own signing keys, where every Debian has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What a network share is made of. Unpacked only: installed, the server would start by itself.
const SHARE: [(&str, &str); 2] = [("smbd", "samba"), ("smbnetfs", "smbnetfs")];

/// A variable for tests, and the program or folder that it names.
pub(crate) type Named = (&'static str, PathBuf);

/// How much may be done to have the oracles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Packages may be fetched.
    pub(crate) fetch: bool,
    /// rustic may be built, which takes many minutes.
    pub(crate) build_rustic: bool,
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

fn kinds(effort: Effort) -> [Kind; 3] {
    let kind = |variable, folder, program, get| Kind { variable, folder, program, get };
    let share = had(effort.fetch && !has_share(), fetch_share);
    [
        kind("PACKMULE_RESTIC", "restic", "usr/bin/restic", had(effort.fetch, fetch_restic)),
        kind("PACKMULE_SHARE", "share", "", share),
        kind("PACKMULE_RUSTIC", "rustic", "bin/rustic", had(effort.build_rustic, build_rustic)),
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
    for (variable, path) in prepare(&workspace::root()?, Effort { fetch: true, build_rustic }) {
        say(&format!("{variable}={}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// How to get an oracle into an empty folder, if that is allowed.
type Had = Option<fn(&Path) -> anyhow::Result<()>>;

fn had(allowed: bool, get: fn(&Path) -> anyhow::Result<()>) -> Had {
    allowed.then_some(get)
}

/// Makes `place` by `get` unless it is there: whole or not at all. Answers whether it is there.
fn complete(place: &Path, get: Had) -> anyhow::Result<bool> {
    if place.is_dir() {
        return Ok(true);
    }
    let Some(get) = get else { return Ok(false) };
    let begun = place.with_extension("begun");
    if begun.exists() {
        std::fs::remove_dir_all(&begun).context("cannot clear what was begun before")?;
    }
    std::fs::create_dir_all(&begun).with_context(|| format!("cannot make {}", begun.display()))?;
    get(&begun)?;
    std::fs::rename(&begun, place).with_context(|| format!("cannot name {}", place.display()))?;
    Ok(true)
}

/// Debian unstable's restic, which needs nothing but libc, so that stable runs it, too.
fn fetch_restic(into: &Path) -> anyhow::Result<()> {
    ensure!(is_installed("apt-get"), "there is no apt-get here");
    let apt = into.join("apt");
    for folder in ["sources", "lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(apt.join(folder))?;
    }
    let source = format!("deb [signed-by={KEYRING}] {} unstable main\n", with_lists(archive)?);
    std::fs::write(apt.join("sources/unstable.list"), source)?;
    let private = [
        "Dir::Etc::SourceList=/dev/null".to_owned(),
        format!("Dir::Etc::SourceParts={}", apt.join("sources").display()),
        format!("Dir::State::Lists={}", apt.join("lists").display()),
        format!("Dir::Cache={}", apt.join("cache").display()),
    ];
    done(apt_get(&private).arg("update"))?;
    done(apt_get(&private).args(["download", "restic"]).current_dir(&apt))?;
    unpack(&apt, into)?;
    Ok(std::fs::remove_dir_all(&apt)?)
}

/// Asks apt, and where it does not know, as on a fresh machine, once more with package lists.
fn with_lists(ask: impl Fn() -> anyhow::Result<String>) -> anyhow::Result<String> {
    ask().or_else(|why| {
        ensure!(is_root()?, "{why:#}");
        done(apt_get(&[]).arg("update"))?;
        ask()
    })
}

/// Where this machine gets Debian from.
fn archive() -> anyhow::Result<String> {
    let format = ["indextargets", "--format", "$(REPO_URI)"];
    let which = ["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"];
    let found = output(Command::new("apt-get").args(format).args(which))?;
    let first = found.lines().next().context("this machine has no Debian package lists")?;
    Ok(first.to_owned())
}

/// Whether the machine has a server and a client for shares already.
fn has_share() -> bool {
    SHARE.iter().all(|(program, _)| is_installed(program))
}

/// The share's server and client, with those of their dependencies that the machine lacks.
fn fetch_share(into: &Path) -> anyhow::Result<()> {
    ensure!(is_installed("apt-get"), "there is no apt-get here");
    let packages = SHARE.map(|(_, package)| package);
    let planned = with_lists(|| {
        // Not quiet: what it would install is what it says.
        let mut plan = Command::new("apt-get");
        output(plan.args(["install", "--simulate", "--no-install-recommends"]).args(packages))
    })?;
    let debs = into.join("debs");
    std::fs::create_dir(&debs)?;
    done(apt_get(&[]).arg("download").args(to_install(&planned)).current_dir(&debs))?;
    unpack(&debs, into)?;
    Ok(std::fs::remove_dir_all(&debs)?)
}

/// The packages that a simulated installation would install.
fn to_install(simulation: &str) -> Vec<&str> {
    let lines = simulation.lines().filter_map(|line| line.strip_prefix("Inst "));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

fn build_rustic(into: &Path) -> anyhow::Result<()> {
    complain("building rustic: this takes many minutes");
    let mut cargo = crate::process::cargo(into);
    cargo.args(["install", "rustic-rs", "--locked", "--no-default-features", "--root"]);
    ensure!(status(cargo.arg(into))?.success(), "cargo install failed");
    Ok(())
}

/// Unpacks every package in `folder`.
fn unpack(folder: &Path, into: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            done(Command::new("dpkg").arg("-x").arg(&path).arg(into))?;
        }
    }
    Ok(())
}

fn apt_get(options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    // The user that apt would otherwise become cannot write below the working tree.
    command.args(["--quiet", "--quiet", "-o", "APT::Sandbox::User=root"]);
    options.iter().for_each(|option| {
        command.arg("-o").arg(option);
    });
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    output(command).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oracle_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("restic");
        assert!(!complete(&place, None).unwrap());
        let breaks: Had = Some(|into| {
            std::fs::write(into.join("half"), "")?;
            anyhow::bail!("the network is down")
        });
        assert!(complete(&place, breaks).is_err());
        assert!(!complete(&place, None).unwrap());
        let works: Had = Some(|into| Ok(std::fs::write(into.join("whole"), "")?));
        assert!(complete(&place, works).unwrap());
        assert!(place.join("whole").is_file() && !place.join("half").exists());
        // What is there is not fetched again.
        assert!(complete(&place, breaks).unwrap());
    }

    #[test]
    fn a_simulation_tells_what_would_be_installed() {
        let said = "Reading lists...\nInst samba (2:4.17 Debian:12 [amd64])\nConf samba (2:4.17)\nInst libtdb1 (1.4)\n";
        assert_eq!(to_install(said), ["samba", "libtdb1"]);
    }
}
