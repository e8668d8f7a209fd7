//! Backups from snapshots of ZFS: datasets of two pools, one within another, one through another mount, are changed while they are
//! backed up, and what is restored is what was there when the snapshots were taken, at one moment in each pool. One that is killed
//! leaves something, and the next one removes that, whatever it is called by then, and nothing else.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::set;
use super::snapshot::{
    back_up, begin, go_on, more, recovery_points, restored, says_nothing, unchanged,
};
use anyhow::ensure;

/// Looks like one of ours, and was made by somebody else.
const NOT_OURS: &str = "packmule-00112233aabbccdd";

/// Snapshots of ours.
const OURS: &str = "zfs list -H -o name -t snapshot | grep @packmule- | grep -v -e packmule-00112233aabbccdd -e ^tank/copy@";

/// What is left of them: themselves, mounts, notes.
const LEFT: &str =
    "grep packmule-snapshots /proc/mounts; find /disk/state/snapshots -name 'packmule-*'";

/// A part of the drive, as a whole one would be parted by `zpool`, which waits for udev then.
const POOLS: &str = "set -e; echo ';' | sfdisk -q $DEVICE; zpool create -O mountpoint=none tank ${DEVICE}1; \
    zfs create -o mountpoint=/srv/data tank/data; mkdir /srv/data/part; zfs create 'tank/data/in side'; \
    zfs create -o mountpoint=legacy tank/legacy; mkdir /srv/legacy; mount -t zfs tank/legacy /srv/legacy; \
    truncate -s 100M /disk/other; zpool create -m /srv/other other /disk/other";

/// A path of each, one of them through another mount of a part of the same dataset.
const PATHS: &str = "/srv/data /srv/again /srv/legacy /srv/other";

/// How many datasets that are.
const DATASETS: usize = 4;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let (pool, disk) = (lab.image("pool", 600)?, lab.image("disk", 600)?);
    let spec = Spec::new()
        .zfs()
        .drive(Drive::new(&pool, Controller::Virtio, "POOL"))
        .drive(Drive::new(&disk, Controller::Virtio, "DISK"));
    let mut machine = lab.boot(spec)?;
    machine.load("zfs")?;
    set::disk(&mut machine, "DISK")?;
    let device = machine.device("POOL")?;
    machine.done(&format!("DEVICE={device}; {POOLS}"))?;
    for folder in ["data", "data/in side", "legacy", "other"] {
        machine.done(&format!(
            "cd '/srv/{folder}' && mkdir -p part && for n in 1 2 3 4; do head -c 2000000 /dev/urandom >$n; done && \
             for n in 1 2 3; do echo $n >part/$n; done"
        ))?;
    }
    // Of another file system such a folder would stand for a subvolume that the snapshot has not got.
    machine.done("find /srv -type d -inum 2 | grep .")?;
    machine.done("mkdir /srv/again && mount --bind /srv/data/part /srv/again")?;
    // A snapshot that is mounted is as good as one.
    machine.done(&format!(
        "zfs snapshot tank/data@{NOT_OURS} && mkdir /srv/data/old && mount -t zfs tank/data@{NOT_OURS} /srv/data/old"
    ))?;
    machine.done("PACKMULE_PASSWORD=open-sesame-vm-01 packmule repo init -r /disk/repository")?;

    changed_meanwhile(&mut machine)?;
    killed(&mut machine)?;
    in_use(&mut machine)?;
    refused(&mut machine)?;
    machine.done(&format!("zfs list tank/data@{NOT_OURS}"))?;
    machine.power_off()
}

fn nothing_is_left(machine: &mut Machine) -> anyhow::Result<()> {
    says_nothing(machine, &format!("{OURS}; {LEFT}"))
}

/// Everything is overwritten, removed, added to and appended to.
fn changed_meanwhile(machine: &mut Machine) -> anyhow::Result<()> {
    let before = set::hashes(machine, "/srv")?;
    let job = begin(machine, &format!("--snapshot require {PATHS}"), DATASETS)?;
    let moments = machine.done(
        "zfs list -H -r -t snapshot -o name,createtxg tank | grep -v 00112233aabbccdd | cut -f 2 | sort -u",
    )?;
    ensure!(moments.lines().count() == 1, "these are several moments: {moments}");
    machine.done(
        "for at in data 'data/in side' legacy other; do cd \"/srv/$at\"; for n in 1 2 3; do \
         head -c 2000000 /dev/urandom | dd of=$n conv=notrunc status=none; done; \
         rm 4 part/1; echo late >late; echo more >>part/2; done; sync",
    )?;
    let said = go_on(machine, &job)?;
    ensure!(said.code == 0 && !said.all().contains("as it is"), "{}", said.all());
    nothing_is_left(machine)?;
    restored(machine, &before)?;
    unchanged(machine, PATHS)?;
    // Where only the state can be written, as the unit has it.
    let within = back_up("--snapshot require /srv/data");
    machine.done(&format!(
        "unshare -m sh -c 'mount -o bind,remount,ro / && ! touch /written && {within}'"
    ))?;
    nothing_is_left(machine)
}

/// What a killed one has left is removed by the next one, which is told: in a dataset that has another name by then, and in a pool that
/// was away. A copy of it that somebody has received elsewhere stays.
fn killed(machine: &mut Machine) -> anyhow::Result<()> {
    more(machine, "data/killed")?;
    let job = begin(machine, &format!("--snapshot require {PATHS}"), DATASETS)?;
    machine.done("kill -KILL $(pidof packmule)")?;
    machine.wait(&job)?;
    let left = machine.done(OURS)?;
    ensure!(left.lines().count() == DATASETS, "a killed backup leaves its snapshots: {left}");
    machine.done(
        "set -e; zfs send -p $(zfs list -H -o name -t snapshot | grep ^tank/legacy@) | zfs receive -u tank/copy; \
         umount /srv/legacy; zfs rename tank/legacy tank/renamed; mount -t zfs tank/renamed /srv/legacy; \
         umount $(grep '^other@' /proc/mounts | cut -d ' ' -f 2); zpool export other",
    )?;
    // Whoever takes none removes them as well, with the same notes.
    let said = machine.run(&back_up("--snapshot auto /srv/data/part"))?;
    ensure!(said.code == 0, "{}", said.all());
    ensure!(said.all().matches("left by a run that was cut off").count() == 3, "{}", said.all());
    says_nothing(machine, OURS)?;
    machine.done(
        "zpool import -d /disk other && zfs list -H -o name -t snapshot | grep ^tank/copy@",
    )?;
    let said = machine.run(&back_up("--snapshot auto /srv/data/part"))?;
    ensure!(said.all().matches("left by a run that was cut off").count() == 1, "{}", said.all());
    nothing_is_left(machine)
}

/// One that somebody holds stays, which is said, until nobody does.
fn in_use(machine: &mut Machine) -> anyhow::Result<()> {
    more(machine, "data/held")?;
    let job = begin(machine, "--snapshot require /srv/data", 2)?;
    machine.done(&format!("for it in $({OURS} | grep ^tank/data@); do zfs hold keep $it; done"))?;
    let said = go_on(machine, &job)?;
    ensure!(said.code == 0 && said.all().contains("could not be removed"), "{}", said.all());
    let left = machine.done(OURS)?;
    ensure!(left.lines().count() == 1, "{left}");
    machine.done(&format!("zfs release keep $({OURS})"))?;
    let said = machine.run(&back_up("--snapshot auto /srv/data/part"))?;
    ensure!(said.code == 0 && said.all().contains("cut off, was removed"), "{}", said.all());
    nothing_is_left(machine)
}

/// Where none can be taken, `require` makes no recovery point and `auto` says so.
fn refused(machine: &mut Machine) -> anyhow::Result<()> {
    machine.done(
        "set -e; zpool export other; zpool import -d /disk -o readonly=on other; \
         zfs create -V 32M tank/volume; mkfs.ext4 -q /dev/zd0; mkdir /srv/volume; mount /dev/zd0 /srv/volume",
    )?;
    for (path, why) in [("other", "read-only"), ("volume", "is on a volume of ZFS")] {
        let points = recovery_points(machine)?;
        let said = machine.run(&back_up(&format!("--snapshot require /srv/data /srv/{path}")))?;
        ensure!(said.code != 0 && said.code != 3 && said.all().contains(why), "{}", said.all());
        ensure!(recovery_points(machine)? == points, "there is a recovery point of it");
        let said = machine.run(&back_up(&format!("--snapshot auto /srv/data /srv/{path}")))?;
        ensure!(said.code == 0, "{}", said.all());
        let as_it_is = format!("/srv/{path} is read as it is");
        ensure!(said.all().contains(&as_it_is) && said.all().contains(why), "{}", said.all());
        ensure!(recovery_points(machine)? == points + 1, "there is none");
        nothing_is_left(machine)?;
    }
    Ok(())
}
