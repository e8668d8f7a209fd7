//! `packmule`: parses the command line, calls the libraries, renders what they say.
//!
//! One file a command below `cmd`; no command does what another crate is responsible for.

mod cli;
mod cmd;
mod context;
#[cfg(test)]
mod docs;
mod exit;
mod failure;
mod ui;

use clap::Parser;
use context::Context;
use std::process::ExitCode;

fn main() -> ExitCode {
    heap::gives_back();
    let cli = cli::Cli::parse_from(cli::arguments(std::env::args_os()));
    let printer = ui::Printer::new(cli.json, cli.quiet);
    let code = match Context::new(printer) {
        Ok(context) => match cli.command.run(&context) {
            Ok(status) => status.code(),
            Err(failure) => {
                let code = exit::code(failure.kind);
                context.printer.failure(&failure, code);
                code
            }
        },
        Err(failure) => {
            ui::Printer::new(cli.json, cli.quiet).failure(&failure, 1);
            1
        }
    };
    ExitCode::from(code)
}
