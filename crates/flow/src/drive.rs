//! One drive of an import job: where it is and how far it has been read. Knows nothing of the
//! other drives, and cannot tell whether the job allows what happens: that is `job`'s part.

use crate::{Refused, Step};
use jiff::{SignedDuration, Timestamp};
use model::{DriveRole, DriveSerial};
use serde::{Deserialize, Serialize};

/// A drive of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drive {
    /// Its serial number, unique in the job.
    pub serial: DriveSerial,
    /// What it is for.
    #[serde(default, skip_serializing_if = "DriveRole::is_data")]
    pub role: DriveRole,
    /// Where it is.
    pub state: DriveState,
}

/// Where a drive is. Names are those of the import service's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum DriveState {
    /// Listed in the job.
    Specified,
    /// At the dock, not read yet.
    Received,
    /// Not in its package, or the package is overdue. May still turn up.
    NeverReceived,
    /// Being read.
    Transferring {
        /// Bytes taken over so far.
        bytes: u64,
        /// Bytes there are, as soon as the dock knows.
        total: Option<u64>,
        /// When this reading started.
        started: Timestamp,
        /// When `bytes` was reported.
        reported: Timestamp,
    },
    /// Everything on it was taken over.
    Completed {
        /// Bytes taken over.
        bytes: u64,
    },
    /// Read to its end, with problems.
    CompletedMoreInfo {
        /// Bytes taken over.
        bytes: u64,
        /// Objects that could not be taken over; at least 1.
        problems: u64,
    },
    /// On its way back to the customer.
    ShippedBack {
        /// Bytes taken over.
        bytes: u64,
        /// Objects that could not be taken over; none when it was sent back unread.
        problems: Option<u64>,
    },
}

/// What happens to a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum DriveEvent {
    /// It is at the dock, at once or later.
    Came,
    /// It is not where it should be.
    NeverCame,
    /// The dock starts to read it, goes on after an interruption, or tries again after problems.
    Started,
    /// So much of it is taken over.
    Progressed {
        /// Bytes taken over since the reading started.
        bytes: u64,
        /// Bytes there are.
        total: u64,
    },
    /// It was read to its end.
    Finished {
        /// Bytes taken over.
        bytes: u64,
        /// Objects that could not be taken over; 0 is clean.
        problems: u64,
    },
    /// It goes back.
    Returned,
}

impl Drive {
    /// A drive as listed in a new job.
    #[must_use]
    pub fn new(serial: DriveSerial) -> Self {
        Self { serial, role: DriveRole::Data, state: DriveState::Specified }
    }

    /// The next value. A drive has no effects of its own; the job's follow from all its drives.
    ///
    /// # Errors
    /// [`Refused`], naming the drive; nothing has changed then.
    pub fn transition(&self, event: &DriveEvent, now: Timestamp) -> Step<Self> {
        let state = match *event {
            DriveEvent::Came => self.came()?,
            DriveEvent::NeverCame => self.never_came()?,
            DriveEvent::Started => self.start(now)?,
            DriveEvent::Progressed { bytes, total } => self.progress(bytes, total, now)?,
            DriveEvent::Finished { bytes, problems } => self.finish(bytes, problems)?,
            DriveEvent::Returned => self.send_back()?,
        };
        Ok((Self { state, ..self.clone() }, Vec::new()))
    }

    fn came(&self) -> Result<DriveState, Refused> {
        match self.state {
            DriveState::Specified | DriveState::NeverReceived => Ok(DriveState::Received),
            DriveState::ShippedBack { .. } => Err(self.sent_back()),
            _ => Ok(self.state.clone()),
        }
    }

    fn never_came(&self) -> Result<DriveState, Refused> {
        match self.state {
            DriveState::Specified | DriveState::Received | DriveState::NeverReceived => {
                Ok(DriveState::NeverReceived)
            }
            DriveState::Transferring { .. } => Err(Refused::DriveIsHere { serial: self.serial() }),
            DriveState::ShippedBack { .. } => Err(self.sent_back()),
            DriveState::Completed { .. } | DriveState::CompletedMoreInfo { .. } => {
                Err(self.finished())
            }
        }
    }

    fn start(&self, now: Timestamp) -> Result<DriveState, Refused> {
        match self.state {
            DriveState::Received | DriveState::CompletedMoreInfo { .. } => {
                Ok(DriveState::Transferring { bytes: 0, total: None, started: now, reported: now })
            }
            DriveState::Transferring { .. } => Ok(self.state.clone()),
            DriveState::Specified | DriveState::NeverReceived => Err(self.not_received()),
            DriveState::Completed { .. } => Err(self.finished()),
            DriveState::ShippedBack { .. } => Err(self.sent_back()),
        }
    }

    fn progress(&self, bytes: u64, total: u64, now: Timestamp) -> Result<DriveState, Refused> {
        let DriveState::Transferring { bytes: so_far, started, reported, .. } = self.state else {
            return Err(self.not_being_read());
        };
        if bytes > total {
            return Err(Refused::ImpossibleProgress { serial: self.serial(), bytes, total });
        }
        // Reports can overtake each other, and a reading that goes on after an interruption starts
        // to count anew; shown progress does not go back for either.
        if bytes < so_far {
            return Ok(self.state.clone());
        }
        let reported = if bytes > so_far { now.max(reported) } else { reported };
        Ok(DriveState::Transferring { bytes, total: Some(total), started, reported })
    }

    fn finish(&self, bytes: u64, problems: u64) -> Result<DriveState, Refused> {
        let end = if problems == 0 {
            DriveState::Completed { bytes }
        } else {
            DriveState::CompletedMoreInfo { bytes, problems }
        };
        match self.state {
            DriveState::Transferring { .. } => Ok(end),
            _ if self.state == end => Ok(end),
            _ => Err(self.not_being_read()),
        }
    }

    fn send_back(&self) -> Result<DriveState, Refused> {
        match self.state {
            DriveState::Received => Ok(DriveState::ShippedBack { bytes: 0, problems: None }),
            DriveState::Completed { bytes } => {
                Ok(DriveState::ShippedBack { bytes, problems: Some(0) })
            }
            DriveState::CompletedMoreInfo { bytes, problems } => {
                Ok(DriveState::ShippedBack { bytes, problems: Some(problems) })
            }
            DriveState::ShippedBack { .. } => Ok(self.state.clone()),
            DriveState::Transferring { .. } => Err(Refused::DriveInUse { serial: self.serial() }),
            DriveState::Specified | DriveState::NeverReceived => Err(self.not_received()),
        }
    }

    fn not_being_read(&self) -> Refused {
        match self.state {
            DriveState::Specified | DriveState::NeverReceived => self.not_received(),
            DriveState::Completed { .. } | DriveState::CompletedMoreInfo { .. } => self.finished(),
            DriveState::ShippedBack { .. } => self.sent_back(),
            DriveState::Received | DriveState::Transferring { .. } => {
                Refused::DriveNotStarted { serial: self.serial() }
            }
        }
    }

    fn serial(&self) -> DriveSerial {
        self.serial.clone()
    }

    fn not_received(&self) -> Refused {
        Refused::DriveNotReceived { serial: self.serial() }
    }

    fn finished(&self) -> Refused {
        Refused::DriveFinished { serial: self.serial() }
    }

    fn sent_back(&self) -> Refused {
        Refused::DriveSentBack { serial: self.serial() }
    }

    /// Read to its end, and nothing of it is missing.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(
            self.state,
            DriveState::Completed { .. } | DriveState::ShippedBack { problems: Some(0), .. }
        )
    }

    /// At the dock, whether read or not.
    pub(crate) fn is_here(&self) -> bool {
        !matches!(
            self.state,
            DriveState::Specified | DriveState::NeverReceived | DriveState::ShippedBack { .. }
        )
    }

    /// Read to its end, well or not.
    pub(crate) fn is_read(&self) -> bool {
        matches!(
            self.state,
            DriveState::Completed { .. }
                | DriveState::CompletedMoreInfo { .. }
                | DriveState::ShippedBack { .. }
        )
    }

    /// Share of it taken over, 0 to 100; none while the dock does not know how much there is.
    #[must_use]
    pub fn percent_complete(&self) -> Option<u8> {
        match self.state {
            DriveState::Transferring { total: None, .. } => None,
            DriveState::Transferring { bytes, total: Some(total), .. } => {
                let percent = u128::from(bytes) * 100 / u128::from(total.max(1));
                u8::try_from(percent).ok()
            }
            DriveState::Completed { .. } | DriveState::CompletedMoreInfo { .. } => Some(100),
            DriveState::ShippedBack { problems: Some(_), .. } => Some(100),
            _ => Some(0),
        }
    }

    /// When the reading ends if it goes on at the rate so far.
    #[must_use]
    pub fn expected_end(&self) -> Option<Timestamp> {
        let DriveState::Transferring { bytes, total: Some(total), started, reported } = self.state
        else {
            return None;
        };
        let spent = reported.duration_since(started).as_millis();
        let left = i128::from(total.checked_sub(bytes)?);
        let wait = left.checked_mul(spent)?.checked_div(i128::from(bytes))?;
        let wait = SignedDuration::from_millis(i64::try_from(wait).ok()?);
        Some(crate::timer::later(reported, wait))
    }
}

impl DriveState {
    /// The name in the import service's API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Specified => "Specified",
            Self::Received => "Received",
            Self::NeverReceived => "NeverReceived",
            Self::Transferring { .. } => "Transferring",
            Self::Completed { .. } => "Completed",
            Self::CompletedMoreInfo { .. } => "CompletedMoreInfo",
            Self::ShippedBack { .. } => "ShippedBack",
        }
    }
}
