//! Trees to back up, and the calls that every test of this crate makes. Holds no test itself.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use backup::{BackupEvent, BackupOptions, BackupOutcome, RestoreOptions, RestoreOutcome};
use model::Digest;
use repo::tree::Node;
use repo::{
    Author, BlobKind, Index, KdfParams, LockMode, Repository, Snapshot, Writer, WriterOptions,
};
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub const PASSWORD: &str = "correct horse battery";

pub fn author() -> Author {
    let pid = std::process::id();
    Author { hostname: "here".into(), username: "tester".into(), uid: 0, gid: 0, pid }
}

pub fn init(store: Arc<dyn store::Store>) -> Repository {
    Repository::init(store, PASSWORD.as_bytes(), KdfParams::WEAK, author(), jiff::Timestamp::now())
        .unwrap()
}

pub fn open(store: Arc<dyn store::Store>) -> Repository {
    Repository::open(store, PASSWORD.as_bytes(), author()).unwrap()
}

pub fn back_up(repository: &Repository, path: &Path) -> BackupOutcome {
    try_back_up(repository, path, &AtomicBool::new(false)).unwrap()
}

pub fn try_back_up(
    repository: &Repository,
    path: &Path,
    stop: &AtomicBool,
) -> Result<BackupOutcome, backup::Error> {
    let lock = repository.lock(LockMode::Shared).unwrap();
    backup::backup(repository, &lock, &options(path, stop, &|_| {}))
}

/// A backup of one folder by two threads, in packs of 1 MiB.
pub fn options<'a>(
    path: &Path,
    stop: &'a AtomicBool,
    events: &'a (dyn Fn(BackupEvent<'_>) + Sync),
) -> BackupOptions<'a> {
    BackupOptions {
        view: backup::View::default(),
        exclude: backup::Exclude::default(),
        paths: vec![path.to_owned()],
        hostname: "here".into(),
        tags: vec![],
        time: jiff::Timestamp::now(),
        parent: None,
        any_host: false,
        force: false,
        with_atime: false,
        program_version: "packmule test".into(),
        threads: 2,
        writer: WriterOptions { pack_size: 1 << 20, ..WriterOptions::default() },
        journals: None,
        stop,
        events,
    }
}

pub fn restore(
    repository: &Repository,
    snapshot: model::Digest,
    below: &Path,
    target: &Path,
) -> RestoreOutcome {
    let index = repository.load_index().unwrap().value;
    let tree = repository.load_snapshot(snapshot).unwrap().snapshot.tree;
    backup::restore(
        repository,
        &index,
        tree,
        &RestoreOptions {
            below: Some(below.to_owned()),
            ..RestoreOptions::into_folder(target, &AtomicBool::new(false), &|_| {})
        },
    )
    .unwrap()
}

/// A repository whose one snapshot has this tree.
pub fn with_tree(nodes: &[Node], blobs: &[&[u8]]) -> (Repository, Digest) {
    let repository = init(Arc::new(store::Memory::new()));
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), WriterOptions::default()).unwrap();
    let hash = |bytes: &[u8]| Digest(Sha256::digest(bytes).into());
    for blob in blobs {
        writer.save(BlobKind::Data, hash(blob), blob).unwrap();
    }
    let text = repo::tree::encode(nodes);
    writer.save(BlobKind::Tree, hash(&text), &text).unwrap();
    writer.finish().unwrap();
    let snapshot = Snapshot {
        time: jiff::Timestamp::now(),
        parent: None,
        tree: hash(&text),
        paths: vec!["/".into()],
        hostname: String::new(),
        username: String::new(),
        uid: 0,
        gid: 0,
        excludes: vec![],
        tags: vec![],
        original: None,
        program_version: String::new(),
        summary: None,
    };
    let id = repository.save_snapshot(&snapshot).unwrap();
    (repository, id)
}

/// The attributes of the root folder itself are not part of what lies below it.
pub fn same(left: &Path, right: &Path) {
    let mut differences = backup::compare(left, right).unwrap().differences;
    differences.retain(|difference| difference.path != Path::new("."));
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Says that a test cannot run here.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIP: backup::{test}: {reason}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// One of everything a Linux file system has.
pub fn everything(folder: &Path) {
    std::fs::create_dir_all(folder.join("deep/er/st")).unwrap();
    std::fs::create_dir(folder.join("empty")).unwrap();
    std::fs::write(folder.join("empty file"), b"").unwrap();
    std::fs::write(folder.join("deep/er/st/small"), b"small").unwrap();
    std::fs::write(folder.join("large"), noise(1, 5 << 20)).unwrap();
    let mut again = noise(1, 3 << 20);
    again.extend(noise(2, 1 << 20));
    std::fs::write(folder.join("deep/shares its beginning"), again).unwrap();
    std::fs::write(folder.join("text"), "all work and no play\n".repeat(50_000)).unwrap();
    std::fs::write(folder.join(name(b"not utf-8 \xff\xfe")), b"x").unwrap();
    std::fs::write(folder.join("quotes \" ' \\ <&>\n\t\u{a0}é"), b"y").unwrap();
    std::fs::hard_link(folder.join("large"), folder.join("deep/hard")).unwrap();
    symlink("large", folder.join("link")).unwrap();
    symlink(name(b"nowhere \xff"), folder.join("dangling")).unwrap();
    symlink("/etc", folder.join("absolute")).unwrap();
    sparse(&folder.join("sparse"));
    std::fs::set_permissions(folder.join("text"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::fs::set_permissions(folder.join("empty"), PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(folder.join("deep/er"), PermissionsExt::from_mode(0o2500)).unwrap();
    let early = std::time::SystemTime::UNIX_EPOCH - std::time::Duration::new(1_000_000, 5);
    std::fs::File::open(folder.join("text")).unwrap().set_modified(early).unwrap();
    run("mkfifo", &[folder.join("pipe").as_os_str()]);
    set_xattr(&folder.join("text"), "user.comment", b"\x00binary\xff");
    set_xattr(&folder.join("deep"), "user.on a folder", b"");
    if root() {
        run("mknod", &[folder.join("null").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()]);
        run(
            "mknod",
            &[folder.join("disk").as_os_str(), "b".as_ref(), "7".as_ref(), "200".as_ref()],
        );
        std::os::unix::fs::chown(folder.join("large"), Some(12_345), Some(54_321)).unwrap();
        std::os::unix::fs::lchown(folder.join("link"), Some(1), Some(1)).unwrap();
        set_xattr(&folder.join("large"), "trusted.t", b"only for root");
        // An ACL in the kernel's own form: user 1000 may read; see acl(5) and linux/posix_acl_xattr.h.
        let acl = [
            [2, 0, 0, 0].as_slice(),
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 4, 0, 232, 3, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[16, 0, 4, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ];
        set_xattr(&folder.join("deep/er/st/small"), "system.posix_acl_access", &acl.concat());
    }
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

pub fn sparse(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(40 << 20).unwrap();
    file.write_all_at(b"island", 20 << 20).unwrap();
}

pub fn run(program: &str, arguments: &[&OsStr]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
