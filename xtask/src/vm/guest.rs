//! The other end of the line: this program inside the guest, started by its init. Runs what the host
//! asks for, each request in a thread of its own, so that one that hangs holds up no other. Decides
//! nothing and waits for nobody: deadlines are the host's.

use super::frame::{self, Reply, Request, What};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What init calls this program with.
pub(crate) const CALLED: &str = "vm-guest";

/// The line's name, which QEMU tells the guest.
pub(super) const PORT: &str = "packmule.host";

/// The driver has been loaded: how long its device may take to show up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands before the number in SCSI's page 0x80 (SPC-5, 7.7.23).
const PAGE_HEAD: usize = 4;

/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

type Line = Arc<Mutex<File>>;

/// Answers requests until the line ends.
pub(crate) fn serve() -> anyhow::Result<ExitCode> {
    let line = File::options().read(true).write(true).open(port()?).context("the line")?;
    let mut requests = BufReader::new(line.try_clone()?);
    let line = Arc::new(Mutex::new(line));
    send(&line, &Reply::Ready, &[])?;
    while let Some((request, parts)) = frame::read::<Request>(&mut requests)? {
        let line = Arc::clone(&line);
        std::thread::spawn(move || {
            let input = parts.into_iter().next().unwrap_or_default();
            let sent = match answer(&request.what, &input) {
                Ok((code, parts)) => {
                    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    send(&line, &Reply::Done(request.id, code), &parts)
                }
                Err(why) => send(&line, &Reply::Failed(request.id, format!("{why:#}")), &[]),
            };
            // Standard error is the console, which the host keeps.
            sent.unwrap_or_else(|why| crate::process::complain(&format!("{CALLED}: {why:#}")));
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// The device whose driver says that it is our line.
fn port() -> anyhow::Result<PathBuf> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        for entry in std::fs::read_dir("/sys/class/virtio-ports").into_iter().flatten() {
            let entry = entry?;
            let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if name.trim() == PORT && device.exists() {
                return Ok(device);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("there is no line to the host")
}

fn send(line: &Line, reply: &Reply, parts: &[&[u8]]) -> anyhow::Result<()> {
    let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
    frame::write(&mut *line, reply, parts)
}

fn answer(what: &What, input: &[u8]) -> anyhow::Result<(i32, Vec<Vec<u8>>)> {
    match what {
        What::Run(script) => run(script, input),
        What::Put(path, mode) => {
            let mut file = File::options();
            let file = file.write(true).create(true).truncate(true).mode(*mode).open(path);
            let mut file = file.with_context(|| format!("cannot write {path}"))?;
            file.set_permissions(std::fs::Permissions::from_mode(*mode))?;
            file.write_all(input)?;
            Ok((0, Vec::new()))
        }
        What::Get(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
            Ok((0, vec![bytes]))
        }
        What::Find(serial) => Ok(match find(Path::new("/sys/block"), serial)? {
            Some(name) => (0, vec![format!("/dev/{name}").into_bytes()]),
            None => (1, Vec::new()),
        }),
    }
}

/// Looks for a serial number where each bus has it. Our own discovery is not asked: it is what
/// scenarios test.
fn find(blocks: &Path, serial: &str) -> anyhow::Result<Option<String>> {
    for entry in std::fs::read_dir(blocks)? {
        let block = entry?;
        // What has no device, or goes away, is not the one.
        let Ok(device) = std::fs::canonicalize(block.path().join("device")) else { continue };
        // virtio; NVMe; a page of SCSI, after its head; the USB device above host, target and LUN.
        let places = [block.path(), device.clone(), device.join("../../../..")];
        let mut values = places.iter().map(|place| (place.join("serial"), 0)).collect::<Vec<_>>();
        values.push((device.join("vpd_pg80"), PAGE_HEAD));
        let is = |(file, head): &(PathBuf, usize)| {
            let bytes = std::fs::read(file).unwrap_or_default();
            let value = String::from_utf8_lossy(bytes.get(*head..).unwrap_or_default());
            value.trim_matches(['\0', ' ', '\n']) == serial
        };
        if values.iter().any(is) {
            return Ok(Some(block.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn run(script: &str, input: &[u8]) -> anyhow::Result<(i32, Vec<Vec<u8>>)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).stdin(Stdio::piped());
    let mut shell = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = shell.stdin.take();
    let said = std::thread::scope(|scope| {
        scope.spawn(move || {
            // Whoever does not read what it is given need not.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        });
        shell.wait_with_output()
    })?;
    let signalled = said.status.signal().map(|signal| SIGNALLED + signal);
    let code = said.status.code().or(signalled).unwrap_or(SIGNALLED);
    Ok((code, vec![said.stdout, said.stderr]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_input_both_outputs_and_an_exit_code() {
        let (code, parts) = run("cat; echo no >&2; exit 3", b"yes").unwrap();
        assert_eq!((code, parts), (3, vec![b"yes".to_vec(), b"no\n".to_vec()]));
        assert_eq!(run("kill -9 $$", b"").unwrap().0, SIGNALLED + 9);
        assert_eq!(run("true", &[0; 1 << 20]).unwrap().0, 0, "input that nobody reads");
    }

    #[test]
    fn a_drive_is_found_by_its_serial_number_on_every_bus() {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("devices");
        let blocks = folder.path().join("block");
        let usb = "usb2/2-1";
        for (block, device, file, bytes) in [
            ("vda", "virtio1", "block/vda/serial", "V1\n"),
            ("nvme0n1", "nvme0", "devices/nvme0/serial", "N1   \n"),
            (
                "sda",
                "ata1/host1/target/lun",
                "devices/ata1/host1/target/lun/vpd_pg80",
                "\0\u{1}\0\u{2}  S1",
            ),
            (
                "sdb",
                &format!("{usb}/2-1:1/host2/target/lun"),
                &format!("devices/{usb}/serial"),
                "U1\n",
            ),
        ] {
            std::fs::create_dir_all(devices.join(device)).unwrap();
            std::fs::create_dir_all(blocks.join(block)).unwrap();
            let link = blocks.join(block).join("device");
            std::os::unix::fs::symlink(devices.join(device), link).unwrap();
            std::fs::write(folder.path().join(file), bytes).unwrap();
        }
        let found = |serial| find(&blocks, serial).unwrap();
        for (serial, name) in [("V1", "vda"), ("N1", "nvme0n1"), ("S1", "sda"), ("U1", "sdb")] {
            assert_eq!(found(serial).as_deref(), Some(name));
        }
        assert_eq!(found("X1"), None);
    }

    #[test]
    fn files_go_in_and_out_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file").to_str().unwrap().to_owned();
        let bytes = [0, 255, b'\n', 7];
        assert_eq!(answer(&What::Put(path.clone(), 0o755), &bytes).unwrap(), (0, vec![]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(answer(&What::Get(path), b"").unwrap(), (0, vec![bytes.to_vec()]));
        assert!(answer(&What::Get("/no/such/file".to_owned()), b"").is_err());
    }
}
