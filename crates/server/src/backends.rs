//! Backends: where storage accounts have their objects. One is in the data folder; the others are folders of the
//! operator's configuration, and never of a client's. Decides which folders may be one; moves no object.
//!
//! ```text
//!  DIR/lock           held while the server runs: one server, one name
//!  DIR/backend.json   whose it is, so that an unmounted disk or another one in its place is noticed
//!  DIR/objects/       as in the data folder
//! ```

use crate::Error;
use crate::data::DataFolder;
use crate::db::Db;
use crate::entra::Guid;
use crate::objects::Objects;
use model::BackendName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use store::durable;
use wire::Code;

const MARK: &str = "backend.json";

/// Storage accounts that a refusal names; of more it says how many.
const NAMED: usize = 20;

/// What a backend's folder says of itself.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    version: u32,
    /// The server's tenant.
    tenant: String,
    name: BackendName,
}

/// All backends of this server.
#[derive(Debug)]
pub(crate) struct Backends {
    /// The data folder's own.
    own: Objects,
    others: BTreeMap<BackendName, Other>,
}

#[derive(Debug)]
struct Other {
    objects: Objects,
    folder: DataFolder,
}

/// Accounts by the backend that they lie on, but for the data folder's own.
type Used = BTreeMap<BackendName, Vec<String>>;

impl Backends {
    /// Takes the configured folders, made where there are none.
    ///
    /// Errors: a folder cannot be a backend, or is not the one it was; accounts lie on one that is not configured.
    pub(crate) async fn open(
        own: Objects,
        data: &Path,
        configured: &BTreeMap<BackendName, PathBuf>,
        db: &Db,
        tenant: &Guid,
    ) -> Result<Self, Error> {
        let used = used(db).await?;
        all_are_configured(&used, configured)?;
        let mut others = BTreeMap::new();
        for (name, folder) in apart(data, configured)? {
            let folder = DataFolder::open(&folder)?;
            let mark = Mark { version: 1, tenant: tenant.as_str().to_owned(), name: name.clone() };
            claim(&folder, &mark, used.get(&name).map(Vec::as_slice))?;
            let objects = Objects::open(&folder.folder("objects")?)?;
            others.insert(name, Other { objects, folder });
        }
        Ok(Self { own, others })
    }

    /// The objects of a backend.
    ///
    /// Errors: `InvalidRequest`, with the names of those that there are.
    pub(crate) fn get(&self, name: &BackendName) -> Result<&Objects, Error> {
        if *name == BackendName::default() {
            return Ok(&self.own);
        }
        self.others.get(name).map(|other| &other.objects).ok_or_else(|| {
            let own = BackendName::default();
            let names = std::iter::once(&own).chain(self.others.keys());
            let details: Vec<String> = names.map(ToString::to_string).collect();
            let message =
                format!("there is no storage backend {name}; there are: {}", details.join(", "));
            Error::Refused { code: Code::InvalidRequest, message, details }
        })
    }

    /// Fails when one does not answer, or is not there any more.
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        self.own.probe().await?;
        for other in self.others.values() {
            other.objects.probe().await?;
            let mark = other.folder.join(MARK);
            let path = mark.clone();
            let looked = tokio::task::spawn_blocking(move || path.metadata()).await?;
            looked.map_err(Error::io("looking at", mark))?;
        }
        Ok(())
    }

    /// The folders that are not the data folder's, with their objects below.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.others.values().map(|other| other.folder.join("objects"))
    }
}

async fn used(db: &Db) -> Result<Used, Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT backend, name FROM storage_account WHERE backend <> 'default' ORDER BY name",
    )
    .fetch_all(db.pool())
    .await?;
    let mut used = Used::new();
    for (backend, account) in rows {
        let backend = crate::db::parsed("storage_account.backend", &backend)?;
        used.entry(backend).or_default().push(account);
    }
    Ok(used)
}

fn all_are_configured(
    used: &Used,
    configured: &BTreeMap<BackendName, PathBuf>,
) -> Result<(), Error> {
    let missing = used.iter().filter(|(backend, _)| !configured.contains_key(*backend));
    let missing: Vec<String> = missing
        .map(|(backend, accounts)| format!("{backend}, where {} lie", named(accounts)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "no folder is given for backend {}; start the server with --backend NAME=DIR for each, with the folder that it had",
        missing.join("; nor for ")
    );
    Err(Error::invalid(message))
}

fn named(accounts: &[String]) -> String {
    let shown: Vec<&str> = accounts.iter().take(NAMED).map(String::as_str).collect();
    let more = accounts.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("storage accounts {}{more}", shown.join(", "))
}

/// The folders as they really are, made where there are none, and none of them within another.
fn apart(
    data: &Path,
    configured: &BTreeMap<BackendName, PathBuf>,
) -> Result<Vec<(BackendName, PathBuf)>, Error> {
    let real = |path: &Path| path.canonicalize().map_err(Error::io("looking at", path));
    let mut taken = vec![(real(data)?, "the data folder".to_owned())];
    let mut folders = Vec::new();
    for (name, path) in configured {
        if *name == BackendName::default() {
            let message = "backend default is the data folder's own; give another name";
            return Err(Error::invalid(message));
        }
        durable::create_folder(path, 0o700).map_err(Error::io("creating", path))?;
        let folder = real(path)?;
        for (other, whose) in &taken {
            let how = match () {
                () if folder == *other => "is",
                () if folder.starts_with(other) => "lies in",
                () if other.starts_with(&folder) => "holds",
                () => continue,
            };
            let message = format!(
                "backend {name} needs a folder of its own: {} {how} {whose}",
                folder.display()
            );
            return Err(Error::invalid(message));
        }
        taken.push((folder.clone(), format!("the folder of backend {name}")));
        folders.push((name.clone(), folder));
    }
    Ok(folders)
}

/// Makes sure that the folder is the backend's, and says so in it when it is new.
fn claim(folder: &DataFolder, mark: &Mark, accounts: Option<&[String]>) -> Result<(), Error> {
    let path = folder.join(MARK);
    let Mark { name, .. } = mark;
    let bytes = serde_json::to_vec(mark).map_err(|why| damaged(&path, &why))?;
    match (folder.read(MARK)?, accounts) {
        (None, None) => folder.replace(MARK, &bytes),
        (None, Some(accounts)) => Err(Error::invalid(format!(
            "{} of backend {name} is not there, and {} lie in that folder: mount its disk, or give the folder that they are in; if they are lost, an empty folder will do in which that file says {}",
            path.display(),
            named(accounts),
            String::from_utf8_lossy(&bytes),
        ))),
        (Some(bytes), _) => {
            let there: Mark = serde_json::from_slice(&bytes).map_err(|why| damaged(&path, &why))?;
            if there == *mark {
                return Ok(());
            }
            let whose = if there.tenant == mark.tenant { "this server" } else { "another server" };
            Err(Error::invalid(format!(
                "the folder given for backend {name} is backend {} of {whose}, as {} says",
                there.name,
                path.display()
            )))
        }
    }
}

fn damaged(path: &Path, why: &serde_json::Error) -> Error {
    Error::Damaged { what: path.display().to_string(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Setup {
        folder: tempfile::TempDir,
        db: Db,
        tenant: Guid,
    }

    impl Setup {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("data")).unwrap();
            let db = Db::open(&folder.path().join("x.db")).await.unwrap();
            Self { folder, db, tenant: Guid::draw().unwrap() }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        async fn open(&self, backends: &[(&str, &str)]) -> Result<Backends, Error> {
            let backends = backends.iter().map(|(name, at)| (name.parse().unwrap(), self.at(at)));
            let own = Objects::open(&self.at("data")).unwrap();
            let data = self.at("data");
            Backends::open(own, &data, &backends.collect(), &self.db, &self.tenant).await
        }

        async fn refuses(&self, backends: &[(&str, &str)], words: &[&str]) {
            let refusal = self.open(backends).await.unwrap_err();
            assert_eq!(refusal.kind(), model::ErrorKind::Invalid, "{refusal}");
            for word in words {
                assert!(refusal.to_string().contains(word), "{word}: {refusal}");
            }
        }

        async fn account(&self, name: &str, backend: &str) {
            sqlx::query(
                "INSERT INTO storage_account (name, backend, created_at) VALUES (?, ?, '')",
            )
            .bind(name)
            .bind(backend)
            .execute(self.db.pool())
            .await
            .unwrap();
        }
    }

    #[tokio::test]
    async fn every_backend_has_a_folder_of_its_own() {
        let setup = Setup::new().await;
        std::os::unix::fs::symlink(setup.at("data"), setup.at("link")).unwrap();
        std::fs::write(setup.at("file"), "").unwrap();
        setup.refuses(&[("default", "a")], &["data folder's own"]).await;
        setup
            .refuses(&[("one", "a"), ("two", "a")], &["two", "is the folder of backend one"])
            .await;
        setup.refuses(&[("one", "a"), ("two", "a/b")], &["two", "lies in the folder of"]).await;
        setup.refuses(&[("one", "a/b"), ("two", "a")], &["two", "holds the folder of"]).await;
        setup.refuses(&[("one", "data")], &["one", "is the data folder"]).await;
        setup.refuses(&[("one", "link/x")], &["one", "lies in the data folder"]).await;
        setup.refuses(&[("one", ".")], &["one", "holds the data folder"]).await;
        assert!(setup.open(&[("one", "file")]).await.is_err());
        let backends = setup.open(&[("one", "new/1"), ("two", "new/2")]).await.unwrap();
        backends.probe().await.unwrap();
        let names = ["default", "one", "two"].map(|name| name.parse::<BackendName>().unwrap());
        let [own, one, two] = [0, 1, 2].map(|n| backends.get(&names[n]).unwrap());
        assert!(!own.is(one) && !one.is(two) && own.is(&backends.own));
        let refusal = backends.get(&"three".parse().unwrap()).unwrap_err().to_string();
        assert!(refusal.contains("default, one, two"), "{refusal}");
        let again = setup.open(&[("three", "new/1")]).await.unwrap_err();
        assert!(matches!(again, Error::InUse { .. }), "{again}");
    }

    #[tokio::test]
    async fn a_backend_that_accounts_lie_on_must_be_configured() {
        let setup = Setup::new().await;
        let both = [("one", "1"), ("two", "2")];
        drop(setup.open(&both).await.unwrap());
        setup.account("acct1", "one").await;
        setup.account("acct2", "one").await;
        setup.account("acct3", "two").await;
        setup.account("acct4", "default").await;
        setup.refuses(&[("two", "2")], &["backend one", "acct1, acct2", "--backend"]).await;
        setup.refuses(&[], &["backend one", "acct1, acct2", "two", "acct3"]).await;
        setup.open(&both).await.unwrap();
        let many: Vec<String> = (0..NAMED + 3).map(|n| n.to_string()).collect();
        assert!(named(&many).ends_with(" 19 and 3 more"), "{}", named(&many));
    }

    #[tokio::test]
    async fn another_folder_in_a_backend_s_place_is_refused() {
        let mut setup = Setup::new().await;
        drop(setup.open(&[("one", "1"), ("two", "2")]).await.unwrap());
        setup
            .refuses(&[("one", "2"), ("two", "1")], &["one", "is backend two of this server"])
            .await;
        // As long as nothing is on it, a backend can begin anew elsewhere; then no more.
        drop(setup.open(&[("one", "3")]).await.unwrap());
        setup.account("acct1", "one").await;
        let words = ["acct1", "mount", "backend.json", r#""name":"one""#];
        setup.refuses(&[("one", "4")], &words).await;
        std::fs::copy(setup.at("3/backend.json"), setup.at("4/backend.json")).unwrap();
        let backends = setup.open(&[("one", "4")]).await.unwrap();
        std::fs::remove_file(setup.at("4/backend.json")).unwrap();
        assert!(backends.probe().await.is_err(), "unmounted meanwhile");
        drop(backends);
        std::fs::write(setup.at("4/backend.json"), "{").unwrap();
        let refusal = setup.open(&[("one", "4")]).await.unwrap_err();
        assert!(matches!(refusal, Error::Damaged { .. }), "{refusal}");
        setup.tenant = Guid::draw().unwrap();
        setup.refuses(&[("one", "3")], &["is backend one of another server"]).await;
    }
}
