//! Cargo manifests: one place for lints, versions and dependencies. Says nothing about what a
//! crate may depend on.

use super::{Problem, line_of};
use crate::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

const RULE: &str = "manifest";
const ROOT: &str = "Cargo.toml";

/// They have the only `unsafe` there is, which no crate could allow against `forbid`.
const OWN_LINTS: [&str; 4] = [
    "crates/sha256/Cargo.toml",
    "crates/poly1305/Cargo.toml",
    "crates/rabin/Cargo.toml",
    "crates/heap/Cargo.toml",
];

/// Fields of `[package]` that have one value for all members.
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];
const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Manifests that say for themselves what the workspace says for all, and entries of the
/// workspace that nobody uses or that are there twice.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for (path, text) in workspace.texts("/Cargo.toml") {
        match toml::from_str::<Table>(text) {
            Ok(manifest) => {
                used.extend(dependencies(&manifest).into_iter().map(|(name, _)| name.to_owned()));
                check_member(path, text, &manifest, &mut problems);
            }
            Err(error) => problems.push(Problem::new(RULE, path, 0, error.message())),
        }
    }
    if let Some(text) = workspace.file(ROOT).and_then(|file| file.text.as_deref()) {
        match toml::from_str::<Table>(text) {
            Ok(root) => {
                check_root(text, &root, &used, &mut problems);
                for path in OWN_LINTS {
                    check_own_lints(path, workspace, &root, &mut problems);
                }
            }
            Err(error) => problems.push(Problem::new(RULE, ROOT, 0, error.message())),
        }
    }
    problems
}

fn check_member(path: &str, text: &str, manifest: &Table, problems: &mut Vec<Problem>) {
    let mut report = |line, message: String| problems.push(Problem::new(RULE, path, line, message));
    if !OWN_LINTS.contains(&path) && !manifest.get("lints").is_some_and(from_workspace) {
        report(0, "does not inherit the lints: add `[lints]` with `workspace = true`".to_owned());
    }
    let package = manifest.get("package").and_then(Value::as_table);
    for field in INHERITED {
        if !package.and_then(|package| package.get(field)).is_some_and(from_workspace) {
            let line = line_of(text, &format!("{field} "));
            report(line, format!("must inherit {field}: write `{field}.workspace = true`"));
        }
    }
    let described = package.and_then(|package| package.get("description")).and_then(Value::as_str);
    if described.is_none_or(|words| words.trim().is_empty()) {
        report(0, "has no description: say what the crate is responsible for".to_owned());
    }
    for (name, value) in dependencies(manifest) {
        if !from_workspace(value) {
            let message = format!(
                "{name} must come from the workspace: write `{name}.workspace = true` and put the version into [workspace.dependencies]"
            );
            report(line_of(text, name), message);
        }
    }
}

/// A manifest with lints of its own: those of the workspace, where `forbid` is `deny`.
fn check_own_lints(path: &str, workspace: &Workspace, root: &Table, problems: &mut Vec<Problem>) {
    let Some(text) = workspace.file(path).and_then(|file| file.text.as_deref()) else {
        return;
    };
    let mut wanted = root.get("workspace").and_then(|table| table.get("lints")).cloned();
    if let Some(unsafe_code) =
        wanted.as_mut().and_then(|lints| lints.get_mut("rust")?.get_mut("unsafe_code"))
    {
        *unsafe_code = Value::from("deny");
    }
    let own =
        toml::from_str::<Table>(text).ok().and_then(|manifest| manifest.get("lints").cloned());
    if own != wanted {
        let message = "must have the workspace's lints, with unsafe_code = \"deny\"";
        problems.push(Problem::new(RULE, path, line_of(text, "[lints"), message));
    }
}

fn from_workspace(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// Every dependency of a manifest, of any kind and target.
pub(crate) fn dependencies(manifest: &Table) -> Vec<(&str, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    std::iter::once(manifest)
        .chain(targets)
        .flat_map(|table| DEPENDENCY_TABLES.iter().filter_map(move |name| table.get(*name)))
        .filter_map(Value::as_table)
        .flat_map(|table| table.iter().map(|(name, value)| (name.as_str(), value)))
        .collect()
}

fn check_root(text: &str, root: &Table, used: &BTreeSet<String>, problems: &mut Vec<Problem>) {
    let workspace = root.get("workspace");
    let Some(shared) =
        workspace.and_then(|table| table.get("dependencies")).and_then(Value::as_table)
    else {
        return;
    };
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in shared {
        let line = line_of(text, &format!("{name} "));
        let report = |message| Problem::new(RULE, ROOT, line, message).within(name);
        if !used.contains(name) {
            problems.push(report(format!("no member uses {name}: remove it")));
        }
        let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
        if let Some(first) = names.insert(package, name) {
            problems.push(report(format!("{name} and {first} are the same package, {package}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::{places, tree};

    const GOOD: &str = "[package]\nname = \"a\"\ndescription = \"Does it\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
        publish.workspace = true\n[lints]\nworkspace = true\n[dependencies]\nurl.workspace = true\n";

    #[test]
    fn the_crate_with_lints_of_its_own_has_the_workspaces_all_the_same() {
        let root = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n";
        let own = |lints: &str| {
            let (inherited, rest) = GOOD.split_once("[lints]\nworkspace = true\n").unwrap();
            format!("{inherited}[lints.rust]\n{lints}{}", rest.split_once("url.w").unwrap().0)
        };
        let check = |lints| places(check, &[(ROOT, root), (OWN_LINTS[0], &own(lints))]);
        assert!(check("unsafe_code = \"deny\"\nmissing_docs = \"warn\"\n").is_empty());
        for bad in
            ["unsafe_code = \"deny\"\n", "unsafe_code = \"allow\"\nmissing_docs = \"warn\"\n"]
        {
            assert_eq!(check(bad), [format!("{}:9", OWN_LINTS[0])]);
        }
    }

    #[test]
    fn a_member_inherits_lints_versions_and_dependencies() {
        let member = "crates/a/Cargo.toml";
        assert!(places(check, &[(member, GOOD)]).is_empty());
        let cases = [
            ("[lints]\nworkspace = true", "", 0),
            ("edition.workspace = true", "edition = \"2021\"", 5),
            ("url.workspace = true", "url = \"2\"", 12),
            ("url.workspace = true", "url = { path = \"../url\" }", 12),
            ("[dependencies]\nurl", "[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\nurl", 12),
            ("description = \"Does it\"", "description = \" \"", 0),
        ];
        for (good, bad, line) in cases {
            let text = GOOD.replace(good, bad);
            assert_ne!(text, GOOD);
            assert_eq!(places(check, &[(member, &text)]), [format!("{member}:{line}")], "{bad}");
        }
        assert_eq!(places(check, &[(member, "[broken")]), ["crates/a/Cargo.toml:0"]);
    }

    #[test]
    fn what_no_member_uses_and_what_is_there_twice_goes() {
        let root = "[workspace.dependencies]\nurl = \"2\"\nunused = \"1\"\nurl2 = { version = \"2\", package = \"url\" }\n";
        let with_both = GOOD.replace("url.workspace", "url2.workspace = true\nurl.workspace");
        let found = check(&tree(&[("Cargo.toml", root), ("crates/a/Cargo.toml", &with_both)]));
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "Cargo.toml:3: no member uses unused: remove it [manifest]",
                "Cargo.toml:4: url2 and url are the same package, url [manifest]",
            ]
        );
    }
}
