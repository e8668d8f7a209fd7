//! The inventory: every object of a seed, so that what a lost drive held is known by name.
//! Does not say on which drive an object is.

use crate::Object;
use crate::envelope::{self, Document, Malformed, Refused, Signed};
use crate::sign::{SigningKey, Trust};
use jiff::Timestamp;
use model::{Digest, ObjectKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wire::{ExportPart, SeedId};

/// Every object of a seed.
///
/// invariant: objects ascend strictly, and so do repositories; of several parts, the first begins nowhere and the others
/// where they say, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The seed.
    pub seed: SeedId,
    /// When the list was frozen.
    pub created: Timestamp,
    /// The repositories, by the SHA-256 of their configs.
    pub repositories: Vec<Digest>,
    /// The objects.
    pub objects: Vec<Object>,
    /// The export jobs that bring it together, a drive set each; none where one job brings it all.
    pub parts: Vec<ExportPart>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    seed: SeedId,
    created: Timestamp,
    repositories: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<ExportPart>,
}

/// Parts that a list is brought in, at most.
const MAX_PARTS: usize = 256;

impl Inventory {
    /// The inventory's file.
    ///
    /// # Errors
    /// More repositories or objects than one file may list.
    pub fn encode(&self, key: &SigningKey) -> Result<Vec<u8>, Malformed> {
        envelope::check_repositories(&self.repositories)?;
        check_parts(&self.parts)?;
        let Self { seed, created, repositories, objects, parts } = self;
        let (seed, created) = (*seed, *created);
        let (repositories, parts) = (repositories.clone(), parts.clone());
        let header = Header { seed, created, repositories, parts };
        envelope::encode(Document::Inventory, &header, objects, key)
    }

    /// The inventory in a file's bytes, once its signature was found right.
    ///
    /// # Errors
    /// Anything that this version does not write itself.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Signed<Self>, Refused> {
        let opened = envelope::open(Document::Inventory, bytes, trust)?;
        let Header { seed, created, repositories, parts } = opened.header()?;
        envelope::check_repositories(&repositories)?;
        check_parts(&parts)?;
        let objects = opened.objects(&repositories)?;
        let body = Self { seed, created, repositories, objects, parts };
        Ok(Signed { body, signer: opened.signer, digest: opened.digest })
    }

    /// What one of its parts brings, ascending; everything, where there are none.
    pub fn part(&self, part: usize) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |object| part_of(&self.parts, &object.key()) == part)
    }

    /// The root of the objects of one of its repositories.
    #[must_use]
    pub fn root_of(&self, repository: u16) -> Digest {
        crate::root(self.objects.iter().filter(|object| object.repository == repository))
    }
}

/// Which of the parts brings an object; from 0.
pub(crate) fn part_of(parts: &[ExportPart], key: &ObjectKey) -> usize {
    let ObjectKey::Pack(name) = key else { return 0 };
    let begins = |part: &ExportPart| part.from.is_none_or(|from| from <= *name);
    parts.partition_point(begins).saturating_sub(1)
}

fn check_parts(parts: &[ExportPart]) -> Result<(), Malformed> {
    let Some((first, others)) = parts.split_first() else { return Ok(()) };
    let begins: Vec<Digest> = others.iter().filter_map(|part| part.from).collect();
    let names: BTreeSet<&str> = parts.iter().map(|part| part.job.as_str()).collect();
    let ascend = begins.is_sorted_by(|one, other| one < other);
    let count = (2..=MAX_PARTS).contains(&parts.len());
    let are_whole = begins.len() == others.len() && names.len() == parts.len();
    match first.from.is_none() && are_whole && ascend && count {
        true => Ok(()),
        false => Err(Malformed::Header("its parts do not follow one another".to_owned())),
    }
}
