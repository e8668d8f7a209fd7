//! What becomes of each pack, from what is used of it. Pure: knows neither blobs nor stores.
//!
//! The rules are restic's, so that one program has nothing to do where the other was before: what is wholly
//! unused goes; small packs are joined once there are ten; of the others, those with the most waste are packed anew until
//! what is left is tolerable. Packs of trees are packed anew whenever they hold waste: they are read often.

use model::{ByteSize, Digest};
use std::str::FromStr;

/// Fewer small packs than this are left alone: else the last one would be packed anew by every prune.
const SMALL_PACKS: usize = 10;

/// How much waste is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxUnused {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of a per cent of the repository as it is afterwards.
    Share(u32),
    /// Any: nothing is packed anew for it.
    Unlimited,
}

impl Default for MaxUnused {
    /// Five per cent, as restic has it.
    fn default() -> Self {
        Self::Share(500)
    }
}

impl MaxUnused {
    /// In bytes, where so many are used.
    fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
            Self::Share(share) => {
                let left = 10_000_u64.saturating_sub(share.into());
                let bytes = u128::from(used) * u128::from(share);
                bytes
                    .checked_div(left.into())
                    .map_or(u64::MAX, |bytes| u64::try_from(bytes).unwrap_or(u64::MAX))
            }
        }
    }
}

impl FromStr for MaxUnused {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("'{text}' is none of: a size such as 10G, a share such as 5%, unlimited");
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse::<ByteSize>().map(|size| Self::Bytes(size.0)).map_err(|_| refuse());
        };
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(refuse());
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| refuse());
        let part = number(part)? * if part.len() == 1 { 10 } else { 1 };
        let share = number(whole)?.checked_mul(100).and_then(|whole| whole.checked_add(part));
        share.filter(|share| *share < 10_000).map(Self::Share).ok_or_else(refuse)
    }
}

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Keep,
    /// What is used of it is packed anew, and it goes.
    Repack,
    /// It goes.
    Remove,
    /// It is gone already, and nobody needs it.
    Missing,
}

/// What is used of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PackUse {
    pub(super) blobs: u32,
    pub(super) used_blobs: u32,
    /// Of all blobs, and of those that are used.
    pub(super) bytes: u64,
    pub(super) used_bytes: u64,
    /// Of the pack.
    pub(super) length: u64,
    pub(super) data: bool,
    pub(super) trees: bool,
    /// Some of its trees are not compressed.
    pub(super) raw_trees: bool,
}

impl PackUse {
    fn unused(&self) -> u64 {
        self.bytes.saturating_sub(self.used_bytes)
    }

    fn wholly_used(&self) -> bool {
        // Neither packs of both kinds nor trees that are not compressed have been written for long.
        self.used_blobs == self.blobs && !(self.data && self.trees) && !self.raw_trees
    }
}

/// What is done at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_unused: MaxUnused,
    pub(super) max_repack: u64,
    pub(super) small: u64,
    pub(super) trees_only: bool,
}

/// The fates of packs that are there, in their order.
pub(super) fn judge(packs: &[(Digest, PackUse)], limits: &Limits) -> Vec<Fate> {
    let fate = |(_, pack): &(Digest, PackUse)| {
        if pack.used_blobs == 0 { Fate::Remove } else { Fate::Keep }
    };
    let mut fates: Vec<Fate> = packs.iter().map(fate).collect();
    let kept = || packs.iter().enumerate().filter(|(_, (_, pack))| pack.used_blobs > 0);
    let open = kept().filter(|(_, (_, pack))| pack.trees || !limits.trees_only);
    let (whole, mut candidates): (Vec<_>, Vec<_>) =
        open.partition(|(_, (_, pack))| pack.wholly_used());
    let small: Vec<_> =
        whole.into_iter().filter(|(_, (_, pack))| pack.length < limits.small).collect();
    if small.len() >= SMALL_PACKS {
        candidates.extend(small);
    }
    candidates.sort_by(|(_, (a_id, a)), (_, (b_id, b))| {
        let first = |pack: &PackUse| (!pack.trees, pack.length >= limits.small);
        // The larger share of waste first; shares compared without dividing.
        let waste = |a: &PackUse, b: &PackUse| u128::from(a.unused()) * u128::from(b.used_bytes);
        first(a).cmp(&first(b)).then_with(|| waste(b, a).cmp(&waste(a, b))).then(a_id.cmp(b_id))
    });
    let used = kept().map(|(_, (_, pack))| pack.used_bytes).sum();
    let mut unused: u64 = kept().map(|(_, (_, pack))| pack.unused()).sum();
    let (tolerated, mut repacked) = (limits.max_unused.bytes(used), 0_u64);
    for (at, (_, pack)) in candidates {
        let needless = unused <= tolerated && pack.length >= limits.small && !pack.trees;
        if needless || repacked.saturating_add(pack.length) > limits.max_repack {
            continue;
        }
        repacked += pack.length;
        unused = unused.saturating_sub(pack.unused());
        if let Some(fate) = fates.get_mut(at) {
            *fate = Fate::Repack;
        }
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        max_unused: MaxUnused::Share(500),
        max_repack: u64::MAX,
        small: 100,
        trees_only: false,
    };

    fn pack(used: u32, unused: u32, trees: bool) -> PackUse {
        let (used_bytes, bytes) = (u64::from(used) * 10, u64::from(used + unused) * 10);
        let (blobs, data) = (used + unused, !trees);
        let length = bytes + 50;
        PackUse {
            blobs,
            used_blobs: used,
            bytes,
            used_bytes,
            length,
            data,
            trees,
            raw_trees: false,
        }
    }

    fn fates(packs: &[PackUse], limits: &Limits) -> Vec<Fate> {
        let id = |n: usize| Digest([u8::try_from(n).unwrap(); 32]);
        let named: Vec<_> = packs.iter().enumerate().map(|(n, pack)| (id(n), *pack)).collect();
        judge(&named, limits)
    }

    #[test]
    fn what_is_unused_goes_and_the_most_wasteful_are_packed_anew_first() {
        let packs = [
            pack(0, 20, false),
            pack(20, 0, false),
            pack(18, 2, false),
            pack(4, 16, false),
            pack(96, 4, false),
        ];
        let with = |max_unused| fates(&packs, &Limits { max_unused, ..LIMITS });
        let (keep, repack, gone) = (Fate::Keep, Fate::Repack, Fate::Remove);
        assert_eq!(with(MaxUnused::Unlimited), [gone, keep, keep, keep, keep]);
        // Of 1380 used bytes 72 are five per cent of the whole; 60 are left then.
        assert_eq!(with(MaxUnused::default()), [gone, keep, keep, repack, keep]);
        assert_eq!(with(MaxUnused::Bytes(40)), [gone, keep, repack, repack, keep]);
        assert_eq!(with(MaxUnused::Bytes(0)), [gone, keep, repack, repack, repack]);
        let little = Limits { max_unused: MaxUnused::Bytes(0), max_repack: 500, ..LIMITS };
        assert_eq!(fates(&packs, &little), [gone, keep, repack, repack, keep]);
        let none = Limits { max_repack: 0, ..little };
        assert_eq!(fates(&packs, &none), [gone, keep, keep, keep, keep]);
    }

    #[test]
    fn packs_of_trees_hold_no_waste_and_mixed_ones_are_taken_apart() {
        let mixed = PackUse { data: true, ..pack(20, 0, true) };
        let packs = [pack(99, 1, true), pack(99, 1, false), mixed, pack(20, 0, true)];
        let fates_with = |trees_only| {
            fates(&packs, &Limits { max_unused: MaxUnused::Unlimited, trees_only, ..LIMITS })
        };
        assert_eq!(fates_with(false), [Fate::Repack, Fate::Keep, Fate::Repack, Fate::Keep]);
        assert_eq!(fates_with(true), fates_with(false));
        let data = fates(&[pack(1, 99, false)], &Limits { trees_only: true, ..LIMITS });
        assert_eq!(data, [Fate::Keep]);
    }

    #[test]
    fn small_packs_are_joined_once_there_are_ten() {
        let nine = vec![pack(2, 0, false); 9];
        assert_eq!(fates(&nine, &LIMITS), vec![Fate::Keep; 9]);
        let ten = vec![pack(2, 0, false); 10];
        assert_eq!(fates(&ten, &LIMITS), vec![Fate::Repack; 10]);
    }

    #[test]
    fn what_is_tolerated_is_read_as_people_write_it() {
        assert_eq!("5%".parse(), Ok(MaxUnused::Share(500)));
        assert_eq!("0.25%".parse(), Ok(MaxUnused::Share(25)));
        assert_eq!("2.5%".parse(), Ok(MaxUnused::Share(250)));
        assert_eq!("10G".parse(), Ok(MaxUnused::Bytes(10 << 30)));
        assert_eq!("unlimited".parse(), Ok(MaxUnused::Unlimited));
        for wrong in ["100%", "%", "-1%", "5 %", "x", ".5%", "1.%", "1.234%"] {
            assert!(wrong.parse::<MaxUnused>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn limits_are_kept_and_nothing_used_is_removed(
            packs in prop::collection::vec((0u32..30, 1u32..30, any::<bool>()), 0..40),
            max_repack in prop_oneof![Just(u64::MAX), 0u64..4000],
            share in prop_oneof![Just(0u32), 1u32..9999],
        ) {
            let packs: Vec<_> = packs.into_iter().map(|(used, unused, trees)| pack(used, unused, trees)).collect();
            let limits = Limits { max_unused: MaxUnused::Share(share), max_repack, ..LIMITS };
            let fates = fates(&packs, &limits);
            prop_assert_eq!(fates.len(), packs.len());
            let (mut repacked, mut used, mut unused) = (0, 0, 0);
            for (pack, fate) in packs.iter().zip(&fates) {
                prop_assert_eq!(pack.used_blobs == 0, *fate == Fate::Remove);
                used += pack.used_bytes;
                match fate {
                    Fate::Repack => repacked += pack.length,
                    Fate::Keep => unused += pack.unused(),
                    _ => {}
                }
            }
            prop_assert!(repacked <= max_repack);
            let share = u64::from(share);
            prop_assert!(max_repack < u64::MAX || unused * (10_000 - share) <= used * share);
        }
    }
}
