//! Strings as Go writes them: `strconv.Quote` for names, `encoding/json` around everything.
//!
//! A tree is named by the hash of its text, so the text must be exactly what restic's would be.
//! Holds no knowledge of trees.

use std::borrow::Cow;

/// Appends `bytes` as Go's `strconv.Quote` would, without the quotes around it: any bytes become valid text.
pub(crate) fn quote(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        return String::from_utf8_lossy(bytes);
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| quote_char(c, &mut out));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(out)
}

fn quote_char(c: char, out: &mut String) {
    match c {
        '"' | '\\' => {
            out.push('\\');
            out.push(c);
        }
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
        c if printable(c) => out.push(c),
        c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
        c => out.push_str(&format!("\\U{:08x}", c as u32)),
    }
}

/// Letters, marks, numbers, punctuation and symbols: what neither Go nor Rust escapes. Behind
/// another character, because Rust escapes a combining mark that stands first.
fn printable(c: char) -> bool {
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().count() == 2
}

/// The bytes that a quoted text stands for; none when it is not well-formed.
pub(crate) fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        let (plain, special) = rest.split_at_checked(at)?;
        out.extend_from_slice(plain.as_bytes());
        rest = unescape(special.strip_prefix('\\')?, &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

/// Decodes one escape, `text` standing behind its backslash; answers what follows it.
fn unescape<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = text.chars();
    let simple = match chars.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            let (digits, rest) = hex(chars.as_str(), 2)?;
            out.push(u8::try_from(digits).ok()?);
            return Some(rest);
        }
        'u' => return unicode(chars.as_str(), 4, out),
        'U' => return unicode(chars.as_str(), 8, out),
        '0'..='7' => {
            let (digits, rest) = text.split_at_checked(3)?;
            out.push(u8::from_str_radix(digits, 8).ok()?);
            return Some(rest);
        }
        _ => return None,
    };
    out.push(simple);
    Some(chars.as_str())
}

fn hex(text: &str, digits: usize) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let plain = number.bytes().all(|b| b.is_ascii_hexdigit());
    Some((u32::from_str_radix(number, 16).ok().filter(|_| plain)?, rest))
}

fn unicode<'a>(text: &'a str, digits: usize, out: &mut Vec<u8>) -> Option<&'a str> {
    let (number, rest) = hex(text, digits)?;
    let mut buffer = [0; 4];
    out.extend_from_slice(char::from_u32(number)?.encode_utf8(&mut buffer).as_bytes());
    Some(rest)
}

/// Appends a JSON string as Go's `encoding/json` writes it: `<`, `>`, `&` and the line separators
/// escaped, bytes that are not UTF-8 replaced.
pub(crate) fn json_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if bytes.iter().all(|byte| plain(*byte)) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| json_char(c, out));
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

/// What stands for itself, of ASCII.
fn plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

fn json_char(c: char, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\x08' => out.extend_from_slice(b"\\b"),
        '\x0c' => out.extend_from_slice(b"\\f"),
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
        }
        c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quoted_as_go_quotes() {
        for (bytes, text) in [
            (&b"plain name"[..], "plain name"),
            (b"quote\"back\\slash", "quote\\\"back\\\\slash"),
            (b"\x07\x08\x0c\n\r\t\x0b\x00\x1b\x7f", "\\a\\b\\f\\n\\r\\t\\v\\x00\\x1b\\x7f"),
            (b"caf\xc3\xa9 \xff\xfe", "café \\xff\\xfe"),
            ("\u{301}e\u{301}".as_bytes(), "\u{301}e\u{301}"),
            ("\u{a0}\u{200b}\u{feff}".as_bytes(), "\\u00a0\\u200b\\ufeff"),
            ("\u{1f600}\u{e0001}".as_bytes(), "😀\\U000e0001"),
            (b"it's", "it's"),
        ] {
            assert_eq!(quote(bytes), text);
            assert_eq!(unquote(text).as_deref(), Some(bytes));
        }
        assert_eq!(unquote("\\101\\x41").as_deref(), Some(&b"AA"[..]));
        for bad in ["\\", "\\q", "\\x4", "\\x+1", "\"", "a\nb", "\\ud800", "\\8", "\\777"] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    #[test]
    fn json_escapes_what_go_escapes() {
        let mut out = Vec::new();
        json_string("<a&b>\u{2028}\"\\\x01\x7f".as_bytes(), &mut out);
        assert_eq!(out, b"\"\\u003ca\\u0026b\\u003e\\u2028\\\"\\\\\\u0001\x7f\"");
        out.clear();
        json_string(b"x\xff\xfey", &mut out);
        assert_eq!(out, b"\"x\\ufffd\\ufffdy\"");
    }

    proptest! {
        #[test]
        fn any_bytes_survive_quoting(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let quoted = quote(&bytes);
            prop_assert_eq!(unquote(&quoted), Some(bytes.clone()));
            let mut json = Vec::new();
            json_string(quoted.as_bytes(), &mut json);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), quoted);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}|(\\\\[xuU0-9a-f\"]{1,9}){0,4}") {
            let _ = unquote(&text);
        }
    }
}
