//! Entries of former trees, against the decoder. Holds no rule itself: those are in `repo::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    repo::fuzz::former(data);
});
