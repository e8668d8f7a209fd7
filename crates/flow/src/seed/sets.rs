//! The drive sets of a seed: prepared, moved, counted; and where that puts the seed. Publishes
//! nothing.

use super::{DriveSet, Seed, SeedState, SetState};
use crate::Refused;
use model::JobName;

impl Seed {
    pub(super) fn add_set(
        &mut self,
        number: u32,
        job: &JobName,
        objects: u64,
    ) -> Result<(), Refused> {
        self.check_preparing()?;
        let set = DriveSet { number, job: job.clone(), objects, state: SetState::Prepared };
        if let Some(known) = self.sets.iter().find(|known| known.job == *job) {
            let replay = known.number == number && known.objects == objects;
            return if replay { Ok(()) } else { Err(taken(known)) };
        }
        let beyond = self.set_count.is_some_and(|count| number > count);
        let further = self.set_count.and_then(|count| count.checked_add(1)) == Some(number)
            && self.lacks_something();
        if number == 0 || (beyond && !further) {
            return Err(Refused::SetsFixed { set: number });
        }
        let incomplete = matches!(self.state, SeedState::Incomplete { .. });
        match self.sets.iter_mut().find(|known| known.number == number) {
            None => {
                self.sets.push(set);
                self.set_count = self.set_count.map(|count| count.max(number));
            }
            Some(known) if known.state.wants_another_job(incomplete) => *known = set,
            Some(known) if known.state.is_settled() => {
                return Err(Refused::SetLanded { set: number });
            }
            Some(known) => {
                return Err(Refused::SetTaken { set: number, job: known.job.clone() });
            }
        }
        self.settle();
        Ok(())
    }

    pub(super) fn finish_preparation(&mut self, sets: u32) -> Result<(), Refused> {
        self.check_preparing()?;
        if let Some(count) = self.set_count {
            let more = Refused::SetsFixed { set: sets };
            return if count == sets { Ok(()) } else { Err(more) };
        }
        let prepared = self.sets.iter().filter(|set| set.number <= sets).count();
        let all = prepared == self.sets.len() && u32::try_from(prepared) == Ok(sets);
        if sets == 0 || !all {
            return Err(Refused::SetsMissing { prepared, expected: sets.max(1) });
        }
        self.set_count = Some(sets);
        self.settle();
        Ok(())
    }

    fn check_preparing(&self) -> Result<(), Refused> {
        match self.state {
            SeedState::Staging | SeedState::Staged => {
                Err(Refused::NotPreparing { state: self.state.name() })
            }
            _ => Ok(()),
        }
    }

    /// Sets move forward only: news that are overtaken by later ones change nothing.
    pub(super) fn move_set(&mut self, job: &JobName, to: SetState) -> Result<(), Refused> {
        let publishing = self.is_publishing();
        let set = self
            .sets
            .iter_mut()
            .find(|set| set.job == *job)
            .ok_or_else(|| Refused::UnknownJob { job: job.clone() })?;
        let number = set.number;
        match (set.state, to) {
            (from, to) if from == to => return Ok(()),
            (SetState::Lost, _) => {
                return Err(Refused::SetLost { set: number, job: job.clone() });
            }
            (SetState::Landed { .. }, SetState::Lost) => {
                return Err(Refused::SetLanded { set: number });
            }
            (from, to) if from.rank() > to.rank() => return Ok(()),
            _ if publishing => return Err(Refused::SetLanded { set: number }),
            (_, to) => set.state = to,
        }
        self.settle();
        Ok(())
    }

    /// A count over all sets overrules what the jobs reported: objects also arrive by network, and
    /// what a job took over can turn out damaged.
    pub(super) fn count(&mut self, missing: u64) -> Result<(), Refused> {
        if self.set_count.is_none() {
            return Err(Refused::StillPreparing);
        }
        if missing == 0 && !self.is_publishing() {
            for set in &mut self.sets {
                set.state = SetState::Landed { missing: 0 };
            }
            self.state = SeedState::Landed;
        } else if missing > 0 && self.sets.iter().all(|set| set.state.is_settled()) {
            self.state = SeedState::Incomplete { missing };
        }
        Ok(())
    }

    /// Whether a set brought less than everything: then what is missing may come with a set of its own.
    fn lacks_something(&self) -> bool {
        let lacks = |set: &DriveSet| set.state.wants_another_job(false);
        matches!(self.state, SeedState::Incomplete { .. }) || self.sets.iter().any(lacks)
    }

    fn is_publishing(&self) -> bool {
        matches!(self.state, SeedState::Publishing | SeedState::Published)
    }

    /// Puts the seed where its sets say it is.
    fn settle(&mut self) {
        if self.set_count.is_none() {
            return;
        }
        let any = |test: fn(&SetState) -> bool| self.sets.iter().any(|set| test(&set.state));
        let missing = self.sets.iter().map(DriveSet::missing).fold(0, u64::saturating_add);
        self.state = if !any(|state| !state.is_settled()) {
            match missing {
                0 => SeedState::Landed,
                missing => SeedState::Incomplete { missing },
            }
        } else if any(|state| matches!(state, SetState::Arrived | SetState::Landed { .. })) {
            SeedState::Landing
        } else if any(|state| *state != SetState::Prepared) {
            SeedState::InTransit
        } else {
            SeedState::Prepared
        };
    }
}

fn taken(set: &DriveSet) -> Refused {
    Refused::JobTaken { job: set.job.clone(), set: set.number }
}

impl DriveSet {
    /// Objects of it that are known not to be at the data centre.
    fn missing(&self) -> u64 {
        match self.state {
            SetState::Landed { missing } => missing,
            // A lost set of no objects would count as landed; it is missing all the same.
            SetState::Lost => self.objects.max(1),
            _ => 0,
        }
    }
}

impl SetState {
    fn rank(self) -> u8 {
        match self {
            Self::Prepared => 0,
            Self::InTransit => 1,
            Self::Arrived => 2,
            Self::Landed { .. } | Self::Lost => 3,
        }
    }

    /// Nothing more of it comes with its job.
    fn is_settled(self) -> bool {
        matches!(self, Self::Landed { .. } | Self::Lost)
    }

    /// Its job brought less than everything; or all jobs brought what they had, and a count found
    /// objects missing, which may be any set's.
    fn wants_another_job(self, incomplete: bool) -> bool {
        match self {
            Self::Lost => true,
            Self::Landed { missing } => missing > 0 || incomplete,
            _ => false,
        }
    }
}
