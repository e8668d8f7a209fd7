//! Lost drives that are rebuilt while the others are taken in.

use super::parity::{damage, large, prepare, set};
use super::*;
use crate::{DriveRole, DriveState, Imported, import, missing};
use proptest::prelude::*;

fn is_whole(into: &Path, store: &Memory) -> bool {
    tree(into).into_iter().filter(|(path, _)| !path.starts_with("pending")).eq(expected_tree(store))
}

/// All but the first data drive, and parity.
fn without_first(data: &[PathBuf], parity: &[PathBuf]) -> Vec<PathBuf> {
    data[1..].iter().chain(parity).cloned().collect()
}

fn rebuilt(imported: &Imported) -> Vec<&crate::Rebuilt> {
    let drives = imported.drives.iter().flat_map(|(_, drive)| drive);
    drives.filter_map(|drive| drive.rebuilt.as_ref()).collect()
}

#[test]
fn a_lost_drive_is_rebuilt_in_the_pass_that_takes_the_others_in() {
    let (site, store) = (Site::new(), large(51));
    let (data, parity) = set(&site, &store, 5, 2);
    let into = site.path("into");
    let mut words = Words::default();
    let given = without_first(&data, &parity);
    let imported = import(&into, &given, &site.trust(), &mut words).unwrap();
    assert!(imported.seeds[0].published && is_whole(&into, &store));
    // A pass of its own says that it begins.
    assert_eq!(words.count("Rebuilding"), 0);
    let lost = crate::SealedDrive::open(&data[0], &site.trust()).unwrap();
    let objects = lost.manifest().body.objects.len();
    assert_eq!(words.count("ObjectRebuilt"), objects);
    let said = rebuilt(&imported);
    assert_eq!(said.len(), 1, "it is said of the first parity drive");
    assert_eq!(said[0].drives.len(), 1);
    let of_lost = &said[0].drives[0];
    assert_eq!((&of_lost.serial, of_lost.objects), (&lost.label().serial, objects as u64));
    assert!(of_lost.problems.is_empty());
    assert!(said[0].arrived > 0);
    assert_eq!(said[0].read.len(), 1, "as much parity was used as was lacking");
    // Nothing of it need be hashed again: all was by this call.
    assert_eq!(words.count("Problem"), 0);
}

#[test]
fn what_drives_at_hand_turn_out_to_lack_is_rebuilt_afterwards() {
    let (site, store) = (Site::new(), large(52));
    let (data, parity) = set(&site, &store, 5, 2);
    damage(&data[1].join("repositories"), 1_500_000);
    let into = site.path("into");
    let given = without_first(&data, &parity);
    let imported = import(&into, &given, &site.trust(), &mut ()).unwrap();
    assert!(imported.seeds[0].published, "{imported:?}");
    assert!(is_whole(&into, &store));
    let said = rebuilt(&imported);
    let problems: usize = said[0].drives.iter().map(|drive| drive.problems.len()).sum();
    assert_eq!((said.len(), said[0].drives.len(), problems), (1, 2, 0), "{said:?}");
}

#[test]
fn with_one_parity_drive_what_is_beyond_it_is_named_and_the_rest_is_there() {
    let (site, store) = (Site::new(), large(53));
    let (data, parity) = set(&site, &store, 4, 1);
    damage(&data[1].join("repositories"), 1_500_000);
    let into = site.path("into");
    let given = without_first(&data, &parity);
    let imported = import(&into, &given, &site.trust(), &mut ()).unwrap();
    let wanted = imported.seeds[0].missing.wanted.len();
    assert!(!imported.seeds[0].published && wanted >= 2);
    let said = rebuilt(&imported);
    let problems: usize = said[0].drives.iter().map(|drive| drive.problems.len()).sum();
    assert_eq!(problems, wanted, "{said:?}");
    assert_eq!(missing(&into).unwrap()[0].wanted.len(), wanted);
    // The lost drive turns up.
    let all: Vec<PathBuf> = data.iter().chain(&parity).cloned().collect();
    assert!(import(&into, &all, &site.trust(), &mut ()).unwrap().seeds[0].published);
    assert!(is_whole(&into, &store));
}

#[test]
fn what_has_arrived_before_is_read_where_it_is() {
    let (site, store) = (Site::new(), large(54));
    let (data, parity) = set(&site, &store, 4, 1);
    let into = site.path("into");
    assert!(!import(&into, &data[1..], &site.trust(), &mut ()).unwrap().seeds[0].published);
    // The drive is given again, and has nothing new.
    let given = without_first(&data, &parity);
    let imported = import(&into, &given, &site.trust(), &mut ()).unwrap();
    assert!(imported.drives[0].1.as_ref().unwrap().is_repetition());
    assert!(imported.seeds[0].published && is_whole(&into, &store));
}

#[test]
fn a_drive_that_is_refused_or_given_twice_holds_nobody_up() {
    let (site, store) = (Site::new(), large(55));
    let (data, parity) = set(&site, &store, 5, 2);
    let (into, empty) = (site.path("into"), site.drive("empty", 1).folder);
    let mut given = without_first(&data, &parity);
    given.extend([empty, data[1].clone(), parity[0].clone()]);
    let imported = import(&into, &given, &site.trust(), &mut ()).unwrap();
    assert!(imported.drives[3].1.is_err());
    assert!(imported.seeds[0].published && is_whole(&into, &store), "{imported:?}");
}

#[test]
fn a_process_may_die_at_any_step_of_taking_in_and_rebuilding_at_once() {
    let (site, store) = (Site::new(), repository(56, &[1_200_000, 900_000, 1_100_000]));
    let drives = site.drives(3, 3_700_000);
    let prepared = prepare(&site, &store, &drives, 1).unwrap();
    let of = |role| {
        let drives = prepared.drives.iter();
        let drives = drives.filter(move |it| (it.role, it.state) == (role, DriveState::Sealed));
        drives.map(|drive| site.path(drive.serial.as_str())).collect::<Vec<_>>()
    };
    let (data, parity) = (of(DriveRole::Data), of(DriveRole::Parity));
    assert_eq!((data.len(), parity.len()), (2, 1));
    let given = without_first(&data, &parity);
    for after in 0.. {
        let into = site.path(&format!("into{after}"));
        let (result, died) =
            super::faults::dying(after, || import(&into, &given, &site.trust(), &mut ()));
        if !died {
            assert!(result.unwrap().seeds[0].published);
            assert!(after > 40, "the test has not seen much: {after}");
            break;
        }
        let imported = import(&into, &given, &site.trust(), &mut ()).unwrap();
        assert!(imported.seeds.iter().all(|seed| seed.published), "step {after}: {imported:?}");
        assert!(is_whole(&into, &store), "step {after}");
        assert!(!into.join("pending").exists() || tree(&into.join("pending")).is_empty());
        fs::remove_dir_all(&into).unwrap();
    }
}

#[test]
fn whoever_is_told_may_die_or_say_stop_at_any_event_and_nobody_waits_for_ever() {
    struct Ends(usize, bool);
    impl Events for Ends {
        fn event(&mut self, event: Event<'_>) {
            assert!(self.0 > 0 || !self.1, "dies at {event:?}");
            self.0 = self.0.saturating_sub(1);
        }

        fn stop(&self) -> bool {
            self.0 == 0 && !self.1
        }
    }
    let (site, store) = (Site::new(), large(57));
    let (data, parity) = set(&site, &store, 4, 1);
    let given = without_first(&data, &parity);
    for dies in [true, false] {
        let mut ends = 0;
        loop {
            let into = site.path(&format!("into-{dies}-{ends}"));
            let call = || import(&into, &given, &site.trust(), &mut Ends(ends, dies));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
            if matches!(&result, Ok(Ok(imported)) if imported.seeds[0].published) {
                break;
            }
            if let Ok(Err(error)) = &result {
                assert!(matches!(error, Error::Interrupted), "{error}");
            }
            assert!(import(&into, &given, &site.trust(), &mut ()).unwrap().seeds[0].published);
            assert!(is_whole(&into, &store));
            fs::remove_dir_all(&into).unwrap();
            ends += 1;
        }
        assert!(ends > 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_lost_and_damaged_within_k_everything_comes_back_at_once(
        packs in prop::collection::vec(1_usize..2_600_000, 2..7),
        parity in 1_u32..4,
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..3),
        hurt in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..2),
        before in any::<bool>(),
        seed in 1_u64..1000,
    ) {
        let (site, store) = (Site::new(), repository(seed, &packs));
        let drives = site.drives(9, 4_300_000);
        let prepared = prepare(&site, &store, &drives, parity).unwrap();
        prop_assert!(prepared.is_complete());
        let sealed = prepared.drives.iter().filter(|drive| drive.state == DriveState::Sealed);
        let mut left: Vec<PathBuf> = sealed.map(|drive| site.path(drive.serial.as_str())).collect();
        let into = site.path("into");
        if before {
            // Something has arrived in an earlier call.
            import(&into, &left[..1], &site.trust(), &mut ()).unwrap();
        }
        let mut bad = 0;
        for loss in lost.iter().take(parity as usize) {
            left.remove(loss.index(left.len()));
            bad += 1;
        }
        for (at, place) in hurt.iter().take((parity as usize).saturating_sub(bad)) {
            let folder = &left[at.index(left.len())];
            let kind = if folder.join("parity").exists() { "parity" } else { "repositories" };
            damage(&folder.join(kind), place % 5_000_000);
        }
        let imported = import(&into, &left, &site.trust(), &mut ()).unwrap();
        prop_assert!(imported.seeds[0].published, "{:?}", imported.seeds);
        prop_assert!(is_whole(&into, &store));
    }
}
