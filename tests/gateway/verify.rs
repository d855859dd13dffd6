//! May this request pass? Asked through real nginx with the shipped files.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use reqwest::Method;

use crate::support::{APP, Plan, Reply, Stage, Visitor, visitor::USER_AGENT};

/// The headers that a client might hope to be believed by.
pub(crate) const FORGED: &[(&str, &str)] = &[
    ("X-Auth-Request-User", "mallory"),
    ("x-auth-request-email", "mallory@example.com"),
    ("X-AUTH-REQUEST-GROUPS", "admins"),
    ("X_Auth_Request_User", "mallory"),
    ("X-Auth-Request-Extra", "mallory"),
    ("X-Portcullis-Host", "evil.example"),
    ("X-Portcullis-Exposure", "internal"),
    ("X-Portcullis-Client-Address", "203.0.113.9"),
    ("X-Forwarded-User", "mallory"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-SSL-Client-Verify", "SUCCESS"),
    ("Remote-User", "mallory"),
    ("Authorization", "Bearer forged"),
];

pub(crate) fn upstream_identity(stage: &Stage) -> Vec<(String, String)> {
    let requests = stage.upstream.requests();
    let headers = &requests.last().unwrap().headers;
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-auth-request-"))
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_user_arrives_at_the_application_under_the_gateways_headers_alone() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let reply = alice.ask(Method::GET, "/page?x=1", FORGED).await;
    assert_eq!(reply.status, 200);
    let mut identity = upstream_identity(&stage);
    identity.retain(|(name, _)| name != "x-auth-request-extra");
    identity.sort();
    let expected = [
        ("x-auth-request-email", "alice@example.com"),
        ("x-auth-request-groups", "staff,admins"),
        ("x-auth-request-method", "oidc"),
        ("x-auth-request-name", "Alice Adams"),
        ("x-auth-request-preferred-username", "alice"),
        ("x-auth-request-user", "subject-of-alice"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(identity, expected);
    let request = stage.upstream.requests().pop().unwrap();
    for gone in [
        "x-portcullis-host",
        "x-portcullis-exposure",
        "authorization",
        "remote-user",
        "x-forwarded-user",
        "x-ssl-client-verify",
        "x_auth_request_user",
    ] {
        assert!(!request.headers.contains_key(gone), "{gone} reached the application");
    }
    assert_eq!(request.headers["x-forwarded-for"], "127.0.0.1");
    let cookies = request.headers.get("cookie").map_or("", |value| value.to_str().unwrap());
    assert!(!cookies.contains("portcullis"), "the session cookie reached the application");
}

/// The shipped files do not know the claims of the settings; an operator who forgets the lines for them is not the
/// one to pay for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_header_that_a_client_made_up_gets_nowhere_even_where_nginx_does_not_clear_it() {
    let claims = r#"{ X-Auth-Request-Roles = "https://example.com/roles" }"#;
    let stage = Plan::new().set("IDENTITY__CLAIMS", claims).start().await;
    let alice = stage.signed_in("alice").await;
    let reply = alice.ask(Method::GET, "/api/whoami", &[("X-Auth-Request-ROLES", "root")]).await;
    assert_eq!(reply.refusal(), (403, "identity_forged"));
    assert_eq!(alice.fetch(Method::GET, "/api/whoami").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_location_passes_nothing_on_that_a_client_made_up() {
    let stage = Stage::usual().await;
    let stranger = Visitor::new(&stage);
    for method in [Method::GET, Method::OPTIONS] {
        let mut headers = FORGED.to_vec();
        headers.push(("Connection", "X-Auth-Request-User"));
        let reply = stranger.ask(method, "/public/x", &headers).await;
        assert_eq!(reply.status, 200);
        let identity = upstream_identity(&stage);
        let left: Vec<_> = identity.iter().filter(|(name, _)| name != "x-auth-request-extra").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_header_does_not_take_the_gateways_own_header_away() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let reply = alice.ask(Method::GET, "/", &[("Connection", "close, X-Auth-Request-User, X-Portcullis-Host")]).await;
    assert_eq!(reply.status, 200);
    assert!(upstream_identity(&stage).contains(&("x-auth-request-user".into(), "subject-of-alice".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_byte_of_the_application_before_sign_in() {
    let stage = Stage::usual().await;
    let stranger = Visitor::new(&stage);
    let websocket = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let refused = |reply: Reply, what: &str| {
        assert_eq!(reply.refusal(), (401, "no_session"), "{what}");
        assert_eq!(reply.json()["error"], "authentication_required", "{what}: the gateway's own words, and no others");
        assert_eq!(reply.json().as_object().unwrap().len(), 3, "{what}");
        for name in ["content-range", "etag", "last-modified", "x-powered-by", "upgrade"] {
            assert!(!reply.headers.contains_key(name), "{what}: {name}");
        }
    };
    let page = stranger.get("/").await;
    assert_eq!((page.status, page.body.as_str()), (302, ""));
    refused(stranger.fetch(Method::GET, "/api/whoami").await, "a script");
    refused(stranger.fetch(Method::POST, "/api/x").await, "a script that posts");
    for path in ["/", "/docs/", "/docs/index.html", "/sample-upstream.js"] {
        refused(stranger.ask(Method::GET, path, &[("Range", "bytes=0-3")]).await, path);
        refused(stranger.ask(Method::GET, path, &[("If-None-Match", "*")]).await, path);
    }
    refused(stranger.ask(Method::GET, "/ws", &websocket).await, "a WebSocket");
    let form = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    refused(stranger.ask(Method::POST, "/", &form).await, "a form");
    let head = stranger.ask(Method::HEAD, "/", &[]).await;
    assert_eq!((head.refusal(), head.body.as_str()), ((401, "no_session"), ""));
    let upload = stranger.client.post(stranger.url("/api/upload")).body(vec![b'x'; 3_000_000]).send().await;
    assert_eq!(upload.unwrap().status(), 401);
    let chunked = "POST /api/upload HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answer = crate::support::nginx::raw(&stage, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(stage.upstream.requests().is_empty(), "the application was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_of_a_signed_in_user_passes() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let upload = alice.client.post(alice.url("/api/upload")).body(vec![b'x'; 3_000_000]).send().await.unwrap();
    assert_eq!(upload.status(), 200);
    assert_eq!(stage.upstream.requests().pop().unwrap().headers["content-length"], "3000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_told_in_json_what_it_must_do() {
    let stage = Stage::usual().await;
    let reply = Visitor::new(&stage).fetch(Method::GET, "/api/whoami").await;
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"portcullis\"");
    assert_eq!(reply.header("content-type"), "application/json");
    let body = reply.json();
    assert_eq!(body["error"], "authentication_required");
    assert_eq!(body["request_id"], reply.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_by_policy_stays_signed_in_and_is_not_sent_round() {
    let stage = Stage::usual().await;
    let bob = stage.signed_in("bob").await;
    let session = bob.session();
    let refused = bob.get("/admin").await;
    assert_eq!(refused.refusal(), (403, "policy_denied"));
    assert!(refused.body.contains("bob@example.com"), "the page says who is signed in");
    assert!(refused.header("location").is_empty());
    assert_eq!(bob.fetch(Method::GET, "/admin").await.json()["error"], "forbidden");
    assert_eq!(bob.session(), session);
    assert_eq!(bob.get("/").await.status, 200);
    assert_eq!(stage.signed_in("alice").await.get("/admin").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_about_a_request_but_its_session_opens_the_gate() {
    let stage = Stage::usual().await;
    let stranger = Visitor::new(&stage);
    let agents = ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "curl/8", ""];
    for agent in agents {
        let reply = stranger.ask(Method::GET, "/", &[("User-Agent", agent)]).await;
        assert_eq!(reply.refusal(), (401, "no_session"), "{agent}");
    }
    for method in [Method::OPTIONS, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE] {
        let status = stranger.ask(method.clone(), "/", &[]).await.status;
        assert!(matches!(status, 401 | 405), "{method} {status}");
    }
    for path in ["/healthz", "/ping", "/robots.txt", "/favicon.ico", "/authx", "/.well-known/x", "/publicity"] {
        let reply = stranger.ask(Method::GET, path, &[]).await;
        assert_eq!(reply.refusal(), (401, "no_session"), "{path}");
    }
    assert!(stage.upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nginxs_alone_cannot_be_reached_from_outside() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    for path in [
        "/auth/verify?policy=staff",
        "/auth/verify",
        "/auth/challenge",
        "/auth/deny",
        "/_portcullis/staff",
        "/_portcullis_challenge",
        "/auth//verify?policy=staff",
        "/auth/%76erify?policy=staff",
        "/auth/./verify?policy=staff",
        "/auth/x/../verify?policy=staff",
        "/auth/verify/",
        "/_portcullis_pages/try-again.html",
    ] {
        let reply = alice.ask(Method::GET, path, &[("X-Portcullis-Exposure", "internal")]).await;
        assert!(matches!(reply.status, 404), "{path} {reply:?}");
        assert!(!reply.headers.contains_key("x-auth-request-user"), "{path}");
    }
}

/// A site whose locations ask for policies in every wrong way.
pub(crate) const ODD_SITE: &str = r"
server {
    listen 127.0.0.1:{other} ssl;
    server_name app.test;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    set $portcullis_policy staff;
    include portcullis/snippets/portcullis-server.conf;
    location ^~ /prefix { auth_request /_portcullis/admins; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location ~ ^/regex { auth_request /_portcullis/admins; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /outer {
        auth_request /_portcullis/staff; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application};
        location /outer/inner { auth_request /_portcullis/admins; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    }
    location /empty { auth_request /_portcullis/; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /unknown { auth_request /_portcullis/nosuch; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /slash { auth_request /_portcullis/staff/; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /two { auth_request /_portcullis/staff&policy=staff; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /case { auth_request /_portcullis/Staff; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /fresh { auth_request /_portcullis/fresh; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /editors { auth_request /_portcullis/editors; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location /realm { auth_request /_portcullis/realm-admins; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
    location / { auth_request /_portcullis/staff; include portcullis/snippets/portcullis-protect.conf; proxy_pass http://{application}; }
}
";

/// Asks the odd site, which has the usual one's host and so gets its cookie.
async fn ask_odd(stage: &Stage, visitor: &Visitor, path: &str) -> Reply {
    let url = format!("https://{APP}:{}{path}", stage.nginx.other).parse().unwrap();
    visitor.send(Method::GET, &url, &[]).await
}

async fn odd_stage() -> Stage {
    Plan::new().site(ODD_SITE).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_the_locations_own_whatever_nginx_does_on_the_way() {
    let stage = odd_stage().await;
    let bob = stage.signed_in("bob").await;
    let check = async |path: &str, expected: (u16, &str)| {
        let reply = ask_odd(&stage, &bob, path).await;
        assert_eq!(reply.refusal(), expected, "{path}");
    };
    check("/", (200, "")).await;
    check("/prefix", (403, "policy_denied")).await;
    check("/regex", (403, "policy_denied")).await;
    check("/outer", (200, "")).await;
    check("/outer/inner", (403, "policy_denied")).await;
    check("/x/../prefix", (403, "policy_denied")).await;
    check("/%70refix", (403, "policy_denied")).await;
    check("//prefix", (403, "policy_denied")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_exactly_named_lets_nobody_in() {
    let stage = odd_stage().await;
    let alice = stage.signed_in("alice").await;
    let check = async |path: &str, reason: &str| {
        let reply = ask_odd(&stage, &alice, path).await;
        assert_eq!(reply.refusal(), (403, reason), "{path}");
    };
    check("/empty", "policy_malformed").await;
    check("/unknown", "policy_unknown").await;
    check("/slash", "policy_malformed").await;
    check("/two", "policy_malformed").await;
    check("/case", "policy_unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_the_age_of_the_sign_in_decide() {
    let stage = odd_stage().await;
    let alice = stage.signed_in("alice").await;
    let bob = stage.signed_in("bob").await;
    assert_eq!(ask_odd(&stage, &alice, "/editors").await.status, 200);
    assert_eq!(ask_odd(&stage, &bob, "/editors").await.refusal(), (403, "policy_denied"));
    assert_eq!(ask_odd(&stage, &alice, "/realm").await.status, 200);
    assert_eq!(ask_odd(&stage, &bob, "/realm").await.refusal(), (403, "policy_denied"));
    assert_eq!(ask_odd(&stage, &alice, "/fresh").await.status, 200);
    stage.advance(std::time::Duration::from_secs(301));
    assert_eq!(ask_odd(&stage, &alice, "/fresh").await.refusal(), (403, "policy_denied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_nginx_asks_for_twice_work_and_change_nothing() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    for path in ["/docs/", "/docs/no/such/page"] {
        let reply = alice.get(path).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "<h1>the manual</h1>"), "{path}");
        assert!(!reply.headers.contains_key("set-cookie"));
    }
    assert_eq!(Visitor::new(&stage).get("/docs/").await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginxs_own_host_counts_not_the_one_in_an_absolute_target() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let request = format!(
        "GET https://{APP}/x HTTP/1.1\r\nHost: evil.example\r\nCookie: __Host-portcullis={}\r\nUser-Agent: {}\r\nConnection: close\r\n\r\n",
        alice.session().unwrap(),
        USER_AGENT,
    );
    let answer = crate::support::nginx::raw(&stage, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let request = format!("GET https://evil.example/x HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n\r\n");
    let answer = crate::support::nginx::raw(&stage, request.as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_nobodys_site() {
    let site = ODD_SITE.replace("app.test", "stranger.test").replace("{other}", "{port}");
    let stage = Plan::new().site(&site).start().await;
    let alice = stage.signed_in("alice").await;
    let url = stage.url("/").parse().unwrap();
    let cookie = format!("__Host-portcullis={}", alice.session().unwrap());
    let reply = alice
        .send(Method::GET, &url, &[("Host", &format!("stranger.test:{}", stage.nginx.https)), ("Cookie", &cookie)])
        .await;
    assert_eq!(reply.refusal(), (403, "host_unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_our_name_that_are_not_ours_neither_open_nor_shadow() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let good = format!("__Host-portcullis={}", alice.session().unwrap());
    let made_up = format!("__Host-portcullis={}", "A".repeat(60));
    let stranger = Visitor::new(&stage);
    let ask = async |cookies: &[&str]| {
        let headers: Vec<_> = cookies.iter().map(|cookie| ("Cookie", *cookie)).collect();
        let reply = stranger.ask(Method::GET, "/", &headers).await;
        (reply.status, reply.header("x-portcullis-reason").to_owned())
    };
    assert_eq!(ask(&[&made_up]).await, (401, "session_malformed".into()));
    assert_eq!(ask(&[&format!("{made_up}; {good}")]).await.0, 200);
    assert_eq!(ask(&[&format!("{good}; {made_up}")]).await.0, 200);
    assert_eq!(ask(&[&format!("{}{good}", format!("{made_up}; ").repeat(90))]).await.0, 200);
    for odd in
        ["__Host-portcullis=", "__Host-portcullis", "=", ";", "a=1; ; b=2", "__Host-portcullis=%s%n%x", "portcullis=1"]
    {
        assert_eq!(ask(&[odd]).await.0, 401, "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_in_bytes_that_are_no_text_hides_no_other() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let cookie = format!("__Host-portcullis={}", alice.session().unwrap());
    for stranger in ["name=Zo\u{eb}".as_bytes(), b"name=\xff\xfe", b"\xe4=1"] {
        let head =
            format!("GET / HTTP/1.1\r\nHost: {APP}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\nCookie: ");
        let request = [head.as_bytes(), stranger, b"; ", cookie.as_bytes(), b"\r\n\r\n"].concat();
        let answer = crate::support::nginx::raw(&stage, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{stranger:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_cookie_asks_nothing_of_the_store() {
    let stage = Plan::new().with_redis().start().await;
    let made_up = format!("__Host-portcullis={}", "A".repeat(60));
    let before = stage.metric(r#"portcullis_store_operations_total{operation="facts",result="ok"}"#).await;
    let reply = Visitor::new(&stage).ask(Method::GET, "/", &[("Cookie", &made_up)]).await;
    assert_eq!(reply.refusal(), (401, "session_malformed"));
    let after = stage.metric(r#"portcullis_store_operations_total{operation="facts",result="ok"}"#).await;
    assert_eq!(before.to_bits(), after.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_session_does_not_work_in_another_browser() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let thief = Visitor::calling_themselves(&stage, "Thief/1.0");
    thief.plant(&format!("__Host-portcullis={}", alice.session().unwrap()));
    let reply = thief.ask(Method::GET, "/", &[]).await;
    assert_eq!(reply.refusal(), (401, "binding_user_agent"));
    assert_eq!(alice.get("/").await.status, 200, "the session itself goes on");
    let violations = stage.metric(r#"oauth2_session_binding_violations_total{kind="user_agent"}"#).await;
    assert!(violations >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_that_cannot_be_written_plainly_is_encoded() {
    let plan = Plan::new().provider(|provider| {
        let mut person = dev_idp::Person::new("zoe", "O'Hara\u{e9}").in_groups(&["staff", "a,b"]);
        person.given_name = "Zo\u{eb}\r\nX-Auth-Request-User: root".into();
        provider.people.push(person);
    });
    let stage = plan.start().await;
    stage.signed_in("zoe").await;
    let identity = upstream_identity(&stage);
    let header = |wanted: &str| identity.iter().find(|(name, _)| name == wanted).unwrap().1.clone();
    assert_eq!(header("x-auth-request-user"), "subject-of-zoe");
    assert!(header("x-auth-request-name").starts_with("Zo%C3%AB%0D%0AX-Auth-Request-User: root"));
    assert_eq!(header("x-auth-request-groups"), "staff,a%2Cb");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_token_goes_to_the_application_only_where_the_settings_say_so() {
    let stage = Plan::new().set("IDENTITY__ACCESS_TOKEN", "true").start().await;
    stage.signed_in("alice").await;
    assert!(
        upstream_identity(&stage)
            .iter()
            .any(|(name, value)| name == "x-auth-request-access-token" && !value.is_empty())
    );
}

/// Whatever a client sends, only a session and a rule open the gate: any headers and cookies at all.
#[tokio::test(flavor = "multi_thread")]
async fn no_headers_or_cookies_open_the_gate_without_a_session() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let session = alice.session().unwrap();
    let names = prop::sample::select(vec![
        "Cookie",
        "Authorization",
        "X-Auth-Request-User",
        "X-Portcullis-Uri",
        "X-Portcullis-Exposure",
        "X-Original-URL",
        "X_Portcullis_Host",
        "User-Agent",
        "Accept",
        "Sec-Fetch-Mode",
        "X-Requested-With",
        "Upgrade",
        "X-Forwarded-Host",
    ]);
    let cookie = prop::sample::select(vec![
        session[..session.len() - 1].to_owned(),
        session.to_uppercase(),
        format!("{session}A"),
        session.chars().rev().collect(),
        String::new(),
    ])
    .prop_map(|value| format!("__Host-portcullis={value}"));
    let value = prop_oneof![cookie, "[ -~\u{80}-\u{ff}]{0,80}", Just("x".repeat(7_000)), Just("internal".to_owned())];
    let requests = prop::collection::vec((names, value), 0..6);
    let mut runner = TestRunner::new(ProptestConfig { cases: 150, ..ProptestConfig::default() });
    for _ in 0..150 {
        let headers = requests.new_tree(&mut runner).unwrap().current();
        let mut request = format!("GET / HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n").into_bytes();
        for (name, value) in &headers {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend(value.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')));
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let answer = crate::support::nginx::raw(&stage, &request).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{headers:?}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 "), "{headers:?}: {answer:?}");
    }
    assert_eq!(alice.get("/").await.status, 200);
}
