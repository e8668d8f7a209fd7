//! `cargo xtask check`: everything CI runs, in order. Has no rule of its own.

use crate::process::{cargo, say, status};
use crate::{test, tidy, workspace};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

type Step = (&'static str, fn(&Path) -> anyhow::Result<bool>);

/// Cheap ones first. All of them run, so that one round shows all that is wrong.
const STEPS: &[Step] = &[
    ("format", format),
    ("clippy", clippy),
    ("tidy", |_| tidy::run(tidy::Mode::Report).map(|code| code == ExitCode::SUCCESS)),
    ("documentation", documentation),
    ("tests", |_| test::run(&test::Options::default()).map(|code| code == ExitCode::SUCCESS)),
];

/// Runs every step and names those that failed.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        say(&format!("== {name}"));
        let started = Instant::now();
        let passed = step(&root).unwrap_or_else(|error| {
            say(&format!("{error:#}"));
            false
        });
        let verdict = if passed { "ok" } else { "FAILED" };
        say(&format!("== {name}: {verdict}, {} s", started.elapsed().as_secs()));
        if !passed {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        say("check: all passed");
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("check: failed: {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

fn format(root: &Path) -> anyhow::Result<bool> {
    Ok(status(cargo(root).args(["fmt", "--all", "--check"]))?.success())
}

fn clippy(root: &Path) -> anyhow::Result<bool> {
    let args = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    Ok(status(cargo(root).args(args))?.success())
}

fn documentation(root: &Path) -> anyhow::Result<bool> {
    let mut doc = cargo(root);
    doc.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "--deny warnings");
    Ok(status(&mut doc)?.success())
}
