//! Which backup programs there are to compare with, and how to get those that are missing.
//! A program that cannot be had is said to be missing, and stops nobody.

use super::options::Options;
use super::tool::{Kind, Tool};
use crate::oracles::{self, Effort};
use crate::process::{cargo, complain, output, status, target};
use crate::tools;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Those that take part, and the names of those that do not.
#[derive(Debug)]
pub(crate) struct Field {
    /// Ours first.
    pub(crate) tools: Vec<Tool>,
    /// Name and reason.
    pub(crate) missing: Vec<(String, String)>,
}

/// A peer that could take part.
struct Peer {
    name: &'static str,
    kind: Kind,
    /// Finds it; may make it when it is allowed to.
    find: fn(&Path, bool) -> anyhow::Result<PathBuf>,
}

const PEERS: [Peer; 5] = [
    Peer { name: "restic", kind: Kind::Restic, find: current_restic },
    Peer { name: "restic-debian", kind: Kind::Restic, find: |_, _| in_path("restic") },
    Peer { name: "rustic", kind: Kind::Rustic, find: rustic },
    Peer { name: "borg", kind: Kind::Borg, find: borg },
    Peer { name: "bupstash", kind: Kind::Bupstash, find: bupstash },
];

/// The names of all peers that can be asked for.
pub(crate) fn names() -> [&'static str; 5] {
    PEERS.map(|peer| peer.name)
}

/// Debian's packages: programs, and what others are built with.
const PACKAGES: [&str; 11] = [
    "borgbackup",
    "restic",
    // bupstash
    "libsodium-dev",
    "pkg-config",
    // a newer borg
    "python3-dev",
    "python3-venv",
    "libacl1-dev",
    "libssl-dev",
    "liblz4-dev",
    "libxxhash-dev",
    "libzstd-dev",
];

/// Builds ours in release, and finds the peers that `options` want.
///
/// # Errors
/// When ours does not build.
pub(crate) fn field(root: &Path, options: &Options) -> anyhow::Result<Field> {
    if options.with_peers {
        tools::install(&PACKAGES)
            .unwrap_or_else(|why| complain(&format!("cannot install {PACKAGES:?}: {why:#}")));
    }
    let mut field = Field { tools: vec![ours(root)?], missing: Vec::new() };
    for peer in PEERS.iter().filter(|peer| options.wants(peer.name)) {
        match found(root, peer, options.with_peers) {
            Ok(tool) if field.has(&tool) => {
                let why = format!("is the same as another one: {}", tool.version);
                field.missing.push((tool.name.to_owned(), why));
            }
            Ok(tool) => field.tools.push(tool),
            Err(why) => field.missing.push((peer.name.to_owned(), format!("{why:#}"))),
        }
    }
    Ok(field)
}

impl Field {
    fn has(&self, tool: &Tool) -> bool {
        self.tools.iter().any(|one| one.kind == tool.kind && one.version == tool.version)
    }
}

/// Builds ours in release.
///
/// # Errors
/// When it does not build.
pub(crate) fn ours(root: &Path) -> anyhow::Result<Tool> {
    complain("building packmule in release");
    let built = status(cargo(root).args(["build", "--release", "--package", "packmule"]))?;
    ensure!(built.success(), "packmule does not build");
    let program = target(root).join("release/packmule");
    let mut git = Command::new("git");
    let commit = git.current_dir(root).args(["describe", "--always", "--dirty", "--exclude=*"]);
    let commit = output(commit).unwrap_or_default();
    let version = format!("{} {}", version(&program)?, commit.trim());
    Ok(Tool { name: "packmule", kind: Kind::Packmule, program, version })
}

fn found(root: &Path, peer: &Peer, may_make: bool) -> anyhow::Result<Tool> {
    let program = (peer.find)(root, may_make)?;
    let version = version(&program)?;
    Ok(Tool { name: peer.name, kind: peer.kind, program, version })
}

/// The first line of what a program says of itself.
fn version(program: &Path) -> anyhow::Result<String> {
    let said = output(Command::new(program).arg("--version"))
        .or_else(|_| output(Command::new(program).arg("version")))?;
    let line = said.lines().next().unwrap_or_default();
    // restic goes on to tell its compiler.
    let short = line.split_once(" compiled").map_or(line, |(short, _)| short);
    Ok(short.trim().to_owned())
}

fn in_path(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    places.find(|place| place.is_file()).context("is not installed")
}

fn current_restic(root: &Path, _: bool) -> anyhow::Result<PathBuf> {
    oracle(root, "PACKMULE_RESTIC", effort(true, false))
}

fn rustic(root: &Path, may_make: bool) -> anyhow::Result<PathBuf> {
    oracle(root, "PACKMULE_RUSTIC", effort(false, may_make)).or_else(|_| in_path("rustic"))
}

fn effort(fetch: bool, build_rustic: bool) -> Effort {
    Effort { fetch, build_rustic, fetch_azure_cli: false }
}

fn oracle(root: &Path, variable: &str, effort: Effort) -> anyhow::Result<PathBuf> {
    oracles::one(root, variable, effort).context("is not there: `--with-peers` gets it")
}

fn borg(root: &Path, may_make: bool) -> anyhow::Result<PathBuf> {
    let folder = peer_folder(root, "borg");
    let program = folder.join("bin/borg");
    if may_make && !program.is_file() {
        // Debian's will do where a newer one does not build.
        let _ = build_borg(&folder).inspect_err(|why| complain(&format!("{why:#}")));
    }
    if program.is_file() { Ok(program) } else { in_path("borg") }
}

fn build_borg(folder: &Path) -> anyhow::Result<()> {
    complain("building borg");
    output(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    output(pip.args(["install", "--quiet", "borgbackup"])).map(|_| ())
}

fn bupstash(root: &Path, may_make: bool) -> anyhow::Result<PathBuf> {
    let folder = peer_folder(root, "bupstash");
    let program = folder.join("bin/bupstash");
    if may_make && !program.is_file() {
        complain("building bupstash: this takes minutes");
        let mut install = cargo(root);
        // Locked: with newer dependencies it does not build.
        install.args(["install", "bupstash", "--locked", "--root"]).arg(&folder);
        ensure!(status(&mut install)?.success(), "cargo install bupstash failed");
    }
    if program.is_file() { Ok(program) } else { in_path("bupstash") }
}

fn peer_folder(root: &Path, name: &str) -> PathBuf {
    root.join("target/bench/peers").join(name)
}
