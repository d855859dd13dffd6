//! Session keys change on two gateways, step by step and one ahead of the other, and nobody is signed out.

use std::time::Instant;

use portcullis::seal::MasterKey;

use crate::support::{
    Stage, Visitor, eventually,
    replica::{Replica, two},
    traffic::{Traffic, assert_unharmed},
    twin::AsNginx,
};

/// Sees to it that both gateways know of somebody, and of new ones.
struct People<'a> {
    stage: &'a Stage,
    cookies: Vec<String>,
}

impl People<'_> {
    /// One more signs in; nginx asks one gateway, and then the other.
    async fn another(&mut self) {
        self.cookies.push(self.stage.cookie_of("alice").await);
    }

    /// All that are signed in are so at both gateways.
    async fn are_known_to(&self, replicas: [&Replica; 2], when: &str) {
        for replica in replicas {
            let asked = AsNginx::at(replica.socket());
            for (number, cookie) in self.cookies.iter().enumerate() {
                assert_eq!(asked.verify("staff", cookie).await.0, 200, "{when}: person {number}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_steps_change_the_keys_of_two_gateways_and_sign_nobody_out() {
    let (stage, mut one, mut other) = two().await;
    let traffic = Traffic::of(&stage, 4).await;
    let mut people = People { stage: &stage, cookies: Vec::new() };
    people.another().await;
    let new = MasterKey::from_bytes(portcullis::random::bytes().unwrap()).to_base64().to_string();
    let old = std::fs::read_to_string(one.folder.join("key")).unwrap();
    for replica in [&mut one, &mut other] {
        replica.write("new", &new);
        let file = replica.folder.join("new").display().to_string();
        replica.change(|settings| format!("{settings}key_new_file = {file:?}\n"));
    }
    let steps: [(&str, Step); 2] = [
        ("the new key is accepted", |_, _, _| ()),
        ("the new key seals, and the old one opens", |replica, old, new| {
            replica.write("key", new);
            replica.write("old", old);
            let file = replica.folder.join("old").display().to_string();
            replica.change(|settings| format!("{}key_old_file = {file:?}\n", without(settings, "key_new_file")));
        }),
    ];
    for (what, step) in steps {
        for ahead in [true, false] {
            let replica = if ahead { &mut one } else { &mut other };
            let callbacks = [Visitor::new(&stage), Visitor::new(&stage)];
            let under_way =
                [callbacks[0].up_to_callback("bob", "/x").await, callbacks[1].up_to_callback("bob", "/x").await];
            step(replica, &old, &new);
            replica.reload("done").await;
            for (visitor, callback) in callbacks.iter().zip(&under_way) {
                assert_eq!(visitor.visit(callback).await.status, 302, "{what}: a sign-in that was under way");
            }
            people.another().await;
            people.another().await;
            people.are_known_to([&one, &other], what).await;
            traffic.all_see(200, Instant::now()).await;
        }
    }
    // From here on a session under the old key counts as over: the longest life has passed.
    let seen = traffic.end().await;
    assert_unharmed(&seen);
    assert!(seen.iter().all(|one| one.status == 200), "{seen:?}");
    let late = stage.cookie_of("alice").await;
    one.change(|settings| without(settings, "key_old_file"));
    one.reload("done").await;
    assert!(one.said().contains("this key opens nothing here any more"), "{}", one.said());
    eventually("the other has heard of it", async || other.said().contains("another gateway has given up this key"))
        .await;
    for reloaded in [false, true] {
        for replica in [&one, &other] {
            let asked = AsNginx::at(replica.socket());
            let verdict = asked.verify("staff", &people.cookies[0]).await;
            assert_eq!(verdict, (401, "session_malformed".to_owned()), "{reloaded}");
            assert_eq!(asked.verify("staff", &late).await.0, 200);
        }
        other.change(|settings| without(settings, "key_old_file"));
        other.reload("done").await;
    }
}

/// What is changed of a replica, by the old key and the new one.
type Step = fn(&mut Replica, &str, &str);

fn without(settings: &str, key: &str) -> String {
    settings.lines().filter(|line| !line.starts_with(key)).flat_map(|line| [line, "\n"]).collect()
}
