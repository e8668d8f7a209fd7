//! `packmule seed export`.

use super::bays::DriveOptions;
use super::drives::{Writing, show_prepared};
use super::keys_folder;
use super::prepare::write_from;
use crate::context::{Context, RepoOptions, state_folder};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::Args;
use keyring::DriveKeys;
use model::{ByteSize, Digest, ObjectKey, ObjectKind};
use repo::{LockMode, Repository, Selection};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Folder, Overlay, Part, Store};

/// Write chosen recovery points onto drives, for a restore by drive
///
/// From any repository, such as a vault's: the snapshots, the packs that they need, and an index of these alone, on the
/// fewest of the drives that can hold them. The other end takes them with `packmule seed import`; where one drive
/// holds it all, stock restic reads it in place, as a repository in the drive's folder repositories/.
/// When drives run out, the same command goes on with more of them.
///
/// Example: packmule seed export -r /srv/backup latest --drive /dev/sdb
#[derive(Args, Debug)]
#[command(mut_arg("drive", |drive| drive.required(true)))]
pub(crate) struct Export {
    #[command(flatten)]
    repo: RepoOptions,
    /// Which: ids, unambiguous beginnings of them, or `latest`
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    #[command(flatten)]
    drives: DriveOptions,
    #[command(flatten)]
    writing: Writing,
    /// Parity drives: how many drives of the set may be lost
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..10))]
    parity: u32,
    /// Where state is kept: signing key, and what was exported
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Only say what is needed
    #[arg(long)]
    dry_run: bool,
}

impl Export {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let repository = context.repository(&self.repo)?;
        let state = state_folder(self.state.as_deref())?;
        // Nothing may be pruned away while it is copied.
        let lock = repository.lock(LockMode::Shared)?;
        let mut snapshots = BTreeSet::new();
        for text in &self.snapshots {
            snapshots.insert(repository.find_snapshot(text)?.id);
        }
        let (selection, unread) = select(context, &repository, &snapshots)?;
        show(context, &selection);
        if self.dry_run {
            return Ok(if unread { Status::Partial } else { Status::Done });
        }
        let folder = state.join("exports").join(name(&repository, &selection));
        let store = part(context, &repository, &selection, &folder)?;
        let keys = DriveKeys::open(&keys_folder(&state))?;
        let bays = self.drives.ready(context, &keys, &context.terminal(), || Ok(()))?;
        let wanted = (self.writing, self.parity, None);
        let prepared = write_from(context, &store, (&state, &folder.join("seed")), &bays, wanted);
        // Whatever became of it: the drives can be taken out afterwards.
        bays.leave(context);
        let prepared = prepared?;
        lock.check()?;
        show_prepared(context, &prepared);
        Ok(if unread || !prepared.problems.is_empty() {
            Status::Partial
        } else if prepared.is_complete() {
            Status::Done
        } else {
            Status::DriveMissing
        })
    }
}

/// What is needed, and whether an index could not be read.
fn select(
    context: &Context,
    repository: &Repository,
    snapshots: &BTreeSet<Digest>,
) -> Result<(Selection, bool), Failure> {
    let index = repository.load_index()?;
    for fault in &index.damaged {
        context.printer.problem("index", &fault.to_string());
    }
    let ids: Vec<Digest> = snapshots.iter().copied().collect();
    Ok((repository.select(&index.value, &ids)?, !index.damaged.is_empty()))
}

fn show(context: &Context, selection: &Selection) {
    context.printer.line(format!(
        "{} snapshots need {} packs, {}",
        selection.snapshots.len(),
        selection.packs.len(),
        ByteSize(selection.bytes)
    ));
    let object = json!({
        "snapshots": selection.snapshots, "packs": selection.packs.len(), "bytes": selection.bytes,
    });
    context.printer.object("selection", &object);
}

/// The same choice from the same repository is the same export, and goes on. One whose packs are others by now, as
/// after a prune, is another: the index that was made names packs that are gone.
fn name(repository: &Repository, selection: &Selection) -> PathBuf {
    let of =
        |kind| move |name: &Digest| seed::Object { repository: 0, kind, name: *name, length: 0 };
    let packs = selection.packs.iter().map(of(ObjectKind::Pack));
    let all = packs.chain(selection.snapshots.iter().map(of(ObjectKind::Snapshot)));
    let choice = seed::root(all.collect::<Vec<_>>().iter());
    Path::new(&repository.identity().to_hex()).join(choice.to_hex())
}

/// What is exported as a repository of its own: an index of the chosen packs, kept here so that a later call finds
/// the same, over the chosen objects of the repository.
fn part(
    context: &Context,
    repository: &Repository,
    selection: &Selection,
    folder: &Path,
) -> Result<Arc<dyn Store>, Failure> {
    let mut shown: BTreeSet<ObjectKey> =
        selection.packs.iter().map(|pack| ObjectKey::Pack(*pack)).collect();
    shown.extend(selection.snapshots.iter().map(|snapshot| ObjectKey::Snapshot(*snapshot)));
    shown.insert(ObjectKey::Config);
    let keys = repository.store().list(ObjectKind::Key)?;
    shown.extend(keys.into_iter().map(|listed| listed.key));
    let below: Arc<dyn Store> = Arc::new(Part::new(Arc::clone(repository.store()), shown));
    let overlay = |above: &Path| -> Arc<dyn Store> {
        Arc::new(Overlay::new(Arc::new(Folder::new(above)), Arc::clone(&below)))
    };
    let made = folder.join("index");
    if !made.exists() {
        // Made whole beside its name: half an index would be taken for all of it.
        let partial = folder.join("index.partial");
        remove(&partial)?;
        let above = overlay(&partial);
        above.create()?;
        repository.seen_through(above).save_index_of(&selection.packs)?;
        std::fs::rename(&partial, &made).map_err(|cause| Failure::io("naming", &made, cause))?;
        store::durable::sync_folder(folder)
            .map_err(|cause| Failure::io("syncing", folder, cause))?;
        context.printer.note("the index of what is exported is made");
    }
    Ok(overlay(&made))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::io("removing", folder, cause))
        }
        _ => Ok(()),
    }
}
