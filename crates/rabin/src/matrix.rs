//! Matrices of eight by eight bits, in the order of GFNI's affine transformation.

/// What makes a byte of a byte, bit by bit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix(pub(crate) u64);

impl Matrix {
    /// The matrix of a linear function.
    pub(crate) fn of(function: impl Fn(u8) -> u8) -> Self {
        let columns: [u8; 8] = std::array::from_fn(|bit| function(1 << bit));
        let row = |out: usize| {
            let bits = columns.iter().enumerate();
            bits.fold(0, |row, (bit, column)| row | ((column >> out) & 1) << bit)
        };
        // The row of the lowest bit is the last byte.
        Self(u64::from_be_bytes(std::array::from_fn(row)))
    }
}
