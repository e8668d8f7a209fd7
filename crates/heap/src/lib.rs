//! What the C library's allocator keeps of memory that was given back.
//!
//! glibc takes a block from [`LARGE`] bytes on from the kernel, and gives it back there at once. But once such a block was
//! freed, the limit rises to that block's size, up to 32 MiB: from then on buffers of packs and pieces of files, which come and
//! go by dozens of MiB, stay in the heaps of the threads that had them, in pieces that fit nothing else. Source: `mallopt(3)`,
//! "`M_MMAP_THRESHOLD`".

/// From so many bytes on memory comes from the kernel, and goes back there: what large buffers have. Smaller than the shortest
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
