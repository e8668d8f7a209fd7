//! Processor time of this thread: what somebody else does on the machine does not count.
//! Measures no waiting.

use rustix::time::{ClockId, clock_gettime};

/// Does `work`, and adds to `seconds` the processor time that it took, in the kernel and outside.
pub(crate) fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let started = now();
    let done = std::hint::black_box(work());
    *seconds += now() - started;
    done
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
