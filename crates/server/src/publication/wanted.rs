//! What a vault asks for: objects of a seed that are nowhere, and on no drive that may still be read.
//! Kept as the signed list that the source is given, and row by row in the logs of the jobs that have
//! carried them. Finds nothing: `steps` does.

use super::{Owner, Progress};
use crate::app::App;
use crate::http::Segments;
use crate::jobs::{self, Record};
use crate::{Error, accounts, place};
use axum::extract::State;
use axum::response::Response;
use futures::stream;
use model::{Digest, DriveSerial, ObjectKind, ServerName, VaultName};
use seed::{Object, WantList, WantListHeader};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use wire::SeedId;

/// Who asks for what seed, and what of it is not asked for.
pub(super) struct Wanted<'a> {
    pub(super) owner: &'a Owner,
    pub(super) seed: SeedId,
    pub(super) repository: Digest,
    /// The root over all that is announced.
    pub(super) root: Digest,
    /// Objects that may still come on a drive.
    pub(super) travelling: BTreeSet<(ObjectKind, Digest)>,
}

impl Wanted<'_> {
    /// Asks for what of `missing`, which may be in any order, does not travel.
    pub(super) async fn ask(
        &self,
        app: &App,
        progress: &Progress,
        jobs: &[Record],
        missing: &[Object],
    ) -> Result<(), Error> {
        let travels = |object: &&Object| self.travelling.contains(&(object.kind, object.name));
        let mut objects: Vec<Object> =
            missing.iter().filter(|object| !travels(object)).copied().collect();
        if objects.is_empty() {
            return self.nothing(app).await;
        }
        objects.sort_unstable();
        progress.set(|status| {
            status.wanted_count = objects.len() as u64;
            status.wanted_bytes = objects.iter().map(|object| object.length).sum();
        });
        log(app, jobs, &objects).await?;
        let list = WantList {
            header: WantListHeader {
                vault: self.owner.0.clone(),
                server: self.owner.1.clone(),
                seed: self.seed,
                root: self.root,
                issued: app.now(),
                repositories: vec![self.repository],
            },
            objects,
        };
        let bytes = app.receipt_key.sign_wanted(&list)?;
        put(app, &self.at(), bytes).await
    }

    /// Nothing is asked for any more.
    pub(super) async fn nothing(&self, app: &App) -> Result<(), Error> {
        app.objects.remove(&self.at()).await
    }

    fn at(&self) -> object_store::path::Path {
        place::want_list(&self.owner.0, &self.owner.1, self.seed)
    }
}

async fn put(app: &App, at: &object_store::path::Path, bytes: Vec<u8>) -> Result<(), Error> {
    let limit = bytes.len() as u64;
    let body = stream::iter([Ok::<_, Infallible>(bytes.into())]);
    app.objects.put_any(at, limit, body).await
}

/// Bytes of a job's log of what is wanted, about; rows beyond are in the signed list alone.
const LONGEST_LOG: usize = 16 << 20;

/// Says in each job's log what of its drives is asked for.
async fn log(app: &App, jobs: &[Record], wanted: &[Object]) -> Result<(), Error> {
    for job in jobs.iter().filter(|job| !job.is_creating()) {
        let mut rows = String::new();
        for drive in job.drives.iter().filter(|drive| drive.repository.is_some()) {
            let manifest = jobs::read_manifest(app, job, &drive.serial).await?.body;
            let carried = manifest.objects.iter();
            let carried = carried
                .filter(|it| wanted.binary_search_by_key(&it.identity(), Object::identity).is_ok());
            for object in carried {
                // All of a lost seed would not fit into memory, and the signed list has it.
                if rows.len() >= LONGEST_LOG {
                    break;
                }
                row(&mut rows, &drive.serial, object, app.now());
            }
        }
        let store = accounts::objects(app, &job.account).await?;
        let at = place::wanted_log(&job.account, &jobs::diagnostics(job)?, &job.name);
        let body = stream::iter([Ok::<_, Infallible>(rows.into())]);
        store.put_any(&at, u64::MAX, body).await?;
    }
    Ok(())
}

fn row(rows: &mut String, drive: &DriveSerial, object: &Object, now: jiff::Timestamp) {
    let row = serde_json::json!({
        "wanted": object.key().to_string(), "bytes": object.length, "drive": drive, "at": now,
    });
    // Writing to a string cannot fail.
    let _ = writeln!(rows, "{row}");
}

pub(crate) async fn get_want_list(
    State(app): State<Arc<App>>,
    Segments((vault, server, seed)): Segments<(VaultName, ServerName, SeedId)>,
) -> Result<Response, Error> {
    let at = place::want_list(&vault, &server, seed);
    jobs::octets(&app, &at, "want-list: nothing of that seed is wanted").await
}
