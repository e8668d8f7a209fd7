//! What a drive of a set is for. Says nothing of what is on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a drive of a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriveRole {
    /// Carries objects.
    #[default]
    Data,
    /// Carries what rebuilds lost extents of the data drives.
    Parity,
}

impl DriveRole {
    /// Whether it is the role that is not written out where all drives had it before there was parity.
    #[must_use]
    pub fn is_data(&self) -> bool {
        *self == Self::Data
    }
}
