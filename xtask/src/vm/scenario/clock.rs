//! The agent as a service and its server on one machine whose clock is moved: over two nights on which clocks change, ahead and back
//! again, and past the end of the machine's certificate while it was off. Each scheduled time has one recovery point, each of them is
//! what it says, and what is wrong is said.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::line::Job;
use super::super::machine::{Machine, Spec};
use super::set;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

const ZONE: &str = "/usr/share/zoneinfo/Europe/Berlin";

const SETTINGS: &str = r#"
time-zone = "Europe/Berlin"
[alerts]
command = ["/bin/sh", "-c", "cat >>/disk/alerts; echo >>/disk/alerts"]
[[group]]
name = "files"
paths = ["/disk/data"]
schedule = ["02:30"]
keep = { last = 20 }
[[group]]
name = "hours"
paths = ["/disk/other"]
schedule = ["30 * * * *"]
"#;

/// What each recovery point of the group must restore to.
#[derive(Default)]
struct Made(BTreeMap<String, usize>);

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let zone = std::fs::read(ZONE).context("the host has no time zones")?;
    let disk = lab.image("disk", 600)?;
    let mut machine = lab.boot(Spec::new().drive(Drive::new(&disk, Controller::Virtio, "DISK")))?;
    set::disk(&mut machine, "DISK")?;
    machine.done(
        "mkdir -p /usr/share/zoneinfo/Europe /disk/data /disk/other && echo x >/disk/other/x",
    )?;
    machine.put(ZONE, 0o644, &zone)?;
    machine.put("/disk/agent.toml", 0o600, SETTINGS.as_bytes())?;
    set_clock(&mut machine, "2026-10-24 20:00:00")?;
    version(&mut machine, 0)?;
    serve(&mut machine)?;
    register(&mut machine)?;
    let agent = start(&mut machine)?;

    let mut made = Made::default();
    nights(&mut machine, &mut made)?;
    ahead_and_back(&mut machine, &mut made)?;
    certificate_ends(&mut machine, &agent, &mut made)?;
    made.are_there(&mut machine)?;
    machine.power_off()
}

/// The clock of the machine, in UTC.
fn set_clock(machine: &mut Machine, moment: &str) -> anyhow::Result<()> {
    machine.done(&format!("date -u -s '{moment}'")).map(|_| ())
}

/// Sets the clock while the agent runs and does nothing. Its server is another machine in earnest, whose clock was right all the time:
/// it starts anew meanwhile.
fn jump(machine: &mut Machine, moment: &str) -> anyhow::Result<()> {
    for group in ["files", "hours"] {
        machine.until(&format!("flock -n /disk/agent/runs/{group}.lock true"))?;
    }
    let server = "$(cat /disk/server.pid)";
    machine.done(&format!("kill -STOP $(cat /disk/agent.pid) && kill {server}"))?;
    machine.until(&format!("! kill -0 {server}"))?;
    set_clock(machine, moment)?;
    serve(machine)?;
    set_clock(machine, moment)?;
    machine.done("kill -CONT $(cat /disk/agent.pid)").map(|_| ())
}

/// What there is to back up.
fn version(machine: &mut Machine, version: usize) -> anyhow::Result<()> {
    machine.done(&format!("echo {version} >/disk/data/version")).map(|_| ())
}

fn serve(machine: &mut Machine) -> anyhow::Result<Job> {
    machine.done("rm -f /disk/up")?;
    let job = machine.begin(
        "echo $$ >/disk/server.pid; exec packmule --json serve --data /disk/server --listen 127.0.0.1:8443 >/disk/up 2>>/disk/server.log",
    )?;
    machine.until("grep -q '\"address\"' /disk/up")?;
    Ok(job)
}

/// By fresh credentials of the vault.
fn register(machine: &mut Machine) -> anyhow::Result<()> {
    let admin = "--server /disk/server/admin.json";
    machine.run(&format!("packmule vault create vault1 {admin}"))?;
    machine.done(&format!(
        "packmule vault credentials vault1 -o /disk/vault.VaultCredentials {admin} && \
         packmule agent register --credentials /disk/vault.VaultCredentials --name fs01 --state /disk/agent; \
         code=$?; rm -f /disk/vault.VaultCredentials; exit $code"
    ))
    .map(|_| ())
}

fn start(machine: &mut Machine) -> anyhow::Result<Job> {
    machine.done("rm -f /disk/ready")?;
    let job = machine.begin(
        "echo $$ >/disk/agent.pid; export PACKMULE_PASSWORD=open-sesame-vm-01; exec packmule --json agent run --config /disk/agent.toml \
         --state /disk/agent >/disk/ready 2>>/disk/agent.log",
    )?;
    machine.until("grep -q '\"ready\"' /disk/ready")?;
    Ok(job)
}

/// Rows of what was run, the oldest first.
fn runs(machine: &mut Machine, group: &str) -> anyhow::Result<Vec<Value>> {
    let said = machine
        .done(&format!("packmule --json agent jobs {group} --last 1000 --state /disk/agent"))?;
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut runs: Vec<Value> =
        lines.filter(|it| it.get("message_type").is_some_and(|kind| kind == "run")).collect();
    runs.reverse();
    Ok(runs)
}

fn word<'r>(run: &'r Value, member: &str) -> &'r str {
    run.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// Waits until so many runs of a group have ended well, and until nothing more comes of the moment.
fn until_runs(machine: &mut Machine, group: &str, count: usize) -> anyhow::Result<Vec<Value>> {
    let jobs = format!("packmule --json agent jobs {group} --last 1000 --state /disk/agent");
    let counted = format!(
        "[ $({jobs} | grep '\"message_type\":\"run\"' | grep -c '\"state\":\"done\"') -ge {count} ]"
    );
    machine.until(&counted)?;
    machine.done("sleep 4")?;
    let runs = runs(machine, group)?;
    let mut times: Vec<&str> = runs.iter().map(|run| word(run, "scheduled")).collect();
    times.sort_unstable();
    times.dedup();
    ensure!(times.len() == runs.len(), "a scheduled time has two runs: {runs:#?}");
    ensure!(runs.len() == count, "{} runs of {group}, not {count}: {runs:#?}", runs.len());
    Ok(runs)
}

/// Waits until what was to be done at that time is done.
fn until_done(machine: &mut Machine, group: &str, scheduled: &str) -> anyhow::Result<()> {
    machine.until(&format!(
        "packmule --json agent jobs {group} --last 1000 --state /disk/agent | grep '\"scheduled\":\"{scheduled}\"' | \
         grep -q '\"state\":\"done\"'"
    ))
}

impl Made {
    /// The clock is set to just before a moment, of which one more recovery point comes, that is for `scheduled`.
    fn one_more(
        &mut self,
        machine: &mut Machine,
        moment: &str,
        scheduled: &str,
    ) -> anyhow::Result<()> {
        let number = self.0.len() + 1;
        version(machine, number)?;
        jump(machine, moment)?;
        let runs = until_runs(machine, "files", number)?;
        let run = runs.last().context("there is one")?;
        ensure!(word(run, "scheduled") == scheduled, "it is for another time: {run}");
        self.0.insert(word(run, "snapshot").to_owned(), number);
        ensure!(self.0.len() == number, "a recovery point has been seen before: {run}");
        Ok(())
    }

    /// The clock is set to a moment of which nothing comes.
    fn nothing(&self, machine: &mut Machine, moment: &str) -> anyhow::Result<()> {
        jump(machine, moment)?;
        machine.done("sleep 6")?;
        until_runs(machine, "files", self.0.len()).map(|_| ())
    }

    /// These and no others are listed, and each is what it was made of.
    fn are_there(&self, machine: &mut Machine) -> anyhow::Result<()> {
        let said = machine.done(
            "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json recovery-point list files --state /disk/agent",
        )?;
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let points = lines
            .filter(|it| it.get("message_type").is_some_and(|kind| kind == "recovery_point"))
            .map(|it| word(&it, "id").to_owned());
        let listed: std::collections::BTreeSet<String> = points.collect();
        ensure!(listed.iter().eq(self.0.keys()), "not what was made: {said}");
        for (id, number) in &self.0 {
            let restored = machine.done(&format!(
                "rm -rf /disk/restored; PACKMULE_PASSWORD=open-sesame-vm-01 packmule restore files --point {id} \
                 --target /disk/restored --state /disk/agent >&2 && cat /disk/restored/disk/data/version"
            ))?;
            ensure!(restored.trim() == number.to_string(), "{id} is {restored}, not {number}");
        }
        Ok(())
    }
}

/// An hour that there is twice, and one that there is not.
fn nights(machine: &mut Machine, made: &mut Made) -> anyhow::Result<()> {
    // In summer time; an hour later it is the same by the clock on the wall. It is the first backup of both groups, which makes the repository.
    made.one_more(machine, "2026-10-25 00:29:57", "2026-10-25T00:30:00Z")?;
    until_done(machine, "hours", "2026-10-25T00:30:00Z")?;
    let hours = runs(machine, "hours")?.len();
    made.nothing(machine, "2026-10-25 01:29:57")?;
    // What comes each hour comes in both of them.
    until_done(machine, "hours", "2026-10-25T01:30:00Z")?;
    until_runs(machine, "hours", hours + 1)?;
    made.one_more(machine, "2026-10-26 01:29:57", "2026-10-26T01:30:00Z")?;
    // Many that were missed are one.
    made.one_more(machine, "2027-03-27 12:00:00", "2027-03-27T01:30:00Z")?;
    // There is no half past two: it comes when the hour is over, and not at half past three.
    made.one_more(machine, "2027-03-28 00:59:57", "2027-03-28T01:00:00Z")?;
    made.nothing(machine, "2027-03-28 01:29:57")?;
    made.one_more(machine, "2027-03-29 00:29:57", "2027-03-29T00:30:00Z")
}

/// A clock that is half a year ahead holds nothing up once it is put right.
fn ahead_and_back(machine: &mut Machine, made: &mut Made) -> anyhow::Result<()> {
    made.one_more(machine, "2027-09-01 12:00:00", "2027-09-01T00:30:00Z")?;
    made.nothing(machine, "2027-03-29 12:00:00")?;
    made.one_more(machine, "2027-03-30 00:29:57", "2027-03-30T00:30:00Z")?;
    let said = machine.run(
        "rm -rf /disk/restored; PACKMULE_PASSWORD=open-sesame-vm-01 packmule restore files --target /disk/restored --state /disk/agent",
    )?;
    ensure!(said.code == 0 && said.all().contains("in the future"), "{}", said.all());
    nothing_is_wrong(machine, "2027-03-30 00:45:00")
}

/// Some of it is looked at every five minutes only, as whether the server answers: the clock goes on by more than that.
fn nothing_is_wrong(machine: &mut Machine, soon: &str) -> anyhow::Result<()> {
    set_clock(machine, soon)?;
    machine.until("packmule agent alerts --state /disk/agent")
}

/// The machine was off for years: its certificate has ended.
fn certificate_ends(machine: &mut Machine, agent: &Job, made: &mut Made) -> anyhow::Result<()> {
    machine.done("kill $(pidof packmule)")?;
    machine.wait(agent)?;
    machine.until("! pidof packmule")?;
    set_clock(machine, "2030-05-01 12:00:00")?;
    serve(machine)?;
    start(machine)?;
    machine.until("grep -q '\"key\":\"certificate\"' /disk/alerts")?;
    let status = "packmule agent status --state /disk/agent --config /disk/agent.toml";
    machine.until(&format!("{status} 2>&1 | grep -q 'certificate ended on 2029'"))?;
    let said = machine.run(status)?;
    ensure!(said.code == 3, "something is wrong: {} {}", said.code, said.all());
    // The missed one was tried, and is no recovery point.
    machine.until(
        "packmule --json agent jobs files --state /disk/agent | grep -q '\"state\":\"failed\"'",
    )?;
    let failed = runs(machine, "files")?;
    let failed = failed.last().context("there is one")?;
    ensure!(word(failed, "snapshot").is_empty(), "{failed}");
    ensure!(word(failed, "message").contains("register"), "it says what to do: {failed}");

    // What failed is tried again, and then there is the next night.
    let number = made.0.len() + 1;
    version(machine, number)?;
    register(machine)?;
    jump(machine, "2030-05-02 00:29:57")?;
    until_done(machine, "files", "2030-05-02T00:30:00Z")?;
    for run in runs(machine, "files")? {
        if let Some(id) = run.get("snapshot").and_then(Value::as_str) {
            made.0.entry(id.to_owned()).or_insert(number);
        }
    }
    nothing_is_wrong(machine, "2030-05-02 00:45:00")?;
    machine.until("grep -q '\"key\":\"certificate\"[^}]*\"over\":true' /disk/alerts")
}
