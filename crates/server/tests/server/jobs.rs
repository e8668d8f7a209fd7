//! The rules of import jobs, each with the refusal that names it.

use crate::sample::{Journey, Sample, address, container, hash, package, patch_to_ship};
use crate::site::Site;
use client::Error;
use model::ObjectKind;
use seed::SigningKey;
use wire::{
    Code, CopyStatus, DriveEvent, DriveRequest, DriveState, Failure, JobPatch, JobState,
    ReceiveRequest,
};

pub(crate) fn code<T: std::fmt::Debug>(result: client::Result<T>) -> Code {
    match result.unwrap_err() {
        Error::Refused { code, message, .. } => {
            assert!(message.len() > 10, "{code}: {message}");
            code
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_job_goes_from_creation_to_its_end() {
    let site = Site::new();
    let sample = Sample::new("journey", 5);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    let job = journey.create();
    assert_eq!((job.state, job.drive_list.len()), (JobState::Creating, 2));
    assert_eq!(journey.ship("TRACK-1").state, JobState::Shipping);
    let job = journey.receive("track 1");
    assert_eq!(job.state, JobState::Received);
    assert!(job.drive_list.iter().all(|drive| drive.state == DriveState::Received));
    journey.event(0, &DriveEvent::Started);
    let status = journey.event(0, &DriveEvent::Progress { bytes: 30, total: 60 });
    assert_eq!((status.percent_complete, status.copy_status), (50, Some(CopyStatus::InProgress)));
    for n in 0..2 {
        let status = journey.import(n, &[]);
        assert_eq!(status.state, DriveState::Completed);
        let bytes: u64 = journey.drives[n].1.iter().map(|object| object.length).sum();
        assert_eq!((status.bytes_succeeded, status.bytes_total), (bytes, bytes));
    }
    assert_eq!(journey.agent.job(&journey.job).unwrap().state, JobState::Packaging);
    for n in 0..2 {
        assert_eq!(journey.event(n, &DriveEvent::Returned).state, DriveState::ShippedBack);
    }
    let job = journey.agent.job(&journey.job).unwrap();
    assert_eq!((job.state, job.percent_complete), (JobState::Completed, 100));
}

#[test]
fn a_job_may_have_the_name_of_anything_that_is_done() {
    let site = Site::new();
    let sample = Sample::new("named", 2);
    let journey = Journey::new(&site, &sample, "receive", &sample.dealt(1));
    journey.create();
    assert_eq!(journey.agent.job(&journey.job).unwrap().name.as_str(), "receive");
    assert_eq!(journey.ship("TRACK-1").state, JobState::Shipping);
    assert_eq!(journey.receive("TRACK-1").state, JobState::Received);
    assert_eq!(journey.dock.job(&journey.job).unwrap().state, JobState::Received);
}

#[test]
fn a_drive_set_has_ten_drives_at_most_and_one_at_least() {
    let site = Site::new();
    let sample = Sample::new("many", 20);
    let eleven = Journey::new(&site, &sample, "job-1", &sample.dealt(11));
    assert_eq!(code(eleven.agent.create_job(&eleven.job, &eleven.request())), Code::TooManyDrives);
    let none = Journey::new(&site, &sample, "job-1", &[]);
    assert_eq!(code(none.agent.create_job(&none.job, &none.request())), Code::InvalidRequest);
    let ten = Journey::new(&site, &sample, "job-1", &sample.dealt(10));
    ten.create();
}

#[test]
fn a_drive_is_in_one_open_job_only() {
    let site = Site::new();
    let sample = Sample::new("serial", 3);
    let first = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    first.create();
    let other = Sample::new("serial-2", 3);
    let mut second = Journey::new(&site, &other, "job-2", &other.dealt(1));
    second.drives[0].0 = first.drives[0].0.clone();
    let error = second.agent.create_job(&second.job, &second.request());
    assert_eq!(code(error), Code::DriveInAnotherJob);
    // Journey::new has replaced the agent's token.
    let first = Journey { agent: second.agent.clone(), ..first };
    let cancel = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
    assert_eq!(first.agent.patch_job(&first.job, &cancel).unwrap().state, JobState::Canceled);
    second.create();
}

#[test]
fn a_tracking_number_is_used_once_however_it_is_spelt() {
    let site = Site::new();
    let sample = Sample::new("number", 3);
    let first = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    first.create();
    first.ship("1Z 999-AA1");
    let other = Sample::new("number-2", 3);
    let second = Journey::new(&site, &other, "job-2", &other.dealt(1));
    second.create();
    let error = second.agent.patch_job(&second.job, &patch_to_ship("1z999aa1"));
    assert_eq!(code(error), Code::TrackingNumberInUse);
    let mut request = second.request();
    request.delivery_package = Some(package("1Z999AA1"));
    let error = second.agent.create_job(&"job-3".parse().unwrap(), &request);
    assert!(matches!(code(error), Code::TrackingNumberInUse | Code::DriveInAnotherJob));
    second.ship("1Z999AA2");
}

#[test]
fn shipping_needs_an_address_a_package_and_every_manifest() {
    let site = Site::new();
    let sample = Sample::new("ship", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.agent.create_job(&journey.job, &journey.request()).unwrap();
    let patch = |patch: JobPatch| journey.agent.patch_job(&journey.job, &patch);
    let ship = JobPatch { state: Some(JobState::Shipping), ..JobPatch::default() };
    assert_eq!(code(patch(patch_to_ship("TRACK1"))), Code::JobState, "no manifest");
    journey.create();
    assert_eq!(code(patch(ship.clone())), Code::ShippingDetailsMissing);
    patch(JobPatch { return_address: Some(address()), ..JobPatch::default() }).unwrap();
    assert_eq!(code(patch(ship.clone())), Code::ShippingDetailsMissing);
    let mut bad = address();
    bad.email = String::new();
    let bad = JobPatch { return_address: Some(bad), ..JobPatch::default() };
    assert_eq!(code(patch(bad)), Code::InvalidRequest);
    patch(JobPatch { delivery_package: Some(package("TRACK1")), ..JobPatch::default() }).unwrap();
    assert_eq!(patch(ship).unwrap().state, JobState::Shipping);
    let other = JobPatch { state: Some(JobState::Completed), ..JobPatch::default() };
    assert_eq!(code(patch(other)), Code::InvalidRequest);
}

#[test]
fn a_manifest_is_the_announced_one_and_signed_by_the_job_s_signer() {
    let site = Site::new();
    let mut sample = Sample::new("signed", 3);
    let good = sample.manifest("JOB-1-0", 0, 0, &sample.list());
    let pinned = sample.signer.clone();
    sample.signer = SigningKey::from_bytes(&[8; 32]);
    let forged = sample.manifest("JOB-1-0", 0, 0, &sample.list());
    sample.signer = pinned;
    let other_drive = sample.manifest("OTHER", 0, 0, &sample.list());
    let other_set = sample.manifest("JOB-1-0", 3, 0, &sample.list());
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let drive = &journey.drives[0].0;
    let put = |bytes: &[u8]| {
        let length = bytes.len() as u64;
        journey.agent.put_manifest(&journey.job, drive, length, &mut &*bytes)
    };
    let announce = |bytes: &[u8]| {
        let mut request = journey.request();
        request.drive_list[0].manifest_hash = hash(bytes);
        journey.agent.create_job(&journey.job, &request).unwrap();
    };
    for refused in [&forged, &other_drive, &other_set, &b"nonsense".to_vec()] {
        announce(refused);
        assert_eq!(code(put(refused)), Code::ManifestRefused);
        let job = journey.agent.job(&journey.job).unwrap();
        assert!(!job.drive_list[0].manifest_received);
        assert!(journey.dock.manifest(&journey.job, drive).is_err());
    }
    announce(&good);
    assert_eq!(code(put(&forged)), Code::ManifestHashMismatch);
    put(&good).unwrap();
    put(&good).unwrap();
    let stream = journey.dock.manifest(&journey.job, drive).unwrap();
    assert_eq!(journey.dock.read_all(stream, 1 << 20).unwrap(), good);
    assert_eq!(
        code(journey.agent.put_manifest(&journey.job, &"NONE".parse().unwrap(), 1, &mut &b"x"[..])),
        Code::DriveNotInJob
    );
}

#[test]
fn an_inventory_is_believed_only_from_the_job_s_signer() {
    let site = Site::new();
    let mut sample = Sample::new("inventory", 3);
    let good = sample.inventory();
    let pinned = sample.signer.clone();
    sample.signer = SigningKey::from_bytes(&[8; 32]);
    let forged = sample.inventory();
    sample.signer = pinned;
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let put =
        |bytes: &[u8]| journey.agent.put_inventory(&journey.job, bytes.len() as u64, &mut &*bytes);
    assert_eq!(code(put(&forged)), Code::ManifestRefused);
    assert!(!journey.agent.job(&journey.job).unwrap().inventory_received);
    put(&good).unwrap();
    assert_eq!(code(put(&forged)), Code::ManifestRefused);
    assert!(journey.agent.job(&journey.job).unwrap().inventory_received);
    let stream = journey.dock.inventory(&journey.job).unwrap();
    assert_eq!(journey.dock.read_all(stream, 1 << 20).unwrap(), good);
}

#[test]
fn the_server_looks_for_itself_what_has_landed() {
    let site = Site::new();
    let sample = Sample::new("looks", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    journey.ship("TRACK1");
    journey.receive("TRACK1");
    let pack = sample.list().iter().find(|o| o.kind == ObjectKind::Pack).unwrap().key();
    let status = journey.import(0, &[pack]);
    assert_eq!(status.state, DriveState::CompletedMoreInfo);
    assert_eq!(status.copy_status, Some(CopyStatus::CompletedWithErrors));
    assert_eq!((status.failure_count, status.failures[0].key.clone()), (1, pack.to_string()));
    // Read again, with the dock's own words about what it could not read.
    journey.event(0, &DriveEvent::Started);
    let failures = vec![
        Failure { key: pack.to_string(), reason: "the drive reads nothing there".into() },
        Failure { key: sample.list()[0].key().to_string(), reason: "a lie".into() },
    ];
    let status =
        journey.event(0, &DriveEvent::Finished { bytes: u64::MAX, failures, rebuilt: None });
    assert_eq!(status.failure_count, 1);
    assert_eq!(status.failures[0].reason, "the drive reads nothing there");
    let status = journey.import(0, &[]);
    assert_eq!((status.state, status.failure_count), (DriveState::Completed, 0));
}

#[test]
fn the_dock_handles_only_drives_of_jobs_that_have_arrived() {
    let site = Site::new();
    let sample = Sample::new("dock", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.create();
    let (drive, started) = (&journey.drives[0].0, DriveEvent::Started);
    let event = |event| journey.dock.drive_event(&journey.job, drive, event);
    assert_eq!(code(event(&started)), Code::JobState);
    let request =
        |number: &str, drives| ReceiveRequest { tracking_number: number.parse().unwrap(), drives };
    assert_eq!(code(journey.dock.receive(&request("TRACK9", None))), Code::ResourceNotFound);
    journey.ship("TRACK1");
    assert_eq!(code(event(&started)), Code::JobState);
    let one = Some(vec![drive.clone()]);
    let job = journey.dock.receive(&request("TRACK1", one)).unwrap();
    assert_eq!(job.drive_list[1].state, DriveState::NeverReceived);
    let finished = DriveEvent::Finished { bytes: 1, failures: vec![], rebuilt: None };
    assert_eq!(code(event(&finished)), Code::JobState);
    let stranger = "STRANGER".parse().unwrap();
    let error = journey.dock.drive_event(&journey.job, &stranger, &started);
    assert_eq!(code(error), Code::DriveNotInJob);
    event(&started).unwrap();
    let log = b"{\"object\":1}\n";
    let put = |drive| {
        journey.dock.put_copy_log(&journey.job, drive, log.len() as u64, &mut log.as_slice())
    };
    put(drive).unwrap();
    assert_eq!(code(put(&stranger)), Code::DriveNotInJob);
    let path = format!("accounts/seedacct/waimportexport/job-1/{drive}.copylog.jsonl");
    assert_eq!(std::fs::read(site.objects().join(path)).unwrap(), log);
}

#[test]
fn a_job_belongs_to_its_agent() {
    let site = Site::new();
    let sample = Sample::new("mine", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let other = site.agent("vault1", "fs02");
    assert_eq!(code(other.job(&journey.job)), Code::ResourceNotFound);
    assert!(other.jobs().unwrap().is_empty());
    let cancel = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
    assert_eq!(code(other.patch_job(&journey.job, &cancel)), Code::ResourceNotFound);
    assert_eq!(code(other.create_job(&journey.job, &journey.request())), Code::AuthorizationFailed);
    let mut request = journey.request();
    request.server = "fs02".parse().unwrap();
    assert_eq!(code(other.create_job(&journey.job, &request)), Code::AlreadyExists);
    assert_eq!(journey.dock.jobs().unwrap().len(), 1);
}

#[test]
fn creating_again_changes_a_job_until_it_is_shipped() {
    let site = Site::new();
    let sample = Sample::new("again", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let first = journey.create();
    let same = journey.agent.create_job(&journey.job, &journey.request()).unwrap();
    assert!(same.drive_list[0].manifest_received && same.version > first.version);
    let mut more = journey.request();
    more.drive_list.push(DriveRequest {
        role: model::DriveRole::Data,
        drive_id: "MORE".parse().unwrap(),
        manifest_hash: hash(b"more"),
        bit_locker_key: None,
        drive_header_hash: None,
    });
    let changed = journey.agent.create_job(&journey.job, &more).unwrap();
    assert_eq!(changed.drive_list.len(), 2);
    assert!(changed.drive_list[0].manifest_received, "a manifest stays with its drive");
    journey.agent.create_job(&journey.job, &journey.request()).unwrap();
    journey.ship("TRACK1");
    assert_eq!(code(journey.agent.create_job(&journey.job, &more)), Code::JobState);
    let again = journey.agent.create_job(&journey.job, &journey.request()).unwrap();
    assert_eq!(again.state, JobState::Shipping);
}

#[test]
fn of_two_changes_of_one_version_one_is_told() {
    let site = Site::new();
    let sample = Sample::new("race", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let version = journey.agent.job(&journey.job).unwrap().version;
    let patch = |number: &str| JobPatch {
        version: Some(version),
        delivery_package: Some(package(number)),
        ..JobPatch::default()
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (journey, patch) = (&journey, patch(&format!("TRACK{n}")));
                scope.spawn(move || journey.agent.patch_job(&journey.job, &patch))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.into_iter().all(|lost| code(lost) == Code::ConcurrentChange));
}

#[test]
fn a_request_against_the_rules_is_refused() {
    let site = Site::new();
    let sample = Sample::new("rules", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    let create = |change: &dyn Fn(&mut wire::JobRequest)| {
        let mut request = journey.request();
        change(&mut request);
        code(journey.agent.create_job(&journey.job, &request))
    };
    let unknown = create(&|r| r.storage_account = "nobody".parse().unwrap());
    assert_eq!(unknown, Code::ResourceNotFound);
    assert_eq!(create(&|r| r.diagnostics = Some(container())), Code::InvalidRequest);
    assert_eq!(create(&|r| (r.seed.set, r.seed.sets) = (2, Some(2))), Code::InvalidRequest);
    let twice = create(&|r| {
        let drive = r.drive_list[0].clone();
        r.drive_list.push(drive);
    });
    assert_eq!(twice, Code::InvalidRequest);
    journey.create();
    let mut request = journey.request();
    request.drive_list[0].drive_id = "ELSE".parse().unwrap();
    let error = journey.agent.create_job(&"job-2".parse().unwrap(), &request);
    assert_eq!(code(error), Code::AlreadyExists, "one job for a drive set");
}
