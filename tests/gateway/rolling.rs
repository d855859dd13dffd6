//! Two gateways behind one nginx are restarted, one after the other, while people go on visiting: nobody notices.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use reqwest::Method;

use crate::support::{Stage, Visitor, replica::two, traffic::Traffic};

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_two_loses_no_request_and_no_session() {
    let (stage, mut one, mut other) = two().await;
    let people = stage.signed_in("alice").await;
    let traffic = Traffic::of(&stage, 6).await;
    let over = Arc::new(AtomicBool::new(false));
    // What nginx does not ask twice.
    let posting = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while !over.load(Ordering::Acquire) {
                seen.push(people.fetch(Method::POST, "/auth/check").await.refusal().0);
            }
            seen
        })
    };
    for _ in 0..2 {
        for replica in [&mut one, &mut other] {
            let callback = Visitor::new(&stage);
            let under_way = callback.up_to_callback("bob", "/x").await;
            replica.stop().await;
            traffic.all_see(200, std::time::Instant::now()).await;
            assert_eq!(callback.visit(&under_way).await.status, 302, "begun at one, ended at the other");
            replica.start().await;
            traffic.all_see(200, std::time::Instant::now()).await;
        }
    }
    over.store(true, Ordering::Release);
    let (posted, seen) = (posting.await.unwrap(), traffic.end().await);
    let bad: Vec<_> = seen.iter().filter(|one| one.status != 200 || one.meddles).collect();
    let failed = posted.iter().filter(|status| **status != 200).collect::<Vec<_>>();
    assert!(
        bad.is_empty() && failed.is_empty(),
        "of {}: {bad:?}; of {}: {failed:?}\n{}",
        seen.len(),
        posted.len(),
        strange(&stage)
    );
    assert!(seen.len() > 200 && posted.len() > 50, "{} and {}", seen.len(), posted.len());
    for replica in [&one, &other] {
        let asked =
            replica.metric("portcullis_verify_total{decision=\"allow\",reason=\"none\",policy=\"staff\"}").await;
        assert!(asked > 0.5, "it is asked again");
    }
}

/// What nginx complains of, but for a socket that is not there, which is all that should happen.
fn strange(stage: &Stage) -> String {
    let log = stage.nginx.error_log();
    log.lines().filter(|line| !line.contains("failed (2: No such file")).collect::<Vec<_>>().join("\n")
}
