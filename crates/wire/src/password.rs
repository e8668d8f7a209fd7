//! A drive's password as text, in the one place where it is wanted. The model's type has no such text
//! by itself, so that it goes nowhere by accident. A refusal does not repeat it.

use model::DrivePassword;
use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroizing;

pub(crate) fn serialize<S: Serializer>(password: &DrivePassword, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&password.text())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DrivePassword, D::Error> {
    let text = Zeroizing::new(String::deserialize(from)?);
    text.parse().map_err(serde::de::Error::custom)
}

/// Where there may be none.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, DrivePassword, Serializer, Zeroizing};

    pub(crate) fn serialize<S: Serializer>(
        password: &Option<DrivePassword>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match password {
            Some(password) => super::serialize(password, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<DrivePassword>, D::Error> {
        let text = Option::<String>::deserialize(from)?.map(Zeroizing::new);
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}
