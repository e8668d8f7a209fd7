//! Writes XML as Azure's own tools lay it out: every attribute on a line of its own, two spaces a
//! level. Refuses what XML cannot carry.

use super::is_carried;
use crate::Error;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// A document that is being written. Wiped: it may hold a key.
pub(crate) struct Writer {
    text: Zeroizing<String>,
    open: Vec<&'static str>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n".to_owned();
        Self { text: Zeroizing::new(text), open: Vec::new() }
    }

    /// Opens an element with these attributes.
    pub(crate) fn open(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &str)],
    ) -> Result<(), Error> {
        self.start(name, attributes)?;
        self.text.push_str(">\n");
        self.open.push(name);
        Ok(())
    }

    /// An element without content.
    pub(crate) fn empty(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &str)],
    ) -> Result<(), Error> {
        self.start(name, attributes)?;
        self.text.push_str(" />\n");
        Ok(())
    }

    /// An element with text only.
    pub(crate) fn leaf(&mut self, name: &'static str, text: &str) -> Result<(), Error> {
        self.start(name, &[])?;
        self.text.push('>');
        self.escape(name, text)?;
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "</{name}>");
        Ok(())
    }

    /// Closes what was opened last.
    pub(crate) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent(0);
            let _ = writeln!(self.text, "</{name}>");
        }
    }

    /// Closes all that is open.
    pub(crate) fn finish(mut self) -> Zeroizing<String> {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }

    fn start(&mut self, name: &str, attributes: &[(&'static str, &str)]) -> Result<(), Error> {
        self.indent(0);
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            self.text.push('\n');
            self.indent(1);
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escape(name, value)?;
            self.text.push('"');
        }
        Ok(())
    }

    fn indent(&mut self, more: usize) {
        for _ in 0..self.open.len() + more {
            self.text.push_str("  ");
        }
    }

    /// Line ends and tabs as references: readers would make spaces of them.
    fn escape(&mut self, name: &'static str, value: &str) -> Result<(), Error> {
        for letter in value.chars() {
            match letter {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\t' | '\n' | '\r' => {
                    let _ = write!(self.text, "&#{};", u32::from(letter));
                }
                _ if is_carried(letter) => self.text.push(letter),
                _ => return Err(Error::value(name, "holds a character that XML cannot carry")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::parse;
    use proptest::prelude::*;

    #[test]
    fn a_document_looks_like_those_of_azures_tools() {
        let mut writer = Writer::new();
        writer.open("A", &[("xmlns", "urn:x"), ("B", "1")]).unwrap();
        writer.leaf("C", "x<y").unwrap();
        writer.empty("D", &[("E", "\n")]).unwrap();
        let text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<A\n  xmlns=\"urn:x\"\n  B=\"1\">\n  \
            <C>x&lt;y</C>\n  <D\n    E=\"&#10;\" />\n</A>\n";
        assert_eq!(writer.finish().as_str(), text);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_or_refused(value: String) {
            let mut writer = Writer::new();
            let refused = writer.open("A", &[("B", &value)]).is_err() || writer.leaf("C", &value).is_err();
            let bad = |c: char| (c < ' ' && !"\t\n\r".contains(c)) || "\u{fffe}\u{ffff}".contains(c);
            prop_assert_eq!(refused, value.contains(bad));
            if !refused {
                let root = parse(writer.finish().as_bytes()).unwrap();
                prop_assert_eq!(root.attribute("B"), Some(value.as_str()));
                prop_assert_eq!(root.child("C").unwrap().unwrap().text(), value.trim());
            }
        }
    }
}
