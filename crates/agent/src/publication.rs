//! Asks the server to publish a seed, and watches until that ends or waits for something. Believes
//! nothing it says: the receipt is compared, and the vault checked, in `confirm`.

use crate::context::{Context, Event, Phase};
use crate::record::SeedRecord;
use crate::state::State;
use crate::transit::tell;
use crate::vault::Vault;
use crate::{Error, revise};
use flow::{SeedEvent, SeedState};
use model::ObjectKind;
use wire::{Code, Publication, PublicationRequest, PublicationState};

/// Whether the seed is published.
pub(crate) enum Published {
    /// The vault says so, and has a receipt.
    Yes(Box<SeedRecord>),
    /// Not yet. The server's status, where it knows the seed.
    No { record: Box<SeedRecord>, status: Option<Box<Publication>> },
}

/// Watches publication for as long as it goes on by itself.
pub(crate) fn until_published(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<Published, Error> {
    let record = revise::settle(ctx, state, vault, record)?;
    if has_receipt(vault, &record)? {
        return Ok(Published::Yes(Box::new(finished(ctx, state, record)?)));
    }
    ctx.tell(Event::Phase(Phase::Publication));
    let request = PublicationRequest {
        seed: Some(record.id),
        root: record.contents.as_ref().map(|contents| contents.whole.root),
    };
    let mut status = match vault.client.publish(&vault.vault, &vault.server, &request) {
        Err(error) if error.code() == Some(&Code::ResourceNotFound) => {
            return Ok(Published::No { record: Box::new(record), status: None });
        }
        other => other?,
    };
    let mut record = record;
    while goes_on(&status) && status.seed == Some(record.id) {
        ctx.tell(Event::Publication(&status));
        record = started(ctx, state, record)?;
        ctx.check_stop()?;
        ctx.clock.sleep(ctx.poll);
        status = vault.client.publication(&vault.vault, &vault.server)?;
    }
    ctx.tell(Event::Publication(&status));
    if has_receipt(vault, &record)? {
        return Ok(Published::Yes(Box::new(finished(ctx, state, record)?)));
    }
    if status.state == PublicationState::Failed {
        let message = status.message.unwrap_or_else(|| "it did not say why".to_owned());
        return Err(Error::Publication { message });
    }
    let record = Box::new(counted(ctx, state, record, &status)?);
    Ok(Published::No { record, status: Some(Box::new(status)) })
}

/// Has what was backed up while the seed travelled made visible, where some of it is not.
///
/// # Errors
/// [`Error::IncrementsDamaged`] when the vault cannot: the rest of what it has is not touched by that.
pub(crate) fn publish_increments(
    ctx: &Context<'_>,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<(), Error> {
    let since = vault.increments(ctx, record.id)?;
    if since.list(ObjectKind::Snapshot)?.is_empty() {
        // An answer that was lost.
        let status = match record.withheld {
            0 => vault.client.publication(&vault.vault, &vault.server)?,
            _ => return Ok(()),
        };
        return if status.seed == Some(record.id) { refuse_withheld(status) } else { Ok(()) };
    }
    ctx.tell(Event::Phase(Phase::Publication));
    let request = PublicationRequest { seed: Some(record.id), root: None };
    let mut status = vault.client.publish(&vault.vault, &vault.server, &request)?;
    while goes_on(&status) && status.seed == Some(record.id) {
        ctx.tell(Event::Publication(&status));
        ctx.check_stop()?;
        ctx.clock.sleep(ctx.poll);
        status = vault.client.publication(&vault.vault, &vault.server)?;
    }
    if status.state == PublicationState::Failed {
        let message = status.message.unwrap_or_else(|| "it did not say why".to_owned());
        return Err(Error::Publication { message });
    }
    match since.list(ObjectKind::Snapshot)?.len() {
        0 => refuse_withheld(status),
        count => {
            let said = status.message.unwrap_or_else(|| "the server has not done it".to_owned());
            let message = format!(
                "{count} recovery points are not visible yet ({said}); the next backup goes on"
            );
            Err(Error::Publication { message })
        }
    }
}

/// What the vault will never show, as it may lack something.
fn refuse_withheld(status: Publication) -> Result<(), Error> {
    match usize::try_from(status.withheld).unwrap_or(usize::MAX) {
        0 => Ok(()),
        count => {
            let message = status.message.unwrap_or_else(|| "they may lack something".to_owned());
            Err(Error::IncrementsDamaged { count, message })
        }
    }
}

fn goes_on(status: &Publication) -> bool {
    matches!(
        status.state,
        PublicationState::Copying | PublicationState::Verifying | PublicationState::Publishing
    )
}

/// Whether there is one. One that is not to be believed counts: `confirm` refuses it by name.
fn has_receipt(vault: &Vault, record: &SeedRecord) -> Result<bool, Error> {
    match vault.client.receipt(&vault.vault, &vault.server, Some(record.id)) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(&Code::ResourceNotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The server publishes, so it has counted every object.
fn started(ctx: &Context<'_>, state: &State, record: SeedRecord) -> Result<SeedRecord, Error> {
    if matches!(record.state(), SeedState::Publishing | SeedState::Published) {
        return Ok(record);
    }
    let events = [SeedEvent::MissingCounted { missing: 0 }, SeedEvent::PublicationStarted];
    happen(ctx, state, &record, &events)
}

fn finished(ctx: &Context<'_>, state: &State, record: SeedRecord) -> Result<SeedRecord, Error> {
    if record.state() == SeedState::Published {
        return Ok(record);
    }
    let record = started(ctx, state, record)?;
    happen(ctx, state, &record, &[SeedEvent::PublicationFinished])
}

/// What the server misses counts once all drives have given what they had.
fn counted(
    ctx: &Context<'_>,
    state: &State,
    record: SeedRecord,
    status: &Publication,
) -> Result<SeedRecord, Error> {
    let missing = status.missing_count;
    if missing == 0 || status.seed != Some(record.id) {
        return Ok(record);
    }
    happen(ctx, state, &record, &[SeedEvent::MissingCounted { missing }])
}

fn happen(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    events: &[SeedEvent],
) -> Result<SeedRecord, Error> {
    let (record, effects) = state.change_seed(record.id, |record| {
        let mut effects = Vec::new();
        for event in events {
            effects.extend(record.happen(event.clone(), ctx.now())?);
        }
        Ok(effects)
    })?;
    tell(ctx, record.id, &effects);
    Ok(record)
}
