//! `packmule seed prepare`.

use super::bays::{Bays, DriveOptions, Room};
use super::drives::{Writing, show_prepared};
use super::keys_folder;
use super::rates::{Report, survives};
use crate::context::{Context, RepoOptions, open_store, state_folder};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Progress;
use clap::Args;
use keyring::DriveKeys;
use model::{ByteSize, ErrorKind};
use repo::{LockGuard, LockMode, Repository};
use seed::{Lacking, Object, Options, Prepared, SigningKey, Trust};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Rate, RateLimit, Store, SystemClock};

/// Write a drive set from a repository
///
/// As few of the drives as can hold everything are written, all at once, each at its full rate; the
/// others stay empty. When drives run out, run the same command with more of them: nothing is copied
/// twice. Each drive is read back before it is sealed.
///
/// With --parity K, any K drives of the set may be lost, or be damaged in the same places, and `seed import` rebuilds
/// what was on them. The K largest drives that are empty are kept for it, as long as the others hold the data; a
/// parity drive must be as large as the fullest data drive. It is written with the data where all drives are given together, else last,
/// in this call or a later one.
///
/// A drive that is not one of this set yet is formatted and encrypted first: only after you have confirmed
/// its model, serial number and size. `packmule drive key` shows the password with which the other end
/// opens it.
///
/// With --lacking-in LOCATION only what that place lacks travels. It must have the same repository already, as after an
/// earlier `seed import`, which joins the drives to it; what went missing there meanwhile is named then. What was chosen
/// once stays chosen until it is on sealed drives.
///
/// Example: packmule seed prepare -r /srv/backup --drive /dev/sdb --drive /dev/sdc
/// Example: packmule seed prepare -r /srv/backup --drive /dev/sdb /dev/sdc /dev/sdd --parity 1
/// Example: packmule seed prepare -r /srv/backup --lacking-in /mnt/elsewhere --drive /dev/sdb
#[derive(Args, Debug)]
#[command(mut_arg("drive", |drive| drive.required(true)))]
pub(crate) struct Prepare {
    #[command(flatten)]
    repo: RepoOptions,
    #[command(flatten)]
    drives: DriveOptions,
    #[command(flatten)]
    writing: Writing,
    /// Parity drives: how many drives of the set may be lost
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..10))]
    parity: u32,
    /// Write what this place lacks of the repository, which it has an older state of, and nothing else
    #[arg(long, value_name = "LOCATION")]
    lacking_in: Option<String>,
    /// Where state is kept: signing key, seeds, journals of interrupted backups
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Only say what would go where
    #[arg(long)]
    dry_run: bool,
}

impl Prepare {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let repository = context.repository(&self.repo)?;
        let state = state_folder(self.state.as_deref())?;
        let folder = keys_folder(&state);
        if let Some(location) = &self.lacking_in {
            let location = open_store(location, self.repo.cacert.as_deref())?;
            return self.catch_up(context, &repository, &state, location.as_ref());
        }
        if self.dry_run {
            let keys = folder.is_dir().then(|| DriveKeys::open(&folder)).transpose()?;
            let drives = self.drives.plan(context, keys.as_ref())?;
            let objects = seed::freeze(&[repository.store().as_ref()])?.objects;
            return plan(context, &objects, &drives, (self.writing, self.parity as usize));
        }
        // Nothing may be pruned away while it is copied.
        let lock = repository.lock(LockMode::Shared)?;
        let keys = DriveKeys::open(&folder)?;
        let bays = self.drives.ready(context, &keys, &context.terminal(), || Ok(()))?;
        let folder = state.join("standalone").join(repository.identity().to_hex());
        self.write(context, &repository, (&state, &folder), bays, (&lock, None))
    }

    /// Writes what a location lacks.
    fn catch_up(
        &self,
        context: &Context,
        repository: &Repository,
        state: &Path,
        location: &dyn Store,
    ) -> Outcome {
        if let Err(store::Error::NotFound { .. }) = location.length(&model::ObjectKey::Config) {
            return Err(no_repository(location));
        }
        let printer = &context.printer;
        let lock = repository.lock(LockMode::Shared)?;
        let known = known_signer(state)?;
        let folder = state.join("lacking").join(repository.identity().to_hex());
        let now = jiff::Timestamp::now();
        let lacking = seed::lacking(&folder, &known, now, repository.store().as_ref(), location)?;
        let Some(lacking) = lacking else {
            printer.line(format!("{} lacks nothing: no drive is needed", location.location()));
            printer.object("summary", &json!({"complete": true, "lacking_objects": 0}));
            return Ok(Status::Done);
        };
        show_lacking(context, location, &lacking);
        let objects = &lacking.objects;
        if self.dry_run {
            let keys = keys_folder(state);
            let keys = keys.is_dir().then(|| DriveKeys::open(&keys)).transpose()?;
            let drives = self.drives.plan(context, keys.as_ref())?;
            return plan(context, objects, &drives, (self.writing, self.parity as usize));
        }
        let keys = DriveKeys::open(&keys_folder(state))?;
        let bays = self.drives.ready(context, &keys, &context.terminal(), || Ok(()))?;
        let begun = signer(state).and_then(|signer| Ok(lacking.begin(&signer)?));
        if let Err(failure) = begun {
            bays.leave(context);
            return Err(failure);
        }
        let done = self.write(
            context,
            repository,
            (state, &lacking.folder),
            bays,
            (&lock, Some(objects.as_slice())),
        )?;
        Ok(if lacking.conflicts.is_empty() { done } else { Status::Partial })
    }

    fn write(
        &self,
        context: &Context,
        repository: &Repository,
        folders: (&Path, &Path),
        bays: Bays,
        (lock, only): (&LockGuard, Option<&[Object]>),
    ) -> Outcome {
        let wanted = (self.writing, self.parity, only);
        let prepared = write_from(context, repository.store(), folders, &bays, wanted);
        // Whatever became of it: the drives can be taken out afterwards.
        bays.leave(context);
        let prepared = prepared?;
        lock.check()?;
        show_prepared(context, &prepared);
        Ok(if !prepared.problems.is_empty() {
            Status::Partial
        } else if prepared.is_complete() {
            Status::Done
        } else {
            Status::DriveMissing
        })
    }
}

pub(super) fn signer(state: &Path) -> Result<SigningKey, Failure> {
    Ok(SigningKey::load_or_create(&state.join("signing.key")).map_err(seed::Error::from)?)
}

/// A place that lacks everything.
pub(super) fn no_repository(location: &dyn Store) -> Failure {
    let words = format!(
        "{} has no repository yet: leave --lacking-in out, and all of it travels",
        location.location()
    );
    Failure::new(ErrorKind::NoRepository, words)
}

/// Who has signed what is in a state folder: a plan makes no key.
pub(super) fn known_signer(state: &Path) -> Result<Trust, Failure> {
    match SigningKey::load(&state.join("signing.key")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Trust::AsFound),
        other => Ok(Trust::Key(other.map_err(seed::Error::from)?.public())),
    }
}

fn show_lacking(context: &Context, location: &dyn Store, lacking: &Lacking) {
    let printer = &context.printer;
    let bytes = lacking.objects.iter().map(|object| object.length).sum();
    if let Some(begun) = lacking.begun {
        printer.note(format!(
            "going on with what was chosen on {}; when that is on sealed drives, or {} is removed, the next call chooses anew",
            begun.strftime("%Y-%m-%d %H:%M:%S"),
            lacking.folder.display()
        ));
    }
    printer.line(format!(
        "{} lacks {} of {} objects, {}",
        location.location(),
        lacking.objects.len(),
        lacking.of(),
        ByteSize(bytes)
    ));
    for object in &lacking.conflicts {
        let words = "the location has other bytes of that name: it takes the right ones only after these are removed";
        printer.problem(&object.key().to_string(), words);
    }
    let object = json!({
        "location": location.location(), "objects": lacking.objects.len(), "of": lacking.of(),
        "bytes": bytes, "begun": lacking.begun.map(|begun| begun.to_string()),
    });
    printer.object("lacking", &object);
}

/// Writes a seed of what a store has, or of some of that. Its state is in `folder`, the signing key in `state`.
pub(super) fn write_from(
    context: &Context,
    store: &Arc<dyn Store>,
    (state, folder): (&Path, &Path),
    bays: &Bays,
    (writing, parity, only): (Writing, u32, Option<&[Object]>),
) -> Result<Prepared, Failure> {
    let signer = signer(state)?;
    let progress = Progress::new(&context.printer, "writing drives");
    let options = Options {
        state: folder,
        signer: &signer,
        seed: None,
        set: 0,
        now: jiff::Timestamp::now(),
        read_back: bays,
        filling: writing.filling(),
        parity,
        most: wire::MAX_DRIVES,
        list: None,
        only,
    };
    let mut store = Arc::clone(store);
    if writing.limit_rate() > 0 {
        let rate = Rate::new(writing.limit_rate());
        store = Arc::new(RateLimit::new(store, rate, Arc::new(SystemClock::new())));
    }
    let mut report = Report::new(&progress, &context.stop);
    let prepared = seed::prepare(&options, &[&store], &bays.specs, &mut report)?;
    progress.finish();
    Ok(prepared)
}

/// The same plan that preparing makes, printed.
pub(crate) fn plan(
    context: &Context,
    objects: &[seed::Object],
    drives: &[Room],
    (writing, parity): (Writing, usize),
) -> Outcome {
    // 44 bytes an object, and room for header and signature.
    let inventory = 44 * objects.len() as u64 + (64 << 10);
    let mut drives: Vec<&Room> = drives.iter().collect();
    let kept = drives.len().min(parity);
    // As preparing does: the largest are kept for parity.
    let mut by_size: Vec<(usize, &Room)> = drives.iter().copied().enumerate().collect();
    by_size.sort_by_key(|(at, drive)| std::cmp::Reverse((drive.bytes, *at)));
    let for_parity: Vec<&Room> = by_size.into_iter().map(|(_, drive)| drive).take(kept).collect();
    drives.retain(|drive| !for_parity.iter().any(|other| other.path == drive.path));
    let room = |drive: &&Room| {
        let free = if parity > 0 { seed::kept_free(drive.bytes, inventory) } else { 0 };
        seed::Room::new(drive.bytes.saturating_sub(free), inventory)
    };
    let rooms: Vec<seed::Room> = drives.iter().map(room).collect();
    let plan = seed::plan(objects, &rooms, inventory, writing.filling()).map_err(|large| {
        let words = format!(
            "one object needs {}, the largest drive has {}",
            ByteSize(large.needed),
            ByteSize(large.largest)
        );
        Failure::new(ErrorKind::Full, words)
    })?;
    for (drive, objects) in drives.iter().zip(&plan.drives) {
        let bytes = objects.iter().map(|object| object.length).sum();
        context.printer.line(format!(
            "{}: {} objects, {}",
            drive.path.display(),
            objects.len(),
            ByteSize(bytes)
        ));
        let object = json!({"path": drive.path, "objects": objects.len(), "bytes": bytes});
        context.printer.object("planned_drive", &object);
    }
    for drive in &for_parity {
        context.printer.line(format!("{}: parity", drive.path.display()));
        context.printer.object("planned_drive", &json!({"path": drive.path, "parity": true}));
    }
    if parity > 0 {
        let data = plan.drives.iter().filter(|objects| !objects.is_empty()).count();
        context.printer.line(survives(data as u64, parity as u64));
    }
    if kept < parity {
        context.printer.line(format!("{} more drives are needed for parity", parity - kept));
    }
    if let Some(shortfall) = plan.shortfall {
        context.printer.line(format!(
            "{} more drives of {} are needed",
            shortfall.drives,
            ByteSize(shortfall.drive_capacity)
        ));
    }
    context.printer.object(
            "summary",
            &json!({"remaining_objects": plan.rest.len(), "drives_missing": plan.shortfall.map(|s| s.drives), "parity_missing": parity - kept}),
        );
    Ok(if plan.rest.is_empty() && kept == parity { Status::Done } else { Status::DriveMissing })
}
