//! A staging location on a network share: everything works there, and when the share goes away in
//! the middle, the backup fails, says so, and goes on later. Local folders are tested elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod network;
mod support;

use network::{NOTICED, Share};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Instant;
use support::{
    Place, Said, names_are_right, objects_of, open, restic_is_content, s, same, skip, until, walk,
};

/// Enough that there is time to take the share away before all of it is stored.
const MUCH: usize = 48 << 20;

fn on_a_share(name: &str, test: impl FnOnce(&Place, &mut Share)) {
    let place = Place::new();
    match Share::mount(&place) {
        Ok(mut share) => test(&place, &mut share),
        Err(reason) => skip(&format!("share::{name}"), reason),
    }
}

/// A backup with small packs, so that many are there early.
fn backup<'a>(repository: &'a Path, source: &'a Path) -> [&'a str; 9] {
    let size = ["--pack-size", "4MiB", "--json", "--quiet"];
    let [option, value, json, quiet] = size;
    ["repo", "backup", "-r", s(repository), option, value, json, quiet, s(source)]
}

/// The backup's process, once some packs are stored and more are to come.
fn begun(place: &Place, share: &Share, repository: &Path, source: &Path) -> Child {
    let mut child = place.start(&backup(repository, source));
    until("packs are stored", || {
        assert!(child.try_wait().unwrap().is_none(), "the backup ended early");
        (packs(share).len() >= 3).then_some(())
    });
    child
}

/// What the server has of packs: names and lengths.
fn packs(share: &Share) -> Vec<(PathBuf, u64)> {
    let files = objects_of(&share.kept().join("repository"), "data");
    files.into_iter().map(|file| (file.clone(), file.metadata().unwrap().len())).collect()
}

fn fails_for_want_of_the_share(child: Child) {
    let since = Instant::now();
    let said = Said::of(child.wait_with_output().unwrap());
    assert!(since.elapsed() < NOTICED, "it took {:?}", since.elapsed());
    let said = said.exits(1).tells(&["cannot be reached"]);
    // Being cut off is not the fault of the files that were being read.
    assert!(!said.stderr.contains("changed while it was read"), "{}", said.stderr);
}

/// The command that was cut off, again: it takes in what is there and stores the rest.
fn goes_on(place: &Place, share: &Share, repository: &Path, source: &Path) {
    let before = packs(share);
    let said = place.run(&backup(repository, source)).exits(0);
    let after = packs(share);
    assert!(before.iter().all(|pack| after.contains(pack)), "what was stored stays");
    let stored: u64 = after.iter().map(|(_, length)| length).sum();
    // The source is noise: stored a second time, packs would add to it.
    assert!(stored < MUCH as u64 + (1 << 20), "{stored} bytes of packs for {MUCH} of data");
    let adopted: u64 = before.iter().map(|(_, length)| length).sum();
    let added = said.object("summary")["data_added_packed"].as_u64().unwrap();
    assert!(adopted > 0 && added + adopted < MUCH as u64 + (1 << 20), "{added} and {adopted}");
}

/// By its names, by stock restic, and by a restore compared with the source.
fn is_whole(test: &str, place: &Place, share: &Share, repository: &Path, source: &Path) {
    let kept = share.kept().join("repository");
    names_are_right(&kept);
    restic_is_content(test, &kept);
    let target = place.path("target");
    place.run(&["repo", "restore", "-r", s(repository), "latest", "--target", s(&target)]).exits(0);
    same(source, &target.join(source.strip_prefix("/").unwrap()));
}

#[test]
fn a_staging_location_on_a_share_is_as_good_as_a_folder() {
    let name = "a_staging_location_on_a_share_is_as_good_as_a_folder";
    on_a_share(name, |place, share| {
        let (repository, source) =
            (share.here().join("repository"), place.source("source", 20 << 20));
        place.run(&["repo", "init", "-r", s(&repository)]).exits(0);
        place.run(&backup(&repository, &source)).exits(0);
        std::fs::write(source.join("later"), b"an increment").unwrap();
        place.run(&backup(&repository, &source)).exits(0);
        place.run(&["repo", "check", "-r", s(&repository), "--read-data"]).exits(0);
        is_whole(name, place, share, &repository, &source);
        let kept = walk(&share.kept());
        assert!(kept.iter().all(|file| !s(file).contains("partial")), "left behind: {kept:?}");
    });
}

#[test]
fn drives_are_prepared_from_a_share() {
    on_a_share("drives_are_prepared_from_a_share", |place, share| {
        let (repository, source) =
            (share.here().join("repository"), place.source("source", 20 << 20));
        place.run(&["repo", "init", "-r", s(&repository)]).exits(0);
        place.run(&backup(&repository, &source)).exits(0);
        let ([drive], landed) = (place.drives(), place.path("landed"));
        place.run(&["seed", "prepare", "-r", s(&repository), "--drive", s(&drive)]).exits(0);
        place.run(&["seed", "import", "--drive", s(&drive), "--into", s(&landed)]).exits(0);
        let names = |repository: &Path| {
            let all = ["data", "index", "snapshots"].into_iter();
            let files = all.flat_map(|kind| objects_of(repository, kind));
            files.map(|file| file.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&landed), names(&share.kept().join("repository")));
        names_are_right(&landed);
        assert_eq!(open(&landed).find_snapshot("latest").unwrap().snapshot.paths, [s(&source)]);
    });
}

#[test]
fn a_share_that_is_cut_off_fails_the_backup_and_the_next_one_goes_on() {
    let name = "a_share_that_is_cut_off_fails_the_backup_and_the_next_one_goes_on";
    on_a_share(name, |place, share| {
        let (repository, source) = (share.here().join("repository"), place.source("source", MUCH));
        place.run(&["repo", "init", "-r", s(&repository)]).exits(0);
        let child = begun(place, share, &repository, &source);
        share.cut();
        fails_for_want_of_the_share(child);
        place.run(&backup(&repository, &source)).exits(1).tells(&["cannot be reached"]);
        assert_eq!(
            objects_of(&share.kept().join("repository"), "snapshots"),
            [""; 0].map(PathBuf::from)
        );
        share.serve();
        share.back();
        goes_on(place, share, &repository, &source);
        is_whole(name, place, share, &repository, &source);
    });
}

#[test]
fn a_share_that_does_not_answer_is_given_up_and_the_next_backup_goes_on() {
    let name = "a_share_that_does_not_answer_is_given_up_and_the_next_backup_goes_on";
    on_a_share(name, |place, share| {
        let (repository, source) = (share.here().join("repository"), place.source("source", MUCH));
        place.run(&["repo", "init", "-r", s(&repository)]).exits(0);
        let child = begun(place, share, &repository, &source);
        share.freeze();
        fails_for_want_of_the_share(child);
        share.thaw();
        share.back();
        goes_on(place, share, &repository, &source);
        is_whole(name, place, share, &repository, &source);
    });
}
