//! The three data sets: made once, the same from the same seeds, and used again.
//! Never changes one that is there; `mutate` does.
//!
//! | set | what | bytes at full size |
//! |---|---|---|
//! | A | programs and sources of this machine, logs, media, a tenth of it twice | about 4.5 GB |
//! | B | 100,000 files of 1 to 8 KB, text and noise | 0.46 GB |
//! | C | one image: half noise, a third text, the rest zeros | 6.4 GB |

use super::gather;
use super::noise::Noise;
use super::text::Log;
use crate::process::complain;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Raised when the same parameters would make other bytes.
const GENERATOR: u32 = 1;

const PART: usize = 1 << 20;
const BLOCK: u64 = 4096;

/// A data set's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Set {
    /// Mixed.
    A,
    /// Many small files.
    B,
    /// One large image.
    C,
}

impl Set {
    pub(crate) const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }

    /// Bytes that it takes at full size, at most.
    fn most_bytes(self) -> u64 {
        match self {
            Self::A => 5_500_000_000,
            Self::B => 700_000_000,
            Self::C => 6 << 30,
        }
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|set| set.word() == text);
        found.ok_or_else(|| format!("there is no data set {text}; there are A, B, C"))
    }
}

/// How large the sets are made, in thousandths of the full size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scale(u64);

impl Scale {
    pub(crate) const FULL: Self = Self(1000);
    /// Enough to see that everything works.
    pub(crate) const QUICK: Self = Self(50);

    /// That part of `whole`.
    pub(crate) fn of(self, whole: u64) -> u64 {
        whole * self.0 / 1000
    }

    /// Whether a thing that is chosen by `hash` is within the part.
    pub(crate) fn takes(self, hash: u64) -> bool {
        hash % 1000 < self.0
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no scale: more than 0, at most 1, as in 0.05");
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 {
            return Err(wrong());
        }
        let thousandths = format!("{whole}{part:0<3}").parse().map_err(|_| wrong())?;
        if (1..=1000).contains(&thousandths) { Ok(Self(thousandths)) } else { Err(wrong()) }
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A set that is there.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    pub(crate) set: Set,
    /// The folder that is backed up.
    pub(crate) folder: PathBuf,
    /// How it came about, for the report.
    pub(crate) origin: String,
}

impl Data {
    /// Where the set's own state is kept while it is changed: beside it, to outlive this program.
    pub(crate) fn saved(&self) -> PathBuf {
        self.folder.with_extension("saved")
    }
}

/// What the generator was asked for: written beside the set when it is whole.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    generator: u32,
    scale: Scale,
}

/// Has the set below `data`: makes it when it is not there, and anew when it was made by us with
/// other parameters. What somebody else put there is used as it is.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn prepare(data: &Path, set: Set, scale: Scale) -> anyhow::Result<Data> {
    let folder = data.join(set.word());
    let marker = data.join(format!("{}.made.json", set.word()));
    let wanted = Made { generator: GENERATOR, scale };
    let made: Option<Made> =
        std::fs::read(&marker).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let origin = match &made {
        None if folder.is_dir() => "as it was found".to_owned(),
        _ => format!("generator {GENERATOR}, scale {scale}"),
    };
    if (made.is_none() && folder.is_dir()) || (made == Some(wanted) && folder.is_dir()) {
        return Ok(Data { set, folder, origin });
    }
    complain(&format!("making data set {}", set.word()));
    remove(&marker, &folder)?;
    let begun = data.join(format!("{}.begun", set.word()));
    remove(&marker, &begun)?;
    std::fs::create_dir_all(&begun).with_context(|| format!("cannot make {}", begun.display()))?;
    let needed = scale.of(set.most_bytes());
    let free = super::ground::free_bytes(&begun)?;
    ensure!(needed < free, "set {} needs {needed} bytes, {free} are free", set.word());
    match set {
        Set::A => mixed(&begun, scale)?,
        Set::B => many_small(&begun, scale)?,
        Set::C => image(&begun, scale)?,
    }
    std::fs::rename(&begun, &folder)?;
    std::fs::write(&marker, serde_json::to_vec(&Made { generator: GENERATOR, scale })?)?;
    Ok(Data { set, folder, origin })
}

/// The marker first: a set without one that is half gone would pass for somebody else's.
fn remove(marker: &Path, folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    if marker.exists() {
        std::fs::remove_file(marker)?;
    }
    Ok(())
}

fn mixed(root: &Path, scale: Scale) -> anyhow::Result<()> {
    gather::from_machine(root, scale)?;
    let (random, logs) = (root.join("random"), root.join("logs"));
    std::fs::create_dir_all(&random)?;
    std::fs::create_dir_all(&logs)?;
    for number in 1..=15 {
        let mut source = Noise::new(number);
        let file = random.join(format!("media{number}.bin"));
        write_file(&file, scale.of(100_000_000), |part| source.fill(part))?;
    }
    for number in 1..=20 {
        let mut source = Log::new(number * 1000);
        let file = logs.join(format!("app{number}.log"));
        write_file(&file, scale.of(50_000_000), |part| source.fill(part))?;
    }
    gather::twice(root)
}

fn many_small(root: &Path, scale: Scale) -> anyhow::Result<()> {
    let (mut sizes, mut noise, mut text) = (Noise::new(7), Noise::new(8), Log::new(77));
    for number in 0..scale.of(100_000) {
        let (folder, file) = (number / 200, number % 200);
        let folder = root.join(format!("d{:02}/s{:02}", folder / 25, folder % 25));
        if file == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        let mut bytes = vec![0; usize::try_from(sizes.between(1024, 8192))?];
        let is_text = sizes.below(10) < 6;
        if is_text {
            text.fill(&mut bytes);
        } else {
            noise.fill(&mut bytes);
        }
        let suffix = if is_text { "txt" } else { "bin" };
        std::fs::write(folder.join(format!("f{file:03}.{suffix}")), bytes)?;
    }
    Ok(())
}

/// Extents of 64 KiB to 16 MiB, none of them a hole.
fn image(root: &Path, scale: Scale) -> anyhow::Result<()> {
    let (mut extents, mut noise, mut text) = (Noise::new(6), Noise::new(9), Log::new(66));
    let total = scale.of(6 << 30) / BLOCK * BLOCK;
    let mut file = BufWriter::with_capacity(PART, File::create(root.join("disk.img"))?);
    let mut done = 0;
    while done < total {
        let octave = 1 << extents.between(4, 11);
        let length = (BLOCK * (octave + extents.below(octave))).min(total - done);
        match extents.below(100) {
            0..50 => write_bytes(&mut file, length, |part| noise.fill(part))?,
            50..85 => write_bytes(&mut file, length, |part| text.fill(part))?,
            _ => write_bytes(&mut file, length, |part| part.fill(0))?,
        }
        done += length;
    }
    Ok(file.flush()?)
}

fn write_file(path: &Path, length: u64, fill: impl FnMut(&mut [u8])) -> anyhow::Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    write_bytes(&mut file, length, fill)
}

fn write_bytes(
    to: &mut impl Write,
    length: u64,
    mut fill: impl FnMut(&mut [u8]),
) -> anyhow::Result<()> {
    let mut buffer = vec![0; PART];
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).map_or(PART, |left| left.min(PART));
        let Some(part) = buffer.get_mut(..now) else { break };
        fill(part);
        to.write_all(part)?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path and content of all regular files, in order of path.
    fn content(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found: Vec<_> = super::super::tree::files(root)
            .unwrap()
            .into_iter()
            .map(|path| (path.clone(), std::fs::read(root.join(path)).unwrap()))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_set_is_the_same_every_time_it_is_made() {
        let scale = Scale(1);
        for set in [Set::B, Set::C] {
            let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let one = content(&prepare(one.path(), set, scale).unwrap().folder);
            let two = content(&prepare(two.path(), set, scale).unwrap().folder);
            assert!(one == two, "{set:?}");
            assert_eq!(one.len(), if set == Set::B { 100 } else { 1 });
        }
    }

    #[test]
    fn small_files_and_images_have_the_sizes_they_promise() {
        let folder = tempfile::tempdir().unwrap();
        let small = content(&prepare(folder.path(), Set::B, Scale(1)).unwrap().folder);
        assert!(small.iter().all(|(_, bytes)| (1024..=8192).contains(&bytes.len())));
        let text = small.iter().filter(|(path, _)| path.extension().unwrap() == "txt").count();
        assert!((40..80).contains(&text), "{text}");
        let image = content(&prepare(folder.path(), Set::C, Scale(1)).unwrap().folder);
        assert_eq!(image[0].1.len() as u64, (6u64 << 30) / 1000 / 4096 * 4096);
    }

    #[test]
    fn a_set_is_made_once_and_anew_only_when_its_parameters_change() {
        let folder = tempfile::tempdir().unwrap();
        let made = prepare(folder.path(), Set::B, Scale(1)).unwrap();
        let sign = made.folder.join("sign");
        std::fs::write(&sign, "").unwrap();
        prepare(folder.path(), Set::B, Scale(1)).unwrap();
        assert!(sign.exists());
        prepare(folder.path(), Set::B, Scale(2)).unwrap();
        assert!(!sign.exists());
    }

    #[test]
    fn what_somebody_else_put_there_is_used_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("B")).unwrap();
        let found = prepare(folder.path(), Set::B, Scale::FULL).unwrap();
        assert_eq!(found.origin, "as it was found");
        assert!(content(&found.folder).is_empty());
    }

    #[test]
    fn a_scale_is_a_part_in_thousandths() {
        for (text, part) in [("1", 1000), ("1.0", 1000), ("0.05", 50), ("0.123", 123), (".5", 500)]
        {
            assert_eq!(text.parse(), Ok(Scale(part)), "{text}");
        }
        for text in ["0", "1.001", "2", "-1", "0.0001", "a", "", "."] {
            assert!(text.parse::<Scale>().is_err(), "{text}");
        }
        assert_eq!(Scale(50).of(2000), 100);
        assert_eq!(Scale(50).to_string(), "0.050");
        let taken = (0..1000).filter(|hash| Scale(50).takes(*hash)).count();
        assert_eq!(taken, 50);
    }
}
