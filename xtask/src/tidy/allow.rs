//! Exceptions to the rules, each with its reason. One that excepts nothing is a problem itself.

use super::Problem;
use crate::workspace::Workspace;

/// One `<rule> <path or path#item> <reason>` a line; `#` starts a comment line.
pub(crate) const PATH: &str = "xtask/tidy-allow.txt";

struct Exception<'a> {
    line: usize,
    rule: &'a str,
    subject: &'a str,
}

/// The problems that are no exceptions, and those of the list itself.
pub(crate) fn apply(workspace: &Workspace, found: &[Problem]) -> Vec<Problem> {
    let text = workspace.file(PATH).and_then(|file| file.text.as_deref()).unwrap_or_default();
    let (exceptions, mut left) = parse(text);
    let stale = exceptions.iter().filter(|exception| !found.iter().any(|p| matches(exception, p)));
    left.extend(stale.map(|exception| {
        Problem::new("exception", PATH, exception.line, "excepts nothing any more: remove it")
    }));
    left.extend(found.iter().filter(|p| !exceptions.iter().any(|e| matches(e, p))).cloned());
    left
}

fn matches(exception: &Exception<'_>, problem: &Problem) -> bool {
    exception.rule == problem.rule && exception.subject == problem.subject
}

fn parse(text: &str) -> (Vec<Exception<'_>>, Vec<Problem>) {
    let mut exceptions = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let line_number = index + 1;
        match line.splitn(3, ' ').collect::<Vec<_>>().as_slice() {
            [rule, subject, reason] if !reason.trim().is_empty() => {
                exceptions.push(Exception { line: line_number, rule, subject });
            }
            _ => problems.push(Problem::new(
                "exception",
                PATH,
                line_number,
                "must read `<rule> <path> <reason>`",
            )),
        }
    }
    (exceptions, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::tree;

    #[test]
    fn an_exception_needs_a_reason_and_a_use() {
        let tree = tree(&[(PATH, "# why\nlink a.md\nlink a.md generated elsewhere\n")]);
        let left = apply(&tree, &[]);
        assert_eq!(left.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3]);
        let other_rule = apply(&tree, &[Problem::new("header", "a.md", 7, "missing")]);
        assert_eq!(other_rule.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3, 7]);
        let used = apply(&tree, &[Problem::new("link", "a.md", 7, "broken")]);
        assert_eq!(used.iter().map(|p| p.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn an_exception_within_a_file_excepts_that_item_only() {
        let tree = tree(&[(PATH, "length a.rs#long a table of cases\n")]);
        let found = ["long", "longer"].map(|f| Problem::new("length", "a.rs", 1, f).within(f));
        let left = apply(&tree, &found);
        assert_eq!(left.iter().map(|p| p.message.as_str()).collect::<Vec<_>>(), ["longer"]);
    }
}
