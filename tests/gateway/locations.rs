//! What nginx does on its way to a location, and what it leaves open: the documents say both.

use std::fs;

use crate::support::{
    APP, Plan, Stage,
    wire::{Answer, Line, Wire},
};

const SITE: &str = r"
server {
    listen 127.0.0.1:{other};
    server_name app.test;
    root {www};
    set $policy staff;
    set $portcullis_policy everyone;
    include portcullis/snippets/portcullis-server.conf;
    auth_request /_portcullis/admins;
    include portcullis/snippets/portcullis-protect.conf;

    location /pages/ { auth_request /_portcullis/staff; index page.html; }
    location = /pages/page.html { auth_request /_portcullis/admins; }
    location /tried/ { auth_request /_portcullis/staff; try_files $uri /kept/page.html; }
    location /kept/ { auth_request /_portcullis/admins; }
    location /rewritten { auth_request /_portcullis/staff; rewrite ^ /kept/page.html last; }
    location /set { set $policy everyone; auth_request /_portcullis/admins; proxy_pass http://{application}; }
    location /outer {
        auth_request /_portcullis/staff;
        proxy_pass http://{application};
        location /outer/inner { auth_request /_portcullis/admins; proxy_pass http://{application}; }
        location ~ \.secret$ { auth_request /_portcullis/admins; proxy_pass http://{application}; }
        location /outer/heir { proxy_pass http://{application}; }
    }
    location /forgotten { proxy_pass http://{application}; }

    location /returned { auth_request /_portcullis/admins; return 200 'open'; }
    location /redirected { auth_request /_portcullis/admins; rewrite ^ /elsewhere redirect; }
    location /satisfied { auth_request /_portcullis/admins; satisfy any; allow 127.0.0.1; proxy_pass http://{application}; }
    location /off { auth_request off; proxy_pass http://{application}; location /off/below { proxy_pass http://{application}; } }
}
";

async fn stage() -> Stage {
    let stage = Plan::new().site(SITE).start().await;
    for folder in ["pages", "tried", "kept"] {
        let folder = stage.nginx.folder.join("www").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("page.html"), "a page").unwrap();
    }
    stage
}

async fn ask(stage: &Stage, host: &str, target: &str, cookie: &str) -> Answer {
    let line = Line { method: "GET", target: target.as_bytes(), host, cookie, more: "" };
    Wire::to(stage.nginx.other).ask(line).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_path_nginx_turns_to_is_asked_about_by_its_own_locations_policy() {
    let stage = stage().await;
    let (alice, bob) = (stage.cookie_of("alice").await, stage.cookie_of("bob").await);
    let check = async |target: &str, bobs: (u16, &str)| {
        assert_eq!(ask(&stage, APP, target, &bob).await.verdict(), bobs, "{target} as bob");
        assert_eq!(ask(&stage, APP, target, &alice).await.verdict(), (200, ""), "{target} as alice");
    };
    let denied = (403, "policy_denied");
    check("/tried/page.html", (200, "")).await;
    check("/outer", (200, "")).await;
    check("/outer/heir", (200, "")).await;
    for target in [
        "/pages/",
        "/pages/page.html",
        "/tried/no/such/page",
        "/rewritten",
        "/set",
        "/outer/inner",
        "/outer/x/../inner",
        "/outer/x.secret",
        "/outer/heir/../inner/x",
        "/forgotten",
    ] {
        check(target, denied).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_target_names_the_host_and_its_path_the_location() {
    let stage = stage().await;
    let bob = stage.cookie_of("bob").await;
    let check = async |host: &str, target: &str, expected: (u16, &str)| {
        assert_eq!(ask(&stage, host, target, &bob).await.verdict(), expected, "{host} {target}");
    };
    check("evil.example", "http://app.test/outer", (200, "")).await;
    check("evil.example", "http://app.test/outer/inner", (403, "policy_denied")).await;
    check("evil.example", "http://APP.test:99/outer/x/..//inner", (403, "policy_denied")).await;
    check(APP, "http://evil.example/outer", (403, "host_unknown")).await;
}

/// A server that lets everybody into /public and refuses what `docs/matching.md` says it should.
const MENDED: &str = r"
server {
    listen 127.0.0.1:{other};
    server_name app.test;
    {mend}
    include portcullis/snippets/portcullis-server.conf;
    auth_request /_portcullis/admins;
    include portcullis/snippets/portcullis-protect.conf;
    location / { proxy_pass http://{application}; }
    location /public/ { auth_request off; proxy_pass http://{application}; }
}
";

#[tokio::test(flavor = "multi_thread")]
async fn the_mend_for_applications_that_read_paths_in_their_own_way_works() {
    let document = include_str!("../../docs/matching.md");
    let mend = document.lines().find(|line| line.trim_start().starts_with("if ($request_uri")).unwrap();
    let stage = Plan::new().site(&MENDED.replace("{mend}", mend)).start().await;
    for target in ["/public/x?a=;b%2f", "/public/a%20b,c.d"] {
        assert_eq!(ask(&stage, APP, target, "a=b").await.status, 200, "{target}");
    }
    stage.upstream.forget();
    for target in [
        "/public/..;/admin",
        "/public/..%3b/admin",
        "/public/..%5cadmin",
        "/public/\\..\\admin",
        "/public/%252e%252e/admin",
    ] {
        assert_eq!(ask(&stage, APP, target, "a=b").await.status, 403, "{target}");
    }
    assert!(stage.upstream.requests().is_empty(), "the application was asked");
}

/// Nothing here is as it should be; it is as `nginx/site.conf` and `docs/THREATS.md` say that it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_leaves_unprotected_is_what_the_documents_name() {
    let stage = stage().await;
    for (target, status, directive) in [
        ("/returned", 200, "return"),
        ("/redirected", 302, "rewrite … redirect"),
        ("/satisfied", 200, "satisfy any"),
        ("/off", 200, "auth_request off"),
        ("/off/below", 200, "auth_request off"),
    ] {
        assert_eq!(ask(&stage, APP, target, "a=b").await.status, status, "{target}");
        for document in [include_str!("../../nginx/site.conf"), include_str!("../../docs/THREATS.md")] {
            assert!(document.contains(&format!("`{directive}")), "{directive} is not named");
        }
    }
}
