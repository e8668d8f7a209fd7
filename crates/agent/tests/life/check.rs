//! What is asked before a drive is formatted: the same refusals as of a preparation, and no change.

use crate::site::{PASSWORD, Site, tree};
use agent::Error;
use model::ErrorKind;
use std::fs;

fn check(site: &Site) -> agent::Result<()> {
    agent::check_preparation(&site.ctx(), &site.staging(), false, Some(PASSWORD))
}

#[test]
fn a_preparation_that_would_write_is_not_refused_and_nothing_is_changed() {
    let site = Site::with_group();
    site.backup().unwrap();
    let before = site.seed().record;
    check(&site).unwrap();
    assert_eq!(site.seed().record, before);
    assert!(site.prepare(&site.drives(1)).unwrap().needed.is_some());
    check(&site).unwrap();
    // As when preparing, the server is not needed yet.
    let mut site = site;
    site.server.take().unwrap().shutdown().unwrap();
    check(&site).unwrap();
}

#[test]
fn what_a_preparation_refuses_is_refused_before() {
    let site = Site::with_group();
    assert!(matches!(check(&site), Err(Error::NoSeedAt(_) | Error::GroupsNotStaged { .. })));
    site.backup().unwrap();
    let elsewhere = agent::check_preparation(&site.ctx(), "/nowhere", false, Some(PASSWORD));
    assert!(matches!(elsewhere, Err(Error::NoSeedAt(_))), "{elsewhere:?}");
    let wrong =
        agent::check_preparation(&site.ctx(), &site.staging(), false, Some(b"falsch")).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongPassword);
    agent::create_group(&site.ctx(), &site.group("more")).unwrap();
    let unstaged = check(&site);
    assert!(matches!(unstaged, Err(Error::GroupsNotStaged { .. })), "{unstaged:?}");
}

#[test]
fn a_seed_that_another_process_works_on_is_busy() {
    let site = Site::with_group();
    site.backup().unwrap();
    let path = site.state().join(format!("seeds/{}.lock", site.seed().record.id));
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    file.lock().unwrap();
    let busy = check(&site);
    assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
}

#[test]
fn a_lost_inventory_is_told_before() {
    let site = Site::with_group();
    site.backup().unwrap();
    site.prepare(&site.drives(1)).unwrap();
    let folder = site.state().join(format!("seeds/{}.state", site.seed().record.id));
    fs::remove_file(folder.join("inventory")).unwrap();
    check(&site).expect("staging is as it was, so it is made again");
    fs::remove_file(folder.join("inventory")).unwrap();
    let keys = std::path::PathBuf::from(site.staging()).join("keys");
    let key = tree(&keys).into_keys().next().unwrap();
    fs::copy(keys.join(key), keys.join("0".repeat(64))).unwrap();
    let lost = check(&site);
    assert!(matches!(lost, Err(Error::InventoryLost { .. })), "{lost:?}");
}

#[test]
fn nothing_is_formatted_for_a_seed_whose_sets_have_their_jobs() {
    let site = Site::prepared();
    let nothing = check(&site);
    assert!(matches!(nothing, Err(Error::NothingToPrepare { .. })), "{nothing:?}");
}
