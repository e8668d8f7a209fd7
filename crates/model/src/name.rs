//! Names of accounts, vaults, jobs and the like: one type each, so that they cannot be mixed up.
//!
//! Each type refuses what its rule forbids at the moment it is made. None can leave a folder:
//! no name holds a slash, a dot alone, or a control character.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A name against the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: {rule}")]
pub struct NameError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

fn lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $lengths:expr, $pattern:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let valid: fn(&[u8]) -> bool = $valid;
                if $lengths.contains(&text.len()) && valid(text.as_bytes()) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { text: text.chars().take(80).collect(), what: $what, rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $rule,
                    "pattern": $pattern,
                    "minLength": $lengths.start(),
                    "maxLength": $lengths.end(),
                })
            }
        }
    };
}

name!(
    /// A storage account's name. Azure's rule, because Azure's clients enforce it.
    AccountName, "storage account name", 3..=24, r"^[a-z0-9]+$",
    "3 to 24 lower-case letters and digits",
    |b| b.iter().copied().all(lower_or_digit)
);

name!(
    /// The name of a backend: where the operator has storage accounts keep their objects.
    BackendName, "backend name", 3..=24, r"^[a-z0-9]+$",
    "3 to 24 lower-case letters and digits",
    |b| b.iter().copied().all(lower_or_digit)
);

/// The one that every server has, in its data folder.
impl Default for BackendName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

name!(
    /// A container within a storage account. Azure's rule.
    ContainerName, "container name", 3..=63, r"^[a-z0-9](-?[a-z0-9])*$",
    "3 to 63 lower-case letters, digits and single hyphens, starting and ending with a letter or digit",
    |b| b.iter().all(|&b| lower_or_digit(b) || b == b'-')
        && !b.starts_with(b"-") && !b.ends_with(b"-") && !b.windows(2).any(|w| w == b"--")
);

name!(
    /// A vault's name. Azure's rule for Recovery Services vaults.
    VaultName, "vault name", 2..=50, r"^[A-Za-z][A-Za-z0-9-]*$",
    "2 to 50 letters, digits and hyphens, starting with a letter",
    |b| b.first().is_some_and(u8::is_ascii_alphabetic)
        && b.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-')
);

name!(
    /// An import job's name. Azure's rule.
    JobName, "job name", 2..=64, r"^[a-z][a-z0-9_-]*$",
    "2 to 64 lower-case letters, digits, hyphens and underscores, starting with a letter",
    |b| b.first().is_some_and(u8::is_ascii_lowercase)
        && b.iter().all(|&b| lower_or_digit(b) || b == b'-' || b == b'_')
);

name!(
    /// The name a source server is registered under: a host name.
    ServerName, "server name", 1..=63, r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "1 to 63 letters, digits, dots, hyphens and underscores, starting with a letter or digit",
    |b| b.first().is_some_and(u8::is_ascii_alphanumeric)
        && b.iter().all(|&b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
);

name!(
    /// The name of one who writes into a seed's custody log: a source server's, or a computer's host name.
    ActorName, "actor name", 1..=63, r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "1 to 63 letters, digits, dots, hyphens and underscores, starting with a letter or digit",
    |b| b.first().is_some_and(u8::is_ascii_alphanumeric)
        && b.iter().all(|&b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
);

/// Of a computer that has no name.
impl Default for ActorName {
    fn default() -> Self {
        Self("unnamed".to_owned())
    }
}

name!(
    /// A protection group's name.
    GroupName, "protection group name", 1..=64, r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "1 to 64 letters, digits, dots, hyphens and underscores, starting with a letter or digit",
    |b| b.first().is_some_and(u8::is_ascii_alphanumeric)
        && b.iter().all(|&b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
);

name!(
    /// A drive's serial number as its hardware reports it, without spaces.
    DriveSerial, "drive serial number", 1..=64, r"^([.]{0,2}[!-,0-\[\]-~-][!-,.0-\[\]-~-]*|[.]{3}[!-,.0-\[\]-~-]*)$",
    "1 to 64 printable characters other than space, slash and backslash",
    |b| b.iter().all(|&b| b.is_ascii_graphic() && !b"/\\".contains(&b)) && b != b"." && b != b".."
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_their_rules() {
        assert!("seedacct01".parse::<AccountName>().is_ok());
        assert!("Seed".parse::<AccountName>().is_err());
        assert_eq!("default".parse(), Ok(BackendName::default()));
        assert!("../a".parse::<BackendName>().is_err());
        assert!("a-b".parse::<ContainerName>().is_ok());
        assert!("a--b".parse::<ContainerName>().is_err());
        assert!("-ab".parse::<ContainerName>().is_err());
        assert!("Vault-1".parse::<VaultName>().is_ok());
        assert!("1vault".parse::<VaultName>().is_err());
        assert!("job_1".parse::<JobName>().is_ok());
        assert!("j".parse::<JobName>().is_err());
        assert!("fs01.example.org".parse::<ServerName>().is_ok());
        assert!("..".parse::<ServerName>().is_err());
        assert!("WD-WX11A1".parse::<DriveSerial>().is_ok());
        assert!("..".parse::<DriveSerial>().is_err());
        assert!("a b".parse::<DriveSerial>().is_err());
    }

    /// Texts of a name's own pattern and lengths are names.
    fn holds<N: FromStr + schemars::JsonSchema>() {
        let schema = schemars::schema_for!(N);
        let part = |name: &str| schema.get(name).cloned().unwrap();
        let pattern = part("pattern").as_str().unwrap().to_owned();
        let (least, most) =
            (part("minLength").as_u64().unwrap(), part("maxLength").as_u64().unwrap());
        let texts = proptest::string::string_regex(pattern.trim_matches(['^', '$'])).unwrap();
        let fits = move |text: &String| (least..=most).contains(&(text.len() as u64));
        let texts = texts.prop_filter("length", fits);
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let same = |text: String| {
            prop_assert!(text.parse::<N>().is_ok(), "{}", text);
            Ok(())
        };
        runner.run(&texts, same).unwrap();
    }

    #[test]
    fn what_a_schema_allows_is_a_name() {
        holds::<AccountName>();
        holds::<BackendName>();
        holds::<ContainerName>();
        holds::<VaultName>();
        holds::<JobName>();
        holds::<ServerName>();
        holds::<GroupName>();
        holds::<DriveSerial>();
    }

    proptest! {
        #[test]
        fn no_name_leaves_a_folder(text in "\\PC{0,20}|[./a-]{1,6}") {
            for accepted in [
                text.parse::<AccountName>().map(|n| n.to_string()),
                text.parse::<BackendName>().map(|n| n.to_string()),
                text.parse::<ContainerName>().map(|n| n.to_string()),
                text.parse::<VaultName>().map(|n| n.to_string()),
                text.parse::<JobName>().map(|n| n.to_string()),
                text.parse::<ServerName>().map(|n| n.to_string()),
                text.parse::<GroupName>().map(|n| n.to_string()),
                text.parse::<DriveSerial>().map(|n| n.to_string()),
            ].into_iter().flatten() {
                prop_assert!(!accepted.contains('/') && accepted != "." && accepted != "..");
            }
        }
    }
}
