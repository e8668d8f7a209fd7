//! Where rebuilt objects go. A folder takes them as it takes those of drives.

use crate::arrive::{Arrivals, Named};
use crate::event::Reason;
use crate::{Error, Object};
use std::io;
use std::path::Path;

/// Is told of objects that have got their names, and how.
pub(crate) type Landed<'l> = &'l mut dyn FnMut(&Object, Named);

/// Takes the objects of one data drive, one after the other.
pub(crate) trait Sink {
    /// The next bytes of an object, the first ones of a new one.
    fn write(&mut self, object: &Object, bytes: &[u8]) -> Result<(), Error>;

    /// Nothing of the object that was being written stays.
    fn abandon(&mut self) -> Result<(), Error>;

    /// All of the object was written, and it is right. It may land now or later.
    fn complete(&mut self, object: &Object, landed: Landed<'_>) -> Result<(), NotTaken>;

    /// Everything that is complete lands.
    fn finish(&mut self, landed: Landed<'_>) -> Result<(), Error>;
}

/// Why an object that is right was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Something is wrong with what is there.
    Object(Reason),
    /// Nothing is taken any more.
    All(Error),
}

/// The pending area of a folder.
pub(crate) struct Pending<'a> {
    pub(crate) arrivals: Arrivals<'a>,
    pub(crate) folder: &'a Path,
}

impl Pending<'_> {
    fn failed(&self, cause: io::Error) -> Error {
        match crate::beneath::is_full(&cause) {
            true => {
                Error::Store(store::Error::Full { location: self.folder.display().to_string() })
            }
            false => Error::io("writing below", self.folder)(cause),
        }
    }
}

impl Sink for Pending<'_> {
    fn write(&mut self, object: &Object, bytes: &[u8]) -> Result<(), Error> {
        self.arrivals.write(object, bytes).map_err(|cause| self.failed(cause))
    }

    fn abandon(&mut self) -> Result<(), Error> {
        self.arrivals.abandon().map_err(|cause| self.failed(cause))
    }

    fn complete(&mut self, object: &Object, landed: Landed<'_>) -> Result<(), NotTaken> {
        let completed = self.arrivals.complete(object);
        let committed = match completed {
            Ok(true) => self.arrivals.commit(landed),
            other => other.map(|_| ()),
        };
        committed.map_err(|cause| NotTaken::All(self.failed(cause)))
    }

    fn finish(&mut self, landed: Landed<'_>) -> Result<(), Error> {
        let finished = self.arrivals.finish(landed);
        self.arrivals.leave();
        finished.map_err(|cause| self.failed(cause))
    }
}
