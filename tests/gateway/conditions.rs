//! Each condition of a policy, through a real provider and real nginx, with somebody whom it must refuse.

use std::time::Duration;

use dev_idp::Person;

use crate::support::{
    APP, Plan, Stage,
    wire::{Answer, Line, Wire},
};

/// A policy with one condition for each location.
const SITE: &str = r"
server {
    listen 127.0.0.1:{other};
    server_name app.test;
    include portcullis/snippets/portcullis-server.conf;
    include portcullis/snippets/portcullis-protect.conf;
    location /groups { auth_request /_portcullis/by_groups; proxy_pass http://{application}; }
    location /emails { auth_request /_portcullis/by_emails; proxy_pass http://{application}; }
    location /email_domains { auth_request /_portcullis/by_email_domains; proxy_pass http://{application}; }
    location /email_verified { auth_request /_portcullis/by_email_verified; proxy_pass http://{application}; }
    location /claims { auth_request /_portcullis/by_claims; proxy_pass http://{application}; }
    location /max_sign_in_age { auth_request /_portcullis/by_max_sign_in_age; proxy_pass http://{application}; }
    location /client_networks { auth_request /_portcullis/by_client_networks; proxy_pass http://{application}; }
    location /banned { auth_request /_portcullis/by_ban; proxy_pass http://{application}; }
    location /nowhere { auth_request /_portcullis/by_nowhere; proxy_pass http://{application}; }
}
";

fn plan() -> Plan {
    let only = |condition: &str| format!("[{{ allow = true, {condition} }}]");
    Plan::new()
        .site(SITE)
        .set("POLICY__BY_GROUPS__RULES", only("groups = ['admins']"))
        .set("POLICY__BY_EMAILS__RULES", only("emails = ['alice@example.com']"))
        .set("POLICY__BY_EMAIL_DOMAINS__RULES", only("email_domains = ['company.example']"))
        .set("POLICY__BY_EMAIL_VERIFIED__RULES", only("email_verified = true"))
        .set("POLICY__BY_CLAIMS__RULES", only("claims = [{ path = 'realm_access.roles', values = ['admin'] }]"))
        .set("POLICY__BY_MAX_SIGN_IN_AGE__RULES", only("everyone = true, max_sign_in_age = '5m'"))
        .set("POLICY__BY_CLIENT_NETWORKS__RULES", only("everyone = true, client_networks = ['127.0.0.0/8']"))
        .set("POLICY__BY_NOWHERE__RULES", only("everyone = true, client_networks = ['10.0.0.0/8', 'fd00::/8']"))
        .set(
            "POLICY__BY_BAN__RULES",
            "[{ allow = false, emails = ['carol@example.com'] }, { allow = true, everyone = true }]",
        )
}

async fn ask(stage: &Stage, target: &str, cookie: &str) -> Answer {
    let line = Line { method: "GET", target: target.as_bytes(), host: APP, cookie, more: "" };
    Wire::to(stage.nginx.other).ask(line).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_condition_lets_in_whom_it_names_and_refuses_everybody_else() {
    let stage = plan().start().await;
    let (alice, bob, carol) =
        (stage.cookie_of("alice").await, stage.cookie_of("bob").await, stage.cookie_of("carol").await);
    let check = async |condition: &str, cookie: &str, may: bool| {
        let expected = if may { (200, "") } else { (403, "policy_denied") };
        assert_eq!(ask(&stage, &format!("/{condition}"), cookie).await.verdict(), expected, "{condition}");
    };
    check("groups", &alice, true).await;
    check("groups", &bob, false).await;
    check("emails", &alice, true).await;
    check("emails", &bob, false).await;
    check("email_domains", &alice, false).await;
    check("email_verified", &alice, true).await;
    check("email_verified", &carol, false).await;
    check("claims", &alice, true).await;
    check("claims", &bob, false).await;
    check("client_networks", &bob, true).await;
    check("nowhere", &alice, false).await;
    check("banned", &alice, true).await;
    check("banned", &carol, false).await;
    check("max_sign_in_age", &alice, true).await;
    stage.advance(Duration::from_secs(301));
    check("max_sign_in_age", &alice, false).await;
    check("groups", &alice, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_only_looks_like_one_of_the_domain_gets_nobody_in() {
    let people = [
        ("right", "a@company.example", true, true),
        ("shouting", "A@COMPANY.Example", true, true),
        ("unverified", "a@company.example", false, false),
        ("two", "a@evil.example@company.example", true, false),
        ("quoted", "\"a@company.example\"@evil.example", true, false),
        ("quoted-at", "\"a@evil.example\"@company.example", true, false),
        ("below", "a@sub.company.example", true, false),
        ("beside", "a@evilcompany.example", true, false),
        ("longer", "a@company.example.evil.example", true, false),
        ("dotted", "a@company.example.", true, false),
        ("cyrillic", "a@c\u{43e}mpany.example", true, false),
        ("fullwidth", "a@company\u{ff0e}example", true, false),
        ("dotless", "a@company.ex\u{430}mple", true, false),
        ("spaced", "a@company.example ", true, false),
        ("listed", "a@evil.example,a@company.example", true, false),
        ("none", "", true, false),
    ];
    let plan = plan().provider(|provider| {
        for (login, email, email_verified, _) in people {
            let mut person = Person::new(login, "Mail");
            (person.email, person.email_verified) = (email.to_owned(), email_verified);
            provider.people.push(person);
        }
    });
    let stage = plan.start().await;
    for (login, email, _, may) in people {
        let answer = ask(&stage, "/email_domains", &stage.cookie_of(login).await).await;
        let expected = if may { (200, "") } else { (403, "policy_denied") };
        assert_eq!(answer.verdict(), expected, "{login} {email}");
    }
}
