//! Values as they stand in the files, each a type that is valid. Knows no file.

use crate::Error;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt::{self, Write as _};
use std::str::FromStr;
use url::Url;
use zeroize::Zeroizing;

/// Tools differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The id of a subscription, tenant or application. Read in any case, with or without braces;
/// written in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub u128);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        for (index, digit) in hex.chars().enumerate() {
            if matches!(index, 8 | 12 | 16 | 20) {
                f.write_char('-')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Guid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::value("the id", "must be like 00000000-0000-0000-0000-000000000000");
        let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let mut digits = String::with_capacity(32);
        for (index, letter) in bare.chars().enumerate() {
            match (index, letter) {
                (8 | 13 | 18 | 23, '-') => {}
                (0..36, digit) if digit.is_ascii_hexdigit() && digits.len() < 32 => {
                    digits.push(digit);
                }
                _ => return Err(wrong()),
            }
        }
        if digits.len() != 32 || bare.len() != 36 {
            return Err(wrong());
        }
        u128::from_str_radix(&digits, 16).map(Self).map_err(|_| wrong())
    }
}

/// An address with `https` and a host, without a user or a fragment. Kept as it was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpsUrl(String);

impl HttpsUrl {
    /// The text, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HttpsUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |rule: &str| Error::value("the address", rule);
        let url = Url::parse(text).map_err(|cause| wrong(&format!("cannot be used: {cause}")))?;
        if url.scheme() != "https" {
            return Err(wrong("must begin with https://"));
        }
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.fragment().is_some() || !url.has_host() {
            return Err(wrong("must have a host, and neither a user nor a fragment"));
        }
        // The parser drops them; a file that has them is damaged.
        if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
            return Err(wrong("must not hold spaces or control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The SHA-1 of a certificate, by which Azure's tools name it. No security rests on it. Read in any
/// case, with the spaces and colons that certificate viewers show; written as 40 digits in upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint(pub [u8; 20]);

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&upper_hex(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Thumbprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::value("the thumbprint", "must be 40 hexadecimal digits");
        // U+200E is what the certificate viewer of Windows puts before it, unseen.
        let separators = [' ', ':', '\u{200e}'];
        let bare: String = text.chars().filter(|letter| !separators.contains(letter)).collect();
        if bare.len() != 40 || !bare.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 20];
        for (byte, digits) in bytes.iter_mut().zip(bare.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Parses the value of that element or attribute, and names it when it is wrong.
pub(crate) fn named<T: FromStr<Err = Error>>(name: &'static str, text: &str) -> Result<T, Error> {
    text.trim().parse().map_err(|cause| match cause {
        Error::Value { rule, .. } => Error::Value { name, rule },
        other => other,
    })
}

/// A text that comes back from a file as it is: readers drop the spaces around it.
pub(crate) fn plain<'a>(name: &'static str, text: &'a str) -> Result<&'a str, Error> {
    if text.is_empty() || text.trim() != text {
        return Err(Error::value(name, "is empty, or has spaces at its ends"));
    }
    Ok(text)
}

pub(crate) fn upper_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

pub(crate) fn to_base64(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(bytes))
}

/// Files are often wrapped, so white space does not count.
pub(crate) fn from_base64(name: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bare = Zeroizing::new(Vec::with_capacity(text.len()));
    bare.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let bytes = BASE64.decode(bare.as_slice());
    bytes.map(Zeroizing::new).map_err(|_| Error::value(name, "is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_read_as_people_write_it_and_written_in_one_form() {
        let plain = "0f8fad5b-d9cb-469f-a165-70867728950e";
        for text in [plain, &plain.to_uppercase(), &format!("{{{plain}}}")] {
            assert_eq!(text.parse::<Guid>().unwrap().to_string(), plain);
        }
        let short = &plain[1..];
        let bare = plain.replace('-', "");
        for text in ["", short, &bare, &format!("{plain}0"), &format!("{{{plain}"), "{}", "é"] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
        assert!("0f8fad5bd-9cb-469f-a165-70867728950e".parse::<Guid>().is_err());
    }

    #[test]
    fn an_address_is_https_and_carries_no_password() {
        for text in ["https://management.core.windows.net", "https://[::1]:8443/x/?a=b"] {
            assert_eq!(text.parse::<HttpsUrl>().unwrap().as_str(), text);
        }
        for text in
            ["", "http://a/", "https://", "https://u:p@a/", "https://a/#x", "https://a/\nb", "x"]
        {
            assert!(text.parse::<HttpsUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_thumbprint_is_read_as_certificate_viewers_show_it() {
        let shown = "\u{200e}ab 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13";
        let read = shown.parse::<Thumbprint>().unwrap();
        assert_eq!(read.to_string(), "AB0102030405060708090A0B0C0D0E0F10111213");
        assert!("AB".parse::<Thumbprint>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(id: u128, bytes: [u8; 20], data: Vec<u8>) {
            prop_assert_eq!(Guid(id).to_string().parse::<Guid>().unwrap(), Guid(id));
            let print = Thumbprint(bytes);
            prop_assert_eq!(print.to_string().parse::<Thumbprint>().unwrap(), print);
            let back = from_base64("x", &to_base64(&data)).unwrap();
            prop_assert_eq!(back.as_slice(), data.as_slice());
        }

        #[test]
        fn no_text_breaks_a_parser(text in "\\PC{0,60}|[0-9a-f{}-]{30,40}") {
            let _ = (text.parse::<Guid>(), text.parse::<HttpsUrl>(), text.parse::<Thumbprint>());
            let _ = from_base64("x", &text);
        }
    }
}
