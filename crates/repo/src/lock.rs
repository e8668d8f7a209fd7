//! Locks, as restic writes and respects them.
//!
//! A shared lock says "I read or add"; an exclusive one "I remove". Shared locks bear each other;
//! an exclusive one bears none. A lock is written, then, after a moment, all others are looked at
//! again: of two that came at once, one at least sees the other and gives way. A lock is renewed
//! every five minutes by a new file, and held for abandoned 30 minutes after its last renewal, or
//! at once when its process on this host is gone. Source: restic's doc/design.rst, "Locks".
//!
//! Reads the clock, because a lock's age is what it is about.

use crate::{Error, Repository, key_file::Author, time};
use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::{SignedDuration, Timestamp};
use model::{Digest, ObjectKey, ObjectKind};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// restic's own periods.
const REFRESH: Duration = Duration::from_secs(5 * 60);
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// Without a renewal for this long we stop writing: well before others may remove the lock.
const LOST: SignedDuration = SignedDuration::from_mins(22);
/// How long a lock of another process may take to become visible to a listing.
const SETTLE: Duration = Duration::from_millis(200);
const LOCK_LIMIT: u64 = 1 << 16;

/// What the holder will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Read, or add.
    Shared,
    /// Remove or rewrite.
    Exclusive,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LockFile {
    time: String,
    exclusive: bool,
    hostname: String,
    username: String,
    pid: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
}

impl LockFile {
    fn new(mode: LockMode, author: &Author, now: Timestamp) -> Self {
        Self {
            time: time::format(now),
            exclusive: mode == LockMode::Exclusive,
            hostname: author.hostname.clone(),
            username: author.username.clone(),
            pid: i64::from(author.pid),
            uid: Some(author.uid).filter(|id| *id != 0),
            gid: Some(author.gid).filter(|id| *id != 0),
        }
    }

    fn stale(&self, author: &Author, now: Timestamp) -> bool {
        let age = time::parse(&self.time).map(|written| now.duration_since(written));
        let gone = self.hostname == author.hostname
            && self.pid != i64::from(author.pid)
            && !process_exists(self.pid);
        gone || age.is_none_or(|age| age > STALE)
    }
}

fn process_exists(pid: i64) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    // Not permitted to signal it means that it is there.
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// A lock that is held, and renewed, until this is dropped.
#[derive(Debug)]
pub struct LockGuard {
    held: Arc<Held>,
    stop: Option<Sender<()>>,
    refresher: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Held {
    repository: Repository,
    mode: LockMode,
    current: Mutex<(Digest, Timestamp)>,
}

impl LockGuard {
    /// Fails when the lock could not be renewed for so long that others may soon think us gone.
    /// Asked before everything that makes data count.
    ///
    /// # Errors
    /// [`Error::LockLost`].
    pub fn check(&self) -> Result<(), Error> {
        let (_, renewed) = *self.held.current.lock().unwrap_or_else(PoisonError::into_inner);
        if Timestamp::now().duration_since(renewed) > LOST {
            return Err(Error::LockLost { location: self.held.repository.location() });
        }
        Ok(())
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(refresher) = self.refresher.take() {
            let _ = refresher.join();
        }
        let (id, _) = *self.held.current.lock().unwrap_or_else(PoisonError::into_inner);
        // One that cannot be removed goes stale by itself.
        let _ = self.held.repository.store().remove(&ObjectKey::Lock(id));
    }
}

impl Repository {
    /// Takes a lock, after removing those that are abandoned.
    ///
    /// # Errors
    /// [`Error::Locked`] with who holds it.
    pub fn lock(&self, mode: LockMode) -> Result<LockGuard, Error> {
        self.refuse_if_locked(mode, None)?;
        let now = Timestamp::now();
        let id = self.write_lock(mode, now)?;
        std::thread::sleep(SETTLE);
        if let Err(refusal) = self.refuse_if_locked(mode, Some(id)) {
            let _ = self.store().remove(&ObjectKey::Lock(id));
            return Err(refusal);
        }
        let held =
            Arc::new(Held { repository: self.clone(), mode, current: Mutex::new((id, now)) });
        let (stop, stopped) = bounded(0);
        let refresher = std::thread::spawn({
            let held = Arc::clone(&held);
            move || refresh(&held, &stopped)
        });
        Ok(LockGuard { held, stop: Some(stop), refresher: Some(refresher) })
    }

    fn write_lock(&self, mode: LockMode, now: Timestamp) -> Result<Digest, Error> {
        self.save_document(ObjectKind::Lock, &LockFile::new(mode, self.author(), now))
    }

    fn refuse_if_locked(&self, mode: LockMode, own: Option<Digest>) -> Result<(), Error> {
        let now = Timestamp::now();
        for listed in self.store().list(ObjectKind::Lock)? {
            let Some(id) = listed.key.id().filter(|id| Some(*id) != own) else { continue };
            let lock = match self.load_lock(id) {
                Ok(lock) => lock,
                // Gone meanwhile, or never a lock: neither holds anything.
                Err(Error::Store(store::Error::NotFound { .. })) => continue,
                Err(Error::Damaged { .. }) if listed.length == 0 => continue,
                Err(other) => return Err(other),
            };
            if lock.stale(self.author(), now) {
                let _ = self.store().remove(&ObjectKey::Lock(id));
            } else if lock.exclusive || mode == LockMode::Exclusive {
                return Err(Error::Locked {
                    location: self.location(),
                    mode: if lock.exclusive { "exclusively" } else { "for reading and writing" },
                    holder: format!("{}@{}, process {}", lock.username, lock.hostname, lock.pid),
                    since: lock.time,
                });
            }
        }
        Ok(())
    }

    fn load_lock(&self, id: Digest) -> Result<LockFile, Error> {
        self.load_document(ObjectKey::Lock(id), LOCK_LIMIT)
    }
}

fn refresh(held: &Held, stopped: &Receiver<()>) {
    while let Err(crossbeam_channel::RecvTimeoutError::Timeout) = stopped.recv_timeout(REFRESH) {
        let now = Timestamp::now();
        // A renewal that fails is tried again next time; `check` says when it has been too long.
        let Ok(id) = held.repository.write_lock(held.mode, now) else { continue };
        let mut current = held.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, _) = std::mem::replace(&mut *current, (id, now));
        let _ = held.repository.store().remove(&ObjectKey::Lock(old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::repository;

    fn locks(repository: &Repository) -> usize {
        repository.store().list(ObjectKind::Lock).unwrap().len()
    }

    fn write(repository: &Repository, exclusive: bool, host: &str, pid: i64, age_minutes: i64) {
        let written = Timestamp::now() - SignedDuration::from_mins(age_minutes);
        let lock = LockFile {
            time: time::format(written),
            exclusive,
            hostname: host.into(),
            username: "other".into(),
            pid,
            uid: None,
            gid: None,
        };
        repository.save_document(ObjectKind::Lock, &lock).unwrap();
    }

    #[test]
    fn shared_locks_bear_each_other_and_are_removed() {
        let repository = repository();
        let first = repository.lock(LockMode::Shared).unwrap();
        let second = repository.lock(LockMode::Shared).unwrap();
        assert_eq!(locks(&repository), 2);
        assert!(first.check().is_ok());
        drop((first, second));
        assert_eq!(locks(&repository), 0);
    }

    #[test]
    fn an_exclusive_lock_bears_none_and_is_borne_by_none() {
        let repository = repository();
        let shared = repository.lock(LockMode::Shared).unwrap();
        assert!(matches!(repository.lock(LockMode::Exclusive), Err(Error::Locked { .. })));
        assert_eq!(locks(&repository), 1, "the refused lock is not left behind");
        drop(shared);
        let _exclusive = repository.lock(LockMode::Exclusive).unwrap();
        assert!(matches!(repository.lock(LockMode::Shared), Err(Error::Locked { .. })));
    }

    #[test]
    fn abandoned_locks_are_removed_and_others_respected() {
        let repository = repository();
        write(&repository, true, "elsewhere", 1, 31);
        write(&repository, true, &repository.author().hostname, i64::from(i32::MAX) - 1, 1);
        drop(repository.lock(LockMode::Shared).unwrap());
        assert_eq!(locks(&repository), 0);
        write(&repository, true, "elsewhere", 1, 29);
        let refusal = repository.lock(LockMode::Shared).unwrap_err();
        assert!(refusal.to_string().contains("other@elsewhere"), "{refusal}");
        assert_eq!(locks(&repository), 1);
    }
}
