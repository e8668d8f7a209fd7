//! Relative links and anchors of every Markdown file lead somewhere. Never looks at the network.

use super::{Problem, markdown};
use crate::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet};

const RULE: &str = "link";

/// Links to files that are not part of the project, or to headings that do not exist.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    let tree = Tree::new(workspace);
    let mut problems = Vec::new();
    for (path, text) in workspace.texts(".md") {
        for link in markdown::links(text) {
            if let Err(why) = tree.resolve(path, &link.target) {
                let message = format!("the link {} {why}", link.target);
                problems.push(Problem::new(RULE, path, link.line, message));
            }
        }
    }
    problems
}

struct Tree<'a> {
    places: BTreeSet<&'a str>,
    anchors: BTreeMap<&'a str, Vec<String>>,
}

impl<'a> Tree<'a> {
    fn new(workspace: &'a Workspace) -> Self {
        let files = workspace.files.iter().map(|file| file.path.as_str());
        let places = files.flat_map(|path| {
            let folders = path.match_indices('/').filter_map(move |(at, _)| path.get(..at));
            folders.chain([path, ""])
        });
        let anchors =
            workspace.texts(".md").map(|(path, text)| (path, markdown::anchors(text))).collect();
        Self { places: places.collect(), anchors }
    }

    fn resolve(&self, from: &str, target: &str) -> Result<(), String> {
        if is_elsewhere(target) {
            return Ok(());
        }
        let (path, anchor) =
            target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
        let place = if path.is_empty() {
            from.to_owned()
        } else {
            join(from, &path.replace("%20", " ")).ok_or("leads out of the project")?
        };
        if !self.places.contains(place.as_str()) {
            return Err(format!("leads to {place}, which is not in the project"));
        }
        match (anchor, self.anchors.get(place.as_str())) {
            (Some(anchor), Some(known)) if !known.iter().any(|one| one == anchor) => {
                Err(format!("names no heading of {place}"))
            }
            _ => Ok(()),
        }
    }
}

fn is_elsewhere(target: &str) -> bool {
    ["https:", "http:", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

/// `path` as seen from the folder of the file `from`; none when it leaves the root or is absolute.
fn join(from: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::places;

    #[test]
    fn links_and_anchors_lead_somewhere() {
        let good =
            "# Top\n[a](docs/b.md#deep) [b](docs) [c](#top) [d](https://x.y/z) [e](./src/)\n";
        let bad =
            "## Deep\n[a](../a.md#gone)\n[b](gone.md) [c](../../a.md)\n[d](/a.md)\n[e](#no)\n";
        let files = [("a.md", good), ("docs/b.md", bad), ("src/x.rs", "//! X.\n")];
        assert_eq!(
            places(check, &files),
            ["docs/b.md:2", "docs/b.md:3", "docs/b.md:3", "docs/b.md:4", "docs/b.md:5"]
        );
    }

    #[test]
    fn the_letter_case_of_a_path_counts() {
        assert_eq!(places(check, &[("a.md", "[b](B.md)\n"), ("b.md", "")]), ["a.md:1"]);
    }
}
