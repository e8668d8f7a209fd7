//! Restores into folders that hold something: against an obvious oracle, for every choice; what is right stays, what was
//! interrupted goes on, and nothing outside is touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use backup::{Error, Existing, Fault, RestoreEvent, RestoreOptions, RestoreOutcome, Select};
use common::{back_up, everything, init, noise, same};
use model::Digest;
use proptest::prelude::*;
use repo::Repository;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use store::Memory;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A folder, as plain as can be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    File(Vec<u8>),
    Link(String),
    Folder(Tree),
}

type Tree = BTreeMap<String, Thing>;

impl Thing {
    /// One that may be replaced.
    fn gives_way(&self) -> bool {
        !matches!(self, Self::Folder(inside) if !inside.is_empty())
    }
}

fn write(tree: &Tree, at: &Path) {
    fs::create_dir_all(at).unwrap();
    for (name, thing) in tree {
        let path = at.join(name);
        match thing {
            Thing::File(bytes) => fs::write(path, bytes).unwrap(),
            Thing::Link(to) => symlink(to, path).unwrap(),
            Thing::Folder(inside) => write(inside, &path),
        }
    }
}

fn read(at: &Path) -> Tree {
    let mut tree = Tree::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let thing = if kind.is_dir() {
            Thing::Folder(read(&path))
        } else if kind.is_symlink() {
            Thing::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
        } else {
            Thing::File(fs::read(&path).unwrap())
        };
        tree.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), thing);
    }
    tree
}

/// What is wanted of a tree: what is below one of the paths, or everything where there is none, but for one name.
fn selected(tree: &Tree, at: &str, paths: &[String], without: &str) -> Tree {
    let mut kept = Tree::new();
    for (name, thing) in tree {
        let path = format!("{at}/{name}");
        let inside = |wanted: &String| path == *wanted || path.starts_with(&format!("{wanted}/"));
        let wanted = paths.is_empty() || paths.iter().any(inside);
        if name == without {
            continue;
        }
        match thing {
            Thing::Folder(inside) => {
                let inside = selected(inside, &path, paths, without);
                if wanted || !inside.is_empty() {
                    kept.insert(name.clone(), Thing::Folder(inside));
                }
            }
            other if wanted => {
                kept.insert(name.clone(), other.clone());
            }
            _ => {}
        }
    }
    kept
}

/// What a restore should leave. `all` are the snapshot's names in that folder.
fn oracle(wanted: &Tree, all: Option<&Tree>, target: &mut Tree, existing: Existing) {
    for (name, thing) in wanted {
        let inside_all = match all.and_then(|all| all.get(name)) {
            Some(Thing::Folder(inside)) => Some(inside),
            _ => None,
        };
        let Some(there) = target.get_mut(name) else {
            target.insert(name.clone(), thing.clone());
            continue;
        };
        match (thing, &mut *there) {
            (Thing::Folder(from), Thing::Folder(to)) => oracle(from, inside_all, to, existing),
            (thing, there) if thing == there => {}
            (thing, there) => match existing {
                Existing::Skip => {}
                Existing::Overwrite if there.gives_way() => *there = thing.clone(),
                Existing::Overwrite => {}
                Existing::KeepBoth => beside(name, thing, inside_all, (all, target)),
                Existing::Refuse => panic!("not empty"),
            },
        }
    }
}

fn beside(
    name: &str,
    thing: &Thing,
    inside_all: Option<&Tree>,
    (all, target): (Option<&Tree>, &mut Tree),
) {
    for number in 1.. {
        let end = if number == 1 { String::new() } else { format!("-{number}") };
        let name = format!("{name}.old{end}");
        if all.is_some_and(|all| all.contains_key(&name)) {
            continue;
        }
        match (thing, target.get_mut(&name)) {
            (_, None) => {
                target.insert(name, thing.clone());
            }
            (Thing::Folder(from), Some(Thing::Folder(to))) => {
                oracle(from, inside_all, to, Existing::KeepBoth);
            }
            (thing, Some(there)) if thing == there => {}
            _ => continue,
        }
        return;
    }
}

fn thing() -> impl Strategy<Value = Thing> {
    let leaf = prop_oneof![
        4 => prop::collection::vec(0_u8..3, 0..3).prop_map(Thing::File),
        1 => "[xy]".prop_map(Thing::Link),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| tree_of(inner).prop_map(Thing::Folder))
}

fn tree_of(inner: impl Strategy<Value = Thing>) -> impl Strategy<Value = Tree> {
    prop::collection::btree_map("[abc]|a\\.old(-2)?", inner, 0..5)
}

fn choice() -> impl Strategy<Value = Existing> {
    prop_oneof![Just(Existing::Skip), Just(Existing::Overwrite), Just(Existing::KeepBoth)]
}

struct Scene {
    repository: Repository,
    tree: Digest,
    below: PathBuf,
}

impl Scene {
    fn of(source: &Path) -> Self {
        let repository = init(Arc::new(Memory::new()));
        let id = back_up(&repository, source).snapshot;
        let tree = repository.load_snapshot(id).unwrap().snapshot.tree;
        Self { repository, tree, below: source.to_owned() }
    }

    fn options<'a>(
        &self,
        target: &Path,
        existing: Existing,
        events: &'a (dyn Fn(RestoreEvent<'_>) + Sync),
    ) -> RestoreOptions<'a> {
        RestoreOptions {
            below: Some(self.below.clone()),
            existing,
            suffix: ".old".to_owned(),
            ..RestoreOptions::into_folder(target, &GO_ON, events)
        }
    }

    fn restore(&self, options: &RestoreOptions<'_>) -> Result<RestoreOutcome, Error> {
        let index = self.repository.load_index().unwrap().value;
        backup::restore(&self.repository, &index, self.tree, options)
    }
}

type Counts = (u64, u64, u64, u64, u64, usize);

fn counts(outcome: &RestoreOutcome) -> Counts {
    let RestoreOutcome { files, others, replaced, beside, same, skipped, problems, .. } = outcome;
    (files + others, *replaced, *beside, *same, *skipped, problems.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn a_restore_does_what_was_chosen_and_what_it_said_and_nothing_twice(
        source in tree_of(thing()),
        target in tree_of(thing()),
        existing in choice(),
        paths in prop::collection::vec("/[abc](/[abc])?", 0..3),
        without in "[abcd]",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("source"), folder.path().join("target"));
        write(&source, &from);
        write(&target, &to);
        let scene = Scene::of(&from);
        let base = from.to_str().unwrap();
        let absolute: Vec<PathBuf> = paths.iter().map(|path| format!("{base}{path}").into()).collect();
        let select = Select::new(&absolute, &[], std::slice::from_ref(&without)).unwrap();
        let listed = Mutex::new(Vec::new());
        let list = |event: RestoreEvent<'_>| {
            if let RestoreEvent::Item { path, action, .. } = event {
                listed.lock().unwrap().push((path.to_owned(), action));
            }
        };
        let options = RestoreOptions { select: select.clone(), ..scene.options(&to, existing, &list) };
        let wanted = selected(&source, "", &paths, &without);
        let planned = scene.restore(&RestoreOptions { dry_run: true, ..options });
        prop_assert_eq!(&read(&to), &target, "a dry run changes nothing");
        if wanted.is_empty() {
            let everything = paths.is_empty() && source.is_empty();
            prop_assert!(everything || matches!(planned, Err(Error::NothingSelected)) || planned.is_ok());
            return Ok(());
        }
        let planned = planned.unwrap();
        let options = RestoreOptions { select: select.clone(), verify: true, ..scene.options(&to, existing, &|_| {}) };
        let done = scene.restore(&options).unwrap();
        let mut expected = target.clone();
        oracle(&wanted, Some(&source), &mut expected, existing);
        prop_assert_eq!(&read(&to), &expected);
        prop_assert_eq!(done.not_as_written, 0, "{:?}", done.problems);
        prop_assert_eq!(counts(&planned), counts(&done));
        for (path, action) in listed.into_inner().unwrap() {
            prop_assert!(to.join(&path).symlink_metadata().is_ok(), "{path:?}: {action:?}");
        }
        let again = scene.restore(&options).unwrap();
        prop_assert_eq!(&read(&to), &expected);
        let left = again.files + again.others;
        prop_assert!(left == 0 && again.bytes == 0, "{left} were written again");
        prop_assert_eq!(again.problems.len(), done.problems.len());
    }
}

#[test]
fn everything_is_restored_over_something_else_as_if_it_were_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    everything(&source);
    let scene = Scene::of(&source);
    let options =
        RestoreOptions { verify: true, ..scene.options(&target, Existing::Overwrite, &|_| {}) };
    let first = scene.restore(&options).unwrap();
    assert!(first.problems.is_empty(), "{:?}", first.problems);
    assert!(first.verified.unwrap() > 40 << 20, "holes count, and are read back as such");
    same(&source, &target);
    // Changed in content, attributes, kind, links.
    fs::write(target.join("large"), noise(7, 5 << 20)).unwrap();
    fs::set_permissions(target.join("text"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::remove_file(target.join("link")).unwrap();
    fs::create_dir(target.join("link")).unwrap();
    fs::remove_file(target.join("pipe")).unwrap();
    fs::write(target.join("pipe"), "not a pipe").unwrap();
    fs::set_permissions(target.join("deep"), PermissionsExt::from_mode(0o700)).unwrap();
    let repaired = scene.restore(&options).unwrap();
    assert!(repaired.problems.is_empty(), "{:?}", repaired.problems);
    same(&source, &target);
    let before = inodes(&target);
    let untouched = scene.restore(&options).unwrap();
    assert_eq!((untouched.files, untouched.others, untouched.bytes), (0, 0, 0));
    assert_eq!(inodes(&target), before, "nothing was written again");
    same(&source, &target);
}

fn inodes(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            found.extend(inodes(&path));
        }
        found.insert(path, stat.ino());
    }
    found
}

#[test]
fn a_name_outside_keeps_its_attributes_whatever_the_file_in_the_target_gets() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir_all(&source).unwrap();
    fs::create_dir_all(&target).unwrap();
    fs::write(source.join("f"), "the same").unwrap();
    fs::set_permissions(source.join("f"), PermissionsExt::from_mode(0o666)).unwrap();
    let outside = folder.path().join("outside");
    fs::write(&outside, "the same").unwrap();
    fs::set_permissions(&outside, PermissionsExt::from_mode(0o600)).unwrap();
    fs::hard_link(&outside, target.join("f")).unwrap();
    let scene = Scene::of(&source);
    scene.restore(&scene.options(&target, Existing::Overwrite, &|_| {})).unwrap();
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o777, 0o600);
    same(&source, &target);
}

#[test]
fn links_in_the_target_are_never_followed_whatever_is_chosen() {
    for existing in [Existing::Skip, Existing::Overwrite, Existing::KeepBoth] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("source/d/e")).unwrap();
        fs::write(path("source/d/f"), "new").unwrap();
        fs::write(path("source/d/e/g"), "new").unwrap();
        fs::create_dir_all(path("outside/e")).unwrap();
        fs::write(path("outside/f"), "precious").unwrap();
        fs::create_dir(path("target")).unwrap();
        symlink(path("outside"), path("target/d")).unwrap();
        let scene = Scene::of(&path("source"));
        let done = scene.restore(&scene.options(&path("target"), existing, &|_| {})).unwrap();
        assert!(done.problems.is_empty(), "{existing:?}: {:?}", done.problems);
        assert_eq!(fs::read(path("outside/f")).unwrap(), b"precious");
        assert!(fs::read_dir(path("outside/e")).unwrap().next().is_none(), "{existing:?}");
        let link = fs::symlink_metadata(path("target/d")).unwrap().is_symlink();
        assert_eq!(link, existing != Existing::Overwrite, "{existing:?}");
        assert_eq!(path("target/d.old/e/g").exists(), existing == Existing::KeepBoth);
    }
}

#[test]
fn an_interrupted_restore_goes_on_by_the_same_call_and_by_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    everything(&source);
    let scene = Scene::of(&source);
    let journals = folder.path().join("journals");
    let mut runs = 0;
    loop {
        let stop = AtomicBool::new(false);
        let (left, resumed) = (Mutex::new(700_000 * runs), AtomicBool::new(false));
        let events = |event: RestoreEvent<'_>| match event {
            RestoreEvent::Bytes(bytes) => {
                let mut left = left.lock().unwrap();
                *left = i64::saturating_sub(*left, i64::try_from(bytes).unwrap());
                stop.fetch_or(*left < 0, Ordering::Relaxed);
            }
            RestoreEvent::Resumed => resumed.store(true, Ordering::Relaxed),
            _ => {}
        };
        let options = RestoreOptions {
            below: Some(source.clone()),
            journals: Some(journals.clone()),
            ..RestoreOptions::into_folder(&target, &stop, &events)
        };
        let done = scene.restore(&options);
        assert_eq!(resumed.load(Ordering::Relaxed), runs > 0);
        runs += 1;
        match done {
            Ok(done) => {
                assert!(done.problems.is_empty(), "{:?}", done.problems);
                assert!(done.same > 0, "something was there");
                break;
            }
            Err(error) => assert!(matches!(error, Error::Interrupted), "{error}"),
        }
        // What a killed run leaves where files have a name before they are whole.
        let text = fs::read_to_string(names(&journals).first().unwrap()).unwrap();
        let token = text.lines().find_map(|line| line.strip_prefix("token ")).unwrap();
        fs::write(target.join(format!(".packmule-unfinished-{token}-9")), "half").unwrap();
        // And what it leaves of a directory whose files were not all there.
        let hidden = target.join(format!(".packmule-unfinished-{token}-{}", 1_u64 << 63 | 1));
        fs::create_dir_all(&hidden).unwrap();
        fs::write(hidden.join("file"), "half").unwrap();
        // Without the notes it is somebody else's folder.
        let other = scene.restore(&scene.options(&target, Existing::Refuse, &|_| {}));
        assert!(matches!(other, Err(Error::TargetNotEmpty { .. })));
    }
    assert!(runs > 3, "{runs}");
    same(&source, &target);
    assert!(names(&journals).is_empty(), "nothing is left of the notes");
}

fn names(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_somebody_has_changed_since_an_interruption_stays_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    for n in 0..20 {
        fs::write(source.join(format!("{n:02}")), noise(n, 200_000)).unwrap();
    }
    let scene = Scene::of(&source);
    let stop = AtomicBool::new(false);
    let events = |event: RestoreEvent<'_>| {
        if matches!(event, RestoreEvent::File) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let journals = Some(folder.path().join("journals"));
    let options = RestoreOptions {
        below: Some(source.clone()),
        journals: journals.clone(),
        ..RestoreOptions::into_folder(&target, &stop, &events)
    };
    assert!(matches!(scene.restore(&options), Err(Error::Interrupted)));
    let victim = names(&target).into_iter().min().unwrap();
    fs::write(&victim, noise(99, 200_000)).unwrap();
    let options = RestoreOptions { journals, ..scene.options(&target, Existing::Refuse, &|_| {}) };
    let done = scene.restore(&options).unwrap();
    assert_eq!(done.problems.len(), 1);
    assert!(matches!(done.problems[0].fault, Fault::Exists));
    assert_eq!(done.problems[0].path, victim);
    assert!(fs::read(&victim).unwrap() == noise(99, 200_000));
    let all: BTreeSet<_> =
        names(&source).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names(&target).len(), all.len());
}

#[test]
fn what_the_medium_does_not_give_back_is_found_by_reading_it() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("good"), noise(1, 300_000)).unwrap();
    fs::write(source.join("bad"), noise(2, 300_000)).unwrap();
    let scene = Scene::of(&source);
    let events = |event: RestoreEvent<'_>| {
        if matches!(event, RestoreEvent::Verifying) {
            let mut bytes = noise(2, 300_000);
            bytes[150_000] ^= 1;
            fs::write(target.join("bad"), bytes).unwrap();
        }
    };
    let options =
        RestoreOptions { verify: true, ..scene.options(&target, Existing::Refuse, &events) };
    let done = scene.restore(&options).unwrap();
    assert_eq!((done.not_as_written, done.verified), (1, Some(300_000)));
    assert!(done.problems[0].path.ends_with("bad"));
    // The choice is of no weight here: what differs is not taken for somebody else's.
    for existing in [Existing::Skip, Existing::KeepBoth, Existing::Overwrite] {
        fs::remove_dir_all(&target).unwrap();
        let options = RestoreOptions { verify: true, ..scene.options(&target, existing, &events) };
        assert_eq!(scene.restore(&options).unwrap().not_as_written, 1, "{existing:?}");
    }
}

#[test]
fn only_the_way_to_what_is_wanted_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir_all(source.join("a/b/c")).unwrap();
    fs::create_dir_all(source.join("x/y")).unwrap();
    fs::write(source.join("a/b/c/plan.odt"), "plan").unwrap();
    fs::write(source.join("a/b/other"), "other").unwrap();
    fs::set_permissions(source.join("a/b"), PermissionsExt::from_mode(0o751)).unwrap();
    let scene = Scene::of(&source);
    let select = Select::new(&[], &["*.odt".to_owned()], &[]).unwrap();
    let options = RestoreOptions { select, ..scene.options(&target, Existing::Refuse, &|_| {}) };
    let done = scene.restore(&options).unwrap();
    assert_eq!((done.files, done.dirs), (1, 3));
    assert_eq!(fs::read(target.join("a/b/c/plan.odt")).unwrap(), b"plan");
    assert!(!target.join("x").exists() && !target.join("a/b/other").exists());
    assert_eq!(fs::metadata(target.join("a/b")).unwrap().mode() & 0o777, 0o751);
    let select = Select::new(&[], &["*.pdf".to_owned()], &[]).unwrap();
    let none = RestoreOptions {
        select,
        ..scene.options(&folder.path().join("t"), Existing::Refuse, &|_| {})
    };
    assert!(matches!(scene.restore(&none), Err(Error::NothingSelected)));
}

#[test]
fn what_appears_while_a_restore_runs_is_not_replaced_unless_that_was_chosen() {
    for existing in [Existing::Refuse, Existing::Skip, Existing::KeepBoth] {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("small"), "from the snapshot").unwrap();
        fs::write(source.join("large"), noise(3, 3 << 20)).unwrap();
        let scene = Scene::of(&source);
        // All is planned, and nothing is written yet.
        let events = |event: RestoreEvent<'_>| {
            if let RestoreEvent::Total { .. } = event {
                fs::write(target.join("small"), "somebody's").unwrap();
                fs::write(target.join("large"), "somebody's").unwrap();
            }
        };
        let done = scene.restore(&scene.options(&target, existing, &events)).unwrap();
        assert_eq!(done.problems.len(), 2, "{existing:?}: {:?}", done.problems);
        for name in ["small", "large"] {
            assert_eq!(fs::read(target.join(name)).unwrap(), b"somebody's", "{existing:?}");
        }
        assert_eq!(names(&target).len(), 2, "nothing unfinished is left");
    }
}
