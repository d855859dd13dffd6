//! What every store promises. Each case runs against memory and against a Redis of its own.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock, Timestamp},
    store::{
        self, Change, Ended, GROUP_LIMIT, Mark, NewSession, Store, StoreError, StoredFacts, StoredSession,
        StoredSwitches, Swap, Thrown, Version, memory,
    },
};
use tokio::task::JoinSet;

use crate::support::{HOUR, change, eventually, in_an_hour, name, now, redis::Server, session, token};

/// Makes of each case a test with memory and a test with Redis.
macro_rules! both {
    ($($case:ident)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let memory = super::store::Config::Memory(super::memory::Config::default());
                let store = super::Store::open(memory, &super::Clock::system(), Box::new(|_, _, _| ()));
                super::$case(super::Arc::new(store.unwrap())).await;
            })*
        }

        mod in_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let server = super::Server::start();
                super::$case(super::Arc::new(server.store())).await;
            })*
        }

        /// All of them, for servers that take too long to start for each.
        pub(crate) fn cases() -> Vec<crate::support::Case> {
            vec![$((stringify!($case), |store| Box::pin($case(store))),)*]
        }
    };
}

pub(crate) use both;

both! {
    a_session_comes_back_as_it_was_written
    empty_parts_come_back_empty
    a_name_that_nobody_wrote_is_not_there
    creating_again_changes_nothing
    another_session_does_not_take_a_name
    an_ended_session_is_not_created_again
    an_update_counts_up_and_keeps_the_tokens_it_does_not_bring
    an_update_of_an_older_version_is_stale
    an_update_of_nothing_creates_nothing
    a_late_update_does_not_revive_an_ended_session
    a_repeated_update_has_the_same_answer
    of_many_updates_of_one_version_exactly_one_is_done
    every_update_of_a_storm_is_counted_once
    an_idle_write_during_a_refresh_loses_nothing
    ending_leaves_a_tombstone_whether_or_not_it_lived
    of_many_who_end_a_session_exactly_one_ended_it
    of_many_who_mark_exactly_one_was_first
    one_who_marks_again_is_still_the_first
    a_lock_has_one_owner_until_it_is_given_back
    a_lock_falls_free_when_its_lease_is_over
    a_renewed_lock_outlives_its_first_lease
    a_group_lists_its_living_sessions_newest_first
    a_group_lists_no_more_than_its_limit
    sessions_are_counted_while_they_live
    everything_is_gone_when_its_time_is_over
    what_expired_before_it_was_written_is_not_there
    the_end_of_time_is_not_too_late
    switches_that_nobody_threw_are_not_there
    switches_come_back_as_they_were_thrown
    only_a_higher_epoch_throws_the_switches
    epochs_are_compared_as_numbers_to_the_last_digit
    switches_thrown_again_have_the_same_answer
    of_many_who_throw_one_epoch_exactly_one_is_done
    a_ping_is_answered
}

async fn a_session_comes_back_as_it_was_written(store: Arc<Store>) {
    let written = session(1);
    store.create(&written).await.unwrap();
    let facts = StoredFacts { version: Version::FIRST, facts: written.facts.clone() };
    assert_eq!(store.facts(&name(1)).await, Ok(Some(facts)));
    let whole = StoredSession { version: Version::FIRST, facts: written.facts, tokens: written.tokens };
    assert_eq!(store.session(&name(1)).await, Ok(Some(whole)));
}

async fn empty_parts_come_back_empty(store: Arc<Store>) {
    let empty =
        NewSession { facts: Vec::new(), tokens: Vec::new(), index: Vec::new(), groups: Vec::new(), ..session(1) };
    store.create(&empty).await.unwrap();
    let whole = store.session(&name(1)).await.unwrap().unwrap();
    assert!(whole.facts.is_empty() && whole.tokens.is_empty());
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
}

async fn a_name_that_nobody_wrote_is_not_there(store: Arc<Store>) {
    assert_eq!(store.facts(&name(1)).await, Ok(None));
    assert_eq!(store.session(&name(1)).await, Ok(None));
    assert_eq!(store.was_ended(&name(1)).await, Ok(false));
    assert_eq!(store.group(&name(1)).await, Ok(Vec::new()));
    assert_eq!(store.count().await, Ok(0));
}

async fn creating_again_changes_nothing(store: Arc<Store>) {
    let first = session(1);
    store.create(&first).await.unwrap();
    assert_eq!(store.create(&first).await, Ok(()));
    let swap = store.compare_and_set(&name(1), &change(1, "newer")).await;
    assert_eq!(swap, Ok(Swap::Done));
    assert_eq!(store.create(&first).await, Ok(()));
    let facts = store.facts(&name(1)).await.unwrap().unwrap();
    assert_eq!((facts.version, facts.facts), (Version(2), b"newer".into()));
    assert_eq!(store.count().await, Ok(1));
}

async fn another_session_does_not_take_a_name(store: Arc<Store>) {
    let first = session(1);
    store.create(&first).await.unwrap();
    let other = NewSession { facts: b"other".into(), ..session(1) };
    let refused = store.create(&other).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let facts = store.facts(&name(1)).await.unwrap().unwrap();
    assert_eq!(facts.facts, first.facts);
}

async fn an_ended_session_is_not_created_again(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    store.end(&name(1), in_an_hour()).await.unwrap();
    let refused = store.create(&session(1)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(store.facts(&name(1)).await, Ok(None));
    assert_eq!(store.group(&name(0)).await, Ok(Vec::new()));
}

async fn an_update_counts_up_and_keeps_the_tokens_it_does_not_bring(store: Arc<Store>) {
    let first = session(1);
    store.create(&first).await.unwrap();
    let swap = store.compare_and_set(&name(1), &change(1, "two")).await;
    assert_eq!(swap, Ok(Swap::Done));
    let second = store.session(&name(1)).await.unwrap().unwrap();
    assert_eq!(second.version, Version(2));
    assert_eq!((second.facts, second.tokens), (b"two".into(), first.tokens));

    let with_tokens = Change { tokens: Some(b"new tokens".into()), ..change(2, "three") };
    let swap = store.compare_and_set(&name(1), &with_tokens).await;
    assert_eq!(swap, Ok(Swap::Done));
    let third = store.session(&name(1)).await.unwrap().unwrap();
    assert_eq!(third.version, Version(3));
    assert_eq!(third.tokens, b"new tokens");
}

async fn an_update_of_an_older_version_is_stale(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    store.compare_and_set(&name(1), &change(1, "two")).await.unwrap();
    for expected in [1, 3, u64::MAX] {
        let swap = store.compare_and_set(&name(1), &change(expected, "late")).await;
        assert_eq!(swap, Ok(Swap::Stale), "{expected}");
    }
    let facts = store.facts(&name(1)).await.unwrap().unwrap();
    assert_eq!(facts.facts, b"two");
}

async fn an_update_of_nothing_creates_nothing(store: Arc<Store>) {
    let swap = store.compare_and_set(&name(1), &change(1, "x")).await;
    assert_eq!(swap, Ok(Swap::Gone));
    assert_eq!(store.session(&name(1)).await, Ok(None));
}

async fn a_late_update_does_not_revive_an_ended_session(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
    let swap = store.compare_and_set(&name(1), &change(1, "late")).await;
    assert_eq!(swap, Ok(Swap::Gone));
    assert_eq!(store.session(&name(1)).await, Ok(None));
    assert_eq!(store.was_ended(&name(1)).await, Ok(true));
    assert_eq!(store.count().await, Ok(0));
}

async fn a_repeated_update_has_the_same_answer(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    let update = Change { tokens: Some(b"tokens".into()), ..change(1, "two") };
    for _ in 0..2 {
        let swap = store.compare_and_set(&name(1), &update).await;
        assert_eq!(swap, Ok(Swap::Done));
    }
    let other_tokens = Change { tokens: Some(b"others".into()), ..update.clone() };
    let swap = store.compare_and_set(&name(1), &other_tokens).await;
    assert_eq!(swap, Ok(Swap::Stale));
    let facts = store.facts(&name(1)).await.unwrap().unwrap();
    assert_eq!(facts.version, Version(2));
    store.compare_and_set(&name(1), &change(2, "three")).await.unwrap();
    let swap = store.compare_and_set(&name(1), &update).await;
    assert_eq!(swap, Ok(Swap::Stale));
}

async fn of_many_updates_of_one_version_exactly_one_is_done(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..50 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let update = change(1, &format!("facts {number}"));
            store.compare_and_set(&name(1), &update).await.unwrap()
        });
    }
    let swaps = tasks.join_all().await;
    let done = swaps.iter().filter(|swap| **swap == Swap::Done).count();
    let stale = swaps.iter().filter(|swap| **swap == Swap::Stale).count();
    assert_eq!((done, stale), (1, 49));
}

async fn every_update_of_a_storm_is_counted_once(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..10 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut written = 0;
            while written < 10 {
                let read = store.facts(&name(1)).await.unwrap().unwrap();
                let update = change(read.version.0, &format!("{task} {written}"));
                if store.compare_and_set(&name(1), &update).await.unwrap() == Swap::Done {
                    written += 1;
                }
            }
        });
    }
    tasks.join_all().await;
    let facts = store.facts(&name(1)).await.unwrap().unwrap();
    assert_eq!(facts.version, Version(101));
}

/// The refresher has read the session; an idle write comes between; the refresher reads again and writes its tokens.
async fn an_idle_write_during_a_refresh_loses_nothing(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    let idle = store.compare_and_set(&name(1), &change(1, "seen")).await;
    assert_eq!(idle, Ok(Swap::Done));
    let refreshed = |expected| Change { tokens: Some(b"rotated".into()), ..change(expected, "refreshed") };
    let late = store.compare_and_set(&name(1), &refreshed(1)).await;
    assert_eq!(late, Ok(Swap::Stale));
    let again = store.compare_and_set(&name(1), &refreshed(2)).await;
    assert_eq!(again, Ok(Swap::Done));
    let late_idle = store.compare_and_set(&name(1), &change(2, "seen")).await;
    assert_eq!(late_idle, Ok(Swap::Stale));
    let whole = store.session(&name(1)).await.unwrap().unwrap();
    assert_eq!(whole.version, Version(3));
    assert_eq!(whole.tokens, b"rotated");
}

async fn ending_leaves_a_tombstone_whether_or_not_it_lived(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Before));
    assert_eq!(store.end(&name(2), in_an_hour()).await, Ok(Ended::Before));
    assert_eq!(store.was_ended(&name(1)).await, Ok(true));
    assert_eq!(store.was_ended(&name(2)).await, Ok(true));
    assert_eq!(store.was_ended(&name(3)).await, Ok(false));
}

async fn of_many_who_end_a_session_exactly_one_ended_it(store: Arc<Store>) {
    store.create(&session(1)).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.end(&name(1), in_an_hour()).await.unwrap() });
    }
    let ended = tasks.join_all().await;
    assert_eq!(ended.iter().filter(|end| **end == Ended::Now).count(), 1);
}

async fn of_many_who_mark_exactly_one_was_first(store: Arc<Store>) {
    let mut tasks = JoinSet::new();
    for number in 0..50 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let until = in_an_hour();
            store.mark_once(&name(1), &token(number), until).await.unwrap()
        });
    }
    let marks = tasks.join_all().await;
    assert_eq!(marks.iter().filter(|mark| **mark == Mark::First).count(), 1);
}

async fn one_who_marks_again_is_still_the_first(store: Arc<Store>) {
    let until = in_an_hour();
    for (by, expected) in [(1, Mark::First), (2, Mark::Again), (1, Mark::First)] {
        let mark = store.mark_once(&name(1), &token(by), until).await;
        assert_eq!(mark, Ok(expected));
    }
    let elsewhere = store.mark_once(&name(2), &token(2), until).await;
    assert_eq!(elsewhere, Ok(Mark::First));
}

async fn a_lock_has_one_owner_until_it_is_given_back(store: Arc<Store>) {
    let (owner, other) = (token(1), token(2));
    assert_eq!(store.lock(&name(1), &owner, HOUR).await, Ok(true));
    assert_eq!(store.lock(&name(1), &owner, HOUR).await, Ok(true));
    assert_eq!(store.lock(&name(1), &other, HOUR).await, Ok(false));
    assert_eq!(store.unlock(&name(1), &other).await, Ok(()));
    assert_eq!(store.lock(&name(1), &other, HOUR).await, Ok(false));
    assert_eq!(store.unlock(&name(1), &owner).await, Ok(()));
    assert_eq!(store.unlock(&name(1), &owner).await, Ok(()));
    assert_eq!(store.lock(&name(1), &other, HOUR).await, Ok(true));
}

async fn a_lock_falls_free_when_its_lease_is_over(store: Arc<Store>) {
    let lease = Duration::from_millis(50);
    assert_eq!(store.lock(&name(1), &token(1), lease).await, Ok(true));
    eventually("the lock is free", async || store.lock(&name(1), &token(2), HOUR).await == Ok(true)).await;
    assert_eq!(store.lock(&name(1), &token(1), HOUR).await, Ok(false));
    assert_eq!(store.unlock(&name(1), &token(1)).await, Ok(()));
    assert_eq!(store.lock(&name(1), &token(1), HOUR).await, Ok(false));
}

/// A lock of the same lease that nobody renews shows that the time has passed.
async fn a_renewed_lock_outlives_its_first_lease(store: Arc<Store>) {
    let lease = Duration::from_millis(200);
    assert_eq!(store.lock(&name(1), &token(1), lease).await, Ok(true));
    assert_eq!(store.lock(&name(1), &token(1), HOUR).await, Ok(true));
    assert_eq!(store.lock(&name(2), &token(1), lease).await, Ok(true));
    eventually("the other lease is over", async || store.lock(&name(2), &token(2), HOUR).await == Ok(true)).await;
    assert_eq!(store.lock(&name(1), &token(2), HOUR).await, Ok(false));
}

async fn a_group_lists_its_living_sessions_newest_first(store: Arc<Store>) {
    let (user, provider_session) = (name(100), name(101));
    for number in 1..=3 {
        let member = NewSession {
            groups: vec![user, provider_session],
            until: in_an_hour().plus(Duration::from_secs(number.into())),
            ..session(number)
        };
        store.create(&member).await.unwrap();
    }
    store.create(&session(4)).await.unwrap();
    store.end(&name(2), in_an_hour()).await.unwrap();
    for group in [user, provider_session] {
        let members = store.group(&group).await.unwrap();
        let found: Vec<_> = members.iter().map(|member| member.name).collect();
        assert_eq!(found, [name(3), name(1)]);
        assert_eq!(members[0].index, session(3).index);
    }
    let others = store.group(&name(0)).await.unwrap();
    assert_eq!(others.len(), 1);
}

async fn a_group_lists_no_more_than_its_limit(store: Arc<Store>) {
    let limit = u16::try_from(GROUP_LIMIT).unwrap();
    let until = in_an_hour();
    for number in 1..=limit + 2 {
        let member = NewSession { until: until.plus(Duration::from_millis(number.into())), ..session(number) };
        store.create(&member).await.unwrap();
    }
    let members = store.group(&name(0)).await.unwrap();
    assert_eq!(members.len(), GROUP_LIMIT);
    assert_eq!(members[0].name, name(limit + 2));
    assert_eq!(members[GROUP_LIMIT - 1].name, name(3));
    for member in members {
        store.end(&member.name, until).await.unwrap();
    }
    assert_eq!(store.group(&name(0)).await.unwrap().len(), 2);
}

async fn sessions_are_counted_while_they_live(store: Arc<Store>) {
    for number in 1..=3 {
        store.create(&session(number)).await.unwrap();
    }
    assert_eq!(store.count().await, Ok(3));
    store.end(&name(1), in_an_hour()).await.unwrap();
    assert_eq!(store.count().await, Ok(2));
    let short = NewSession { until: now().plus(Duration::from_millis(100)), ..session(4) };
    store.create(&short).await.unwrap();
    eventually("the short one is not counted", async || store.count().await == Ok(2)).await;
}

async fn everything_is_gone_when_its_time_is_over(store: Arc<Store>) {
    let until = now().plus(Duration::from_millis(200));
    let short = NewSession { until, ..session(1) };
    store.create(&short).await.unwrap();
    store.end(&name(2), until).await.unwrap();
    store.mark_once(&name(3), &token(1), until).await.unwrap();
    eventually("the session is gone", async || store.facts(&name(1)).await == Ok(None)).await;
    eventually("the tombstone is gone", async || store.was_ended(&name(2)).await == Ok(false)).await;
    eventually("the mark is gone", async || {
        let mark = store.mark_once(&name(3), &token(2), in_an_hour()).await;
        mark == Ok(Mark::First)
    })
    .await;
    assert!(now() >= until);
    let late = store.compare_and_set(&name(1), &change(1, "late")).await;
    assert_eq!(late, Ok(Swap::Gone));
    assert_eq!(store.group(&name(0)).await, Ok(Vec::new()));
}

async fn what_expired_before_it_was_written_is_not_there(store: Arc<Store>) {
    for past in [Timestamp::from_millis(0), now().minus(HOUR)] {
        let late = NewSession { until: past, ..session(1) };
        store.create(&late).await.unwrap();
        assert_eq!(store.facts(&name(1)).await, Ok(None));
        assert_eq!(store.count().await, Ok(0));
        store.end(&name(1), past).await.unwrap();
        assert_eq!(store.was_ended(&name(1)).await, Ok(false));
        let mark = store.mark_once(&name(2), &token(1), past).await;
        assert_eq!(mark, Ok(Mark::First));
    }
}

async fn the_end_of_time_is_not_too_late(store: Arc<Store>) {
    let ever = Timestamp::from_millis(u64::MAX);
    let eternal = NewSession { until: ever, ..session(1) };
    store.create(&eternal).await.unwrap();
    assert_eq!(store.group(&name(0)).await.unwrap().len(), 1);
    store.end(&name(1), ever).await.unwrap();
    assert_eq!(store.was_ended(&name(1)).await, Ok(true));
    store.mark_once(&name(1), &token(1), ever).await.unwrap();
    let lock = store.lock(&name(1), &token(1), Duration::MAX).await;
    assert_eq!(lock, Ok(true));
}

fn switches(epoch: u64, sealed: &str) -> StoredSwitches {
    StoredSwitches { epoch, sealed: [&[0, 0xff, b'\r', b'\n'], sealed.as_bytes()].concat() }
}

async fn switches_that_nobody_threw_are_not_there(store: Arc<Store>) {
    assert_eq!(store.switches().await, Ok(None));
}

async fn switches_come_back_as_they_were_thrown(store: Arc<Store>) {
    for thrown in [switches(0, ""), switches(1, "one"), switches(u64::MAX, "last")] {
        assert_eq!(store.throw_switches(&thrown).await, Ok(Thrown::Done));
        assert_eq!(store.switches().await, Ok(Some(thrown)));
    }
}

async fn only_a_higher_epoch_throws_the_switches(store: Arc<Store>) {
    let thrown = switches(5, "five");
    assert_eq!(store.throw_switches(&thrown).await, Ok(Thrown::Done));
    for late in [switches(4, "four"), switches(5, "another five"), switches(0, "")] {
        assert_eq!(store.throw_switches(&late).await, Ok(Thrown::Stale));
        assert_eq!(store.switches().await, Ok(Some(thrown.clone())));
    }
    assert_eq!(store.throw_switches(&switches(6, "six")).await, Ok(Thrown::Done));
}

async fn epochs_are_compared_as_numbers_to_the_last_digit(store: Arc<Store>) {
    let rising = [9, 10, 99, 100, 1 << 53, (1 << 53) + 1, u64::MAX - 1, u64::MAX];
    for epoch in rising {
        assert_eq!(store.throw_switches(&switches(epoch, "up")).await, Ok(Thrown::Done), "{epoch}");
        assert_eq!(store.throw_switches(&switches(epoch - 1, "down")).await, Ok(Thrown::Stale), "{epoch}");
    }
}

async fn switches_thrown_again_have_the_same_answer(store: Arc<Store>) {
    let thrown = switches(5, "five");
    for _ in 0..3 {
        assert_eq!(store.throw_switches(&thrown).await, Ok(Thrown::Done));
    }
}

async fn of_many_who_throw_one_epoch_exactly_one_is_done(store: Arc<Store>) {
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.throw_switches(&switches(1, &number.to_string())).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(Thrown::Done)).count(), 1);
}

async fn a_ping_is_answered(store: Arc<Store>) {
    assert_eq!(store.ping().await, Ok(()));
    assert_eq!(store.generation(), 0);
}
