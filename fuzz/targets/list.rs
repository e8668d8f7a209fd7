//! A server's list of objects. Holds no rule itself: those are in `store::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    store::fuzz::list(data);
});
