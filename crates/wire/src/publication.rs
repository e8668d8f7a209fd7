//! How far a seed has come on its way from the storage account into the vault. Decides nothing.

use crate::{DriveState, JobState, SeedId};
use model::{Digest, DriveSerial, JobName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for publication of a seed, or for its continuation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PublicationRequest {
    /// Which seed; absent: the one whose jobs are the newest of that source server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<SeedId>,
    /// The root over all objects of the seed, as the source knows it. Where given, nothing is
    /// published until exactly these objects are announced by manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
}

/// Where publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PublicationState {
    /// Nothing has been asked for.
    None,
    /// Something has not arrived yet, or arrived damaged: see `missing` and `jobs`.
    Waiting,
    /// Objects are copied from the storage account.
    Copying,
    /// Objects are read back from the vault's store and hashed.
    Verifying,
    /// Everything is there and verified; it becomes visible.
    Publishing,
    /// Everything is visible and the receipt is signed.
    Published,
    /// Stopped by an error: see `message`. Ask again to continue.
    Failed,
}

/// One of the seed's jobs, as far as publication cares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobOutcome {
    /// The job.
    pub job: JobName,
    /// Its state.
    pub state: JobState,
    /// Each drive and its state.
    pub drives: Vec<(DriveSerial, DriveState)>,
}

/// How far publication has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// Where it is.
    pub state: PublicationState,
    /// The seed; absent in state `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<SeedId>,
    /// The seed's jobs.
    #[serde(default)]
    pub jobs: Vec<JobOutcome>,
    /// Objects done in this state.
    pub objects: u64,
    /// Objects to do.
    pub objects_total: u64,
    /// Bytes done in this state.
    pub bytes: u64,
    /// Bytes to do.
    pub bytes_total: u64,
    /// Paths of objects still wanted, at most [`crate::MAX_NAMES`].
    #[serde(default)]
    pub missing: Vec<String>,
    /// How many are still wanted.
    #[serde(default)]
    pub missing_count: u64,
    /// How many of these are on no drive that may still be read: the want-list names them.
    #[serde(default)]
    pub wanted_count: u64,
    /// Their bytes.
    #[serde(default)]
    pub wanted_bytes: u64,
    /// How many snapshots that were made while the seed travelled are never shown, as they may lack something.
    #[serde(default)]
    pub withheld: u64,
    /// Why it waits, has failed or withholds something, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Publication {
    /// Nothing has been asked for.
    #[must_use]
    pub fn none() -> Self {
        Self::at(PublicationState::None, None)
    }

    /// In that state, with nothing counted yet.
    #[must_use]
    pub fn at(state: PublicationState, seed: Option<SeedId>) -> Self {
        Self {
            state,
            seed,
            jobs: Vec::new(),
            objects: 0,
            objects_total: 0,
            bytes: 0,
            bytes_total: 0,
            missing: Vec::new(),
            missing_count: 0,
            wanted_count: 0,
            wanted_bytes: 0,
            withheld: 0,
            message: None,
        }
    }
}
