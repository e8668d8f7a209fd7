//! An import job as it changes: who is told, what, and when it ends.

use crate::sample::{Journey, Sample};
use crate::site::{Site, basic, own, raw, tls};
use client::{Client, Told};
use model::JobName;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use ureq::http::Method;
use wire::{Code, DriveEvent, Job, JobPatch, JobState};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
/// So long a stream is listened to that should say nothing: longer than the server waits between two looks.
const QUIET: Duration = Duration::from_secs(5);

/// A stream that is read by a thread of its own.
struct Listening(Receiver<Told>);

impl Listening {
    fn start(client: &Client, job: &JobName, seen: Option<u64>) -> Self {
        let watch = client.watch_job(job, seen).unwrap();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            watch.map_while(Result::ok).try_for_each(|told| sender.send(told))
        });
        Self(receiver)
    }

    #[track_caller]
    fn next(&self) -> Told {
        self.0.recv_timeout(LONG).unwrap()
    }

    #[track_caller]
    fn job(&self) -> Job {
        match self.next() {
            Told::Job(job) => *job,
            told => panic!("{told:?}"),
        }
    }

    #[track_caller]
    fn is_quiet(&self) {
        assert_eq!(self.0.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout));
    }

    #[track_caller]
    fn is_over(&self) {
        assert_eq!(self.0.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }
}

const TRACK: &str = "TRACK-1";

#[test]
fn a_watched_job_is_told_at_once_and_each_time_that_it_changes() {
    let site = Site::new();
    let sample = Sample::new("watched", 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.create();
    let watches = [&journey.agent, &journey.dock, &site.admin()]
        .map(|it| Listening::start(it, &journey.job, None));
    let all = || {
        let job = journey.agent.job(&journey.job).unwrap();
        for watch in &watches {
            assert_eq!(watch.job(), job);
        }
    };
    all();
    journey.ship(TRACK);
    let began = Instant::now();
    all();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "it is told, not found: {:?}",
        began.elapsed()
    );
    journey.receive(TRACK);
    all();
    journey.event(0, &DriveEvent::Started);
    all();
    journey.event(0, &DriveEvent::Progress { bytes: 30, total: 60 });
    let told = watches.each_ref().map(|watch| watch.job().drive_list[0].percent_complete);
    assert_eq!(told, [50; 3]);
}

#[test]
fn whoever_has_seen_a_version_is_not_told_it_again() {
    let site = Site::new();
    let sample = Sample::new("resumed", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let version = journey.agent.job(&journey.job).unwrap().version;
    let seen = Listening::start(&journey.agent, &journey.job, Some(version));
    let old = Listening::start(&journey.agent, &journey.job, Some(version - 1));
    assert_eq!(old.job().version, version);
    seen.is_quiet();
    journey.ship(TRACK);
    let shipped = journey.agent.job(&journey.job).unwrap();
    assert_eq!((seen.job(), old.job()), (shipped.clone(), shipped));
}

#[test]
fn what_another_process_changes_in_the_database_is_told_too() {
    let site = Site::new();
    let sample = Sample::new("replica", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let watch = Listening::start(&journey.agent, &journey.job, None);
    let before = watch.job().version;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = site.data().join("packmule.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("UPDATE import_job SET version = version + 1").execute(&pool).await.unwrap();
        pool.close().await;
    });
    assert_eq!(watch.job().version, before + 1);
}

#[test]
fn an_agent_watches_its_own_jobs_only() {
    let site = Site::new();
    let sample = Sample::new("own", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let other = site.agent("vault1", "fs02");
    for (name, client) in [("job-1", &other), ("job-2", &journey.agent)] {
        let error = client.watch_job(&name.parse().unwrap(), None).unwrap_err();
        assert_eq!(error.code(), Some(&Code::ResourceNotFound), "{name}");
    }
}

#[test]
fn a_caller_whose_token_ends_is_told_nothing_more() {
    let site = Site::new();
    let sample = Sample::new("ended", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let watch = Listening::start(&journey.agent, &journey.job, None);
    watch.job();
    let agent = site.agent("vault1", "fs01");
    let cancel = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
    assert_eq!(agent.patch_job(&journey.job, &cancel).unwrap().state, JobState::Canceled);
    watch.is_over();
}

#[test]
fn a_job_that_is_deleted_ends_its_watch() {
    let site = Site::new();
    let sample = Sample::new("deleted", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let watch = Listening::start(&journey.agent, &journey.job, None);
    watch.job();
    let cancel = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
    journey.agent.patch_job(&journey.job, &cancel).unwrap();
    let job = journey.agent.job(&journey.job).unwrap();
    assert_eq!(watch.job(), job);
    site.admin().delete_job(&job).unwrap();
    assert_eq!(watch.next(), Told::Gone);
    watch.is_over();
}

#[test]
fn only_so_many_jobs_are_watched_at_once_and_the_rest_are_told_to_come_again() {
    let site = Site::with(|config| config.event_streams = 1);
    let sample = Sample::new("many", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let watch = Listening::start(&journey.agent, &journey.job, None);
    watch.job();
    let path = "/api/v1/import-jobs/job-1/events";
    let admin = site.admin();
    let answer = raw(admin.credentials(), own(&admin), &Method::GET, path, &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (503, "Unavailable"));
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    // Its place is free as soon as the server ends it.
    site.agent("vault1", "fs01");
    watch.is_over();
    let began = Instant::now();
    while let Err(error) = admin.watch_job(&journey.job, None) {
        assert!(began.elapsed() < LONG, "{error}");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_stops_waits_for_no_watch() {
    let mut site = Site::new();
    let sample = Sample::new("stops", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let watches: Vec<_> =
        (0..8).map(|_| Listening::start(&journey.agent, &journey.job, None)).collect();
    watches.iter().for_each(|watch| assert_eq!(watch.job().name, journey.job));
    let began = Instant::now();
    site.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    watches.iter().for_each(Listening::is_over);
}

#[test]
fn a_silent_watch_is_kept_alive_by_comments() {
    use std::io::{Read as _, Write as _};
    let site = Site::new();
    let sample = Sample::new("silent", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let mut stream = tls(journey.agent.credentials());
    stream.sock.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let basic = basic(own(&journey.agent).unwrap());
    let request = format!(
        "GET /api/v1/import-jobs/job-1/events HTTP/1.1\r\nhost: x\r\nauthorization: {basic}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains("\n:\n\n") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let version = journey.agent.job(&journey.job).unwrap().version;
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(text.contains(&format!("event: job\nid: {version}\ndata: {{")), "{text}");
}
