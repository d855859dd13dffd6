//! What reached the application, for tests to look at. Bounded: the oldest requests go first.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, Method, request::Parts};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// Path and query, raw.
    pub target: String,
    /// Every header, repeated ones included.
    pub headers: HeaderMap,
}

/// The requests so far.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<VecDeque<Recorded>>);

impl Record {
    /// Remembers a request.
    pub(crate) fn add(&self, parts: &Parts) {
        let mut requests = self.lock();
        if requests.len() == REQUESTS_KEPT {
            requests.pop_front();
        }
        requests.push_back(Recorded {
            method: parts.method.clone(),
            target: parts.uri.to_string(),
            headers: parts.headers.clone(),
        });
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.lock().iter().cloned().collect()
    }

    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    /// A thread that panicked while it held the lock left a whole record behind.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Recorded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many requests are remembered.
pub const REQUESTS_KEPT: usize = 1_024;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use http::Request;

    use super::*;

    #[test]
    fn the_oldest_requests_are_forgotten_first() {
        let record = Record::default();
        for number in 0..=REQUESTS_KEPT {
            let request = Request::get(format!("/{number}")).body(()).unwrap();
            record.add(&request.into_parts().0);
        }
        let kept = record.all();
        assert_eq!(kept.len(), REQUESTS_KEPT);
        assert_eq!(kept.first().unwrap().target, "/1");
        record.forget();
        assert!(record.all().is_empty());
    }
}
