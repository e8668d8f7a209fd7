//! The record of packs that were read back. Holds no rule itself: those are in `seed::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    seed::fuzz::proved(data);
});
