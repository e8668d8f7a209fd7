//! `cargo xtask demo`: the whole journey with a release build. Knows nothing of what the demo does.

use crate::process::{cargo, status};
use crate::workspace;
use std::process::{ExitCode, Stdio};

/// Builds packmule in release and runs `packmule demo` with `args`, passing on its exit code.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let built = status(cargo(&root).args(["build", "--release", "--package", "packmule"]))?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let mut demo = cargo(&root);
    demo.args(["run", "--quiet", "--release", "--package", "packmule", "--", "demo"]);
    // Relative paths in the arguments are relative to where the caller stands.
    demo.args(args).stdin(Stdio::inherit()).current_dir(std::env::current_dir()?);
    Ok(exit_code(status(&mut demo)?.code()))
}

fn exit_code(code: Option<i32>) -> ExitCode {
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_passed_on_and_a_signal_is_a_failure() {
        assert_eq!(format!("{:?}", exit_code(Some(13))), format!("{:?}", ExitCode::from(13)));
        assert_eq!(format!("{:?}", exit_code(None)), format!("{:?}", ExitCode::FAILURE));
    }
}
