//! A revision before its signature. Holds no rule itself: those are in `seed::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    seed::fuzz::revision(data);
});
