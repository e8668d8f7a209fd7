//! Whether a log holds: every line by itself first, then as the one that has to be there. Needs no server.
//!
//! ```text
//!  first line ─ signed? by a trusted server? receipt its own? ─▶ entries
//!  each entry ─ one form? trusted? signed? ─ next of its chain? ─ next of the log? countersigned? ─▶ next
//!  the end ─ as many as signed for? the same last one? every chain as long as the receipt says?
//! ```
//!
//! invariant: whatever byte of a line is another one, it is that line which is named: a line is only compared with
//! what comes after it once it has passed by itself.

use crate::entry::NOTHING;
use crate::fault::{Broken, Fault};
use crate::log::digest;
use crate::{Actor, Event, Front, Keys, Logged, LongLines, MAX_ENTRIES, MAX_FRONT, MAX_LINE};
use jiff::Timestamp;
use model::{ActorName, Digest};
use signing::Fingerprint;
use std::collections::BTreeMap;
use std::io::{self, BufRead};
use wire::{ActorKind, CustodyHead, PublicKey, Receipt, SeedId};

/// What is proven of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Who.
    pub actor: Actor,
    /// How many entries.
    pub count: u64,
    /// The words under which its key is trusted; empty for none, or when no list was given.
    pub known_as: String,
    last: Digest,
}

/// What the receipt says of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipted {
    /// There is none: the seed is not published.
    No,
    /// It is of a server that did not write heads into receipts.
    WithoutHeads,
    /// Every chain begins as the receipt says.
    Holds {
        /// When the receipt was signed.
        issued_at: Timestamp,
        /// Entries that it covers.
        covered: u64,
    },
}

/// What is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The seed.
    pub seed: SeedId,
    /// Entries in all.
    pub entries: u64,
    /// The key that has countersigned them.
    pub server: PublicKey,
    /// When the server has said that there are no more.
    pub as_of: Timestamp,
    /// Everybody who has written, in the order of their first entries.
    pub chains: Vec<Chain>,
    /// What the receipt adds.
    pub receipt: Receipted,
}

/// How a log is proven.
pub struct Proving<'a> {
    /// Whose signatures count; none for a look at what is there, which shows that it hangs together and not whose
    /// it is.
    pub keys: Option<&'a Keys>,
    /// Told every entry that has passed.
    pub each: &'a mut dyn FnMut(&Logged),
}

/// Proves a log, or names its first broken link.
///
/// # Errors
/// Reading fails.
pub fn prove(from: &mut dyn BufRead, how: Proving<'_>) -> io::Result<Result<Proof, Broken>> {
    let mut lines = LongLines::new(from);
    let first = match lines.next(MAX_FRONT)? {
        None => Err(Fault::Empty),
        Some(line) => line,
    };
    let front = match first.and_then(|line| front(&line, how.keys)) {
        Ok(front) => front,
        Err(fault) => return Ok(Err(Broken { line: 1, actor: None, number: None, fault })),
    };
    let mut work = Work::new(front, how);
    while let Some(line) = lines.next(MAX_LINE)? {
        if let Err(broken) = work.line(line) {
            return Ok(Err(broken));
        }
    }
    Ok(work.end())
}

/// The first line, and the receipt in it.
fn front(line: &str, keys: Option<&Keys>) -> Result<(Front, Option<Receipt>), Fault> {
    let front = Front::decode(line)?;
    keys.map_or(Ok(""), |keys| keys.admit_server(&front.key))?;
    if front.count > MAX_ENTRIES {
        return Err(Fault::TooMany);
    }
    let receipt = receipt(&front).map_err(Fault::Receipt)?;
    Ok((front, receipt))
}

fn receipt(front: &Front) -> Result<Option<Receipt>, String> {
    let Some(signed) = &front.receipt else { return Ok(None) };
    if signed.public_key != front.key {
        return Err("it is signed by another key than the log".to_owned());
    }
    let message = [Receipt::DOMAIN, signed.receipt.as_bytes()].concat();
    if !signing::verify(&signed.public_key, &message, &signed.signature.0) {
        return Err("its signature is not that of the key it names".to_owned());
    }
    let receipt: Receipt =
        serde_json::from_str(&signed.receipt).map_err(|cause| cause.to_string())?;
    if receipt.version != Receipt::VERSION {
        return Err(format!("it is of version {}", receipt.version));
    }
    if receipt.seed != front.seed {
        return Err("it is of another seed".to_owned());
    }
    Ok(Some(receipt))
}

struct Work<'a> {
    front: Front,
    receipt: Option<Receipt>,
    how: Proving<'a>,
    chains: Vec<Chain>,
    /// Which chain a name has.
    names: BTreeMap<(ActorKind, ActorName), usize>,
    /// Entries so far, and the SHA-256 of the last line.
    count: u64,
    last: Digest,
    is_published: bool,
}

impl<'a> Work<'a> {
    fn new((front, receipt): (Front, Option<Receipt>), how: Proving<'a>) -> Self {
        let (chains, names) = (Vec::new(), BTreeMap::new());
        Self { front, receipt, how, chains, names, count: 0, last: NOTHING, is_published: false }
    }

    /// Of the line after those that there were.
    fn number(&self) -> u64 {
        self.count.saturating_add(2)
    }

    fn line(&mut self, line: Result<String, Fault>) -> Result<(), Broken> {
        let nobody = |fault| Broken { line: self.number(), actor: None, number: None, fault };
        let line = line.map_err(nobody)?;
        let logged: Logged = crate::entry::parsed(&line, MAX_LINE).map_err(nobody)?;
        let somebody = |this: &Self, fault| Broken {
            line: this.number(),
            actor: Some(Box::new(logged.entry().actor.clone())),
            number: Some(logged.entry().number),
            fault,
        };
        let known_as = self.by_itself(&logged).map_err(|fault| somebody(self, fault))?;
        self.in_its_place(&logged, known_as).map_err(|fault| somebody(self, fault))?;
        (self.how.each)(&logged);
        self.count = self.count.saturating_add(1);
        self.last = digest(&line);
        Ok(())
    }

    /// What a line is without the others. Answers the words under which its actor is trusted.
    fn by_itself(&self, logged: &Logged) -> Result<String, Fault> {
        let (entry, taken) = (logged.entry(), logged.taken());
        let known_as = match self.how.keys {
            Some(keys) => keys.admit(&entry.actor)?.to_owned(),
            None => String::new(),
        };
        logged.check()?;
        if entry.seed != self.front.seed {
            return Err(Fault::OtherSeed);
        }
        if taken.key != self.front.key {
            let (found, expected) = (Fingerprint::of(&taken.key), Fingerprint::of(&self.front.key));
            return Err(Fault::OtherServer { found, expected });
        }
        // Who countersigns everything must not be one whose word is countersigned.
        let is_server = entry.actor.kind == ActorKind::Server;
        if is_server != (entry.actor.key == self.front.key) {
            return Err(match is_server {
                true => Fault::OtherServer {
                    found: Fingerprint::of(&entry.actor.key),
                    expected: Fingerprint::of(&self.front.key),
                },
                false => Fault::ServerAsActor(entry.actor.to_string()),
            });
        }
        Ok(known_as)
    }

    fn in_its_place(&mut self, logged: &Logged, known_as: String) -> Result<(), Fault> {
        let (entry, taken) = (logged.entry(), logged.taken());
        if taken.order != self.count {
            return Err(Fault::Order { found: taken.order, expected: self.count });
        }
        if self.count >= self.front.count {
            return Err(Fault::TooLate { count: self.front.count });
        }
        if taken.before != self.last {
            return Err(Fault::Before);
        }
        let name = (entry.actor.kind, entry.actor.name.clone());
        let at = *self.names.entry(name).or_insert(self.chains.len());
        if at == self.chains.len() {
            let actor = entry.actor.clone();
            self.chains.push(Chain { actor, count: 0, known_as, last: NOTHING });
        }
        let Some(chain) = self.chains.get_mut(at) else { return Ok(()) };
        if chain.actor.key != entry.actor.key {
            return Err(Fault::SecondKey { before: Fingerprint::of(&chain.actor.key) });
        }
        if entry.number != chain.count {
            return Err(Fault::Number { found: entry.number, expected: chain.count });
        }
        if entry.previous != chain.last {
            return Err(Fault::Previous);
        }
        chain.count = chain.count.saturating_add(1);
        chain.last = logged.hash();
        let (count, last, actor) = (chain.count, chain.last, chain.actor.clone());
        self.as_receipted(&actor, count, last)?;
        if matches!(entry.event, Event::Published { .. }) {
            self.is_published = true;
            if self.receipt.is_none() {
                return Err(Fault::NoReceipt);
            }
        }
        Ok(())
    }

    fn heads(&self) -> &[CustodyHead] {
        let heads = self.receipt.as_ref().and_then(|receipt| receipt.custody.as_deref());
        heads.unwrap_or_default()
    }

    /// Where the receipt says how a chain stood, it stood like that.
    fn as_receipted(&self, actor: &Actor, count: u64, found: Digest) -> Result<(), Fault> {
        let head = self.heads().iter().find(|head| is_of(head, actor) && head.count == count);
        match head {
            Some(head) if head.last != found => {
                Err(Fault::OtherHead { found, expected: head.last })
            }
            _ => Ok(()),
        }
    }

    fn end(self) -> Result<Proof, Broken> {
        let line = self.number().saturating_sub(1);
        for head in self.heads() {
            let found = self.chains.iter().find(|chain| is_of(head, &chain.actor));
            let found = found.map_or(0, |chain| chain.count);
            if found < head.count {
                let CustodyHead { kind, name, key, count, .. } = head.clone();
                let actor = Some(Box::new(Actor { kind, name, key }));
                let fault = Fault::Head { found, count };
                return Err(Broken { line, actor, number: Some(found), fault });
            }
        }
        let broken = |fault| Broken { line, actor: None, number: None, fault };
        if self.count != self.front.count {
            return Err(broken(Fault::CutOff { found: self.count, count: self.front.count }));
        }
        if self.last != self.front.last {
            return Err(broken(Fault::OtherLast));
        }
        let receipt = match self.receipt {
            None => Receipted::No,
            Some(Receipt { custody: None, .. }) => Receipted::WithoutHeads,
            Some(Receipt { custody: Some(heads), issued_at, .. }) => {
                Receipted::Holds { issued_at, covered: heads.iter().map(|head| head.count).sum() }
            }
        };
        let Front { seed, key: server, time: as_of, .. } = self.front;
        let (entries, chains) = (self.count, self.chains);
        Ok(Proof { seed, entries, server, as_of, chains, receipt })
    }
}

fn is_of(head: &CustodyHead, actor: &Actor) -> bool {
    (head.kind, &head.name, &head.key) == (actor.kind, &actor.name, &actor.key)
}
