//! `packmule seed backup`.

use super::bays::{DriveOptions, Room};
use super::drives::show_drives;
use super::keys_folder;
use super::rates::{ANOTHER_PASS, Rates, show_direct};
use super::shelf::Shelf;
use crate::cmd::repo::{How, backup_options, counting, hold, show_backup, summarize};
use crate::context::{Context, PasswordOptions, open_store, state_folder};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Progress;
use agent::{Base, Desk, Direct, Over, Turn, Wish};
use backup::BackupEvent;
use clap::Args;
use keyring::DriveKeys;
use model::{ByteSize, ObjectKey};
use repo::Repository;
use seed::direct::{Cover, DriveSet, Report};
use seed::{DriveSpec, Event, Events, SigningKey, Trust};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::Store;

/// Back up straight onto a drive set, without staging
///
/// For data that no disk has room for a second time. What is in the files goes onto the drives, one drive after the
/// other; directories and index are kept in the state folder, and go onto the last drive as well. Everything is read back
/// while it is still in memory, and once more when its drive is sealed. What fails later, as a drive that breaks or
/// is pulled out, is backed up again from the source before the snapshot is written.
///
/// When the drives are full, the next one is asked for; without a terminal the command ends with exit code 13. The same
/// command with the next drive goes on, as it does after an interruption. A sealed drive need not be there any more, one that is not
/// sealed has to be: otherwise what is on it is read from the source again.
///
/// With --parity K any K drives may be lost, or be damaged in the same places. All drives have to be attached from the
/// beginning then, those for parity too: the K largest empty ones are kept for it, and written last, when everything else is
/// on sealed drives. That reads these once more.
///
/// The result is a drive set as that of `seed prepare`, for `seed verify` and `seed import`. Its repository
/// is made in the state folder, by the first call, with the password that you give. More drives than a set has are further
/// sets of the same seed; --set-drives N makes sets of fewer drives than ten.
///
/// Once everything is on sealed drives, --catch-up begins the next seed from the same state folder: its drives carry only what those before
/// lack. With --lacking-in LOCATION they carry what that place lacks, whatever was sent before; it has the repository, as after `seed import`, and
/// is asked for its indexes and directories in each call. As the first call from a state folder, --lacking-in takes its repository from there. Where the
/// drives are taken in, nothing of them is published as long as anything that they rely on is missing.
///
/// Example: packmule seed backup /srv --drive /dev/sdb --state /var/lib/packmule/first
/// Example: packmule seed backup /srv --drive /dev/sdb /dev/sdc /dev/sdd --parity 1 --state /var/lib/packmule/first
/// Example: packmule seed backup /srv --catch-up --drive /dev/sde --state /var/lib/packmule/first
#[derive(Args, Debug)]
#[command(mut_arg("drive", |drive| drive.required(true)))]
#[command(mut_arg("state", |state| state.required(true)))]
#[command(mut_arg("force", |force| force.hide(true)))]
pub(crate) struct Backup {
    /// What to back up
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    drives: DriveOptions,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    password: PasswordOptions,
    /// Bytes of packs held in memory until they were read back, at most [default: 256M]
    #[arg(long, value_name = "SIZE")]
    window: Option<ByteSize>,
    /// Parity drives: how many drives of the set may be lost; all of them have to be attached together
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..10))]
    parity: u32,
    /// Drives of a set at most, parity included [default: as for these drives before, else 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10))]
    set_drives: Option<u32>,
    /// Once everything is on sealed drives: the next drives, with what those before lack
    #[arg(long)]
    catch_up: bool,
    /// Write only what this place lacks of what is backed up; it has the repository already
    #[arg(long, value_name = "LOCATION")]
    lacking_in: Option<String>,
    /// Certificate authority to trust for a rest: location, a PEM file
    #[arg(long, env = "PACKMULE_CACERT", value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Only say how much there is, and what would be done to the drives
    #[arg(long)]
    dry_run: bool,
}

/// The set that a call writes.
struct Set<'a> {
    paths: &'a [PathBuf],
    turn: Turn,
    /// The half that stays here.
    repository: Repository,
    /// What it leaves out.
    base: Option<Base>,
    signer: SigningKey,
}

impl Backup {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let here =
            std::env::current_dir().map_err(|e| Failure::io("looking up", Path::new("."), e))?;
        let paths: Vec<PathBuf> =
            self.paths.iter().map(|path| backup::absolute(&here, path)).collect();
        let state = state_folder(self.how.state.as_deref())?;
        let turn = self.turn(&state)?;
        if self.dry_run {
            return self.plan(context, &state, &paths, &turn);
        }
        let set = self.begin(context, (&state, &paths), turn)?;
        let keys = DriveKeys::open(&keys_folder(&state))?;
        let shelf = Shelf::default();
        let outside = || Ok(agent::refuse_inside(&paths, [Path::new(drive::MOUNTS)])?);
        let bays = self.drives.ready(context, &keys, &context.terminal(), outside)?;
        let drives: Vec<DriveSpec> = shelf.put(bays).into_iter().map(|given| given.drive).collect();
        let folders = drives.iter().map(|drive| drive.folder.as_path());
        let done = agent::refuse_inside(&paths, folders).map_err(Failure::from).and_then(|()| {
            let data = self.data_drives(&set, &drives)?;
            self.write(context, &set, (&keys, &shelf, &data))
        });
        // Whatever became of it: the drives can be taken out afterwards.
        shelf.leave(context);
        let done = done?;
        if self.parity == 0 || !matches!(done, Status::Done | Status::Partial) {
            return Ok(done);
        }
        let covered = self.cover(context, &set, &keys)?;
        Ok(if covered == Status::Done { done } else { covered })
    }

    /// Which set it is. Changes nothing.
    fn turn(&self, state: &Path) -> Result<Turn, Failure> {
        let wish = Wish {
            next: self.catch_up,
            place: self.lacking_in.is_some(),
            parity: self.parity,
            most: self.set_drives,
        };
        Ok(Turn::find(state, &super::prepare::known_signer(state)?, &wish)?)
    }

    /// Opens its repository; the first call makes it.
    fn begin<'a>(
        &self,
        context: &Context,
        (state, paths): (&Path, &'a [PathBuf]),
        mut turn: Turn,
    ) -> Result<Set<'a>, Failure> {
        // What is complete relies on nothing that somebody has to look at.
        let location = self.lacking_in.as_deref().filter(|_| !turn.complete);
        let location =
            location.map(|it| location_of_repository(it, self.cacert.as_deref())).transpose()?;
        let is_new = !turn.has_repository() && turn.over() == Over::Nothing;
        let password = self.password.read(context, is_new)?;
        let (password, author) = (password.as_bytes(), &context.author);
        let open = |location| Repository::open(location, password, author.clone());
        let place = location.map(open).transpose()?;
        store::durable::create_folder(state, 0o700).map_err(|e| Failure::io("making", state, e))?;
        let now = jiff::Timestamp::now();
        let repository = turn.begin(place.as_ref(), (password, author), now)?;
        let signer = super::prepare::signer(state)?;
        let printer = &context.printer;
        if is_new {
            printer.note(format!(
                "made a repository in {}; its password is the only way into what is on the drives",
                state.display()
            ));
        }
        if turn.complete {
            return Ok(Set { paths, turn, repository, base: None, signer });
        }
        match (turn.over(), &place) {
            (Over::Place, Some(place)) => {
                printer.note(format!("these drives carry what {} lacks", place.location()));
            }
            (Over::Earlier, _) => printer.note("these drives carry what those before lack"),
            _ => {}
        }
        let base = turn.base(&Trust::Key(signer.public()), place.as_ref())?;
        Ok(Set { paths, turn, repository, base, signer })
    }

    /// All but those that are kept for parity.
    fn data_drives(&self, set: &Set<'_>, drives: &[DriveSpec]) -> Result<Vec<DriveSpec>, Failure> {
        if self.parity == 0 {
            return Ok(drives.to_vec());
        }
        let (folder, trust) = (set.turn.folder(), Trust::Key(set.signer.public()));
        Ok(seed::direct::roles(&folder, &trust, drives, (self.parity, set.turn.most()))?.data)
    }

    /// Parity, once everything else is on sealed drives.
    fn cover(&self, context: &Context, set: &Set<'_>, keys: &DriveKeys) -> Outcome {
        let drives = self.drives.still_attached(context);
        let bays = drives.ready(context, keys, &context.terminal(), || Ok(()))?;
        let what = Cover {
            state: &set.turn.folder(),
            signer: &set.signer,
            seed: set.turn.seed(&set.repository),
            now: jiff::Timestamp::now(),
            read_back: &bays,
            parity: self.parity,
            most: set.turn.most(),
        };
        let progress = Progress::new(&context.printer, "writing parity");
        let mut events = super::rates::Report::new(&progress, &context.stop);
        let local = Arc::clone(set.repository.store());
        let covered = seed::direct::cover(&what, local, &bays.specs, &mut events);
        progress.finish();
        bays.leave(context);
        let covered = covered?;
        show_drives(context, &covered.drives);
        let (missing, parity) = (covered.parity_missing, self.parity);
        context.printer.line(match missing {
            0 => format!("any {parity} of these drives may be lost"),
            _ => format!(
                "{missing} parity drives are missing: run the same command with all drives again"
            ),
        });
        let object = json!({"seed": covered.seed, "parity": parity, "parity_missing": missing});
        context.printer.object("parity", &object);
        Ok(if missing == 0 { Status::Done } else { Status::DriveMissing })
    }

    fn write(
        &self,
        context: &Context,
        set: &Set<'_>,
        (keys, shelf, drives): (&DriveKeys, &Shelf, &[DriveSpec]),
    ) -> Outcome {
        let (folder, paths, base) = (set.turn.folder(), set.paths, set.base.as_ref());
        let set_options = seed::direct::Options {
            state: &folder,
            signer: &set.signer,
            seed: set.turn.seed(&set.repository),
            now: jiff::Timestamp::now(),
            read_back: shelf,
            window: self.window.map_or(seed::direct::WINDOW, |window| window.0),
            most: set.turn.most(),
            elsewhere: base.map_or(&[], |base| base.objects.as_slice()),
        };
        let progress = Progress::new(&context.printer, "backing up").counting("files");
        let show = |event: BackupEvent<'_>| show_backup(&progress, &event);
        let held = hold(&progress, paths.to_vec(), &self.how)?;
        let options = backup_options(context, held.as_ref(), &self.how, &show)?;
        let (stop, rates) = (&*context.stop, Rates::default());
        let ask = |refused: Option<&seed::Error>| {
            if let Some(error) = refused {
                progress.problem("this drive", &crate::failure::chain(error).join(": "));
            }
            let may_use = |path: &Path| refuse_mount(paths, path);
            if self.parity > 0 {
                // It would have to be attached from the beginning, as all others are.
                return None;
            }
            let asked = shelf.ask(context, &self.drives, keys, (&progress, &may_use));
            asked.map(|given| given.drive)
        };
        let mut teller = Teller { progress: &progress, rates: &rates, stop, ask: &ask };
        let local = Arc::clone(set.repository.store());
        let mut drive_set = DriveSet::open(set_options, local, drives, &mut teller)?;
        let backing_up = || {
            let (backups, known) = (std::slice::from_ref(&options), base.map(|base| &base.store));
            agent::backup_onto_drives(&set.repository, &mut drive_set, &mut teller, backups, known)
        };
        let done = counting(&progress, paths, backing_up);
        held.release(&|notice| progress.note(&notice.to_string()));
        let done = done?;
        let elapsed = progress.finish();
        let report = drive_set.report();
        show_drives(context, &report.drives);
        context.printer.line(format!("signer: {}", report.fingerprint));
        Ok(self.show(context, set, &report, (done, elapsed)))
    }

    /// What came of it.
    fn show(
        &self,
        context: &Context,
        set: &Set<'_>,
        report: &Report,
        (done, elapsed): (Direct, Duration),
    ) -> Status {
        let (printer, facts) = (&context.printer, facts(report, set.turn.over()));
        match done {
            Direct::Complete(outcomes) => {
                printer.line("everything is on sealed drives");
                match set.turn.over() {
                    Over::Nothing => {}
                    Over::Earlier => printer.line(
                        "where these are taken in, nothing of them is published before the drives before are, too",
                    ),
                    Over::Place => printer.line(
                        "where these are taken in, nothing of them is published if something is missing that they rely on",
                    ),
                }
                outcomes.iter().for_each(|outcome| summarize(context, outcome, elapsed, &facts));
                let is_whole = outcomes.iter().all(|outcome| outcome.problems.is_empty());
                if is_whole { Status::Done } else { Status::Partial }
            }
            Direct::Already => {
                let words = "everything is on sealed drives since an earlier call; nothing was backed up now. \
                    For what has changed since, run packmule repo backup with the repository that the drives were \
                    imported into, or this command with --catch-up and further drives";
                printer.line(words);
                printer.object("summary", &facts);
                Status::Done
            }
            Direct::NeedsDrive => {
                printer.line(match self.parity {
                    0 => "another drive is needed: run the same command with it",
                    _ => "another drive is needed: run the same command with it and all of these",
                });
                printer.object("summary", &facts);
                Status::DriveMissing
            }
        }
    }

    /// How much there is, and how much the drives given take.
    fn plan(&self, context: &Context, state: &Path, paths: &[PathBuf], turn: &Turn) -> Outcome {
        let folder = keys_folder(state);
        let keys = folder.is_dir().then(|| DriveKeys::open(&folder)).transpose()?;
        let rooms = self.drives.plan(context, keys.as_ref())?;
        plan_backup(context, &rooms, paths);
        if turn.complete {
            let words =
                "everything is on sealed drives since an earlier call: nothing would be backed up";
            context.printer.line(words);
        } else if turn.over() != Over::Nothing {
            context.printer.line("of that, only what is lacking is written");
        }
        Ok(Status::Done)
    }
}

/// A place that has a repository.
fn location_of_repository(
    location: &str,
    cacert: Option<&Path>,
) -> Result<Arc<dyn Store>, Failure> {
    let location = open_store(location, cacert)?;
    match location.length(&ObjectKey::Config) {
        Err(store::Error::NotFound { .. }) => Err(super::prepare::no_repository(&*location)),
        other => {
            other?;
            Ok(location)
        }
    }
}

/// A drive that is not a folder is mounted where nothing is backed up.
pub(crate) fn refuse_mount(paths: &[PathBuf], drive: &Path) -> Result<(), Failure> {
    let at = if drive.is_dir() { drive } else { Path::new(drive::MOUNTS) };
    Ok(agent::refuse_inside(paths, [at])?)
}

/// Shows how much there is, and how much these drives take.
pub(crate) fn plan_backup(context: &Context, rooms: &[Room], paths: &[PathBuf]) {
    let totals = backup::scan(paths, &AtomicBool::new(false));
    let room: u64 = rooms.iter().map(|room| room.bytes).sum();
    let printer = &context.printer;
    printer.line(format!("{} files, {}", totals.files, ByteSize(totals.bytes)));
    for room in rooms {
        printer.line(format!("{}: room for {}", room.path.display(), ByteSize(room.bytes)));
        let object = json!({"path": room.path, "bytes": room.bytes});
        printer.object("planned_drive", &object);
    }
    if totals.bytes > room {
        let more = ByteSize(totals.bytes - room);
        printer.line(format!("{more} more than these drives have, unless it can be compressed"));
    }
    let object = json!({"files": totals.files, "bytes": totals.bytes, "room": room});
    printer.object("summary", &object);
}

fn facts(report: &Report, over: Over) -> serde_json::Value {
    json!({
        "seed": report.seed,
        "over": over,
        "signer": report.fingerprint.to_string(),
        "complete": report.complete,
    })
}

/// Shows what happens, and asks.
struct Teller<'a> {
    progress: &'a Progress<'a>,
    rates: &'a Rates,
    stop: &'a AtomicBool,
    ask: &'a dyn Fn(Option<&seed::Error>) -> Option<DriveSpec>,
}

impl Events for Teller<'_> {
    fn event(&mut self, event: Event<'_>) {
        show_direct(self.progress, self.rates, &event);
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Desk for Teller<'_> {
    fn next_drive(&mut self, refused: Option<&seed::Error>) -> Option<DriveSpec> {
        (self.ask)(refused)
    }

    fn another_pass(&mut self) {
        self.progress.note(ANOTHER_PASS);
    }
}
