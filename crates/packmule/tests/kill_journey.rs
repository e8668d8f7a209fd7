//! The whole journey with its processes killed at random moments, the server's among them: first
//! backup, drives, increments in transit, dock, publication, increments. After every kill the vault shows only what is
//! whole; at the end both ends are equal, and stock restic finds nothing wrong.
//!
//! `PACKMULE_JOURNEY_KILLS` is the number of kills, `PACKMULE_KILL_SEED` what chance begins with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PACKMULE: &str = env!("CARGO_BIN_EXE_packmule");
const PASSWORD: &str = "correct horse battery staple";

/// xorshift64*: as much chance as this needs.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

struct World {
    folder: tempfile::TempDir,
    chance: Chance,
    server: Option<Child>,
    address: String,
    kills: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_server();
    }
}

struct Said {
    code: Option<i32>,
    objects: Vec<Value>,
    errors: String,
}

impl World {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut chance = Chance(seed | 1);
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("deep")).unwrap();
        for n in 0..30 {
            let length = usize::try_from(chance.below(120_000)).unwrap();
            std::fs::write(source.join(format!("deep/{n}")), chance.bytes(length)).unwrap();
        }
        std::fs::write(source.join("large"), chance.bytes(22 << 20)).unwrap();
        let mut world =
            Self { folder, chance, server: None, address: "127.0.0.1:0".into(), kills: 0 };
        world.start_server();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Starts the server where it was before, so that the credentials handed out stay true.
    fn start_server(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut child = command(&[
                "serve",
                "--json",
                "--data",
                &self.text("server"),
                "--listen",
                &self.address,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if let Ok(ready) = serde_json::from_str::<Value>(&line) {
                self.address = ready["address"].as_str().unwrap().to_owned();
                self.server = Some(child);
                return;
            }
            // The dead server's port may take a moment to be free.
            child.wait().unwrap();
            assert!(Instant::now() < deadline, "the server does not start again");
            std::thread::yield_now();
        }
    }

    fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) -> Said {
        let output = command(arguments).output().unwrap();
        Said {
            code: output.status.code(),
            objects: String::from_utf8(output.stdout)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn done(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.errors);
        said
    }

    /// Begins a command `kills` times and kills it, or the server, at some moment of its life. What
    /// the vault shows then is whole. Answers when the command ends by itself before its kill, too.
    fn harass(&mut self, arguments: &[&str], kills: u64, span: Duration, server_too: bool) {
        for _ in 0..kills {
            let mut child =
                command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let micros = u64::try_from(span.as_micros()).unwrap();
            let moment = Instant::now() + Duration::from_micros(self.chance.below(micros));
            while Instant::now() < moment && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            if server_too && self.chance.below(2) == 0 {
                self.kill_server();
                let _ = child.kill();
                child.wait().unwrap();
                self.start_server();
            } else {
                let _ = child.kill();
                child.wait().unwrap();
            }
            self.kills += 1;
            self.vault_shows_only_what_is_whole();
        }
    }

    fn vault(&self) -> PathBuf {
        self.path("server/objects/vaults/vault/source/repository")
    }

    /// Every snapshot that can be seen has everything it needs. Read by our own check, without its
    /// packs; stock restic reads them all at the end.
    fn vault_shows_only_what_is_whole(&self) {
        let vault = self.vault();
        let snapshots = std::fs::read_dir(vault.join("snapshots")).map_or(0, Iterator::count);
        if snapshots > 0 {
            let checked = self.run(&["repo", "check", "--no-lock", "-r", vault.to_str().unwrap()]);
            assert_eq!(checked.code, Some(0), "{} snapshots: {:?}", snapshots, checked.objects);
        }
    }

    fn restic(&self, repository: &Path, arguments: &[&str]) {
        let output = Command::new("restic")
            .args(["--no-cache", "--no-lock", "-r"])
            .arg(repository)
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn change_source(&mut self) {
        let n = self.chance.below(30);
        let length = usize::try_from(self.chance.below(300_000)).unwrap();
        let bytes = self.chance.bytes(length);
        std::fs::write(self.path(&format!("source/deep/{n}")), bytes).unwrap();
    }

    fn equal(&self, point: &str, expected: &Path) {
        let target = self.path(&format!("restored-{point}"));
        let arguments = ["restore", "group", "--point", point, "--below", &self.text("source")];
        let rest = ["--target", target.to_str().unwrap(), "--state", &self.text("agent")];
        self.done(&[&arguments[..], &rest[..]].concat());
        let mut differences = backup::compare(expected, &target).unwrap().differences;
        differences.retain(|difference| difference.path != Path::new("."));
        assert!(differences.is_empty(), "{point}: {differences:#?}");
        std::fs::remove_dir_all(target).unwrap();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PACKMULE);
    command.arg("--json").args(arguments).env("PACKMULE_PASSWORD", PASSWORD).stdin(Stdio::null());
    command.env_remove("PACKMULE_PASSWORD_FILE");
    command
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_journey_survives_the_death_of_any_of_its_processes_at_any_moment() {
    let seed = number("PACKMULE_KILL_SEED", 20_261_122);
    let kills = number("PACKMULE_JOURNEY_KILLS", 60);
    let mut world = World::new(seed);
    let (state, staging, source) =
        (world.text("agent"), world.text("staging"), world.text("source"));
    let (admin, dock) = (world.text("server/admin.json"), world.text("dock.json"));
    world.done(&["storage-account", "create", "account", "--server", &admin]);
    world.done(&["vault", "create", "vault", "--server", &admin]);
    let credentials = world.text("credentials.json");
    world.done(&[
        "vault",
        "credentials",
        "vault",
        "--for",
        "source",
        "-o",
        &credentials,
        "--server",
        &admin,
    ]);
    world.done(&["dock", "credentials", "dock", "-o", &dock, "--server", &admin]);
    world.done(&["agent", "register", "--credentials", &credentials, "--state", &state]);
    let group = ["group", "create", "group", "--path", &source, "--staging", &staging];
    let offline = ["--import-job", "job", "--storage-account", "account", "--container", "seeds"];
    world.done(&[&group[..], &offline[..], &["--state", &state]].concat());

    let second = Duration::from_millis(1500);
    let backup = ["backup", "now", "group", "--state", &state];
    world.harass(&backup, kills / 6, second, false);
    let staged = world.done(&backup);
    let first = staged.objects.last().unwrap()["snapshot_id"].as_str().unwrap().to_owned();
    copy(&world.path("source"), &world.path("first"));

    let drives: Vec<String> = (0..3).map(|n| world.text(&format!("drive{n}"))).collect();
    drives.iter().for_each(|drive| std::fs::create_dir(drive).unwrap());
    let words = format!("s:{staging}");
    let mut prepare = vec!["diskprep", &words, "--capacity", "19M", "--state", &state];
    drives.iter().for_each(|drive| prepare.extend(["--drive", drive]));
    world.harass(&prepare, kills / 6, second, true);
    world.done(&prepare);
    let shipping =
        ["diskprep", "u:", "--carrier", "Parcel", "--tracking", "1Z999AA1", "--recipient", "R"];
    let address =
        ["--street", "S", "--city", "C", "--postal-code", "1", "--country", "NO", "--phone", "1"];
    world.done(
        &[&shipping[..], &address[..], &["--email", "r@example.org", "--yes", "--state", &state]]
            .concat(),
    );
    // What is backed up while the drives travel goes beside the seed, and the vault shows none of it.
    world.change_source();
    world.harass(&backup, kills / 6, second, true);
    let meanwhile = world.done(&backup);
    let meanwhile = meanwhile.objects.last().unwrap()["snapshot_id"].as_str().unwrap().to_owned();
    copy(&world.path("source"), &world.path("meanwhile"));
    world.equal(&meanwhile, &world.path("meanwhile"));
    assert!(!world.vault().join("snapshots").exists(), "the seed has not arrived");
    let dock_state = world.text("dock-state");
    let parcel = ["dock", "receive", "--tracking", "1z999 aa1", "--credentials", &dock];
    world.done(&[&parcel[..], &["--state", &dock_state]].concat());
    let mut import =
        vec!["dock", "import", "--job", "job", "--credentials", &dock, "--state", &dock_state];
    let labelled: Vec<&String> =
        drives.iter().filter(|drive| Path::new(drive).join("packmule/label").exists()).collect();
    assert!(labelled.len() >= 2, "{} drives hold the seed", labelled.len());
    labelled.iter().for_each(|drive| import.extend(["--drive", drive]));
    world.harass(&import, kills / 6, Duration::from_millis(700), true);
    world.done(&import);

    // Publication, receipt and the first increment are one command; the server dies in them, too.
    world.change_source();
    world.harass(&backup, kills / 4, second, true);
    let stored = world.done(&backup);
    assert_eq!(stored.objects.last().unwrap()["outcome"], "stored");
    for _ in 0..4 {
        world.change_source();
        world.harass(&backup, kills / 16, second, true);
        world.done(&backup);
    }
    let last = world.done(&backup);
    let last = last.objects.last().unwrap()["snapshot_id"].as_str().unwrap().to_owned();
    copy(&world.path("source"), &world.path("last"));
    world.equal(&first, &world.path("first"));
    world.equal(&meanwhile, &world.path("meanwhile"));
    world.equal(&last, &world.path("last"));
    let vault = world.vault();
    world.restic(&vault, &["check", "--read-data"]);
    world.restic(&world.path("staging"), &["check", "--read-data"]);
    assert!(world.kills >= kills * 5 / 6, "{} kills", world.kills);
}
