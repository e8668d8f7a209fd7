//! Questions to whoever sits there. Decides nothing: an answer goes back as it was typed.

use crate::failure::Failure;
use model::ErrorKind;
use std::io::{IsTerminal, Write};
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

/// Whoever sits at the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal;

impl Ask for Terminal {
    fn ask(&self, flag: &str, question: &str) -> Result<String, Failure> {
        if !self.is_there() {
            let words = format!("there is no terminal to ask on: give --{flag}");
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let fail = |e| Failure::io("asking on", std::path::Path::new("/dev/tty"), e);
        let mut terminal = std::io::stderr().lock();
        write!(terminal, "{question}: ").and_then(|()| terminal.flush()).map_err(fail)?;
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).map_err(fail)? == 0 {
            return Err(Failure::new(ErrorKind::Interrupted, "no answer"));
        }
        Ok(line.trim().to_owned())
    }

    fn ask_secret(&self, flag: &str, question: &str) -> Result<Zeroizing<String>, Failure> {
        if !self.is_there() {
            let words = format!("there is no terminal to ask on: give --{flag}");
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        rpassword::prompt_password(format!("{question}: "))
            .map(Zeroizing::new)
            .map_err(|cause| Failure::io("asking on", std::path::Path::new("/dev/tty"), cause))
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
