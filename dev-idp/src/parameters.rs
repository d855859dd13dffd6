//! Pure. The parameters of a request, from query and form. A repeated name is kept, so that it can be refused.

use std::collections::HashSet;

use url::form_urlencoded;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().take(LIMIT).collect())
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn repeated(&self) -> Option<&str> {
        let mut seen = HashSet::new();
        self.0.iter().map(|(key, _)| key.as_str()).find(|key| !seen.insert(*key))
    }

    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        self.value(name).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
    }

    pub(crate) fn joined(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    pub(crate) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// Undoes form-urlencoding and refuses what is not properly encoded.
pub(crate) fn decoded_strictly(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex_value(rest.next()?)? * 16 + hex_value(rest.next()?)?,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'~' => byte,
            _ => return None,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// More parameters than this are not read.
const LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_decoding_refuses_what_was_never_encoded() {
        let check = |input, expected: Option<&str>| {
            assert_eq!(decoded_strictly(input).as_deref(), expected, "{input}");
        };
        check("abc-._*~", Some("abc-._*~"));
        check("a%3Ab%25c%2Bd", Some("a:b%c+d"));
        check("a+b", Some("a b"));
        check("a:b", None);
        check("100%", None);
        check("%4", None);
        check("%zz", None);
        check("%ff", None);
        check("caf\u{e9}", None);
    }

    #[test]
    fn a_repeated_name_is_found() {
        let check = |input: &str, expected| {
            assert_eq!(Parameters::parse(input.as_bytes()).repeated(), expected, "{input}");
        };
        check("a=1&b=2", None);
        check("a=1&b=2&a=1", Some("a"));
        check("", None);
    }
}
