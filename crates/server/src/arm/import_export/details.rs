//! From what a client has sent to what `jobs` keeps, with the rules of the service that need neither the
//! state machine nor other jobs.

use super::super::fault::Fault;
use super::super::groups::check_tags;
use super::request::{Drives, Request, drives, text};
use super::view::shipping_to;
use crate::app::App;
use crate::groups::{ACCOUNTS, Group};
use crate::jobs::plain::{Change, PlainPatch, PlainRequest};
use crate::jobs::said::{ReturnShipping, Said};
use axum::http::StatusCode;
use flow::JobType;
use model::{AccountName, Address};
use serde_json::{Map, Value, json};

/// A job as it is created or replaced.
pub(super) async fn created(
    app: &App,
    group: Group,
    request: Request,
) -> Result<PlainRequest, Fault> {
    let Request { location, tags, properties: said, identity } = request;
    let tags = tags.unwrap_or_default();
    check_tags(&tags)?;
    if identity.is_some_and(|identity| !is_type(&identity, "type", "None")) {
        let message = "This server gives jobs no identity of their own.";
        return Err(Fault::content("identity", message));
    }
    only_creating(said.state.as_deref())?;
    if said.cancel_requested == Some(true) {
        let message = "A job is cancelled after it was created.";
        return Err(Fault::content("cancelRequested", message));
    }
    let job_type = job_type(said.job_type.as_deref())?;
    let (account, id) = account(app, said.storage_account_id).await?;
    let (serials, mut drives, keys) = listed(job_type, said.drive_list)?;
    let export = export(job_type, said.export)?;
    for drive in drives.values_mut() {
        drive.manifest_hash.get_or_insert_default();
    }
    let location = text("location", location.unwrap_or_default())?;
    let shipping_information = match said.shipping_information {
        Some(given) => Some(address_like("shippingInformation", given)?),
        None => shipping_to(&app.config, &location),
    };
    Ok(PlainRequest {
        group,
        account,
        job_type,
        drives: serials,
        keys,
        return_address: said.return_address.map(checked).transpose()?,
        package: said.delivery_package.map(super::request::Delivery::read).transpose()?,
        said: Said {
            location,
            tags,
            storage_account_id: Some(id),
            return_shipping: said.return_shipping.map(carrier).transpose()?,
            shipping_information,
            diagnostics_path: said
                .diagnostics_path
                .map(|path| text("diagnosticsPath", path))
                .transpose()?,
            log_level: said.log_level.map(log_level).transpose()?,
            backup_drive_manifest: said.backup_drive_manifest,
            export,
            encryption_key: Some(encryption_key(said.encryption_key)?),
            drives,
        },
    })
}

/// What is changed about a job.
pub(super) fn changed(request: Request) -> Result<PlainPatch, Fault> {
    let Request { tags, properties: said, .. } = request;
    if let Some(tags) = &tags {
        check_tags(tags)?;
    }
    let ship = match said.state.as_deref().unwrap_or_default() {
        "" => false,
        state if state.eq_ignore_ascii_case("Shipping") => true,
        _ => {
            let message = "The only state that can be asked for is 'Shipping'.";
            return Err(Fault::content("state", message));
        }
    };
    if said.cancel_requested == Some(false) {
        let message = "'cancelRequested' can only be set to true.";
        return Err(Fault::content("cancelRequested", message));
    }
    let listed = said.drive_list.map(drives).transpose()?;
    let return_shipping = said.return_shipping.map(carrier).transpose()?;
    let log_level = said.log_level.map(log_level).transpose()?;
    let backup = said.backup_drive_manifest;
    let (numbers, texts) = match listed {
        None => (None, None),
        Some((serials, said, keys)) => (Some((serials, keys)), Some(said)),
    };
    let is_change = tags.is_some()
        || return_shipping.is_some()
        || log_level.is_some()
        || backup.is_some()
        || texts.is_some();
    let change = move |said: &mut Said| {
        said.tags = tags.unwrap_or_else(|| std::mem::take(&mut said.tags));
        said.return_shipping = return_shipping.or(said.return_shipping.take());
        said.log_level = log_level.or(said.log_level.take());
        said.backup_drive_manifest = backup.or(said.backup_drive_manifest);
        for (serial, text) in texts.into_iter().flatten() {
            let key = said.drives.get(&serial).and_then(|before| before.key);
            said.drives.insert(serial, crate::jobs::said::SaidDrive { key, ..text });
        }
    };
    Ok(PlainPatch {
        change: is_change.then(|| Box::new(change) as Change),
        drives: numbers,
        return_address: said.return_address.map(checked).transpose()?,
        package: said.delivery_package.map(super::request::Delivery::read).transpose()?,
        ship,
        cancel: said.cancel_requested.is_some(),
    })
}

fn is_type(value: &Value, key: &str, wanted: &str) -> bool {
    value.get(key).and_then(Value::as_str).is_none_or(|text| text.eq_ignore_ascii_case(wanted))
}

fn only_creating(state: Option<&str>) -> Result<(), Fault> {
    match state.unwrap_or_default() {
        "" => Ok(()),
        state if state.eq_ignore_ascii_case("Creating") => Ok(()),
        _ => Err(Fault::content(
            "state",
            "A job is created in state 'Creating'; it is shipped with PATCH.",
        )),
    }
}

fn job_type(given: Option<&str>) -> Result<JobType, Fault> {
    match given.unwrap_or_default() {
        it if it.eq_ignore_ascii_case("Import") => Ok(JobType::Import),
        it if it.eq_ignore_ascii_case("Export") => Ok(JobType::Export),
        _ => Err(Fault::content("jobType", "'jobType' is 'Import' or 'Export'.")),
    }
}

fn listed(
    job_type: JobType,
    list: Option<Vec<super::request::DriveSaid>>,
) -> Result<Drives, Fault> {
    let list = list.unwrap_or_default();
    match job_type {
        JobType::Import if list.is_empty() => {
            let message = "An import job lists its drives: 'driveList' has 1 to 10 of them.";
            Err(Fault::content("driveList", message))
        }
        JobType::Export if !list.is_empty() => {
            let message = "An export job lists no drives; the dock records those that arrive.";
            Err(Fault::content("driveList", message))
        }
        _ => drives(list),
    }
}

fn export(job_type: JobType, given: Option<Value>) -> Result<Option<Value>, Fault> {
    let wrong = |message: &str| Fault::content("export", message);
    let Some(given) = given else {
        return match job_type {
            JobType::Import => Ok(None),
            JobType::Export => {
                Err(wrong("An export job says what is exported: 'export' is required."))
            }
        };
    };
    if job_type == JobType::Import {
        return Err(wrong("'export' is for export jobs only."));
    }
    let texts = |list: Option<&Value>| match list {
        None => Some(0),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => Some(all.len()),
        Some(_) => None,
    };
    let list = given.get("blobList");
    let (paths, prefixes) = (
        texts(list.and_then(|list| list.get("blobPath"))),
        texts(list.and_then(|list| list.get("blobPathPrefix"))),
    );
    let (Some(paths), Some(prefixes)) = (paths, prefixes) else {
        return Err(wrong("'blobPath' and 'blobPathPrefix' are lists of texts."));
    };
    let by_list =
        given.get("blobListBlobPath").and_then(Value::as_str).is_some_and(|it| !it.is_empty());
    if paths + prefixes == 0 && !by_list {
        return Err(wrong("'export' names at least one blob, prefix, or list of blobs."));
    }
    Ok(Some(given))
}

/// The account that the id names. It must be there: what lands has to have somewhere to land.
async fn account(app: &App, id: Option<String>) -> Result<(AccountName, String), Fault> {
    let wrong = |message: String| Fault::content("storageAccountId", message);
    let id = text("storageAccountId", id.unwrap_or_default())?;
    let parts: Vec<&str> = id.trim_matches('/').split('/').collect();
    let is = |at: usize, word: &str| {
        parts.get(at).is_some_and(|it: &&str| it.eq_ignore_ascii_case(word))
    };
    let is_id = parts.len() == 8
        && is(0, "subscriptions")
        && is(2, "resourceGroups")
        && is(4, "providers")
        && (is(5, "Microsoft.Storage") || is(5, "Microsoft.ClassicStorage"))
        && is(6, "storageAccounts");
    let (true, Some(subscription), Some(group), Some(name)) =
        (is_id, parts.get(1), parts.get(3), parts.get(7))
    else {
        let message = format!("'storageAccountId' is not the id of a resource of type {ACCOUNTS}.");
        return Err(wrong(message));
    };
    let row: Option<(String, String, String)> = sqlx::query_as(
        "SELECT name, subscription, resource_group FROM storage_account WHERE name = ?",
    )
    .bind(name.to_ascii_lowercase())
    .fetch_optional(app.db.pool())
    .await?;
    let named = Group { subscription: (*subscription).to_owned(), name: (*group).to_owned() };
    let is_there = |(_, subscription, group): &(String, String, String)| {
        Group { subscription: subscription.clone(), name: group.clone() }.is(&named)
    };
    match row.filter(is_there) {
        Some((name, ..)) => Ok((crate::db::parsed("storage_account.name", &name)?, id)),
        None => {
            let message =
                format!("The storage account '{id}' could not be found; create it first.");
            let code = "StorageAccountNotFound";
            Err(Fault::Said {
                status: StatusCode::BAD_REQUEST,
                code,
                message,
                target: Some("storageAccountId"),
            })
        }
    }
}

fn checked(address: Address) -> Result<Address, Fault> {
    match address.check_return() {
        Ok(()) => Ok(address),
        Err(why) => Err(Fault::content("returnAddress", format!("{why}."))),
    }
}

fn carrier(shipping: ReturnShipping) -> Result<ReturnShipping, Fault> {
    let ReturnShipping { carrier_name, carrier_account_number } = shipping;
    if carrier_name.trim().is_empty() || carrier_account_number.trim().is_empty() {
        let message = "The properties 'carrierName' and 'carrierAccountNumber' of 'returnShipping' are required.";
        return Err(Fault::content("returnShipping", message));
    }
    Ok(ReturnShipping {
        carrier_name: text("returnShipping.carrierName", carrier_name)?,
        carrier_account_number: text(
            "returnShipping.carrierAccountNumber",
            carrier_account_number,
        )?,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "what `map` hands over")]
fn log_level(level: String) -> Result<String, Fault> {
    let known = ["Error", "Verbose"].into_iter().find(|it| it.eq_ignore_ascii_case(&level));
    let known =
        known.ok_or_else(|| Fault::content("logLevel", "'logLevel' is 'Error' or 'Verbose'."));
    known.map(str::to_owned)
}

/// Flat, with short texts.
fn address_like(target: &'static str, value: Value) -> Result<Value, Fault> {
    let Value::Object(map) = value else {
        return Err(Fault::content(target, format!("'{target}' is not an object.")));
    };
    let mut kept = Map::new();
    for (key, value) in map {
        let Value::String(line) = value else {
            return Err(Fault::content(target, format!("'{target}.{key}' is not a text.")));
        };
        kept.insert(key, text(target, line)?.into());
    }
    Ok(Value::Object(kept))
}

fn encryption_key(given: Option<Value>) -> Result<Value, Fault> {
    let own = json!({ "kekType": "MicrosoftManaged" });
    match given {
        None => Ok(own),
        Some(given) if is_type(&given, "kekType", "MicrosoftManaged") => Ok(own),
        Some(_) => {
            let message = "Keys of drives are sealed under this server's own key; it knows no other ('kekType' is 'MicrosoftManaged').";
            Err(Fault::content("encryptionKey", message))
        }
    }
}
