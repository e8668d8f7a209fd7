//! `packmule restore`: a recovery point of this server, from wherever it is.

use super::agent::{ON_DRIVES, StateOptions, with_agent};
use super::repo::{Restoring, Wanted, status_of_restore};
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use ::agent::{Place, RecoveryPoint, RecoveryPoints};
use backup::RestoreOutcome;
use clap::Args;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use model::{ErrorKind, GroupName};
use repo::Repository;
use service::{Db, RestoredSo, RunState};
use std::path::PathBuf;

/// Restore a recovery point
///
/// From the vault, or from staging while the seed travels. Nothing outside the target is touched. A file that the repository
/// cannot give back whole is left out and named, and the exit code is 3. The same command goes on where an interrupted one
/// stopped: what is there and right is not written again.
///
/// Example: packmule restore files --point latest --target /tmp/restored
/// Example: packmule restore files --point "2026-11-20 14:00" --path /srv/files/plans --original --existing keep-both
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The group [default: whatever has recovery points]
    group: Option<GroupName>,
    /// The recovery point: an id or an unambiguous beginning of it; `latest`; or a day, or day and time, for the newest one up
    /// to then, in local time
    #[arg(long, value_name = "POINT", default_value = "latest", value_parser = which)]
    point: Which,
    /// Only what is below this path, straight into the target
    #[arg(long, value_name = "PATH", conflicts_with = "original")]
    below: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

/// Which recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Latest,
    /// One whose id begins so.
    Id(String),
    /// The newest one that is not younger.
    UpTo(Timestamp),
}

fn which(text: &str) -> Result<Which, String> {
    which_in(text, &TimeZone::system())
}

fn which_in(text: &str, zone: &TimeZone) -> Result<Which, String> {
    if text == "latest" {
        return Ok(Which::Latest);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Which::Id(text.to_lowercase()));
    }
    let moment = || -> Result<Timestamp, jiff::Error> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(moment);
        }
        let local = if text.len() == "2026-11-20".len() {
            // All of that day.
            text.parse::<Date>()?.tomorrow()?.to_datetime(jiff::civil::Time::midnight())
        } else {
            text.parse::<DateTime>()?.checked_add(1.nanosecond())?
        };
        local.to_zoned(zone.clone())?.timestamp().checked_sub(1.nanosecond())
    };
    moment().map(Which::UpTo).map_err(|_| {
        "write an id, latest, a day as 2026-11-20, or a moment as \"2026-11-20 14:00\"".to_owned()
    })
}

impl Restore {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let password = self.password.read(context, false)?;
        let (repository, points) = with_agent(context, &self.state.state, "opening", |agent| {
            let points = ::agent::recovery_points(agent, self.group.as_ref(), password.as_bytes())?;
            let repository = match points.place {
                Place::Vault => Some(::agent::open_vault(agent, password.as_bytes())?),
                Place::Origin | Place::Staging | Place::Increments => {
                    Some(::agent::open_staging(agent, &points.location, password.as_bytes())?)
                }
                Place::Drives => None,
            };
            Ok((repository, points))
        })?;
        let repository =
            repository.ok_or_else(|| Failure::new(ErrorKind::Unavailable, ON_DRIVES))?;
        let chosen = self.choose(points)?;
        self.restore(context, &repository, &chosen)
    }

    fn restore(
        &self,
        context: &Context,
        repository: &Repository,
        chosen: &RecoveryPoint,
    ) -> Result<Status, Failure> {
        let group = chosen.group.as_ref().map(|group| format!(" of group {group}"));
        context.printer.note(format!(
            "recovery point {}{}, {}",
            chosen.id.short(),
            group.unwrap_or_default(),
            chosen.time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z")
        ));
        if chosen.time > Timestamp::now() {
            context.printer.note("it is dated in the future, so a clock was or is wrong: packmule recovery-point list shows all of them");
        }
        let _lock = repository.lock(repo::LockMode::Shared)?;
        let named = repository.load_snapshot(chosen.id)?;
        let restoring = Restoring {
            repository,
            named: &named,
            below: self.below.clone(),
            journals: Some(self.state.state.join("restores")),
        };
        let noted = if self.wanted.writes() { self.note(context, chosen) } else { None };
        let done = restoring.done(context, &self.wanted);
        if let Some((db, id)) = noted
            && let Err(why) = db.end_restore(id, &how(&done), Timestamp::now())
        {
            context.printer.note(format!("how it ended cannot be noted: {why}"));
        }
        let (outcome, is_damaged) = done?;
        Ok(status_of_restore(&outcome, is_damaged))
    }

    /// Notes in the history that it begins. Nothing is not restored because that cannot be noted.
    fn note(&self, context: &Context, chosen: &RecoveryPoint) -> Option<(Db, i64)> {
        let begun = Db::open(&self.state.state).and_then(|db| {
            let (group, target) = (chosen.group.as_ref(), self.wanted.target());
            let target = target.and_then(|target| std::path::absolute(target).ok());
            let (group, now) = (group.map(GroupName::as_str), Timestamp::now());
            let id = db.begin_restore(group, chosen.id, target.as_deref(), now)?;
            Ok((db, id))
        });
        begun.inspect_err(|why| context.printer.note(format!("it cannot be noted: {why}"))).ok()
    }

    fn choose(&self, mut points: RecoveryPoints) -> Result<RecoveryPoint, Failure> {
        let by_time = !matches!(self.point, Which::Id(_));
        if let Some(why) = points.unseen.as_ref().filter(|_| by_time) {
            let why = crate::failure::chain(why).join(": ");
            let list = self.group.as_ref().map_or_else(
                || "packmule recovery-point list GROUP".to_owned(),
                |group| format!("packmule recovery-point list {group}"),
            );
            let words = format!(
                "which recovery point is the latest cannot be told, as those made while the seed travels are in the vault ({why}); name one of {list}"
            );
            return Err(Failure::new(ErrorKind::Unavailable, words));
        }
        let unreadable = points.damaged.len();
        if let Some(cause) = points.damaged.pop().filter(|_| by_time) {
            let (location, cause) = (points.location, Box::new(cause));
            return Err(repo::Error::LatestUnknown { location, unreadable, cause }.into());
        }
        let fits = |point: &RecoveryPoint| match &self.point {
            Which::Latest => true,
            Which::Id(id) => point.id.to_hex().starts_with(id),
            Which::UpTo(moment) => point.time <= *moment,
        };
        let mut fitting = points.points.into_iter().filter(fits);
        let chosen = if by_time { fitting.next_back() } else { fitting.next() };
        if !by_time && fitting.next().is_some() {
            let words = "that names several recovery points; give more of the id";
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        chosen.ok_or_else(|| {
            let whose = self
                .group
                .as_ref()
                .map_or("this server".to_owned(), |name| format!("group {name}"));
            let which = match &self.point {
                Which::Latest => String::new(),
                Which::Id(id) => format!(" {id}"),
                Which::UpTo(moment) => format!(" from {moment} or before"),
            };
            Failure::new(ErrorKind::NotFound, format!("{whose} has no recovery point{which}"))
        })
    }
}

/// How it ended, for the history.
fn how(done: &Result<(RestoreOutcome, bool), Failure>) -> RestoredSo {
    match done {
        Ok((outcome, is_damaged)) => RestoredSo {
            state: match status_of_restore(outcome, *is_damaged) {
                Status::Done => RunState::Done,
                _ => RunState::Partial,
            },
            message: None,
            files: outcome.files,
            bytes: outcome.bytes,
            problems: outcome.problems.len() as u64,
        },
        Err(failure) => RestoredSo {
            state: match failure.kind {
                ErrorKind::Interrupted => RunState::Interrupted,
                _ => RunState::Failed,
            },
            message: Some(failure.chain().join(": ")),
            ..RestoredSo::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_named_by_id_by_day_or_by_moment() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let which = |text: &str| which_in(text, &zone);
        let up_to = |moment: &str| Ok(Which::UpTo(moment.parse().unwrap()));
        assert_eq!(which("latest"), Ok(Which::Latest));
        assert_eq!(which("1A2b"), Ok(Which::Id("1a2b".into())));
        assert_eq!(which("2026-11-20"), up_to("2026-11-20T22:59:59.999999999Z"));
        assert_eq!(which("2026-11-20 14:00"), up_to("2026-11-20T13:00:00Z"));
        assert_eq!(which("2026-11-20T14:00:30"), up_to("2026-11-20T13:00:30Z"));
        assert_eq!(which("2026-11-20T14:00:00+02:00"), up_to("2026-11-20T12:00:00Z"));
        for wrong in ["", "yesterday", "2026-13-01", "14:00"] {
            assert!(which(wrong).is_err(), "{wrong}");
        }
    }
}
