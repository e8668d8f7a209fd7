//! restic's REST protocol, versions 1 and 2, over vaults and storage accounts. Append-only: nothing
//! but a lock is ever removed here, and nothing is stored that does not hash to its name.
//! Source: restic's `doc/REST_backend.rst`.

use crate::app::App;
use crate::auth::Principal;
use crate::deletions::Held;
use crate::objects::{Found, Objects, Stored};
use crate::place::Place;
use crate::quota::Reserved;
use crate::target::{Holder, Target};
use crate::{Error, accounts, deletions, http, jobs, quota};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{Digest, ObjectKey, ObjectKind};
use object_store::GetRange;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use wire::{Code, Role};

const V1: &str = "application/vnd.x.restic.rest.v1";
const V2: &str = "application/vnd.x.restic.rest.v2";
/// A config is some 155 bytes of JSON and encryption.
const CONFIG_LIMIT: usize = 64 << 10;
/// A lock is some 300 bytes of JSON and encryption.
const LOCK_LIMIT: u64 = 64 << 10;
/// Locks of one repository.
const MAX_LOCKS: usize = 1000;
/// Key files of one repository. Programs try so many passwords and no more (restic twenty): behind a hundred false keys the
/// owner's is not found.
const MAX_KEYS: usize = 16;
/// Names in one piece of a list on its way out.
const BATCH: usize = 512;

#[derive(Debug, Deserialize)]
pub(crate) struct Create {
    #[serde(default)]
    create: bool,
}

/// The store that a target is in: a vault's, or that of the account's backend.
async fn store_of(app: &App, target: &Target) -> Result<Objects, Error> {
    match &target.holder {
        Holder::Vault | Holder::Pending => Ok(app.objects.clone()),
        Holder::Account { account, .. } => accounts::objects(app, account).await,
    }
}

/// `POST …/?create=true`: nothing to make, folders come with their first object.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    http::Asked(query): http::Asked<Create>,
    target: Target,
) -> Result<StatusCode, Error> {
    if !query.create {
        return Err(Error::invalid("POST to a repository needs ?create=true"));
    }
    may_append(&app, &principal, &target).await?;
    Ok(StatusCode::OK)
}

/// `GET …/{type}/`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    target: Target,
) -> Result<Response, Error> {
    let kind = target.kind()?;
    let (sizes, media) = accepted(&headers);
    let place = target.place.clone();
    let held = match target.published() {
        Some(owner) => Held::of(&app, owner, kind).await?,
        None => Held::default(),
    };
    let entry = move |meta: object_store::ObjectMeta| {
        let id = place.key_of(&meta.location).filter(|key| key.kind() == kind)?.id()?;
        if held.has(&id) {
            return None;
        }
        Some(if sizes {
            format!(r#"{{"name":"{id}","size":{}}}"#, meta.size)
        } else {
            format!(r#""{id}""#)
        })
    };
    let entries = store_of(&app, &target).await?.list(&target.place.below(kind.folder()));
    let entries = entries.try_filter_map(move |meta| std::future::ready(Ok(entry(meta))));
    // An error in the middle cuts the answer off before its end: a list is whole or an error.
    let pieces = entries.try_chunks(BATCH).map_err(|cut| cut.1).scan(true, |first, batch| {
        let comma = if std::mem::take(first) { "" } else { "," };
        std::future::ready(Some(batch.map(|names| format!("{comma}{}", names.join(",")))))
    });
    let text = |text: &str| stream::iter([Ok::<_, Error>(text.to_owned())]);
    let body = Body::from_stream(text("[").chain(pieces).chain(text("]")));
    Ok(([(CONTENT_TYPE, media)], body).into_response())
}

/// Whether a list is to have lengths, and its media type.
pub(crate) fn accepted(headers: &HeaderMap) -> (bool, &'static str) {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains(V2) { (true, V2) } else { (false, V1) }
}

/// `HEAD …/{type}/{name}` and `HEAD …/config`
pub(crate) async fn head(State(app): State<Arc<App>>, target: Target) -> Result<Response, Error> {
    let key = target.key()?;
    refuse_held(&app, &target, &key).await?;
    let length = store_of(&app, &target).await?.length(&target.place.object(&key)).await?;
    let length = length.ok_or_else(|| Error::not_found(key))?;
    Ok(([(CONTENT_LENGTH, length)], Body::empty()).into_response())
}

/// `GET …/{type}/{name}` and `GET …/config`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    target: Target,
) -> Result<Response, Error> {
    let key = target.key()?;
    refuse_held(&app, &target, &key).await?;
    let store = store_of(&app, &target).await?;
    read(&store, &target.place, &key, &headers).await
}

/// What is to be removed is not there any more for anybody who asks.
async fn refuse_held(app: &App, target: &Target, key: &ObjectKey) -> Result<(), Error> {
    match target.published() {
        Some(owner) => deletions::refuse(app, owner, key).await,
        None => Ok(()),
    }
}

/// An object, or the range of it that is asked for.
pub(crate) async fn read(
    store: &Objects,
    place: &Place,
    key: &ObjectKey,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let wanted = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(range);
    let partial = wanted.is_some();
    let found = store.stream(&place.object(key), wanted).await?;
    let (range, length, body) = match found.ok_or_else(|| Error::not_found(key))? {
        Found::Bytes { range, length, body } => (range, length, body),
        Found::Outside { length } => {
            let message = format!("{key} is {length} bytes long");
            let refusal = Error::refused(Code::RangeNotSatisfiable, message);
            let mut response = refusal.into_response();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            return Ok(response);
        }
    };
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, (range.end - range.start).to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let mut response = (headers, Body::from_stream(body)).into_response();
    if partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

/// One range of bytes. Anything else in the header is ignored, as HTTP allows.
fn range(header: &str) -> Option<GetRange> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", count) => count.parse().ok().map(GetRange::Suffix),
        (first, "") => first.parse().ok().map(GetRange::Offset),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(GetRange::Bounded(first..last.saturating_add(1)))
        }
    }
}

/// `POST …/{type}/{name}` and `POST …/config`
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    target: Target,
    body: Body,
) -> Result<StatusCode, Error> {
    let key = target.key()?;
    let limit = match key.kind() {
        ObjectKind::Config => CONFIG_LIMIT as u64,
        ObjectKind::Pack => app.config.pack_limit,
        ObjectKind::Lock => LOCK_LIMIT,
        _ => app.config.object_limit,
    };
    let claimed = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let claimed: Option<u64> = claimed.and_then(|text| text.parse().ok());
    if claimed.is_some_and(|length| length > limit) {
        let message = format!("{key} may be {limit} bytes long at most");
        return Err(Error::refused(Code::BodyTooLarge, message));
    }
    may_append(&app, &principal, &target).await?;
    refuse_by_maintenance(&principal, &key)?;
    if target.holder == Holder::Pending && key.kind() == ObjectKind::Lock {
        let message = "nobody works on what is not published: locks go to the vault's repository";
        return Err(Error::refused(Code::AppendOnly, message));
    }
    let store = store_of(&app, &target).await?;
    let Some(name) = key.id() else {
        put_config(&store, &target, body).await?;
        return Ok(StatusCode::OK);
    };
    let at = target.place.object(&key);
    match key.kind() {
        ObjectKind::Lock => refuse_many_locks(&store, &target).await?,
        ObjectKind::Key if store.length(&at).await?.is_none() => {
            refuse_many_keys(&store, &target).await?;
        }
        _ => {}
    }
    let room = match &target.owner {
        Some(owner) if key.kind() != ObjectKind::Lock && store.length(&at).await?.is_none() => {
            quota::reserve(&app, owner, claimed.unwrap_or(limit)).await?
        }
        _ => Reserved::default(),
    };
    match store.put_named(&at, name, limit, body.into_data_stream()).await? {
        Stored::New => room.keep(),
        Stored::Same => tracing::debug!(%key, "was there"),
    }
    if let (Some(owner), None) = (&target.owner, claimed) {
        // How much room it took shows in the next count.
        app.usage.forget(owner);
    }
    if let Some(owner) = target.published() {
        deletions::stored(&app, owner, &key, &at).await?;
    }
    Ok(StatusCode::OK)
}

/// Whoever works on a repository has one lock or two; more than that is litter, which is not counted against a quota.
async fn refuse_many_locks(store: &Objects, target: &Target) -> Result<(), Error> {
    let count = count(store, target, ObjectKind::Lock).await?;
    if count < MAX_LOCKS {
        return Ok(());
    }
    let message = format!(
        "there are {count} locks in this repository; remove those that nobody holds any more: restic unlock"
    );
    Err(Error::refused(Code::JobState, message))
}

async fn refuse_many_keys(store: &Objects, target: &Target) -> Result<(), Error> {
    let count = count(store, target, ObjectKind::Key).await?;
    if count < MAX_KEYS {
        return Ok(());
    }
    let message = format!(
        "there are {count} keys in this repository, and programs try no more than that; remove those that nobody needs: packmule agent keys"
    );
    Err(Error::refused(Code::JobState, message))
}

async fn count(store: &Objects, target: &Target, kind: ObjectKind) -> Result<usize, Error> {
    let all = store.list(&target.place.below(kind.folder()));
    all.try_fold(0, |count: usize, _| std::future::ready(Ok(count + 1))).await
}

async fn put_config(store: &Objects, target: &Target, body: Body) -> Result<(), Error> {
    let bytes = http::whole(body, CONFIG_LIMIT).await.map_err(|_| {
        Error::refused(Code::BodyTooLarge, format!("a config has {CONFIG_LIMIT} bytes at most"))
    })?;
    let at = target.place.object(&ObjectKey::Config);
    match &target.holder {
        Holder::Vault => {
            let taken = "there is a repository here already; its config never changes";
            let created = store.create(&at, bytes).await?;
            created.then_some(()).ok_or_else(|| Error::refused(Code::AppendOnly, taken))
        }
        // Which config it has to be is known to publication alone, which hashes it.
        Holder::Pending => {
            let name = Digest(Sha256::digest(&bytes).into());
            let body = stream::iter([Ok::<_, Error>(bytes)]);
            store.put_named(&at, name, CONFIG_LIMIT as u64, body).await.map(|_| ())
        }
        Holder::Account { repository, .. } => {
            check_config(&bytes, repository)?;
            let body = stream::iter([Ok::<_, Error>(bytes)]);
            store.put_named(&at, *repository, CONFIG_LIMIT as u64, body).await.map(|_| ())
        }
    }
}

fn check_config(bytes: &Bytes, repository: &Digest) -> Result<(), Error> {
    if Digest(Sha256::digest(bytes).into()) == *repository {
        return Ok(());
    }
    let message = format!("this is not the config of {repository}: it hashes to another name");
    Err(Error::refused(Code::HashMismatch, message))
}

/// `DELETE …/{type}/{name}`: locks only.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    target: Target,
) -> Result<StatusCode, Error> {
    let key = target.key()?;
    let may = matches!(principal.role, Some(Role::Agent | Role::Maintenance));
    if key.kind() != ObjectKind::Lock || !may {
        let message = "a vault is append-only: only locks can be removed";
        return Err(Error::refused(Code::AppendOnly, message));
    }
    store_of(&app, &target).await?.remove(&target.place.object(&key)).await?;
    Ok(StatusCode::OK)
}

/// A maintenance host packs anew what is there: no recovery point and no key comes from it.
fn refuse_by_maintenance(principal: &Principal, key: &ObjectKey) -> Result<(), Error> {
    let packs = matches!(key.kind(), ObjectKind::Pack | ObjectKind::Index | ObjectKind::Lock);
    if packs || principal.role != Some(Role::Maintenance) {
        return Ok(());
    }
    let message = "a maintenance host stores packs, indexes and locks, and nothing else";
    Err(Error::refused(Code::AppendOnly, message))
}

/// A dock adds only to what an open job at the dock announces.
async fn may_append(app: &App, principal: &Principal, target: &Target) -> Result<(), Error> {
    match &target.holder {
        Holder::Vault | Holder::Pending => Ok(()),
        Holder::Account { account, container, repository } => {
            let announced = principal.role == Some(Role::Dock)
                && jobs::announced(app, account, container, repository).await?;
            announced.then_some(()).ok_or_else(|| {
                let message = format!("no import job at the dock announces repository {repository} for this container; receive its package first");
                Error::refused(Code::AppendOnly, message)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_anything_else_ignored() {
        assert_eq!(range("bytes=2-5"), Some(GetRange::Bounded(2..6)));
        assert_eq!(range("bytes=7-"), Some(GetRange::Offset(7)));
        assert_eq!(range("bytes=-7"), Some(GetRange::Suffix(7)));
        for bad in ["bytes=5-2", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes=-", ""] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
