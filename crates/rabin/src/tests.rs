//! Cuts against the definition, on bytes of every kind. Knows nothing of files.

use super::*;
use proptest::prelude::*;

/// restic's own polynomials are random and irreducible; this one serves as well.
const POLYNOMIAL: u64 = 0x003D_A335_8B4D_C173;

/// The remainder, bit by bit.
fn modulo(polynomial: u64) -> impl Fn(u64) -> u64 {
    let degree = 63 - polynomial.leading_zeros();
    move |mut value| {
        while value >> degree != 0 {
            value ^= polynomial << (63 - value.leading_zeros() - degree);
        }
        value
    }
}

fn append(modulo: &impl Fn(u64) -> u64, hash: u64, byte: u8) -> u64 {
    modulo(hash << 8 | u64::from(byte))
}

/// The definition: each window anew.
fn slow(polynomial: u64, data: &[u8]) -> Option<usize> {
    let modulo = modulo(polynomial);
    let windows = data.windows(WINDOW).skip(1);
    let hashes =
        windows.map(|window| window.iter().fold(0, |hash, byte| append(&modulo, hash, *byte)));
    hashes.zip(1..).find(|(hash, _)| hash & 0xf_ffff == 0).map(|(_, place)| place)
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    // Stretches of zeros always cut at their end, and make cuts as dense as they can be.
    #[test]
    fn it_cuts_where_the_definition_does(
        seed: u64,
        bits: u64,
        length in LEAST..4 * LEAST,
        zeros in prop::collection::vec((any::<prop::sample::Index>(), 60..200_usize), 0..4),
    ) {
        let polynomial = bits & ((1 << 53) - 1) | 1 << 53 | 1;
        let Some(scanner) = Scanner::new(53, modulo(polynomial)) else { return Ok(()) };
        let mut data = noise(seed, WINDOW + length);
        for (at, count) in zeros {
            let at = at.index(data.len());
            data[at..].iter_mut().take(count).for_each(|byte| *byte = 0);
        }
        prop_assert_eq!(scanner.find(&data), slow(polynomial, &data));
    }
}

#[test]
fn a_cut_at_every_place_is_found_and_the_first_of_two_counts() {
    let Some(scanner) = Scanner::new(53, modulo(POLYNOMIAL)) else { return };
    for length in [LEAST, LEAST + 1, 2 * LEAST - 1, 2 * LEAST] {
        for place in 1..=length {
            // A byte that never cuts by itself, and 64 zeros, which always do: at their end.
            let mut data = vec![7; WINDOW + length];
            data[place..place + WINDOW].fill(0);
            assert_eq!(scanner.find(&data), Some(place), "of {length}");
            let behind = (place + 1000).min(length);
            data[behind..behind + WINDOW].fill(0);
            assert_eq!(scanner.find(&data), Some(place), "of {length}, the first of two");
        }
    }
}

// Noise long enough to cut by itself, once in a million bytes.
#[test]
fn noise_is_cut_where_tables_cut_it() {
    let Some(scanner) = Scanner::new(53, modulo(POLYNOMIAL)) else { return };
    let modulo = modulo(POLYNOMIAL);
    let leave: Vec<u64> = (0..=255_u8)
        .map(|byte| (1..WINDOW).fold(u64::from(byte), |hash, _| append(&modulo, hash, 0)))
        .collect();
    let data = noise(5, 12 << 20);
    let mut hash = data[..WINDOW].iter().fold(0, |hash, byte| append(&modulo, hash, *byte));
    let mut expected = Vec::new();
    for (place, (leaves, enters)) in data.iter().zip(&data[WINDOW..]).enumerate() {
        hash = append(&modulo, hash ^ leave[usize::from(*leaves)], *enters);
        if hash & 0xf_ffff == 0 {
            expected.push(place + 1);
        }
    }
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(place) = scanner.find(&data[at..]) {
        at += place;
        found.push(at);
    }
    assert!(expected.len() > 5);
    let last = data.len() - WINDOW - LEAST;
    expected.retain(|place| *place <= last);
    found.retain(|place| *place <= last);
    assert_eq!(found, expected);
}

#[test]
fn what_is_too_short_or_of_another_degree_is_left_to_the_caller() {
    assert!(Scanner::new(52, modulo(POLYNOMIAL >> 1)).is_none());
    let Some(scanner) = Scanner::new(53, modulo(POLYNOMIAL)) else { return };
    for length in [0, 63, 64, WINDOW + LEAST - 1] {
        assert_eq!(scanner.find(&vec![0; length]), None);
    }
}
