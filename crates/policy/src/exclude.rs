//! What of a group's paths is not backed up. Looks at no file.

use model::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is not backed up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exclude {
    /// Patterns as in a `.gitignore`, from the root of the file system: what matches is left out, with all below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// Files larger than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<Size>,
    /// What is in a folder that has a file of one of these names, but for that file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub if_present: Vec<String>,
    /// What is on another file system than the path that was given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one_file_system: bool,
}

impl Exclude {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A size, written as a text such as `10 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub ByteSize);

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}
