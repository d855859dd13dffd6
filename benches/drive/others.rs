//! What others have made for the same purpose, beside ours where it is installed. Who is not there, or does not start,
//! is left out, and it is said: the run is about the gateway.

use crate::{
    apache, oauth2_proxy,
    process::Watched,
    row::Row,
    servers::{Redis, Starter},
};

/// Somebody else's servers, started, with somebody signed in.
#[derive(Default)]
pub(crate) struct Others {
    /// Their measurements; what is compared stands side by side.
    pub(crate) rows: Vec<Row>,
    /// The servers, by name.
    pub(crate) servers: Vec<(String, Watched)>,
}

/// Starts those that are installed.
pub(crate) fn set(starter: &Starter<'_>, redis: &Redis, say: &dyn Fn(&str)) -> Others {
    let known: [Known; 2] = [
        ("Apache with mod_auth_openidc", apache::is_installed, apache::set),
        ("oauth2-proxy", oauth2_proxy::is_installed, oauth2_proxy::set),
    ];
    let mut all = Others::default();
    for (name, is_installed, set) in known {
        if !is_installed() {
            say(&format!("{name} is not installed: its rows are left out"));
            continue;
        }
        let mark = starter.stage.mark();
        match set(starter, redis).and_then(Others::checked) {
            Ok(others) => {
                all.rows.extend(others.rows);
                all.servers.extend(others.servers);
            }
            Err(error) => {
                starter.stage.end_since(mark);
                say(&format!("{name} is left out: {error:#}"));
            }
        }
    }
    all
}

impl Others {
    fn checked(self) -> anyhow::Result<Self> {
        self.rows.iter().try_for_each(|row| row.load.check())?;
        Ok(self)
    }
}

type Known = (&'static str, fn() -> bool, fn(&Starter<'_>, &Redis) -> anyhow::Result<Others>);
