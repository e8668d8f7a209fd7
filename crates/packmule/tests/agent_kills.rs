//! The agent, its service and its server killed at random moments: no recovery point is lost, none is told of that is not
//! there, each is the source as it was, and what went wrong is said.
//!
//! `PACKMULE_AGENT_KILLS` is the number of kills, `PACKMULE_KILL_SEED` what chance begins with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may stop on a surprise"
)]

mod support;

use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::trees::Rng;
use support::{PASSWORD, Place, Said, s, same};

struct World {
    place: Place,
    server: Option<Child>,
    address: String,
    chance: Rng,
    /// The source from a moment on, as a copy.
    versions: Vec<(Timestamp, PathBuf)>,
    /// Every recovery point that was ever seen, and when it was made.
    points: BTreeMap<String, Timestamp>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_server();
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let place = Place::new();
        place.source("source", 3 << 20);
        let mut world = Self {
            place,
            server: None,
            address: "127.0.0.1:0".into(),
            chance: Rng::new(seed),
            versions: Vec::new(),
            points: BTreeMap::new(),
        };
        world.start_server();
        world
    }

    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn start_server(&mut self) {
        let began = Instant::now();
        loop {
            let words = ["serve", "--json", "--data", "server", "--listen", &self.address];
            let mut command = self.place.packmule(&words);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if let Ok(ready) = serde_json::from_str::<Value>(&line) {
                self.address = ready["address"].as_str().unwrap().to_owned();
                self.server = Some(child);
                return;
            }
            // The dead server's port may take a moment to be free.
            child.wait().unwrap();
            assert!(began.elapsed() < Duration::from_secs(60), "the server does not start again");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Nothing of ours runs meanwhile: a recovery point is one version and no other.
    fn change(&mut self) {
        let source = self.place.path("source");
        for _ in 0..3 {
            let name = format!("folder/{}", self.chance.below(20));
            let length = self.chance.below(400_000) as usize;
            std::fs::write(source.join(name), self.chance.bytes(length)).unwrap();
        }
        let version = self.place.path(&format!("version{}", self.versions.len()));
        assert!(
            Command::new("cp").arg("-a").arg(&source).arg(&version).status().unwrap().success()
        );
        self.versions.push((Timestamp::now(), version));
    }

    fn moment(&mut self, most: u64) {
        std::thread::sleep(Duration::from_millis(self.chance.below(most)));
    }

    /// One call, or the service, and a kill at some moment: of it, or of the server.
    fn kill(&mut self) {
        let words = match self.chance.below(3) {
            0 => vec!["agent", "run", "--state", "state", "--config", "agent.toml"],
            _ => vec!["backup", "now", "files", "--state", "state"],
        };
        let mut command = self.place.packmule(&words);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.moment(2500);
        if self.chance.below(3) == 0 {
            self.kill_server();
            self.moment(800);
            self.start_server();
            self.moment(800);
        }
        let _ = child.kill();
        child.wait().unwrap();
    }

    fn runs(&self) -> Vec<Value> {
        let said = self.run("agent jobs --json --last 1000 --state state").exits(0);
        said.objects().into_iter().filter(|it| it["message_type"] == "run").collect()
    }

    /// What the agent tells is so, and what was there is still there.
    fn is_true(&mut self) {
        let said = self.run("recovery-point list files --json --state state");
        let listed: BTreeMap<String, Timestamp> = said
            .objects()
            .iter()
            .filter(|it| it["message_type"] == "recovery_point")
            .map(|it| {
                let word = |name: &str| it[name].as_str().unwrap().to_owned();
                (word("id"), word("time").parse().unwrap())
            })
            .collect();
        for id in self.points.keys() {
            assert!(listed.contains_key(id), "{id} is lost: {}{}", said.stdout, said.stderr);
        }
        for run in self.runs() {
            let Some(id) = run["snapshot"].as_str() else { continue };
            assert!(listed.contains_key(id), "{id} is told of and not there: {run}");
        }
        let new = listed.iter().filter(|(id, _)| !self.points.contains_key(*id));
        for (id, time) in new {
            let (_, version) = self.versions.iter().rfind(|(from, _)| from <= time).unwrap();
            let source = self.place.path("source");
            let restore = ["restore", "files", "--point", id, "--below", s(&source)];
            let rest = ["--target", "restored", "--state", "state"];
            self.place.run(&[&restore[..], &rest].concat()).exits(0);
            same(version, &self.place.path("restored"));
            std::fs::remove_dir_all(self.place.path("restored")).unwrap();
        }
        self.points = listed;
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_is_killed_no_recovery_point_is_lost_or_made_up() {
    let kills = number("PACKMULE_AGENT_KILLS", 15);
    let mut world = World::new(number("PACKMULE_KILL_SEED", 20_261_126));
    world.run("vault create offices --server server/admin.json").exits(0);
    world
        .run("vault credentials offices -o v.VaultCredentials --server server/admin.json")
        .exits(0);
    world.run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    let source = s(&world.place.path("source")).to_owned();
    let settings =
        format!("[[group]]\nname = 'files'\npaths = [{source:?}]\nschedule = ['* * * * *']\n");
    std::fs::write(world.place.path("agent.toml"), settings).unwrap();
    world.run("group apply agent.toml --state state").exits(0);
    world.change();
    // Until there is a first recovery point, there is nothing to list.
    world.run("backup now files --state state").exits(0);
    world.is_true();
    for kill in 0..kills {
        world.change();
        world.kill();
        if kill % 3 == 2 {
            world.is_true();
        }
    }
    world.change();
    let said = world.run("backup now files --json --state state").exits(0);
    let last = said.object("summary")["snapshot_id"].as_str().unwrap().to_owned();
    world.is_true();
    assert!(world.points.contains_key(&last));
    let runs = world.runs();
    assert!(runs.iter().all(|run| run["state"] != "running"), "nothing runs: {runs:#?}");
    // What was cut off was said, and is over now.
    world.run("agent alerts --state state").exits(0);
    if runs.iter().any(|run| run["state"] == "interrupted") {
        world.run("agent alerts --all --state state").exits(0).shows(&["was cut off"]);
    }
    let vault = world.place.path("server/objects/vaults/offices/fs01/repository");
    let check = Command::new("restic")
        .args(["--no-cache", "--no-lock", "check", "--read-data", "-r"])
        .arg(vault)
        .env("RESTIC_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
