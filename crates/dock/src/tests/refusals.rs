//! Drives and jobs that must be refused by name, with nothing copied and nothing said to the server.

use super::*;
use model::ErrorKind;
use std::os::unix::fs::symlink;

/// Imports one folder, which must be refused, and checks that nothing else has happened.
fn refusal(dock: &Dock, folder: &Path) -> Error {
    let before = tree(folder);
    let mut outcome = dock.import("job-1", &[folder.to_owned()]).unwrap();
    assert_eq!(tree(folder), before, "a refused drive is untouched");
    assert_eq!(dock.puts(), 0, "nothing is copied");
    assert_eq!(*dock.events.lock().unwrap(), [], "nothing is said about it");
    outcome.drives.remove(0).result.unwrap_err()
}

#[test]
fn a_drive_of_another_job_is_refused_with_the_name_of_that_job() {
    let (set, other) = (DriveSet::three(), DriveSet::prepare("job-2", "E", 2, &[8; 32]));
    let dock = Dock::with(&set);
    dock.jobs.lock().unwrap().push(other.job.clone());
    let refusal = refusal(&dock, &other.folders[0]);
    assert_eq!(refusal.kind(), ErrorKind::WrongDrive);
    let text = refusal.to_string();
    for word in [
        "E0",
        &other.job.carries.as_ref().unwrap().seed.id.to_string(),
        "job-1",
        "belongs to import job job-2",
    ] {
        assert!(text.contains(word), "{word} in: {text}");
    }
}

#[test]
fn a_drive_of_no_job_is_refused_even_when_the_server_cannot_say_whose_it_is() {
    let (set, other) = (DriveSet::three(), DriveSet::prepare("job-2", "E", 2, &[8; 32]));
    let dock = Dock::with(&set);
    dock.refusals.lock().unwrap().extend([None, Some(Code::InternalError)]);
    let refusal = refusal(&dock, &other.folders[0]);
    assert!(matches!(&refusal, Error::WrongDrive { other: None, .. }), "{refusal}");
}

#[test]
fn a_drive_with_the_right_serial_number_of_another_seed_is_refused() {
    let set = DriveSet::three();
    let other = DriveSet::prepare("job-2", "D", 2, &SIGNER);
    let dock = Dock::with(&set);
    assert!(matches!(refusal(&dock, &other.folders[0]), Error::WrongDrive { .. }));
}

#[test]
fn a_drive_signed_by_somebody_else_is_refused() {
    let set = DriveSet::three();
    let forged = DriveSet::prepare("job-1", "D", 1, &[66; 32]);
    let dock = Dock::with(&set);
    let refusal = refusal(&dock, &forged.folders[0]);
    assert!(matches!(refusal, Error::Drive(seed::Error::OtherSigner { .. })), "{refusal}");
    assert_eq!(refusal.kind(), ErrorKind::Denied);
}

#[test]
fn a_manifest_that_the_job_does_not_announce_is_refused() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.set_drive("D0", |drive| drive.manifest_hash = Some(Digest([1; 32])));
    assert!(matches!(refusal(&dock, &set.folders[0]), Error::OtherManifest { .. }));
}

#[test]
fn a_manifest_that_the_server_does_not_have_is_asked_for() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.set_drive("D0", |drive| drive.manifest_received = false);
    assert!(matches!(refusal(&dock, &set.folders[0]), Error::NoManifest { .. }));
}

#[test]
fn a_document_with_one_bit_changed_or_one_byte_less_is_refused() {
    let set = DriveSet::three();
    for document in ["packmule/label", "packmule/manifest"] {
        let path = set.folders[0].join(document);
        let good = fs::read(&path).unwrap();
        for at in [0, 9, 13, 40, good.len() / 2, good.len() - 97, good.len() - 70, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let refusal =
                refusal(&Dock { manifests: BTreeMap::new(), ..intact(&set) }, &set.folders[0]);
            assert!(
                matches!(
                    refusal.kind(),
                    ErrorKind::Corrupt | ErrorKind::Denied | ErrorKind::WrongDrive
                ),
                "{refusal}"
            );
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(refusal(&intact(&set), &set.folders[0]).kind(), ErrorKind::Corrupt);
        fs::remove_file(&path).unwrap();
        assert_eq!(refusal(&intact(&set), &set.folders[0]).kind(), ErrorKind::WrongDrive);
        fs::write(&path, &good).unwrap();
    }
    let dock = Dock::with(&set);
    dock.import_all(&set);
}

/// A dock that knows the job, whatever has happened to the drives since.
fn intact(set: &DriveSet) -> Dock {
    let empty = DriveSet {
        dir: tempfile::tempdir().unwrap(),
        source: Memory::new(),
        identity: set.identity,
        folders: vec![],
        job: set.job.clone(),
    };
    Dock::with(&empty)
}

#[test]
fn a_manifest_of_another_drive_of_the_set_is_refused() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let manifest = fs::read(set.folders[1].join("packmule/manifest")).unwrap();
    fs::write(set.folders[0].join("packmule/manifest"), manifest).unwrap();
    let refusal = refusal(&dock, &set.folders[0]);
    assert!(matches!(refusal, Error::Drive(seed::Error::Swapped { .. })), "{refusal}");
}

#[test]
fn a_label_behind_a_link_is_not_followed() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let hostile = set.dir.path().join("hostile");
    fs::create_dir_all(hostile.join("packmule")).unwrap();
    for document in ["label", "manifest"] {
        symlink(
            set.folders[0].join("packmule").join(document),
            hostile.join("packmule").join(document),
        )
        .unwrap();
    }
    assert_eq!(refusal(&dock, &hostile).kind(), ErrorKind::Corrupt);
    let linked = set.dir.path().join("linked");
    fs::create_dir(&linked).unwrap();
    symlink(set.folders[0].join("packmule"), linked.join("packmule")).unwrap();
    assert_eq!(refusal(&dock, &linked).kind(), ErrorKind::Corrupt);
}

#[test]
fn an_empty_folder_and_one_that_does_not_exist_are_refused() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let empty = set.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(refusal(&dock, &empty).kind(), ErrorKind::WrongDrive);
    let outcome = dock.import("job-1", &[set.dir.path().join("nowhere")]).unwrap();
    assert_eq!(outcome.drives[0].result.as_ref().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_same_drive_twice_is_refused_twice_and_the_others_go_on() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let link = set.dir.path().join("again");
    symlink(&set.folders[0], &link).unwrap();
    let given = [set.folders[0].clone(), set.folders[1].clone(), link];
    let outcome = dock.import("job-1", &given).unwrap();
    for at in [0, 2] {
        let error = outcome.drives[at].result.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongDrive);
        assert!(matches!(error, Error::GivenTwice { .. }), "{error}");
    }
    assert!(outcome.drives[1].result.as_ref().unwrap().is_complete());
    assert!(dock.events.lock().unwrap().iter().all(|(serial, _)| serial.as_str() == "D1"));
}

#[test]
fn a_stranger_with_a_drive_s_serial_number_does_not_keep_that_drive_out() {
    let set = DriveSet::three();
    let forged = DriveSet::prepare("job-1", "D", 1, &[66; 32]);
    let dock = Dock::with(&set);
    let given = [forged.folders[0].clone(), set.folders[0].clone()];
    let outcome = dock.import("job-1", &given).unwrap();
    assert_eq!(outcome.drives[0].result.as_ref().unwrap_err().kind(), ErrorKind::Denied);
    assert!(outcome.drives[1].result.as_ref().unwrap().is_complete());
}

#[test]
fn one_wrong_drive_does_not_stop_the_right_ones() {
    let (set, other) = (DriveSet::three(), DriveSet::prepare("job-2", "E", 2, &[8; 32]));
    let dock = Dock::with(&set);
    let given = [set.folders[2].clone(), other.folders[0].clone(), set.folders[0].clone()];
    let outcome = dock.import("job-1", &given).unwrap();
    assert!(!outcome.is_complete());
    let serials: Vec<_> =
        outcome.drives.iter().map(|d| d.serial.as_ref().unwrap().as_str()).collect();
    assert_eq!(serials, ["D2", "E0", "D0"], "in the order given");
    assert!(outcome.drives[0].result.is_ok() && outcome.drives[2].result.is_ok());
}

#[test]
fn a_job_that_is_not_at_the_dock_is_refused_with_what_to_do() {
    let set = DriveSet::three();
    for (state, word) in [
        (JobState::Creating, "has not shipped"),
        (JobState::Shipping, "packmule dock receive --tracking 1Z999"),
        (JobState::Completed, "new job"),
        (JobState::Closed, "new job"),
        (JobState::Canceled, "new job"),
    ] {
        let dock = Dock::with(&set);
        {
            let mut jobs = dock.jobs.lock().unwrap();
            jobs[0].state = state;
            jobs[0].delivery_package = Some(model::Package {
                carrier_name: "C".into(),
                tracking_number: "1Z999".parse().unwrap(),
                drive_count: None,
                ship_date: None,
            });
        }
        let refusal = dock.import("job-1", &set.folders).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Conflict);
        let text = refusal.to_string();
        assert!(text.contains(word) && text.contains(&format!("{state:?}")), "{text}");
        assert_eq!((dock.puts(), dock.events.lock().unwrap().len()), (0, 0));
    }
}

#[test]
fn a_cancelled_job_is_not_read() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.jobs.lock().unwrap()[0].cancel_requested = true;
    assert!(matches!(dock.import("job-1", &set.folders), Err(Error::Canceled { .. })));
    assert_eq!((dock.puts(), dock.events.lock().unwrap().len()), (0, 0));
}

#[test]
fn an_unknown_job_is_refused_in_the_server_s_words() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let refusal = dock.import("job-9", &set.folders).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::NotFound);
    assert!(refusal.to_string().contains("job-9"));
}

#[test]
fn a_drive_that_the_server_does_not_let_start_is_not_copied() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.refusals.lock().unwrap().extend([None, Some(Code::JobState)]);
    let outcome = dock.import("job-1", &set.folders[..1]).unwrap();
    assert_eq!(outcome.drives[0].result.as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(dock.puts(), 0);
}
