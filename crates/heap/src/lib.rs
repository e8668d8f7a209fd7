//! What the C library's allocator keeps of memory that was given back.
//!
//! glibc takes a block from [`LARGE`] bytes on from the kernel, and gives it back there at once. But once such a block was
//! freed, the limit rises to that block's size, up to 32 MiB: from then on buffers of packs and pieces of files, which come and
//! go by dozens of MiB, stay in the heaps of the threads that had them, in pieces that fit nothing else. Source: `mallopt(3)`,
//! "`M_MMAP_THRESHOLD`".

/// From so many bytes on memory comes from the kernel, and goes back there: what large buffers have. No larger than the shortest
/// buffer that is kept for long, and large enough that nothing which is made for every file pays for it.
pub const LARGE: usize = 2 << 20;

/// Free memory at a heap's end that is kept, in bytes.
pub const KEPT: usize = 1 << 20;

/// Sets both for this process. To be called once, before threads are there. Nothing happens with another C library, or where
/// it does not take the numbers: more memory is used then.
pub fn gives_back() {
    #[cfg(target_env = "gnu")]
    set();
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn set() {
    for (what, bytes) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, KEPT)] {
        let Ok(bytes) = libc::c_int::try_from(bytes) else { continue };
        // SAFETY: takes two numbers, and has no condition but that they are numbers.
        unsafe { libc::mallopt(what, bytes) };
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    /// Bytes of this process that are in memory.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.unwrap_or_default() * 4096
    }

    #[test]
    fn large_buffers_that_were_freed_are_not_kept_whatever_was_freed_before() {
        super::gives_back();
        // Raises the limit, where it is left to itself.
        drop(vec![1_u8; 24 << 20]);
        let before = resident();
        let mut large = Vec::new();
        let mut small = Vec::new();
        for _ in 0..16 {
            large.push(vec![1_u8; 4 << 20]);
            // Keeps what is below it from being trimmed.
            small.push(vec![1_u8; 64 << 10]);
        }
        assert!(resident() > before + (60 << 20));
        drop(large);
        assert!(resident() < before + (8 << 20), "{} are kept", resident() - before);
        assert_eq!(small.len(), 16);
    }
}
