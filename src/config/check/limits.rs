//! Pure. How much of what is too much.

use std::time::Duration;

use super::{DAY, SECOND, duration};
use crate::{
    config::{
        problem::{Checked, Path, Problems},
        raw::{LimitsTable, leaf::Allowance, node::Field},
    },
    limits::rule::Config,
    store::window::Rate,
};

/// Checks the limits.
pub(super) fn limits(table: &LimitsTable, problems: &mut Problems) -> Checked<Config> {
    let login = rate(&table.login, 30, MINUTE);
    let failed_callback = rate(&table.failed_callback, 10, MINUTE);
    let failed_sign_in = rate(&table.failed_sign_in, 20, MINUTE * 60);
    let failed_sign_in_wait = duration(&table.failed_sign_in_wait, MINUTE * 30, SECOND..=DAY, problems);
    let refresh_session = rate(&table.refresh_session, 5, MINUTE);
    let refresh_user = rate(&table.refresh_user, 30, MINUTE * 60);
    let refused_certificates = rate(&table.refused_certificates, 10, MINUTE);
    let everything = everything(&table.everything, problems);
    Ok(Config {
        login: login?,
        failed_callback: failed_callback?,
        failed_sign_in: failed_sign_in?,
        failed_sign_in_wait: failed_sign_in_wait?,
        refresh_session: refresh_session?,
        refresh_user: refresh_user?,
        everything: everything?,
        refused_certificates: refused_certificates?,
    })
}

fn rate(field: &Field<Allowance>, most: usize, per: Duration) -> Checked<Option<Rate>> {
    field.or(Allowance(Rate::new(most, per))).map(|Allowance(rate)| rate)
}

fn everything(field: &Field<Vec<Rate>>, problems: &mut Problems) -> Checked<Vec<Rate>> {
    let rates = field.or(Vec::new())?;
    if rates.len() <= MOST_RATES {
        return Ok(rates);
    }
    let path: &Path = &field.path;
    Err(problems.add(path, format!("must not be more than {MOST_RATES} rates")))
}

const MINUTE: Duration = Duration::from_secs(60);
/// Most rates that one kind of window has.
const MOST_RATES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Settings;

    fn of(limits: &str) -> Config {
        Settings::valid().with(&format!("[limits]\n{limits}")).config().gateway.limits
    }

    fn check(limits: &str, expected: &str) {
        assert_eq!(Settings::valid().with(&format!("[limits]\n{limits}")).problems(), expected, "{limits}");
    }

    #[test]
    fn each_limit_can_be_another_or_none() {
        assert_eq!(of("").login, Rate::new(30, MINUTE));
        assert_eq!(of("login = 'off'").login, None);
        assert_eq!(of("login = '7/90s'").login, Rate::new(7, Duration::from_secs(90)));
        assert_eq!(of("login = '7 / 1h 30m'").login, Rate::new(7, MINUTE * 90));
        assert!(of("").everything.is_empty());
        assert_eq!(of("everything = ['200/1d', '50/1h', '10/1m']").everything.len(), 3);
        assert_eq!(of("failed_sign_in_wait = '1h'").failed_sign_in_wait, MINUTE * 60);
    }

    #[test]
    fn what_is_no_rate_is_named() {
        let wrong = "must be how many in how long, such as \"30/1m\": 1 to 1000 in at most a day";
        for text in
            ["", "30", "30/", "/1m", "0/1m", "-1/1m", "+3/1m", "1001/1m", "30/2d", "30/0s", "30/m", "30/1m/1m", "Off"]
        {
            check(&format!("login = '{text}'"), &format!("limits.login: {wrong}, or \"off\""));
        }
        check("login = 30", "limits.login: must be a text in quotes");
        check("everything = ['10/1m', 'off']", &format!("limits.everything[1]: {wrong}"));
        let many = ["'1/1m'"; MOST_RATES + 1].join(", ");
        check(&format!("everything = [{many}]"), "limits.everything: must not be more than 8 rates");
        check("failed_sign_in_wait = '2d'", "limits.failed_sign_in_wait: must be between 1s and 1 days");
    }
}
