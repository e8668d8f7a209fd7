//! `cargo xtask tidy`: the project's own static rules, all of them, every finding with file and
//! line. Changes nothing unless asked to rewrite the generated blocks.
//!
//! A rule is a function from the [`Workspace`] to [`Problem`]s. To add one: a module below, a line
//! in [`RULES`], a test that breaks the rule. An exception is a line in `xtask/tidy-allow.txt`.

mod allow;
mod arrows;
mod files;
mod generated;
mod headers;
mod length;
mod licences;
mod links;
mod manifests;
mod markdown;
mod rust;
mod spdx;
mod unused;
mod words;

use crate::process::say;
use crate::workspace::{self, Workspace};
use std::process::ExitCode;

/// Whether generated blocks may be rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Only report.
    Report,
    /// Rewrite generated blocks, then report what is left.
    Fix,
}

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    path: String,
    /// From 1; 0 when it is about the file as a whole.
    line: usize,
    rule: &'static str,
    message: String,
    /// What an exception would name: the path, or something within it.
    subject: String,
}

impl Problem {
    fn new(rule: &'static str, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, rule, message: message.into(), subject: path.into() }
    }

    /// The same problem, excepted by `path#item` instead of by path.
    fn within(mut self, item: &str) -> Self {
        self.subject = format!("{}#{item}", self.path);
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.path)?,
            line => write!(f, "{}:{line}: ", self.path)?,
        }
        write!(f, "{} [{}]", self.message, self.rule)
    }
}

type Rule = fn(&Workspace) -> Vec<Problem>;

const RULES: &[Rule] = &[
    arrows::check,
    headers::check,
    links::check,
    length::check,
    words::check,
    files::check,
    generated::check,
    manifests::check,
    unused::check,
    licences::check,
];

/// Reports every problem of this workspace; fails when there is one.
pub(crate) fn run(mode: Mode) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let mut workspace = Workspace::load(&root)?;
    if mode == Mode::Fix {
        for path in generated::fix(&mut workspace)? {
            say(&format!("rewrote the generated blocks of {path}"));
        }
    }
    let problems = problems(&workspace);
    for problem in &problems {
        say(&problem.to_string());
    }
    let files = workspace.files.len();
    match problems.len() {
        0 => say(&format!("tidy: {files} files, nothing to complain about")),
        count => say(&format!("tidy: {files} files, {count} problems")),
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What breaks a rule and is no allowed exception, in order of file and line.
fn problems(workspace: &Workspace) -> Vec<Problem> {
    let found: Vec<Problem> = RULES.iter().flat_map(|rule| rule(workspace)).collect();
    let mut left = allow::apply(workspace, &found);
    left.sort();
    left
}

/// The number, from 1, of the first line of `text` that begins with `start`; 0 when none does.
fn line_of(text: &str, start: &str) -> usize {
    text.lines().position(|line| line.starts_with(start)).map_or(0, |index| index + 1)
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Small trees that break a rule. Knows no rule.

    use super::{Problem, Rule};
    use crate::workspace::{Member, Workspace, read_files};

    /// The workspace that `files` make up, as read back from a folder.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Workspace {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let full = folder.path().join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, text).unwrap();
        }
        let files = read_files(folder.path()).unwrap();
        Workspace { root: folder.path().to_owned(), files, ..Workspace::default() }
    }

    pub(crate) fn member(name: &str, uses: &[&str]) -> Member {
        Member {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            description: format!("What {name} does"),
            uses: uses.iter().map(|used| (*used).to_owned()).collect(),
        }
    }

    /// The rule's findings as `path:line`.
    pub(crate) fn places(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
        let found = rule(&tree(files));
        found.iter().map(|Problem { path, line, .. }| format!("{path}:{line}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_line_and_rule() {
        let problem = Problem::new("header", "a.rs", 3, "wrong");
        assert_eq!(problem.to_string(), "a.rs:3: wrong [header]");
        assert_eq!(Problem::new("header", "a.rs", 0, "wrong").to_string(), "a.rs: wrong [header]");
    }

    #[test]
    fn all_rules_report_and_none_stops_the_others() {
        let mut tree =
            fixture::tree(&[("a.rs", "fn a() {}\n"), ("b.md", "[x](gone.md)\n"), ("c.md", "")]);
        tree.members.push(fixture::member("stranger", &[]));
        let rules: Vec<&str> = problems(&tree).iter().map(|problem| problem.rule).collect();
        for rule in ["header", "link", "arrow"] {
            assert!(rules.contains(&rule), "{rule} not in {rules:?}");
        }
    }

    #[test]
    fn an_exception_silences_its_problem_and_no_other() {
        let allow = "header a.rs generated by a tool that writes no header\n";
        let tree = fixture::tree(&[
            ("a.rs", "fn a() {}\n"),
            ("b.rs", "fn b() {}\n"),
            (allow::PATH, allow),
        ]);
        let left: Vec<String> = problems(&tree)
            .into_iter()
            .filter(|problem| problem.rule == "header")
            .map(|problem| problem.path)
            .collect();
        assert_eq!(left, ["b.rs"]);
    }
}
