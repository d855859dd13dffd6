//! Pure. Sliding windows: who was counted when, and whether there is room for one more.
//!
//! Exact: within any span of a rate's length no more are admitted than the rate says. Who is refused is not counted, so
//! nobody's wait grows by asking. Each kind of window has room of its own, for so many windows and for so many moments in
//! all of them; when it is full, the window that would be forgotten soonest makes room: a flood of unknown keys locks
//! nobody out and takes no more memory.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    num::NonZeroUsize,
    time::Duration,
};

use super::{Name, Token};
use crate::clock::Timestamp;

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    most: NonZeroUsize,
    per: Duration,
}

impl Rate {
    /// A rate of 1 to [`MOST_COUNTED`] in a millisecond to [`LONGEST_WINDOW`].
    pub fn new(most: usize, per: Duration) -> Option<Self> {
        let most = NonZeroUsize::new(most).filter(|most| most.get() <= MOST_COUNTED)?;
        (Duration::from_millis(1)..=LONGEST_WINDOW).contains(&per).then_some(Self { most, per })
    }

    /// How many.
    pub const fn most(self) -> usize {
        self.most.get()
    }

    /// In how long.
    pub const fn per(self) -> Duration {
        self.per
    }
}

/// What kind of thing is counted; no kind takes another's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sign-ins that an address begins.
    SignIn,
    /// Callbacks of an address without a sign-in of that browser.
    StrayCallback,
    /// Sign-ins of an address that failed.
    FailedSignIn,
    /// Refreshes of a session.
    SessionRefresh,
    /// Refreshes of a user.
    UserRefresh,
    /// Everything that an address asks of the public pages.
    Everything,
    /// Certificates of the admin CA that the whole fleet refuses.
    RefusedCertificate,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 7] = [
        Self::SignIn,
        Self::StrayCallback,
        Self::FailedSignIn,
        Self::SessionRefresh,
        Self::UserRefresh,
        Self::Everything,
        Self::RefusedCertificate,
    ];

    /// The label in keys, logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SignIn => "login",
            Self::StrayCallback => "failed_callback",
            Self::FailedSignIn => "failed_sign_in",
            Self::SessionRefresh => "refresh_session",
            Self::UserRefresh => "refresh_user",
            Self::Everything => "everything",
            Self::RefusedCertificate => "refused_certificate",
        }
    }
}

/// Whose window of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// The kind.
    pub kind: Kind,
    /// Whose.
    pub name: Name,
}

/// Whether there was room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// There was, and the caller is counted.
    Admitted,
    /// There was none.
    Refused {
        /// How long until there is, if nobody else takes it; at least a millisecond.
        wait: Duration,
    },
}

/// The windows of one process.
pub struct Windows {
    room: Room,
    books: HashMap<Kind, Book>,
}

/// How much of one kind is kept.
#[derive(Clone, Copy, Debug)]
struct Room {
    windows: usize,
    moments: usize,
}

/// The windows of one kind. Each stands in `due` exactly once.
#[derive(Default)]
struct Book {
    windows: HashMap<Name, Entries>,
    due: BTreeSet<(Timestamp, Name)>,
    /// How many moments all of them hold.
    moments: usize,
}

#[derive(Default)]
struct Entries {
    counted: VecDeque<(Timestamp, Token)>,
    barred_until: Option<Timestamp>,
    due: Option<Timestamp>,
}

impl Windows {
    /// None yet, and never more than `most` of a kind, with [`MOMENTS_PER_WINDOW`] each on the average.
    pub fn new(most: usize) -> Self {
        let windows = most.max(1);
        let room = Room { windows, moments: windows.saturating_mul(MOMENTS_PER_WINDOW).max(MOST_COUNTED) };
        Self { room, books: HashMap::new() }
    }

    /// See [`super::Store::count_in_window`].
    pub fn count(&mut self, window: Window, rates: &[Rate], by: &Token, now: Timestamp) -> Counted {
        let room = self.room;
        let book = self.book(window.kind, now);
        let longest = rates.iter().map(|rate| rate.per).max();
        if let Some(entries) = book.windows.get_mut(&window.name) {
            book.moments -= entries.distrust_the_future(now.plus(longest.unwrap_or_default()));
            if entries.counted.iter().any(|(_, token)| token == by) {
                return Counted::Admitted;
            }
            if let Some(wait) = entries.wait(rates, now) {
                return Counted::Refused { wait };
            }
        }
        if let Some(longest) = longest {
            book.change(window.name, room, |entries| {
                // In order, also when the clock was set back a little.
                let at = entries.counted.back().map_or(now, |(last, _)| now.max(*last));
                entries.counted.push_back((at, *by));
                entries.forget_before(now, longest);
                at.plus(longest)
            });
        }
        Counted::Admitted
    }

    /// See [`super::Store::bar_window`].
    pub fn bar(&mut self, window: Window, time: Duration, now: Timestamp) {
        let room = self.room;
        let book = self.book(window.kind, now);
        book.change(window.name, room, |entries| {
            let standing = entries.barred_until.filter(|until| *until > now);
            *entries.barred_until.insert(standing.unwrap_or(now.plus(time)))
        });
    }

    /// The windows of that kind that are not due.
    fn book(&mut self, kind: Kind, now: Timestamp) -> &mut Book {
        let book = self.books.entry(kind).or_default();
        while book.due.first().is_some_and(|(due, _)| *due <= now) {
            book.drop_soonest();
        }
        book
    }
}

impl fmt::Debug for Windows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Windows").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Book {
    /// Changes a window, which may be new; the change says until when it matters.
    fn change(&mut self, name: Name, room: Room, change: impl FnOnce(&mut Entries) -> Timestamp) {
        if self.windows.len() >= room.windows && !self.windows.contains_key(&name) {
            self.drop_soonest();
        }
        let entries = self.windows.entry(name).or_default();
        self.moments -= entries.counted.len();
        let until = change(entries);
        self.moments += entries.counted.len();
        let due = entries.due.map_or(until, |due| due.max(until));
        if let Some(before) = entries.due.replace(due) {
            self.due.remove(&(before, name));
        }
        self.due.insert((due, name));
        while self.moments > room.moments && self.drop_another_than(name) {}
    }

    /// Says whether there was one.
    fn drop_another_than(&mut self, name: Name) -> bool {
        let another = self.due.iter().find(|(_, other)| *other != name).copied();
        another.inspect(|due| self.drop_window(due)).is_some()
    }

    fn drop_soonest(&mut self) {
        if let Some(soonest) = self.due.first().copied() {
            self.drop_window(&soonest);
        }
    }

    fn drop_window(&mut self, due: &(Timestamp, Name)) {
        self.due.remove(due);
        let dropped = self.windows.remove(&due.1);
        self.moments -= dropped.map_or(0, |entries| entries.counted.len());
    }
}

impl Entries {
    /// How long until there is room: the oldest of those that fill a rate must have left its window.
    fn wait(&self, rates: &[Rate], now: Timestamp) -> Option<Duration> {
        let full = rates.iter().filter_map(|rate| {
            let oldest = self.counted.len().checked_sub(rate.most())?;
            self.counted.get(oldest).map(|(at, _)| at.plus(rate.per))
        });
        let free = full.chain(self.barred_until).max()?;
        Some(free.since(now)).filter(|wait| !wait.is_zero())
    }

    fn forget_before(&mut self, now: Timestamp, longest: Duration) {
        while self.counted.front().is_some_and(|(at, _)| at.plus(longest) <= now) {
            self.counted.pop_front();
        }
        // Room that is not used is not held: it is the moments that are bounded.
        if self.counted.len() < self.counted.capacity() / 4 {
            self.counted.shrink_to(self.counted.len() * 2);
        }
    }

    /// What lies further ahead than a window was counted before the clock was set back; says how much that was.
    fn distrust_the_future(&mut self, latest: Timestamp) -> usize {
        let before = self.counted.len();
        self.counted.retain(|(at, _)| *at <= latest);
        before - self.counted.len()
    }
}

/// Most that a rate may be, because each that is counted is kept for the window's length.
pub const MOST_COUNTED: usize = 1_000;

/// How many moments there is room for, for each window that there is room for: limits that let one client do hundreds of
/// things a day are meant for few clients.
pub const MOMENTS_PER_WINDOW: usize = 20;

/// The longest time that a rate may span.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn rate(most: usize, seconds: u64) -> Rate {
        Rate::new(most, Duration::from_secs(seconds)).unwrap()
    }

    fn window(number: u16) -> Window {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&number.to_be_bytes());
        Window { kind: Kind::SignIn, name: Name::new(hash) }
    }

    fn token(number: u128) -> Token {
        Token(number.to_be_bytes())
    }

    fn entries(windows: &Windows) -> usize {
        windows.books.values().map(|book| book.windows.len().max(book.due.len())).sum()
    }

    #[test]
    fn rates_have_bounds() {
        let check = |most, per, expected: bool| {
            assert_eq!(Rate::new(most, per).is_some(), expected, "{most} in {per:?}");
        };
        check(1, Duration::from_millis(1), true);
        check(MOST_COUNTED, LONGEST_WINDOW, true);
        check(0, MINUTE, false);
        check(MOST_COUNTED + 1, MINUTE, false);
        check(1, Duration::ZERO, false);
        check(1, LONGEST_WINDOW + MINUTE, false);
    }

    #[test]
    fn the_window_slides_to_the_millisecond() {
        let mut windows = Windows::new(10);
        let rates = [rate(2, 60)];
        let mut count = |after: u64, by: u128| {
            windows.count(window(1), &rates, &token(by), START.plus(Duration::from_millis(after)))
        };
        let refused = |millis| Counted::Refused { wait: Duration::from_millis(millis) };
        assert_eq!(count(0, 1), Counted::Admitted);
        assert_eq!(count(10_000, 2), Counted::Admitted);
        assert_eq!(count(20_000, 3), refused(40_000));
        assert_eq!(count(20_000, 2), Counted::Admitted, "the second asks again");
        assert_eq!(count(59_999, 4), refused(1));
        assert_eq!(count(60_000, 5), Counted::Admitted);
        assert_eq!(count(60_000, 6), refused(10_000));
        assert_eq!(count(70_000, 7), Counted::Admitted);
    }

    #[test]
    fn of_several_rates_the_longest_wait_counts() {
        let mut windows = Windows::new(10);
        let rates = [rate(2, 60), rate(3, 3_600)];
        let mut count =
            |after: u64, by: u128| windows.count(window(1), &rates, &token(by), START.plus(Duration::from_secs(after)));
        for (by, after) in [(1, 0), (2, 0), (3, 60)] {
            assert_eq!(count(after, by), Counted::Admitted);
        }
        assert_eq!(count(61, 4), Counted::Refused { wait: Duration::from_secs(3_539) });
        assert_eq!(count(3_600, 5), Counted::Admitted);
    }

    #[test]
    fn a_bar_refuses_whatever_the_rates_and_does_not_get_longer() {
        let mut windows = Windows::new(10);
        windows.bar(window(1), MINUTE * 30, START);
        windows.bar(window(1), MINUTE * 30, START.plus(MINUTE));
        let mut count = |rates: &[Rate], after| windows.count(window(1), rates, &token(9), START.plus(after));
        assert_eq!(count(&[], MINUTE), Counted::Refused { wait: MINUTE * 29 });
        assert_eq!(count(&[rate(2, 60)], MINUTE * 2), Counted::Refused { wait: MINUTE * 28 });
        assert_eq!(count(&[], MINUTE * 30), Counted::Admitted);
        assert_eq!(entries(&windows), 0);
    }

    #[test]
    fn a_full_book_forgets_the_window_that_is_due_soonest_and_no_other_kind() {
        let mut windows = Windows::new(100);
        let rates = [rate(1, 60)];
        let other = Window { kind: Kind::SessionRefresh, ..window(0) };
        assert_eq!(windows.count(other, &rates, &token(0), START), Counted::Admitted);
        windows.bar(window(0), MINUTE * 30, START);
        for number in 1..=1_000 {
            let counted = windows.count(window(number), &rates, &token(1), START.plus(Duration::from_secs(1)));
            assert_eq!(counted, Counted::Admitted, "a new key is never locked out");
        }
        assert_eq!(entries(&windows), 101);
        let mut count = |window, by| windows.count(window, &rates, &token(by), START.plus(Duration::from_secs(2)));
        assert!(matches!(count(window(0), 2), Counted::Refused { .. }), "the bar stands");
        assert!(matches!(count(other, 2), Counted::Refused { .. }), "the other kind is untouched");
        assert!(matches!(count(window(1_000), 2), Counted::Refused { .. }), "the newest is known");
    }

    #[test]
    fn many_clients_with_many_moments_take_no_more_room_than_there_is() {
        let mut windows = Windows::new(100);
        let rates = [rate(MOST_COUNTED, 24 * 60 * 60)];
        let most = 100 * MOMENTS_PER_WINDOW;
        let moments = |windows: &Windows| {
            let book = &windows.books[&Kind::SignIn];
            let held: usize = book.windows.values().map(|entries| entries.counted.len()).sum();
            assert_eq!(held, book.moments);
            held
        };
        for number in 0..10 {
            for by in 0..MOST_COUNTED {
                let now = START.plus(Duration::from_secs(number.into()));
                assert_eq!(windows.count(window(number), &rates, &token(by as u128), now), Counted::Admitted);
                assert!(moments(&windows) <= most);
            }
        }
        assert_eq!(moments(&windows), most);
        let later = START.plus(Duration::from_secs(10));
        let full = windows.count(window(9), &rates, &token(u128::MAX), later);
        assert!(matches!(full, Counted::Refused { .. }), "the newest is known to the last moment");
        windows.count(window(0), &rates, &token(0), later.plus(LONGEST_WINDOW));
        assert_eq!(moments(&windows), 1);
    }

    #[test]
    fn a_window_never_makes_room_for_itself() {
        let mut windows = Windows::new(1);
        let rates = [rate(MOST_COUNTED, 60)];
        let mut count = |by: usize, now| windows.count(window(1), &rates, &token(by as u128), now);
        for by in 0..MOST_COUNTED {
            let now = START.plus(Duration::from_millis(if by == 0 { 0 } else { 1_000 }));
            assert_eq!(count(by, now), Counted::Admitted);
        }
        let first_is_gone = START.plus(MINUTE);
        assert_eq!(count(MOST_COUNTED, first_is_gone), Counted::Admitted);
        let next = count(MOST_COUNTED + 1, first_is_gone);
        assert_eq!(next, Counted::Refused { wait: Duration::from_secs(1) });
    }

    #[test]
    fn nothing_is_left_of_what_is_due() {
        let mut windows = Windows::new(100);
        for number in 0..50 {
            windows.count(window(number), &[rate(3, 60)], &token(1), START);
        }
        assert_eq!(entries(&windows), 50);
        windows.count(window(99), &[rate(3, 60)], &token(1), START.plus(MINUTE));
        assert_eq!(entries(&windows), 1);
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out_for_longer_than_two_windows() {
        let mut windows = Windows::new(10);
        let rates = [rate(1, 60)];
        let much_later = START.plus(MINUTE * 600);
        windows.count(window(1), &rates, &token(1), much_later);
        assert_eq!(windows.count(window(1), &rates, &token(2), START), Counted::Admitted);
        let a_little_back = Counted::Refused { wait: MINUTE + Duration::from_secs(1) };
        let back = Timestamp::from_millis(START.millis() - 1_000);
        assert_eq!(windows.count(window(1), &rates, &token(3), back), a_little_back);
    }

    proptest! {
        #[test]
        fn any_sequence_is_admitted_as_if_every_moment_had_been_written_down(
            steps in prop::collection::vec((0_u64..40, 0_u16..3), 1..200),
            short in 1_usize..5,
            long in 1_usize..12,
        ) {
            let rates = [rate(short, 20), rate(long, 100)];
            let mut windows = Windows::new(10);
            let mut now = START;
            let mut admitted: Vec<(u16, Timestamp)> = Vec::new();
            for (by, (pause, key)) in steps.into_iter().enumerate() {
                now = now.plus(Duration::from_secs(pause));
                let within = |rate: &Rate| {
                    admitted.iter().filter(|(other, at)| *other == key && now.since(*at) < rate.per).count()
                };
                let room = rates.iter().all(|rate| within(rate) < rate.most());
                let counted = windows.count(window(key), &rates, &token(by as u128), now);
                prop_assert_eq!(counted == Counted::Admitted, room);
                if let Counted::Refused { wait } = counted {
                    let later = windows.count(window(key), &rates, &token(u128::MAX), now.plus(wait));
                    prop_assert_eq!(later, Counted::Admitted);
                    return Ok(());
                }
                admitted.push((key, now));
            }
        }
    }
}
