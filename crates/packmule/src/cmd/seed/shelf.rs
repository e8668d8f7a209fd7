//! Drives that come one after the other while a command runs. Asks for the next one; writes none.

use super::bays::{Bays, DriveOptions};
use crate::context::Context;
use crate::failure::Failure;
use crate::ui::{Ask as _, Progress};
use agent::Given;
use keyring::DriveKeys;
use seed::{DriveSpec, ReadBack};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether a drive may be used at all.
pub(crate) type MayUse<'a> = dyn Fn(&Path) -> Result<(), Failure> + 'a;

/// Every drive that was given so far.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<Vec<Arc<Bays>>>);

impl Shelf {
    /// Puts drives on it. Answers them as they are written, and what was done to them.
    pub(crate) fn put(&self, bays: Bays) -> Vec<Given> {
        let encrypted = bays.encrypted();
        let given = |drive: &DriveSpec| Given {
            drive: drive.clone(),
            encrypted: encrypted.contains(&drive.serial),
            formatted: bays.formatted.contains(&drive.serial),
        };
        let given = bays.specs.iter().map(given).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(bays));
        given
    }

    /// Unmounts and closes what is left open.
    pub(crate) fn leave(self, context: &Context) {
        let all = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.into_iter().filter_map(Arc::into_inner).for_each(|bays| bays.leave(context));
    }

    /// The device mounted there; the last one, if several were, one after the other.
    fn at(&self, folder: &Path) -> Option<Arc<Bays>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().find(|bays| bays.has(folder)).map(Arc::clone)
    }

    /// Asks whoever sits there for the next drive, until one can be used; none when they have none, or nobody sits there.
    pub(crate) fn ask(
        &self,
        context: &Context,
        options: &DriveOptions,
        keys: &DriveKeys,
        (progress, may_use): (&Progress<'_>, &MayUse<'_>),
    ) -> Option<Given> {
        let terminal = context.terminal();
        if context.printer.is_json() || !terminal.is_there() {
            return None;
        }
        loop {
            let question = "The next drive, such as /dev/sdb, or nothing to end here";
            let path = progress.aside(|| terminal.ask("drive PATH", question)).ok()?;
            if path.is_empty() {
                return None;
            }
            let path = Path::new(&path);
            let take = || may_use(path).and_then(|()| self.take(context, options, keys, path));
            match progress.aside(take) {
                Ok(given) => return given,
                Err(failure) => {
                    progress.problem(&path.display().to_string(), &failure.chain().join(": "));
                }
            }
        }
    }

    fn take(
        &self,
        context: &Context,
        options: &DriveOptions,
        keys: &DriveKeys,
        path: &Path,
    ) -> Result<Option<Given>, Failure> {
        // One size for all drives holds for the next one, too; sizes of each do not.
        let capacity = options.capacity.iter().copied().filter(|_| options.capacity.len() == 1);
        let next = DriveOptions {
            drive: vec![PathBuf::from(path)],
            capacity: capacity.collect(),
            ..options.clone()
        };
        let bays = next.ready(context, keys, &context.terminal(), || Ok(()))?;
        Ok(self.put(bays).pop())
    }
}

impl ReadBack for Shelf {
    fn refresh(&self, folder: &Path) -> io::Result<()> {
        self.at(folder).map_or(Ok(()), |bays| bays.refresh(folder))
    }

    fn finish(&self, folder: &Path) -> io::Result<()> {
        self.at(folder).map_or(Ok(()), |bays| bays.finish(folder))
    }
}
