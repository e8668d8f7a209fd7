//! What `cargo xtask bench engine` was asked to do. Does none of it.

use super::case::Case;
use super::data::{Scale, Set};
use std::path::PathBuf;
use std::str::FromStr;

/// The arguments after `bench engine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which data sets.
    pub(crate) sets: Vec<Set>,
    /// Which cases are shown.
    pub(crate) cases: Vec<Case>,
    /// The peers that take part by name; all there are when none is named.
    pub(crate) peers: Option<Vec<String>>,
    /// How often everything is measured.
    pub(crate) runs: usize,
    /// How large the data sets are.
    pub(crate) scale: Scale,
    /// Where the data sets are, if not at the usual place.
    pub(crate) data: Option<PathBuf>,
    /// Where repositories and restored files go meanwhile, if not to the usual place.
    pub(crate) work: Option<PathBuf>,
    /// Where the raw results go.
    pub(crate) json: Option<PathBuf>,
    /// Peers that are missing may be installed and built.
    pub(crate) with_peers: bool,
    /// What the machine allows at most is measured, too.
    pub(crate) bound: bool,
    /// What the last run made is left where it is.
    pub(crate) keep: bool,
    /// The results go into docs/benchmarks.md.
    pub(crate) write: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sets: Set::ALL.to_vec(),
            cases: Case::SHOWN.to_vec(),
            peers: None,
            runs: 3,
            scale: Scale::FULL,
            data: None,
            work: None,
            json: None,
            with_peers: false,
            bound: true,
            keep: false,
            write: false,
        }
    }
}

impl Options {
    /// Parses the arguments after `bench engine`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--sets" => options.sets = list(value()?)?,
                "--cases" => options.cases = list(value()?)?,
                "--peers" => options.peers = Some(peers(value()?)?),
                "--runs" => options.runs = runs(value()?)?,
                "--scale" => options.scale = value()?.parse()?,
                "--data" => options.data = Some(value()?.into()),
                "--work" => options.work = Some(value()?.into()),
                "--json" => options.json = Some(value()?.into()),
                "--quick" => (options.scale, options.runs) = (Scale::QUICK, 1),
                "--no-bound" => options.bound = false,
                "--with-peers" => options.with_peers = true,
                "--keep" => options.keep = true,
                "--write" => options.write = true,
                other => return Err(format!("bench engine has no option {other}")),
            }
        }
        Ok(options)
    }

    /// Whether a peer takes part.
    pub(crate) fn wants(&self, peer: &str) -> bool {
        self.peers.as_ref().is_none_or(|named| named.iter().any(|name| name == peer))
    }
}

fn list<T: FromStr<Err = String> + Ord>(text: &str) -> Result<Vec<T>, String> {
    let mut all: Vec<T> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    all.sort();
    all.dedup();
    Ok(all)
}

fn peers(text: &str) -> Result<Vec<String>, String> {
    let known = super::peers::names();
    let named = text.split(',').filter(|name| *name != "none");
    named
        .map(|name| match known.contains(&name) {
            true => Ok(name.to_owned()),
            false => Err(format!("there is no peer {name}; there are {}", known.join(", "))),
        })
        .collect()
}

fn runs(text: &str) -> Result<usize, String> {
    let runs = text.parse().map_err(|_| format!("{text} is no number of runs"))?;
    if runs == 0 { Err("nothing can be said without a run".to_owned()) } else { Ok(runs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_not_said_is_everything_at_full_size() {
        let options = parse("").unwrap();
        assert_eq!(options, Options::default());
        assert_eq!((options.sets.len(), options.runs), (3, 3));
        assert!(options.wants("restic"));
    }

    #[test]
    fn lists_are_taken_once_each_and_in_order() {
        let options =
            parse("--sets C,A,C --cases check,first --peers restic,borg --runs 5").unwrap();
        assert_eq!(options.sets, [Set::A, Set::C]);
        assert_eq!(options.cases, [Case::First, Case::Check]);
        assert!(options.wants("borg") && !options.wants("rustic"));
        assert_eq!(options.runs, 5);
        assert!(!parse("--peers none").unwrap().wants("restic"));
    }

    #[test]
    fn quick_is_small_and_once() {
        let options = parse("--quick --keep --data d --json j").unwrap();
        assert_eq!((options.scale, options.runs, options.keep), (Scale::QUICK, 1, true));
        assert_eq!(options.data, Some("d".into()));
        assert_eq!(options.json, Some("j".into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (given, said) in [
            ("--sets D", "D"),
            ("--cases prune", "prune"),
            ("--peers restic,duplicati", "duplicati"),
            ("--runs 0", "without a run"),
            ("--runs many", "many"),
            ("--scale 2", "2"),
            ("--scale 0", "0"),
            ("--json", "--json needs a value"),
            ("--slow", "--slow"),
            ("A", "A"),
        ] {
            let error = parse(given).unwrap_err();
            assert!(error.contains(said), "{given}: {error}");
        }
    }
}
