//! What no drive has brought, fetched from another place that has it.

use super::*;
use crate::{Filled, Reason, fill, import, missing};
use std::collections::BTreeSet;
use store::Folder;

/// Taken in from all drives of a set but the first; how many objects are wanted.
fn lacking(site: &Site, store: &Memory) -> (PathBuf, wire::SeedId, u64) {
    let drives = site.drives(3, 2_000_000);
    let prepared = site.prepare(store, &drives).unwrap();
    assert!(prepared.is_complete());
    let into = site.path("into");
    let given: Vec<PathBuf> = drives[1..].iter().map(|drive| drive.folder.clone()).collect();
    assert!(!import(&into, &given, &site.trust(), &mut ()).unwrap().seeds[0].published);
    let wanted = missing(&into).unwrap()[0].wanted.len() as u64;
    assert!(wanted > 2);
    (into, prepared.seed, wanted)
}

fn some() -> Memory {
    repository(9, &[600_000, 500_000, 700_000, 400_000, 300_000, 650_000, 550_000])
}

/// The same as a folder, so that it can be damaged.
fn folder(site: &Site, store: &Memory) -> Folder {
    let folder = Folder::new(site.path("elsewhere"));
    folder.create().unwrap();
    for (path, bytes) in expected_tree(store) {
        let key = ObjectKey::from_path(&path).unwrap();
        folder.put(&key, &bytes).unwrap();
    }
    folder
}

#[test]
fn what_no_drive_has_brought_comes_from_another_place_and_nothing_else_does() {
    let (site, store) = (Site::new(), some());
    let (into, seed, wanted) = lacking(&site, &store);
    let mut words = Words::default();
    let Filled { fetched, problems, landed, .. } = fill(&into, seed, &store, &mut words).unwrap();
    assert_eq!((fetched, problems.len(), landed.published), (wanted, 0, true));
    assert_eq!(words.count("ObjectFetched") as u64, wanted);
    assert_eq!(tree(&into), expected_tree(&store));
    assert_eq!(missing(&into).unwrap(), vec![]);
}

#[test]
fn what_the_other_place_has_not_or_not_right_is_named_and_nothing_is_published() {
    let (site, store) = (Site::new(), some());
    let (into, seed, wanted) = lacking(&site, &store);
    let from = folder(&site, &store);
    let keys: Vec<ObjectKey> = missing(&into).unwrap()[0].wanted.iter().map(|it| it.key).collect();
    let packs: Vec<&ObjectKey> = keys.iter().filter(|key| key.kind() == ObjectKind::Pack).collect();
    let (gone, wrong) = (site.path("elsewhere").join(packs[0].path()), packs[1]);
    let bytes = fs::read(&gone).unwrap();
    fs::remove_file(&gone).unwrap();
    let path = site.path("elsewhere").join(wrong.path());
    let right = fs::read(&path).unwrap();
    let mut other = right.clone();
    other[100] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, other).unwrap();
    let filled = fill(&into, seed, &from, &mut ()).unwrap();
    assert_eq!(filled.fetched, wanted - 2);
    let reasons: BTreeSet<(ObjectKey, String)> =
        filled.problems.iter().map(|it| (it.key, it.reason.to_string())).collect();
    let expected = [(*packs[0], Reason::Missing), (*wrong, Reason::Hash)];
    assert_eq!(reasons, expected.map(|(key, reason)| (key, reason.to_string())).into());
    assert!(!filled.landed.published && !into.join("snapshots").exists());
    assert_eq!(missing(&into).unwrap()[0].wanted.len(), 2);
    // Both are put right.
    fs::write(&gone, bytes).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, right).unwrap();
    let filled = fill(&into, seed, &from, &mut ()).unwrap();
    assert_eq!((filled.fetched, filled.landed.published), (2, true), "nothing comes twice");
    assert_eq!(tree(&into), expected_tree(&store));
}

#[test]
fn another_repository_is_refused_and_a_stop_sign_leaves_what_is_there() {
    struct Stops;
    impl Events for Stops {
        fn event(&mut self, _: Event<'_>) {}
        fn stop(&self) -> bool {
            true
        }
    }
    let (site, store) = (Site::new(), some());
    let (into, seed, wanted) = lacking(&site, &store);
    let error = fill(&into, seed, &repository(10, &[1000]), &mut ()).unwrap_err();
    assert!(matches!(error, Error::OtherRepository { .. }), "{error}");
    assert!(matches!(fill(&into, seed, &store, &mut Stops), Err(Error::Interrupted)));
    assert_eq!(missing(&into).unwrap()[0].wanted.len() as u64, wanted);
}
