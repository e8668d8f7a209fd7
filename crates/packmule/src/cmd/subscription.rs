//! `packmule subscription`: what resource groups lie in.

use super::admin::{AdminOptions, write_file};
use super::place::subscription;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Subcommand;
use std::path::PathBuf;
use wire::SubscriptionRequest;

/// Subscriptions, which resource groups lie in
#[derive(Subcommand, Debug)]
pub(crate) enum Subscription {
    /// List the subscriptions, the first one first
    ///
    /// Example: packmule subscription list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Make a subscription, with the resource group packmule in it
    ///
    /// Example: packmule subscription create Archive --server /srv/pm/admin.json
    Create {
        /// 1 to 64 characters that no other subscription has for a name
        name: String,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Write publish settings: a file with a new certificate that may change what lies in the subscription
    ///
    /// Example: packmule subscription publish-settings packmule -o packmule.publishsettings --server /srv/pm/admin.json
    PublishSettings {
        /// The subscription, by its id or name
        subscription: String,
        /// Where to write them; readable for this user only
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Rename a subscription
    ///
    /// Example: packmule subscription rename Archive Vaults --server /srv/pm/admin.json
    Rename {
        /// The subscription, by its id or name
        subscription: String,
        /// Its new name
        name: String,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

impl Subscription {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::List { admin } => {
                admin.client()?.subscriptions()?.iter().for_each(|one| show(context, one));
            }
            Self::Create { name, admin } => {
                let request = SubscriptionRequest { name: name.clone() };
                show(context, &admin.client()?.create_subscription(&request)?);
            }
            Self::PublishSettings { subscription: wanted, output, admin } => {
                let client = admin.client()?;
                let there = subscription(client.subscriptions()?, wanted)?;
                write_file(context, output, &client.publish_settings(&there.id)?)?;
            }
            Self::Rename { subscription: wanted, name, admin } => {
                let client = admin.client()?;
                let there = subscription(client.subscriptions()?, wanted)?;
                let request = SubscriptionRequest { name: name.clone() };
                show(context, &client.rename_subscription(&there.id, &request)?);
            }
        }
        Ok(Status::Done)
    }
}

fn show(context: &Context, one: &wire::Subscription) {
    context.printer.line(format!("{}  {}", one.id, one.name));
    context.printer.object("subscription", one);
}
