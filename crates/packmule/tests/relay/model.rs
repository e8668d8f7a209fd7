//! A tree of files and its edits as values, which chance can make and proptest can make smaller.
//! Touches no file: `disk` does.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Which of several, however many they turn out to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick(pub(crate) u32);

impl Pick {
    /// A number below `limit`, which is not 0.
    pub(crate) fn below(self, limit: usize) -> usize {
        ((u64::from(self.0) * limit as u64) >> 32) as usize
    }

    pub(crate) fn of<T>(self, all: &[T]) -> &T {
        &all[self.below(all.len())]
    }
}

pub(crate) fn pick() -> impl Strategy<Value = Pick> {
    any::<u32>().prop_map(Pick)
}

/// A stretch of a file.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// Noise: the same for the same seed, so that files share stretches.
    Noise { seed: u64, length: usize },
    /// One byte, over and over. Zeros are one of them, written, unlike a hole.
    Run { byte: u8, length: usize },
    /// What compresses.
    Text { length: usize },
    /// Not written at all.
    Hole { length: usize },
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Thing {
    Folder,
    File(Vec<Piece>),
    Link(Vec<u8>),
    /// One more name of a file that is there.
    HardLink(Pick),
    Pipe,
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
}

/// An extended attribute.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) name: &'static str,
    pub(crate) value: Vec<u8>,
}

/// What a thing has beside its content. What cannot be set, on links or by this user, is left out.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) time: (i64, i64),
    pub(crate) extras: Vec<Extra>,
}

/// One thing, with a name in one of the folders that are there.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) folder: Pick,
    pub(crate) name: Vec<u8>,
    pub(crate) thing: Thing,
    pub(crate) attributes: Attributes,
}

/// One change. The index says of which thing.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Add(Entry),
    Append(Pick, Piece),
    /// From a place in the file on, which may lie in its middle.
    Overwrite(Pick, Pick, Piece),
    /// The same, and the modification time is set back: only the change time tells.
    Disguise(Pick, Pick, Piece),
    Truncate(Pick, Pick),
    Remove(Pick),
    Rename(Pick, Pick, Vec<u8>),
    Change(Pick, Attributes),
    /// Whatever it was, this is there now.
    Replace(Pick, Thing, Attributes),
    /// The name is no longer one of several: a copy takes its place.
    Unshare(Pick),
}

/// Around the shortest chunk and the blocks that programs read by.
const BOUNDARIES: [usize; 9] = [
    4096,
    (512 << 10) - 1,
    512 << 10,
    (512 << 10) + 1,
    (512 << 10) + 63,
    (512 << 10) + 64,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
];

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..200_usize,
        2 => 0..100_000_usize,
        2 => select(&BOUNDARIES),
        1 => 0..3_000_000_usize,
    ]
}

pub(crate) fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => (0..4_u64, length()).prop_map(|(seed, length)| Piece::Noise { seed, length }),
        1 => (select(&[0, 0, 1, 255]), length()).prop_map(|(byte, length)| Piece::Run { byte, length }),
        1 => length().prop_map(|length| Piece::Text { length }),
        1 => length().prop_map(|length| Piece::Hole { length }),
    ]
}

/// Names that have broken somebody's program.
pub(crate) const ODD: [&[u8]; 24] = [
    b"not utf-8 \xff\xfe",
    b"\x80",
    b"cut \xe2\x82",
    b"surrogate \xed\xa0\x80",
    b"new\nline",
    b"carriage\rreturn\ttab",
    b"bell\x07 escape\x1b[31m delete\x7f",
    b"quotes \" ' `",
    b"\\",
    b"\\x41\\u0041\\n",
    b"back\\slash\\\\es",
    b"-rf",
    b" ",
    b" blank ",
    b".hidden",
    b"...",
    b"*?[a-z]",
    b"$(HOME) %s {} <&>",
    b"umlaut \xc3\xa4 and a\xcc\x88",
    b"\xef\xbb\xbfmark",
    b"replaced \xef\xbf\xbd",
    b"line \xe2\x80\xa8 soft \xc2\xad no break \xc2\xa0",
    b"emoji \xf0\x9f\xab\x8f private \xee\x80\x80",
    b"C:con",
];

fn name() -> impl Strategy<Value = Vec<u8>> {
    let raw = prop_oneof![
        4 => "[a-z]{1,6}".prop_map(String::into_bytes),
        2 => (select(&ODD), "[a-z]{0,2}").prop_map(|(odd, end)| [odd, end.as_bytes()].concat()),
        1 => "\\PC{1,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 1..20),
        1 => any::<u8>().prop_map(|byte| vec![byte; 255]),
    ];
    raw.prop_map(|mut name| {
        name.retain(|byte| !matches!(byte, 0 | b'/'));
        name.truncate(255);
        let usable = !matches!(name.as_slice(), b"" | b"." | b"..");
        if usable { name } else { b"plain".to_vec() }
    })
}

const EXTRAS: [&str; 5] =
    ["user.a", "user.with blank", "user.\u{e4}\"<>", "trusted.t", "security.packmule"];

fn extra() -> impl Strategy<Value = Extra> {
    let value = prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 1..40),
        Just(vec![0; 3]),
        vec(any::<u8>(), 900..1000),
    ];
    let plain = (select(&EXTRAS), value).prop_map(|(name, value)| Extra { name, value });
    let list = |name| (1..70_000_u32, 0..8_u8).prop_map(move |(user, bits)| acl(name, user, bits));
    prop_oneof![
        4 => plain,
        1 => list("system.posix_acl_access"),
        1 => list("system.posix_acl_default"),
        1 => Just(capability()),
    ]
}

/// An access list in the kernel's own form, see acl(5) and linux/posix_acl_xattr.h: beside owner,
/// group and others, one user may do what `bits` say.
pub(crate) fn acl(name: &'static str, user: u32, bits: u8) -> Extra {
    let entry = |tag: u8, bits: u8, who: u32| [&[tag, 0, bits, 0][..], &who.to_le_bytes()].concat();
    let nobody = u32::MAX;
    let entries = [
        entry(1, 6, nobody),
        entry(2, bits, user),
        entry(4, 4, nobody),
        entry(16, 7, nobody),
        entry(32, 0, nobody),
    ];
    Extra { name, value: [vec![2, 0, 0, 0], entries.concat()].concat() }
}

/// `cap_net_bind_service=ep`, in the form of linux/capability.h.
pub(crate) fn capability() -> Extra {
    let words: [u32; 5] = [0x0200_0001, 1 << 10, 0, 0, 0];
    let value = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Extra { name: "security.capability", value }
}

/// The first and last second that ext4 has.
pub(crate) const SECONDS: (i64, i64) = (-(1 << 31), (1 << 34) - (1 << 31) - 1);
/// The last second whose nanoseconds since 1970 fit into 64 bits, in the year 2262.
pub(crate) const LAST_IN_64_BITS: i64 = i64::MAX / 1_000_000_000;

fn attributes() -> impl Strategy<Value = Attributes> {
    let mode = prop_oneof![
        select(&[0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o6711, 0o444, 0]),
        0..0o10_000_u32,
    ];
    let seconds = prop_oneof![
        4 => 0..2_000_000_000_i64,
        1 => SECONDS.0..0_i64,
        1 => 2_000_000_000..LAST_IN_64_BITS,
        1 => select(&[SECONDS.0, -1, 0, (1 << 31) - 1, 1 << 31, LAST_IN_64_BITS - 1]),
    ];
    let nanoseconds = prop_oneof![0..1_000_000_000_i64, select(&[0, 1, 999_999_999])];
    let owner = proptest::option::weighted(0.4, (0..70_000_u32, 0..70_000_u32));
    (mode, owner, (seconds, nanoseconds), vec(extra(), 0..3))
        .prop_map(|(mode, owner, time, extras)| Attributes { mode, owner, time, extras })
}

fn thing() -> impl Strategy<Value = Thing> {
    let target = prop_oneof![
        "[a-z./]{1,20}".prop_map(String::into_bytes),
        vec(1..=255_u8, 1..60),
        select(&ODD).prop_map(<[u8]>::to_vec),
        Just(vec![b'x'; 255]),
    ];
    let device = (any::<bool>(), 0..4096_u32, 0..(1_u32 << 20));
    prop_oneof![
        4 => Just(Thing::Folder),
        9 => vec(piece(), 0..4).prop_map(Thing::File),
        2 => target.prop_map(Thing::Link),
        2 => pick().prop_map(Thing::HardLink),
        1 => Just(Thing::Pipe),
        1 => device.prop_map(|(block, major, minor)| Thing::Device { block, major, minor }),
    ]
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    (pick(), name(), thing(), attributes()).prop_map(|(folder, name, thing, attributes)| Entry {
        folder,
        name,
        thing,
        attributes,
    })
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let which = pick;
    prop_oneof![
        2 => entry().prop_map(Edit::Add),
        2 => (which(), piece()).prop_map(|(file, piece)| Edit::Append(file, piece)),
        2 => (which(), which(), piece()).prop_map(|(file, at, piece)| Edit::Overwrite(file, at, piece)),
        1 => (which(), which(), piece()).prop_map(|(file, at, piece)| Edit::Disguise(file, at, piece)),
        1 => (which(), which()).prop_map(|(file, at)| Edit::Truncate(file, at)),
        2 => which().prop_map(Edit::Remove),
        2 => (which(), which(), name()).prop_map(|(what, to, name)| Edit::Rename(what, to, name)),
        3 => (which(), attributes()).prop_map(|(what, attributes)| Edit::Change(what, attributes)),
        2 => (which(), thing(), attributes())
            .prop_map(|(what, thing, attributes)| Edit::Replace(what, thing, attributes)),
        1 => which().prop_map(Edit::Unshare),
    ]
}
