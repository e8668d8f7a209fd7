//! Passwords of drives at the source: kept before anything is formatted, in the job before that counts
//! as prepared, and still there whatever becomes of jobs, of files, and of the process.

use crate::journey::waiting;
use crate::site::{PASSWORD, Site, header, tree};
use agent::{BackupReport, Cleaning, Error, Next};
use client::Client;
use flow::SeedState;
use model::{DrivePassword, DriveSerial};
use server::Clock;
use std::fs;
use wire::{DockRequest, JobPatch, JobState, ReceiveRequest};

fn serial(text: &str) -> DriveSerial {
    text.parse().unwrap()
}

/// As far as two encrypted, sealed drives and their import job.
fn prepared() -> Site {
    let site = Site::with_group();
    site.backup().unwrap();
    let drives = site.drives(2);
    site.lock(&drives);
    assert!(site.prepare(&drives).unwrap().needed.is_none());
    site
}

fn passwords(site: &Site) -> Vec<DrivePassword> {
    site.keys().list().unwrap().into_iter().map(|key| key.password).collect()
}

/// The passwords that the server has for a job.
fn held(site: &Site, job: &str) -> Vec<DrivePassword> {
    let keys = site.agent().drive_keys(&job.parse().unwrap()).unwrap();
    keys.into_iter().map(|key| key.bit_locker_key).collect()
}

fn cancel(site: &Site, job: &str) {
    let cancel = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
    site.agent().patch_job(&job.parse().unwrap(), &cancel).unwrap();
}

fn keys_folder(site: &Site) -> std::path::PathBuf {
    site.state().join(format!("seeds/{}.keys", site.seed().record.id))
}

#[test]
fn a_job_is_given_the_passwords_and_the_record_the_header_hashes() {
    let site = prepared();
    let record = site.seed().record;
    for drive in &record.jobs[0].drives {
        assert_eq!(drive.header, Some(header(&drive.serial)));
    }
    let job = site.agent().job(&record.jobs[0].name).unwrap();
    assert!(job.drive_list.iter().all(|drive| drive.key_held));
    assert_eq!(job.drive_list[0].drive_header_hash, record.jobs[0].drives[0].header);
    assert_eq!(held(&site, "seed-2026"), passwords(&site));
    // None is on a drive, nor in the state in clear.
    let folders = ["D0", "D1"].map(|name| site.path(name));
    for folder in folders.iter().map(std::path::PathBuf::as_path).chain([site.state()]) {
        for (name, bytes) in tree(folder) {
            for password in passwords(&site) {
                let text = password.text();
                let found = bytes.windows(20).any(|window| window == &text.as_bytes()[..20]);
                assert!(!found, "{name}");
            }
        }
    }
}

#[test]
fn drives_without_a_password_travel_as_they_are() {
    let site = Site::prepared();
    let job = site.agent().job(&"seed-2026".parse().unwrap()).unwrap();
    let open = |drive: &wire::DriveStatus| !drive.key_held && drive.drive_header_hash.is_none();
    assert!(job.drive_list.iter().all(open));
    assert!(!keys_folder(&site).exists());
}

#[test]
fn a_drive_that_was_never_said_to_be_formatted_is_not_announced() {
    let site = Site::with_group();
    site.backup().unwrap();
    let drives = site.drives(2);
    site.lock(&drives[..1]);
    let first = site.keys().password(&serial("D1")).unwrap();
    site.encrypted.lock().unwrap().push(serial("D1"));
    let refused = site.prepare(&drives).unwrap_err();
    assert!(matches!(refused, Error::NotFormatted { .. }), "{refused}");
    assert!(site.agent().jobs().unwrap().is_empty());
    assert_eq!(site.keys().password(&serial("D1")).unwrap(), first);
    site.keys().formatted(&serial("D1"), header(&serial("D1"))).unwrap();
    assert!(site.prepare(&[]).unwrap().job.is_some());
    assert_eq!(held(&site, "seed-2026"), passwords(&site));
}

/// The whole way of drives whose job came to nothing, to a new job, to the dock, to the vault.
fn relinked(site: &Site) {
    let said = waiting(site.backup().unwrap());
    assert!(matches!(said.next, Next::AnotherJob { .. }), "{said:?}");
    let report = site.prepare(&[]).unwrap();
    assert_eq!(report.job.unwrap().name.as_str(), "seed-2026-2");
    let keys = passwords(site);
    assert_eq!((held(site, "seed-2026"), held(site, "seed-2026-2")), (keys.clone(), keys.clone()));
    site.ship("TRACK0002").unwrap();
    let request = DockRequest { name: "north".to_owned(), replace: true };
    let dock = Client::new(site.admin().register_dock(&request).unwrap()).unwrap();
    let request = ReceiveRequest { tracking_number: "TRACK0002".parse().unwrap(), drives: None };
    let job = dock.receive(&request).unwrap();
    for (drive, password) in job.drive_list.iter().zip(&keys) {
        // All that a dock knows of a drive in its hands.
        let jobs = dock.jobs().unwrap();
        let expects = |job: &&wire::Job| {
            let open = matches!(job.state, JobState::Shipping | JobState::Received);
            open && job.drive_list.iter().any(|it| it.drive_id == drive.drive_id)
        };
        assert_eq!(jobs.iter().filter(expects).count(), 1);
        let expecting = jobs.iter().find(expects).unwrap();
        let hash = header(&drive.drive_id);
        let key = dock.release_key(&expecting.name, &drive.drive_id, &hash).unwrap();
        assert_eq!(key.bit_locker_key, *password);
    }
    site.dock("TRACK0002");
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
    let record = site.seed().record;
    assert_eq!(record.state(), SeedState::Confirmed);
    let remove = Cleaning::Remove { password: PASSWORD };
    agent::clean_staging(&site.ctx(), record.id, remove).unwrap();
    assert_eq!(passwords(site), keys, "nobody has asked for their removal");
}

#[test]
fn a_cancelled_jobs_drives_travel_with_the_next_one_and_keep_their_passwords() {
    let site = prepared();
    cancel(&site, "seed-2026");
    relinked(&site);
}

#[test]
fn an_expired_jobs_drives_travel_with_the_next_one_and_keep_their_passwords() {
    let mut site = prepared();
    site.start(|config| {
        let later = jiff::SignedDuration::from_hours(24 * 15);
        config.clock = Clock::from_fn(move || jiff::Timestamp::now() + later);
    });
    let job = "seed-2026".parse().unwrap();
    while site.agent().job(&job).unwrap().state == JobState::Creating {
        std::thread::yield_now();
    }
    relinked(&site);
}

#[test]
fn passwords_that_are_lost_here_are_fetched_from_the_job_that_has_them() {
    let site = prepared();
    let before = site.keys().list().unwrap();
    fs::remove_dir_all(keys_folder(&site)).unwrap();
    cancel(&site, "seed-2026");
    site.prepare(&[]).unwrap();
    assert_eq!(site.keys().list().unwrap(), before);
    relinked_job_has(&site, &before);
}

fn relinked_job_has(site: &Site, keys: &[keyring::DriveKey]) {
    let passwords: Vec<_> = keys.iter().map(|key| key.password.clone()).collect();
    assert_eq!(held(site, "seed-2026-2"), passwords);
}

#[test]
fn an_encrypted_drive_is_never_announced_as_an_open_one() {
    let mut site = Site::with_group();
    site.backup().unwrap();
    let drives = site.drives(2);
    site.lock(&drives);
    // The job was decided on, and the server has not heard of it.
    let server = site.server.take().unwrap();
    let port = server.address();
    server.shutdown().unwrap();
    assert!(site.prepare(&drives).is_err());
    assert!(site.keys().list().unwrap().len() == 2);
    fs::remove_dir_all(keys_folder(&site)).unwrap();
    site.start(|config| config.listen = port);
    let refused = site.prepare(&[]).unwrap_err();
    assert!(matches!(refused, Error::PasswordLost { .. }), "{refused}");
    assert!(site.agent().jobs().unwrap().is_empty());
}

#[test]
fn an_encrypted_drive_whose_password_was_lost_before_there_was_a_job_is_not_announced() {
    let site = Site::with_group();
    site.backup().unwrap();
    let drives = site.drives(2);
    site.lock(&drives);
    // The first one is sealed, and its seed is not complete.
    assert!(site.prepare(&drives[..1]).unwrap().needed.is_some());
    fs::remove_dir_all(keys_folder(&site)).unwrap();
    site.lock(&drives[1..]);
    for given in [&drives[1..], &[]] {
        let refused = site.prepare(given).unwrap_err();
        let lost = matches!(&refused, Error::PasswordLost { serial } if serial.as_str() == "D0");
        assert!(lost, "{refused}");
    }
    assert!(site.agent().jobs().unwrap().is_empty());
    assert!(site.seed().record.jobs.is_empty());
}

/// Leaves drives labelled and filled, and unsealed.
struct NotNow;

impl seed::ReadBack for NotNow {
    fn refresh(&self, _: &std::path::Path) -> std::io::Result<()> {
        Err(std::io::Error::from_raw_os_error(19))
    }
}

#[test]
fn a_drive_that_was_encrypted_first_and_is_plain_now_travels_as_a_plain_one() {
    let site = Site::with_group();
    site.backup().unwrap();
    let drives = site.drives(2);
    site.lock(&drives);
    assert!(site.prepare_with(&site.ctx(), &drives, &NotNow).unwrap().needed.is_some());
    assert_eq!(site.seed().record.encrypted.len(), 2);
    // D0 is formatted again, without encryption; D1 is mounted by somebody else, as it is.
    fs::remove_dir_all(&drives[0].folder).unwrap();
    fs::create_dir(&drives[0].folder).unwrap();
    site.encrypted.lock().unwrap().clear();
    let job = site.prepare(&drives).unwrap().job.unwrap();
    let held = |name: &str| {
        let drive = job.drive_list.iter().find(|drive| drive.drive_id.as_str() == name).unwrap();
        (drive.key_held, drive.drive_header_hash)
    };
    assert_eq!(held("D0"), (false, None));
    assert_eq!(held("D1"), (true, Some(header(&serial("D1")))));
    assert_eq!(site.keys().list().unwrap().len(), 2, "no password is removed");
}

#[test]
fn what_is_said_of_a_sealed_drive_stays_although_it_is_given_as_a_folder_or_erased() {
    let site = Site::with_group();
    site.backup().unwrap();
    let drives = site.drives(2);
    site.lock(&drives);
    site.prepare(&drives[..1]).unwrap();
    site.encrypted.lock().unwrap().clear();
    site.prepare(&drives[..1]).unwrap();
    assert!(site.seed().record.encrypted.contains(&serial("D0")));
    fs::remove_dir_all(&drives[0].folder).unwrap();
    fs::create_dir(&drives[0].folder).unwrap();
    let refused = site.prepare(&drives).unwrap_err();
    assert!(matches!(refused, Error::Seed(seed::Error::Erased { .. })), "{refused}");
    assert!(site.seed().record.encrypted.contains(&serial("D0")));
}
