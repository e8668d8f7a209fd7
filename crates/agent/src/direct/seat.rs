//! Between the drives of a direct seed and whoever sits there: what is noted of a drive before anything is written to it, who is asked for
//! the next one, and whether an item could not be read. Writes to no drive.

use super::life::{Given, NextDrive};
use super::{Desk, refuse_inside};
use crate::context::{Context, Event};
use crate::group::Group;
use crate::record::SeedRecord;
use crate::state::State;
use crate::{Error, chain};
use backup::BackupEvent;
use model::DriveSerial;
use seed::{DriveSpec, Events};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use wire::SeedId;

/// Between the drives and whoever sits there.
pub(super) struct Seat<'a, 'c, 'n> {
    pub(super) ctx: &'a Context<'c>,
    pub(super) state: &'a State,
    pub(super) groups: &'a [Group],
    pub(super) id: SeedId,
    /// Drives that are sealed: what was said of these stays.
    pub(super) sealed: BTreeSet<DriveSerial>,
    pub(super) next: &'a mut NextDrive<'n>,
    pub(super) asks: bool,
    pub(super) failed: Option<Error>,
}

impl Seat<'_, '_, '_> {
    /// Notes what was done to a drive, and whether it is encrypted, before anything is written to it.
    pub(super) fn take(&self, given: &Given) -> Result<(), Error> {
        let DriveSpec { folder, serial, .. } = &given.drive;
        for group in self.groups {
            refuse_inside(&group.paths, [folder.as_path()])?;
        }
        let record = self.state.seed(self.id)?;
        if given.formatted {
            chain::note_formatted(self.ctx, self.state, &record, std::slice::from_ref(serial))?;
        }
        let label = seed::inspect(folder)?;
        let stays =
            self.sealed.contains(serial) || label.is_some_and(|label| label.body.seed == self.id);
        self.state.change_seed(self.id, |record| {
            if given.encrypted {
                record.encrypted.insert(serial.clone());
            } else if !stays {
                record.encrypted.remove(serial);
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Events for Seat<'_, '_, '_> {
    fn event(&mut self, event: seed::Event<'_>) {
        if let seed::Event::DriveSealed { serial } = event {
            self.sealed.insert(serial.clone());
        }
        self.ctx.tell(Event::Direct(event));
    }

    fn stop(&self) -> bool {
        self.ctx.stop.load(Ordering::Relaxed)
    }
}

impl Desk for Seat<'_, '_, '_> {
    fn next_drive(&mut self, refused: Option<&seed::Error>) -> Option<DriveSpec> {
        let given = self.asks.then(|| (self.next)(refused)).flatten()?;
        self.failed = self.take(&given).err();
        self.failed.is_none().then_some(given.drive)
    }

    fn another_pass(&mut self) {
        self.ctx.tell(Event::AnotherPass);
    }
}

/// Remembers the first item that cannot be read: how many there were is known at the end only, and whoever dies
/// before that must not have them forgotten.
pub(super) struct Unread<'a, 'c> {
    ctx: &'a Context<'c>,
    state: &'a State,
    id: SeedId,
    noted: AtomicBool,
    failed: Mutex<Option<Error>>,
}

impl<'a, 'c> Unread<'a, 'c> {
    pub(super) fn new(
        ctx: &'a Context<'c>,
        state: &'a State,
        record: &SeedRecord,
        complete: bool,
    ) -> Result<Self, Error> {
        let unread = Self {
            ctx,
            state,
            id: record.id,
            noted: AtomicBool::new(false),
            failed: Mutex::default(),
        };
        // What is complete is as it was; what is not is gone over again.
        if !complete {
            unread.note(false)?;
        }
        Ok(unread)
    }

    fn note(&self, unread: bool) -> Result<(), Error> {
        self.state.change_seed(self.id, |record| {
            record.unread = unread;
            Ok(())
        })?;
        Ok(())
    }

    pub(super) fn hear(&self, event: BackupEvent<'_>) {
        if matches!(event, BackupEvent::Problem(_))
            && !self.noted.swap(true, Ordering::Relaxed)
            && let Err(error) = self.note(true)
        {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        self.ctx.tell(Event::Backup(event));
    }

    pub(super) fn end(self) -> Result<(), Error> {
        self.failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}
