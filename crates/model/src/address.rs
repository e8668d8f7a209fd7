//! Where a package goes and what it is called on the way. Field names are those of the
//! import/export service's API. Does not know carriers' own rules.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A postal address, in the import/export service's fields.
///
/// invariant: after [`Address::check`] every mandatory field holds a printable character and
/// none holds a line break.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Address {
    /// Who receives it.
    pub recipient_name: String,
    /// First line of the street.
    pub street_address1: String,
    /// Second line; may be empty.
    pub street_address2: String,
    /// City.
    pub city: String,
    /// State or province; may be empty.
    pub state_or_province: String,
    /// Postal code.
    pub postal_code: String,
    /// Country or region.
    pub country_or_region: String,
    /// Telephone.
    pub phone: String,
    /// Mail address; mandatory in a return address only.
    pub email: String,
}

/// A field that is missing, or holds what a shipping label cannot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A mandatory field is empty.
    #[error("{0} is missing from the address")]
    Missing(&'static str),
    /// A line break, a control character, or more than 200 characters.
    #[error("{0} has a line break, a control character or more than 200 characters")]
    Unprintable(&'static str),
    /// No tracking number can look like this.
    #[error(
        "'{0}' is not a tracking number: 4 to 40 letters and digits, with spaces or hyphens between them"
    )]
    TrackingNumber(String),
}

impl Address {
    /// Refuses an address that a label cannot carry.
    ///
    /// # Errors
    /// The first field that is missing or unprintable.
    pub fn check(&self) -> Result<(), AddressError> {
        let mandatory = [
            ("recipientName", &self.recipient_name),
            ("streetAddress1", &self.street_address1),
            ("city", &self.city),
            ("postalCode", &self.postal_code),
            ("countryOrRegion", &self.country_or_region),
            ("phone", &self.phone),
        ];
        if let Some((field, _)) = mandatory.iter().find(|(_, text)| text.trim().is_empty()) {
            return Err(AddressError::Missing(field));
        }
        let optional = [
            ("streetAddress2", &self.street_address2),
            ("stateOrProvince", &self.state_or_province),
            ("email", &self.email),
        ];
        let unprintable =
            |text: &str| text.chars().any(char::is_control) || text.chars().count() > 200;
        match mandatory.iter().chain(&optional).find(|(_, text)| unprintable(text)) {
            Some((field, _)) => Err(AddressError::Unprintable(field)),
            None => Ok(()),
        }
    }

    /// As [`check`](Self::check), and with a mail address, as a return address needs.
    ///
    /// # Errors
    /// The first field that is missing or unprintable.
    pub fn check_return(&self) -> Result<(), AddressError> {
        self.check()?;
        if self.email.trim().is_empty() { Err(AddressError::Missing("email")) } else { Ok(()) }
    }
}

/// A carrier's tracking number, normalised: upper case, without spaces and hyphens.
///
/// Two spellings of one number are equal, so that no two jobs can claim the same parcel.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackingNumber(String);

impl TrackingNumber {
    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrackingNumber {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let normal: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-'))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        if (4..=40).contains(&normal.len()) && normal.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(normal))
        } else {
            Err(AddressError::TrackingNumber(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for TrackingNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrackingNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Serialize for TrackingNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TrackingNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for TrackingNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TrackingNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "4 to 40 letters and digits, with spaces or hyphens between them that do not count",
            "pattern": "^([ -]*[A-Za-z0-9]){4,40}[ -]*$",
        })
    }
}

/// One package with a carrier: what a job's drives travel in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// The carrier.
    pub carrier_name: String,
    /// Its tracking number.
    pub tracking_number: TrackingNumber,
    /// How many drives are inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive_count: Option<u32>,
    /// When it was handed over, as the customer wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ship_date: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_tracking_number_are_one() {
        let number = |text: &str| text.parse::<TrackingNumber>();
        assert_eq!(number("1z 999-aa1").unwrap(), number("1Z999AA1").unwrap());
        assert!(number("1Z").is_err());
        assert!(number("1Z/../9").is_err());
    }

    #[test]
    fn a_return_address_needs_a_mail_address() {
        let mut address = Address {
            recipient_name: "Ops".into(),
            street_address1: "1 Main St".into(),
            city: "Oslo".into(),
            postal_code: "0150".into(),
            country_or_region: "NO".into(),
            phone: "4722000000".into(),
            ..Address::default()
        };
        assert_eq!(address.check(), Ok(()));
        assert_eq!(address.check_return(), Err(AddressError::Missing("email")));
        address.city = "Os\nlo".into();
        assert_eq!(address.check(), Err(AddressError::Unprintable("city")));
        address.city = " ".into();
        assert_eq!(address.check(), Err(AddressError::Missing("city")));
    }
}
