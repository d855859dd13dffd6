//! Applications that ask the gateway themselves, with the cookie of the visitor they serve.

use crate::support::{
    APP, Plan, Stage, free_port,
    wire::{Answer, Line, Wire},
};

/// Under `/asks` the application is given the session, under `/told` it is not.
const SITE: &str = r"
server {
    listen 127.0.0.1:{other};
    server_name app.test;
    include portcullis/snippets/portcullis-server.conf;
    auth_request /_portcullis/staff;
    include portcullis/snippets/portcullis-protect.conf;
    location /told {
        include portcullis/snippets/portcullis-identity.conf;
        proxy_pass http://{application};
    }
    location /asks {
        include portcullis/snippets/portcullis-identity-with-session.conf;
        proxy_pass http://{application};
    }
    location /asks/open {
        auth_request off;
        include portcullis/snippets/portcullis-identity-with-session.conf;
        proxy_pass http://{application};
    }
}
";

/// Names that the snippets overwrite or take away.
const FORGED: &str = "X-Auth-Request-User: mallory\r\nx-auth-request-GROUPS: admins\r\nX-Auth-Request-Email: m@evil.test\r\n\
                      Authorization: Bearer x\r\nRemote-User: mallory\r\nX-Forwarded-Access-Token: x\r\n\
                      X-Portcullis-Client-Address: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\n";

struct Scene {
    stage: Stage,
    /// The gateway's listener for the application.
    listener: u16,
}

impl Scene {
    async fn new() -> Self {
        let listener = free_port();
        let plan = Plan::new()
            .set("LISTENER__APPLICATION__ADDRESS", format!("127.0.0.1:{listener}"))
            .set("PROVIDER__MAIN__OFFLINE_ACCESS", "true")
            .site(SITE);
        Self { stage: plan.start().await, listener }
    }

    /// The cookies that the application gets with a request to that location.
    async fn cookies_at_application(&self, target: &str, cookies: &str) -> String {
        self.stage.upstream.forget();
        let line = Line { method: "GET", target: target.as_bytes(), host: APP, cookie: cookies, more: FORGED };
        let answer = Wire::to(self.stage.nginx.other).ask(line).await;
        assert_eq!(answer.verdict(), (200, ""), "{target}");
        let request = self.stage.upstream.requests().pop().unwrap();
        request.headers.get("cookie").map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    /// All values of a header that the application got last.
    fn header_at_application(&self, name: &str) -> Vec<String> {
        let request = self.stage.upstream.requests().pop().unwrap();
        request.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    /// What the gateway answers to the application.
    async fn ask_gateway(&self, method: &str, target: &str, cookies: &str) -> Answer {
        let more = "Content-Length: 0\r\n";
        Wire::to(self.listener).ask(Line { method, target: target.as_bytes(), host: APP, cookie: cookies, more }).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_given_the_session_can_ask_about_it_and_no_other_can() {
    let scene = Scene::new().await;
    let session = scene.stage.cookie_of("alice").await;
    let theirs = "theirs=1; more=a b";
    let sent = format!("theirs=1; {session}; more=a b");

    let given = scene.cookies_at_application("/asks", &sent).await;
    assert_eq!(given, sent, "all of them, as they came");
    assert_eq!(scene.ask_gateway("GET", "/auth/check", &given).await.status, 200);
    assert_eq!(scene.ask_gateway("POST", "/auth/check", &given).await.status, 200);
    assert_eq!(scene.ask_gateway("POST", "/auth/refresh", &given).await.status, 200);
    let info = scene.ask_gateway("GET", "/auth/userinfo", &given).await;
    let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
    assert_eq!(info["user"], "subject-of-alice");

    let told = scene.cookies_at_application("/told", &sent).await;
    assert_eq!(told.replace("; ", ";"), theirs.replace("; ", ";"), "without the session's");
    for (method, target) in [("GET", "/auth/check"), ("POST", "/auth/refresh"), ("GET", "/auth/userinfo")] {
        let answer = scene.ask_gateway(method, target, &told).await;
        assert_eq!(answer.verdict(), (401, "no_session"), "{method} {target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_given_the_session_still_hears_of_identity_from_the_gateway_alone() {
    let scene = Scene::new().await;
    let session = scene.stage.cookie_of("alice").await;
    let check = |name: &str, expected: &[&str]| assert_eq!(scene.header_at_application(name), expected, "{name}");
    scene.cookies_at_application("/asks", &session).await;
    check("x-auth-request-user", &["subject-of-alice"]);
    check("x-auth-request-groups", &["staff,admins"]);
    check("x-auth-request-email", &["alice@example.com"]);
    check("x-forwarded-for", &["127.0.0.1"]);
    for gone in ["authorization", "remote-user", "x-forwarded-access-token", "x-portcullis-client-address"] {
        check(gone, &[]);
    }
    scene.cookies_at_application("/asks/open", &session).await;
    for gone in ["x-auth-request-user", "x-auth-request-groups", "x-auth-request-email", "authorization"] {
        check(gone, &[]);
    }
}
