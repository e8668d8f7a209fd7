//! Bad input and bad luck, one at a time: each has an error of its own that says what to do, the
//! right exit code, and loses nothing. Does not kill processes; `kill.rs` does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod support;

use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{
    Place, Said, Small, contents, names_are_right, objects_of, open, restic_is_content, s, signal,
    skip, stop, until, walk,
};

/// A repository with two snapshots, and where drives and what is taken in can go.
struct Scene {
    place: Place,
    source: PathBuf,
    repository: PathBuf,
}

impl Scene {
    fn new(bytes: usize) -> Self {
        let place = Place::new();
        let (source, repository) = (place.source("source", bytes), place.repository("repository"));
        let scene = Self { place, source, repository };
        scene.backup(&[]).exits(0);
        fs::write(scene.source.join("more"), "more").unwrap();
        scene.backup(&[]).exits(0);
        scene
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.place.run(arguments)
    }

    fn backup(&self, options: &[&str]) -> Said {
        let arguments = ["repo", "backup", "-r", s(&self.repository), s(&self.source)];
        self.run(&[&arguments[..], options].concat())
    }

    fn check(&self) -> Said {
        self.run(&["repo", "check", "--read-data", "-r", s(&self.repository)])
    }

    fn prepare_command<'a>(&'a self, drives: &[&'a Path], options: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["seed", "prepare", "-r", s(&self.repository)];
        arguments.extend(drives.iter().flat_map(|drive| ["--drive", s(drive)]));
        arguments.extend(options);
        arguments
    }

    fn prepare(&self, drives: &[&Path], options: &[&str]) -> Said {
        self.run(&self.prepare_command(drives, options))
    }

    fn verify(&self, drive: &Path) -> Said {
        self.run(&["seed", "verify", "--drive", s(drive)])
    }

    fn import(&self, drives: &[&Path], options: &[&str]) -> Said {
        let mut arguments = vec!["seed", "import", "--into", "vault"];
        arguments.extend(drives.iter().flat_map(|drive| ["--drive", s(drive)]));
        arguments.extend(options);
        self.run(&arguments)
    }

    /// The repository gives the source back, and stock restic has nothing to complain about.
    #[track_caller]
    fn is_whole(&self, test: &str, repository: &Path) {
        let out = self.place.path("restored");
        let below = format!("latest:{}", s(&self.source));
        let arguments = ["repo", "restore", "-r", s(repository), &below, "--target", s(&out)];
        self.run(&arguments).exits(0);
        support::same(&self.source, &out);
        fs::remove_dir_all(out).unwrap();
        names_are_right(repository);
        restic_is_content(test, repository);
    }

    fn vault(&self) -> PathBuf {
        self.place.path("vault")
    }
}

/// How a file may have suffered.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Truncated,
    Emptied,
    Edited,
    Extended,
}

const HARMS: [Harm; 4] = [Harm::Truncated, Harm::Emptied, Harm::Edited, Harm::Extended];

/// Does it. Answers what was there.
fn harm(file: &Path, harm: Harm) -> Vec<u8> {
    let whole = fs::read(file).unwrap();
    let mut bytes = whole.clone();
    match harm {
        Harm::Truncated => bytes.truncate(whole.len() / 2),
        Harm::Emptied => bytes.clear(),
        Harm::Edited => bytes[whole.len() / 2] ^= 1,
        Harm::Extended => bytes.extend(b"more"),
    }
    fs::write(file, bytes).unwrap();
    whole
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Those that have something to ship.
fn sealed<'a>(drives: &[&'a Path]) -> Vec<&'a Path> {
    let is_sealed = |drive: &&&Path| drive.join("packmule/manifest").exists();
    drives.iter().filter(is_sealed).copied().collect()
}

fn name_of(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_wrong_password_changes_nothing() {
    let scene = Scene::new(1000);
    let before = contents(&scene.repository);
    fs::write(scene.place.path("wrong"), "wrong\n").unwrap();
    let [drive] = scene.place.drives();
    let wrong = ["--password-file", "wrong"];
    scene.backup(&wrong).exits(12).tells(&["wrong password", s(&scene.repository)]);
    scene.prepare(&[&drive], &wrong).exits(12).tells(&["wrong password"]);
    assert!(walk(&drive).is_empty());
    assert_eq!(contents(&scene.repository), before);
    scene.is_whole("a_wrong_password_changes_nothing", &scene.repository);
}

#[test]
fn a_folder_that_is_no_repository_is_left_as_it_is() {
    let place = Place::new();
    let folder = place.source("photos", 1000);
    let before = contents(&folder);
    for command in ["snapshots", "check", "ls"] {
        place
            .run(&["repo", command, "-r", s(&folder)])
            .exits(10)
            .tells(&["no repository", "repo init"]);
    }
    place.run(&["repo", "backup", "-r", s(&folder), "."]).exits(10).tells(&["repo init"]);
    assert_eq!(contents(&folder), before);
    let file = folder.join("text");
    place.run(&["repo", "snapshots", "-r", s(&file)]).tells(&["error: "]);
    assert_ne!(place.run(&["repo", "init", "-r", s(&file)]).code, 0);
    assert_eq!(contents(&folder), before);
}

#[test]
fn a_repository_that_stock_restic_holds_exclusively_is_waited_for_by_hand() {
    const NAME: &str = "a_repository_that_stock_restic_holds_exclusively_is_waited_for_by_hand";
    let scene = Scene::new(300_000);
    let before = contents(&scene.repository);
    for program in support::restics(NAME) {
        let mut check =
            support::restic_command(&program, &scene.repository, &["check", "--read-data"]);
        let mut check = check.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Held still while it holds its lock; restic's lock is exclusive once it has its name.
        until("restic's lock", || objects_of(&scene.repository, "locks").pop());
        stop(&check);
        let [drive] = scene.place.drives();
        let told = ["in use", "exclusively", "wait for it", "restic unlock"];
        scene.backup(&[]).exits(11).tells(&told);
        scene.prepare(&[&drive], &[]).exits(11).tells(&told);
        assert!(walk(&drive).is_empty(), "nothing is begun that cannot be ended");
        assert_eq!(contents(&scene.repository), before);
        signal(&check, Signal::CONT);
        assert!(check.wait().unwrap().success(), "we did not disturb it");
    }
    scene.backup(&[]).exits(0);
    assert!(objects_of(&scene.repository, "locks").is_empty());
    scene.is_whole(NAME, &scene.repository);
}

#[test]
fn a_lock_of_ours_keeps_an_exclusive_one_of_restic_away() {
    const NAME: &str = "a_lock_of_ours_keeps_an_exclusive_one_of_restic_away";
    let scene = Scene::new(1000);
    let lock = open(&scene.repository).lock(repo::LockMode::Shared).unwrap();
    for program in support::restics(NAME) {
        let said = support::restic(&program, &scene.repository, &["prune"]);
        assert_ne!(said.code, 0);
        said.tells(&["already locked"]);
    }
    // Those who only add bear each other.
    scene.backup(&[]).exits(0);
    drop(lock);
    scene.is_whole(NAME, &scene.repository);
}

#[test]
fn a_full_staging_location_keeps_what_it_has_and_goes_on_when_there_is_room() {
    const NAME: &str = "a_full_staging_location_keeps_what_it_has_and_goes_on_when_there_is_room";
    let place = Place::new();
    let Some(small) = Small::mount(NAME, place.path("staging"), 12 << 20) else { return };
    let (source, repository) = (place.source("source", 1 << 20), small.mount.join("repository"));
    support::init(&repository);
    let scene = Scene { place, source, repository };
    scene.backup(&[]).exits(0);
    let before = contents(&scene.repository);
    let mut rng = support::trees::Rng::new(7);
    fs::write(scene.source.join("large"), rng.bytes(24 << 20)).unwrap();
    let full = scene.backup(&["--pack-size", "4MiB"]).exits(1);
    full.tells(&["is full", "make room", "run the same command again"]);
    let after = contents(&scene.repository);
    assert!(before.iter().all(|(file, what)| after.get(file) == Some(what)), "nothing is lost");
    assert_eq!(objects_of(&scene.repository, "snapshots").len(), 1);
    assert!(objects_of(&scene.repository, "locks").is_empty());
    names_are_right(&scene.repository);
    scene.check().exits(0);
    small.resize(80 << 20);
    restic_is_content(NAME, &scene.repository);
    scene.backup(&[]).exits(0).tells(&["took in"]);
    scene.is_whole(NAME, &scene.repository);
}

#[test]
fn a_drive_at_its_capacity_is_normal_and_the_next_one_goes_on() {
    const NAME: &str = "a_drive_at_its_capacity_is_normal_and_the_next_one_goes_on";
    let scene = Scene::new(3 << 20);
    fs::write(scene.source.join("large"), support::trees::Rng::new(8).bytes(4 << 20)).unwrap();
    scene.backup(&[]).exits(0);
    // Chance decides which pack a file goes to, and so how many drives it takes.
    let drives: [PathBuf; 4] = scene.place.drives();
    let drives: Vec<&Path> = drives.iter().map(PathBuf::as_path).collect();
    let capacity = ["--capacity", "5MiB"];
    let said = scene.prepare(&drives[..1], &capacity).exits(13);
    said.tells(&["sealed"]).shows(&["on no drive yet", "run the same command with more drives"]);
    let first = contents(drives[0]);
    // A drive that the largest object does not fit on is not begun.
    let said = scene.prepare(&drives[1..2], &["--capacity", "100KiB"]).exits(1);
    said.tells(&["larger drive"]);
    assert!(walk(drives[1]).is_empty());
    scene.prepare(&drives, &capacity).exits(0).shows(&["every object"]);
    assert_eq!(contents(drives[0]), first, "a sealed drive is never written again");
    let sealed = sealed(&drives);
    scene.import(&sealed[1..], &[]).exits(13).shows(&["are missing"]);
    scene.run(&["seed", "missing", "--into", "vault"]).exits(13).shows(&["are missing"]);
    let named = scene.run(&["seed", "missing", "--into", "vault", "--json"]).exits(13).objects();
    assert!(named.iter().any(|o| o["message_type"] == "missing"));
    scene.import(&sealed[..1], &[]).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn a_drive_whose_file_system_is_full_is_sealed_with_what_it_holds() {
    const NAME: &str = "a_drive_whose_file_system_is_full_is_sealed_with_what_it_holds";
    let scene = Scene::new(3 << 20);
    fs::write(scene.source.join("large"), support::trees::Rng::new(8).bytes(4 << 20)).unwrap();
    scene.backup(&[]).exits(0);
    let mount = |n: u32| Small::mount(NAME, scene.place.path(&format!("small{n}")), 5 << 20);
    // Chance decides which pack a file goes to, and so how many drives it takes.
    let Some(mounted) = (0..4).map(mount).collect::<Option<Vec<Small>>>() else { return };
    let drives: Vec<&Path> = mounted.iter().map(|small| small.mount.as_path()).collect();
    // The capacity promises more than there is: the medium has the last word.
    scene.prepare(&drives[..1], &["--capacity", "1GiB"]).exits(13).tells(&["sealed"]);
    scene.verify(drives[0]).exits(0);
    scene.prepare(&drives, &[]).exits(0);
    scene.import(&sealed(&drives), &[]).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn a_full_destination_keeps_what_has_arrived_and_goes_on_when_there_is_room() {
    const NAME: &str = "a_full_destination_keeps_what_has_arrived_and_goes_on_when_there_is_room";
    let scene = Scene::new(6 << 20);
    fs::write(scene.source.join("large"), support::trees::Rng::new(8).bytes(3 << 20)).unwrap();
    scene.backup(&[]).exits(0);
    let [drive] = scene.place.drives();
    scene.prepare(&[&drive], &[]).exits(0);
    let Some(small) = Small::mount(NAME, scene.vault(), 8 << 20) else { return };
    let before = contents(&drive);
    scene.import(&[&drive], &[]).exits(1).tells(&["is full", "make room"]);
    assert!(!scene.vault().join("config").exists(), "half a seed is not published");
    assert_eq!(contents(&drive), before);
    small.resize(80 << 20);
    scene.import(&[&drive], &[]).exits(0).shows(&["there already", "published"]);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn a_drive_that_goes_away_while_it_is_written_goes_on_when_it_is_back() {
    const NAME: &str = "a_drive_that_goes_away_while_it_is_written_goes_on_when_it_is_back";
    let scene = Scene::new(30 << 20);
    let [drive] = scene.place.drives();
    let away = scene.place.path("away");
    let child = scene.place.start(&scene.prepare_command(&[&drive], &[]));
    until("a label", || drive.join("packmule/label").exists().then_some(()));
    fs::rename(&drive, &away).unwrap();
    let said = Said::of(child.wait_with_output().unwrap()).exits(13);
    said.tells(&["no longer answers", "attach it again", "same command"]).shows(&["gone"]);
    assert!(!drive.exists(), "nothing is written to where the drive was");
    assert!(!away.join("packmule/manifest").exists());
    fs::rename(&away, &drive).unwrap();
    scene.prepare(&[&drive], &[]).exits(0);
    scene.verify(&drive).exits(0);
    scene.import(&[&drive], &[]).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn a_drive_that_is_unmounted_while_it_is_written_is_replaced_by_another() {
    const NAME: &str = "a_drive_that_is_unmounted_while_it_is_written_is_replaced_by_another";
    let scene = Scene::new(30 << 20);
    let Some(small) = Small::mount(NAME, scene.place.path("small"), 64 << 20) else { return };
    let child = scene.place.start(&scene.prepare_command(&[&small.mount], &[]));
    until("a label", || small.mount.join("packmule/label").exists().then_some(()));
    assert!(Command::new("umount").arg("-l").arg(&small.mount).status().unwrap().success());
    let said = Said::of(child.wait_with_output().unwrap()).exits(13);
    said.tells(&["no longer answers"]).shows(&["gone", "on no drive yet"]);
    assert!(walk(&small.mount).is_empty(), "nothing is written beneath a mount point");
    let [other] = scene.place.drives();
    scene.prepare(&[&other], &[]).exits(0).shows(&["every object"]);
    scene.import(&[&other], &[]).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn a_drive_that_goes_away_while_it_is_read_is_not_a_drive_of_damaged_objects() {
    const NAME: &str = "a_drive_that_goes_away_while_it_is_read_is_not_a_drive_of_damaged_objects";
    let scene = Scene::new(1000);
    for n in 0..40 {
        fs::write(scene.source.join("text"), format!("{n}")).unwrap();
        scene.backup(&[]).exits(0);
    }
    let [drive] = scene.place.drives();
    scene.prepare(&[&drive], &[]).exits(0);
    let (away, arrived) = (scene.place.folder("away"), scene.vault().join("pending"));
    let child = scene.place.start(&["seed", "import", "--into", "vault", "--drive", s(&drive)]);
    until("an object", || {
        walk(&arrived).iter().any(|file| s(file).contains("/data/")).then_some(())
    });
    // What the file system of a pulled drive does: nothing below it answers any more.
    for part in ["packmule", "repositories"] {
        fs::rename(drive.join(part), away.join(part)).unwrap();
    }
    let said = Said::of(child.wait_with_output().unwrap());
    if said.code == 0 {
        // It was done before the drive went: the rule cannot be seen, and nothing is wrong.
        return scene.is_whole(NAME, &scene.vault());
    }
    said.exits(13).tells(&["is gone", "attach it again"]);
    assert!(!scene.vault().join("config").exists());
    for part in ["packmule", "repositories"] {
        fs::rename(away.join(part), drive.join(part)).unwrap();
    }
    scene.import(&[&drive], &[]).exits(0).shows(&["0 damaged or missing", "published"]);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn a_drive_that_holds_something_else_is_not_taken() {
    let scene = Scene::new(1000);
    let holiday = scene.place.source("holiday", 1000);
    let before = contents(&holiday);
    let said = scene.prepare(&[&holiday], &[]).exits(13);
    said.tells(&["not empty", "no label", "another drive"]);
    assert_eq!(contents(&holiday), before);
    scene.verify(&holiday).exits(13).tells(&["no label"]);
    scene.import(&[&holiday], &[]).exits(13);
    assert!(!scene.vault().exists());
}

#[test]
fn a_drive_of_another_seed_is_named_and_refused() {
    const NAME: &str = "a_drive_of_another_seed_is_named_and_refused";
    let scene = Scene::new(1000);
    let [mine, theirs, empty] = scene.place.drives();
    scene.prepare(&[&theirs], &[]).exits(0);
    // Another repository, the same signer.
    let other = Scene {
        repository: scene.place.repository("other"),
        source: scene.source.clone(),
        place: scene.place,
    };
    other.backup(&[]).exits(0);
    let before = contents(&theirs);
    other.prepare(&[&theirs], &[]).exits(13).tells(&["belongs to seed", "another drive"]);
    other.prepare(&[&mine], &[]).exits(0);
    other.prepare(&[&theirs, &empty], &[]).exits(13).tells(&["belongs to seed"]);
    assert_eq!(contents(&theirs), before);
    assert!(walk(&empty).is_empty(), "nothing is written before every drive was looked at");
    // Taken in side by side: each is named, the right one counts, the wrong one changes nothing.
    other.import(&[&mine], &[]).exits(0);
    let vault = contents(&other.vault());
    let said = other.import(&[&theirs], &[]).exits(1);
    said.tells(&["holds repository", "import into another folder"]);
    assert_eq!(contents(&other.vault()), vault);
    other.is_whole(NAME, &other.vault());
}

#[test]
fn a_drive_of_another_job_is_named_and_refused() {
    let scene = Scene::new(1000);
    let [first, second, empty] = scene.place.drives();
    scene.prepare(&[&first], &["--state", "one"]).exits(0);
    // The same repository and signer, another seed: a job of its own.
    scene.place.folder("two");
    fs::copy(scene.place.path("one/signing.key"), scene.place.path("two/signing.key")).unwrap();
    scene.prepare(&[&second], &["--state", "two"]).exits(0);
    let before = contents(&second);
    scene
        .prepare(&[&second, &empty], &["--state", "one"])
        .exits(13)
        .tells(&["belongs to seed", s(&second)]);
    assert_eq!(contents(&second), before);
    assert!(walk(&empty).is_empty());
    // A drive of one seed does not make another complete, and both can wait in one place.
    fs::remove_file(objects_of(&second, "repositories").pop().unwrap()).unwrap();
    scene.import(&[&second], &[]).exits(3).tells(&["missing"]).shows(&["are missing"]);
    scene.import(&[&first], &[]).tells(&["signer"]).shows(&["complete and published"]);
}

#[test]
fn the_same_drive_given_twice_is_noticed() {
    const NAME: &str = "the_same_drive_given_twice_is_noticed";
    let scene = Scene::new(2 << 20);
    let [drive, again] = scene.place.drives();
    scene.prepare(&[&drive, &drive], &[]).exits(13).tells(&["same drive", "once"]);
    let link = scene.place.path("link");
    std::os::unix::fs::symlink(&drive, &link).unwrap();
    scene.prepare(&[&drive, &link], &[]).exits(13).tells(&["same drive"]);
    let bound = Command::new("mount").arg("--bind").arg(&drive).arg(&again).output().unwrap();
    if bound.status.success() {
        let _unmount = Small { mount: again.clone() };
        scene.prepare(&[&drive, &again], &[]).exits(13).tells(&["same drive"]);
    } else {
        skip(NAME, "no right to bind a folder to another");
    }
    assert!(walk(&drive).is_empty());
    scene.prepare(&[&drive], &[]).exits(0);
    // A copy of a drive is the same drive, and gives the same.
    let copied = scene.place.path("copied");
    copy(&drive, &copied);
    scene.prepare(&[&drive, &copied], &[]).exits(13).tells(&["same drive"]);
    scene.import(&[&drive, &copied], &[]).exits(0).shows(&["all of it had been taken in before"]);
    scene.import(&[&copied], &[]).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn what_somebody_else_has_signed_is_not_believed() {
    const NAME: &str = "what_somebody_else_has_signed_is_not_believed";
    let scene = Scene::new(1000);
    let [mine, theirs] = scene.place.drives();
    let ours = scene.prepare(&[&mine], &["--state", "mine", "--json"]).exits(0).object("summary");
    scene.prepare(&[&theirs], &["--state", "theirs"]).exits(0);
    let signer = ["--signer", ours["signer"].as_str().unwrap()];
    let said = scene.import(&[&theirs], &signer).exits(1);
    said.tells(&["signed by", "compare the fingerprint"]);
    scene
        .run(&["seed", "verify", "--drive", s(&theirs), signer[0], signer[1]])
        .exits(1)
        .tells(&["signed by"]);
    scene.prepare(&[&theirs], &["--state", "mine"]).exits(1).tells(&["signed by"]);
    assert!(walk(&scene.vault()).is_empty());
    // Only the manifest is somebody else's: with and without a fingerprint.
    let manifest = fs::read(mine.join("packmule/manifest")).unwrap();
    fs::copy(theirs.join("packmule/manifest"), mine.join("packmule/manifest")).unwrap();
    assert_ne!(scene.import(&[&mine], &signer).tells(&["manifest"]).code, 0);
    assert_ne!(scene.import(&[&mine], &[]).tells(&["manifest"]).code, 0);
    assert_ne!(scene.verify(&mine).tells(&["manifest"]).code, 0);
    assert!(walk(&scene.vault()).is_empty());
    fs::write(mine.join("packmule/manifest"), manifest).unwrap();
    scene.import(&[&mine], &signer).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn damaged_documents_of_a_drive_are_named_and_nothing_of_it_is_published() {
    const NAME: &str = "damaged_documents_of_a_drive_are_named_and_nothing_of_it_is_published";
    let scene = Scene::new(1000);
    let [drive] = scene.place.drives();
    scene.prepare(&[&drive], &[]).exits(0);
    for document in ["label", "manifest", "inventory", "extents"] {
        for how in HARMS {
            let file = drive.join("packmule").join(document);
            let whole = harm(&file, how);
            let harmed = contents(&drive);
            let said = scene.verify(&drive).exits(4);
            let all = format!("{}{}", said.stdout, said.stderr);
            assert!(all.contains(document), "{document} {how:?}: {all}");
            scene.prepare(&[&drive], &[]);
            assert_eq!(
                contents(&drive),
                harmed,
                "{document} {how:?}: evidence is not written over"
            );
            if document != "extents" {
                let said = scene.import(&[&drive], &[]);
                assert_ne!(said.code, 0, "{document} {how:?}: {said:?}");
                assert!(!scene.vault().join("config").exists(), "{document} {how:?}");
            }
            fs::write(&file, whole).unwrap();
        }
        scene.verify(&drive).exits(0);
    }
    scene.import(&[&drive], &[]).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn damaged_objects_of_a_drive_are_named_and_asked_for_again() {
    const NAME: &str = "damaged_objects_of_a_drive_are_named_and_asked_for_again";
    let scene = Scene::new(100_000);
    let [drive] = scene.place.drives();
    scene.prepare(&[&drive], &[]).exits(0);
    let objects = fs::read_dir(drive.join("repositories")).unwrap().next().unwrap().unwrap().path();
    for kind in ["config", "keys", "data", "index", "snapshots"] {
        for how in HARMS {
            let file = if kind == "config" {
                objects.join(kind)
            } else {
                objects_of(&objects, kind).remove(0)
            };
            let whole = harm(&file, how);
            let name = if kind == "config" { "config" } else { name_of(&file) };
            scene.verify(&drive).exits(4).shows(&["damaged", name]);
            scene.import(&[&drive], &[]).exits(3).tells(&[name]).shows(&["1 damaged or missing"]);
            scene.run(&["seed", "missing", "--into", "vault"]).exits(13).shows(&[name]);
            assert!(!scene.vault().join("config").exists(), "{kind} {how:?}");
            fs::write(&file, whole).unwrap();
            fs::remove_dir_all(scene.vault()).unwrap();
        }
    }
    scene.verify(&drive).exits(0);
    scene.import(&[&drive], &[]).exits(0);
    scene.is_whole(NAME, &scene.vault());
}

#[test]
fn damaged_files_of_a_repository_are_named_and_never_written_over() {
    const NAME: &str = "damaged_files_of_a_repository_are_named_and_never_written_over";
    let scene = Scene::new(100_000);
    for kind in ["data", "index", "snapshots"] {
        for how in HARMS {
            let file = objects_of(&scene.repository, kind).remove(0);
            let whole = harm(&file, how);
            let before = contents(&scene.repository);
            scene.check().exits(4).tells(&["damaged", name_of(&file)]);
            if kind == "snapshots" {
                scene
                    .run(&["repo", "snapshots", "-r", s(&scene.repository)])
                    .exits(4)
                    .tells(&[name_of(&file)]);
            }
            assert_eq!(
                contents(&scene.repository),
                before,
                "{kind} {how:?}: evidence is not written over"
            );
            fs::write(&file, whole).unwrap();
        }
    }
    for how in HARMS {
        let whole = harm(&scene.repository.join("config"), how);
        scene.check().exits(4).tells(&["config", "damaged"]);
        scene.backup(&[]).exits(4).tells(&["config", "damaged"]);
        fs::write(scene.repository.join("config"), whole).unwrap();
    }
    let key = objects_of(&scene.repository, "keys").remove(0);
    let whole = fs::read(&key).unwrap();
    // From `N` on every byte matters; one of them is altered at a time.
    let matters = whole.windows(4).position(|four| four == b"\"N\":").unwrap();
    for at in (matters..whole.len()).step_by(29) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&key, bytes).unwrap();
        // The password is right, so it must not be called wrong.
        scene.check().exits(4).tells(&[name_of(&key), "damaged"]);
    }
    fs::write(&key, whole).unwrap();
    for how in HARMS {
        let whole = harm(&key, how);
        scene.check().exits(4).tells(&[name_of(&key), "damaged"]);
        fs::write(&key, whole).unwrap();
    }
    scene.check().exits(0);
    scene.is_whole(NAME, &scene.repository);
}

#[test]
fn a_backup_stores_again_what_damage_has_taken_and_says_so() {
    const NAME: &str = "a_backup_stores_again_what_damage_has_taken_and_says_so";
    let scene = Scene::new(100_000);
    let index = objects_of(&scene.repository, "index");
    for file in &index {
        harm(file, Harm::Truncated);
    }
    // What no index names is taken in again from the packs; the source is stored whole.
    scene.backup(&[]).exits(3).tells(&[name_of(&index[0]), "damaged"]);
    // Everything comes back, and still the damage that was met is no success.
    scene
        .run(&["repo", "restore", "-r", s(&scene.repository), "latest", "--target", "out"])
        .exits(3)
        .tells(&[name_of(&index[0])]);
    support::same(
        &scene.source,
        &scene.place.path("out").join(s(&scene.source).trim_start_matches('/')),
    );
    scene.check().exits(4).tells(&[name_of(&index[0])]);
    index.iter().for_each(|file| fs::remove_file(file).unwrap());
    scene.check().exits(0);
    scene.is_whole(NAME, &scene.repository);
}

#[test]
fn a_pack_that_is_not_what_its_name_says_goes_onto_no_drive() {
    let scene = Scene::new(100_000);
    let pack = objects_of(&scene.repository, "data").remove(0);
    let whole = harm(&pack, Harm::Edited);
    let [drive, other] = scene.place.drives();
    let said = scene.prepare(&[&drive], &[]).exits(3);
    said.tells(&[name_of(&pack), "its bytes are not those of its name"])
        .shows(&["on no drive yet"]);
    assert!(walk(&drive).iter().all(|file| name_of(file) != name_of(&pack)));
    fs::write(&pack, whole).unwrap();
    scene.prepare(&[&other], &[]).exits(0);
    scene.import(&[&drive], &[]).exits(13).shows(&[name_of(&pack)]);
    scene.import(&[&other], &[]).exits(0);
    scene.is_whole("a_pack_that_is_not_what_its_name_says_goes_onto_no_drive", &scene.vault());
}

#[test]
fn a_restore_target_that_is_not_empty_is_not_touched() {
    let scene = Scene::new(1000);
    let target = scene.place.source("target", 77);
    let before = contents(&target);
    let restore = |options: &[&str]| {
        let arguments =
            ["repo", "restore", "-r", s(&scene.repository), "latest", "--target", s(&target)];
        scene.run(&[&arguments[..], options].concat())
    };
    restore(&[]).exits(1).tells(&["not empty", "--existing skip"]);
    assert_eq!(contents(&target), before);
    restore(&["--existing", "overwrite"]).exits(0);
    let after = contents(&target);
    assert!(before.iter().all(|(file, what)| after.get(file) == Some(what)), "others stay");
    let file = target.join("text");
    let arguments = ["repo", "restore", "-r", s(&scene.repository), "latest", "--target", s(&file)];
    assert_eq!(scene.run(&arguments).tells(&["error: "]).code, 1);
    assert_eq!(contents(&target), after);
}

#[test]
fn a_restore_from_a_damaged_repository_leaves_out_what_is_not_whole() {
    let scene = Scene::new(3 << 20);
    for pack in objects_of(&scene.repository, "data") {
        if fs::metadata(&pack).unwrap().len() > 1 << 20 {
            harm(&pack, Harm::Edited);
        }
    }
    let below = format!("latest:{}", s(&scene.source));
    let restore = ["repo", "restore", "-r", s(&scene.repository), &below, "--target", "out"];
    let said = scene.run(&restore).exits(3);
    said.tells(&["warning: ", "noise", "damaged"]);
    let out = scene.place.path("out");
    assert!(!out.join("noise").exists(), "half a file would be taken for a whole one");
    for file in ["text", "folder/small", "more"] {
        assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(scene.source.join(file)).unwrap());
    }
}

#[test]
fn a_source_file_that_not_even_root_can_read_is_named() {
    let scene = Scene::new(1000);
    // A file that the operating system lists and will not read, even to root.
    let listed = Path::new("/proc/self/mem");
    let said = scene.run(&["repo", "backup", "-r", s(&scene.repository), s(listed)]);
    assert_eq!(said.code, 3, "{said:?}");
    said.tells(&["mem", "cannot be read"]);
    scene.check().exits(0);
}
