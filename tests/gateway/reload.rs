//! Settings that change while people are visiting: taken over whole by SIGHUP, or refused whole, and nobody notices.

use std::time::Instant;

use reqwest::Method;

use crate::support::{
    Stage, Visitor,
    replica::{Replica, stage_for},
    traffic::{Traffic, assert_unharmed},
    twin::AsNginx,
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
        let before = std::fs::read_to_string(replica.settings_file()).unwrap();
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
    let old = std::fs::read_to_string(replica.settings_file()).unwrap();
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

/// What is changed of the settings.
type Change = fn(&str) -> String;
