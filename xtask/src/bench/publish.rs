//! Puts results into the document that shows them, between its markers. Changes nothing outside them.

use anyhow::Context;
use std::path::Path;

/// The document, from the workspace's root.
pub(crate) const DOCUMENT: &str = "docs/benchmarks.md";

/// Where the results of the engine go.
pub(crate) const ENGINE: &str = "<!-- measured: engine -->\n";
/// Where those of drives go.
pub(crate) const DRIVES: &str = "<!-- measured: drives -->\n";
/// Where those of parity go.
pub(crate) const SEED: &str = "<!-- measured: seed -->\n";
/// Where those of a million files go.
pub(crate) const AGENT: &str = "<!-- measured: agent -->\n";
const CLOSE: &str = "<!-- /measured -->";

/// Replaces what is between the marker `open` and the next end by `text`.
///
/// # Errors
/// When the document cannot be read or written, or has no markers.
pub(crate) fn publish(root: &Path, open: &str, text: &str) -> anyhow::Result<()> {
    let path = root.join(DOCUMENT);
    let old = std::fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let new = replaced(&old, open, text)
        .with_context(|| format!("{DOCUMENT} has no block between {} and {CLOSE}", open.trim()))?;
    // Written whole or not at all: the old figures are the only copy.
    let begun = path.with_extension("begun");
    std::fs::write(&begun, new).with_context(|| format!("cannot write {DOCUMENT}"))?;
    Ok(std::fs::rename(begun, path)?)
}

fn replaced(document: &str, open: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(open)?;
    let (_, after) = rest.split_once(CLOSE)?;
    Some(format!("{before}{open}{}\n{CLOSE}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        let path = folder.path().join(DOCUMENT);
        std::fs::write(&path, format!("# Top\n\n{ENGINE}old\n{CLOSE}\n\nend\n")).unwrap();
        for text in ["new\nlines\n", "newer"] {
            publish(folder.path(), ENGINE, text).unwrap();
            let expected = format!("# Top\n\n{ENGINE}{}\n{CLOSE}\n\nend\n", text.trim_end());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        }
    }

    #[test]
    fn a_document_without_markers_is_left_alone() {
        for document in ["# Top\n", "<!-- measured: engine -->\nno end\n"] {
            assert_eq!(replaced(document, ENGINE, "new"), None);
        }
    }
}
