//! What a data plane URL means: which repository, which object. Touches nothing.

use crate::Error;
use crate::deletions::Owner;
use crate::place::Place;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use model::{AccountName, ContainerName, Digest, ObjectKey, ObjectKind};
use std::str::FromStr;

/// A repository, and perhaps an object or a kind of object in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) holder: Holder,
    /// Whose vault's, where it is one's.
    pub(crate) owner: Option<Owner>,
    what: What,
}

/// What holds the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Vault,
    /// What a vault has that is not published.
    Pending,
    Account {
        account: AccountName,
        container: ContainerName,
        repository: Digest,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Repository,
    Kind(ObjectKind),
    Object(ObjectKey),
}

impl Target {
    /// The object.
    pub(crate) fn key(&self) -> Result<ObjectKey, Error> {
        match &self.what {
            What::Object(key) => Ok(*key),
            _ => Err(Error::not_found("object of that name")),
        }
    }

    /// The kind to list.
    pub(crate) fn kind(&self) -> Result<ObjectKind, Error> {
        match &self.what {
            What::Kind(kind) => Ok(*kind),
            _ => Err(Error::not_found("list of that name")),
        }
    }

    /// Whose published repository it is in, where it is in one: objects of these may be held.
    pub(crate) fn published(&self) -> Option<&Owner> {
        self.owner.as_ref().filter(|_| self.holder == Holder::Vault)
    }

    fn parse<'a>(find: impl Fn(&str) -> Option<&'a str>, path: &str) -> Result<Self, Error> {
        let mut owner = None;
        let (place, holder) = match find("vault") {
            Some(vault) => {
                let (vault, server): Owner = (parse(vault)?, parse(segment(&find, "server")?)?);
                owner = Some((vault.clone(), server.clone()));
                if path.starts_with("/pending/") {
                    (Place::pending(&vault, &server), Holder::Pending)
                } else if path.starts_with("/increments/") {
                    let seed = parse(segment(&find, "seed")?)?;
                    (Place::increments(&vault, &server, seed), Holder::Pending)
                } else {
                    (Place::published(&vault, &server), Holder::Vault)
                }
            }
            None => {
                let account: AccountName = parse(segment(&find, "account")?)?;
                let container: ContainerName = parse(segment(&find, "container")?)?;
                let repository: Digest = parse(segment(&find, "repository")?)?;
                let place = Place::landed(&account, &container, &repository);
                (place, Holder::Account { account, container, repository })
            }
        };
        let kind = find("kind").map(kind_of).transpose()?;
        let what = match (kind, find("name")) {
            (Some(kind), Some(name)) => What::Object(ObjectKey::new(kind, parse(name)?)),
            (Some(kind), None) => What::Kind(kind),
            (None, _) if path.ends_with("/config") => What::Object(ObjectKey::Config),
            (None, _) => What::Repository,
        };
        Ok(Self { place, holder, owner, what })
    }
}

fn segment<'a>(find: &impl Fn(&str) -> Option<&'a str>, name: &str) -> Result<&'a str, Error> {
    find(name).ok_or_else(|| Error::invalid(format!("the path names no {name}")))
}

fn parse<T: FromStr>(text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|why: T::Err| Error::invalid(why.to_string()))
}

/// The config is no folder: it is neither listed nor named.
fn kind_of(text: &str) -> Result<ObjectKind, Error> {
    let kind = ObjectKind::from_folder(text).filter(|kind| *kind != ObjectKind::Config);
    kind.ok_or_else(|| Error::not_found("folder of that name in a repository"))
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|cause| Error::invalid(cause.body_text()))?;
        let find = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        Self::parse(find, parts.uri.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vault(kind: Option<&str>, name: Option<&str>, path: &str) -> Result<Target, Error> {
        let params =
            [("vault", Some("v1")), ("server", Some("s1")), ("kind", kind), ("name", name)];
        Target::parse(|key| params.iter().find(|p| p.0 == key).and_then(|p| p.1), path)
    }

    #[test]
    fn a_config_is_an_object_and_never_a_folder() {
        assert_eq!(vault(None, None, "/x/config").unwrap().key().unwrap(), ObjectKey::Config);
        assert!(vault(None, None, "/x/").unwrap().key().is_err());
        let id = "0".repeat(64);
        assert!(vault(Some("config"), Some(&id), "/x").is_err());
        assert!(vault(Some("config"), None, "/x/").is_err());
        assert_eq!(vault(Some("data"), None, "/x/").unwrap().kind().unwrap(), ObjectKind::Pack);
    }

    proptest! {
        #[test]
        fn no_url_leaves_its_repository(
            kind in "(data|keys|locks|\\.\\.|\\PC{0,8})",
            name in "([0-9a-f]{64}|\\.\\./\\.\\./[a-z]{1,8}|\\PC{0,80})"
        ) {
            if let Ok(target) = vault(Some(&kind), Some(&name), "/x") {
                let key = target.key().unwrap();
                let at = target.place.object(&key);
                prop_assert_eq!(target.place.key_of(&at), Some(key));
                prop_assert!(at.as_ref().starts_with("vaults/v1/s1/repository/"));
            }
        }
    }
}
