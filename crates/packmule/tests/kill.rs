//! The binary is killed at random moments, again and again, and run again: nothing that it has said
//! to be done is ever undone, and what can be seen is always whole. Does not cut the power.
//!
//! Several worlds run side by side. In each a source changes and is backed up, drive sets are written
//! from the repository, and taken in elsewhere, in an order that chance decides. To have something
//! else killed too, add an [`Act`] to [`ACTS`].
//!
//! `PACKMULE_KILLS` is the number of kills, `PACKMULE_KILL_SEED` what chance begins with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod support;

use model::{Digest, ObjectKind};
use seed::{Fingerprint, Trust};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::trees::{self, Rng};
use support::{Place, Said, contents, hash_of, names_are_right, objects_of, open, s, walk};

/// Worlds side by side: most of the time they wait for disks and locks.
const WORLDS: u64 = 4;

/// Something that is done, killed, and done again.
struct Act {
    name: &'static str,
    /// At its beginning it writes nothing for so long: few kills are spent on that.
    quiet: Duration,
    /// Counts what there is that delicate steps begin with: half of the kills are aimed at those.
    aim: fn(&World) -> usize,
    /// Whether there is anything to do; prepares the surroundings.
    begin: fn(&mut World) -> bool,
    arguments: fn(&mut World) -> Vec<String>,
    /// What a run may end with that nobody killed.
    ends: &'static [i32],
    /// What must hold after every run of anything, killed or not.
    sound: fn(&mut World),
    /// After a run that nobody killed.
    done: fn(&mut World, &Said),
}

const ACTS: [Act; 3] = [
    Act {
        name: "backup",
        quiet: Duration::from_millis(200),
        aim: |world| objects_of(&world.repository, "index").len(),
        begin: |world| {
            world.change_source();
            true
        },
        arguments: |world| {
            strings(&["repo", "backup", "--json", "-r", s(&world.repository), s(&world.source)])
        },
        ends: &[0],
        sound: World::repository_is_sound,
        done: World::backed_up,
    },
    Act {
        name: "prepare",
        quiet: Duration::from_millis(200),
        aim: |world| {
            let documents =
                ["label", "extents", "manifest"].map(|name| Path::new("packmule").join(name));
            let all = world
                .journey
                .drives
                .iter()
                .flat_map(|drive| documents.each_ref().map(|name| drive.join(name)));
            all.filter(|document| document.exists()).count()
        },
        begin: |world| !world.journey.written,
        arguments: World::prepare,
        ends: &[0, 13],
        sound: World::drives_are_sound,
        done: World::prepared,
    },
    Act {
        name: "import",
        quiet: Duration::ZERO,
        aim: |world| usize::from(world.journey.vault().join("config").exists()),
        begin: |world| !world.journey.sealed.is_empty(),
        arguments: World::import,
        ends: &[0, 13],
        sound: World::vault_is_sound,
        done: World::imported,
    },
];

fn strings(from: &[&str]) -> Vec<String> {
    from.iter().map(|text| (*text).to_owned()).collect()
}

/// One seed on its way: drives and where they are taken in.
struct Journey {
    folder: PathBuf,
    /// Bytes a drive may use.
    capacity: u64,
    /// Drives at hand, in their order.
    drives: Vec<PathBuf>,
    /// Drives known to be sealed, with what was on them then.
    sealed: BTreeMap<PathBuf, BTreeMap<PathBuf, String>>,
    /// Every object is on a sealed drive.
    written: bool,
    published: bool,
}

impl Journey {
    fn vault(&self) -> PathBuf {
        self.folder.join("vault")
    }

    fn add_drive(&mut self) {
        let drive = self.folder.join(format!("drive{}", self.drives.len()));
        fs::create_dir_all(&drive).unwrap();
        self.drives.push(drive);
    }
}

struct World {
    place: Place,
    rng: Rng,
    source: PathBuf,
    repository: PathBuf,
    /// Copies of the source, one for each change.
    states: Vec<PathBuf>,
    /// Which state each snapshot holds.
    snapshots: BTreeMap<Digest, usize>,
    /// Packs that an index has named: acknowledged for good.
    indexed: BTreeSet<Digest>,
    journeys: usize,
    journey: Journey,
    /// How long each act takes.
    spans: [Duration; ACTS.len()],
    kills: u64,
    /// Kills that left something behind.
    struck: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let place = Place::new();
        let (source, repository) = (place.folder("source"), place.repository("repository"));
        let mut rng = Rng::new(seed);
        for _ in 0..40 {
            trees::add(&mut rng, &source, 200_000);
        }
        fs::write(source.join("large"), rng.bytes(1_500_000)).unwrap();
        let journey = new_journey(&place, 0, &repository);
        Self {
            place,
            rng,
            source,
            repository,
            states: Vec::new(),
            snapshots: BTreeMap::new(),
            indexed: BTreeSet::new(),
            journeys: 0,
            journey,
            spans: [Duration::from_millis(400); ACTS.len()],
            kills: 0,
            struck: 0,
        }
    }

    /// Acts until so many kills were survived, and the journey under way is at its end.
    fn live(&mut self, kills: u64) {
        self.act(0, 0);
        self.journey = new_journey(&self.place, 0, &self.repository);
        while self.kills < kills || !self.journey.published {
            if self.journey.published {
                self.journeys += 1;
                fs::remove_dir_all(&self.journey.folder).unwrap();
                self.journey = new_journey(&self.place, self.journeys, &self.repository);
            }
            let act = self.rng.below(ACTS.len() as u64) as usize;
            self.act(act, kills);
        }
    }

    /// Does one thing to its end, however often it is killed on the way.
    fn act(&mut self, number: usize, kills: u64) {
        let act = &ACTS[number];
        if !(act.begin)(self) {
            return;
        }
        loop {
            let may_kill = self.kills < kills && !self.rng.one_in(4);
            let before = self.places();
            let arguments = (act.arguments)(self);
            let kill = may_kill.then(|| self.moment(number));
            let begun = Instant::now();
            let said = run(self, &arguments, kill, act.aim);
            if said.code != 128 + 9 {
                self.spans[number] = (self.spans[number] + begun.elapsed()) / 2;
                assert!(act.ends.contains(&said.code), "{} {arguments:?}: {said:?}", act.name);
                self.is_sound(&said);
                return (act.done)(self, &said);
            }
            self.kills += 1;
            self.struck += u64::from(self.places() != before);
            self.is_sound(&said);
        }
    }

    /// When to kill: at the beginning of something delicate, or anywhere, but mostly where
    /// something is written.
    fn moment(&mut self, number: usize) -> Kill {
        let (span, quiet) = (self.spans[number], ACTS[number].quiet);
        if self.rng.one_in(2) {
            let from = (ACTS[number].aim)(self);
            return Kill::Once(
                from + self.rng.below(2) as usize,
                micros(&mut self.rng, Duration::from_millis(3)),
            );
        }
        let early = self.rng.one_in(6);
        let (from, to) = if early { (Duration::ZERO, quiet) } else { (quiet, span + span / 10) };
        Kill::After(from + micros(&mut self.rng, to.saturating_sub(from)))
    }

    /// Every file there is, by name and length; locks come and go.
    fn places(&self) -> BTreeMap<PathBuf, u64> {
        let folders = [self.repository.as_path(), &self.journey.folder];
        let files = folders.into_iter().flat_map(walk).filter(|f| !s(f).contains("/locks/"));
        files.map(|file| (file.clone(), fs::metadata(&file).map_or(0, |m| m.len()))).collect()
    }

    fn is_sound(&mut self, said: &Said) {
        for act in &ACTS {
            (act.sound)(self);
        }
        // What was said to be done before the kill counts as much as after the end.
        for line in said.stdout.lines() {
            let Ok(object) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            if let Some(id) = object["snapshot_id"].as_str() {
                assert!(self.snapshots.contains_key(&id.parse().unwrap()), "{id} was acknowledged");
            }
        }
    }

    // Backups.

    fn change_source(&mut self) {
        for _ in 0..=self.rng.below(4) {
            trees::edit(&mut self.rng, &self.source, 100_000);
        }
        if self.rng.one_in(2) {
            trees::add(&mut self.rng, &self.source, 200_000);
        }
        let state = self.place.folder("states").join(self.states.len().to_string());
        let copied = Command::new("cp").arg("-a").arg(&self.source).arg(&state).status().unwrap();
        assert!(copied.success());
        self.states.push(state);
    }

    fn repository_is_sound(&mut self) {
        names_are_right(&self.repository);
        let repository = open(&self.repository);
        let index = repository.load_index().unwrap();
        assert!(index.damaged.is_empty(), "{:?}", index.damaged);
        let indexed: BTreeSet<Digest> = index.value.packs().map(|(pack, _)| pack).collect();
        let there: BTreeSet<Digest> =
            repository.names(ObjectKind::Pack).unwrap().into_iter().collect();
        assert!(indexed.is_subset(&there), "an index names a pack that is not there");
        assert!(self.indexed.is_subset(&indexed), "an acknowledged pack is lost");
        self.indexed = indexed;
        let visible = repository.names(ObjectKind::Snapshot).unwrap();
        for known in self.snapshots.keys() {
            assert!(visible.contains(known), "snapshot {known} is lost");
        }
        let state = self.states.len().saturating_sub(1);
        let mut look_at: Vec<Digest> = Vec::new();
        for id in visible {
            if self.snapshots.insert(id, *self.snapshots.get(&id).unwrap_or(&state)).is_none() {
                look_at.push(id);
            }
        }
        let known: Vec<Digest> = self.snapshots.keys().copied().collect();
        if look_at.is_empty() && !known.is_empty() && self.rng.one_in(3) {
            look_at.push(*self.rng.pick(&known));
        }
        self.check(&self.repository, &["--no-lock"]);
        for id in look_at {
            self.restores(&self.repository, id);
        }
    }

    fn check(&self, repository: &Path, options: &[&str]) {
        let arguments = [&["repo", "check", "-r", s(repository)], options].concat();
        self.place.run(&arguments).exits(0);
    }

    /// A snapshot gives back the source as it was.
    fn restores(&self, repository: &Path, id: Digest) {
        let out = self.place.path("restored");
        let named = format!("{id}:{}", s(&self.source));
        let arguments =
            ["repo", "restore", "--no-lock", "-r", s(repository), &named, "--target", s(&out)];
        self.place.run(&arguments).exits(0);
        support::same(&self.states[self.snapshots[&id]], &out);
        fs::remove_dir_all(out).unwrap();
    }

    fn backed_up(&mut self, said: &Said) {
        let id: Digest = said.object("summary")["snapshot_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(self.snapshots[&id], self.states.len() - 1);
        assert!(objects_of(&self.repository, "locks").is_empty(), "locks of the dead are removed");
    }

    // Drives.

    fn prepare(&mut self) -> Vec<String> {
        let (capacity, state) =
            (self.journey.capacity.to_string(), self.journey.folder.join("state"));
        let mut arguments = strings(&["seed", "prepare", "--json", "-r", s(&self.repository)]);
        arguments.extend(strings(&["--capacity", &capacity, "--state", s(&state)]));
        for drive in &self.journey.drives {
            // Sealed drives need not be there, but may.
            if !self.journey.sealed.contains_key(drive) || self.rng.one_in(2) {
                arguments.extend(strings(&["--drive", s(drive)]));
            }
        }
        arguments
    }

    fn drives_are_sound(&mut self) {
        for drive in &self.journey.drives {
            for repository in fs::read_dir(drive.join("repositories")).into_iter().flatten() {
                let repository = repository.unwrap().path();
                names_are_right(&repository);
                let config = repository.join("config");
                let name = repository.file_name().unwrap().to_str().unwrap().to_owned();
                assert!(!config.exists() || hash_of(&config) == name, "{config:?}");
            }
            if drive.join("packmule/manifest").exists() {
                let report = seed::verify(drive, &Trust::AsFound, &mut ()).unwrap();
                assert!(report.is_intact() && report.extra_count == 0, "{report:?}");
            }
            if let Some(before) = self.journey.sealed.get(drive) {
                assert_eq!(contents(drive), *before, "a sealed drive was written to");
            }
        }
    }

    fn prepared(&mut self, said: &Said) {
        for drive in &self.journey.drives {
            if drive.join("packmule/manifest").exists() && !self.journey.sealed.contains_key(drive)
            {
                self.journey.sealed.insert(drive.clone(), contents(drive));
            }
        }
        self.journey.written = said.code == 0;
        if said.code == 13 {
            self.journey.add_drive();
        }
        assert!(self.journey.drives.len() <= 10, "no progress: {said:?}");
    }

    // Imports.

    fn import(&mut self) -> Vec<String> {
        let journey = &self.journey;
        let sealed: Vec<&PathBuf> = journey.sealed.keys().collect();
        let label = seed::inspect(sealed[0]).unwrap().unwrap();
        let signer = Fingerprint::of(&label.signer).to_string();
        let mut arguments = strings(&["seed", "import", "--json", "--into", s(&journey.vault())]);
        arguments.extend(strings(&["--signer", &signer]));
        let one = self.rng.below(sealed.len() as u64) as usize;
        for (at, drive) in sealed.iter().enumerate() {
            if at == one || self.rng.one_in(2) {
                arguments.extend(strings(&["--drive", s(drive)]));
            }
        }
        arguments
    }

    fn vault_is_sound(&mut self) {
        let vault = self.journey.vault();
        names_are_right(&vault);
        for waiting in walk(&vault.join("pending")) {
            let name = waiting.file_name().unwrap().to_str().unwrap();
            assert!(name.len() != 64 || hash_of(&waiting) == name, "{waiting:?}");
        }
        if vault.join("config").exists() {
            assert_eq!(
                fs::read(vault.join("config")).unwrap(),
                fs::read(self.repository.join("config")).unwrap()
            );
            // Whatever can be seen in the middle of publication is complete.
            self.check(&vault, &["--no-lock"]);
        } else {
            assert!(
                objects_of(&vault, "data").is_empty() && objects_of(&vault, "snapshots").is_empty()
            );
        }
        assert!(!self.journey.published || !objects_of(&vault, "snapshots").is_empty());
    }

    fn imported(&mut self, said: &Said) {
        if said.code != 0 {
            return assert!(!self.journey.vault().join("config").exists(), "{said:?}");
        }
        assert!(self.journey.written, "{said:?}");
        self.journey.published = true;
        let vault = self.journey.vault();
        for drive in &self.journey.drives {
            if drive.join("packmule/label").exists() {
                self.place.run(&["seed", "verify", "--drive", s(drive)]).exits(0);
            }
            for file in walk(&drive.join("repositories")) {
                let below =
                    file.strip_prefix(drive).unwrap().components().skip(2).collect::<PathBuf>();
                assert_eq!(hash_of(&vault.join(&below)), hash_of(&file), "{below:?}");
            }
        }
        self.place.run(&["seed", "missing", "--into", s(&vault)]).exits(0);
        assert!(walk(&vault.join("pending")).is_empty());
        let ids = open(&vault).names(ObjectKind::Snapshot).unwrap();
        assert!(ids.iter().all(|id| self.snapshots.contains_key(id)));
        let newest = ids.iter().max_by_key(|id| self.snapshots[id]).unwrap();
        self.restores(&vault, *newest);
        self.check(&vault, &["--read-data"]);
    }
}

fn new_journey(place: &Place, number: usize, repository: &Path) -> Journey {
    let lengths: Vec<u64> =
        walk(repository).iter().map(|f| fs::metadata(f).unwrap().len()).collect();
    // Three drives and a bit; none so small that an object fits on none of them.
    let (all, largest) = (lengths.iter().sum::<u64>(), lengths.iter().max().unwrap());
    let capacity = (all / 3).max(*largest) + (512 << 10);
    let folder = place.folder(&format!("journey{number}"));
    let drives = Vec::new();
    let mut journey = Journey {
        folder,
        capacity,
        drives,
        sealed: BTreeMap::new(),
        written: false,
        published: false,
    };
    journey.add_drive();
    journey
}

/// When to kill.
#[derive(Clone, Copy)]
enum Kill {
    /// So long after the start.
    After(Duration),
    /// So long after there are more than so many of what the act is aimed at.
    Once(usize, Duration),
}

/// A time up to a limit, to the microsecond.
fn micros(rng: &mut Rng, limit: Duration) -> Duration {
    Duration::from_micros(rng.below(limit.as_micros().max(1000) as u64))
}

/// Runs the binary; kills it when the moment has come, should it still run then.
fn run(world: &World, arguments: &[String], kill: Option<Kill>, aim: fn(&World) -> usize) -> Said {
    /// The delicate steps take milliseconds; this is how finely they are watched.
    const LOOK: Duration = Duration::from_micros(50);
    let log = world.place.path("stderr");
    let mut command = world.place.packmule(arguments);
    command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (ended, end) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).unwrap();
        let _ = ended.send(());
        text
    });
    let has_ended_within = |time| end.recv_timeout(time).is_ok();
    let strike = match kill {
        None => false,
        Some(Kill::After(moment)) => !has_ended_within(moment),
        Some(Kill::Once(count, moment)) => loop {
            if aim(world) > count {
                break !has_ended_within(moment);
            }
            if has_ended_within(LOOK) {
                break false;
            }
        },
    };
    if strike {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let stdout = reader.join().unwrap();
    Said::of(std::process::Output { status, stdout, stderr: fs::read(log).unwrap() })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whenever_we_are_killed_nothing_is_lost_and_the_rerun_completes() {
    let kills = number("PACKMULE_KILLS").unwrap_or(200);
    let seed = number("PACKMULE_KILL_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    let _ = writeln!(std::io::stderr(), "kill: PACKMULE_KILL_SEED={seed} PACKMULE_KILLS={kills}");
    let worlds: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let live = |number: u64| {
            let mut world = World::new(seed.wrapping_add(number));
            world.live(kills.div_ceil(WORLDS));
            at_the_end(&world);
            (world.kills, world.struck)
        };
        let worlds: Vec<_> = (0..WORLDS).map(|number| scope.spawn(move || live(number))).collect();
        worlds.into_iter().map(|world| world.join().expect("a world ended well")).collect()
    });
    let (killed, struck) =
        worlds.iter().fold((0, 0), |sum, world| (sum.0 + world.0, sum.1 + world.1));
    let _ = writeln!(
        std::io::stderr(),
        "kill: {killed} kills, {struck} of them in the middle of a write"
    );
    assert!(killed >= kills, "{worlds:?}");
    assert!(struck >= killed / 10, "too few kills struck anything: {worlds:?}");
}

fn at_the_end(world: &World) {
    world.check(&world.repository, &["--read-data"]);
    let name = "whenever_we_are_killed_nothing_is_lost_and_the_rerun_completes";
    support::restic_is_content(name, &world.repository);
    support::restic_is_content(name, &world.journey.vault());
    for id in world.snapshots.keys() {
        world.restores(&world.repository, *id);
    }
}
