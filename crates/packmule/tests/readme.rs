//! The tour of the README is run as it stands there; what it shows is what is said, but for numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// (command, lines shown below it) of every console block that shows one.
fn tour(readme: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => inside = line == "```console" && !inside,
            Some(command) if inside => steps.push((command.to_owned(), Vec::new())),
            None if inside => {
                if let Some((_, shown)) = steps.last_mut() {
                    shown.push(line.to_owned());
                }
            }
            _ => {}
        }
    }
    steps
}

/// What stays of a line when numbers, ids and units are any.
fn shape(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let bare = word.trim_matches(|c: char| "():;,.".contains(c));
        let number = bare.starts_with(|c: char| c.is_ascii_digit());
        let unit = ["B", "KiB", "MiB", "GiB"].contains(&bare);
        let id = bare.len() >= 8
            && bare.chars().all(|c| c.is_ascii_hexdigit() || c == '-' || "PM".contains(c));
        if number || unit || id { word.replace(bare, "#") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Runs all commands in one shell. Answers what each has said on stdout.
fn run(commands: &[String], folder: &Path) -> Vec<Vec<String>> {
    const END: &str = "-- end of step --";
    let script: String =
        commands.iter().map(|command| format!("{command}\nprintf '%s\\n' '{END}'\n")).collect();
    let binaries = Path::new(env!("CARGO_BIN_EXE_packmule")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash")
        .current_dir(folder)
        .env("PATH", path)
        .env("PACKMULE_STATE", folder.join("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(&format!("{END}\n")).map(|step| step.lines().map(str::to_owned).collect()).collect()
}

#[test]
fn the_tour_shows_what_is_said() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let steps = tour(&std::fs::read_to_string(readme).unwrap());
    assert!(steps.len() >= 10, "{} steps", steps.len());
    let folder = tempfile::tempdir().unwrap();
    let commands: Vec<String> = steps.iter().map(|(command, _)| command.clone()).collect();
    let said = run(&commands, folder.path());
    for ((command, shown), said) in steps.iter().zip(&said) {
        let shapes: Vec<String> = said.iter().map(|line| shape(line)).collect();
        for line in shown {
            assert!(shapes.contains(&shape(line)), "{command}\nshows: {line}\nsaid: {said:#?}");
        }
        assert_eq!(shown.is_empty(), said.is_empty(), "{command} said {said:?}");
    }
    let same = Command::new("diff")
        .arg("-r")
        .arg(folder.path().join("files"))
        .arg(
            folder
                .path()
                .join("restored")
                .join(folder.path().strip_prefix("/").unwrap())
                .join("files"),
        )
        .status()
        .unwrap();
    assert!(same.success(), "what was restored differs");
}

#[test]
fn a_changed_word_is_noticed() {
    assert_eq!(shape("snapshot 430b4778 saved"), shape("snapshot 0123abcd saved"));
    assert_eq!(
        shape("drive PM2D384EA6CDD7: 4 objects, 28.532 MiB, sealed"),
        shape("drive PM0000000000AA: 12 objects, 1.000 KiB, sealed")
    );
    assert_ne!(shape("snapshot 430b4778 saved"), shape("snapshot 430b4778 lost"));
}
