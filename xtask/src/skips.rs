//! Tests that could not run: what they wrote down, and which of them may be skipped.
//! Never decides for a test whether it runs.

use std::collections::BTreeMap;
use std::path::Path;

/// The variable that names the file to which a test appends its skip.
pub(crate) const VARIABLE: &str = "PACKMULE_SKIPS";

/// The skips that are allowed, each with its reason, from the workspace's root.
pub(crate) const ALLOWED: &str = "xtask/skips.txt";

const PREFIX: &str = "SKIP: ";

/// Tests by name, each with its reason.
pub(crate) type Skips = BTreeMap<String, String>;

/// Reads what tests appended, one `SKIP: <test>: <reason>` a line. No file is no skips.
///
/// # Errors
/// When a line is not of that form: a skip without a reason is a skip that hides.
pub(crate) fn read_reported(path: &Path) -> anyhow::Result<Skips> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    parse(&text, PREFIX)
}

/// Reads the allow-list, one `<test>: <reason>` a line; `#` starts a comment line.
pub(crate) fn read_allowed(path: &Path) -> anyhow::Result<Skips> {
    let text = std::fs::read_to_string(path)?;
    let entries: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    parse(&entries, "")
}

fn parse(text: &str, prefix: &str) -> anyhow::Result<Skips> {
    let mut skips = Skips::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // Test names have `::` in them, never followed by a space.
        let entry = line.strip_prefix(prefix).and_then(|rest| rest.split_once(": "));
        match entry {
            Some((test, reason)) if !test.is_empty() => {
                skips.insert(test.to_owned(), reason.trim().to_owned());
            }
            _ => anyhow::bail!("a skip must read `{prefix}<test>: <reason>`, not `{line}`"),
        }
    }
    Ok(skips)
}

/// The names of reported skips that nobody allowed.
pub(crate) fn unexpected<'a>(reported: &'a Skips, allowed: &Skips) -> Vec<&'a str> {
    reported.keys().filter(|test| !allowed.contains_key(*test)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_has_a_test_and_a_reason() {
        let skips =
            parse("SKIP: a::b: no root: none\nSKIP: a::b: no root: none\n", PREFIX).unwrap();
        assert_eq!(
            skips.into_iter().collect::<Vec<_>>(),
            [("a::b".to_owned(), "no root: none".to_owned())]
        );
        for bad in ["SKIP: a::b", "SKIP: a::b: ", "a::b: reason", "SKIP: : reason"] {
            assert!(parse(bad, PREFIX).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_file_is_no_skips() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_reported(&folder.path().join("skips")).unwrap().is_empty());
    }

    #[test]
    fn a_skip_that_nobody_allowed_is_unexpected() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("skips.txt");
        std::fs::write(&list, "# comment\n\na::b: needs a drive\n").unwrap();
        let allowed = read_allowed(&list).unwrap();
        let reported = parse("SKIP: a::b: x\nSKIP: a::c: y\n", PREFIX).unwrap();
        assert_eq!(unexpected(&reported, &allowed), ["a::c"]);
    }
}
