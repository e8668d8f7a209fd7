//! Writes results, notes and errors, as text or as one JSON object a line. Decides nothing else.

#![expect(clippy::print_stderr, reason = "the one place that writes to the terminal")]

use crate::failure::Failure;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

/// Where everything goes that a user sees.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    /// Lines of several threads do not mix.
    line: Arc<Mutex<()>>,
}

impl Printer {
    /// A printer in one of the two forms.
    #[must_use]
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, line: Arc::default() }
    }

    /// Whether results are JSON.
    #[must_use]
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a progress bar makes sense.
    #[must_use]
    pub(crate) fn is_live(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Whether only results and errors are wanted.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A line of the result, for people. Not written in JSON form.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            self.write(text.as_ref());
        }
    }

    /// A part of the result, for scripts: an object with its `message_type`. Not written as text.
    pub(crate) fn object(&self, message_type: &str, object: &impl Serialize) {
        if self.json {
            self.write(&with_type(message_type, object).to_string());
        }
    }

    fn write(&self, line: &str) {
        let _line = self.line.lock();
        let mut out = io::stdout().lock();
        // A reader that has gone wants no more lines; that is not an error of the command.
        let _ = writeln!(out, "{line}");
    }

    /// Something worth knowing that is not the result.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Something is wrong with one item. Never quiet: what is left out must be seen.
    pub(crate) fn problem(&self, item: &str, what: &str) {
        if self.json {
            let object = json!({"item": item, "message": what});
            self.write(&with_type("problem", &object).to_string());
        } else {
            eprintln!("warning: {item}: {what}");
        }
    }

    /// Why the command failed.
    pub(crate) fn failure(&self, failure: &Failure, code: u8) {
        let words = failure.chain();
        if self.json {
            let object = json!({"code": code, "message": words.join(": ")});
            eprintln!("{}", with_type("exit_error", &object));
            return;
        }
        for (at, text) in words.iter().enumerate() {
            eprintln!("{}{text}", if at == 0 { "error: " } else { "  because: " });
        }
    }
}

fn with_type(message_type: &str, object: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    let mut typed = serde_json::Map::new();
    typed.insert("message_type".into(), message_type.into());
    match &mut value {
        Value::Object(fields) => typed.append(fields),
        other => {
            typed.insert("value".into(), other.take());
        }
    }
    Value::Object(typed)
}
