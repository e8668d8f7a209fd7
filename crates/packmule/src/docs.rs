//! Holds the documents against the command line: the CLI reference, the exit codes and the
//! environment variables are made from the parser's own definitions. Run with `UPDATE=1` to rewrite.

use crate::cli::Cli;
use crate::exit;
use clap::{Arg, Command, CommandFactory};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

/// Two blocks of one document are not rewritten at the same time.
static WRITING: Mutex<()> = Mutex::new(());

fn document(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// The text between `<!-- held: NAME -->` and `<!-- /held -->` must be `expected`.
fn hold(file: &str, name: &str, expected: &str) {
    let _writing = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = document(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let open = format!("<!-- held: {name} -->\n");
    let (before, rest) =
        text.split_once(&open).unwrap_or_else(|| panic!("{file} has no block {name}"));
    let (block, after) = rest.split_once("<!-- /held -->").unwrap();
    let expected = format!("{}\n", expected.trim());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{open}{expected}<!-- /held -->{after}")).unwrap();
    } else {
        assert_eq!(block, expected, "{file}: run `UPDATE=1 cargo test -p packmule docs`");
    }
}

#[test]
fn the_exit_codes_are_documented() {
    let mut table = String::from("| code | meaning |\n|---|---|\n");
    for code in exit::TABLE {
        let _ = writeln!(table, "| {} | {} |", code.number, code.meaning);
    }
    hold("scripting.md", "exit-codes", &table);
}

fn each(command: &Command, path: &str, visit: &mut impl FnMut(&str, &Command)) {
    let path = format!("{path} {}", command.get_name()).trim().to_owned();
    visit(&path, command);
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        each(below, &path, visit);
    }
}

#[test]
fn the_environment_is_documented() {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let mut root = Cli::command();
    root.build();
    each(&root, "", &mut |_, command| {
        for arg in command.get_arguments() {
            if let Some(variable) = arg.get_env() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let option = arg.get_long().unwrap_or_default();
                let text = format!("same as `--{option}`: {}", first_line(&help));
                variables.entry(variable.to_string_lossy().into_owned()).or_insert(text);
            }
        }
    });
    let by_hand = [
        ("PACKMULE_PASSWORD", "the repository's password, where no `--password-file` is given"),
        (
            "HTTPS_PROXY",
            "the proxy on the way to servers; `HTTP_PROXY` for those without TLS, `ALL_PROXY` for both",
        ),
        ("NO_PROXY", "hosts that are reached without a proxy, with commas between"),
        ("NO_COLOR", "no colours in the server's log"),
        ("RUST_LOG", "how much the server logs: error, warn, info (default), debug, trace"),
    ];
    variables.extend(by_hand.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let mut table = String::from("| variable | meaning |\n|---|---|\n");
    for (name, text) in variables {
        let _ = writeln!(table, "| `{name}` | {text} |");
    }
    hold("scripting.md", "environment", &table);
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace('|', "\\|")
}

#[test]
fn every_command_is_documented() {
    let mut text = String::new();
    let mut root = Cli::command();
    root.build();
    each(&root, "", &mut |path, command| {
        let _ = writeln!(text, "## `{path}`\n");
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
        let _ = writeln!(text, "{}\n", prose(&about.unwrap_or_default()));
        let own: Vec<&Arg> = command
            .get_arguments()
            .filter(|arg| {
                !arg.is_global_set() && arg.get_id() != "help" && arg.get_id() != "version"
            })
            .collect();
        if !own.is_empty() {
            let _ = writeln!(text, "| argument | meaning |\n|---|---|");
            own.iter().for_each(|arg| {
                let _ = writeln!(text, "| `{}` | {} |", argument(arg), meaning(arg));
            });
            text.push('\n');
        }
    });
    hold("cli.md", "cli", &text);
}

/// An example becomes code.
fn prose(about: &str) -> String {
    about
        .lines()
        .map(|line| match line.split_once("Example: ") {
            Some(("", example)) => format!("    {example}"),
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn argument(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().join(" ");
    let takes = arg.get_action().takes_values();
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) if takes => format!("-{short}, --{long} {values}"),
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) if takes => format!("--{long} {values}"),
        (None, Some(long)) => format!("--{long}"),
        _ => values,
    }
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        let _ = write!(text, " (default: {})", defaults.join(" "));
    }
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn the_parser_is_sound_and_every_command_says_what_it_does() {
    let mut root = Cli::command();
    root.clone().debug_assert();
    root.build();
    each(&root, "", &mut |path, command| {
        assert!(command.get_about().is_some(), "{path} has no description");
        if command.get_subcommands().next().is_none() {
            let about = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.contains("Example: "), "{path} has no example");
        }
    });
}
