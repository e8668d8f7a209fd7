//! Which recovery points of a group are kept. Decides about no recovery point itself.

use serde::{Deserialize, Serialize};

/// How many recovery points are kept by each rule; a point stays if one of them wants it. Without a rule all stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keep {
    /// The newest so many.
    #[serde(skip_serializing_if = "is_zero")]
    pub last: u32,
    /// The newest of each of the last so many hours that have one.
    #[serde(skip_serializing_if = "is_zero")]
    pub hourly: u32,
    /// The same of days.
    #[serde(skip_serializing_if = "is_zero")]
    pub daily: u32,
    /// The same of weeks.
    #[serde(skip_serializing_if = "is_zero")]
    pub weekly: u32,
    /// The same of months.
    #[serde(skip_serializing_if = "is_zero")]
    pub monthly: u32,
    /// The same of years.
    #[serde(skip_serializing_if = "is_zero")]
    pub yearly: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Keep {
    /// Whether there is no rule.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}
