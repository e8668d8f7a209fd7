//! Which object was to go onto which data drive of a set, remembered while the drives and their parity are written at
//! once: parity that an earlier call has begun is of these streams. Chooses nothing.
//!
//! ```text
//!  "PKMPLANS" · inventory's SHA-256 · set u32 · parity drives u32 · data drives u8
//!  of each data drive, in the order of the stripe: length u8 · serial number
//!  of each object of the inventory: its drive's place u8, 255 for none
//!  SHA-256 of all that
//! ```

use crate::beneath::Beneath;
use crate::state::{self, State};
use model::{Digest, DriveSerial};
use sha2::{Digest as _, Sha256};
use std::io;

/// The plan's file in the state folder.
const PLAN: &str = "planned";
const MAGIC: &[u8; 8] = b"PKMPLANS";
/// The place of an object that goes nowhere.
pub(super) const NOWHERE: u8 = u8::MAX;
/// Beside the objects' places: ten serial numbers are far below it.
const HEAD: u64 = 64 << 10;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) set: u32,
    /// How many parity drives.
    pub(super) parity: u32,
    /// Data drives, in the order of the stripe.
    pub(super) drives: Vec<DriveSerial>,
    /// Of each object of the inventory its drive's place among these.
    pub(super) places: Vec<u8>,
}

impl Planned {
    /// With the hash that it is known by.
    pub(super) fn encode(&self, inventory: &Digest) -> (Vec<u8>, Digest) {
        let mut bytes = Vec::with_capacity(self.places.len() + 512);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(inventory.as_bytes());
        bytes.extend_from_slice(&self.set.to_le_bytes());
        bytes.extend_from_slice(&self.parity.to_le_bytes());
        bytes.push(u8::try_from(self.drives.len()).unwrap_or(NOWHERE));
        for drive in &self.drives {
            bytes.push(u8::try_from(drive.as_str().len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(drive.as_str().as_bytes());
        }
        bytes.extend_from_slice(&self.places);
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        bytes.extend_from_slice(&digest);
        (bytes, Digest(digest))
    }

    /// None where the bytes are no plan of that inventory, or not all of one.
    pub(super) fn decode(bytes: &[u8], inventory: &Digest, objects: usize) -> Option<Self> {
        let (said, digest) = bytes.split_last_chunk::<32>()?;
        if Sha256::digest(said).as_slice() != digest {
            return None;
        }
        let (magic, rest) = said.split_first_chunk::<8>()?;
        let (of, rest) = rest.split_first_chunk::<32>()?;
        let (set, rest) = rest.split_first_chunk::<4>()?;
        let (parity, rest) = rest.split_first_chunk::<4>()?;
        let (count, mut rest) = rest.split_first()?;
        let mut drives = Vec::new();
        for _ in 0..*count {
            let (length, after) = rest.split_first()?;
            let (serial, after) = after.split_at_checked(usize::from(*length))?;
            drives.push(std::str::from_utf8(serial).ok()?.parse().ok()?);
            rest = after;
        }
        let is_place = |place: &u8| *place == NOWHERE || usize::from(*place) < drives.len();
        let fits = magic == MAGIC && Digest(*of) == *inventory && rest.len() == objects;
        (fits && rest.iter().all(is_place)).then(|| Self {
            set: u32::from_le_bytes(*set),
            parity: u32::from_le_bytes(*parity),
            drives,
            places: rest.to_vec(),
        })
    }

    /// The one that an earlier call has kept.
    pub(super) fn kept(state: &State, inventory: &Digest, objects: usize) -> Option<Self> {
        // Damaged, it counts as none: then all parity is written anew.
        let bytes = state.folder().read_if_there(PLAN, HEAD + objects as u64).ok()??;
        Self::decode(&bytes, inventory, objects)
    }
}

/// Keeps a plan, unless it is the one that is kept.
pub(super) fn keep(state: &Beneath, plan: &[u8]) -> io::Result<()> {
    if state.read_if_there(PLAN, plan.len() as u64).is_ok_and(|kept| kept.as_deref() == Some(plan))
    {
        return Ok(());
    }
    state.write(PLAN, state::PARTIAL, plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INVENTORY: Digest = Digest([3; 32]);

    fn planned() -> impl Strategy<Value = Planned> {
        let drives = prop::collection::vec("[A-Z0-9]{1,20}", 0..10);
        drives.prop_flat_map(|drives| {
            let place = prop_oneof![Just(NOWHERE), 0..u8::try_from(drives.len().max(1)).unwrap()];
            let places = prop::collection::vec(place, 0..300);
            (Just(drives), places, any::<u32>(), any::<u32>()).prop_map(
                |(drives, mut places, set, parity)| {
                    if drives.is_empty() {
                        places.fill(NOWHERE);
                    }
                    let drives = drives.iter().map(|drive| drive.parse().unwrap()).collect();
                    Planned { set, parity, drives, places }
                },
            )
        })
    }

    proptest! {
        #[test]
        fn a_plan_comes_back_as_it_was_and_altered_or_cut_not_at_all(
            planned in planned(),
            at in any::<prop::sample::Index>(),
        ) {
            let count = planned.places.len();
            let (mut bytes, digest) = planned.encode(&INVENTORY);
            prop_assert_eq!(Planned::decode(&bytes, &INVENTORY, count), Some(planned.clone()));
            prop_assert_eq!(Planned::decode(&bytes, &Digest([4; 32]), count), None);
            prop_assert_eq!(Planned::decode(&bytes, &INVENTORY, count + 1), None);
            let other = Planned { set: planned.set ^ 1, ..planned };
            prop_assert_ne!(other.encode(&INVENTORY).1, digest);
            let at = at.index(bytes.len());
            prop_assert_eq!(Planned::decode(&bytes[..at], &INVENTORY, count), None);
            bytes[at] ^= 1;
            prop_assert_eq!(Planned::decode(&bytes, &INVENTORY, count), None);
        }

        #[test]
        fn no_bytes_make_a_plan_with_places_that_are_not_there(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let head = [MAGIC.as_slice(), INVENTORY.as_bytes(), &[0; 8], &bytes].concat();
            let digest = Sha256::digest(&head);
            let whole = [head.as_slice(), &digest].concat();
            for count in 0..200 {
                if let Some(planned) = Planned::decode(&whole, &INVENTORY, count) {
                    let drives = planned.drives.len();
                    let right = |place: &u8| *place == NOWHERE || usize::from(*place) < drives;
                    prop_assert!(planned.places.len() == count && planned.places.iter().all(right));
                }
            }
        }
    }
}
