//! From a repository over drives into a folder, with nothing going wrong but drives being small.

use super::*;
use crate::{DriveState, import, missing, verify};
use proptest::prelude::*;

#[test]
fn a_set_of_one_drive_gives_the_repository_back_byte_for_byte() {
    let site = Site::new();
    let store = repository(1, &[300_000, 70_000, 1_048_576, 1]);
    let drives = site.drives(1, 8 << 20);
    let mut words = Words::default();
    let prepared = site.prepare_with(&store, &drives, &mut words).unwrap();
    assert!(prepared.is_complete());
    assert_eq!(prepared.shortfall, None);
    assert_eq!(words.count("ObjectDone"), 10);
    assert_eq!(words.count("DriveSealed"), 1);

    let report = verify(&drives[0].folder, &site.trust(), &mut ()).unwrap();
    assert!(report.is_intact() && report.trusted, "{report:?}");
    assert_eq!(report.objects, 10);
    assert_eq!(report.extra, Vec::<String>::new());

    let on_drive = tree(
        &drives[0].folder.join("repositories").join(prepared.inventory.repositories[0].to_hex()),
    );
    assert_eq!(on_drive, expected_tree(&store));

    let into = site.path("into");
    let imported = import(&into, &[drives[0].folder.clone()], &site.trust(), &mut ()).unwrap();
    assert!(imported.seeds[0].published);
    assert_eq!(tree(&into), expected_tree(&store));
    assert_eq!(missing(&into).unwrap(), vec![]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn many_small_drives_imported_in_any_order_give_identical_trees(
        packs in prop::collection::vec(1_usize..400_000, 5..25),
        capacity in 1_600_000_u64..3_000_000,
        order in any::<u64>(),
    ) {
        let site = Site::new();
        let store = repository(5, &packs);
        let drives = site.drives(10, capacity);
        let prepared = site.prepare(&store, &drives).unwrap();
        prop_assert!(prepared.is_complete(), "{:?}", prepared.shortfall);
        let mut used: Vec<PathBuf> = drives.iter().map(|drive| drive.folder.clone())
            .filter(|folder| folder.join("packmule/manifest").exists()).collect();
        let objects: u64 = prepared.drives.iter().map(|drive| drive.objects).sum();
        prop_assert_eq!(objects, prepared.inventory.objects.len() as u64);
        for (drive, spec) in prepared.drives.iter().filter(|d| d.state == DriveState::Sealed).zip(&drives) {
            let size: u64 = tree(&spec.folder).values().map(|bytes| bytes.len() as u64).sum();
            prop_assert!(size <= capacity, "drive {:?} holds {}", drive.drive, size);
        }
        let into = site.path("into");
        used.sort_by_key(|folder| {
            let name = folder.to_string_lossy().into_owned();
            name.bytes().fold(order, |sum, byte| sum.rotate_left(7) ^ u64::from(byte))
        });
        let (last, first) = used.split_last().unwrap();
        for folder in first {
            let imported = import(&into, std::slice::from_ref(folder), &site.trust(), &mut ()).unwrap();
            prop_assert!(!imported.seeds[0].published);
            prop_assert!(!into.join("config").exists(), "nothing is published before everything is there");
            prop_assert!(!missing(&into).unwrap()[0].wanted.is_empty());
        }
        let imported = import(&into, std::slice::from_ref(last), &site.trust(), &mut ()).unwrap();
        prop_assert!(imported.seeds[0].published);
        prop_assert_eq!(tree(&into), expected_tree(&store));
    }
}

#[test]
fn drives_that_run_out_are_an_answer_and_the_same_call_with_more_goes_on() {
    let site = Site::new();
    let store = repository(2, &[400_000; 1].repeat(9));
    let store = {
        for at in 0..8 {
            add(&store, ObjectKind::Pack, &noise(900 + at, 400_000));
        }
        store
    };
    let first = site.drive("A", 1_500_000);
    let prepared = site.prepare(&store, std::slice::from_ref(&first)).unwrap();
    assert!(!prepared.is_complete());
    let short = prepared.shortfall.unwrap();
    assert_eq!(short.objects, prepared.remaining.len() as u64);
    assert_eq!(prepared.drives[0].state, DriveState::Sealed);
    let sealed = tree(&first.folder);

    // The first drive has been taken away; as many as were said to be missing are enough.
    let more: Vec<DriveSpec> =
        (0..short.drives).map(|at| site.drive(&format!("M{at}"), short.drive_capacity)).collect();
    let prepared = site.prepare(&store, &more).unwrap();
    assert!(prepared.is_complete());
    assert_eq!(prepared.drives.len() as u64, 1 + short.drives);
    assert_eq!(tree(&first.folder), sealed, "a sealed drive is never written again");

    let again = site.prepare(&store, &more).unwrap();
    assert!(again.is_complete());
    assert_eq!(again.inventory_digest, prepared.inventory_digest);

    let mut folders: Vec<PathBuf> = more.iter().map(|drive| drive.folder.clone()).collect();
    folders.push(first.folder);
    let into = site.path("into");
    let imported = import(&into, &folders, &site.trust(), &mut ()).unwrap();
    assert!(imported.seeds[0].published);
    assert_eq!(tree(&into), expected_tree(&store));
}

#[test]
fn a_set_fits_on_the_fewest_drives_whichever_way_they_are_filled() {
    for filling in [crate::Filling::Even, crate::Filling::Sequential] {
        let (site, store) = (Site::new(), repository(3, &[300_000; 7]));
        let (state, drives) = (site.path("state"), site.drives(4, 1_800_000));
        let options = Options { filling, ..site.options(&state) };
        let prepared = crate::prepare(&options, &[&store], &drives, &mut ()).unwrap();
        assert!(prepared.is_complete());
        let mut bytes: Vec<u64> = prepared.drives.iter().map(|drive| drive.bytes).collect();
        bytes.sort_unstable();
        assert_eq!(bytes[..2], [0, 0], "two drives stay empty");
        let even = bytes[3] - bytes[2] <= 600_000;
        assert_eq!(even, filling == crate::Filling::Even, "{bytes:?}");
        let into = site.path("into");
        let sealed = prepared.drives.iter().filter(|d| d.state == DriveState::Sealed);
        let folders: Vec<PathBuf> = sealed.map(|drive| site.path(drive.serial.as_str())).collect();
        assert!(import(&into, &folders, &site.trust(), &mut ()).unwrap().seeds[0].published);
        assert_eq!(tree(&into), expected_tree(&store));
    }
}
