//! Entries of a custody log before their signatures. Holds no rule itself: those are in `custody::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    custody::fuzz::custody(data);
});
