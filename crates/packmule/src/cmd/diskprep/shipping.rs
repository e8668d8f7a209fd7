//! The shipping details of an import job: given, or asked for, and confirmed. Hands them to nobody.

use crate::context::Context;
use crate::failure::Failure;
use crate::ui::Ask;
use clap::Args;
use model::{Address, ErrorKind, Package, TrackingNumber};

/// What is asked for with `u:`, where it was not given.
#[derive(Args, Debug, Clone)]
pub(super) struct Shipping {
    /// Carrier
    #[arg(long, value_name = "NAME")]
    carrier: Option<String>,
    /// The carrier's tracking number
    #[arg(long, value_name = "NUMBER")]
    tracking: Option<TrackingNumber>,
    /// Return address: who
    #[arg(long, value_name = "NAME")]
    recipient: Option<String>,
    /// Return address: street
    #[arg(long, value_name = "TEXT")]
    street: Option<String>,
    /// Return address: second line
    #[arg(long, value_name = "TEXT")]
    street2: Option<String>,
    /// Return address: city
    #[arg(long, value_name = "TEXT")]
    city: Option<String>,
    /// Return address: state or province
    #[arg(long, value_name = "TEXT")]
    province: Option<String>,
    /// Return address: postal code
    #[arg(long, value_name = "TEXT")]
    postal_code: Option<String>,
    /// Return address: country or region
    #[arg(long, value_name = "TEXT")]
    country: Option<String>,
    /// Return address: telephone
    #[arg(long, value_name = "TEXT")]
    phone: Option<String>,
    /// Return address: mail
    #[arg(long, value_name = "TEXT")]
    email: Option<String>,
}

impl Shipping {
    /// Whether nothing at all was given.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [
            &self.carrier,
            &self.recipient,
            &self.street,
            &self.street2,
            &self.city,
            &self.province,
            &self.postal_code,
            &self.country,
            &self.phone,
            &self.email,
        ];
        self.tracking.is_none() && texts.iter().all(|given| given.is_none())
    }

    /// Whether nothing that a parcel needs is left to ask for.
    pub(super) fn is_complete(&self) -> bool {
        let needed = [
            &self.carrier,
            &self.recipient,
            &self.street,
            &self.city,
            &self.postal_code,
            &self.country,
            &self.phone,
            &self.email,
        ];
        self.tracking.is_some() && needed.iter().all(|given| given.is_some())
    }

    /// Everything that is needed, asked for where it was not given.
    ///
    /// # Errors
    /// Somebody must be asked, and nobody is there; an answer that cannot be used.
    pub(super) fn ask(&self, ask: &dyn Ask) -> Result<(Address, Package), Failure> {
        let needed = |given: &Option<String>, flag: &str, question: &str| match given {
            Some(text) => Ok(text.clone()),
            None => ask.ask(flag, question),
        };
        let carrier_name = needed(&self.carrier, "carrier", "Carrier")?;
        let tracking_number = match &self.tracking {
            Some(number) => number.clone(),
            None => ask.ask("tracking", "Tracking number")?.parse().map_err(
                |e: model::AddressError| Failure::new(ErrorKind::Invalid, e.to_string()),
            )?,
        };
        let address = Address {
            recipient_name: needed(&self.recipient, "recipient", "Return address: recipient")?,
            street_address1: needed(&self.street, "street", "Return address: street")?,
            street_address2: self.street2.clone().unwrap_or_default(),
            city: needed(&self.city, "city", "Return address: city")?,
            state_or_province: self.province.clone().unwrap_or_default(),
            postal_code: needed(&self.postal_code, "postal-code", "Return address: postal code")?,
            country_or_region: needed(
                &self.country,
                "country",
                "Return address: country or region",
            )?,
            phone: needed(&self.phone, "phone", "Return address: telephone")?,
            email: needed(&self.email, "email", "Return address: mail")?,
        };
        Ok((address, Package { carrier_name, tracking_number, drive_count: None, ship_date: None }))
    }
}

/// Shows what was given, and has it confirmed.
///
/// # Errors
/// It was not confirmed.
pub(super) fn confirm(
    context: &Context,
    ask: &dyn Ask,
    address: &Address,
    package: &Package,
) -> Result<(), Failure> {
    context.printer.note(format!(
        "carrier {}, tracking number {}",
        package.carrier_name, package.tracking_number
    ));
    context.printer.note(format!(
        "back to {}, {}, {} {}, {}",
        address.recipient_name,
        address.street_address1,
        address.postal_code,
        address.city,
        address.country_or_region
    ));
    if ask.ask("yes", "Type yes to confirm")? == "yes" {
        return Ok(());
    }
    Err(Failure::new(ErrorKind::Interrupted, "not confirmed: nothing was changed"))
}
