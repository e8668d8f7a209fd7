//! A server's list of objects, read as it arrives and no longer than a bound. Trusts no name in it.

use super::Rest;
use crate::{Error, Listed, Result, Store};
use model::{Digest, ObjectKey, ObjectKind};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::{self, BufReader, Read};

/// The longest list taken: about ten million objects, or 160 TB in restic's usual packs.
const LIMIT: u64 = 1 << 30;

/// An entry: a name, and in version 2 a size. No digest: not an object's name, so not for us;
/// some servers list their temporary files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    name: Option<Digest>,
    size: Option<u64>,
}

impl Rest {
    pub(super) fn list_folder(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let answer = self.http.get(&format!("{}/", kind.folder()), None)?;
        match answer.status() {
            200 => {}
            // rclone lists what is missing as empty, and says 404 for failures of its own.
            404 if !answer.is_from("rclone/") => return Ok(Vec::new()),
            404 => return Err(self.http.lost(io::ErrorKind::NotFound.into())),
            _ => return Err(self.http.refused(&format!("listing {}", kind.folder()), answer)),
        }
        let entries = read_entries(answer.into_body()).map_err(|cause| self.unlistable(cause))?;
        let named = entries.into_iter().filter_map(|entry| Some((entry.name?, entry.size)));
        named.filter_map(|(name, size)| self.sized(kind, name, size).transpose()).collect()
    }

    /// Version 1 has no sizes: then each object is asked for its own.
    fn sized(&self, kind: ObjectKind, name: Digest, size: Option<u64>) -> Result<Option<Listed>> {
        let key = ObjectKey::new(kind, name);
        if let Some(length) = size {
            return Ok(Some(Listed { key, length }));
        }
        match self.length(&key) {
            Ok(length) => Ok(Some(Listed { key, length })),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn unlistable(&self, cause: serde_json::Error) -> Error {
        if cause.is_io() || cause.is_eof() {
            return self.http.lost(cause.into());
        }
        self.http.protocol(format!("a list that is none: {cause}"))
    }
}

fn read_entries(body: impl Read) -> std::result::Result<Vec<Entry>, serde_json::Error> {
    let bounded = Bounded { inner: body, left: LIMIT };
    let mut json =
        serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, bounded));
    let entries = json.deserialize_any(EntriesVisitor)?;
    json.end()?;
    Ok(entries)
}

/// Whether these bytes are a list.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn is_list(bytes: &[u8]) -> bool {
    read_entries(bytes).is_ok()
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut seq: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element::<Entry>()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl<'de> serde::Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object's name, or its name and size")
    }

    fn visit_str<E>(self, name: &str) -> std::result::Result<Entry, E> {
        Ok(Entry { name: name.parse().ok(), size: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entry, A::Error> {
        let (mut name, mut size) = (None, None);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Name => name = Some(map.next_value::<String>()?),
                Field::Size => size = Some(map.next_value::<u64>()?),
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        Ok(Entry { name: name.parse().ok(), size })
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Name,
    Size,
    #[serde(other)]
    Other,
}

/// Fails beyond its bound, instead of ending there: a list is whole or an error.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| io::Error::other("the list is longer than 1 GiB"))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(text: &str) -> std::result::Result<Vec<Entry>, serde_json::Error> {
        read_entries(text.as_bytes())
    }

    #[test]
    fn both_versions_are_understood_and_strangers_carry_no_name() {
        let id = Digest([0xab; 32]);
        let text = format!(
            r#"["{id}", {{"name":"{id}","size":7}}, {{"size":1,"more":[{{}}],"name":"x.tmp"}}, "README"]"#
        );
        let named = |name, size| Entry { name, size };
        let expected = [
            named(Some(id), None),
            named(Some(id), Some(7)),
            named(None, Some(1)),
            named(None, None),
        ];
        assert_eq!(entries(&text).unwrap(), expected);
        assert_eq!(entries("[]").unwrap(), []);
        assert_eq!(entries("null").unwrap(), []);
    }

    #[test]
    fn a_list_that_is_cut_or_none_is_an_error() {
        for text in [
            "",
            "[",
            r#"["a","#,
            "{}",
            "[1]",
            r#"[{"size":1}]"#,
            r#"[{"name":"x","size":-1}]"#,
            "[]x",
        ] {
            assert!(entries(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_without_end_is_refused_and_not_cut() {
        let mut bounded = Bounded { inner: io::repeat(b' '), left: 100 };
        assert!(bounded.read(&mut [0; 100]).is_ok());
        assert!(bounded.read(&mut [0; 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes: Vec<u8>) {
            let _ = read_entries(bytes.as_slice());
        }
    }
}
