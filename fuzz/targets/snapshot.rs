//! Snapshots, bare and sealed; written again they mean the same. Holds no rule itself: those are in `repo::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    repo::fuzz::snapshot(data);
});
