//! Storage accounts on other backends than the data folder: everything of theirs is there, and comes into the
//! vault as it does from within.

use crate::dataplane::Small;
use crate::publication::{
    damage, dies_before_each_step, dying_before, independent_root, receipt, repository, settled,
    there,
};
use crate::sample::{Journey, Sample, container};
use crate::site::{Answer, Site, files, on_database, own, raw, skip, vault_of};
use model::{ErrorKind, ObjectKind};
use seed::Object;
use serde_json::{Value, json};
use server::Server;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use ureq::http::Method;
use wire::{Code, PublicationState};

/// A site with a backend `archive`, on which its account is.
fn archived() -> Site {
    let site = Site::with_backends(&["archive"], |_| {});
    site.account_on("seedacct", "archive");
    site
}

#[test]
fn everything_of_an_account_is_on_its_backend() {
    let mut site = archived();
    let sample = Sample::new("elsewhere", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.travel();
    let log = b"{}";
    let drive = &journey.drives[0].0;
    journey.dock.put_copy_log(&journey.job, drive, 2, &mut log.as_slice()).unwrap();
    let landed = |key: &str| format!("seedacct/{}/{}/{key}", container(), sample.repository);
    let mut expected: Vec<String> =
        sample.list().iter().map(|object| landed(&object.key().path())).collect();
    expected.push(format!("seedacct/waimportexport/job-1/{drive}.copylog.jsonl"));
    expected.sort();
    assert_eq!(files(&site.backend("archive").join("objects/accounts")), expected);
    assert!(!site.objects().join("accounts").exists(), "and nowhere else");

    site.stop();
    site.start(|_| {});
    let journey = journey.again(&site);
    let landing = journey.landing();
    for (object, bytes) in &sample.objects {
        assert_eq!(landing.length(&object.key()).unwrap(), object.length);
        assert_eq!(&landing.get(&object.key(), 1 << 20).unwrap(), bytes);
    }
    let mut part = [0; 4];
    let (object, bytes) = sample.objects.last().unwrap();
    landing.read_at(&object.key(), 2, &mut part).unwrap();
    assert_eq!(part, bytes[2..6]);
    assert_eq!(landing.list(ObjectKind::Pack).unwrap().len(), 4);
    let elsewhere =
        journey.dock.landing_url(&"nobodys".parse().unwrap(), &container(), &sample.repository);
    let nobodys = crate::site::rest(&elsewhere, journey.dock.credentials());
    assert!(nobodys.length(&object.key()).is_err());
}

#[test]
fn a_seed_comes_into_the_vault_from_two_backends_and_stays_on_them() {
    let site = archived();
    let sample = Sample::new("both", 6);
    let hands = sample.dealt(2);
    let far = Journey::new(&site, &sample, "job-1", &hands[..1]);
    far.travel();
    let mut near = Journey::new(&site, &sample, "job-2", &hands[1..]);
    (near.set, near.account) = (1, site.account("nearacct"));
    near.travel();
    let before = files(&site.backend("archive"));
    let status = settled(&near);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    let vault = vault_of(&near.agent);
    for (object, bytes) in &sample.objects {
        assert_eq!(&vault.get(&object.key(), 1 << 20).unwrap(), bytes);
    }
    assert_eq!(receipt(&near.agent).unwrap().0.root, independent_root(&sample.list()));
    assert_eq!(files(&site.backend("archive")), before);
    assert!(files(&site.objects().join("vaults/vault1/fs01/pending")).is_empty());
}

#[test]
fn a_death_before_any_step_between_two_backends_is_continued() {
    dies_before_each_step("far", |dying| {
        let site = Site::with_backends(&["archive"], dying);
        site.account_on("seedacct", "archive");
        site
    });
}

/// Where a process was killed in the middle of a copy there is a part of it, under no object's name.
fn leave_half(pending: &Path, object: &Object, bytes: &[u8]) {
    let path = pending.join(object.key().path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let half = format!("{}#1", path.display());
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    let file = std::fs::File::options().write(true).open(half).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

#[test]
fn a_copy_that_was_cut_off_in_the_middle_is_begun_again() {
    // Step 0 is the plan; two objects are copied.
    let (dying, _) = dying_before(3);
    let mut site = Site::with_backends(&["archive"], dying);
    site.account_on("seedacct", "archive");
    let sample = Sample::new("half", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    journey.publish();
    site.stop();
    let pending = site.objects().join("vaults/vault1/fs01/pending");
    let (copied, rest): (Vec<_>, Vec<_>) =
        sample.objects.iter().partition(|(object, _)| there(&pending, object));
    assert!(copied.len() < 4 && rest.len() > 4, "{} copied", copied.len());
    rest.iter().for_each(|(object, bytes)| leave_half(&pending, object, bytes));
    assert!(!repository(&site).exists());
    site.start(|_| {});
    let journey = journey.again(&site);
    assert_eq!(settled(&journey).state, PublicationState::Published);
    assert!(sample.list().iter().all(|object| there(&repository(&site), object)));
    // What was half is removed beside the first requests.
    let began = Instant::now();
    while files(&site.objects()).iter().any(|name| name.contains('#')) {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", files(&site.objects()));
        std::thread::yield_now();
    }
}

#[test]
fn unfinished_uploads_to_a_backend_are_swept_as_well() {
    let mut site = archived();
    site.stop();
    let sample = Sample::new("swept", 1);
    let (object, bytes) = &sample.objects[0];
    let landed = site.backend("archive").join("objects/accounts/seedacct");
    leave_half(&landed, object, bytes);
    std::fs::write(site.backend("archive").join("notes#1"), "an operator's own").unwrap();
    site.start(|_| {});
    let began = Instant::now();
    while !files(&landed).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    assert!(site.backend("archive").join("notes#1").exists());
}

#[test]
fn what_has_landed_damaged_on_a_backend_is_put_aside_there_and_asked_for() {
    let site = archived();
    let sample = Sample::new("rotten", 6);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    let pack = sample.list().into_iter().find(|o| o.kind == ObjectKind::Pack).unwrap();
    let landed = format!("accounts/seedacct/seeds/{}/{}", sample.repository, pack.key());
    let archive = site.backend("archive").join("objects");
    damage(&archive.join(&landed));
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Waiting, "{status:?}");
    assert_eq!(status.missing, [pack.key().to_string()]);
    assert!(!repository(&site).exists());
    assert!(!there(&site.objects().join("vaults/vault1/fs01/pending"), &pack));
    assert!(!archive.join(&landed).exists());
    assert_eq!(files(&archive.join("damaged")), [landed]);
    assert!(!site.objects().join("damaged").exists(), "nothing damaged was taken");
    let mut again = Journey::new(&site, &sample, "job-2", &[vec![pack]]);
    again.set = 1;
    again.travel();
    assert_eq!(settled(&again).state, PublicationState::Published);
    assert!(sample.list().iter().all(|object| there(&repository(&site), object)));
}

#[test]
fn a_vault_without_room_for_a_copy_says_so_and_goes_on_with_room() {
    let site = archived();
    let sample = Sample::new(&"large ".repeat(5000), 3);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.travel();
    let Some(small) = Small::mount(site.objects().join("vaults")) else {
        skip(
            "a_vault_without_room_for_a_copy_says_so_and_goes_on_with_room",
            "mounting needs root",
        );
        return;
    };
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Failed, "{status:?}");
    assert!(status.message.unwrap().contains("full"));
    assert!(!repository(&site).exists());
    drop(small);
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    assert!(sample.list().iter().all(|object| there(&repository(&site), object)));
}

/// A request of the administrator for the account `name`, in the resource manager.
fn ask(site: &Site, method: &Method, name: &str, body: &Value) -> (Answer, Value) {
    let admin = site.admin();
    let path = format!(
        "/subscriptions/{}/resourceGroups/packmule/providers/Microsoft.Storage/storageAccounts/{name}?api-version=2023-05-01",
        admin.credentials().subscription_id.as_deref().unwrap()
    );
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = raw(admin.credentials(), own(&admin), method, &path, &[], body.as_bytes());
    let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer, value)
}

fn on(backend: &str) -> Value {
    json!({"location": "westus", "properties": {"packmuleBackend": backend}})
}

#[test]
fn an_account_is_made_on_a_backend_that_there_is_and_stays_there() {
    let site = Site::with_backends(&["archive", "cold"], |_| {});
    let shown = |name: &str| {
        let (_, account) = ask(&site, &Method::GET, name, &Value::Null);
        account["properties"]["packmuleBackend"].as_str().map(str::to_owned)
    };
    for name in ["nowhere", "../archive", "https://example.org/", ""] {
        let (answer, said) = ask(&site, &Method::PUT, "acct1", &on(name));
        assert_eq!(answer.status, 400, "{said}");
        assert_eq!(said["error"]["target"], "packmuleBackend");
    }
    let (_, said) = ask(&site, &Method::PUT, "acct1", &on("nowhere"));
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains("nowhere") && message.contains("default, archive, cold"), "{message}");
    assert_eq!(shown("acct1"), None);

    let (answer, made) = ask(&site, &Method::PUT, "acct1", &on("archive"));
    assert_eq!((answer.status, &made["properties"]["packmuleBackend"]), (200, &"archive".into()));
    let plain = json!({"location": "westus", "tags": {"a": "b"}});
    for (method, body, status) in [
        (Method::PUT, on("archive"), 200),
        (Method::PUT, plain.clone(), 200),
        (Method::PATCH, plain, 200),
        (Method::PATCH, on("archive"), 200),
        (Method::PUT, on("cold"), 409),
        (Method::PUT, on("default"), 409),
        (Method::PATCH, on("cold"), 409),
        (Method::PATCH, on("nowhere"), 400),
    ] {
        let (answer, said) = ask(&site, &method, "acct1", &body);
        assert_eq!(answer.status, status, "{method} {body}: {said}");
        assert_eq!(shown("acct1").unwrap(), "archive");
    }
    let (_, said) = ask(&site, &Method::PATCH, "acct1", &on("cold"));
    assert_eq!(said["error"]["code"], "PropertyChangeNotAllowed");
    assert!(said["error"]["message"].as_str().unwrap().contains("backend archive"));

    let admin = site.admin();
    let name = |name: &str| name.parse().unwrap();
    let create = |account, backend: &str| {
        admin.create_storage_account_on(&name(account), &backend.parse().unwrap())
    };
    assert_eq!(create("acct2", "cold").unwrap().backend.unwrap().as_str(), "cold");
    create("acct2", "cold").unwrap();
    assert_eq!(create("acct2", "archive").unwrap_err().code(), Some(&Code::AlreadyExists));
    assert_eq!(create("acct3", "nowhere").unwrap_err().code(), Some(&Code::InvalidRequest));
    let there = admin.create_storage_account(&name("acct2")).unwrap();
    assert_eq!(there.backend.unwrap().as_str(), "cold", "one that exists is answered as it is");
    admin.create_storage_account(&name("acct3")).unwrap();
    let listed: Vec<(String, String)> = admin
        .storage_accounts()
        .unwrap()
        .into_iter()
        .map(|account| (account.name.to_string(), account.backend.unwrap().to_string()))
        .collect();
    let expected = [("acct1", "archive"), ("acct2", "cold"), ("acct3", "default")];
    assert_eq!(listed, expected.map(|(name, backend)| (name.to_owned(), backend.to_owned())));
    assert_eq!(shown("acct3").unwrap(), "default");
}

#[test]
fn an_account_with_objects_on_a_backend_is_not_deleted() {
    let site = archived();
    let folder = site.backend("archive").join("objects/accounts/seedacct/seeds");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("object"), "bytes").unwrap();
    let (answer, said) = ask(&site, &Method::DELETE, "seedacct", &Value::Null);
    assert_eq!((answer.status, &said["error"]["code"]), (409, &"StorageAccountInUse".into()));
    std::fs::remove_file(folder.join("object")).unwrap();
    assert_eq!(ask(&site, &Method::DELETE, "seedacct", &Value::Null).0.status, 200);
    // Now it may be made elsewhere.
    site.account_on("seedacct", "default");
}

#[test]
fn an_account_that_a_seed_is_to_arrive_in_is_not_deleted() {
    let site = archived();
    site.copy("vault1", "fs01");
    let (answer, said) = ask(&site, &Method::DELETE, "copyacct", &Value::Null);
    assert_eq!((answer.status, &said["error"]["code"]), (409, &"StorageAccountInUse".into()));
    on_database(
        &site,
        "UPDATE seed SET announced_at = '2020-01-01T00:00:00.000000Z', announced_seen = NULL",
    );
    let (answer, _) = ask(&site, &Method::DELETE, "copyacct", &Value::Null);
    assert_eq!(answer.status, 409, "another computer was asked to write it");
    on_database(&site, "DELETE FROM copy_computer");
    assert_eq!(ask(&site, &Method::DELETE, "copyacct", &Value::Null).0.status, 200);
}

#[test]
fn a_server_does_not_start_without_a_backend_that_accounts_are_on() {
    let mut site = archived();
    site.stop();
    let mut config = site.config();
    config.backends.clear();
    let refusal = Server::start(config).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Invalid);
    let words = refusal.to_string();
    assert!(words.contains("archive") && words.contains("seedacct"), "{words}");
    let mut config = site.config();
    config.backends.insert("archive".parse().unwrap(), site.backend("empty"));
    let words = Server::start(config).unwrap_err().to_string();
    assert!(words.contains("seedacct") && words.contains("empty/backend.json"), "{words}");
    site.start(|_| {});
    assert_eq!(site.admin().storage_accounts().unwrap().len(), 1);
    let ready = || {
        let admin = site.admin();
        raw(admin.credentials(), None, &Method::GET, "/readyz", &[], b"").status
    };
    assert_eq!(ready(), 200);
    std::fs::rename(site.backend("archive"), site.backend("unmounted")).unwrap();
    assert_eq!(ready(), 500);
    std::fs::rename(site.backend("unmounted"), site.backend("archive")).unwrap();
    assert_eq!(ready(), 200);
}
