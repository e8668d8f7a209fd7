//! Drives that are pulled and come back, that lie, and that never give back what was written.

use super::*;
use crate::beneath::faults;
use std::sync::atomic::AtomicU32;

#[test]
fn a_drive_pulled_half_way_and_replaced_costs_backing_up_what_was_on_it() {
    let case = ten();
    let drives = [case.drive("D0", ROOM), case.drive("D1", ROOM)];
    let fresh = [case.drive("D2", ROOM), case.drive("D3", ROOM)];
    // In the middle of the second drive.
    let take = Some((7, drives[1].folder.clone()));
    let mut desk = Desk { take, drives: fresh.to_vec(), ..Desk::default() };
    let (report, ended) = case.run(&drives, &mut desk);
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(desk.gone, ["D1"]);
    assert_eq!(case.passes.load(Ordering::Relaxed), 2);
    let again = case.made.load(Ordering::Relaxed) - 10;
    assert!(again > 0 && again < 6, "what the window had is written from there: {again}");
    case.arrives(&[drives[0].clone(), fresh[0].clone(), fresh[1].clone()]).unwrap();
}

/// Puts a drive aside as if it had been pulled, and gives it back when a drive is asked for.
struct Puller {
    desk: Desk,
    drive: DriveSpec,
    left: usize,
}

impl Events for Puller {
    fn event(&mut self, event: Event<'_>) {
        if matches!(event, Event::ObjectDone { .. }) {
            self.left = self.left.wrapping_sub(1);
            if self.left == 0 {
                let folder = &self.drive.folder;
                fs::rename(folder, folder.with_extension("pulled")).unwrap();
                // What is open on it stays, and must not be written to any more.
                fs::create_dir(folder).unwrap();
            }
        }
        self.desk.event(event);
    }
}

impl Host for Puller {
    fn before_sealing(&mut self) -> bool {
        true
    }

    fn next_drive(&mut self, _: Option<&Error>) -> Option<DriveSpec> {
        let folder = &self.drive.folder;
        let pulled = folder.with_extension("pulled");
        if pulled.exists() {
            fs::remove_dir_all(folder).unwrap();
            fs::rename(pulled, folder).unwrap();
        }
        Some(self.drive.clone())
    }
}

#[test]
fn a_drive_that_comes_back_is_gone_on_with() {
    let case = ten();
    let drive = case.drive("D0", 4 * ROOM);
    let mut host = Puller { desk: Desk::default(), drive: drive.clone(), left: 4 };
    let drives = std::slice::from_ref(&drive);
    let (report, ended) = case.run(drives, &mut host);
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(host.desk.gone, ["D0"]);
    let again = host.desk.written - case.bytes() - case.documents();
    assert!(again < case.bytes() / 2, "what is on it is not written again: {again}");
    case.arrives(drives).unwrap();
}

/// Flips a byte of an object when a drive is closed and opened again, that many times: the largest pack, or
/// whichever one is named.
pub(super) struct Lies(pub(super) AtomicU32);

impl ReadBack for Lies {
    fn refresh(&self, drive: &Path) -> io::Result<()> {
        let less = |times: u32| times.checked_sub(1);
        if self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            let packs = tree(drive).into_iter().filter(|(name, _)| name.contains("/data/"));
            let (name, mut bytes) = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap();
            bytes[0] ^= 1;
            fs::write(drive.join(name), bytes)?;
        }
        Ok(())
    }
}

#[test]
fn what_fails_after_its_window_is_backed_up_again_before_the_snapshot_is_written() {
    for (drives, times) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
        let case = ten();
        let room = if drives == 1 { 4 * ROOM } else { ROOM };
        let drives: Vec<DriveSpec> =
            (0..drives).map(|at| case.drive(&format!("D{at}"), room)).collect();
        let mut desk = Desk { drives: vec![case.drive("MORE", ROOM)], ..Desk::default() };
        let lies = Lies(AtomicU32::new(times));
        let (report, ended) = case.run_with(&lies, &drives, &mut desk);
        assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
        assert!(desk.problems > 0);
        let again = case.made.load(Ordering::Relaxed) - 10;
        assert!((1..=u64::from(times)).contains(&again), "only what was lost: {again}");
        let all: Vec<DriveSpec> = drives.into_iter().chain([case.drive("MORE", ROOM)]).collect();
        case.arrives(&all).unwrap();
    }
}

/// Something is lost on the drive that everything was to end on, after that had no room for all of it.
#[test]
fn what_is_sealed_before_the_end_carries_nothing_that_another_pass_makes_anew() {
    let mut began_its_end = 0;
    for room in (2_350_000..2_750_000).step_by(40_000) {
        let mut case = ten();
        // More than is kept free for what nobody knows yet.
        case.trees = 150_000;
        let drives = [case.drive("D0", room)];
        let more = case.drive("D1", 4 * ROOM);
        let mut desk = Desk { drives: vec![more.clone()], ..Desk::default() };
        let (report, ended) = case.run_with(&Lies(AtomicU32::new(1)), &drives, &mut desk);
        assert!(matches!(ended, Ended::Through), "{room}: {ended:?} {report:?}");
        began_its_end += usize::from(more.folder.join("packmule/label").exists());
        let all = [drives[0].clone(), more];
        case.arrives(&all).unwrap_or_else(|why| panic!("{room}: {why}"));
    }
    assert!(began_its_end > 0, "the last drive was never begun");
}

#[test]
fn a_drive_that_never_gives_back_what_was_written_is_never_sealed() {
    let case = ten();
    let bad = case.drive("BAD", 4 * ROOM);
    let lies = Lies(AtomicU32::new(u32::MAX));
    let (report, ended) = case.run_with(&lies, std::slice::from_ref(&bad), &mut Desk::default());
    assert!(matches!(ended, Ended::NeedsDrive), "{ended:?}");
    assert_eq!(report.unwrap().drives[0].state, DriveState::Unreliable);
    assert!(!bad.folder.join("packmule/manifest").exists());
    assert!(!case.is_over());
    let good = case.drive("GOOD", 4 * ROOM);
    let (_, ended) = case.run(std::slice::from_ref(&good), &mut Desk::default());
    assert!(matches!(ended, Ended::Through), "{ended:?}");
    case.arrives(&[good]).unwrap();
}

/// Damages packs on a drive when they are read back in the window: each `every`-th that is opened, so many times.
pub(super) fn damaging(
    drive: PathBuf,
    every: u32,
    times: u32,
) -> impl FnMut(&'static str, &str) -> io::Result<()> {
    let (mut seen, mut done) = (0, 0);
    move |action: &'static str, path: &str| {
        if action == "open" && path.contains("/data/") && done < times {
            seen += 1;
            if seen % every == 0 {
                let path = drive.join(path);
                if let Ok(mut bytes) = fs::read(&path) {
                    bytes[0] ^= 1;
                    fs::write(&path, bytes)?;
                    done += 1;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn what_does_not_come_back_in_the_window_is_written_again_from_memory() {
    let case = ten();
    let drive = case.drive("D0", 4 * ROOM);
    let mut desk = Desk::default();
    let drives = std::slice::from_ref(&drive);
    let hook = damaging(drive.folder.clone(), 3, 2);
    let (report, ended) = faults::with(hook, || case.run(drives, &mut desk));
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(desk.problems, 2);
    assert_eq!(case.made.load(Ordering::Relaxed), 10, "the engine made nothing twice");
    assert_eq!(case.passes.load(Ordering::Relaxed), 1);
    case.arrives(drives).unwrap();
}

#[test]
fn packs_of_a_drive_that_fails_again_and_again_go_to_another_one_from_memory() {
    let case = ten();
    let (bad, good) = (case.drive("BAD", 4 * ROOM), case.drive("GOOD", 4 * ROOM - 1));
    let mut desk = Desk::default();
    let drives = [bad.clone(), good.clone()];
    let hook = damaging(bad.folder, 1, u32::MAX);
    let (report, ended) = faults::with(hook, || case.run(&drives, &mut desk));
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(desk.gone, ["BAD"]);
    assert_eq!(case.made.load(Ordering::Relaxed), 10, "nothing had counted on it");
    case.arrives(&[good]).unwrap();
}
