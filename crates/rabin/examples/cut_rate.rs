//! How many bytes a second one core looks at, in pieces as a backup reads them.
#![allow(clippy::print_stdout, reason = "it is for people")]

use std::time::{Duration, Instant};

const PIECE: usize = 256 << 10;
const POLYNOMIAL: u64 = 0x003D_A335_8B4D_C173;

fn modulo(mut value: u64) -> u64 {
    while value >> 53 != 0 {
        value ^= POLYNOMIAL << (10 - value.leading_zeros());
    }
    value
}

fn main() {
    let Some(scanner) = rabin::Scanner::new(53, modulo) else {
        return println!("this processor has no AVX-512 with VBMI and GFNI");
    };
    // A repeated byte never cuts.
    let data = vec![7; rabin::WINDOW + PIECE];
    let (start, mut pieces) = (Instant::now(), 0_u32);
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(std::hint::black_box(&scanner).find(std::hint::black_box(&data)), None);
        pieces += 1;
    }
    let bytes = f64::from(pieces) * 262_144.0;
    println!("{:.1} GB/s", bytes / start.elapsed().as_secs_f64() / 1e9);
}
