//! What tests of this crate share. Not compiled into it.

use crate::{Certificate, Guid, Identity, seeding_identity};
use proptest::prelude::*;
use std::sync::OnceLock;

/// A key takes a while to make, so there is one for each number.
pub(crate) fn identity(number: usize) -> &'static Identity {
    static MADE: [OnceLock<Identity>; 2] = [OnceLock::new(), OnceLock::new()];
    let now = "2026-11-25T10:00:00Z".parse().unwrap();
    MADE[number].get_or_init(|| seeding_identity(i64::try_from(number).unwrap(), now).unwrap())
}

pub(crate) fn certificate() -> Certificate {
    identity(1).certificate().clone()
}

pub(crate) fn guid() -> impl Strategy<Value = Guid> {
    any::<u128>().prop_map(Guid)
}

/// A text without spaces at its ends that XML can carry.
pub(crate) fn text() -> impl Strategy<Value = String> {
    "[ -~é<&]{0,20}".prop_map(|text| format!("x{}", text.trim()))
}
