//! Processes that die, and operating systems that fail, at any step; and all that can happen, at random.

use super::drives::{Lies, damaging};
use super::*;
use crate::beneath::faults;
use crate::tests::faults::dying;
use proptest::prelude::*;
use std::sync::atomic::AtomicU32;

fn few() -> Case {
    let mut case = Case::new(&[200_000, 300_000, 5000, 250_000, 190_000]);
    case.window = 400_000;
    case
}

#[test]
fn a_process_may_die_at_any_step() {
    dies_at_any_step((true, false));
}

#[test]
fn a_process_may_die_at_any_step_where_each_file_is_synced() {
    dies_at_any_step((false, false));
}

#[test]
fn a_process_may_die_at_any_step_where_the_drives_rely_on_what_is_elsewhere() {
    dies_at_any_step((true, true));
}

/// Every third step, beginning at another one each time.
fn dies_at_any_step((whole, elsewhere): (bool, bool)) {
    for after in (u64::from(whole)..).step_by(3) {
        let mut case = few();
        case.site.limits.whole = Some(whole);
        if elsewhere {
            case.elsewhere = vec![noise(900, 5000)];
        }
        let drives = [case.drive("D0", 800_000), case.drive("D1", 900_000)];
        let ((report, ended), died) = dying(after, || case.run(&drives, &mut Desk::default()));
        if !died {
            assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
            assert!(after > 100, "the test has not seen much: {after}");
            break;
        }
        let over = case.is_over();
        let sealed = drives.iter().all(|drive| drive.folder.join("packmule/manifest").exists());
        assert!(!over || sealed, "step {after}: a snapshot before its drives");
        let mut desk = Desk { drives: vec![case.drive("D2", ROOM)], ..Desk::default() };
        if elsewhere {
            // The place goes on meanwhile.
            case.elsewhere.push(noise(901, 700));
        }
        let (report, ended) = case.run(&drives, &mut desk);
        assert!(matches!(ended, Ended::Through), "step {after}: {ended:?} {report:?}");
        // Where it had come to its end before, its list has nothing of that.
        let list = known(&case.site.path("state"), &case.site.trust()).unwrap().complete.unwrap();
        case.elsewhere.retain(|pack| list.objects.contains(&object(pack)));
        assert_eq!(case.elsewhere.is_empty(), !elsewhere, "step {after}");
        assert!(report.unwrap().complete, "step {after}");
        let all = [drives[0].clone(), drives[1].clone(), case.drive("D2", ROOM)];
        case.arrives(&all).unwrap_or_else(|why| panic!("step {after}: {why}"));
    }
}

/// One fault at every fourth step in turn, beginning at another one for each: what the operating system answers,
/// once.
fn each_step_fails_once(code: i32, first: u64) {
    for at in (first..).step_by(4) {
        let case = few();
        let drives = [case.drive("D0", 800_000), case.drive("D1", 900_000)];
        let more = [case.drive("D2", ROOM), case.drive("D3", ROOM), case.drive("D4", ROOM)];
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let hook = move |_: &'static str, _: &str| {
            let now = counted.fetch_add(1, Ordering::Relaxed) + 1;
            if now == at { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
        };
        let mut desk = Desk { drives: more.to_vec(), ..Desk::default() };
        let first = faults::with(hook, || case.run(&drives, &mut desk));
        if steps.load(Ordering::Relaxed) < at {
            break;
        }
        let complete = |report: &Option<Report>| report.as_ref().is_some_and(|it| it.complete);
        let mut all: Vec<DriveSpec> = drives.iter().chain(&more).cloned().collect();
        if !complete(&first.0) {
            let mut desk = Desk { drives: vec![case.drive("D5", ROOM)], ..Desk::default() };
            // Those that were asked for are at hand, too.
            let begun: Vec<DriveSpec> = all
                .iter()
                .filter(|drive| {
                    drives.contains(drive) || drive.folder.join("packmule/label").exists()
                })
                .cloned()
                .collect();
            let second = case.run(&begun, &mut desk);
            assert!(complete(&second.0), "step {at}: {first:?}, then {second:?}");
            all.push(case.drive("D5", ROOM));
        }
        case.arrives(&all).unwrap_or_else(|why| panic!("step {at} of {first:?}: {why}"));
    }
}

#[test]
fn a_full_drive_at_any_step_loses_nothing() {
    each_step_fails_once(28, 1);
}

#[test]
fn a_drive_that_fails_to_read_or_write_at_any_step_loses_nothing() {
    each_step_fails_once(5, 2);
}

#[test]
fn a_drive_that_goes_away_at_any_step_loses_nothing() {
    each_step_fails_once(19, 3);
}

/// Dies at an event.
struct Dies(Desk, usize);

impl Events for Dies {
    fn event(&mut self, event: Event<'_>) {
        assert!(self.1 > 0, "dies at {event:?}");
        self.1 -= 1;
        self.0.event(event);
    }
}

impl Host for Dies {
    fn before_sealing(&mut self) -> bool {
        true
    }

    fn next_drive(&mut self, refused: Option<&Error>) -> Option<DriveSpec> {
        self.0.next_drive(refused)
    }
}

#[test]
fn whoever_is_told_may_die_at_any_event_and_nobody_waits_for_ever() {
    let case = few();
    let drives = [case.drive("D0", 950_000), case.drive("D1", 1_000_000)];
    let (state, local) = (case.site.path("state"), case.local());
    for deaths in (0..40).step_by(5) {
        let call = || {
            let options = Options {
                state: &state,
                signer: &case.site.key,
                seed: SeedId([5; 16]),
                now: "2026-03-01T12:00:00Z".parse().unwrap(),
                read_back: &PlainReads,
                window: case.window,
                most: wire::MAX_DRIVES,
                elsewhere: &[],
            };
            let mut host = Dies(Desk::default(), deaths);
            let local = Arc::clone(&local);
            let mut set =
                DriveSet::open_within(case.site.limits, options, local, &drives, &mut host)
                    .unwrap();
            if set.is_complete() {
                return;
            }
            let (store, near, before) = (set.store(), set.near(), set.store_before_last());
            let pass = || case.pass(store.as_ref(), near.as_ref(), before.as_ref());
            let _ = set.run(&mut host, pass);
        };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    }
    let (report, _) = case.run(&drives, &mut Desk::default());
    assert!(report.unwrap().complete);
    case.arrives(&drives).unwrap();
}

/// What happens to drives of a random case.
#[derive(Debug, Clone)]
enum Mishap {
    None,
    /// Objects read back wrong when their drive is sealed.
    Forgets(u32),
    /// Every n-th pack reads back wrong in the window.
    Flips(u32),
    /// The first drive is gone after so many objects.
    Gone(usize),
    /// The process dies after so many steps.
    Dies(u64),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        Just(Mishap::None),
        (1_u32..4).prop_map(Mishap::Forgets),
        (2_u32..6).prop_map(Mishap::Flips),
        (1_usize..12).prop_map(Mishap::Gone),
        (1_u64..400).prop_map(Mishap::Dies),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn whatever_happens_everything_arrives_in_the_end(
        packs in prop::collection::vec(1_usize..400_000, 1..14),
        rooms in prop::collection::vec(600_000_u64..2_000_000, 1..4),
        window in 1_u64..900_000,
        mishaps in prop::collection::vec(mishap(), 0..4),
    ) {
        let mut case = Case::new(&packs);
        case.window = window;
        let given: Vec<DriveSpec> = (0..).zip(&rooms)
            .map(|(at, room)| case.drive(&format!("D{at}"), *room)).collect();
        let mut all = given.clone();
        for (turn, mishap) in mishaps.iter().chain([&Mishap::None]).enumerate() {
            // Each time there are drives to ask for.
            let more: Vec<DriveSpec> = (0..6)
                .map(|at| case.drive(&format!("M{turn}-{at}"), 2_000_000)).collect();
            all.extend(more.clone());
            let at_hand: Vec<DriveSpec> = all.iter()
                .filter(|drive| drive.folder.join("packmule/label").exists() || given.contains(drive))
                .filter(|drive| drive.folder.exists())
                .take(10).cloned().collect();
            let mut desk = Desk { drives: more, ..Desk::default() };
            let gone = at_hand.first().map(|drive| drive.folder.clone()).unwrap_or_default();
            let (report, _) = match mishap {
                Mishap::None => case.run(&at_hand, &mut desk),
                Mishap::Forgets(times) => {
                    case.run_with(&Lies(AtomicU32::new(*times)), &at_hand, &mut desk)
                }
                Mishap::Flips(every) => {
                    faults::with(damaging(gone, *every, 9), || case.run(&at_hand, &mut desk))
                }
                Mishap::Gone(after) => {
                    desk.take = Some((*after, gone));
                    case.run(&at_hand, &mut desk)
                }
                Mishap::Dies(after) => dying(*after, || case.run(&at_hand, &mut desk)).0,
            };
            if let Some(report) = report {
                let largest = case.packs.iter().map(Vec::len).max().unwrap_or(0) as u64;
                prop_assert!(report.window_most <= window.max(largest));
                if report.complete {
                    break;
                }
            }
        }
        if let Err(why) = case.arrives(&all) {
            return Err(TestCaseError::fail(why));
        }
    }
}

#[test]
fn a_lost_record_of_what_was_read_back_costs_reading_it_again() {
    let case = ten();
    let drive = case.drive("D0", 4 * ROOM);
    let drives = std::slice::from_ref(&drive);
    let (_, died) = dying(70, || case.run(drives, &mut Desk::default()));
    assert!(died);
    let on_it = |drive: &DriveSpec| {
        tree(&drive.folder).into_keys().filter(|path| path.contains("/data/")).count() as u64
    };
    let before = on_it(&drive);
    assert!(before > 2);
    fs::remove_dir_all(case.site.path("state").join("proved")).unwrap();
    let made = case.made.load(Ordering::Relaxed);
    let (_, ended) = case.run(drives, &mut Desk::default());
    assert!(matches!(ended, Ended::Through), "{ended:?}");
    assert_eq!(case.made.load(Ordering::Relaxed) - made, 10 - before, "what is there is not made");
    case.arrives(drives).unwrap();
}
