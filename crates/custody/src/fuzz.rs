//! What the fuzz targets call of this crate. Not part of what users get: only with the feature `fuzzing`, and in
//! tests.
//!
//! A fuzzer finds no signatures, so the texts it makes are signed here: entries are what it chooses.

use crate::entry::text_of;
use crate::{Front, Keys, Logged, Proving, Signed, prove};
use jiff::Timestamp;
use signing::SigningKey;

/// Lines of entries without their signatures. Answers whether they make a log that holds.
pub fn custody(data: &[u8]) -> bool {
    // As it is, nobody has signed it.
    let mut each = |_: &Logged| {};
    let keys = Keys::default();
    let forged = prove(&mut &*data, Proving { keys: Some(&keys), each: &mut each });
    assert!(matches!(forged, Ok(Err(_))), "a forged log was accepted");

    let (actor, server) = (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]));
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let _ = Keys::parse(text);
    let (mut before, mut lines): (Option<Signed>, Vec<String>) = (None, Vec::new());
    for line in text.lines() {
        let Ok(entry) = serde_json::from_str::<crate::Entry>(line) else { return false };
        let (seed, event, time) = (entry.seed, entry.event, entry.time);
        let signed = Signed::next(before.as_ref(), seed, &entry.actor, &actor, event, time);
        let decoded = Signed::decode(&signed.encode());
        if decoded.is_err() {
            return false;
        }
        assert_eq!(decoded.as_ref(), Ok(&signed), "an entry has more than one form");
        let order = lines.len() as u64;
        let last = lines.last().map(String::as_str);
        let logged = Logged::new(signed.clone(), &server, order, last, Timestamp::UNIX_EPOCH);
        assert_eq!(Logged::decode(&logged.encode()).as_ref(), Ok(&logged));
        lines.push(logged.encode());
        before = Some(signed);
    }
    let Some(first) = &before else { return false };
    let (seed, last) = (first.entry().seed, lines.last().map(String::as_str));
    let front = Front::new(seed, lines.len() as u64, last, None, &server, Timestamp::UNIX_EPOCH);
    let mut file = front.encode();
    for line in &lines {
        file.push('\n');
        file.push_str(line);
    }
    file.push('\n');
    let proven = prove(&mut file.as_bytes(), Proving { keys: None, each: &mut each });
    assert!(!text_of(&front).contains('\n'), "a line has two lines");
    matches!(proven, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    type Target = fn(&[u8]) -> bool;
    const TARGETS: [(&str, Target); 1] = [("custody", custody)];

    fn seeds(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| std::fs::read(path).unwrap()).collect()
    }

    #[test]
    fn some_seeds_are_right_and_some_are_not() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            let right = seeds.iter().filter(|seed| target(seed)).count();
            assert!(right > 1 && right < seeds.len(), "{name}");
        }
    }

    #[test]
    fn what_lies_near_a_seed_breaks_no_rule() {
        for (name, target) in TARGETS {
            for seed in seeds(name) {
                for at in 0..seed.len() {
                    target(&seed[..at]);
                    for bit in [0x01, 0x10, 0x80] {
                        let mut near = seed.clone();
                        near[at] ^= bit;
                        target(&near);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn noise_breaks_no_rule(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            for (_, target) in TARGETS {
                target(&noise);
            }
        }
    }
}
