//! The working tree as tidy sees it: tracked files, members, dependencies. Reads, never writes.

use crate::process::{cargo, output};
use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files longer than this are listed by name and size only.
const LONGEST_TEXT: u64 = 4 << 20;

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Relative to the root, with `/` between folders.
    pub(crate) path: String,
    /// Length in bytes.
    pub(crate) size: u64,
    /// The first bytes, enough to tell what kind of file it is.
    pub(crate) head: Vec<u8>,
    /// The content, unless it is not text or very long.
    pub(crate) text: Option<String>,
}

/// A crate of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// The name without `packmule-`, as code and layers know it.
    pub(crate) name: String,
    /// The folder, relative to the root.
    pub(crate) folder: String,
    /// What it is responsible for, from its manifest.
    pub(crate) description: String,
    /// The members it depends on, dev-dependencies left out.
    pub(crate) uses: Vec<String>,
}

/// A crate that is not ours.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its licence expression, when it states one.
    pub(crate) licence: Option<String>,
}

/// Everything the rules look at.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Where it is.
    pub(crate) root: PathBuf,
    /// In order of path.
    pub(crate) files: Vec<File>,
    /// In order of name.
    pub(crate) members: Vec<Member>,
    /// Every dependency, direct or not, of any target.
    pub(crate) foreign: Vec<Foreign>,
}

/// The folder of the workspace that this xtask belongs to.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    Ok(own.parent().context("xtask has no parent folder")?.to_owned())
}

impl Workspace {
    /// Reads the tree and asks cargo for members and dependencies.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let args = ["metadata", "--format-version=1", "--all-features"];
        let metadata = output(cargo(root).args(args))?;
        let (members, foreign) = parse_metadata(&metadata)?;
        Ok(Self { root: root.to_owned(), files: read_files(root)?, members, foreign })
    }

    /// The file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Path and text of the files whose names end in `suffix`.
    pub(crate) fn texts<'a>(
        &'a self,
        suffix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.files
            .iter()
            .filter(move |file| file.path.ends_with(suffix))
            .filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
    }
}

/// Reads every file of the project below `root`.
pub(crate) fn read_files(root: &Path) -> anyhow::Result<Vec<File>> {
    let paths = listed_by_git(root).map_or_else(|_| walk(root), Ok)?;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let full = root.join(&path);
        // Listed but gone: deleted, and not yet committed. A link is no file of its own.
        match std::fs::symlink_metadata(&full) {
            Ok(found) if found.is_file() => files.push(read_file(&full, path, found.len())?),
            _ => {}
        }
    }
    Ok(files)
}

fn read_file(full: &Path, path: String, size: u64) -> anyhow::Result<File> {
    if size > LONGEST_TEXT {
        return Ok(File { path, size, head: Vec::new(), text: None });
    }
    let bytes = std::fs::read(full).with_context(|| format!("cannot read {path}"))?;
    let head = bytes.iter().take(16).copied().collect();
    Ok(File { path, size, head, text: String::from_utf8(bytes).ok() })
}

/// Tracked files, and new ones that nothing ignores: what the next commit may hold.
fn listed_by_git(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    Ok(output(&mut git)?.split_terminator('\0').map(str::to_owned).collect())
}

/// For a tree that came without git.
fn walk(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if path == "target" || path == ".git" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// None for what lies in this tree.
    source: Option<String>,
    description: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// None for ordinary ones, else "dev" or "build".
    kind: Option<String>,
    path: Option<PathBuf>,
}

/// Members and foreign crates from what `cargo metadata` prints.
pub(crate) fn parse_metadata(json: &str) -> anyhow::Result<(Vec<Member>, Vec<Foreign>)> {
    let metadata: Metadata =
        serde_json::from_str(json).context("cannot understand cargo metadata")?;
    let (ours, others): (Vec<_>, Vec<_>) =
        metadata.packages.into_iter().partition(|package| package.source.is_none());
    let root = metadata.workspace_root;
    let mut members: Vec<Member> = ours.into_iter().map(|package| member(&root, package)).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let foreign = others.into_iter().map(|p| Foreign {
        name: p.name,
        version: p.version,
        licence: p.license,
    });
    Ok((members, foreign.collect()))
}

fn member(root: &Path, package: Package) -> Member {
    let folder = package.manifest_path.parent().unwrap_or(root);
    let folder = folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned();
    let mut uses: Vec<String> = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some() && dependency.kind.as_deref() != Some("dev"))
        .map(|dependency| short(&dependency.name))
        .collect();
    uses.sort();
    uses.dedup();
    let description = package.description.unwrap_or_default();
    Member { name: short(&package.name), folder, description, uses }
}

fn short(name: &str) -> String {
    name.strip_prefix("packmule-").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "workspace_root": "/w",
        "packages": [
            {"name": "packmule-seed", "version": "0.1.0", "license": "MIT", "source": null,
             "description": "Drive sets", "manifest_path": "/w/crates/seed/Cargo.toml",
             "dependencies": [
                {"name": "packmule-store", "kind": null, "path": "/w/crates/store"},
                {"name": "packmule-repo", "kind": "dev", "path": "/w/crates/repo"},
                {"name": "packmule-model", "kind": "build", "path": "/w/crates/model"},
                {"name": "url", "kind": null}]},
            {"name": "url", "version": "2.5.0", "license": "MIT OR Apache-2.0",
             "source": "registry", "description": null, "manifest_path": "/r/url/Cargo.toml",
             "dependencies": []}]}"#;

    #[test]
    fn arrows_come_from_metadata_without_dev_dependencies() {
        let (members, foreign) = parse_metadata(METADATA).unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!((members[0].name.as_str(), members[0].folder.as_str()), ("seed", "crates/seed"));
        assert_eq!(members[0].uses, ["model", "store"]);
        assert_eq!(foreign[0].licence.as_deref(), Some("MIT OR Apache-2.0"));
    }

    #[test]
    fn a_tree_without_git_is_walked() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["target/debug/x", "a/target/y", "b.md"] {
            let full = folder.path().join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, "x").unwrap();
        }
        let found: Vec<String> = walk(folder.path()).unwrap().into_iter().collect();
        assert_eq!(found, ["a/target/y", "b.md"]);
    }

    #[test]
    fn what_is_not_text_has_no_text() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.bin"), [0xff, 0xfe, 0]).unwrap();
        let files = read_files(folder.path()).unwrap();
        assert_eq!((files[0].size, files[0].text.as_ref()), (3, None));
        assert_eq!(files[0].head, [0xff, 0xfe, 0]);
    }
}
