//! Every dependency may be used under a licence that we accept. Knows nothing of advisories: those
//! change without us, live on the network, and are no property of this tree.

use super::{Problem, spdx};
use crate::workspace::Workspace;

const RULE: &str = "licence";
const LOCK: &str = "Cargo.lock";

/// Licences that ask for no more than their text and the authors' names in what we ship.
///
/// MPL-2.0 and the LGPL are missing on purpose: they ask for source beside a linked executable.
const ACCEPTED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Dependencies that we must not ship.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    let lock = workspace.file(LOCK).and_then(|file| file.text.as_deref()).unwrap_or_default();
    let judged = workspace.foreign.iter().filter_map(|package| {
        let why = judge(package.licence.as_deref())?;
        let line = super::line_of(lock, &format!("name = \"{}\"", package.name));
        let message = format!("{} {}: {why}", package.name, package.version);
        Some(Problem::new(RULE, LOCK, line, message).within(&package.name))
    });
    judged.collect()
}

/// Why a dependency cannot be used.
fn judge(licence: Option<&str>) -> Option<String> {
    let Some(expression) = licence else {
        return Some(
            "states no licence expression: read its licence file, then add an exception or drop it"
                .to_owned(),
        );
    };
    match spdx::satisfied(expression, &ACCEPTED) {
        Ok(true) => None,
        Ok(false) => Some(format!("{expression} cannot be satisfied with licences we accept")),
        Err(why) => Some(format!("cannot understand its licence {expression:?}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::tree;
    use crate::workspace::Foreign;

    fn foreign(name: &str, licence: Option<&str>) -> Foreign {
        let licence = licence.map(str::to_owned);
        Foreign { name: name.to_owned(), version: "1.0.0".to_owned(), licence }
    }

    #[test]
    fn a_dependency_we_may_not_ship_is_refused_at_its_line_of_the_lock() {
        let mut tree =
            tree(&[(LOCK, "[[package]]\nname = \"good\"\n[[package]]\nname = \"bad\"\n")]);
        tree.foreign = vec![
            foreign("good", Some("GPL-3.0-only OR MIT")),
            foreign("bad", Some("GPL-3.0-only")),
            foreign("silent", None),
            foreign("odd", Some("MIT AND")),
        ];
        let found = check(&tree);
        let subjects: Vec<(&str, usize)> =
            found.iter().map(|problem| (problem.subject.as_str(), problem.line)).collect();
        assert_eq!(
            subjects,
            [("Cargo.lock#bad", 4), ("Cargo.lock#silent", 0), ("Cargo.lock#odd", 0)]
        );
    }
}
