//! Revisions of seeds: what a seed consists of from now on, as its own signer says. Kept one after the other; the newest is
//! what publication goes by. Finds no object and moves none.
//!
//! ```text
//!  source ─ signed revision ─▶ signer of the drives, or who was named in its place? next number? of the list that counts now? ─▶ kept
//!                              not published, not being published, nothing of the old list visible
//! ```
//!
//! Invariant: a revision is taken only while no publication works on the seed, and never after its receipt; so a
//! publication goes by one list from its beginning to its receipt.

use super::shelf::Shelf;
use super::{Owner, ledger, plan, receipts, successors};
use crate::app::App;
use crate::deletions::Held;
use crate::http::Segments;
use crate::jobs::{self, Record};
use crate::place::{self, Place};
use crate::{Error, db, token};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use futures::stream;
use model::{Digest, ObjectKey, ObjectKind, ServerName, VaultName};
use seed::{Object, Revision, Signed, Trust};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use wire::{Code, PublicKey, SeedId, SeedRevision};

/// Takes the next revision. The one that is there already, said again, is taken again.
pub(crate) async fn put_revision(
    State(app): State<Arc<App>>,
    Segments((vault, server, seed)): Segments<(VaultName, ServerName, SeedId)>,
    body: Body,
) -> Result<StatusCode, Error> {
    let owner = (vault, server);
    let jobs = jobs::of_seed(&app, &owner.0, &owner.1, seed).await?;
    let signer = signer(&app, &owner, seed, &jobs).await?;
    // Two that come at once do not meet.
    let incoming = place::incoming_revision(&owner.0, &owner.1, seed, &token::new()?);
    let (objects, limit) = (&app.objects, app.config.object_limit);
    objects.put_any(&incoming, limit, body.into_data_stream()).await?;
    let bytes = objects.read(&incoming, limit).await;
    objects.remove(&incoming).await?;
    let lost = || Error::Damaged { what: incoming.to_string(), why: "it is gone".to_owned() };
    take(&app, &owner, seed, (bytes?.ok_or_else(lost)?, signer)).await
}

async fn take(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    (bytes, signer): (Bytes, PublicKey),
) -> Result<StatusCode, Error> {
    let decoded = decode(bytes.clone(), signer).await?;
    let newest = newest(app, owner, seed).await?;
    if newest.as_ref().is_some_and(|newest| newest.digest == decoded.digest) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let number = newest.map_or(0, |newest| newest.number);
    let plan = plan::make(app, owner, seed).await?;
    follows(&decoded.body, seed, number, &plan)?;
    refuse_visible(app, owner, &plan.objects, &decoded.body.objects).await?;
    let at = place::revision(&owner.0, &owner.1, seed, &decoded.digest);
    let body = stream::iter([Ok::<_, Infallible>(bytes)]);
    app.objects.put_named(&at, decoded.digest, app.config.object_limit, body).await?;
    let header = &decoded.body.header;
    let repaired = header.withholds_increments || is_without(&decoded.body, &plan.objects);
    keep(app, owner, &decoded, repaired).await?;
    // What was asked for by the list before is no answer to this one.
    app.objects.remove(&place::want_list(&owner.0, &owner.1, seed)).await?;
    tracing::info!(vault = %owner.0, server = %owner.1, %seed, number = number + 1, "a seed was revised");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn get_revision(
    State(app): State<Arc<App>>,
    Segments((vault, server, seed)): Segments<(VaultName, ServerName, SeedId)>,
) -> Result<Json<SeedRevision>, Error> {
    let newest = newest(&app, &(vault, server), seed).await?;
    let none = || Error::not_found(format_args!("revision of seed {seed}"));
    Ok(Json(newest.ok_or_else(none)?))
}

/// Who signs what the seed consists of: whoever was named for that, else who has signed its drives.
async fn signer(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    jobs: &[Record],
) -> Result<PublicKey, Error> {
    // A seed that has no job is not there, whoever signs.
    let of_drives = of_drives(jobs);
    match successors::newest(app.db.pool(), owner, seed).await? {
        Some(successor) if !jobs.is_empty() => Ok(successor.key),
        _ => of_drives,
    }
}

/// Who has signed the seed's drives: the same for all of its jobs.
fn of_drives(jobs: &[Record]) -> Result<PublicKey, Error> {
    let mut signers = BTreeSet::new();
    for job in jobs {
        signers.insert(job.seed()?.seed.signer.0);
    }
    match (signers.pop_first(), signers.is_empty()) {
        (Some(signer), true) => Ok(PublicKey(signer)),
        (None, _) => Err(Error::not_found("import job with that seed")),
        (Some(_), false) => Err(unfit(
            "the drives of this seed are signed by several keys, and none was named to sign for it",
        )),
    }
}

async fn decode(bytes: Bytes, signer: PublicKey) -> Result<Signed<Revision>, Error> {
    let trust = Trust::Key(signer);
    let decoded = tokio::task::spawn_blocking(move || Revision::decode(&bytes, &trust)).await?;
    decoded.map_err(|why| {
        let cause = std::error::Error::source(&why).map(|cause| format!(": {cause}"));
        unfit(&format!("{why}{}", cause.unwrap_or_default()))
    })
}

/// One of which nobody has noted who has signed it: whoever has signed drives of the seed, of which there may be several by
/// now. Its hash is the one that was kept, so that it is the same one in any case.
async fn decode_by_any(bytes: &Bytes, jobs: &[Record]) -> Result<Signed<Revision>, Error> {
    let mut refusal = Error::not_found("import job with that seed");
    for job in jobs {
        match decode(bytes.clone(), job.seed()?.seed.signer).await {
            Err(error) => refusal = error,
            signed => return signed,
        }
    }
    Err(refusal)
}

fn unfit(what: &str) -> Error {
    Error::refused(Code::ManifestRefused, format!("the revision cannot be used: {what}"))
}

/// Whether it is the next one of the list that counts now.
fn follows(revision: &Revision, seed: SeedId, number: u32, plan: &plan::Plan) -> Result<(), Error> {
    let header = &revision.header;
    if header.seed != seed {
        return Err(unfit("it is of another seed"));
    }
    if header.repositories != [plan.repository] {
        return Err(unfit("it is of another repository than the seed's drives"));
    }
    let old = |what: String| Err(Error::refused(Code::AlreadyExists, what));
    if Some(header.number) != number.checked_add(1) {
        return old(format!(
            "revision {} does not come next: the newest of this seed is {number}",
            header.number
        ));
    }
    let root = seed::root(&plan.objects);
    if header.replaces != root {
        return old(format!(
            "the revision replaces another list ({}) than the one that counts now ({})",
            header.replaces.short(),
            root.short()
        ));
    }
    let has = |kind| revision.objects.iter().any(|object| object.kind == kind);
    match [ObjectKind::Config, ObjectKind::Key, ObjectKind::Snapshot].into_iter().all(has) {
        true => Ok(()),
        false => Err(unfit("it has no config, no key or no snapshot")),
    }
}

/// Whether it leaves out a snapshot of the list before: something that this one needs was lost for good.
fn is_without(revision: &Revision, before: &[Object]) -> bool {
    let snapshots = before.iter().filter(|object| object.kind == ObjectKind::Snapshot);
    snapshots.into_iter().any(|object| !revision.objects.contains(object))
}

/// Where a publication has died after it had begun to show the old list, that list ends what it has begun: nothing that is
/// visible is taken back.
async fn refuse_visible(
    app: &App,
    owner: &Owner,
    before: &[Object],
    after: &[Object],
) -> Result<(), Error> {
    let stays: BTreeSet<_> = after.iter().map(Object::identity).collect();
    let goes = before.iter().filter(|object| !stays.contains(&object.identity()));
    let Some(key) = shown(app, owner, goes).await? else { return Ok(()) };
    let message = format!(
        "the vault shows {key} already, which the revision leaves out: its publication has begun, and only its operator can bring back what was lost since"
    );
    Err(Error::refused(Code::AlreadyExists, message))
}

/// The first index or snapshot of these that the vault shows. One that is held for deletion is not shown: it was complete when it was, and what
/// it needs comes back with it.
pub(super) async fn shown<'o>(
    app: &App,
    owner: &Owner,
    objects: impl Iterator<Item = &'o Object>,
) -> Result<Option<ObjectKey>, Error> {
    let place = Place::published(&owner.0, &owner.1);
    let published = Shelf { objects: app.objects.clone(), place };
    let indexes = Held::of(app, owner, ObjectKind::Index).await?;
    let snapshots = Held::of(app, owner, ObjectKind::Snapshot).await?;
    for object in objects {
        let is_held = match object.kind {
            ObjectKind::Index => indexes.has(&object.name),
            ObjectKind::Snapshot => snapshots.has(&object.name),
            _ => continue,
        };
        if !is_held && published.has(object).await? {
            return Ok(Some(object.key()));
        }
    }
    Ok(None)
}

/// Notes it, unless somebody was faster, the seed is published, or is being published right now.
async fn keep(
    app: &App,
    owner: &Owner,
    signed: &Signed<Revision>,
    repaired: bool,
) -> Result<(), Error> {
    let Signed { body: Revision { header, objects }, digest, .. } = signed;
    let mut transaction = app.db.write().await?;
    super::refuse_abandoned(&mut transaction, owner, header.seed).await?;
    let named = successors::newest(&mut *transaction, owner, header.seed).await?;
    if named.is_some_and(|named| named.key != signed.signer) {
        let message = "another key was named to sign for this seed in between; read it again";
        return Err(Error::refused(Code::ConcurrentChange, message));
    }
    let published = receipts::seed_receipt(&mut transaction, &owner.0, &owner.1, header.seed);
    if published.await?.is_some() {
        let message = "the seed is published; its receipt says as what";
        return Err(Error::refused(Code::AlreadyExists, message));
    }
    if ledger::is_held(&mut transaction, owner, header.seed).await? {
        let message = "the seed is being published right now; ask again when that has ended";
        return Err(Error::refused(Code::ConcurrentChange, message));
    }
    let added = sqlx::query(
        "INSERT INTO revision (vault, server, seed, number, sha256, root, objects, bytes, kept_at, signer, repaired)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
         WHERE ?4 = 1 + coalesce((SELECT max(number) FROM revision
                                  WHERE vault = ?1 AND server = ?2 AND seed = ?3), 0)",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(header.seed.to_string())
    .bind(i64::from(header.number))
    .bind(digest.as_bytes().as_slice())
    .bind(seed::root(objects).as_bytes().as_slice())
    .bind(db::number(objects.len() as u64))
    .bind(db::number(objects.iter().map(|object| object.length).sum()))
    .bind(db::time(app.now()))
    .bind(signed.signer.0.as_slice())
    .bind(repaired)
    .execute(&mut *transaction)
    .await?;
    if added.rows_affected() != 1 {
        let message = "another revision of this seed came in between; read it again";
        return Err(Error::refused(Code::ConcurrentChange, message));
    }
    Ok(transaction.commit().await?)
}

/// Whether the seed goes with other snapshots than it was sent with, or what was backed up while it travelled lacks something: it was lost for
/// good. Of a revision of which that is not noted, it may be.
pub(super) async fn is_repaired(app: &App, owner: &Owner, seed: SeedId) -> Result<bool, Error> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM revision
         WHERE vault = ? AND server = ? AND seed = ? AND coalesce(repaired, 1) = 1 LIMIT 1",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .fetch_optional(app.db.pool())
    .await?;
    Ok(row.is_some())
}

#[derive(sqlx::FromRow)]
struct Columns {
    number: i64,
    sha256: Vec<u8>,
    root: Vec<u8>,
    objects: i64,
    bytes: i64,
    kept_at: String,
    signer: Option<Vec<u8>>,
}

/// A revision that is kept, and who has signed it where that is noted.
struct Kept {
    revision: SeedRevision,
    signer: Option<PublicKey>,
}

/// The newest revision; none where the seed is as its drives say.
async fn newest(app: &App, owner: &Owner, seed: SeedId) -> Result<Option<SeedRevision>, Error> {
    Ok(kept(app, owner, seed).await?.map(|kept| kept.revision))
}

async fn kept(app: &App, owner: &Owner, seed: SeedId) -> Result<Option<Kept>, Error> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT number, sha256, root, objects, bytes, kept_at, signer FROM revision
         WHERE vault = ? AND server = ? AND seed = ? ORDER BY number DESC LIMIT 1",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .fetch_optional(app.db.pool())
    .await?;
    let revision = |row: Columns| {
        let number = db::count("revision.number", row.number)?;
        let signer = row.signer.as_deref().map(|key| db::bytes("revision.signer", key));
        let signer = signer.transpose()?.map(PublicKey);
        let revision = SeedRevision {
            seed,
            number: u32::try_from(number).map_err(|why| db::damaged("revision.number", why))?,
            digest: Digest(db::bytes("revision.sha256", &row.sha256)?),
            root: Digest(db::bytes("revision.root", &row.root)?),
            objects: db::count("revision.objects", row.objects)?,
            bytes: db::count("revision.bytes", row.bytes)?,
            kept_at: db::parsed("revision.kept_at", &row.kept_at)?,
        };
        Ok(Kept { revision, signer })
    };
    row.map(revision).transpose()
}

/// The objects of the newest revision, its signature checked once more.
pub(super) async fn objects(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    jobs: &[Record],
) -> Result<Option<Vec<Object>>, Error> {
    let Some(Kept { revision: newest, signer }) = kept(app, owner, seed).await? else {
        return Ok(None);
    };
    let at = place::revision(&owner.0, &owner.1, seed, &newest.digest);
    let lost = |why: &str| Error::Damaged { what: at.to_string(), why: why.to_owned() };
    let bytes = app.objects.read(&at, app.config.object_limit).await?;
    let bytes = bytes.ok_or_else(|| lost("it is not there"))?;
    let signed = match signer {
        Some(signer) => decode(bytes, signer).await?,
        None => decode_by_any(&bytes, jobs).await?,
    };
    if signed.digest != newest.digest {
        return Err(lost("it is another one than was kept"));
    }
    Ok(Some(signed.body.objects))
}
