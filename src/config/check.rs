//! Pure. From the settings as they are written to a [`Config`], noting every problem on the way.
//!
//! Invariant: nothing here stops at a mistake, and a value that could not be read is not complained of twice: what it
//! was needed for is simply not checked. A [`Config`] comes out only if every part did.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use ipnet::IpNet;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    Config, Mode,
    given::Given,
    problem::{Checked, Path, Problems},
    raw::{
        Raw,
        leaf::{Count, File},
        node::{Field, Named},
    },
};
use crate::{gateway, oidc::sign_in, origin::Sites, route::Prefix, secret::Secret, server};

mod fallback;
mod health;
mod identity;
mod limits;
mod listener;
mod log;
mod matching;
mod pages;
mod policy;
mod provider;
mod session;
mod site;
mod store;
mod tls;

/// Checks all of it.
pub(super) fn check(raw: &Raw, mut given: Given, problems: &mut Problems) -> Checked<Config> {
    let mode = raw.mode.or(Mode::Production);
    let prefix = raw.server.prefix.or_some(Prefix::parse(DEFAULT_PREFIX), problems);
    let sites = site::sites(&raw.site, &raw.provider, mode, problems);
    let server = listener::server(&raw.listener, &raw.server, &raw.site, problems);
    imply_sites(&mut given, &raw.listener.path, server.as_ref().ok());
    let providers = provider::providers(&raw.provider, mode, problems);
    let plain = has_plain_cookies(mode, &sites);
    let access = policy::access(&raw.access, problems);
    let session = session::session(&raw.session, plain, problems);
    let transaction = session::transaction(&raw.sign_in, plain, problems);
    let limits = limits::limits(&raw.limits, problems);
    let store = store::store(&raw.store, problems);
    let policies = policy::policies(&raw.policy, &raw.provider, needs_provider(&sites), problems);
    let matching = matching::matching(&raw.matching, &raw.policy, &sites, problems);
    let identity = identity::identity(&raw.identity, problems);
    let telemetry = log::telemetry(&raw.log, problems);
    let health = health::health(&raw.health, problems);
    let fallback = fallback::fallback(&raw.fallback, &raw.listener, problems);
    let look = pages::look(&raw.pages, problems);
    let csp_report_only = raw.pages.csp_report_only.or(false);
    let csp_reports = raw.pages.csp_reports.or(true);
    Ok(Config {
        mode: mode?,
        server: server?,
        gateway: gateway::Config {
            sites: sites?,
            providers: providers?,
            sign_in: sign_in::Config { transaction: transaction?, access: access?, prefix: prefix? },
            session: session?,
            store: store?,
            limits: limits?,
            policies: policies?,
            matching: matching?,
            identity: identity?,
            health: health?,
            fallback: fallback?,
            look: look?,
            csp_report_only: csp_report_only?,
            csp_reports: csp_reports?,
        },
        telemetry: telemetry?,
        given,
    })
}

/// An application's listener is bound to its site, named or not.
fn imply_sites(given: &mut Given, path: &Path, server: Option<&server::Config>) {
    for listener in server.into_iter().flat_map(|server| &server.listeners) {
        if let Some(site) = &listener.site {
            given.imply(path.key(&listener.name).key("site"), site);
        }
    }
}

/// Browsers take `Secure` cookies and those with a prefix over https alone.
fn has_plain_cookies(mode: Checked<Mode>, sites: &Checked<Sites>) -> Checked<bool> {
    let sites = sites.as_ref().map_err(|noted| *noted)?;
    Ok(mode? == Mode::Development && !sites.are_https())
}

/// One provider's "admins" are not another's: where people come from several, each rule that lets in says whose.
fn needs_provider(sites: &Checked<Sites>) -> NeedsProvider {
    let several = sites.as_ref().is_ok_and(|sites| sites.iter().any(|site| site.providers().len() > 1));
    if several { NeedsProvider::Yes } else { NeedsProvider::No }
}

/// Whether rules have to name providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NeedsProvider {
    Yes,
    No,
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

/// All of them, and at least one.
fn at_least_one<T>(path: &Path, read: Vec<Checked<T>>, problems: &mut Problems) -> Checked<Vec<T>> {
    if read.is_empty() {
        return Err(problems.add(path, format!("is missing: a [{path}.NAME] describes a {path}")));
    }
    read.into_iter().collect()
}

/// Names of tables, each of which there is; at least one.
fn names_of<T>(field: &Field<Vec<String>>, tables: &Named<T>, problems: &mut Problems) -> Checked<Option<Vec<String>>> {
    let Some(names) = field.optional()? else {
        return Ok(None);
    };
    if names.is_empty() {
        return Err(problems.add(&field.path, "must not be empty"));
    }
    let mut noted = Ok(());
    for (index, name) in names.iter().enumerate() {
        if !tables.entries.contains_key(name) {
            noted =
                Err(problems.add(&field.path.index(index), format!("must be the name of a [{}.NAME]", tables.path)));
        } else if names[..index].contains(name) {
            noted = Err(problems.add(&field.path.index(index), "stands twice"));
        }
    }
    noted.map(|()| Some(names))
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

/// What is wrong with a network that hardly says what was meant.
fn misread_network(network: IpNet) -> Option<&'static str> {
    let mapped = matches!(network.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    if mapped {
        return Some("must be written as an IPv4 network");
    }
    (network.trunc() != network).then_some("has bits set beyond its length: is it an address, or a network?")
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
