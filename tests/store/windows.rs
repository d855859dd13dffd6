//! Sliding windows, in memory and in Redis: exact, whoever counts, and bounded.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::Clock,
    store::{
        self, Store, memory,
        window::{Counted, Kind, Rate, Window},
    },
};
use tokio::task::JoinSet;

use crate::{
    behaviour::both,
    support::{HOUR, eventually, name, redis::Server, token},
};

both! {
    of_a_crowd_exactly_as_many_are_admitted_as_the_rate_says
    who_asks_again_is_counted_once
    who_is_refused_is_not_counted_and_is_told_how_long_to_wait
    the_window_slides
    of_several_rates_the_longest_wait_counts
    kinds_and_names_keep_to_themselves
    a_bar_refuses_until_its_time_is_over_and_does_not_get_longer
    without_rates_only_a_bar_refuses
}

fn rate(most: usize, per: Duration) -> Rate {
    Rate::new(most, per).unwrap()
}

fn window(number: u16) -> Window {
    Window { kind: Kind::SignIn, name: name(number) }
}

/// A hundred callers at once, shared out among the stores; how many were admitted.
async fn crowd(stores: &[Arc<Store>], rates: &'static [(usize, Duration)]) -> usize {
    let rates: Arc<Vec<Rate>> = Arc::new(rates.iter().map(|&(most, per)| rate(most, per)).collect());
    let mut tasks = JoinSet::new();
    for number in 0..100 {
        let (store, rates) = (Arc::clone(&stores[usize::from(number) % stores.len()]), Arc::clone(&rates));
        tasks.spawn(async move { store.count_in_window(window(1), &rates, &token(number)).await.unwrap() });
    }
    let counted = tasks.join_all().await;
    for refused in counted.iter().filter_map(|counted| match counted {
        Counted::Refused { wait } => Some(*wait),
        Counted::Admitted => None,
    }) {
        assert!(refused > Duration::ZERO && refused <= HOUR, "{refused:?}");
    }
    counted.iter().filter(|counted| **counted == Counted::Admitted).count()
}

async fn of_a_crowd_exactly_as_many_are_admitted_as_the_rate_says(store: Arc<Store>) {
    assert_eq!(crowd(&[store], &[(30, HOUR)]).await, 30);
}

async fn who_asks_again_is_counted_once(store: Arc<Store>) {
    let rates = [rate(2, HOUR)];
    for by in [1, 1, 1, 2, 1, 2] {
        let counted = store.count_in_window(window(1), &rates, &token(by)).await;
        assert_eq!(counted, Ok(Counted::Admitted), "{by}");
    }
    let third = store.count_in_window(window(1), &rates, &token(3)).await;
    assert!(matches!(third, Ok(Counted::Refused { .. })), "{third:?}");
}

async fn who_is_refused_is_not_counted_and_is_told_how_long_to_wait(store: Arc<Store>) {
    let rates = [rate(1, Duration::from_secs(60))];
    assert_eq!(store.count_in_window(window(1), &rates, &token(0)).await, Ok(Counted::Admitted));
    for by in 1..50 {
        let Ok(Counted::Refused { wait }) = store.count_in_window(window(1), &rates, &token(by)).await else {
            panic!("{by} was admitted");
        };
        assert!((Duration::from_secs(45)..=Duration::from_secs(60)).contains(&wait), "{wait:?}");
    }
}

async fn the_window_slides(store: Arc<Store>) {
    let rates = [rate(2, Duration::from_millis(400))];
    for by in [1, 2] {
        assert_eq!(store.count_in_window(window(1), &rates, &token(by)).await, Ok(Counted::Admitted));
    }
    let third = store.count_in_window(window(1), &rates, &token(3)).await;
    assert!(matches!(third, Ok(Counted::Refused { .. })), "{third:?}");
    eventually("there is room again", async || {
        store.count_in_window(window(1), &rates, &token(4)).await == Ok(Counted::Admitted)
    })
    .await;
}

async fn of_several_rates_the_longest_wait_counts(store: Arc<Store>) {
    let rates = [rate(3, HOUR), rate(2, Duration::from_secs(60))];
    for by in [1, 2] {
        assert_eq!(store.count_in_window(window(1), &rates, &token(by)).await, Ok(Counted::Admitted));
    }
    let short = store.count_in_window(window(1), &rates, &token(3)).await;
    assert!(matches!(short, Ok(Counted::Refused { wait }) if wait <= Duration::from_secs(60)), "{short:?}");
    let long = store.count_in_window(window(1), &[rate(1, HOUR), rates[1]], &token(3)).await;
    assert!(matches!(long, Ok(Counted::Refused { wait }) if wait > Duration::from_secs(3_000)), "{long:?}");
}

async fn kinds_and_names_keep_to_themselves(store: Arc<Store>) {
    let rates = [rate(1, HOUR)];
    for kind in Kind::ALL {
        for number in [1, 2] {
            let own = Window { kind, name: name(number) };
            assert_eq!(store.count_in_window(own, &rates, &token(1)).await, Ok(Counted::Admitted), "{own:?}");
        }
    }
}

async fn a_bar_refuses_until_its_time_is_over_and_does_not_get_longer(store: Arc<Store>) {
    let rates = [rate(10, HOUR)];
    let count = async |by| store.count_in_window(window(1), &rates, &token(by)).await;
    assert_eq!(count(1).await, Ok(Counted::Admitted));
    store.bar_window(window(1), Duration::from_millis(400)).await.unwrap();
    store.bar_window(window(1), HOUR).await.unwrap();
    let barred = count(2).await;
    assert!(matches!(barred, Ok(Counted::Refused { wait }) if wait <= Duration::from_millis(400)), "{barred:?}");
    assert_eq!(store.count_in_window(window(2), &rates, &token(2)).await, Ok(Counted::Admitted), "nobody else");
    eventually("the bar falls", async || count(3).await == Ok(Counted::Admitted)).await;
}

async fn without_rates_only_a_bar_refuses(store: Arc<Store>) {
    for by in 0..20 {
        assert_eq!(store.count_in_window(window(1), &[], &token(by)).await, Ok(Counted::Admitted));
    }
    assert_eq!(store.count_in_window(window(1), &[rate(1, HOUR)], &token(99)).await, Ok(Counted::Admitted));
    store.bar_window(window(1), HOUR).await.unwrap();
    let barred = store.count_in_window(window(1), &[], &token(1)).await;
    assert!(matches!(barred, Ok(Counted::Refused { .. })), "{barred:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_on_one_redis_count_together() {
    let server = Server::start();
    let stores: Vec<_> = (0..3).map(|_| Arc::new(server.store())).collect();
    assert_eq!(crowd(&stores, &[(17, HOUR), (40, HOUR)]).await, 17);
}

#[tokio::test]
async fn a_window_in_redis_keeps_no_more_than_it_needs() {
    let server = Server::start();
    let store = server.store();
    let rates = [rate(3, Duration::from_millis(100))];
    let mut admitted = 0;
    eventually("the window has slid often", async || {
        for by in 0..50 {
            let by = store::Token([by, admitted, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let counted = store.count_in_window(window(1), &rates, &by).await.unwrap();
            admitted += u8::from(counted == Counted::Admitted);
        }
        admitted > 15
    })
    .await;
    let key = format!("portcullis:window:login:{{{}}}", name(1).encoded());
    let entries: u64 = server.ask(&["ZCARD", &key]);
    assert!(entries <= 3, "{entries}");
    eventually("it is gone when its time is over", async || server.ask::<u64>(&["EXISTS", &key]) == 0).await;
}

#[tokio::test]
async fn what_was_counted_before_the_servers_clock_was_set_back_locks_nobody_out() {
    let server = Server::start();
    let store = server.store();
    let key = format!("portcullis:window:login:{{{}}}", name(1).encoded());
    let _: () = server.ask(&["ZADD", &key, "9e15", "from another time"]);
    assert_eq!(store.count_in_window(window(1), &[rate(1, HOUR)], &token(1)).await, Ok(Counted::Admitted));
    let left: i64 = server.ask(&["PTTL", &key]);
    assert!(left > 0, "it expires again: {left}");
}

#[tokio::test]
async fn memory_holds_no_more_windows_than_it_may_and_locks_no_new_address_out() {
    let clock = Clock::system();
    let config = memory::Config { max_windows: 50, ..memory::Config::default() };
    let store = Store::open(store::Config::Memory(config), &clock, Box::new(|_, _, _| ())).unwrap();
    let rates = [rate(1, HOUR)];
    store.bar_window(window(0), HOUR * 2).await.unwrap();
    for number in 1..5_000 {
        let counted = store.count_in_window(window(number), &rates, &token(1)).await;
        assert_eq!(counted, Ok(Counted::Admitted), "{number}");
    }
    for known in [0, 4_999] {
        let counted = store.count_in_window(window(known), &rates, &token(2)).await;
        assert!(matches!(counted, Ok(Counted::Refused { .. })), "{known}: {counted:?}");
    }
}
