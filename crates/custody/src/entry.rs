//! One entry of an actor's chain: its text, its hash, its signature. Knows nothing of other chains.

use crate::fault::Fault;
use crate::{Event, MAX_ENTRY, VERSION};
use jiff::Timestamp;
use model::{ActorName, Digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use signing::SigningKey;
use std::fmt;
use wire::{ActorKind, PublicKey, SeedId, Signature};

/// Before the text that an actor signs, so that nothing else that its key signs can be taken for it.
const SIGNED: &[u8] = b"packmule custody entry v1\n";
/// Before the text and the signature whose hash the next entry has.
const LINKED: &[u8] = b"packmule custody link v1\n";

/// The hash before the first.
pub(crate) const NOTHING: Digest = Digest([0; 32]);

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Actor {
    /// What it is.
    pub kind: ActorKind,
    /// Its name.
    pub name: ActorName,
    /// The key that signs its entries.
    pub key: PublicKey,
}

impl Actor {
    /// A computer's host name as an actor's name: what does not fit becomes a hyphen.
    #[must_use]
    pub fn name_of(host: &str) -> ActorName {
        let fits = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
        let text: String = host.chars().map(fits).skip_while(|c| "-._".contains(*c)).collect();
        let short: String = text.chars().take(63).collect();
        short.parse().unwrap_or_else(|_| ActorName::default())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// What an actor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of this format.
    pub version: u32,
    /// The seed.
    pub seed: SeedId,
    /// Who.
    pub actor: Actor,
    /// Which entry of its chain, from 0.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// What has happened.
    pub event: Event,
    /// The hash of the entry before; zero for the first.
    pub previous: Digest,
}

/// An entry with its actor's signature: what goes to the server, and a line of a [`Book`](crate::Book).
///
/// invariant: the signature is its actor's, over its one form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    pub(crate) entry: Entry,
    pub(crate) signature: Signature,
}

/// The one form of a value. Types of this crate can always be written.
pub(crate) fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The value that a line is the one form of.
pub(crate) fn parsed<'a, T: Serialize + Deserialize<'a>>(
    line: &'a str,
    limit: usize,
) -> Result<T, Fault> {
    if line.len() > limit {
        return Err(Fault::TooLong { limit });
    }
    let value: T =
        serde_json::from_str(line).map_err(|cause| Fault::Malformed(cause.to_string()))?;
    if text_of(&value) != line {
        return Err(Fault::OtherForm);
    }
    Ok(value)
}

impl Signed {
    /// Signs the entry that follows `before` in the chain of that actor; `key` must be its key.
    #[must_use]
    pub fn next(
        before: Option<&Self>,
        seed: SeedId,
        actor: &Actor,
        key: &SigningKey,
        event: Event,
        time: Timestamp,
    ) -> Self {
        let number = before.map_or(0, |before| before.entry.number.saturating_add(1));
        let previous = before.map_or(NOTHING, Self::hash);
        let actor = Actor { key: key.public(), ..actor.clone() };
        let entry = Entry { version: VERSION, seed, actor, number, time, event, previous };
        let signature = Signature(key.sign(&message(&entry)));
        Self { entry, signature }
    }

    /// The entry in a line, if it is in its one form and its actor's key has signed it. Whether that key is to be
    /// believed is for others to say.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(line: &str) -> Result<Self, Fault> {
        let signed: Self = parsed(line, MAX_ENTRY)?;
        signed.check()?;
        Ok(signed)
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.entry.version != VERSION {
            return Err(Fault::Version(self.entry.version));
        }
        if !self.entry.event.is_sound() {
            return Err(Fault::Unsound);
        }
        let key = &self.entry.actor.key;
        if !signing::verify(key, &message(&self.entry), &self.signature.0) {
            return Err(Fault::Signature);
        }
        Ok(())
    }

    /// Its line, without the line's end.
    #[must_use]
    pub fn encode(&self) -> String {
        text_of(self)
    }

    /// What it says.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The hash by which the next entry names it: over text and signature.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash(&self.entry, &self.signature)
    }
}

pub(crate) fn hash(entry: &Entry, signature: &Signature) -> Digest {
    let mut hash = Sha256::new_with_prefix(LINKED);
    hash.update(text_of(entry));
    hash.update(signature.0);
    Digest(hash.finalize().into())
}

fn message(entry: &Entry) -> Vec<u8> {
    [SIGNED, text_of(entry).as_bytes()].concat()
}
