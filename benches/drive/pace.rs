//! A load that comes at a constant rate, whoever is slow: as many connections as wrk has, each with times of its own.
//!
//! A request's time counts from when it was due, not from when it could be sent: a server that stalls is not spared
//! the requests that it held up.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use url::Url;

use crate::{
    connection::Connection,
    figures::percentile,
    load::{CONNECTIONS, Seen},
};

/// Asks for a while, so often a second. Every answer must be a 200.
pub(crate) fn run(url: &Url, request: &[u8], per_second: u32, time: Duration) -> anyhow::Result<Seen> {
    let turns = Turns { begin: Instant::now() + HEAD_START, per_second, time };
    let mut took: Vec<f64> = thread::scope(|scope| {
        let asking: Vec<_> = (0..CONNECTIONS).map(|of| scope.spawn(move || ask(url, request, turns, of))).collect();
        let joined = asking.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread is lost"))?);
        joined.collect::<anyhow::Result<Vec<_>>>().map(|all| all.concat())
    })?;
    let seconds = turns.begin.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 here")]
    let requests = took.len() as f64;
    Ok(Seen {
        requests,
        requests_per_second: requests / seconds,
        p50_us: percentile(&took, 0.50),
        p99_us: percentile(&took, 0.99),
    })
}

/// The microseconds of each request of one connection.
fn ask(url: &Url, request: &[u8], turns: Turns, of: u32) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(url)?;
    let mut took = Vec::new();
    for due in turns.of(of) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let status = connection.ask(request)?;
        took.push(due.elapsed().as_secs_f64() * 1e6);
        ensure!(status == 200, "{url} is answered with {status}");
    }
    Ok(took)
}

/// When requests are due.
#[derive(Clone, Copy, Debug)]
struct Turns {
    begin: Instant,
    per_second: u32,
    time: Duration,
}

impl Turns {
    /// The times of one connection: the others' lie evenly between them.
    fn of(self, connection: u32) -> impl Iterator<Item = Instant> {
        let after = move |turn: u32| Duration::from_secs(1) * turn / self.per_second;
        let turns = (connection..).step_by(CONNECTIONS as usize).map(after);
        turns.take_while(move |after| *after < self.time).map(move |after| self.begin + after)
    }
}

/// Enough for all connections to be there when the first request is due.
const HEAD_START: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_keep_the_rate() {
        let turns = Turns { begin: Instant::now(), per_second: 5_000, time: Duration::from_secs(2) };
        let mut all: Vec<_> = (0..CONNECTIONS).flat_map(|connection| turns.of(connection)).collect();
        all.sort();
        assert_eq!(all.len(), 10_000);
        let gaps = all.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| gap == Duration::from_micros(200)));
        assert_eq!(all.first(), Some(&turns.begin));
    }
}
