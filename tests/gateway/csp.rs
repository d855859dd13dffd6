//! What browsers report against our pages, and what becomes of it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    cross_site::OTHER_PAGES,
    support::{Plan, Reply, Stage, Visitor, browser::Browser, eventually},
};

const REPORT_URI: &str = "application/csp-report";
const REPORT_TO: &str = "application/reports+json";

async fn send(visitor: &Visitor, media_type: &str, body: impl Into<reqwest::Body>, more: &[(&str, &str)]) -> Reply {
    let url = visitor.url("/auth/csp-report");
    let mut request = visitor.client.post(url.clone()).header("content-type", media_type).body(body);
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, url, body: response.text().await.unwrap() }
}

fn report(page: &str, directive: &str) -> Value {
    let violation = json!({"document-uri": page, "effective-directive": directive, "blocked-uri": "inline"});
    json!({"csp-report": violation})
}

async fn counted(stage: &Stage, directive: &str, disposition: &str) -> f64 {
    let series = format!(r#"portcullis_csp_reports_total{{directive="{directive}",disposition="{disposition}"}}"#);
    stage.metric(&series).await
}

/// The series there are, whatever they count.
async fn all_counted(stage: &Stage) -> Vec<String> {
    let text = stage.metrics().await;
    text.lines().filter(|line| line.starts_with("portcullis_csp_reports_total")).map(str::to_owned).collect()
}

/// Gives the page shown a style sheet that its policy does not know.
async fn break_the_policy(browser: &Browser) {
    browser
        .script(
            "const style = document.createElement('style');
             style.textContent = 'h1 { color: rgb(1, 2, 3) }';
             document.head.append(style)",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_visit_breaks_no_policy_and_what_breaks_one_is_reported() {
    for (report_only, disposition) in [("true", "report"), ("false", "enforce")] {
        let stage = Plan::new().set("PAGES__CSP_REPORT_ONLY", report_only).site(OTHER_PAGES).start().await;
        let browser = Browser::open(&stage).await;
        browser.visit("/deep/link?a=b").await;
        browser.sign_in("alice", "/deep/link?a=b").await;
        for path in ["/auth/nowhere", "/auth/callback?state=x&code=y"] {
            browser.visit(path).await;
            browser.shows("h1").await;
        }
        browser.visit_host("elsewhere.test").await;
        browser.follow_link_to("/auth/logout").await;
        browser.arrives("/auth/logout").await;
        browser.press("form button").await;
        browser.arrives("/auth/signed-out").await;
        browser.visit("/admin").await;
        browser.press("#login-bob").await;
        browser.arrives("/admin").await;
        assert_eq!(browser.status().await, 403);
        browser.visit("/auth/callback?state=x&code=y").await;
        browser.shows("h1").await;
        break_the_policy(&browser).await;
        let shown = browser.script("return getComputedStyle(document.querySelector('h1')).color").await;
        assert_eq!(shown == "rgb(1, 2, 3)", report_only == "true", "{shown}");
        let arrived = async || counted(&stage, "style-src-elem", disposition).await > 0.5;
        eventually("the violation is reported", arrived).await;
        let series =
            format!(r#"portcullis_csp_reports_total{{directive="style-src-elem",disposition="{disposition}"}} 1"#);
        assert_eq!(all_counted(&stage).await, [series], "and nothing else was");
        browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_in_both_forms_are_counted() {
    let stage = Stage::usual().await;
    let page = stage.url("/auth/callback?code=x");
    let browser = Visitor::new(&stage);
    let ways: [&[(&str, &str)]; 4] = [
        &[],
        &[("sec-fetch-site", "same-origin")],
        &[("origin", "null"), ("sec-fetch-site", "same-origin")],
        &[("origin", "null")],
    ];
    for headers in ways {
        let reply = send(&browser, REPORT_URI, report(&page, "img-src").to_string(), headers).await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{headers:?}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert!((counted(&stage, "img-src", "unknown").await - 4.0).abs() < f64::EPSILON);
    let violation = |directive: &str| {
        json!({"type": "csp-violation", "body": {
            "documentURL": page, "effectiveDirective": directive, "blockedURL": "inline", "disposition": "enforce",
        }})
    };
    let body = json!([violation("script-src"), violation("made-up"), {"type": "deprecation", "body": {}}]);
    assert_eq!(send(&browser, REPORT_TO, body.to_string(), &[]).await.status, 204);
    assert!((counted(&stage, "script-src", "enforce").await - 1.0).abs() < f64::EPSILON);
    assert!((counted(&stage, "other", "enforce").await - 1.0).abs() < f64::EPSILON);
    let elsewhere = report("https://evil.example/", "script-src").to_string();
    assert_eq!(send(&browser, REPORT_URI, elsewhere, &[]).await.status, 204);
    assert_eq!(all_counted(&stage).await.len(), 3, "a report about somebody else's page counts for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_report_of_a_page_of_ours_is_refused() {
    let stage = Plan::new().set("SERVER__BODY_BYTES", "2048").start().await;
    let browser = Visitor::new(&stage);
    let good = report(&stage.url("/auth/login"), "img-src").to_string();
    for media_type in ["text/plain", "application/json", "application/x-www-form-urlencoded", REPORT_TO] {
        let refused = send(&browser, media_type, good.clone(), &[]).await;
        assert_eq!(refused.refusal(), (400, "report_malformed"), "{media_type}");
    }
    for body in ["", "[]", "{\"csp-report\":1}", "\u{0}"] {
        assert_eq!(send(&browser, REPORT_URI, body, &[]).await.refusal(), (400, "report_malformed"), "{body:?}");
    }
    for foreign in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")]
    {
        assert_eq!(send(&browser, REPORT_URI, good.clone(), &[foreign]).await.refusal(), (403, "cross_site"));
    }
    let long = format!("{good}{}", " ".repeat(3_000));
    assert_eq!(send(&browser, REPORT_URI, long, &[]).await.refusal(), (413, "body_too_large"));
    let longer = format!("{good}{}", " ".repeat(30_000));
    assert_eq!(send(&browser, REPORT_URI, longer, &[]).await.status, 413, "that is nginx");
    assert_eq!(browser.ask(Method::GET, "/auth/csp-report", &[]).await.refusal(), (405, "method_not_allowed"));
    assert_eq!(all_counted(&stage).await, [] as [&str; 0]);
    assert_eq!(send(&browser, REPORT_URI, good, &[]).await.status, 204, "and the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_reports_asks_for_none_and_takes_none() {
    for (setting, asked) in [("true", true), ("false", false)] {
        let stage = Plan::new().set("PAGES__CSP_REPORTS", setting).start().await;
        let browser = Visitor::new(&stage);
        let page = browser.get("/auth/signed-out").await;
        let policy = page.header("content-security-policy");
        assert_eq!(policy.contains("report-uri /auth/csp-report; report-to csp"), asked, "{policy}");
        assert_eq!(page.header("reporting-endpoints"), if asked { "csp=\"/auth/csp-report\"" } else { "" });
        let sent = send(&browser, REPORT_URI, report(page.url.as_str(), "img-src").to_string(), &[]).await;
        assert_eq!(sent.status, if asked { 204 } else { 404 });
        assert_eq!(all_counted(&stage).await.len(), usize::from(asked));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_flood_of_reports_all_are_counted_and_few_are_written_down() {
    let stage = Plan::new().without_gateway().start().await;
    let gateway = stage.start_program("gateway").await;
    let visitor = Visitor::new(&stage);
    let one = json!({"type": "csp-violation", "body": {
        "documentURL": stage.url("/auth/callback?code=m4rker"), "effectiveDirective": "img-src",
        "blockedURL": "https://cdn.example/m4rker?m4rker", "sample": "m4rker", "disposition": "enforce",
    }});
    let body = Value::from(vec![one; 20]).to_string();
    for _ in 0..10 {
        assert_eq!(send(&visitor, REPORT_TO, body.clone(), &[]).await.status, 204);
    }
    let counted = counted(&stage, "img-src", "enforce").await;
    assert!((counted - 200.0).abs() < f64::EPSILON, "{counted}");
    let (_, said) = gateway.end().await;
    let lines: Vec<_> = said.lines().filter(|line| line.contains("content security policy broken")).collect();
    assert!((30..=60).contains(&lines.len()), "30 a minute: {}", lines.len());
    for part in [r#""directive":"img-src""#, r#""page":"callback""#, r#""blocked":"https://cdn.example""#] {
        assert!(lines[0].contains(part), "{}", lines[0]);
    }
    assert!(!said.contains("m4rker"), "no path, no query, no sample");
}
