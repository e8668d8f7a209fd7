//! Objects on their way onto a drive: written, synced many at a time, named. Hashes nothing: whoever
//! brings an object's end says whether it is right.
//!
//! ```text
//!  partials/0 … partials/n ──one sync──▶ repositories/…/<name> each ──next sync──▶ durable names
//! ```
//!
//! invariant: what has a name was synced before it got it. A crash leaves files in `partials` that
//! mean nothing, and loses names since the last sync at most.

use crate::Object;
use crate::bay::{Bay, Job, Stopped, stopped};
use crate::beneath::NewFile;
use crate::drive::{self, PARTIALS};
use crate::plan::cost;
use std::collections::BTreeSet;
use std::io;

/// What of a drive is not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The object being written.
    file: Option<(Object, u64, NewFile)>,
    /// Objects that are complete and have no name yet, by the number that is theirs until then.
    written: Vec<(Object, u64)>,
    bytes: u64,
    next: u64,
    /// Objects that got their names after the last sync.
    named: Vec<Object>,
    /// Folders of these names, where each has to be synced.
    folders: BTreeSet<String>,
}

impl Batch {
    /// How much is written and has no name.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.written.len(), self.bytes)
    }

    /// What the objects that are written and have no name yet take on the drive.
    pub(crate) fn cost(&self) -> u64 {
        self.written.iter().fold(0, |sum, (object, _)| sum.saturating_add(cost(object.length)))
    }

    /// Whether everything is on the drive for good.
    pub(crate) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.named.is_empty()
    }

    /// The object being written.
    pub(crate) fn open(&self) -> Option<Object> {
        self.file.as_ref().map(|(object, ..)| *object)
    }

    /// Objects that have no name yet, the one being written included.
    pub(crate) fn unnamed(&self) -> Vec<Object> {
        self.written.iter().map(|(object, _)| *object).chain(self.open()).collect()
    }
}

fn partial(number: u64) -> String {
    format!("{PARTIALS}/{number}")
}

impl Bay {
    /// Writes the next bytes of an object, the first ones into a new file.
    pub(crate) fn write(&mut self, object: &Object, bytes: &[u8]) -> Result<(), Stopped> {
        let stop = stopped("writing to", &self.spec.folder);
        match &mut self.batch.file {
            Some((open, _, file)) if open == object => file.write_part(bytes).map_err(stop),
            _ => {
                let mut file = self.begin(object).map_err(&stop)?;
                let written = file.write_part(bytes);
                self.batch.file = Some((*object, self.batch.next - 1, file));
                written.map_err(stop)
            }
        }
    }

    fn begin(&mut self, object: &Object) -> io::Result<NewFile> {
        self.folder.create_folders_unsynced(PARTIALS)?;
        let path = partial(self.batch.next);
        // Left by a call that stopped half-way.
        self.folder.remove(&path)?;
        let file = self.folder.create(&path)?;
        self.batch.next += 1;
        if let Err(full) = file.reserve(object.length) {
            let _ = self.folder.remove(&path);
            return Err(full);
        }
        Ok(file.pass_the_cache())
    }

    /// The object is complete, and right.
    pub(crate) fn complete(&mut self, object: &Object, whole: bool) -> Result<(), Stopped> {
        let stop = stopped("writing to", &self.spec.folder);
        let (number, file) = match self.batch.file.take() {
            Some((open, number, file)) if open == *object => (number, file),
            _ => {
                let file = self.begin(object).map_err(&stop)?;
                (self.batch.next - 1, file)
            }
        };
        if !whole && let Err(cause) = file.sync() {
            self.batch.file = Some((*object, number, file));
            return Err(stop(cause));
        }
        self.batch.written.push((*object, number));
        self.batch.bytes = self.batch.bytes.saturating_add(object.length);
        Ok(())
    }

    /// Nothing of the object being written stays.
    pub(crate) fn abandon(&mut self) -> Result<(), Stopped> {
        let stop = stopped("removing a partial file from", &self.spec.folder);
        let Some((_, number, file)) = self.batch.file.take() else { return Ok(()) };
        drop(file);
        self.folder.remove(&partial(number)).map_err(stop)
    }

    /// Nothing stays that has no name; answers what that was.
    pub(crate) fn abandon_all(&mut self) -> Result<Vec<Object>, Stopped> {
        let stop = stopped("removing a partial file from", &self.spec.folder);
        let objects = self.batch.unnamed();
        self.abandon()?;
        for (_, number) in std::mem::take(&mut self.batch.written) {
            self.folder.remove(&partial(number)).map_err(&stop)?;
        }
        self.batch.bytes = 0;
        Ok(objects)
    }

    /// Syncs what is complete and gives it its names, each of which `named` is told of. Answers what
    /// has had its name since the sync before, and so has it for good. `whole`: with one sync of the
    /// file system.
    pub(crate) fn commit(
        &mut self,
        job: &Job<'_>,
        whole: bool,
        named: &mut dyn FnMut(Object),
    ) -> Result<Vec<Object>, Stopped> {
        let stop = stopped("writing to", &self.spec.folder);
        self.sync(whole).map_err(&stop)?;
        let durable = std::mem::take(&mut self.batch.named);
        while let Some((object, number)) = self.batch.written.pop() {
            if let Err(cause) = self.name(job, &object, number, whole) {
                self.batch.written.push((object, number));
                self.batch.named.extend(durable);
                return Err(stop(cause));
            }
            self.objects.insert(object);
            self.room.add(object.length);
            self.batch.named.push(object);
            named(object);
        }
        self.batch.bytes = 0;
        Ok(durable)
    }

    fn name(&mut self, job: &Job<'_>, object: &Object, number: u64, whole: bool) -> io::Result<()> {
        let repositories = &job.inventory.repositories;
        let Some(path) = drive::path_of(repositories, object) else { return Ok(()) };
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        if whole {
            self.folder.create_folders_unsynced(parent)?;
        } else {
            self.folder.create_folders(parent)?;
            self.batch.folders.insert(parent.to_owned());
        }
        self.folder.rename(&partial(number), &path)
    }

    /// Makes files and names durable.
    pub(crate) fn sync(&mut self, whole: bool) -> io::Result<()> {
        if whole {
            return self.folder.sync_all();
        }
        while let Some(folder) = self.batch.folders.first() {
            self.folder.sync_folder(folder)?;
            self.batch.folders.pop_first();
        }
        Ok(())
    }
}
