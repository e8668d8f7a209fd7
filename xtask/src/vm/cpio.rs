//! The archive that Linux unpacks into memory as its first file system: cpio's format "newc"
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Only writes it.

use anyhow::Context;
use std::collections::BTreeSet;

/// Of a name, its ending zero included; and the end of an archive.
const TRAILER: &str = "TRAILER!!!";

const FOLDER: u32 = 0o04_0755;
const FILE: u32 = 0o10_0000;
const LINK: u32 = 0o12_0777;

/// An archive that grows. Folders are made as files need them.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// A file, with its permissions. The path begins without a slash.
    pub(super) fn file(
        &mut self,
        path: &str,
        permissions: u32,
        content: &[u8],
    ) -> anyhow::Result<()> {
        self.parents(path)?;
        self.entry(path, FILE | permissions, content)
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, to: &str) -> anyhow::Result<()> {
        self.parents(path)?;
        self.entry(path, LINK, to.as_bytes())
    }

    /// An empty folder.
    pub(super) fn folder(&mut self, path: &str) -> anyhow::Result<()> {
        self.parents(&format!("{path}/."))
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> anyhow::Result<Vec<u8>> {
        self.entry(TRAILER, 0, b"")?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> anyhow::Result<()> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        for folder in ends.filter_map(|end| path.get(..end)) {
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, b"")?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        // The format has 32 bits for a length.
        let long = || format!("{path} is too long for an archive");
        let length = u32::try_from(content.len()).with_context(long)?;
        let name = u32::try_from(path.len() + 1).with_context(long)?;
        self.entries += 1;
        // inode, mode, uid, gid, links, mtime, length, device (2), special device (2), name, check.
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    /// Names and contents end at a multiple of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_kernel_documents() {
        let mut archive = Archive::default();
        archive.file("bin/a", 0o755, b"hello").unwrap();
        archive.link("bin/b", "a").unwrap();
        archive.folder("proc").unwrap();
        let bytes = archive.finish().unwrap();
        let mut at = 0;
        let mut seen = Vec::new();
        while at < bytes.len() {
            let field = |n: usize| {
                let from = at + 6 + 8 * n;
                let text = std::str::from_utf8(&bytes[from..from + 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, length, name) = (field(1), field(6), field(11));
            let text = at + 110;
            let content = (text + name).next_multiple_of(4);
            let name = std::str::from_utf8(&bytes[text..text + name - 1]).unwrap();
            let within = std::str::from_utf8(&bytes[content..content + length]).unwrap();
            seen.push((name, mode, within));
            at = (content + length).next_multiple_of(4);
        }
        let expected = [
            ("bin", 0o040_755, ""),
            ("bin/a", 0o100_755, "hello"),
            ("bin/b", 0o120_777, "a"),
            ("proc", 0o040_755, ""),
            ("TRAILER!!!", 0, ""),
        ];
        assert_eq!(seen, expected);
    }
}
