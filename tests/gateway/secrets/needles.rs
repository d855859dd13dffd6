//! Secrets to look for, in every form they could be written in, and the places to look in.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use dev_idp::{DevIdp, Endpoint};
use url::{Url, form_urlencoded};

use crate::support::Reply;

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Marker,
    ClientSecret,
    SessionKey,
    RedisPassword,
    SessionCookie,
    TransactionCookie,
    State,
    Nonce,
    Code,
    Verifier,
    AccessToken,
    RefreshToken,
    IdToken,
}

impl Kind {
    pub(super) const ALL: &[Self] = &[
        Self::Marker,
        Self::ClientSecret,
        Self::SessionKey,
        Self::RedisPassword,
        Self::SessionCookie,
        Self::TransactionCookie,
        Self::State,
        Self::Nonce,
        Self::Code,
        Self::Verifier,
        Self::AccessToken,
        Self::RefreshToken,
        Self::IdToken,
    ];
}

/// A secret, in each of its forms.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needle {
    pub(super) kind: Kind,
    forms: Vec<String>,
}

impl Needle {
    /// A secret that is a text.
    pub(super) fn new(kind: Kind, text: &str) -> Self {
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let debug = format!("{text:?}");
        let escaped = debug.trim_matches('"');
        let forms = [text, &encoded, escaped, &STANDARD_NO_PAD.encode(text), &URL_SAFE_NO_PAD.encode(text)];
        Self::of(kind, forms.map(str::to_owned).into())
    }

    /// A secret that is bytes: raw, in hexadecimal digits, in base64 and as Rust prints them.
    pub(super) fn of_bytes(kind: Kind, bytes: &[u8]) -> Self {
        let hexadecimal = bytes.iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
        let printed = format!("{bytes:?}");
        let printed = printed.trim_matches(['[', ']']).to_owned();
        let forms = vec![
            latin(bytes),
            hexadecimal.to_uppercase(),
            hexadecimal,
            printed,
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        Self::of(kind, forms)
    }

    /// A cookie: its text, and the secret bytes that it stands for.
    fn cookie(kind: Kind, value: &str) -> [Self; 2] {
        let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
        // The first bytes name the master key and are no secret.
        [Self::new(kind, value), Self::of_bytes(kind, &bytes[KEY_ID_BYTES..KEY_ID_BYTES + SECRET_BYTES])]
    }

    /// An ID token: whole, and each part that tells something by itself.
    fn id_token(token: &str) -> Self {
        let parts: Vec<_> = token.split('.').collect();
        let [_, claims, signature] = parts[..] else { panic!("three parts") };
        let forms = [token, claims, signature].into_iter().filter(|part| !part.is_empty()).map(str::to_owned);
        Self::of(Kind::IdToken, forms.collect())
    }

    fn of(kind: Kind, mut forms: Vec<String>) -> Self {
        assert!(forms.iter().all(|form| form.len() >= SHORTEST), "too short to be told from chance: {kind:?}");
        forms.sort();
        forms.dedup();
        Self { kind, forms }
    }

    pub(super) fn found_in(&self, place: &Place) -> bool {
        self.forms.iter().any(|form| place.text.contains(form.as_str()))
    }

    /// The text around the first find.
    pub(super) fn excerpt(&self, place: &Place) -> String {
        let found = self.forms.iter().find_map(|form| place.text.find(form.as_str()));
        let before = place.text.char_indices().map(|(at, _)| at);
        let start = before.take_while(|at| found.is_some_and(|found| *at + 300 <= found)).last().unwrap_or_default();
        place.text[start..].chars().take(600).collect()
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {:?}", self.kind, self.forms[0])
    }
}

/// Somewhere that somebody could read.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) text: String,
    /// What must be found there: else it was not looked at.
    pub(super) control: &'static str,
}

impl Place {
    pub(super) fn new(name: impl Into<String>, text: String, control: &'static str) -> Self {
        Self { name: name.into(), text, control }
    }

    /// Whether it is a URL of another host with that path.
    pub(super) fn leads_to(&self, path: &str) -> bool {
        Url::parse(&self.text).is_ok_and(|url| url.path() == path && url.host_str() == Some("127.0.0.1"))
    }
}

/// The secrets that an answer tells its browser.
pub(super) fn in_answer(reply: &Reply) -> Vec<Needle> {
    let mut found = Vec::new();
    for header in reply.headers.get_all("set-cookie") {
        let text = header.to_str().unwrap();
        let (name, rest) = text.split_once('=').unwrap();
        let value = rest.split(';').next().unwrap();
        let kind = if name == "__Host-portcullis" { Kind::SessionCookie } else { Kind::TransactionCookie };
        if name.starts_with("__Host-portcullis") && !value.is_empty() {
            found.extend(Needle::cookie(kind, value));
        }
    }
    for (name, value) in reply.location().iter().flat_map(Url::query_pairs) {
        let kind = match &*name {
            "state" => Kind::State,
            "nonce" => Kind::Nonce,
            "code" => Kind::Code,
            _ => continue,
        };
        found.push(Needle::new(kind, &value));
    }
    found
}

/// The secrets that only gateway and provider know.
pub(super) fn at_provider(idp: &DevIdp) -> Vec<Needle> {
    let issued = idp.issued();
    let tokens = |kind, tokens: Vec<String>| tokens.into_iter().map(move |token| Needle::new(kind, &token));
    let verifiers = idp.requests_to(Endpoint::Token);
    let verifiers = verifiers.iter().filter_map(|request| request.parameter("code_verifier"));
    let mut found: Vec<_> = verifiers.map(|verifier| Needle::new(Kind::Verifier, verifier)).collect();
    found.extend(tokens(Kind::AccessToken, issued.access_tokens));
    found.extend(tokens(Kind::RefreshToken, issued.refresh_tokens));
    found.extend(issued.id_tokens.iter().map(|token| Needle::id_token(token)));
    found
}

/// Bytes as a text in which each is one character, so that raw secrets can be looked for as well.
pub(super) fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

const KEY_ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 32;
/// Not found by chance in some megabytes.
const SHORTEST: usize = 6;

#[test]
fn what_is_planted_is_found_in_each_form() {
    let check = |needle: &Needle, text: &str, expected| {
        assert_eq!(needle.found_in(&Place::new("here", text.to_owned(), "")), expected, "{needle:?} in {text}");
    };
    let text = Needle::new(Kind::ClientSecret, "a \"secret\"&");
    check(&text, "so: a \"secret\"& there", true);
    check(&text, "so: a+%22secret%22%26", true);
    check(&text, r#"{"x":"a \"secret\"&"}"#, true);
    check(&text, &format!("Basic {}", STANDARD.encode("a \"secret\"&")), true);
    check(&text, "a secret", false);
    let bytes = Needle::of_bytes(Kind::SessionKey, b"\xff\x00secret");
    check(&bytes, &latin(b"..\xff\x00secret.."), true);
    check(&bytes, "key: ff00736563726574", true);
    check(&bytes, "key: [255, 0, 115, 101, 99, 114, 101, 116]", true);
    check(&bytes, &STANDARD.encode(b"\xff\x00secret"), true);
    check(&bytes, "secret", false);
    let [cookie, secret] = Needle::cookie(Kind::SessionCookie, &URL_SAFE_NO_PAD.encode([7; 48]));
    check(&cookie, &URL_SAFE_NO_PAD.encode([7; 48]), true);
    check(&secret, &latin(&[7; 32]), true);
    let token = Needle::id_token("header.claims-of-somebody.signature");
    check(&token, "x claims-of-somebody x", true);
    check(&token, "header", false);
}
