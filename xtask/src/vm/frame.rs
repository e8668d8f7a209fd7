//! How host and guest talk over their line: one line of JSON as the head, then the bytes that it
//! announces. Nothing is escaped, so nothing is lost. Knows no deadline: whoever reads has one.
//!
//! ```text
//! {"head":{…},"lengths":[5,3]}\n  hello  abc
//! ```

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read, Write};

/// Of one part: what a command says, or a file that is copied. More is a mistake in a scenario.
const LONGEST: usize = 64 << 20;

/// The line that a head takes at most: a script is part of it.
const LONGEST_HEAD: u64 = 1 << 20;

/// What the host asks for. Each request is answered once, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Never used twice.
    pub(super) id: u64,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// A shell's script, with the part as its standard input. Answered by both outputs.
    Run(String),
    /// A file to be written with that mode. The part is what will be in it.
    Put(String, u32),
    /// A file to be read. Answered by what is in it.
    Get(String),
    /// The device file of the drive with that serial number. Answered by its name, or by the exit
    /// code 1 while there is none.
    Find(String),
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is up. Comes once, before all others.
    Ready,
    /// That request is done, with this exit code.
    Done(u64, i32),
    /// That request could not be begun, or not be ended.
    Failed(u64, String),
}

#[derive(Serialize, Deserialize)]
struct Line<H> {
    head: H,
    lengths: Vec<usize>,
}

/// Writes one frame.
pub(super) fn write(
    to: &mut impl Write,
    head: impl Serialize,
    parts: &[&[u8]],
) -> anyhow::Result<()> {
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    ensure!(lengths.iter().all(|length| *length <= LONGEST), "more than {LONGEST} bytes at once");
    let mut frame = serde_json::to_vec(&Line { head, lengths })?;
    frame.push(b'\n');
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    to.write_all(&frame)?;
    Ok(to.flush()?)
}

/// Reads one frame; none where the line ends.
pub(super) fn read<H: DeserializeOwned>(
    from: &mut impl BufRead,
) -> anyhow::Result<Option<(H, Vec<Vec<u8>>)>> {
    let mut line = Vec::new();
    if from.by_ref().take(LONGEST_HEAD).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let Line { head, lengths } = serde_json::from_slice(&line).context("no frame")?;
    let mut parts = Vec::new();
    for length in lengths {
        ensure!(length <= LONGEST, "{length} bytes at once");
        let mut part = vec![0; length];
        from.read_exact(&mut part).context("the line ended within a frame")?;
        parts.push(part);
    }
    Ok(Some((head, parts)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            script in any::<String>(),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..4),
        ) {
            let request = Request { id: 7, what: What::Run(script) };
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let mut line = Vec::new();
            write(&mut line, &request, &slices).unwrap();
            write(&mut line, Reply::Done(1, -1), &[]).unwrap();
            let mut from = line.as_slice();
            prop_assert_eq!(read::<Request>(&mut from).unwrap(), Some((request, parts)));
            prop_assert_eq!(read(&mut from).unwrap(), Some((Reply::Done(1, -1), vec![])));
            prop_assert!(read::<Reply>(&mut from).unwrap().is_none());
        }
    }

    #[test]
    fn what_is_cut_or_strange_is_an_error() {
        let mut line = Vec::new();
        write(&mut line, Reply::Ready, &[b"hello"]).unwrap();
        for end in 1..line.len() {
            assert!(read::<Reply>(&mut line.get(..end).unwrap()).is_err(), "{end}");
        }
        assert!(read::<Reply>(&mut b"[    0.0] Linux\n".as_slice()).is_err());
        let huge = b"{\"head\":\"Ready\",\"lengths\":[99999999999]}\n";
        assert!(read::<Reply>(&mut huge.as_slice()).is_err());
    }
}
