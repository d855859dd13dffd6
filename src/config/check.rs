//! Pure. From the settings as they are written to a [`Config`], noting every problem on the way.
//!
//! Invariant: nothing here stops at a mistake, and a value that could not be read is not complained of twice: what it
//! was needed for is simply not checked. A [`Config`] comes out only if every part did.

use std::{ops::RangeInclusive, time::Duration};

use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    Config, Mode,
    problem::{Checked, Path, Problems},
    raw::{
        Raw,
        leaf::{Count, File},
        node::Field,
    },
};
use crate::{gateway, oidc::sign_in, origin::Site, route::Prefix, secret::Secret};

mod identity;
mod limits;
mod listener;
mod log;
mod pages;
mod policy;
mod provider;
mod session;
mod site;
mod store;

/// Checks all of it.
pub(super) fn check(raw: &Raw, problems: &mut Problems) -> Checked<Config> {
    let mode = raw.mode.or(Mode::Production);
    let server = listener::server(&raw.listener, &raw.server, problems);
    let prefix = raw.server.prefix.or_some(Prefix::parse(DEFAULT_PREFIX), problems);
    let site = site::site(&raw.site, mode, problems);
    let provider = provider::provider(&raw.provider, mode, problems);
    let plain = has_plain_cookies(mode, &site);
    let access = policy::access(&raw.access, problems);
    let session = session::session(&raw.session, plain, problems);
    let transaction = session::transaction(&raw.sign_in, plain, problems);
    let limits = limits::limits(&raw.limits, problems);
    let store = store::store(&raw.store, problems);
    let policies = policy::policies(&raw.policy, problems);
    let identity = identity::identity(&raw.identity, problems);
    let telemetry = log::telemetry(&raw.log, problems);
    let look = pages::look(&raw.pages, problems);
    let csp_report_only = raw.pages.csp_report_only.or(false);
    let provider = provider?;
    Ok(Config {
        mode: mode?,
        server: server?,
        gateway: gateway::Config {
            site: site?,
            provider: provider.config,
            outbound: provider.outbound,
            sign_in: sign_in::Config {
                transaction: transaction?,
                access: access?,
                profile: provider.profile,
                prefix: prefix?,
            },
            session: session?,
            store: store?,
            limits: limits?,
            policies: policies?,
            identity: identity?,
            look: look?,
            csp_report_only: csp_report_only?,
        },
        telemetry: telemetry?,
    })
}

/// Browsers take `Secure` cookies and those with a prefix over https alone.
fn has_plain_cookies(mode: Checked<Mode>, site: &Checked<Site>) -> Checked<bool> {
    let site = site.as_ref().map_err(|noted| *noted)?;
    Ok(mode? == Mode::Development && !site.is_https())
}

/// A duration within limits that include both ends.
fn duration(
    field: &Field<Duration>,
    default: Duration,
    limits: RangeInclusive<Duration>,
    problems: &mut Problems,
) -> Checked<Duration> {
    let duration = field.or(default)?;
    if limits.contains(&duration) {
        return Ok(duration);
    }
    let ends = format!("must be between {} and {}", shown(*limits.start()), shown(*limits.end()));
    Err(problems.add(&field.path, ends))
}

/// Days stay days: a month is no round number of them.
fn shown(duration: Duration) -> String {
    let days = duration.as_secs() / DAY.as_secs();
    if days > 0 { format!("{days} days") } else { humantime::format_duration(duration).to_string() }
}

/// A number within limits that include both ends.
fn count(
    field: &Field<Count>,
    default: usize,
    limits: RangeInclusive<usize>,
    problems: &mut Problems,
) -> Checked<usize> {
    let number = match field.optional()? {
        Some(Count(number)) => usize::try_from(number).ok(),
        None => Some(default),
    };
    let within = number.filter(|number| limits.contains(number));
    within.ok_or_else(|| problems.add(&field.path, format!("must be between {} and {}", limits.start(), limits.end())))
}

/// This version serves one site and signs in with one provider; the settings have room for more.
fn exactly_one<T>(path: &Path, mut read: Vec<Checked<T>>, problems: &mut Problems) -> Checked<T> {
    match (read.pop(), read.len()) {
        (None, _) => Err(problems.add(path, format!("is missing: one [{path}.NAME] describes the {path}"))),
        (Some(one), 0) => one,
        (Some(_), _) => {
            Err(problems.add(path, format!("has several tables: this version supports exactly one {path}")))
        }
    }
}

/// A secret that stands in the settings or in a file of its own.
fn secret(field: &Field<Secret>, file: &Field<File>, problems: &mut Problems) -> Checked<Option<Secret>> {
    match (field.optional()?, file.optional()?) {
        (Some(_), Some(_)) => Err(problems.add(&field.path, format!("is given twice: here and by {}", file.path))),
        (None, Some(given)) => secret_in(&file.path, &given, problems).map(Some),
        (own, None) => Ok(own),
    }
}

fn secret_in(path: &Path, file: &File, problems: &mut Problems) -> Checked<Secret> {
    let text = str::from_utf8(&file.contents).map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Ok("") => Err(problems.add(path, "names a file that is empty")),
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err(problems.add(path, "names a file that is not UTF-8")),
    }
}

/// The PEM certificates in a file.
fn certificates(path: &Path, file: &File, problems: &mut Problems) -> Checked<Vec<u8>> {
    let mut read = CertificateDer::pem_slice_iter(&file.contents).peekable();
    if read.peek().is_none() || !read.all(|certificate| certificate.is_ok()) {
        return Err(problems.add(path, "names a file that has no PEM certificates, or broken ones"));
    }
    Ok(file.contents.to_vec())
}

/// What names of policies, and of whatever else the operator names, must be.
const NAME: &str = "must have a name of at most 64 letters, digits, hyphens and underscores";
const DEFAULT_PREFIX: &str = "/auth";
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What browsers keep a cookie for at most.
const LONGEST_COOKIE: Duration = Duration::from_secs(400 * DAY.as_secs());
