//! The signed documents: what goes in comes out, and nothing else is taken.

use crate::envelope::{self, HEAD, ROW};
use crate::*;
use model::{Digest, ObjectKind};
use proptest::prelude::*;
use serde_json::json;
use sha2::Digest as _;
use wire::SeedId;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn trust() -> Trust {
    Trust::Key(key().public())
}

fn label() -> Label {
    Label {
        seed: SeedId([1; 16]),
        set: 2,
        drive: 3,
        serial: "WD-1".parse().unwrap(),
        role: DriveRole::Data,
        created: "2026-03-01T12:00:00Z".parse().unwrap(),
        capacity: 1 << 40,
        repositories: vec![Digest([4; 32]), Digest([5; 32])],
    }
}

fn object(repository: u16, kind: ObjectKind, fill: u8, length: u64) -> Object {
    Object { repository, kind, name: Digest([fill; 32]), length }
}

fn objects() -> Vec<Object> {
    vec![
        object(0, ObjectKind::Config, 4, 155),
        object(0, ObjectKind::Pack, 1, 1 << 24),
        object(0, ObjectKind::Pack, 2, 0),
        object(1, ObjectKind::Config, 5, 155),
        object(1, ObjectKind::Snapshot, 1, 250),
    ]
}

fn inventory(objects: Vec<Object>) -> Inventory {
    let Label { seed, created, repositories, .. } = label();
    Inventory { seed, created, repositories, objects, parts: Vec::new() }
}

fn manifest(objects: Vec<Object>) -> Manifest {
    let Label { seed, set, drive, serial, created, repositories, .. } = label();
    let (label, extents, inventory) = (Digest([7; 32]), Digest([8; 32]), Some(Digest([9; 32])));
    let header = ManifestHeader {
        seed,
        set,
        drive,
        serial,
        sealed: created,
        label,
        extents,
        inventory,
        repositories,
        parity: None,
    };
    Manifest { header, objects }
}

fn want_list(objects: Vec<Object>) -> WantList {
    let Label { seed, created, repositories, .. } = label();
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let header = WantListHeader {
        vault,
        server,
        seed,
        root: Digest([6; 32]),
        issued: created,
        repositories,
    };
    WantList { header, objects }
}

fn revision(objects: Vec<Object>) -> Revision {
    let Label { seed, created, repositories, .. } = label();
    let (number, replaces) = (3, Digest([6; 32]));
    let withholds_increments = false;
    let header =
        RevisionHeader { seed, number, replaces, created, repositories, withholds_increments };
    Revision { header, objects }
}

#[test]
fn a_revision_says_that_increments_are_withheld_or_nothing_of_them() {
    let mut one = revision(objects());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(!text(&one.encode(&key()).unwrap()).contains("ithholds"));
    one.header.withholds_increments = true;
    let bytes = one.encode(&key()).unwrap();
    assert!(text(&bytes).contains(r#","withholdsIncrements":true}"#));
    assert_eq!(Revision::decode(&bytes, &trust()).unwrap().body, one);
}

fn sha256(bytes: &[u8]) -> String {
    Digest(sha2::Sha256::digest(bytes).into()).to_hex()
}

/// Version 1 is fixed: a change of any byte here is another version. The hashes were computed by a
/// Python program from docs/format.md and RFC 8032 alone.
#[test]
fn the_bytes_of_version_1_never_change() {
    let label = label().encode(&key()).unwrap();
    let inventory = inventory(objects()).encode(&key()).unwrap();
    let manifest = manifest(objects()).encode(&key()).unwrap();
    let want_list = want_list(objects()).encode(&key()).unwrap();
    let revision = revision(objects()).encode(&key()).unwrap();
    assert_eq!(&label[..16], b"PKMLABEL\x01\0\0\0\x2c\x01\0\0");
    let header = r#"{"seed":"01010101010101010101010101010101","set":2,"drive":3,"serial":"WD-1","role":"data","created":"2026-03-01T12:00:00Z","capacity":1099511627776,"repositories":["#;
    assert!(label[HEAD..].starts_with(header.as_bytes()));
    let rows = manifest.len() - 96 - 5 * ROW;
    assert_eq!(&manifest[rows + ROW..rows + ROW + 13], b"\0\0\x02\0\0\0\0\x01\0\0\0\0\x01");
    assert_eq!(
        [&label, &inventory, &manifest, &want_list, &revision].map(|it| sha256(it)),
        [
            "7765c0d1492cae8be67d3749e34076765a517dd309994edd6ee6a72c4da5ef27",
            "5f3504868a92fe6e9dceb65d9fceb485d64f875f11d181c05a99bdef0db053b7",
            "99c094f9de927fb0b379f0ee379ea8e863b753ff3b2350e95edbbea445082427",
            "1733bf85d89e15448bf445dc4f4aac071f911700e8f9613e331485fee99646e9",
            "954623e625ab6f8917e3e99f06b8ee4dda32e99b9c5a74cf91fa18306c1bd200"
        ]
    );
}

#[test]
fn what_goes_in_comes_out() {
    let bytes = label().encode(&key()).unwrap();
    let read = Label::decode(&bytes, &trust()).unwrap();
    assert_eq!((read.body, read.signer), (label(), key().public()));
    assert_eq!(read.digest.to_hex(), sha256(&bytes));
}

#[test]
fn the_parts_of_a_list_follow_one_another_and_each_object_is_in_one() {
    let part = |job: &str, from: Option<u8>| wire::ExportPart {
        job: job.parse().unwrap(),
        from: from.map(|fill| Digest([fill; 32])),
    };
    let with =
        |parts: &[wire::ExportPart]| Inventory { parts: parts.to_vec(), ..inventory(objects()) };
    let whole = with(&[part("job-a", None), part("job-b", Some(2)), part("job-c", Some(3))]);
    let bytes = whole.encode(&key()).unwrap();
    assert_eq!(Inventory::decode(&bytes, &trust()).unwrap().body, whole);
    let counts: Vec<usize> = (0..4).map(|part| whole.part(part).count()).collect();
    assert_eq!(counts, [4, 1, 0, 0], "what is no pack is in the first");
    assert_eq!(inventory(objects()).part(0).count(), 5);
    for wrong in [
        vec![part("job-a", None)],
        vec![part("job-a", Some(1)), part("job-b", Some(2))],
        vec![part("job-a", None), part("job-b", None)],
        vec![part("job-a", None), part("job-b", Some(3)), part("job-c", Some(3))],
        vec![part("job-a", None), part("job-b", Some(3)), part("job-c", Some(2))],
        vec![part("job-a", None), part("job-a", Some(3))],
    ] {
        assert!(matches!(with(&wrong).encode(&key()), Err(Malformed::Header(_))), "{wrong:?}");
    }
}

fn any_objects() -> impl Strategy<Value = Vec<Object>> {
    let kinds = prop::sample::select(vec![
        ObjectKind::Key,
        ObjectKind::Pack,
        ObjectKind::Index,
        ObjectKind::Snapshot,
    ]);
    let object = (0_u16..2, kinds, any::<[u8; 32]>(), 0_u64..1 << 50).prop_map(
        |(repository, kind, name, length)| Object { repository, kind, name: Digest(name), length },
    );
    prop::collection::vec(object, 0..40).prop_map(|mut objects| {
        objects.sort();
        objects.dedup_by_key(|object| object.identity());
        objects
    })
}

proptest! {
    #[test]
    fn lists_come_out_as_they_went_in(objects in any_objects()) {
        let bytes = inventory(objects.clone()).encode(&key()).unwrap();
        prop_assert_eq!(Inventory::decode(&bytes, &trust()).unwrap().body, inventory(objects.clone()));
        let bytes = manifest(objects.clone()).encode(&key()).unwrap();
        prop_assert_eq!(Manifest::decode(&bytes, &trust()).unwrap().body, manifest(objects.clone()));
        let bytes = revision(objects.clone()).encode(&key()).unwrap();
        prop_assert_eq!(Revision::decode(&bytes, &trust()).unwrap().body, revision(objects.clone()));
        match want_list(objects.clone()).encode(&key()) {
            Ok(bytes) => {
                let read = WantList::decode(&bytes, &trust()).unwrap().body;
                prop_assert_eq!(read, want_list(objects));
            }
            Err(why) => prop_assert!(objects.is_empty(), "{}", why),
        }
    }

    #[test]
    fn noise_is_refused_and_stops_nobody(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        for mut bytes in [noise.clone(), [b"PKMMANIF\x01\0\0\0".as_slice(), &noise].concat()] {
            for trust in [trust(), Trust::AsFound] {
                prop_assert!(Manifest::decode(&bytes, &trust).is_err());
            }
            bytes.extend_from_slice(&noise);
            prop_assert!(Label::decode(&bytes, &Trust::AsFound).is_err());
            prop_assert!(Inventory::decode(&bytes, &Trust::AsFound).is_err());
        }
    }
}

#[test]
fn any_changed_byte_any_cut_and_any_addition_is_refused() {
    let documents = [
        label().encode(&key()).unwrap(),
        inventory(objects()).encode(&key()).unwrap(),
        manifest(objects()).encode(&key()).unwrap(),
        want_list(objects()).encode(&key()).unwrap(),
        revision(objects()).encode(&key()).unwrap(),
    ];
    let refused = |at: usize, bytes: &[u8]| match at {
        0 => Label::decode(bytes, &trust()).err(),
        1 => Inventory::decode(bytes, &trust()).err(),
        2 => Manifest::decode(bytes, &trust()).err(),
        3 => WantList::decode(bytes, &trust()).err(),
        _ => Revision::decode(bytes, &trust()).err(),
    };
    for (which, good) in documents.iter().enumerate() {
        assert_eq!(refused(which, good), None);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            let why = refused(which, &bytes).unwrap_or_else(|| panic!("byte {at} of {which}"));
            let key_at = good.len() - 96;
            match at {
                0..8 => assert_eq!(why, Malformed::Magic.into()),
                8..10 => assert!(matches!(why, Refused::Malformed(Malformed::Version(_)))),
                10..12 => assert!(matches!(why, Refused::Malformed(Malformed::Flags(_)))),
                12..HEAD => assert!(matches!(why, Refused::Malformed(_)), "{why:?}"),
                _ if (key_at..key_at + 32).contains(&at) => {
                    assert!(matches!(why, Refused::Signer { .. }));
                }
                _ => assert_eq!(why, Malformed::Signature.into()),
            }
            assert!(refused(which, &good[..at]).is_some(), "cut at {at}");
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert!(matches!(
            refused(which, &longer),
            Some(Refused::Malformed(Malformed::Length { .. }))
        ));
    }
    assert!(Manifest::decode(&documents[1], &trust()).is_err(), "an inventory is no manifest");
}

#[test]
fn a_signature_of_another_kind_of_document_does_not_count() {
    let mut bytes = inventory(objects()).encode(&key()).unwrap();
    bytes[..8].copy_from_slice(b"PKMMANIF");
    assert_eq!(Manifest::decode(&bytes, &trust()).unwrap_err(), Malformed::Signature.into());
}

#[test]
fn somebody_elses_signature_is_refused_before_anything_is_believed() {
    let bytes = envelope::encode(
        Document::Label,
        &json!({"nonsense": 1}),
        &[],
        &SigningKey::from_bytes(&[8; 32]),
    )
    .unwrap();
    assert!(matches!(Label::decode(&bytes, &trust()), Err(Refused::Signer { .. })));
    let fingerprint = Trust::Fingerprint(key().fingerprint());
    assert!(matches!(Label::decode(&bytes, &fingerprint), Err(Refused::Signer { .. })));
    assert!(matches!(
        Label::decode(&bytes, &Trust::AsFound),
        Err(Refused::Malformed(Malformed::Header(_)))
    ));
}

#[test]
fn huge_claims_are_refused_before_anything_is_allocated() {
    let good = manifest(vec![]).encode(&key()).unwrap();
    for claimed in [1, 1 << 24, (1 << 24) + 1, u64::MAX / 44 + 2, u64::MAX] {
        let mut bytes = good.clone();
        bytes[16..24].copy_from_slice(&u64::to_le_bytes(claimed));
        let why = Manifest::decode(&bytes, &Trust::AsFound).unwrap_err();
        let expected = if claimed > 1 << 24 {
            Malformed::TooMany("objects")
        } else {
            Malformed::Length { actual: good.len() as u64 }
        };
        assert_eq!(why, expected.into());
    }
}

/// Documents that are signed rightly and must be refused all the same.
#[test]
fn a_signature_does_not_make_nonsense_true() {
    let sorted = objects();
    let list = |objects: &[Object]| {
        let bytes = inventory(objects.to_vec()).encode(&key()).unwrap();
        Inventory::decode(&bytes, &trust()).unwrap_err()
    };
    let row = |row, what| Refused::Malformed(Malformed::Row { row, what });
    let twice = [sorted[1], sorted[1]];
    assert_eq!(list(&twice), row(1, "is out of order or there twice"));
    let two_lengths = [sorted[1], Object { length: 5, ..sorted[1] }];
    assert_eq!(list(&two_lengths), row(1, "is out of order or there twice"));
    assert_eq!(list(&[sorted[2], sorted[1]]), row(1, "is out of order or there twice"));
    assert_eq!(
        list(&[object(2, ObjectKind::Pack, 1, 1)]),
        row(0, "names a repository that is not listed")
    );
    assert_eq!(
        list(&[object(0, ObjectKind::Config, 1, 1)]),
        row(0, "is a config of another repository")
    );
    let much = [object(0, ObjectKind::Pack, 1, u64::MAX), object(0, ObjectKind::Pack, 2, 1)];
    assert_eq!(list(&much), Malformed::Overflow.into());
    let mut first = revision(objects());
    first.header.number = 0;
    assert!(matches!(first.encode(&key()), Err(Malformed::Header(_))));
    let first = envelope::encode(Document::Revision, &first.header, &[], &key()).unwrap();
    let why = Revision::decode(&first, &trust()).unwrap_err();
    assert!(
        matches!(why, Refused::Malformed(Malformed::Header(_))),
        "a first one replaces nothing"
    );
    let lock = inventory(vec![object(0, ObjectKind::Lock, 1, 1)]).encode(&key());
    assert!(matches!(lock, Err(Malformed::Row { .. })));

    let mut unsorted = label();
    unsorted.repositories.reverse();
    assert!(unsorted.encode(&key()).is_err());
    let mut value = serde_json::to_value(label()).unwrap();
    let header = |value: &serde_json::Value| {
        let bytes = envelope::encode(Document::Label, value, &[], &key()).unwrap();
        Label::decode(&bytes, &trust()).unwrap_err()
    };
    // Keys of a Value come out sorted: the same content in another form.
    assert!(matches!(header(&value), Refused::Malformed(Malformed::Header(_))));
    value["later"] = json!(1);
    assert!(matches!(header(&value), Refused::Malformed(Malformed::Header(_))));
    let labelled = envelope::encode(Document::Label, &label(), &sorted, &key()).unwrap();
    assert_eq!(
        Label::decode(&labelled, &trust()).unwrap_err(),
        Malformed::TooMany("objects").into()
    );
}

#[test]
fn unknown_kinds_and_reserved_bytes_are_refused() {
    use crate::sign::{SigningKey as Key, Trust};
    let good = manifest(objects()).encode(&key()).unwrap();
    let rows = good.len() - 96 - 5 * ROW;
    for (offset, byte, what) in
        [(2, 5, "is of an unknown kind"), (3, 1, "has its reserved byte set")]
    {
        let mut bytes = good.clone();
        bytes[rows + ROW + offset] = byte;
        let end = bytes.len() - 64;
        let mut message = b"packmule manifest v1\n".to_vec();
        message.extend_from_slice(&sha2::Sha256::digest(&bytes[..end]));
        bytes[end..].copy_from_slice(&Key::from_bytes(&[9; 32]).sign(&message));
        let why = Manifest::decode(&bytes, &Trust::AsFound).unwrap_err();
        assert_eq!(why, Malformed::Row { row: 1, what }.into());
    }
}
