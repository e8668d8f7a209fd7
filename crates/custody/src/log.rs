//! The log of a seed as the server keeps it: lines of entries with its countersignature, and the line before them,
//! which says how many there are and holds the receipt. Judges no order: `prove` does.

use crate::entry::{NOTHING, hash, parsed, text_of};
use crate::fault::Fault;
use crate::{Entry, MAX_FRONT, MAX_LINE, Signed, VERSION};
use jiff::Timestamp;
use model::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use signing::SigningKey;
use wire::{PublicKey, SeedId, Signature, SignedReceipt};

/// Before the text of a countersignature.
const TAKEN: &[u8] = b"packmule custody taken v1\n";
/// Before the text that the server signs for a log as a whole.
const FRONT: &[u8] = b"packmule custody log v1\n";

/// The server's countersignature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Which line of the log's entries, from 0.
    pub order: u64,
    /// When the server had it.
    pub time: Timestamp,
    /// The SHA-256 of the line before it; zero for the first.
    pub before: Digest,
    /// The server's key.
    pub key: PublicKey,
    /// Over the hash of the entry, and all of this.
    pub signature: Signature,
}

/// What is countersigned.
#[derive(Serialize)]
struct Countersigned {
    entry: Digest,
    order: u64,
    time: Timestamp,
    before: Digest,
}

/// A line of the log.
///
/// invariant: both signatures are those of the keys that are named, over its one form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    pub(crate) entry: Entry,
    pub(crate) signature: Signature,
    pub(crate) taken: Taken,
}

impl Logged {
    /// Countersigns an entry as the one of that order, behind that line.
    #[must_use]
    pub fn new(
        signed: Signed,
        key: &SigningKey,
        order: u64,
        before: Option<&str>,
        time: Timestamp,
    ) -> Self {
        let Signed { entry, signature } = signed;
        let before = before.map_or(NOTHING, digest);
        let mut taken =
            Taken { order, time, before, key: key.public(), signature: Signature([0; 64]) };
        taken.signature = Signature(key.sign(&message(&entry, &signature, &taken)));
        Self { entry, signature, taken }
    }

    /// The entry in a line of the log, if it is in its one form and both signatures are those of the keys it names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(line: &str) -> Result<Self, Fault> {
        let logged: Self = parsed(line, MAX_LINE)?;
        logged.check()?;
        Ok(logged)
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.signed().check()?;
        let Self { entry, signature, taken } = self;
        let message = message(entry, signature, taken);
        if !signing::verify(&taken.key, &message, &taken.signature.0) {
            return Err(Fault::Countersignature);
        }
        Ok(())
    }

    /// Its line, without the line's end.
    #[must_use]
    pub fn encode(&self) -> String {
        text_of(self)
    }

    /// The entry as its actor has signed it.
    #[must_use]
    pub fn signed(&self) -> Signed {
        Signed { entry: self.entry.clone(), signature: self.signature }
    }

    /// What it says.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The server's countersignature.
    #[must_use]
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// The hash of the entry, by which the next of its chain names it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash(&self.entry, &self.signature)
    }
}

fn message(entry: &Entry, signature: &Signature, taken: &Taken) -> Vec<u8> {
    let Taken { order, time, before, .. } = *taken;
    let text = text_of(&Countersigned { entry: hash(entry, signature), order, time, before });
    [TAKEN, text.as_bytes()].concat()
}

/// What a line is named by in the one after it.
pub(crate) fn digest(line: &str) -> Digest {
    Digest(Sha256::digest(line).into())
}

/// The first line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// The version of this format.
    pub custody: u32,
    /// The seed.
    pub seed: SeedId,
    /// How many entries there are.
    pub count: u64,
    /// The SHA-256 of the last line; zero where there is none.
    pub last: Digest,
    /// When the server said so.
    pub time: Timestamp,
    /// The vault's receipt, once there is one.
    pub receipt: Option<SignedReceipt>,
    /// The server's key.
    pub key: PublicKey,
    /// Over all of this, with the hash of the receipt in its place.
    pub signature: Signature,
}

/// What is signed of a first line.
#[derive(Serialize)]
struct Vouched {
    custody: u32,
    seed: SeedId,
    count: u64,
    last: Digest,
    time: Timestamp,
    receipt: Option<Digest>,
}

impl Front {
    /// Signs for a log of so many entries with that last line.
    #[must_use]
    pub fn new(
        seed: SeedId,
        count: u64,
        last: Option<&str>,
        receipt: Option<SignedReceipt>,
        key: &SigningKey,
        time: Timestamp,
    ) -> Self {
        let mut front = Self {
            custody: VERSION,
            seed,
            count,
            last: last.map_or(NOTHING, digest),
            time,
            receipt,
            key: key.public(),
            signature: Signature([0; 64]),
        };
        front.signature = Signature(key.sign(&front.message()));
        front
    }

    /// The first line of a log, if it is in its one form and the key it names has signed it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(line: &str) -> Result<Self, Fault> {
        let front: Self = parsed(line, MAX_FRONT)?;
        if front.custody != VERSION {
            return Err(Fault::Version(front.custody));
        }
        if !signing::verify(&front.key, &front.message(), &front.signature.0) {
            return Err(Fault::Countersignature);
        }
        Ok(front)
    }

    /// Its line, without the line's end.
    #[must_use]
    pub fn encode(&self) -> String {
        text_of(self)
    }

    fn message(&self) -> Vec<u8> {
        let Self { custody, seed, count, last, time, .. } = *self;
        let receipt = self.receipt.as_ref().map(|receipt| digest(&text_of(receipt)));
        let text = text_of(&Vouched { custody, seed, count, last, time, receipt });
        [FRONT, text.as_bytes()].concat()
    }
}
