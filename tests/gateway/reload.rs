//! Settings that change while people are visiting: taken over whole by SIGHUP, or refused whole, and nobody notices.

use std::{fs, time::Instant};

use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;

use crate::{
    runbooks,
    support::{
        Stage, Visitor,
        admin_ca::{AdminCa, Asked, Lists},
        emergency, eventually, free_port,
        replica::{Replica, stage_for},
        traffic::{Traffic, assert_unharmed},
        twin::AsNginx,
    },
};

async fn stage() -> (Stage, Replica) {
    let stage = stage_for(&["one"]).await;
    let mut replica = Replica::prepared(&stage, "one");
    replica.start().await;
    (stage, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_allow_lists_change_while_people_are_visiting() {
    let (stage, mut replica) = stage().await;
    let (alice, bob) = (stage.signed_in("alice").await, stage.signed_in("bob").await);
    let traffic = Traffic::of(&stage, 4).await;
    assert_eq!(bob.fetch(Method::GET, "/admin").await.refusal(), (403, "policy_denied"));
    let callback = Visitor::new(&stage);
    let under_way = callback.up_to_callback("alice", "/x").await;

    replica.change(|settings| settings.replace("groups = [\"admins\"]", "groups = [\"staff\"]"));
    replica.reload("done").await;
    assert_eq!(bob.fetch(Method::GET, "/admin").await.status, 200, "at once");
    assert_eq!(callback.visit(&under_way).await.status, 302, "a sign-in that was under way ends well");
    assert_eq!(callback.get("/x").await.status, 200);

    replica.change(|settings| format!("{settings}[access]\nemails = [\"alice@example.com\"]\n"));
    replica.reload("done").await;
    let refused = Visitor::new(&stage).sign_in("bob", "/").await;
    assert_eq!(refused.refusal(), (403, "access_denied"), "who may sign in is another matter now");
    assert_eq!(Visitor::new(&stage).sign_in("alice", "/").await.status, 200);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200);
    assert_unharmed(&traffic.end().await);
    assert!(replica.metric("portcullis_last_reload_successful").await > 0.5);
    assert!(replica.metric("portcullis_last_reload_success_timestamp_seconds").await > 1e9);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_used_change_nothing_and_say_why() {
    let (stage, mut replica) = stage().await;
    let bob = stage.signed_in("bob").await;
    let good = |settings: &str| settings.to_owned();
    let cases: [(&str, Change, &[&str]); 4] = [
        (
            "wrong",
            |settings| settings.replace("groups = [\"admins\"]", "grups = [\"staff\"]") + "idle_timeout = \"9d\"\n",
            &["policy.admins.rules[0].grups", "session.idle_timeout"],
        ),
        ("no settings at all", |settings| settings.replace("[policy.admins]", "[policy.admins"), &["is not TOML"]),
        (
            "half of it takes a restart",
            |settings| {
                settings.replace("groups = [\"admins\"]", "groups = [\"staff\"]")
                    + "[server]\nconnections = 7\n[log]\nfilter = \"debug\"\n"
            },
            &["server.connections: has changed, and takes a restart", "log.filter: has changed, and takes a restart"],
        ),
        (
            "a key that is none",
            |settings| settings.replace("groups = [\"admins\"]", "groups = [\"staff\"]") + "key_new = \"c2hvcnQ=\"\n",
            &["session.key_new"],
        ),
    ];
    for (number, (what, change, words)) in (1_u32..).zip(cases) {
        let before = fs::read_to_string(replica.settings_file()).unwrap();
        replica.change(change);
        replica.reload("refused").await;
        for word in words {
            assert!(replica.said().contains(word), "{what}: {word}: {}", replica.said());
        }
        assert_eq!(bob.fetch(Method::GET, "/admin").await.refusal(), (403, "policy_denied"), "{what}");
        assert_eq!(bob.fetch(Method::GET, "/").await.status, 200, "{what}");
        assert!(replica.metric("portcullis_last_reload_successful").await < 0.5, "{what}");
        assert!((replica.metric("portcullis_reloads_total{result=\"refused\"}").await - f64::from(number)).abs() < 0.1);
        replica.change(|_| before);
    }
    replica.change(good);
    replica.reload("done").await;
    assert!(replica.metric("portcullis_last_reload_successful").await > 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_by_some_of_the_old_settings_and_some_of_the_new() {
    let (stage, mut replica) = stage().await;
    let cookie = stage.cookie_of("bob").await;
    // Under the old settings the rule lets bob in and the header is none; under the new ones both are the other way.
    let asked = AsNginx::at(replica.socket());
    let old = fs::read_to_string(replica.settings_file()).unwrap();
    let new =
        old.replace("groups = [\"staff\"]", "groups = [\"nobody\"]") + "[access]\nemails = [\"nobody@example.com\"]\n";
    let began = Instant::now();
    let ask = async {
        let mut seen = std::collections::BTreeSet::new();
        while began.elapsed().as_millis() < 1_500 {
            seen.insert(asked.verify("staff", &cookie).await);
        }
        seen
    };
    let change = async {
        for text in [&new, &old, &new, &old] {
            replica.change(|_| text.clone());
            replica.reload("done").await;
        }
    };
    let (seen, ()) = tokio::join!(ask, change);
    let expected = [(200, String::new()), (403, "policy_denied".to_owned())];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_and_their_authority_change_and_the_door_stays_as_it_is() {
    let ca = AdminCa::make();
    let lists = Lists::of(&ca).await;
    let stage = runbooks::hasty(emergency::prepared(&ca, &lists)).start().await;
    let gateway = stage.start_program("gateway").await;
    let (alice, bob) = (ca.issue("alice", &Asked::named("alice")), ca.issue("bob", &Asked::named("bob")));
    runbooks::arm(&stage);
    runbooks::provider_dies(&stage).await;
    runbooks::door_is(&stage, true).await;
    eventually("alice comes in", async || runbooks::ask(&stage, &alice).await.status == 200).await;
    assert_eq!(runbooks::ask(&stage, &bob).await.refusal(), (403, "name_not_allowed"));
    let reload = async |result: &str| {
        let series = format!("portcullis_reloads_total{{result=\"{result}\"}}");
        let before = stage.counted(&series).await;
        gateway.signal("HUP");
        eventually("it reloads", async || stage.counted(&series).await > before).await;
    };
    let settings = stage.settings_file();
    let text = fs::read_to_string(&settings).unwrap();
    let bobs =
        "[fallback.administrators.bob]\ncommon_name = \"bob\"\nuser = \"bob-by-certificate\"\ngroups = [\"admins\"]\n";
    fs::write(&settings, format!("{text}{bobs}")).unwrap();
    let fetched = lists.asked("/root.crl");
    reload("done").await;
    for administrator in [&alice, &bob] {
        assert_eq!(
            runbooks::ask(&stage, administrator).await.status,
            200,
            "the door is as open as it was, and the lists known"
        );
    }
    assert_eq!(lists.asked("/root.crl"), fetched);

    fs::write(&settings, format!("{text}[fallback]\nlongest_arming = \"2h\"\n")).unwrap();
    reload("refused").await;
    assert!(gateway.said().contains("fallback.longest_arming: has changed, and takes a restart"));
    assert_eq!(runbooks::ask(&stage, &bob).await.status, 200);

    let other = AdminCa::make();
    let place = ca.path("intermediate/certificate.pem");
    fs::copy(other.path("root/certificate.pem"), ca.path("root/certificate.pem")).unwrap();
    fs::copy(other.path("intermediate/certificate.pem"), place).unwrap();
    fs::write(&settings, text).unwrap();
    reload("done").await;
    assert_eq!(runbooks::ask(&stage, &alice).await.refusal(), (403, "untrusted_chain"), "another authority");
    assert!(stage.metric("oauth2_fallback_armed").await > 0.5, "and the switches are as they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_files_are_taken_over_with_all_the_rest_or_not_at_all() {
    let (stage, mut replica) = stage().await;
    let folder = replica.folder.clone();
    let file = |name: &str| folder.join(name).display().to_string();
    let issue = |days: i64| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["portcullis.internal".to_owned()]).unwrap();
        params.not_after = params.not_before + std::time::Duration::from_secs(u64::try_from(days).unwrap() * 86_400);
        fs::write(file("tls.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(file("tls.key"), key.serialize_pem()).unwrap();
    };
    issue(30_000);
    let listener = format!(
        "[listener.far]\nkind = \"nginx\"\naddress = \"127.0.0.1:{}\"\ntls_certificate_file = {:?}\ntls_key_file = {:?}\nclient_ca_file = {:?}\nclient_names = [\"nginx.internal\"]\n",
        free_port(),
        file("tls.pem"),
        file("tls.key"),
        stage.certificates.ca.display().to_string(),
    );
    replica.change(|settings| format!("{settings}{listener}"));
    replica.reload("refused").await;
    assert!(
        replica.said().contains("listener.far.address: has changed, and takes a restart"),
        "a listener is no small change"
    );
    replica.stop().await;
    replica.start().await;
    let until = "portcullis_tls_certificate_not_after_timestamp_seconds{listener=\"far\"}";
    let before = replica.metric(until).await;
    issue(40_000);
    replica.reload("done").await;
    assert!(replica.metric(until).await > before, "at once");
    let whole = fs::read(file("tls.key")).unwrap();
    fs::write(file("tls.key"), "half of it").unwrap();
    replica.change(|settings| settings.replace("groups = [\"admins\"]", "groups = [\"staff\"]"));
    replica.reload("refused").await;
    assert!(replica.said().contains("listener.far.tls_key_file: names a file that"), "{}", replica.said());
    let bob = AsNginx::at(replica.socket()).verify("admins", &stage.cookie_of("bob").await).await;
    assert_eq!(bob, (403, "policy_denied".to_owned()), "nor the policies");
    fs::write(file("tls.key"), whole).unwrap();
    replica.reload("done").await;
}

/// What is changed of the settings.
type Change = fn(&str) -> String;
