//! A server on the host, and the credentials with which guests reach it. Ends with its value.

use super::super::lab::Lab;
use super::super::machine::{Machine, moment};
use anyhow::{Context, ensure};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub(super) struct Site {
    server: Child,
    /// Of 127.0.0.1.
    pub(super) port: u16,
    /// The source server's credentials.
    pub(super) agent: Vec<u8>,
    /// The dock's.
    pub(super) dock: Vec<u8>,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Site {
    /// A vault, a storage account, one source server, one dock.
    pub(super) fn start(lab: &Lab<'_>) -> anyhow::Result<Self> {
        let folder = lab.folder().join("server");
        // Free until somebody else takes it, which nobody does in the meantime.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let seen = Machine::server(port);
        let address = seen.split(':').next().unwrap_or_default();
        let log = std::fs::File::create(lab.folder().join("server.log"))?;
        let server = lab
            .packmule()
            .args(["serve", "--data"])
            .arg(&folder)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--name", address])
            .args(["--endpoint", &format!("https://{seen}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut site = Self { server, port, agent: Vec::new(), dock: Vec::new() };
        let began = Instant::now();
        // Last of all it writes whom it takes for its administrator.
        while !folder.join("admin.json").is_file() {
            ensure!(began.elapsed() < moment(), "the server does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        let admin = admin_from_here(&folder, &seen, port)?;
        let call = |words: &str, output: Option<&Path>| call(lab, &admin, words, output);
        call("storage-account create seedacct", None)?;
        call("vault create vault1", None)?;
        let (agent, dock) = (lab.folder().join("fs01.json"), lab.folder().join("dock.json"));
        call("vault credentials vault1 --for fs01", Some(&agent))?;
        call("dock credentials dock", Some(&dock))?;
        (site.agent, site.dock) = (std::fs::read(agent)?, std::fs::read(dock)?);
        Ok(site)
    }
}

/// The administrator sits on the host, where the server has another address than for guests.
fn admin_from_here(folder: &Path, seen: &str, port: u16) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(folder.join("admin.json"))?;
    let path = folder.join("admin-from-here.json");
    let here = text.replace(seen, &format!("127.0.0.1:{port}"));
    std::fs::write(&path, here)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode)?;
    Ok(path)
}

fn call(lab: &Lab<'_>, admin: &Path, words: &str, output: Option<&Path>) -> anyhow::Result<()> {
    let mut command = lab.packmule();
    command.args(words.split(' ')).arg("--server").arg(admin);
    if let Some(output) = output {
        command.arg("--output").arg(output);
    }
    let said = command.output().context("cannot run our own binary")?;
    ensure!(said.status.success(), "{words}: {}", String::from_utf8_lossy(&said.stderr));
    Ok(())
}
