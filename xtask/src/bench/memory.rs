//! `cargo xtask bench memory`: how much memory backups take that memory must not grow with. A file of
//! 10 TiB of holes; and very many tiny files, which are one folder of 10,000 that is mounted again and
//! again. Compares with nobody, and is no test: the figures are printed, for people.

use super::measure;
use super::peers;
use super::tool::{Action, Place, Tool};
use crate::process::{complain, say};
use crate::tools::is_root;
use crate::workspace;
use anyhow::Context;
use std::fs::{File, create_dir, create_dir_all};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Of the file of holes. ext4 allows 16 TiB.
const HOLES: u64 = 10 << 40;

/// Tiny files in the folder that is mounted.
const FILES: usize = 10_000;

/// How often it is mounted, unless something else is wanted: a million entries.
const MOUNTS: usize = 100;

/// Mounts `$1` over every folder of `$2`, where nobody else sees it, and becomes the rest.
const MOUNTED: &str = "set -e; folder=$1; shift; many=$1; shift; \
    for place in \"$many\"/*; do mount --bind \"$folder\" \"$place\"; done; exec \"$@\"";

/// How often the folder is mounted, from the arguments after `bench memory`.
///
/// # Errors
/// What is wrong, for people.
pub(crate) fn mounts(args: &[String]) -> Result<usize, String> {
    match args {
        [] => Ok(MOUNTS),
        [option, number] if option == "--mounts" => {
            let mounts = number.parse().ok().filter(|mounts| *mounts > 0);
            mounts.ok_or(format!("{number} is no number of mounts"))
        }
        _ => Err("bench memory takes --mounts and a number, and nothing else".to_owned()),
    }
}

/// Backs both up, each twice, and prints what that took.
pub(crate) fn memory(mounts: usize) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let base = crate::process::target(&root).join("bench/memory-work");
    if base.exists() {
        std::fs::remove_dir_all(&base)?;
    }
    let work = Work { tool: peers::ours(&root)?, base };
    say(&format!("{}: seconds, peak memory", work.tool.version));
    work.holes()?;
    if is_root()? {
        work.tiny(mounts)?;
    } else {
        complain("tiny files are left out: mounting takes root");
    }
    std::fs::remove_dir_all(&work.base)?;
    Ok(ExitCode::SUCCESS)
}

struct Work {
    tool: Tool,
    base: PathBuf,
}

impl Work {
    fn holes(&self) -> anyhow::Result<()> {
        let source = self.folder("holes/source")?;
        File::create(source.join("holes"))?
            .set_len(HOLES)
            .context("this file system has no files of 10 TiB")?;
        self.twice("a file of 10 TiB of holes", "holes", 1, |place, name| {
            self.backup(place, &source, name)
        })
    }

    fn tiny(&self, mounts: usize) -> anyhow::Result<()> {
        let (source, one) = (self.folder("tiny/source")?, self.folder("tiny/one")?);
        for number in 0..FILES {
            std::fs::write(one.join(number.to_string()), "x")?;
        }
        for number in 0..mounts {
            create_dir(source.join(number.to_string()))?;
        }
        let entries = mounts * FILES;
        self.twice(&format!("{entries} tiny files"), "tiny", entries, |place, name| {
            mounted(&one, &source, &self.backup(place, &source, name))
        })
    }

    fn twice(
        &self,
        what: &str,
        folder: &str,
        entries: usize,
        backup: impl Fn(&Place, &str) -> Command,
    ) -> anyhow::Result<()> {
        let place = Place::new(self.base.join(folder).join("place"));
        place.make()?;
        let log = self.base.join(folder).join("log");
        for command in self.tool.init(&place) {
            measure::run(&command, &log)?;
        }
        for name in ["first", "unchanged"] {
            let usage = measure::run(&backup(&place, name), &log)?;
            let mut line =
                format!("{what}, {name}: {:.1} s, {} MiB", usage.seconds, usage.peak_bytes >> 20);
            if entries > 1 {
                line.push_str(&format!(", {} bytes an entry", usage.peak_bytes / entries as u64));
            }
            say(&line);
        }
        Ok(())
    }

    fn backup(&self, place: &Place, source: &Path, name: &str) -> Command {
        let command = self.tool.act(place, Action::Backup(source, name));
        command.unwrap_or_else(|| Command::new(&self.tool.program))
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.base.join(name);
        create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

/// `command`, with `folder` mounted over each folder in `many` as long as it runs. Its seconds are told
/// with those of the mounting.
fn mounted(folder: &Path, many: &Path, command: &Command) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "--propagation", "private", "sh", "-c", MOUNTED, "sh"]);
    wrapped.args([folder, many]).arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_of_mounts_can_be_wanted() {
        let parse =
            |text: &str| mounts(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse(""), Ok(MOUNTS));
        assert_eq!(parse("--mounts 1000"), Ok(1000));
        for wrong in ["--mounts", "--mounts 0", "--mounts few", "--files 3", "--mounts 1 2"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
