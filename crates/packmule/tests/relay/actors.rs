//! Who writes and restores: we, and every stock program that is at hand, through its command line.
//! Judges nothing: what a program is known not to do stands in `limits`.

use crate::limits::is_harmless;
use crate::support::{self, PASSWORD, Place, Said, s};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A kind of program, with what its limits depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    /// restic 0.x.
    Restic(u32),
    Rustic,
}

/// One program.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) kind: Kind,
    program: PathBuf,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Ours => f.write_str("packmule"),
            Kind::Restic(minor) => write!(f, "restic 0.{minor}"),
            Kind::Rustic => f.write_str("rustic"),
        }
    }
}

/// Us, and the others. None, with a word about it, where there is not even one other.
pub(crate) fn troupe(test: &str) -> Option<Vec<Actor>> {
    let mut troupe = vec![Actor { kind: Kind::Ours, program: PathBuf::new() }];
    for program in support::restics(test) {
        troupe.push(Actor { kind: Kind::Restic(minor(&program)), program });
    }
    if let Some(program) = std::env::var_os("PACKMULE_RUSTIC").map(PathBuf::from) {
        troupe.push(Actor { kind: Kind::Rustic, program });
    }
    (troupe.len() > 1).then_some(troupe)
}

fn minor(restic: &Path) -> u32 {
    let version = Command::new(restic).arg("version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    minor.unwrap_or_else(|| panic!("a version like 0.x, not {version}"))
}

/// A repository, and what is backed up into it.
pub(crate) struct Scene<'a> {
    pub(crate) place: &'a Place,
    pub(crate) repository: PathBuf,
    pub(crate) source: PathBuf,
}

impl Scene<'_> {
    fn command(&self, actor: &Actor, arguments: &[&str]) -> Command {
        match actor.kind {
            Kind::Ours => {
                let (command, rest) = arguments.split_first().unwrap();
                let head = ["repo", command, "-r", s(&self.repository)];
                self.place.packmule(&[&head, rest].concat())
            }
            Kind::Restic(_) => {
                let mut command =
                    support::restic_command(&actor.program, &self.repository, arguments);
                command.env("HOME", self.place.path(""));
                command
            }
            Kind::Rustic => {
                let mut command = Command::new(&actor.program);
                command.args(["--no-cache", "--no-progress", "-r"]).arg(&self.repository);
                command.args(arguments).current_dir(self.place.path(""));
                // No profile of the user's.
                command.env("HOME", self.place.path("")).env_remove("XDG_CONFIG_HOME");
                command.env("RUSTIC_PASSWORD", PASSWORD).stdin(Stdio::null());
                command
            }
        }
    }

    /// Runs it; a warning is a failure, too, unless `limits` has it as harmless.
    #[track_caller]
    fn run(&self, actor: &Actor, arguments: &[&str]) -> Said {
        let said = Said::of(self.command(actor, arguments).output().unwrap());
        let complaint = |line: &&str| {
            let lower = line.to_lowercase();
            let bad = ["warn", "error", "ignoring"].iter().any(|word| lower.contains(word));
            bad && !is_harmless(actor.kind, line)
        };
        let complaints = said.stderr.lines().filter(complaint).count();
        assert!(said.code == 0 && complaints == 0, "{actor} {arguments:?}: {said:#?}");
        said
    }

    pub(crate) fn init(&self, actor: &Actor) {
        match actor.kind {
            // Without the half second of the real password's key.
            Kind::Ours => support::init(&self.repository),
            Kind::Restic(_) => drop(self.run(actor, &["init", "--repository-version", "2"])),
            Kind::Rustic => drop(self.run(actor, &["init"])),
        }
    }

    /// Backs up, reading every file when forced to. Answers the snapshot's id.
    #[track_caller]
    pub(crate) fn back_up(&self, actor: &Actor, force: bool) -> String {
        let mut arguments = vec!["backup", "--json", s(&self.source)];
        arguments.extend(force.then_some("--force"));
        let said = self.run(actor, &arguments);
        let id = match actor.kind {
            Kind::Ours => said.object("summary")["snapshot_id"].clone(),
            Kind::Restic(_) => {
                support::objects(&said.stdout).pop().expect("a summary")["snapshot_id"].clone()
            }
            Kind::Rustic => {
                serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap()["id"].clone()
            }
        };
        id.as_str().expect("an id").to_owned()
    }

    /// Restores the source as it was into a folder, which is new.
    #[track_caller]
    pub(crate) fn restore(&self, actor: &Actor, snapshot: &str, target: &Path) {
        let all = target.with_extension("all");
        let below = format!("{snapshot}:{}", s(&self.source));
        let arguments = match actor.kind {
            Kind::Rustic => {
                // Of an empty folder it makes none.
                std::fs::create_dir(target).unwrap();
                vec!["restore", &below, s(target)]
            }
            _ => vec!["restore", snapshot, "--target", s(&all)],
        };
        self.run(actor, &arguments);
        if all.exists() {
            std::fs::rename(all.join(self.source.strip_prefix("/").unwrap()), target).unwrap();
            std::fs::remove_dir_all(all).unwrap();
        }
    }

    /// Reads everything and finds nothing.
    #[track_caller]
    pub(crate) fn check(&self, actor: &Actor) {
        self.run(actor, &["check", "--read-data"]);
    }

    /// The ids of all blobs of files, by a program that is not ours.
    pub(crate) fn data_blobs(&self, restic: &Actor) -> std::collections::BTreeSet<String> {
        let said = self.run(restic, &["list", "blobs"]);
        let ids = said.stdout.lines().filter_map(|line| line.strip_prefix("data "));
        ids.map(str::to_owned).collect()
    }
}
