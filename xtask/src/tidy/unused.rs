//! Dependencies that a crate declares but whose name its code never says. A name in code is taken
//! for a use; nothing is compiled.

use super::{Problem, headers, line_of, manifests, rust};
use crate::workspace::Workspace;

const RULE: &str = "unused";

/// Dependencies that no file of their crate names.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    workspace
        .texts("/Cargo.toml")
        .flat_map(|(path, text)| check_member(workspace, path, text))
        .collect()
}

fn check_member(workspace: &Workspace, path: &str, text: &str) -> Vec<Problem> {
    // A manifest that cannot be read is the manifest rule's business.
    let Ok(manifest) = toml::from_str::<toml::Table>(text) else { return Vec::new() };
    let folder = path.strip_suffix("Cargo.toml").unwrap_or(path);
    // A crate without code is one problem, not one for each dependency.
    if headers::is_empty(workspace, folder.trim_end_matches('/')) {
        return Vec::new();
    }
    let mut names: Vec<&str> =
        manifests::dependencies(&manifest).into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let unused = names.into_iter().filter(|name| {
        let in_code = name.replace('-', "_");
        let mut sources = workspace.texts(".rs").filter(|(source, _)| source.starts_with(folder));
        !sources.any(|(_, source)| rust::words(source, &in_code).next().is_some())
    });
    unused
        .map(|name| {
            let message = format!("no code of this crate names {name}: remove it");
            Problem::new(RULE, path, line_of(text, name), message).within(name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::tidy::fixture::places;

    #[test]
    fn a_dependency_that_no_code_names_is_refused() {
        let manifest = "[dependencies]\nserde-json.workspace = true\nurl.workspace = true\n\
            [dev-dependencies]\nproptest.workspace = true\n";
        let files = [
            ("crates/a/Cargo.toml", manifest),
            ("crates/a/src/lib.rs", "//! A.\nuse serde_json::Value;\nfn curl() {}\n"),
            ("crates/a/tests/t.rs", "//! T.\nuse proptest::prelude::*;\n"),
            ("crates/b/src/lib.rs", "//! B.\nuse url::Url;\n"),
        ];
        assert_eq!(places(super::check, &files), ["crates/a/Cargo.toml:3"]);
    }
}
