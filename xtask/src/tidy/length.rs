//! Files and functions stay small enough to be read at once. Tests may be as long as they must.

use super::{Problem, rust};
use crate::workspace::Workspace;
use std::collections::BTreeSet;

const RULE: &str = "length";

/// Twice what a file should have: beyond that it is more than one file.
const LONGEST_FILE: usize = 600;

/// More than fits on a tall screen.
const LONGEST_FUNCTION: usize = 80;

/// Files and functions that are too long.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    let sources: Vec<(&str, String)> =
        workspace.texts(".rs").map(|(path, text)| (path, rust::code(text))).collect();
    let tests: BTreeSet<String> =
        sources.iter().flat_map(|(path, code)| test_files(path, code)).collect();
    let measured = sources.iter().filter(|(path, _)| !is_test(path, &tests));
    measured.flat_map(|(path, code)| check_file(path, code)).collect()
}

fn check_file(path: &str, code: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let lines = rust::lines_without_tests(code);
    if lines > LONGEST_FILE {
        let message = format!("{lines} lines without tests, more than {LONGEST_FILE}: split it");
        problems.push(Problem::new(RULE, path, 1, message));
    }
    for function in rust::functions(code).iter().filter(|f| f.lines > LONGEST_FUNCTION) {
        let message = format!(
            "{} has {} lines, more than {LONGEST_FUNCTION}: split it",
            function.name, function.lines
        );
        problems.push(Problem::new(RULE, path, function.line, message).within(&function.name));
    }
    problems
}

fn is_test(path: &str, declared: &BTreeSet<String>) -> bool {
    let by_place = path.split('/').rev().skip(1).any(|folder| folder == "tests");
    by_place || declared.iter().any(|test| path.starts_with(test.as_str()))
}

/// How the paths begin of the files that `#[cfg(test)] mod name;` stands for.
fn test_files(path: &str, code: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let base = if ["lib", "main", "mod"].contains(&name) { folder } else { stem };
    rust::test_modules(code)
        .into_iter()
        .flat_map(|module| [format!("{base}/{module}.rs"), format!("{base}/{module}/")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::places;

    #[test]
    fn a_long_file_is_refused_but_tests_do_not_count() {
        let long = format!("//! A.\n{}", "use a;\n".repeat(LONGEST_FILE));
        let tested = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let files = [
            ("crates/a/src/lib.rs", "#[cfg(test)]\nmod shared;\n"),
            ("crates/a/src/long.rs", long.as_str()),
            ("crates/a/src/tested.rs", tested.as_str()),
            ("crates/a/src/shared.rs", long.as_str()),
            ("crates/a/tests/rules.rs", long.as_str()),
        ];
        assert_eq!(places(check, &files), ["crates/a/src/long.rs:1"]);
    }

    #[test]
    fn a_long_function_is_refused_at_its_line() {
        let body = "    a();\n".repeat(LONGEST_FUNCTION - 2);
        let fits = format!("fn a() {{\n{body}}}\n");
        let long = format!("\nfn a() {{\n{body}    a();\n}}\n");
        assert_eq!(places(check, &[("a.rs", &fits), ("b.rs", &long)]), ["b.rs:2"]);
    }
}
