//! Bodies as Azure's clients send them: keys in any case, `null` for what is not said. Knows the keys' right
//! case, and nothing of their meaning.

use super::fault::Fault;
use crate::http;
use axum::body::Body;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The keys that we read, in their own case.
const KEYS: &[&str] = &[
    "additionalInformation",
    "backupDriveManifest",
    "bitLockerKey",
    "blobList",
    "blobListBlobPath",
    "blobPath",
    "blobPathPrefix",
    "cancelRequested",
    "carrierAccountNumber",
    "carrierName",
    "city",
    "countryOrRegion",
    "deliveryPackage",
    "diagnosticsPath",
    "driveCount",
    "driveHeaderHash",
    "driveId",
    "driveList",
    "email",
    "encryptionKey",
    "export",
    "identity",
    "jobType",
    "kekType",
    "kekUrl",
    "kekVaultResourceID",
    "kind",
    "location",
    "logLevel",
    "manifestFile",
    "manifestHash",
    "name",
    "packmuleBackend",
    "packmuleReaders",
    "phone",
    "postalCode",
    "principalId",
    "principalType",
    "properties",
    "publicNetworkAccess",
    "recipientName",
    "returnAddress",
    "returnPackage",
    "returnShipping",
    "roleDefinitionId",
    "shipDate",
    "shippingInformation",
    "sku",
    "state",
    "stateOrProvince",
    "storageAccountId",
    "streetAddress1",
    "streetAddress2",
    "tags",
    "tier",
    "trackingNumber",
    "type",
];

/// Tags' own names are the customer's.
const TAGS: &str = "tags";

/// The body as its type.
///
/// Errors: `InvalidRequestContent`, with where it is wrong.
pub(crate) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Fault> {
    let value: Value = http::json(body).await?;
    if !value.is_object() {
        return Err(Fault::content("body", "The request's body has to be a JSON object."));
    }
    serde_json::from_value(right(value)).map_err(|cause| {
        Fault::content("body", format!("The request content is invalid: {cause}."))
    })
}

/// The same value with keys in their right case, without `null`s.
fn right(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter_map(entry).collect::<Map<_, _>>())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(right).collect()),
        other => other,
    }
}

fn entry((key, value): (String, Value)) -> Option<(String, Value)> {
    if value.is_null() {
        return None;
    }
    let known = KEYS.iter().find(|known| known.eq_ignore_ascii_case(&key));
    let key = known.map_or(key, |known| (*known).to_owned());
    let value = if key == TAGS { value } else { right(value) };
    Some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_get_their_case_and_tags_keep_theirs() {
        let given = json!({
            "Properties": {"JOBTYPE": "Import", "export": {"blobListblobPath": "a"}, "state": null,
                "driveList": [{"DriveID": "x"}]},
            "tags": {"State": null, "Location": "x"}
        });
        let wanted = json!({
            "properties": {"jobType": "Import", "export": {"blobListBlobPath": "a"},
                "driveList": [{"driveId": "x"}]},
            "tags": {"State": null, "Location": "x"}
        });
        assert_eq!(right(given), wanted);
    }

    #[test]
    fn the_keys_are_each_there_once() {
        let mut lower: Vec<String> = KEYS.iter().map(|key| key.to_ascii_lowercase()).collect();
        lower.sort();
        lower.dedup();
        assert_eq!(lower.len(), KEYS.len());
    }
}
