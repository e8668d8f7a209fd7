//! Locks, as restic writes and respects them.
//!
//! A shared lock says "I read or add"; an exclusive one "I remove". Shared locks bear each other;
//! an exclusive one bears none. A lock is written, then all others are looked at
//! again, after a moment where the store may show them late: of two that came at once, one at least sees the other and gives way. A lock is renewed
//! every five minutes by a new file, and held for abandoned 30 minutes after its last renewal, or
//! when its process on this host is gone. Host names are not unique and process ids are counted
//! anew in every container, so our locks say in which space of process ids theirs counts; of a lock
//! that does not say, a missing process is believed only once renewals are missing too. Source:
//! restic's doc/design.rst, "Locks".
//!
//! Reads the clock, because a lock's age is what it is about.

use crate::{Error, Repository, key_file::Author, time};
use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::{SignedDuration, Timestamp};
use model::{Digest, ObjectKey, ObjectKind};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// restic's own periods.
const REFRESH: Duration = Duration::from_secs(5 * 60);
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// Without a renewal for this long we stop writing: well before others may remove the lock.
const LOST: SignedDuration = SignedDuration::from_mins(22);
/// Two renewals missed: a process that seems gone, but may be in another container, is gone.
const MISSED: SignedDuration = SignedDuration::from_mins(11);
/// How long a lock of another process may take to become visible to a listing, where it may take any time.
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
pub(crate) struct LockFile {
    time: String,
    exclusive: bool,
    hostname: String,
    username: String,
    pid: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    /// In which space of process ids `pid` counts. Not in restic's locks; restic passes over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process_space: Option<String>,
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
            process_space: process_space(),
        }
    }

    /// A time that cannot be read says nothing, and the lock is respected.
    pub(crate) fn stale(&self, author: &Author, now: Timestamp) -> bool {
        let written = time::parse(&self.time);
        let age = written.map_or(SignedDuration::ZERO, |written| now.duration_since(written));
        age > STALE || self.gone(author, age)
    }

    /// Whether its process has ended, as far as that can be seen from here.
    fn gone(&self, author: &Author, age: SignedDuration) -> bool {
        let seen_from_here = match &self.process_space {
            Some(space) => process_space().as_ref() == Some(space),
            None => self.hostname == author.hostname && age > MISSED,
        };
        seen_from_here && self.pid != i64::from(author.pid) && !process_exists(self.pid)
    }
}

/// This boot of this machine, and this container's process ids; none where the system does not say.
fn process_space() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let ids = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), ids.display()))
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
pub(crate) struct Held {
    repository: Repository,
    mode: LockMode,
    current: Mutex<Current>,
    /// Since when it is there, until it is known that nobody came at the same time.
    settling: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    id: Digest,
    renewed: Timestamp,
    /// It was too old once. Others may have removed it and what is not indexed yet: a renewal
    /// would not bring that back, so none is made.
    lost: bool,
}

impl Held {
    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is too old to be relied on; then it is lost for good.
    fn lost(&self, now: Timestamp) -> bool {
        let mut current = self.current();
        current.lost |= now.duration_since(current.renewed) > LOST;
        current.lost
    }

    pub(crate) fn settled(&self) -> Result<(), Error> {
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = *settling {
            // Whoever writes and then looks sees all who had written: the wait is for what is seen late.
            if !self.repository.store().lists_at_once() {
                std::thread::sleep(SETTLE.saturating_sub(written.elapsed()));
            }
            let own = self.current().id;
            self.repository.refuse_if_locked(self.mode, Some(own))?;
            *settling = None;
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.settled()?;
        if self.lost(Timestamp::now()) {
            return Err(Error::LockLost { location: self.repository.location() });
        }
        Ok(())
    }

    /// Writes a new file for the lock and removes the old one. One that fails is tried again next
    /// time; `lost` says when it has been too long.
    fn renew(&self, now: Timestamp) {
        if self.lost(now) {
            return;
        }
        let Ok(id) = self.repository.write_lock(self.mode, now) else { return };
        // Writing may have been what took too long.
        let surplus = if self.lost(Timestamp::now()) {
            id
        } else {
            let mut current = self.current();
            current.renewed = now;
            std::mem::replace(&mut current.id, id)
        };
        let _ = self.repository.store().remove(&ObjectKey::Lock(surplus));
    }
}

impl LockGuard {
    /// Fails when the lock could not be renewed for so long that others may soon think us gone.
    /// Asked before everything that makes data count.
    ///
    /// # Errors
    /// [`Error::LockLost`].
    pub fn check(&self) -> Result<(), Error> {
        self.held.check()
    }

    /// Waits until whoever came at the same time would show, and looks.
    ///
    /// # Errors
    /// [`Error::Locked`]: nothing was written, and what was read since may be wrong.
    pub fn settled(&self) -> Result<(), Error> {
        self.held.settled()
    }

    /// As [`check`](Self::check), for who removes or replaces something.
    ///
    /// # Errors
    /// [`Error::NotAlone`] where others may read and add at the same time; [`Error::LockLost`].
    pub fn alone(&self) -> Result<(), Error> {
        if self.held.mode != LockMode::Exclusive {
            return Err(Error::NotAlone { location: self.held.repository.location() });
        }
        self.check()
    }

    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.held.current().lost = true;
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.held.repository
    }

    /// What can be asked for the lock's state, and does not keep it.
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(refresher) = self.refresher.take() {
            let _ = refresher.join();
        }
        let id = self.held.current().id;
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
        let guard = self.begin_lock(mode)?;
        guard.settled()?;
        Ok(guard)
    }

    /// As [`lock`](Self::lock), without waiting for the moment in which somebody who came at the same
    /// time would show: until [`LockGuard::settled`] says yes, read, and believe nothing of it.
    ///
    /// # Errors
    /// [`Error::Locked`] with who holds it.
    pub fn begin_lock(&self, mode: LockMode) -> Result<LockGuard, Error> {
        self.refuse_if_locked(mode, None)?;
        let now = Timestamp::now();
        let id = self.write_lock(mode, now)?;
        let written = Instant::now();
        let current = Mutex::new(Current { id, renewed: now, lost: false });
        let settling = Mutex::new(Some(written));
        let held = Arc::new(Held { repository: self.clone(), mode, current, settling });
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
        held.renew(Timestamp::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::repository;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn locks(repository: &Repository) -> usize {
        repository.store().list(ObjectKind::Lock).unwrap().len()
    }

    fn lock(exclusive: bool, host: &str, pid: i64, age_minutes: i64) -> LockFile {
        let written = Timestamp::now() - SignedDuration::from_mins(age_minutes);
        LockFile {
            time: time::format(written),
            exclusive,
            hostname: host.into(),
            username: "other".into(),
            pid,
            uid: None,
            gid: None,
            process_space: None,
        }
    }

    fn write(repository: &Repository, lock: &LockFile) {
        repository.save_document(ObjectKind::Lock, lock).unwrap();
    }

    /// No process has it.
    const NOBODY: i64 = i32::MAX as i64 - 1;

    #[test]
    fn who_began_and_meets_another_gives_way_before_anything_counts() {
        let repository = repository();
        let begun = repository.begin_lock(LockMode::Shared).unwrap();
        write(&repository, &lock(true, "elsewhere", 1, 0));
        assert!(matches!(begun.settled(), Err(Error::Locked { .. })));
        assert!(matches!(begun.check(), Err(Error::Locked { .. })));
        let options = crate::WriterOptions::default();
        let writer = crate::Writer::new(&begun, crate::Index::default(), options).unwrap();
        let id = crate::repository::hash(b"a blob");
        writer.save(crate::BlobKind::Data, id, b"a blob").unwrap();
        assert!(matches!(writer.finish(), Err(Error::Locked { .. })));
        assert_eq!(repository.names(ObjectKind::Pack).unwrap(), []);
        drop(begun);
        assert_eq!(locks(&repository), 1, "the other's");
    }

    // In a real folder, on whatever file system tests have for theirs.
    #[test]
    fn of_those_who_come_at_once_one_at_most_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = std::sync::Arc::new(store::Folder::new(folder.path().join("repository")));
        let made = crate::testing::repository_in(store);
        let (inside, alone) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for pause in [1, 2, 5, 11] {
                let (made, inside, alone) = (&made, &inside, &alone);
                scope.spawn(move || {
                    for _ in 0..20 {
                        // All of those who come at once may give way.
                        std::thread::sleep(Duration::from_millis(pause));
                        let Ok(guard) = made.lock(LockMode::Exclusive) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        guard.alone().unwrap();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        alone.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(locks(&made), 0);
        assert!(alone.into_inner() > 0);
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
        write(&repository, &lock(true, "elsewhere", 1, 31));
        let own = LockFile { process_space: process_space(), ..lock(true, "x", NOBODY, 1) };
        write(&repository, &own);
        write(&repository, &lock(true, &repository.author().hostname, NOBODY, 12));
        drop(repository.lock(LockMode::Shared).unwrap());
        assert_eq!(locks(&repository), 0);
        write(&repository, &lock(true, "elsewhere", 1, 29));
        let refusal = repository.lock(LockMode::Shared).unwrap_err();
        assert!(refusal.to_string().contains("other@elsewhere"), "{refusal}");
        assert_eq!(locks(&repository), 1);
    }

    #[test]
    fn a_process_that_cannot_be_seen_from_here_may_live() {
        let host = repository().author().hostname.clone();
        let elsewhere = Some("another container".to_owned());
        let container = LockFile { process_space: elsewhere, ..lock(true, &host, NOBODY, 12) };
        let unreadable = LockFile { time: "tomorrow".into(), ..lock(true, "elsewhere", 1, 0) };
        for respected in [container, lock(true, &host, NOBODY, 1), unreadable] {
            let repository = repository();
            write(&repository, &respected);
            let refusal = repository.lock(LockMode::Shared);
            assert!(matches!(refusal, Err(Error::Locked { .. })), "{respected:?}");
            assert_eq!(locks(&repository), 1);
        }
    }

    #[test]
    fn a_lock_that_was_too_old_once_is_lost_for_good() {
        let repository = repository();
        let guard = repository.lock(LockMode::Shared).unwrap();
        guard.held.renew(Timestamp::now());
        assert!(guard.check().is_ok() && locks(&repository) == 1);
        guard.held.current().renewed -= SignedDuration::from_mins(23);
        guard.held.renew(Timestamp::now());
        assert!(matches!(guard.check(), Err(Error::LockLost { .. })), "renewed too late");
        guard.held.current().renewed = Timestamp::now();
        assert!(matches!(guard.check(), Err(Error::LockLost { .. })));
    }
}
