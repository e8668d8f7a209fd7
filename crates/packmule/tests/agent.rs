//! The agent as a service, by the binary alone: it backs up when it is due, says what is wrong, tells systemd and Prometheus, and
//! survives being killed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::served::Server;
use support::{PASSWORD, Place, Said, s, same};

struct Site {
    server: Server,
    place: Place,
    source: PathBuf,
}

impl Site {
    fn run(&self, words: &str) -> Said {
        self.place.run(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn jobs(&self) -> Vec<Value> {
        let said = self.run("agent jobs --json --state state").exits(0);
        said.objects().into_iter().filter(|it| it["message_type"] == "run").collect()
    }

    fn states(&self) -> Vec<String> {
        self.jobs().iter().rev().map(|run| run["state"].as_str().unwrap().to_owned()).collect()
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_there(self) {
            assert!(began.elapsed() < Duration::from_secs(120), "no {what}: {:?}", self.jobs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn restores(&self) {
        self.run("restore files --target restored --state state").exits(0);
        let restored = self.place.path("restored");
        same(&self.source, &restored.join(self.source.strip_prefix("/").unwrap()));
        std::fs::remove_dir_all(restored).unwrap();
    }
}

/// Registered, with one group over the network that has no schedule.
fn site() -> Site {
    let server = Server::start();
    let place = Place::new();
    let source = place.source("source", 3 << 20);
    let site = Site { server, place, source };
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("vault create offices --server {admin}")).exits(0);
    site.run(&format!("vault credentials offices -o v.VaultCredentials --server {admin}")).exits(0);
    site.run("agent register --credentials v.VaultCredentials --name fs01 --state state").exits(0);
    let source = s(&site.source).to_owned();
    site.run(&format!("group create files --path {source} --state state")).exits(0);
    site
}

/// The service, until it is dropped.
struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    fn start(site: &Site, more: &[&str], set: impl Fn(&mut std::process::Command)) -> Self {
        let mut words = vec!["agent", "run", "--json", "--state", "state"];
        words.extend(more);
        let mut command = site.place.packmule(&words);
        set(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = loop {
            let line = lines.next().expect("the service ended").unwrap();
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["message_type"] == "ready" {
                break value;
            }
        };
        Self { child, ready }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asked to stop, it stops.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A settings file with a schedule that is due every minute.
fn settings(site: &Site, more: &str) -> String {
    let file = site.place.path("agent.toml");
    let text = format!(
        "{more}\n[[group]]\nname = 'files'\npaths = [{:?}]\nschedule = ['* * * * *']\nexclude = {{ patterns = ['*.tmp'] }}\n",
        s(&site.source)
    );
    std::fs::write(&file, text).unwrap();
    s(&file).to_owned()
}

#[test]
fn the_service_backs_up_by_itself_and_tells_systemd_prometheus_and_a_webhook() {
    let site = site();
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "[metrics]\nlisten = '127.0.0.1:0'\n[alerts]\nwebhook = 'http://{}/hook'",
        hook.local_addr().unwrap()
    );
    let config = settings(&site, &more);
    std::fs::write(site.source.join("left.tmp"), "x").unwrap();
    let notify = UnixDatagram::bind(site.place.path("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    let running = Running::start(&site, &["--config", &config], |command| {
        command.env("NOTIFY_SOCKET", site.place.path("notify")).env("WATCHDOG_USEC", "2000000");
        command.env_remove("WATCHDOG_PID");
    });
    let mut heard = String::new();
    while !(heard.contains("READY=1") && heard.contains("WATCHDOG=1")) {
        let mut buffer = [0; 1000];
        let length = notify.recv(&mut buffer).unwrap();
        heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        heard.push('\n');
    }
    // A socket that nobody reads is full soon, and whoever writes to it waits.
    std::thread::spawn(move || while notify.recv(&mut [0; 1000]).is_ok() {});
    let other = site.run("agent run --state state");
    other.exits(11).tells(&["another packmule agent runs"]);
    site.wait_for("run", |site| site.states().first().is_some_and(|state| state == "done"));
    // What follows is by hand: the next minute must not come in between.
    let set = ["group", "set", "files", "--schedule", "0 0 1 1 *", "--state", "state"];
    site.place.run(&set).exits(0);
    let run = site.jobs().pop().unwrap();
    assert_eq!(run["cause"], "schedule");
    assert_eq!(run["place"], "vault");
    assert!(run["added"].as_u64().unwrap() > 0);
    std::fs::remove_file(site.source.join("left.tmp")).unwrap();
    site.restores();
    let address = running.ready["metrics"].as_str().unwrap().to_owned();
    let metrics = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    site.wait_for("metric", |_| {
        metrics().contains("packmule_last_run_state{group=\"files\",state=\"done\"} 1")
    });
    let said = site.run("agent status --state state").exits(0);
    said.shows(&["newest recovery point", "next run"]);
    // The source goes: that is a failure, an alert, a message, and exit codes that say so.
    std::fs::rename(&site.source, site.place.path("away")).unwrap();
    site.run("backup now files --state state").exits(1);
    let said = site.run("agent alerts --state state").exits(3);
    said.shows(&["group/files/failed", "is not there"]);
    site.run("agent status --state state").exits(3).tells(&["group/files/failed"]);
    let (mut stream, _) = hook.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&text).contains("group/files/failed") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..length]);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.starts_with("POST /hook") && !text.contains(PASSWORD), "{text}");
    std::fs::rename(site.place.path("away"), &site.source).unwrap();
    site.run("backup now files --state state").exits(0);
    site.run("agent alerts --state state").exits(0);
    running.stop();
}

#[test]
fn a_service_that_is_killed_loses_nothing_and_says_what_was_cut_off() {
    let site = site();
    let config = settings(&site, "");
    site.place.source("source/more", 24 << 20);
    let running = Running::start(&site, &["--config", &config], |_| {});
    // As slow as a link: it is certainly in the middle.
    site.run("agent limit 2M --state state").exits(0).shows(&["2.000 MiB/s"]);
    site.wait_for("run", |site| site.states() == ["running"]);
    running.kill();
    assert_eq!(site.states(), ["running"], "nobody is there to say otherwise");
    site.run("agent limit settings --state state").exits(0);
    let running = Running::start(&site, &["--config", &config], |_| {});
    site.wait_for("second run", |site| site.states().contains(&"done".to_owned()));
    let states = site.states();
    assert_eq!(states[..2], ["interrupted", "done"], "{states:?}");
    site.run("agent alerts --state state").exits(0);
    let said = site.run("agent alerts --all --state state").exits(0);
    said.shows(&["over", "was cut off"]);
    site.restores();
    running.stop();
}

#[test]
fn a_service_reads_its_settings_again_when_it_is_asked_and_a_broken_file_is_an_alert() {
    let site = site();
    let config = settings(&site, "");
    std::fs::write(site.place.path("password"), format!("{PASSWORD}\n")).unwrap();
    let more = ["--config", &config, "--password-file", "password"];
    let running = Running::start(&site, &more, |_| {});
    let hang_up = || {
        let pid = running.child.id().to_string();
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args(["-HUP", &pid]).status().unwrap().success());
    };
    let whole = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, whole.replace("* * * * *", "0 0 1 1 *")).unwrap();
    hang_up();
    site.wait_for("new schedule", |site| {
        site.run("group show files --state state").stdout.contains("0 0 1 1 *")
    });
    std::fs::write(&config, "[[group]]\nname = 'files'\nshedule = []\n").unwrap();
    hang_up();
    site.wait_for("alert", |site| site.run("agent alerts --state state").code == 3);
    site.run("agent alerts --state state").exits(3).shows(&["settings", "those before go on"]);
    site.run("group show files --state state").exits(0).shows(&["0 0 1 1 *"]);
    std::fs::write(&config, whole.replace("* * * * *", "0 0 2 1 *")).unwrap();
    hang_up();
    site.wait_for("end of it", |site| site.run("agent alerts --state state").code == 0);
    let said = site.run(&format!("agent status --config {config} --state state")).exits(0);
    said.shows(&["next run"]);
    site.run("agent status --config nothing.toml --state state").exits(1).tells(&["nothing.toml"]);
    running.stop();
}

#[test]
fn settings_are_applied_as_they_are_and_what_is_wrong_changes_nothing() {
    let site = site();
    let config = settings(&site, "");
    let dry = site.run(&format!("group apply {config} --dry-run --state state")).exits(0);
    dry.shows(&["group files: would be changed"]);
    site.run("group show files --state state").exits(0).shows(&["no schedule"]);
    site.run(&format!("group apply {config} --state state")).exits(0).shows(&["files: changed"]);
    site.run(&format!("group apply {config} --state state")).exits(0).shows(&["files: unchanged"]);
    site.run("group show files --state state").exits(0).shows(&["* * * * *", "*.tmp"]);
    let set = ["group", "set", "files", "--schedule", "mon-fri 12:00, 22:00", "--keep-daily", "14"];
    let set: Vec<&str> = set.into_iter().chain(["--exclude", "", "--state", "state"]).collect();
    let said = site.place.run(&set).exits(0);
    said.shows(&["schedule: mon-fri 12:00, 22:00", "keeps: daily 14"]);
    for (words, says) in [
        ("group set files --schedule 25:00", "25:00"),
        ("group set files --exclude [z-a]", "[z-a]"),
        ("group set files --missed never", "run, or skip"),
        ("group set nobody --keep-last 1", "no protection group nobody"),
    ] {
        site.run(&format!("{words} --state state")).exits(1).tells(&[says]);
    }
    std::fs::write(
        site.place.path("wrong.toml"),
        "[[group]]\nname = 'files'\npaths = ['/']\nkeep = { dayly = 1 }\n",
    )
    .unwrap();
    site.run("group apply wrong.toml --state state").exits(1).tells(&["dayly"]);
    site.run("agent run --config wrong.toml --state state").exits(1).tells(&["dayly"]);
    let shown = site.run("group show files --state state").exits(0);
    shown.shows(&["mon-fri 12:00, 22:00", "daily 14"]);
}

/// Another machine prunes, with restic's rules, and the vault holds what it asks for.
#[test]
fn a_maintenance_host_forgets_and_prunes_in_the_agents_stead() {
    let site = site();
    let admin = s(&site.server.admin()).to_owned();
    let points = |wanted: usize| {
        let said = site.run("recovery-point list files --json --state state").exits(0);
        let objects = said.objects();
        let points = objects.iter().filter(|it| it["message_type"] == "recovery_point").count();
        assert_eq!(points, wanted, "{objects:?}");
    };
    for n in 0..3 {
        std::fs::write(site.source.join("changes"), vec![n; 200_000]).unwrap();
        site.run("backup now files --state state").exits(0);
    }
    let make = format!("vault maintenance offices --for fs01 -o host.json --server {admin}");
    site.run(&make).exits(0).shows(&["host.json"]);
    let forget = "repo forget --credentials host.json --tag group:files --keep-last 1 --prune";
    site.run(&format!("{forget} --dry-run")).exits(0).shows(&["2 snapshots would be forgotten"]);
    points(3);
    let said = site.run(&format!("{forget} --json")).exits(0);
    assert_eq!(said.object("summary")["forgotten"], 2, "{}", said.stdout);
    let deletion = said.object("deletion");
    assert_eq!(deletion["subject"], "maintenance/offices/fs01", "{deletion}");
    assert!(deletion["packs"].as_u64().unwrap() > 0, "{deletion}");
    points(1);
    site.restores();
    // An administrator has let it: no alert, and the machine sees it all the same.
    site.run("agent status --state state").exits(0);
    let id = deletion["id"].as_u64().unwrap();
    site.run("agent deletions --state state").exits(0).shows(&["maintenance/offices/fs01"]);
    site.run(&format!("agent deletions --undelete {id} --state state")).exits(0);
    points(3);

    let pin = site.run(&format!("vault pin offices --quiet --server {admin}")).exits(0).stdout;
    site.run(&format!("{forget} --pin {}", pin.trim())).exits(0).shows(&["2 snapshots forgotten"]);
    points(1);
    site.restores();
    let vault = site.server.data().join("objects/vaults/offices/fs01/repository");
    support::until("the removal of it", || {
        let said = site.run(&format!("vault deletions offices --server {admin}")).exits(0);
        said.stdout.contains("nothing is to be deleted").then_some(())
    });
    assert_eq!(support::objects_of(&vault, "snapshots").len(), 1);
    site.run("repo prune --credentials host.json").exits(0).shows(&["asked for nothing"]);
    support::restic_is_content("agent::maintenance", &vault);

    let wrong = format!("repo prune --credentials {admin}");
    site.run(&wrong).exits(1).tells(&["maintenance host", "packmule vault maintenance"]);
    site.run("repo prune").exits(2);
    let patch = format!("vault set offices --minimum-retention 30 --server {admin}");
    site.run(&patch).exits(0);
    std::fs::write(site.source.join("changes"), vec![9; 200_000]).unwrap();
    site.run("backup now files --state state").exits(0);
    let young = site.run(forget).exits(0);
    young.shows(&["0 snapshots forgotten, 2 kept"]).tells(&["minimum retention"]);
    points(2);
    site.run(&format!("vault maintenance offices --for fs01 --end --server {admin}")).exits(0);
    site.run("repo prune --credentials host.json").exits(1);
}

/// What somebody else asks for by this machine's credentials.
#[test]
fn a_deletion_that_nobody_here_has_asked_for_is_told_and_brought_back() {
    let site = site();
    for n in 0..2 {
        std::fs::write(site.source.join("changes"), vec![n; 200_000]).unwrap();
        site.run("backup now files --state state").exits(0);
    }
    // Taken to another place, with the key.
    let stolen = site.place.folder("stolen");
    for file in ["agent.json", "machine.pem"] {
        let from = site.place.path("state").join(file);
        if from.exists() {
            std::fs::copy(from, stolen.join(file)).unwrap();
        }
    }
    let source = s(&site.source).to_owned();
    site.run(&format!("group create files --path {source} --state stolen")).exits(0);
    site.run("group stop files --delete-data --yes --state stolen").exits(0);
    let said = site.run("agent status --state state").exits(3);
    said.tells(&["deletion 1", "it was not this machine", "--undelete 1"]);
    site.run("agent deletions --state state").exits(3).tells(&["2 recovery points"]);
    site.run("agent deletions --undelete 1 --state state").exits(0).shows(&["undeleted"]);
    site.run("agent status --state state").exits(0);
    site.run("agent deletions --all --state state").exits(0).shows(&["undeleted"]);
    site.run("agent deletions --allow 7 --state state").exits(1).tells(&["no deletion 7"]);
    site.restores();
}

/// Whoever gives a seed up need not edit a file before the agent starts again.
#[test]
fn a_seed_that_was_given_up_stops_no_agent_whose_settings_still_name_it() {
    let site = site();
    let admin = s(&site.server.admin()).to_owned();
    site.run(&format!("storage-account create seedacct --server {admin}")).exits(0);
    let (config, photos) = (site.place.path("agent.toml"), site.place.source("photos", 1 << 20));
    let offline = |job: &str| {
        let staging = site.place.path("staging");
        let text = format!(
            "[[group]]\nname = 'photos'\npaths = [{:?}]\n[group.offline]\nstaging = {:?}\nimport-job = '{job}'\nstorage-account = 'seedacct'\ncontainer = 'seeds'\n",
            s(&photos),
            s(&staging),
        );
        std::fs::write(&config, text).unwrap();
    };
    offline("seed-1");
    let (config, apply) = (s(&config), format!("group apply {} --state state", s(&config)));
    site.run(&apply).exits(0);
    let staged = site.run("backup now photos --json --state state").exits(0);
    let seed = staged.object("summary")["seed"].as_str().unwrap().to_owned();
    let status = format!("agent status --config {config} --state state");
    assert!(!site.run(&status).exits(0).stdout.contains("given up"));

    site.run(&format!("seed abandon {seed} --yes --state state")).exits(0);
    site.run(&status).exits(0).shows(&[&seed, "seed-1", "over the network", "[group.offline]"]);
    site.run(&apply).exits(0).shows(&["group photos: unchanged"]).tells(&[&seed, "given up"]);
    let running = Running::start(&site, &["--config", config], |_| {});
    running.stop();
    site.run("backup now photos --state state").exits(0);
    let points = site.run("recovery-point list photos --state state").exits(0);
    points.shows(&["in vault"]);
    // Any other way is still refused, and that is said before the agent is started again.
    offline("seed-2");
    site.run(&apply).exits(1).tells(&["was decided when it was created"]);
    site.run(&status).exits(3).tells(&["agent.toml", "was decided when it was created"]);
    site.run(&format!("agent run --config {config} --state state")).exits(1);
}

/// The commands about retention, from both ends, with stock restic as the judge of what is left.
#[test]
fn recovery_points_go_by_rules_come_back_and_are_gone_with_a_pin() {
    let site = site();
    let admin = s(&site.server.admin()).to_owned();
    let points = |wanted: usize| {
        let said = site.run("recovery-point list files --json --state state").exits(0);
        let objects = said.objects();
        let points = objects.iter().filter(|it| it["message_type"] == "recovery_point").count();
        assert_eq!(points, wanted, "{objects:?}");
    };
    for n in 0..3 {
        std::fs::write(site.source.join("changes"), vec![n; 200_000]).unwrap();
        site.run("backup now files --state state").exits(0);
    }
    site.run("group set files --keep-last 1 --state state").exits(0);
    let rehearsal = site.run("group prune files --dry-run --json --state state").exits(0).objects();
    let decided: Vec<bool> = rehearsal
        .iter()
        .filter(|it| it["message_type"] == "recovery_point")
        .map(|it| it["keep"].as_bool().unwrap())
        .collect();
    assert_eq!(decided, [true, false, false]);
    points(3);

    let said = site.run("group prune files --json --state state").exits(0).objects();
    let summary = said.iter().find(|it| it["message_type"] == "summary").unwrap();
    assert_eq!((summary["kept"].as_u64(), summary["gone"].as_u64()), (Some(1), Some(2)));
    let id = summary["deletion"]["id"].as_u64().unwrap();
    points(1);
    let listed = site.run(&format!("vault deletions offices --server {admin}")).exits(0);
    assert!(listed.stdout.contains("2 recovery points of group files"), "{}", listed.stdout);
    let jobs = site.run("agent jobs --state state").exits(0);
    assert!(jobs.stdout.contains("retention: 1 kept, 2 go"), "{}", jobs.stdout);
    let why = site.run("agent jobs --why 1 --state state").exits(0);
    assert!(
        why.stdout.contains("last snapshot") && why.stdout.contains("no rule keeps it"),
        "{}",
        why.stdout
    );
    site.run(&format!("vault undelete offices {id} --server {admin}")).exits(0);
    points(3);
    site.restores();

    // Nobody else can end a hold, and whoever can has no key.
    site.run("group prune files --pin 0123456789 --state state").exits(1);
    points(1);
    let pin = site.run(&format!("vault pin offices --quiet --server {admin}")).exits(0).stdout;
    site.run("group resume files --state state").exits(0);
    site.run(&format!("group stop files --delete-data --yes --pin {} --state state", pin.trim()))
        .exits(0);
    site.run("backup now files --state state").exits(1);
    let shown = site.run("group show files --state state").exits(0);
    assert!(shown.stdout.contains("to be deleted"), "{}", shown.stdout);
    points(0);
    site.run("group resume files --state state").exits(0);
    site.run("backup now files --state state").exits(0);
    points(1);
    site.restores();
    let set = format!("vault set offices --minimum-retention 30 --quota 1G --server {admin}");
    let set = site.run(&set).exits(0);
    assert!(
        set.stdout.contains("kept for 30 days") && set.stdout.contains("quota 1"),
        "{}",
        set.stdout
    );
    let quota = format!("vault set offices --for fs01 --quota 1000 --server {admin}");
    site.run(&quota).exits(0);
    std::fs::write(site.source.join("more"), vec![9; 500_000]).unwrap();
    let full = site.run("backup now files --state state").exits(1);
    assert!(full.stderr.contains("source server fs01 may have 1000 bytes"), "{}", full.stderr);
    site.run("group stop files --state state").exits(2);
}
