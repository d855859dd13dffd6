//! Policies by host, path and method, for nginx locations that name none.

use crate::support::{
    APP, Plan, Stage,
    wire::{Answer, Line, Wire},
};

/// A site that names no policy but for one location, and misspells its question in two.
const SITE: &str = r"
server {
    listen 127.0.0.1:{other};
    server_name app.test wiki.app.test stranger.test;
    include portcullis/snippets/portcullis-server.conf;
    auth_request /_portcullis_by_rule;
    include portcullis/snippets/portcullis-protect.conf;
    location / { include portcullis/snippets/portcullis-identity.conf; proxy_pass http://{application}; }
    location /named { auth_request /_portcullis/everyone; proxy_pass http://{application}; }
    location /misspelt { auth_request /_portcullis_by_rules; proxy_pass http://{application}; }
    location /mistaken { auth_request /_portcullis-everyone; proxy_pass http://{application}; }
}
";

const RULES: &str = r#"[
    { hosts = ["wiki.app.test"], paths = ["/"], methods = ["GET"], policy = "everyone" },
    { hosts = ["wiki.app.test"], paths = ["/"], policy = "admins" },
    { paths = ["/admin", "=/metrics"], policy = "admins" },
    { hosts = ["app.test"], paths = ["/app"], policy = "staff" },
]"#;

async fn stage(plan: Plan) -> Stage {
    plan.site(SITE).set("SITE__MAIN__HOSTS", r#"["wiki.app.test"]"#).set("SITE__MAIN__COOKIE_DOMAIN", APP).start().await
}

async fn ask(stage: &Stage, method: &str, host: &str, target: &str, cookie: &str, more: &str) -> Answer {
    let line = Line { method, target: target.as_bytes(), host, cookie, more };
    Wire::to(stage.nginx.other).ask(line).await
}

#[tokio::test(flavor = "multi_thread")]
async fn host_path_and_method_choose_the_policy_where_the_location_names_none() {
    let stage = stage(Plan::new().set("MATCHING__RULES", RULES)).await;
    let (alice, bob) = (stage.cookie_of("alice").await, stage.cookie_of("bob").await);
    let check = async |line: &str, cookie: &str, expected: (u16, &str)| {
        let (method, rest) = line.split_once(' ').unwrap();
        let (host, target) = rest.split_once(' ').unwrap();
        let answer = ask(&stage, method, host, target, cookie, "Content-Length: 0\r\n").await;
        assert_eq!(answer.verdict(), expected, "{line}");
    };
    let (denied, unmatched) = ((403, "policy_denied"), (403, "policy_unmatched"));
    check("GET app.test /app", &bob, (200, "")).await;
    check("POST app.test /app/x?y", &bob, (200, "")).await;
    check("GET app.test /admin/x", &bob, denied).await;
    check("GET app.test /admin/x", &alice, (200, "")).await;
    check("GET app.test /metrics", &bob, denied).await;
    check("GET app.test /metrics/x", &alice, unmatched).await;
    check("GET app.test /administrator", &alice, unmatched).await;
    check("GET app.test /", &alice, unmatched).await;
    check("GET wiki.app.test /app", &bob, (200, "")).await;
    check("HEAD wiki.app.test /app", &bob, (200, "")).await;
    check("GET wiki.app.test /admin", &bob, (200, "")).await;
    check("POST wiki.app.test /app", &bob, denied).await;
    check("PURGE wiki.app.test /app", &bob, denied).await;
    check("POST wiki.app.test /app", &alice, (200, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_that_nginx_chose_the_server_by_counts_however_it_was_written() {
    let stage = stage(Plan::new().set("MATCHING__RULES", RULES)).await;
    let bob = stage.cookie_of("bob").await;
    let check = async |host: &str, target: &str, expected: (u16, &str)| {
        let answer = ask(&stage, "GET", host, target, &bob, "").await;
        assert_eq!(answer.verdict(), expected, "{host} {target}");
    };
    let (wiki, unmatched) = ("/only/on/the/wiki", (403, "policy_unmatched"));
    check("WIKI.App.TEST", wiki, (200, "")).await;
    check("wiki.app.test:8443", wiki, (200, "")).await;
    check("wiki.app.test.", wiki, (200, "")).await;
    check("wiki.app.test.:80", wiki, (200, "")).await;
    check("app.test", wiki, unmatched).await;
    check("app.test", "http://wiki.app.test/only/on/the/wiki", (200, "")).await;
    check("wiki.app.test", "http://app.test/only/on/the/wiki", unmatched).await;
    check("stranger.test", "/app", (403, "host_unknown")).await;
    check("elsewhere.test", "/app", (403, "host_unknown")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_names_another_method_gets_nobody_past_a_rule_about_methods() {
    let stage = stage(Plan::new().set("MATCHING__RULES", RULES)).await;
    let bob = stage.cookie_of("bob").await;
    for name in ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"] {
        let header = format!("{name}: DELETE\r\n");
        let answer = ask(&stage, "GET", "wiki.app.test", "/x", &bob, &header).await;
        assert_eq!(answer.verdict(), (403, "ambiguous_target"), "{name}");
        let answer = ask(&stage, "GET", "app.test", "/app", &bob, &header).await;
        assert_eq!(answer.verdict(), (200, ""), "no rule there is about methods: {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_names_its_policy_asks_no_rule() {
    let stage = stage(Plan::new().set("MATCHING__RULES", RULES)).await;
    let bob = stage.cookie_of("bob").await;
    for target in ["/named", "/named/x;y/z", "/named/%61"] {
        assert_eq!(ask(&stage, "GET", APP, target, &bob, "").await.verdict(), (200, ""), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_a_location_that_names_no_policy_is_closed() {
    let stage = stage(Plan::new()).await;
    let alice = stage.cookie_of("alice").await;
    assert_eq!(ask(&stage, "GET", APP, "/", &alice, "").await.verdict(), (403, "policy_missing"));
    assert_eq!(ask(&stage, "GET", APP, "/named", &alice, "").await.verdict(), (200, ""));
}

/// Otherwise nginx would put the question to the application, and take its 200 for a yes.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_misspelt_lets_nobody_in() {
    let stage = stage(Plan::new().set("MATCHING__RULES", RULES)).await;
    let alice = stage.cookie_of("alice").await;
    stage.upstream.forget();
    for target in ["/misspelt", "/mistaken"] {
        assert_eq!(ask(&stage, "GET", APP, target, &alice, "").await.status, 503, "{target}");
    }
    for target in ["/_portcullis", "/_portcullis_by_rule", "/_portcullis_by_rules", "/_portcullisx"] {
        assert_eq!(ask(&stage, "GET", APP, target, &alice, "").await.status, 404, "{target}");
    }
    assert!(stage.upstream.requests().is_empty(), "the application was asked");
    assert!(stage.nginx.error_log().contains("auth request unexpected status: 404"), "{}", stage.nginx.error_log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refused_are_told_what_they_can_do() {
    let stage = stage(Plan::new().set("MATCHING__RULES", RULES)).await;
    let person = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let stranger = ask(&stage, "GET", APP, "/app/x", "a=b", person).await;
    assert_eq!(stranger.status, 302);
    assert!(stranger.header("location").ends_with("/auth/login?rd=%2Fapp%2Fx"), "{stranger:?}");
    assert_eq!(ask(&stage, "GET", APP, "/app/x", "a=b", "").await.verdict(), (401, "no_session"));
    let page = ask(&stage, "GET", APP, "/app/..%2fadmin", "a=b", person).await;
    assert_eq!(page.verdict(), (403, "ambiguous_target"));
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("This address cannot be opened as it is written") && text.contains("ambiguous_target"));
    let page = ask(&stage, "GET", APP, "/elsewhere", "a=b", person).await;
    assert_eq!(page.verdict(), (403, "policy_unmatched"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_by_rule_are_counted_and_allowed_requests_carry_their_policy() {
    let stage = stage(Plan::new().set("MATCHING__RULES", RULES)).await;
    let bob = stage.cookie_of("bob").await;
    ask(&stage, "GET", APP, "/app", &bob, "").await;
    ask(&stage, "GET", APP, "/admin", &bob, "").await;
    ask(&stage, "GET", APP, "/app//x", &bob, "").await;
    let counted = stage.metrics().await;
    for series in [
        r#"decision="allow",reason="none",policy="staff""#,
        r#"reason="policy_denied",policy="admins""#,
        r#"reason="ambiguous_target""#,
    ] {
        assert!(counted.contains(series), "{series}: {counted}");
    }
}
