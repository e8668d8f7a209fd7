//! Where a job is, and why it ended. Decides no transition.

use crate::timer::Timer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a job is. Names are those of the import service's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum JobState {
    /// Defined, not shipped.
    Creating {
        /// Since the last update.
        timer: Timer,
    },
    /// On its way; the shipment has the timer.
    Shipping {
        /// Since when.
        since: Timestamp,
    },
    /// At the dock, nothing read yet.
    Received {
        /// Since when.
        since: Timestamp,
    },
    /// Being read.
    Transferring {
        /// Since when.
        since: Timestamp,
    },
    /// Nothing more to read; being packed for the way back.
    Packaging {
        /// Since when.
        since: Timestamp,
    },
    /// Sent back, everything taken over.
    Completed {
        /// When it ended.
        end: End,
    },
    /// Over, not everything taken over.
    Closed {
        /// When it ended.
        end: End,
        /// Why.
        reason: CloseReason,
    },
    /// Over, nothing read.
    Canceled {
        /// When it ended.
        end: End,
        /// Why.
        reason: CancelReason,
    },
}

/// The end of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// [`KEEP_RECORD_FOR`](crate::KEEP_RECORD_FOR) has passed.
    pub record_may_go: bool,
}

/// Why a job was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum CloseReason {
    /// Some drive did not come, or was read with problems.
    Problems,
    /// The package was given up.
    NeverArrived,
    /// An operator gave the job up.
    Abandoned {
        /// Why, in the operator's words.
        reason: String,
    },
}

/// Why a job was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CancelReason {
    /// The customer asked for it.
    Requested,
    /// It was not shipped in time.
    Expired,
}

/// Why a job waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// In the words of whoever found it.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl JobState {
    /// The name in the import service's API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Creating { .. } => "Creating",
            Self::Shipping { .. } => "Shipping",
            Self::Received { .. } => "Received",
            Self::Transferring { .. } => "Transferring",
            Self::Packaging { .. } => "Packaging",
            Self::Completed { .. } => "Completed",
            Self::Closed { .. } => "Closed",
            Self::Canceled { .. } => "Canceled",
        }
    }

    /// Completed, Closed or Canceled: nothing changes any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Closed { .. } | Self::Canceled { .. })
    }
}

impl End {
    pub(super) fn now(now: Timestamp) -> Self {
        Self { at: now, record_may_go: false }
    }
}
