//! Whole packs, and headers sealed into packs. Holds no rule itself: those are in `repo::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    repo::fuzz::pack(data);
});
