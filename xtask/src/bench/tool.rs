//! How each backup program is told to do the same thing: its own defaults for compression and
//! encryption, passwords through the environment or a file. Runs nothing.

use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What all repositories are protected by. Nothing in them is secret.
const PASSWORD: &str = "benchmark";

/// The language that a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Packmule,
    Restic,
    Rustic,
    Borg,
    Bupstash,
}

/// A backup program that takes part.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    /// The word that names it in options, tables and raw results.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
    /// What it says of itself.
    pub(crate) version: String,
}

/// What a program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    /// Back up the folder under a name that no other backup in the repository has.
    Backup(&'a Path, &'a str),
    /// Restore the backup of that name, which is the last one, into an empty folder.
    Restore(&'a str, &'a Path),
    /// Forget all backups but the last ones, and everything that only they needed.
    Forget(u32),
    /// Read and verify everything.
    Check,
    /// Open the repository and do as little as possible.
    Open,
}

/// Where a program keeps what it keeps, apart from all others.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// For caches and settings.
    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    fn key(&self) -> PathBuf {
        self.home().join("key")
    }

    /// Makes it, empty.
    ///
    /// # Errors
    /// When what is there cannot be removed, or it cannot be made.
    pub(crate) fn make(&self) -> anyhow::Result<()> {
        self.remove()?;
        std::fs::create_dir_all(self.home())
            .with_context(|| format!("cannot make {}", self.folder.display()))
    }

    /// Removes it with everything in it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        }
        Ok(())
    }
}

impl Tool {
    /// What makes an empty repository.
    pub(crate) fn init(&self, place: &Place) -> Vec<Command> {
        let words: &[&[&str]] = match self.kind {
            Kind::Packmule => &[&["repo", "init"]],
            Kind::Restic | Kind::Rustic => &[&["init"]],
            // It has no default here, and demands one.
            Kind::Borg => &[&["init", "--encryption=repokey"]],
            Kind::Bupstash => &[&["new-key", "--output"], &["init"]],
        };
        let commands = words.iter().map(|words| {
            let mut command = self.command(place, words);
            if words.contains(&"new-key") {
                command.arg(place.key());
            }
            command
        });
        commands.collect()
    }

    /// What does `action`; none when the program cannot.
    pub(crate) fn act(&self, place: &Place, action: Action<'_>) -> Option<Command> {
        let command = match self.kind {
            Kind::Packmule => self.packmule(place, action),
            Kind::Restic => self.restic(place, action),
            Kind::Rustic => self.rustic(place, action),
            Kind::Borg => return self.borg(place, action),
            Kind::Bupstash => return self.bupstash(place, action),
        };
        Some(command)
    }

    fn packmule(&self, place: &Place, action: Action<'_>) -> Command {
        let words: &[&str] = match action {
            Action::Backup(..) => &["repo", "backup"],
            Action::Restore(..) => &["repo", "restore", "latest", "--target"],
            Action::Forget(_) => &["repo", "forget", "--prune", "--keep-last"],
            Action::Check => &["repo", "check", "--read-data"],
            Action::Open => &["repo", "snapshots"],
        };
        with_folder(self.command(place, words), action)
    }

    fn restic(&self, place: &Place, action: Action<'_>) -> Command {
        let words: &[&str] = match action {
            Action::Backup(..) => &["backup"],
            Action::Restore(..) => &["restore", "latest", "--target"],
            Action::Forget(_) => &["forget", "--prune", "--keep-last"],
            Action::Check => &["check", "--read-data"],
            Action::Open => &["cat", "config", "--no-lock"],
        };
        with_folder(self.command(place, words), action)
    }

    fn rustic(&self, place: &Place, action: Action<'_>) -> Command {
        let words: &[&str] = match action {
            Action::Backup(..) => &["backup"],
            Action::Restore(..) => &["restore", "latest"],
            // Its default only marks what may go, and removes it another day.
            Action::Forget(_) => &["forget", "--prune", "--instant-delete", "--keep-last"],
            Action::Check => &["check", "--read-data"],
            Action::Open => &["cat", "config"],
        };
        with_folder(self.command(place, words), action)
    }

    fn borg(&self, place: &Place, action: Action<'_>) -> Option<Command> {
        let archive = |name: &str| format!("{}::{name}", place.repository().display());
        Some(match action {
            Action::Backup(source, name) => {
                let mut command = self.command(place, &["create"]);
                command.arg(archive(name)).arg(source);
                command
            }
            Action::Restore(name, target) => {
                let mut command = self.command(place, &["extract"]);
                command.arg(archive(name)).current_dir(target);
                command
            }
            // Takes two commands.
            Action::Forget(_) => return None,
            Action::Check => self.command(place, &["check", "--verify-data"]),
            Action::Open => self.command(place, &["list"]),
        })
    }

    fn bupstash(&self, place: &Place, action: Action<'_>) -> Option<Command> {
        Some(match action {
            Action::Backup(source, name) => {
                let mut command = self.command(place, &["put", "--quiet"]);
                command.arg(format!("name={name}")).arg(source);
                command
            }
            Action::Restore(name, target) => {
                let mut command = self.command(place, &["restore", "--quiet", "--into"]);
                command.arg(target).arg(format!("name={name}"));
                command
            }
            // It verifies only what it hands out.
            Action::Forget(_) | Action::Check => return None,
            Action::Open => self.command(place, &["list"]),
        })
    }

    /// The program with everything that it finds through its environment.
    fn command(&self, place: &Place, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&place.folder);
        // No cache, setting or key of whoever runs the benchmark.
        command.env("HOME", place.home());
        for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env(variable, place.home().join(variable));
        }
        let (repository, password) = match self.kind {
            Kind::Packmule => ("PACKMULE_REPOSITORY", "PACKMULE_PASSWORD"),
            Kind::Restic => ("RESTIC_REPOSITORY", "RESTIC_PASSWORD"),
            Kind::Rustic => ("RUSTIC_REPOSITORY", "RUSTIC_PASSWORD"),
            Kind::Borg => ("BORG_REPO", "BORG_PASSPHRASE"),
            Kind::Bupstash => ("BUPSTASH_REPOSITORY", "BUPSTASH_PASSWORD"),
        };
        command.env(repository, place.repository()).env(password, PASSWORD);
        match self.kind {
            Kind::Rustic => command.env("RUSTIC_NO_PROGRESS", "true"),
            Kind::Borg => command.env("BORG_BASE_DIR", place.home()),
            Kind::Bupstash => command.env("BUPSTASH_KEY", place.key()),
            Kind::Packmule | Kind::Restic => &mut command,
        };
        command
    }
}

/// Appends the folder, or the number, that an action is about.
fn with_folder(mut command: Command, action: Action<'_>) -> Command {
    match action {
        Action::Backup(folder, _) | Action::Restore(_, folder) => command.arg(folder),
        Action::Forget(kept) => command.arg(kept.to_string()),
        Action::Check | Action::Open => &mut command,
    };
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(kind: Kind) -> Tool {
        Tool { name: "tool", kind, program: "/bin/tool".into(), version: String::new() }
    }

    fn words(command: &Command) -> String {
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        args.join(" ")
    }

    const KINDS: [Kind; 5] =
        [Kind::Packmule, Kind::Restic, Kind::Rustic, Kind::Borg, Kind::Bupstash];

    #[test]
    fn every_program_is_told_source_and_target() {
        let place = Place::new("/place".into());
        for kind in KINDS {
            let backup = Action::Backup(Path::new("/source"), "first");
            let backup = words(&tool(kind).act(&place, backup).unwrap());
            assert!(backup.ends_with("/source"), "{backup}");
            let restore = Action::Restore("first", Path::new("/target"));
            let restore = tool(kind).act(&place, restore).unwrap();
            let inside = restore.get_current_dir() == Some(Path::new("/target"));
            assert!(inside || words(&restore).contains("/target"), "{restore:?}");
        }
    }

    #[test]
    fn no_program_sees_what_belongs_to_whoever_runs_it() {
        let place = Place::new("/place".into());
        for kind in KINDS {
            let command = tool(kind).act(&place, Action::Open).unwrap();
            let home = command.get_envs().find(|(name, _)| *name == "HOME").unwrap().1.unwrap();
            assert!(Path::new(home).starts_with("/place"));
            let named = command.get_envs().any(|(_, value)| {
                value.is_some_and(|value| value == place.repository().as_os_str())
            });
            assert!(named, "{kind:?}");
        }
    }

    #[test]
    fn a_place_is_made_empty_and_removed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path().join("place"));
        place.make().unwrap();
        std::fs::write(place.repository(), "").unwrap();
        place.make().unwrap();
        assert!(!place.repository().exists() && place.home().is_dir());
        place.remove().unwrap();
        assert!(!folder.path().join("place").exists());
        place.remove().unwrap();
    }
}
