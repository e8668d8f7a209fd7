//! One of everything that has ever been difficult, without chance. Touches no file: `disk` does.

use crate::model::{
    Attributes, Entry, Extra, LAST_IN_64_BITS, ODD, Pick, Piece, SECONDS, Thing, acl, capability,
};

const PLAIN: Attributes =
    Attributes { mode: 0o644, owner: None, time: (1_600_000_000, 123_456_789), extras: Vec::new() };

/// In the uppermost folder.
fn entry(name: impl AsRef<[u8]>, thing: Thing, attributes: Attributes) -> Entry {
    Entry { folder: Pick(0), name: name.as_ref().to_vec(), thing, attributes }
}

fn file(length: usize) -> Thing {
    Thing::File(vec![Piece::Noise { seed: 7, length }])
}

fn user(name: &'static str, value: &[u8]) -> Extra {
    Extra { name, value: value.to_vec() }
}

pub(crate) fn all() -> Vec<Entry> {
    [names(), contents(), attributes(), others()].concat()
}

fn names() -> Vec<Entry> {
    let mut all = Vec::new();
    for odd in ODD {
        all.push(entry(odd, file(odd.len()), PLAIN));
        all.push(entry(
            [odd, b" folder"].concat(),
            Thing::Folder,
            Attributes { mode: 0o755, ..PLAIN },
        ));
        all.push(entry([odd, b" link"].concat(), Thing::Link(odd.to_vec()), PLAIN));
    }
    all.push(entry([b'n'; 255], file(1), PLAIN));
    all.push(entry([0xff; 255], file(2), PLAIN));
    all
}

fn contents() -> Vec<Entry> {
    let mut all = vec![
        entry("empty", Thing::File(vec![]), PLAIN),
        entry("hole", Thing::File(vec![Piece::Hole { length: 3 << 20 }]), PLAIN),
        entry("zeros", Thing::File(vec![Piece::Run { byte: 0, length: 3 << 20 }]), PLAIN),
        // No window of it is a place to cut at, or each is: the longest chunk, or the shortest.
        entry("ones", Thing::File(vec![Piece::Run { byte: 1, length: (8 << 20) + 1 }]), PLAIN),
        entry("text", Thing::File(vec![Piece::Text { length: 2 << 20 }]), PLAIN),
        entry("noise", file(3 << 20), PLAIN),
    ];
    let island = [
        Piece::Hole { length: 700_000 },
        Piece::Noise { seed: 7, length: 5000 },
        Piece::Hole { length: 1 << 20 },
    ];
    all.push(entry("island", Thing::File(island.to_vec()), PLAIN));
    let twice =
        [Piece::Noise { seed: 7, length: 1 << 20 }, Piece::Noise { seed: 7, length: 1 << 20 }];
    all.push(entry("twice", Thing::File(twice.to_vec()), PLAIN));
    for length in [(512 << 10) - 1, 512 << 10, (512 << 10) + 1, (512 << 10) + 64] {
        all.push(entry(format!("{length} bytes"), file(length), PLAIN));
    }
    all
}

fn attributes() -> Vec<Entry> {
    let mut all = Vec::new();
    for mode in [0, 0o444, 0o777, 0o1777, 0o2755, 0o4755, 0o7777] {
        let attributes = Attributes { mode, ..PLAIN };
        all.push(entry(format!("mode {mode:o}"), file(3), attributes.clone()));
        all.push(entry(format!("folder {mode:o}"), Thing::Folder, attributes));
    }
    let [first, last] = [SECONDS.0, SECONDS.1];
    let times = [
        first,
        -86_400,
        -1,
        0,
        (1 << 31) - 1,
        1 << 31,
        LAST_IN_64_BITS - 1,
        LAST_IN_64_BITS + 1,
        last,
    ];
    for seconds in times {
        let time = (seconds, 999_999_999);
        all.push(entry(format!("time {seconds}"), file(4), Attributes { time, ..PLAIN }));
        let time = (seconds, 1);
        all.push(entry(
            format!("folder of {seconds}"),
            Thing::Folder,
            Attributes { time, mode: 0o755, ..PLAIN },
        ));
        let link = Thing::Link(b"nowhere".to_vec());
        all.push(entry(format!("link of {seconds}"), link, Attributes { time, ..PLAIN }));
    }
    for (at, owner) in
        [(1, 0), (0, 1), (12_345, 54_321), (u32::MAX - 1, u32::MAX - 1)].into_iter().enumerate()
    {
        let attributes = Attributes { owner: Some(owner), mode: 0o6755, ..PLAIN };
        all.push(entry(format!("owner {at}"), file(5), attributes.clone()));
        all.push(entry(format!("owner of a folder {at}"), Thing::Folder, attributes.clone()));
        all.push(entry(format!("owner of a link {at}"), Thing::Link(b"x".to_vec()), attributes));
    }
    let lists = [
        ("empty value", vec![user("user.empty", b"")]),
        ("binary value", vec![user("user.binary", b"\0\xff\n")]),
        ("odd name", vec![user("user.\u{e4} \"<>\\", b"v"), user("user.a", b"1")]),
        ("long value", vec![user("user.long", &[0xa5; 2000])]),
        ("only root's", vec![user("trusted.t", b"t"), user("security.packmule", b"s")]),
        ("capability", vec![capability()]),
        ("access list", vec![acl("system.posix_acl_access", 12_345, 5)]),
        ("default list", vec![acl("system.posix_acl_default", 12_345, 7)]),
    ];
    for (name, extras) in lists {
        let attributes = Attributes { extras, mode: 0o750, ..PLAIN };
        all.push(entry(name, file(6), attributes.clone()));
        all.push(entry(format!("folder with {name}"), Thing::Folder, attributes.clone()));
        all.push(entry(
            format!("link with {name}"),
            Thing::Link(b"y".to_vec()),
            attributes.clone(),
        ));
        all.push(entry(format!("pipe with {name}"), Thing::Pipe, attributes));
    }
    all
}

fn others() -> Vec<Entry> {
    let device = |block, major, minor| Thing::Device { block, major, minor };
    let odd = Attributes { mode: 0o1640, owner: Some((7, 8)), ..PLAIN };
    let mut all = vec![
        entry("pipe", Thing::Pipe, odd.clone()),
        entry("block", device(true, 7, 200), odd.clone()),
        entry("character", device(false, 1, 3), odd.clone()),
        entry("largest block", device(true, 4095, (1 << 20) - 1), odd.clone()),
        entry("largest character", device(false, 4095, (1 << 20) - 1), odd),
        entry("long link", Thing::Link(vec![b'x'; 4000]), PLAIN),
        entry("raw link", Thing::Link(b"\xff\xfe nowhere".to_vec()), PLAIN),
        entry(
            "link with attributes",
            Thing::Link(b"empty".to_vec()),
            Attributes { extras: vec![user("trusted.l", b"link's")], ..PLAIN },
        ),
        entry("link to everything", Thing::Link(b"/".to_vec()), PLAIN),
        entry("empty folder", Thing::Folder, Attributes { mode: 0o755, ..PLAIN }),
    ];
    // A file with three names, in folders before and behind it.
    for at in [0, u32::MAX / 2, u32::MAX] {
        let link = Thing::HardLink(Pick(u32::MAX / 3));
        let name = b"one more name".to_vec();
        all.push(Entry { folder: Pick(at), name, thing: link, attributes: PLAIN });
    }
    all
}
