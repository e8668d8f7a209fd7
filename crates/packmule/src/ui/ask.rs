//! Questions to whoever sits there. Decides nothing: an answer goes back as it was typed.

use crate::failure::Failure;
use model::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

/// Somebody who can be asked.
pub(crate) trait Ask {
    /// The answer, without the blanks around it. `flag` is what gives it without asking.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when nobody is there, [`ErrorKind::Interrupted`] when they leave.
    fn ask(&self, flag: &str, question: &str) -> Result<String, Failure>;

    /// The same for what nobody else may see.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    fn ask_secret(&self, flag: &str, question: &str) -> Result<Zeroizing<String>, Failure> {
        self.ask(flag, question).map(Zeroizing::new)
    }

    /// Whether anybody is there.
    fn is_there(&self) -> bool;
}

/// Whoever sits at the terminal. Leaves as soon as the stop sign is up: Ctrl-C is an answer, too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal<'a> {
    pub(crate) stop: &'a AtomicBool,
}

impl Terminal<'_> {
    /// Byte by byte, so that nothing of the next answer is taken, and waiting for each.
    fn line(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let stdin = std::io::stdin();
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
        let mut byte = [0];
        while line.len() < LONGEST_LINE {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failure::new(ErrorKind::Interrupted, "stopped at the question"));
            }
            let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut waiting, Some(&LOOK)).map(|_| waiting[0].revents()) {
                Ok(ready) if ready.is_empty() => continue,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(unheard(errno)),
            }
            match rustix::io::read(&stdin, &mut byte) {
                Ok(0) => return Err(Failure::new(ErrorKind::Interrupted, "no answer")),
                Ok(_) if byte == *b"\n" => break,
                Ok(_) => line.extend(byte),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(unheard(errno)),
            }
        }
        Ok(line)
    }

    fn question(&self, flag: &str, question: &str) -> Result<(), Failure> {
        if !self.is_there() {
            let words = format!("there is no terminal to ask on: give --{flag}");
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let mut terminal = std::io::stderr().lock();
        write!(terminal, "{question}: ")
            .and_then(|()| terminal.flush())
            .map_err(|cause| Failure::io("asking on", Path::new(TERMINAL), cause))
    }

    /// What nobody else may see, as it was typed.
    ///
    /// # Errors
    /// As [`Ask::ask`].
    pub(crate) fn secret(&self, flag: &str, question: &str) -> Result<Zeroizing<String>, Failure> {
        self.question(flag, question)?;
        let line = {
            let _hidden = Hidden::new()?;
            self.line()
        };
        // The end of the line was not shown either.
        let _ = writeln!(std::io::stderr());
        let line = line?;
        let text = std::str::from_utf8(&line);
        text.map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| Failure::new(ErrorKind::Invalid, "what was typed is not UTF-8"))
    }
}

/// As long as a terminal's own longest line.
const LONGEST_LINE: usize = 4096;

const TERMINAL: &str = "the terminal";

/// How often the stop sign is looked at.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

fn unheard(errno: Errno) -> Failure {
    Failure::io("asking on", Path::new(TERMINAL), errno.into())
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Result<Self, Failure> {
        let before = tcgetattr(std::io::stdin()).map_err(unheard)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // What was typed before the question was shown to everybody: it answers nothing.
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden).map_err(unheard)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

impl Ask for Terminal<'_> {
    fn ask(&self, flag: &str, question: &str) -> Result<String, Failure> {
        self.question(flag, question)?;
        Ok(String::from_utf8_lossy(&self.line()?).trim().to_owned())
    }

    fn ask_secret(&self, flag: &str, question: &str) -> Result<Zeroizing<String>, Failure> {
        self.secret(flag, question)
    }

    fn is_there(&self) -> bool {
        std::io::stdin().is_terminal()
    }
}

/// Nobody: for `--yes`, and for commands that run by themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nobody;

impl Ask for Nobody {
    fn ask(&self, flag: &str, question: &str) -> Result<String, Failure> {
        let words = format!("\"{question}\" is not asked with --yes: give --{flag}");
        Err(Failure::new(ErrorKind::Invalid, words))
    }

    fn is_there(&self) -> bool {
        false
    }
}
