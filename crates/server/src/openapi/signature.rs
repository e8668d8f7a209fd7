//! What the signature of a handler says about its operation: the segments of its path, its query, its
//! answer. Says nothing of bodies: handlers read those themselves.

use crate::Error;
use crate::http::{self, Segments};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

/// What is in an answer that is no refusal.
#[derive(Debug)]
pub(super) enum Content {
    Nothing,
    Json(Schema),
    /// Of that media type.
    Other(&'static str),
}

/// A part of the query.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) is_required: bool,
    pub(super) schema: Value,
}

/// What is known of a handler.
#[derive(Debug)]
pub(crate) struct Signature {
    /// In the order in which the path names them.
    pub(super) segments: Vec<Value>,
    pub(super) query: Vec<Asked>,
    pub(super) content: Content,
}

/// A function whose arguments and answer are known.
pub(crate) trait Described<T> {
    fn signature(generator: &mut SchemaGenerator) -> Signature;
}

/// An argument of a handler.
pub(crate) trait Takes {
    fn takes(_: &mut Signature, _: &mut SchemaGenerator) {}
}

impl<S> Takes for State<S> {}
impl<T> Takes for Extension<T> {}
impl Takes for Body {}
impl Takes for HeaderMap {}

impl<T: JsonSchema> Takes for Segments<T> {
    fn takes(to: &mut Signature, generator: &mut SchemaGenerator) {
        let schema = generator.subschema_for::<T>().to_value();
        match schema.get("prefixItems") {
            Some(Value::Array(each)) => to.segments.extend(each.iter().cloned()),
            _ => to.segments.push(schema),
        }
    }
}

impl<T: JsonSchema> Takes for http::Asked<T> {
    fn takes(to: &mut Signature, generator: &mut SchemaGenerator) {
        let schema = T::json_schema(generator).to_value();
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|it| it == name));
        for (name, schema) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let is_required = is_required(name);
            to.query.push(Asked {
                name: name.clone(),
                is_required,
                schema: present(schema.clone()),
            });
        }
    }
}

/// The schema without `null`: a query says nothing by leaving out.
fn present(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type")
        && let Some(first) = types.get(0).cloned()
    {
        *types = first;
    }
    let other = schema.get("anyOf").and_then(|any| any.get(0)).cloned();
    if let (Some(Value::Object(other)), Some(object)) = (other, schema.as_object_mut()) {
        object.remove("anyOf");
        object.extend(other);
    }
    schema
}

/// What a handler gives back.
pub(crate) trait Answers {
    fn content(generator: &mut SchemaGenerator) -> Content;
}

impl<T: JsonSchema> Answers for Json<T> {
    fn content(generator: &mut SchemaGenerator) -> Content {
        Content::Json(generator.subschema_for::<T>())
    }
}

impl<T: Answers> Answers for (StatusCode, T) {
    fn content(generator: &mut SchemaGenerator) -> Content {
        T::content(generator)
    }
}

impl<T: Answers> Answers for Result<T, Error> {
    fn content(generator: &mut SchemaGenerator) -> Content {
        T::content(generator)
    }
}

impl Answers for StatusCode {
    fn content(_: &mut SchemaGenerator) -> Content {
        Content::Nothing
    }
}

/// An answer made by hand: a stored document, unless the operation says otherwise.
impl Answers for Response {
    fn content(_: &mut SchemaGenerator) -> Content {
        Content::Other("application/octet-stream")
    }
}

macro_rules! described {
    ($($argument:ident),*) => {
        impl<F, Fut, R, $($argument),*> Described<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut,
            Fut: Future<Output = R>,
            R: Answers,
            $($argument: Takes,)*
        {
            fn signature(generator: &mut SchemaGenerator) -> Signature {
                let content = R::content(generator);
                #[allow(unused_mut, reason = "there may be no argument")]
                let mut signature = Signature { segments: Vec::new(), query: Vec::new(), content };
                $($argument::takes(&mut signature, generator);)*
                signature
            }
        }
    };
}

described!();
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
