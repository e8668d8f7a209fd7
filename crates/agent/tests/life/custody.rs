//! The source's chain in the custody log: what happened to its drives, said once, sent sooner or later.

use crate::site::{Site, address, package};
use ::custody::{Keys, Logged, Proof, Proving, Receipted, prove};
use std::io::Read as _;
use std::path::PathBuf;
use wire::{ActorKind, JobPatch, JobState, SeedId};

fn seed(site: &Site) -> SeedId {
    site.seed().record.id
}

fn log(site: &Site) -> Vec<u8> {
    let mut bytes = Vec::new();
    site.admin().custody(seed(site)).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// The log, proven with the keys of this source server and its vault; and what its entries are.
fn proven(site: &Site) -> (Proof, Vec<Logged>) {
    let signer = site.seed().record.contents.unwrap().signer;
    let keys = format!("{signer} source/fs01\n{} server", site.agent().credentials().receipt_key);
    proven_by(site, Some(&Keys::parse(&keys).unwrap()))
}

fn proven_by(site: &Site, keys: Option<&Keys>) -> (Proof, Vec<Logged>) {
    let mut entries = Vec::new();
    let mut each = |logged: &Logged| entries.push(logged.clone());
    let how = Proving { keys, each: &mut each };
    let proof = prove(&mut log(site).as_slice(), how).unwrap().unwrap();
    (proof, entries)
}

/// The word and the drive of each entry.
fn words(site: &Site) -> Vec<String> {
    let (_, entries) = proven(site);
    let word = |logged: &Logged| {
        let event = &logged.entry().event;
        let drive = event.drive().map(|drive| format!(" {drive}")).unwrap_or_default();
        format!("{}{drive}", event.what())
    };
    entries.iter().map(word).collect()
}

fn book(site: &Site) -> PathBuf {
    let folder = site.state().join("seeds").join(format!("{}.custody", seed(site)));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut books = files.filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
    books.next().unwrap()
}

const PREPARED: [&str; 4] = ["written D0", "sealed D0", "written D1", "sealed D1"];

#[test]
fn a_seeds_life_is_in_the_log_and_its_receipt_covers_it() {
    let site = Site::prepared();
    assert_eq!(words(&site), PREPARED);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.backup().unwrap();
    let expected = [&PREPARED[..], &["handed-over", "published"]].concat();
    assert_eq!(words(&site), expected);
    let (proof, entries) = proven(&site);
    assert!(matches!(proof.receipt, Receipted::Holds { covered: 6, .. }));
    assert_eq!(entries[0].entry().actor.kind, ActorKind::Source);
    let job = site.agent().jobs().unwrap().remove(0);
    let ::custody::Event::Sealed { manifest, .. } = entries[1].entry().event else { panic!() };
    assert_eq!(Some(manifest), job.drive_list[0].manifest_hash);
    // Nothing is said twice by calls that find everything done.
    site.backup().unwrap();
    assert_eq!(words(&site), expected);
}

#[test]
fn an_encrypted_drive_is_said_to_be_formatted_before_anything_is_written_to_it() {
    let site = Site::with_group();
    site.backup().unwrap();
    let drives = site.drives(2);
    site.lock(&drives);
    // The call that has formatted the second one died before it said so.
    agent::formatted(&site.ctx(), &site.staging(), &[drives[0].serial.clone()]).unwrap();
    site.prepare(&drives).unwrap();
    let words = words(&site);
    let formatted = |drive| words.iter().position(|word| *word == format!("formatted {drive}"));
    let written = |drive| words.iter().position(|word| *word == format!("written {drive}"));
    assert!(formatted("D0").unwrap() < written("D0").unwrap(), "{words:?}");
    assert!(formatted("D1").unwrap() < written("D1").unwrap(), "{words:?}");
    assert_eq!(words.len(), 6);
}

#[test]
fn a_parcel_that_left_before_it_was_noted_is_noted_by_the_next_call() {
    let site = Site::prepared();
    let job = site.agent().jobs().unwrap().remove(0);
    let patch = JobPatch {
        return_address: Some(address()),
        delivery_package: Some(package("TRACK0001")),
        state: Some(JobState::Shipping),
        ..JobPatch::default()
    };
    site.agent().patch_job(&job.name, &patch).unwrap();
    assert_eq!(words(&site), PREPARED);
    site.backup().unwrap();
    assert_eq!(words(&site), [&PREPARED[..], &["handed-over"]].concat());
}

#[test]
fn a_crash_in_the_middle_of_a_line_and_a_lost_count_cost_nothing() {
    let site = Site::prepared();
    let path = book(&site);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"{\"entry\":{\"version\":1,\"se"].concat()).unwrap();
    std::fs::remove_file(path.with_extension("sent")).unwrap();
    site.ship("TRACK0001").unwrap();
    assert_eq!(words(&site), [&PREPARED[..], &["handed-over"]].concat());
    assert!(std::fs::read(&path).unwrap().starts_with(&whole));
}

#[test]
fn a_state_directory_that_was_put_back_goes_on_in_one_chain() {
    let site = Site::prepared();
    let before = site.remember();
    site.ship("TRACK0001").unwrap();
    site.forget(&before);
    site.dock("TRACK0001");
    site.backup().unwrap();
    assert_eq!(words(&site), [&PREPARED[..], &["handed-over", "published"]].concat());
}

#[test]
fn what_was_done_while_the_server_was_away_is_on_the_disk_and_sent_when_it_is_back() {
    let mut site = Site::with_group();
    site.backup().unwrap();
    let port = site.server.as_ref().unwrap().address().port();
    site.server.take().unwrap().shutdown().unwrap();
    // The drives are sealed by then; what is missing is their job.
    site.prepare(&site.drives(2)).unwrap_err();
    site.start(|config| config.listen.set_port(port));
    let kept = std::fs::read_to_string(book(&site)).unwrap();
    assert_eq!(kept.lines().count(), 4, "{kept}");
    assert!(proven_by(&site, None).1.is_empty());
    site.prepare(&[]).unwrap();
    assert_eq!(words(&site), PREPARED);
    assert_eq!(std::fs::read_to_string(book(&site)).unwrap(), kept);
}

#[test]
fn what_was_sent_after_the_publication_is_no_cut_off() {
    let site = Site::prepared();
    let before = site.remember();
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    // An administrator has it published, while the source has said nothing of the parcel yet.
    site.forget(&before);
    let forgotten = seed(&site);
    let request = wire::PublicationRequest { seed: Some(forgotten), root: None };
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let mut status = site.admin().publish(&vault, &server, &request).unwrap();
    while status.state != wire::PublicationState::Published {
        status = site.admin().publication(&vault, &server).unwrap();
    }
    let drive = "D7".parse().unwrap();
    agent::formatted(&site.ctx(), &site.staging(), &[drive]).unwrap();
    site.backup().unwrap();
    let (proof, _) = proven(&site);
    assert!(matches!(proof.receipt, Receipted::Holds { covered: 6, .. }));
    assert_eq!(words(&site)[6..], ["formatted D7"]);
}
