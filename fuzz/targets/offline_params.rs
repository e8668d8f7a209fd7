//! OfflineApplicationParams.xml. Holds no rule itself: those are in `credfile::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    credfile::fuzz::offline_params(data);
});
