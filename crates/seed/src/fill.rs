//! What a seed that waits in a folder still wants, from another place that has it: what drives did not bring comes over a network.
//! Reads no drive, and publishes only what is complete.

use crate::belt::Limits;
use crate::event::{Events, Problem, Reason};
use crate::import::of_this_object;
use crate::intake::Verified;
use crate::landing::{Destination, Landed, Publication};
use crate::missing::Wanted;
use crate::sign::Trust;
use crate::{Error, Event, identity};
use model::{Digest, ErrorKind, ObjectKey};
use std::path::Path;
use store::{Folder, Store};
use wire::SeedId;

/// What [`fill`] has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// Objects that were fetched.
    pub fetched: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Wanted objects that the other place has not, or not right.
    pub problems: Vec<Problem>,
    /// How the seed stands now.
    pub landed: Landed,
}

/// Fetches what a seed that waits in `into` still wants from a repository that has it, each object checked against its name, and publishes the
/// seed if that was all. Doing it again fetches only what is not there yet.
///
/// # Errors
/// [`Error::OtherRepository`] when `from` is not the seed's; the folder takes nothing more, or `from` is away. What was fetched by then
/// stays.
pub fn fill(
    into: &Path,
    seed: SeedId,
    from: &dyn Store,
    events: &mut dyn Events,
) -> Result<Filled, Error> {
    let destination = Destination::open(into)?;
    // The documents were verified when they came; here they are only read again.
    let trust = Trust::AsFound;
    let missing = destination.missing(seed, &trust)?;
    let repository = identity(from)?;
    let landing = destination.landing(seed, &[repository])?;
    let (mut fetched, mut bytes, mut problems) = (0_u64, 0_u64, Vec::new());
    for wanted in &missing.wanted {
        if events.stop() {
            return Err(Error::Interrupted);
        }
        if wanted.repository != repository {
            let (place, expected) = (from.location(), wanted.repository);
            return Err(Error::OtherRepository { place, found: repository, expected });
        }
        let Some(place) = landing.places.get(&repository) else { continue };
        match fetch(from, &place.waiting, wanted)? {
            None => {
                fetched += 1;
                bytes = bytes.saturating_add(wanted.length);
                let (repository, key) = (&wanted.repository, &wanted.key);
                events.event(Event::ObjectFetched { repository, key, bytes: wanted.length });
            }
            Some(reason) => {
                let problem = Problem { repository, key: wanted.key, reason };
                events.event(Event::Problem { serial: None, problem: &problem });
                problems.push(problem);
            }
        }
    }
    let publication =
        Publication { trust: &trust, verified: Verified::new(), part: Limits::USUAL.part };
    let landed = destination.publish_if_complete(seed, &publication, events)?;
    Ok(Filled { fetched, bytes, problems, landed })
}

/// Stores one object where those of drives wait. What is wrong with it, or nothing.
fn fetch(from: &dyn Store, to: &Folder, wanted: &Wanted) -> Result<Option<Reason>, Error> {
    if !to.root().is_dir() {
        to.create().map_err(Error::Store)?;
    }
    let Wanted { key, length, repository } = wanted;
    let stored = match key {
        // Its name does not say what it is: the repository's does.
        ObjectKey::Config => from.get(key, *length).and_then(|bytes| {
            let right =
                Digest(sha256::hash(&bytes)) == *repository && bytes.len() as u64 == *length;
            match right {
                true => to.put(key, &bytes),
                false => {
                    let what = "it is another repository's".to_owned();
                    Err(store::Error::Corrupt { location: from.location(), key: *key, what })
                }
            }
        }),
        _ => from.open(key).and_then(|mut bytes| to.put_from(key, *length, &mut bytes)),
    };
    match stored {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Reason::Missing)),
        Err(error) => of_this_object(error).map(Some),
    }
}
