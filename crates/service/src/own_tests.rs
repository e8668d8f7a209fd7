//! Alerts of this machine's certificate and keys, settings that are read again, and one service alone.

use super::*;

#[test]
fn a_certificate_that_cannot_be_renewed_is_an_alert_before_it_ends_and_not_sooner() {
    let mut life = Life::new(Vec::new());
    *life.work.until.lock().unwrap() = Some("2026-08-01T00:00:00Z".parse().unwrap());
    life.at("2026-06-01T12:00:00Z");
    assert!(life.open().is_empty());
    life.at("2026-07-05T12:00:00Z");
    assert_eq!(life.open(), ["certificate"]);
    let alert = life.db().alerts(false).unwrap().remove(0);
    assert!(alert.text.contains("ends on 2026-08-01"), "{}", alert.text);
    life.at("2026-08-02T12:00:00Z");
    let alert = life.db().alerts(false).unwrap().remove(0);
    assert!(alert.text.contains("ended on 2026-08-01"), "{}", alert.text);
    // That another run tries it does not mean that it can.
    life.work.renewed_by_others.store(true, Ordering::Relaxed);
    life.at("2026-08-02T12:30:00Z");
    assert_eq!(life.open(), ["certificate"]);
    life.work.renewed_by_others.store(false, Ordering::Relaxed);
    *life.work.until.lock().unwrap() = None;
    life.at("2026-08-02T13:00:00Z");
    assert!(life.open().is_empty());
}

#[test]
fn a_certificate_that_is_not_good_yet_is_an_alert() {
    let mut life = Life::new(Vec::new());
    *life.work.from.lock().unwrap() = Some("2029-01-01T00:00:00Z".parse().unwrap());
    life.at("2026-06-01T12:00:00Z");
    let alert = life.db().alerts(false).unwrap().remove(0);
    assert!(alert.text.contains("begins on 2029-01-01"), "{}", alert.text);
    *life.work.from.lock().unwrap() = Some("2026-01-01T00:00:00Z".parse().unwrap());
    life.at("2026-06-01T13:00:00Z");
    assert!(life.open().is_empty());
}

#[test]
fn a_key_that_somebody_else_wants_removed_is_an_alert() {
    let mut life = Life::new(Vec::new());
    let (asked_at, due_at) = ("2026-06-01T00:00:00Z", "2026-06-15T00:00:00Z");
    let (asked_at, due_at) = (asked_at.parse().unwrap(), due_at.parse().unwrap());
    let removal = wire::KeyRemoval { key: Digest([7; 32]), asked_at, due_at };
    life.work.foreign.lock().unwrap().push(removal);
    life.at("2026-06-01T12:00:00Z");
    assert_eq!(life.open(), ["keys"]);
    life.work.foreign.lock().unwrap().clear();
    life.at("2026-06-01T12:05:00Z");
    assert!(life.open().is_empty());
}

#[test]
fn what_somebody_else_wants_deleted_is_an_alert_that_names_the_first_of_them() {
    let mut life = Life::new(Vec::new());
    let deletion = |id: u64| -> wire::Deletion {
        serde_json::from_value(serde_json::json!({
            "id": id, "server": "fs01", "subject": "vault1/fs01", "reason": "pay",
            "askedAt": "2026-06-01T00:00:00Z", "dueAt": "2026-06-15T00:00:00Z", "state": "held",
            "snapshots": 3, "indexes": 1, "packs": 4, "bytes": 5,
        }))
        .unwrap()
    };
    // The newest first, as the vault lists them.
    life.work.deletions.lock().unwrap().extend([deletion(8), deletion(7)]);
    life.at("2026-06-01T12:00:00Z");
    assert_eq!(life.open(), ["deletions"]);
    let alert = life.db().alerts(false).unwrap().remove(0);
    let says = ["6 recovery points and 8 packs", "--undelete 7", "--allow 7", "2026-06-15"];
    assert!(says.iter().all(|words| alert.text.contains(words)), "{}", alert.text);
    assert_eq!(alert.severity, Severity::Error);
    life.work.deletions.lock().unwrap().clear();
    life.at("2026-06-01T12:05:00Z");
    assert!(life.open().is_empty());
}

#[test]
fn settings_that_are_read_again_hold_at_once_and_broken_ones_change_nothing() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    let limited = |limit: &str, zone: &str| Settings {
        zone: TimeZone::get(zone).unwrap(),
        bandwidth: toml::from_str(&format!("limit = '{limit}'")).unwrap(),
        alerts: Alerts::default(),
        metrics: Metrics { listen: Some("127.0.0.1:0".parse().unwrap()) },
        ..crate::File::default().settings()
    };
    *life.next.lock().unwrap() = Ok(limited("1M", "Asia/Tokyo"));
    life.at("2026-06-01T12:30:00Z");
    assert_eq!(life.rate.get(), 0, "nobody has asked");
    life.reload("2026-06-01T12:59:59Z");
    // Ten in the evening in Tokyo.
    assert_eq!(life.at("2026-06-01T13:00:01Z"), 1);
    assert_eq!(life.rate.get(), 1 << 20);
    assert!(life.service.as_ref().unwrap().metrics_address().is_some());
    *life.next.lock().unwrap() = Err("line 3: shedule".to_owned());
    life.reload("2026-06-01T13:00:02Z");
    assert_eq!((life.rate.get(), life.open()), (1 << 20, vec!["settings".to_owned()]));
    let mut unusable = limited("9M", "UTC");
    unusable.alerts.mail = Some(toml::from_str("to = []\nfrom = 'a@b'\nserver = 'c'").unwrap());
    *life.next.lock().unwrap() = Ok(unusable);
    life.reload("2026-06-01T13:00:03Z");
    assert_eq!((life.rate.get(), life.open().len()), (1 << 20, 1));
    *life.next.lock().unwrap() = Ok(limited("2M", "UTC"));
    life.reload("2026-06-01T13:00:04Z");
    assert_eq!((life.rate.get(), life.open().len()), (2 << 20, 0));
}

#[test]
fn there_is_one_service_and_a_group_is_run_by_one_process() {
    let mut life = Life::new(vec![group("files", NIGHTLY)]);
    let options = ServiceOptions {
        state: life.folder.path().to_owned(),
        settings: crate::File::default().settings(),
        host: "fs01".to_owned(),
        work: Arc::clone(&life.work) as Arc<dyn Work>,
        rate: store::Rate::default(),
        stop: Arc::default(),
        now: Arc::new(Timestamp::now),
        reload: None,
    };
    assert!(matches!(Service::new(options), Err(Error::Second { .. })));
    let name = "files".parse().unwrap();
    let by_hand = run::lock(life.folder.path(), &name).unwrap();
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 0);
    drop(by_hand);
    assert_eq!(life.at("2026-06-01T22:00:01Z"), 1);
}
