//! Drives count as sealed once they are finished: not before, and not when that fails.

use super::*;
use crate::beneath::{Beneath, faults};
use crate::{DriveState, ReadBack, verify};
use std::io;
use std::sync::{Arc, Mutex};

/// Takes drives away when they are finished, having seen that nobody else has them.
struct Takes {
    state: PathBuf,
    said: Mutex<Vec<String>>,
}

impl Takes {
    fn new(site: &Site) -> Self {
        Self { state: site.path("state"), said: Mutex::default() }
    }

    fn say(&self, what: &str, drive: &str) {
        let kept = kept(&self.state).iter().any(|name| name.ends_with(drive));
        self.said.lock().unwrap().push(format!("{what} {drive}, kept: {kept}"));
    }
}

/// The manifests in a state folder.
fn kept(state: &Path) -> Vec<String> {
    tree(state).into_keys().filter(|name| name.starts_with("manifests/")).collect()
}

impl ReadBack for Takes {
    fn refresh(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn finish(&self, drive: &Path) -> io::Result<()> {
        assert!(drive.join("packmule/manifest").exists());
        // The lock is that of a handle.
        assert!(Beneath::open(drive)?.lock()?, "a handle on the drive is open");
        self.say("finish", drive.file_name().unwrap().to_str().unwrap());
        fs::rename(drive, drive.with_extension("out"))
    }
}

impl Events for &Takes {
    fn event(&mut self, event: Event<'_>) {
        if let Event::DriveSealed { serial } = event {
            self.say("told", serial.as_str());
        }
    }
}

#[test]
fn a_drive_is_finished_then_kept_then_told_and_not_looked_at_again() {
    let (site, store) = (Site::new(), repository(8, &[300_000; 5]));
    let (drives, state) = (site.drives(2, 1_500_000), site.path("state"));
    let takes = Takes::new(&site);
    let options = Options { read_back: &takes, ..site.options(&state) };
    let call = || crate::prepare::prepare_within(SMALL, &options, &[&store], &drives, &mut &takes);
    let prepared = call().unwrap();
    assert!(prepared.is_complete(), "{prepared:?}");
    assert!(prepared.drives.iter().all(|drive| drive.state == DriveState::Sealed));
    for name in ["D0", "D1"] {
        let said = takes.said.lock().unwrap();
        let of: Vec<&String> = said.iter().filter(|line| line.contains(name)).collect();
        assert_eq!(
            of,
            [&format!("finish {name}, kept: false"), &format!("told {name}, kept: true")]
        );
        let out = site.path(&format!("{name}.out"));
        assert!(verify(&out, &site.trust(), &mut ()).unwrap().is_intact());
        assert!(!site.path(name).exists());
    }
}

#[test]
fn no_step_on_a_drive_follows_its_manifest() {
    let (site, store) = (Site::new(), repository(3, &[300_000]));
    let steps: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&steps);
    let hook = move |action: &'static str, path: &str| {
        seen.lock().unwrap().push(format!("{action} {path}"));
        Ok(())
    };
    let drives = site.drives(1, 8 << 20);
    faults::with(hook, || site.prepare(&store, &drives)).unwrap();
    let steps = steps.lock().unwrap();
    let manifest = steps.iter().position(|step| step == "rename packmule/manifest").unwrap();
    assert_eq!(steps[manifest + 1], "sync folder packmule");
    let after = &steps[manifest + 2..];
    assert!(after.iter().any(|step| step == "rename manifests/0-0-D0"));
    assert!(!after.iter().any(|step| step.contains("packmule")), "{after:?}");
}

/// Cannot finish a drive, for that reason.
struct Cannot(i32);

impl ReadBack for Cannot {
    fn refresh(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn finish(&self, _: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.0))
    }
}

#[test]
fn a_drive_that_cannot_be_finished_is_not_sealed_before_another_call_has_finished_it() {
    // Busy, full, gone.
    for code in [16, 28, 19] {
        let (site, store) = (Site::new(), repository(3, &[1_200_000, 300_000, 5000]));
        let (drives, state) = (site.drives(2, 1_500_000), site.path("state"));
        let cannot = Options { read_back: &Cannot(code), ..site.options(&state) };
        let mut before = Vec::new();
        // The second time they are found with their manifests.
        for _ in 0..2 {
            let mut words = Words::default();
            let prepared = crate::prepare(&cannot, &[&store], &drives, &mut words).unwrap();
            let states: Vec<_> = prepared.drives.iter().map(|drive| drive.state).collect();
            assert_eq!(states, [DriveState::Gone, DriveState::Gone], "{code}");
            assert!(prepared.drives.iter().all(|drive| drive.manifest.is_none()));
            assert_eq!(prepared.remaining, prepared.inventory.objects);
            assert_eq!(words.count("DriveSealed"), 0);
            assert_eq!(kept(&state), Vec::<String>::new());
            before = drives.iter().map(|drive| tree(&drive.folder)).collect();
        }
        let takes = Takes::new(&site);
        let options = Options { read_back: &takes, ..site.options(&state) };
        let prepared = crate::prepare(&options, &[&store], &drives, &mut ()).unwrap();
        assert!(prepared.is_complete(), "{code}: {prepared:?}");
        assert_eq!(takes.said.lock().unwrap().len(), 2);
        assert_eq!(kept(&state).len(), 2);
        let out = drives.iter().map(|drive| tree(&drive.folder.with_extension("out")));
        assert_eq!(out.collect::<Vec<_>>(), before, "a sealed drive was changed");
        // Kept already, they need not be there, nor be finished again.
        assert!(site.prepare(&store, &[]).unwrap().is_complete());
    }
}

#[test]
fn a_drive_at_hand_that_has_lost_its_manifest_is_sealed_again() {
    let (site, store) = (Site::new(), repository(3, &[300_000]));
    let drives = site.drives(1, 8 << 20);
    site.prepare(&store, &drives).unwrap();
    fs::remove_file(drives[0].folder.join("packmule/manifest")).unwrap();
    let state = site.path("state");
    let refused = Options { read_back: &Cannot(19), ..site.options(&state) };
    let prepared = crate::prepare(&refused, &[&store], &drives, &mut ()).unwrap();
    assert!(!prepared.is_complete(), "{prepared:?}");
    fs::remove_file(drives[0].folder.join("packmule/manifest")).unwrap();
    let prepared = site.prepare(&store, &drives).unwrap();
    assert!(prepared.is_complete());
    assert_eq!(prepared.drives.len(), 1);
    let there = fs::read(drives[0].folder.join("packmule/manifest")).unwrap();
    assert_eq!(fs::read(prepared.drives[0].manifest_file.as_ref().unwrap()).unwrap(), there);
    assert!(verify(&drives[0].folder, &site.trust(), &mut ()).unwrap().is_intact());
}

#[test]
fn a_sealed_drive_that_was_erased_is_refused_until_its_manifest_is_removed() {
    let (site, store) = (Site::new(), repository(3, &[1_200_000, 300_000, 5000]));
    let drives = site.drives(2, 1_500_000);
    site.prepare(&store, &drives).unwrap();
    fs::remove_dir_all(&drives[0].folder).unwrap();
    fs::create_dir(&drives[0].folder).unwrap();
    let (other, state) = (tree(&drives[1].folder), tree(&site.path("state")));
    for given in [&drives[..], &drives[..1]] {
        let refused = site.prepare(&store, given).unwrap_err();
        let crate::Error::Erased { serial, manifest, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!(refused.kind(), model::ErrorKind::WrongDrive);
        assert_eq!((serial, manifest), (&drives[0].serial, &site.path("state/manifests/0-0-D0")));
        assert!(refused.to_string().contains(&manifest.display().to_string()), "{refused}");
        assert!(tree(&drives[0].folder).is_empty());
        assert_eq!(tree(&drives[1].folder), other);
        assert_eq!(tree(&site.path("state")), state);
    }
    fs::remove_file(site.path("state/manifests/0-0-D0")).unwrap();
    assert!(!site.prepare(&store, &[]).unwrap().is_complete());
    assert!(site.prepare(&store, &drives).unwrap().is_complete());
    assert!(verify(&drives[0].folder, &site.trust(), &mut ()).unwrap().is_intact());
    assert_eq!(tree(&drives[1].folder), other);
}
