//! Milliseconds for a key of one lane, beside another implementation: `cargo run --release -p packmule-kdf --example key_rate`.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

const TIMES: u32 = 10;

fn main() -> std::io::Result<()> {
    let cost = kdf::Cost { log_n: 15, r: 8, p: 1 };
    let params = scrypt::Params::new(cost.log_n, cost.r, cost.p).map_err(std::io::Error::other)?;
    let mut out = std::io::stdout().lock();
    let mut tell = |who: &str, derive: &dyn Fn(&mut [u8])| {
        let begun = Instant::now();
        for _ in 0..TIMES {
            derive(black_box(&mut [0; 64]));
        }
        writeln!(out, "{who} {:.1} ms", begun.elapsed().as_secs_f64() * 1000.0 / f64::from(TIMES))
    };
    tell("kdf", &|key| _ = kdf::scrypt(b"password", b"salt", cost, key))?;
    tell("scrypt", &|key| _ = scrypt::scrypt(b"password", b"salt", &params, key))
}
