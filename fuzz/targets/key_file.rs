//! Key files with parameters that cost little. Holds no rule itself: those are in `repo::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    repo::fuzz::key_file(data);
});
