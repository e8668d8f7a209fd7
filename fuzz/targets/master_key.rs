//! What a key file encrypts. Holds no rule itself: those are in `repo::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    repo::fuzz::master_key(data);
});
