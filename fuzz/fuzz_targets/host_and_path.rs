//! Hosts, paths, prefixes and origins as they are told and configured. Input: a host, a method and a path, a line each.

#![no_main]

use std::sync::LazyLock;

use http::Method;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use portcullis::{
    inbound::{Exposure, Facts, Listener, Provenance},
    origin::{HostName, PublicUrl, Sites},
    reason::Reason,
    route::{Endpoint, Prefix, Proof, Reach, Route},
    verify::target::{MOST_PATH_BYTES, TargetPath},
};
use portcullis_fuzz::{line_and_rest, site};
use url::Url;

static SITES: LazyLock<Sites> = LazyLock::new(|| Sites::new(vec![site()]));
static PREFIX: LazyLock<Prefix> = LazyLock::new(|| Prefix::parse("/auth").expect("a prefix"));

fuzz_target!(|data: &[u8]| {
    let (host, rest) = line_and_rest(data);
    let (method, path) = line_and_rest(rest);
    let (Ok(host), Ok(path)) = (str::from_utf8(host), str::from_utf8(path)) else { return };
    is_a_name(host);
    is_an_origin(host);
    is_a_prefix(path);
    is_read_in_one_way(path);
    assert_eq!(SITES.of_host(host).is_some(), ["app.example.com", "wiki.example.com"].contains(&host));
    let Ok(method) = Method::from_bytes(method) else { return };
    for listener in [Listener::Nginx, Listener::Application, Listener::Ops] {
        match Route::of(listener, &PREFIX, &method, path) {
            Ok(route) => is_offered(route, listener, &method, host, path),
            Err(Reason::MethodNotAllowed) => assert!(!Route::methods(listener, &PREFIX, path).is_empty()),
            Err(reason) => assert_eq!(reason, Reason::NotFound),
        }
    }
});

/// A route is where its listener offers it, and asks what it says.
fn is_offered(route: Route, listener: Listener, method: &Method, host: &str, path: &str) {
    let operations = matches!(route.endpoint, Endpoint::Livez | Endpoint::Readyz | Endpoint::Metrics);
    assert_eq!(operations, listener == Listener::Ops);
    assert!(operations || path.starts_with("/auth/"), "{path}");
    assert!(listener != Listener::Application || route.reach != Reach::Internal);
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    assert!(Route::methods(listener, &PREFIX, path).split(", ").any(|own| own == method));
    assert_eq!(route.proof == Proof::SameOrigin, method != "GET");
    let facts = |exposure| Facts {
        exposure,
        method: Method::GET,
        https: true,
        host,
        target: "/",
        client: [192, 0, 2, 7].into(),
    };
    let admitted = |exposure, provenance| route.admit(&facts(exposure), &SITES, provenance);
    if route.reach == Reach::Internal {
        assert_eq!(admitted(Exposure::Public, Provenance::SameOrigin).err(), Some(Reason::NotFound));
    }
    for provenance in [Provenance::Elsewhere, Provenance::Unknown, Provenance::UserTyped, Provenance::Origin(path)] {
        assert!(route.proof == Proof::None || admitted(Exposure::Internal, provenance).is_err());
    }
    let known = SITES.of_host(host).is_some();
    assert_eq!(admitted(Exposure::Internal, Provenance::SameOrigin).is_ok(), known);
}

/// What is a host's name reads as the same one again.
fn is_a_name(text: &str) {
    let Some(name) = HostName::parse(text) else { return };
    assert_eq!(HostName::parse(name.as_str()).as_ref(), Some(&name));
    let shape = name.as_str();
    assert!(!shape.is_empty() && !shape.bytes().any(|byte| byte.is_ascii_uppercase() || b"/@?# ".contains(&byte)));
    assert!(!shape.ends_with('.') && (shape.starts_with('[') || !shape.contains(':')), "{shape}");
}

fn is_an_origin(text: &str) {
    let Ok(origin) = PublicUrl::parse(text) else { return };
    let url = origin.url();
    assert!(url.origin().is_tuple() && matches!(url.scheme(), "https" | "http"), "{url}");
    assert_eq!(url.as_str(), format!("{}/", url.origin().ascii_serialization()));
}

fn is_a_prefix(text: &str) {
    let Some(prefix) = Prefix::parse(text) else { return };
    let path = prefix.path("/");
    assert_eq!(Prefix::parse(&path).as_ref(), Some(&prefix));
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains("/../") && !path.contains("/./"), "{path}");
}

/// Whoever decodes a target that is taken, or reads it as browsers do, comes to the same path; and no second decoding
/// makes another of it.
fn is_read_in_one_way(target: &str) {
    let Ok(taken) = TargetPath::of(target) else { return };
    let path = taken.as_str();
    let raw = target.split('?').next().unwrap_or_default();
    assert!(raw.len() <= MOST_PATH_BYTES && path.starts_with('/') && !path.contains(['\\', '%', '#']), "{path}");
    assert!(!path.contains(char::is_control), "{path}");
    let (folders, last) =
        path[1..].rsplit_once('/').map_or((None, &path[1..]), |(folders, last)| (Some(folders), last));
    assert!(
        folders.is_none_or(|folders| folders.split('/').all(|folder| !["", ".", ".."].contains(&folder))),
        "{path}"
    );
    assert!(![".", ".."].contains(&last), "{path}");
    assert_eq!(raw.split('/').count(), path.split('/').count());
    assert_eq!(percent_decode_str(raw).decode_utf8().ok().as_deref(), Some(path));
    // Browsers drop spaces at an end, which nobody can send.
    if !target.contains(' ') {
        let read = Url::parse("https://app.example.com").and_then(|base| base.join(target)).expect("a path");
        assert_eq!(percent_decode_str(read.path()).decode_utf8().ok().as_deref(), Some(path), "{target}");
    }
}
