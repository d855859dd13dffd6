//! Limits: exact, the same on all gateways, said in time and form; and none that locks an office out.

use std::time::Duration;

use dev_idp::Switch;
use futures_util::future::join_all;
use reqwest::Method;

use crate::support::{
    Plan, Reply, Stage, Visitor, eventually,
    twin::{AsNginx, Twin},
};

/// What a browser says of a picture that a page of another site shows.
const PICTURE: [(&str, &str); 4] = [
    ("accept", "image/avif,image/webp,*/*"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-dest", "image"),
    ("sec-fetch-site", "cross-site"),
];

async fn begin(visitor: &Visitor) -> Reply {
    visitor.get("/auth/login").await
}

/// Begins so many sign-ins, each of which must go on to the provider.
async fn begin_many(visitor: &Visitor, times: usize) {
    for time in 0..times {
        assert_eq!(begin(visitor).await.status, 302, "{time}");
    }
}

/// Begins a sign-in and ends it with a code that the provider never gave.
async fn fail_once(stage: &Stage) -> Reply {
    let visitor = Visitor::new(stage);
    let mut callback = visitor.up_to_callback("alice", "/").await;
    let parameters: Vec<_> = callback.query_pairs().into_owned().collect();
    let junk = |(name, value)| if name == "code" { (name, "junk".to_owned()) } else { (name, value) };
    callback.query_pairs_mut().clear().extend_pairs(parameters.into_iter().map(junk));
    visitor.visit(&callback).await
}

fn waits(reply: &Reply, seconds: &str) {
    assert_eq!(reply.refusal(), (429, "rate_limited"), "{reply:?}");
    assert_eq!(reply.header("retry-after"), seconds, "{reply:?}");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(reply.header("set-cookie").is_empty(), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_begins_so_many_sign_ins_a_minute_and_is_told_how_long_to_wait() {
    let stage = Stage::usual().await;
    let visitor = Visitor::new(&stage);
    begin_many(&visitor, 20).await;
    stage.advance(Duration::from_secs(20));
    begin_many(&visitor, 10).await;
    let page = visitor.get("/auth/login?rd=/reports").await;
    waits(&page, "40");
    assert!(page.body.contains("You can go on in 40 seconds"), "{}", page.body);
    assert!(page.body.contains("href=\"/auth/login?rd=/reports\""), "{}", page.body);
    let script = visitor.fetch(Method::GET, "/auth/login").await;
    waits(&script, "40");
    assert_eq!(script.json()["error"], "rate_limited");
    let elsewhere = Visitor::coming_from(&stage, [127, 0, 0, 2]);
    assert_eq!(begin(&elsewhere).await.status, 302, "another address is another client");
    stage.advance(Duration::from_millis(39_500));
    waits(&begin(&visitor).await, "1");
    stage.advance(Duration::from_millis(500));
    begin_many(&visitor, 20).await;
    waits(&begin(&visitor).await, "20");
    assert!((stage.metric(r#"portcullis_rate_limited_total{limit="login"}"#).await - 4.0).abs() < f64::EPSILON);
    assert!(stage.metric("portcullis_limits_fallback_total").await < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_on_another_sites_page_lock_no_office_out() {
    let stage = Stage::usual().await;
    let (alice, lured) = (Visitor::new(&stage), Visitor::new(&stage));
    let callback = alice.up_to_callback("alice", "/begun/before").await;
    let mut answers = Vec::new();
    for number in 0..20 {
        let path = format!("/auth/callback?state=made-up-{number}&code=x");
        let reply = lured.ask(Method::GET, &path, &PICTURE).await;
        answers.push(reply.status);
        if reply.status == 429 {
            waits(&reply, "60");
        }
        let embedded = lured.ask(Method::GET, "/auth/login", &PICTURE).await;
        assert_eq!(embedded.refusal(), (403, "cross_site"), "and it begins no sign-in");
    }
    for _ in 0..20 {
        assert_eq!(lured.ask(Method::GET, "/auth/login", &PICTURE).await.status, 403);
    }
    assert_eq!(answers, [[400; 10], [429; 10]].concat());
    assert_eq!(alice.visit(&callback).await.status, 302, "what was begun before can be finished");
    let bob = Visitor::new(&stage);
    let reply = bob.sign_in("bob", "/begun/after").await;
    assert_eq!((reply.status, reply.url.path()), (200, "/begun/after"), "and others begin and finish");
    let page = bob.get("/auth/callback?state=made-up&code=x").await;
    waits(&page, "60");
    assert!(page.body.contains("href=\"/auth/login\""), "{}", page.body);
    stage.advance(Duration::from_secs(60));
    assert_eq!(lured.ask(Method::GET, "/auth/callback", &PICTURE).await.refusal(), (400, "parameter_missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_or_late_sign_in_is_no_free_pass_to_the_callback() {
    let stage = Plan::new().set("LIMITS__FAILED_CALLBACK", "3/1m").start().await;
    let alice = Visitor::new(&stage);
    let callback = alice.up_to_callback("alice", "/").await;
    let jar = alice.cookies();
    assert_eq!(alice.visit(&callback).await.status, 302);
    for _ in 0..3 {
        let replay = alice.send(Method::GET, &callback, &[("Cookie", &jar), ("Accept", "text/html")]).await;
        assert_eq!(replay.refusal(), (400, "transaction_used"));
    }
    let replay = alice.send(Method::GET, &callback, &[("Cookie", &jar), ("Accept", "text/html")]).await;
    waits(&replay, "60");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_sign_ins_failed_too_often_waits_where_they_begin_and_not_where_they_end() {
    let stage = Stage::usual().await;
    let (alice, bob) = (stage.signed_in("alice").await, Visitor::new(&stage));
    for time in 0..20 {
        assert_eq!(fail_once(&stage).await.refusal(), (400, "code_rejected"), "{time}");
        stage.advance(Duration::from_secs(3));
    }
    let begun = bob.up_to_callback("bob", "/begun/before").await;
    assert_eq!(fail_once(&stage).await.refusal(), (400, "code_rejected"), "one more is not refused there");
    let waiting = begin(&Visitor::new(&stage)).await;
    waits(&waiting, "1800");
    assert!(waiting.body.contains("You can go on in 30 minutes"), "{}", waiting.body);
    assert_eq!(bob.visit(&begun).await.status, 302, "what was begun before can be finished");
    assert_eq!(alice.get("/").await.status, 200, "and who is signed in goes on");
    let elsewhere = Visitor::coming_from(&stage, [127, 0, 0, 2]);
    assert_eq!(elsewhere.sign_in("alice", "/").await.status, 200, "nobody else waits");
    stage.advance(Duration::from_secs(29 * 60));
    waits(&begin(&Visitor::new(&stage)).await, "60");
    stage.advance(Duration::from_secs(60));
    assert_eq!(begin(&Visitor::new(&stage)).await.status, 302);
    let failed = stage.metric(r#"portcullis_rate_limited_total{limit="failed_sign_in"}"#).await;
    assert!((failed - 1.0).abs() < f64::EPSILON, "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_trouble_makes_nobody_wait_when_it_is_over() {
    let stage = Plan::new().set("LIMITS__FAILED_SIGN_IN", "2/1h").start().await;
    let visitors = [Visitor::new(&stage), Visitor::new(&stage), Visitor::new(&stage), Visitor::new(&stage)];
    stage.idp.set(Switch::AuthorizationError);
    for visitor in &visitors {
        assert_eq!(visitor.sign_in("alice", "/").await.refusal(), (400, "provider_fault"));
    }
    stage.idp.clear(Switch::AuthorizationError);
    let mut callbacks = Vec::new();
    for visitor in &visitors {
        callbacks.push(visitor.up_to_callback("alice", "/").await);
    }
    stage.idp.stop().await;
    for (visitor, callback) in visitors.iter().zip(&callbacks) {
        assert_eq!(visitor.visit(callback).await.refusal(), (503, "provider_unreachable"));
    }
    stage.idp.restart().await.unwrap();
    assert_eq!(Visitor::new(&stage).sign_in("alice", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_fill_the_single_use_marks() {
    let stage = Plan::new().set("STORE__MEMORY__MAX_MARKS", "25").start().await;
    let mut failed = 0;
    for _ in 0..30 {
        let visitor = Visitor::new(&stage);
        let Some(begun) = begin(&visitor).await.location() else {
            break;
        };
        let sent = begun.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let answer = format!("/auth/callback?state={sent}&error=junk&iss={}", stage.idp.issuer());
        assert_eq!(visitor.get(&answer).await.refusal(), (400, "provider_error"));
        failed += 1;
        stage.advance(Duration::from_secs(3));
    }
    assert_eq!(failed, 21);
    let elsewhere = Visitor::coming_from(&stage, [127, 0, 0, 2]);
    assert_eq!(elsewhere.sign_in("alice", "/").await.status, 200, "there is room for others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_refreshes_so_often_and_its_user_a_little_more_often() {
    let plan = Plan::new().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true").set("LIMITS__REFRESH_USER", "8/1h");
    let stage = plan.start().await;
    let (alice, again) = (stage.signed_in("alice").await, stage.signed_in("alice").await);
    let bob = stage.signed_in("bob").await;
    let refresh = async |visitor: &Visitor| visitor.fetch(Method::POST, "/auth/refresh").await;
    for _ in 0..5 {
        assert_eq!(refresh(&alice).await.status, 200);
    }
    let sixth = refresh(&alice).await;
    waits(&sixth, "60");
    assert_eq!(sixth.json()["error"], "rate_limited");
    for _ in 0..3 {
        assert_eq!(refresh(&again).await.status, 200, "another session of hers");
    }
    waits(&refresh(&again).await, "3600");
    assert_eq!(refresh(&bob).await.status, 200, "another user");
    assert_eq!(alice.get("/").await.status, 200, "verify knows no limit");
    stage.advance(Duration::from_secs(250));
    assert_eq!(alice.get("/").await.status, 200);
    eventually("the gateway refreshes by itself, limit or not", async || {
        stage.metric(r#"oauth2_token_refresh_total{result="success"}"#).await > 9.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_everything_counts_all_public_pages_but_what_nginx_asks_for() {
    let stage = Plan::new().set("LIMITS__EVERYTHING", r#"["4/1m", "6/1h"]"#).start().await;
    let alice = Visitor::coming_from(&stage, [127, 0, 0, 3]);
    let callback = alice.up_to_callback("alice", "/x").await;
    for path in ["/auth/check", "/auth/userinfo", "/auth/check"] {
        assert_eq!(alice.fetch(Method::GET, path).await.status, 401);
    }
    waits(&alice.fetch(Method::GET, "/auth/userinfo").await, "60");
    waits(&alice.get("/auth/logout").await, "60");
    waits(&begin(&alice).await, "60");
    assert_eq!(alice.visit(&callback).await.status, 302, "a sign-in under way is never refused for its address");
    assert_eq!(alice.get("/x").await.status, 200);
    for _ in 0..10 {
        assert_eq!(alice.get("/x").await.status, 200, "verify does not count");
    }
    waits(&alice.get("/auth/callback").await, "60");
    stage.advance(Duration::from_secs(60));
    for _ in 0..2 {
        assert_eq!(alice.fetch(Method::GET, "/auth/check").await.status, 200);
    }
    waits(&alice.fetch(Method::GET, "/auth/check").await, "3540");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_everything_counts_also_what_is_not_there_and_what_may_not_be_asked() {
    let stage = Plan::new().set("LIMITS__EVERYTHING", r#"["5/1m"]"#).start().await;
    let visitor = Visitor::coming_from(&stage, [127, 0, 0, 3]);
    assert_eq!(visitor.fetch(Method::GET, "/auth/nowhere").await.refusal(), (404, "not_found"));
    assert_eq!(visitor.fetch(Method::DELETE, "/auth/check").await.refusal(), (405, "method_not_allowed"));
    assert_eq!(visitor.fetch(Method::GET, "/auth/check/more").await.refusal(), (404, "not_found"));
    let elsewhere = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
    let embedded = visitor.send(Method::GET, &visitor.url("/auth/login?rd=/x"), &elsewhere).await;
    assert_eq!(embedded.refusal(), (403, "cross_site"));
    assert_eq!(visitor.fetch(Method::GET, "/auth/health").await.status, 200);
    waits(&visitor.fetch(Method::GET, "/auth/health").await, "60");
    waits(&visitor.fetch(Method::GET, "/auth/nowhere").await, "60");
    assert_eq!(visitor.get("/x").await.status, 302, "the question and what it leads to do not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_off_is_not_limited() {
    let stage = Plan::new()
        .set("LIMITS__LOGIN", "off")
        .set("LIMITS__FAILED_SIGN_IN", "off")
        .set("LIMITS__FAILED_CALLBACK", "off")
        .start()
        .await;
    let visitor = Visitor::new(&stage);
    begin_many(&visitor, 40).await;
    for _ in 0..15 {
        assert_eq!(visitor.get("/auth/callback").await.refusal(), (400, "parameter_missing"));
    }
    for operation in ["count_in_window", "bar_window"] {
        let asked = format!("portcullis_store_operations_total{{operation=\"{operation}\",result=\"ok\"}}");
        assert!(stage.metric(&asked).await < 0.5, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_redis_admit_together_exactly_as_many() {
    let stage = Plan::new().with_redis().start().await;
    let twin = Twin::of(&stage).await;
    let visitor = Visitor::new(&stage);
    assert_eq!(begin(&visitor).await.status, 302);
    let through_nginx = join_all((0..40).map(|_| async { begin(&visitor).await.status }));
    let at_the_twin = join_all((0..40).map(|_| async { twin.asked.get("/auth/login", "127.0.0.1").await.0 }));
    let (one, other) = tokio::join!(through_nginx, at_the_twin);
    let all = [one, other].concat();
    let count = |status| all.iter().filter(|found| **found == status).count();
    assert_eq!((count(302), count(429)), (29, 51), "{all:?}");
    assert_eq!(twin.asked.get("/auth/login", "::ffff:127.0.0.1").await, (429, "rate_limited".to_owned()));
    assert_eq!(twin.asked.get("/auth/login", "127.0.0.9").await.0, 302);
    assert!(stage.metric("portcullis_limits_fallback_total").await < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_one_ipv6_network_are_one_client() {
    let stage = Stage::usual().await;
    let gateway = AsNginx::of(&stage);
    for number in 0..30 {
        let address = format!("2001:db8:0:7:{number:x}::{number:x}");
        assert_eq!(gateway.get("/auth/login", &address).await.0, 302, "{address}");
    }
    assert_eq!(gateway.get("/auth/login", "2001:db8:0:7:ffff::1").await.0, 429);
    assert_eq!(gateway.get("/auth/login", "2001:db8:0:8::1").await.0, 302, "the next network is another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_addresses_takes_no_more_room_and_locks_nobody_out() {
    let stage = Plan::new().set("STORE__MEMORY__MAX_WINDOWS", "40").set("LIMITS__FAILED_SIGN_IN", "1/1h").start().await;
    for _ in 0..2 {
        fail_once(&stage).await;
    }
    waits(&begin(&Visitor::new(&stage)).await, "1800");
    let gateway = AsNginx::of(&stage);
    for number in 0..400 {
        let address = format!("10.0.{}.{}", number / 250, number % 250);
        assert_eq!(gateway.get("/auth/login", &address).await.0, 302, "{address}: a new address is never locked out");
    }
    waits(&begin(&Visitor::new(&stage)).await, "1800");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_store_down_each_gateway_counts_by_itself() {
    let mut stage = Plan::new().with_redis().start().await;
    let visitor = Visitor::new(&stage);
    begin_many(&visitor, 5).await;
    stage.redis.as_mut().unwrap().down();
    begin_many(&visitor, 30).await;
    waits(&begin(&visitor).await, "60");
    let mut strays = Vec::new();
    for _ in 0..12 {
        strays.push(visitor.get("/auth/callback").await.status);
    }
    assert_eq!(strays, [vec![400; 10], vec![429; 2]].concat());
    assert!(stage.metric("portcullis_limits_fallback_total").await > 40.0);
    stage.redis.as_mut().unwrap().up();
    eventually("the store counts again, and knows of five", async || begin(&visitor).await.status == 302).await;
}
