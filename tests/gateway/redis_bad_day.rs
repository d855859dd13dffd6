//! Redis on a bad day, while people go on visiting: every answer comes in time and is a 200 or "try again", no cookie is
//! touched, nobody is sent to sign in, and everything is back without a restart of the gateway.

use std::time::{Duration, Instant};

use deadpool_redis::redis::Value;
use dev_idp::{Endpoint, Switch, Trouble};
use reqwest::Method;
use tokio::task::block_in_place;

use crate::support::{
    Plan, Stage, Visitor, eventually, free_port,
    line::{Line, Noise},
    redis::Server,
    traffic::{IN_TIME, Traffic, assert_unharmed},
};

/// Two gateways, which nginx asks in turn. Nobody is let in without the store: `kept.rs` has what the grace makes of this.
fn without_grace() -> Plan {
    Plan::new().of_two().set("SESSION__STORE_OUTAGE_GRACE", "0s")
}

async fn stage() -> Stage {
    without_grace().with_redis().start().await
}

/// Gateways that ask the store each time.
async fn stage_that_keeps_nothing() -> Stage {
    without_grace().set("SESSION__CACHE_ENTRIES", "0").with_redis().start().await
}

/// Two gateways whose Redis is at the end of that line, and who ask it each time.
async fn stage_on(line: &Line) -> Stage {
    let plan = without_grace().set("SESSION__CACHE_ENTRIES", "0");
    plan.set("STORE__KIND", "redis").set("STORE__REDIS__URL", line.url()).start().await
}

fn tell(stage: &Stage, words: &[&str]) {
    let redis = stage.redis.as_ref().unwrap();
    block_in_place(|| redis.ask::<Value>(words));
}

/// From some moment on everything is well, from the very first request.
async fn is_well_from(traffic: &Traffic, from: Instant) {
    traffic.all_see(200, from).await;
    let bad: Vec<_> = traffic.since(from).into_iter().filter(|one| one.status != 200).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// A sign-in that comes as far as the callback during the trouble is asked to try again, and may.
async fn is_put_off(visitor: &Visitor, callback: &url::Url) {
    let began = Instant::now();
    let put_off = visitor.visit(callback).await;
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    assert_eq!(put_off.refusal(), (503, "store_unavailable"), "{put_off:?}");
    assert_eq!(put_off.header("retry-after"), "5");
    assert!(put_off.header("set-cookie").is_empty(), "{put_off:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stops_and_starts_again_costs_nobody_a_session() {
    let mut stage = stage().await;
    let traffic = Traffic::of(&stage, 4).await;
    for _ in 0..3 {
        let bob = Visitor::new(&stage);
        let down = Instant::now();
        block_in_place(|| stage.redis.as_mut().unwrap().down());
        let stopped = Instant::now();
        traffic.all_see(503, stopped).await;
        let callback = bob.up_to_callback("bob", "/x").await;
        is_put_off(&bob, &callback).await;
        // Whoever hears of it only then goes on for a moment by what it keeps.
        let trouble = traffic.since(stopped + NOTICED_WITHIN);
        assert!(trouble.iter().all(|one| one.status == 503), "{trouble:?}");
        block_in_place(|| stage.redis.as_mut().unwrap().up());
        is_well_from(&traffic, Instant::now()).await;
        assert_eq!(bob.visit(&callback).await.status, 302, "the sign-in goes on where it stopped");
        assert!(traffic.since(down).len() > 10);
    }
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_between_two_requests_is_not_noticed() {
    let mut stage = stage().await;
    let (alice, bob) = (stage.signed_in("alice").await, stage.signed_in("bob").await);
    for path in ["/", "/auth/check", "/auth/userinfo", "/api/whoami"] {
        block_in_place(|| {
            let redis = stage.redis.as_mut().unwrap();
            redis.down();
            redis.up();
        });
        let (one, other) = tokio::join!(alice.fetch(Method::GET, path), bob.fetch(Method::GET, path));
        assert_eq!((one.status, other.status), (200, 200), "{path}");
    }
    let callback = Visitor::new(&stage);
    let url = callback.up_to_callback("alice", "/x").await;
    block_in_place(|| {
        let redis = stage.redis.as_mut().unwrap();
        redis.down();
        redis.up();
    });
    assert_eq!(callback.visit(&url).await.status, 302, "nor by a sign-in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_delays_nobody_for_longer_than_a_second() {
    let stage = stage().await;
    let (alice, bob) = (stage.signed_in("alice").await, Visitor::new(&stage));
    let mut shown = Vec::new();
    for _ in 0..4 {
        shown.push(format!("__Host-portcullis={}", stage.signed_in("bob").await.session().unwrap()));
    }
    let callback = bob.up_to_callback("bob", "/x").await;
    let traffic = Traffic::of(&stage, 4).await;
    stage.redis.as_ref().unwrap().signal("STOP");
    let hanging = Instant::now();
    traffic.all_see(503, hanging).await;
    is_put_off(&bob, &callback).await;
    let began = Instant::now();
    let refresh = alice.fetch(Method::POST, "/auth/refresh").await;
    assert_eq!(refresh.refusal(), (503, "store_unavailable"));
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    let began = Instant::now();
    let login = Visitor::new(&stage).get("/auth/login").await;
    assert_eq!(login.status, 302, "whoever begins a sign-in only then is not stopped here");
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    let began = Instant::now();
    let headers = [("Cookie", shown.join("; ")), ("Sec-Fetch-Site", "same-origin".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let out = Visitor::new(&stage).ask(Method::POST, "/auth/logout", &headers).await;
    assert_eq!((out.status, out.json()["pending"].as_bool()), (200, Some(true)));
    assert!(began.elapsed() < IN_TIME, "signing out took {:?}", began.elapsed());
    stage.redis.as_ref().unwrap().signal("CONT");
    is_well_from(&traffic, Instant::now()).await;
    assert_eq!(bob.visit(&callback).await.status, 302);
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stammers_is_waited_for() {
    let stage = stage().await;
    let traffic = Traffic::of(&stage, 4).await;
    let began = Instant::now();
    for _ in 0..10 {
        stage.redis.as_ref().unwrap().signal("STOP");
        tokio::time::sleep(Duration::from_millis(100)).await;
        stage.redis.as_ref().unwrap().signal("CONT");
        traffic.all_see(200, Instant::now()).await;
    }
    is_well_from(&traffic, began).await;
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_no_writes_still_answers_verify() {
    let nobody = free_port().to_string();
    let troubles: [(&[&str], &[&str]); 3] = [
        (&["REPLICAOF", "127.0.0.1", &nobody], &["REPLICAOF", "NO", "ONE"]),
        (&["CONFIG", "SET", "min-replicas-to-write", "1"], &["CONFIG", "SET", "min-replicas-to-write", "0"]),
        (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
    ];
    let stage = stage().await;
    let traffic = Traffic::of(&stage, 4).await;
    for (trouble, mend) in troubles {
        let (alice, bob) = (stage.signed_in("alice").await, Visitor::new(&stage));
        let callback = bob.up_to_callback("bob", "/x").await;
        tell(&stage, trouble);
        let began = Instant::now();
        is_put_off(&bob, &callback).await;
        // Time enough for the idle time to be written, in vain.
        stage.advance(Duration::from_secs(200));
        is_well_from(&traffic, began).await;
        assert_eq!(alice.get("/").await.status, 200, "{trouble:?}");
        assert_eq!(Visitor::new(&stage).get("/auth/login").await.status, 302, "{trouble:?}");
        tell(&stage, mend);
        assert_eq!(Visitor::new(&stage).sign_in("bob", "/x").await.status, 200, "{trouble:?}");
        stage.advance(Duration::from_secs(60));
    }
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_redis_does_not_take_is_made_good_when_it_does() {
    let stage = stage().await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    let traffic = Traffic::of(&stage, 2).await;
    let nobody = free_port().to_string();
    let session = stage.cookie_of("alice").await;
    tell(&stage, &["REPLICAOF", "127.0.0.1", &nobody]);
    let (status, _, said) = here.script_if_there(Method::POST, "/auth/logout", &session).await.unwrap();
    assert_eq!((status, said.contains(r#""pending":true"#)), (200, true), "{said}");
    assert_eq!(here.verify("staff", &session).await, (401, "session_ended".to_owned()), "at once, here");
    tell(&stage, &["REPLICAOF", "NO", "ONE"]);
    eventually("the others have heard of it", async || {
        there.verify("staff", &session).await == (401, "session_ended".to_owned())
    })
    .await;
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_people_can_still_sign_out() {
    let stage = stage().await;
    let traffic = Traffic::of(&stage, 2).await;
    let alice = stage.signed_in("alice").await;
    let session = format!("__Host-portcullis={}", alice.session().unwrap());
    tell(&stage, &["CONFIG", "SET", "maxmemory", "1"]);
    let out = alice.fetch(Method::POST, "/auth/logout").await;
    assert_eq!((out.status, out.json()["pending"].as_bool()), (200, Some(false)));
    let thief = Visitor::new(&stage);
    thief.plant(&session);
    assert_eq!(thief.fetch(Method::GET, "/").await.refusal(), (401, "session_ended"));
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_speaks_nonsense_lets_nobody_in_and_signs_nobody_out() {
    let redis = block_in_place(Server::start);
    let line = Line::to(redis.socket()).await;
    let stage = stage_on(&line).await;
    let traffic = Traffic::of(&stage, 4).await;
    let nonsense = [
        Noise::Instead("HTTP/1.1 400 Bad Request\r\n\r\n"),
        Noise::Instead("$6\r\nmarker\r\n"),
        Noise::Instead("*2\r\n$1\r\n1\r\n$6\r\nmarker\r\n"),
        Noise::Instead(":1\r\n"),
        Noise::Instead("-ERR marker\r\n"),
        Noise::Instead("\0\0\0\0\0\0\0\0"),
        Noise::Instead("*2\r\n$1\r\n1\r\n$900000000000\r\nmarker"),
        Noise::HalfAndClose,
        Noise::HalfAndHang,
    ];
    for noise in nonsense {
        line.garble(noise);
        let garbled = Instant::now();
        traffic.all_see(503, garbled).await;
        line.garble(Noise::None);
        let mended = Instant::now();
        traffic.all_see(200, mended).await;
        // A connection that hangs half-way is noticed by its deadline, and not before.
        let late = mended + Duration::from_secs(1);
        eventually("a second has passed", async || Instant::now() > late).await;
        is_well_from(&traffic, late).await;
    }
    assert_unharmed(&traffic.end().await);
}

/// What one asked is then answered to another. Sealed as it is, nobody reads it; but nobody must be sent away for it
/// either, and it must not go on for as long as there is traffic.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_out_of_step_gives_nobody_anothers_answer_and_is_left() {
    let redis = block_in_place(Server::start);
    let line = Line::to(redis.socket()).await;
    let stage = stage_on(&line).await;
    let traffic = Traffic::of(&stage, 6).await;
    for noise in [Noise::Once(""), Noise::Once("*2\r\n$-1\r\n$-1\r\n*2\r\n$-1\r\n$-1\r\n"), Noise::Once(":1\r\n:1\r\n")]
    {
        for _ in 0..5 {
            line.garble(noise);
            traffic.all_see(200, Instant::now()).await;
        }
    }
    let late = Instant::now() + Duration::from_secs(1);
    eventually("a second has passed", async || Instant::now() > late).await;
    is_well_from(&traffic, late).await;
    let seen = traffic.end().await;
    let strangers: Vec<_> = seen.iter().filter(|one| one.reason == "session_unreadable").collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_cut_or_overwritten_is_the_stores_trouble_and_not_the_visitors() {
    let stage = stage_that_keeps_nothing().await;
    let redis = stage.redis.as_ref().unwrap();
    let check = async |what: &str, script: &str| {
        let alice = stage.signed_in("alice").await;
        let before = alice.session();
        tell(
            &stage,
            &["EVAL", &format!("for _, k in ipairs(redis.call('KEYS', 'portcullis:session:*')) do {script} end"), "0"],
        );
        let page = alice.get("/").await;
        assert_eq!(page.refusal(), (503, "store_unavailable"), "{what}");
        assert!(page.header("set-cookie").is_empty() && page.location().is_none(), "{what}");
        assert_eq!(alice.session(), before, "{what}");
        let out = alice.fetch(Method::POST, "/auth/logout").await;
        assert_eq!((out.status, out.json()["pending"].as_bool()), (200, Some(false)), "{what}: it can be ended");
        assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "portcullis:session:*"]), Vec::<String>::new());
    };
    check("facts cut short", "local f = redis.call('HGET', k, 'f') redis.call('HSET', k, 'f', f:sub(1, -2))").await;
    check("facts cut in half", "local f = redis.call('HGET', k, 'f') redis.call('HSET', k, 'f', f:sub(1, #f / 2))")
        .await;
    check("facts emptied", "redis.call('HSET', k, 'f', '')").await;
    check("facts gone", "redis.call('HDEL', k, 'f')").await;
    check("version gone", "redis.call('HDEL', k, 'v')").await;
    check("no version", "redis.call('HSET', k, 'v', 'x')").await;
    check("text in its place", "redis.call('SET', k, 'marker')").await;
    check("a list in its place", "redis.call('DEL', k) redis.call('RPUSH', k, 'marker')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_everybody_is_asked_to_sign_in_and_nothing_worse() {
    let stage = stage().await;
    let visitors = [stage.signed_in("alice").await, stage.signed_in("bob").await];
    let traffic = Traffic::of(&stage, 4).await;
    tell(&stage, &["FLUSHALL"]);
    let flushed = Instant::now();
    traffic.all_see(401, flushed).await;
    for one in traffic.since(flushed + NOTICED_WITHIN) {
        assert_eq!((one.status, one.reason.as_str(), one.meddles), (401, "session_unknown", false), "{one:?}");
        assert!(one.took < IN_TIME);
    }
    for visitor in visitors {
        assert_eq!(visitor.sign_in("alice", "/x").await.status, 200);
    }
    let before: Vec<_> = traffic.end().await.into_iter().filter(|one| one.began + one.took < flushed).collect();
    assert_unharmed(&before);
}

/// How soon a flush, of which nobody says anything, is noticed all the same.
const NOTICED_WITHIN: Duration = Duration::from_millis(150);

/// As far as one Redis at a time goes: the master dies, its replica is promoted, and the address leads there.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_costs_nobody_a_session() {
    let port = free_port().to_string();
    let (mut old, new) =
        block_in_place(|| (Server::start_with(&["--port", &port, "--repl-diskless-sync-delay", "0"]), Server::start()));
    block_in_place(|| new.ask::<Value>(&["REPLICAOF", "127.0.0.1", &port]));
    let line = Line::to(old.socket()).await;
    let stage = stage_on(&line).await;
    let traffic = Traffic::of(&stage, 4).await;
    eventually("the replica has every session", async || {
        let keys = |server: &Server| block_in_place(|| server.ask::<usize>(&["DBSIZE"]));
        keys(&old) == keys(&new)
    })
    .await;
    let bob = Visitor::new(&stage);
    let callback = bob.up_to_callback("bob", "/x").await;
    block_in_place(|| old.down());
    traffic.all_see(503, Instant::now()).await;
    is_put_off(&bob, &callback).await;
    line.put_through_to(new.socket());
    // Still a replica: it reads, and takes no writes.
    is_well_from(&traffic, Instant::now() + Duration::from_millis(100)).await;
    is_put_off(&bob, &callback).await;
    block_in_place(|| new.ask::<Value>(&["REPLICAOF", "NO", "ONE"]));
    assert_eq!(bob.visit(&callback).await.status, 302, "the first write after the promotion");
    is_well_from(&traffic, Instant::now()).await;
    assert_unharmed(&traffic.end().await);
}

/// A replica that lost its master and is told not to answer from what it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_to_read_is_waited_out() {
    let stage = stage().await;
    let traffic = Traffic::of(&stage, 2).await;
    let nobody = free_port().to_string();
    tell(&stage, &["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    tell(&stage, &["REPLICAOF", "127.0.0.1", &nobody]);
    let refusing = Instant::now();
    traffic.all_see(503, refusing).await;
    tell(&stage, &["REPLICAOF", "NO", "ONE"]);
    is_well_from(&traffic, Instant::now()).await;
    assert_unharmed(&traffic.end().await);
}

/// Tokens under a key that nobody knows, while the store is away: the throttle of key fetches needs no store.
#[tokio::test(flavor = "multi_thread")]
async fn with_redis_down_unknown_keys_still_make_one_fetch_of_the_key_set() {
    let plan = without_grace().with_redis().set("LIMITS__LOGIN", "off").set("LIMITS__FAILED_SIGN_IN", "off");
    let mut stage = plan.start().await;
    let mut begun = Vec::new();
    for _ in 0..100 {
        let visitor = Visitor::new(&stage);
        let callback = visitor.up_to_callback("alice", "/").await;
        begun.push((visitor, callback));
    }
    stage.idp.set(Switch::SignatureUnknownKey);
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(1_500)));
    let fetched = stage.asked(Endpoint::Jwks);
    let asked = stage.asked(Endpoint::Token);
    let answers = futures_util::future::join_all(begun.iter().map(|(visitor, callback)| visitor.visit(callback)));
    let redis = stage.redis.as_mut().unwrap();
    let idp = &stage.idp;
    let goes_down = async {
        eventually("all are at the provider", async || idp.requests_to(Endpoint::Token).len() >= asked + 100).await;
        block_in_place(|| redis.down());
    };
    let (answers, ()) = tokio::join!(answers, goes_down);
    for answer in answers {
        assert_eq!(answer.refusal(), (400, "id_token_key"), "{answer:?}");
    }
    let more = stage.asked(Endpoint::Jwks) - fetched;
    assert!(more <= 2, "{more} fetches by two gateways");
}
