//! Files and folders: as they are, or as snapshots of their file systems have them. Takes no snapshot itself.

use crate::snapshot::{self, Taken, mounts::Mounts};
use crate::{Error, Held, Home, Notice, Workload};
use backup::{Select, View};
use policy::Snapshot;
use std::path::{Path, PathBuf};

/// Files and folders.
#[derive(Debug, Clone)]
pub struct Files {
    /// What is protected: absolute paths.
    pub paths: Vec<PathBuf>,
    /// Whether snapshots are taken.
    pub snapshot: Snapshot,
    /// Only the file systems of the paths are backed up.
    pub one_file_system: bool,
    /// A folder for notes of the snapshots that there are; each agent has its own.
    pub notes: PathBuf,
}

impl Files {
    /// These paths, as they are.
    #[must_use]
    pub fn as_they_are(paths: Vec<PathBuf>) -> Self {
        Self { paths, snapshot: Snapshot::Off, one_file_system: false, notes: PathBuf::new() }
    }
}

impl Workload for Files {
    fn hold(&self, tell: &dyn Fn(Notice)) -> Result<Box<dyn Held>, Error> {
        snapshot::clear(&self.notes, tell);
        let mut holding = Holding { files: self.clone(), taken: Vec::new(), view: View::default() };
        if self.snapshot == Snapshot::Off {
            return Ok(Box::new(holding));
        }
        holding.view.stand_in(snapshot::STAND_IN);
        holding.view.strict(self.snapshot == Snapshot::Require);
        let mounts = Mounts::now().map_err(|cause| Error::Io {
            action: "reading",
            path: "/proc/self/mountinfo".into(),
            cause,
        })?;
        for path in &self.paths {
            holding.path(&mounts, path, tell)?;
        }
        Ok(Box::new(holding))
    }

    /// The nearest folder above each that is there, which may be reached through links.
    fn homes(&self, select: &Select) -> Vec<Home> {
        let (paths, mut homes) = (&self.paths, Vec::new());
        for path in paths.iter().filter(|path| path.is_absolute()) {
            // Covered by another one.
            if paths.iter().any(|other| other != path && path.starts_with(other)) {
                continue;
            }
            let above = path.ancestors().skip(1).find(|above| above.is_dir());
            let target = above.unwrap_or(Path::new("/")).to_owned();
            let below = target.clone();
            homes.push(Home { target, below, select: select.clone().within(path) });
        }
        homes
    }
}

/// File systems that show what the kernel knows: nothing of them can be held.
const KERNELS: [&str; 18] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// Files and folders that are held.
struct Holding {
    files: Files,
    taken: Vec<Taken>,
    view: View,
}

impl Holding {
    /// A path of the group, and what is mounted below it.
    fn path(&mut self, mounts: &Mounts, path: &Path, tell: &dyn Fn(Notice)) -> Result<(), Error> {
        // A link is backed up as such, and what is not there says so by itself.
        let is_link = path.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
        let Ok(real) = path.canonicalize() else { return Ok(()) };
        if is_link {
            return Ok(());
        }
        self.one(mounts, (path, &real), tell)?;
        for below in mounts.below(&real) {
            let Ok(rest) = below.strip_prefix(&real) else { continue };
            let name = path.join(rest);
            let is_kernels = mounts.of(below).is_some_and(|mount| KERNELS.contains(&&*mount.kind));
            if self.files.one_file_system || is_kernels {
                // Of another file system, its own attributes are backed up, and nothing in it.
                self.view.read(&name, below);
            } else {
                self.one(mounts, (&name, below), tell)?;
            }
        }
        Ok(())
    }

    /// Something of one file system, by the name that it has and by where it is.
    fn one(
        &mut self,
        mounts: &Mounts,
        (name, real): (&Path, &Path),
        tell: &dyn Fn(Notice),
    ) -> Result<(), Error> {
        match self.taken_of(mounts, real) {
            Ok(from) => self.view.read(name, &from),
            Err(why) if self.files.snapshot == Snapshot::Require => {
                return Err(Error::NoSnapshot { path: name.to_owned(), why });
            }
            Err(why) => {
                self.view.read(name, real);
                tell(Notice::NotHeld { path: name.to_owned(), why });
            }
        }
        Ok(())
    }

    /// Where the snapshot has it; one is taken, unless there is one of that already.
    fn taken_of(&mut self, mounts: &Mounts, real: &Path) -> Result<PathBuf, String> {
        let source = snapshot::source(mounts, real)?;
        if !self.taken.iter().any(|taken| taken.is_of(&source)) {
            let taken = source.take(&self.files.notes)?;
            if let Some((seen, own)) = taken.devices(&source) {
                self.view.device(seen, own);
            }
            if let Some(check) = taken.check() {
                self.view.check(check);
            }
            self.taken.push(taken);
        }
        let taken = self.taken.iter().find(|taken| taken.is_of(&source));
        source.seen(taken.ok_or("there is none")?, real)
    }
}

impl Held for Holding {
    fn paths(&self) -> &[PathBuf] {
        &self.files.paths
    }

    fn view(&self) -> View {
        self.view.clone()
    }

    fn release(mut self: Box<Self>, tell: &dyn Fn(Notice)) {
        for taken in self.taken.drain(..) {
            taken.remove(tell);
        }
    }
}
