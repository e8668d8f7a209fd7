//! The one shape of an error answer, and its codes. Maps nothing to HTTP.

use model::ErrorKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// An error answer: `{"error": {"code", "message", "details"?}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong and what to do next.
    pub message: String,
    /// The names concerned, where there are several; at most [`crate::MAX_NAMES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "names")]
    pub details: Vec<String>,
}

/// Names as they are, or as the resource manager has them: objects with a `target`.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Name {
        Plain(String),
        Detail { target: String },
        Other(serde::de::IgnoredAny),
    }
    let all = Vec::<Name>::deserialize(deserializer)?;
    let name = |name| match name {
        Name::Plain(name) | Name::Detail { target: name } => Some(name),
        Name::Other(_) => None,
    };
    Ok(all.into_iter().filter_map(name).collect())
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident => $kind:ident,)*) => {
        /// What went wrong, for programs. Its text is its name.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $code,)*
            /// A code that this version does not know.
            Other(String),
        }

        impl Code {
            /// Every code that this version knows.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The text on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$code => stringify!($code),)*
                    Self::Other(text) => text,
                }
            }

            /// The kind, for exit codes and retries.
            #[must_use]
            pub fn kind(&self) -> ErrorKind {
                match self {
                    $(Self::$code => ErrorKind::$kind,)*
                    Self::Other(_) => ErrorKind::Internal,
                }
            }

            fn from_text(text: &str) -> Self {
                match text {
                    $(stringify!($code) => Self::$code,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

codes! {
    /// The request is malformed, or a value in it is against its rule.
    InvalidRequest => Invalid,
    /// No credentials, or wrong ones.
    AuthenticationFailed => Denied,
    /// These credentials do not allow it.
    AuthorizationFailed => Denied,
    /// What was asked for is not there.
    ResourceNotFound => NotFound,
    /// The path takes another method.
    MethodNotAllowed => Invalid,
    /// The name is taken by something else.
    AlreadyExists => Conflict,
    /// Somebody else changed it first: read it again.
    ConcurrentChange => Conflict,
    /// The import job's state does not allow it.
    JobState => Conflict,
    /// Its owner has given the seed up.
    SeedAbandoned => Conflict,
    /// More drives than a job may have.
    TooManyDrives => Invalid,
    /// The drive is in another open job.
    DriveInAnotherJob => Conflict,
    /// The drive is not of this job.
    DriveNotInJob => WrongDrive,
    /// The drive has another header than announced: it was changed on its way.
    DriveHeaderMismatch => WrongDrive,
    /// The drive was announced without a password.
    DriveNotEncrypted => WrongDrive,
    /// Another job has this tracking number.
    TrackingNumberInUse => Conflict,
    /// Shipping needs a return address and a package first.
    ShippingDetailsMissing => Invalid,
    /// A manifest or inventory is malformed, or not signed by the job's signer.
    ManifestRefused => Invalid,
    /// A manifest is not the one that the job announces.
    ManifestHashMismatch => Invalid,
    /// The vault holds another repository.
    RepositoryMismatch => Conflict,
    /// The bytes do not hash to the name they came with.
    HashMismatch => Corrupt,
    /// The path takes objects of an announced repository only, and no deletions.
    AppendOnly => Denied,
    /// A seed of that source server travels, or is not published yet: nothing is deleted meanwhile.
    DataInTransit => Conflict,
    /// The vault's minimum retention, hold or immutability stands against it.
    RetentionRefused => Denied,
    /// The PIN is wrong, used or too old.
    PinRefused => Denied,
    /// More bytes than the vault or the source server may have there.
    QuotaExceeded => Full,
    /// The body is longer than it may be.
    BodyTooLarge => Invalid,
    /// The requested range lies outside the object.
    RangeNotSatisfiable => Invalid,
    /// The server's storage has no room.
    StorageFull => Full,
    /// Try again later.
    Unavailable => Unavailable,
    /// The server's own fault; its log says more under the request's id.
    InternalError => Internal,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl JsonSchema for Code {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let known: Vec<&str> = Self::ALL.iter().map(Self::as_str).collect();
        json_schema!({
            "type": "string",
            "description": "What went wrong, for programs. A newer server may have others",
            "enum": known,
        })
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from_text(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_again_from_its_text() {
        for code in Code::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
        }
        let unknown: Code = serde_json::from_str("\"FromTheFuture\"").unwrap();
        assert_eq!(unknown, Code::Other("FromTheFuture".into()));
    }

    #[test]
    fn the_error_body_has_the_service_s_shape() {
        let body = ErrorBody {
            error: ErrorDetail { code: Code::JobState, message: "no".into(), details: vec![] },
        };
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(json, r#"{"error":{"code":"JobState","message":"no"}}"#);
    }
}
