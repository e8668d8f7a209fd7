//! This computer's chain in the custody log of a seed: what it has done to the drives, on the disk before it counts,
//! sent when the server can be reached. What has happened is read from the seed's own state, so that a call that
//! died in between is caught up with by the next. Nothing waits for the server.

use crate::context::{Context, Event};
use crate::record::SeedRecord;
use crate::state::State;
use crate::transit;
use crate::vault::Vault;
use crate::{Error, names};
use custody::{Actor, Book, Logged, Proving, prove};
use keyring::DriveKeys;
use model::DriveSerial;
use seed::{DriveState, PreparedDrive};
use std::io::BufReader;
use std::path::Path;
use wire::{ActorKind, Code, Job, JobState, Receipt, Role, SeedId};

fn book(ctx: &Context<'_>, state: &State, id: SeedId) -> Result<Book, Error> {
    let credentials = state.credentials()?;
    let (kind, name) = match (credentials.role, &credentials.server) {
        (Role::Agent, Some(server)) => (ActorKind::Source, server.as_str()),
        _ => (ActorKind::Copy, ctx.author.hostname.as_str()),
    };
    let (folder, name) = (state.custody_folder(id), Actor::name_of(name));
    Ok(Book::new(&folder, id, kind, name, &state.signing_key()?))
}

/// Notes that these drives were formatted for the seed with that staging location: for whoever has done it, before
/// anything is written to them.
///
/// # Errors
/// [`Error::NoSeedAt`]; the disk.
pub fn formatted(ctx: &Context<'_>, staging: &str, drives: &[DriveSerial]) -> Result<(), Error> {
    let state = State::open(ctx.state)?;
    let record = state.seed_at(&names::staging_folder(staging)?)?;
    let record = record.ok_or_else(|| Error::NoSeedAt(staging.to_owned()))?;
    note_formatted(ctx, &state, &record, drives)
}

/// The same, of that seed.
pub(crate) fn note_formatted(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    drives: &[DriveSerial],
) -> Result<(), Error> {
    let book = book(ctx, state, record.id)?;
    let keys = state.known_drive_keys(record.id)?;
    for drive in drives {
        if !note_header(ctx, &book, keys.as_ref(), drive)? {
            let event = custody::Event::Formatted { drive: drive.clone(), header: None };
            book.append(event, ctx.now())?;
        }
    }
    Ok(())
}

/// The header that a drive was formatted with is kept with its password. Answers whether there is one.
fn note_header(
    ctx: &Context<'_>,
    book: &Book,
    keys: Option<&DriveKeys>,
    drive: &DriveSerial,
) -> Result<bool, Error> {
    let Some(keys) = keys else { return Ok(false) };
    let header = keys.get(drive)?.and_then(|key| key.header_hash);
    if header.is_some() {
        book.once(custody::Event::Formatted { drive: drive.clone(), header }, ctx.now())?;
    }
    Ok(header.is_some())
}

/// Notes what became of the drives of a set, before its import job is made.
pub(crate) fn written(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    drives: &[PreparedDrive],
) -> Result<(), Error> {
    let book = book(ctx, state, record.id)?;
    let keys = state.known_drive_keys(record.id)?;
    for prepared in drives {
        let manifest = prepared.manifest.filter(|_| prepared.state == DriveState::Sealed);
        let Some(manifest) = manifest else { continue };
        let drive = || prepared.serial.clone();
        if record.encrypted.contains(&prepared.serial) {
            note_header(ctx, &book, keys.as_ref(), &prepared.serial)?;
        }
        let (set, objects, bytes) = (prepared.set, prepared.objects, prepared.bytes);
        let written = custody::Event::Written { drive: drive(), set, objects, bytes };
        book.once(written, ctx.now())?;
        book.once(custody::Event::Sealed { drive: drive(), set, manifest }, ctx.now())?;
    }
    Ok(())
}

/// Notes that the parcel of a job was given to the carrier.
pub(crate) fn handed_over(
    ctx: &Context<'_>,
    state: &State,
    id: SeedId,
    job: &Job,
) -> Result<(), Error> {
    let Some(package) = job.delivery_package.as_ref().filter(|_| has_left(job)) else {
        return Ok(());
    };
    let drives = job.drive_list.iter().map(|drive| drive.drive_id.clone()).collect();
    let (carrier, tracking) = (&package.carrier_name, package.tracking_number.clone());
    let event = custody::Event::handed_over(job.name.clone(), carrier, tracking, drives);
    book(ctx, state, id)?.once(event, ctx.now())?;
    Ok(())
}

/// Notes that the owner has given the seed up.
pub(crate) fn abandoned(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
) -> Result<(), Error> {
    book(ctx, state, record.id)?.once(custody::Event::Abandoned, ctx.now())?;
    Ok(())
}

fn has_left(job: &Job) -> bool {
    !matches!(job.state, JobState::Creating | JobState::Canceled)
}

/// Catches up with parcels of drives that were written here: a call may have died before it said so.
pub(crate) fn left(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    jobs: &[Job],
) -> Result<(), Error> {
    let own = state.signing_key()?.public();
    let written_here = |job: &&Job| transit::signer(job, record) == Some(own);
    jobs.iter().filter(written_here).try_for_each(|job| handed_over(ctx, state, record.id, job))
}

/// Sends what the server does not have. Whatever stands against it is told, and tried again by the next call.
pub(crate) fn send(ctx: &Context<'_>, state: &State, vault: &Vault, id: SeedId) {
    if let Err(error) = book(ctx, state, id).and_then(|book| try_send(vault, id, &book)) {
        ctx.tell(Event::CustodyUnsent { seed: id, why: &error.to_string() });
    }
}

/// A state directory that was put back has said less, or something else, than it had sent.
fn try_send(vault: &Vault, id: SeedId, book: &Book) -> Result<(), Error> {
    let post = |lines: &[String]| {
        vault.client.append_custody(id, lines).map(|taken| taken.count).map_err(Error::from)
    };
    match book.send(post) {
        Err(Error::Client(refusal)) if refusal.code() == Some(&Code::AlreadyExists) => {
            book.adopt(&mut BufReader::new(vault.client.custody(id)?))?;
            book.send(post)
        }
        other => other,
    }
}

/// Whether the receipt has everything of this computer's chain that the server had when it signed, and the log all
/// that it has confirmed. Receipts of older servers say nothing of it.
pub(crate) fn compare(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    id: SeedId,
    receipt: &Receipt,
) -> Result<(), Error> {
    let Some(heads) = &receipt.custody else { return Ok(()) };
    let book = book(ctx, state, id)?;
    let (entries, sent) = (book.entries()?, book.sent());
    let own = heads.iter().find(|head| head.key == book.actor().key);
    let count = own.map_or(0, |head| head.count);
    let differs = |what: String| Err(Error::Receipt { seed: id, what });
    let sent = sent.min(entries.len() as u64);
    if count < sent {
        // What was sent after the publication is not in the receipt, and in the log behind it.
        let (all, before) = in_log(vault, id, book.actor())?;
        if before != count || all < sent {
            return differs(format!(
                "of the custody log it names {count} entries of {}, which had sent {sent}: something was cut off",
                book.actor()
            ));
        }
    }
    let at = usize::try_from(count).unwrap_or(usize::MAX);
    let last = at.checked_sub(1).and_then(|last| entries.get(last));
    match (own, last) {
        (Some(head), Some(last)) if head.last != last.hash() => differs(format!(
            "of the custody log it names another entry {} of {} than was written here",
            last.entry().number,
            book.actor()
        )),
        _ => Ok(()),
    }
}

/// How many entries of that actor are in the server's log, and how many of them before the publication.
fn in_log(vault: &Vault, id: SeedId, actor: &Actor) -> Result<(u64, u64), Error> {
    let (mut all, mut before, mut is_published) = (0, 0, false);
    let mut each = |logged: &Logged| {
        let entry = logged.entry();
        is_published |= matches!(entry.event, custody::Event::Published { .. });
        if entry.actor == *actor {
            all += 1;
            before += u64::from(!is_published);
        }
    };
    let mut log = BufReader::new(vault.client.custody(id)?);
    let looked = prove(&mut log, Proving { keys: None, each: &mut each });
    let refuse = |what: String| Error::Receipt { seed: id, what };
    looked
        .map_err(Error::io("reading", Path::new("the server's custody log")))?
        .map_err(|broken| refuse(format!("the custody log does not hang together: {broken}")))?;
    Ok((all, before))
}
