//! Blocks of Markdown that are made from the code, and must equal what the code says now.
//! Only `tidy --fix` rewrites them.
//!
//! A block begins with the comment `generated: NAME` and ends with `/generated`, each in a line of
//! its own. To add one: a function from the workspace to text, and a line in [`GENERATORS`].

use super::{Problem, arrows, markdown};
use crate::workspace::Workspace;
use std::fmt::Write as _;

const RULE: &str = "generated";
const OPEN: &str = "<!-- generated: ";
const CLOSE: &str = "<!-- /generated -->";

type Generator = fn(&Workspace) -> String;

/// The name of each block, and what makes its text.
const GENERATORS: &[(&str, Generator)] = &[("crates", crates), ("states", |_| flow::diagrams())];

/// Blocks that are out of date, unknown or unfinished, and generators without a block.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    check_with(GENERATORS, workspace)
}

fn check_with(generators: &[(&str, Generator)], workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut used = Vec::new();
    for (path, text) in workspace.texts(".md") {
        for block in blocks(text) {
            let report = |message: String| Problem::new(RULE, path, block.line, message);
            used.push(block.name);
            match (generators.iter().find(|(name, _)| *name == block.name), block.body) {
                (_, None) => problems.push(report(format!("this block has no {CLOSE}"))),
                (None, _) => problems.push(report(format!("nothing generates {}", block.name))),
                (Some((_, generate)), Some(shown)) if finished(&generate(workspace)) != shown => {
                    let message = "differs from the code: run `cargo xtask tidy --fix`";
                    problems.push(report(message.to_owned()));
                }
                _ => {}
            }
        }
    }
    // A tree without members is a fixture of another rule's test.
    let unused = generators.iter().filter(|(name, _)| !used.contains(name));
    problems.extend(unused.filter(|_| !workspace.members.is_empty()).map(|(name, _)| {
        Problem::new(RULE, "ARCHITECTURE.md", 0, format!("no document has a block {name}"))
    }));
    problems
}

/// Rewrites the blocks that are out of date. Returns the paths of the files that changed.
pub(crate) fn fix(workspace: &mut Workspace) -> anyhow::Result<Vec<String>> {
    let rewritten: Vec<(String, String)> = workspace
        .texts(".md")
        .map(|(path, text)| (path.to_owned(), rewrite(GENERATORS, workspace, text)))
        .collect();
    let mut changed = Vec::new();
    for (path, text) in rewritten {
        let Some(file) = workspace.files.iter_mut().find(|file| file.path == path) else {
            continue;
        };
        if file.text.as_ref() != Some(&text) {
            std::fs::write(workspace.root.join(&path), &text)?;
            file.text = Some(text);
            changed.push(path);
        }
    }
    Ok(changed)
}

fn rewrite(generators: &[(&str, Generator)], workspace: &Workspace, text: &str) -> String {
    let mut out = text.to_owned();
    // Last block first, so that the positions of the others stay right.
    for block in blocks(text).into_iter().rev() {
        let generator = generators.iter().find(|(name, _)| *name == block.name);
        if let (Some((_, generate)), Some(body)) = (generator, block.body) {
            out.replace_range(
                block.start..block.start + body.len(),
                &finished(&generate(workspace)),
            );
        }
    }
    out
}

/// A block's text ends with one line break, whatever its generator does.
fn finished(generated: &str) -> String {
    format!("{}\n", generated.trim_matches('\n'))
}

struct Block<'a> {
    name: &'a str,
    line: usize,
    /// Where the body begins.
    start: usize,
    /// None when the block does not end.
    body: Option<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        start += line.len();
        let name = line.trim_end().strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(" -->"));
        let Some(name) = name.filter(|_| !is_in_fence(text, index)) else { continue };
        let rest = text.get(start..).unwrap_or_default();
        let end = rest.find(OPEN).unwrap_or(rest.len());
        let body = rest.get(..end).and_then(|own| own.split_once(CLOSE)).map(|(body, _)| body);
        found.push(Block { name, line: index + 1, start, body });
    }
    found
}

/// Whether a line is an example of a block, inside a code fence.
fn is_in_fence(text: &str, index: usize) -> bool {
    let before: String = text.split_inclusive('\n').take(index).collect();
    let with_word = format!("{before}word\n");
    !markdown::prose(&with_word).contains("word\n")
}

/// The table of crates: layer, name, and the description from the manifest.
fn crates(workspace: &Workspace) -> String {
    let mut table = String::from("| layer | crate | responsible for |\n|---|---|---|\n");
    let mut layer = "";
    for place in arrows::PLACES {
        let Some(member) = workspace.members.iter().find(|member| member.name == place.name) else {
            continue;
        };
        let shown = if place.layer == layer { "" } else { place.layer };
        layer = place.layer;
        let (folder, description) = (&member.folder, &member.description);
        let _ = writeln!(table, "| {shown} | [`{}`]({folder}) | {description} |", place.name);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::{member, tree};

    const TEST: &[(&str, Generator)] = &[("names", |workspace| {
        workspace.members.iter().map(|member| format!("- {}\n", member.name)).collect()
    })];

    fn found(text: &str) -> Vec<(usize, String)> {
        let mut tree = tree(&[("a.md", text)]);
        tree.members = vec![member("model", &[])];
        let problems = check_with(TEST, &tree);
        problems.into_iter().map(|problem| (problem.line, problem.message)).collect()
    }

    #[test]
    fn a_block_equals_what_the_code_says() {
        assert!(found("<!-- generated: names -->\n- model\n<!-- /generated -->\n").is_empty());
        let stale = found("# A\n<!-- generated: names -->\n- seed\n<!-- /generated -->\n");
        assert_eq!(stale.len(), 1);
        assert!(stale[0].0 == 2 && stale[0].1.contains("--fix"), "{stale:?}");
    }

    #[test]
    fn unknown_unfinished_and_missing_blocks_are_refused() {
        let cases = [
            ("<!-- generated: other -->\n<!-- /generated -->\n", "nothing generates other"),
            ("<!-- generated: names -->\n- model\n", "has no <!-- /generated -->"),
            ("no block\n", "no document has a block names"),
            ("```\n<!-- generated: names -->\n```\n", "no document has a block names"),
        ];
        for (text, expected) in cases {
            assert!(found(text).iter().any(|(_, said)| said.contains(expected)), "{text}");
        }
    }

    #[test]
    fn fixing_makes_blocks_current_and_changes_nothing_else() {
        let block = "<!-- generated: names -->\nold\n<!-- /generated -->\n";
        let text = format!("before\n{block}between\n{block}after\n");
        let mut tree = tree(&[]);
        tree.members = vec![member("model", &[])];
        let fixed = rewrite(TEST, &tree, &text);
        let block = "<!-- generated: names -->\n- model\n<!-- /generated -->\n";
        assert_eq!(fixed, format!("before\n{block}between\n{block}after\n"));
        assert_eq!(rewrite(TEST, &tree, &fixed), fixed);
    }

    #[test]
    fn fixing_writes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ARCHITECTURE.md");
        let block =
            |name, body: &str| format!("<!-- generated: {name} -->\n{body}<!-- /generated -->\n");
        let states = block("states", &finished(&flow::diagrams()));
        std::fs::write(&path, block("crates", "old\n") + &states).unwrap();
        let files = crate::workspace::read_files(folder.path()).unwrap();
        let members = vec![member("model", &[])];
        let root = folder.path().to_owned();
        let mut tree = Workspace { root, files, members, foreign: Vec::new() };
        assert_eq!(check(&tree).len(), 1);
        assert_eq!(fix(&mut tree).unwrap(), ["ARCHITECTURE.md"]);
        assert!(std::fs::read_to_string(&path).unwrap().contains("What model does"));
        assert!(check(&tree).is_empty() && fix(&mut tree).unwrap().is_empty());
    }

    #[test]
    fn the_crate_table_names_each_layer_once() {
        let mut tree = tree(&[]);
        tree.members = ["flow", "model", "store"].map(|name| member(name, &[])).to_vec();
        let table = crates(&tree);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| pure | [`model`](crates/model) | What model does |",
                "|  | [`flow`](crates/flow) | What flow does |",
                "| engine | [`store`](crates/store) | What store does |",
            ]
        );
    }
}
