//! What is believed of a request, and of whom: a table for each part of its head.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use http::Request;

use super::*;

const HEAD: [(&str, &str); 6] = [
    ("X-Portcullis-Exposure", "internal"),
    ("X-Portcullis-Method", "POST"),
    ("X-Portcullis-Scheme", "https"),
    ("X-Portcullis-Host", "app.example.com"),
    ("X-Portcullis-Uri", "/a?b"),
    ("X-Portcullis-Client-Address", "::ffff:192.0.2.7"),
];

fn inbound(trusted: bool, head: &[(&str, &str)]) -> Inbound {
    let request = head.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
    Inbound::new(Listener::Nginx, trusted, request.body(()).unwrap().into_parts().0)
}

fn with(further: (&'static str, &'static str)) -> Inbound {
    inbound(true, &[HEAD.as_slice(), &[further]].concat())
}

#[test]
fn what_nginx_states_is_read() {
    let facts = Facts {
        exposure: Exposure::Internal,
        method: Method::POST,
        https: true,
        host: "app.example.com",
        target: "/a?b",
        client: [192, 0, 2, 7].into(),
    };
    assert_eq!(inbound(true, &HEAD).facts(), Ok(facts));
    assert_eq!(inbound(false, &HEAD).facts(), Err(Reason::UntrustedPeer));
}

#[test]
fn a_fact_that_is_missing_twice_there_or_nonsense_counts_for_nothing() {
    for at in 0..HEAD.len() {
        let (mut less, mut nonsense) = (HEAD.to_vec(), HEAD);
        let (name, value) = less.remove(at);
        nonsense[at].1 = "\u{e9} \u{e9}";
        assert_eq!(inbound(true, &less).facts(), Err(Reason::FactsMalformed), "no {name}");
        assert_eq!(with((name, value)).facts(), Err(Reason::FactsMalformed), "{name} twice");
        let free_text = matches!(name, "X-Portcullis-Host" | "X-Portcullis-Uri");
        assert_eq!(inbound(true, &nonsense).facts().is_ok(), free_text, "{name}");
    }
}

#[test]
fn a_twin_with_underscores_spoils_all() {
    let check = |name, expected: bool| assert_eq!(with((name, "x")).facts().is_ok(), expected, "{name}");
    check("X_Portcullis_Host", false);
    check("X-Portcullis_Host", false);
    check("X-Portcullis-Client_Address", false);
    check("X_Portcullis-Anything", false);
    check("X-Portcullis-Anything", true);
    check("X_Forwarded_For", true);
    check("X-Portcullis", true);
}

#[test]
fn what_another_sites_page_fetches_without_a_person_is_its_own_doing() {
    let check = |more: &[(&str, &str)], expected| {
        let navigation =
            [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
        assert_eq!(inbound(true, &[&navigation, more].concat()).provenance(), expected, "{more:?}");
    };
    check(&[], Provenance::Elsewhere);
    check(&[("Sec-Purpose", "prefetch")], Provenance::Embedded);
    check(&[("Sec-Purpose", "prefetch;prerender")], Provenance::Embedded);
    check(&[("Purpose", "prefetch")], Provenance::Embedded);
}

#[test]
fn a_request_id_that_stands_twice_is_none() {
    let id = |inbound: &Inbound| inbound.request_id_text().to_owned();
    let head = [HEAD.as_slice(), &[("X-Portcullis-Request-Id", "abc-1")]].concat();
    assert_eq!(id(&inbound(true, &head)), "abc-1");
    assert_eq!(id(&inbound(false, &head)), "");
    assert_eq!(id(&inbound(true, &[head.as_slice(), &[("X-Portcullis-Request-Id", "abc-1")]].concat())), "");
    assert_eq!(id(&with(("X-Portcullis-Request-Id", "a b"))), "");
}

#[test]
fn a_peer_is_believed_for_its_socket_its_address_or_its_certificate() {
    let at = |text: &str| text.parse::<IpAddr>().unwrap();
    let check = |networks: &[&str], peer, expected| {
        let trust = Trust::new(networks.iter().map(|network| network.parse().unwrap()).collect());
        assert_eq!(trust.believes(peer), expected, "{networks:?} {peer:?}");
    };
    let certificate = |address, listed| Peer::Certificate { address: at(address), listed };
    check(&[], Peer::Unix, true);
    check(&[], Peer::Address(at("127.0.0.1")), false);
    check(&["10.0.0.0/24"], Peer::Address(at("10.0.0.7")), true);
    check(&["10.0.0.0/24"], Peer::Address(at("::ffff:10.0.0.7")), true);
    check(&["10.0.0.0/24"], Peer::Address(at("10.0.1.7")), false);
    check(&[], certificate("192.0.2.7", true), true);
    check(&[], certificate("192.0.2.7", false), false);
    check(&["10.0.0.0/24"], certificate("::ffff:10.0.0.7", true), true);
    check(&["10.0.0.0/24"], certificate("10.0.0.7", false), false);
    check(&["10.0.0.0/24"], certificate("192.0.2.7", true), false);
}
