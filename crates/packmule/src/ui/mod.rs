//! What people and scripts see: stdout is data, stderr is everything else.

mod printer;
mod progress;

pub(crate) use printer::Printer;
pub(crate) use progress::{Part, Progress, duration, per_second};
