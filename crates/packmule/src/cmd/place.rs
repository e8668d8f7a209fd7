//! Where resources lie: subscriptions and resource groups on the command line, and how a name is found when
//! nobody says where it is. Names of vaults and storage accounts are unique on a server, so that is seldom needed.

use crate::failure::Failure;
use clap::Args;
use client::{Client, NewProperties, NewResource, Resource, ResourceKind};
use model::ErrorKind;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use wire::Subscription;

/// The group of what is made without one; the server's own name for it.
const DEFAULT_GROUP: &str = "packmule";

/// Where a resource lies.
#[derive(Args, Debug, Clone)]
pub(crate) struct PlaceOptions {
    /// The resource group; in any case
    #[arg(long, value_name = "GROUP", value_parser = group_name)]
    resource_group: Option<String>,
    #[command(flatten)]
    subscription: SubscriptionOptions,
}

/// A subscription.
#[derive(Args, Debug, Clone)]
pub(crate) struct SubscriptionOptions {
    /// The subscription, by its id or name [default: the first for what is made, all for what is looked for]
    #[arg(long, value_name = "SUBSCRIPTION")]
    subscription: Option<String>,
}

/// What is said of a resource that is made.
#[derive(Args, Debug, Clone)]
pub(crate) struct SaidOptions {
    /// Location, such as westus [default: the resource group's]
    #[arg(long, value_name = "LOCATION")]
    location: Option<String>,
    /// A tag; may be repeated
    #[arg(long, value_name = "NAME=TEXT", value_parser = tag)]
    tag: Vec<(String, String)>,
}

/// What cannot be a group is not asked for: a name is a part of a path.
pub(crate) fn group_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.ends_with('.') || text.contains(['/', '\\', '?', '#', '%']) {
        return Err("resource groups have letters, digits, '-', '_', '(', ')' and '.', and do not end with '.'".into());
    }
    Ok(text.to_owned())
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=TEXT".into()),
    }
}

impl SaidOptions {
    fn is_empty(&self) -> bool {
        self.location.is_none() && self.tag.is_empty()
    }

    /// As the resource manager wants it. Without tags, those that are there stay.
    pub(crate) fn new_resource(&self, default_location: Option<&str>) -> NewResource {
        let tags: BTreeMap<String, String> = self.tag.iter().cloned().collect();
        NewResource {
            location: self.location.clone().or_else(|| default_location.map(str::to_owned)),
            tags: (!tags.is_empty()).then_some(tags),
            properties: None,
        }
    }
}

impl SubscriptionOptions {
    /// The one that is meant: as given, or the first.
    ///
    /// # Errors
    /// There is none like it.
    pub(crate) fn one(&self, client: &Client) -> Result<Subscription, Failure> {
        let mut all = self.all(client)?;
        if all.is_empty() {
            return Err(Failure::new(ErrorKind::NotFound, "the server has no subscription"));
        }
        Ok(all.remove(0))
    }

    /// The one that is given, or all.
    ///
    /// # Errors
    /// There is none like it.
    pub(crate) fn all(&self, client: &Client) -> Result<Vec<Subscription>, Failure> {
        let all = client.subscriptions()?;
        match &self.subscription {
            None => Ok(all),
            Some(wanted) => Ok(vec![subscription(all, wanted)?]),
        }
    }
}

/// The subscription of that id or name.
///
/// # Errors
/// There is none.
pub(crate) fn subscription(all: Vec<Subscription>, wanted: &str) -> Result<Subscription, Failure> {
    let lower = wanted.to_lowercase();
    let is = |one: &Subscription| one.id == lower || one.name.to_lowercase() == lower;
    all.into_iter().find(is).ok_or_else(|| {
        let words =
            format!("there is no subscription '{wanted}'; packmule subscription list shows them");
        Failure::new(ErrorKind::NotFound, words)
    })
}

fn noun(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::StorageAccount => "storage account",
        ResourceKind::Vault => "vault",
    }
}

impl PlaceOptions {
    /// For what is found by its name alone.
    pub(crate) fn anywhere() -> Self {
        Self { resource_group: None, subscription: SubscriptionOptions { subscription: None } }
    }

    /// Whether nothing was said.
    fn is_empty(&self) -> bool {
        self.resource_group.is_none() && self.subscription.subscription.is_none()
    }

    /// Everything of a kind that lies there.
    ///
    /// # Errors
    /// There is no such subscription.
    pub(crate) fn list(
        &self,
        client: &Client,
        kind: ResourceKind,
    ) -> Result<Vec<Resource>, Failure> {
        let mut found = Vec::new();
        for subscription in self.subscription.all(client)? {
            found.extend(client.resources(kind, &subscription.id)?);
        }
        if let Some(group) = &self.resource_group {
            let group = group.to_lowercase();
            found.retain(|one| one.resource_group.to_lowercase() == group);
        }
        Ok(found)
    }

    /// The resource of that name, wherever it is.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn find(
        &self,
        client: &Client,
        kind: ResourceKind,
        name: &str,
    ) -> Result<Resource, Failure> {
        let mut all = self.list(client, kind)?.into_iter();
        all.find(|one| one.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let there = if self.is_empty() { "" } else { " there" };
            Failure::new(ErrorKind::NotFound, format!("there is no {} {name}{there}", noun(kind)))
        })
    }

    /// Makes a resource: where it was said, or where the server puts what nothing is said of. Of one that is
    /// made plainly, `properties` are up to `plainly`.
    ///
    /// # Errors
    /// Those of the server.
    pub(crate) fn create(
        &self,
        client: &Client,
        kind: ResourceKind,
        name: &str,
        (said, properties): (&SaidOptions, Option<NewProperties>),
        plainly: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Resource, Failure> {
        if self.is_empty() && said.is_empty() {
            // One that exists is answered as it is, wherever it lies.
            plainly()?;
            return self.find(client, kind, name);
        }
        let subscription = self.subscription.one(client)?;
        let group = self.resource_group.as_deref().unwrap_or(DEFAULT_GROUP);
        let new = NewResource { properties, ..said.new_resource(None) };
        Ok(client.put_resource(kind, (&subscription.id, group), name, &new)?)
    }
}

/// Where it lies, and what is said of it, in lines.
pub(crate) fn lines(resource: &Resource) -> Vec<String> {
    let mut lines = vec![
        format!("  resource group: {}", resource.resource_group),
        format!("  subscription: {}", resource.subscription),
        format!("  location: {}", resource.location),
    ];
    lines.extend(resource.tags.iter().map(|(name, text)| format!("  tag: {name}={text}")));
    lines
}

/// One object with the fields of both; those of the second win.
pub(crate) fn merged(first: &impl Serialize, second: &impl Serialize) -> Value {
    let mut whole = serde_json::Map::new();
    for value in [serde_json::to_value(first), serde_json::to_value(second)] {
        if let Ok(Value::Object(mut fields)) = value {
            whole.append(&mut fields);
        }
    }
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_groups_are_read_as_they_are_written() {
        assert_eq!(tag("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(tag("a="), Ok(("a".into(), String::new())));
        assert!(tag("a").is_err() && tag("=b").is_err());
        assert!(group_name("Rg (1)").is_ok());
        for bad in ["", "..", "a/b", "a."] {
            assert!(group_name(bad).is_err(), "{bad}");
        }
    }
}
