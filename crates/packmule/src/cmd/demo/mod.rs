//! `packmule demo`: the whole journey on this machine, with the real roles as processes of their own.
//!
//! Every step runs the command that a user would type, in a process of its own, over TLS; nothing
//! here reaches around a role. What only looks on (copying the source, editing it, comparing) is
//! done here with plain file operations. The source that is given is never written to.

mod folders;
mod harm;
mod journey;
mod process;

use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::duration;
use clap::Args;
use harm::Harm;
use model::{ByteSize, ErrorKind};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Show the whole journey on this machine, step by step
///
/// A folder is backed up to a staging location, spread over drives too small for it, tracked as an
/// import job, taken in at a dock, published into a vault, continued with an increment over the
/// network, and restored; both recovery points are compared byte by byte. The folder itself is
/// never written to: a copy of it is used.
///
/// With --lose-drive and --damage the set travels with parity, something happens to it on its way, and it is said what
/// was rebuilt from where.
///
/// Example: packmule demo --source /usr/share/doc --keep
/// Example: packmule demo --lose-drive --damage
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Folder to back up [default: /usr/share/doc, else /usr/share]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Empty or new folder to work in [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Lose a drive on its way: a set with one parity drive more, from which the dock rebuilds it
    #[arg(long)]
    lose_drive: bool,
    /// Overwrite 64 KiB at ten places of a drive on its way: likewise
    #[arg(long)]
    damage: bool,
    /// Keep everything that was made
    #[arg(long)]
    keep: bool,
}

/// Where the demo puts things, and what it may assume.
pub(super) struct Stage<'a> {
    pub(super) context: &'a Context,
    pub(super) work: PathBuf,
    pub(super) source: PathBuf,
    pub(super) harm: Harm,
}

impl Demo {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let started = Instant::now();
        let given = self.source()?;
        let (work, made) = self.workdir()?;
        let result = self.journey(context, &given, &work);
        let removed = !self.keep && made && result.is_ok();
        if removed {
            std::fs::remove_dir_all(&work).map_err(|e| Failure::io("removing", &work, e))?;
        }
        if result.is_err() {
            context.printer.note(format!("what was made is left for a look: {}", work.display()));
        }
        let summary = result?;
        if !removed {
            context.printer.line(format!("everything is kept in {}", work.display()));
        }
        context.printer.line(format!("the whole journey took {}", duration(started.elapsed())));
        context.printer.object("summary", &summary);
        Ok(Status::Done)
    }

    fn journey(
        &self,
        context: &Context,
        given: &Path,
        work: &Path,
    ) -> Result<serde_json::Value, Failure> {
        let totals = backup::scan(&[given.to_owned()], &context.stop);
        if totals.files == 0 {
            return Err(Failure::new(
                ErrorKind::Invalid,
                format!("{} holds no file", given.display()),
            ));
        }
        refuse_without_room(work, totals.bytes)?;
        let source = work.join("source");
        context.printer.line(format!(
            "copying {} ({} files, {}) to {}",
            given.display(),
            totals.files,
            ByteSize(totals.bytes),
            source.display()
        ));
        folders::copy(given, &source)?;
        let harm = Harm { lose: self.lose_drive, damage: self.damage };
        let stage = Stage { context, work: work.to_owned(), source, harm };
        let summary = journey::run(&stage)?;
        Ok(
            json!({"workdir": work, "given": given, "files": totals.files, "bytes": totals.bytes, "kept": self.keep || self.workdir.is_some(), "journey": summary.journey, "vault": summary.vault, "staging": summary.staging, "password_file": summary.password_file, "drives": summary.drives, "rebuilt": summary.rebuilt, "recovery_points": summary.recovery_points}),
        )
    }

    fn source(&self) -> Result<PathBuf, Failure> {
        let candidates = match &self.source {
            Some(source) => vec![source.clone()],
            None => vec![PathBuf::from("/usr/share/doc"), PathBuf::from("/usr/share")],
        };
        let found = candidates.iter().find(|path| path.is_dir());
        let found = found.ok_or_else(|| {
            let names: Vec<String> =
                candidates.iter().map(|path| path.display().to_string()).collect();
            Failure::new(
                ErrorKind::NotFound,
                format!("{} is no folder; give one with --source", names.join(" nor ")),
            )
        })?;
        std::fs::canonicalize(found).map_err(|e| Failure::io("looking up", found, e))
    }

    /// The folder to work in, and whether it was made here, and so may be removed.
    fn workdir(&self) -> Result<(PathBuf, bool), Failure> {
        let path = match &self.workdir {
            Some(path) => path.clone(),
            None => std::env::temp_dir().join(format!("packmule-demo-{}", std::process::id())),
        };
        let new = !path.exists();
        std::fs::create_dir_all(&path).map_err(|e| Failure::io("making", &path, e))?;
        let path = std::fs::canonicalize(&path).map_err(|e| Failure::io("looking up", &path, e))?;
        let mut entries = std::fs::read_dir(&path).map_err(|e| Failure::io("reading", &path, e))?;
        if entries.next().is_some() {
            let words =
                format!("{} is not empty: the demo wants a folder of its own", path.display());
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        Ok((path, new))
    }
}

/// Copies of the source, staging, drives, storage account, vault, two restores: nine times its size at most.
fn refuse_without_room(work: &Path, bytes: u64) -> Result<(), Failure> {
    let stat = rustix::fs::statvfs(work)
        .map_err(|errno| Failure::io("looking at", work, std::io::Error::from(errno)))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = bytes.saturating_mul(9).saturating_add(256 << 20);
    if free >= needed {
        return Ok(());
    }
    let words = format!(
        "{} has {} free, the demo may need {}; choose a smaller --source or a larger --workdir",
        work.display(),
        ByteSize(free),
        ByteSize(needed)
    );
    Err(Failure::new(ErrorKind::Full, words))
}
