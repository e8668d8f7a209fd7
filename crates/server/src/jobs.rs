//! Import jobs as they are kept: the state machine's value, what the customer said, the drives.
//! Every change reads, decides and compares-and-sets in one transaction. Decides no transition:
//! that is `flow`'s part.

mod clock;
mod customer;
mod dock;
mod documents;
mod events;
mod export;
mod keys;
pub(crate) mod plain;
mod record;
pub(crate) mod said;
pub(crate) mod view;

pub(crate) use clock::tick_all;
pub(crate) use customer::{create, diagnostics, get, list, patch};
pub(crate) use dock::{drive_event, receive};
pub(crate) use documents::{
    get_inventory, get_manifest, octets, put_copy_log, put_inventory, put_manifest, read_inventory,
    read_manifest,
};
pub(crate) use events::{Changes, watch};
pub(crate) use export::{
    being_created, create as create_export, drive as exported_drive, to_be_read,
};
pub(crate) use keys::{list_keys, open_keyring, read_keys, release};
pub(crate) use record::{DriveRow, Record};

use crate::app::App;
use crate::auth::Principal;
use crate::{Error, db, notices};
use flow::Effect;
use model::{AccountName, ContainerName, Digest, JobName};
use wire::Code;

/// Whether a job whose drives are at the dock announces that repository for that container.
pub(crate) async fn announced(
    app: &App,
    account: &AccountName,
    container: &ContainerName,
    repository: &Digest,
) -> Result<bool, Error> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM import_job JOIN drive ON drive.job = import_job.name
         WHERE storage_account = ? AND container = ? AND repository = ?
           AND export IS NULL AND state IN ('Received', 'Transferring') LIMIT 1",
    )
    .bind(account.as_str())
    .bind(container.as_str())
    .bind(repository.as_bytes().as_slice())
    .fetch_optional(app.db.pool())
    .await?;
    Ok(row.is_some())
}

/// A job that the caller may see.
async fn visible(app: &App, caller: &Principal, name: &JobName) -> Result<Record, Error> {
    let mut connection = app.db.pool().acquire().await.map_err(Error::from)?;
    let record = Record::load(&mut connection, name).await?;
    record.filter(|job| job.may_be_seen_by(caller)).ok_or_else(|| missing(name))
}

impl Record {
    /// An agent sees its own seeds' jobs.
    fn may_be_seen_by(&self, caller: &Principal) -> bool {
        match &self.request {
            Some(request) => caller.may_see_seed(&request.vault, &request.server, request.seed.id),
            None => caller.own.is_none(),
        }
    }
}

fn missing(name: &JobName) -> Error {
    Error::not_found(format_args!("import job {name}"))
}

/// Changes a job that the caller may see: `decide` works on what is stored now, and its result is
/// stored only if nothing has changed meanwhile. Effects are carried out after that.
async fn change(
    app: &App,
    caller: &Principal,
    name: &JobName,
    decide: impl FnOnce(&mut Record) -> Result<Vec<Effect>, Error>,
) -> Result<Record, Error> {
    let mut transaction = app.db.write().await?;
    let record = Record::load(&mut transaction, name).await?;
    let before = record.filter(|job| job.may_be_seen_by(caller)).ok_or_else(|| missing(name))?;
    let mut after = before.clone();
    let effects = decide(&mut after)?;
    if after != before {
        after.changed = app.now().max(before.changed);
        after.save(&mut transaction).await?;
    }
    notices::keep(&mut transaction, &after, &effects, app.now()).await?;
    events::commit(app, transaction, name).await?;
    Ok(after)
}

/// A rule of the state machine in the words of the API.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn refused(rule: flow::Refused) -> Error {
    use flow::Refused as R;
    let code = match &rule {
        R::TooManyDrives { .. } => Code::TooManyDrives,
        R::TrackingNumberTaken { .. } => Code::TrackingNumberInUse,
        R::NoReturnAddress | R::NoPackage => Code::ShippingDetailsMissing,
        R::UnknownDrive { .. } => Code::DriveNotInJob,
        R::NoDrives
        | R::DriveTwice { .. }
        | R::Address { .. }
        | R::DriveCount { .. }
        | R::ImpossibleProgress { .. } => Code::InvalidRequest,
        _ => Code::JobState,
    };
    Error::refused(code, rule.to_string())
}

/// Every job of a seed, in the order of their sets.
pub(crate) async fn of_seed(
    app: &App,
    vault: &model::VaultName,
    server: &model::ServerName,
    seed: wire::SeedId,
) -> Result<Vec<Record>, Error> {
    let names: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM import_job
         WHERE vault = ? AND server = ? AND seed = ?
         ORDER BY seed_set, created_at, name",
    )
    .bind(vault.as_str())
    .bind(server.as_str())
    .bind(seed.to_string())
    .fetch_all(app.db.pool())
    .await?;
    let mut jobs = Vec::with_capacity(names.len());
    let mut connection = app.db.pool().acquire().await.map_err(Error::from)?;
    for (name,) in names {
        let name = db::parsed("import_job.name", &name)?;
        jobs.extend(Record::load(&mut connection, &name).await?);
    }
    Ok(jobs)
}

/// The seed whose job of that source server is the newest, cancelled ones, exports and what was abandoned aside.
pub(crate) async fn newest_seed(
    app: &App,
    vault: &model::VaultName,
    server: &model::ServerName,
) -> Result<Option<wire::SeedId>, Error> {
    let row: Option<(String,)> = sqlx::query_as(
        "SELECT seed FROM import_job WHERE vault = ? AND server = ? AND state <> 'Canceled' AND export IS NULL
           AND NOT EXISTS (SELECT 1 FROM abandoned_seed AS given_up WHERE given_up.vault = import_job.vault
               AND given_up.server = import_job.server AND given_up.seed = import_job.seed)
         ORDER BY created_at DESC, name DESC LIMIT 1",
    )
    .bind(vault.as_str())
    .bind(server.as_str())
    .fetch_optional(app.db.pool())
    .await?;
    row.map(|(seed,)| db::parsed("import_job.seed", &seed)).transpose()
}
