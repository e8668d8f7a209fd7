//! Custody logs: taken in order from those they are of, never changed, proven without the server.

use crate::publication::{dying_before, receipt, settled};
use crate::sample::{Journey, Sample};
use crate::site::Site;
use ::custody::{Actor, Event, Fault, Logged, Proof, Proving, Receipted, Signed, prove};
use client::Client;
use jiff::Timestamp;
use seed::SigningKey;
use std::io::Read as _;
use wire::{ActorKind, Code, PublicationState, SeedId};

/// An actor with its chain, as it has it on its own disk.
struct Writer {
    seed: SeedId,
    actor: Actor,
    key: SigningKey,
    chain: Vec<Signed>,
}

impl Writer {
    fn new(seed: SeedId, kind: ActorKind, name: &str, byte: u8) -> Self {
        let key = SigningKey::from_bytes(&[byte; 32]);
        let actor = Actor { kind, name: name.parse().unwrap(), key: key.public() };
        Self { seed, actor, key, chain: Vec::new() }
    }

    /// The entry that would follow.
    fn next(&self, drive: &str) -> Signed {
        let event =
            Event::Received { job: "job-1".parse().unwrap(), drive: drive.parse().unwrap() };
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        Signed::next(self.chain.last(), self.seed, &self.actor, &self.key, event, now)
    }

    fn write(&mut self, drive: &str) {
        self.chain.push(self.next(drive));
    }

    fn lines(&self) -> Vec<String> {
        self.chain.iter().map(Signed::encode).collect()
    }

    fn send(&self, client: &Client) -> client::Result<u64> {
        client.append_custody(self.seed, &self.lines()).map(|taken| taken.count)
    }
}

fn log(client: &Client, seed: SeedId) -> client::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client.custody(seed)?.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

fn proven(bytes: &[u8]) -> Result<(Proof, Vec<Logged>), ::custody::Broken> {
    let mut entries = Vec::new();
    let mut each = |logged: &Logged| entries.push(logged.clone());
    let proof = prove(&mut &*bytes, Proving { keys: None, each: &mut each }).unwrap()?;
    Ok((proof, entries))
}

#[track_caller]
fn refused(answer: client::Result<u64>, code: &Code, words: &str) {
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.code(), Some(code), "{refusal}");
    assert!(refusal.to_string().contains(words), "{refusal}");
}

/// A job in Creating, whose drives' signer has the byte 7.
fn created<'a>(site: &Site, sample: &'a Sample) -> Journey<'a> {
    let journey = Journey::new(site, sample, "job-1", &sample.dealt(1));
    journey.create();
    journey
}

#[test]
fn entries_are_taken_once_in_order_and_the_log_is_proven_without_the_server() {
    let site = Site::new();
    let sample = Sample::new("custody", 4);
    let journey = created(&site, &sample);
    let mut source = Writer::new(sample.seed, ActorKind::Source, "fs01", 7);
    let mut dock = Writer::new(sample.seed, ActorKind::Dock, "north", 8);
    assert_eq!(proven(&log(&journey.agent, sample.seed).unwrap()).unwrap().0.entries, 0);
    source.write("A");
    source.write("B");
    assert_eq!(source.send(&journey.agent).unwrap(), 2);
    dock.write("A");
    assert_eq!(dock.send(&journey.dock).unwrap(), 1);
    // Again, with one more: what is there stays what it is.
    source.write("C");
    assert_eq!(source.send(&journey.agent).unwrap(), 3);
    assert_eq!(source.send(&journey.agent).unwrap(), 3);
    let bytes = log(&site.admin(), sample.seed).unwrap();
    let (proof, entries) = proven(&bytes).unwrap();
    let whose: Vec<String> = entries.iter().map(|e| e.entry().actor.to_string()).collect();
    assert_eq!(whose, ["source/fs01", "source/fs01", "dock/north", "source/fs01"]);
    assert_eq!(proof.receipt, Receipted::No);
    assert_eq!(proof.server, journey.agent.credentials().receipt_key);
    let kept: Vec<Signed> = entries.iter().map(Logged::signed).collect();
    assert_eq!(kept[0], source.chain[0]);
    assert_eq!(kept[3], source.chain[2]);
}

#[test]
fn a_fork_a_gap_and_what_does_not_follow_are_conflicts_that_name_the_entry() {
    let site = Site::new();
    let sample = Sample::new("fork", 4);
    let journey = created(&site, &sample);
    let mut dock = Writer::new(sample.seed, ActorKind::Dock, "north", 8);
    dock.write("A");
    dock.write("B");
    dock.send(&journey.dock).unwrap();
    let before = log(&journey.dock, sample.seed).unwrap();
    let lines = |from: &Writer, range: std::ops::Range<usize>| from.lines()[range].to_vec();
    let send = |lines: Vec<String>| {
        journey.dock.append_custody(sample.seed, &lines).map(|taken| taken.count)
    };
    // A copy of the state folder, used beside the first.
    let mut copy = Writer::new(sample.seed, ActorKind::Dock, "north", 8);
    copy.write("A");
    copy.write("X");
    copy.write("Y");
    refused(send(copy.lines()), &Code::AlreadyExists, "entry 1 of dock/north is another one");
    refused(
        send(lines(&copy, 2..3)),
        &Code::AlreadyExists,
        "entry 2 of dock/north does not follow",
    );
    dock.write("C");
    dock.write("D");
    refused(
        send(lines(&dock, 3..4)),
        &Code::AlreadyExists,
        "entry 3 of dock/north comes after entry 2",
    );
    // None of a refused call is kept, and nothing that was there has changed.
    let after = log(&journey.dock, sample.seed).unwrap();
    let entries = |bytes: &[u8]| proven(bytes).unwrap().1;
    assert_eq!(entries(&before), entries(&after));
    assert_eq!(dock.send(&journey.dock).unwrap(), 4);
}

#[test]
fn everybody_writes_as_themselves_with_the_key_that_came_first() {
    let site = Site::new();
    let sample = Sample::new("whose", 4);
    let journey = created(&site, &sample);
    let written = |kind, name: &str, byte| {
        let mut writer = Writer::new(sample.seed, kind, name, byte);
        writer.write("A");
        writer
    };
    let denied = &Code::AuthorizationFailed;
    let (agent, dock) = (&journey.agent, &journey.dock);
    for (client, kind, name) in [
        (agent, ActorKind::Dock, "north"),
        (agent, ActorKind::Source, "fs02"),
        (agent, ActorKind::Server, "server"),
        (agent, ActorKind::Copy, "fs01"),
        (dock, ActorKind::Source, "fs01"),
    ] {
        refused(written(kind, name, 7).send(client), denied, "do not write as");
    }
    // The jobs name who signs the drives.
    let other = written(ActorKind::Source, "fs01", 6);
    refused(other.send(agent), denied, "name another signer");
    written(ActorKind::Source, "fs01", 7).send(agent).unwrap();
    refused(other.send(agent), denied, "keeps it");
    written(ActorKind::Dock, "north", 8).send(dock).unwrap();
    refused(written(ActorKind::Dock, "north", 9).send(dock), denied, "keeps it");
    written(ActorKind::Dock, "south", 9).send(dock).unwrap();
    // Another source server has nothing to do with it, and cannot tell that it is there.
    let stranger = site.agent("vault1", "fs02");
    let own = written(ActorKind::Source, "fs02", 7);
    refused(own.send(&stranger), &Code::ResourceNotFound, "there is no seed");
    assert!(log(&stranger, sample.seed).is_err());
}

#[test]
fn what_is_not_signed_or_not_in_its_one_form_is_refused() {
    let site = Site::new();
    let sample = Sample::new("form", 4);
    let journey = created(&site, &sample);
    let mut dock = Writer::new(sample.seed, ActorKind::Dock, "north", 8);
    dock.write("A");
    let line = dock.lines().remove(0);
    let send =
        |lines: &[String]| journey.dock.append_custody(sample.seed, lines).map(|taken| taken.count);
    for (from, to) in [("job-1", "job-2"), ("\"number\":0", "\"number\": 0"), ("}", "},\"x\":1")] {
        let changed = line.replacen(from, to, 1);
        assert_ne!(changed, line);
        refused(send(&[changed]), &Code::InvalidRequest, "entry 0 of these");
    }
    refused(send(&[]), &Code::InvalidRequest, "send 1 to 256");
    refused(send(&vec![line.clone(); 257]), &Code::InvalidRequest, "send 1 to 256");
    let mut elsewhere = Writer::new(SeedId([9; 16]), ActorKind::Dock, "north", 8);
    elsewhere.write("A");
    refused(send(&elsewhere.lines()), &Code::InvalidRequest, "of the seed");
    assert_eq!(send(&[line]).unwrap(), 1);
}

#[test]
fn the_receipt_carries_the_heads_and_a_cut_off_shows() {
    let site = Site::new();
    let sample = Sample::new("heads", 4);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.travel();
    let mut source = Writer::new(sample.seed, ActorKind::Source, "fs01", 7);
    let mut dock = Writer::new(sample.seed, ActorKind::Dock, "north", 8);
    source.write("A");
    source.send(&journey.agent).unwrap();
    dock.write("A");
    dock.write("B");
    dock.send(&journey.dock).unwrap();
    assert_eq!(settled(&journey).state, PublicationState::Published);
    let (receipt, _) = receipt(&journey.agent).unwrap();
    let heads = receipt.custody.clone().unwrap();
    let counts: Vec<(ActorKind, u64)> = heads.iter().map(|head| (head.kind, head.count)).collect();
    assert_eq!(counts, [(ActorKind::Dock, 2), (ActorKind::Server, 1), (ActorKind::Source, 1)]);
    assert_eq!(heads[0].last, dock.chain[1].hash());
    // What comes later is in the log, and the receipt stays as it was.
    dock.write("C");
    dock.send(&journey.dock).unwrap();
    let bytes = log(&journey.dock, sample.seed).unwrap();
    let (proof, entries) = proven(&bytes).unwrap();
    assert_eq!(proof.entries, 5);
    assert!(matches!(proof.receipt, Receipted::Holds { covered: 4, .. }));
    assert_eq!(
        entries[3].entry().event,
        Event::Published {
            repository: receipt.repository,
            objects: receipt.objects,
            bytes: receipt.bytes,
            root: receipt.root,
        }
    );
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let cut = |left: usize| format!("{}\n", lines[..left].join("\n")).into_bytes();
    for left in 1..=4 {
        let broken = proven(&cut(left)).unwrap_err();
        assert!(matches!(broken.fault, Fault::Head { .. }), "{broken}");
    }
    assert!(matches!(proven(&cut(5)).unwrap_err().fault, Fault::CutOff { .. }));
}

#[test]
fn a_publication_that_dies_anywhere_is_noted_once() {
    let sample = Sample::new("once", 3);
    for nth in [10, 20, 24, 26, 28, 30, 31, 32, 33, 34] {
        let (dying, _) = dying_before(nth);
        let mut site = Site::with(dying);
        let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
        journey.travel();
        let _ = journey.publish();
        site.stop();
        site.start(|_| {});
        let journey = journey.again(&site);
        assert_eq!(settled(&journey).state, PublicationState::Published);
        settled(&journey);
        let (proof, _) = proven(&log(&journey.agent, sample.seed).unwrap()).unwrap();
        assert_eq!(proof.entries, 1, "{nth}");
        assert!(matches!(proof.receipt, Receipted::Holds { covered: 1, .. }), "{nth}");
    }
}

#[test]
fn a_log_is_still_there_after_a_restart_and_goes_on() {
    let mut site = Site::new();
    let sample = Sample::new("restart", 4);
    let journey = created(&site, &sample);
    let mut dock = Writer::new(sample.seed, ActorKind::Dock, "north", 8);
    dock.write("A");
    dock.send(&journey.dock).unwrap();
    site.stop();
    site.start(|_| {});
    let journey = journey.again(&site);
    dock.write("B");
    assert_eq!(dock.send(&journey.dock).unwrap(), 2);
    assert_eq!(proven(&log(&journey.agent, sample.seed).unwrap()).unwrap().0.entries, 2);
}
