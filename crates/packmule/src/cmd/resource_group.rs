//! `packmule resource-group`: what vaults, storage accounts and import jobs lie in. Not the protection groups of a
//! source server.

use super::admin::AdminOptions;
use super::place::{SaidOptions, SubscriptionOptions, group_name};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Subcommand;
use serde_json::json;

/// Resource groups, which vaults, storage accounts and import jobs lie in
#[derive(Subcommand, Debug)]
pub(crate) enum ResourceGroup {
    /// List the resource groups
    ///
    /// Example: packmule resource-group list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        subscription: SubscriptionOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Make a resource group, or change the tags of one
    ///
    /// Example: packmule resource-group create offices --location westus --tag owner=ops --server /srv/pm/admin.json
    Create {
        /// 1 to 90 letters, digits, '-', '_', '(', ')' and '.'
        #[arg(value_parser = group_name)]
        name: String,
        #[command(flatten)]
        said: SaidOptions,
        #[command(flatten)]
        subscription: SubscriptionOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Delete a resource group
    ///
    /// Refused while anything is in it.
    ///
    /// Example: packmule resource-group delete offices --server /srv/pm/admin.json
    Delete {
        /// The resource group
        #[arg(value_parser = group_name)]
        name: String,
        #[command(flatten)]
        subscription: SubscriptionOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

/// Of groups that are made without one; that of the server's own group.
const LOCATION: &str = "local";

impl ResourceGroup {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::List { subscription, admin } => {
                let client = admin.client()?;
                for subscription in subscription.all(&client)? {
                    for group in client.resource_groups(&subscription.id)? {
                        let (name, place) = (&group.name, &group.location);
                        let line = format!("{name}: {place}, subscription {}", subscription.name);
                        context.printer.line(line);
                        context.printer.object("resource_group", &group);
                    }
                }
            }
            Self::Create { name, said, subscription, admin } => {
                let client = admin.client()?;
                let subscription = subscription.one(&client)?;
                let there = client.resource_groups(&subscription.id)?.into_iter();
                let lower = name.to_lowercase();
                let there = there.into_iter().find(|one| one.name.to_lowercase() == lower);
                let location = there.as_ref().map_or(LOCATION, |one| one.location.as_str());
                let mut new = said.new_resource(Some(location));
                // It is replaced as a whole: what nothing is said of stays as it is.
                new.tags = new.tags.or_else(|| there.as_ref().map(|one| one.tags.clone()));
                let group = client.put_resource_group(&subscription.id, name, &new)?;
                context.printer.line(format!("resource group {}", group.name));
                context.printer.object("resource_group", &group);
            }
            Self::Delete { name, subscription, admin } => {
                let client = admin.client()?;
                let subscription = subscription.one(&client)?;
                client.delete_resource_group(&subscription.id, name)?;
                context.printer.line(format!("deleted resource group {name}"));
                let object = json!({"name": name, "subscription": subscription.id});
                context.printer.object("deleted", &object);
            }
        }
        Ok(Status::Done)
    }
}
