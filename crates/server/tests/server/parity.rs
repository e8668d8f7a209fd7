//! Parity drives in import jobs: what the server counts for them, and what it no longer waits for.

use crate::jobs::code;
use crate::publication::settled;
use crate::sample::{Journey, Sample, patch_to_ship};
use crate::site::Site;
use model::{DriveRole, JobName};
use wire::{
    Code, DriveEvent, DriveState, JobState, PublicationState, ReadDrive, Rebuilt, RebuiltDrive,
    ReceiveRequest,
};

/// Two data drives and one of parity; the second data drive is not in the package.
fn without_the_second<'a>(site: &Site, sample: &'a Sample) -> Journey<'a> {
    let mut hands = sample.dealt(2);
    hands.push(Vec::new());
    let journey = Journey { parity: true, ..Journey::new(site, sample, "job-1", &hands) };
    journey.create();
    let inventory = sample.inventory();
    let length = inventory.len() as u64;
    journey.agent.put_inventory(&journey.job, length, &mut inventory.as_slice()).unwrap();
    journey.ship("TRACK1");
    let here = [0, 2].map(|n: usize| journey.drives[n].0.clone()).to_vec();
    let request = ReceiveRequest { tracking_number: "TRACK1".parse().unwrap(), drives: Some(here) };
    journey.dock.receive(&request).unwrap();
    journey
}

fn rebuilt(journey: &Journey<'_>) -> Rebuilt {
    let drives = vec![RebuiltDrive {
        drive_id: journey.drives[1].0.clone(),
        objects: journey.drives[1].1.len() as u64,
        bytes: 77,
    }];
    let from = vec![ReadDrive { drive_id: journey.drives[2].0.clone(), bytes: 1 << 20 }];
    Rebuilt { drives, account_bytes: 5, from }
}

/// What rebuilding brings, as far as the server sees it.
fn bring(journey: &Journey<'_>, but: usize) {
    let landing = journey.landing();
    for object in journey.drives[1].1.iter().skip(but) {
        let found = journey.sample.objects.iter().find(|(other, _)| other == object);
        landing.put(&object.key(), &found.unwrap().1).unwrap();
    }
}

#[test]
fn a_parity_drive_counts_everything_of_the_set_and_makes_up_for_one_that_never_came() {
    let site = Site::new();
    let sample = Sample::new("parity", 4);
    let journey = without_the_second(&site, &sample);
    let job = journey.agent.job(&journey.job).unwrap();
    let roles: Vec<_> = job.drive_list.iter().map(|drive| drive.role).collect();
    assert_eq!(roles, [DriveRole::Data, DriveRole::Data, DriveRole::Parity]);
    assert_eq!(journey.import(0, &[]).state, DriveState::Completed);
    // What parity may still bring is not asked for in another way.
    let early = settled(&journey);
    assert_eq!(early.state, PublicationState::Waiting);
    assert!(early.missing_count > 0);
    assert_eq!(early.wanted_count, 0, "{early:?}");

    journey.event(2, &DriveEvent::Started);
    bring(&journey, 2);
    let finished =
        DriveEvent::Finished { bytes: 77, failures: Vec::new(), rebuilt: Some(rebuilt(&journey)) };
    let status = journey.event(2, &finished);
    assert_eq!((status.state, status.failure_count), (DriveState::CompletedMoreInfo, 2));
    let named: Vec<_> = status.failures.iter().map(|failure| failure.key.clone()).collect();
    let mut missing: Vec<_> =
        journey.drives[1].1[..2].iter().map(|object| object.key().to_string()).collect();
    missing.sort();
    assert_eq!(named, missing);

    // What it could not bring is.
    assert_eq!(settled(&journey).wanted_count, 2);

    journey.event(2, &DriveEvent::Started);
    bring(&journey, 0);
    // A lost answer: the same is said again. Then one that had nothing left to do.
    journey.event(2, &finished);
    let status = journey.event(2, &finished);
    assert_eq!((status.state, status.failure_count), (DriveState::Completed, 0));
    assert_eq!((status.bytes_succeeded, status.role), (77, DriveRole::Parity));
    assert_eq!(status.rebuilt, Some(rebuilt(&journey)));
    let job = journey.agent.job(&journey.job).unwrap();
    assert_eq!(job.state, JobState::Packaging);
    assert_eq!(job.drive_list[1].state, DriveState::NeverReceived);

    let published = settled(&journey);
    assert_eq!(published.state, PublicationState::Published, "{published:?}");
    for n in [0, 2] {
        journey.event(n, &DriveEvent::Returned);
    }
    assert_eq!(journey.agent.job(&journey.job).unwrap().state, JobState::Completed);
}

#[test]
fn a_drive_that_is_not_there_after_all_is_not_waited_for() {
    let site = Site::new();
    let sample = Sample::new("never", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.create();
    journey.ship("TRACK1");
    journey.receive("TRACK1");
    let status = journey.event(1, &DriveEvent::NeverCame);
    assert_eq!(status.state, DriveState::NeverReceived);
    journey.import(0, &[]);
    assert_eq!(journey.agent.job(&journey.job).unwrap().state, JobState::Packaging);
    assert_eq!(journey.event(1, &DriveEvent::Came).state, DriveState::Received);
}

#[test]
fn parity_that_was_at_home_comes_as_a_job_of_its_own_and_counts_for_its_set() {
    let site = Site::new();
    let sample = Sample::new("held", 4);
    let mut hands = sample.dealt(2);
    hands.push(Vec::new());
    let journey = Journey { parity: true, ..Journey::new(&site, &sample, "job-1", &hands) };
    let alone: JobName = "job-2".parse().unwrap();
    let (mut data, mut parity) = (journey.request(), journey.request());
    data.drive_list.truncate(2);
    parity.drive_list.drain(..2);
    // Nobody knows yet what it is parity of.
    assert_eq!(code(journey.agent.create_job(&alone, &parity)), Code::InvalidRequest);
    let put = |job: &JobName, n: usize| {
        let (serial, bytes) = (&journey.drives[n].0, journey.manifest(n));
        journey.agent.put_manifest(job, serial, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
    };
    journey.agent.create_job(&journey.job, &data).unwrap();
    put(&journey.job, 0);
    put(&journey.job, 1);
    let inventory = sample.inventory();
    let length = inventory.len() as u64;
    journey.agent.put_inventory(&journey.job, length, &mut inventory.as_slice()).unwrap();
    journey.ship("TRACK1");
    let receive = |number: &str, n: usize| {
        let drives = Some(vec![journey.drives[n].0.clone()]);
        let request = ReceiveRequest { tracking_number: number.parse().unwrap(), drives };
        journey.dock.receive(&request).unwrap()
    };
    receive("TRACK1", 0);
    assert_eq!(journey.import(0, &[]).state, DriveState::Completed);
    // What is at home travels with nothing: all of the lost drive is asked for.
    let lost = journey.drives[1].1.len() as u64;
    assert_eq!(settled(&journey).wanted_count, lost);

    journey.agent.create_job(&alone, &parity).unwrap();
    put(&alone, 2);
    assert_eq!(settled(&journey).wanted_count, 0, "it may come by parity now");
    journey.agent.patch_job(&alone, &patch_to_ship("TRACK2")).unwrap();
    assert_eq!(receive("TRACK2", 2).state, JobState::Received);
    let event =
        |event: &DriveEvent| journey.dock.drive_event(&alone, &journey.drives[2].0, event).unwrap();
    event(&DriveEvent::Started);
    bring(&journey, 1);
    let rebuilt = Some(rebuilt(&journey));
    let finished = DriveEvent::Finished { bytes: 77, failures: Vec::new(), rebuilt };
    assert_eq!(event(&finished).failure_count, 1);
    assert_eq!(settled(&journey).wanted_count, 1, "nothing more comes by parity");
    event(&DriveEvent::Started);
    bring(&journey, 0);
    assert_eq!(event(&finished).state, DriveState::Completed);
    assert_eq!(settled(&journey).state, PublicationState::Published);
    event(&DriveEvent::Returned);
    assert_eq!(journey.agent.job(&alone).unwrap().state, JobState::Completed);
}

#[test]
fn a_manifest_of_another_role_than_announced_is_refused() {
    let site = Site::new();
    let sample = Sample::new("role", 4);
    let mut hands = sample.dealt(1);
    hands.push(Vec::new());
    let journey = Journey { parity: true, ..Journey::new(&site, &sample, "job-1", &hands) };
    let mut request = journey.request();
    request.drive_list.iter_mut().for_each(|drive| drive.role = DriveRole::Data);
    journey.agent.create_job(&journey.job, &request).unwrap();
    let put = |n: usize| {
        let (serial, manifest) = (&journey.drives[n].0, journey.manifest(n));
        let length = manifest.len() as u64;
        journey.agent.put_manifest(&journey.job, serial, length, &mut manifest.as_slice())
    };
    put(0).unwrap();
    assert_eq!(code(put(1)), Code::ManifestRefused);
    journey.agent.create_job(&journey.job, &journey.request()).unwrap();
    put(1).unwrap();
}
