//! Words that must not be in the tree: open promises, debugging leftovers, places of one machine,
//! skipped tests without a trace. The forbidden words are spelt in halves here, to pass themselves.

use super::{Problem, markdown, rust};
use crate::skips;
use crate::workspace::Workspace;

const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Folders that exist on the machine of whoever wrote the line.
const MACHINE_FOLDERS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const HOMES: &str = concat!("/ho", "me/");

/// Names of people who do not exist, for examples and test data.
const INVENTED: [&str; 5] = ["alice", "bob", "user", "x", "you"];

/// Where packages come from is a matter of the machine that builds, not of the project.
const REGISTRY_HOSTS: [&str; 8] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("files.pythonhosted", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("arti", "factory"),
    concat!("jf", "rog."),
];

/// How a test says that it did not run.
const SAID_SKIP: &str = concat!("\"SK", "IP: ");

/// The one source that Cargo.lock may name.
const PUBLIC_SOURCE: &str = concat!("registry+https://github.com/rust-lang/crates", ".io-index");

const LOCK: &str = "Cargo.lock";
const CARGO_CONFIG: &str = ".cargo/config.toml";

/// Lines with a forbidden word.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &workspace.files {
        let Some(text) = &file.text else { continue };
        match file.path.as_str() {
            LOCK => check_lock(text, &mut problems),
            path => check_file(path, text, &mut problems),
        }
    }
    problems
}

fn check_file(path: &str, text: &str, problems: &mut Vec<Problem>) {
    // A document may talk about a marker in a code span.
    let prose = if path.ends_with(".md") { markdown::prose(text) } else { text.to_owned() };
    for (index, (line, full)) in prose.lines().zip(text.lines()).enumerate() {
        let mut report =
            |rule, message: String| problems.push(Problem::new(rule, path, index + 1, message));
        if let Some(marker) = open_promise(line) {
            report("promise", format!("{marker} without an issue number: write {marker}(#1)"));
        }
        if let Some(found) = machine_path(full) {
            report("machine", format!("{found} is a place on somebody's machine"));
        }
        if let Some(host) = REGISTRY_HOSTS.iter().find(|host| full.contains(**host)) {
            report("registry", format!("{host}: where packages come from is not the project's"));
        }
    }
    if path.ends_with(".rs") {
        check_rust(path, text, problems);
    }
    if path == CARGO_CONFIG {
        check_config(text, problems);
    }
}

fn check_rust(path: &str, text: &str, problems: &mut Vec<Problem>) {
    let code = rust::code(text);
    let reports_skips = text.contains(skips::VARIABLE);
    for (index, (line, full)) in code.lines().zip(text.lines()).enumerate() {
        let mut report =
            |rule, message: &str| problems.push(Problem::new(rule, path, index + 1, message));
        if rust::words(line, "dbg").any(|at| line.get(at..).is_some_and(|l| l.starts_with("dbg!")))
        {
            report("debug", "a debugging macro is left behind");
        }
        let ignored_doc = full.trim_start().starts_with("//") && full.contains("```ignore");
        if line.contains("#[ignore") || ignored_doc {
            report(
                "ignored",
                "a test that is ignored leaves no trace: report a skip instead, see docs/testing.md",
            );
        }
        if full.contains(SAID_SKIP) && !reports_skips {
            report(
                "ignored",
                "a skip that is only printed is seen by nobody: append it to the file that PACKMULE_SKIPS names, see docs/testing.md",
            );
        }
    }
}

/// A marker that no `#<number>` follows on its line.
fn open_promise(line: &str) -> Option<&'static str> {
    MARKERS.into_iter().find(|marker| {
        rust::words(line, marker).any(|at| {
            let tail = line.get(at..).unwrap_or_default();
            !tail.match_indices('#').any(|(hash, _)| {
                tail.get(hash + 1..).is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
            })
        })
    })
}

fn machine_path(line: &str) -> Option<&str> {
    let starts_path = |at: usize| {
        let within =
            |c: char| c.is_alphanumeric() || ['_', '-', '.', '}', '>', '~', '*'].contains(&c);
        !line.get(..at).is_some_and(|head| head.ends_with(within))
    };
    let folders = MACHINE_FOLDERS.into_iter().flat_map(|folder| line.match_indices(folder));
    if let Some((_, folder)) = folders.into_iter().find(|(at, _)| starts_path(*at)) {
        return Some(folder);
    }
    line.match_indices(HOMES).filter(|(at, _)| starts_path(*at)).find_map(|(at, _)| {
        let name = line.get(at + HOMES.len()..)?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
        let name = name.get(..end)?;
        let real = !name.is_empty() && !INVENTED.contains(&name);
        real.then(|| line.get(at..at + HOMES.len() + end))?
    })
}

fn check_lock(text: &str, problems: &mut Vec<Problem>) {
    for (index, line) in text.lines().enumerate() {
        let source = line.strip_prefix("source = ").map(|source| source.trim_matches('"'));
        if source.is_some_and(|source| source != PUBLIC_SOURCE) {
            let message = "a dependency that does not come from the public registry";
            problems.push(Problem::new("registry", LOCK, index + 1, message));
        }
    }
}

fn check_config(text: &str, problems: &mut Vec<Problem>) {
    for (index, line) in text.lines().enumerate() {
        if ["[source", "[registr"].iter().any(|table| line.trim_start().starts_with(table)) {
            let message =
                "where packages come from belongs into the user's own cargo configuration";
            problems.push(Problem::new("registry", CARGO_CONFIG, index + 1, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::places;

    #[test]
    fn a_promise_needs_an_issue_number() {
        for marker in MARKERS {
            let text = format!(
                "# {marker}: later\n# {marker}(#12): later\n# {marker}x A{marker}\n{marker} #soon\n"
            );
            assert_eq!(places(check, &[("a.toml", &text)]), ["a.toml:1", "a.toml:4"], "{marker}");
        }
    }

    #[test]
    fn a_document_may_name_a_marker_in_a_code_span() {
        let [marker, ..] = MARKERS;
        let text = format!("`{marker}` is forbidden\n{marker} is too\n");
        assert_eq!(places(check, &[("a.md", &text)]), ["a.md:2"]);
    }

    #[test]
    fn a_path_of_one_machine_is_refused() {
        let [work, root] = MACHINE_FOLDERS;
        let cases = [
            (format!("cd {work}x"), true),
            (format!("\"{root}x\""), true),
            (format!("{HOMES}maria/x"), true),
            (format!("{HOMES}alice/x"), false),
            (format!("{HOMES} and {{dir}}{work}x"), false),
            (format!("repo{root}x"), false),
        ];
        for (line, refused) in cases {
            assert_eq!(!places(check, &[("a.txt", &line)]).is_empty(), refused, "{line}");
        }
    }

    #[test]
    fn leftovers_and_ignored_tests_are_refused() {
        let debug = concat!("db", "g!(x);");
        let text =
            format!("{debug}\n#[ignore]\n/// ```ignore\n// {debug}\nlet x = \"#[ignore\";\n");
        assert_eq!(places(check, &[("a.rs", &text)]), ["a.rs:1", "a.rs:2", "a.rs:3"]);
    }

    #[test]
    fn a_skip_that_is_only_printed_is_refused() {
        let printed = format!("eprintln!({SAID_SKIP}no drive\");\n");
        let reported = format!("{printed}var_os(\"{}\");\n", skips::VARIABLE);
        assert_eq!(places(check, &[("a.rs", &printed), ("b.rs", &reported)]), ["a.rs:1"]);
    }

    #[test]
    fn no_registry_is_named() {
        for host in REGISTRY_HOSTS {
            assert_eq!(places(check, &[("a.sh", host)]), ["a.sh:1"]);
        }
        let lock = format!("source = \"{PUBLIC_SOURCE}\"\nsource = \"registry+https://x.y/z\"\n");
        assert_eq!(places(check, &[(LOCK, &lock)]), ["Cargo.lock:2"]);
        let config = "[alias]\n[source.public]\n[registries.x]\n";
        let found = places(check, &[(CARGO_CONFIG, config)]);
        assert_eq!(found, [".cargo/config.toml:2", ".cargo/config.toml:3"]);
    }
}
