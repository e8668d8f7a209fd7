//! Debian's packages, fetched by apt and unpacked below the tree. Installs nothing on the machine.

use crate::process::output;
use crate::tools::{is_installed, is_root};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's own signing keys, where every Debian has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How to get something into an empty folder, if that is allowed.
pub(crate) type Had = Option<fn(&Path) -> anyhow::Result<()>>;

/// Makes `place` by `get` unless it is there: whole or not at all. Answers whether it is there.
pub(crate) fn complete(place: &Path, get: Had) -> anyhow::Result<bool> {
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

/// Unpacks those packages, whether the machine has them or not, with those of their dependencies that it lacks.
///
/// # Errors
/// This is no Debian, has no package lists, or apt fails.
pub(crate) fn unpack_with_dependencies(packages: &[&str], into: &Path) -> anyhow::Result<()> {
    ensure!(is_installed("apt-get"), "there is no apt-get here");
    let planned = with_lists(|| {
        // Not quiet: what it would install is what it says.
        let mut plan = Command::new("apt-get");
        output(plan.args(["install", "--simulate", "--no-install-recommends"]).args(packages))
    })?;
    unpack_alone(&with(packages, &planned), into)
}

/// Unpacks those packages, and nothing that they depend on.
///
/// # Errors
/// As above.
pub(crate) fn unpack_alone(packages: &[&str], into: &Path) -> anyhow::Result<()> {
    let debs = into.join("debs");
    std::fs::create_dir(&debs)?;
    // Old lists name packages that the archive no longer has.
    with_lists(|| output(apt_get(&[]).arg("download").args(packages).current_dir(&debs)))?;
    unpack(&debs, into)?;
    Ok(std::fs::remove_dir_all(&debs)?)
}

/// Those packages, and those that a simulated installation would install.
fn with<'a>(packages: &[&'a str], simulation: &'a str) -> Vec<&'a str> {
    let mut all = to_install(simulation);
    all.extend(packages);
    all.sort_unstable();
    all.dedup();
    all
}

/// Packages of a suite that this machine does not use, or of parts of it: from the same archive, by lists of its own.
pub(crate) struct Apart {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apart {
    /// Has its lists, in a folder within `into` until it is done.
    ///
    /// # Errors
    /// This is no Debian, or apt fails.
    pub(crate) fn new(suite: &str, components: &str, into: &Path) -> anyhow::Result<Self> {
        ensure!(is_installed("apt-get"), "there is no apt-get here");
        let folder = into.join("apt");
        for place in ["sources", "lists/partial", "cache/archives/partial", "debs"] {
            std::fs::create_dir_all(folder.join(place))?;
        }
        let archive = with_lists(archive)?;
        let source = format!("deb [signed-by={KEYRING}] {archive} {suite} {components}\n");
        std::fs::write(folder.join("sources/apart.list"), source)?;
        let options = vec![
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", folder.join("sources").display()),
            format!("Dir::State::Lists={}", folder.join("lists").display()),
            format!("Dir::Cache={}", folder.join("cache").display()),
        ];
        done(apt_get(&options).arg("update"))?;
        Ok(Self { folder, options })
    }

    /// Unpacks those packages, and nothing that they depend on.
    pub(crate) fn unpack_alone(&self, packages: &[&str], into: &Path) -> anyhow::Result<()> {
        let debs = self.folder.join("debs");
        done(apt_get(&self.options).arg("download").args(packages).current_dir(&debs))?;
        unpack(&debs, into)
    }

    /// Unpacks those packages, with those of their dependencies that the machine lacks.
    pub(crate) fn unpack_with_dependencies(
        &self,
        packages: &[&str],
        into: &Path,
    ) -> anyhow::Result<()> {
        // Not quiet: what it would install is what it says.
        let mut plan = Command::new("apt-get");
        self.options.iter().for_each(|option| {
            plan.arg("-o").arg(option);
        });
        plan.args(["install", "--simulate", "--no-install-recommends"]).args(packages);
        self.unpack_alone(&with(packages, &output(&mut plan)?), into)
    }

    /// Leaves nothing of it but what was unpacked.
    pub(crate) fn done(self) -> anyhow::Result<()> {
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

/// Where this machine gets Debian from.
fn archive() -> anyhow::Result<String> {
    let format = ["indextargets", "--format", "$(REPO_URI)"];
    let which = ["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"];
    let found = output(Command::new("apt-get").args(format).args(which))?;
    let first = found.lines().next().context("this machine has no Debian package lists")?;
    Ok(first.to_owned())
}

/// The packages that a simulated installation would install.
fn to_install(simulation: &str) -> Vec<&str> {
    let lines = simulation.lines().filter_map(|line| line.strip_prefix("Inst "));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

/// Asks apt, and where it does not know, as on a fresh machine, once more with package lists.
pub(crate) fn with_lists(ask: impl Fn() -> anyhow::Result<String>) -> anyhow::Result<String> {
    ask().or_else(|why| {
        ensure!(is_root()?, "{why:#}");
        done(apt_get(&[]).arg("update"))?;
        ask()
    })
}

/// Unpacks every package in `folder`.
pub(crate) fn unpack(folder: &Path, into: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            done(Command::new("dpkg").arg("-x").arg(&path).arg(into))?;
        }
    }
    Ok(())
}

pub(crate) fn apt_get(options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    // The user that apt would otherwise become cannot write below the working tree.
    command.args(["--quiet", "--quiet", "-o", "APT::Sandbox::User=root"]);
    options.iter().for_each(|option| {
        command.arg("-o").arg(option);
    });
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

pub(crate) fn done(command: &mut Command) -> anyhow::Result<()> {
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
