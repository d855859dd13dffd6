//! Pure. The bars that `--check` holds a run to.

use std::fmt;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Must {
    AtMost(f64),
    AtLeast(f64),
    StayBelow(f64),
}

/// Every figure that has a bar. `cold_store_commands` has one because what is remembered is not cold.
const BARS: [(&str, Must); 13] = [
    ("warm_direct_cpu", Must::AtMost(1.25)),
    ("warm_direct_rps", Must::AtLeast(0.85)),
    ("cold_direct_cpu", Must::AtMost(1.25)),
    ("nginx_rps", Must::AtLeast(0.95)),
    ("nginx_p99", Must::AtMost(1.2)),
    ("unauthorized_cpu", Must::AtMost(1.0)),
    ("forged_store_commands", Must::AtMost(0.0)),
    ("cold_store_commands", Must::AtLeast(0.99)),
    ("scale_1m", Must::AtMost(1.1)),
    ("rss_10k_mib", Must::StayBelow(20.0)),
    ("cached_session_bytes", Must::AtMost(1_024.0)),
    ("start_ms", Must::StayBelow(50.0)),
    ("revocation_p99_ms", Must::StayBelow(100.0)),
];

/// What is said of each bar that these figures miss. A figure that is not there misses its bar too.
pub(crate) fn missed(figures: &[(&str, Option<f64>)]) -> Vec<String> {
    let found = |name: &str| figures.iter().find(|(found, _)| *found == name).and_then(|(_, figure)| *figure);
    BARS.iter().filter_map(|(name, must)| must.complaint(name, found(name))).collect()
}

impl Must {
    fn complaint(self, name: &str, figure: Option<f64>) -> Option<String> {
        match figure {
            Some(figure) if self.holds(figure) => None,
            Some(figure) => Some(format!("{name} is {figure:.3}, and must be {self}")),
            None => Some(format!("{name} was not measured, and must be {self}")),
        }
    }

    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
            Self::StayBelow(limit) => figure < limit,
        }
    }
}

impl fmt::Display for Must {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(formatter, "at most {limit}"),
            Self::AtLeast(limit) => write!(formatter, "at least {limit}"),
            Self::StayBelow(limit) => write!(formatter, "below {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the very edge of every bar that has one on its good side.
    const GOOD: [(&str, Option<f64>); 13] = [
        ("warm_direct_cpu", Some(1.25)),
        ("warm_direct_rps", Some(0.85)),
        ("cold_direct_cpu", Some(1.25)),
        ("nginx_rps", Some(0.95)),
        ("nginx_p99", Some(1.2)),
        ("unauthorized_cpu", Some(1.0)),
        ("forged_store_commands", Some(0.0)),
        ("cold_store_commands", Some(0.99)),
        ("scale_1m", Some(1.1)),
        ("rss_10k_mib", Some(19.9)),
        ("cached_session_bytes", Some(1_024.0)),
        ("start_ms", Some(49.9)),
        ("revocation_p99_ms", Some(99.9)),
    ];

    fn check(name: &str, figure: Option<f64>, expected: &str) {
        let figures = GOOD.map(|(found, good)| if found == name { (found, figure) } else { (found, good) });
        assert_eq!(missed(&figures), [expected.to_owned()]);
    }

    #[test]
    fn a_run_on_the_edge_misses_nothing() {
        assert_eq!(missed(&GOOD), Vec::<String>::new());
    }

    #[test]
    fn each_bar_is_missed_by_its_name() {
        check("warm_direct_cpu", Some(1.251), "warm_direct_cpu is 1.251, and must be at most 1.25");
        check("warm_direct_rps", Some(0.849), "warm_direct_rps is 0.849, and must be at least 0.85");
        check("cold_direct_cpu", Some(1.251), "cold_direct_cpu is 1.251, and must be at most 1.25");
        check("nginx_rps", Some(0.949), "nginx_rps is 0.949, and must be at least 0.95");
        check("nginx_p99", Some(1.201), "nginx_p99 is 1.201, and must be at most 1.2");
        check("unauthorized_cpu", Some(1.001), "unauthorized_cpu is 1.001, and must be at most 1");
        check("forged_store_commands", Some(0.001), "forged_store_commands is 0.001, and must be at most 0");
        check("cold_store_commands", Some(0.989), "cold_store_commands is 0.989, and must be at least 0.99");
        check("scale_1m", Some(1.101), "scale_1m is 1.101, and must be at most 1.1");
        check("rss_10k_mib", Some(20.0), "rss_10k_mib is 20.000, and must be below 20");
        check("cached_session_bytes", Some(1_024.001), "cached_session_bytes is 1024.001, and must be at most 1024");
        check("start_ms", Some(50.0), "start_ms is 50.000, and must be below 50");
        check("revocation_p99_ms", Some(100.0), "revocation_p99_ms is 100.000, and must be below 100");
    }

    #[test]
    fn a_figure_that_is_not_there_is_missed() {
        check("start_ms", None, "start_ms was not measured, and must be below 50");
        check("nginx_rps", Some(f64::NAN), "nginx_rps is NaN, and must be at least 0.95");
        assert_eq!(missed(&[]).len(), BARS.len());
    }
}
