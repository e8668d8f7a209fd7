//! What is written beside the blobs, because the format wants it: an entry for each file in its directory's tree, and
//! for each blob in an index. Touches no file but to look at it.

use super::bytes::Work;
use super::clock::timed;
use model::Digest;
use repo::tree::{self, Node, NodeKind};
use repo::{BlobRun, Content, Entry};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A blob in an index, as restic's doc/design.rst has it.
#[derive(Serialize)]
struct Blob {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    offset: u32,
    length: u32,
    uncompressed_length: u32,
}

/// A file, and the names of its blobs.
type Noted = (Node, Vec<[u8; 32]>);

/// Files that were read, by their folders, and the blobs that were new.
#[derive(Default)]
pub(crate) struct Notes {
    folders: BTreeMap<PathBuf, Vec<Noted>>,
    new: Vec<[u8; 32]>,
}

impl Notes {
    /// A file of these blobs.
    pub(crate) fn file(&mut self, path: &Path, blobs: Vec<[u8; 32]>) -> io::Result<()> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let data = std::fs::symlink_metadata(path)?;
        let mut node = Node::new(name.as_bytes(), NodeKind::File);
        let moment = |seconds, nanoseconds| {
            let nanoseconds = i32::try_from(nanoseconds).map_err(io::Error::other)?;
            jiff::Timestamp::new(seconds, nanoseconds).map_err(io::Error::other)
        };
        node.mtime = moment(data.mtime(), data.mtime_nsec())?;
        node.ctime = moment(data.ctime(), data.ctime_nsec())?;
        node.atime = node.mtime;
        (node.mode, node.uid, node.gid) = (data.mode() & 0o777, data.uid(), data.gid());
        (node.user, node.group) = ("root".to_owned(), "root".to_owned());
        (node.inode, node.device_id) = (data.ino(), data.dev());
        (node.size, node.links) = (data.len(), data.nlink());
        self.folders.entry(folder.to_owned()).or_default().push((node, blobs));
        Ok(())
    }

    pub(crate) fn new_blob(&mut self, name: [u8; 32]) {
        self.new.push(name);
    }

    /// Seconds of one core that trees and index take. They go through the same stages as blobs of files.
    pub(crate) fn cost(mut self, work: &mut Work) -> io::Result<f64> {
        let mut seconds = 0.0;
        for nodes in self.folders.values_mut() {
            nodes.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        }
        for nodes in self.folders.into_values() {
            let text = timed(&mut seconds, || {
                let entries: Vec<Entry> = nodes
                    .into_iter()
                    .map(|(node, blobs)| {
                        let runs = blobs.into_iter().map(|id| BlobRun { id: Digest(id), count: 1 });
                        tree::encode_file(&node, Content::of(runs))
                    })
                    .collect();
                let mut text = Vec::new();
                repo::write_tree(&entries, &mut |part| text.extend_from_slice(part));
                text
            });
            seconds += work.noted(&text)?;
        }
        let text = timed(&mut seconds, || {
            let blobs = self.new.iter().enumerate().map(|(n, id)| Blob {
                id: Digest(*id).to_hex(),
                kind: "data",
                offset: u32::try_from(n * 3000 % (16 << 20)).unwrap_or_default(),
                length: 3000,
                uncompressed_length: 4000,
            });
            serde_json::to_vec(&blobs.collect::<Vec<Blob>>())
        })?;
        Ok(seconds + work.noted(&text)?)
    }
}
