//! Every Rust file says first what it is for; no crate is an empty promise. Judges no prose.

use super::{Problem, rust};
use crate::workspace::Workspace;

const RULE: &str = "header";

/// Files without a header, and crates without code.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    let without = workspace.texts(".rs").filter(|(_, text)| !has_header(text)).map(|(path, _)| {
        Problem::new(
            RULE,
            path,
            1,
            "must begin with `//!`: what the file does, and what it never does",
        )
    });
    let empty = workspace.members.iter().filter(|member| is_empty(workspace, &member.folder));
    let empty = empty.map(|member| {
        let message = format!("the crate {} has no code yet", member.name);
        Problem::new("empty", &format!("{}/Cargo.toml", member.folder), 0, message)
    });
    without.chain(empty).collect()
}

fn has_header(text: &str) -> bool {
    text.lines()
        .next()
        .and_then(|line| line.strip_prefix("//!"))
        .is_some_and(|words| !words.trim().is_empty())
}

/// Whether a crate has no code beyond an empty `main`.
pub(super) fn is_empty(workspace: &Workspace, folder: &str) -> bool {
    let source = format!("{folder}/src/");
    workspace.texts(".rs").filter(|(path, _)| path.starts_with(&source)).all(|(_, text)| {
        let code: String = rust::code(text).split_whitespace().collect();
        code.is_empty() || code == "fnmain(){}"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::{member, places, tree};

    #[test]
    fn every_rust_file_begins_with_a_header() {
        let files = [
            ("crates/a/src/lib.rs", "//! Says it.\nfn a() {}\n"),
            ("crates/a/tests/rules.rs", "use a::b;\n"),
            ("crates/a/src/empty.rs", "//!\nfn a() {}\n"),
            ("crates/a/src/late.rs", "\n//! Too late.\n"),
        ];
        assert_eq!(
            places(check, &files),
            ["crates/a/src/empty.rs:1", "crates/a/src/late.rs:1", "crates/a/tests/rules.rs:1"]
        );
    }

    #[test]
    fn a_crate_of_comments_alone_is_empty() {
        let mut tree = tree(&[
            ("crates/full/src/lib.rs", "//! Does it.\npub struct A;\n"),
            ("crates/hollow/src/lib.rs", "//! Will do it.\n/* pub struct A; */\n"),
            ("crates/packmule/src/main.rs", "//! Will do it.\nfn main() {\n}\n"),
        ]);
        tree.members = ["full", "hollow", "packmule"].map(|name| member(name, &[])).to_vec();
        let found: Vec<String> = check(&tree).into_iter().map(|problem| problem.path).collect();
        assert_eq!(found, ["crates/hollow/Cargo.toml", "crates/packmule/Cargo.toml"]);
    }
}
