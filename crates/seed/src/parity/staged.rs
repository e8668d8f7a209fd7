//! The stream of one data drive, read from where the drive was written from, and compared with what the drive gave
//! back. Knows no parity.

use super::hashes::HashFile;
use super::layout::Layout;
use super::stripe::SHARD;
use super::works::{Extent, Giver};
use crate::run::Run;
use crate::{Error, Manifest, Signed};
use model::DriveSerial;
use std::io::{self, Read};
use std::ops::Range;
use store::Store;

/// A sealed data drive's stream.
pub(super) struct Staged<'a> {
    layout: Layout,
    hashes: HashFile,
    sources: Vec<&'a dyn Store>,
    serial: DriveSerial,
    /// The object that is being read, and how far it is.
    open: Option<(usize, Box<dyn Read + Send>)>,
}

impl<'a> Staged<'a> {
    pub(super) fn open(run: &Run<'a>, manifest: &Signed<Manifest>) -> Result<Self, Error> {
        let hashes = expected(run, manifest)?;
        let serial = manifest.body.header.serial.clone();
        let layout = Layout::new(&manifest.body);
        Ok(Self { layout, hashes, sources: run.sources.clone(), serial, open: None })
    }

    pub(super) fn extents(&self) -> u64 {
        self.layout.extents()
    }

    /// Gives its extents of these stripes, as long as somebody wants them.
    pub(super) fn give(
        mut self,
        stripes: Range<u64>,
        giver: &Giver,
        is_stopped: &dyn Fn() -> bool,
    ) {
        for number in stripes.start..stripes.end.min(self.extents()) {
            let Some(mut bytes) = giver.empty().filter(|_| !is_stopped()) else { return };
            let goes_on = match self.extent(number, &mut bytes) {
                Ok(hash) => giver.give(Extent { bytes, hash }),
                Err(error) => {
                    giver.fail(error);
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Answers its hash.
    fn extent(&mut self, number: u64, into: &mut [u8]) -> Result<[u8; 32], Error> {
        let parts: Vec<_> = self.layout.parts(number).filter(|part| part.length > 0).collect();
        let filled = parts.last().map_or(0, |part| part.at + part.length);
        into.get_mut(filled..SHARD).unwrap_or_default().fill(0);
        for part in parts {
            let changed = || Error::StagingChanged { serial: self.serial.clone() };
            let object = *self.layout.object(part.index).ok_or_else(changed)?;
            if self.open.as_ref().is_none_or(|(index, _)| *index != part.index) {
                let source = self.sources.get(usize::from(object.repository));
                let source = source.ok_or_else(changed)?;
                let opened = source.open(&object.key()).map_err(|error| match error.kind() {
                    model::ErrorKind::NotFound => changed(),
                    _ => Error::Store(error),
                })?;
                let mut opened = opened;
                // A call that goes on begins in the middle.
                let skipped = io::copy(&mut (&mut opened).take(part.offset), &mut io::sink());
                if skipped.map_err(|_| changed())? != part.offset {
                    return Err(changed());
                }
                self.open = Some((part.index, opened));
            }
            let Some((_, from)) = &mut self.open else { continue };
            let place = into.get_mut(part.at..part.at + part.length).unwrap_or_default();
            from.read_exact(place)
                .map_err(|_| Error::StagingChanged { serial: self.serial.clone() })?;
        }
        let expected = self.hashes.get(number).map_err(|cause| Error::Io {
            action: "reading the extent hashes of",
            path: self.serial.as_str().into(),
            cause,
        })?;
        let hash: [u8; 32] = blake3::hash(into).into();
        if hash == expected {
            return Ok(hash);
        }
        Err(Error::StagingChanged { serial: self.serial.clone() })
    }
}

/// What a sealed drive has given back.
pub(super) fn expected(run: &Run<'_>, manifest: &Signed<Manifest>) -> Result<HashFile, Error> {
    let kept = run.state.extents(&manifest.body)?;
    kept.ok_or_else(|| Error::ExtentsLost { serial: manifest.body.header.serial.clone() })
}
