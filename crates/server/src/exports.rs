//! What an export job asks for, as the repository that its drives are written from, and that its owner fetches from what they did not bring:
//! restic's REST protocol, to read, over exactly the objects of its list. Index files lie with the job, everything else in the vault.
//! Decides nothing about jobs.

use crate::app::App;
use crate::auth::Principal;
use crate::http::Segments;
use crate::place::Place;
use crate::{Error, dataplane, jobs};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use model::{Digest, JobName, ObjectKey, ObjectKind};
use seed::{Inventory, Object};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use wire::Code;

/// Names in one piece of a list on its way out.
const BATCH: usize = 512;
/// Lists that are kept at hand: those of so many jobs at docks at once. One of ten drives has some 30 MB.
const KEPT: usize = 4;

/// A job, and the root over the objects of its list.
type Listed = (JobName, Option<Digest>);

/// Lists of jobs whose drives are written now; each is asked about for every object. A list does not change once
/// its job is shipped.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<Listed, Arc<Inventory>>>);

impl Lists {
    pub(crate) async fn of(
        &self,
        app: &App,
        record: &jobs::Record,
    ) -> Result<Arc<Inventory>, Error> {
        let root = record.export.as_ref().map(|export| export.root);
        let key = (record.name.clone(), root);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(list) = known {
            return Ok(list);
        }
        let list = Arc::new(jobs::read_inventory(app, record).await?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&list));
        Ok(list)
    }
}

fn kind_of(text: &str) -> Result<ObjectKind, Error> {
    let kind = ObjectKind::from_folder(text).filter(|kind| *kind != ObjectKind::Config);
    kind.ok_or_else(|| Error::not_found("folder of that name in a repository"))
}

/// `GET /exports/{job}/{kind}/`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((job, kind)): Segments<(JobName, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let kind = kind_of(&kind)?;
    let record = jobs::to_be_read(&app, &caller, &job).await?;
    let list = app.exports.of(&app, &record).await?;
    let (sizes, media) = dataplane::accepted(&headers);
    let entry = |object: &Object| match sizes {
        true => format!(r#"{{"name":"{}","size":{}}}"#, object.name, object.length),
        false => format!(r#""{}""#, object.name),
    };
    let names: Vec<String> =
        list.objects.iter().filter(|object| object.kind == kind).map(entry).collect();
    let mut pieces = vec!["[".to_owned()];
    for (at, batch) in names.chunks(BATCH).enumerate() {
        let mut piece = String::from(if at == 0 { "" } else { "," });
        // Writing to a string cannot fail.
        let _ = write!(piece, "{}", batch.join(","));
        pieces.push(piece);
    }
    pieces.push("]".to_owned());
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Error>)));
    Ok(([(CONTENT_TYPE, media)], body).into_response())
}

/// `HEAD` and `GET /exports/{job}/config`
pub(crate) async fn config(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(job): Segments<JobName>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    answer(&app, &caller, (&job, ObjectKey::Config), &method, &headers).await
}

/// `HEAD` and `GET /exports/{job}/{kind}/{name}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((job, kind, name)): Segments<(JobName, String, Digest)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let key = ObjectKey::new(kind_of(&kind)?, name);
    answer(&app, &caller, (&job, key), &method, &headers).await
}

async fn answer(
    app: &App,
    caller: &Principal,
    (job, key): (&JobName, ObjectKey),
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let record = jobs::to_be_read(app, caller, job).await?;
    let list = app.exports.of(app, &record).await?;
    let is_listed = match key.id() {
        // The list ascends, and has one repository.
        Some(name) => {
            let wanted = (0, key.kind(), name);
            list.objects.binary_search_by_key(&wanted, Object::identity).is_ok()
        }
        None => true,
    };
    if !is_listed {
        return Err(Error::not_found(key));
    }
    let own = record.seed()?;
    let place = match key.kind() {
        ObjectKind::Index => Place::exported(job),
        _ => Place::published(&own.vault, &own.server),
    };
    if *method == Method::HEAD {
        let length = app.objects.length(&place.object(&key)).await?;
        let length = length.ok_or_else(|| Error::not_found(key))?;
        return Ok(([(CONTENT_LENGTH, length)], Body::empty()).into_response());
    }
    dataplane::read(&app.objects, &place, &key, headers).await
}

/// `POST /exports/{job}/{kind}/{name}`: an index file that comes with the job.
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((job, kind, name)): Segments<(JobName, String, Digest)>,
    body: Body,
) -> Result<StatusCode, Error> {
    if kind_of(&kind)? != ObjectKind::Index {
        let message = "only index files come with an export job: all else is in the vault";
        return Err(Error::refused(Code::AppendOnly, message));
    }
    let record = jobs::being_created(&app, &caller, &job).await?;
    let at = Place::exported(&record.name).object(&ObjectKey::Index(name));
    let body = body.into_data_stream();
    app.objects.put_named(&at, name, app.config.object_limit, body).await?;
    Ok(StatusCode::OK)
}
