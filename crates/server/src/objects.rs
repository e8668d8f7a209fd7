//! The one layer over the object store: objects come in hashed and whole or not at all, go out as
//! streams, and are moved within the store. Knows paths, not what they mean.
//!
//! Durability is the local store's own: with `fsync` on it syncs contents and folders on put,
//! completion of an upload, copy and rename. A copy within the store is a second name for the same
//! bytes (a hard link), which is safe because no object is ever changed in place. What comes from
//! another store comes as an upload does.

mod incoming;
mod outgoing;

pub(crate) use outgoing::Found;

use crate::Error;
use axum::body::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use incoming::{Broken, Hasher, Upload, pour};
use jiff::Timestamp;
use model::Digest;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
};
use outgoing::{file_stream, hash_file, inside};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use wire::Code;

/// The objects of one folder. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Objects(Arc<LocalFileSystem>);

/// What storing an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is there now.
    New,
    /// It was there before, with the same bytes.
    Same,
}

impl Objects {
    pub(crate) fn open(root: &std::path::Path) -> Result<Self, Error> {
        let local = LocalFileSystem::new_with_prefix(root)?;
        Ok(Self(Arc::new(local.with_fsync(true).with_automatic_cleanup(false))))
    }

    /// Stores the bytes of `body` at a path if they hash to `name`, and are at most `limit`.
    ///
    /// invariant: what is at the path afterwards is what was there before, or hashes to `name`.
    /// An object that is there is compared by its bytes, so that sending it again repairs it.
    ///
    /// Errors: `HashMismatch`, or `AlreadyExists` where the right object is there already.
    pub(crate) async fn put_named<B, E>(
        &self,
        at: &Path,
        name: Digest,
        limit: u64,
        body: B,
    ) -> Result<Stored, Error>
    where
        B: Stream<Item = Result<Bytes, E>> + Unpin + Send,
    {
        let there = self.hash(at).await?.is_some_and(|(hash, _)| hash == name);
        let sink = if there { None } else { Some(Upload::start(self, at).await?) };
        let (hash, sink) = pour(body, limit, sink).await?;
        match (sink, hash == name) {
            (None, true) => Ok(Stored::Same),
            (Some(upload), true) => upload.complete().await.map(|()| Stored::New),
            (None, false) => Err(Error::refused(
                Code::AlreadyExists,
                format!("{name} is there with other bytes"),
            )),
            (Some(upload), false) => {
                upload.abort().await;
                let message =
                    format!("the body hashes to {hash}, not to {name}; nothing is stored");
                Err(Error::refused(Code::HashMismatch, message))
            }
        }
    }

    /// Stores the bytes of `body` at a path, in the place of any that are there.
    pub(crate) async fn put_any<B, E>(&self, at: &Path, limit: u64, body: B) -> Result<(), Error>
    where
        B: Stream<Item = Result<Bytes, E>> + Unpin + Send,
    {
        let (_, upload) = pour(body, limit, Some(Upload::start(self, at).await?)).await?;
        match upload {
            Some(upload) => upload.complete().await,
            None => Ok(()),
        }
    }

    /// Stores a few bytes where nothing is yet. False when something is.
    pub(crate) async fn create(&self, at: &Path, bytes: Bytes) -> Result<bool, Error> {
        let mode = object_store::PutMode::Create;
        match self.0.put_opts(at, bytes.into(), mode.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }

    /// The length of an object; none when there is none.
    pub(crate) async fn length(&self, at: &Path) -> Result<Option<u64>, Error> {
        some(self.0.head(at).await).map(|meta| meta.map(|meta| meta.size))
    }

    /// The hash and length of an object, of its bytes as they are now.
    pub(crate) async fn hash(&self, at: &Path) -> Result<Option<(Digest, u64)>, Error> {
        let Some(found) = some(self.0.get(at).await)? else { return Ok(None) };
        match found.payload {
            GetResultPayload::File(file, path) => {
                let hashed = tokio::task::spawn_blocking(move || hash_file(file)).await?;
                hashed.map(Some).map_err(Error::io("reading", path))
            }
            GetResultPayload::Stream(mut stream) => {
                let mut hasher = Hasher::default();
                while let Some(bytes) = stream.try_next().await? {
                    hasher.update(&bytes);
                }
                Ok(Some(hasher.finish()))
            }
        }
    }

    /// A whole object of at most `limit` bytes.
    pub(crate) async fn read(&self, at: &Path, limit: u64) -> Result<Option<Bytes>, Error> {
        let Some(found) = some(self.0.get(at).await)? else { return Ok(None) };
        if found.meta.size > limit {
            let why = format!("{} bytes long, more than {limit}", found.meta.size);
            return Err(Error::Damaged { what: at.to_string(), why });
        }
        Ok(Some(found.bytes().await?))
    }

    /// A range of an object, cut to its end, as a stream; with the range and the whole length.
    /// `Err` of the range where it lies outside.
    pub(crate) async fn stream(
        &self,
        at: &Path,
        wanted: Option<GetRange>,
    ) -> Result<Option<Found>, Error> {
        let Some(length) = self.length(at).await? else { return Ok(None) };
        let range = match &wanted {
            None => 0..length,
            Some(range) => match inside(range, length) {
                Some(range) => range,
                None => return Ok(Some(Found::Outside { length })),
            },
        };
        let options = GetOptions { range: wanted, ..GetOptions::default() };
        let Some(found) = some(self.0.get_opts(at, options).await)? else { return Ok(None) };
        let body = match found.payload {
            GetResultPayload::File(file, _) => file_stream(file, range.clone()),
            GetResultPayload::Stream(stream) => stream.map_err(io::Error::other).boxed(),
        };
        Ok(Some(Found::Bytes { range, length, body }))
    }

    /// Every object below a folder, in no order.
    pub(crate) fn list(&self, below: &Path) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        self.0.list(Some(below)).map_err(Error::from).boxed()
    }

    /// Fails when the store does not answer.
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        self.0.list_with_delimiter(None).await?;
        Ok(())
    }

    /// Whether nothing lies below a path.
    pub(crate) async fn is_empty(&self, below: &Path) -> Result<bool, Error> {
        Ok(self.list(below).try_next().await?.is_none())
    }

    /// Removes what lies below a path: documents of our own, never a repository's objects.
    pub(crate) async fn remove_below(&self, below: &Path) -> Result<(), Error> {
        let mut found = self.list(below);
        while let Some(object) = found.try_next().await? {
            self.remove(&object.location).await?;
        }
        Ok(())
    }

    /// Gives an object a second name. False when something has that name.
    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> Result<bool, Error> {
        match self.0.copy_if_not_exists(from, to).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Whether both are one store, in which an object can have a second name.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Brings an object of another store, hashed on its way, in the place of any object there. False
    /// when it is not there, or not of that hash and length: then nothing is stored.
    ///
    /// invariant: it has its name here once all its bytes are durable here, and never before.
    pub(crate) async fn bring(
        &self,
        (from, at): (&Self, &Path),
        to: &Path,
        (name, length): (Digest, u64),
    ) -> Result<bool, Error> {
        let Some(Found::Bytes { body, .. }) = from.stream(at, None).await? else {
            return Ok(false);
        };
        let upload = Upload::start(self, to).await?;
        match pour(body, length, Some(upload)).await {
            Ok((hash, Some(upload))) if hash == name => upload.complete().await.map(|()| true),
            Ok((_, upload)) => {
                if let Some(upload) = upload {
                    upload.abort().await;
                }
                Ok(false)
            }
            Err(Broken::TooLong) => Ok(false),
            Err(Broken::Stream(cause)) => Err(Error::io("reading", at.as_ref())(cause)),
            Err(Broken::Store(error)) => Err(error),
        }
    }

    /// Moves an object onto a name, in the place of any object there. An object that has moved
    /// already is a success.
    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        match self.0.rename(from, to).await {
            // Two names of one file stay as they are when one is renamed onto the other.
            Ok(()) => self.remove(from).await,
            Err(object_store::Error::NotFound { .. }) if self.length(to).await?.is_some() => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Makes removals survive a power cut: syncs the folders that these objects were in.
    pub(crate) async fn sync_folders(&self, of: &[Path]) -> Result<(), Error> {
        let mut folders = BTreeSet::new();
        for at in of {
            let path = self.0.path_to_filesystem(at)?;
            folders.extend(path.parent().map(std::path::Path::to_owned));
        }
        let sync = |folder: std::path::PathBuf| match File::open(&folder) {
            Ok(opened) => opened.sync_all().map_err(Error::io("syncing", folder)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(Error::io("opening", folder)(cause)),
        };
        tokio::task::spawn_blocking(move || folders.into_iter().try_for_each(sync)).await?
    }

    /// When an object's file was written last; none when there is none.
    pub(crate) async fn changed(&self, at: &Path) -> Result<Option<Timestamp>, Error> {
        let meta = some(self.0.head(at).await)?;
        let time = |meta: ObjectMeta| Timestamp::from_second(meta.last_modified.timestamp()).ok();
        Ok(meta.and_then(time))
    }

    /// Removes an object; one that is not there is removed already.
    pub(crate) async fn remove(&self, at: &Path) -> Result<(), Error> {
        some(self.0.delete(at).await).map(|_| ())
    }
}

fn some<T>(result: object_store::Result<T>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// The time as files below `root` have it: what is written from now on is not older. A disk's clock is coarser
/// than the processor's, and that of a network share is another one.
///
/// Errors: no file can be made there.
pub(crate) fn clock(root: &std::path::Path) -> Result<SystemTime, Error> {
    // Named as an upload is: not listed, and swept if the process dies here.
    let probe = root.join("clock#0");
    let written = File::create(&probe).and_then(|file| file.metadata()?.modified());
    let removed = std::fs::remove_file(&probe);
    written.and_then(|time| removed.map(|()| time)).map_err(Error::io("writing", probe))
}

/// Removes what uploads of processes that died have left: files whose name ends in `#` and a
/// number, last changed before `before`. Answers how many.
pub(crate) fn sweep(root: &std::path::Path, before: SystemTime) -> usize {
    let stale = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let number = name.rsplit_once('#').map(|(_, number)| number);
        entry.file_type().is_file()
            && number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            && entry
                .metadata()
                .is_ok_and(|meta| meta.modified().is_ok_and(|changed| changed < before))
    };
    let entries = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    entries.filter(stale).filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use sha2::{Digest as _, Sha256};

    fn body(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, io::Error>> + Unpin {
        stream::iter(parts.iter().map(|p| Ok(Bytes::from_static(p))).collect::<Vec<_>>())
    }

    fn name(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    fn files(root: &std::path::Path) -> Vec<String> {
        let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
        let mut files: Vec<_> = entries
            .filter(|e| e.file_type().is_file())
            .map(|e| e.path().strip_prefix(root).unwrap().display().to_string())
            .collect();
        files.sort();
        files
    }

    fn setup() -> (tempfile::TempDir, Objects, Path) {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(folder.path()).unwrap();
        (folder, objects, Path::from("a/b"))
    }

    #[tokio::test]
    async fn only_bytes_that_hash_to_the_name_are_stored() {
        let (folder, objects, at) = setup();
        let put = |b| objects.put_named(&at, name(b"good"), 99, body(b));
        let error = put(&[b"ba", b"d"]).await.unwrap_err();
        assert!(matches!(error, Error::Refused { code: Code::HashMismatch, .. }), "{error:?}");
        assert!(files(folder.path()).is_empty());
        assert_eq!(put(&[b"go", b"od"]).await.unwrap(), Stored::New);
        assert_eq!(put(&[b"good"]).await.unwrap(), Stored::Same);
        let error = put(&[b"bad"]).await.unwrap_err();
        assert!(matches!(error, Error::Refused { code: Code::AlreadyExists, .. }), "{error:?}");
        assert_eq!(std::fs::read(folder.path().join("a/b")).unwrap(), b"good");
    }

    #[tokio::test]
    async fn a_damaged_object_is_repaired_by_sending_it_again() {
        let (folder, objects, at) = setup();
        let put = || objects.put_named(&at, name(b"good"), 99, body(&[b"good"]));
        put().await.unwrap();
        std::fs::write(folder.path().join("a/b"), b"rotn").unwrap();
        assert_eq!(put().await.unwrap(), Stored::New);
        assert_eq!(std::fs::read(folder.path().join("a/b")).unwrap(), b"good");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_too_long_leaves_nothing() {
        let (folder, objects, at) = setup();
        let broken = stream::iter([Ok(Bytes::from_static(b"go")), Err(io::Error::other("cut"))]);
        objects.put_named(&at, name(b"good"), 99, broken).await.unwrap_err();
        let error = objects.put_named(&at, name(b"good"), 3, body(&[b"good"])).await.unwrap_err();
        assert!(matches!(error, Error::Refused { code: Code::BodyTooLarge, .. }));
        assert!(files(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn an_unfinished_upload_is_not_listed_and_is_swept() {
        let (folder, objects, at) = setup();
        objects.put_named(&at, name(b"x"), 9, body(&[b"x"])).await.unwrap();
        std::fs::write(folder.path().join("a/b#1"), b"half").unwrap();
        let listed: Vec<_> = objects.list(&Path::from("a")).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(sweep(folder.path(), SystemTime::UNIX_EPOCH), 0);
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert_eq!(sweep(folder.path(), later), 1);
        assert_eq!(files(folder.path()), ["a/b"]);
    }

    #[test]
    fn what_is_written_after_the_clock_was_read_is_never_swept() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..200 {
            let now = clock(folder.path()).unwrap();
            let upload = folder.path().join(format!("a#{n}"));
            std::fs::write(&upload, b"under way").unwrap();
            sweep(folder.path(), now);
            assert!(upload.exists());
        }
    }

    #[tokio::test]
    async fn renaming_onto_a_second_name_of_the_same_bytes_leaves_one() {
        let (folder, objects, at) = setup();
        let to = Path::from("c/d");
        objects.put_named(&at, name(b"x"), 9, body(&[b"x"])).await.unwrap();
        assert!(objects.copy(&at, &to).await.unwrap());
        assert!(!objects.copy(&at, &to).await.unwrap());
        objects.rename(&at, &to).await.unwrap();
        objects.rename(&at, &to).await.unwrap();
        assert_eq!(files(folder.path()), ["c/d"]);
        assert_eq!(objects.hash(&to).await.unwrap(), Some((name(b"x"), 1)));
        assert!(objects.rename(&at, &Path::from("e")).await.is_err());
    }

    #[tokio::test]
    async fn an_object_of_another_store_gets_its_name_only_when_it_is_whole_and_right() {
        let (far, from, at) = setup();
        let (near, objects, _) = setup();
        let to = Path::from("c/d");
        let bring =
            async |bytes: &[u8]| objects.bring((&from, &at), &to, (name(bytes), 4)).await.unwrap();
        assert!(!bring(b"good").await, "there is none");
        from.put_named(&at, name(b"good"), 9, body(&[b"go", b"od"])).await.unwrap();
        assert!(!bring(b"else").await, "it is another");
        for bytes in [b"rotn".as_slice(), b"goo", b"good and more", b""] {
            std::fs::write(far.path().join("a/b"), bytes).unwrap();
            assert!(!bring(b"good").await, "it is damaged");
        }
        assert!(files(near.path()).is_empty());
        std::fs::write(far.path().join("a/b"), b"good").unwrap();
        assert!(bring(b"good").await && bring(b"good").await);
        assert_eq!(files(near.path()), ["c/d"]);
        assert_eq!(objects.hash(&to).await.unwrap(), Some((name(b"good"), 4)));
        assert_eq!(files(far.path()), ["a/b"], "it stays where it was");
        assert!(objects.is(&objects.clone()) && !objects.is(&from));
    }

    /// What cannot be read to its end is no damage: the disk may be well again later.
    #[tokio::test]
    async fn a_source_that_breaks_off_is_an_error_and_leaves_nothing() {
        let (far, from, at) = setup();
        let (near, objects, _) = setup();
        std::fs::create_dir_all(far.path().join("a")).unwrap();
        std::fs::write(far.path().join("a/b"), vec![7; 1 << 20]).unwrap();
        let Some(Found::Bytes { body, .. }) = from.stream(&at, None).await.unwrap() else {
            panic!("it is not there")
        };
        std::fs::write(far.path().join("a/b"), b"cut").unwrap();
        let upload = Upload::start(&objects, &Path::from("c/d")).await.unwrap();
        let broken = pour(body, 1 << 20, Some(upload)).await;
        assert!(matches!(broken, Err(Broken::Stream(_))));
        assert!(files(near.path()).is_empty());
    }

    #[tokio::test]
    async fn ranges_are_cut_to_the_object() {
        let (_folder, objects, at) = setup();
        objects.put_named(&at, name(b"0123456789"), 99, body(&[b"0123456789"])).await.unwrap();
        for (range, expected) in [
            (None, Some("0123456789")),
            (Some(GetRange::Bounded(2..4)), Some("23")),
            (Some(GetRange::Bounded(8..40)), Some("89")),
            (Some(GetRange::Offset(7)), Some("789")),
            (Some(GetRange::Suffix(3)), Some("789")),
            (Some(GetRange::Offset(10)), None),
        ] {
            let text = match objects.stream(&at, range.clone()).await.unwrap().unwrap() {
                Found::Bytes { body, .. } => {
                    let parts: Vec<Bytes> = body.try_collect().await.unwrap();
                    Some(String::from_utf8(parts.concat()).unwrap())
                }
                Found::Outside { .. } => None,
            };
            assert_eq!(text.as_deref(), expected, "{range:?}");
        }
        assert!(objects.stream(&Path::from("none"), None).await.unwrap().is_none());
    }
}
