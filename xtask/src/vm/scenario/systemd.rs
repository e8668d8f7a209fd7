//! The unit that we ship, under Debian's systemd: it is started when it is ready, has its password as an encrypted credential, backs up
//! when its schedule says so, reads its settings again, comes back after it was killed and after it hung, takes snapshots of LVM with no
//! more than the drop-in that its documentation names, and stops in time.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::site::Site;
use super::snapshot;
use anyhow::{Context, ensure};
use std::time::{Duration, Instant};

const UNIT: &str = include_str!("../../../../dist/packmule-agent.service");

/// There is no journal here, and nobody wants to wait two minutes for somebody who hangs.
const HERE: &str = "[Service]\nStandardOutput=append:/run/agent.log\nStandardError=append:/run/agent.log\n\
    RestartSec=3\nWatchdogSec=60\n";

const SETTINGS: &str =
    "[[group]]\nname = \"files\"\npaths = [\"/srv/files\"]\nschedule = [\"* * * * *\"]\n";

/// As in docs/agent.md.
const FOR_LVM: &str = "[Service]\nReadWritePaths=-/etc/lvm /run\n";

/// A file system of its own, on a volume of LVM.
const VOLUME: &str = "set -e; export LVM_SUPPRESS_FD_WARNINGS=1; pvcreate -q $DEVICE; vgcreate -q vg0 $DEVICE; \
    lvcreate -q -y -L 50M -n volume vg0; mkfs.ext4 -q /dev/mapper/vg0-volume; mkdir -p /srv/volume; \
    mount /dev/mapper/vg0-volume /srv/volume; head -c 2000000 /dev/urandom >/srv/volume/noise";

/// Of the five minutes that the unit gives it.
const STOP: Duration = Duration::from_secs(60);

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let site = Site::start(lab)?;
    let drive =
        |serial: &str| anyhow::Ok(Drive::new(&lab.image(serial, 200)?, Controller::Virtio, serial));
    let spec = Spec::new().systemd().drive(drive("STATE")?).drive(drive("VOLUMES")?);
    let mut machine = lab.boot(spec.reaches(site.port))?;
    machine.until("systemctl is-system-running | grep -q -e running -e degraded")?;
    // A key for credentials is kept on disks only.
    let device = machine.device("STATE")?;
    machine.done(&format!("mkfs.ext4 -q {device} && mount {device} /var/lib"))?;
    machine.done(
        "mkdir -p /etc/packmule /srv/files /etc/systemd/system/packmule-agent.service.d && \
         head -c 3000000 /dev/urandom >/srv/files/noise",
    )?;
    machine.put("/etc/systemd/system/packmule-agent.service", 0o644, UNIT.as_bytes())?;
    drop_in(&mut machine, "here", HERE)?;
    machine.put("/etc/packmule/agent.toml", 0o600, SETTINGS.as_bytes())?;
    machine.put("/fs01.json", 0o600, &site.agent)?;
    machine.done("packmule agent register --credentials /fs01.json")?;
    machine.done_with(
        "systemd-creds encrypt --name=packmule-password - /etc/packmule/password.cred",
        b"open-sesame-vm-01",
    )?;
    started(&mut machine)?;
    reloaded(&mut machine)?;
    back_again(&mut machine, "kill -KILL", "signal")?;
    // One that hangs: it does not feed the watchdog any more.
    back_again(&mut machine, "kill -STOP", "watchdog")?;
    snapshots(&mut machine)?;
    stopped(&mut machine)?;
    machine.power_off()
}

fn drop_in(machine: &mut Machine, name: &str, text: &str) -> anyhow::Result<()> {
    let path = format!("/etc/systemd/system/packmule-agent.service.d/{name}.conf");
    machine.put(&path, 0o644, text.as_bytes())?;
    machine.done("systemctl daemon-reload").map(|_| ())
}

fn property(machine: &mut Machine, name: &str) -> anyhow::Result<String> {
    let said = machine.done(&format!("systemctl show --value -p {name} packmule-agent"))?;
    Ok(said.trim().to_owned())
}

fn is(machine: &mut Machine, name: &str, value: &str) -> anyhow::Result<()> {
    let found = property(machine, name)?;
    if found != value {
        let log = machine.run("systemctl status packmule-agent; cat /run/agent.log")?;
        anyhow::bail!("{name} is {found}, not {value}: {}", log.all());
    }
    Ok(())
}

/// It counts as started when it says so, and backs up what is due.
fn started(machine: &mut Machine) -> anyhow::Result<()> {
    let said = machine.run("systemctl start packmule-agent")?;
    let log = machine.run("cat /run/agent.log")?;
    ensure!(said.code == 0, "{}{}", said.all(), log.all());
    is(machine, "ActiveState", "active")?;
    is(machine, "SubState", "running")?;
    ensure!(log.all().contains("the agent runs"), "active before it is ready: {}", log.all());
    machine.until("packmule agent jobs files | grep -q done")?;
    // By itself: nobody has given the password but the credential.
    let environment = machine.done(
        "tr '\\0' '\\n' </proc/$(systemctl show --value -p MainPID packmule-agent)/environ",
    )?;
    ensure!(!environment.contains("open-sesame"), "the password is in its environment");
    machine.until("systemctl show -p StatusText packmule-agent | grep -q '1 groups'")
}

/// Settings are read again; broken ones are an alert, and change nothing.
fn reloaded(machine: &mut Machine) -> anyhow::Result<()> {
    let pid = property(machine, "MainPID")?;
    let more = format!("{SETTINGS}[[group]]\nname = \"more\"\npaths = [\"/etc\"]\n");
    machine.put("/etc/packmule/agent.toml", 0o600, more.as_bytes())?;
    machine.done("systemctl reload packmule-agent")?;
    machine.until("systemctl show -p StatusText packmule-agent | grep -q '2 groups'")?;
    machine.put("/etc/packmule/agent.toml", 0o600, b"[[groop]]\n")?;
    machine.done("systemctl reload packmule-agent")?;
    machine.until("packmule agent alerts | grep -q settings")?;
    machine.put("/etc/packmule/agent.toml", 0o600, more.as_bytes())?;
    machine.done("systemctl reload packmule-agent")?;
    machine.until("packmule agent alerts")?;
    is(machine, "MainPID", &pid)
}

/// After something has happened to its process it is started again, and goes on.
fn back_again(machine: &mut Machine, what: &str, result: &str) -> anyhow::Result<()> {
    let before = property(machine, "MainPID")?;
    let restarts: u32 = property(machine, "NRestarts")?.parse().context("a number")?;
    machine.done(&format!("{what} {before}"))?;
    machine.until(&format!("systemctl show -p Result packmule-agent | grep -q {result}"))?;
    let again = format!("[ $(systemctl show --value -p NRestarts packmule-agent) -gt {restarts} ]");
    machine.until(&again)?;
    machine.until("[ $(systemctl show --value -p SubState packmule-agent) = running ]")?;
    let now = property(machine, "MainPID")?;
    ensure!(now != before, "it is the same process");
    let done = "packmule agent jobs files | grep -c done";
    let count: u32 = machine.done(done)?.trim().parse().context("a number")?;
    machine.until(&format!("[ $({done}) -gt {count} ]"))
}

/// The unit alone lets LVM write nothing; with the drop-in, what wants a snapshot has one.
fn snapshots(machine: &mut Machine) -> anyhow::Result<()> {
    machine.load("volumes")?;
    snapshot::without_udev(machine)?;
    let device = machine.device("VOLUMES")?;
    machine.done(&format!("DEVICE={device}; {VOLUME}"))?;
    let more = format!(
        "{SETTINGS}[[group]]\nname = \"volume\"\npaths = [\"/srv/volume\"]\nschedule = [\"* * * * *\"]\nsnapshot = \"require\"\n"
    );
    machine.put("/etc/packmule/agent.toml", 0o600, more.as_bytes())?;
    machine.done("systemctl reload packmule-agent")?;
    machine.until("packmule agent jobs volume | grep -q failed")?;
    let said = machine.run("packmule agent alerts")?;
    ensure!(said.code == 3 && said.all().contains("snapshot"), "nothing is said: {}", said.all());
    drop_in(machine, "lvm", FOR_LVM)?;
    machine.done("systemctl restart packmule-agent")?;
    machine.until("packmule agent jobs volume | grep -q done")?;
    let left = machine.done("lvs --noheadings -o lv_name -S lv_tags=packmule")?;
    ensure!(left.trim().is_empty(), "there is something left: {left}");
    machine.done(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule restore volume --target /tmp/of-volume && \
         cmp /srv/volume/noise /tmp/of-volume/srv/volume/noise",
    )?;
    Ok(())
}

/// In the middle of a backup, within its time; and what is stored is whole.
fn stopped(machine: &mut Machine) -> anyhow::Result<()> {
    machine.done("head -c 30000000 /dev/urandom >/srv/files/more")?;
    machine.until("packmule agent jobs files | grep -q running")?;
    let began = Instant::now();
    machine.done("systemctl stop packmule-agent")?;
    ensure!(began.elapsed() < STOP, "it takes {} s to stop", began.elapsed().as_secs());
    is(machine, "ActiveState", "inactive")?;
    is(machine, "Result", "success")?;
    machine.done(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule restore files --target /tmp/restored && \
         cmp /srv/files/noise /tmp/restored/srv/files/noise",
    )?;
    Ok(())
}
