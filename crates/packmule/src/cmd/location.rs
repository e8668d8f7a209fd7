//! `packmule location`: where drives can be sent.

use super::caller::CallerOptions;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Subcommand;
use model::Address;

/// Where drives can be sent
#[derive(Subcommand, Debug)]
pub(crate) enum Location {
    /// List where drives can be sent, and by which carriers
    ///
    /// Example: packmule location list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        caller: CallerOptions,
    },
}

impl Location {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let Self::List { caller } = self;
        let locations = caller.client()?.locations()?;
        if locations.is_empty() {
            context.printer.note("the server has no locations: see packmule serve --locations");
        }
        for location in &locations {
            let carriers = match location.supported_carriers.as_slice() {
                [] => "any carrier".to_owned(),
                some => some.join(", "),
            };
            let (name, to) = (&location.name, address(&location.address));
            context.printer.line(format!("{name}: {to}; {carriers}"));
            context.printer.object("location", location);
        }
        Ok(Status::Done)
    }
}

/// An address in one line.
pub(crate) fn address(address: &Address) -> String {
    let place = format!("{} {}", address.postal_code, address.city);
    let lines = [
        address.recipient_name.as_str(),
        &address.street_address1,
        &address.street_address2,
        place.trim(),
        &address.state_or_province,
        &address.country_or_region,
    ];
    let said: Vec<&str> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
    said.join(", ")
}
