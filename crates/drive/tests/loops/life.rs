//! The life of a drive, as far as it needs no device mapper: formatted, written, read back, set
//! read-only, erased. Encrypted drives are opened in the virtual machine's tests.

use crate::{Loop, run};
use drive::{
    Access, Attached, Blkid, Error, Formatted, Plan, Protection, Volume, erase, random_password,
};
use model::{Digest, DriveSerial};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

impl Loop {
    fn volume(&self) -> Volume {
        Volume::of(&self.found(), self.serial())
    }

    /// A loop device has none of its own.
    fn serial(&self) -> DriveSerial {
        let name = self.device.file_name().unwrap().to_str().unwrap();
        format!("TEST-{}-{name}", std::process::id()).parse().unwrap()
    }

    fn format(&self) -> Formatted {
        let plan = Plan::new(&self.found(), &self.volume(), Protection::None);
        plan.run(&mut |_| ()).unwrap()
    }

    fn attach(&self, access: Access) -> Result<Attached, Error> {
        Attached::new(self.volume(), Protection::None, access)
    }

    /// The first place in the file that stands for the medium where `bytes` are.
    fn find(&self, bytes: &[u8]) -> Option<u64> {
        let all = std::fs::read(self.folder.path().join("drive")).unwrap();
        all.windows(bytes.len()).position(|window| window == bytes).map(|at| at as u64)
    }

    fn change(&self, at: u64, bytes: &[u8]) {
        let medium = self.folder.path().join("drive");
        let medium = std::fs::File::options().write(true).open(medium).unwrap();
        medium.write_all_at(bytes, at).unwrap();
        medium.sync_all().unwrap();
    }
}

const MARK: &[u8] = b"this is written once and found on the medium";

#[test]
fn a_drive_is_formatted_written_read_back_and_read_elsewhere() {
    let test = "drive::a_drive_is_formatted_written_read_back_and_read_elsewhere";
    let Some(drive) = Loop::new(test) else { return };
    drive.mark_as_lvm();
    let formatted = drive.format();
    assert_eq!((formatted.header_hash, &formatted.volume), (None, &drive.volume()));
    assert!(!drive.volume().is_encrypted(&Blkid).unwrap());

    let attached = drive.attach(Access::Write).unwrap();
    assert!(matches!(drive.attach(Access::Write), Err(Error::Busy { .. })));
    let file = attached.folder().join("file");
    std::fs::write(&file, MARK).unwrap();
    attached.refresh().unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), MARK);
    attached.detach().unwrap();
    assert_eq!(drive.found().usage, []);
    assert!(!file.exists());

    let attached = drive.attach(Access::Read).unwrap();
    let file = attached.folder().join("file");
    assert_eq!(std::fs::read(&file).unwrap(), MARK);
    assert!(std::fs::write(&file, b"x").is_err());
    assert!(drive.found().read_only);
    drop(attached);
    assert_eq!(drive.found().usage, []);
    assert!(!drive.found().read_only, "what was set is set back");
}

#[test]
fn what_is_changed_on_the_medium_is_seen_after_a_refresh() {
    let test = "drive::what_is_changed_on_the_medium_is_seen_after_a_refresh";
    let Some(drive) = Loop::new(test) else { return };
    drive.format();
    let attached = drive.attach(Access::Write).unwrap();
    let file = attached.folder().join("file");
    std::fs::write(&file, MARK).unwrap();
    rustix::fs::syncfs(std::fs::File::open(attached.folder()).unwrap()).unwrap();
    drive.change(drive.find(MARK).unwrap(), b"THAT");
    assert_eq!(std::fs::read(&file).unwrap(), MARK, "memory is believed");
    attached.refresh().unwrap();
    assert!(std::fs::read(&file).unwrap().starts_with(b"THAT is"), "the medium is");
}

#[test]
fn what_a_killed_process_left_mounted_is_not_in_the_way() {
    let test = "drive::what_a_killed_process_left_mounted_is_not_in_the_way";
    let Some(drive) = Loop::new(test) else { return };
    drive.format();
    let attached = drive.attach(Access::Write).unwrap();
    let folder = attached.folder().to_owned();
    drop(attached);
    std::fs::create_dir_all(&folder).unwrap();
    run("mount", &[&drive.device, &folder]);
    assert!(!drive.found().usage.is_empty());
    drive::release(&drive.volume()).unwrap();
    assert_eq!(drive.found().usage, []);
    run("mount", &[&drive.device, &folder]);
    drive.attach(Access::Write).unwrap().detach().unwrap();
}

#[test]
fn a_drive_whose_place_another_one_has_taken_is_not_touched() {
    let test = "drive::a_drive_whose_place_another_one_has_taken_is_not_touched";
    let Some(drive) = Loop::new(test) else { return };
    let (device, volume) = (drive.found(), drive.volume());
    run("losetup", &["--detach".as_ref(), &drive.device]);
    let other = drive.folder.path().join("other");
    std::fs::File::create(&other).unwrap().set_len(300 << 20).unwrap();
    run("losetup", &[&drive.device, &other]);
    let exchanged = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Exchanged { .. }), "{error}");
    };
    let plan = Plan::new(&device, &volume, Protection::None);
    exchanged(plan.run(&mut |step| panic!("{step}")).map(drop));
    exchanged(Attached::new(volume.clone(), Protection::None, Access::Write).map(drop));
    exchanged(erase(&volume, &mut |_| panic!("it is written to")).map(drop));
    assert!(std::fs::read(&other).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_system_of_another_kind_is_not_mounted() {
    let Some(drive) = Loop::new("drive::a_file_system_of_another_kind_is_not_mounted") else {
        return;
    };
    run("mkfs.ext2", &["-q".as_ref(), &drive.device]);
    let error = drive.attach(Access::Read).unwrap_err();
    assert!(matches!(error, Error::OtherLayout { .. }), "{error}");
    assert_eq!(drive.found().usage, []);
}

#[test]
fn an_erased_drive_gives_back_nothing() {
    let Some(drive) = Loop::new("drive::an_erased_drive_gives_back_nothing") else { return };
    drive.format();
    let attached = drive.attach(Access::Write).unwrap();
    std::fs::write(attached.folder().join("file"), MARK).unwrap();
    attached.detach().unwrap();
    drop(drive.attach(Access::Read).unwrap());
    assert!(drive.find(MARK).is_some());
    let mut told = 0;
    let erased = erase(&drive.volume(), &mut |bytes| {
        told = bytes;
        true
    });
    let erased = erased.unwrap();
    assert_eq!((erased.header, erased.overwritten, told), (false, 300 << 20, 300 << 20));
    assert!(drive.find(MARK).is_none());
    assert!(drive.volume().is_encrypted(&Blkid).is_err());
}

fn cryptsetup(arguments: &[&str], device: &Path, password: &str) -> Option<i32> {
    use std::io::Write as _;
    let mut command = Command::new("cryptsetup");
    command
        .args(arguments)
        .args(["--key-file", "-"])
        .arg(device)
        .stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    child.wait().unwrap().code()
}

/// The container is made without a device mapper; its header can be judged and erased.
#[test]
fn a_container_opens_with_its_password_and_with_nothing_after_erasing() {
    let test = "drive::a_container_opens_with_its_password_and_with_nothing_after_erasing";
    let Some(drive) = Loop::new(test) else { return };
    let password = random_password().unwrap();
    let plan = Plan::new(&drive.found(), &drive.volume(), Protection::Luks(password.clone()));
    let steps = plan.steps();
    let shown: Vec<String> = steps.iter().map(ToString::to_string).collect();
    assert!(shown.iter().all(|line| !line.contains(password.text().as_str())), "{shown:?}");
    let encrypt = steps.iter().find(|step| step.what() == "encrypting the drive").unwrap();
    encrypt.run().unwrap();

    let volume = drive.volume();
    assert!(volume.is_encrypted(&Blkid).unwrap());
    let test = |text: &str| cryptsetup(&["open", "--test-passphrase"], &drive.device, text);
    assert_eq!(test(&password.text()), Some(0));
    assert_eq!(test(&random_password().unwrap().text()), Some(2));
    let said = run("cryptsetup", &["luksDump".as_ref(), &drive.device]);
    for line in
        ["PBKDF:      argon2id", "Memory:     65536", "cipher: aes-xts-plain64", "offset: 16777216"]
    {
        assert!(said.contains(line), "{line} in {said}");
    }

    let hash = volume.header_hash().unwrap();
    assert_eq!(hash, whole_hash(&drive), "an independent reading");
    let last = std::fs::read(drive.folder.path().join("drive")).unwrap()[HEADER - 1];
    let byte = (HEADER - 1) as u64;
    drive.change(byte, &[last ^ 1]);
    assert_ne!(volume.header_hash().unwrap(), hash, "one byte of it is another");
    drive.change(byte, &[last]);
    assert_eq!(volume.header_hash().unwrap(), hash);
    drive.change(HEADER as u64, b"data");
    assert_eq!(volume.header_hash().unwrap(), hash, "data is no part of it");

    let erased = erase(&volume, &mut |_| true).unwrap();
    assert_eq!((erased.header, erased.overwritten), (true, drive::HEADER_BYTES));
    assert_ne!(test(&password.text()), Some(0));
    assert!(volume.is_encrypted(&Blkid).is_err());
}

const HEADER: usize = 16 << 20;

fn whole_hash(drive: &Loop) -> Digest {
    let said = Command::new("sh")
        .args(["-c", "head -c 16777216 \"$0\" | sha256sum | cut -c 1-64"])
        .arg(drive.folder.path().join("drive"))
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn without_a_device_mapper_nothing_is_done_to_a_drive() {
    let Some(drive) = Loop::new("drive::without_a_device_mapper_nothing_is_done_to_a_drive") else {
        return;
    };
    if drive::require_mapper().is_ok() {
        return;
    }
    drive.change(7 << 20, MARK);
    let protection = Protection::Luks(random_password().unwrap());
    let plan = Plan::new(&drive.found(), &drive.volume(), protection);
    let error = plan.run(&mut |step| panic!("{step}")).unwrap_err();
    assert!(matches!(error, Error::NoMapper), "{error}");
    assert_eq!(drive.find(MARK), Some(7 << 20));
}
