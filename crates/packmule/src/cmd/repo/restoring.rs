//! What any restore can be told, and how it is shown.

use crate::context::Context;
use crate::exit::Status;
use crate::failure::Failure;
use crate::ui::{Ask as _, Progress, duration};
use backup::{Action, Existing, RestoreEvent, RestoreOptions, RestoreOutcome, Select};
use clap::{Args, ValueEnum};
use model::{ByteSize, ErrorKind};
use repo::{Index, NamedSnapshot, Repository};
use serde_json::json;
use std::path::{Path, PathBuf};
use workload::{Files, Home, Workload as _};

/// What to restore, and how.
#[derive(Args, Debug, Clone)]
pub(crate) struct Wanted {
    /// The folder to restore into; made when it is not there
    #[arg(long, value_name = "DIR", required_unless_present = "original")]
    target: Option<PathBuf>,
    /// Restore to where it was. What that would do is shown first, and done once it is confirmed
    #[arg(long, conflicts_with = "target", requires = "existing")]
    original: bool,
    /// Only this path, with all below it; may be repeated
    #[arg(long, value_name = "PATH")]
    path: Vec<PathBuf>,
    /// Only what matches, as in a .gitignore in the root of the file system, with all below it; may be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out what matches, with all below it; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// What becomes of what is there and differs: skip, overwrite or keep-both [default: a target that holds something is
    /// refused]
    #[arg(long, value_name = "WHAT")]
    existing: Option<Kept>,
    /// Only list what would be made, replaced and kept
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Read everything back from the medium afterwards, and compare it with the repository's hashes: takes as long again as reading
    /// all of it
    #[arg(long)]
    verify: bool,
    /// With --original: do it without asking
    #[arg(long, requires = "original")]
    yes: bool,
    /// Owners by name, as this machine knows them, instead of by number
    #[arg(long)]
    owner_by_name: bool,
}

/// What becomes of what is there.
#[derive(ValueEnum, Debug, Clone, Copy)]
enum Kept {
    /// It stays, and what was to be restored in its place is left out
    Skip,
    /// It is replaced, once what replaces it is whole
    Overwrite,
    /// It stays, and what is restored gets a name of its own beside it: NAME.restored-ID
    KeepBoth,
}

/// A restore.
pub(crate) struct Restoring<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) named: &'a NamedSnapshot,
    /// Only what is below this path, straight into the target.
    pub(crate) below: Option<PathBuf>,
    /// Where is noted what has begun.
    pub(crate) journals: Option<PathBuf>,
}

/// What goes into one folder.
struct Part {
    target: PathBuf,
    below: Option<PathBuf>,
    select: Select,
}

impl Wanted {
    /// Whether anything is written.
    pub(crate) fn writes(&self) -> bool {
        !self.dry_run
    }

    /// The folder; none for the original place.
    pub(crate) fn target(&self) -> Option<&Path> {
        self.target.as_deref()
    }

    fn existing(&self) -> Existing {
        match self.existing {
            None => Existing::Refuse,
            Some(Kept::Skip) => Existing::Skip,
            Some(Kept::Overwrite) => Existing::Overwrite,
            Some(Kept::KeepBoth) => Existing::KeepBoth,
        }
    }

    /// Each path of the snapshot goes to where it was: into the nearest folder above it that is there, which may be reached
    /// through links. Below that, no link is followed.
    fn parts(&self, restoring: &Restoring<'_>) -> Result<Vec<Part>, Failure> {
        let select = Select::new(&self.path, &self.include, &self.exclude)?;
        if let Some(target) = &self.target {
            let below = restoring.below.clone();
            return Ok(vec![Part { target: target.clone(), below, select }]);
        }
        let paths = restoring.named.snapshot.paths.iter().map(PathBuf::from);
        let paths: Vec<PathBuf> = paths.filter(|path| path.is_absolute()).collect();
        if paths.is_empty() {
            let words = "this snapshot does not say where its paths were: give --target DIR";
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let homes = Files::as_they_are(paths).homes(&select).into_iter();
        let part =
            |home: Home| Part { target: home.target, below: Some(home.below), select: home.select };
        Ok(homes.map(part).collect())
    }
}

impl Restoring<'_> {
    /// Restores, showing progress, problems and summary.
    pub(crate) fn run(&self, context: &Context, wanted: &Wanted) -> Result<Status, Failure> {
        let (outcome, is_damaged) = self.done(context, wanted)?;
        Ok(status(&outcome, is_damaged))
    }

    /// The same; answers what was done, and whether the index is damaged.
    pub(crate) fn done(
        &self,
        context: &Context,
        wanted: &Wanted,
    ) -> Result<(RestoreOutcome, bool), Failure> {
        let index = self.repository.load_index()?;
        for fault in &index.damaged {
            context.printer.problem("index", &fault.to_string());
        }
        self.check_paths(&index.value, wanted)?;
        let parts = wanted.parts(self)?;
        if wanted.original && !wanted.dry_run && !wanted.yes {
            self.confirm(context, &index.value, wanted, &parts)?;
        }
        let what = if wanted.dry_run { "looking" } else { "restoring" };
        let progress = Progress::new(&context.printer, what);
        let outcome =
            self.all(context, &index.value, (wanted, wanted.dry_run), &parts, &|target, event| {
                show(context, &progress, wanted.dry_run, target, &event);
            })?;
        let elapsed = progress.finish();
        self.summarize(context, wanted, &outcome, elapsed);
        Ok((outcome, !index.damaged.is_empty()))
    }

    /// A path that was named and is not there is a slip, which nobody should find out later.
    fn check_paths(&self, index: &Index, wanted: &Wanted) -> Result<(), Failure> {
        for path in &wanted.path {
            let clean = backup::absolute(Path::new("/"), path);
            if !backup::is_in(self.repository, index, self.named.snapshot.tree, &clean)? {
                return Err(backup::Error::NotInSnapshot { path: path.clone() }.into());
            }
        }
        Ok(())
    }

    fn all(
        &self,
        context: &Context,
        index: &Index,
        (wanted, dry_run): (&Wanted, bool),
        parts: &[Part],
        show: &(dyn Fn(&Path, RestoreEvent<'_>) + Sync),
    ) -> Result<RestoreOutcome, Failure> {
        let (mut whole, mut nothing) = (None::<RestoreOutcome>, None);
        for part in parts {
            let events = |event: RestoreEvent<'_>| show(&part.target, event);
            let options = RestoreOptions {
                below: part.below.clone(),
                select: part.select.clone(),
                existing: wanted.existing(),
                suffix: format!(".restored-{}", self.named.id.short()),
                dry_run,
                verify: wanted.verify,
                journals: self.journals.clone(),
                owner_by_name: wanted.owner_by_name,
                threads: context.threads,
                ..RestoreOptions::into_folder(&part.target, &context.stop, &events)
            };
            match backup::restore(self.repository, index, self.named.snapshot.tree, &options) {
                Ok(outcome) => whole = Some(whole.unwrap_or_default().and(outcome)),
                // What was asked for may be in another part.
                Err(error @ backup::Error::NothingSelected) => nothing = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        whole.ok_or_else(|| nothing.unwrap_or(backup::Error::NothingSelected).into())
    }

    /// Says what would be done, and asks.
    fn confirm(
        &self,
        context: &Context,
        index: &Index,
        wanted: &Wanted,
        parts: &[Part],
    ) -> Result<(), Failure> {
        let terminal = context.terminal();
        if context.printer.is_json() || !terminal.is_there() {
            let words = "nobody is there to confirm what would be done where the data was: look at it with --dry-run, then give --yes";
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let progress = Progress::new(&context.printer, "looking");
        let planned = self.all(context, index, (wanted, true), parts, &|_, _| {})?;
        progress.finish();
        for part in parts {
            context.printer.note(format!("below {}:", part.target.display()));
        }
        let made = planned.files + planned.others - planned.replaced - planned.beside;
        context.printer.note(format!(
            "{made} files and others would be made, {} replaced, {} put beside others, {} left out; {} are as they should be",
            planned.replaced, planned.beside, planned.skipped, planned.same
        ));
        if terminal.ask("yes", "Type yes to restore")? == "yes" {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::Interrupted, "not confirmed: nothing was changed"))
    }

    fn summarize(
        &self,
        context: &Context,
        wanted: &Wanted,
        outcome: &RestoreOutcome,
        elapsed: std::time::Duration,
    ) {
        let printer = &context.printer;
        let target = wanted
            .target
            .as_deref()
            .map_or_else(|| "where they were".to_owned(), |target| target.display().to_string());
        printer.line(format!(
            "{} {} files, {} directories and {} others, {} in {}, from snapshot {} to {target}",
            if wanted.dry_run { "would restore" } else { "restored" },
            outcome.files,
            outcome.dirs,
            outcome.others,
            ByteSize(outcome.bytes),
            duration(elapsed),
            self.named.id.short(),
        ));
        for (number, words) in [
            (outcome.replaced, "of them replaced something"),
            (outcome.beside, "of them have a name of their own, beside something else"),
            (outcome.same, "were there already"),
            (outcome.skipped, "left out, because something else is there"),
            (
                outcome.not_given,
                "belong to somebody else than they did: only root can give them away",
            ),
            (outcome.not_as_written, "do not read back as they were written"),
        ] {
            if number > 0 {
                printer.line(format!("  {number} {words}"));
            }
        }
        if let Some(bytes) = outcome.verified {
            printer.line(format!("  {} read back from the medium and compared", ByteSize(bytes)));
        }
        printer.object(
            "summary",
            &json!({
                "snapshot_id": self.named.id,
                "target": wanted.target,
                "original": wanted.original,
                "dry_run": wanted.dry_run,
                "files_restored": outcome.files,
                "dirs_restored": outcome.dirs,
                "others_restored": outcome.others,
                "bytes_restored": outcome.bytes,
                "replaced": outcome.replaced,
                "beside": outcome.beside,
                "same": outcome.same,
                "skipped": outcome.skipped,
                "owners_not_set": outcome.not_given,
                "bytes_verified": outcome.verified,
                "not_as_written": outcome.not_as_written,
                "seconds_elapsed": elapsed.as_secs_f64(),
                "problems": outcome.problems.len(),
            }),
        );
    }
}

/// How a restore ends.
pub(crate) fn status(outcome: &RestoreOutcome, is_damaged: bool) -> Status {
    match outcome.not_as_written {
        0 if outcome.problems.is_empty() && !is_damaged => Status::Done,
        0 => Status::Partial,
        _ => Status::Damaged,
    }
}

fn show(
    context: &Context,
    progress: &Progress<'_>,
    dry_run: bool,
    target: &Path,
    event: &RestoreEvent<'_>,
) {
    match event {
        RestoreEvent::Total { files, bytes } => progress.total(*bytes, *files),
        RestoreEvent::Bytes(bytes) => progress.bytes(*bytes),
        RestoreEvent::File => progress.item(),
        RestoreEvent::Problem(problem) => {
            progress.problem(&problem.path.display().to_string(), &problem.fault.to_string());
        }
        RestoreEvent::Item { path, action, bytes } => {
            let (path, word) = (target.join(path), word(*action));
            progress.object("item", &json!({"path": path, "action": word, "bytes": bytes}));
            if dry_run && *action != Action::Same {
                progress.aside(|| context.printer.line(format!("{word:<8} {}", path.display())));
            }
        }
        RestoreEvent::Resumed => progress.note("going on with a restore that was interrupted"),
        RestoreEvent::NoJournal(why) => progress.note(&format!(
            "what is begun cannot be noted ({why}); after an interruption, go on with --existing skip"
        )),
        RestoreEvent::Verifying => progress.note("reading back what was written"),
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Make => "make",
        Action::Replace => "replace",
        Action::Beside => "beside",
        Action::Same => "same",
        Action::Skip => "keep",
    }
}
