//! `packmule repo backup`, and the rendering of any backup.

use crate::context::{Context, RepoOptions, state_folder};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::{Progress, duration};
use backup::{BackupEvent, BackupOptions, BackupOutcome};
use clap::Args;
use model::ByteSize;
use policy::Snapshot;
use repo::{LockMode, Repository, WriterOptions};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use workload::{Files, Held, Workload as _};

/// Back up paths
///
/// Unreadable items are named, the rest goes on, and the exit code is 3. An interrupted backup is
/// continued by the same command: what is stored is not stored again.
///
/// Example: packmule repo backup -r /srv/backup /home /etc
#[derive(Args, Debug)]
pub(crate) struct Backup {
    #[command(flatten)]
    repo: RepoOptions,
    /// What to back up
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
}

/// How a backup is made.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct How {
    /// Host name that the snapshot gets [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Label for the snapshot; may be repeated
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Read every file again, whatever the last snapshot says
    #[arg(long)]
    pub(crate) force: bool,
    /// Keep access times
    #[arg(long)]
    pub(crate) with_atime: bool,
    /// Size at which a pack is closed, 4 MiB to 128 MiB
    #[arg(long, value_name = "SIZE", value_parser = pack_size)]
    pub(crate) pack_size: Option<usize>,
    /// Where state is kept: signing key, seeds, journals of interrupted backups
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// How hard data is compressed
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub(crate) compression: Compression,
    /// Back up from snapshots of the file systems (btrfs, ZFS, LVM): off; auto, where there can be one; require, or not at all
    #[arg(long, value_name = "WHEN", default_value = "off")]
    pub(crate) snapshot: Snapshot,
    #[command(flatten)]
    pub(crate) left_out: LeftOut,
}

/// What is left out.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct LeftOut {
    /// Leave out what matches, as in a .gitignore in the root of the file system; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out files larger than this
    #[arg(long, value_name = "SIZE")]
    exclude_larger_than: Option<ByteSize>,
    /// Leave out what is in a folder that has an entry of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    exclude_if_present: Vec<String>,
    /// Stay on the file systems of the paths
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

impl LeftOut {
    fn exclude(&self) -> Result<backup::Exclude, Failure> {
        Ok(backup::Exclude::new(&self.exclude)?
            .larger_than(self.exclude_larger_than.map(|size| size.0))
            .if_present(&self.exclude_if_present)
            .named(&[workload::FOLDER])
            .one_file_system(self.one_file_system))
    }
}

/// How hard data is compressed.
#[derive(clap::ValueEnum, Debug, Clone, Copy, Default)]
pub(crate) enum Compression {
    /// About as small as restic's default, at a multiple of its speed
    #[default]
    Auto,
    /// Not at all
    Off,
    /// As far as it goes, several times slower
    Max,
}

impl From<Compression> for repo::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Auto => Self::Auto,
            Compression::Off => Self::Off,
            Compression::Max => Self::Max,
        }
    }
}

fn pack_size(text: &str) -> Result<usize, String> {
    let ByteSize(size) = text.parse().map_err(|e: model::SizeError| e.to_string())?;
    match usize::try_from(size) {
        Ok(size) if (4 << 20..=128 << 20).contains(&size) => Ok(size),
        _ => Err("packs have 4 MiB to 128 MiB".into()),
    }
}

impl Backup {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let here =
            std::env::current_dir().map_err(|e| Failure::io("looking up", Path::new("."), e))?;
        let paths = self.paths.iter().map(|path| backup::absolute(&here, path)).collect();
        let repository = context.repository(&self.repo)?;
        let outcome = run_backup(context, &repository, paths, &self.how)?;
        Ok(if outcome.problems.is_empty() { Status::Done } else { Status::Partial })
    }
}

/// Backs up, showing progress, problems and summary.
fn run_backup(
    context: &Context,
    repository: &Repository,
    paths: Vec<PathBuf>,
    how: &How,
) -> Result<BackupOutcome, Failure> {
    let lock = repository.begin_lock(LockMode::Shared)?;
    let progress = Progress::new(&context.printer, "backing up").counting("files");
    let events = |event: BackupEvent<'_>| show(&progress, &event);
    let held = hold(&progress, paths, how)?;
    let options = options(context, held.as_ref(), how, &events)?;
    let backing_up = || backup::backup(repository, &lock, &options);
    let outcome = counting(&progress, &options.paths, backing_up);
    held.release(&|notice| progress.note(&notice.to_string()));
    let outcome = outcome?;
    let elapsed = progress.finish();
    summarize(context, &outcome, elapsed, &json!({}));
    Ok(outcome)
}

/// The paths, in a state that does not change where that is wanted.
pub(crate) fn hold(
    progress: &Progress<'_>,
    paths: Vec<PathBuf>,
    how: &How,
) -> Result<Box<dyn Held>, Failure> {
    let files = Files {
        paths,
        snapshot: how.snapshot,
        one_file_system: how.left_out.one_file_system,
        notes: match how.snapshot {
            // Who takes none need not have a home.
            Snapshot::Off => PathBuf::new(),
            _ => state_folder(how.state.as_deref())?.join("snapshots"),
        },
    };
    Ok(files.hold(&|notice| progress.note(&notice.to_string()))?)
}

/// What these arguments mean.
pub(crate) fn options<'a>(
    context: &'a Context,
    held: &dyn Held,
    how: &How,
    events: &'a (dyn Fn(BackupEvent<'_>) + Sync),
) -> Result<BackupOptions<'a>, Failure> {
    Ok(BackupOptions {
        view: held.view(),
        exclude: how.left_out.exclude()?,
        paths: held.paths().to_vec(),
        hostname: how.host.clone().unwrap_or_else(|| context.author.hostname.clone()),
        tags: how.tag.clone(),
        time: jiff::Timestamp::now(),
        parent: None,
        any_host: false,
        force: how.force,
        with_atime: how.with_atime,
        program_version: concat!("packmule ", env!("CARGO_PKG_VERSION")).into(),
        threads: context.threads,
        writer: WriterOptions {
            pack_size: how.pack_size.unwrap_or(16 << 20),
            compression: how.compression.into(),
        },
        journals: journals(how),
        stop: &context.stop,
        events,
    })
}

/// Counts how much there is to do while it is done.
pub(crate) fn counting<T>(
    progress: &Progress<'_>,
    paths: &[PathBuf],
    work: impl FnOnce() -> T,
) -> T {
    // Counting costs as much as walking.
    let Some(after) = progress.count_after() else { return work() };
    let over = AtomicBool::new(false);
    let (ends, end) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            if end.recv_timeout(after) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let totals = backup::scan(paths, over);
            if !over.load(Ordering::Relaxed) {
                progress.total(totals.bytes, totals.files);
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        drop(ends);
        done
    })
}

/// Where interrupted backups are remembered; nowhere, for who has no home.
fn journals(how: &How) -> Option<PathBuf> {
    state_folder(how.state.as_deref()).ok().map(|state| state.join("journals"))
}

/// Shows one event of a backup.
pub(crate) fn show(progress: &Progress<'_>, event: &BackupEvent<'_>) {
    match event {
        BackupEvent::Parent(Some(parent)) => {
            progress.note(&format!("comparing with snapshot {}", parent.short()));
        }
        BackupEvent::Parent(None) => {}
        BackupEvent::Adopted { packs } => {
            progress.note(&format!("took in {packs} packs that an interrupted backup had stored"));
        }
        BackupEvent::Resumed { files } => {
            progress.note(&format!("an interrupted backup has read {files} files: not read again"));
        }
        BackupEvent::NoJournal(error) => {
            progress
                .note(&format!("an interruption would cost reading again: no journal ({error})"));
        }
        BackupEvent::Remembered { .. } => {}
        BackupEvent::NotHeld { path } => progress.note(&format!(
            "{} is a subvolume of its own, which the snapshot has not got: it is read as it is",
            path.display()
        )),
        BackupEvent::File { .. } | BackupEvent::Unmodified => progress.item(),
        BackupEvent::Bytes(bytes) => progress.bytes(*bytes),
        BackupEvent::Problem(problem) => {
            progress.problem(&problem.path.display().to_string(), &problem.fault.to_string());
        }
    }
}

/// Renders what a backup did. `extra` joins the fields of the JSON summary.
pub(crate) fn summarize(
    context: &Context,
    outcome: &BackupOutcome,
    elapsed: std::time::Duration,
    extra: &serde_json::Value,
) {
    let summary = &outcome.summary;
    let printer = &context.printer;
    printer.line(format!(
        "files: {} new, {} changed, {} unmodified; directories: {} new, {} changed, {} unmodified",
        summary.files_new,
        summary.files_changed,
        summary.files_unmodified,
        summary.dirs_new,
        summary.dirs_changed,
        summary.dirs_unmodified
    ));
    printer.line(format!(
        "processed {} in {}; {} of it known already; new data {}, stored as {}",
        ByteSize(summary.total_bytes_processed),
        duration(elapsed),
        ByteSize(outcome.deduplicated),
        ByteSize(summary.data_added),
        ByteSize(summary.data_added_packed)
    ));
    printer.line(format!("snapshot {} saved", outcome.snapshot.short()));
    let mut object = json!({
        "snapshot_id": outcome.snapshot,
        "parent": outcome.parent,
        "files_new": summary.files_new,
        "files_changed": summary.files_changed,
        "files_unmodified": summary.files_unmodified,
        "dirs_new": summary.dirs_new,
        "dirs_changed": summary.dirs_changed,
        "dirs_unmodified": summary.dirs_unmodified,
        "data_blobs": summary.data_blobs,
        "tree_blobs": summary.tree_blobs,
        "data_added": summary.data_added,
        "data_added_packed": summary.data_added_packed,
        "data_deduplicated": outcome.deduplicated,
        "total_files_processed": summary.total_files_processed,
        "total_bytes_processed": summary.total_bytes_processed,
        "total_duration": elapsed.as_secs_f64(),
        "problems": outcome.problems.len(),
    });
    if let (Some(fields), Some(extra)) = (object.as_object_mut(), extra.as_object()) {
        fields.extend(extra.clone());
    }
    printer.object("summary", &object);
}
