//! The steps of the journey, in order. Each is one or more commands that a user would type.

use super::process::{Program, Said, Server};
use super::{Stage, folders, harm};
use crate::failure::Failure;
use crate::ui::{duration, per_second};
use model::{ByteSize, ErrorKind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the demo leaves behind, for its summary.
pub(super) struct Summary {
    pub(super) journey: Vec<Value>,
    pub(super) vault: PathBuf,
    pub(super) staging: PathBuf,
    pub(super) password_file: PathBuf,
    pub(super) drives: Vec<Value>,
    pub(super) recovery_points: Vec<Value>,
    /// What parity drives have made up for.
    pub(super) rebuilt: Vec<Value>,
}

const ACCOUNT: &str = "seedaccount";
const CONTAINER: &str = "seeds";
const VAULT: &str = "demo-vault";
const SERVER: &str = "source-server";
const JOB: &str = "demo-seed";
const GROUP: &str = "demo";
const TRACKING: &str = "1Z999AA10123456784";
const SHIPPING: &str = "--carrier \"Example Parcel\" --tracking 1Z999AA10123456784 --recipient \"Backup administrator\" --street \"1 Main Street\" --city Oslo --postal-code 0150 --country NO --phone \"+47 22 00 00 00\" --email backup@example.org --yes";
const STEPS: usize = 11;

struct Journey<'a> {
    stage: &'a Stage<'a>,
    program: Program,
    steps: Vec<Value>,
    /// The agent's state, as it stands on a command line.
    state: String,
}

/// Files that the administrator hands over.
struct Credentials {
    agent: PathBuf,
    dock: PathBuf,
}

pub(super) fn run(stage: &Stage<'_>) -> Result<Summary, Failure> {
    let password_file = password(&stage.work)?;
    let program = Program::new(&password_file)?;
    let state = quoted(&stage.work.join("agent"));
    let mut journey = Journey { stage, program, steps: Vec::new(), state };
    let data = stage.work.join("server");
    let staging = stage.work.join("staging");
    let copies = stage.work.join("copies");
    let (server, credentials) = journey.data_centre(&data)?;
    journey.register(&credentials.agent, &staging)?;
    let first = journey.first_backup(&staging, &copies)?;
    let drives = journey.prepare(&staging)?;
    journey.ship(&staging)?;
    let carried = journey.carry()?;
    let rebuilt = journey.take_in(&credentials.dock, &carried)?;
    journey.edit()?;
    let (second, seed) = journey.increment(&copies)?;
    journey.list_points()?;
    let recovery_points = journey.restore_all([first, second])?;
    journey.clean(&seed)?;
    drop(server);
    Ok(Summary {
        vault: data.join("objects/vaults").join(VAULT).join(SERVER).join("repository"),
        drives: located(&carried, &drives)?,
        journey: journey.steps,
        staging,
        password_file,
        recovery_points,
        rebuilt,
    })
}

/// Each drive's figures, with where it is now: told apart by the label, as a dock would.
fn located(carried: &[PathBuf], drives: &[Value]) -> Result<Vec<Value>, Failure> {
    let mut located = Vec::new();
    for path in carried {
        let Some(label) = seed::inspect(path)? else { continue };
        let serial = json!(label.body.serial);
        let found = drives.iter().find(|drive| drive.get("serial") == Some(&serial)).cloned();
        if let Some(Value::Object(mut fields)) = found {
            fields.insert("path".into(), json!(path));
            located.push(Value::Object(fields));
        }
    }
    Ok(located)
}

/// A password of this run's own.
fn password(work: &Path) -> Result<PathBuf, Failure> {
    let path = work.join("password");
    let mut bytes = [0; 16];
    let source = Path::new("/dev/urandom");
    std::fs::File::open(source)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .map_err(|e| Failure::io("reading", source, e))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    store::durable::write(&path, format!("{text}\n").as_bytes(), 0o600)
        .map_err(|e| Failure::io("writing", &path, e))?;
    Ok(path)
}

impl Journey<'_> {
    fn data_centre(&mut self, data: &Path) -> Result<(Server, Credentials), Failure> {
        self.title("the data centre: a server with a storage account and a vault");
        let work = &self.stage.work;
        let listen = ["serve", "--data", &text(data), "--listen", "127.0.0.1:0"].map(String::from);
        let (server, _) =
            self.program.serve(self.stage.context, &listen, &work.join("server.log"))?;
        let (agent, dock) = (work.join("agent.json"), work.join("dock.json"));
        let admin = quoted(&data.join("admin.json"));
        self.run(&format!("storage-account create {ACCOUNT} --server {admin}"))?;
        self.run(&format!("vault create {VAULT} --server {admin}"))?;
        self.run(&format!(
            "vault credentials {VAULT} --for {SERVER} -o {} --server {admin}",
            quoted(&agent)
        ))?;
        self.run(&format!("dock credentials demo-dock -o {} --server {admin}", quoted(&dock)))?;
        Ok((server, Credentials { agent, dock }))
    }

    fn register(&mut self, credentials: &Path, staging: &Path) -> Result<(), Failure> {
        self.title("the source server registers and names what to protect");
        let (source, state) = (quoted(&self.stage.source), self.state.clone());
        self.run(&format!("agent register --credentials {} --state {state}", quoted(credentials)))?;
        self.run(&format!(
            "group create {GROUP} --path {source} --staging {} --import-job {JOB} --storage-account {ACCOUNT} --container {CONTAINER} --state {state}",
            quoted(staging)
        ))?;
        Ok(())
    }

    /// Answers the recovery point, and a copy of what it must equal.
    fn first_backup(
        &mut self,
        staging: &Path,
        copies: &Path,
    ) -> Result<(String, PathBuf), Failure> {
        self.title("the first backup, into staging");
        let said = self.run(&format!("backup now {GROUP} --state {}", self.state))?;
        self.figure("backed up", &said, "total_bytes_processed");
        let stored: u64 = folders::lengths(staging)?.iter().sum();
        self.say(&format!("staging holds {}", ByteSize(stored)));
        std::fs::create_dir(copies).map_err(|e| Failure::io("making", copies, e))?;
        let copy = copies.join("first");
        folders::copy(&self.stage.source, &copy)?;
        Ok((said.text("snapshot_id")?, copy))
    }

    fn ship(&mut self, staging: &Path) -> Result<(), Failure> {
        self.title("the package is handed to a carrier");
        let state = self.state.clone();
        self.run(&format!("diskprep u: s:{} {SHIPPING} --state {state}", quoted(staging)))?;
        let waiting = self.run(&format!("backup now {GROUP} --state {state}"))?;
        self.say(&waiting.text("message")?);
        Ok(())
    }

    fn take_in(&mut self, credentials: &Path, carried: &[PathBuf]) -> Result<Vec<Value>, Failure> {
        self.title("the dock takes the drives in");
        let dock = quoted(credentials);
        let state = quoted(&self.stage.work.join("dock"));
        let mut receive =
            format!("dock receive --tracking {TRACKING} --credentials {dock} --state {state}");
        if self.stage.harm.lose {
            for label in carried.iter().filter_map(|drive| seed::inspect(drive).ok().flatten()) {
                receive.push_str(&format!(" --drive {}", label.body.serial));
            }
        }
        self.run(&receive)?;
        let mut import = format!("dock import --job {JOB} --credentials {dock} --state {state}");
        carried.iter().for_each(|drive| import.push_str(&format!(" --drive {}", quoted(drive))));
        // A drive that was damaged is said to be so, although nothing is missing in the end.
        let codes: &[i32] = if self.stage.harm.damage { &[0, 3] } else { &[0] };
        let taken = self.run_with(&import, codes)?;
        self.figure("copied into the storage account", &taken, "bytes_copied");
        let statuses = taken.all("drive").into_iter().filter_map(|drive| drive.get("status"));
        let rebuilt: Vec<Value> =
            statuses.filter_map(|status| status.get("rebuilt").cloned()).collect();
        for one in &rebuilt {
            let read = serde_json::from_value(one.clone());
            let lines = read.map(|read| crate::cmd::dock::rebuilt(&read)).unwrap_or_default();
            lines.iter().for_each(|line| self.say(line));
        }
        Ok(rebuilt)
    }

    fn edit(&mut self) -> Result<(), Failure> {
        self.title("meanwhile, work goes on at the source");
        for change in folders::edit(&self.stage.source)? {
            self.say(&change);
        }
        Ok(())
    }

    /// Answers the recovery point with a copy of what it must equal, and the seed.
    fn increment(&mut self, copies: &Path) -> Result<((String, PathBuf), String), Failure> {
        self.title("the next backup: publication, receipt, and the increment over the network");
        let said = self.run(&format!("backup now {GROUP} --state {}", self.state))?;
        self.say(&format!("receipt verified for {} objects", said.number("receipt_objects")));
        self.say(&format!(
            "increment: {} of new data, sent as {}",
            ByteSize(said.number("data_added")),
            ByteSize(said.number("data_added_packed"))
        ));
        let copy = copies.join("second");
        folders::copy(&self.stage.source, &copy)?;
        Ok(((said.text("snapshot_id")?, copy), said.text("seed")?))
    }

    fn list_points(&mut self) -> Result<(), Failure> {
        self.title("both recovery points are in the vault");
        let points = self.run(&format!("recovery-point list {GROUP} --state {}", self.state))?;
        for point in points.all("recovery_point") {
            self.say(&format!("{} {}", at(point, "id"), at(point, "time")));
        }
        Ok(())
    }

    fn restore_all(&mut self, points: [(String, PathBuf); 2]) -> Result<Vec<Value>, Failure> {
        self.title("both are restored from the vault and compared");
        let source = self.stage.source.clone();
        points
            .into_iter()
            .map(|(point, copy)| {
                self.restore(&point, &copy)?;
                Ok(json!({"id": point, "source": source, "source_copy": copy}))
            })
            .collect()
    }

    fn clean(&mut self, seed: &str) -> Result<(), Failure> {
        self.title("staging may be cleaned now: the vault has confirmed everything");
        let said = self.run(&format!("agent clean {seed} --dry-run --state {}", self.state))?;
        let bytes = ByteSize(said.number("bytes"));
        self.say(&format!("{bytes} in {} objects could go", said.number("objects")));
        Ok(())
    }

    /// Drives, each too small for all of it; the next one is attached when one is full.
    fn prepare(&mut self, staging: &Path) -> Result<Vec<Value>, Failure> {
        let state = self.state.clone();
        self.title("the drives: each too small for the seed alone");
        let parity = self.stage.harm.parity();
        let capacity = capacity(&folders::lengths(staging)?, parity)?;
        let mut folders = Vec::new();
        loop {
            let drive = self.stage.work.join("drives").join(format!("drive-{}", folders.len() + 1));
            std::fs::create_dir_all(&drive).map_err(|e| Failure::io("making", &drive, e))?;
            folders.push(drive);
            if folders.len() > 10 {
                return Err(Failure::new(ErrorKind::Internal, "ten drives do not hold the seed"));
            }
            let mut words =
                format!("diskprep s:{} --capacity {capacity} --state {state}", quoted(staging));
            if parity > 0 {
                words.push_str(&format!(" --parity {parity}"));
            }
            folders.iter().for_each(|drive| words.push_str(&format!(" --drive {}", quoted(drive))));
            let said = self.run_with(&words, &[0, 13])?;
            if said.code == 13 {
                let words = match said.number("remaining_objects") {
                    0 => "the next one is attached, for parity".to_owned(),
                    _ => format!("drive {} is full; the next one is attached", folders.len()),
                };
                self.say(&words);
                continue;
            }
            self.figure("written", &said, "bytes");
            let mut drives = Vec::new();
            for drive in
                said.all("drive").into_iter().filter(|drive| at(drive, "state") == "sealed")
            {
                self.say(&match at(drive, "role").as_str() {
                    "parity" => format!("drive {}: parity", at(drive, "serial")),
                    _ => format!(
                        "drive {}: {} objects, {} bytes",
                        at(drive, "serial"),
                        at(drive, "objects"),
                        at(drive, "bytes")
                    ),
                });
                drives.push(json!({"serial": drive.get("serial"), "objects": drive.get("objects"), "bytes": drive.get("bytes")}));
            }
            return Ok(drives);
        }
    }

    /// What the carrier does: the drives leave here and come out there, those that hold something.
    fn carry(&self) -> Result<Vec<PathBuf>, Failure> {
        let there = self.stage.work.join("at-the-dock");
        std::fs::rename(self.stage.work.join("drives"), &there)
            .map_err(|e| Failure::io("carrying", &there, e))?;
        let entries = std::fs::read_dir(&there).map_err(|e| Failure::io("reading", &there, e))?;
        let mut carried = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| Failure::io("reading", &there, e))?.path();
            if seed::inspect(&path)?.is_some() {
                carried.push(path);
            }
        }
        carried.sort();
        if self.stage.harm.lose
            && let Some(serial) = harm::lose(&mut carried, &self.stage.work.join("lost"))?
        {
            self.say(&format!("drive {serial} is lost on the way"));
        }
        if self.stage.harm.damage
            && let Some(serial) = harm::damage(&carried)?
        {
            self.say(&format!("drive {serial}: 64 KiB are overwritten at each of ten places"));
        }
        Ok(carried)
    }

    fn restore(&mut self, point: &str, expected: &Path) -> Result<(), Failure> {
        let state = self.state.clone();
        let target = self.stage.work.join("restored").join(point.get(..8).unwrap_or(point));
        let below = quoted(&self.stage.source);
        let said = self.run(&format!(
            "restore {GROUP} --point {point} --below {below} --target {} --state {state}",
            quoted(&target)
        ))?;
        self.figure("restored", &said, "bytes_restored");
        let started = Instant::now();
        let compared =
            backup::compare(expected, &target).map_err(|e| Failure::io("comparing", &target, e))?;
        // The folder that was restored into is the user's own; what is below it is the recovery point.
        let differences: Vec<_> =
            compared.differences.iter().filter(|d| d.path != Path::new(".")).collect();
        if let Some(first) = differences.first() {
            let words = format!(
                "recovery point {point} differs in {} places, the first: {first}",
                differences.len()
            );
            return Err(Failure::new(ErrorKind::Corrupt, words));
        }
        self.say(&format!(
            "equal to the source at that time: {} entries, {}, byte by byte and attribute by attribute, in {}",
            compared.entries,
            ByteSize(compared.bytes),
            duration(started.elapsed())
        ));
        Ok(())
    }

    fn title(&mut self, title: &str) {
        let number = self.steps.len() + 1;
        self.stage.context.printer.line(format!("\nStep {number} of {STEPS}: {title}"));
        self.steps.push(json!({"step": number, "title": title, "commands": []}));
    }

    fn run(&mut self, words: &str) -> Result<Said, Failure> {
        self.run_with(words, &[0])
    }

    fn run_with(&mut self, words: &str, codes: &[i32]) -> Result<Said, Failure> {
        self.run_all(&split(words), codes)
    }

    fn run_all(&mut self, arguments: &[String], codes: &[i32]) -> Result<Said, Failure> {
        let said = self.program.run(self.stage.context, arguments, codes)?;
        let done = json!({"arguments": arguments, "code": said.code, "seconds": said.elapsed.as_secs_f64()});
        self.stage.context.printer.object("command", &done);
        let commands =
            self.steps.last_mut().and_then(|step| step.get_mut("commands")?.as_array_mut());
        if let Some(commands) = commands {
            commands.push(done);
        }
        Ok(said)
    }

    fn say(&self, what: &str) {
        self.stage.context.printer.line(format!("    {what}"));
    }

    fn figure(&self, what: &str, said: &Said, field: &str) {
        self.say(&rate(what, said.number(field), said.elapsed));
    }
}

fn rate(what: &str, bytes: u64, elapsed: Duration) -> String {
    format!(
        "{what}: {} in {}, {}/s",
        ByteSize(bytes),
        duration(elapsed),
        ByteSize(per_second(bytes, elapsed))
    )
}

/// Splits a command as a shell would, as far as it is needed here: double quotes hold words together.
fn split(words: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut quoted = false;
    for character in words.chars() {
        match (character, arguments.last_mut()) {
            ('"', _) => quoted = !quoted,
            (' ', _) if !quoted => arguments.push(String::new()),
            (other, Some(last)) => last.push(other),
            (_, None) => {}
        }
    }
    arguments
}

/// A path as part of a command.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A field for people.
fn at(object: &Value, field: &str) -> String {
    match object.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A capacity that one drive's worth is too small for all, and large enough for the largest object.
fn capacity(lengths: &[u64], parity: u32) -> Result<u64, Failure> {
    // What a drive keeps for its documents, by the planner's own account.
    let inventory = 44 * lengths.len() as u64 + (64 << 10);
    let all: u64 = lengths.iter().map(|length| seed::cost(*length)).sum();
    let largest = lengths.iter().map(|length| seed::cost(*length)).max().unwrap_or(0);
    let reserve = seed::reserve(inventory);
    let half = all / 2 + all / 50;
    let capacity = reserve + half.max(largest + seed::cost(1) * 4);
    // What data drives leave free so that parity of them fits on a drive of the same size.
    let free = if parity > 0 { seed::kept_free(capacity, inventory) } else { 0 };
    if half < all && largest < all {
        Ok(capacity + free)
    } else {
        Err(Failure::new(ErrorKind::Invalid, "the source is too small to need two drives"))
    }
}
