//! A machine that runs: started with drives, given commands, robbed of drives and of power. It never
//! outlives its value, and reaches nothing but what its scenario allows it to.
//!
//! ```text
//! host                                   guest
//! Qmp ─────── socket ──── QEMU           (drives come and go)
//! Line ────── socket ──── virtio-serial ─ vm-guest ─ sh -c …
//! console-N.log ── file ─ first serial line ─ kernel messages
//! ```

use super::drive::{self, AHCI, Controller, Drive, XHCI};
use super::frame::What;
use super::guest;
use super::initramfs;
use super::lab::Lab;
use super::line::{Job, Line, Said};
use super::qmp::Qmp;
use super::zfs;
use anyhow::{Context, bail, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of the guest: Argon2id takes 64 MiB, its file system in memory about 100.
const MEMORY_MIB: u32 = 1024;

/// How many times longer everything may take, on a machine that does much else.
const PATIENCE: &str = "PACKMULE_VM_PATIENCE";

/// Until the guest is up: about ten seconds, on a machine that does nothing else.
fn boot() -> Duration {
    patient(90)
}

/// Emulated processors sometimes stand still early in a kernel's start, before anything of ours runs:
/// such a machine is started again.
const BOOTS: u32 = 3;

/// For a command: an emulated processor is many times slower than a real one.
fn command() -> Duration {
    patient(240)
}

/// For what QEMU or the guest's kernel does at once when it works.
pub(super) fn moment() -> Duration {
    patient(60)
}

fn patient(seconds: u32) -> Duration {
    let times = std::env::var(PATIENCE).ok().and_then(|times| times.parse().ok());
    Duration::from_secs(1) * seconds.saturating_mul(times.unwrap_or(1))
}

/// Between two looks at something that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(20);

/// Where the guest finds the host's server.
const SERVER: &str = "10.0.2.100";

/// What a machine is to be.
#[derive(Debug, Default)]
pub(crate) struct Spec {
    drives: Vec<Drive>,
    ports: Vec<u16>,
    systemd: bool,
    zfs: bool,
}

impl Spec {
    /// Without drives, and without a network.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With that drive from the beginning.
    pub(crate) fn drive(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    /// With a network, on which that port of 127.0.0.1 of the host can be reached, as
    /// [`Machine::server`], and nothing else.
    pub(crate) fn reaches(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// With systemd as its first process, which may still be starting when the machine takes commands.
    pub(crate) fn systemd(mut self) -> Self {
        self.systemd = true;
        self
    }

    /// With ZFS: its programs, and modules to load by that name.
    pub(crate) fn zfs(mut self) -> Self {
        self.zfs = true;
        self
    }
}

/// A machine that runs. Dropped, it is cut off.
pub(crate) struct Machine {
    process: Process,
    qmp: Qmp,
    line: Line,
    drives: BTreeMap<String, Drive>,
}

impl Machine {
    /// Boots, and waits until the guest takes commands.
    pub(super) fn start(lab: &Lab<'_>, spec: Spec, number: u32) -> anyhow::Result<Self> {
        for tried in 1..=BOOTS {
            if let Some((process, qmp, line)) = Self::boot(lab, &spec, number)? {
                let drives = spec.drives.into_iter();
                let drives = drives.map(|drive| (drive.serial.clone(), drive)).collect();
                return Ok(Self { process, qmp, line, drives });
            }
            lab.keep_stuck(number, tried)?;
        }
        bail!("it has not come up within {} s, {BOOTS} times", boot().as_secs())
    }

    fn boot(
        lab: &Lab<'_>,
        spec: &Spec,
        number: u32,
    ) -> anyhow::Result<Option<(Process, Qmp, Line)>> {
        let sockets = tempfile::Builder::new().prefix("packmule-vm-").tempdir()?;
        let [qmp, line] = ["qmp", "line"].map(|name| sockets.path().join(name));
        let listeners = (UnixListener::bind(&qmp)?, UnixListener::bind(&line)?);
        let mut command = lab.parts.qemu();
        base(&mut command, lab, number, spec)?;
        chardev(&mut command, "qmp", &qmp);
        command.args(["-mon", "chardev=qmp,mode=control"]);
        chardev(&mut command, "line", &line);
        let port = json!({ "driver": "virtserialport", "chardev": "line", "name": guest::PORT });
        command.args(["-device", "virtio-serial-pci", "-device", &port.to_string()]);
        drives(&mut command, &spec.drives);
        network(&mut command, &lab.parts.busybox, &spec.ports)?;
        let mut process = Process::start(&mut command, &lab.folder, number)?;
        let qmp = Qmp::new(process.accept(&listeners.0)?)?;
        let line = Line::new(process.accept(&listeners.1)?, boot())?;
        Ok(line.map(|line| (process, qmp, line)))
    }

    /// Runs a shell's script to its end, whatever its exit code.
    pub(crate) fn run(&mut self, script: &str) -> anyhow::Result<Said> {
        self.run_with(script, b"")
    }

    /// The same with something on standard input.
    pub(crate) fn run_with(&mut self, script: &str, input: &[u8]) -> anyhow::Result<Said> {
        let job = self.line.ask(What::Run(script.to_owned()), input)?;
        self.line.wait(&job, command())
    }

    /// Runs a script that must succeed, and returns its standard output.
    pub(crate) fn done(&mut self, script: &str) -> anyhow::Result<String> {
        self.done_with(script, b"")
    }

    /// The same with something on standard input.
    pub(crate) fn done_with(&mut self, script: &str, input: &[u8]) -> anyhow::Result<String> {
        let said = self.run_with(script, input)?;
        ensure!(said.code == 0, "`{script}` ends with {}:\n{}", said.code, said.all());
        Ok(said.text())
    }

    /// Begins a script and goes on.
    pub(crate) fn begin(&mut self, script: &str) -> anyhow::Result<Job> {
        self.line.ask(What::Run(script.to_owned()), b"")
    }

    /// How it ended; none while it runs.
    pub(crate) fn ended(&mut self, job: &Job) -> anyhow::Result<Option<Said>> {
        self.line.ended(job, Duration::ZERO)
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self, job: &Job) -> anyhow::Result<Said> {
        self.line.wait(job, command())
    }

    /// Writes a file of the guest, with that mode.
    pub(crate) fn put(&mut self, path: &str, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
        let job = self.line.ask(What::Put(path.to_owned(), mode), bytes)?;
        self.line.wait(&job, command()).map(|_| ())
    }

    /// Reads a file of the guest.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        let job = self.line.ask(What::Get(path.to_owned()), b"")?;
        Ok(self.line.wait(&job, command())?.out)
    }

    /// Loads modules that not every scenario takes, by their name in `BESIDES`.
    pub(crate) fn load(&mut self, name: &str) -> anyhow::Result<()> {
        self.done(&format!(
            "while read -r module; do insmod /lib/modules/$module || exit; done </etc/modules.{name}"
        ))
        .map(|_| ())
    }

    /// Waits until a script succeeds, tried again and again.
    pub(crate) fn until(&mut self, script: &str) -> anyhow::Result<()> {
        let patience = moment().as_secs() * 5;
        // busybox's sleep takes fractions.
        let tries = format!(
            "n=0; until {script}; do n=$((n+1)); [ $n -lt {patience} ] || exit 1; sleep 0.2; done"
        );
        let said = self.run(&tries)?;
        ensure!(said.code == 0, "`{script}` never comes true:\n{}", said.all());
        Ok(())
    }

    /// The device file of the drive with that serial number, as soon as there is one.
    pub(crate) fn device(&mut self, serial: &str) -> anyhow::Result<String> {
        let until = Instant::now() + moment();
        loop {
            let job = self.line.ask(What::Find(serial.to_owned()), b"")?;
            let said = self.line.wait(&job, command())?;
            if said.code == 0 {
                return Ok(said.text());
            }
            ensure!(Instant::now() < until, "the guest sees no drive {serial}");
            std::thread::sleep(LOOK);
        }
    }

    /// Plugs a drive in. The guest sees it soon, not at once: see [`Machine::device`].
    pub(crate) fn plug(&mut self, drive: Drive) -> anyhow::Result<()> {
        ensure!(!drive.is_on(Controller::Ahci), "QEMU cannot plug drives on AHCI");
        self.qmp.command("object-add", &drive.group())?;
        for layer in drive.layers() {
            self.qmp.command("blockdev-add", &layer)?;
        }
        self.qmp.command("device_add", &drive.device(0))?;
        self.drives.insert(drive.serial.clone(), drive);
        Ok(())
    }

    /// Pulls a drive out, whatever the guest does with it, and waits until it is gone.
    pub(crate) fn pull(&mut self, serial: &str) -> anyhow::Result<()> {
        let drive = self.drives.remove(serial);
        let drive = drive.with_context(|| format!("no drive {serial} is plugged in"))?;
        let device = drive::device(serial);
        self.qmp.command("device_del", &json!({ "id": device }))?;
        self.qmp.deleted(&device, moment())?;
        for node in drive.nodes() {
            self.qmp.command("blockdev-del", &json!({ "node-name": node }))?;
        }
        self.qmp.command("object-del", &json!({ "id": drive::group(serial) }))?;
        Ok(())
    }

    /// Lets a drive read and write so many bytes a second together; as fast as it can with zero.
    pub(crate) fn throttle(&mut self, serial: &str, bytes: u64) -> anyhow::Result<()> {
        let path = format!("/objects/{}", drive::group(serial));
        let limits = json!({ "bps-total": bytes });
        let set = json!({ "path": path, "property": "limits", "value": limits });
        self.qmp.command("qom-set", &set).map(|_| ())
    }

    /// The address, with the port, at which the guest reaches that port of the host.
    pub(crate) fn server(port: u16) -> String {
        format!("{SERVER}:{port}")
    }

    /// Has the guest unmount nothing, write what it holds, and power off.
    pub(crate) fn power_off(mut self) -> anyhow::Result<()> {
        // The line may end before the answer comes.
        let _ = self.begin("sync; poweroff -f")?;
        self.process.wait(command())
    }

    /// Takes the power away between two instructions. What the guest had handed to its drives stays,
    /// what it had in memory is lost.
    pub(crate) fn power_cut(self) {
        drop(self.process);
    }
}

/// QEMU, ended with its value.
struct Process(Child);

impl Process {
    fn start(qemu: &mut Command, folder: &Path, number: u32) -> anyhow::Result<Self> {
        let said = std::fs::File::create(folder.join(format!("qemu-{number}.log")))?;
        qemu.current_dir(folder).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        Ok(Self(qemu.spawn().context("cannot start QEMU")?))
    }

    /// QEMU's connection to one of our sockets.
    fn accept(&mut self, listener: &UnixListener) -> anyhow::Result<UnixStream> {
        listener.set_nonblocking(true)?;
        let until = Instant::now() + moment();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("QEMU does not start ({status})");
            }
            ensure!(Instant::now() < until, "QEMU does not call back");
            std::thread::sleep(LOOK);
        }
    }

    fn wait(&mut self, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait()? {
                ensure!(status.success(), "QEMU ends with {status}");
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("the machine does not power off")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn base(command: &mut Command, lab: &Lab<'_>, number: u32, spec: &Spec) -> anyhow::Result<()> {
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    // The older of the two boards, whose slots take drives while it runs without bridges.
    command.args(["-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
    command.arg("-m").arg(MEMORY_MIB.to_string());
    // Where much else runs, an emulated timer is late, and the kernel would take it for a broken one.
    let mut line = "console=ttyS0 panic=-1 no_timer_check cryptomgr.notests".to_owned();
    let mut initramfs = lab.initramfs.to_owned();
    if spec.zfs {
        initramfs = zfs::with(lab.parts, &initramfs)?;
    }
    if spec.systemd {
        initramfs = initramfs::with_systemd(lab.parts, &initramfs)?;
        line = format!("{line} {}", initramfs::SYSTEMD);
    }
    command.arg("-kernel").arg(&lab.parts.kernel.image).arg("-initrd").arg(initramfs);
    command.arg("-append").arg(line);
    command.arg("-serial").arg(format!("file:{}", Lab::console(number)));
    command.args(["-device", "virtio-rng-pci"]);
    command.arg("-device").arg(format!("qemu-xhci,id={XHCI}"));
    Ok(())
}

fn chardev(command: &mut Command, name: &str, socket: &Path) {
    command.arg("-chardev").arg(format!("socket,id={name},path={}", socket.display()));
}

fn drives(command: &mut Command, drives: &[Drive]) {
    if drives.iter().any(|drive| drive.is_on(Controller::Ahci)) {
        command.arg("-device").arg(format!("ahci,id={AHCI}"));
    }
    let mut ports = 0;
    for drive in drives {
        command.arg("-object").arg(drive.group().to_string());
        for layer in drive.layers() {
            command.arg("-blockdev").arg(layer.to_string());
        }
        command.arg("-device").arg(drive.device(ports).to_string());
        ports += usize::from(drive.is_on(Controller::Ahci));
    }
}

/// A program for each connection, as QEMU has it: a single socket would serve a single connection.
fn network(command: &mut Command, busybox: &Path, ports: &[u16]) -> anyhow::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let busybox = busybox.to_str().context("a path that is no text")?;
    ensure!(!busybox.contains('\''), "QEMU takes no quote in {busybox}");
    // In QEMU's options a comma ends a value unless it is doubled.
    let busybox = busybox.replace(',', ",,");
    let forwards = ports
        .iter()
        .map(|port| format!(",guestfwd=tcp:{SERVER}:{port}-cmd:'{busybox}' nc 127.0.0.1 {port}"));
    let forwards: String = forwards.collect();
    command.arg("-netdev").arg(format!("user,id=net,restrict=on{forwards}"));
    command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
    Ok(())
}
