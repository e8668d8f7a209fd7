//! The resource manager over HTTPS: what Azure's own clients do not try, because they are well-behaved.

use crate::moved::Moved;
use crate::sample::{Journey, Sample};
use crate::site::{Answer, Site, raw};
use serde_json::{Value, json};
use ureq::http::Method;
use wire::Credentials;

const VERSION: &str = "api-version=2021-01-01";

/// A server with a group `rg1` and an account in it, as its administrator sees it.
struct Place {
    site: Site,
    known: Credentials,
    moved: Moved,
}

impl Place {
    fn new() -> Self {
        let moved = Moved::default();
        let site = Site::with(|config| moved.set(config));
        let known = site.admin().credentials().clone();
        let place = Self { site, known, moved };
        assert_eq!(
            place
                .put("/subscriptions/{s}/resourcegroups/rg1", &json!({"location": "westus"}))
                .status,
            201
        );
        let account = place.put(&place.account(), &json!({"location": "westus"}));
        assert_eq!(account.status, 200, "{}", text(&account));
        place
    }

    fn account(&self) -> String {
        "/subscriptions/{s}/resourceGroups/rg1/providers/Microsoft.Storage/storageAccounts/acct01"
            .to_owned()
    }

    fn job(name: &str) -> String {
        format!(
            "/subscriptions/{{s}}/resourceGroups/rg1/providers/Microsoft.ImportExport/jobs/{name}"
        )
    }

    fn path(&self, path: &str) -> String {
        let path = path.replace("{s}", self.known.subscription_id.as_deref().unwrap());
        let joint = if path.contains('?') { '&' } else { '?' };
        if path.contains("api-version") { path } else { format!("{path}{joint}{VERSION}") }
    }

    fn ask(&self, method: &Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let auth = Some((self.known.user.as_str(), self.known.token.as_str()));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        raw(&self.known, auth, method, &self.path(path), headers, body.as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&Method::GET, path, &[], &Value::Null)
    }

    fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(&Method::PUT, path, &[], body)
    }

    fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask(&Method::PATCH, path, &[], body)
    }

    fn body(&self, drive: &str) -> Value {
        json!({"location": "westus", "properties": {
            "storageAccountId": self.path(&self.account()).split('?').next(), "jobType": "Import",
            "returnAddress": {"recipientName": "Ops", "streetAddress1": "1 Main St", "city": "Oslo",
                "postalCode": "0150", "countryOrRegion": "NO", "phone": "1", "email": "a@example.org"},
            "driveList": [{"driveId": drive, "bitLockerKey": "111111-222222"}],
        }})
    }

    fn create(&self, name: &str, drive: &str) {
        let answer = self.put(&Self::job(name), &self.body(drive));
        assert_eq!(answer.status, 201, "{}", text(&answer));
    }

    fn ship(&self, name: &str, number: &str) -> Answer {
        let package = json!({"carrierName": "FedEx", "trackingNumber": number});
        self.patch(
            &Self::job(name),
            &json!({"properties": {"state": "Shipping", "deliveryPackage": package}}),
        )
    }

    fn state(&self, name: &str) -> String {
        json_of(&self.get(&Self::job(name)))["properties"]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Timers are looked at when a server starts.
    fn after(&mut self, days: i64) {
        self.moved.to(days);
        self.site.stop();
        self.site.start(|config| self.moved.set(config));
        self.known = self.site.admin().credentials().clone();
    }

    /// Beside the first requests.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !holds() {
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "{what}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, json_of(answer)["error"]["code"].as_str()),
        (status, Some(code)),
        "{}",
        text(answer)
    );
}

#[test]
fn paths_are_read_in_any_case_and_with_too_many_slashes() {
    let place = Place::new();
    place.create("job-1", "D1");
    for path in [
        "/SUBSCRIPTIONS/{s}/ResourceGroups/RG1/Providers/MICROSOFT.importexport/JOBS/Job-1",
        "//subscriptions//{s}/resourcegroups/rg1/providers/microsoft.importexport/jobs//job-1/",
    ] {
        assert_eq!(place.get(path).status, 200, "{path}");
    }
    let upper = place.known.subscription_id.clone().unwrap().to_uppercase();
    assert_eq!(place.get(&format!("/subscriptions/{upper}/resourcegroups")).status, 200);
    assert_eq!(place.get("//metadata/endpoints").status, 200);
}

#[test]
fn versions_are_those_there_are() {
    let place = Place::new();
    let jobs = "/subscriptions/{s}/providers/Microsoft.ImportExport/jobs?api-version=";
    for version in ["2016-11-01", "2020-08-01", "2021-01-01"] {
        assert_eq!(place.get(&format!("{jobs}{version}")).status, 200);
    }
    refused(&place.get(&format!("{jobs}2019-01-01")), 400, "InvalidApiVersionParameter");
    refused(&place.get(jobs), 400, "MissingApiVersionParameter");
    assert_eq!(
        place.get("/subscriptions/{s}/resourcegroups?api-version=2099-12-31-preview").status,
        200
    );
    refused(
        &place.get("/subscriptions/{s}/resourcegroups?api-version=new"),
        400,
        "InvalidApiVersionParameter",
    );
}

#[test]
fn bodies_of_the_wrong_type_and_size_are_refused_and_change_nothing() {
    let place = Place::new();
    let with = |key: &str, value: Value| {
        let mut body = place.body("D1");
        body["properties"][key] = value;
        body
    };
    for (key, value) in [
        ("jobType", json!("Sideways")),
        ("jobType", json!(7)),
        ("state", json!("Completed")),
        ("storageAccountId", json!("acct01")),
        ("driveList", json!([])),
        ("driveList", json!({})),
        ("driveList", json!([{"driveId": "a b"}])),
        ("driveList", json!([{"driveId": "D1", "manifestHash": "xyz"}])),
        ("driveList", json!([{"driveId": "D1", "driveHeaderHash": "0:1"}])),
        ("driveList", json!([{"driveId": "D1", "bitLockerKey": "x".repeat(300)}])),
        ("logLevel", json!("Loud")),
        ("returnAddress", json!({"recipientName": "Ops"})),
        ("returnShipping", json!({"carrierName": "FedEx"})),
        ("deliveryPackage", json!({"carrierName": "FedEx", "trackingNumber": "?"})),
        ("encryptionKey", json!({"kekType": "CustomerManaged"})),
        ("export", json!({"blobList": {"blobPath": ["a"]}})),
        ("diagnosticsPath", json!("x".repeat(2000))),
        ("cancelRequested", json!(true)),
    ] {
        let answer = place.put(&Place::job("job-1"), &with(key, value.clone()));
        assert_eq!(answer.status, 400, "{key}: {value}: {}", text(&answer));
    }
    for name in ["J", "Job", "1job", &"j".repeat(65)] {
        let answer = place.put(&Place::job(name), &place.body("D1"));
        assert_eq!(answer.status, 400, "{name}: {}", text(&answer));
    }
    for body in [&b"["[..], b"[]", b"7", b"null", b"{\"properties\": []}", &[b'['; 100_000]] {
        let auth = Some((place.known.user.as_str(), place.known.token.as_str()));
        let path = place.path(&Place::job("job-1"));
        assert_eq!(raw(&place.known, auth, &Method::PUT, &path, &[], body).status, 400);
    }
    refused(&place.get(&Place::job("job-1")), 404, "ResourceNotFound");
    place.create("job-1", "D1");
    for patch in [
        json!({"properties": {"state": "Received"}}),
        json!({"properties": {"cancelRequested": false}}),
        json!({"tags": {"a": 1}}),
    ] {
        let answer = place.patch(&Place::job("job-1"), &patch);
        assert_eq!(answer.status, 400, "{patch}: {}", text(&answer));
    }
    let export = json!({"location": "westus", "properties": {"storageAccountId": place.body("x")["properties"]["storageAccountId"],
        "jobType": "Export"}});
    refused(&place.put(&Place::job("export-1"), &export), 400, "InvalidRequestContent");
}

#[test]
fn of_two_who_have_read_the_same_version_one_is_told() {
    let place = Place::new();
    place.create("job-1", "D1");
    let etag = place.get(&Place::job("job-1")).header("etag").to_owned();
    let tags = json!({"tags": {"a": "b"}});
    let job = Place::job("job-1");
    let with = |etag: &str| place.ask(&Method::PATCH, &job, &[("if-match", etag)], &tags);
    assert_eq!(with(&etag).status, 200);
    refused(&with(&etag), 412, "PreconditionFailed");
    assert_eq!(with("*").status, 200);
    refused(
        &place.ask(&Method::DELETE, &job, &[("if-match", &etag)], &Value::Null),
        412,
        "PreconditionFailed",
    );
}

#[test]
fn of_many_at_the_same_moment_every_one_is_stored_or_told() {
    let place = Place::new();
    place.create("job-1", "D1");
    let statuses: Vec<(usize, u16)> = std::thread::scope(|scope| {
        let one = |n: usize| {
            let place = &place;
            scope.spawn(move || {
                let tags = json!({"tags": {format!("t{n}"): "x"}});
                (n, place.patch(&Place::job("job-1"), &tags).status)
            })
        };
        let all: Vec<_> = (0..16).map(one).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|(_, status)| [200, 409].contains(status)), "{statuses:?}");
    let stored = statuses.iter().filter(|(_, status)| *status == 200).count();
    assert!(stored >= 1, "{statuses:?}");
    let version = place.get(&Place::job("job-1")).header("etag").to_owned();
    assert_eq!(version, format!("\"{}\"", stored + 1), "each that was stored is one version");
}

#[test]
fn a_job_that_is_not_shipped_expires_and_its_record_goes() {
    let mut place = Place::new();
    place.create("job-1", "D1");
    place.after(12);
    place.until("a warning", || text(&place.get("/api/v1/notices")).contains("expires unless"));
    assert_eq!(place.state("job-1"), "Creating");
    place.after(15);
    place.until("expired", || place.state("job-1") == "Canceled");
    // The drive may travel with another job now.
    place.create("job-2", "D1");
    place.after(15 + 91);
    place.until("forgotten", || place.get(&Place::job("job-1")).status == 404);
    let audit = text(&place.get("/api/v1/audit"));
    assert!(audit.contains("\"PUT\"") && audit.contains("127.0.0.1"), "{audit}");
}

#[test]
fn a_package_that_does_not_come_is_told_of_and_closed() {
    let mut place = Place::new();
    place.create("job-1", "D1");
    assert_eq!(place.ship("job-1", "TRACK-1").status, 200);
    place.after(15);
    let drive =
        || json_of(&place.get(&Place::job("job-1")))["properties"]["driveList"][0]["state"].clone();
    place.until("overdue", || drive() == json!("NeverReceived"));
    assert_eq!(place.state("job-1"), "Shipping");
    let notices = text(&place.get("/api/v1/notices"));
    assert!(notices.contains("operator") && notices.contains("customer"), "{notices}");
    place.after(15 + 31);
    place.until("given up", || place.state("job-1") == "Closed");
}

#[test]
fn keys_outlive_their_job() {
    let place = Place::new();
    place.create("job-1", "D1");
    let keys = format!("{}/listBitLockerKeys", Place::job("job-1"));
    let answer = place.ask(&Method::POST, &keys, &[], &Value::Null);
    assert_eq!(json_of(&answer)["value"][0]["bitLockerKey"], "111111-222222");
    // Listed anew without its key, a drive keeps it.
    let list = json!({"properties": {"driveList": [{"driveId": "D1"}, {"driveId": "D2"}]}});
    assert_eq!(place.patch(&Place::job("job-1"), &list).status, 200);
    let answer = place.ask(&Method::POST, &keys, &[], &Value::Null);
    assert_eq!(json_of(&answer)["value"][0]["bitLockerKey"], "111111-222222", "{}", text(&answer));
    assert_eq!(place.ask(&Method::DELETE, &Place::job("job-1"), &[], &Value::Null).status, 200);
    let database = place.site.data().join("packmule.db");
    let bytes = std::fs::read(database).unwrap();
    assert!(!bytes.windows(13).any(|window| window == b"111111-222222"), "a key in the clear");
}

#[test]
fn a_job_of_the_drive_preparation_is_seen_and_keeps_its_drives() {
    let place = Place::new();
    let sample = Sample::new("seen", 3);
    let journey = Journey::new(&place.site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    let job =
        "/subscriptions/{s}/resourceGroups/packmule/providers/Microsoft.ImportExport/jobs/job-1";
    let seen = json_of(&place.get(job));
    assert_eq!(seen["properties"]["state"], "Creating", "{seen}");
    assert_eq!(seen["properties"]["driveList"][0]["driveId"], journey.drives[0].0.as_str());
    let account = seen["properties"]["storageAccountId"].as_str().unwrap();
    assert!(
        account.contains("/resourceGroups/packmule/providers/Microsoft.Storage/storageAccounts/"),
        "{account}"
    );
    refused(&place.put(job, &place.body("D1")), 409, "Conflict");
    let drives = json!({"properties": {"driveList": [{"driveId": "D1"}]}});
    refused(&place.patch(job, &drives), 409, "JobState");
    let tags = json!({"tags": {"a": "b"}, "properties": {"returnShipping": {"carrierName": "FedEx", "carrierAccountNumber": "1"}}});
    let changed = json_of(&place.patch(job, &tags));
    assert_eq!(changed["properties"]["returnShipping"]["carrierName"], "FedEx", "{changed}");
    journey.ship("TRACK-1");
    journey.receive("TRACK-1");
    assert_eq!(json_of(&place.get(job))["properties"]["state"], "Received");
    refused(&place.ask(&Method::DELETE, job, &[], &Value::Null), 409, "JobState");
    // Its name is taken for everybody else.
    refused(&place.put(&Place::job("job-1"), &place.body("D1")), 409, "Conflict");
}

#[test]
fn a_dock_receives_a_job_without_a_seed_and_takes_nothing_from_it() {
    let place = Place::new();
    place.create("job-1", "D1");
    assert_eq!(place.ship("job-1", "TRACK-9").status, 200);
    let dock = place.site.dock();
    let request =
        wire::ReceiveRequest { tracking_number: "track 9".parse().unwrap(), drives: None };
    let job = dock.receive(&request).unwrap();
    assert_eq!((job.carries.is_none(), job.state), (true, wire::JobState::Received));
    let event = wire::DriveEvent::Finished { bytes: 1, failures: Vec::new(), rebuilt: None };
    let error = dock.drive_event(&job.name, &"D1".parse().unwrap(), &event).unwrap_err();
    assert!(error.to_string().contains("carries no seed"), "{error}");
}

#[test]
fn grants_give_what_they_say_and_nothing_beside() {
    let place = Place::new();
    let auth = |user: &str, token: &str| {
        let path = place.path("/subscriptions/{s}/resourcegroups");
        raw(&place.known, Some((user, token)), &Method::GET, &path, &[], b"").status
    };
    assert_eq!(auth("admin", "wrong"), 401);
    let agent = place.site.agent("vault1", "fs01");
    let credentials = agent.credentials();
    assert_eq!(auth(&credentials.user, &credentials.token), 403);
    let answer = raw(&place.known, None, &Method::GET, &place.path("/subscriptions"), &[], b"");
    assert!(answer.header("www-authenticate").starts_with("Bearer authorization_uri=\"https://"));
    refused(&answer, 401, "AuthenticationFailed");
}
