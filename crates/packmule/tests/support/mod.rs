//! The binary, its surroundings and its judges, for the tests of the command line. Holds no test
//! itself, and knows no more of the binary than a user does.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "each test file uses a part of it, and a test may stop on a surprise"
)]

pub mod served;
pub mod trees;

use repo::{Author, KdfParams, Repository};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const PASSWORD: &str = "correct horse battery";

/// What a finished command left behind.
#[derive(Debug)]
pub struct Said {
    /// As a shell shows it: 128 and the signal's number for a killed process.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let status = output.status;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that the standard error has each of these words.
    #[track_caller]
    pub fn tells(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said in\n{}", self.stderr);
        }
        self
    }

    /// Asserts that the standard output has each of these words.
    #[track_caller]
    pub fn shows(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "{word:?} is not shown in\n{}", self.stdout);
        }
        self
    }

    /// The objects on the standard output: one a line, nothing else, each with its type.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        objects(&self.stdout)
    }

    /// The one object of that type.
    #[track_caller]
    pub fn object(&self, message_type: &str) -> Value {
        let mut found = self.objects();
        found.retain(|object| object["message_type"] == message_type);
        assert_eq!(found.len(), 1, "{message_type} in {}", self.stdout);
        found.remove(0)
    }
}

#[track_caller]
pub fn objects(text: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        assert!(value["message_type"].is_string(), "no message_type: {line}");
        value
    };
    text.lines().map(parse).collect()
}

/// A folder with everything that one test needs, gone with it.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Some tests run the binary as a user who may do less.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// The binary, in this folder, with nothing of the surroundings but what is set here.
    pub fn packmule<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PACKMULE_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.dir.path());
        command.env("HOME", self.dir.path()).env_remove("XDG_STATE_HOME").env_remove("NO_COLOR");
        command.env("PACKMULE_PASSWORD", PASSWORD).env_remove("RUST_LOG");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Said {
        Said::of(self.packmule(arguments).output().unwrap())
    }

    /// Starts the binary with its output kept for later.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Child {
        let mut command = self.packmule(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A new repository, made without the half second that a real password costs.
    pub fn repository(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        init(&path);
        path
    }

    /// A source with something in it.
    pub fn source(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.folder(name);
        let mut rng = trees::Rng::new(bytes as u64 + 1);
        std::fs::write(path.join("noise"), rng.bytes(bytes)).unwrap();
        std::fs::write(path.join("text"), "all work and no play\n".repeat(500)).unwrap();
        std::fs::create_dir_all(path.join("folder")).unwrap();
        std::fs::write(path.join("folder/small"), b"small").unwrap();
        path
    }

    /// Drives: empty folders.
    pub fn drives<const N: usize>(&self) -> [PathBuf; N] {
        std::array::from_fn(|n| self.folder(&format!("drive{n}")))
    }
}

fn author() -> Author {
    let pid = std::process::id();
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Author { hostname, username: "tester".into(), uid: 0, gid: 0, pid }
}

pub fn init(path: &Path) {
    let store = Arc::new(store::Folder::new(path));
    let now = jiff::Timestamp::now();
    Repository::init(store, PASSWORD.as_bytes(), KdfParams::WEAK, author(), now).unwrap();
}

pub fn open(path: &Path) -> Repository {
    Repository::open(Arc::new(store::Folder::new(path)), PASSWORD.as_bytes(), author()).unwrap()
}

/// `text` of a path, for command lines.
pub fn s(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file below a folder: what it holds, as whose. Locks come and go and are left out.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in walk(folder) {
        let below = entry.strip_prefix(folder).unwrap().to_owned();
        if !below.starts_with("locks") {
            let mode = std::fs::symlink_metadata(&entry).unwrap().mode();
            found.insert(below, format!("{mode:o} {}", hash_of(&entry)));
        }
    }
    found
}

/// Every file below a folder.
pub fn walk(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut pending) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries.map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => pending.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files.sort();
    files
}

pub fn hash_of(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let key = store::conformance::key_of(model::ObjectKind::Pack, &bytes);
    key.id().unwrap().to_hex()
}

/// The files of one kind of a repository: `data`, `index`, `snapshots`, `keys`, `locks`.
pub fn objects_of(repository: &Path, kind: &str) -> Vec<PathBuf> {
    let mut files = walk(&repository.join(kind));
    files.retain(|file| file.file_name().is_some_and(|name| name.len() == 64));
    files
}

/// Asserts that every object of a repository hashes to its name.
#[track_caller]
pub fn names_are_right(repository: &Path) {
    for kind in ["data", "index", "snapshots", "keys"] {
        for file in objects_of(repository, kind) {
            assert_eq!(file.file_name().unwrap().to_str().unwrap(), hash_of(&file), "{file:?}");
        }
    }
}

/// The attributes of the root folder itself are not part of what lies below it.
#[track_caller]
pub fn same(left: &Path, right: &Path) {
    let mut differences = backup::compare(left, right).unwrap().differences;
    differences.retain(|difference| difference.path != Path::new("."));
    assert!(differences.is_empty(), "{left:?} and {right:?}: {differences:#?}");
}

/// Says that a test, or a part of it, cannot run here.
pub fn skip(test: &str, reason: impl std::fmt::Display) {
    let line = format!("SKIP: packmule::{test}: {reason}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file system of a few bytes, gone when dropped.
pub struct Small {
    pub mount: PathBuf,
}

impl Small {
    /// Mounts it; none, with a word about it, where that cannot be.
    pub fn mount(test: &str, mount: PathBuf, bytes: u64) -> Option<Self> {
        if !is_root() {
            skip(test, "only root may mount a file system");
            return None;
        }
        std::fs::create_dir_all(&mount).unwrap();
        let size = format!("size={bytes},mode=0755");
        let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs", s(&mount)];
        let output = Command::new("mount").args(arguments).output().unwrap();
        if output.status.success() {
            return Some(Self { mount });
        }
        skip(test, String::from_utf8_lossy(&output.stderr).trim());
        None
    }

    pub fn resize(&self, bytes: u64) {
        let size = format!("remount,size={bytes}");
        let status = Command::new("mount").args(["-o", &size, s(&self.mount)]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).stderr(Stdio::null()).status();
    }
}

/// Waits, at most half a minute, until something can be seen.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::yield_now();
    }
}

pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Stops a program, and waits until it does nothing more: a thread within a call of the kernel ends
/// that first, and may still make a file meanwhile.
pub fn stop(child: &Child) {
    signal(child, rustix::process::Signal::STOP);
    let threads = PathBuf::from(format!("/proc/{}/task", child.id()));
    until("every thread has stopped", || {
        let all = std::fs::read_dir(&threads).unwrap().all(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
            // One that is gone makes nothing. The state stands behind the name, which may have brackets.
            stat.ok().is_none_or(|it| it.rsplit(')').next().unwrap().trim_start().starts_with('T'))
        });
        all.then_some(())
    });
}

/// The stock program, and any newer one that the environment names. Empty, with a word about it,
/// where there is none.
pub fn restics(test: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("restic")];
    found.extend(std::env::var_os("PACKMULE_RESTIC").map(PathBuf::from));
    found.retain(|program| Command::new(program).arg("version").output().is_ok());
    if found.is_empty() {
        skip(test, "restic is not installed");
    }
    found
}

pub fn restic(program: &Path, repository: &Path, arguments: &[&str]) -> Said {
    let mut command = restic_command(program, repository, arguments);
    Said::of(command.output().unwrap())
}

pub fn restic_command(program: &Path, repository: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["--no-cache", "-r"]).arg(repository).args(arguments);
    command.env("RESTIC_PASSWORD", PASSWORD).stdin(Stdio::null());
    command
}

/// Stock restic's fullest check finds nothing to complain about.
#[track_caller]
pub fn restic_is_content(test: &str, repository: &Path) {
    for program in restics(test) {
        restic(&program, repository, &["check", "--read-data"]).exits(0);
    }
}
