//! File systems on loop devices: what is written past the cache, and what is read from the medium.

use super::*;
use crate::{DriveState, PlainReads, ReadBack, import, verify};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

/// An ext4 file system in a file, mounted. None where that is not allowed.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn mount(image: PathBuf, at: PathBuf, mib: u64) -> Option<Self> {
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        fs::create_dir(&at).unwrap();
        let done = |command: &mut Command| command.output().is_ok_and(|o| o.status.success());
        let made = done(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        let mounted = made && done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        mounted.then_some(Self { image, at })
    }

    fn spec(&self, serial: &str) -> DriveSpec {
        DriveSpec { folder: self.at.clone(), serial: serial.parse().unwrap(), capacity: None }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).output();
    }
}

/// Where a file begins on its device.
fn place_of(file: &Path) -> u64 {
    let output = Command::new("filefrag").args(["-v", "-b1"]).arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let first = text.lines().find(|line| line.trim_start().starts_with("0:")).unwrap();
    let physical = first.split(':').nth(2).unwrap().trim();
    physical.split("..").next().unwrap().trim().parse().unwrap()
}

/// Changes the largest object on the medium, beneath the page cache, which keeps the right bytes.
struct Beneath {
    image: PathBuf,
    /// Where it was, once it was done.
    changed: Mutex<Option<(PathBuf, u64)>>,
}

impl ReadBack for Beneath {
    fn refresh(&self, drive: &Path) -> io::Result<()> {
        let mut changed = self.changed.lock().unwrap();
        if changed.is_some() {
            return Ok(());
        }
        let objects = tree(drive).into_iter().filter(|(name, _)| name.starts_with("repositories/"));
        let (name, bytes) = objects.max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let (path, at) = (drive.join(&name), place_of(&drive.join(&name)));
        let image = fs::OpenOptions::new().read(true).write(true).open(&self.image)?;
        let mut byte = [0];
        image.read_exact_at(&mut byte, at + 5000)?;
        assert_eq!(byte[0], bytes[5000], "this is where the file is");
        image.write_all_at(&[byte[0] ^ 1], at + 5000)?;
        assert!(fs::read(&path)? == bytes, "the cache has the right bytes still");
        *changed = Some((path, at));
        PlainReads.refresh(drive)
    }
}

#[test]
fn what_the_medium_lost_is_found_although_the_cache_has_it_and_is_written_elsewhere() {
    let (site, store) = (Site::new(), repository(3, &[1_200_000, 300_000, 5000]));
    let Some(disk) = Disk::mount(site.path("image"), site.path("disk"), 32) else {
        return skip("what_the_medium_lost_is_found", "mounting a loop device is not allowed here");
    };
    if Command::new("filefrag").arg("-V").output().is_err() {
        return skip("what_the_medium_lost_is_found", "filefrag is not installed");
    }
    let state = site.path("state");
    let medium = Beneath { image: disk.image.clone(), changed: Mutex::default() };
    let options = Options { read_back: &medium, ..site.options(&state) };
    let mut words = Words::default();
    let drives = [disk.spec("D0")];
    let prepared = crate::prepare(&options, &[&store], &drives, &mut words).unwrap();
    assert!(prepared.is_complete());
    assert_eq!(words.count("Problem"), 1);
    let (path, before) = medium.changed.lock().unwrap().clone().unwrap();
    assert_ne!(place_of(&path), before, "the bad place is not used again");
    let report = verify(&disk.at, &site.trust(), &mut ()).unwrap();
    assert!(report.is_intact() && report.extra.is_empty(), "{report:?}");
}

/// Unmounts a drive when it is finished, which fails when anything on it is open.
struct Unmounts;

impl ReadBack for Unmounts {
    fn refresh(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn finish(&self, drive: &Path) -> io::Result<()> {
        // A process that another test is just starting has a copy of every handle for a moment.
        for _ in 0..100 {
            if Command::new("umount").arg(drive).output()?.status.success() {
                return Ok(());
            }
        }
        panic!("something on {} is open", drive.display());
    }
}

#[test]
fn a_sealed_drive_has_its_manifest_without_a_look_at_its_journal() {
    let (site, store) = (Site::new(), repository(3, &[300_000]));
    let Some(disk) = Disk::mount(site.path("image"), site.path("disk"), 32) else {
        return skip(
            "a_sealed_drive_has_its_manifest",
            "mounting a loop device is not allowed here",
        );
    };
    let state = site.path("state");
    let options = Options { read_back: &Unmounts, ..site.options(&state) };
    let prepared = crate::prepare(&options, &[&store], &[disk.spec("D0")], &mut ()).unwrap();
    assert!(prepared.is_complete());
    // As docks do.
    let mut mount = Command::new("mount");
    let mount = mount.args(["-o", "loop,ro,noload"]).arg(&disk.image).arg(&disk.at);
    assert!(mount.output().unwrap().status.success());
    assert!(verify(&disk.at, &site.trust(), &mut ()).unwrap().is_intact());
}

#[test]
fn a_drive_that_is_smaller_than_it_says_holds_up_nobody() {
    let (site, store) = (Site::new(), repository(3, &[900_000; 24]));
    let Some(small) = Tmpfs::mount(site.path("small"), 12 << 10) else {
        return skip("a_drive_that_is_smaller_than_it_says", "mounting is not allowed here");
    };
    let Some(disk) = Disk::mount(small.0.join("image"), site.path("disk"), 64) else {
        return skip("a_drive_that_is_smaller_than_it_says", "no loop devices here");
    };
    let drives = [disk.spec("FAKE"), site.drive("GOOD", 60 << 20)];
    let first = site.prepare(&store, &drives).unwrap();
    let fake = first.drives.iter().find(|drive| drive.serial.as_str() == "FAKE").unwrap();
    assert_ne!(fake.state, DriveState::Sealed, "{fake:?}");
    // What was on it by name is not given up until it is left out.
    let second = site.prepare(&store, &[drives[1].clone(), site.drive("MORE", 60 << 20)]).unwrap();
    assert!(second.is_complete(), "{second:?}");
    let sealed = second.drives.iter().filter(|drive| drive.state == DriveState::Sealed);
    let folders: Vec<PathBuf> = sealed.map(|drive| site.path(drive.serial.as_str())).collect();
    let into = site.path("into");
    assert!(import(&into, &folders, &site.trust(), &mut ()).unwrap().seeds[0].published);
    assert_eq!(tree(&into), expected_tree(&store));
}

#[test]
fn a_drive_of_many_parts_and_batches_on_ext4_gives_everything_back() {
    let packs: Vec<usize> = (0..40).map(|n| 1 + n * 30_011 % 900_000).collect();
    let (site, store) = (Site::new(), repository(4, &packs));
    let Some(disk) = Disk::mount(site.path("image"), site.path("disk"), 64) else {
        return skip("a_drive_of_many_parts", "mounting a loop device is not allowed here");
    };
    let prepared = site.prepare(&store, &[disk.spec("D0")]).unwrap();
    assert!(prepared.is_complete(), "{prepared:?}");
    let report = verify(&disk.at, &site.trust(), &mut ()).unwrap();
    assert!(report.is_intact() && report.extra.is_empty(), "{report:?}");
    let into = site.path("into");
    assert!(
        import(&into, std::slice::from_ref(&disk.at), &site.trust(), &mut ()).unwrap().seeds[0]
            .published
    );
    assert_eq!(tree(&into), expected_tree(&store));
}
