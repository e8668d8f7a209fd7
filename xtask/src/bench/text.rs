//! Text as servers log it: compresses as real logs do. Means nothing.

use super::noise::Noise;
use std::fmt::Write as _;

const WORDS: usize = 4000;
const PATHS: usize = 3000;
const AGENTS: usize = 60;
const MODULES: usize = 50;
const LETTERS: &[u8] = b"etaoinshrdlucmfwyp";

/// An endless log, decided by its seed.
#[derive(Debug)]
pub(crate) struct Log {
    noise: Noise,
    clock: u64,
    words: Vec<String>,
    paths: Vec<String>,
    agents: Vec<String>,
    /// Written, and not yet taken.
    pending: String,
}

impl Log {
    pub(crate) fn new(seed: u64) -> Self {
        // All logs speak one language, as those of one machine do.
        let mut language = Noise::new(42);
        let words: Vec<String> = (0..WORDS).map(|_| word(&mut language)).collect();
        let mut several = |separator: &str, least: u64, most: u64| {
            let count = language.between(least, most);
            let picked: Vec<&str> =
                (0..count).filter_map(|_| language.pick(&words).map(String::as_str)).collect();
            picked.join(separator)
        };
        let paths = (0..PATHS).map(|_| format!("/{}", several("/", 1, 4))).collect();
        let agents = (0..AGENTS).map(|_| several(" ", 6, 6)).collect();
        let clock = 1_700_000_000 + seed % 10_000_000;
        Self { noise: Noise::new(seed), clock, words, paths, agents, pending: String::new() }
    }

    /// Fills `out` with what comes next.
    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        while self.pending.len() < out.len() {
            self.line();
        }
        let rest = self.pending.split_off(out.len());
        out.copy_from_slice(self.pending.as_bytes());
        self.pending = rest;
    }

    fn line(&mut self) {
        self.clock += self.noise.below(3);
        // Writing to a String cannot fail.
        let _ = match self.noise.below(10) {
            0..5 => self.request(),
            5..8 => self.message(),
            _ => self.document(),
        };
    }

    fn request(&mut self) -> std::fmt::Result {
        let noise = &mut self.noise;
        let [a, b, c, d, ..] = noise.next().to_le_bytes();
        let path = noise.pick_skewed(&self.paths).map_or("/", String::as_str);
        let status = noise.pick(&[200, 200, 200, 304, 404, 500]).copied().unwrap_or(200);
        let size = noise.skewed(90_000);
        let agent = noise.pick_skewed(&self.agents).map_or("-", String::as_str);
        let (id, clock) = (noise.below(1 << 20), self.clock);
        writeln!(
            self.pending,
            "{a}.{b}.{c}.{d} - - [{clock}] \"GET {path}?id={id} HTTP/1.1\" {status} {size} \"{agent}\""
        )
    }

    fn message(&mut self) -> std::fmt::Result {
        let module = self.some_word(MODULES);
        let words = [(); 3].map(|()| self.some_word(WORDS)).join(" ");
        let noise = &mut self.noise;
        let (micros, request) = (noise.below(1_000_000), noise.next());
        let (user, took) = (noise.skewed(50_000), noise.skewed(1_000_000));
        writeln!(
            self.pending,
            "{}.{micros:06} INFO [{module}] request={request:016x} user={user} {words} took={took}us",
            self.clock
        )
    }

    fn document(&mut self) -> std::fmt::Result {
        let words = [(); 8].map(|()| self.some_word(WORDS)).join(" ");
        let noise = &mut self.noise;
        let level = noise.pick(&["warn", "info", "debug"]).copied().unwrap_or("info");
        let (high, low) = (noise.next(), noise.next());
        let (bytes, ok) = (noise.below(10_000_000), noise.below(2) == 0);
        writeln!(
            self.pending,
            "{{\"ts\":{},\"level\":\"{level}\",\"trace\":\"{high:016x}{low:016x}\",\"msg\":\"{words}\",\"bytes\":{bytes},\"ok\":{ok}}}",
            self.clock
        )
    }

    /// One of the `among` most frequent words.
    fn some_word(&mut self, among: usize) -> String {
        let known = self.words.get(..among).unwrap_or_default();
        self.noise.pick_skewed(known).cloned().unwrap_or_default()
    }
}

fn word(noise: &mut Noise) -> String {
    let length = noise.between(3, 11);
    (0..length).filter_map(|_| noise.pick(LETTERS)).map(|letter| char::from(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(seed: u64, parts: &[usize]) -> Vec<u8> {
        let mut log = Log::new(seed);
        let mut all = Vec::new();
        for length in parts {
            let mut part = vec![0; *length];
            log.fill(&mut part);
            all.extend(part);
        }
        all
    }

    #[test]
    fn a_log_is_decided_by_its_seed_and_not_by_how_it_is_taken() {
        assert_eq!(taken(1, &[5000]), taken(1, &[1, 0, 4999]));
        assert_ne!(taken(1, &[5000]), taken(2, &[5000]));
    }

    #[test]
    fn a_log_is_lines_of_three_kinds() {
        let text = String::from_utf8(taken(3, &[20_000])).unwrap();
        for sign in ["HTTP/1.1", " INFO [", "{\"ts\":"] {
            assert!(text.lines().any(|line| line.contains(sign)), "{sign}");
        }
        assert!(text.lines().all(|line| line.len() < 300));
    }
}
