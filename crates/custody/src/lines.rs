//! Lines of a file that may be anything, each of bounded length.

use crate::fault::Fault;
use std::io::{self, BufRead, Read as _};

/// Reads line by line, never more than the longest that there may be.
pub struct LongLines<'a> {
    from: &'a mut dyn BufRead,
}

impl<'a> LongLines<'a> {
    /// From the beginning.
    #[must_use]
    pub fn new(from: &'a mut dyn BufRead) -> Self {
        Self { from }
    }

    /// The next line without its end, in one `Ok` what can be said of its bytes; none at the end of the file.
    ///
    /// # Errors
    /// Reading fails.
    pub fn next(&mut self, limit: usize) -> io::Result<Option<Result<String, Fault>>> {
        let mut bytes = Vec::new();
        let most = limit as u64 + 1;
        self.from.take(most).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.pop_if(|last| *last == b'\n').is_none() {
            let fault = if bytes.len() > limit { Fault::TooLong { limit } } else { Fault::NoEnd };
            return Ok(Some(Err(fault)));
        }
        Ok(Some(String::from_utf8(bytes).map_err(|_| Fault::NotText)))
    }
}
