//! Prints how fast one message and two side by side are hashed.
#![allow(clippy::print_stdout, reason = "it is for people")]

use std::hint::black_box;
use std::time::Instant;

const LENGTH: usize = 1 << 20;
const TIMES: usize = 1000;

fn main() {
    let (one, other) = (vec![1; LENGTH], vec![2; LENGTH]);
    let rate = |begun: Instant, bytes: usize| bytes as f64 / 1e9 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for _ in 0..TIMES {
        black_box(sha256::hash(black_box(&one)));
    }
    println!("one message: {:.2} GB/s", rate(begun, LENGTH * TIMES));
    let begun = Instant::now();
    for _ in 0..TIMES {
        black_box(sha256::hash_both(black_box([&one, &other])));
    }
    println!("two side by side: {:.2} GB/s", rate(begun, 2 * LENGTH * TIMES));
}
