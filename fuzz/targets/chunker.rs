//! Chunk boundaries against their definition. Holds no rule itself: those are in `backup::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    backup::fuzz::chunker(data);
});
