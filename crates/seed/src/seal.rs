//! Reads a filled drive back and seals it. What is not as it was written is the caller's to write
//! again.

use crate::bay::{Bay, Job, Progress, Stopped, malformed, stopped};
use crate::beneath::Beneath;
use crate::drive::{self, BAD, FOLDER, PARTIAL, PARTIALS, RESERVE};
use crate::extent::Extents;
use crate::label::Label;
use crate::sign::Trust;
use crate::stream::{self, Heard};
use crate::{Error, Manifest, ManifestHeader, Object, Signed};
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// What reading back has found.
pub(crate) struct ReadBackOf {
    /// The SHA-256 of the extent hashes, which are in the partial file.
    extents: Digest,
    /// Objects that are not what their names say.
    pub(crate) damaged: Vec<Object>,
}

impl Bay {
    /// Reads everything on the drive back. `read` is told of bytes, and may say stop.
    pub(crate) fn read_back(
        &mut self,
        job: &Job<'_>,
        part: usize,
        read: &mut dyn FnMut(u64) -> bool,
    ) -> Result<ReadBackOf, Stopped> {
        let Some(label) = self.signed_label().cloned() else { return Err(Stopped::Gone) };
        self.reopen(job, &label)?;
        let stop = stopped("reading back", &self.spec.folder);
        self.ready = false;
        self.folder.remove(RESERVE).map_err(&stop)?;
        self.folder.remove(PARTIAL).map_err(&stop)?;
        let mut out = BufWriter::new(self.folder.create(PARTIAL).map_err(&stop)?);
        let (mut hash, mut damaged) = (Sha256::new(), Vec::new());
        let mut write = |extent: [u8; 32]| {
            hash.update(extent);
            out.write_all(&extent)
        };
        let mut extents = Extents::default();
        let checked = self.check_all(job, part, &mut damaged, &mut |bytes| {
            extents.update(bytes, &mut write)?;
            Ok(read(bytes.len() as u64))
        });
        if !checked.map_err(&stop)? {
            return Err(Stopped::Failed(Error::Interrupted));
        }
        if let Some(last) = extents.finish() {
            write(last).map_err(&stop)?;
        }
        let file = out.into_inner().map_err(|failed| stop(failed.into_error()))?;
        file.sync().map_err(&stop)?;
        Ok(ReadBackOf { extents: Digest(hash.finalize().into()), damaged })
    }

    /// Feeds every object's bytes in the order of the stream. False when `feed` said stop.
    fn check_all(
        &self,
        job: &Job<'_>,
        part: usize,
        damaged: &mut Vec<Object>,
        feed: &mut dyn FnMut(&[u8]) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let repositories = &job.inventory.repositories;
        let paths = self
            .objects
            .iter()
            .map(|object| (*object, drive::path_of(repositories, object).unwrap_or_default()));
        stream::each(&self.folder, paths, part, &mut |heard| match heard {
            Heard::Bytes(_, bytes) => feed(bytes),
            Heard::End(object, wrong) => {
                damaged.extend(wrong.map(|_| *object));
                Ok(true)
            }
        })
    }

    /// Seals the drive, which was read back and found right.
    pub(crate) fn seal(&mut self, job: &Job<'_>, read: &ReadBackOf) -> Result<(), Stopped> {
        let stop = stopped("sealing", &self.spec.folder);
        let Progress::Labelled(label) = &self.progress else { return Ok(()) };
        let label = label.clone();
        for ours in [BAD, PARTIALS] {
            self.remove_all_in(ours).map_err(&stop)?;
        }
        self.folder.rename(PARTIAL, drive::EXTENTS).map_err(&stop)?;
        self.folder.sync_folder(FOLDER).map_err(&stop)?;
        let header = ManifestHeader {
            seed: label.body.seed,
            set: label.body.set,
            drive: label.body.drive,
            serial: label.body.serial.clone(),
            sealed: job.now,
            label: label.digest,
            extents: read.extents,
            inventory: job.inventory_digest,
            repositories: label.body.repositories.clone(),
            parity: None,
        };
        self.copy_extents(job, &header)?;
        let manifest = Manifest { header, objects: self.objects.iter().copied().collect() };
        let bytes =
            manifest.encode(job.signer).map_err(|problem| malformed(&self.folder, problem))?;
        self.folder.write(drive::MANIFEST, PARTIAL, &bytes).map_err(&stop)?;
        let digest = Digest(Sha256::digest(&bytes).into());
        let manifest = Signed { body: manifest, signer: job.signer.public(), digest };
        let sealed = drive::Sealed { label, manifest, manifest_bytes: bytes };
        self.progress = Progress::Sealed(Box::new(sealed));
        Ok(())
    }

    /// Parity is made of what the drive gave back, whether it is at hand then or not.
    pub(crate) fn copy_extents(
        &self,
        job: &Job<'_>,
        header: &ManifestHeader,
    ) -> Result<(), Stopped> {
        let Some(state) = job.extents else { return Ok(()) };
        let stop = stopped("sealing", &self.spec.folder);
        let (mut file, _) = self.folder.file(drive::EXTENTS).map_err(&stop)?;
        state.keep_extents(header, &mut file).map_err(Stopped::Failed)
    }

    /// Has all of a sealed drive be on its medium. invariant: nothing uses its folder afterwards.
    pub(crate) fn finish(&mut self, job: &Job<'_>) -> Result<(), Stopped> {
        // Whatever it was, the drive cannot be relied on before another call has looked at it.
        let finished = self.let_go().and_then(|()| job.read_back.finish(&self.spec.folder));
        finished.map_err(|_| Stopped::Gone)
    }

    /// An open handle would keep the drive from being unmounted.
    fn let_go(&mut self) -> io::Result<()> {
        self.folder = Beneath::open(Path::new("/"))?;
        Ok(())
    }

    /// Closes the drive, has it refreshed, opens it again, and makes sure that it is the same one.
    pub(crate) fn reopen(&mut self, job: &Job<'_>, label: &Signed<Label>) -> Result<(), Stopped> {
        let stop = stopped("reading back", &self.spec.folder);
        self.let_go().map_err(&stop)?;
        let path = &self.spec.folder;
        job.read_back.refresh(path).map_err(&stop)?;
        self.folder = Beneath::open(path).map_err(&stop)?;
        if !self.folder.lock().map_err(&stop)? {
            return Err(Stopped::Failed(Error::Busy { place: drive::place(&self.folder) }));
        }
        match drive::label(&self.folder, &Trust::Key(label.signer)) {
            Ok(Some(again)) if again.digest == label.digest => Ok(()),
            Ok(_) => Err(Stopped::Gone),
            Err(Error::Io { cause, .. }) => Err(stop(cause)),
            Err(other) => Err(Stopped::Failed(other)),
        }
    }
}
