//! The differential test of the ambiguity guard: thousands of targets, sent as they are through real nginx, each of which
//! nginx, the gateway and every application must take for the same path, or nobody sees the application.
//!
//! Each tree of paths is open to one person alone. So a 200 says which tree the gateway decided on, a header says which
//! location nginx chose, and the application says what it was sent, which is then read in every way that applications
//! read, by readers that know nothing of the gateway's own.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::support::{
    APP, Plan, Stage,
    wire::{Answer, Echo, Line, Wire, echo},
};

/// The trees, the first that fits counts, as in the rules below.
const TREES: [(&str, &str); 6] = [
    ("secret", "/staff/secret"),
    ("admin", "/admin"),
    ("staff", "/staff"),
    ("public", "/public"),
    ("exact", "=/exact"),
    ("rest", "/"),
];

/// The same trees as nginx locations, which say so; none of them names a policy.
fn site(application: &Echo) -> String {
    let mut locations = String::new();
    for (tree, path) in TREES {
        let matchers = match (path.strip_prefix('='), path) {
            (Some(exact), _) => vec![format!("= {exact}")],
            (None, "/") => vec!["/".to_owned()],
            (None, path) => vec![format!("= {path}"), format!("{path}/")],
        };
        for matcher in matchers {
            write!(
                locations,
                "location {matcher} {{ add_header X-Tree {tree}; include portcullis/snippets/portcullis-identity.conf;
                 proxy_http_version 1.1; proxy_set_header Connection ''; proxy_pass http://echo; }}\n"
            )
            .unwrap();
        }
    }
    format!(
        "upstream echo {{ server {}; keepalive 4; }}
         server {{
             listen 127.0.0.1:{{other}};
             server_name {APP};
             include portcullis/snippets/portcullis-server.conf;
             auth_request /_portcullis_by_rule;
             include portcullis/snippets/portcullis-protect.conf;
             {locations}
         }}",
        application.address
    )
}

/// Everything the test needs: who may see which tree, by their cookies.
struct Field {
    stage: Stage,
    cookies: BTreeMap<&'static str, String>,
    _application: Echo,
}

impl Field {
    async fn laid_out() -> Self {
        let application = echo().await;
        let rules = TREES.map(|(tree, path)| format!("{{ paths = ['{path}'], policy = 'of_{tree}' }}")).join(", ");
        let people = |provider: &mut dev_idp::Settings| {
            provider.people.extend(TREES.map(|(tree, _)| dev_idp::Person::new(tree, "Tree").in_groups(&[tree])));
        };
        let only = |tree: &str| format!("[{{ allow = true, groups = ['{tree}'] }}]");
        let stage = Plan::new()
            .site(&site(&application))
            .provider(people)
            .set("MATCHING__RULES", format!("[{rules}]"))
            .set("POLICY__OF_SECRET__RULES", only("secret"))
            .set("POLICY__OF_ADMIN__RULES", only("admin"))
            .set("POLICY__OF_STAFF__RULES", only("staff"))
            .set("POLICY__OF_PUBLIC__RULES", only("public"))
            .set("POLICY__OF_EXACT__RULES", only("exact"))
            .set("POLICY__OF_REST__RULES", only("rest"))
            .start()
            .await;
        let mut cookies = BTreeMap::new();
        for (tree, _) in TREES {
            cookies.insert(tree, stage.cookie_of(tree).await);
        }
        Self { stage, cookies, _application: application }
    }

    fn wire(&self) -> Wire {
        Wire::to(self.stage.nginx.other)
    }

    async fn ask(&self, wire: &mut Wire, person: &str, target: &[u8], host: &str) -> Answer {
        wire.ask(Line { method: "GET", target, host, cookie: &self.cookies[person], more: "" }).await
    }
}

/// How somebody reads a target.
#[expect(clippy::struct_excessive_bools, reason = "each is a step of its own that a reader takes or not")]
#[derive(Clone, Copy, Debug)]
struct Reader {
    decodes: Decoding,
    /// Ends the path at `?`, `#` and NUL that come out of a decoding.
    cuts_what_was_encoded: bool,
    /// Takes a backslash for a slash, and what systems turn into slashes and dots for those.
    takes_others_for_slashes: bool,
    parameters: Parameters,
    merges_slashes: bool,
    resolves_dots: bool,
    /// Ignores case, a slash at the end, dots and spaces at the end of a segment, and the suffix of the last one.
    is_careless: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decoding {
    Never,
    /// Only what need not have been encoded (RFC 3986 section 6.2.2.2).
    OfPlainLetters,
    Once,
    UntilItIsOver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parameters {
    Kept,
    CutFromEachSegment,
    CutWithAllThatFollows,
}

/// What nginx itself is documented to do for its locations.
const AS_NGINX: Reader = Reader {
    decodes: Decoding::Once,
    cuts_what_was_encoded: false,
    takes_others_for_slashes: false,
    parameters: Parameters::Kept,
    merges_slashes: true,
    resolves_dots: true,
    is_careless: false,
};

/// Everybody who may stand behind nginx, or so we fear.
fn readers() -> Vec<Reader> {
    let raw = Reader { decodes: Decoding::Never, merges_slashes: false, resolves_dots: false, ..AS_NGINX };
    let by_the_book = Reader { decodes: Decoding::OfPlainLetters, resolves_dots: true, ..raw };
    let tomcat = Reader { parameters: Parameters::CutFromEachSegment, takes_others_for_slashes: true, ..AS_NGINX };
    let greedy = Reader {
        decodes: Decoding::UntilItIsOver,
        cuts_what_was_encoded: true,
        takes_others_for_slashes: true,
        parameters: Parameters::CutFromEachSegment,
        merges_slashes: true,
        resolves_dots: true,
        is_careless: true,
    };
    vec![
        AS_NGINX,
        raw,
        by_the_book,
        Reader { decodes: Decoding::Once, ..raw },
        Reader { resolves_dots: false, ..AS_NGINX },
        Reader { merges_slashes: false, ..AS_NGINX },
        Reader { is_careless: true, ..AS_NGINX },
        tomcat,
        Reader { parameters: Parameters::CutWithAllThatFollows, ..tomcat },
        greedy,
        Reader { resolves_dots: false, ..greedy },
        Reader { parameters: Parameters::Kept, ..greedy },
        Reader { parameters: Parameters::CutWithAllThatFollows, ..greedy },
    ]
}

impl Reader {
    /// The segments of the path.
    fn read(self, target: &[u8]) -> Vec<String> {
        let mut path = before(target, b"?#").to_vec();
        if self.parameters == Parameters::CutWithAllThatFollows {
            path = before(&path, b";").to_vec();
        }
        path = self.decoded(path);
        if self.cuts_what_was_encoded {
            path = before(&path, b"?#\0").to_vec();
        }
        let mut text = String::from_utf8_lossy(&path).into_owned();
        if self.takes_others_for_slashes {
            text = text.replace(['\\', '\u{ff0f}', '\u{2215}', '\u{2044}', '\u{ff3c}'], "/").replace('\u{ff0e}', ".");
        }
        self.segments(&text)
    }

    fn decoded(self, path: Vec<u8>) -> Vec<u8> {
        match self.decodes {
            Decoding::Never => path,
            Decoding::OfPlainLetters => decoded(&path, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
            Decoding::Once => decoded(&path, |_| true),
            Decoding::UntilItIsOver => {
                let next = decoded(&path, |_| true);
                if next == path { path } else { self.decoded(next) }
            }
        }
    }

    fn segments(self, path: &str) -> Vec<String> {
        let mut read: Vec<String> = Vec::new();
        let pieces: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        for (position, piece) in pieces.iter().enumerate() {
            let is_last = position + 1 == pieces.len();
            let mut piece = (*piece).to_owned();
            if self.parameters == Parameters::CutFromEachSegment {
                piece.truncate(piece.find(';').unwrap_or(piece.len()));
            }
            match piece.as_str() {
                "." | ".." if self.resolves_dots => {
                    if piece == ".." {
                        read.pop();
                    }
                    if is_last {
                        read.push(String::new());
                    }
                }
                "" if self.merges_slashes && !is_last => {}
                _ => read.push(if self.is_careless { carelessly(&piece, is_last) } else { piece }),
            }
        }
        if self.is_careless {
            read.retain(|segment| !segment.is_empty());
        }
        read
    }
}

fn carelessly(segment: &str, is_last: bool) -> String {
    let trimmed = segment.trim_end_matches(['.', ' ']).to_uppercase().to_lowercase().replace('\u{307}', "");
    match trimmed.rsplit_once('.') {
        Some((name, _)) if is_last && !name.is_empty() => name.to_owned(),
        _ => trimmed,
    }
}

fn before<'a>(bytes: &'a [u8], ends: &[u8]) -> &'a [u8] {
    bytes.split(|byte| ends.contains(byte)).next().unwrap()
}

fn decoded(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| str::from_utf8(code).ok());
        let byte = code.filter(|code| !code.starts_with('+')).and_then(|code| u8::from_str_radix(code, 16).ok());
        if let Some(byte) = byte.filter(|byte| wanted(*byte)) {
            out.push(byte);
            rest = &tail[2..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// The tree that a path lies in.
fn tree_of(segments: &[String]) -> &'static str {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match *segments.as_slice() {
        ["staff", "secret", ..] => "secret",
        ["admin", ..] => "admin",
        ["staff", ..] => "staff",
        ["public", ..] => "public",
        ["exact"] => "exact",
        _ => "rest",
    }
}

/// A sequence of numbers that a seed tells (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn pick(&mut self, pieces: &'static [u8]) -> &'static [u8] {
        let pieces: Vec<_> = pieces.split(|byte| *byte == b'|').collect();
        pieces[self.throw(pieces.len())]
    }

    /// Mostly the usual, sometimes the odd.
    fn mostly(&mut self, usual: &'static [u8], odd: &'static [u8]) -> &'static [u8] {
        if self.throw(8) == 0 { self.pick(odd) } else { self.pick(usual) }
    }

    fn target(&mut self) -> Vec<u8> {
        let mut target = self.mostly(b"/", ODD_BEGINNINGS).to_vec();
        for number in 0..self.throw(5) {
            if number > 0 {
                target.extend(self.mostly(b"/", ODD_SLASHES));
            }
            target.extend(self.mostly(NAMES, ODD_NAMES));
        }
        target.extend(self.mostly(b"||/", ODD_ENDS));
        target.extend(self.mostly(b"||?x=1", QUERIES));
        target
    }

    fn host(&mut self) -> &'static str {
        if self.throw(12) == 0 { str::from_utf8(self.pick(ODD_HOSTS)).unwrap() } else { APP }
    }
}

// Pieces of targets, parted by bars.
const NAMES: &[u8] =
    b"admin|admin|staff|staff|secret|secret|public|public|exact|exact|x|page.html|administrator|a%20b|\
    %C3%A9|@me|a,b:c|a+b|~x|%7Ex";
const ODD_NAMES: &[u8] = b"ADMIN|Admin|adm%c4%b1n|%61dmin|adm%69n|%41dmin|admin;x=1|admin;|;x=1|admin%3bx|admin%20|admin.|\
    admin.json|admin%2ejson|exact.html|EXACT|admin%00|admin%00.html|admin%23|admin#|admin%3f|admin%3Fx|..;|..;x=1|.;|..|.|\
    ...|%2e%2e|%2E%2E|.%2e|%2e|..%20|%252e%252e|%25%32%65|%c0%ae%c0%ae|%e0%80%ae|%ef%bc%8e%ef%bc%8e|%e2%80%a5|%ff|\
    %u002e%u002e|%|%2|%zz|\xc3\xa9|\xff|adm\x01in|a\tb|%0d%0aX-Tree:%20admin|%09|%7f|%20|%ef%bd%81dmin|";
const ODD_SLASHES: &[u8] = b"//|///|/./|/../|/../../|%2f|%2F|%252f|%25252f|\\|%5c|%5C|%255c|/%2e/|/%2e%2e/|/..%2f|\
    /%2e%2e%2f|/..;/|/..;x=1/|/;/|;x=1/|;x=1/../|%3b/|/%00/|%00/|#/|%23/|%3f/|?/|/..\\|/%5c..%5c|%u002f|%c0%af|%ef%bc%8f|\
    %e2%88%95|/%c0%ae%c0%ae/|/.%00./|/%20/|/ |/..%00/|/..%23/";
const ODD_BEGINNINGS: &[u8] = b"//|///|/./|/../|/\\|\\||./|*|/%2f|/%2e/|/;/|/%20/|http://app.test/|http://app.test:80/|\
    HTTP://APP.TEST/|https://app.test/|http://evil.example/|http://app.test|http://app.test?|http:///|http://app.test//|\
    //app.test/|//evil.example/|http:/|/http://app.test/|?|#|http://user@app.test/|ws://app.test/";
const ODD_ENDS: &[u8] = b"//|/.|/..|.|..|;|;x=/../admin|%00|%23|#|#/admin|%20|%|/;x|/.;|/%2e%2e";
const QUERIES: &[u8] =
    b"?|?/../admin|?/admin|?x=/admin/%2e%2e/|?a=b#c|?%00|?a b|??|?\xc3\xa9|?x=..%2fadmin;y\\|?%zz|?x=//evil";
const ODD_HOSTS: &[u8] = b"APP.TEST|app.test.|app.test:80|App.Test:8443|app.test.:80|evil.example||app.test:x|\
    app.test/admin|[::1]|127.0.0.1";

/// How the targets came out.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    of_another_tree: usize,
    ambiguous: usize,
    of_no_site: usize,
    refused_by_nginx: usize,
}

impl Tally {
    /// Counts an answer that must be as it is, if it is so.
    fn count(&mut self, answer: &Answer, person: &str, target: &[u8], host: &str) {
        let shown = || format!("{:?} of {host:?} as {person}: {answer:?}", String::from_utf8_lossy(target));
        // An absolute target names a host of its own, and no path of ours begins otherwise.
        let origin_form = target.starts_with(b"/");
        match answer.verdict() {
            (200, _) => {
                self.passed += 1;
                assert_eq!(answer.header("x-tree"), person, "nginx chose another location: {}", shown());
                let arrived = answer.target_at_application();
                for reader in readers() {
                    assert_eq!(tree_of(&reader.read(arrived)), person, "{reader:?} reads another path: {}", shown());
                }
            }
            (403, "policy_denied") => {
                self.of_another_tree += 1;
                let own = tree_of(&AS_NGINX.read(target));
                assert!(!origin_form || own != person, "decided on another tree than its own: {}", shown());
            }
            // Bytes that are no text make no fact.
            (403, "ambiguous_target" | "facts_malformed") => self.ambiguous += 1,
            (403, "host_unknown") => {
                self.of_no_site += 1;
                assert!(host != APP || !origin_form, "{}", shown());
            }
            (400, "") => self.refused_by_nginx += 1,
            _ => panic!("no answer of ours: {}", shown()),
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the seed of a failure must be seen, and the share that passed may be asked for"
)]
#[tokio::test(flavor = "multi_thread")]
async fn nginx_the_gateway_and_every_application_agree_on_the_path_or_nobody_passes() {
    let field = Field::laid_out().await;
    let given = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from_le_bytes(portcullis::random::bytes().unwrap()));
    println!("to see this again: PORTCULLIS_SEED={seed}");
    let (mut dice, mut wire, mut tally) = (Dice(seed), field.wire(), Tally::default());
    for number in 0..TARGETS {
        let (target, host) = (dice.target(), dice.host());
        // Half of the time somebody for whom it is meant, half of the time anybody.
        let (own, (any, _)) = (tree_of(&AS_NGINX.read(&target)), TREES[dice.throw(TREES.len())]);
        let person = if number % 2 == 0 { own } else { any };
        let answer = field.ask(&mut wire, person, &target, host).await;
        tally.count(&answer, person, &target, host);
    }
    println!("{tally:?}");
    assert!(tally.passed > TARGETS / 8, "too few pass to show anything: {tally:?}");
    assert!(tally.ambiguous > TARGETS / 8, "too few are ambiguous: {tally:?}");
    assert!(tally.of_another_tree > TARGETS / 20 && tally.refused_by_nginx > TARGETS / 50, "{tally:?}");
}

const TARGETS: usize = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_deep_links_arrive_as_they_were_sent() {
    let field = Field::laid_out().await;
    let mut wire = field.wire();
    let check = async |wire: &mut Wire, person: &str, target: &str| {
        let answer = field.ask(wire, person, target.as_bytes(), APP).await;
        assert_eq!(answer.verdict(), (200, ""), "{target}");
        assert_eq!(answer.header("x-tree"), person, "{target}");
        assert_eq!(answer.target_at_application(), target.as_bytes());
    };
    for (person, target) in [
        ("rest", "/"),
        ("rest", "/?next=/admin&x=%2e%2e%2f;//\\"),
        ("exact", "/exact?/exact/"),
        ("rest", "/administrator"),
        ("rest", "/gr%C3%B6%C3%9Fe/%E6%97%A5%E6%9C%AC%E8%AA%9E.html"),
        ("admin", "/admin"),
        ("admin", "/admin/"),
        ("admin", "/admin/users/7/edit?tab=a%2Fb"),
        ("admin", "/admin/a%20b+c,d:e@f~g!h$i&j'k(l)m*n=o"),
        ("public", "/public/page;jsessionid=1F"),
        ("public", "/public/Acme_Inc."),
        ("public", "/public/.well-known/a..b/c.tar.gz"),
        ("staff", "/staff/%40alice/%7Ebob/x%2Bz"),
        ("secret", "/staff/secret"),
        ("secret", "/staff/secret/admin/public"),
        ("staff", "/staff/secrets"),
    ] {
        check(&mut wire, person, target).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_can_be_read_in_two_ways_is_refused_and_says_so() {
    let field = Field::laid_out().await;
    let mut wire = field.wire();
    for target in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/admin;x/y",
        "//admin",
        "/public//admin",
        "/admin%23",
        "/admin#x",
        "/public\\..\\admin",
        "/public/..%5cadmin",
        "/%252e%252e/admin",
        "/Admin",
        "/admin.json",
        "/admin%20",
        "/exact/",
        "/exact;x=1/y",
        "/%61dmin",
        "/%ef%bc%8fadmin",
        "/%c0%af",
        "/\u{e9}",
    ] {
        for (person, _) in TREES {
            let answer = field.ask(&mut wire, person, target.as_bytes(), APP).await;
            assert_eq!(answer.verdict(), (403, "ambiguous_target"), "{target} as {person}");
        }
    }
    for target in ["/admin%00", "/%u002fadmin", "/a%", "/../admin", "*", "/a b"] {
        let answer = field.ask(&mut wire, "rest", target.as_bytes(), APP).await;
        assert_eq!(answer.verdict(), (400, ""), "{target} is for nginx to refuse");
    }
    let long = format!("/public/{}", "a".repeat(portcullis::verify::target::MOST_PATH_BYTES));
    assert_eq!(field.ask(&mut wire, "public", long.as_bytes(), APP).await.verdict(), (403, "ambiguous_target"));
}

/// Readers that found nothing would prove nothing.
#[test]
fn the_readers_of_this_test_are_taken_in_by_what_takes_applications_in() {
    let check = |target: &str| {
        let found = readers().into_iter().any(|reader| tree_of(&reader.read(target.as_bytes())) == "admin");
        let nginx = tree_of(&AS_NGINX.read(target.as_bytes()));
        assert!(found, "nobody finds /admin in {target}, which nginx takes for {nginx}");
        assert_ne!(nginx, "admin", "{target}");
    };
    for target in [
        "/public/..;/admin",
        "/public/%252e%252e/admin",
        "/public\\..\\..\\admin",
        "/admin;x/y",
        "/admin;x",
        "/ADMIN/x",
        "/adm%c4%b1n/x",
        "/ADM%c4%b0N/x",
        "/admin./x",
        "/admin%20",
        "/admin.json",
        "/admin%23x",
        "/admin%3fx",
        "/admin%00x",
        "/%ef%bc%8fadmin",
        "/admin/../public",
        "/%2561dmin",
        "/;x/admin",
        "/admin\\x",
    ] {
        check(target);
    }
}
