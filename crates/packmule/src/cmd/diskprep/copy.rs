//! `p:FILE`: this is not the source server. The seed is found by the note in staging, and the publish settings
//! get credentials for its import jobs. Writes no drive.

use crate::cmd::agent::with_agent;
use crate::context::Context;
use crate::failure::Failure;
use agent::StagedSeed;
use client::Certified;
use credfile::{PublishSettings, Subscription};
use model::ErrorKind;
use std::path::{Path, PathBuf};
use wire::{Code, CopyComputer};
use zeroize::Zeroizing;

/// Longer than any publish settings.
const LONGEST: u64 = 2 << 20;

/// The state directory of that seed's copying, with credentials that are good now. While the server is away, those
/// that were given before have to do.
///
/// # Errors
/// The publish settings cannot be used, or are not for this seed; something else is in staging.
pub(super) fn take(
    context: &Context,
    state: &Path,
    file: &Path,
    staging: &str,
) -> Result<PathBuf, Failure> {
    let settings = read(file)?;
    let note = agent::staged_seed(staging)?;
    let own = agent::copy_state(state, note.id);
    let given = match ask(&settings, &note) {
        Err(failure)
            if failure.kind == ErrorKind::Unavailable && agent::credentials(&own).is_ok() =>
        {
            let why = &failure.error;
            context.printer.note(format!("{why}; going on with what was given before"));
            return Ok(own);
        }
        other => other?,
    };
    with_agent(context, &own, "asking", |agent| agent::take_copy(agent, staging, &given))?;
    let (seed, job) = (&given.seed, &given.seed.announcement.import_job);
    context.printer.note(format!(
        "seed {} of {} for vault {}: import job {job}, storage account {}, container {}",
        seed.id,
        seed.server,
        seed.vault,
        seed.announcement.storage_account,
        seed.announcement.container
    ));
    Ok(own)
}

fn read(file: &Path) -> Result<PublishSettings, Failure> {
    let failed = |error| Failure::io("reading", file, error);
    if std::fs::metadata(file).map_err(failed)?.len() > LONGEST {
        let words = format!("{} is longer than any publish settings", file.display());
        return Err(Failure::new(ErrorKind::Invalid, words));
    }
    let bytes = Zeroizing::new(std::fs::read(file).map_err(failed)?);
    Ok(PublishSettings::read(&bytes)?)
}

/// Asks with each subscription of the file until one is the seed's.
fn ask(settings: &PublishSettings, note: &StagedSeed) -> Result<CopyComputer, Failure> {
    let mut refusal = None;
    for subscription in &settings.subscriptions {
        match with(subscription, note) {
            Some(Ok(given)) => return Ok(given),
            Some(Err(error)) if error.code() != Some(&Code::ResourceNotFound) => {
                return Err(error.into());
            }
            Some(Err(error)) => refusal = Some(error),
            None => {}
        }
    }
    let words = match refusal {
        None => "these publish settings are of Azure, or name no authority to trust: download them from the server that the source server is registered with (packmule subscription publish-settings)".to_owned(),
        Some(_) => format!(
            "these publish settings do not open seed {}: they must be of the subscription that its storage account lies in, and the source server must have announced the seed (packmule backup now GROUP)",
            note.id
        ),
    };
    Err(Failure::new(ErrorKind::Denied, words))
}

/// None for a subscription of somebody else's service.
fn with(subscription: &Subscription, note: &StagedSeed) -> Option<client::Result<CopyComputer>> {
    let service = subscription.service.as_ref()?;
    let ca_pem = service.authority.as_ref()?.to_pem();
    let (tenant, client) = (service.tenant.to_string(), service.client.to_string());
    let certified = Certified {
        endpoint: subscription.service_management_url.as_str(),
        ca_pem: &ca_pem,
        tenant: &tenant,
        client: &client,
        certificate: subscription.identity.certificate().as_der(),
        key: subscription.identity.private_key(),
        proxies: crate::context::proxies(),
    };
    Some(certified.copy_computer(note.id))
}
