//! Logs as they should be, and everything that can be done to them.

use crate::{
    Actor, Book, Broken, Event, Fault, Front, Keys, Logged, Proof, Proving, Receipted, Signed,
    Wiping, prove,
};
use jiff::Timestamp;
use model::Digest;
use proptest::prelude::*;
use signing::SigningKey;
use wire::{ActorKind, CustodyHead, Receipt, SeedId, Signature, SignedReceipt};

const SEED: SeedId = SeedId([0x11; 16]);

fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

fn server() -> SigningKey {
    key(9)
}

fn time(second: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + second, 0).unwrap()
}

fn actor(kind: ActorKind, name: &str, key: &SigningKey) -> Actor {
    Actor { kind, name: name.parse().unwrap(), key: key.public() }
}

/// Three who write, by the byte of their keys.
fn actors() -> [(Actor, SigningKey); 3] {
    [
        (actor(ActorKind::Source, "fs01", &key(1)), key(1)),
        (actor(ActorKind::Dock, "north", &key(2)), key(2)),
        (actor(ActorKind::Server, "server", &server()), server()),
    ]
}

/// One of every event.
fn events() -> Vec<Event> {
    let (job, drive) = (|| "seed-1".parse().unwrap(), || "WD-1".parse().unwrap());
    let digest = Digest([0xab; 32]);
    vec![
        Event::Formatted { drive: drive(), header: Some(digest) },
        Event::Formatted { drive: drive(), header: None },
        Event::Written { drive: drive(), set: 0, objects: 3, bytes: 4 },
        Event::Sealed { drive: drive(), set: 0, manifest: digest },
        Event::handed_over(job(), "DHL \"é\" \\ Ü", "ab 12345".parse().unwrap(), vec![drive()]),
        Event::Received { job: job(), drive: drive() },
        Event::Unlocked { job: job(), drive: drive(), header: digest },
        Event::Ingested { job: job(), drive: drive(), manifest: digest, objects: 3, missing: 1 },
        Event::Verified { job: job(), drive: drive(), manifest: digest, objects: 3, bytes: 4 },
        Event::Repaired { job: job(), drive: Some(drive()), objects: 3, bytes: 4 },
        Event::Repaired { job: job(), drive: None, objects: 3, bytes: 4 },
        Event::Wiped { job: job(), drive: drive(), how: Wiping::Keys, bytes: 16 },
        Event::Returned { job: job(), drive: drive() },
    ]
}

/// A log on its way: who has written last, and the lines.
#[derive(Clone, Default)]
struct Made {
    last: [Option<Signed>; 3],
    lines: Vec<String>,
    receipt: Option<SignedReceipt>,
}

impl Made {
    fn add(&mut self, who: usize, event: Event) {
        let (actor, key) = &actors()[who];
        let now = time(self.lines.len() as i64);
        let signed = Signed::next(self.last[who].as_ref(), SEED, actor, key, event, now);
        self.last[who] = Some(signed.clone());
        self.take(signed);
    }

    fn take(&mut self, signed: Signed) {
        let (order, last) = (self.lines.len() as u64, self.lines.last().map(String::as_str));
        let logged = Logged::new(signed, &server(), order, last, time(1000 + order as i64));
        self.lines.push(logged.encode());
    }

    fn heads(&self) -> Vec<CustodyHead> {
        let head = |signed: &Signed| {
            let Actor { kind, name, key } = signed.entry().actor.clone();
            CustodyHead { kind, name, key, count: signed.entry().number + 1, last: signed.hash() }
        };
        self.last.iter().flatten().map(head).collect()
    }

    /// As the server does it: noted, then signed for with all heads.
    fn publish(&mut self) {
        let digest = Digest([3; 32]);
        self.add(2, Event::Published { repository: digest, objects: 1, bytes: 2, root: digest });
        self.receipt = Some(receipt(Some(self.heads()), SEED));
    }

    fn front(&self) -> String {
        let (count, last) = (self.lines.len() as u64, self.lines.last().map(String::as_str));
        Front::new(SEED, count, last, self.receipt.clone(), &server(), time(5000)).encode()
    }

    fn file(&self) -> Vec<u8> {
        let mut text = self.front();
        text.push('\n');
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text.into_bytes()
    }
}

fn receipt(custody: Option<Vec<CustodyHead>>, seed: SeedId) -> SignedReceipt {
    let receipt = Receipt {
        version: 1,
        vault: "vault1".parse().unwrap(),
        server: "fs01".parse().unwrap(),
        seed,
        repository: Digest([3; 32]),
        snapshots: vec![Digest([4; 32])],
        objects: 1,
        bytes: 2,
        root: Digest([3; 32]),
        keys: wire::KeysFrom::Seed,
        issued_at: time(3000),
        custody,
    };
    let text = serde_json::to_string(&receipt).unwrap();
    let signature = server().sign(&[Receipt::DOMAIN, text.as_bytes()].concat());
    SignedReceipt { receipt: text, public_key: server().public(), signature: Signature(signature) }
}

fn keys() -> Keys {
    let text = format!(
        "# who is who\n{} source/fs01\n\n{} the dock in the north # by telephone\n{} server\n",
        key(1).public(),
        key(2).fingerprint(),
        server().fingerprint()
    );
    Keys::parse(&text).unwrap()
}

fn proven_by(file: &[u8], keys: Option<&Keys>) -> Result<Proof, Broken> {
    prove(&mut &*file, Proving { keys, each: &mut |_| {} }).unwrap()
}

fn proven(file: &[u8]) -> Result<Proof, Broken> {
    proven_by(file, Some(&keys()))
}

#[track_caller]
fn broken(file: &[u8]) -> Broken {
    proven(file).unwrap_err()
}

/// A journey with its receipt, and a drive that went home after it.
fn journey() -> Made {
    let mut made = Made::default();
    for event in events() {
        let who = usize::from(!matches!(
            event,
            Event::Formatted { .. }
                | Event::Written { .. }
                | Event::Sealed { .. }
                | Event::HandedOver { .. }
        ));
        made.add(who, event);
    }
    made.publish();
    made.add(1, Event::Returned { job: "seed-2".parse().unwrap(), drive: "X".parse().unwrap() });
    made
}

/// Which line of a file a byte is in; an end of line belongs to the line it ends.
fn line_of(file: &[u8], at: usize) -> u64 {
    file[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

#[test]
fn a_whole_log_is_proven_and_says_what_is() {
    let proof = proven(&journey().file()).unwrap();
    assert_eq!((proof.entries, proof.seed), (15, SEED));
    assert_eq!(proof.server, server().public());
    let known: Vec<(String, u64, &str)> = proof
        .chains
        .iter()
        .map(|chain| (chain.actor.to_string(), chain.count, chain.known_as.as_str()))
        .collect();
    assert_eq!(
        known,
        [
            ("source/fs01".to_owned(), 5, "source/fs01"),
            ("dock/north".to_owned(), 9, "the dock in the north"),
            ("server/server".to_owned(), 1, "server"),
        ]
    );
    assert_eq!(proof.receipt, Receipted::Holds { issued_at: time(3000), covered: 14 });
}

#[test]
fn every_bit_of_a_log_counts_and_its_line_is_named() {
    let mut made = Made::default();
    made.add(0, events()[4].clone());
    made.add(1, events()[5].clone());
    made.publish();
    let file = made.file();
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << bit;
            let found = broken(&flipped);
            assert_eq!(found.line, line_of(&file, at), "byte {at}, bit {bit}: {found}");
        }
    }
}

/// What an entry looks like, for ever: written once by hand, its hashes and signatures by another program.
#[test]
fn an_entry_has_this_form() {
    let mut made = Made::default();
    made.add(0, Event::Received { job: "seed-1".parse().unwrap(), drive: "WD-1".parse().unwrap() });
    let line = &made.lines[0];
    let expected = concat!(
        r#"{"entry":{"version":1,"seed":"11111111111111111111111111111111","#,
        r#""actor":{"kind":"source","name":"fs01","#,
        r#""key":"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"},"number":0,"#,
        r#""time":"2027-01-15T08:00:00Z","event":{"what":"received","job":"seed-1","drive":"WD-1"},"#,
        r#""previous":"0000000000000000000000000000000000000000000000000000000000000000"},"#,
    );
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn what_is_taken_away_moved_or_doubled_in_the_middle_is_named() {
    let made = journey();
    let count = made.lines.len();
    for at in 0..count {
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut other = made.clone();
            // The server's word for the whole stays: who changes the log cannot sign.
            let front = other.front();
            change(&mut other.lines);
            let lines = [&[front], other.lines.as_slice()].concat();
            format!("{}\n", lines.join("\n")).into_bytes()
        };
        let line = at as u64 + 2;
        let found = broken(&with(&|lines| drop(lines.remove(at))));
        // Of what is gone at the end, the line before is the last that can be named.
        let expected = if at + 1 == count { line - 1 } else { line };
        assert_eq!(found.line, expected, "{found}");
        let found = broken(&with(&|lines| lines.insert(at, lines[at].clone())));
        assert_eq!(found.line, line + 1, "{found}");
        if at + 1 < count {
            let found = broken(&with(&|lines| lines.swap(at, at + 1)));
            assert_eq!(found.line, line, "{found}");
        }
    }
}

#[test]
fn a_log_that_is_cut_off_is_noticed_by_the_receipt_even_if_the_server_lies() {
    let made = journey();
    for left in 0..made.lines.len() - 1 {
        let mut cut = made.clone();
        cut.lines.truncate(left);
        // The front is signed anew, as if the server had joined in.
        let found = broken(&cut.file());
        assert!(matches!(found.fault, Fault::Head { .. }), "{left}: {found}");
        assert!(found.actor.is_some() && found.line == left as u64 + 1, "{found}");
    }
    // Behind the receipt it is the server's word for the whole log that tells.
    let mut file = made.file();
    let end = file[..file.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    file.truncate(end + 1);
    assert!(matches!(broken(&file).fault, Fault::CutOff { found: 14, count: 15 }));
    file.truncate(end);
    let found = broken(&file);
    assert_eq!((found.line, found.fault), (15, Fault::NoEnd));
}

#[test]
fn a_chain_that_was_written_anew_is_not_what_the_receipt_names() {
    let made = journey();
    let mut other = Made::default();
    for (at, line) in made.lines.iter().enumerate() {
        let logged = Logged::decode(line).unwrap();
        let who = match logged.entry().actor.kind {
            ActorKind::Source => 0,
            ActorKind::Dock => 1,
            _ => 2,
        };
        let mut event = logged.entry().event.clone();
        if at == 5 {
            event = Event::Received { job: "seed-9".parse().unwrap(), drive: "Y".parse().unwrap() };
        }
        other.add(who, event);
    }
    assert!(proven(&other.file()).is_err_and(|found| found.fault == Fault::NoReceipt));
    other.receipt = made.receipt;
    let found = broken(&other.file());
    assert!(matches!(found.fault, Fault::OtherHead { .. }), "{found}");
    assert_eq!(found.actor.unwrap().to_string(), "dock/north");
}

#[test]
fn signatures_of_keys_that_are_not_in_the_list_are_refused_by_name() {
    let file = journey().file();
    let list = |lines: &[String]| Keys::parse(&lines.join("\n")).unwrap();
    let (source, dock) = (key(1).fingerprint(), key(2).fingerprint());
    let own = server().fingerprint();
    let without = list(&[source.to_string(), own.to_string()]);
    let found = proven_by(&file, Some(&without)).unwrap_err();
    assert_eq!(found.actor.as_ref().unwrap().to_string(), "dock/north");
    assert_eq!(found.fault, Fault::Untrusted { found: dock });
    assert_eq!((found.line, found.number), (7, Some(0)));
    let found = proven_by(&file, Some(&list(&[source.to_string()]))).unwrap_err();
    assert_eq!((found.line, found.fault), (1, Fault::Untrusted { found: own }));
    // A key counts as what it is listed as.
    let swapped =
        [format!("{source} source/fs02"), format!("{dock} dock"), format!("{own} server")];
    let found = proven_by(&file, Some(&list(&swapped))).unwrap_err();
    assert!(matches!(found.fault, Fault::OtherName { .. }), "{found}");
    let posing = [format!("{source} source"), format!("{dock} dock"), format!("{own} dock")];
    let found = proven_by(&file, Some(&list(&posing))).unwrap_err();
    assert_eq!(found.line, 1, "{found}");
    // Who only looks needs no list.
    assert_eq!(proven_by(&file, None).unwrap().entries, 15);
}

#[test]
fn a_list_of_keys_is_read_or_its_line_named() {
    let bad = Keys::parse("# none\n\nnot-a-key somebody\n").unwrap_err();
    assert_eq!(bad.line, 3);
    assert!(Keys::parse("").is_ok());
}

#[test]
fn entries_signed_anew_by_another_key_do_not_pass() {
    let mut made = journey();
    // A thief with a key of his own, under the dock's name.
    let thief = actor(ActorKind::Dock, "north", &key(5));
    let event = events()[5].clone();
    let forged = Signed::next(made.last[1].as_ref(), SEED, &thief, &key(5), event, time(1));
    made.take(forged);
    let found = broken(&made.file());
    assert!(matches!(found.fault, Fault::Untrusted { .. }), "{found}");
    let found = proven_by(&made.file(), None).unwrap_err();
    assert!(matches!(found.fault, Fault::SecondKey { .. }), "{found}");
    // The server's key under another name.
    let mut made = journey();
    let posing = actor(ActorKind::Dock, "south", &server());
    made.take(Signed::next(None, SEED, &posing, &server(), events()[5].clone(), time(1)));
    let found = proven_by(&made.file(), None).unwrap_err();
    assert!(matches!(found.fault, Fault::ServerAsActor(_)), "{found}");
}

#[test]
fn a_chain_that_does_not_follow_is_named_even_if_countersigned() {
    let mut made = journey();
    let (actor, own) = &actors()[1];
    made.take(Signed::next(None, SEED, actor, own, events()[5].clone(), time(1)));
    let found = broken(&made.file());
    assert_eq!(found.fault, Fault::Number { found: 0, expected: 9 });
    // Another entry before it than the one that is there.
    let mut made = journey();
    let before = Signed::next(None, SEED, actor, own, events()[5].clone(), time(7));
    let before = (0..8).fold(before, |before, _| {
        Signed::next(Some(&before), SEED, actor, own, events()[5].clone(), time(7))
    });
    assert_eq!(before.entry().number, 8);
    made.take(Signed::next(Some(&before), SEED, actor, own, events()[5].clone(), time(1)));
    assert_eq!(broken(&made.file()).fault, Fault::Previous);
    // Of another seed.
    let mut made = journey();
    let other = SeedId([0x22; 16]);
    made.take(Signed::next(made.last[1].as_ref(), other, actor, own, events()[5].clone(), time(1)));
    assert_eq!(broken(&made.file()).fault, Fault::OtherSeed);
}

#[test]
fn a_receipt_must_be_this_logs() {
    let mut made = journey();
    made.receipt = Some(receipt(None, SEED));
    assert_eq!(proven(&made.file()).unwrap().receipt, Receipted::WithoutHeads);
    made.receipt = Some(receipt(None, SeedId([0x22; 16])));
    assert!(matches!(broken(&made.file()).fault, Fault::Receipt(_)));
    made.receipt = Some(SignedReceipt { signature: Signature([1; 64]), ..receipt(None, SEED) });
    assert!(matches!(broken(&made.file()).fault, Fault::Receipt(_)));
    made.receipt = None;
    assert_eq!(broken(&made.file()).fault, Fault::NoReceipt);
    let mut unpublished = Made::default();
    unpublished.add(0, events()[0].clone());
    assert_eq!(proven(&unpublished.file()).unwrap().receipt, Receipted::No);
    assert_eq!(proven(&Made::default().file()).unwrap().entries, 0);
}

#[test]
fn other_forms_of_the_same_words_are_refused() {
    let made = journey();
    let line = &made.lines[4];
    for (from, to) in [
        ("\"number\":4", "\"number\": 4"),
        ("\"number\":4", "\"number\":4,\"more\":1"),
        ("\"version\":1,", ""),
        ("\\\"é", "\\u0022é"),
        ("11111111", "1111111a"),
        ("\"what\":\"handed-over\",", "\"what\":\"handed-over\",\"what\":\"handed-over\","),
    ] {
        assert!(line.contains(from), "{from} in {line}");
        assert!(Logged::decode(&line.replacen(from, to, 1)).is_err(), "{to}");
    }
    let shouted = made.lines[0].replacen("abab", "ABAB", 1);
    assert!(Logged::decode(&shouted).is_err());
    let long = format!("{}{}", "9".repeat(crate::MAX_LINE), line);
    assert_eq!(Logged::decode(&long), Err(Fault::TooLong { limit: crate::MAX_LINE }));
    let mut file = made.front().into_bytes();
    file.push(b'\n');
    file.extend(std::iter::repeat_n(b'x', crate::MAX_LINE + 10));
    assert_eq!(broken(&file).fault, Fault::TooLong { limit: crate::MAX_LINE });
    assert_eq!(broken(b"").fault, Fault::Empty);
    // Words that would play with a terminal.
    let event = Event::HandedOver {
        job: "seed-1".parse().unwrap(),
        carrier: "\u{1b}[2J".to_owned(),
        tracking: "ab 12345".parse().unwrap(),
        drives: Vec::new(),
    };
    let (actor, own) = &actors()[0];
    let signed = Signed::next(None, SEED, actor, own, event, time(0));
    assert_eq!(Signed::decode(&signed.encode()), Err(Fault::Unsound));
}

#[test]
fn the_longest_entry_fits() {
    let serial = |n: usize| format!("{n}{}", "S".repeat(63)).parse().unwrap();
    let event = Event::handed_over(
        format!("j{}", "o".repeat(63)).parse().unwrap(),
        &"\"".repeat(500),
        "1234567890".repeat(3).parse().unwrap(),
        (0..10).map(serial).collect(),
    );
    let long = actor(ActorKind::Source, &"n".repeat(63), &key(1));
    let signed = Signed::next(None, SEED, &long, &key(1), event, time(0));
    let line = signed.encode();
    assert!(line.len() < crate::MAX_ENTRY / 2, "{}", line.len());
    Signed::decode(&line).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)
    ))]

    #[test]
    fn whatever_is_changed_in_any_log_is_found_where_it_is(
        what in prop::collection::vec((0..2_usize, 0..13_usize), 1..12),
        publish in 0..14_usize,
        places in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..12),
    ) {
        let (mut made, events) = (Made::default(), events());
        for (at, (who, event)) in what.into_iter().enumerate() {
            if at == publish {
                made.publish();
            }
            made.add(who, events[event].clone());
        }
        let file = made.file();
        let proof = proven(&file).unwrap();
        prop_assert_eq!(proof.entries, made.lines.len() as u64);
        prop_assert_eq!(proven_by(&file, None).unwrap().entries, proof.entries);
        for (place, bit) in places {
            let at = place.index(file.len());
            let mut flipped = file.clone();
            flipped[at] ^= 1 << bit;
            let found = proven(&flipped).unwrap_err();
            prop_assert_eq!(found.line, line_of(&file, at), "byte {}, bit {}: {}", at, bit, found);
            let found = proven_by(&flipped, None).unwrap_err();
            prop_assert_eq!(found.line, line_of(&file, at));
        }
        // Any beginning of it is none.
        let left = file.len() / 3;
        prop_assert!(proven(&file[..left]).is_err());
    }

    #[test]
    fn noise_is_no_log(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(proven_by(&noise, None).is_err());
    }
}

mod book {
    use super::*;
    use crate::Error;

    fn book(folder: &std::path::Path) -> Book {
        Book::new(folder, SEED, ActorKind::Source, "fs01".parse().unwrap(), &key(1))
    }

    fn file(folder: &std::path::Path) -> std::path::PathBuf {
        folder.join(format!("fs01.{}.jsonl", key(1).fingerprint()))
    }

    #[test]
    fn entries_follow_each_other_over_any_number_of_calls() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        assert!(book(&folder).entries().unwrap().is_empty());
        for (event, at) in events().into_iter().zip(0..) {
            book(&folder).append(event, time(at)).unwrap();
        }
        let entries = book(&folder).entries().unwrap();
        assert_eq!(entries.len(), 13);
        assert!(!book(&folder).once(events()[3].clone(), time(99)).unwrap());
        let new = Event::Received { job: "other".parse().unwrap(), drive: "X".parse().unwrap() };
        assert!(book(&folder).once(new, time(99)).unwrap());
        assert_eq!(book(&folder).entries().unwrap().len(), 14);
        let mut made = Made::default();
        book(&folder).entries().unwrap().into_iter().for_each(|signed| made.take(signed));
        assert_eq!(proven(&made.file()).unwrap().entries, 14);
    }

    #[test]
    fn an_entry_cut_off_anywhere_by_a_crash_is_put_right_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        book(dir.path()).append(events()[0].clone(), time(0)).unwrap();
        let path = file(dir.path());
        let first = std::fs::read(&path).unwrap();
        book(dir.path()).append(events()[2].clone(), time(1)).unwrap();
        let both = std::fs::read(&path).unwrap();
        for length in first.len()..both.len() {
            std::fs::write(&path, &both[..length]).unwrap();
            assert_eq!(book(dir.path()).entries().unwrap().len(), 1, "{length}");
            book(dir.path()).append(events()[2].clone(), time(1)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), both, "{length}");
        }
        // A file system that had given the room, and not yet the bytes.
        std::fs::write(&path, [first.as_slice(), &[0; 300]].concat()).unwrap();
        book(dir.path()).append(events()[2].clone(), time(1)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), both);
    }

    #[test]
    fn damage_before_the_end_is_said_and_nothing_is_written_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..3 {
            book(dir.path()).append(events()[at].clone(), time(at as i64)).unwrap();
        }
        let path = file(dir.path());
        let mut bytes = std::fs::read(&path).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 30;
        bytes[second] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let refusal = book(dir.path()).append(events()[3].clone(), time(3)).unwrap_err();
        assert!(matches!(refusal, Error::Damaged { line: 2, .. }), "{refusal}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn what_was_not_confirmed_is_sent_again_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..4 {
            book(dir.path()).append(events()[at].clone(), time(at as i64)).unwrap();
        }
        // The server is away.
        let away = |_: &[String]| {
            Err(Error::Io {
                action: "sending",
                path: "".into(),
                cause: std::io::ErrorKind::ConnectionRefused.into(),
            })
        };
        assert!(book(dir.path()).send(away).is_err());
        assert_eq!(book(dir.path()).sent(), 0);
        let mut had: Vec<String> = Vec::new();
        let mut take = |lines: &[String]| -> Result<u64, Error> {
            had.extend_from_slice(lines);
            Ok(had.len() as u64)
        };
        book(dir.path()).send(&mut take).unwrap();
        assert_eq!(book(dir.path()).sent(), 4);
        book(dir.path()).send(&mut take).unwrap();
        book(dir.path()).append(events()[5].clone(), time(9)).unwrap();
        book(dir.path()).send(&mut take).unwrap();
        assert_eq!(had.len(), 5);
        let entries: Vec<String> =
            book(dir.path()).entries().unwrap().iter().map(Signed::encode).collect();
        assert_eq!(had, entries);
        // A count of another time says nothing: all of it is sent again.
        std::fs::write(dir.path().join(format!("fs01.{}.sent", key(1).fingerprint())), "99")
            .unwrap();
        let mut again = 0;
        let count = |lines: &[String]| -> Result<u64, Error> {
            again += lines.len();
            Ok(5)
        };
        book(dir.path()).send(count).unwrap();
        assert_eq!(again, 5);
    }

    #[test]
    fn many_who_write_at_once_make_one_chain() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for at in 0..5 {
                        book(dir.path()).append(events()[at].clone(), time(0)).unwrap();
                    }
                });
            }
        });
        assert_eq!(book(dir.path()).entries().unwrap().len(), 20);
    }

    #[test]
    fn another_key_begins_another_chain() {
        let dir = tempfile::tempdir().unwrap();
        book(dir.path()).append(events()[0].clone(), time(0)).unwrap();
        let name = "fs01".parse().unwrap();
        let other = Book::new(dir.path(), SEED, ActorKind::Source, name, &key(2));
        assert!(other.entries().unwrap().is_empty());
        other.append(events()[0].clone(), time(0)).unwrap();
        assert_eq!(book(dir.path()).entries().unwrap().len(), 1);
    }

    #[test]
    fn a_state_that_was_put_back_goes_on_from_what_the_server_has() {
        let dir = tempfile::tempdir().unwrap();
        let (all, book) = (events(), book(dir.path()));
        book.append(all[0].clone(), time(0)).unwrap();
        let before = std::fs::read(file(dir.path())).unwrap();
        book.append(all[2].clone(), time(1)).unwrap();
        book.append(all[6].clone(), time(2)).unwrap();
        let mut made = Made::default();
        book.entries().unwrap().into_iter().for_each(|signed| made.take(signed));
        let had = book.entries().unwrap();
        std::fs::write(file(dir.path()), &before).unwrap();
        // Said again after it, at another time; said once more; and something new.
        for (event, at) in [(2, 11), (6, 12), (6, 13), (3, 14)] {
            book.append(all[event].clone(), time(at)).unwrap();
        }
        book.adopt(&mut made.file().as_slice()).unwrap();
        let entries = book.entries().unwrap();
        assert_eq!(entries[..3], had);
        let rest: Vec<_> =
            entries[3..].iter().map(|s| (s.entry().event.clone(), s.entry().time)).collect();
        assert_eq!(rest, [(all[6].clone(), time(13)), (all[3].clone(), time(14))]);
        assert_eq!(book.sent(), 3);
        entries.into_iter().skip(3).for_each(|signed| made.take(signed));
        assert_eq!(proven(&made.file()).unwrap().entries, 5);
        // A log that does not hang together changes nothing.
        let mut file = made.file();
        file[300] ^= 1;
        assert!(matches!(book.adopt(&mut file.as_slice()), Err(Error::Log(_))));
        assert_eq!(book.entries().unwrap().len(), 5);
        // The server has less: the chain stays.
        let empty = Made::default().file();
        book.adopt(&mut empty.as_slice()).unwrap();
        assert_eq!((book.entries().unwrap().len(), book.sent()), (5, 0));
    }
}
