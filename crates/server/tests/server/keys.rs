//! Drives' passwords: who gives them, who gets them and when, what is noted, and where they never are.

use crate::jobs::code;
use crate::sample::{Journey, Sample, hash};
use crate::site::{Site, files, own, raw};
use client::Client;
use model::{Digest, DrivePassword};
use server::{Clock, Error, Server};
use ureq::http::Method;
use wire::{Code, DockRequest, DriveEvent, DriveState, JobPatch, JobState, ReceiveRequest};

fn locked<'a>(site: &Site, sample: &'a Sample, job: &str, drives: usize) -> Journey<'a> {
    Journey { locked: true, ..Journey::new(site, sample, job, &sample.dealt(drives)) }
}

impl Journey<'_> {
    fn ask(&self, n: usize) -> client::Result<wire::DriveBitLockerKey> {
        self.dock.release_key(&self.job, &self.drives[n].0, &self.header(n))
    }

    /// Who was told what of which drive, as the owner sees it.
    fn said(&self) -> Vec<(String, String, Digest, bool)> {
        let releases = self.agent.job(&self.job).unwrap().key_releases;
        let said = releases.into_iter();
        said.map(|it| (it.by, it.drive_id.to_string(), it.drive_header_hash, it.granted)).collect()
    }

    fn cancel(&self) -> JobState {
        let cancel = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
        self.agent.patch_job(&self.job, &cancel).unwrap().state
    }
}

#[test]
fn a_password_is_given_while_its_drive_may_be_read_and_at_no_other_time() {
    let site = Site::new();
    let sample = Sample::new("keys", 4);
    let journey = locked(&site, &sample, "job-1", 2);
    let job = journey.create();
    assert!(job.drive_list.iter().all(|drive| drive.key_held));
    assert_eq!(job.drive_list[1].drive_header_hash, Some(journey.header(1)));
    assert_eq!(code(journey.ask(0)), Code::JobState, "creating");
    journey.ship("TRACK1");
    assert_eq!(code(journey.ask(0)), Code::JobState, "on its way");
    let drives = Some(vec![journey.drives[0].0.clone()]);
    let request = ReceiveRequest { tracking_number: "TRACK1".parse().unwrap(), drives };
    journey.dock.receive(&request).unwrap();
    let key = journey.ask(0).unwrap();
    assert_eq!(
        (key.bit_locker_key, key.drive_header_hash),
        (journey.password(0), journey.header(0))
    );
    assert_eq!(code(journey.ask(1)), Code::JobState, "it was not in the package");
    assert_eq!(journey.event(1, &DriveEvent::Came).state, DriveState::Received);
    assert_eq!(journey.ask(1).unwrap().bit_locker_key, journey.password(1));
    journey.event(0, &DriveEvent::Started);
    journey.ask(0).unwrap();
    let pack = sample.list().iter().find(|o| o.kind == model::ObjectKind::Pack).unwrap().key();
    journey.import(0, &[pack]);
    journey.import(1, &[]);
    assert_eq!(journey.agent.job(&journey.job).unwrap().state, JobState::Packaging);
    journey.ask(0).unwrap();
    assert_eq!(code(journey.ask(1)), Code::JobState, "everything on it is taken over");
    for n in 0..2 {
        journey.event(n, &DriveEvent::Returned);
    }
    assert_eq!(code(journey.ask(0)), Code::JobState, "sent back");
    assert_eq!(journey.agent.drive_keys(&journey.job).unwrap().len(), 2, "the owner's, for ever");
    let granted = |n: usize| {
        ("dock/dock".to_owned(), journey.drives[n].0.to_string(), journey.header(n), true)
    };
    let said = journey.said();
    assert_eq!(said[..4], [granted(0), granted(1), granted(0), granted(0)]);
    let owner = |n: usize| ("agent/vault1/fs01".to_owned(), granted(n).1, granted(n).2, true);
    assert_eq!(said[4..], [owner(0), owner(1)]);
}

#[test]
fn a_drive_with_another_header_gets_no_password_and_everybody_hears_of_it() {
    let site = Site::new();
    let sample = Sample::new("changed", 3);
    let journey = locked(&site, &sample, "job-1", 1);
    journey.create();
    journey.ship("TRACK1");
    journey.receive("TRACK1");
    let (serial, other) = (&journey.drives[0].0, hash(b"another header"));
    let refused = journey.dock.release_key(&journey.job, serial, &other).unwrap_err();
    assert_eq!(refused.code(), Some(&Code::DriveHeaderMismatch));
    let words = refused.to_string();
    assert!(words.contains("changed on its way") && words.contains("tell its owner"), "{words}");
    let refused = ("dock/dock".to_owned(), serial.to_string(), other, false);
    assert_eq!(journey.said(), std::slice::from_ref(&refused));
    let seen = site.admin().job(&journey.job).unwrap().key_releases;
    assert_eq!((seen.len(), seen[0].granted), (1, false));
    assert!(journey.dock.job(&journey.job).unwrap().key_releases.is_empty(), "not for docks");
    assert!(journey.dock.jobs().unwrap()[0].key_releases.is_empty());
    journey.ask(0).unwrap();
    assert_eq!(journey.said()[0], refused);
    assert!(journey.said()[1].3);
}

#[test]
fn only_a_dock_of_this_server_gets_a_password_and_only_of_a_drive_in_the_job() {
    let site = Site::new();
    let sample = Sample::new("whose", 4);
    let journey = locked(&site, &sample, "job-1", 1);
    journey.create();
    journey.ship("TRACK1");
    journey.receive("TRACK1");
    let (serial, header) = (&journey.drives[0].0, journey.header(0));
    for caller in [&journey.agent, &site.admin()] {
        let refused = caller.release_key(&journey.job, serial, &header);
        assert_eq!(code(refused), Code::AuthorizationFailed);
    }
    assert_eq!(code(journey.dock.drive_keys(&journey.job)), Code::AuthorizationFailed);
    assert_eq!(code(site.admin().drive_keys(&journey.job)), Code::AuthorizationFailed);
    let stranger = site.agent("vault1", "fs02");
    assert_eq!(code(stranger.drive_keys(&journey.job)), Code::ResourceNotFound);
    let ask = |job: &str, drive: &str| {
        journey.dock.release_key(&job.parse().unwrap(), &drive.parse().unwrap(), &header)
    };
    assert_eq!(code(ask("job-1", "STRANGER")), Code::DriveNotInJob);
    assert_eq!(code(ask("job-2", serial.as_str())), Code::ResourceNotFound);
    assert!(journey.said().is_empty());
    // Another dock of the data centre may take the drive in; it is noted under its own name.
    let request = DockRequest { name: "north".to_owned(), replace: false };
    let north = Client::new(site.admin().register_dock(&request).unwrap()).unwrap();
    north.release_key(&journey.job, serial, &header).unwrap();
    assert_eq!(journey.said()[0].0, "dock/north");
    // A token that was replaced gets nothing.
    site.dock();
    assert_eq!(code(ask("job-1", serial.as_str())), Code::AuthenticationFailed);
    assert_eq!(journey.said().len(), 1);
}

#[test]
fn a_password_comes_with_the_hash_of_its_header_or_not_at_all() {
    let site = Site::new();
    let sample = Sample::new("pair", 4);
    let journey = locked(&site, &sample, "job-1", 2);
    for change in [
        |drive: &mut wire::DriveRequest| drive.bit_locker_key = None,
        |drive: &mut wire::DriveRequest| drive.drive_header_hash = None,
    ] {
        let mut request = journey.request();
        change(&mut request.drive_list[0]);
        let refused = journey.agent.create_job(&journey.job, &request);
        assert_eq!(code(refused), Code::InvalidRequest);
    }
    let text = serde_json::to_string(&journey.request()).unwrap();
    let typo = text.replacen(&journey.password(0).text()[..6], "000001", 1);
    let path = "/api/v1/import-jobs/job-1";
    let known = journey.agent.credentials();
    let answer = raw(known, own(&journey.agent), &Method::PUT, path, &[], typo.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (400, "InvalidRequest"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("000001"));
    // One is encrypted, the other is not.
    let mut request = journey.request();
    (request.drive_list[1].bit_locker_key, request.drive_list[1].drive_header_hash) = (None, None);
    let job = journey.agent.create_job(&journey.job, &request).unwrap();
    assert_eq!(job.drive_list.iter().map(|it| it.key_held).collect::<Vec<_>>(), [true, false]);
    let keys = journey.agent.drive_keys(&journey.job).unwrap();
    assert_eq!((keys.len(), &keys[0].drive_id), (1, &journey.drives[0].0));
    journey.create();
    journey.agent.create_job(&journey.job, &request).unwrap();
    journey.ship("TRACK1");
    journey.receive("TRACK1");
    assert_eq!(code(journey.ask(1)), Code::DriveNotEncrypted);
    journey.ask(0).unwrap();
}

#[test]
fn a_password_can_be_corrected_until_the_job_is_shipped() {
    let site = Site::new();
    let sample = Sample::new("correct", 3);
    let journey = locked(&site, &sample, "job-1", 1);
    journey.create();
    let version = journey.agent.job(&journey.job).unwrap().version;
    journey.agent.create_job(&journey.job, &journey.request()).unwrap();
    let same = journey.agent.job(&journey.job).unwrap();
    assert_eq!(same.version, version);
    let mut request = journey.request();
    request.drive_list[0].bit_locker_key = Some(DrivePassword::from_bytes(&[99; 16]));
    let changed = journey.agent.create_job(&journey.job, &request).unwrap();
    assert!(changed.drive_list[0].manifest_received && changed.version > same.version);
    let key = &journey.agent.drive_keys(&journey.job).unwrap()[0];
    assert_eq!(key.bit_locker_key, DrivePassword::from_bytes(&[99; 16]));
    journey.ship("TRACK1");
    let late = journey.agent.create_job(&journey.job, &journey.request());
    assert_eq!(code(late), Code::JobState);
    let same = journey.agent.create_job(&journey.job, &request).unwrap();
    assert_eq!(same.state, JobState::Shipping);
}

fn in_days(days: i64) -> Clock {
    Clock::from_fn(move || jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days))
}

/// Passwords stay when their job is cancelled, expires and is over; the same drives travel with the
/// next job. (Later than day 50 the server makes a certificate that is not good today.)
#[test]
fn a_prepared_set_is_linked_to_a_new_job_and_its_passwords_outlive_every_job() {
    let mut site = Site::with(|config| config.clock = in_days(0));
    let sample = Sample::new("relink", 3);
    let first = locked(&site, &sample, "job-1", 2);
    first.create();
    let passwords = |journey: &Journey<'_>, job: &str| -> Vec<DrivePassword> {
        let keys = journey.agent.drive_keys(&job.parse().unwrap()).unwrap();
        keys.into_iter().map(|key| key.bit_locker_key).collect()
    };
    let wanted = vec![first.password(0), first.password(1)];
    assert_eq!(first.cancel(), JobState::Canceled);
    assert_eq!(passwords(&first, "job-1"), wanted);
    let second = Journey { job: "job-2".parse().unwrap(), ..first };
    second.create();
    site.stop();
    site.start(|config| config.clock = in_days(15));
    let second = second.again(&site);
    while second.agent.job(&second.job).unwrap().state == JobState::Creating {
        std::thread::yield_now();
    }
    assert_eq!(second.agent.job(&second.job).unwrap().state, JobState::Canceled, "expired");
    site.stop();
    site.start(|config| config.clock = in_days(50));
    let second = second.again(&site);
    for job in ["job-1", "job-2"] {
        assert_eq!(passwords(&second, job), wanted, "{job}");
    }
    let third = Journey { job: "job-3".parse().unwrap(), ..second };
    third.create();
    third.ship("TRACK3");
    third.receive("TRACK3");
    assert_eq!(third.ask(1).unwrap().bit_locker_key, wanted[1]);
    third.import(0, &[]);
    assert_eq!(third.import(1, &[]).state, DriveState::Completed);
    let old =
        third.dock.release_key(&"job-1".parse().unwrap(), &third.drives[0].0, &third.header(0));
    assert_eq!(code(old), Code::JobState);
}

#[test]
fn no_password_is_in_an_ordinary_answer_or_anywhere_on_the_disk_in_clear() {
    let mut site = Site::new();
    let sample = Sample::new("clear", 3);
    let journey = locked(&site, &sample, "job-1", 1);
    let mut said = vec![serde_json::to_string(&journey.create()).unwrap()];
    said.push(serde_json::to_string(&journey.ship("TRACK1")).unwrap());
    said.push(serde_json::to_string(&journey.receive("TRACK1")).unwrap());
    journey.ask(0).unwrap();
    journey.agent.drive_keys(&journey.job).unwrap();
    let known = journey.agent.credentials();
    for client in [&journey.agent, &journey.dock, &site.admin()] {
        for path in ["/api/v1/import-jobs", "/api/v1/import-jobs/job-1"] {
            let answer = raw(known, own(client), &Method::GET, path, &[], b"");
            assert_eq!(answer.status, 200);
            said.push(String::from_utf8(answer.body).unwrap());
        }
    }
    let text = journey.password(0).text();
    for answer in &said {
        assert!(answer.contains("\"keyHeld\":true") && !answer.contains(&text[..6]), "{answer}");
    }
    let found = |site: &Site| {
        let mut seen = Vec::new();
        for name in files(&site.data()) {
            let bytes = std::fs::read(site.data().join(&name)).unwrap();
            assert!(!bytes.windows(20).any(|it| it == &text.as_bytes()[..20]), "{name}");
            seen.push(name);
        }
        seen
    };
    assert!(found(&site).contains(&"packmule.db-wal".to_owned()));
    site.stop();
    assert!(found(&site).contains(&"packmule.db".to_owned()));
}

#[test]
fn a_lost_key_file_is_not_replaced_where_it_has_sealed_something() {
    let mut site = Site::new();
    let path = site.data().join("drives.key");
    site.stop();
    std::fs::remove_file(&path).unwrap();
    site.start(|_| {});
    let sample = Sample::new("lost", 3);
    let journey = locked(&site, &sample, "job-1", 1);
    journey.create();
    site.stop();
    std::fs::remove_file(&path).unwrap();
    let refusal = Server::start(site.config()).unwrap_err();
    assert!(matches!(&refusal, Error::Damaged { what, .. } if what == "drives.key"), "{refusal}");
    assert!(!path.exists());
    // As it says: with another one, what the source announces again is kept again.
    store::durable::write(&path, &[3; 32], 0o600).unwrap();
    site.start(|_| {});
    let journey = journey.again(&site);
    assert_eq!(code(journey.agent.drive_keys(&journey.job)), Code::InternalError);
    journey.create();
    let keys = journey.agent.drive_keys(&journey.job).unwrap();
    assert_eq!(keys[0].bit_locker_key, journey.password(0));
}
