//! What a process asks for its memory: that the C library's allocator gives back what is free, and that the kernel has large
//! pages for large buffers.
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

/// What the kernel takes advice for: whole pages.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// Sets both for this process. To be called once, before threads are there. Nothing happens with another C library, or where
/// it does not take the numbers: more memory is used then.
pub fn gives_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    set();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn set() {
    for (what, bytes) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, KEPT)] {
        let Ok(bytes) = libc::c_int::try_from(bytes) else { continue };
        // SAFETY: takes two numbers, and has no condition but that they are numbers.
        unsafe { libc::mallopt(what, bytes) };
    }
}

/// Asks the kernel for pages of 2 MiB behind a buffer of several MiB that will be filled and used again. Each page of 4 KiB costs a
/// fault when it is touched, a place among the few that the processor remembers, and a look when a device reads it. Nothing that is in
/// the buffer changes. Where the kernel has no such pages, nothing happens. Source: `madvise(2)`.
pub fn in_large_pages(buffer: &mut Vec<u8>) {
    #[cfg(target_os = "linux")]
    advise(buffer);
    #[cfg(not(target_os = "linux"))]
    let _ = buffer;
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn advise(buffer: &mut Vec<u8>) {
    let start = buffer.as_mut_ptr();
    let before = start.addr().next_multiple_of(PAGE) - start.addr();
    let Some(length) = buffer.capacity().checked_sub(before).map(|length| length & !(PAGE - 1))
    else {
        return;
    };
    // SAFETY: whole pages within one allocation, which is ours alone; this advice changes nothing that is read from memory.
    unsafe { libc::madvise(start.wrapping_add(before).cast(), length, libc::MADV_HUGEPAGE) };
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

    #[test]
    fn large_pages_change_nothing_that_is_in_a_buffer() {
        for length in [0, 1, 4095, 4096, 10_000, 5 << 20] {
            let mut buffer = vec![7_u8; length];
            buffer.reserve(length);
            super::in_large_pages(&mut buffer);
            buffer.extend(std::iter::repeat_n(8, length));
            let (before, behind) = buffer.split_at(length);
            assert!(before.iter().all(|byte| *byte == 7) && behind.iter().all(|byte| *byte == 8));
        }
    }
}
