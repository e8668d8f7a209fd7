//! XML, as little of it as such files have: elements, attributes, text. Knows no file.
//!
//! Refused are documents with a DTD, and with it every entity but the five that XML itself has;
//! encodings other than UTF-8; and what is longer, deeper or fuller than the limits below. Memory is
//! bounded by the length of the file, time by its length times the number of attributes an element has.

mod write;

pub(crate) use write::Writer;

use crate::{Error, MAX_BYTES, NAMESPACE};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::attributes::Attribute as RawAttribute;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};
use zeroize::Zeroizing;

/// Publish settings have three levels, and ours as many.
const MAX_DEPTH: usize = 8;
/// As many subscriptions as fit into the file.
const MAX_ELEMENTS: usize = 4096;
/// No element of any of the files has ten.
const MAX_ATTRIBUTES: usize = 32;

/// An element with all that is in it. Values may be secret: they are wiped.
#[derive(Default)]
pub(crate) struct Element {
    namespace: String,
    name: String,
    attributes: Vec<Attribute>,
    children: Vec<Element>,
    text: Zeroizing<String>,
}

struct Attribute {
    namespace: String,
    name: String,
    value: Zeroizing<String>,
}

impl Element {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has that name, in that namespace ("" for none).
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// An attribute without a namespace.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attribute_in("", name)
    }

    /// An attribute that we have added.
    pub(crate) fn own_attribute(&self, name: &str) -> Option<&str> {
        self.attribute_in(NAMESPACE, name)
    }

    pub(crate) fn attribute_in(&self, namespace: &str, name: &str) -> Option<&str> {
        let named = |found: &&Attribute| found.namespace == namespace && found.name == name;
        self.attributes.iter().find(named).map(|found| found.value.as_str())
    }

    /// Children of that name, in its own namespace.
    pub(crate) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.is(&self.namespace, name))
    }

    /// The only child of that name, if there is one.
    ///
    /// # Errors
    /// When there are two: which of them another reader takes, nobody knows.
    pub(crate) fn child(&self, name: &'static str) -> Result<Option<&Element>, Error> {
        let mut found = self.children(name);
        let first = found.next();
        match found.next() {
            Some(_) => Err(Error::value(name, "stands there twice")),
            None => Ok(first),
        }
    }

    /// Its text without white space around it, and without that of its children.
    pub(crate) fn text(&self) -> &str {
        self.text.trim()
    }
}

/// The first element of a document.
pub(crate) fn parse(bytes: &[u8]) -> Result<Element, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge { what: "more bytes", limit: MAX_BYTES });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|cause| Error::Xml {
        at: cause.valid_up_to() as u64,
        what: "it is not UTF-8".to_owned(),
    })?;
    let mut parser = Parser::new(text);
    parser.run().and_then(|()| parser.finish())
}

/// Whether XML can have it, as itself or as a reference: XML 1.0, production 2.
fn is_carried(letter: char) -> bool {
    !matches!(letter, '\0'..'\t' | '\u{b}' | '\u{c}' | '\u{e}'..' ' | '\u{fffe}' | '\u{ffff}')
}

struct Parser<'a> {
    reader: NsReader<&'a [u8]>,
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, open: Vec::new(), root: None, elements: 0 }
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Xml { at: self.reader.buffer_position(), what: what.into() }
    }

    fn run(&mut self) -> Result<(), Error> {
        loop {
            match self.reader.read_event().map_err(|cause| self.wrong(cause.to_string()))? {
                Event::Start(start) => self.start(&start)?,
                Event::End(_) => self.end()?,
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(text) => self.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::Decl(declaration) => self.declaration(&declaration)?,
                Event::DocType(_) => {
                    return Err(self.wrong("a DTD, which no such file has"));
                }
                Event::Empty(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => return Ok(()),
            }
        }
    }

    fn finish(mut self) -> Result<Element, Error> {
        if !self.open.is_empty() {
            return Err(self.wrong("it ends within an element"));
        }
        self.root.take().ok_or_else(|| self.wrong("there is no element"))
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), Error> {
        if self.root.is_some() {
            return Err(self.wrong("a second document follows"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Error::TooLarge {
                what: "elements deeper within each other",
                limit: MAX_DEPTH,
            });
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(Error::TooLarge { what: "more elements", limit: MAX_ELEMENTS });
        }
        let (namespace, name) = self.reader.resolver().resolve_element(start.name());
        let mut element = Element {
            namespace: self.namespace(&namespace)?,
            name: name.into_inner().to_owned(),
            ..Element::default()
        };
        for (index, attribute) in start.attributes().with_checks(false).enumerate() {
            if index >= MAX_ATTRIBUTES {
                return Err(Error::TooLarge { what: "more attributes", limit: MAX_ATTRIBUTES });
            }
            let attribute = attribute.map_err(|cause| self.wrong(cause.to_string()))?;
            self.attribute(&mut element, &attribute)?;
        }
        self.open.push(element);
        Ok(())
    }

    fn attribute(&self, element: &mut Element, raw: &RawAttribute<'_>) -> Result<(), Error> {
        if raw.key.as_namespace_binding().is_some() {
            return Ok(());
        }
        let (namespace, name) = self.reader.resolver().resolve_attribute(raw.key);
        let namespace = self.namespace(&namespace)?;
        let name = name.into_inner().to_owned();
        if element.attribute_in(&namespace, &name).is_some() {
            return Err(self.wrong(format!("an element has two attributes {name}")));
        }
        let value = raw.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|cause| self.wrong(cause.to_string()))?.into_owned();
        self.carried(&value)?;
        element.attributes.push(Attribute { namespace, name, value: Zeroizing::new(value) });
        Ok(())
    }

    fn namespace(&self, found: &ResolveResult<'_>) -> Result<String, Error> {
        match found {
            ResolveResult::Unbound => Ok(String::new()),
            ResolveResult::Bound(namespace) => Ok(namespace.into_inner().to_owned()),
            ResolveResult::Unknown(prefix) => {
                Err(self.wrong(format!("nothing says what the prefix {prefix} means")))
            }
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        let element =
            self.open.pop().ok_or_else(|| self.wrong("an element ends that is not open"))?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.carried(text)?;
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(self.wrong("text outside of all elements")),
        }
        Ok(())
    }

    /// The library does not look.
    fn carried(&self, text: &str) -> Result<(), Error> {
        if text.chars().all(is_carried) {
            return Ok(());
        }
        Err(self.wrong("a character that XML cannot carry"))
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), Error> {
        if let Some(letter) =
            reference.resolve_char_ref().map_err(|cause| self.wrong(cause.to_string()))?
        {
            return self.text(letter.encode_utf8(&mut [0; 4]));
        }
        let known = resolve_predefined_entity(reference);
        self.text(known.ok_or_else(|| self.wrong("an entity that XML itself does not have"))?)
    }

    fn declaration(&self, declaration: &BytesDecl<'_>) -> Result<(), Error> {
        match declaration.encoding() {
            None => Ok(()),
            Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") => Ok(()),
            Some(Ok(_)) => Err(self.wrong("it says that it is not UTF-8; save it as UTF-8")),
            Some(Err(cause)) => Err(self.wrong(cause.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn refused(text: &str) -> String {
        let begun = Instant::now();
        let Err(error) = parse(text.as_bytes()) else { panic!("{text:.200}") };
        assert!(begun.elapsed() < Duration::from_secs(5), "{error}");
        error.to_string()
    }

    #[test]
    fn elements_are_told_apart_by_namespace_and_text_is_resolved() {
        let text = "\u{feff}<?xml version='1.0' encoding='UTF-8'?><!-- x -->\n\
            <a xmlns='urn:a' xmlns:p='urn:packmule:files:1' b='1&amp;2' p:b=' &#10;x'>\
            <c> A&lt;<![CDATA[<&]]>&#x42; </c><p:c/><c xmlns=''/></a>\n";
        let root = parse(text.as_bytes()).unwrap();
        assert!(root.is("urn:a", "a") && !root.is("", "a"));
        assert_eq!(root.attribute("b"), Some("1&2"));
        assert_eq!(root.own_attribute("b"), Some(" \nx"));
        assert_eq!(root.child("c").unwrap().unwrap().text(), "A<<&B");
        assert_eq!(root.children("c").count(), 1);
    }

    #[test]
    fn a_child_that_stands_there_twice_is_refused() {
        let root = parse(b"<a><c/><c/></a>").unwrap();
        assert!(root.child("c").is_err());
        assert!(root.child("d").unwrap().is_none());
    }

    #[test]
    fn entities_and_dtds_are_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]><a>&c;</a>";
        assert!(refused(bomb).contains("DTD"));
        assert!(refused("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>").contains("DTD"));
        assert!(refused("<a>&c;</a>").contains("entity"));
        refused("<a b='&c;'/>");
        refused("<a>&#0;</a>");
        for letter in ["\0", "\u{1f}", "\u{ffff}", "&#1;", "&#xffff;"] {
            refused(&format!("<a>{letter}</a>"));
            refused(&format!("<a b='{letter}'/>"));
        }
    }

    #[test]
    fn what_is_not_one_document_is_refused() {
        for text in [
            "",
            " ",
            "x",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><a/>",
            "<a/>x",
            "x<a/>",
            "<a b='1' b='2'/>",
            "<p:a/>",
            "<a p:b='1'/>",
            "<a b=1/>",
            "<a b/>",
            "<",
            "<a",
            "<a><![CDATA[",
            "<!--",
            "<?xml version='1.0' encoding='utf-16'?><a/>",
            "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        ] {
            refused(text);
        }
        assert!(matches!(parse(b"<a>\xff</a>"), Err(Error::Xml { at: 3, .. })));
    }

    #[test]
    fn what_is_too_long_too_deep_or_too_full_is_refused_at_once() {
        let deep = "<a>".repeat(10_000);
        assert!(refused(&deep).contains("deeper"));
        let many = format!("<a>{}</a>", "<b/>".repeat(200_000));
        assert!(refused(&many).contains("more elements"));
        let long = format!("<a>{}</a>", " ".repeat(MAX_BYTES));
        assert!(refused(&long).contains("more bytes"));
        let fields: String = (0..60_000).map(|index| format!(" a{index}=''")).collect();
        assert!(refused(&format!("<a{fields}/>")).contains("more attributes"));
        let bindings: String = (0..60_000).map(|index| format!(" xmlns:a{index}='u'")).collect();
        refused(&format!("<a{bindings}/>"));
        assert!(parse("<a>".repeat(MAX_DEPTH).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, text in "[<>/a&;#x!\\[\\]'= ?-]{0,60}") {
            let _ = (parse(&bytes), parse(text.as_bytes()));
        }
    }
}
