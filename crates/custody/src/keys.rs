//! Whose signatures count, as somebody who verifies a log has written it down: a key or its fingerprint a line, and
//! whose it is.

use crate::Actor;
use crate::fault::Fault;
use signing::Fingerprint;
use wire::{ActorKind, PublicKey};

/// A line of the list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trusted keys: {what}")]
pub struct KeysError {
    /// Which, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

#[derive(Debug, Clone)]
struct Known {
    fingerprint: Fingerprint,
    label: String,
}

impl Known {
    /// As what the key is trusted: `kind`, or `kind/name`; anything else is a label for people.
    fn is_for(&self, kind: ActorKind, name: Option<&str>) -> bool {
        let (first, rest) = match self.label.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (self.label.as_str(), None),
        };
        let Some(bound) = ActorKind::ALL.into_iter().find(|kind| kind.word() == first) else {
            return true;
        };
        let names_differ = matches!((rest, name), (Some(rest), Some(name)) if rest != name);
        bound == kind && !names_differ
    }
}

/// Keys whose signatures count.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Known>);

impl Keys {
    /// Reads a list. Each line has a public key (64 hexadecimal digits) or a fingerprint, and after it, if wanted,
    /// whose it is: `source/fs01`, `dock/north`, `server` bind the key to that part and name, other words are for
    /// people. Empty lines, and what follows a `#`, are passed over.
    ///
    /// # Errors
    /// The first line that is none of these.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut known = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (key, label) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let fingerprint = match key.parse::<PublicKey>() {
                Ok(key) => Fingerprint::of(&key),
                Err(_) => key.parse().map_err(|error: signing::FingerprintError| KeysError {
                    line: number,
                    what: error.to_string(),
                })?,
            };
            known.push(Known { fingerprint, label: label.trim().to_owned() });
        }
        Ok(Self(known))
    }

    /// Whether an actor's key counts; under which words it is in the list.
    pub(crate) fn admit(&self, actor: &Actor) -> Result<&str, Fault> {
        self.find(&actor.key, actor.kind, Some(actor.name.as_str()))
    }

    /// The same for the key of whoever countersigns.
    pub(crate) fn admit_server(&self, key: &PublicKey) -> Result<&str, Fault> {
        self.find(key, ActorKind::Server, None)
    }

    fn find(&self, key: &PublicKey, kind: ActorKind, name: Option<&str>) -> Result<&str, Fault> {
        let found = Fingerprint::of(key);
        let all = || self.0.iter().filter(|known| known.fingerprint == found);
        if let Some(known) = all().find(|known| known.is_for(kind, name)) {
            return Ok(&known.label);
        }
        match all().next() {
            None => Err(Fault::Untrusted { found }),
            Some(known) => {
                let known = known.label.clone();
                let claimed = name.map_or(kind.to_string(), |name| format!("{kind}/{name}"));
                Err(Fault::OtherName { found, known, claimed })
            }
        }
    }
}
