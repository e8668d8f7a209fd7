//! A network share, for real: Samba's server on an address of this machine, and a client in user
//! space that mounts it. Knows nothing of what is kept there.
//!
//! ```text
//!  packmule ──▶ mount (FUSE) ──▶ smbnetfs ──▶ TCP, 127.x.y.z:445 ──▶ smbd ──▶ folder `kept`
//! ```

use crate::support::{Place, is_root, s, until};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long the client waits for an answer before it fails a call, in milliseconds: the least that
/// it can be told is 1000.
const PATIENCE: u32 = 2000;

/// A mounted share and its server. Both end, and the mount goes, when dropped.
pub(crate) struct Share {
    tools: Tools,
    /// Configuration and state of server and client.
    folder: PathBuf,
    address: String,
    mount: PathBuf,
    server: Option<Child>,
    client: Option<Child>,
}

impl Share {
    /// Serves and mounts it.
    ///
    /// # Errors
    /// Why that cannot be on this machine.
    pub(crate) fn mount(place: &Place) -> Result<Self, String> {
        let tools = Tools::find()?;
        if !is_root() {
            return Err("only root may mount, and serve at the port that shares have".to_owned());
        }
        if !Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse: file systems in user space cannot be".to_owned());
        }
        let (folder, mount) = (place.folder("share"), place.folder("mount"));
        let mut share =
            Self { tools, folder, address: address(), mount, server: None, client: None };
        share.configure();
        share.serve();
        share.attach()?;
        Ok(share)
    }

    /// What lies on the share, as a client's user sees it.
    pub(crate) fn here(&self) -> PathBuf {
        self.mount.join(&self.address).join("staging")
    }

    /// The same as the server has it.
    pub(crate) fn kept(&self) -> PathBuf {
        self.folder.join("kept")
    }

    /// Whether the file system at the mount point is not the one around it.
    fn is_mounted(&self) -> bool {
        let device = |path: &Path| std::fs::metadata(path).map(|stat| stat.dev()).ok();
        device(&self.mount).is_some_and(|own| Some(own) != device(&self.folder))
    }

    /// Starts the server, and returns once it listens.
    pub(crate) fn serve(&mut self) {
        let mut command = self.tools.command("smbd");
        // One process group, so that all processes of the server can be ended at once.
        command.args(["--foreground", "--no-process-group", "--debug-stdout", "-s"]);
        command.arg(self.folder.join("server.conf")).process_group(0);
        self.server = Some(quiet(&mut command, &self.folder.join("server.log")));
        let address = format!("{}:445", self.address);
        until("the server listens", || TcpStream::connect(&address).ok());
    }

    /// The server dies at once, with every connection.
    pub(crate) fn cut(&mut self) {
        end(&mut self.server);
    }

    /// The server stops answering, and keeps its connections.
    pub(crate) fn freeze(&self) {
        self.to_server(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn thaw(&self) {
        self.to_server(Signal::CONT);
    }

    fn to_server(&self, signal: Signal) {
        let server = self.server.as_ref().expect("the server runs");
        kill_process_group(Pid::from_child(server), signal).unwrap();
    }

    /// Returns once the client has found its server.
    pub(crate) fn back(&self) {
        until("the share is back", || std::fs::read_dir(self.here()).ok());
    }

    fn configure(&self) {
        let part = |name: &str| {
            let path = self.folder.join(name);
            std::fs::create_dir_all(&path).unwrap();
            path.display().to_string()
        };
        let server = format!(
            "[global]\nserver role = standalone\ndisable netbios = yes\nsmb ports = 445\n\
             interfaces = {}/8\nbind interfaces only = yes\nload printers = no\ndisable spoolss = yes\n\
             map to guest = Bad User\nguest account = root\n\
             state directory = {}\nlock directory = {}\ncache directory = {}\npid directory = {}\n\
             private dir = {}\nncalrpc dir = {}\n\
             [staging]\npath = {}\nguest only = yes\nguest ok = yes\nread only = no\n",
            self.address,
            part("state"),
            part("lock"),
            part("cache"),
            part("pid"),
            part("private"),
            part("ncalrpc"),
            part("kept"),
        );
        let lock = part("client");
        let home = self.folder.join("home/.smb");
        std::fs::create_dir_all(&home).unwrap();
        let of_client = format!("[global]\nname resolve order = host\nlock directory = {lock}\n");
        // One name, one try, and a server that was away is forgotten within a millisecond.
        let mount = format!(
            "smb_query_browsers \"false\"\nuse_libsecret \"false\"\nneg_cache_timeout 1\n\
             stat_workaround_depth 0\nfree_space_size 1000000\nmax_retry_count 0\n\
             smb_timeout {PATIENCE}\nreply_timeout 10\nauth \"guest\" \"\"\nhost {} visible=true\n",
            self.address
        );
        std::fs::write(self.folder.join("server.conf"), server).unwrap();
        for (name, text) in [("smb.conf", of_client), ("smbnetfs.conf", mount)] {
            std::fs::write(home.join(name), text).unwrap();
            // The client refuses configurations that others may read.
            std::fs::set_permissions(home.join(name), Permissions::from_mode(0o600)).unwrap();
        }
    }

    fn attach(&mut self) -> Result<(), String> {
        let log = self.folder.join("client.log");
        let mut command = self.tools.command("smbnetfs");
        command.env("HOME", self.folder.join("home")).process_group(0);
        self.client = Some(quiet(command.arg("-f").arg(&self.mount), &log));
        let ended = until("the share is mounted", || match self.client_ended() {
            true => Some(true),
            false => self.is_mounted().then_some(false),
        });
        let said = std::fs::read_to_string(&log).unwrap();
        if ended && said.contains("not permitted") {
            return Err(format!("mounting is not permitted here: {}", said.trim()));
        }
        assert!(!ended, "the client of the share ended: {said}");
        self.back();
        Ok(())
    }

    fn client_ended(&mut self) -> bool {
        self.client.as_mut().is_none_or(|client| client.try_wait().unwrap().is_some())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.is_mounted() {
            let unmounted = Command::new("umount").args(["-l", s(&self.mount)]).status();
            // A second panic would hide the first.
            let fine = unmounted.is_ok_and(|status| status.success());
            assert!(fine || std::thread::panicking(), "{} is still mounted", self.mount.display());
        }
        end(&mut self.client);
        end(&mut self.server);
    }
}

/// Ends a process that we started, with those that it started.
fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }
}

/// An address of this machine that no other share has: from the process, and a count within it.
fn address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // A process has less than 22 bits for its number; the rest of 127.0.0.0/8 is two bits.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    assert!(count < 4, "a process has addresses for four shares");
    let [_, second, third, fourth] = (count << 22 | std::process::id()).to_be_bytes();
    format!("127.{second}.{third}.{fourth}")
}

fn quiet(command: &mut Command, log: &Path) -> Child {
    let log = std::fs::File::create(log).unwrap();
    let again = log.try_clone().unwrap();
    command.stdin(Stdio::null()).stdout(log).stderr(again).spawn().unwrap()
}

/// Where server and client are: installed, or unpacked in a folder.
struct Tools {
    unpacked: Option<PathBuf>,
}

impl Tools {
    fn find() -> Result<Self, String> {
        let tools = Self { unpacked: std::env::var_os("PACKMULE_SHARE").map(PathBuf::from) };
        let lacks =
            ["smbd", "smbnetfs"].into_iter().find(|program| tools.program(program).is_none());
        lacks.map_or(Ok(tools), |program| {
            Err(format!("{program} is not there: `cargo xtask test` fetches it"))
        })
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let root = self.unpacked.as_deref().unwrap_or(Path::new("/"));
        let places = ["usr/sbin", "usr/bin"].map(|place| root.join(place).join(name));
        places.into_iter().find(|path| path.is_file())
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name).unwrap());
        if let Some(root) = &self.unpacked {
            command.env("LD_LIBRARY_PATH", libraries(root));
        }
        command
    }
}

/// Debian keeps libraries in a folder for the architecture, some packages without `usr`, and Samba its own in one below.
fn libraries(root: &Path) -> OsString {
    let folders = ["usr/lib", "lib"].map(|folder| root.join(folder));
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let entries = entries.map(|entry| entry.unwrap().path());
    std::env::join_paths(entries.flat_map(|path| [path.join("samba"), path])).unwrap()
}

/// How long a command may take to notice that the share is gone: the client's patience with each of
/// several calls in a row, and room for a busy machine.
pub(crate) const NOTICED: Duration = Duration::from_secs(60);
