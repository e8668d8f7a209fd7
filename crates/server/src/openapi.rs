//! The OpenAPI document of `/api/v1`: routes say path and callers, signatures of handlers say segments,
//! query and answer, `operations` says the rest, the wire types say what bodies look like.
//!
//! ```text
//!  routes ─▶ path, method, security ─┐
//!  signature ─▶ parameters, answer ──┼─▶ document ─▶ GET /api/v1/openapi.json, docs/openapi.json
//!  operations ─▶ body, statuses ─────┘
//! ```
//!
//! Invariant: each route below `/api/v1` is in the document, and nothing else is but `/healthz` and
//! `/readyz`. A test compares.

mod operations;
mod signature;

use crate::auth::Access;
use crate::error;
use crate::routes::{Route, routes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use operations::{Operation, Sent};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use signature::{Content, Signature};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use wire::{Code, ErrorBody, Role};

/// What any answer may be instead when the server is not well.
const UNWELL: [u16; 2] = [500, 503];

static TEXT: LazyLock<String> = LazyLock::new(text);

/// The document's text.
fn text() -> String {
    // Links between Rust's items are no links here.
    format!("{:#}\n", document()).replace("[`crate::", "`").replace("[`", "`").replace("`]", "`")
}

pub(crate) async fn get() -> Response {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// Whether a route is one that the document describes.
fn is_described(route: &Route) -> bool {
    let below = route.path.strip_prefix(wire::API).is_some_and(|rest| rest.starts_with('/'));
    below || ["/healthz", "/readyz"].contains(&route.path)
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let operations = operations::all();
    let mut paths = Map::new();
    let mut ids = BTreeSet::new();
    for route in routes().iter().filter(|route| is_described(route)) {
        let Some(operation) = operations.iter().find(|known| known.handler == route.handler) else {
            continue;
        };
        let mut described = described(route, operation, &mut generator);
        // A second route to one handler has no id of its own.
        if let (true, Some(described)) = (ids.insert(operation.id), described.as_object_mut()) {
            described.insert("operationId".to_owned(), operation.id.into());
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), described);
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Packmule",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The server's own control plane. See docs/api.md for its rules, and for the data plane and the resource manager, which other people's documents describe.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "paths": paths,
        "components": components(generator),
    });
    bound(&mut document);
    document
}

/// Says of every whole number how great it may be: its format does, and not everyone knows formats.
fn bound(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(bound),
        Value::Object(fields) => {
            fields.values_mut().for_each(bound);
            match fields.get("format").and_then(Value::as_str) {
                Some("uint32") => fields.insert("maximum".to_owned(), u32::MAX.into()),
                Some("uint64") => fields.insert("maximum".to_owned(), u64::MAX.into()),
                Some("int64") => {
                    fields.insert("minimum".to_owned(), i64::MIN.into());
                    fields.insert("maximum".to_owned(), i64::MAX.into())
                }
                _ => None,
            };
        }
        _ => {}
    }
}

fn components(mut generator: SchemaGenerator) -> Value {
    let error = generator.subschema_for::<ErrorBody>();
    let statuses: BTreeSet<u16> =
        Code::ALL.iter().map(|code| error::status(code).as_u16()).collect();
    let refusals = statuses.into_iter().map(|status| {
        let codes = Code::ALL.iter().filter(|code| error::status(code).as_u16() == status);
        let codes: Vec<String> = codes.map(|code| format!("`{code}`")).collect();
        let refusal = json!({
            "description": format!("{}: {}", reason(status), codes.join(", ")),
            "headers": headers(),
            "content": {"application/json": {"schema": error}},
        });
        (refusal_name(status), refusal)
    });
    let responses: Map<String, Value> = refusals.collect();
    json!({
        "schemas": generator.take_definitions(true),
        "responses": responses,
        "headers": {"RequestId": {
            "description": "The request's id, which the server's log repeats",
            "schema": {"type": "string"},
        }},
        "securitySchemes": {
            "basic": {"type": "http", "scheme": "basic", "description": "A token, under its caller's name"},
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An application that is an Owner of /, or registers machines with a vault"},
        },
    })
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Refused")
}

fn refusal_name(status: u16) -> String {
    format!("Refused{status}")
}

fn headers() -> Value {
    json!({"x-request-id": {"$ref": "#/components/headers/RequestId"}})
}

fn described(route: &Route, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let signature = operation.signature(generator);
    let mut described = json!({
        "summary": operation.summary,
        "security": security(route.access),
        "responses": responses(route, operation, &signature),
    });
    let (parameters, body) = (parameters(route, &signature), body(operation.body, generator));
    if let Some(described) = described.as_object_mut() {
        if !parameters.is_empty() {
            described.insert("parameters".to_owned(), parameters.into());
        }
        described.extend(body.map(|body| ("requestBody".to_owned(), body)));
    }
    described
}

/// One alternative for each kind of caller. An application that is an Owner of everything is an administrator.
fn security(access: Access) -> Value {
    let all = [
        (Role::Admin, "admin"),
        (Role::Agent, "agent"),
        (Role::Copy, "copy"),
        (Role::Dock, "dock"),
        (Role::Maintenance, "maintenance"),
    ];
    match access {
        Access::Anyone => return json!([]),
        Access::Registration | Access::Application => return json!([{"bearer": []}]),
        _ => {}
    }
    let allowed = all.into_iter().filter(|(role, _)| access.allows(*role));
    let mut callers: Vec<Value> = allowed.map(|(_, name)| json!({"basic": [name]})).collect();
    callers.extend(access.allows(Role::Admin).then(|| json!({"bearer": []})));
    callers.into()
}

fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn parameters(route: &Route, signature: &Signature) -> Vec<Value> {
    let segments = variables(route.path).zip(&signature.segments);
    let segments = segments.map(
        |(name, schema)| json!({"in": "path", "name": name, "required": true, "schema": schema}),
    );
    let query = signature.query.iter().map(|asked| {
        let (name, is_required) = (&asked.name, asked.is_required);
        json!({"in": "query", "name": name, "required": is_required, "schema": asked.schema})
    });
    segments.chain(query).collect()
}

fn body(sent: Sent, generator: &mut SchemaGenerator) -> Option<Value> {
    let mut json = |generate: operations::Generate, is_required: bool| {
        let content = json!({"application/json": {"schema": generate(generator)}});
        json!({"required": is_required, "content": content})
    };
    match sent {
        Sent::Nothing => None,
        Sent::Json(generate) => Some(json(generate, true)),
        Sent::MaybeJson(generate) => Some(json(generate, false)),
        Sent::Octets => {
            let content = json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}});
            Some(json!({"required": true, "content": content}))
        }
    }
}

fn responses(route: &Route, operation: &Operation, signature: &Signature) -> Value {
    let content = match &signature.content {
        Content::Nothing => None,
        Content::Json(schema) => Some(json!({"application/json": {"schema": schema}})),
        Content::Other(media) => Some(json!({(*media): {}})),
    };
    let usual: &[u16] = if content.is_some() { &[200] } else { &[204] };
    let statuses = if operation.statuses.is_empty() { usual } else { operation.statuses };
    let mut responses = Map::new();
    for status in statuses {
        let mut answer = json!({"description": reason(*status), "headers": headers()});
        if let (Some(content), Some(answer)) = (&content, answer.as_object_mut()) {
            answer.insert("content".to_owned(), content.clone());
        }
        responses.insert(status.to_string(), answer);
    }
    for status in refusals(route, operation, signature) {
        let refusal = format!("#/components/responses/{}", refusal_name(status));
        responses.insert(status.to_string(), json!({"$ref": refusal}));
    }
    responses.into()
}

/// Everything that an operation may answer instead of what was asked for.
fn refusals(route: &Route, operation: &Operation, signature: &Signature) -> BTreeSet<u16> {
    let mut refusals: BTreeSet<u16> = operation.refusals.iter().copied().collect();
    refusals.extend(UNWELL);
    if route.method != Method::GET {
        refusals.insert(507);
    }
    if route.access != Access::Anyone {
        refusals.extend([401, 403]);
    }
    let has_body = !matches!(operation.body, Sent::Nothing);
    if has_body {
        refusals.insert(413);
    }
    if has_body || !signature.segments.is_empty() || !signature.query.is_empty() {
        refusals.insert(400);
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
    }

    #[test]
    fn the_document_is_the_one_that_is_checked_in() {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path(), text()).unwrap();
        }
        let checked_in = std::fs::read_to_string(path()).unwrap_or_default();
        assert!(checked_in == text(), "run `UPDATE=1 cargo test -p packmule-server openapi`");
    }

    #[test]
    fn every_route_of_the_api_is_an_operation_and_nothing_else_is() {
        let document = document();
        let mut operations = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys();
            operations.extend(methods.map(|method| (method.to_ascii_uppercase(), path.clone())));
        }
        let routes = routes();
        let routes = routes.iter().filter(|route| is_described(route));
        let routes = routes.map(|route| (route.method.to_string(), route.path.to_owned()));
        assert_eq!(operations, routes.collect());
    }

    #[test]
    fn every_description_is_of_a_route_and_of_one_handler() {
        let served: BTreeSet<&str> = routes().iter().map(|route| route.handler).collect();
        let mut seen = BTreeSet::new();
        for operation in operations::all() {
            assert!(served.contains(operation.handler), "{} has no route", operation.handler);
            assert!(seen.insert(operation.handler), "{} is described twice", operation.handler);
        }
    }

    #[test]
    fn a_path_s_variables_are_its_handler_s_segments() {
        let mut generator = SchemaGenerator::default();
        for route in routes().iter().filter(|route| is_described(route)) {
            let operations = operations::all();
            let known = operations.iter().find(|known| known.handler == route.handler).unwrap();
            let segments = known.signature(&mut generator).segments.len();
            assert_eq!(variables(route.path).count(), segments, "{}", route.path);
        }
    }

    #[test]
    fn security_follows_from_whom_the_route_is_for() {
        assert_eq!(security(Access::Anyone), json!([]));
        assert_eq!(security(Access::Roles(&[Role::Dock])), json!([{"basic": ["dock"]}]));
        let admin = security(Access::Roles(&[Role::Admin, Role::Agent]));
        assert_eq!(admin, json!([{"basic": ["admin"]}, {"basic": ["agent"]}, {"bearer": []}]));
        for route in routes().iter().filter(|route| is_described(route)) {
            let is_open = security(route.access) == json!([]);
            assert_eq!(is_open, route.access == Access::Anyone, "{}", route.path);
        }
    }
}
