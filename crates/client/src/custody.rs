//! Routes about the custody log of a seed. Believes nothing of it: whoever reads it proves it.

use crate::{Client, Result};
use std::io::Read;
use ureq::http::Method;
use wire::{CustodyEntries, CustodyTaken, SeedId};

impl Client {
    /// Sends entries of the caller's own chain, as they were signed. Those that the server has already change
    /// nothing.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] names the entry that does not follow; what else the server refuses.
    pub fn append_custody(&self, seed: SeedId, entries: &[String]) -> Result<CustodyTaken> {
        let entries = CustodyEntries { entries: entries.to_vec() };
        self.send(&Method::POST, &["seeds", &seed.to_string(), "custody"], &entries)
    }

    /// The whole log, as a file that is proven without the server.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when the caller has nothing to do with such a seed.
    pub fn custody(&self, seed: SeedId) -> Result<Box<dyn Read + Send>> {
        self.download(&["seeds", &seed.to_string(), "custody"])
    }
}
