//! `packmule diskprep`: the drives of a seed, its import job, and the shipping details, in the
//! argument spelling of the utility that people know: `s:STAGING`, `p:FILE`, `u:`.

mod copy;
mod dialogue;
mod direct;
pub(super) mod shipping;

use super::agent::{StateOptions, with_agent};
use super::seed::{DriveOptions, Writing, describe, plan, show_drives};
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::{Ask, Nobody};
use agent::{Preparation, PrepareReport, ShipTarget};
use clap::Args;
use dialogue::{Choice, Desk, Dialogue, Ended, Round};
use model::{ByteSize, ErrorKind, GroupName, JobName};
use serde_json::json;
use shipping::{Shipping, confirm};
use std::cell::{Cell, OnceCell};
use std::path::PathBuf;
use wire::{Job, JobState};
use zeroize::Zeroizing;

/// Write a seed's drives and create its import job; later, give the shipping details
///
/// `s:STAGING` writes the drives. On a terminal, what was not given is asked for: which drives, whether to
/// format them, the next ones when they are full, the shipping details. An empty answer leaves it for
/// later; the same command goes on, and nothing is copied twice. When everything is on sealed drives, the
/// import job is created and the shipping address shown. `u:` gives the shipping details; once they are
/// given, it shows how the job stands.
///
/// With --parity K, any K drives of a set may be lost, or be damaged in the same places, and the dock rebuilds what was
/// on them. They travel with the others, and a set still has at most ten drives. The K largest drives that are empty are
/// kept for it, as long as the others hold the data; they are written with the data where all drives are given together, else last, in
/// this call or a later one.
///
/// A seed that is larger than a set spreads over several jobs, which may land in any order. --set-drives N makes sets, and so
/// parcels, of fewer drives than ten.
///
/// A group without a staging location (packmule group create --direct) is backed up by this, straight onto the drives:
/// `--group NAME` instead of `s:STAGING`, on the source server itself. One drive is filled after the other, and the next one is
/// asked for; without a terminal the command ends with exit code 13, and the same command with the next drive goes on. A sealed
/// drive need not be there any more, one that is not sealed has to be: else what is on it is read from the source again.
///
/// With --hold-parity as well, parity drives stay at home, and no parcel can lose both. When data drives were lost or
/// damaged, --send-parity makes a job of their own for them, and `u:` ships it: the dock rebuilds with what has arrived.
///
/// On a copy computer that is not the source server, `p:FILE` names the publish settings of the subscription
/// that the storage account lies in, with both. The repository's password is not needed there.
///
/// Example: packmule diskprep s:/mnt/staging --drive /dev/sdb --drive /dev/sdc
/// Example: packmule diskprep s:/mnt/staging --drive /dev/sdb /dev/sdc /dev/sdd --parity 1
/// Example: packmule diskprep s:/mnt/staging p:seed.publishsettings --drive /dev/sdb
/// Example: packmule diskprep s:/mnt/staging --missing --drive /dev/sdb
/// Example: packmule diskprep --group files --drive /dev/sdb
#[derive(Args, Debug)]
pub(crate) struct Diskprep {
    /// s:STAGING, the staging location; p:FILE, the publish settings, where this is not the source
    /// server: then with s:, too; u:, to give shipping details
    #[arg(value_name = "s:PATH|p:FILE|u:")]
    words: Vec<Word>,
    /// The group whose seed is meant, instead of its staging location; one that has none is backed up onto the drives
    #[arg(long, value_name = "NAME")]
    group: Option<GroupName>,
    #[command(flatten)]
    drives: DriveOptions,
    #[command(flatten)]
    writing: Writing,
    /// Write to drives although this is a virtual machine: they are passed through to it
    #[arg(long)]
    virtual_machine: bool,
    /// Write what the vault still asks for, and nothing else: packmule seed status names it
    #[arg(long)]
    missing: bool,
    /// Parity drives: how many drives of each set may be lost [default: as for this seed before, else none]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(0..10))]
    parity: Option<u32>,
    /// Drives of a set at most, parity included: each set gets an import job, and so a parcel, of its own [default: as for this seed before, else 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10))]
    set_drives: Option<u32>,
    /// Of a group without a staging location: bytes of packs held in memory until they were read back, at most [default: 256M]
    #[arg(long, value_name = "SIZE")]
    window: Option<ByteSize>,
    /// Keep the parity drives at home: the import job has the data drives only [remembered for this seed]
    #[arg(long)]
    hold_parity: bool,
    /// Create the import job of parity drives that were kept at home; writes nothing
    #[arg(long, conflicts_with_all = ["hold_parity", "parity", "missing", "drive", "dry_run"])]
    send_parity: bool,
    /// Only say what would go where
    #[arg(long)]
    dry_run: bool,
    /// Name for the import job, instead of the one given for the group
    #[arg(long, value_name = "NAME")]
    job: Option<JobName>,
    #[command(flatten)]
    shipping: Shipping,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// One argument in the old spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Staging(String),
    PublishSettings(PathBuf),
    Update,
}

impl std::str::FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (letter, rest) = text.split_once(':').unwrap_or((text, ""));
        match (letter.to_ascii_lowercase().as_str(), rest) {
            ("s", "") => Err("s: wants the staging location behind it: s:/mnt/staging".into()),
            ("s", staging) => Ok(Self::Staging(staging.to_owned())),
            ("p", file) if !file.is_empty() => Ok(Self::PublishSettings(file.into())),
            ("u", "") => Ok(Self::Update),
            _ => Err("write s:STAGING, p:FILE or u:".into()),
        }
    }
}

impl Diskprep {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let staging = self.words.iter().find_map(|word| match word {
            Word::Staging(staging) => Some(staging.as_str()),
            _ => None,
        });
        let of_group = match (&self.group, staging) {
            (Some(_), Some(_)) => {
                let words = "name the group or its staging location, not both";
                return Err(Failure::new(ErrorKind::Invalid, words));
            }
            (Some(group), None) => Some(group),
            (None, _) => None,
        };
        let settings = self.words.iter().find_map(|word| match word {
            Word::PublishSettings(file) => Some(file.as_path()),
            _ => None,
        });
        let state = match (settings, staging) {
            (None, _) => self.state.state.clone(),
            (Some(file), Some(staging)) => copy::take(context, &self.state.state, file, staging)?,
            (Some(_), None) if of_group.is_some() => return Err(direct::only_on_the_source()),
            (Some(_), None) => {
                let words =
                    "name the staging location, too, as it is mounted here: s:STAGING p:FILE";
                return Err(Failure::new(ErrorKind::Invalid, words));
            }
        };
        let is_copy = settings.is_some();
        let terminal = context.terminal();
        let ask: &dyn Ask = if self.drives.yes { &Nobody } else { &terminal };
        let password = OnceCell::new();
        let unread = Cell::new(false);
        let desk = Source { context, options: self, state, is_copy, ask, password, unread };
        let of_group = of_group.map(|group| desk.staging_of(group)).transpose()?;
        let staging = staging.or(of_group.as_deref());
        if self.words.contains(&Word::Update) {
            return desk.update(staging);
        }
        if staging.is_none() && !ask.is_there() {
            let words = "name the staging location: packmule diskprep s:STAGING; or the group, if it has none: --group NAME";
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        if let Some(staging) = staging.filter(|_| self.dry_run) {
            return desk.plan(staging);
        }
        if let Some(staging) = staging.filter(|_| self.send_parity) {
            let ended = desk.send_parity(staging)?;
            return if self.shipping.is_complete() {
                desk.update(Some(staging))
            } else {
                Ok(ended)
            };
        }
        if let Some(staging) = staging.filter(|_| self.hold_parity)
            && desk.direct_group(staging)?.is_none()
        {
            desk.agent("asking", |agent| agent::hold_parity(agent, staging))?;
        }
        let say = |line: &str| context.printer.note(line);
        let dialogue = Dialogue { desk: &desk, ask, say: &say };
        let ended = dialogue.run(staging, &self.drives.drive)?;
        if ended == Ended::Written && self.shipping.is_complete() {
            desk.update(staging)?;
        }
        Ok(match ended {
            Ended::Shipped | Ended::Written if desk.unread.get() => Status::Partial,
            Ended::Shipped | Ended::Written => Status::Done,
            Ended::Needs => Status::DriveMissing,
            Ended::Stuck => Status::Partial,
        })
    }
}

/// The source server itself, where the agent is; or a copy computer that stands in for it.
struct Source<'a> {
    context: &'a Context,
    options: &'a Diskprep,
    /// The agent's state, or that of copying one seed.
    state: PathBuf,
    /// Then the repository's password is not here.
    is_copy: bool,
    ask: &'a dyn Ask,
    /// Asked for once.
    password: OnceCell<Zeroizing<String>>,
    /// Something is named that is not on the drives.
    unread: Cell<bool>,
}

impl Source<'_> {
    fn agent<T>(
        &self,
        what: &str,
        operation: impl FnOnce(&agent::Context<'_>) -> agent::Result<T>,
    ) -> Result<T, Failure> {
        with_agent(self.context, &self.state, what, operation)
    }

    /// Shipping details for the job that is meant; where none waits for any, how the jobs stand.
    fn update(&self, staging: Option<&str>) -> Outcome {
        let target = match (&self.options.job, staging) {
            (Some(job), _) => ShipTarget::Job(job.clone()),
            (None, Some(staging)) => ShipTarget::Staging(staging.to_owned()),
            (None, None) => ShipTarget::Only,
        };
        let jobs = self.agent("asking", |agent| agent::to_be_shipped(agent, &target))?;
        // Details are there: whoever gives none wants to know how it stands.
        let all_shipped = jobs.iter().all(|job| job.state == JobState::Shipping);
        let job = match jobs.as_slice() {
            _ if all_shipped && self.options.shipping.is_empty() => {
                return self.nothing_to_ship(&target);
            }
            [] => return self.nothing_to_ship(&target),
            [only] => only.name.clone(),
            several => self.which(several)?,
        };
        self.ship_job(&job)?;
        Ok(Status::Done)
    }

    fn which(&self, jobs: &[Job]) -> Result<JobName, Failure> {
        let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        for job in jobs {
            let drives = job.drive_list.len();
            let (name, state) = (&job.name, job.state);
            self.context.printer.note(format!("{name}: {state:?}, {drives} drives"));
        }
        let question = format!("Which import job ({})", names.join(", "));
        let answer = self.ask.ask("job", &question)?;
        let chosen = jobs.iter().find(|job| job.name.as_str() == answer);
        chosen.map(|job| job.name.clone()).ok_or_else(|| {
            let words = format!("'{answer}' is none of {}: nothing was changed", names.join(", "));
            Failure::new(ErrorKind::Invalid, words)
        })
    }

    /// What people who ask again want to know.
    fn nothing_to_ship(&self, target: &ShipTarget) -> Outcome {
        let status = self.agent("asking", agent::status)?;
        let jobs = status.seeds.iter().flat_map(|seed| &seed.jobs);
        let jobs: Vec<&Job> = jobs.filter_map(|job| job.server.as_ref()).collect();
        if jobs.is_empty() {
            let words = match target {
                ShipTarget::Job(name) => format!("there is no import job {name} here"),
                _ => "there is no import job yet: write the drives first, with s:".to_owned(),
            };
            return Err(Failure::new(ErrorKind::NotFound, words));
        }
        self.context.printer.note("no import job waits for shipping details; how they stand:");
        jobs.into_iter().for_each(|job| super::dock::show_job(self.context, job));
        Ok(Status::Done)
    }

    fn ship_job(&self, job: &JobName) -> Result<(), Failure> {
        let (address, package) = self.options.shipping.ask(self.ask)?;
        address.check_return().map_err(|e| Failure::new(ErrorKind::Invalid, e.to_string()))?;
        if !self.options.drives.yes {
            confirm(self.context, self.ask, &address, &package)?;
        }
        let target = ShipTarget::Job(job.clone());
        let job =
            self.agent("announcing", |agent| agent::ship(agent, &target, &address, &package))?;
        super::dock::show_job(self.context, &job);
        let name = &job.name;
        self.context.printer.note(format!(
            "the shipping details are kept in import job {name}; `packmule diskprep u:` shows how it stands"
        ));
        let object =
            json!({"job": job.name, "state": job.state, "tracking": package.tracking_number});
        self.context.printer.object("summary", &object);
        Ok(())
    }

    /// A virtual machine sees drives as its host lets it: another serial number, no way to take one out.
    fn refuse_guest(&self, drives: &[PathBuf]) -> Result<(), Failure> {
        let is_device = |path: &PathBuf| path.metadata().is_ok_and(|it| !it.is_dir());
        if self.options.virtual_machine || !drives.iter().any(is_device) {
            return Ok(());
        }
        let Some(hypervisor) = drive::hypervisor(&drive::Source::default()) else { return Ok(()) };
        let words = format!(
            "this is a virtual machine ({hypervisor}), and drives are written on a physical computer: attach them to one, mount the staging location there, and run this command on it. If whole drives are passed through to this machine, and say their own serial numbers here, add --virtual-machine"
        );
        Err(Failure::new(ErrorKind::WrongDrive, words))
    }

    /// What would go where, of what no sealed drive has.
    fn plan(&self, staging: &str) -> Outcome {
        let options = self.options;
        if let Some(group) = self.direct_group(staging)? {
            return self.plan_direct(&group, staging);
        }
        let to_do = self.agent("asking", |agent| agent::to_be_written(agent, staging))?;
        let keys = self.agent("asking", |agent| agent::drive_keys(agent, staging))?;
        let drives = options.drives.plan(self.context, Some(&keys))?;
        let parity = options.parity.unwrap_or(to_do.parity) as usize;
        plan(self.context, &to_do.objects, &drives, (options.writing, parity))
    }

    fn source_password(&self) -> Result<&[u8], Failure> {
        let password = match self.password.get() {
            Some(password) => password,
            None => {
                let read = self.options.password.read(self.context, false)?;
                self.password.get_or_init(|| read)
            }
        };
        Ok(password.as_bytes())
    }

    /// The repository's password; none on a copy computer.
    fn password(&self) -> Result<Option<&[u8]>, Failure> {
        let password = match (self.is_copy, self.password.get()) {
            (true, _) => None,
            (false, Some(password)) => Some(password),
            (false, None) => {
                let read = self.options.password.read(self.context, false)?;
                Some(self.password.get_or_init(|| read))
            }
        };
        Ok(password.map(|password| password.as_bytes()))
    }

    /// The job of parity drives that were kept at home.
    fn send_parity(&self, staging: &str) -> Outcome {
        let (name, password) = (self.options.job.as_ref(), self.password()?);
        let report = self.agent("announcing", |agent| {
            agent::send_parity(agent, staging, None, name, password)
        })?;
        show_drives(self.context, &report.drives);
        if let Some(job) = &report.job {
            super::dock::show_job(self.context, job);
            self.context.printer.note(format!(
                "put these drives into one package; then packmule diskprep u: ships import job {}",
                job.name
            ));
        }
        Ok(Status::Done)
    }

    fn prepare(&self, staging: &str, drives: &[PathBuf]) -> Result<PrepareReport, Failure> {
        let options = self.options;
        let password = self.password()?;
        let keys = self.agent("asking", |agent| agent::drive_keys(agent, staging))?;
        self.refuse_guest(drives)?;
        let given = DriveOptions { drive: drives.to_vec(), ..options.drives.clone() };
        let may_format = || {
            self.agent("asking", |agent| {
                agent::check_preparation(agent, staging, options.missing, password)
            })
        };
        let bays = given.ready(self.context, &keys, self.ask, may_format)?;
        if !bays.formatted.is_empty() {
            let formatted = &bays.formatted;
            self.agent("asking", |agent| agent::formatted(agent, staging, formatted))?;
        }
        let (drives, job) = (bays.specs.as_slice(), options.job.as_ref());
        let what = Preparation {
            staging,
            drives,
            encrypted: &bays.encrypted(),
            read_back: &bays,
            filling: options.writing.filling(),
            limit_rate: options.writing.limit_rate(),
            parity: options.parity,
            most: options.set_drives,
            job,
            missing: options.missing,
        };
        let report = self.agent("writing drives", |agent| agent::prepare(agent, &what, password));
        // Whatever became of it: the drives can be taken out afterwards.
        bays.leave(self.context);
        report
    }
}

impl Desk for Source<'_> {
    fn seeds(&self) -> Result<Vec<Choice<String>>, Failure> {
        let status = self.agent("asking", agent::status)?;
        let open = status.seeds.iter().filter(|seed| !seed.record.is_over());
        let choice = |seed: &agent::SeedStatus| {
            let groups: Vec<&str> = seed.record.backups.keys().map(GroupName::as_str).collect();
            let staging = seed.record.staging.display().to_string();
            let words = format!("{staging}: first backup of {}", groups.join(", "));
            Choice { value: staging, words }
        };
        let staged = open.filter(|seed| !seed.record.direct).map(choice);
        let over =
            |id| status.seeds.iter().any(|seed| seed.record.id == id && seed.record.is_over());
        let direct = status.groups.iter().filter(|group| !group.seed.is_some_and(over));
        let direct = direct.filter_map(|status| {
            let inputs = status.group.offline().filter(|inputs| inputs.direct)?;
            let words = format!("straight onto the drives: first backup of {}", status.group.name);
            Some(Choice { value: inputs.staging.display().to_string(), words })
        });
        Ok(staged.chain(direct).collect())
    }

    fn drives(&self) -> Result<Vec<Choice<PathBuf>>, Failure> {
        let devices = drive::discover(&drive::Source::default(), &drive::Blkid)?;
        let overridden = self.options.drives.unsuitable;
        let may = |device: &drive::Device| {
            let refusals = drive::judge(device);
            refusals.iter().all(|refusal| overridden && refusal.can_be_overridden())
        };
        let choice = |device: drive::Device| {
            let serial = device.serial.clone()?;
            let words = describe(&device, &drive::Volume::of(&device, serial));
            Some(Choice { value: device.path, words })
        };
        Ok(devices.into_iter().filter(may).filter_map(choice).collect())
    }

    fn write(&self, staging: &str, drives: &[PathBuf]) -> Result<Round, Failure> {
        if let Some(group) = self.direct_group(staging)?.filter(|_| !self.options.missing) {
            return self.write_direct(&group, drives);
        }
        let report = self.prepare(staging, drives)?;
        show(self.context, &report);
        self.unread.set(self.unread.get() | (report.gone > 0));
        Ok(match &report.needed {
            None => Round::Complete,
            Some(needed) if !needed.problems.is_empty() => Round::Stuck,
            Some(needed) if needed.objects == 0 => Round::Needs(format!(
                "{} more drives for parity are needed, each as large as the fullest of these",
                needed.parity_drives
            )),
            Some(needed) => Round::Needs(match needed.shortfall {
                Some(short) => format!(
                    "about {} more drives of {} are needed",
                    short.drives,
                    ByteSize(short.drive_capacity)
                ),
                None => format!("{} are on no drive yet", ByteSize(needed.bytes)),
            }),
        })
    }

    fn ship(&self, staging: &str) -> Result<(), Failure> {
        self.update(Some(staging)).map(|_| ())
    }
}

fn show(context: &Context, report: &PrepareReport) {
    let printer = &context.printer;
    show_drives(context, &report.drives);
    printer.line(format!("signer: {}", report.fingerprint));
    if let Some(needed) = &report.needed {
        if needed.objects > 0 {
            printer.line(format!(
                "{} objects ({}) are on no drive yet",
                needed.objects,
                ByteSize(needed.bytes)
            ));
        } else {
            printer.line(format!(
                "every object of the seed is on a sealed drive; run the same command with {} more drives for parity, each as large as the fullest of these",
                needed.parity_drives
            ));
        }
        if let Some(shortfall) = needed.shortfall {
            let size = ByteSize(shortfall.drive_capacity);
            printer.line(format!(
                "run the same command with more drives: about {} of {size} more",
                shortfall.drives
            ));
        }
    }
    if report.gone > 0 {
        let words = format!(
            "{} objects that the vault asks for were on drives alone, and cannot be written again from here",
            report.gone
        );
        printer.problem("what is missing", &words);
    }
    show_jobs(context, report.job.as_slice(), &report.locations);
    let sealed = report.drives.iter().filter(|drive| drive.state == seed::DriveState::Sealed);
    printer.object(
        "summary",
        &json!({
            "seed": report.seed,
            "set": report.set,
            "signer": report.fingerprint.to_string(),
            "job": report.job.as_ref().map(|job| &job.name),
            "complete": report.needed.is_none(),
            "bytes": sealed.map(|drive| drive.bytes).sum::<u64>(),
            "gone_objects": report.gone,
            "remaining_objects": report.needed.as_ref().map_or(0, |needed| needed.objects),
            "parity_missing": report.needed.as_ref().map_or(0, |needed| needed.parity_drives),
            "drives_missing": report.needed.as_ref().and_then(|needed| needed.shortfall).map(|s| s.drives),
            "locations": report.locations,
        }),
    );
}

/// Import jobs, and what to do with their drives.
fn show_jobs(context: &Context, jobs: &[Job], locations: &[wire::Location]) {
    let printer = &context.printer;
    if jobs.is_empty() {
        return;
    }
    jobs.iter().for_each(|job| super::dock::show_job(context, job));
    if let Some(location) = locations.first() {
        let address = &location.address;
        printer.line(format!(
            "ship the drives to: {}, {} {}, {} {}, {}",
            address.recipient_name,
            address.street_address1,
            address.street_address2,
            address.postal_code,
            address.city,
            address.country_or_region
        ));
    }
    printer.line("then give the shipping details: packmule diskprep u:");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_spelling_is_understood() {
        assert_eq!("s:/mnt/a:b".parse(), Ok(Word::Staging("/mnt/a:b".into())));
        assert_eq!("S:/mnt".parse(), Ok(Word::Staging("/mnt".into())));
        assert_eq!("u:".parse(), Ok(Word::Update));
        assert_eq!("p:x".parse(), Ok(Word::PublishSettings("x".into())));
        for bad in ["s:", "p:", "u:x", "x:y", "staging"] {
            assert!(bad.parse::<Word>().is_err(), "{bad}");
        }
    }
}
