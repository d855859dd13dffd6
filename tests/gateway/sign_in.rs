//! Signing in with OpenID Connect, through nginx, at a real provider over TLS.

use std::time::Duration;

use dev_idp::{Endpoint, Switch};
use reqwest::Method;

use crate::support::{Plan, Stage, Visitor};

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_signs_in_and_lands_on_the_deep_link() {
    let stage = Stage::usual().await;
    let alice = Visitor::new(&stage);
    let reply = alice.sign_in("alice", "/deep/link?a=b&c=d%20e").await;
    assert_eq!((reply.status, reply.url.as_str()), (200, stage.url("/deep/link?a=b&c=d%20e").as_str()));
    assert_eq!(stage.upstream.requests().last().unwrap().target, "/deep/link?a=b&c=d%20e");
    assert!(!alice.cookies().contains("sign-in"), "the transaction's cookie is gone");
    assert_eq!(stage.asked(Endpoint::Userinfo), 1);
    assert!((stage.metric(r#"oauth2_authorization_total{result="success"}"#).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorization_request_says_what_it_must_and_nothing_a_browser_added() {
    let stage = Stage::usual().await;
    let reply = Visitor::new(&stage)
        .get("/auth/login?rd=/x&scope=admin&client_id=other&redirect_uri=https://evil.example&prompt=none")
        .await;
    let to = reply.location().unwrap();
    let parameters: Vec<(String, String)> = to.query_pairs().into_owned().collect();
    let value = |name: &str| {
        let found: Vec<_> = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
        assert!(found.len() <= 1, "{name} stands twice");
        found.first().copied().unwrap_or_default().to_owned()
    };
    assert_eq!(value("response_type"), "code");
    assert_eq!(value("response_mode"), "query");
    assert_eq!(value("client_id"), "gateway");
    assert_eq!(value("code_challenge_method"), "S256");
    assert_eq!(value("code_challenge").len(), 43);
    assert_eq!(value("redirect_uri"), stage.url("/auth/callback"));
    assert_eq!(value("prompt"), "");
    assert!(value("scope").split(' ').all(|scope| ["openid", "profile", "email", "offline_access"].contains(&scope)));
    assert!(value("state").len() >= 43 && value("state").len() <= 128);
    assert!(value("nonce").len() <= 43);
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    assert_eq!(reply.header("cache-control"), "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_travels_in_a_cookie_that_scripts_and_other_sites_do_not_see() {
    let stage = Stage::usual().await;
    let reply = Visitor::new(&stage).get("/auth/login").await;
    let cookie = reply.header("set-cookie");
    assert!(cookie.starts_with("__Host-portcullis-sign-in-"), "{cookie}");
    for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=600"] {
        assert!(cookie.contains(attribute), "{attribute} in {cookie}");
    }
    assert!(!cookie.contains("Domain"));
    let sent = reply.location().unwrap().query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    assert!(!cookie.contains(&sent), "the state is not to be read in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_taken_once_from_the_browser_that_asked() {
    let stage = Stage::usual().await;
    let alice = Visitor::new(&stage);
    let callback = alice.up_to_callback("alice", "/").await;
    let other = Visitor::new(&stage);
    assert_eq!(other.visit(&callback).await.refusal(), (400, "transaction_missing"));
    let jar = alice.cookies();
    assert_eq!(alice.visit(&callback).await.status, 302);
    let tokens = stage.asked(Endpoint::Token);
    let replay = alice.send(Method::GET, &callback, &[("Cookie", &jar), ("Accept", "text/html")]).await;
    assert_eq!(replay.refusal(), (400, "transaction_used"));
    assert_eq!(stage.asked(Endpoint::Token), tokens, "no second token request");
    assert_eq!(alice.get("/").await.status, 200, "the session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_too_late_is_refused() {
    let stage = Stage::usual().await;
    let alice = Visitor::new(&stage);
    let callback = alice.up_to_callback("alice", "/").await;
    stage.clock.advance(Duration::from_secs(600));
    assert_eq!(alice.visit(&callback).await.refusal(), (400, "transaction_expired"));
    assert_eq!(stage.asked(Endpoint::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_missing_and_empty_parameters_are_refused_before_any_token_request() {
    let stage = Stage::usual().await;
    let alice = Visitor::new(&stage);
    let callback = alice.up_to_callback("alice", "/").await;
    let sent = callback.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let check = async |query: String, reason: &str| {
        let reply = alice.get(&format!("/auth/callback?{query}")).await;
        assert_eq!(reply.refusal(), (400, reason), "{query}");
    };
    check("foo=<b>x</b>".into(), "parameter_missing").await;
    check(String::new(), "parameter_missing").await;
    check("&&&".into(), "parameter_missing").await;
    check("state=&code=&iss=".into(), "parameter_missing").await;
    check(format!("state={sent}"), "parameter_missing").await;
    check(format!("state={sent}&state={sent}&code=x"), "parameter_repeated").await;
    check(format!("state={sent}&code=a&code=b"), "parameter_repeated").await;
    check(format!("state={sent}&code=a&iss=x&iss=x"), "parameter_repeated").await;
    check(format!("state=x{sent}&code=a"), "transaction_missing").await;
    assert_eq!(stage.asked(Endpoint::Token), 0);
    assert_eq!(alice.visit(&callback).await.status, 302, "the real answer still counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_with_the_query_is_not_reflected() {
    let stage = Stage::usual().await;
    let reply = Visitor::new(&stage).get("/auth/callback?foo=<b>marker</b>&state=%3Cscript%3Emarker&code=marker").await;
    assert!(!reply.body.contains("marker"), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_own_error_is_shown_readably() {
    let stage = Stage::usual().await;
    stage.idp.set(Switch::AuthorizationError);
    let alice = Visitor::new(&stage);
    let reply = alice.sign_in("alice", "/").await;
    assert_eq!(reply.refusal(), (400, "provider_fault"));
    assert!(reply.body.contains("server_error"));
    assert!(!reply.body.contains("<script"), "escaped");
    assert_eq!(stage.asked(Endpoint::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_tabs_leave_few_cookies_and_the_newest_still_work() {
    let stage = Plan::new().set("LIMITS__FAILED_CALLBACK", "off").start().await;
    let alice = Visitor::new(&stage);
    let mut callbacks = Vec::new();
    for tab in 0..20 {
        callbacks.push(alice.up_to_callback("alice", &format!("/tab/{tab}")).await);
        stage.advance(Duration::from_secs(1));
        let bytes = alice.cookies().len();
        assert!(bytes < 4_096, "{bytes} bytes of cookies");
    }
    assert_eq!(alice.cookies().matches("sign-in-").count(), 5);
    for (tab, callback) in callbacks.iter().enumerate().rev() {
        let reply = alice.visit(callback).await;
        if tab >= 15 {
            let to = reply.location().unwrap_or_else(|| panic!("{tab}: {reply:?}"));
            assert_eq!(to.path(), format!("/tab/{tab}"));
        } else {
            assert_eq!(reply.refusal(), (400, "transaction_missing"), "{tab}");
        }
    }
}

/// As when a browser opens all the tabs of yesterday: none of these sign-ins knows of another's cookie.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_tabs_at_once_all_work_and_the_next_sign_in_tidies_up() {
    let stage = Stage::usual().await;
    let alice = Visitor::new(&stage);
    let mut cookies = Vec::new();
    let mut callbacks = Vec::new();
    for tab in 0..20 {
        let one = Visitor::new(&stage);
        callbacks.push(one.up_to_callback("alice", &format!("/tab/{tab}")).await);
        cookies.push(one.cookies().split("; ").find(|pair| pair.contains("sign-in-")).unwrap().to_owned());
    }
    for cookie in &cookies {
        alice.plant(cookie);
    }
    let replies = futures_util::future::join_all(callbacks.iter().map(|callback| alice.visit(callback))).await;
    for (tab, reply) in replies.iter().enumerate() {
        let to = reply.location().unwrap_or_else(|| panic!("{tab}: {reply:?}"));
        assert_eq!(to.path(), format!("/tab/{tab}"));
    }
    for cookie in &cookies {
        alice.plant(cookie);
    }
    assert_eq!(alice.get("/auth/login").await.status, 302);
    assert_eq!(alice.cookies().matches("sign-in-").count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_id_at_every_sign_in_and_the_older_session_ends() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let first = alice.session().unwrap();
    let again = alice.get("/auth/login?rd=/x").await;
    assert_eq!(alice.follow(again, "alice").await.status, 200);
    assert_ne!(alice.session().unwrap(), first);
    let old = Visitor::new(&stage);
    old.plant(&format!("__Host-portcullis={first}"));
    assert_eq!(old.ask(Method::GET, "/", &[]).await.refusal(), (401, "session_ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_session_is_not_what_one_signs_in_to() {
    let stage = Stage::usual().await;
    let mallory = stage.signed_in("bob").await;
    let planted = mallory.session().unwrap();
    for value in [planted.clone(), "A".repeat(60)] {
        let victim = Visitor::new(&stage);
        victim.plant(&format!("__Host-portcullis={value}"));
        let again = victim.get("/auth/login").await;
        victim.follow(again, "alice").await;
        assert_ne!(victim.session().unwrap(), value);
        let who = victim.fetch(Method::GET, "/auth/userinfo").await.json();
        assert_eq!(who["user"], "subject-of-alice");
    }
    let theirs = Visitor::new(&stage);
    theirs.plant(&format!("__Host-portcullis={planted}"));
    assert_eq!(theirs.ask(Method::GET, "/", &[]).await.status, 401, "the planted one is nobody now");
}

#[tokio::test(flavor = "multi_thread")]
async fn return_targets_that_lead_elsewhere_end_on_the_landing_page() {
    let stage = Stage::usual().await;
    for wanted in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "/%09/evil.example",
        "https:evil.example",
        "javascript:alert(1)",
    ] {
        let alice = Visitor::new(&stage);
        let begun = alice.get(&format!("/auth/login?rd={wanted}")).await;
        let done = alice.follow(begun, "alice").await;
        assert_eq!(done.url.as_str(), stage.url("/"), "{wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_host_does_not_change_where_the_provider_answers_to() {
    let stage = Stage::usual().await;
    let headers = [
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "host=evil.example"),
        ("X-Portcullis-Host", "evil.example"),
    ];
    let reply = Visitor::new(&stage).ask(Method::GET, "/auth/login", &headers).await;
    let redirect =
        reply.location().unwrap().query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    assert_eq!(redirect, stage.url("/auth/callback"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_begun_on_another_host_of_the_site_goes_by_way_of_the_main_one() {
    let site = crate::verify::ODD_SITE
        .replace("server_name app.test", "server_name wiki.app.test")
        .replace("{other}", "{port}");
    let plan =
        Plan::new().set("SITE__MAIN__HOSTS", r#"["wiki.app.test"]"#).set("SITE__MAIN__COOKIE_DOMAIN", "app.test");
    let stage = plan.site(&site).start().await;
    let host = format!("wiki.app.test:{}", stage.nginx.https);
    let url = stage.url("/auth/login?rd=/x").parse().unwrap();
    let reply = Visitor::new(&stage).send(Method::GET, &url, &[("Host", &host), ("Accept", "text/html")]).await;
    let to = reply.location().unwrap();
    assert_eq!(to.host_str(), Some(crate::support::APP));
    assert_eq!(to.query_pairs().next().unwrap().1, format!("https://{host}/x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn confidential_clients_prove_themselves_also_with_a_secret_full_of_signs() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let stage = Plan::new().authenticating(method, "fake:secret%41with+signs&more=1").start().await;
        stage.signed_in("alice").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_rules_say_who_may_have_a_session_at_all() {
    let check = async |key: &'static str, value: &str, login: &str, expected: u16| {
        let stage = Plan::new().set(key, value).start().await;
        let visitor = Visitor::new(&stage);
        let reply = visitor.sign_in(login, "/public/x").await;
        let begun = if reply.status == 200 { visitor.get("/auth/login?rd=/public/x").await } else { reply };
        let reply = visitor.follow(begun, login).await;
        assert_eq!(reply.status, expected, "{key} {value} {login}");
        assert_eq!(visitor.session().is_some(), expected == 200, "{key} {value} {login}");
        if expected == 403 {
            assert_eq!(reply.refusal(), (403, "access_denied"));
            assert!(reply.body.contains("account=other"), "another account can be tried");
        }
    };
    check("ACCESS__GROUPS", r#"["admins"]"#, "alice", 200).await;
    check("ACCESS__GROUPS", r#"["admins"]"#, "bob", 403).await;
    check("ACCESS__EMAIL_DOMAINS", r#"["example.com"]"#, "bob", 200).await;
    check("ACCESS__EMAIL_DOMAINS", r#"["example.com"]"#, "carol", 403).await;
    check("ACCESS__EMAIL_DOMAINS", r#"["ample.com"]"#, "bob", 403).await;
    check("ACCESS__EMAILS", r#"["bob@example.com"]"#, "alice", 403).await;
    check("ACCESS__EMAIL_VERIFIED", "true", "carol", 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_starts_without_its_provider_and_finds_it_later() {
    let port = crate::support::free_port();
    let mut stage = Plan::new().set("LIMITS__LOGIN", "off").start_at(port).await;
    stage.stop_gateway().await;
    stage.idp.stop().await;
    stage.start_gateway().await;
    let alice = Visitor::new(&stage);
    let reply = alice.get("/auth/login?rd=/x").await;
    assert_eq!(reply.refusal(), (503, "provider_unreachable"));
    assert!(reply.body.contains("/auth/login?rd=%2Fx"), "the page offers to try anyway");
    assert_eq!(alice.fetch(Method::GET, "/api/whoami").await.refusal(), (401, "no_session"));
    stage.idp.restart().await.unwrap();
    crate::support::eventually("sign-in works", async || alice.sign_in("alice", "/x").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_ends_after_its_idle_time_and_after_its_absolute_time() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    stage.advance(Duration::from_secs(29 * 60));
    assert_eq!(alice.get("/").await.status, 200);
    crate::support::eventually("the use is written down", async || {
        let left = alice.fetch(Method::GET, "/auth/check").await.json()["idle_expires_in"].as_u64().unwrap();
        left > 29 * 60
    })
    .await;
    stage.advance(Duration::from_secs(30 * 60));
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "session_idle"));
    let bob = stage.signed_in("bob").await;
    for _ in 0..9 {
        stage.advance(Duration::from_secs(25 * 60));
        assert_eq!(bob.fetch(Method::POST, "/auth/check").await.status, 200);
    }
    stage.advance(Duration::from_secs(16 * 60));
    assert_eq!(bob.fetch(Method::GET, "/").await.refusal(), (401, "session_unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_how_long_the_session_lives_and_only_the_post_counts_as_use() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let checked = alice.fetch(Method::GET, "/auth/check").await.json();
    assert_eq!((checked["authenticated"].as_bool(), checked["idle_expires_in"].as_u64()), (Some(true), Some(1_800)));
    assert_eq!(checked["absolute_expires_in"], 14_400);
    stage.advance(Duration::from_secs(600));
    assert_eq!(alice.fetch(Method::GET, "/auth/check").await.json()["idle_expires_in"], 1_200);
    assert_eq!(alice.fetch(Method::POST, "/auth/check").await.json()["idle_expires_in"], 1_800);
    let anonymous = Visitor::new(&stage).fetch(Method::GET, "/auth/check").await;
    assert_eq!(anonymous.refusal(), (401, "no_session"));
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_tells_the_page_who_it_is_and_never_a_token() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let reply = alice.fetch(Method::GET, "/auth/userinfo").await;
    let user = reply.json();
    assert_eq!(user["email"], "alice@example.com");
    assert_eq!(user["groups"], serde_json::json!(["staff", "admins"]));
    assert_eq!(user["claims"]["realm_access"]["roles"], serde_json::json!(["admin", "editor"]));
    assert!(!reply.body.contains("token"), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_needs_proof_that_our_own_page_asked() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    for path in ["/auth/refresh", "/auth/check", "/auth/logout"] {
        for headers in [
            vec![],
            vec![("Sec-Fetch-Site", "cross-site")],
            vec![("Sec-Fetch-Site", "same-site")],
            vec![("Sec-Fetch-Site", "none")],
            vec![("Origin", "https://evil.example")],
            vec![("Origin", "null")],
            vec![("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")],
        ] {
            let reply = alice.ask(Method::POST, path, &headers).await;
            assert_eq!(reply.refusal(), (403, "cross_site"), "{path} {headers:?}");
        }
    }
    assert_eq!(alice.get("/").await.status, 200, "still signed in");
    let origin = stage.url("");
    assert_eq!(alice.ask(Method::POST, "/auth/check", &[("Origin", &origin)]).await.status, 200);
}
