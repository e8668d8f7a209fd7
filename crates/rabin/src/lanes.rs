//! One stretch of the data in each byte of 512-bit registers.

use crate::matrix::Matrix;
use crate::{CUT, LANES, LEAST, SLICES, Scanner, WINDOW};
use std::arch::x86_64::{
    __m512i, _mm512_and_si512, _mm512_gf2p8affine_epi64_epi8, _mm512_or_si512,
    _mm512_permutex2var_epi8, _mm512_set_epi64, _mm512_set1_epi8, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_testn_epi8_mask, _mm512_xor_si512,
};

/// 64 bytes of each stretch: the first of all, the second of all, and so on.
type Columns = [__m512i; WINDOW];

pub(crate) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("gfni")
}

#[allow(unsafe_code, reason = "the one call of code that not every processor has")]
pub(crate) fn find(scanner: &Scanner, data: &[u8]) -> Option<usize> {
    if !available() {
        return None;
    }
    // SAFETY: the processor has been asked for all that the function is compiled for.
    unsafe { find_in_lanes(scanner, data) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn find_in_lanes(scanner: &Scanner, data: &[u8]) -> Option<usize> {
    let length = data.len().checked_sub(WINDOW).filter(|length| *length >= LEAST)?;
    let stretch = length.div_ceil(LEAST) * WINDOW;
    // The last ones overlap where the stretches are longer than the data.
    let starts: [usize; LANES] = std::array::from_fn(|lane| (lane * stretch).min(length - stretch));
    let mut fingerprints = Fingerprints::new(scanner);
    let zero = _mm512_setzero_si512();
    let mut rooms = [[zero; WINDOW]; 2];
    let [leaving, entering] = &mut rooms;
    let (mut leaving, mut entering) = (leaving, entering);
    load_columns(data, &starts, 0, leaving)?;
    for enters in leaving.iter() {
        fingerprints.step(zero, *enters);
    }
    let mut found = Found::default();
    for offset in (0..stretch).step_by(WINDOW) {
        load_columns(data, &starts, WINDOW + offset, entering)?;
        for (position, (leaves, enters)) in (offset + 1..).zip(leaving.iter().zip(&*entering)) {
            fingerprints.step(*leaves, *enters);
            found.note(fingerprints.cuts(), position);
        }
        // A later stretch's cut counts only when no earlier one has any.
        if found.lanes & 1 != 0 {
            break;
        }
        std::mem::swap(&mut leaving, &mut entering);
    }
    let first = found.places.iter().zip(starts).find(|(place, _)| **place != 0);
    first.map(|(place, start)| start + place)
}

/// The first place of each stretch that has one.
struct Found {
    /// Those that have.
    lanes: u64,
    /// Zero where there is none.
    places: [usize; LANES],
}

impl Default for Found {
    fn default() -> Self {
        Self { lanes: 0, places: [0; LANES] }
    }
}

impl Found {
    #[inline]
    fn note(&mut self, cuts: u64, position: usize) {
        if cuts & !self.lanes != 0 {
            self.add(cuts & !self.lanes, position);
        }
    }

    #[cold]
    fn add(&mut self, cuts: u64, position: usize) {
        for (lane, place) in self.places.iter_mut().enumerate() {
            if cuts >> lane & 1 != 0 {
                *place = position;
            }
        }
        self.lanes |= cuts;
    }
}

/// The fingerprints of all stretches, and what moves them on.
struct Fingerprints {
    slices: [__m512i; SLICES],
    reduce: [__m512i; SLICES],
    leave: [__m512i; SLICES],
    enter: [__m512i; 2],
    cut: [__m512i; 3],
}

impl Fingerprints {
    #[target_feature(enable = "avx512f")]
    fn new(scanner: &Scanner) -> Self {
        let all = |matrix: Matrix| _mm512_set1_epi64(matrix.0.cast_signed());
        Self {
            slices: [_mm512_setzero_si512(); SLICES],
            reduce: scanner.reduce.map(all),
            leave: scanner.leave.map(all),
            enter: scanner.enter.map(all),
            cut: CUT.map(|bits| _mm512_set1_epi8(bits.cast_signed())),
        }
    }

    /// A byte enters each window, and one leaves it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn step(&mut self, leaves: __m512i, enters: __m512i) {
        let [first, second, third, fourth, fifth, sixth, upper] = self.slices;
        let zero = _mm512_setzero_si512();
        let enter = self.enter.map(|matrix| times(matrix, enters));
        let lower =
            [enter[0], _mm512_xor_si512(first, enter[1]), second, third, fourth, fifth, sixth];
        let mut slices = [zero; SLICES];
        for (slice, ((lower, reduce), leave)) in
            slices.iter_mut().zip(lower.into_iter().zip(self.reduce).zip(self.leave))
        {
            let changed = _mm512_xor_si512(lower, times(leave, leaves));
            *slice = _mm512_xor_si512(changed, times(reduce, upper));
        }
        self.slices = slices;
    }

    /// Those that cut here.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn cuts(&self) -> u64 {
        let [first, second, third, ..] = self.slices;
        let ends = _mm512_or_si512(
            _mm512_or_si512(
                _mm512_and_si512(first, self.cut[0]),
                _mm512_and_si512(second, self.cut[1]),
            ),
            _mm512_and_si512(third, self.cut[2]),
        );
        _mm512_testn_epi8_mask(ends, ends)
    }
}

#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn times(matrix: __m512i, bytes: __m512i) -> __m512i {
    _mm512_gf2p8affine_epi64_epi8::<0>(bytes, matrix)
}

/// 64 bytes of each stretch, from `offset` on.
#[target_feature(enable = "avx512f,avx512vbmi")]
fn load_columns(
    data: &[u8],
    starts: &[usize; LANES],
    offset: usize,
    columns: &mut Columns,
) -> Option<()> {
    let (by_eights, _) = starts.as_chunks::<8>();
    let (rows, _) = columns.as_chunks_mut::<8>();
    for (eight, starts) in rows.iter_mut().zip(by_eights) {
        for (row, start) in eight.iter_mut().zip(starts) {
            *row = load(data.get(start + offset..)?.first_chunk()?);
        }
        *eight = exchange([0, 1, 2], *eight);
    }
    for at in 0..8 {
        let mut eight = [_mm512_setzero_si512(); 8];
        for (place, row) in eight.iter_mut().zip(columns.iter().skip(at).step_by(8)) {
            *place = *row;
        }
        let eight = exchange([3, 4, 5], eight);
        for (place, column) in columns.iter_mut().skip(at).step_by(8).zip(eight) {
            *place = column;
        }
    }
    Some(())
}

/// Three of the six steps of turning rows into columns. In the step of a bit, of two rows whose numbers differ
/// in it, the upper half of one takes the place of the lower half of the other.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
fn exchange(bits: [u32; 3], [a, b, c, d, e, f, g, h]: [__m512i; 8]) -> [__m512i; 8] {
    let [one, two, three] = bits.map(|bit| [order(bit, false), order(bit, true)]);
    let ([a, b], [c, d]) = (swap(one, a, b), swap(one, c, d));
    let ([e, f], [g, h]) = (swap(one, e, f), swap(one, g, h));
    let ([a, c], [b, d]) = (swap(two, a, c), swap(two, b, d));
    let ([e, g], [f, h]) = (swap(two, e, g), swap(two, f, h));
    let ([a, e], [b, f]) = (swap(three, a, e), swap(three, b, f));
    let ([c, g], [d, h]) = (swap(three, c, g), swap(three, d, h));
    [a, b, c, d, e, f, g, h]
}

#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
fn swap([low, high]: [__m512i; 2], one: __m512i, other: __m512i) -> [__m512i; 2] {
    [_mm512_permutex2var_epi8(one, low, other), _mm512_permutex2var_epi8(one, high, other)]
}

/// Which bytes of two rows one of them has after the step of that bit.
#[inline]
#[target_feature(enable = "avx512f")]
fn order(bit: u32, upper: bool) -> __m512i {
    let half = 1_u8 << bit;
    let mut places = [0; LANES];
    for (place, column) in places.iter_mut().zip(0_u8..) {
        *place = match (column & half == 0, upper) {
            (true, false) => column,
            (false, false) => 64 + column - half,
            (true, true) => column + half,
            (false, true) => 64 + column,
        };
    }
    load(&places)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; LANES]) -> __m512i {
    let (words, _) = bytes.as_chunks::<8>();
    let word =
        |at: usize| u64::from_le_bytes(words.get(at).copied().unwrap_or_default()).cast_signed();
    _mm512_set_epi64(word(7), word(6), word(5), word(4), word(3), word(2), word(1), word(0))
}
