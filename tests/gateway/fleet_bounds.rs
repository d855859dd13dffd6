//! Floods and greed where there are two gateways: they count together, hold no more than they may, and one that is taken
//! up entirely is no loss to anybody.

use std::{path::Path, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::block_in_place,
};

use crate::support::{
    PATIENCE, Plan,
    redis::Server,
    traffic::{IN_TIME, Traffic},
    twin::AsNginx,
};

async fn begins(gateway: &AsNginx, address: &str) -> u16 {
    gateway.get("/auth/login", address).await.0
}

/// How many keys there are, and the longest that one of them stays in milliseconds; -1 for one that stays for ever.
fn kept(redis: &Server) -> (usize, i64) {
    let script = "local longest = 0 local all = redis.call('KEYS', 'portcullis:window:*') for _, key in ipairs(all) do \
                  local stays = redis.call('PTTL', key) if stays == -1 then return {#all, -1} end \
                  longest = math.max(longest, stays) end return {#all, longest}";
    block_in_place(|| redis.ask(&["EVAL", script, "0"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_addresses_at_two_gateways_harms_no_known_one_and_however_one_is_written_it_is_counted_once() {
    let stage = Plan::new().with_redis().of_two().start().await;
    let gateways = [stage.asking(0), stage.asking(1)];
    let spellings = ["192.0.2.9", "::ffff:192.0.2.9", "::ffff:c000:209", "0:0:0:0:0:ffff:c000:0209"];
    for number in 0..29 {
        assert_eq!(begins(&gateways[number % 2], spellings[number % spellings.len()]).await, 302, "{number}");
    }
    for ten in 0..100 {
        let addresses = (0..10).map(|one| format!("10.9.{ten}.{one}"));
        let flood = addresses.map(async |address| begins(&gateways[ten % 2], &address).await);
        assert_eq!(join_all(flood).await, [302; 10], "a new address is never locked out");
    }
    let (keys, longest) = kept(stage.redis.as_ref().unwrap());
    assert_eq!(keys, 1_001, "one for each real address");
    assert!((1..=60_000).contains(&longest), "each goes within a minute: {longest}");
    assert_eq!(begins(&gateways[1], spellings[1]).await, 302, "the thirtieth");
    for gateway in &gateways {
        for spelling in spellings {
            assert_eq!(begins(gateway, spelling).await, 429, "{spelling}");
        }
    }
}

/// A connection on which something was asked; none if the gateway has no room for it.
async fn held(socket: &Path) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(b"GET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n").await.ok()?;
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1_024])).await.unwrap();
    (read.ok()? > 0).then_some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_every_place_is_taken_is_no_loss_where_there_is_another() {
    let stage = Plan::new().with_redis().of_two().set("SERVER__CONNECTIONS", "40").start().await;
    let alice = stage.signed_in("alice").await;
    let traffic = Traffic::of(&stage, 3).await;
    let socket = stage.folder.path().join("nginx.sock");
    let mut taken = Vec::new();
    while let Some(mut stream) = held(&socket).await {
        // And of another request only the beginning.
        stream.write_all(b"GET /auth/verify?policy=staff HTTP/1.1\r\nX-Slow: ").await.unwrap();
        taken.push(stream);
    }
    assert!(taken.len() > 20, "{}", taken.len());
    let full = std::time::Instant::now();
    while full.elapsed() < Duration::from_secs(3) {
        assert_eq!(alice.fetch(Method::GET, "/api/whoami").await.status, 200);
        if let Some(stream) = held(&socket).await {
            taken.push(stream);
        }
    }
    drop(taken);
    for one in traffic.end().await {
        assert!(one.status == 200 && one.took < IN_TIME && !one.meddles, "{one:?}");
    }
    assert!(stage.counted("portcullis_connections_refused_total").await > 0);
}
