//! What people and scripts see: stdout is data, stderr is everything else.

mod ask;
mod printer;
mod progress;

pub(crate) use ask::{Ask, Nobody, Terminal};
pub(crate) use printer::Printer;
pub(crate) use progress::{Part, Progress, duration, per_second};
