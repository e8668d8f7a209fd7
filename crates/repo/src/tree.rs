//! Trees: a directory's entries as JSON, in exactly the text that restic writes.
//!
//! Source: restic's doc/design.rst, "Trees and Data", and the field order of its node type.
//! Knows nothing of file systems: who fills a [`Node`], and who makes a file of one, is `backup`.

use crate::content::Content;
use crate::entry::Entry;
use crate::quote::{json_string, quote, unquote};
use crate::time;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{Timestamp, tz::TimeZone};
use model::Digest;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Block device.
    Device,
    /// Character device.
    CharDevice,
    /// Named pipe.
    Fifo,
    /// Socket. restic never writes one; it may be read.
    Socket,
    /// Something that restic could not name.
    Irregular,
}

impl NodeKind {
    const NAMES: [(Self, &'static str); 8] = [
        (Self::File, "file"),
        (Self::Dir, "dir"),
        (Self::Symlink, "symlink"),
        (Self::Device, "dev"),
        (Self::CharDevice, "chardev"),
        (Self::Fifo, "fifo"),
        (Self::Socket, "socket"),
        (Self::Irregular, "irregular"),
    ];

    /// restic's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("irregular", |(_, name)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// One entry of a directory.
///
/// invariant of a decoded one: the name is a single component, never empty, `.`, `..`, nor holding
/// a slash or a NUL, so that it cannot lead out of the directory it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The name; any bytes a file system allows.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Mode in the bits of Go's `fs.FileMode`, as the format has it; see `backup` for Unix's.
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last access; restic stores `mtime` here unless told otherwise.
    pub atime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Owner by name; empty if unknown.
    pub user: String,
    /// Group by name; empty if unknown.
    pub group: String,
    /// Inode number.
    pub inode: u64,
    /// Device the inode is on.
    pub device_id: u64,
    /// Length of a file in bytes.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// Where a symbolic link points; any bytes.
    pub link_target: Vec<u8>,
    /// Extended attributes, ACLs among them, in the file system's order.
    pub xattrs: Vec<Xattr>,
    /// Device number of a device node.
    pub device: u64,
    /// A file's blobs in order; none for everything but files.
    pub content: Option<Vec<Digest>>,
    /// A directory's tree.
    pub subtree: Option<Digest>,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Full name with its namespace.
    pub name: String,
    /// Value; any bytes.
    pub value: Vec<u8>,
}

impl Node {
    /// A node with nothing but a name and a kind: all numbers zero, all times at the epoch.
    #[must_use]
    pub fn new(name: &[u8], kind: NodeKind) -> Self {
        Self {
            name: name.to_vec(),
            kind,
            mode: 0,
            mtime: Timestamp::UNIX_EPOCH,
            atime: Timestamp::UNIX_EPOCH,
            ctime: Timestamp::UNIX_EPOCH,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            link_target: Vec::new(),
            xattrs: Vec::new(),
            device: 0,
            content: None,
            subtree: None,
        }
    }
}

/// Whether a name can be one component of a path and nothing else.
#[must_use]
pub fn safe_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|b| matches!(b, b'/' | 0))
}

/// The text of a tree with these entries, which must be in ascending order of name.
#[must_use]
pub fn encode(nodes: &[Node]) -> Vec<u8> {
    let zone = time::local();
    let mut out = b"{\"nodes\":[".to_vec();
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        encode_node_in(node, &zone, &mut out);
    }
    out.extend_from_slice(b"]}\n");
    out
}

/// A file's entry, with these blobs instead of the node's own.
#[must_use]
pub fn encode_file(node: &Node, content: Content) -> Entry {
    let mut text = Vec::with_capacity(512);
    encode_front(node, &time::local(), &mut text);
    text.extend_from_slice(b",\"content\":[");
    let mut back = vec![b']'];
    encode_back(node, &mut back);
    Entry::of(text, content, &back)
}

/// Appends one entry's text.
pub fn encode_node(node: &Node, out: &mut Vec<u8>) {
    encode_node_in(node, &time::local(), out);
}

fn encode_node_in(node: &Node, zone: &TimeZone, out: &mut Vec<u8>) {
    encode_front(node, zone, out);
    encode_content(node.content.as_deref(), out);
    encode_back(node, out);
}

/// What comes before a node's content.
fn encode_front(node: &Node, zone: &TimeZone, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"name\":");
    json_string(quote(&node.name).as_bytes(), out);
    field_text(out, "type", node.kind.name().as_bytes());
    field_number(out, "mode", u64::from(node.mode));
    for (name, moment) in [("mtime", node.mtime), ("atime", node.atime), ("ctime", node.ctime)] {
        field_text(out, name, time::format_in(moment, zone).as_bytes());
    }
    field_raw(out, "uid", "");
    decimal(node.uid.into(), out);
    field_raw(out, "gid", "");
    decimal(node.gid.into(), out);
    field_some_text(out, "user", node.user.as_bytes());
    field_some_text(out, "group", node.group.as_bytes());
    field_number(out, "inode", node.inode);
    field_number(out, "device_id", node.device_id);
    field_number(out, "size", node.size);
    field_number(out, "links", node.links);
    field_some_text(out, "linktarget", &node.link_target);
    if std::str::from_utf8(&node.link_target).is_err() {
        field_text(out, "linktarget_raw", STANDARD.encode(&node.link_target).as_bytes());
    }
    encode_xattrs(&node.xattrs, out);
    field_number(out, "device", node.device);
}

fn encode_back(node: &Node, out: &mut Vec<u8>) {
    if let Some(subtree) = node.subtree {
        field_text(out, "subtree", &subtree.hex());
    }
    out.push(b'}');
}

fn encode_xattrs(xattrs: &[Xattr], out: &mut Vec<u8>) {
    if xattrs.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"extended_attributes\":[");
    for (i, xattr) in xattrs.iter().enumerate() {
        out.extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
        json_string(xattr.name.as_bytes(), out);
        // Go writes a nil slice as null; restic reads an empty value as one.
        if xattr.value.is_empty() {
            field_raw(out, "value", "\"\"");
        } else {
            field_text(out, "value", STANDARD.encode(&xattr.value).as_bytes());
        }
        out.push(b'}');
    }
    out.push(b']');
}

fn encode_content(content: Option<&[Digest]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"content\":");
    let Some(content) = content else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    for (i, id) in content.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json_string(&id.hex(), out);
    }
    out.push(b']');
}

fn field_raw(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value.as_bytes());
}

fn field_text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    field_raw(out, name, "");
    json_string(value, out);
}

fn field_some_text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        field_text(out, name, value);
    }
}

fn field_number(out: &mut Vec<u8>, name: &str, value: u64) {
    if value != 0 {
        field_raw(out, name, "");
        decimal(value, out);
    }
}

fn decimal(value: u64, out: &mut Vec<u8>) {
    // 20 digits are the most there are.
    let mut digits = [0; 20];
    let (mut rest, mut count) = (value, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

#[derive(Deserialize)]
struct RawTree {
    nodes: Nodes,
}

/// A tree's entries, or what is wrong with one of them though its text is well-formed.
struct Nodes(Result<Vec<Node>, String>);

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Nodes(Ok(Vec::new())))
    }
}

impl<'de> Visitor<'de> for Nodes {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<Self, A::Error> {
        while let Some(raw) = entries.next_element::<RawNode<'de>>()? {
            if let Ok(nodes) = &mut self.0
                && let Err(what) = decode_into(nodes, raw)
            {
                self.0 = Err(what);
            }
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
struct RawNode<'t> {
    #[serde(borrow)]
    name: Cow<'t, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'t, str>,
    #[serde(default)]
    mode: u32,
    #[serde(default)]
    mtime: Option<RawMoment>,
    #[serde(default)]
    atime: Option<RawMoment>,
    #[serde(default)]
    ctime: Option<RawMoment>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    #[serde(default)]
    linktarget_raw: Option<String>,
    #[serde(default)]
    extended_attributes: Option<Vec<RawXattr>>,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    content: Option<Vec<Digest>>,
    #[serde(default)]
    subtree: Option<Digest>,
}

/// A time, or the text that is none.
struct RawMoment(Result<Timestamp, String>);

impl<'de> Deserialize<'de> for RawMoment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(RawMoment(Err(String::new())))
    }
}

impl Visitor<'_> for RawMoment {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self, E> {
        Ok(Self(time::parse(text).ok_or_else(|| text.to_owned())))
    }
}

#[derive(Deserialize)]
struct RawXattr {
    name: String,
    #[serde(default)]
    value: Option<String>,
}

/// The entries of a tree. The error says what is wrong with it.
///
/// # Errors
/// Anything that no backup program writes: names that lead elsewhere, names twice or out of order.
pub fn decode(text: &[u8]) -> Result<Vec<Node>, String> {
    let raw: RawTree =
        serde_json::from_slice(text).map_err(|e| format!("it is not a tree ({e})"))?;
    raw.nodes.0
}

fn decode_into(nodes: &mut Vec<Node>, raw: RawNode<'_>) -> Result<(), String> {
    let node = decode_node(raw)?;
    if nodes.last().is_some_and(|last| last.name >= node.name) {
        return Err(format!("entry {:?} is out of order or there twice", quote(&node.name)));
    }
    nodes.push(node);
    Ok(())
}

fn decode_node(raw: RawNode<'_>) -> Result<Node, String> {
    let shown = || raw.name.chars().take(80).collect::<String>();
    let name = unquote(&raw.name).filter(|name| safe_name(name));
    let name =
        name.ok_or_else(|| format!("entry '{}' has a name that no file can have", shown()))?;
    let kind = NodeKind::from_name(&raw.kind)
        .ok_or_else(|| format!("entry '{}' is of the unknown type '{}'", shown(), raw.kind))?;
    let moment = |moment: Option<RawMoment>| match moment {
        None => Ok(Timestamp::UNIX_EPOCH),
        Some(RawMoment(read)) => {
            read.map_err(|text| format!("entry '{}' has the time '{text}'", shown()))
        }
    };
    let base64 = |text: &str| {
        let refused = |_| format!("entry '{}' has bytes that are not base64", shown());
        STANDARD.decode(text).map_err(refused)
    };
    let link_target = match &raw.linktarget_raw {
        Some(bytes) => base64(bytes)?,
        None => raw.linktarget.into_bytes(),
    };
    let mut xattrs = Vec::new();
    for xattr in raw.extended_attributes.unwrap_or_default() {
        xattrs.push(Xattr { value: base64(&xattr.value.unwrap_or_default())?, name: xattr.name });
    }
    Ok(Node {
        kind,
        mode: raw.mode,
        mtime: moment(raw.mtime)?,
        atime: moment(raw.atime)?,
        ctime: moment(raw.ctime)?,
        uid: raw.uid,
        gid: raw.gid,
        user: raw.user,
        group: raw.group,
        inode: raw.inode,
        device_id: raw.device_id,
        size: raw.size,
        links: raw.links,
        link_target,
        xattrs,
        device: raw.device,
        content: if kind == NodeKind::File { Some(raw.content.unwrap_or_default()) } else { None },
        subtree: raw.subtree,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Field order, escapes and omissions as in restic's documentation and its node type.
    #[test]
    fn the_text_is_restics() {
        let mut file = Node::new(b"t<\xff\"", NodeKind::File);
        file.mode = 420;
        file.mtime = "2014-12-22T13:47:59.9124187Z".parse().unwrap();
        file.uid = 1000;
        file.user = "fd0".into();
        file.inode = 5;
        file.links = 1;
        file.xattrs = vec![Xattr { name: "user.a".into(), value: b"v".to_vec() }];
        file.content = Some(vec![]);
        let mut link = Node::new(b"z", NodeKind::Symlink);
        link.link_target = b"\xffa".to_vec();
        let mtime = time::format(file.mtime);
        let epoch = time::format(Timestamp::UNIX_EPOCH);
        let text = format!(
            concat!(
                r#"{{"nodes":[{{"name":"t\u003c\\xff\\\"","type":"file","mode":420,"mtime":"{m}","atime":"{e}","ctime":"{e}","#,
                r#""uid":1000,"gid":0,"user":"fd0","inode":5,"links":1,"#,
                r#""extended_attributes":[{{"name":"user.a","value":"dg=="}}],"content":[]}},"#,
                r#"{{"name":"z","type":"symlink","mtime":"{e}","atime":"{e}","ctime":"{e}","uid":0,"gid":0,"#,
                r#""linktarget":"\ufffda","linktarget_raw":"/2E=","content":null}}]}}"#,
                "\n"
            ),
            m = mtime,
            e = epoch
        );
        assert_eq!(String::from_utf8(encode(&[file, link])).unwrap(), text);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "a/b", "/etc", "../x", "a\\x00b", "\\x2e\\x2e", "\\x2f"] {
            let name = name.replace('\\', "\\\\");
            let text = format!(r#"{{"nodes":[{{"name":"{name}","type":"file"}}]}}"#);
            assert!(decode(text.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn the_same_name_twice_is_refused() {
        let node = Node::new(b"a", NodeKind::File);
        assert!(decode(&encode(&[node.clone(), node])).is_err());
    }

    fn any_node() -> impl Strategy<Value = Node> {
        let name =
            prop::collection::vec(any::<u8>().prop_filter("", |b| *b != 0 && *b != b'/'), 1..20);
        let kind = prop::sample::select(NodeKind::NAMES.map(|(kind, _)| kind).to_vec());
        let times = prop::array::uniform3((0i64..4_000_000_000, 0i32..1_000_000_000));
        let numbers = any::<(u32, u32, u32, u64, u64, u64, u64, u64)>();
        let bytes = prop::collection::vec(any::<u8>(), 0..20);
        (name, kind, times, numbers, "\\PC{0,8}", bytes, any::<Option<[u8; 32]>>()).prop_map(
            |(name, kind, times, numbers, user, bytes, subtree)| {
                let [mtime, atime, ctime] = times.map(|(s, n)| Timestamp::new(s, n).unwrap());
                let (mode, uid, gid, inode, device_id, size, links, device) = numbers;
                Node {
                    name,
                    kind,
                    mode,
                    mtime,
                    atime,
                    ctime,
                    uid,
                    gid,
                    group: user.clone(),
                    user,
                    inode,
                    device_id,
                    size,
                    links,
                    link_target: bytes.clone(),
                    xattrs: vec![Xattr { name: "user.x".into(), value: bytes }],
                    device,
                    content: (kind == NodeKind::File).then(|| vec![Digest([7; 32])]),
                    subtree: subtree.map(Digest),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn every_node_survives(nodes in prop::collection::vec(any_node(), 0..5)) {
            let mut nodes = nodes;
            nodes.retain(|node| safe_name(&node.name));
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            nodes.dedup_by(|a, b| a.name == b.name);
            prop_assert_eq!(decode(&encode(&nodes)).unwrap(), nodes);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = decode(text.as_bytes());
            let _ = decode(format!(r#"{{"nodes":[{{"name":"a","type":"file",{text}}}]}}"#).as_bytes());
        }
    }
}
