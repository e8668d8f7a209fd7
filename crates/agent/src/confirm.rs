//! Whether the vault really has a seed: the receipt against what was sent, then the vault's own
//! repository, snapshot by snapshot, with the key. Only this makes a seed Confirmed.

use crate::context::{Context, Event, Phase};
use crate::record::{Contents, KeptReceipt, SeedRecord, covered};
use crate::state::State;
use crate::transit::tell;
use crate::vault::Vault;
use crate::{Error, chain, journal, kept, origin};
use flow::SeedEvent;
use model::{Digest, ObjectKey, ObjectKind};
use repo::{CheckOptions, Repository};
use seed::Object;
use std::collections::HashMap;
use wire::{KeysFrom, Receipt, SeedId};

/// Findings named in an error; the rest is a number.
const NAMED: usize = 20;

/// A seed that was found complete in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// The seed.
    pub seed: SeedId,
    /// The vault's receipt.
    pub receipt: Receipt,
    /// Snapshots whose every blob was found indexed in a pack that is there.
    pub snapshots: u64,
    /// Packs found with the length that the indexes say.
    pub packs: u64,
}

/// Compares the receipt, checks the vault, and makes the seed Confirmed. On any doubt it stays as
/// it is.
pub(crate) fn confirm(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    password: &[u8],
) -> Result<(SeedRecord, Confirmed), Error> {
    ctx.tell(Event::Phase(Phase::Receipt));
    let seed = record.id;
    let contents = record.contents.as_ref().ok_or(flow::Refused::StillPreparing)?;
    // Verified against the pinned key, and of this vault, server and seed.
    let (receipt, signed) = vault.client.receipt(&vault.vault, &vault.server, Some(seed))?;
    let mut objects = journal::objects(state, record, contents)?;
    compare(seed, contents, &objects, &receipt)?;
    chain::compare(ctx, state, vault, seed, &receipt)?;
    ctx.check_stop()?;
    ctx.tell(Event::Phase(Phase::Check));
    let repository = vault.open(ctx, password)?;
    if repository.identity() != contents.repository {
        return Err(Error::OtherRepository { location: repository.location(), seed });
    }
    origin::arrived(ctx, state, contents.repository)?;
    // A key that is to go may have gone.
    let keys = state.keys()?;
    let goes = |name| keys.get(name).is_some_and(|key| key.to_go.is_some());
    objects.retain(|object| object.kind != ObjectKind::Key || !goes(object.name));
    let packs = check_landed(ctx, seed, &repository, &objects, receipt.keys)?;
    let now = ctx.now();
    let (record, effects) = state.change_seed(seed, |record| {
        let effects = record.happen(SeedEvent::ReceiptVerified, now)?;
        record.receipt = Some(KeptReceipt { signed, confirmed: now });
        Ok(effects)
    })?;
    tell(ctx, seed, &effects);
    kept::forget(state, seed);
    let snapshots = receipt.snapshots.len() as u64;
    Ok((record, Confirmed { seed, receipt, snapshots, packs }))
}

/// Whether the receipt is for exactly what was sent.
pub(crate) fn compare(
    seed: SeedId,
    contents: &Contents,
    objects: &[Object],
    receipt: &Receipt,
) -> Result<(), Error> {
    let differs = |what: String| Err(Error::Receipt { seed, what });
    if receipt.seed != seed {
        return differs(format!("it is for seed {}", receipt.seed));
    }
    if receipt.repository != contents.repository {
        return differs(format!("it is for repository {}", receipt.repository));
    }
    let root = seed::root(objects.iter().filter(|object| covered(object, receipt.keys)));
    let sent = contents.sum(receipt.keys);
    if receipt.root != root || root != sent.root {
        return differs(format!("its root is {}, that of the inventory {root}", receipt.root));
    }
    if (receipt.objects, receipt.bytes) != (sent.objects, sent.bytes) {
        return differs(format!(
            "it counts {} objects of {} bytes, the inventory {} of {}",
            receipt.objects, receipt.bytes, sent.objects, sent.bytes
        ));
    }
    let mut snapshots = receipt.snapshots.clone();
    snapshots.sort_unstable();
    if snapshots != contents.snapshots {
        return differs("it names other snapshots".to_owned());
    }
    Ok(())
}

/// Looks for everything the seed holds in the vault, and walks every snapshot there: each blob
/// must be indexed in a pack that is present with the indexed length. Answers how many packs.
///
/// # Errors
/// [`Error::NotLanded`] with what is missing or damaged, by name.
fn check_landed(
    ctx: &Context<'_>,
    seed: SeedId,
    repository: &Repository,
    objects: &[Object],
    keys: KeysFrom,
) -> Result<u64, Error> {
    let mut findings = Findings::default();
    for kind in [ObjectKind::Key, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot] {
        ctx.check_stop()?;
        let listed = repository.store().list(kind)?;
        let lengths: HashMap<ObjectKey, u64> =
            listed.into_iter().map(|listed| (listed.key, listed.length)).collect();
        let wanted = objects.iter().filter(|object| object.kind == kind && covered(object, keys));
        for object in wanted {
            findings.look(object, lengths.get(&object.key()).copied());
        }
    }
    let options = CheckOptions { read_data: false, threads: ctx.threads };
    let report = repository.check(options, &|event| ctx.tell(Event::Check(event)))?;
    for finding in report.findings.iter().filter(|finding| finding.is_damage()) {
        findings.add(finding.to_string());
    }
    if findings.count > 0 {
        let Findings { count, named } = findings;
        return Err(Error::NotLanded { seed, count, findings: named });
    }
    Ok(report.packs as u64)
}

#[derive(Debug, Default)]
struct Findings {
    count: usize,
    named: Vec<String>,
}

impl Findings {
    fn look(&mut self, object: &Object, found: Option<u64>) {
        let (key, length) = (object.key(), object.length);
        match found {
            None => self.add(format!("{key} is not there")),
            Some(found) if found != length => {
                self.add(format!("{key} has {found} bytes, not {length}"));
            }
            Some(_) => {}
        }
    }

    fn add(&mut self, finding: String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(finding);
        }
    }
}

/// Whether a kept receipt still stands: signed by the pinned key, and for this seed's contents.
pub(crate) fn stands(
    record: &SeedRecord,
    contents: &Contents,
    objects: &[Object],
    pinned: &wire::PublicKey,
) -> Result<Receipt, Error> {
    let none = || Error::Receipt { seed: record.id, what: "there is none".to_owned() };
    let kept = record.receipt.as_ref().ok_or_else(none)?;
    let receipt = client::verify_receipt(&kept.signed, pinned)?;
    compare(record.id, contents, objects, &receipt)?;
    Ok(receipt)
}

/// Names of the objects that a receipt covers, to tell what else is in a folder.
pub(crate) fn identities(objects: &[Object]) -> HashMap<(ObjectKind, Digest), u64> {
    objects.iter().map(|object| ((object.kind, object.name), object.length)).collect()
}
