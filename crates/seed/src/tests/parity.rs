//! Sets with parity: drives lost, damaged, swapped, in any order and in any number of calls.

use super::*;
use crate::{DriveRole, DriveState, Imported, Trust, import, missing, verify};
use model::ErrorKind;
use proptest::prelude::*;
use std::io::{Seek as _, SeekFrom, Write as _};

/// A repository whose packs lie across extents in every way.
pub(super) fn large(seed: u64) -> Memory {
    repository(seed, &[2_500_000, 1 << 20, 700_000, 1_300_000, 3, 900_000])
}

pub(super) fn prepare(
    site: &Site,
    store: &Memory,
    drives: &[DriveSpec],
    parity: u32,
) -> Result<Prepared, Error> {
    let state = site.path("state");
    let options = Options { parity, ..site.options(&state) };
    crate::prepare::prepare_within(site.limits, &options, &[store], drives, &mut ())
}

/// A set of that many drives in all.
pub(super) fn set(
    site: &Site,
    store: &Memory,
    drives: usize,
    parity: u32,
) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let specs = site.drives(drives, 5_500_000);
    let prepared = prepare(site, store, &specs, parity).unwrap();
    assert!(prepared.is_complete(), "{:?}", prepared.drives);
    let folder = |role| {
        let of_role = prepared
            .drives
            .iter()
            .filter(move |drive| (drive.role, drive.state) == (role, DriveState::Sealed));
        of_role.map(|drive| site.path(drive.serial.as_str())).collect::<Vec<_>>()
    };
    (folder(DriveRole::Data), folder(DriveRole::Parity))
}

fn take_in(site: &Site, into: &Path, folders: &[PathBuf]) -> Imported {
    import(into, folders, &site.trust(), &mut ()).unwrap()
}

fn is_whole(into: &Path, store: &Memory) -> bool {
    tree(into).into_iter().filter(|(path, _)| !path.starts_with("pending")).eq(expected_tree(store))
}

/// Overwrites a few bytes of the largest file below a folder.
pub(super) fn damage(folder: &Path, at: u64) {
    let files = tree(folder);
    let (path, bytes) = files.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut file = fs::File::options().write(true).open(folder.join(path)).unwrap();
    file.seek(SeekFrom::Start(at % bytes.len() as u64)).unwrap();
    file.write_all(&[!bytes[usize::try_from(at).unwrap() % bytes.len()]]).unwrap();
}

#[test]
fn a_set_survives_the_loss_of_any_k_drives() {
    let (site, store) = (Site::new(), large(1));
    let (data, parity) = set(&site, &store, 5, 2);
    assert_eq!((data.len(), parity.len()), (2, 2), "a drive more than needed stays empty");
    let all: Vec<PathBuf> = data.iter().chain(&parity).cloned().collect();
    for first in 0..all.len() {
        for second in first..all.len() {
            let left: Vec<PathBuf> = (0..all.len())
                .filter(|at| ![first, second].contains(at))
                .map(|at| all[at].clone())
                .collect();
            let into = site.path(&format!("into-{first}-{second}"));
            let imported = take_in(&site, &into, &left);
            assert!(imported.drives.iter().all(|(_, drive)| drive.is_ok()), "{imported:?}");
            assert!(imported.seeds[0].published, "without {first} and {second}: {imported:?}");
            assert!(is_whole(&into, &store), "without {first} and {second}");
        }
    }
}

#[test]
fn drives_may_come_one_after_the_other_parity_last() {
    let (site, store) = (Site::new(), large(2));
    let (data, parity) = set(&site, &store, 4, 1);
    assert_eq!(data.len(), 2);
    let into = site.path("into");
    let first = take_in(&site, &into, &data[..1]);
    assert!(!first.seeds[0].published);
    let wanted = missing(&into).unwrap()[0].wanted.len();
    assert!(wanted > 0);
    let last = take_in(&site, &into, &parity);
    assert!(last.seeds[0].published);
    let rebuilt = last.drives[0].1.as_ref().unwrap();
    assert_eq!(rebuilt.copied, wanted as u64);
    assert!(is_whole(&into, &store));
}

#[test]
fn parity_alone_gives_nothing_and_loses_nothing() {
    let (site, store) = (Site::new(), large(3));
    let (data, parity) = set(&site, &store, 4, 1);
    let into = site.path("into");
    let early = take_in(&site, &into, &parity);
    assert!(!early.seeds[0].published);
    // It has brought the list of what must arrive.
    assert!(early.seeds[0].missing.inventory);
    take_in(&site, &into, &data[1..]);
    assert!(take_in(&site, &into, &parity).seeds[0].published);
    assert!(is_whole(&into, &store));
}

#[test]
fn beyond_k_exactly_what_cannot_be_rebuilt_is_named() {
    let (site, store) = (Site::new(), repository(4, &[3_000_000; 6]));
    let drives = site.drives(5, 7_600_000);
    let prepared = prepare(&site, &store, &drives, 1).unwrap();
    assert!(prepared.is_complete());
    let (mut data, mut parity) = (Vec::new(), Vec::new());
    for drive in prepared.drives.iter().filter(|drive| drive.state == DriveState::Sealed) {
        let folder = site.path(drive.serial.as_str());
        if drive.role == DriveRole::Data { data.push(folder) } else { parity.push(folder) }
    }
    assert_eq!(data.len(), 3);
    // One drive is lost, and of another one the first extent of its stream.
    let packs = tree(&data[1]);
    let first = packs.keys().find(|path| path.contains("/data/")).unwrap();
    let mut file = fs::File::options().write(true).open(data[1].join(first)).unwrap();
    file.write_all(b"damaged").unwrap();
    let into = site.path("into");
    let given = [data[1].clone(), data[2].clone(), parity[0].clone()];
    let imported = take_in(&site, &into, &given);
    let wanted = &imported.seeds[0].missing.wanted;
    assert!(!imported.seeds[0].published);
    // Of both drives' streams the object that has the extent: no more, and the rest is there.
    let names: Vec<String> = wanted.iter().map(|wanted| wanted.key.path()).collect();
    assert!(names.len() >= 2 && names.len() <= 6, "{names:?}");
    assert!(names.iter().any(|name| first.ends_with(name.as_str())), "{names:?}");
    // The lost drive is found again.
    assert!(take_in(&site, &into, &data[..1]).seeds[0].missing.wanted.len() < names.len());
    let last = take_in(&site, &into, &given);
    assert!(last.seeds[0].published, "{last:?}");
    assert!(is_whole(&into, &store));
}

#[test]
fn silent_damage_on_data_and_parity_is_found_and_repaired() {
    let (site, store) = (Site::new(), large(5));
    let (data, parity) = set(&site, &store, 5, 2);
    damage(&data[0].join("repositories"), 1_500_000);
    damage(&data[1].join("repositories"), 10);
    damage(&parity[0].join("parity"), 2_000_000);
    let report = verify(&parity[0], &site.trust(), &mut ()).unwrap();
    assert_eq!(report.extents, vec![3..4]);
    assert!(!report.is_intact() && report.extra.is_empty(), "{report:?}");
    assert!(verify(&parity[1], &site.trust(), &mut ()).unwrap().is_intact());
    let all: Vec<PathBuf> = data.iter().chain(&parity).cloned().collect();
    let into = site.path("into");
    let imported = take_in(&site, &into, &all);
    assert_eq!(imported.drives[0].1.as_ref().unwrap().problems.len(), 1);
    assert!(imported.seeds[0].published, "{imported:?}");
    assert!(is_whole(&into, &store));
}

#[test]
fn parity_is_written_by_a_later_call_where_there_are_fewer_bays() {
    let (site, store) = (Site::new(), large(6));
    let one = |name: &str| vec![site.drive(name, 5_500_000)];
    let first = prepare(&site, &store, &one("D0"), 1).unwrap();
    assert!(!first.remaining.is_empty() && first.parity_missing == 1);
    let second = prepare(&site, &store, &one("D1"), 1).unwrap();
    assert_eq!((second.remaining.len(), second.parity_missing), (0, 1));
    assert!(!second.is_complete());
    let third = prepare(&site, &store, &one("D2"), 1).unwrap();
    assert!(third.is_complete());
    let parity = third.drives.iter().find(|drive| drive.role == DriveRole::Parity).unwrap();
    assert_eq!(parity.serial.as_str(), "D2");
    // And nothing more is written by the next.
    let again = prepare(&site, &store, &one("D3"), 1).unwrap();
    assert!(again.is_complete());
    assert_eq!(again.drives.last().unwrap().state, DriveState::Unused);
    let into = site.path("into");
    let imported = take_in(&site, &into, &[site.path("D1"), site.path("D2")]);
    assert!(imported.seeds[0].published && is_whole(&into, &store));
}

#[test]
fn a_parity_drive_that_is_too_small_and_a_source_that_has_changed_are_refused() {
    let (site, store) = (Site::new(), large(7));
    let drives = [site.drive("D0", 9_000_000)];
    prepare(&site, &store, &drives, 1).unwrap();
    let small = [site.drive("P0", 3_000_000)];
    let error = prepare(&site, &store, &small, 1).unwrap_err();
    assert!(matches!(error, Error::ParityTooSmall { .. }), "{error}");
    assert_eq!(tree(&site.path("P0")).len(), 0);
    let pack = store.list(ObjectKind::Pack).unwrap()[0].key;
    let bytes = store.get(&pack, u64::MAX).unwrap();
    store.remove(&pack).unwrap();
    let large = [site.drive("P1", 9_000_000)];
    let error = prepare(&site, &store, &large, 1).unwrap_err();
    assert!(matches!(error, Error::StagingChanged { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    store.put(&pack, &bytes).unwrap();
    assert!(prepare(&site, &store, &large, 1).unwrap().is_complete());
    let error = prepare(&site, &store, &large, 10).unwrap_err();
    assert!(matches!(error, Error::TooMuchParity { .. }), "{error}");
}

#[test]
fn a_lost_state_folder_asks_for_the_drives_that_parity_is_made_of() {
    let (site, store) = (Site::new(), large(8));
    let drives = site.drives(1, 9_000_000);
    prepare(&site, &store, &drives, 0).unwrap();
    let parity = site.drive("P0", 9_000_000);
    let error = prepare(&site, &store, std::slice::from_ref(&parity), 1).unwrap_err();
    assert!(matches!(error, Error::ExtentsLost { .. }), "{error}");
    let both = [drives[0].clone(), parity];
    assert!(prepare(&site, &store, &both, 1).unwrap().is_complete());
}

#[test]
fn who_wants_objects_is_told_that_a_parity_drive_has_none() {
    let (site, store) = (Site::new(), large(10));
    let (data, parity) = set(&site, &store, 4, 1);
    let data = &data[0];
    let landing = super::rebuilding::Account::default();
    let refused = crate::unload(&parity[0], &site.trust(), &landing, &mut ()).unwrap_err();
    assert!(matches!(refused, Error::Parity { .. }), "{refused}");
    let opened = crate::SealedDrive::open(&parity[0], &site.trust()).unwrap();
    assert_eq!(opened.parity().unwrap().drives.len(), 2);
    assert_eq!(opened.unload(&landing, &mut ()).unwrap().copied, 0);
    // The set's manifest does not make a data drive of it, nor the other way round.
    let (label, manifest) = ("packmule/label", "packmule/manifest");
    let kept = fs::read(parity[0].join(manifest)).unwrap();
    fs::copy(data.join(manifest), parity[0].join(manifest)).unwrap();
    let error = verify(&parity[0], &site.trust(), &mut ()).unwrap_err();
    assert!(matches!(error, Error::Swapped { .. }), "{error}");
    fs::write(parity[0].join(manifest), kept).unwrap();
    fs::copy(data.join(label), parity[0].join(label)).unwrap();
    let error = verify(&parity[0], &site.trust(), &mut ()).unwrap_err();
    assert!(matches!(error, Error::Swapped { .. }), "{error}");
}

/// A set of a data drive and a parity drive.
fn pair(site: &Site) -> Vec<DriveSpec> {
    site.drives(2, 4_500_000)
}

fn of_role(prepared: &Prepared, role: DriveRole, site: &Site) -> PathBuf {
    let drive = prepared.drives.iter().find(|drive| drive.role == role).unwrap();
    site.path(drive.serial.as_str())
}

#[test]
fn a_process_may_die_at_any_step_of_writing_parity() {
    let store = repository(15, &[1_200_000, 900_000]);
    for after in 0.. {
        let site = Site::new();
        let (_, died) = super::faults::dying(after, || prepare(&site, &store, &pair(&site), 1));
        let prepared = prepare(&site, &store, &pair(&site), 1)
            .unwrap_or_else(|why| panic!("step {after}: {why:?}"));
        assert!(prepared.is_complete(), "step {after}: {:?}", prepared.drives);
        for drive in &prepared.drives {
            let report = verify(&site.path(drive.serial.as_str()), &site.trust(), &mut ()).unwrap();
            assert!(report.is_intact() && report.extra.is_empty(), "step {after}: {report:?}");
        }
        let into = site.path("into");
        let parity = of_role(&prepared, DriveRole::Parity, &site);
        assert!(take_in(&site, &into, &[parity]).seeds[0].published, "step {after}");
        assert!(is_whole(&into, &store), "step {after}");
        if !died {
            assert!(after > 60, "the test has not seen much: {after}");
            break;
        }
    }
}

#[test]
fn a_process_may_die_at_any_step_of_rebuilding_and_a_full_destination_goes_on() {
    let (site, store) = (Site::new(), repository(16, &[1_200_000, 900_000]));
    let prepared = prepare(&site, &store, &pair(&site), 1).unwrap();
    let parity = [of_role(&prepared, DriveRole::Parity, &site)];
    for after in 0.. {
        let into = site.path(&format!("into{after}"));
        let (_, died) =
            super::faults::dying(after, || import(&into, &parity, &site.trust(), &mut ()));
        assert!(take_in(&site, &into, &parity).seeds.iter().all(|seed| seed.published));
        assert!(is_whole(&into, &store), "step {after}");
        assert!(!into.join("pending").exists() || tree(&into.join("pending")).is_empty());
        if !died {
            assert!(after > 20, "the test has not seen much: {after}");
            break;
        }
    }
}

#[test]
fn a_full_parity_drive_at_any_step_is_said_to_be_full_and_goes_on() {
    let store = repository(17, &[1_200_000, 900_000]);
    let site = Site::new();
    prepare(&site, &store, &[site.drive("D0", 4_500_000)], 1).unwrap();
    for at in 1.. {
        let name = format!("P{at}");
        let drive = [site.drive(&name, 4_500_000)];
        let steps = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&steps);
        let hook = move |action: &'static str, _: &str| {
            let now = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            // Opening needs no room: a drive that cannot be read back is another matter.
            if now == at && action != "open" {
                Err(std::io::Error::from_raw_os_error(28))
            } else {
                Ok(())
            }
        };
        // From the same beginning each time.
        let state = site.path("state");
        let kept = site.path("kept");
        let _ = fs::remove_dir_all(&kept);
        Command::new("cp").arg("-a").arg(&state).arg(&kept).status().unwrap();
        let first = crate::beneath::faults::with(hook, || prepare(&site, &store, &drive, 1));
        let seen = steps.load(std::sync::atomic::Ordering::Relaxed);
        if let Ok(first) = &first {
            let states: Vec<DriveState> = first.drives.iter().map(|drive| drive.state).collect();
            assert!(!states.contains(&DriveState::Unreliable), "step {at}: {states:?}");
        }
        let again = prepare(&site, &store, &drive, 1);
        assert!(again.unwrap_or_else(|why| panic!("step {at}: {why:?}")).is_complete());
        fs::remove_dir_all(&state).unwrap();
        fs::rename(&kept, &state).unwrap();
        if seen < at {
            assert!(at > 20, "the test has not seen much: {at}");
            break;
        }
    }
}

/// As a device that is unmounted: nobody may have anything on it open.
struct Unmounts;

fn is_free(drive: &Path) -> std::io::Result<()> {
    let open = fs::read_dir("/proc/self/fd")?.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let open: Vec<PathBuf> = open.filter(|path| path.starts_with(drive)).collect();
    assert!(open.is_empty(), "{open:?}");
    Ok(())
}

impl crate::ReadBack for Unmounts {
    fn refresh(&self, drive: &Path) -> std::io::Result<()> {
        is_free(drive)
    }

    fn finish(&self, drive: &Path) -> std::io::Result<()> {
        is_free(drive)
    }
}

#[test]
fn nothing_on_a_drive_is_open_when_it_is_read_back_and_finished() {
    let (site, store) = (Site::new(), large(13));
    let state = site.path("state");
    let options = Options { parity: 2, read_back: &Unmounts, ..site.options(&state) };
    let drives = site.drives(5, 5_500_000);
    let prepared =
        crate::prepare::prepare_within(site.limits, &options, &[&store], &drives, &mut ()).unwrap();
    assert!(prepared.is_complete(), "{:?}", prepared.drives);
}

/// Says stop once so many bytes were written.
struct Until {
    left: u64,
    written: u64,
}

impl Events for Until {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Writing { bytes, .. } = event {
            self.written += bytes;
        }
    }

    fn stop(&self) -> bool {
        self.written >= self.left
    }
}

/// Parity files of two extents.
fn whole_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    tree(folder).into_iter().filter(|(_, bytes)| bytes.len() == 2 << 20).collect()
}

#[test]
fn parity_that_was_interrupted_goes_on_where_it_ended() {
    let (site, store) = (Site::new(), repository(11, &[3_000_000; 3]));
    prepare(&site, &store, &[site.drive("D0", 14_000_000)], 1).unwrap();
    let parity = [site.drive("P0", 14_000_000)];
    let state = site.path("state");
    let options = Options { parity: 1, ..site.options(&state) };
    let go_on = |left: u64, drives: &[DriveSpec]| {
        let mut until = Until { left, written: 0 };
        let result =
            crate::prepare::prepare_within(site.limits, &options, &[&store], drives, &mut until);
        (result, until.written)
    };
    // Nine extents: files of two, of which at least two are complete.
    let (result, _) = go_on(5 << 20, &parity);
    assert!(matches!(result, Err(Error::Interrupted)));
    let kept = whole_files(&site.path("P0/parity"));
    assert!((2..=4).contains(&kept.len()));
    let (result, written) = go_on(u64::MAX, &parity);
    assert!(result.unwrap().is_complete());
    assert_eq!(written, (9 - 2 * kept.len() as u64) << 20, "whole files are not written again");
    assert!(kept.iter().all(|(path, bytes)| tree(&site.path("P0/parity"))[path] == *bytes));
    assert!(verify(&site.path("P0"), &site.trust(), &mut ()).unwrap().is_intact());
    let into = site.path("into");
    assert!(take_in(&site, &into, &[site.path("P0")]).seeds[0].published);
    assert!(is_whole(&into, &store));
}

#[test]
fn drives_go_on_with_what_was_begun_on_them_in_whatever_order_they_are_given() {
    let (site, store) = (Site::new(), repository(14, &[3_000_000; 3]));
    prepare(&site, &store, &[site.drive("D0", 14_000_000)], 2).unwrap();
    let mut parity = [site.drive("P0", 14_000_000), site.drive("P1", 14_000_000)];
    let state = site.path("state");
    let options = Options { parity: 2, ..site.options(&state) };
    let mut until = Until { left: 10 << 20, written: 0 };
    let _ = crate::prepare::prepare_within(site.limits, &options, &[&store], &parity, &mut until);
    parity.reverse();
    let kept: usize = parity.iter().map(|it| whole_files(&it.folder.join("parity")).len()).sum();
    assert!(kept > 2);
    let mut until = Until { left: u64::MAX, written: 0 };
    let prepared =
        crate::prepare::prepare_within(site.limits, &options, &[&store], &parity, &mut until);
    assert!(prepared.unwrap().is_complete());
    assert_eq!(until.written, (18 - 2 * kept as u64) << 20, "whole files are not written again");
    let into = site.path("into");
    assert!(take_in(&site, &into, &[site.path("P1")]).seeds[0].published);
    assert!(is_whole(&into, &store));
}

#[test]
fn what_was_begun_for_other_drives_or_is_damaged_does_not_count() {
    let (site, store) = (Site::new(), repository(12, &[3_000_000; 3]));
    prepare(&site, &store, &[site.drive("D0", 14_000_000)], 1).unwrap();
    let parity = [site.drive("P0", 14_000_000)];
    let state = site.path("state");
    let options = Options { parity: 1, ..site.options(&state) };
    let stop_at = |left: u64| {
        let mut until = Until { left, written: 0 };
        let _ =
            crate::prepare::prepare_within(site.limits, &options, &[&store], &parity, &mut until);
        until.written
    };
    stop_at(5 << 20);
    let of = site.path("P0/packmule/parity-of");
    let mut said = fs::read(&of).unwrap();
    let end = said.len() - 2;
    said[end] ^= 1;
    fs::write(&of, said).unwrap();
    assert_eq!(stop_at(u64::MAX), 9 << 20, "all of it is written again");
    let other = [site.drive("P1", 14_000_000)];
    let options = Options { parity: 2, ..site.options(&state) };
    let mut until = Until { left: 5 << 20, written: 0 };
    let _ = crate::prepare::prepare_within(site.limits, &options, &[&store], &other, &mut until);
    damage(&site.path("P1/parity"), 5);
    let mut until = Until { left: u64::MAX, written: 0 };
    let prepared =
        crate::prepare::prepare_within(site.limits, &options, &[&store], &other, &mut until)
            .unwrap();
    let state = prepared.drives.iter().find(|drive| drive.serial.as_str() == "P1").unwrap().state;
    assert_eq!(state, DriveState::Unreliable, "what it gives back is not what was written");
}

#[test]
fn parity_of_somebody_else_or_altered_is_refused() {
    let (site, store) = (Site::new(), large(9));
    let (data, parity) = set(&site, &store, 4, 1);
    let stranger = Trust::Fingerprint(SigningKey::from_bytes(&[8; 32]).fingerprint());
    let into = site.path("stranger");
    let imported = import(&into, &parity, &stranger, &mut ()).unwrap();
    assert!(matches!(imported.drives[0].1, Err(Error::OtherSigner { .. })), "{imported:?}");
    // A copy of a covered manifest that was altered is not believed; nor is the other way round.
    let copy = parity[0].join("packmule/manifests/00");
    let bytes = fs::read(&copy).unwrap();
    for at in [40, bytes.len() / 2, bytes.len() - 1] {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        fs::write(&copy, &altered).unwrap();
        assert!(!verify(&parity[0], &site.trust(), &mut ()).unwrap().is_intact());
        let into = site.path(&format!("altered-{at}"));
        let imported = take_in(&site, &into, &[data[1].clone(), parity[0].clone()]);
        assert!(!imported.seeds[0].published);
    }
    fs::write(&copy, &bytes).unwrap();
    let into = site.path("into");
    assert!(take_in(&site, &into, &[data[1].clone(), parity[0].clone()]).seeds[0].published);
    assert!(is_whole(&into, &store));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn with_at_most_k_lost_everything_comes_back(
        packs in prop::collection::vec(1_usize..2_600_000, 1..6),
        parity in 1_u32..4,
        losses in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        damaged in any::<bool>(),
        seed in 1_u64..1000,
    ) {
        let (site, store) = (Site::new(), repository(seed, &packs));
        let drives = site.drives(9, 4_300_000);
        let prepared = prepare(&site, &store, &drives, parity).unwrap();
        prop_assert!(prepared.is_complete());
        let sealed = prepared.drives.iter().filter(|drive| drive.state == DriveState::Sealed);
        let mut left: Vec<PathBuf> = sealed.map(|drive| site.path(drive.serial.as_str())).collect();
        let data = left.len() - parity as usize;
        let mut lost = 0;
        for loss in losses.iter().take(parity as usize) {
            let gone = left.remove(loss.index(left.len()));
            lost += 1;
            // A damaged drive is lost in some extents only.
            if damaged && lost == 1 && gone.join("repositories").exists() {
                damage(&gone.join("repositories"), seed * 7919);
                left.push(gone);
                break;
            }
        }
        prop_assert!(data >= 1);
        let into = site.path("into");
        let imported = take_in(&site, &into, &left);
        prop_assert!(imported.seeds[0].published, "{:?}", imported.seeds);
        prop_assert!(is_whole(&into, &store));
    }
}
