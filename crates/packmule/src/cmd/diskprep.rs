//! `packmule diskprep`: the drives of a seed, its import job, and the shipping details, in the
//! argument spelling of the utility that people know: `s:STAGING`, `p:FILE`, `u:`.

use super::agent::{StateOptions, with_agent};
use super::seed::{Writing, drive_specs, show_drives};
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use agent::{Preparation, PrepareReport, ShipTarget};
use clap::Args;
use model::{Address, ByteSize, ErrorKind, JobName, Package, TrackingNumber};
use seed::PlainReads;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Write a seed's drives and create its import job; later, give the shipping details
///
/// `s:STAGING` writes the drives. When they run out, run the same command with more of them; nothing
/// is copied twice. When everything is on sealed drives, the import job is created and the shipping
/// address shown. `u:` gives the shipping details; `packmule agent status` shows what became of the job.
///
/// Example: packmule diskprep s:/mnt/staging --drive /mnt/d1 --drive /mnt/d2
#[derive(Args, Debug)]
pub(crate) struct Diskprep {
    /// s:STAGING, the staging location; p:FILE, the publish settings, where this is not the source
    /// server; u:, to give shipping details
    #[arg(required = true, value_name = "s:PATH|p:FILE|u:")]
    words: Vec<Word>,
    /// Where a drive's file system is mounted; may be repeated
    #[arg(long, value_name = "PATH", num_args = 1..)]
    drive: Vec<PathBuf>,
    /// Bytes of a drive that may be used: one for all, or one for each drive [default: what is free]
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    capacity: Vec<ByteSize>,
    #[command(flatten)]
    writing: Writing,
    /// Name for the import job, instead of the one given for the group
    #[arg(long, value_name = "NAME")]
    job: Option<JobName>,
    #[command(flatten)]
    shipping: Shipping,
    /// Confirm the shipping details without being asked
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// What is asked for with `u:`, where it was not given.
#[derive(Args, Debug, Clone)]
struct Shipping {
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

/// One argument in the old spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Staging(String),
    PublishSettings(PathBuf),
    Update,
}

impl std::str::FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (letter, rest) = text.split_once(':').unwrap_or((text, ""));
        match (letter.to_ascii_lowercase().as_str(), rest) {
            ("s", "") => Err("s: wants the staging location behind it: s:/mnt/staging".into()),
            ("s", staging) => Ok(Self::Staging(staging.to_owned())),
            ("p", file) if !file.is_empty() => Ok(Self::PublishSettings(file.into())),
            ("u", "") => Ok(Self::Update),
            _ => Err("write s:STAGING, p:FILE or u:".into()),
        }
    }
}

impl Diskprep {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let staging = self.words.iter().find_map(|word| match word {
            Word::Staging(staging) => Some(staging.as_str()),
            _ => None,
        });
        if self.words.iter().any(|word| matches!(word, Word::PublishSettings(_))) {
            let words = "this version prepares drives on the source server itself: run it there, without p:";
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        if self.words.contains(&Word::Update) {
            return self.ship(context, staging);
        }
        match staging {
            Some(staging) => self.prepare(context, staging),
            None => Err(Failure::new(
                ErrorKind::Invalid,
                "name the staging location: packmule diskprep s:STAGING",
            )),
        }
    }

    fn prepare(&self, context: &Context, staging: &str) -> Outcome {
        let specs = drive_specs(&self.drive, &self.capacity)?;
        let password = self.password.read(&context.printer, false)?;
        let what = Preparation {
            staging,
            drives: &specs,
            read_back: &PlainReads,
            filling: self.writing.filling(),
            limit_rate: self.writing.limit_rate(),
            job: self.job.as_ref(),
        };
        let report = with_agent(context, &self.state.state, "writing drives", |agent| {
            agent::prepare(agent, &what, password.as_bytes())
        })?;
        show(context, &report);
        Ok(match &report.needed {
            None => Status::Done,
            Some(needed) if !needed.problems.is_empty() => Status::Partial,
            Some(_) => Status::DriveMissing,
        })
    }

    fn ship(&self, context: &Context, staging: Option<&str>) -> Outcome {
        let target = match (&self.job, staging) {
            (Some(job), _) => ShipTarget::Job(job.clone()),
            (None, Some(staging)) => ShipTarget::Staging(staging.to_owned()),
            (None, None) => ShipTarget::Only,
        };
        let (address, package) = self.shipping.ask()?;
        address.check_return().map_err(|e| Failure::new(ErrorKind::Invalid, e.to_string()))?;
        if !self.yes {
            confirm(context, &address, &package)?;
        }
        let job = with_agent(context, &self.state.state, "announcing", |agent| {
            agent::ship(agent, &target, &address, &package)
        })?;
        super::dock::show_job(context, &job);
        let object =
            json!({"job": job.name, "state": job.state, "tracking": package.tracking_number});
        context.printer.object("summary", &object);
        Ok(Status::Done)
    }
}

fn show(context: &Context, report: &PrepareReport) {
    let printer = &context.printer;
    show_drives(context, &report.drives);
    printer.line(format!("signer: {}", report.fingerprint));
    if let Some(needed) = &report.needed {
        printer.line(format!(
            "{} objects ({}) are on no drive yet",
            needed.objects,
            ByteSize(needed.bytes)
        ));
        if let Some(shortfall) = needed.shortfall {
            let size = ByteSize(shortfall.drive_capacity);
            printer.line(format!(
                "run the same command with more drives: about {} of {size} more",
                shortfall.drives
            ));
        }
    }
    if let Some(job) = &report.job {
        super::dock::show_job(context, job);
        if let Some(location) = report.locations.first() {
            let address = &location.address;
            printer.line(format!(
                "ship the drives to: {}, {} {}, {} {}, {}",
                address.recipient_name,
                address.street_address1,
                address.street_address2,
                address.postal_code,
                address.city,
                address.country_or_region
            ));
        }
        printer.line("then give the shipping details: packmule diskprep u:");
    }
    let sealed = report.drives.iter().filter(|drive| drive.state == seed::DriveState::Sealed);
    printer.object(
        "summary",
        &json!({
            "seed": report.seed,
            "set": report.set,
            "signer": report.fingerprint.to_string(),
            "job": report.job.as_ref().map(|job| &job.name),
            "complete": report.needed.is_none(),
            "bytes": sealed.map(|drive| drive.bytes).sum::<u64>(),
            "remaining_objects": report.needed.as_ref().map_or(0, |needed| needed.objects),
            "drives_missing": report.needed.as_ref().and_then(|needed| needed.shortfall).map(|s| s.drives),
            "locations": report.locations,
        }),
    );
}

impl Shipping {
    /// Everything that is needed, asked for where it was not given.
    fn ask(&self) -> Result<(Address, Package), Failure> {
        let needed = |given: &Option<String>, flag: &str, question: &str| match given {
            Some(text) => Ok(text.clone()),
            None => ask(flag, question),
        };
        let carrier_name = needed(&self.carrier, "carrier", "Carrier")?;
        let tracking_number =
            match &self.tracking {
                Some(number) => number.clone(),
                None => ask("tracking", "Tracking number")?.parse().map_err(
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

fn ask(flag: &str, question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        let words = format!("there is no terminal to ask on: give --{flag}");
        return Err(Failure::new(ErrorKind::Invalid, words));
    }
    let fail = |e| Failure::io("asking on", std::path::Path::new("/dev/tty"), e);
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "{question}: ").and_then(|()| terminal.flush()).map_err(fail)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(fail)?;
    Ok(line.trim().to_owned())
}

fn confirm(context: &Context, address: &Address, package: &Package) -> Result<(), Failure> {
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
    if ask("yes", "Type yes to confirm")? == "yes" {
        return Ok(());
    }
    Err(Failure::new(ErrorKind::Interrupted, "not confirmed: nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_spelling_is_understood() {
        assert_eq!("s:/mnt/a:b".parse(), Ok(Word::Staging("/mnt/a:b".into())));
        assert_eq!("S:/mnt".parse(), Ok(Word::Staging("/mnt".into())));
        assert_eq!("u:".parse(), Ok(Word::Update));
        assert_eq!("p:x".parse(), Ok(Word::PublishSettings("x".into())));
        for bad in ["s:", "p:", "u:x", "x:y", "staging"] {
            assert!(bad.parse::<Word>().is_err(), "{bad}");
        }
    }
}
