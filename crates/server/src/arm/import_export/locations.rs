//! Where drives can be sent, from the configuration; and what the service can do.

use super::super::fault::Fault;
use super::super::subscriptions::short;
use super::super::version::ImportExportVersion;
use crate::app::App;
use crate::http::Segments;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

const KIND: &str = "Microsoft.ImportExport/locations";

fn id(location: &wire::Location) -> String {
    format!("/providers/{KIND}/{}", short(&location.name))
}

fn shown(location: &wire::Location) -> Value {
    let address = &location.address;
    json!({
        "id": id(location), "name": location.name, "type": KIND,
        "properties": {
            "recipientName": address.recipient_name,
            "streetAddress1": address.street_address1,
            "streetAddress2": address.street_address2,
            "city": address.city,
            "stateOrProvince": address.state_or_province,
            "postalCode": address.postal_code,
            "countryOrRegion": address.country_or_region,
            "phone": address.phone,
            "additionalShippingInformation": "",
            "supportedCarriers": location.supported_carriers,
            "alternateLocations": [id(location)],
        },
    })
}

pub(in super::super) async fn locations(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
) -> Json<Value> {
    Json(json!({ "value": app.config.locations.iter().map(shown).collect::<Vec<_>>() }))
}

pub(in super::super) async fn location(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
    Segments(name): Segments<String>,
) -> Result<Json<Value>, Fault> {
    let found = app.config.locations.iter().find(|it| short(&it.name) == short(&name));
    let name: String = name.chars().take(80).collect();
    found.map(|it| Json(shown(it))).ok_or_else(|| Fault::missing(format_args!("location '{name}'")))
}

/// Each with what people read about it.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("jobs/write", "Jobs", "Creates an import or export job, or changes one"),
    ("jobs/read", "Jobs", "Reads an import or export job, or the jobs there are"),
    ("jobs/delete", "Jobs", "Deletes a job"),
    ("jobs/listBitLockerKeys/action", "Jobs", "Reads the BitLocker keys of a job's drives"),
    ("locations/read", "Locations", "Reads where drives can be sent"),
    ("operations/read", "Operations", "Reads the operations there are"),
];

pub(in super::super) async fn operations(_: ImportExportVersion) -> Json<Value> {
    let operation = |(name, resource, about): &(&str, &str, &str)| {
        let action = name.rsplit('/').next().unwrap_or_default();
        json!({
            "name": format!("Microsoft.ImportExport/{name}"),
            "display": {
                "provider": "Microsoft.ImportExport", "resource": resource,
                "operation": format!("{action} {resource}"), "description": about,
            },
        })
    };
    Json(json!({ "value": OPERATIONS.iter().map(operation).collect::<Vec<_>>() }))
}
