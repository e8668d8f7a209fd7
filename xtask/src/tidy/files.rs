//! What may be a file of the project at all: no large ones, nothing that was built. Reads no text.

use super::Problem;
use crate::workspace::Workspace;

const RULE: &str = "file";

/// A clone stays quick for everybody, for ever: what was once committed never leaves the history.
const LARGEST: u64 = 256 << 10;

/// How files begin that a compiler or linker wrote.
const BUILT: [(&[u8], &str); 6] = [
    (b"\x7fELF", "an ELF file"),
    (b"!<arch>", "a static library"),
    (b"\0asm", "a WebAssembly module"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O file"),
    (b"MZ", "a PE file"),
    (b"SQLite format 3", "a database"),
];

/// Files that are too large, or that were built.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &workspace.files {
        if file.size > LARGEST {
            let message = format!("{} bytes, more than {LARGEST}: generate it instead", file.size);
            problems.push(Problem::new(RULE, &file.path, 0, message));
        }
        let binary = file.text.is_none();
        let built = BUILT.iter().find(|(magic, _)| file.head.starts_with(magic));
        // Text may begin with MZ.
        if let Some((_, what)) = built.filter(|(magic, _)| binary || magic.len() > 2) {
            let message = format!("{what}: build it instead");
            problems.push(Problem::new(RULE, &file.path, 0, message));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::{places, tree};
    use crate::workspace::File;

    #[test]
    fn a_large_file_is_refused() {
        let fits = "x".repeat(usize::try_from(LARGEST).unwrap());
        let large = format!("{fits}x");
        assert_eq!(places(check, &[("fits", &fits), ("large", &large)]), ["large:0"]);
    }

    #[test]
    fn what_was_built_is_refused_however_small() {
        for (magic, what) in BUILT {
            let mut tree = tree(&[]);
            let head = magic.to_vec();
            tree.files.push(File { path: "x".into(), size: 20, head, text: None });
            assert_eq!(check(&tree).len(), 1, "{what}");
        }
        assert!(places(check, &[("a.txt", "MZ is a name")]).is_empty());
    }
}
