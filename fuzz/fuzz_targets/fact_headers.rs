//! What nginx states, and what browsers say, in the headers of a request. Input: the target, then `name: value` lines.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderName, HeaderValue, Request, Uri, request::Parts};
use libfuzzer_sys::fuzz_target;
use portcullis::{
    inbound::{Exposure, Facts, Inbound, Listener, Provenance, REQUEST_ID_BYTES},
    origin::Site,
    reason::Reason,
};
use portcullis_fuzz::{ORIGINS, line_and_rest, site};
use url::Url;

static SITE: LazyLock<Site> = LazyLock::new(site);

fuzz_target!(|data: &[u8]| {
    let Some(parts) = head(data) else { return };
    let headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let believed = Inbound::new(Listener::Nginx, true, parts.clone());
    let stranger = Inbound::new(Listener::Nginx, false, parts);
    assert_eq!(stranger.facts().err(), Some(Reason::UntrustedPeer));
    assert_eq!((stranger.request_id(), stranger.request_id_text()), (None, ""));
    if let Ok(facts) = believed.facts() {
        are_stated(&facts, &headers);
    }
    names_itself(&believed);
    comes_from(&believed, &headers);
    cookies_stand_apart(&believed);
    parameters_stand_once(&believed);
    let _ = (believed.caller(), believed.is_speculative(), believed.user_agent());
    assert!(believed.refusal().is_none() || values(&headers, "x-portcullis-reason").len() == 1);
});

fn head(data: &[u8]) -> Option<Parts> {
    let (target, lines) = line_and_rest(data);
    let mut request = Request::new(());
    *request.uri_mut() = Uri::try_from(target).ok()?;
    for line in lines.split(|byte| *byte == b'\n') {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let value = HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?;
        request.headers_mut().append(HeaderName::from_bytes(name).ok()?, value);
    }
    Some(request.into_parts().0)
}

fn values<'h>(headers: &'h [(HeaderName, HeaderValue)], name: &str) -> Vec<&'h [u8]> {
    headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_bytes()).collect()
}

/// Each fact stands once, without a twin, and is what stands there.
fn are_stated(facts: &Facts<'_>, headers: &[(HeaderName, HeaderValue)]) {
    let twin =
        |name: &HeaderName| name.as_str().contains('_') && name.as_str().replace('_', "-").starts_with("x-portcullis");
    assert!(!headers.iter().any(|(name, _)| twin(name) && name.as_str().len() > "x-portcullis-".len()));
    let once = |name: &str| {
        let [only] = values(headers, name)[..] else { panic!("{name} does not stand once") };
        only
    };
    assert_eq!(once("x-portcullis-host"), facts.host.as_bytes());
    assert_eq!(once("x-portcullis-uri"), facts.target.as_bytes());
    assert_eq!(once("x-portcullis-method"), facts.method.as_str().as_bytes());
    assert_eq!(once("x-portcullis-scheme"), if facts.https { b"https".as_slice() } else { b"http" });
    let exposure = match facts.exposure {
        Exposure::Internal => b"internal".as_slice(),
        Exposure::Public => b"public",
    };
    assert_eq!(once("x-portcullis-exposure"), exposure);
    once("x-portcullis-client-address");
    assert_eq!(facts.client, facts.client.to_canonical());
}

fn names_itself(inbound: &Inbound) {
    let id = inbound.request_id();
    assert_eq!(id.as_ref().map_or("", |id| id.as_str()), inbound.request_id_text());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    assert!(inbound.request_id_text().len() <= REQUEST_ID_BYTES && inbound.request_id_text().bytes().all(plain));
}

/// A request is of our own page only if the browser itself says so.
fn comes_from(inbound: &Inbound, headers: &[(HeaderName, HeaderValue)]) {
    let provenance = inbound.provenance();
    if !provenance.is_page_of(&SITE) {
        return;
    }
    let own = ORIGINS[..2].iter().map(|origin| Url::parse(origin).expect("an origin").origin());
    match provenance {
        Provenance::SameOrigin => assert_eq!(values(headers, "sec-fetch-site")[0], b"same-origin"),
        Provenance::Origin(origin) => {
            let origin = Url::parse(origin).expect("it was parsed before").origin();
            assert!(own.into_iter().any(|own| own == origin), "{origin:?}");
        }
        other => panic!("{other:?} vouches for nothing"),
    }
}

fn cookies_stand_apart(inbound: &Inbound) {
    for prefix in ["", "__Host-", "p"] {
        for (name, value) in inbound.cookies_starting(prefix) {
            assert!(name.starts_with(prefix) && !name.contains(['=', ';']) && !value.contains(';'));
        }
    }
}

fn parameters_stand_once(inbound: &Inbound) {
    let query = inbound.query();
    for (name, _) in query.pairs() {
        let times = query.pairs().filter(|(other, _)| *other == name).count();
        match query.once(&name) {
            Ok(Some(value)) => assert!(times == 1 && !value.contains(char::REPLACEMENT_CHARACTER)),
            Ok(None) => panic!("{name} is there"),
            Err(reason) => assert_eq!(reason == Reason::ParameterRepeated, times > 1),
        }
    }
}
