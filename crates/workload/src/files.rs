//! Files and folders: as they are, or as snapshots of their file systems have them. Takes no snapshot itself.

use crate::snapshot::{
    self, Source, Taken,
    mounts::{Mount, Mounts},
};
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
        let (taken, failed, view) = (Vec::new(), Vec::new(), View::default());
        let mut holding = Holding { files: self.clone(), taken, failed, view };
        if self.snapshot == Snapshot::Off {
            return Ok(Box::new(holding));
        }
        holding.view.strict(self.snapshot == Snapshot::Require);
        let mounts = Mounts::now().map_err(|cause| Error::Io {
            action: "reading",
            path: "/proc/self/mountinfo".into(),
            cause,
        })?;
        let parts: Vec<Part> =
            self.paths.iter().flat_map(|path| holding.parts(&mounts, path)).collect();
        // Nothing is taken where that could not be of everything.
        let mut missing = parts.iter().filter_map(|part| Some((part, part.source.as_ref().err()?)));
        if let Some((part, why)) = missing.next().filter(|_| self.snapshot == Snapshot::Require) {
            return Err(Error::NoSnapshot { path: part.name.clone(), why: why.clone() });
        }
        for part in &parts {
            holding.one(part, &parts, tell)?;
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

/// Something of one file system.
struct Part {
    /// By the name that it has.
    name: PathBuf,
    /// Where it is.
    real: PathBuf,
    /// What a snapshot can be taken of, or why there can be none.
    source: Result<Source, String>,
}

/// Files and folders that are held.
struct Holding {
    files: Files,
    taken: Vec<Taken>,
    /// Of what none could be taken, and why.
    failed: Vec<(Source, String)>,
    view: View,
}

impl Holding {
    /// What of a path of the group is to be held: itself, and what is mounted below it.
    fn parts(&mut self, mounts: &Mounts, path: &Path) -> Vec<Part> {
        // A link is backed up as such, and what is not there says so by itself.
        let is_link = path.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
        let Some(real) = path.canonicalize().ok().filter(|_| !is_link) else { return Vec::new() };
        let mut parts = Vec::new();
        let mut add = |name: PathBuf, real: &Path, only_itself: bool| {
            let mount = mounts.of(real);
            let is_kernels = mount.is_some_and(|mount| KERNELS.contains(&&*mount.kind));
            let is_held = mount.is_some_and(Mount::is_snapshot);
            if is_held || only_itself || is_kernels && name != path {
                self.view.read(&name, real);
            } else {
                let source = snapshot::source(mounts, real);
                parts.push(Part { name, real: real.to_owned(), source });
            }
        };
        add(path.to_owned(), &real, false);
        for below in mounts.below(&real) {
            let Ok(rest) = below.strip_prefix(&real) else { continue };
            // Of another file system, its own attributes are backed up, and nothing in it.
            add(path.join(rest), below, self.files.one_file_system);
        }
        parts
    }

    /// Reads a part from where it is held.
    fn one(&mut self, part: &Part, parts: &[Part], tell: &dyn Fn(Notice)) -> Result<(), Error> {
        let Part { name, real, source } = part;
        match self.taken_of(part, parts) {
            Ok(from) => {
                self.view.read(name, &from);
                if let Some(inode) = source.as_ref().ok().and_then(Source::stand_in) {
                    self.view.stand_in(name, inode);
                }
            }
            Err(why) if self.files.snapshot == Snapshot::Require => {
                return Err(Error::NoSnapshot { path: name.clone(), why });
            }
            Err(why) => {
                self.view.read(name, real);
                tell(Notice::NotHeld { path: name.clone(), why });
            }
        }
        Ok(())
    }

    /// Where a snapshot has it; one is taken, unless there is one of that already, with those of all other parts that go with it.
    fn taken_of(&mut self, part: &Part, parts: &[Part]) -> Result<PathBuf, String> {
        let source = part.source.as_ref().map_err(Clone::clone)?;
        if let Some((_, why)) = self.failed.iter().find(|(failed, _)| failed.goes_with(source)) {
            return Err(why.clone());
        }
        if !self.taken.iter().any(|taken| taken.is_of(source)) {
            let all = parts.iter().filter_map(|part| part.source.as_ref().ok());
            let together: Vec<&Source> = all.filter(|other| other.goes_with(source)).collect();
            match snapshot::take(&together, &self.files.notes) {
                Ok(taken) => self.took(&together, taken),
                Err(why) => {
                    self.failed.push((source.clone(), why.clone()));
                    return Err(why);
                }
            }
        }
        let taken = self.taken.iter().find(|taken| taken.is_of(source));
        source.seen(taken.ok_or("there is none")?, &part.real)
    }

    fn took(&mut self, sources: &[&Source], taken: Taken) {
        for (seen, own) in sources.iter().filter_map(|source| taken.devices(source)) {
            self.view.device(seen, own);
        }
        if let Some(check) = taken.check() {
            self.view.check(check);
        }
        self.taken.push(taken);
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
