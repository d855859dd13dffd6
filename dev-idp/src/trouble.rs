//! Pure. Troubles of single endpoints: slow, unavailable, hanging.

use std::{collections::BTreeMap, time::Duration};

use crate::endpoint::Endpoint;

/// What is the matter with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The request is performed at once, its answer comes so much later.
    Slow(Duration),
    /// The answer is 503; nothing is performed.
    Unavailable,
    /// No answer ever comes; nothing is performed.
    Hang,
}

impl Trouble {
    /// Reads `unavailable`, `hang`, or `slow-` with a number of milliseconds.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "unavailable" => Some(Self::Unavailable),
            "hang" => Some(Self::Hang),
            _ => name.strip_prefix("slow-")?.parse().ok().map(Duration::from_millis).map(Self::Slow),
        }
    }
}

/// The troubles there are.
#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<Endpoint, Trouble>);

impl Troubles {
    pub(crate) fn set(&mut self, endpoint: Endpoint, trouble: Trouble) {
        self.0.insert(endpoint, trouble);
    }

    pub(crate) fn clear(&mut self, endpoint: Endpoint) {
        self.0.remove(&endpoint);
    }

    pub(crate) fn clear_all(&mut self) {
        self.0.clear();
    }

    pub(crate) fn at(&self, endpoint: Endpoint) -> Option<Trouble> {
        self.0.get(&endpoint).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_read_by_name() {
        let check = |name, expected| assert_eq!(Trouble::named(name), expected, "{name}");
        check("hang", Some(Trouble::Hang));
        check("unavailable", Some(Trouble::Unavailable));
        check("slow-250", Some(Trouble::Slow(Duration::from_millis(250))));
        check("slow-", None);
        check("gone", None);
    }
}
