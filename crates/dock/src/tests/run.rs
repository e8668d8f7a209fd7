//! The dock at work, over drives that are folders: noticed, matched, unlocked, taken in, let go of.

use super::*;
use crate::hardware::{Found, Hardware, Mounted};
use crate::run::{RunOptions, Visit, run_through};
use model::DrivePassword;
use std::collections::BTreeSet;

/// Called at each look, with its number.
pub(crate) type Look<'a> = Box<dyn Fn(&Slots<'_>, usize) + Sync + 'a>;

/// Slots with drives in them.
pub(crate) struct Slots<'a> {
    pub(crate) dock: &'a Dock,
    pub(crate) slots: Mutex<Vec<Slot>>,
    /// Drives whose files somebody can see at this moment.
    pub(crate) mounted: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// How many of them there ever were at once.
    most: Mutex<usize>,
    pub(crate) look: Look<'a>,
    looks: Mutex<usize>,
}

#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) found: Found,
    pub(crate) folder: PathBuf,
    pub(crate) header: Option<Digest>,
}

struct Folder {
    folder: PathBuf,
    mounted: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Mounted for Folder {
    fn folder(&self) -> &Path {
        &self.folder
    }
    fn unmount(self: Box<Self>) -> std::result::Result<(), Error> {
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.mounted.lock().unwrap().remove(&self.folder);
    }
}

pub(crate) fn password() -> DrivePassword {
    DrivePassword::from_bytes(&[3; 16])
}

impl<'a> Slots<'a> {
    pub(crate) fn of(dock: &'a Dock, set: &DriveSet) -> Self {
        let slots = set.folders.iter().map(|folder| slot(folder));
        Self {
            dock,
            slots: Mutex::new(slots.collect()),
            mounted: Arc::default(),
            most: Mutex::default(),
            look: Box::new(|_, _| {}),
            looks: Mutex::default(),
        }
    }

    fn change(&self, serial: &str, change: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots.lock().unwrap();
        let has = |slot: &&mut Slot| {
            slot.found.serial.as_ref().is_some_and(|found| found.as_str() == serial)
        };
        change(slots.iter_mut().find(has).unwrap());
    }

    pub(crate) fn run(&self, once: bool) -> std::result::Result<Vec<Visit>, Error> {
        let events = |event: Event<'_>| {
            self.dock.words.lock().unwrap().push(format!("{event:?}"));
            (self.dock.hook)(self.dock, &event);
        };
        let policy = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
        self.dock.noting(|custody| {
            let options = RunOptions {
                state: self.dock.state.path(),
                store: OpenOptions {
                    retry: Some((policy, self.dock.clock.clone())),
                    ..OpenOptions::default()
                },
                report_every: Duration::from_secs(5),
                at_once: 2,
                once,
                custody: Some(custody),
                look_every: Duration::from_millis(1),
                clock: &store::SystemClock::new(),
                stop: &self.dock.stop,
                events: &events,
            };
            run_through(self.dock, self.dock, self, &options)
        })
    }

    /// Until every drive is Completed; longer than that only where something is wrong.
    fn run_until_complete(&self) {
        self.run(false).unwrap();
        let jobs = self.dock.jobs.lock().unwrap();
        let drives = jobs.iter().flat_map(|job| &job.drive_list);
        let states: Vec<_> = drives.map(|drive| drive.state).collect();
        assert!(states.iter().all(|state| *state == DriveState::Completed), "{states:?}");
    }
}

pub(crate) fn slot(folder: &Path) -> Slot {
    let serial = folder.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let place = Path::new("/dev").join(folder.file_name().unwrap());
    let found = Found { place, insertion: 1, serial: Some(serial), used: None };
    Slot { found, folder: folder.to_owned(), header: None }
}

impl Hardware for Slots<'_> {
    fn found(&self) -> std::result::Result<Vec<Found>, Error> {
        let look = {
            let mut looks = self.looks.lock().unwrap();
            *looks += 1;
            *looks
        };
        (self.look)(self, look);
        assert!(look < 20_000, "it does not end");
        Ok(self.slots.lock().unwrap().iter().map(|slot| slot.found.clone()).collect())
    }

    fn header_hash(&self, found: &Found) -> std::result::Result<Option<Digest>, Error> {
        let slots = self.slots.lock().unwrap();
        Ok(slots.iter().find(|slot| slot.found == *found).unwrap().header)
    }

    fn mount(
        &self,
        found: &Found,
        given: Option<DrivePassword>,
    ) -> std::result::Result<Box<dyn Mounted>, Error> {
        let slots = self.slots.lock().unwrap();
        let slot = slots.iter().find(|slot| slot.found == *found).unwrap();
        assert_eq!(given, slot.header.map(|_| password()));
        let mut mounted = self.mounted.lock().unwrap();
        mounted.insert(slot.folder.clone());
        let mut most = self.most.lock().unwrap();
        *most = (*most).max(mounted.len());
        Ok(Box::new(Folder { folder: slot.folder.clone(), mounted: self.mounted.clone() }))
    }
}

#[test]
fn expected_drives_are_taken_in_a_few_at_once_and_let_go_of() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let slots = Slots::of(&dock, &set);
    let visits = slots.run(true).unwrap();
    let serials: BTreeSet<&str> = visits.iter().map(|visit| visit.serial.as_str()).collect();
    assert_eq!(serials, BTreeSet::from(["D0", "D1", "D2"]));
    assert!(visits.iter().all(|visit| visit.result.as_ref().unwrap().is_complete()));
    assert_eq!(contents(dock.account.inner()), contents(&set.source));
    assert_eq!(*slots.mounted.lock().unwrap(), BTreeSet::new());
    assert!(*slots.most.lock().unwrap() <= 2, "two at once were asked for");
    assert_eq!(dock.said("LeftAlone"), 0);
    // Done is done.
    assert_eq!(slots.run(true).unwrap().len(), 0);
    assert_eq!(dock.said("LeftAlone"), 3);
}

#[test]
fn a_key_is_asked_for_with_the_header_that_was_read_and_for_nothing_else() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let slots = Slots::of(&dock, &set);
    let header = Digest([9; 32]);
    dock.set_drive("D0", |drive| drive.drive_header_hash = Some(header));
    dock.set_drive("D1", |drive| drive.drive_header_hash = Some(header));
    dock.set_drive("D2", |drive| drive.drive_header_hash = Some(header));
    slots.change("D0", |slot| slot.header = Some(header));
    slots.change("D1", |slot| slot.header = Some(Digest([8; 32])));
    let visits = slots.run(true).unwrap();
    let result =
        |serial: &str| &visits.iter().find(|visit| visit.serial.as_str() == serial).unwrap().result;
    assert!(result("D0").as_ref().unwrap().is_complete());
    let changed = result("D1").as_ref().unwrap_err();
    assert!(
        matches!(changed, Error::Server(error) if error.code() == Some(&Code::DriveHeaderMismatch))
    );
    let bare = result("D2").as_ref().unwrap_err();
    assert!(matches!(bare, Error::OtherProtection { announced: true, .. }), "{bare}");
    assert_eq!(bare.kind(), model::ErrorKind::WrongDrive);
    let mut asked = dock.asked.lock().unwrap().clone();
    asked.sort();
    let asked: Vec<_> = asked.iter().map(|(serial, hash)| (serial.as_str(), hash.0[0])).collect();
    assert_eq!(asked, [("D0", 9), ("D1", 8)]);
}

#[test]
fn an_encrypted_drive_where_a_bare_one_is_announced_is_not_unlocked() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let slots = Slots::of(&dock, &set);
    slots.change("D1", |slot| slot.header = Some(Digest([8; 32])));
    let visits = slots.run(true).unwrap();
    let failed: Vec<_> = visits.iter().filter_map(|visit| visit.result.as_ref().err()).collect();
    assert!(matches!(failed.as_slice(), [Error::OtherProtection { announced: false, .. }]));
    assert_eq!(dock.asked.lock().unwrap().len(), 0);
}

#[test]
fn what_nobody_expects_is_named_once_and_not_touched() {
    let set = DriveSet::three();
    let foreign = DriveSet::prepare("job-2", "E", 2, &SIGNER);
    let mut dock = Dock::with(&set);
    dock.jobs.get_mut().unwrap().clear();
    let before: Vec<_> = set.folders.iter().chain(&foreign.folders).map(|f| tree(f)).collect();
    let mut slots = Slots::of(&dock, &set);
    let silent = Slot {
        found: Found { serial: None, place: "/dev/silent".into(), ..slot(&set.folders[0]).found },
        ..slot(&set.folders[0])
    };
    slots.slots.get_mut().unwrap().extend(foreign.folders.iter().map(|folder| slot(folder)));
    slots.slots.get_mut().unwrap().push(silent);
    slots.look = Box::new(|slots, look| {
        if look == 20 {
            slots.dock.ask_to_stop();
        }
    });
    slots.run(false).unwrap();
    assert_eq!(dock.said("LeftAlone"), 7, "{:?}", dock.words.lock().unwrap());
    assert_eq!(dock.words.lock().unwrap().len(), 7);
    assert_eq!(*slots.most.lock().unwrap(), 0);
    assert_eq!(dock.events.lock().unwrap().len(), 0);
    let after: Vec<_> = set.folders.iter().chain(&foreign.folders).map(|f| tree(f)).collect();
    assert_eq!(before, after);
}

#[test]
fn a_drive_waits_aside_until_its_package_is_received_and_one_that_was_missing_in_it_is_recorded() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.jobs.lock().unwrap()[0].state = JobState::Creating;
    for serial in ["D0", "D1", "D2"] {
        dock.set_drive(serial, |drive| drive.state = DriveState::NeverReceived);
    }
    let mut slots = Slots::of(&dock, &set);
    slots.look = Box::new(|slots, look| {
        if look == 5 {
            slots.dock.jobs.lock().unwrap()[0].state = JobState::Shipping;
        }
        if look == 10 {
            slots.dock.jobs.lock().unwrap()[0].state = JobState::Received;
        }
        let jobs = slots.dock.jobs.lock().unwrap();
        if jobs[0].drive_list.iter().all(|drive| drive.state == DriveState::Completed) {
            slots.dock.ask_to_stop();
        }
    });
    slots.run_until_complete();
    assert_eq!(dock.said("LeftAlone"), 6, "for each of the two reasons");
    let events = dock.events.lock().unwrap();
    for serial in ["D0", "D1", "D2"] {
        let mut own = events.iter().filter(|(drive, _)| drive.as_str() == serial);
        assert_eq!(own.next().unwrap().1, DriveEvent::Came);
        assert_eq!(own.next().unwrap().1, DriveEvent::Started);
    }
}

#[test]
fn a_drive_that_was_pulled_out_goes_on_when_it_is_put_in_again() {
    let set = DriveSet::three();
    let mut dock = Dock::with(&set);
    let (here, away) = (set.folders[0].clone(), set.dir.path().join("away"));
    let (from, to) = (here.clone(), away.clone());
    dock.hook = Box::new(move |_, event| {
        if matches!(event, Event::Progress { serial, .. } if serial.as_str() == "D0") {
            let _ = fs::rename(&from, &to);
        }
    });
    let pulled = AtomicBool::new(false);
    let mut slots = Slots::of(&dock, &set);
    slots.look = Box::new(|slots, _| {
        // Somebody sees that it is out, and puts it in again.
        if away.exists() && !slots.mounted.lock().unwrap().contains(&here) {
            let mut all = slots.slots.lock().unwrap();
            if pulled.swap(true, Ordering::Relaxed) {
                fs::rename(&away, &here).unwrap();
                let mut again = slot(&here);
                again.found.insertion = 2;
                all.push(again);
            } else {
                all.retain(|slot| slot.folder != here);
            }
            return;
        }
        let jobs = slots.dock.jobs.lock().unwrap();
        if jobs[0].drive_list.iter().all(|drive| drive.state == DriveState::Completed) {
            slots.dock.ask_to_stop();
        }
    });
    slots.run_until_complete();
    assert_eq!(contents(dock.account.inner()), contents(&set.source));
}

#[test]
fn a_copy_of_a_drive_beside_it_makes_both_wait() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let mut slots = Slots::of(&dock, &set);
    let mut copy = slot(&set.folders[0]);
    copy.found.place = "/dev/copy".into();
    slots.slots.get_mut().unwrap().push(copy);
    let visits = slots.run(true).unwrap();
    let mut serials: Vec<&str> = visits.iter().map(|visit| visit.serial.as_str()).collect();
    serials.sort_unstable();
    assert_eq!(serials, ["D1", "D2"]);
    assert_eq!(dock.said("LeftAlone"), 2);
}

#[test]
fn a_server_that_is_away_is_asked_again_and_that_is_said_once() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let mut slots = Slots::of(&dock, &set);
    dock.refusals.lock().unwrap().extend([Some(Code::InternalError), Some(Code::InternalError)]);
    slots.look = Box::new(|slots, _| {
        let jobs = slots.dock.jobs.lock().unwrap();
        if jobs[0].drive_list.iter().all(|drive| drive.state == DriveState::Completed) {
            slots.dock.ask_to_stop();
        }
    });
    slots.run_until_complete();
    assert_eq!(dock.said("ServerAway"), 1);
    dock.stop.store(false, Ordering::Relaxed);
    dock.refusals.lock().unwrap().push_back(Some(Code::InternalError));
    assert!(matches!(slots.run(true), Err(Error::Server(_))), "once is not for ever");
}
