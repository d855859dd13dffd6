//! Pure. The bars that `--check` holds a run to.

use std::fmt;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Must {
    AtMost(f64),
    AtLeast(f64),
    StayBelow(f64),
}

/// Every figure that has a bar.
const BARS: [(&str, Must); 6] = [
    ("warm_direct_cpu", Must::AtMost(1.5)),
    ("cold_direct_cpu", Must::AtMost(1.4)),
    ("nginx_rps", Must::AtLeast(0.85)),
    ("forged_store_commands", Must::AtMost(0.0)),
    ("rss_mib", Must::StayBelow(30.0)),
    ("start_ms", Must::StayBelow(100.0)),
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
    const GOOD: [(&str, Option<f64>); 6] = [
        ("warm_direct_cpu", Some(1.5)),
        ("cold_direct_cpu", Some(1.4)),
        ("nginx_rps", Some(0.85)),
        ("forged_store_commands", Some(0.0)),
        ("rss_mib", Some(29.9)),
        ("start_ms", Some(99.9)),
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
        check("warm_direct_cpu", Some(1.501), "warm_direct_cpu is 1.501, and must be at most 1.5");
        check("cold_direct_cpu", Some(1.41), "cold_direct_cpu is 1.410, and must be at most 1.4");
        check("nginx_rps", Some(0.84), "nginx_rps is 0.840, and must be at least 0.85");
        check("forged_store_commands", Some(1.0), "forged_store_commands is 1.000, and must be at most 0");
        check("rss_mib", Some(30.0), "rss_mib is 30.000, and must be below 30");
        check("start_ms", Some(100.0), "start_ms is 100.000, and must be below 100");
    }

    #[test]
    fn a_figure_that_is_not_there_is_missed() {
        check("start_ms", None, "start_ms was not measured, and must be below 100");
        check("nginx_rps", Some(f64::NAN), "nginx_rps is NaN, and must be at least 0.85");
        assert_eq!(missed(&[]).len(), BARS.len());
    }
}
