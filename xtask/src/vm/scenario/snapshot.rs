//! Backups from snapshots of LVM: a classic volume with ext4 and a thin one with xfs are changed while they are backed up, and what is
//! restored is what was there when the snapshot was taken. One that is killed leaves something, and the next one removes that; one
//! whose area fills up is no recovery point.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::line::{Job, Said};
use super::super::machine::{Machine, Spec};
use super::mishaps::patiently;
use super::set;
use anyhow::ensure;

/// Looks like one of ours, and was made by somebody else.
const NOT_OURS: &str = "packmule-00112233aabbccdd";

/// What is left of snapshots of ours: volumes, mounts, notes. Nothing, but the one that is not ours.
const LEFT: &str = "lvs --noheadings -o lv_name -S lv_tags=packmule; grep packmule-snapshots /proc/mounts; \
    find /disk/state/snapshots -name 'packmule-*'";

/// There is no udev that would make device files.
const WITHOUT_UDEV: &[u8] =
    b"activation { udev_sync = 0 udev_rules = 0 verify_udev_operations = 1 }\n";

const VOLUMES: &str = "set -e; export LVM_SUPPRESS_FD_WARNINGS=1; \
    pvcreate -q $DEVICE; vgcreate -q vg-0 $DEVICE; \
    lvcreate -q -y -L 100M -n plain vg-0; lvcreate -q -y -L 200M -T vg-0/pool; \
    lvcreate -q -y -V 400M -T vg-0/pool -n thin; \
    mkfs.ext4 -q -e panic /dev/mapper/vg--0-plain; mkfs.xfs -q /dev/mapper/vg--0-thin; \
    mkdir -p /srv/plain /srv/thin; \
    mount /dev/mapper/vg--0-plain /srv/plain; mount /dev/mapper/vg--0-thin /srv/thin";

/// A path of each, one of them through another mount of a part of the same volume.
const PATHS: &str = "/srv/plain /srv/again /srv/thin";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let (volumes, disk) = (lab.image("volumes", 600)?, lab.image("disk", 600)?);
    let spec = Spec::new()
        .drive(Drive::new(&volumes, Controller::Virtio, "VOLUMES"))
        .drive(Drive::new(&disk, Controller::Virtio, "DISK"));
    let mut machine = lab.boot(spec)?;
    machine.load("volumes")?;
    set::disk(&mut machine, "DISK")?;
    without_udev(&mut machine)?;
    let device = machine.device("VOLUMES")?;
    machine.done(&format!("DEVICE={device}; {VOLUMES}"))?;
    for folder in ["plain", "thin"] {
        machine.done(&format!(
            "mkdir -p /srv/{folder}/part && cd /srv/{folder} && \
             for n in 1 2 3 4; do head -c 5000000 /dev/urandom >$n; done && \
             for n in 1 2 3; do echo $n >part/$n; done"
        ))?;
    }
    machine.done("mkdir /srv/again && mount --bind /srv/plain/part /srv/again")?;
    machine.done(&format!("lvcreate -q -y -s -L 8M -n {NOT_OURS} vg-0/plain"))?;
    machine.done("PACKMULE_PASSWORD=open-sesame-vm-01 packmule repo init -r /disk/repository")?;

    changed_meanwhile(&mut machine)?;
    killed(&mut machine)?;
    filled_up(&mut machine)?;
    machine.done(&format!("lvs vg-0/{NOT_OURS}"))?;
    machine.power_off()
}

/// Has LVM's programs make the device files.
pub(super) fn without_udev(machine: &mut Machine) -> anyhow::Result<()> {
    machine.done("mkdir -p /etc/lvm")?;
    machine.put("/etc/lvm/lvm.conf", 0o644, WITHOUT_UDEV)
}

pub(super) fn back_up(words: &str) -> String {
    format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 exec packmule repo backup -r /disk/repository --state /disk/state {words}"
    )
}

/// Begins a backup and stops it where it has taken its snapshots, before it can have read much.
pub(super) fn begin(machine: &mut Machine, words: &str, snapshots: usize) -> anyhow::Result<Job> {
    let job = machine.begin(&back_up(words))?;
    let there = format!("[ $(grep -c packmule-snapshots /proc/mounts) = {snapshots} ]");
    patiently(machine, &there)?;
    machine.done("kill -STOP $(pidof packmule)")?;
    ensure!(machine.ended(&job)?.is_none(), "it is done too early");
    Ok(job)
}

/// Something to read, so that it takes a while.
pub(super) fn more(machine: &mut Machine, name: &str) -> anyhow::Result<()> {
    machine.done(&format!("head -c 20000000 /dev/urandom >/srv/{name} && sync")).map(|_| ())
}

/// Lets it go on, and waits for its end.
pub(super) fn go_on(machine: &mut Machine, job: &Job) -> anyhow::Result<Said> {
    machine.done("kill -CONT $(pidof packmule)")?;
    machine.wait(job)
}

pub(super) fn recovery_points(machine: &mut Machine) -> anyhow::Result<usize> {
    let said = machine.done(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json repo snapshots -r /disk/repository",
    )?;
    Ok(said.lines().filter(|line| line.contains("\"message_type\":\"snapshot\"")).count())
}

fn nothing_is_left(machine: &mut Machine) -> anyhow::Result<()> {
    says_nothing(machine, LEFT)
}

/// What a script lists is left of snapshots.
pub(super) fn says_nothing(machine: &mut Machine, script: &str) -> anyhow::Result<()> {
    let said = machine.run(script)?;
    ensure!(said.text().trim().is_empty(), "there is something left: {}", said.all());
    Ok(())
}

/// Everything is overwritten, removed, added to and appended to.
fn changed_meanwhile(machine: &mut Machine) -> anyhow::Result<()> {
    let before = set::hashes(machine, "/srv")?;
    let job = begin(machine, &format!("--snapshot require {PATHS}"), 2)?;
    machine.done(
        "for at in plain thin; do cd /srv/$at; for n in 1 2 3; do \
         head -c 5000000 /dev/urandom | dd of=$n conv=notrunc status=none; done; \
         rm 4 part/1; echo late >late; echo more >>part/2; done; sync",
    )?;
    let said = go_on(machine, &job)?;
    ensure!(said.code == 0 && !said.all().contains("as it is"), "{}", said.all());
    nothing_is_left(machine)?;
    restored(machine, &before)?;
    unchanged(machine, PATHS)?;
    nothing_is_left(machine)
}

/// Checks the repository, restores its last recovery point, and compares that with hashes taken before.
pub(super) fn restored(machine: &mut Machine, before: &str) -> anyhow::Result<()> {
    machine.done(
        "export PACKMULE_PASSWORD=open-sesame-vm-01; rm -rf /disk/restored; \
         packmule repo check -r /disk/repository --read-data && \
         packmule repo restore -r /disk/repository latest --target /disk/restored",
    )?;
    let restored = set::hashes(machine, "/disk/restored/srv")?;
    ensure!(restored == before, "what is restored is not what was there:\n{restored}{before}");
    Ok(())
}

/// What is unchanged is found to be so, with a snapshot and without.
pub(super) fn unchanged(machine: &mut Machine, paths: &str) -> anyhow::Result<()> {
    machine.done(&back_up(&format!("--snapshot require {paths}")))?;
    for how in ["require", "off"] {
        let said = machine.done(
            &back_up(&format!("--snapshot {how} {paths}"))
                .replace("exec packmule", "exec packmule --json"),
        )?;
        let summary = set::object(&said, "summary")?;
        let number = |name| summary.get(name).and_then(serde_json::Value::as_u64);
        ensure!(number("data_blobs") == Some(0) && number("files_changed") == Some(0), "{summary}");
    }
    Ok(())
}

/// What a killed one has left is removed by the next one, which is told.
fn killed(machine: &mut Machine) -> anyhow::Result<()> {
    more(machine, "thin/killed")?;
    let job = begin(machine, &format!("--snapshot require {PATHS}"), 2)?;
    machine.done("kill -KILL $(pidof packmule)")?;
    machine.wait(&job)?;
    let left = machine.done("lvs --noheadings -o lv_name -S lv_tags=packmule")?;
    ensure!(left.lines().count() == 2, "a killed backup leaves its snapshots: {left}");
    // Whoever takes none removes them as well, with the same notes.
    let said = machine.run(&back_up("--snapshot auto /srv/thin"))?;
    ensure!(said.code == 0, "{}", said.all());
    ensure!(said.all().matches("left by a run that was cut off").count() == 2, "{}", said.all());
    nothing_is_left(machine)
}

/// More is overwritten than there is room for; then there is no room at all.
fn filled_up(machine: &mut Machine) -> anyhow::Result<()> {
    let points = recovery_points(machine)?;
    let filler = |name: &str, extents: &str| format!("lvcreate -q -y -n {name} -l {extents} vg-0");
    // Two extents of 4 MiB are left for an area, half of four.
    machine
        .done(&filler("filler", "$(( $(lvs --noheadings -o vg_free_count vg-0/plain) - 4 ))"))?;
    more(machine, "plain/filled")?;
    let job = begin(machine, "--snapshot require /srv/plain", 1)?;
    machine.done(
        "cd /srv/plain && for n in 1 2 3; do head -c 5000000 /dev/urandom | dd of=$n conv=notrunc status=none; done; sync",
    )?;
    let said = go_on(machine, &job)?;
    ensure!(said.code != 0 && said.code != 3, "it counts: {}", said.all());
    ensure!(said.all().contains("was lost while it was read"), "{}", said.all());
    ensure!(recovery_points(machine)? == points, "there is a recovery point of it");
    nothing_is_left(machine)?;
    machine.done("echo it lives >/srv/plain/after && sync")?;

    machine.done(&filler("rest", "100%FREE"))?;
    let said = machine.run(&back_up("--snapshot require /srv/plain"))?;
    ensure!(said.code != 0 && said.all().contains("has no room"), "{}", said.all());
    ensure!(recovery_points(machine)? == points, "there is a recovery point of it");
    let said = machine.run(&back_up("--snapshot auto /srv/plain"))?;
    ensure!(said.code == 0 && said.all().contains("is read as it is"), "{}", said.all());
    ensure!(recovery_points(machine)? == points + 1, "there is none");
    nothing_is_left(machine)
}
