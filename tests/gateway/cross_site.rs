//! Pages of other sites and of other origins: what they can cause, and what the settings let some of them do.

use dev_idp::Endpoint;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    support::{Plan, Reply, Stage, Visitor, browser::Browser, eventually, free_port},
    verify::{FORGED, upstream_identity},
};

/// Pages of others: two on the application's registrable domain, whose requests bring the cookie, and one elsewhere.
pub(crate) const OTHER_PAGES: &str = r#"
server {
    listen 127.0.0.1:{port} ssl;
    server_name spa.app.test stranger.app.test elsewhere.test;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {
        default_type text/html;
        return 200 "<!doctype html><title>another page</title><p id=there>there</p>";
    }
}
"#;
const CHANGING: [&str; 4] = ["/auth/logout", "/auth/refresh", "/auth/check", "/auth/sessions/revoke"];

/// A stage that lists `spa.app.test`, and nobody else.
async fn listing_one_origin() -> (Stage, String) {
    let https = free_port();
    let spa = format!("https://spa.app.test:{https}");
    let plan = Plan::new().set("SITE__MAIN__CORS_ORIGINS", format!(r#"["{spa}"]"#)).site(OTHER_PAGES);
    (plan.start_at(https).await, spa)
}

/// Lets the page shown send a request in every way that a page can without being read, and waits for each.
async fn provoke(browser: &Browser, path: &str) {
    let url = browser.url(path);
    let script = format!(
        "const url = '{url}';
         const image = new Promise(done => {{
             const image = new Image(); image.onload = image.onerror = done; image.src = url;
         }});
         const form = method => new Promise(done => {{
             const frame = document.createElement('iframe');
             frame.name = 'frame' + Math.random();
             document.body.append(frame);
             const form = document.createElement('form');
             Object.assign(form, {{action: url, method, target: frame.name}});
             document.body.append(form);
             frame.onload = done;
             form.submit();
         }});
         const send = method => fetch(url, {{method, mode: 'no-cors', credentials: 'include'}}).catch(() => null);
         const json = fetch(url, {{method: 'POST', mode: 'cors', credentials: 'include', body: '{{}}',
             headers: {{'Content-Type': 'application/json'}}}}).catch(() => null);
         const all = [image, form('POST'), form('GET'), send('GET'), send('POST'), json];
         return Promise.all(all).then(() => navigator.sendBeacon(url, 'x'))"
    );
    assert_eq!(browser.script(&script).await, true, "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_forms_and_scripts_of_other_sites_change_nothing() {
    let stage = Plan::new().site(OTHER_PAGES).start().await;
    let browser = Browser::open(&stage).await;
    browser.visit("/page").await;
    browser.sign_in("alice", "/page").await;
    let session = browser.driver.get_named_cookie("__Host-portcullis").await.unwrap().value;
    for host in ["stranger.app.test", "elsewhere.test"] {
        for path in CHANGING {
            browser.visit_host(host).await;
            provoke(&browser, path).await;
        }
        for path in ["/auth/logout", "/auth/refresh"] {
            browser.visit_host(host).await;
            let form = format!(
                "const form = document.createElement('form');
                 Object.assign(form, {{action: '{}', method: 'POST'}});
                 document.body.append(form); form.submit()",
                browser.url(path)
            );
            browser.script(&form).await;
            browser.arrives(path).await;
            assert_eq!(browser.status().await, 403);
            assert!(browser.text("body").await.contains("cross_site"), "{host} {path}");
        }
        browser.visit_host(host).await;
        browser.follow_link_to("/auth/logout").await;
        browser.arrives("/auth/logout").await;
        browser.shows("form button").await;
        assert_eq!(browser.text("h1").await, "Do you want to sign out?", "{host}");
    }
    let refused = |endpoint: &str| format!(r#"portcullis_responses_total{{endpoint="{endpoint}",status="403"}}"#);
    for endpoint in ["logout", "refresh", "check"] {
        // Of both hosts: two forms, two scripts, a beacon.
        eventually("the refusals are counted", async || stage.metric(&refused(endpoint)).await >= 6.0).await;
    }
    browser.visit("/page").await;
    assert!(browser.text("#identity").await.contains("alice@example.com"), "still signed in");
    assert_eq!(browser.driver.get_named_cookie("__Host-portcullis").await.unwrap().value, session);
    assert_eq!(stage.asked(Endpoint::Token), 1, "nothing was refreshed");
    assert_eq!(stage.asked(Endpoint::EndSession), 0);
    assert!(stage.metric(r#"oauth2_session_ended_total{reason="logout"}"#).await < 0.5);
    browser.close().await;
}

/// What a script of the page shown gets of a path of the application, with the person's cookies.
async fn ask(browser: &Browser, method: &str, path: &str) -> Value {
    let url = browser.url(path);
    let script = format!(
        "return fetch('{url}', {{method: '{method}', credentials: 'include', headers: {{'X-Requested-With': 'XMLHttpRequest'}}}})
            .then(async reply => ({{
                status: reply.status, reason: reply.headers.get('x-portcullis-reason'), body: await reply.json(),
            }}), () => 'unreadable')"
    );
    browser.script(&script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_a_listed_origin_may_what_our_own_may_and_others_read_nothing() {
    let (stage, _) = listing_one_origin().await;
    let browser = Browser::open(&stage).await;
    browser.visit("/page").await;
    browser.sign_in("alice", "/page").await;
    for host in ["stranger.app.test", "elsewhere.test"] {
        browser.visit_host(host).await;
        for (method, path) in [
            ("GET", "/auth/check"),
            ("POST", "/auth/check"),
            ("GET", "/auth/userinfo"),
            ("POST", "/auth/refresh"),
            ("POST", "/auth/logout"),
            ("GET", "/api/whoami"),
        ] {
            assert_eq!(ask(&browser, method, path).await, "unreadable", "{host} {method} {path}");
        }
    }
    browser.visit_host("spa.app.test").await;
    for method in ["GET", "POST"] {
        let check = ask(&browser, method, "/auth/check").await;
        assert_eq!((&check["status"], &check["body"]["authenticated"]), (&json!(200), &json!(true)), "{check}");
    }
    assert_eq!(ask(&browser, "GET", "/auth/userinfo").await["body"]["email"], "alice@example.com");
    assert_eq!(ask(&browser, "POST", "/auth/refresh").await["body"]["status"], "success");
    assert_eq!(ask(&browser, "GET", "/auth/logout").await, "unreadable", "signing out takes a POST");
    let forbidden = ask_simply(&browser, "/api/whoami").await;
    assert_eq!(forbidden, "unreadable", "what the application answers is shared by the application or by nobody");
    assert_eq!(ask(&browser, "POST", "/auth/logout").await["body"]["status"], "signed_out");
    let check = ask(&browser, "GET", "/auth/check").await;
    assert_eq!((&check["status"], &check["reason"]), (&json!(401), &json!("no_session")));
    let challenged = ask_simply(&browser, "/api/whoami").await;
    assert_eq!(challenged, json!({"status": 401, "error": "authentication_required"}));
    assert_eq!(ask(&browser, "GET", "/api/whoami").await, "unreadable", "a preflight does not pass the gate");
    browser.close().await;
}

/// Without anything that takes a preflight.
async fn ask_simply(browser: &Browser, path: &str) -> Value {
    let url = browser.url(path);
    let script = format!(
        "return fetch('{url}', {{credentials: 'include'}})
            .then(async reply => ({{status: reply.status, error: (await reply.json()).error}}), () => 'unreadable')"
    );
    browser.script(&script).await
}

fn cors_headers(reply: &Reply) -> Vec<String> {
    let names = reply.headers.keys().map(|name| name.as_str().to_owned());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_origins_get_the_headers_on_refusals_too_and_others_get_none() {
    let (stage, spa) = listing_one_origin().await;
    let bob = stage.signed_in("bob").await;
    let stranger = Visitor::new(&stage);
    let script = |origin: &str| {
        [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", "same-site"), ("origin", origin)]
            .map(|(name, value)| (name, value.to_owned()))
    };
    let evil = spa.replace("spa", "stranger");
    let requests = [
        (&bob, Method::GET, "/auth/check", 200),
        (&bob, Method::GET, "/auth/userinfo", 200),
        (&bob, Method::GET, "/admin", 403),
        (&stranger, Method::GET, "/auth/check", 401),
        (&stranger, Method::GET, "/api/whoami", 401),
        (&stranger, Method::POST, "/auth/refresh", 401),
    ];
    for (visitor, method, path, status) in requests {
        for origin in [&spa, &evil, &format!("{spa}.evil.example"), &"null".to_owned()] {
            let headers = script(origin);
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reply = visitor.ask(method.clone(), path, &headers).await;
            if *origin == spa {
                assert_eq!(reply.status, status, "{path} {reply:?}");
                assert_eq!(reply.header("access-control-allow-origin"), spa, "{path}");
                assert_eq!(reply.header("access-control-allow-credentials"), "true");
                assert_eq!(reply.header("vary"), "Origin");
                assert_eq!(reply.header("cross-origin-resource-policy"), "same-origin", "that is for no-cors requests");
            } else {
                assert_eq!(cors_headers(&reply), [] as [&str; 0], "{path} {origin}");
                let refused = if method == Method::POST { 403 } else { status };
                assert_eq!(reply.status, refused, "{path} {origin}");
            }
        }
    }
    let limited = async || {
        let headers = script(&spa);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = bob.ask(Method::POST, "/auth/refresh", &headers).await;
        assert_eq!(reply.header("access-control-allow-origin"), spa, "{reply:?}");
        reply.status == 429 && reply.header("access-control-expose-headers").contains("Retry-After")
    };
    eventually("the limit is reached, and the script may read how long to wait", limited).await;
    let listed = [("origin", spa.as_str()), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-site")];
    for path in ["/auth/login", "/auth/health", "/auth/signed-out", "/auth/nowhere"] {
        let reply = stranger.ask(Method::GET, path, &listed).await;
        assert_eq!(cors_headers(&reply), [] as [&str; 0], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_answered_for_listed_origins_alone() {
    let (stage, spa) = listing_one_origin().await;
    let browser = Visitor::new(&stage);
    let preflight = async |origin: &str, path: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST"), ("sec-fetch-mode", "cors")];
        browser.ask(Method::OPTIONS, path, &headers).await
    };
    for (path, methods) in
        [("/auth/check", "GET, POST"), ("/auth/refresh", "POST"), ("/auth/logout", "POST"), ("/auth/userinfo", "GET")]
    {
        let reply = preflight(&spa, path).await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), spa);
        assert_eq!(reply.header("access-control-allow-credentials"), "true");
        assert_eq!(reply.header("access-control-allow-methods"), methods);
        assert_eq!(reply.header("access-control-allow-headers"), "Content-Type, X-Requested-With");
        assert_eq!(reply.header("access-control-max-age"), "600");
        assert_eq!(reply.header("vary"), "Origin");
        let refused = preflight(&spa.replace("spa", "stranger"), path).await;
        assert_eq!(refused.refusal(), (405, "method_not_allowed"), "{path}");
        assert_eq!(cors_headers(&refused), [] as [&str; 0], "{path}");
        assert!(!refused.header("allow").contains("OPTIONS"));
    }
    for path in ["/auth/login", "/auth/callback", "/auth/health", "/auth/csp-report"] {
        let reply = preflight(&spa, path).await;
        assert_eq!(reply.refusal(), (405, "method_not_allowed"), "{path}");
        assert_eq!(cors_headers(&reply), [] as [&str; 0], "{path}");
    }
    let verify = preflight(&spa, "/auth/verify").await;
    assert_eq!((verify.status, cors_headers(&verify)), (404, vec![]), "that is nginx's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_opens_nothing_and_brings_nothing_forged_along() {
    let (stage, spa) = listing_one_origin().await;
    let mut forged = FORGED.to_vec();
    forged.push(("access-control-request-method", "POST"));
    let alice = stage.signed_in("alice").await;
    stage.upstream.forget();
    for origin in [spa.as_str(), "https://evil.example", "null"] {
        let headers: Vec<_> = forged.iter().copied().chain([("origin", origin)]).collect();
        let stranger = Visitor::new(&stage);
        for path in ["/", "/api/whoami", "/admin"] {
            let reply = stranger.ask(Method::OPTIONS, path, &headers).await;
            assert_eq!(reply.refusal(), (401, "no_session"), "{path}");
        }
        assert!(stage.upstream.requests().is_empty(), "the application was called");
        let ours = stranger.ask(Method::OPTIONS, "/auth/check", &headers).await;
        assert_eq!(ours.status, if origin == spa { 204 } else { 405 }, "judged by nginx's facts, not by forged ones");
        assert_eq!(alice.ask(Method::OPTIONS, "/api/whoami", &headers).await.status, 200);
        let identity = upstream_identity(&stage);
        let user = identity.iter().find(|(name, _)| name == "x-auth-request-user").map(|(_, value)| value.as_str());
        assert_eq!(user, Some("subject-of-alice"));
        let forged = identity.iter().filter(|(name, _)| name != "x-auth-request-extra");
        assert!(forged.clone().all(|(_, value)| !value.contains("mallory")), "{identity:?}");
        stage.upstream.forget();
    }
}
