//! What a seed consists of is changed: by a revision that the source signs, that the server takes before the source goes by
//! it, and that keeps what was before. Makes none of the objects.
//!
//! ```text
//!  objects durable ─▶ documents durable ─▶ the server takes the revision ─▶ the record goes by it
//!                                                │ refused: the seed is published, or being published
//!                                                └─▶ the record stays, and with it what the receipt is compared with
//! ```
//!
//! A call that dies before the server has taken it leaves a document that the next one overwrites; one that dies after it is
//! caught up with by [`settle`], which has the document.

use crate::Error;
use crate::context::{Context, Event};
use crate::journal;
use crate::record::{Revised, SeedRecord};
use crate::state::State;
use crate::vault::Vault;
use model::Digest;
use seed::{Inventory, Object, Revision, RevisionHeader, Trust};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};
use wire::Code;

/// What a revision is to say.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Every object, ascending.
    pub(crate) objects: Vec<Object>,
    /// What is not in it any more, and why it is as it is.
    pub(crate) note: Note,
    /// The seed lacks nothing, and what was backed up while it travelled does.
    pub(crate) withholds_increments: bool,
}

/// What is kept beside a revision, for people and for what comes after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    /// Snapshots, and what stands in their place.
    pub(crate) repaired: Vec<(Digest, Digest)>,
    /// Files that are in none of them any more.
    pub(crate) lost: Vec<LostFile>,
}

/// A file that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LostFile {
    pub(crate) path: String,
    pub(crate) snapshot: Digest,
    pub(crate) size: u64,
}

/// Where the documents of a revision are.
struct Documents {
    revision: PathBuf,
    inventory: PathBuf,
    note: PathBuf,
}

impl Documents {
    fn of(state: &State, record: &SeedRecord, number: u32) -> Self {
        let at = |name: &str| state.refill_folder(record.id).join(format!("{name}-{number}"));
        Self { revision: at("revision"), inventory: at("inventory"), note: at("lost") }
    }
}

/// Revises the seed. What the draft lists must be durable.
///
/// # Errors
/// What the server refuses, above all a seed that is published by now: nothing has changed then.
pub(crate) fn revise(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    draft: Draft,
) -> Result<SeedRecord, Error> {
    let contents = record.contents.as_ref().ok_or(flow::Refused::StillPreparing)?;
    let number = record.revision().saturating_add(1);
    let (seed, created, key) = (record.id, ctx.now(), state.signing_key()?);
    let repositories = vec![contents.repository];
    let Draft { objects, note, withholds_increments } = draft;
    let header = RevisionHeader {
        seed,
        number,
        replaces: contents.whole.root,
        created,
        repositories: repositories.clone(),
        withholds_increments,
    };
    let revision = Revision { header, objects };
    let unfit = |document, problem| seed::Error::Malformed {
        document,
        place: state.refill_folder(seed).display().to_string(),
        problem,
    };
    let document = seed::Document::Revision;
    let signed = revision.encode(&key).map_err(|problem| unfit(document, problem))?;
    let Revision { objects, .. } = revision;
    // Drives that are written later carry it as any inventory.
    let inventory = Inventory { seed, created, repositories, objects, parts: Vec::new() };
    let document = seed::Document::Inventory;
    let listed = inventory.encode(&key).map_err(|problem| unfit(document, problem))?;
    let to = Documents::of(state, record, number);
    let note = serde_json::to_vec_pretty(&note).map_err(|why| Error::Damaged {
        path: to.note.clone(),
        what: format!("it cannot be written ({why})"),
    })?;
    write(&to.note, &note)?;
    write(&to.inventory, &listed)?;
    write(&to.revision, &signed)?;
    put(ctx, state, vault, record, &to.revision)?;
    take(ctx, state, record, number)
}

/// Brings the server and the record to the same revision, whichever of the two was left behind.
///
/// # Errors
/// [`Error::OtherRevision`].
pub(crate) fn settle(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<SeedRecord, Error> {
    let there = vault.client.revision(&vault.vault, &vault.server, record.id)?;
    let (number, known) = (there.as_ref().map_or(0, |it| it.number), record.revision());
    let other = |what: String| Error::OtherRevision { seed: record.id, what };
    for missing in number.saturating_add(1)..=known {
        put(ctx, state, vault, record, &Documents::of(state, record, missing).revision)?;
    }
    let Some(there) = there.filter(|there| there.number >= known) else {
        return Ok(record.clone());
    };
    let digest = match record.revisions.last() {
        Some(last) if there.number == known => last.digest,
        _ if there.number == known.saturating_add(1) => {
            let at = Documents::of(state, record, there.number).revision;
            let missing = || {
                other(format!("the server has revision {}, and {} is not it", number, at.display()))
            };
            hash(&read(&at)?.ok_or_else(missing)?)
        }
        _ => {
            return Err(other(format!("the server has revision {number}, this state {known}")));
        }
    };
    if digest != there.digest {
        return Err(other(format!("the server has another revision {number} than this state")));
    }
    if there.number == known { Ok(record.clone()) } else { take(ctx, state, record, number) }
}

/// Where another key has signed the drives, this machine's certificate says that its own key signs from now on.
fn put(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    at: &Path,
) -> Result<(), Error> {
    let own = state.signing_key()?.public();
    match put_once(vault, record, at) {
        Err(Error::Client(refusal))
            if refusal.code() == Some(&Code::ManifestRefused)
                && record.drives_signer() != Some(own) =>
        {
            vault.client.name_successor(&vault.vault, &vault.server, record.id, own)?;
            ctx.tell(Event::Step("this server's key is named to sign for the seed"));
            put_once(vault, record, at)
        }
        other => other,
    }
}

fn put_once(vault: &Vault, record: &SeedRecord, at: &Path) -> Result<(), Error> {
    let mut file = File::open(at).map_err(Error::io("opening", at))?;
    let length = file.metadata().map_err(Error::io("looking at", at))?.len();
    Ok(vault.client.put_revision(&vault.vault, &vault.server, record.id, length, &mut file)?)
}

/// The record goes by the documents of that revision.
fn take(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    number: u32,
) -> Result<SeedRecord, Error> {
    let at = Documents::of(state, record, number);
    let lost = |what: &Path| Error::OtherRevision {
        seed: record.id,
        what: format!("the server has revision {number}, and {} is not it", what.display()),
    };
    let signer = state.signing_key()?.public();
    let load = |path: &Path| read(path)?.ok_or_else(|| lost(path));
    let (signed, listed) = (load(&at.revision)?, load(&at.inventory)?);
    let trust = Trust::Key(signer);
    let revision = Revision::decode(&signed, &trust).map_err(|_| lost(&at.revision))?;
    let inventory = Inventory::decode(&listed, &trust).map_err(|_| lost(&at.inventory))?;
    let contents = journal::contents(&inventory.body, inventory.digest, &at.inventory, signer)
        .filter(|_| inventory.body.objects == revision.body.objects)
        .ok_or_else(|| lost(&at.inventory))?;
    let note: Note = serde_json::from_slice(&load(&at.note)?).map_err(|_| lost(&at.note))?;
    let (record, ()) = state.change_seed(record.id, |record| {
        if record.revision() >= number {
            return Ok(());
        }
        let before = record.contents.replace(contents).ok_or(flow::Refused::StillPreparing)?;
        for (old, new) in &note.repaired {
            let staged = record.backups.values_mut().filter(|staged| staged.snapshot == *old);
            staged.for_each(|staged| staged.snapshot = *new);
        }
        record.revisions.push(Revised {
            number,
            digest: revision.digest,
            at: ctx.now(),
            before,
            repaired: note.repaired,
            lost: note.lost.len() as u64,
        });
        Ok(())
    })?;
    // Whatever was on the bench for it is kept by now.
    let _ = std::fs::remove_dir_all(state.work_folder(record.id));
    Ok(record)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        store::durable::create_folder(folder, 0o700).map_err(Error::io("creating", folder))?;
    }
    store::durable::replace(path, bytes, 0o600).map_err(Error::io("writing", path))
}

/// None when it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(Error::io("reading", path)),
    }
}

fn hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
