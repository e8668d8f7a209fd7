//! One call of a program that changes a device: what a plan consists of, printed as it is run.

use crate::Error;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A program, and the package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const BLKDISCARD: Program = Program { name: "blkdiscard", package: "util-linux" };
pub(crate) const BLOCKDEV: Program = Program { name: "blockdev", package: "util-linux" };
pub(crate) const CRYPTSETUP: Program = Program { name: "cryptsetup", package: "cryptsetup-bin" };
pub(crate) const MKFS: Program = Program { name: "mkfs.ext4", package: "e2fsprogs" };
pub(crate) const SFDISK: Program = Program { name: "sfdisk", package: "fdisk" };
pub(crate) const WIPEFS: Program = Program { name: "wipefs", package: "util-linux" };

/// What a program is given on its standard input.
#[derive(Clone)]
pub(crate) enum Input {
    None,
    Text(&'static str),
    /// Not to be shown, and never an argument: those are seen by every user of the machine.
    Secret(Zeroizing<String>),
}

/// One call of a program. Displayed as a line for a shell.
#[derive(Clone)]
pub struct Step {
    pub(crate) what: &'static str,
    pub(crate) program: Program,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) input: Input,
}

impl Step {
    pub(crate) fn new(what: &'static str, program: Program) -> Self {
        Self { what, program, arguments: Vec::new(), input: Input::None }
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// What it is for, in a few words.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Runs it to its end, and is content with nothing but success.
    ///
    /// # Errors
    /// [`Error::NoProgram`]; [`Error::Program`] with what the program says.
    pub fn run(&self) -> Result<(), Error> {
        let output = self.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.failed(&output))
    }

    pub(crate) fn failed(&self, output: &Output) -> Error {
        let said = String::from_utf8_lossy(&output.stderr);
        let said =
            if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() };
        Error::Program { what: self.what, program: self.program.name, said }
    }

    /// Runs it to its end, whatever that is.
    pub(crate) fn output(&self) -> Result<Output, Error> {
        let fail = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => {
                Error::NoProgram { program: self.program.name, package: self.program.package }
            }
            io::ErrorKind::TimedOut => Error::Program {
                what: self.what,
                program: self.program.name,
                said: cause.to_string(),
            },
            _ => Error::Io { action: "running", path: self.program.name.into(), cause },
        };
        let mut command = command(self.program.name);
        let given: &[u8] = match &self.input {
            Input::None => b"",
            Input::Text(text) => text.as_bytes(),
            Input::Secret(secret) => secret.as_bytes(),
        };
        finish(command.args(&self.arguments), given, LONGEST).map_err(fail)
    }
}

/// Where programs for administrators are, whatever the caller's own variables say: they may name a folder
/// that somebody else can write to, and hold passwords that are no program's business.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program by its name, with nothing of our surroundings.
pub(crate) fn command(name: &str) -> Command {
    let found = PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|it| it.is_file());
    let mut command = Command::new(found.unwrap_or_else(|| name.into()));
    command.env_clear().env("LC_ALL", "C").env("PATH", PATH);
    command
}

/// What formatting or discarding a whole drive may take.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Runs a program to its end, or to that of our patience: one that waits for a drive that does not answer
/// cannot even be killed, and is left to itself.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`]; [`io::ErrorKind::NotFound`] when there is no such program.
pub(crate) fn finish(
    command: &mut Command,
    given: &[u8],
    patience: Duration,
) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let id = child.id();
    let stdin = child.stdin.take();
    let given = Zeroizing::new(given.to_owned());
    let (sender, ended) = mpsc::channel();
    // Neither thread is waited for once patience has ended.
    std::thread::spawn(move || {
        // A program that has ended early says why by itself.
        let _ = stdin.map(|mut stdin| stdin.write_all(&given));
    });
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    ended.recv_timeout(patience).unwrap_or_else(|_| {
        if let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
        let words =
            format!("it has not ended within {} s: does the drive answer?", patience.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, words))
    })
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step({self})")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.input {
            Input::None => {}
            Input::Text(text) => {
                write!(f, "printf {} | ", quoted(OsStr::new(&text.replace('\n', "\\n"))))?;
            }
            Input::Secret(_) => f.write_str("printf PASSWORD | ")?,
        }
        f.write_str(self.program.name)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

/// As a shell wants it.
fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,^@%+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SH: Program = Program { name: "sh", package: "dash" };

    #[test]
    fn a_step_is_shown_as_a_shell_takes_it_and_without_its_secret() {
        let secret = Input::Secret("123456".to_owned().into());
        let step =
            Step::new("trying", SH).args(["-c", "it's $HOME", "--", "/dev/sdb"]).input(secret);
        assert_eq!(step.to_string(), r"printf PASSWORD | sh -c 'it'\''s $HOME' -- /dev/sdb");
        assert!(!format!("{step:?}").contains("123456"));
        let step = Step::new("trying", SH).input(Input::Text("a b\nc\n"));
        assert_eq!(step.to_string(), r"printf 'a b\nc\n' | sh");
    }

    #[test]
    fn a_program_gets_its_input_and_its_words_are_in_the_error() {
        let fail =
            Step::new("trying", SH).args(["-c", "cat >&2; exit 3"]).input(Input::Text("no room"));
        let error = fail.run().unwrap_err().to_string();
        assert_eq!(error, "trying failed; sh says: no room");
        let deaf = Step::new("trying", SH).args(["-c", "exit 0"]);
        deaf.input(Input::Secret("x".repeat(1 << 20).into())).run().unwrap();
        let hangs = finish(command("sh").args(["-c", "sleep 60"]), b"", Duration::from_millis(50));
        assert_eq!(hangs.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let none = Program { name: "no-such-program", package: "its-package" };
        let error = Step::new("trying", none).run().unwrap_err();
        assert!(matches!(error, Error::NoProgram { package: "its-package", .. }), "{error}");
    }
}
