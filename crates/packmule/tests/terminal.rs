//! Questions on a real terminal: what is typed unseen, and Ctrl-C while a question waits.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// A command with a terminal for its answers; its questions are read from a pipe.
struct Sitting {
    keyboard: File,
    terminal: File,
    child: Child,
    questions: ChildStderr,
}

impl Sitting {
    fn new(words: &[&str]) -> Self {
        Self::start(words, false)
    }

    /// With its output on the terminal, too.
    fn seeing(words: &[&str]) -> Self {
        Self::start(words, true)
    }

    fn start(words: &[&str], sees: bool) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        // Never ours to be controlled by.
        let no_control = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        let mut options = OpenOptions::new();
        let terminal = options.read(true).write(true).custom_flags(no_control).open(name).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_packmule"))
            .args(words)
            .env_remove("PACKMULE_PASSWORD")
            .stdin(terminal.try_clone().unwrap())
            .stdout(match sees {
                true => terminal.try_clone().unwrap().into(),
                false => Stdio::null(),
            })
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = child.stderr.take().unwrap();
        Self { keyboard: keyboard.into(), terminal, child, questions }
    }

    /// Reads until the question is asked.
    fn asked(&mut self, question: &str) {
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(question.as_bytes()) {
            let read = self.questions.read(&mut byte).unwrap();
            assert!(read > 0, "{question:?} is not asked: {}", String::from_utf8_lossy(&said));
            said.extend(byte);
        }
    }

    /// Reads from the terminal until that is shown.
    fn seen(&mut self, words: &str) -> String {
        let mut seen = Vec::new();
        let mut bytes = [0; 512];
        while !String::from_utf8_lossy(&seen).contains(words) {
            let read = self.keyboard.read(&mut bytes).unwrap();
            assert!(read > 0, "{words:?} is not shown: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&bytes[..read]);
        }
        String::from_utf8(seen).unwrap()
    }

    fn shows_what_is_typed(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// A secret is taken from when the terminal hides it.
    fn until_hidden(&self) {
        let began = Instant::now();
        while self.shows_what_is_typed() {
            assert!(began.elapsed() < Duration::from_secs(30), "what is typed is shown");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn types(&mut self, line: &str) {
        self.until_hidden();
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn ends(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        assert!(self.shows_what_is_typed(), "the terminal is left as nobody can use it");
        status.code()
    }
}

#[test]
fn a_password_typed_twice_makes_a_repository_and_is_not_shown() {
    let place = tempfile::tempdir().unwrap();
    let repository = place.path().join("repository");
    let repository = repository.to_str().unwrap();
    let mut sitting = Sitting::new(&["repo", "init", "-r", repository]);
    sitting.asked("password: ");
    sitting.types("schlüssel 1");
    sitting.asked("the same again: ");
    sitting.types("schlüssel 1");
    assert_eq!(sitting.ends(), Some(0));
    let check = Command::new(env!("CARGO_BIN_EXE_packmule"))
        .args(["repo", "check", "-r", repository])
        .env("PACKMULE_PASSWORD", "schlüssel 1")
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn a_registration_shows_the_recovery_kit_to_whoever_sits_there() {
    let place = tempfile::tempdir().unwrap();
    let server = support::served::Server::start();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let admin = server.admin();
    for words in [
        ["vault", "create", "offices"].to_vec(),
        ["vault", "credentials", "offices", "-o", &at("v.VaultCredentials")].to_vec(),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
        let done = command.args(words).arg("--server").arg(&admin).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let (credentials, state) = (at("v.VaultCredentials"), at("state"));
    let words =
        ["agent", "register", "--credentials", &credentials, "--name", "fs01", "--state", &state];
    let mut sitting = Sitting::seeing(&words);
    sitting.asked("password: ");
    sitting.types("acht zufällige Wörter");
    sitting.asked("the same again: ");
    sitting.types("acht zufällige Wörter");
    let seen = sitting.seen("type the secret as it is printed: capitals, digits and hyphens.");
    assert_eq!(sitting.ends(), Some(0));
    let secret = seen.split_whitespace().find(|word| word.starts_with("PACKMULE-")).unwrap();
    let origin = place.path().join("state/origin");
    let check = Command::new(env!("CARGO_BIN_EXE_packmule"))
        .args(["repo", "check", "-r"])
        .arg(origin)
        .env("PACKMULE_PASSWORD", secret)
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    let again = Command::new(env!("CARGO_BIN_EXE_packmule"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(again.status.success(), "there is one: nothing is asked: {again:?}");
}

#[test]
fn control_c_at_a_question_ends_at_once_and_gives_the_terminal_back() {
    let place = tempfile::tempdir().unwrap();
    let repository = place.path().join("repository");
    let mut sitting = Sitting::new(&["repo", "init", "-r", repository.to_str().unwrap()]);
    sitting.asked("password: ");
    sitting.until_hidden();
    let id = Pid::from_raw(i32::try_from(sitting.child.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    // Once: a second one would be the end of any process.
    assert_eq!(sitting.ends(), Some(130));
    assert!(!repository.exists());
}
