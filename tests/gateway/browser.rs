//! A person in a real browser: headless Chromium, the application and the provider on hosts of their own.

use std::time::Duration;

use crate::support::{Plan, Stage, browser::Browser, eventually};

const LONGER_THAN_IDLE: Duration = Duration::from_secs(1_801);

async fn opened() -> (Stage, Browser) {
    let stage = Stage::usual().await;
    let browser = Browser::open(&stage).await;
    (stage, browser)
}

/// Waits for our page after the provider's.
async fn signed_out(browser: &Browser) {
    let there = async || {
        let path = browser.script("return location.pathname").await;
        path == "/auth/signed-out" && browser.script("return document.readyState").await == "complete"
    };
    eventually("the signed-out page", there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_and_lands_on_the_deep_link() {
    let (stage, browser) = opened().await;
    let link = "/deep/link?a=b&c=d%20e";
    browser.visit(link).await;
    let asked_by = browser.driver.current_url().await.unwrap();
    assert_eq!(asked_by.origin().ascii_serialization(), stage.idp.issuer(), "the provider asks who it is");
    browser.sign_in("alice", link).await;
    assert!(browser.text("#identity").await.contains("alice@example.com"));
    assert_eq!(browser.script("return document.cookie").await, "", "no script sees the session");
    let cookies = browser.driver.get_all_cookies().await.unwrap();
    let names: Vec<_> = cookies.iter().map(|cookie| cookie.name.as_str()).collect();
    assert_eq!(names, ["__Host-portcullis"], "and there is nothing else beside it");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_after_the_idle_time_out_asks_to_sign_in_again() {
    let (stage, browser) = opened().await;
    browser.visit("/page?x=1").await;
    browser.sign_in("alice", "/page?x=1").await;
    stage.advance(LONGER_THAN_IDLE);
    stage.idp.forget_sign_ons();
    stage.upstream.forget();
    browser.driver.refresh().await.unwrap();
    browser.shows("#login-alice").await;
    assert!(stage.upstream.requests().is_empty(), "nothing was asked of the application");
    browser.sign_in("alice", "/page?x=1").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_still_signed_in_at_the_provider_comes_back_without_a_page() {
    let (stage, browser) = opened().await;
    browser.visit("/page").await;
    browser.sign_in("alice", "/page").await;
    stage.advance(LONGER_THAN_IDLE);
    browser.driver.refresh().await.unwrap();
    browser.arrives("/page").await;
    assert!(browser.text("#identity").await.contains("alice@example.com"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_on_an_expired_session_gets_401_json() {
    let (stage, browser) = opened().await;
    browser.visit("/page").await;
    browser.sign_in("alice", "/page").await;
    browser.press("#whoami").await;
    eventually("the API answers", async || browser.text("#answer").await.contains("/api/whoami: 200")).await;
    stage.advance(LONGER_THAN_IDLE);
    stage.upstream.forget();
    browser.press("#whoami").await;
    eventually("the API refuses", async || browser.text("#answer").await.contains("/api/whoami: 401")).await;
    let shown = browser.text("#answer").await;
    let json: serde_json::Value = serde_json::from_str(shown.split_once('\n').unwrap().1).unwrap();
    assert_eq!((json["error"].is_string(), json["request_id"].is_string()), (true, true), "{json}");
    assert!(stage.upstream.requests().is_empty());
    assert_eq!(browser.driver.current_url().await.unwrap(), browser.url("/page"), "the page stays");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_that_sign_in_at_once_each_end_where_they_wanted() {
    let (_stage, browser) = opened().await;
    let driver = &browser.driver;
    let first = driver.window().await.unwrap();
    let second = driver.new_tab().await.unwrap();
    let tabs = [(first, "/first?tab=1"), (second, "/second?tab=2")];
    for (tab, path) in &tabs {
        driver.switch_to_window(tab.clone()).await.unwrap();
        browser.visit(path).await;
        browser.shows("#login-alice").await;
    }
    for (tab, _) in &tabs {
        driver.switch_to_window(tab.clone()).await.unwrap();
        // Pressed without waiting for what comes of it, so that both are on their way.
        browser.script("setTimeout(() => document.querySelector('#login-alice').click()); return true").await;
    }
    for (tab, path) in &tabs {
        driver.switch_to_window(tab.clone()).await.unwrap();
        browser.arrives(path).await;
        assert!(browser.text("#identity").await.contains("alice@example.com"), "{path}");
    }
    for (tab, path) in &tabs {
        driver.switch_to_window(tab.clone()).await.unwrap();
        driver.refresh().await.unwrap();
        browser.arrives(path).await;
    }
    let cookies = driver.get_all_cookies().await.unwrap();
    assert_eq!(cookies.len(), 1, "one session, and no cookie of a sign-in is left: {cookies:?}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sign_out_the_back_button_shows_nothing_protected() {
    let (stage, browser) = opened().await;
    browser.visit("/secret").await;
    browser.sign_in("alice", "/secret").await;
    browser.visit("/secret/more").await;
    browser.press("#logout").await;
    signed_out(&browser).await;
    assert_eq!(browser.text("h1").await, "You are signed out");
    assert_eq!(stage.asked(dev_idp::Endpoint::EndSession), 1, "by way of the provider");
    let cookies = browser.driver.get_all_cookies().await.unwrap();
    assert!(cookies.is_empty(), "{cookies:?}");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    stage.upstream.forget();
    for _ in 0..3 {
        browser.driver.back().await.unwrap();
        eventually("a page", async || browser.script("return document.readyState").await == "complete").await;
        let source = browser.driver.source().await.unwrap();
        assert!(!source.contains("You are in"), "{source}");
    }
    browser.visit("/secret").await;
    browser.shows("#login-alice").await;
    assert!(stage.upstream.requests().is_empty(), "nothing was asked of the application");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_another_site_signs_nobody_out_unasked() {
    let (stage, browser) = opened().await;
    browser.visit("/page").await;
    browser.sign_in("alice", "/page").await;
    browser.driver.goto(stage.idp.url(dev_idp::Endpoint::Login)).await.unwrap();
    browser.follow_link_to("/auth/logout").await;
    browser.arrives("/auth/logout").await;
    assert_eq!(browser.driver.get_all_cookies().await.unwrap().len(), 1, "still signed in");
    browser.press("form button").await;
    signed_out(&browser).await;
    assert!(browser.driver.get_all_cookies().await.unwrap().is_empty());
    assert_eq!(browser.complaints().await, Vec::<String>::new(), "the page's policy lets its form go to the provider");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_may_not_sees_the_forbidden_page() {
    let (stage, browser) = opened().await;
    browser.visit("/admin").await;
    browser.press("#login-bob").await;
    browser.arrives("/admin").await;
    assert_eq!(browser.status().await, 403);
    let page = browser.text("body").await;
    assert!(page.contains("policy_denied") && page.contains("bob@example.com"), "{page}");
    assert!(stage.upstream.requests().is_empty());
    browser.press("form button").await;
    signed_out(&browser).await;
    browser.press("main a.button").await;
    browser.sign_in("alice", "/").await;
    browser.visit("/admin").await;
    assert!(browser.text("#identity").await.contains("alice@example.com"), "another account may");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_without_access_has_no_session_and_sees_why() {
    let stage = Plan::new().set("ACCESS__EMAIL_VERIFIED", "true").start().await;
    let browser = Browser::open(&stage).await;
    browser.visit("/page").await;
    browser.press("#login-carol").await;
    eventually("a page of ours", async || {
        browser.driver.current_url().await.unwrap().origin() == browser.url("/").origin()
    })
    .await;
    browser.shows("h1").await;
    assert_eq!(browser.status().await, 403);
    assert!(browser.text("body").await.contains("access_denied"));
    assert!(browser.driver.get_all_cookies().await.unwrap().is_empty());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_has_nothing_to_say_against_our_pages() {
    let (mut stage, browser) = opened().await;
    for (path, status) in [
        ("/auth/signed-out", 200),
        ("/auth/callback?state=x&code=y", 400),
        ("/auth/nowhere", 404),
        ("/auth/logout", 200),
    ] {
        browser.visit(path).await;
        assert_eq!(browser.status().await, status, "{path}");
        let styled = "return document.styleSheets[0].cssRules.length > 0";
        assert_eq!(browser.script(styled).await, true, "{path} has its style");
        assert_eq!(browser.complaints().await, Vec::<String>::new(), "{path}");
    }
    stage.stop_gateway().await;
    browser.visit("/page").await;
    assert_eq!(browser.status().await, 503);
    assert_eq!(browser.complaints().await, Vec::<String>::new(), "nginx's own page");
    stage.idp.stop().await;
    stage.start_gateway().await;
    browser.visit("/page").await;
    assert_eq!(browser.status().await, 503);
    assert!(browser.text("body").await.contains("provider_unreachable"));
    assert_eq!(browser.complaints().await, Vec::<String>::new(), "the provider is down");
    browser.close().await;
}

/// The way back from the provider is a navigation that another site began; a link on another site is one too.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_strict_cookie_people_sign_in_and_links_from_elsewhere_ask_first() {
    let stage = Plan::new().set("SESSION__SAME_SITE", "strict").start().await;
    let browser = Browser::open(&stage).await;
    browser.visit("/page?a=b&c='%22%3B").await;
    browser.sign_in("alice", "/page?a=b&c='%22%3B").await;
    assert!(browser.text("#identity").await.contains("alice@example.com"));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.driver.goto(stage.idp.url(dev_idp::Endpoint::Login)).await.unwrap();
    stage.idp.forget_sign_ons();
    browser.follow_link_to("/page").await;
    browser.sign_in("bob", "/page").await;
    assert!(browser.text("#identity").await.contains("bob@example.com"));
    browser.visit("/page").await;
    assert!(browser.text("#identity").await.contains("bob@example.com"), "a typed address brings the session along");
    browser.close().await;
}
