//! Breaks a store on purpose, by script: what the engines' tests hold them against.
//! Draws no chance: the same script gives the same faults.

use crate::{Error, Listed, Operation, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not reachable; nothing was done.
    Unavailable,
    /// Done, but the answer got lost: looks like [`Fault::Unavailable`].
    LostAnswer,
    /// No room; nothing was done.
    Full,
    /// Refused; nothing was done.
    Denied,
    /// A write breaks off after that many bytes were taken from its source; nothing is stored.
    ShortWrite(u64),
    /// A read gives the right bytes but for this bit, counted from the first bit of what is read
    /// (and wrapped around to fit). A stream is wrong at its very bit.
    FlipBit(u64),
    /// A read or stream ends after that many bytes.
    Truncate(u64),
    /// Everything fails from here on, this included and not done: the process or machine is gone.
    Crash,
    /// Done, and then everything fails: the process died before it heard.
    CrashAfter,
}

/// A store with faults to come.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    crashed: bool,
    /// Bytes that may still be stored.
    room: Option<u64>,
    /// Lists as they were when they went stale.
    stale: Option<BTreeMap<ObjectKind, Vec<Listed>>>,
    trace: Vec<(Operation, Option<ObjectKey>)>,
}

#[derive(Debug)]
struct Rule {
    operation: Option<Operation>,
    kind: Option<ObjectKind>,
    /// Matching calls until it strikes; 1 is the next.
    countdown: u64,
    fault: Fault,
}

impl<S: Store> Faulty<S> {
    /// `inner`, without a fault yet.
    pub fn new(inner: S) -> Self {
        Self { inner, script: Mutex::default() }
    }

    /// The store inside, which works.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The `nth` call from now (1 is the next) of that operation, or of any, fails so. Once.
    pub fn fail_nth(&self, operation: Option<Operation>, nth: u64, fault: Fault) {
        self.add(Rule { operation, kind: None, countdown: nth, fault });
    }

    /// As [`fail_nth`](Self::fail_nth), counting only calls for objects of that kind.
    pub fn fail_nth_of(&self, operation: Operation, kind: ObjectKind, nth: u64, fault: Fault) {
        self.add(Rule { operation: Some(operation), kind: Some(kind), countdown: nth, fault });
    }

    /// From now on there is room for that many bytes of objects; the object that exceeds it finds
    /// the store full. What is removed makes no room. `None`: room without end.
    pub fn full_after(&self, bytes: Option<u64>) {
        self.script().room = bytes;
    }

    /// Everything fails until [`revive`](Self::revive).
    pub fn crash(&self) {
        self.script().crashed = true;
    }

    /// After a crash: everything works, on what was stored by then. Faults not yet struck are gone.
    pub fn revive(&self) {
        let mut script = self.script();
        script.crashed = false;
        script.rules.clear();
    }

    /// Whether it has crashed.
    pub fn has_crashed(&self) -> bool {
        self.script().crashed
    }

    /// From now on lists are what they are now, as those of a store whose lists lag behind.
    ///
    /// # Errors
    /// Those of the inner store's lists.
    pub fn freeze_lists(&self) -> Result<()> {
        let list = |kind| Ok((kind, self.inner.list(kind)?));
        let frozen = ObjectKind::ALL.into_iter().map(list).collect::<Result<_>>()?;
        self.script().stale = Some(frozen);
        Ok(())
    }

    /// Lists are true again.
    pub fn thaw_lists(&self) {
        self.script().stale = None;
    }

    /// What was called, in order, failed or not.
    pub fn trace(&self) -> Vec<(Operation, Option<ObjectKey>)> {
        self.script().trace.clone()
    }

    fn add(&self, rule: Rule) {
        self.script().rules.push(rule);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that this call meets, if any.
    fn strike(
        &self,
        operation: Operation,
        key: Option<&ObjectKey>,
        kind: Option<ObjectKind>,
    ) -> Result<Option<Fault>> {
        let mut script = self.script();
        script.trace.push((operation, key.copied()));
        if script.crashed {
            return Err(self.away("crashed"));
        }
        let fault = script.next_fault(operation, kind);
        match fault {
            Some(Fault::Unavailable) => Err(self.away("away")),
            Some(Fault::Full) => Err(Error::Full { location: self.location() }),
            Some(Fault::Denied) => {
                Err(Error::Denied { location: self.location(), what: operation.to_string() })
            }
            Some(Fault::Crash) => {
                script.crashed = true;
                Err(self.away("crashed"))
            }
            other => Ok(other),
        }
    }

    /// Carries out a call, with the faults that strike around it.
    fn around<T>(
        &self,
        operation: Operation,
        key: Option<&ObjectKey>,
        call: impl FnOnce(Option<Fault>) -> Result<T>,
    ) -> Result<T> {
        let fault = self.strike(operation, key, key.map(ObjectKey::kind))?;
        self.after(fault, call(fault))
    }

    fn after<T>(&self, fault: Option<Fault>, outcome: Result<T>) -> Result<T> {
        match fault {
            Some(Fault::LostAnswer) => Err(self.away("answer lost")),
            Some(Fault::CrashAfter) => {
                self.crash();
                Err(self.away("crashed"))
            }
            _ => outcome,
        }
    }

    fn away(&self, why: &'static str) -> Error {
        Error::Unavailable { location: self.location(), cause: why.into() }
    }

    fn claim(&self, bytes: u64) -> Result<()> {
        let mut script = self.script();
        if let Some(room) = script.room {
            let left = room.checked_sub(bytes);
            script.room = Some(left.ok_or_else(|| Error::Full { location: self.location() })?);
        }
        Ok(())
    }

    /// Damages what was read, or says that it ends early.
    fn damage(&self, key: &ObjectKey, fault: Option<Fault>, bytes: &mut [u8]) -> Result<()> {
        match fault {
            Some(Fault::FlipBit(bit)) => flip(bytes, bit),
            Some(Fault::Truncate(at)) if at < bytes.len() as u64 => {
                let what = format!("it ends after {at} bytes");
                return Err(Error::Corrupt { location: self.location(), key: *key, what });
            }
            _ => {}
        }
        Ok(())
    }
}

impl Script {
    fn next_fault(&mut self, operation: Operation, kind: Option<ObjectKind>) -> Option<Fault> {
        let mut struck = None;
        self.rules.retain_mut(|rule| {
            let matches = rule.operation.is_none_or(|of| of == operation)
                && rule.kind.is_none_or(|of| Some(of) == kind);
            if !matches {
                return true;
            }
            rule.countdown = rule.countdown.saturating_sub(1);
            let strikes = rule.countdown == 0 && struck.is_none();
            if strikes {
                struck = Some(rule.fault);
            }
            !strikes
        });
        struck
    }
}

fn flip(bytes: &mut [u8], bit: u64) {
    let length = bytes.len() as u64;
    let at = (bit / 8).checked_rem(length).and_then(|at| usize::try_from(at).ok());
    if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
}

/// A stream that fails after `left` bytes.
struct Cut<'a> {
    inner: &'a mut dyn Read,
    left: u64,
}

impl Read for Cut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("cut on purpose"));
        }
        let count = self.inner.take(self.left).read(buffer)?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// A stream that is wrong at one bit, or ends early.
struct Damaged {
    inner: Box<dyn Read + Send>,
    at: u64,
    fault: Option<Fault>,
}

impl Read for Damaged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = match self.fault {
            Some(Fault::Truncate(end)) => end.saturating_sub(self.at),
            _ => u64::MAX,
        };
        let count = (&mut self.inner).take(room).read(buffer)?;
        let read = buffer.get_mut(..count).unwrap_or_default();
        if let Some(Fault::FlipBit(bit)) = self.fault
            && let Some(bit) = bit.checked_sub(self.at * 8)
            && bit < read.len() as u64 * 8
        {
            flip(read, bit);
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl<S: Store> Store for Faulty<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self) -> Result<()> {
        self.around(Operation::Create, None, |_| self.inner.create())
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.around(Operation::Put, Some(key), |fault| match fault {
            Some(Fault::ShortWrite(_)) => Err(self.away("cut")),
            _ => {
                self.claim(bytes.len() as u64)?;
                self.inner.put(key, bytes)
            }
        })
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        self.around(Operation::PutFrom, Some(key), |fault| match fault {
            Some(Fault::ShortWrite(after)) => {
                let _ = self.inner.put_from(key, length, &mut Cut { inner: from, left: after });
                Err(self.away("cut"))
            }
            _ => {
                self.claim(length)?;
                self.inner.put_from(key, length, from)
            }
        })
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        self.around(Operation::Get, Some(key), |fault| {
            let mut bytes = self.inner.get(key, limit)?;
            match fault {
                Some(Fault::Truncate(at)) => {
                    bytes.truncate(usize::try_from(at).unwrap_or(usize::MAX));
                }
                _ => self.damage(key, fault, &mut bytes)?,
            }
            Ok(bytes)
        })
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.around(Operation::ReadAt, Some(key), |fault| {
            self.inner.read_at(key, offset, buffer)?;
            self.damage(key, fault, buffer)
        })
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        self.around(Operation::Open, Some(key), |fault| {
            let inner = self.inner.open(key)?;
            Ok(Box::new(Damaged { inner, at: 0, fault }) as Box<dyn Read + Send>)
        })
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        self.around(Operation::Length, Some(key), |_| self.inner.length(key))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let fault = self.strike(Operation::List, None, Some(kind))?;
        let stale = self.script().stale.as_ref().map(|lists| lists.get(&kind).cloned());
        let outcome = match stale {
            Some(list) => Ok(list.unwrap_or_default()),
            None => self.inner.list(kind),
        };
        self.after(fault, outcome)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.around(Operation::Remove, Some(key), |_| self.inner.remove(key))
    }

    fn puts_at_once(&self) -> usize {
        self.inner.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.inner.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use crate::conformance::key_of;

    fn store() -> Faulty<Memory> {
        Faulty::new(Memory::new())
    }

    fn pack(bytes: &[u8]) -> ObjectKey {
        key_of(ObjectKind::Pack, bytes)
    }

    #[test]
    fn the_nth_call_fails_and_no_other() {
        let store = store();
        store.fail_nth(Some(Operation::Length), 2, Fault::Denied);
        store.put(&pack(b"x"), b"x").unwrap();
        store.length(&pack(b"x")).unwrap();
        assert!(matches!(store.length(&pack(b"x")), Err(Error::Denied { .. })));
        store.length(&pack(b"x")).unwrap();
    }

    #[test]
    fn a_fault_for_one_kind_spares_the_others() {
        let store = store();
        store.fail_nth_of(Operation::Put, ObjectKind::Index, 1, Fault::Full);
        store.put(&pack(b"x"), b"x").unwrap();
        let refused = store.put(&key_of(ObjectKind::Index, b"x"), b"x");
        assert!(matches!(refused, Err(Error::Full { .. })));
    }

    #[test]
    fn a_short_write_takes_from_its_source_and_stores_nothing() {
        let store = store();
        store.fail_nth(None, 1, Fault::ShortWrite(3));
        let mut source: &[u8] = b"bytes";
        assert!(store.put_from(&pack(b"bytes"), 5, &mut source).is_err());
        assert_eq!(source, b"es");
        assert_eq!(store.list(ObjectKind::Pack).unwrap(), []);
    }

    #[test]
    fn a_lost_answer_hides_a_write_that_was_done() {
        let store = store();
        store.fail_nth(None, 1, Fault::LostAnswer);
        assert!(matches!(store.put(&pack(b"x"), b"x"), Err(Error::Unavailable { .. })));
        assert_eq!(store.get(&pack(b"x"), 9).unwrap(), b"x");
    }

    #[test]
    fn after_a_crash_all_fails_until_it_is_revived() {
        for (fault, stored) in [(Fault::Crash, false), (Fault::CrashAfter, true)] {
            let store = store();
            store.fail_nth(Some(Operation::Put), 1, fault);
            assert!(store.put(&pack(b"x"), b"x").is_err());
            assert!(store.list(ObjectKind::Pack).is_err() && store.has_crashed());
            store.revive();
            assert_eq!(store.length(&pack(b"x")).is_ok(), stored);
        }
    }

    #[test]
    fn one_bit_is_wrong_once_however_it_is_read() {
        let store = store();
        let bytes = vec![0; 1_000];
        let key = pack(&bytes);
        store.put(&key, &bytes).unwrap();
        for _ in 0..3 {
            store.fail_nth(None, 1, Fault::FlipBit(8_001));
            let bytes = store.get(&key, 1_000).unwrap();
            assert_eq!((bytes[0], bytes.iter().map(|b| b.count_ones()).sum::<u32>()), (2, 1));
        }
        store.fail_nth(None, 1, Fault::FlipBit(7_999));
        let mut read = Vec::new();
        store.open(&key).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read[999], 128);
        store.fail_nth(None, 1, Fault::Truncate(10));
        read.clear();
        store.open(&key).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), 10);
        assert_eq!(store.get(&key, 1_000).unwrap(), bytes);
    }

    #[test]
    fn a_full_store_takes_what_still_fits_and_keeps_the_rest() {
        let store = store();
        store.full_after(Some(5));
        store.put(&pack(b"1234"), b"1234").unwrap();
        let refused = store.put_from(&pack(b"56"), 2, &mut b"56".as_slice());
        assert!(matches!(refused, Err(Error::Full { .. })));
        store.put(&pack(b"7"), b"7").unwrap();
        store.full_after(None);
        store.put(&pack(b"56"), b"56").unwrap();
        assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 3);
    }

    #[test]
    fn a_stale_list_shows_the_past_and_reads_show_the_present() {
        let store = store();
        store.put(&pack(b"old"), b"old").unwrap();
        store.freeze_lists().unwrap();
        store.put(&pack(b"new"), b"new").unwrap();
        assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 1);
        assert_eq!(store.get(&pack(b"new"), 3).unwrap(), b"new");
        store.thaw_lists();
        assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 2);
    }
}
