//! What disk preparation asks, in which order, and what an answer leads to. Writes no drive and knows no
//! server: that is behind [`Desk`].
//!
//! ```text
//!  which staging location ─▶ which drives ─▶ (formatting confirmed, written) ─▶ more drives … ─▶ import job
//!     ─▶ shipping details now? ─▶ carrier, number, address ─▶ reviewed ─▶ yes
//! ```
//!
//! invariant: an empty answer, or none, ends the dialogue where it is, and loses nothing: the same command
//! goes on there.

use crate::failure::Failure;
use crate::ui::Ask;
use model::ErrorKind;
use std::path::PathBuf;

/// Something that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice<T> {
    /// What is chosen.
    pub(super) value: T,
    /// How people tell it from the others.
    pub(super) words: String,
}

/// How a round of writing has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Round {
    /// Everything is on sealed drives, and the import job is there.
    Complete,
    /// The drives are full: what is still needed, in words.
    Needs(String),
    /// Drives are needed, and whoever was asked for them meanwhile has left.
    Left,
    /// More drives would not help.
    Stuck,
}

/// What the dialogue is about.
pub(super) trait Desk {
    /// Staging locations with a seed whose drives are to be written.
    fn seeds(&self) -> Result<Vec<Choice<String>>, Failure>;
    /// Drives that may be used and are not in use.
    fn drives(&self) -> Result<Vec<Choice<PathBuf>>, Failure>;
    /// Writes these drives, and shows what came of it.
    fn write(&self, staging: &str, drives: &[PathBuf]) -> Result<Round, Failure>;
    /// Asks for shipping details, and hands them over.
    fn ship(&self, staging: &str) -> Result<(), Failure>;
}

/// Where the dialogue has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is nothing left to do here.
    Shipped,
    /// The shipping details are still to be given.
    Written,
    /// Drives are missing.
    Needs,
    /// Something is wrong with what is to be written.
    Stuck,
}

/// One dialogue.
pub(super) struct Dialogue<'a> {
    pub(super) desk: &'a dyn Desk,
    pub(super) ask: &'a dyn Ask,
    pub(super) say: &'a dyn Fn(&str),
}

impl Dialogue<'_> {
    /// Asks for what was not given, until nothing is left to do or somebody leaves.
    ///
    /// # Errors
    /// Those of the desk; [`ErrorKind::Invalid`] where something must be asked and nobody is there.
    pub(super) fn run(&self, staging: Option<&str>, drives: &[PathBuf]) -> Result<Ended, Failure> {
        let staging = match staging {
            Some(staging) => staging.to_owned(),
            None => self.staging()?,
        };
        let mut drives = match drives {
            [] if self.ask.is_there() => {
                let chosen = self.drives("Which drives")?;
                if chosen.is_empty() {
                    (self.say)("nothing was changed; to finish what needs no drive, give --yes");
                    return Ok(Ended::Needs);
                }
                chosen
            }
            given => given.to_vec(),
        };
        loop {
            match self.desk.write(&staging, &drives)? {
                Round::Complete => break,
                Round::Stuck => return Ok(Ended::Stuck),
                Round::Left => return Ok(Ended::Needs),
                Round::Needs(_) if !self.ask.is_there() => return Ok(Ended::Needs),
                Round::Needs(what) => {
                    (self.say)(&format!(
                        "{what}. Take out the drives that are sealed, and put in others"
                    ));
                    drives = self.drives("Which drives now")?;
                    if drives.is_empty() {
                        return Ok(Ended::Needs);
                    }
                }
            }
        }
        if !self.ask.is_there() {
            return Ok(Ended::Written);
        }
        let question = "Give the shipping details now? yes, or Enter for later";
        if self.answer("later", question)?.as_deref() != Some("yes") {
            return Ok(Ended::Written);
        }
        self.desk.ship(&staging)?;
        Ok(Ended::Shipped)
    }

    fn staging(&self) -> Result<String, Failure> {
        let seeds = self.desk.seeds()?;
        if let [only] = seeds.as_slice() {
            return Ok(only.value.clone());
        }
        let none = |words: &str| Failure::new(ErrorKind::NotFound, words);
        if seeds.is_empty() {
            return Err(none("no staging location holds a first backup that waits for drives"));
        }
        self.list(&seeds);
        let numbers = self.numbers("the staging location", "Which one", seeds.len())?;
        let chosen = numbers.first().and_then(|number| seeds.get(*number));
        let chosen = chosen.ok_or_else(|| Failure::new(ErrorKind::Interrupted, "none was chosen"));
        Ok(chosen?.value.clone())
    }

    /// None when somebody leaves it at that.
    fn drives(&self, question: &str) -> Result<Vec<PathBuf>, Failure> {
        let drives = self.desk.drives()?;
        if drives.is_empty() {
            (self.say)("no drive is attached that could be used: `packmule drive list` says why");
        }
        self.list(&drives);
        let question = format!("{question}? Numbers, or Enter to go on another time");
        let numbers = self.numbers("drive", &question, drives.len())?;
        let chosen = numbers.iter().filter_map(|number| drives.get(*number));
        Ok(chosen.map(|drive| drive.value.clone()).collect())
    }

    fn list<T>(&self, choices: &[Choice<T>]) {
        for (number, choice) in (1..).zip(choices) {
            (self.say)(&format!("{number}: {}", choice.words));
        }
    }

    /// Numbers of what was listed, from 0, each once; asked for until they are some, or there is no answer.
    fn numbers(&self, flag: &str, question: &str, most: usize) -> Result<Vec<usize>, Failure> {
        loop {
            let Some(answer) = self.answer(flag, question)? else { return Ok(Vec::new()) };
            let words = answer.split([' ', ',']).filter(|word| !word.is_empty());
            let number = |word: &str| {
                let number = word.parse::<usize>().ok()?.checked_sub(1)?;
                (number < most).then_some(number)
            };
            match words.map(number).collect::<Option<Vec<_>>>() {
                Some(mut numbers) if !numbers.is_empty() => {
                    let mut seen = std::collections::BTreeSet::new();
                    numbers.retain(|number| seen.insert(*number));
                    return Ok(numbers);
                }
                _ => (self.say)(&format!("'{answer}' is none of the numbers from 1 to {most}")),
            }
        }
    }

    /// None for an empty answer, or for somebody who has left.
    fn answer(&self, flag: &str, question: &str) -> Result<Option<String>, Failure> {
        match self.ask.ask(flag, question) {
            Ok(answer) => Ok(Some(answer).filter(|answer| !answer.is_empty())),
            Err(failure) if failure.kind == ErrorKind::Interrupted => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// Somebody with answers, who leaves after the last one.
    struct Person {
        answers: RefCell<VecDeque<&'static str>>,
        asked: RefCell<Vec<String>>,
        is_there: bool,
    }

    impl Ask for Person {
        fn ask(&self, flag: &str, question: &str) -> Result<String, Failure> {
            if !self.is_there {
                return Err(Failure::new(ErrorKind::Invalid, format!("give --{flag}")));
            }
            self.asked.borrow_mut().push(question.to_owned());
            let left = || Failure::new(ErrorKind::Interrupted, "no answer");
            self.answers.borrow_mut().pop_front().map(str::to_owned).ok_or_else(left)
        }

        fn is_there(&self) -> bool {
            self.is_there
        }
    }

    struct Table {
        seeds: Vec<&'static str>,
        drives: Vec<&'static str>,
        rounds: RefCell<VecDeque<Round>>,
        written: RefCell<Vec<(String, Vec<PathBuf>)>>,
        shipped: RefCell<Vec<String>>,
    }

    fn choices<T>(of: &[&'static str], value: impl Fn(&str) -> T) -> Vec<Choice<T>> {
        let choice = |word: &&str| Choice { value: value(word), words: (*word).to_owned() };
        of.iter().map(choice).collect()
    }

    impl Desk for Table {
        fn seeds(&self) -> Result<Vec<Choice<String>>, Failure> {
            Ok(choices(&self.seeds, str::to_owned))
        }
        fn drives(&self) -> Result<Vec<Choice<PathBuf>>, Failure> {
            Ok(choices(&self.drives, |path| PathBuf::from(path)))
        }
        fn write(&self, staging: &str, drives: &[PathBuf]) -> Result<Round, Failure> {
            self.written.borrow_mut().push((staging.to_owned(), drives.to_vec()));
            Ok(self.rounds.borrow_mut().pop_front().unwrap_or(Round::Complete))
        }
        fn ship(&self, staging: &str) -> Result<(), Failure> {
            self.shipped.borrow_mut().push(staging.to_owned());
            Ok(())
        }
    }

    /// A seed whose first drive is not enough.
    fn table() -> Table {
        Table {
            seeds: vec!["/mnt/a", "/mnt/b"],
            drives: vec!["/dev/sdb", "/dev/sdc"],
            rounds: RefCell::new([Round::Needs("one more".to_owned())].into()),
            written: RefCell::default(),
            shipped: RefCell::default(),
        }
    }

    fn person(answers: &[&'static str]) -> Person {
        let answers = RefCell::new(answers.iter().copied().collect());
        Person { answers, asked: RefCell::default(), is_there: true }
    }

    fn run(table: &Table, person: &Person, staging: Option<&str>, drives: &[&str]) -> Ended {
        let drives: Vec<PathBuf> = drives.iter().map(PathBuf::from).collect();
        let dialogue = Dialogue { desk: table, ask: person, say: &|_| () };
        dialogue.run(staging, &drives).unwrap()
    }

    const WHOLE: [&str; 4] = ["2", "1", "2", "yes"];

    #[test]
    fn everything_that_was_not_given_is_asked_for() {
        let (table, person) = (table(), person(&WHOLE));
        assert_eq!(run(&table, &person, None, &[]), Ended::Shipped);
        let expected = [("/mnt/b", "/dev/sdb"), ("/mnt/b", "/dev/sdc")];
        let expected = expected.map(|(at, drive)| (at.to_owned(), vec![PathBuf::from(drive)]));
        assert_eq!(*table.written.borrow(), expected);
        assert_eq!(*table.shipped.borrow(), ["/mnt/b"]);
    }

    #[test]
    fn what_was_given_is_not_asked_for() {
        let (table, person) = (table(), person(&["2", ""]));
        assert_eq!(run(&table, &person, Some("/mnt/c"), &["/dev/sdd"]), Ended::Written);
        assert_eq!(table.written.borrow()[0], ("/mnt/c".to_owned(), vec!["/dev/sdd".into()]));
        assert!(person.asked.borrow()[0].starts_with("Which drives now"));
        let (mut single, nobody) = (self::table(), self::person(&[]));
        single.seeds.truncate(1);
        single.rounds.borrow_mut().clear();
        assert_eq!(run(&single, &nobody, None, &["/dev/sdd"]), Ended::Written);
        assert_eq!(single.written.borrow()[0].0, "/mnt/a");
    }

    #[test]
    fn whoever_leaves_at_a_question_loses_nothing_that_was_done() {
        for left in 1..WHOLE.len() {
            let (table, person) = (table(), person(&WHOLE[..left]));
            let ended = run(&table, &person, None, &[]);
            assert_eq!(table.written.borrow().len(), left - 1, "{left}");
            let expected = [Ended::Needs, Ended::Needs, Ended::Written][left - 1];
            assert_eq!(ended, expected, "{left}");
            assert_eq!(table.shipped.borrow().len(), 0);
            assert!(person.asked.borrow().len() > left, "{left}");
        }
        let (table, person) = (table(), person(&[]));
        let dialogue = Dialogue { desk: &table, ask: &person, say: &|_| () };
        assert_eq!(dialogue.run(None, &[]).unwrap_err().kind, ErrorKind::Interrupted);
        assert_eq!(table.written.borrow().len(), 0);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_asked_for_again() {
        let (table, person) = (table(), person(&["0", "3", "x", "1 2", "2", "2,1 1", "2", ""]));
        assert_eq!(run(&table, &person, None, &[]), Ended::Written);
        assert_eq!(table.written.borrow()[0].0, "/mnt/a");
        let drives = &table.written.borrow()[0].1;
        assert_eq!(*drives, [PathBuf::from("/dev/sdc")]);
        let drives = &table.written.borrow()[1].1;
        assert_eq!(*drives, ["/dev/sdc", "/dev/sdb"].map(PathBuf::from));
    }

    #[test]
    fn without_anybody_there_nothing_is_asked() {
        let nobody = Person { is_there: false, ..person(&[]) };
        let table = table();
        assert_eq!(run(&table, &nobody, Some("/mnt/a"), &["/dev/sdb"]), Ended::Needs);
        assert_eq!(run(&table, &nobody, Some("/mnt/a"), &["/dev/sdb"]), Ended::Written);
        let dialogue = Dialogue { desk: &table, ask: &nobody, say: &|_| () };
        assert_eq!(dialogue.run(None, &[]).unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn what_drives_cannot_mend_ends_it() {
        let table = table();
        table.rounds.replace([Round::Stuck].into());
        assert_eq!(run(&table, &person(&[]), Some("/mnt/a"), &["/dev/sdb"]), Ended::Stuck);
    }
}
