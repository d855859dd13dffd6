//! Text that somebody sends in the hope that a page, a script or a header will carry it on as it is.

use dev_idp::Switch;
use reqwest::Method;
use serde_json::json;

use crate::support::{APP, Plan, Reply, Stage, Visitor, nginx::raw, visitor::USER_AGENT};

const MARKUP: &str = "m4rker'\"></pre></script><script>m4rker()</script><b onclick=m4rker()>";

/// No page has a script, a handler or an address that runs one; and the text that came is on it as text, or not at all.
fn is_harmless(reply: &Reply, what: &str) {
    let page = reply.body.to_ascii_lowercase();
    for mark in ["<script", "</script", "<b ", "javascript:", "<iframe", "'\">", "onclick=m4rker()>"] {
        assert!(!page.contains(mark), "{what}: {mark} in {}", reply.body);
    }
    let policy = reply.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{what}: {policy}");
    assert!(!policy.contains("script-src"), "{what}: {policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_reflected_into_no_page_and_into_no_script() {
    let stage = Plan::new().set("LIMITS__FAILED_CALLBACK", "off").set("LIMITS__LOGIN", "off").start().await;
    let visitor = Visitor::new(&stage);
    let alice = stage.signed_in("alice").await;
    let encoded: String = url::form_urlencoded::byte_serialize(MARKUP.as_bytes()).collect();
    let names = ["foo", "poll", "rd", "provider", "error", "error_description", "error_uri", "iss", "state", "code"];
    for path in ["login", "callback", "logout", "signed-out", "check", "userinfo", "nowhere", "health", "refresh"] {
        for name in names {
            let target = format!("/auth/{path}?{name}={encoded}");
            let reply = visitor.get(&target).await;
            if reply.location().is_none() {
                is_harmless(&reply, &target);
                assert!(!reply.body.contains("m4rker"), "{target}: {}", reply.body);
            }
        }
    }
    let all: Vec<_> = names.iter().map(|name| format!("{name}={encoded}")).collect();
    for path in ["callback", "callback/main", "nowhere"] {
        let reply = alice.get(&format!("/auth/{path}?{}", all.join("&"))).await;
        is_harmless(&reply, path);
        assert!(!reply.body.contains("m4rker"), "{path}");
    }
    let foreign = [("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")];
    let confirm = alice.ask(Method::GET, &format!("/auth/logout?{}", all.join("&")), &foreign).await;
    assert_eq!(confirm.status, 200);
    is_harmless(&confirm, "the page that asks");
    assert!(!confirm.body.contains("m4rker"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_was_asked_for_is_text_on_every_page() {
    let mut stage = Plan::new().with_redis().set("SESSION__CACHE_ENTRIES", "0").start().await;
    let bob = stage.signed_in("bob").await;
    let session = bob.session().unwrap();
    let ask = async |stage: &Stage, target: &str| {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {APP}\r\nCookie: __Host-portcullis={session}\r\nUser-Agent: {USER_AGENT}\r\n\
             Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nConnection: close\r\n\r\n"
        );
        raw(stage, request.as_bytes()).await
    };
    let harmless = |answer: &str, status: &str| {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        for mark in ["<script", "'\">", "javascript:", "m4rker()>"] {
            assert!(!answer.contains(mark), "{mark} in {answer}");
        }
    };
    let targets = [
        "/admin/m4rker'\"></script><script>m4rker()</script>",
        "/admin?x=m4rker'\"></script><script>m4rker()</script>&y=<b>",
        "/admin/%27%22%3E%3C/script%3E%3Cscript%3Em4rker()%3C/script%3E",
        "/admin#'\"><script>m4rker()</script>",
    ];
    for target in targets {
        harmless(&ask(&stage, target).await, "403");
    }
    stage.redis.as_mut().unwrap().down();
    for target in targets {
        let answer = ask(&stage, target).await;
        harmless(&answer, "503");
        assert!(answer.contains("store_unavailable"), "{answer}");
    }
}

/// With a strict cookie the way back goes over a page of ours that has the wanted address on it.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_the_way_back_has_the_address_as_text() {
    let stage = Plan::new().set("SESSION__SAME_SITE", "strict").start().await;
    let alice = Visitor::new(&stage);
    let encoded: String = url::form_urlencoded::byte_serialize(format!("/x?a={MARKUP}").as_bytes()).collect();
    let begun = alice.get(&format!("/auth/login?rd={encoded}")).await;
    let reply = alice.follow(begun, "alice").await;
    assert_eq!((reply.status, reply.url.path()), (200, "/auth/callback"));
    is_harmless(&reply, "the page on the way back");
    assert!(reply.body.contains("m4rker"), "the control: {}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_leads_nowhere_but_to_the_provider_and_our_own_page() {
    let stage = Plan::new().set("LIMITS__LOGIN", "off").start().await;
    for wanted in [
        "https:///evil.example/",
        "http:evil.example",
        "https:evil.example",
        "////evil.example/",
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "javascript:alert(1)",
    ] {
        for (method, site) in [(Method::GET, "none"), (Method::POST, "same-origin")] {
            let alice = stage.signed_in("alice").await;
            let headers = [
                ("accept", "text/html"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
                ("sec-fetch-site", site),
            ];
            let target = format!("/auth/logout?rd={wanted}&post_logout_redirect_uri={wanted}&returnTo={wanted}");
            let out = alice.ask(method, &target, &headers).await;
            let to = out.location().unwrap();
            assert!(to.as_str().starts_with(&stage.idp.url(dev_idp::Endpoint::EndSession)), "{wanted}: {to}");
            assert!(!to.as_str().contains("evil.example") && !to.as_str().contains("alert"), "{wanted}: {to}");
            let done = alice.follow(out, "alice").await;
            assert_eq!(done.url.origin(), alice.url("/").origin(), "{wanted}");
            assert_eq!(done.url.path(), "/auth/signed-out", "{wanted}");
            let stranger = Visitor::new(&stage).ask(Method::GET, &target, &headers).await;
            assert!(stranger.location().is_none() && !stranger.body.contains("evil.example"), "{wanted}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_of_people_splits_no_header_and_marks_up_no_page() {
    let name = format!("{MARKUP}\r\nSet-Cookie: x=1\nX-Split: y\u{0}\u{7f}\u{e9}\u{202e}");
    let plan = Plan::new().provider(|provider| {
        let mut person = dev_idp::Person::new("zoe", "Z").in_groups(&["staff", &name]);
        person.given_name.clone_from(&name);
        person.email = format!("{name}@example.com");
        let huge = dev_idp::Person::new("huge", "H").in_groups(&["staff"]);
        provider.people.extend([person, huge.with_claim("odd", json!("x".repeat(64 * 1_024)))]);
    });
    let stage = plan.start().await;
    let zoe = stage.signed_in("zoe").await;
    let told = stage.upstream.requests().pop().unwrap().headers;
    for name in ["x-auth-request-name", "x-auth-request-groups", "x-auth-request-email"] {
        let value = told[name].to_str().unwrap();
        assert!(value.contains("%0D%0ASet-Cookie: x=1%0AX-Split: y%00%7F%C3%A9%E2%80%AE"), "{value}");
    }
    assert!(!told.contains_key("x-split") && !told.contains_key("set-cookie"), "{told:?}");
    let refused = zoe.get("/admin").await;
    assert_eq!(refused.refusal(), (403, "policy_denied"));
    is_harmless(&refused, "the page with a name on it");
    assert!(refused.body.contains("m4rker"), "the control: the address is shown: {}", refused.body);
    assert!(!refused.headers.contains_key("x-split"));
    let userinfo = zoe.fetch(Method::GET, "/auth/userinfo").await;
    assert_eq!(userinfo.header("content-type"), "application/json");
    assert_eq!(userinfo.header("x-content-type-options"), "nosniff");
    let huge = Visitor::new(&stage).sign_in("huge", "/").await;
    assert_eq!(huge.refusal(), (400, "claims_too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_went_wrong_is_text_on_our_page() {
    let stage = Stage::usual().await;
    stage.idp.set(Switch::AuthorizationError);
    let alice = Visitor::new(&stage);
    let mut callback = alice.up_to_callback("alice", "/").await;
    stage.idp.clear(Switch::AuthorizationError);
    let kept: Vec<_> = callback.query_pairs().filter(|(name, _)| name == "state" || name == "iss").collect();
    let kept: Vec<_> = kept.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    callback.set_query(None);
    callback.query_pairs_mut().extend_pairs(kept).extend_pairs([
        ("error", MARKUP),
        ("error_description", MARKUP),
        ("error_uri", "javascript:m4rker()"),
    ]);
    let reply = alice.visit(&callback).await;
    assert_eq!(reply.refusal(), (400, "provider_error"));
    let page = reply.body.replace("javascript:m4rker()", "");
    is_harmless(&Reply { body: page, ..reply.clone() }, "the provider's error");
    assert!(reply.body.contains("m4rker"), "the control: {}", reply.body);
    assert!(!reply.body.contains("href=\"javascript:"));
}
