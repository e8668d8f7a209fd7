//! What the fuzz targets call of this crate: decoders of what is on a drive and of the journal. Not
//! part of what users get: only with the feature `fuzzing`, and in tests.
//!
//! A fuzzer finds no signatures and no checksums, so the bytes it makes are those before them.

use crate::direct::proved;
use crate::envelope::{Malformed, Refused, Signed};
use crate::{
    Document, Inventory, Label, Manifest, Revision, SigningKey, Trust, WantList, envelope, journal,
};
use model::Digest;

/// A label without its trailer. Answers whether it is one.
pub fn label(data: &[u8]) -> bool {
    one_form(Document::Label, data, Label::decode, Label::encode)
}

/// An inventory without its trailer. Answers whether it is one.
pub fn inventory(data: &[u8]) -> bool {
    one_form(Document::Inventory, data, Inventory::decode, Inventory::encode)
}

/// A manifest without its trailer. Answers whether it is one.
pub fn manifest(data: &[u8]) -> bool {
    one_form(Document::Manifest, data, Manifest::decode, Manifest::encode)
}

/// A want-list without its trailer. Answers whether it is one.
pub fn want_list(data: &[u8]) -> bool {
    one_form(Document::WantList, data, WantList::decode, WantList::encode)
}

/// A revision without its trailer. Answers whether it is one.
pub fn revision(data: &[u8]) -> bool {
    one_form(Document::Revision, data, Revision::decode, Revision::encode)
}

/// Signs, decodes, and holds what is accepted against the one form that a document has.
fn one_form<T>(
    document: Document,
    data: &[u8],
    decode: fn(&[u8], &Trust) -> Result<Signed<T>, Refused>,
    encode: fn(&T, &SigningKey) -> Result<Vec<u8>, Malformed>,
) -> bool {
    let key = SigningKey::from_bytes(&[7; 32]);
    // As it is, nobody signed it.
    assert!(decode(data, &Trust::Key(key.public())).is_err(), "a forged signature was accepted");
    let signed = envelope::signed(document, data.to_vec(), &key);
    let Ok(decoded) = decode(&signed, &Trust::Key(key.public())) else { return false };
    let again = encode(&decoded.body, &key);
    assert!(again.is_ok_and(|again| again == signed), "a document has more than one form");
    true
}

/// Bodies of a journal's records, a byte of length before each. Answers whether all were taken.
pub fn journal(data: &[u8]) -> bool {
    const OBJECTS: usize = 1000;
    let inventory = Digest([5; 32]);
    let mut bytes = journal::head(&inventory);
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (body, after) = after.split_at(usize::from(*length).min(after.len()));
        bytes.extend(journal::record(bytes.len() as u64, body));
        rest = after;
    }
    let Some((drives, length)) = journal::decode(&bytes, &inventory, OBJECTS) else {
        return false;
    };
    assert!(length <= bytes.len() as u64, "it ends behind its end");
    let objects = drives.iter().flat_map(|held| &held.objects);
    assert!(objects.into_iter().all(|object| (*object as usize) < OBJECTS), "an unknown object");
    length == bytes.len() as u64
}

/// The records of packs that were read back, without their checks: 40 bytes each. Answers whether all were taken.
pub fn proved(data: &[u8]) -> bool {
    let head = [proved::MAGIC.as_slice(), &[7; 40]].concat();
    let mut bytes = head.clone();
    for body in data.chunks(proved::BODY) {
        bytes.extend(proved::sealed(bytes.len() as u64, body));
    }
    let Some((objects, length)) = proved::decode(&bytes, &head) else { return false };
    assert!(length <= bytes.len() as u64, "it ends behind its end");
    assert!(objects.len() <= data.len() / proved::BODY, "more packs than records");
    length == bytes.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    type Target = fn(&[u8]) -> bool;
    const TARGETS: [(&str, Target); 7] = [
        ("label", label),
        ("inventory", inventory),
        ("manifest", manifest),
        ("journal", journal),
        ("want_list", want_list),
        ("revision", revision),
        ("proved", proved),
    ];

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
            assert!(right > 0 && right < seeds.len(), "{name}");
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
