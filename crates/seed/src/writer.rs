//! One drive's thread: writes what the belt brings, reads it back, seals. Does not choose what the
//! drive gets, and tells the caller's thread of everything by messages.

use crate::bay::{Bay, Job, Stopped};
use crate::belt::{Belt, Limits, Next, Watch};
use crate::event::Reason;
use crate::parity::Teed;
use crate::{Label, Manifest, Object, Signed};
use std::sync::mpsc::{SendError, Sender};

/// What a drive's thread tells. The number is the drive's among those given.
pub(crate) enum Told {
    Started(usize),
    /// A drive is the seed's from now on.
    Labelled(Box<Signed<Label>>),
    /// Bytes were handed to the drive.
    Wrote(usize, u64),
    /// An object has its name.
    Named(usize, Object),
    /// Objects whose names are durable.
    Durable(usize, Vec<Object>),
    /// Objects that are no longer on the drive.
    Removed(usize, Vec<Object>),
    /// An object could not be had.
    NotHad(Object, Reason),
    /// An object did not come back as it was written.
    Damaged(usize, Object),
    Full(usize),
    /// Bytes were read back.
    Read(usize, u64),
    /// A drive is sealed, and all of it is on its medium.
    Sealed(usize, Box<(Signed<Manifest>, Vec<u8>)>),
    Gone(usize),
    Unreliable(usize),
}

/// How often a drive may fail to give back what was written before it counts as unreliable.
const ATTEMPTS: u32 = 3;

/// What a drive's thread works with.
pub(crate) struct Writer<'a> {
    pub(crate) at: usize,
    /// What number the drive gets when it has none.
    pub(crate) number: u32,
    pub(crate) job: &'a Job<'a>,
    pub(crate) belt: &'a Belt,
    pub(crate) limits: Limits,
    pub(crate) told: Sender<Told>,
    /// Whether one sync of the file system does for a batch.
    pub(crate) whole: bool,
    /// Whether [`Told::Started`] was said.
    pub(crate) started: bool,
    /// Whether the caller's thread knows its label.
    pub(crate) labelled: bool,
    /// An object that has left the belt and is not on the drive.
    pub(crate) loose: Option<Object>,
    /// Who makes parity of what is written, as long as it is what was planned.
    pub(crate) tee: Option<Sender<Teed>>,
}

/// How filling and sealing ended where the drive is well.
enum Ended {
    Sealed,
    /// Nothing ever came.
    Empty,
    /// All work ends.
    Stopped,
}

impl Writer<'_> {
    /// Until the drive is sealed, or of no more use.
    pub(crate) fn run(mut self, bay: &mut Bay) {
        let _watch = Watch(self.belt);
        match self.fill_and_seal(bay) {
            Ok(Ended::Sealed | Ended::Empty | Ended::Stopped) => self.belt.end(self.at, &[]),
            // What sealing found no room for at all.
            Err(Stopped::Full) => self.belt.end(self.at, &self.unnamed(bay)),
            Err(Stopped::Gone) => {
                self.tell(Told::Gone(self.at));
                self.belt.end(self.at, &self.unnamed(bay));
            }
            Err(Stopped::Failed(error)) => {
                self.belt.stop(error);
                self.belt.end(self.at, &[]);
            }
        }
    }

    fn tell(&self, told: Told) {
        // The caller's thread listens for as long as there is one of these.
        let _ = self.told.send(told);
    }

    fn unnamed(&self, bay: &Bay) -> Vec<Object> {
        let mut unnamed = bay.batch.unnamed();
        unnamed.extend(self.loose);
        unnamed
    }

    fn fill_and_seal(&mut self, bay: &mut Bay) -> Result<Ended, Stopped> {
        let mut attempts = 0;
        loop {
            if !self.fill(bay)? {
                self.leave(bay)?;
                return Ok(Ended::Stopped);
            }
            if bay.objects.is_empty() {
                if self.belt.wait_for_more(self.at) {
                    continue;
                }
                return Ok(if self.belt.is_stopped() { Ended::Stopped } else { Ended::Empty });
            }
            match self.read_back_and_seal(bay) {
                Ok(damaged) if damaged.is_empty() => {
                    if bay.is_sealed() {
                        return Ok(Ended::Sealed);
                    }
                    // Something has come meanwhile.
                }
                Ok(damaged) => {
                    self.tell_damaged(&damaged);
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return self.give_up(bay);
                    }
                    self.write_again(bay, &damaged)?;
                }
                Err(Stopped::Full) => self.give_one_back(bay)?,
                Err(other) => return Err(other),
            }
        }
    }

    /// Writes what comes until nothing more does. False when all work is to end.
    fn fill(&mut self, bay: &mut Bay) -> Result<bool, Stopped> {
        loop {
            let step = match self.belt.next(self.at) {
                Next::Stop => return Ok(false),
                // Once for the names, and once more for these to last.
                Next::Written => match self.commit(bay).and_then(|()| self.commit(bay)) {
                    Ok(()) => {
                        self.say(Teed::Done);
                        self.tee = None;
                        return Ok(true);
                    }
                    Err(stopped) => Err(stopped),
                },
                Next::Bytes(object, buffer, count) => {
                    let bytes = buffer.bytes().get(..count).unwrap_or_default();
                    let written = self.ready(bay).and_then(|()| bay.write(&object, bytes));
                    if written.is_err() {
                        self.tee = None;
                    }
                    self.say(Teed::Bytes(object, buffer, count));
                    written.map(|()| self.tell(Told::Wrote(self.at, count as u64)))
                }
                Next::End(object, None) => {
                    let complete = self.complete(bay, &object);
                    self.say(Teed::End(object));
                    complete
                }
                Next::End(object, Some(reason)) => {
                    self.tee = None;
                    self.tell(Told::NotHad(object, reason));
                    bay.abandon()
                }
            };
            match step {
                Ok(()) => {}
                Err(Stopped::Full) => self.full(bay)?,
                Err(other) => return Err(other),
            }
        }
    }

    /// To whoever makes parity. Without anybody a buffer goes back at once.
    fn say(&mut self, teed: Teed) {
        let unheard = match &self.tee {
            Some(tee) => tee.send(teed).err().map(|SendError(teed)| teed),
            None => Some(teed),
        };
        if let Some(Teed::Bytes(_, buffer, _)) = unheard {
            self.belt.give_back(self.at, buffer);
        }
    }

    fn ready(&mut self, bay: &mut Bay) -> Result<(), Stopped> {
        if !std::mem::replace(&mut self.started, true) {
            self.tell(Told::Started(self.at));
        }
        let ready = bay.make_ready(self.job, self.number);
        if let Some(label) = bay.signed_label().filter(|_| !self.labelled) {
            self.tell(Told::Labelled(Box::new(label.clone())));
            self.labelled = true;
        }
        ready
    }

    fn complete(&mut self, bay: &mut Bay, object: &Object) -> Result<(), Stopped> {
        self.loose = Some(*object);
        self.ready(bay)?;
        bay.complete(object, self.whole)?;
        self.loose = None;
        let (objects, bytes) = bay.batch.size();
        if objects >= self.limits.batch_objects || bytes >= self.limits.batch_bytes {
            self.commit(bay)?;
        }
        Ok(())
    }

    fn commit(&self, bay: &mut Bay) -> Result<(), Stopped> {
        if bay.batch.is_empty() {
            return Ok(());
        }
        let mut named = |object| self.tell(Told::Named(self.at, object));
        let durable = bay.commit(self.job, self.whole, &mut named)?;
        if !durable.is_empty() {
            self.tell(Told::Durable(self.at, durable));
        }
        Ok(())
    }

    /// What has no name finds no room: it goes elsewhere, and so does all that was to come.
    fn full(&mut self, bay: &mut Bay) -> Result<(), Stopped> {
        self.tee = None;
        self.tell(Told::Full(self.at));
        let open = bay.batch.open();
        bay.abandon()?;
        let mut elsewhere: Vec<Object> = open.into_iter().chain(self.loose.take()).collect();
        // What is complete may still get its name, unless there is no room even for that.
        if let Err(stopped) = self.commit(bay) {
            elsewhere.extend(bay.abandon_all()?);
            self.belt.full(self.at, &elsewhere);
            return if matches!(stopped, Stopped::Full) { Ok(()) } else { Err(stopped) };
        }
        self.belt.full(self.at, &elsewhere);
        Ok(())
    }

    /// All work ends: what is complete keeps what it has.
    fn leave(&self, bay: &mut Bay) -> Result<(), Stopped> {
        bay.abandon()?;
        self.commit(bay)?;
        self.commit(bay)
    }

    /// Answers what did not come back right; nothing, and a drive that is not sealed, when something
    /// has come that it is to take too.
    fn read_back_and_seal(&mut self, bay: &mut Bay) -> Result<Vec<Object>, Stopped> {
        // A drive that was labelled by an earlier call may still lack its inventory.
        self.ready(bay)?;
        let (belt, at) = (self.belt, self.at);
        let told = self.told.clone();
        let read = bay.read_back(self.job, self.limits.part, &mut |bytes| {
            let _ = told.send(Told::Read(at, bytes));
            !belt.is_stopped()
        })?;
        if !read.damaged.is_empty() {
            return Ok(read.damaged);
        }
        if !self.belt.close(self.at) {
            return Ok(Vec::new());
        }
        bay.seal(self.job, &read)?;
        bay.finish(self.job)?;
        if let Some(sealed) = bay.sealed() {
            let kept = (sealed.manifest.clone(), sealed.manifest_bytes.clone());
            self.tell(Told::Sealed(self.at, Box::new(kept)));
        }
        Ok(Vec::new())
    }

    fn write_again(&self, bay: &mut Bay, damaged: &[Object]) -> Result<(), Stopped> {
        bay.set_aside(self.job, damaged)?;
        self.tell(Told::Removed(self.at, damaged.to_vec()));
        self.belt.again(self.at, damaged);
        Ok(())
    }

    fn tell_damaged(&self, damaged: &[Object]) {
        for object in damaged {
            self.tell(Told::Damaged(self.at, *object));
        }
    }

    /// What sealing has no room beside goes elsewhere.
    fn give_one_back(&self, bay: &mut Bay) -> Result<(), Stopped> {
        let Some(last) = bay.objects.last().copied() else { return Ok(()) };
        bay.discard(self.job, &[last])?;
        self.tell(Told::Removed(self.at, vec![last]));
        self.belt.full(self.at, &[last]);
        Ok(())
    }

    /// The drive is of no use: everything on it goes elsewhere.
    fn give_up(&self, bay: &mut Bay) -> Result<Ended, Stopped> {
        self.tell(Told::Unreliable(self.at));
        let all: Vec<Object> = bay.objects.iter().copied().collect();
        self.belt.end(self.at, &all);
        Ok(Ended::Empty)
    }
}
