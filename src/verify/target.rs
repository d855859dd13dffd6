//! Pure. The ambiguity guard: the path of a raw request target, where everybody who reads it comes to the same path.
//!
//! Where the settings choose a policy by path, three read the target: this file, nginx when it chooses a location, and
//! the application, which gets the raw target. nginx decodes once, merges slashes and resolves dots; applications do
//! less of that, or more. So a target is taken only where none of it makes a difference, and refused otherwise.
//! Invariant: what is taken is nginx's `$uri`; and decoded again, or not at all, with backslashes for slashes, or
//! without `;parameters`, it is the same path, but for the case of letters and what may be dropped at the end of a
//! segment; `is_alike` knows those (RFC 3986 sections 3.3 and 6.2.2).

use std::borrow::Cow;

use crate::reason::Reason;

/// A path that can be read in one way: it begins with a slash and has no `.`, `..` or empty segment but the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPath<'a>(Cow<'a, str>);

impl<'a> TargetPath<'a> {
    /// The path of a raw request target, decoded once. The query decides nothing and may hold what it likes.
    ///
    /// # Errors
    /// [`Reason::AmbiguousTarget`].
    pub fn of(target: &'a str) -> Result<Self, Reason> {
        only_path(target).map(Self).ok_or(Reason::AmbiguousTarget)
    }

    /// The path itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether an application may take a segment of a path for that other one, `own`: it may ignore case, `;parameters`,
/// dots and spaces at the end (as Windows does), and at the end of the path a suffix that names a format (`.json`).
pub(super) fn is_alike(own: &str, theirs: &str, is_last: bool) -> bool {
    let mut theirs = folded(theirs);
    if folded(own).any(|letter| theirs.next() != Some(letter)) {
        return false;
    }
    match theirs.next() {
        None => true,
        Some(more) => is_last && more == '.',
    }
}

/// What is left of a segment for a reader who drops all that can be dropped.
pub(super) fn bare(segment: &str) -> &str {
    let name = segment.split_once(';').map_or(segment, |(name, _)| name);
    name.trim_end_matches(['.', ' '])
}

/// Whether a decoded path is as plain as paths must be: what settings name is held to it too.
pub(super) fn is_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    if rest.contains(|letter: char| letter == '\\' || letter.is_control() || SEEMING_OTHERS.contains(&letter)) {
        return false;
    }
    let (folders, last) = rest.rsplit_once('/').map_or((None, rest), |(folders, last)| (Some(folders), last));
    let is_folder = |segment: &str| !segment.contains(';') && !bare(segment).is_empty();
    let ends_well = last.is_empty() || last.starts_with(';') || !bare(last).is_empty();
    ends_well && folders.is_none_or(|folders| folders.split('/').all(is_folder))
}

fn only_path(target: &str) -> Option<Cow<'_, str>> {
    if target.contains(|letter: char| letter == '#' || letter.is_control()) {
        return None;
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if path.len() > MOST_PATH_BYTES || !path.is_ascii() {
        return None;
    }
    decoded(path).filter(|path| is_plain(path))
}

/// The path without its percent-encoding; none where a single decoding, none at all, or a second one would differ in
/// anything that matters.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut pieces = path.split('%');
    bytes.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        bytes.push(encoded_byte(code)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The byte that two hexadecimal digits stand for, unless its encoding hides something: what parts a path or ends it,
/// the percent sign itself, and letters and digits, which nobody needs to encode.
fn encoded_byte(code: &str) -> Option<u8> {
    let digits = code.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = u8::from_str_radix(code, 16).ok().filter(|_| digits)?;
    let hides = byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'\\' | b'.' | b'%' | b'?' | b'#');
    (!hides).then_some(byte)
}

/// The longest path that is looked at, as it was sent.
pub const MOST_PATH_BYTES: usize = 4_096;

/// What some systems turn into a slash, a backslash or a dot (compatibility forms, "best fit").
const SEEMING_OTHERS: [char; 12] = [
    '\u{2024}', '\u{2025}', '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{fe52}', '\u{fe68}',
    '\u{ff0e}', '\u{ff0f}', '\u{ff3c}',
];

/// What is left of it for readers who ignore case, be it by capitals, where "ı" is "i" and "ſ" is "s", or by small
/// letters, where "İ" is "i" and a dot above it.
fn folded(segment: &str) -> impl Iterator<Item = char> {
    let letters = bare(segment).chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    letters.filter(|letter| *letter != DOT_ABOVE)
}

const DOT_ABOVE: char = '\u{307}';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(target: &str, expected: Option<&str>) {
        let path = TargetPath::of(target);
        let path = path.as_ref().map(TargetPath::as_str).map_err(|reason| *reason);
        assert_eq!(path, expected.ok_or(Reason::AmbiguousTarget), "{target:?}");
    }

    #[test]
    fn ordinary_links_are_taken() {
        check("/", Some("/"));
        check("/admin", Some("/admin"));
        check("/admin/", Some("/admin/"));
        check("/a/b.c/d-e_f~g", Some("/a/b.c/d-e_f~g"));
        check("/gr%C3%B6%c3%9fe/%E6%97%A5%E6%9C%AC", Some("/gr\u{f6}\u{df}e/\u{65e5}\u{672c}"));
        check("/a%20b/c+d/e%2Bf", Some("/a b/c+d/e+f"));
        check("/@alice/x:y,z=1&2/(a)!*'$", Some("/@alice/x:y,z=1&2/(a)!*'$"));
        check("/%40alice/%7Ebob/a%2Db%5Fc", Some("/@alice/~bob/a-b_c"));
        check("/.well-known/x", Some("/.well-known/x"));
        check("/.a/..b/...c", Some("/.a/..b/...c"));
        check("/wiki/Acme_Inc.", Some("/wiki/Acme_Inc."));
        check("/page;jsessionid=1F.2", Some("/page;jsessionid=1F.2"));
        check("/app/;jsessionid=1", Some("/app/;jsessionid=1"));
    }

    #[test]
    fn the_query_may_hold_what_it_likes() {
        check("/a?", Some("/a"));
        check("/a?b=/../admin&c=//x;y\\z%2f%2e%00%zz", Some("/a"));
        check("/a?b?c", Some("/a"));
        check("/a?q=\u{e9}", Some("/a"));
        check(&format!("/a?{}", "q".repeat(MOST_PATH_BYTES)), Some("/a"));
    }

    #[test]
    fn whatever_can_be_read_in_two_ways_is_refused() {
        for target in [
            // no path, or not only one
            "",
            "*",
            "admin",
            "?x",
            "#x",
            "http://app.example.com/admin",
            "//admin",
            "/\\admin",
            "/a#b",
            "/a?b#c",
            // dots and slashes
            "/.",
            "/..",
            "/./a",
            "/../a",
            "/a/.",
            "/a/..",
            "/a/./b",
            "/a/../b",
            "/a//b",
            "//",
            "/a//",
            "/...",
            "/a/.../b",
            "/. /a",
            "/.%20/a",
            "/%20/a",
            "/a/%20",
            "/%20%20",
            // encoded ones
            "/%2e%2e/a",
            "/.%2e/a",
            "/%2E./a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%5c..%5ca",
            "/a%00",
            "/a%00/b",
            "/a%2etxt",
            // encoded twice
            "/%252e%252e/a",
            "/%25%32%65/a",
            "/a%252fb",
            "/100%25",
            "/%25",
            // encodings of what needs none
            "/%61dmin",
            "/adm%69n",
            "/%41",
            "/%30",
            // what ends a path for those who decode first
            "/a%23b",
            "/a%3fb",
            "/a%3Fb",
            // parameters in the middle, or of nothing
            "/a;x/b",
            "/..;/a",
            "/a/..;",
            "/a/.;x=1",
            "/a/..;x=1",
            "/;x/a",
            "/a;x=1/../b",
            "/a%3bx/b",
            "/%3b/a",
            "/a/..%3b",
            // no encoding at all
            "/a%",
            "/a%2",
            "/a%zz",
            "/%u002f",
            "/a%+1",
            "/a%-1",
            "/%0x",
            // no text
            "/%ff",
            "/%c0%ae%c0%ae/a",
            "/%c0%af",
            "/%e0%80%af",
            "/%ed%a0%80",
            "/%f4%90%80%80",
            "/a\u{e9}",
            "/%80",
            // control characters
            "/a\tb",
            "/a\rb",
            "/a\nb",
            "/a\u{7f}",
            "/a%09b",
            "/a%0d%0aX:1",
            "/a%7f",
            "/a%c2%80",
            "/a?b\tc",
            // what some systems take for a slash or a dot
            "/%ef%bc%8f",
            "/a%ef%bc%8e%ef%bc%8e/b",
            "/%e2%88%95",
            "/%e2%81%84",
            "/%e2%80%a5/a",
            "/%ef%bc%bc",
        ] {
            check(target, None);
        }
        check(&format!("/{}", "a".repeat(MOST_PATH_BYTES - 1)), Some(&format!("/{}", "a".repeat(MOST_PATH_BYTES - 1))));
        check(&format!("/{}", "a".repeat(MOST_PATH_BYTES)), None);
    }

    #[test]
    fn segments_are_alike_where_an_application_may_say_so() {
        let check = |own: &str, theirs: &str, is_last: bool, expected: bool| {
            assert_eq!(is_alike(own, theirs, is_last), expected, "{own} {theirs}");
        };
        check("admin", "admin", false, true);
        check("admin", "ADMIN", false, true);
        check("gr\u{f6}\u{df}e", "GR\u{d6}\u{df}E", false, true);
        check("admin", "admin. .", false, true);
        check("admin", "admin;x=1", true, true);
        check("admin", "admin.json", true, true);
        check("admin", "admin.json", false, false);
        check("v1.2", "v1.3", true, false);
        check("admin", "administrator", true, false);
        check("admin", "adm", true, false);
        check("admin", "", true, false);
    }

    /// What is left where every step that any reader might take is taken, again and again.
    fn read_to_the_end(target: &str) -> String {
        let mut path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
        loop {
            let next = crate::origin::percent_decoded(&path);
            let next = next.split(['?', '#', '\0']).next().unwrap_or_default().replace('\\', "/");
            if next == path {
                break;
            }
            path = next;
        }
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match segment.split(';').next().unwrap_or_default().trim_end() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                name => segments.push(name.trim_end_matches(['.', ' ']).to_owned()),
            }
        }
        segments.join("/")
    }

    fn alphabet() -> impl Strategy<Value = String> {
        let pieces = "(/|//|\\.|\\.\\.|a|B|%61|%2[efF5]|%5[cC]|%3[bBfF]|%23|%00|%25|%c3%a9|%c0%ae|;|;x=1|\\\\|\\?|#|%|%20| |\\+|\u{e9}){0,10}";
        pieces.prop_map(|rest| format!("/{rest}"))
    }

    proptest! {
        #[test]
        fn what_is_taken_is_the_same_path_for_every_reader(target in alphabet()) {
            let Ok(path) = TargetPath::of(&target) else {
                return Ok(());
            };
            let mine: Vec<&str> = path.as_str().split('/').map(bare).filter(|name| !name.is_empty()).collect();
            prop_assert_eq!(mine.join("/"), read_to_the_end(&target));
            prop_assert!(path.as_str().split('/').all(|segment| !matches!(segment, "." | "..")));
            prop_assert!(!path.as_str().contains("//"));
        }

        #[test]
        fn any_text_at_all_is_a_plain_path_or_refused(target in any::<String>()) {
            if let Ok(path) = TargetPath::of(&target) {
                prop_assert!(is_plain(path.as_str()));
            }
        }

        #[test]
        fn encoded_names_come_out_as_they_were(names in proptest::collection::vec("[a-zA-Z0-9_~ @\u{e0}-\u{17f}\u{4e00}-\u{4eff}-]{0,6}[a-z]", 1..5)) {
            let encode = |name: &String| {
                let encoded = |byte: u8| if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                };
                name.bytes().map(encoded).collect::<String>()
            };
            let target = format!("/{}", names.iter().map(encode).collect::<Vec<_>>().join("/"));
            let path = format!("/{}", names.join("/"));
            prop_assert_eq!(TargetPath::of(&target).map(|read| read.as_str().to_owned()), Ok(path));
        }
    }
}
