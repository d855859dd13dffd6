//! Pure. Administrators with client certificates: who they are, whose certificates count, and what the door asks for.
//!
//! Invariant: a fallback that is enabled has everything that it needs to refuse: an authority, revocation lists, names,
//! and a file for its switches.

use std::time::Duration;

use url::Url;

use super::{DAY, HOUR, certificates, duration};
use crate::{
    config::{
        problem::{Checked, Noted, Path, Problems},
        raw::{
            AdministratorTable, FallbackTable, ListenerTable,
            leaf::{File, ListenAddress},
            node::{Field, Named},
        },
    },
    fallback::{
        Certificates, Config,
        administrators::{Administrators, Entry, Identifier},
        admission,
        chain::{self, AdminCa, CaError},
        fetcher::{self, MOST_LISTS},
        revocation, switches,
    },
    outbound::{self, destination::PlainHttp},
    server::Address,
    verify::policy::PolicyName,
};

/// Checks the fallback.
pub(super) fn fallback(
    table: &FallbackTable,
    listeners: &Named<ListenerTable>,
    problems: &mut Problems,
) -> Checked<Config> {
    let enabled = table.enabled.or(false);
    let needed = if enabled == Ok(true) { Needed::Yes } else { Needed::No };
    if needed == Needed::Yes && !listeners.entries.values().any(reads_certificates) {
        problems.add(&table.enabled.path, "needs a listener of kind \"nginx\" with certificates = true");
    }
    let switches = switches(table, needed, problems);
    let processes = processes(&table.processes);
    let certificates = certificates_of(table, needed, problems);
    Ok(Config { enabled: enabled?, switches: switches?, processes: processes?, certificates: certificates? })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Yes,
    No,
}

/// One that cannot be read is not complained of twice.
fn reads_certificates(table: &ListenerTable) -> bool {
    table.certificates.given().map_or(table.certificates.is_present(), |reads| *reads)
}

fn switches(table: &FallbackTable, needed: Needed, problems: &mut Problems) -> Checked<switches::Config> {
    let file = table.state_file.optional();
    if needed == Needed::Yes && !table.state_file.is_present() {
        problems.add(&table.state_file.path, "is missing: how the switches stand must outlive this process");
    }
    let longest_arming = duration(&table.longest_arming, DAY, MINUTE..=DAY * 7, problems);
    Ok(switches::Config {
        file: file?,
        require_arming: table.require_arming.or(true)?,
        longest_arming: longest_arming?,
    })
}

fn processes(field: &Field<Vec<ListenAddress>>) -> Checked<Vec<Address>> {
    let addresses = field.or(Vec::new())?;
    Ok(addresses
        .into_iter()
        .map(|address| match address {
            ListenAddress::Tcp(address) => Address::Tcp(address),
            ListenAddress::Unix(path) => Address::Unix { path, mode: 0 },
        })
        .collect())
}

fn certificates_of(table: &FallbackTable, needed: Needed, problems: &mut Problems) -> Checked<Option<Certificates>> {
    let ca = authority(table, problems);
    let administrators = administrators(&table.administrators, problems);
    let rules = rules(table, problems);
    let revocations = revocations(table, problems);
    if needed == Needed::Yes {
        demand(table, problems);
    }
    let (administrators, rules, revocations) = (administrators?, rules?, revocations?);
    Ok(ca?.map(|ca| Certificates { ca, administrators, rules, revocations }))
}

fn demand(table: &FallbackTable, problems: &mut Problems) {
    if !table.ca_file.is_present() {
        problems.add(&table.ca_file.path, "is missing: whose certificates count?");
    }
    if !table.crl_urls.is_present() {
        problems.add(&table.crl_urls.path, "is missing: without revocation lists every certificate is refused");
    }
    if !table.crl_folder.is_present() {
        problems.add(&table.crl_folder.path, "is missing: an older list must not come back by a restart");
    }
    if table.administrators.entries.is_empty() {
        problems.add(&table.administrators.path, "is missing: nobody could come in");
    }
}

fn authority(table: &FallbackTable, problems: &mut Problems) -> Checked<Option<AdminCa>> {
    let (roots, between) = (table.ca_file.optional(), table.intermediates_file.optional());
    let between: Option<File> = between?;
    let Some(roots) = roots? else {
        return match between {
            None => Ok(None),
            Some(_) => Err(problems.add(&table.ca_file.path, "is missing: intermediates lead to a root")),
        };
    };
    let read = AdminCa::new(&roots.contents, between.as_ref().map(|file| file.contents.as_slice()));
    read.map(Some).map_err(|error| no_authority(table, error, problems))
}

fn no_authority(table: &FallbackTable, error: CaError, problems: &mut Problems) -> Noted {
    let path = match error.file() {
        chain::File::Roots => &table.ca_file.path,
        chain::File::Intermediates => &table.intermediates_file.path,
    };
    problems.add(path, format!("names a file that cannot be used: {error}"))
}

fn rules(table: &FallbackTable, problems: &mut Problems) -> Checked<admission::Rules> {
    let longest_lifetime = duration(&table.longest_lifetime, DAY * 7, HOUR..=DAY * 7, problems);
    let near_expiry = duration(&table.near_expiry, DAY, Duration::ZERO..=DAY * 7, problems);
    Ok(admission::Rules { longest_lifetime: longest_lifetime?, near_expiry: near_expiry? })
}

fn revocations(table: &FallbackTable, problems: &mut Problems) -> Checked<fetcher::Config> {
    let urls = urls(&table.crl_urls, problems);
    let folder = table.crl_folder.optional();
    let fresh_for = duration(&table.crl_fresh_for, HOUR, MINUTE..=DAY, problems);
    let max_age = duration(&table.crl_max_age, DAY, MINUTE..=DAY * 7, problems);
    let roots = match table.crl_ca_file.optional()? {
        None => Ok(None),
        Some(file) => certificates(&table.crl_ca_file.path, &file, problems).map(Some),
    };
    let (fresh_for, defaults) = (fresh_for?, revocation::Rules::default());
    Ok(fetcher::Config {
        urls: urls?,
        folder: folder?,
        rules: revocation::Rules {
            fresh_for,
            max_age: max_age?,
            refresh_after: fresh_for / 2,
            use_until_stale: table.crl_use_until_stale.or(false)?,
            ..defaults
        },
        outbound: outbound::Config {
            extra_roots: roots?,
            plain_http: PlainHttp::Anywhere,
            ..outbound::Config::default()
        },
    })
}

fn urls(field: &Field<Vec<String>>, problems: &mut Problems) -> Checked<Vec<Url>> {
    let texts = field.or(Vec::new())?;
    if field.is_present() && !(1..=MOST_LISTS).contains(&texts.len()) {
        return Err(problems.add(&field.path, format!("must be between 1 and {MOST_LISTS}")));
    }
    let read: Vec<_> =
        texts.iter().enumerate().map(|(index, text)| url(&field.path.index(index), text, problems)).collect();
    read.into_iter().collect()
}

fn url(path: &Path, text: &str, problems: &mut Problems) -> Checked<Url> {
    let url = Url::parse(text).map_err(|_| problems.add(path, "is not a URL"))?;
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && bare {
        return Ok(url);
    }
    Err(problems.add(path, "must be http or https, without user and fragment"))
}

fn administrators(all: &Named<AdministratorTable>, problems: &mut Problems) -> Checked<Administrators> {
    let read: Vec<_> =
        all.entries.iter().map(|(name, table)| administrator(name, &all.path, table, problems)).collect();
    let entries: Vec<Entry> = read.into_iter().collect::<Checked<_>>()?;
    for (position, entry) in entries.iter().enumerate() {
        if entries[..position].iter().any(|other| other.id == entry.id) {
            return Err(problems.add(&all.path.key(&entry.name), "has the certificate of another one"));
        }
    }
    Ok(Administrators::new(entries))
}

fn administrator(name: &str, path: &Path, table: &AdministratorTable, problems: &mut Problems) -> Checked<Entry> {
    if PolicyName::parse(name).is_none() {
        problems.add(&path.key(name), super::NAME);
    }
    let given = [
        table.common_name.optional()?.map(Identifier::CommonName),
        table.email.optional()?.map(Identifier::Email),
        table.uri.optional()?.map(Identifier::Uri),
    ];
    let mut given = given.into_iter().flatten();
    let id = match (given.next(), given.next()) {
        (Some(id), None) => Ok(id),
        _ => Err(problems.add(&path.key(name), "must have exactly one of common_name, email and uri")),
    };
    let user = table.user.required(problems);
    Ok(Entry { name: name.to_owned(), id: id?, user: user?, groups: table.groups.or(Vec::new())? })
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use crate::config::fixture::Settings;

    fn problems(fallback: &str) -> String {
        Settings::valid().with(fallback).problems()
    }

    #[test]
    fn what_is_enabled_must_be_able_to_refuse() {
        let told = problems("[fallback]\nenabled = true");
        for missing in [
            "fallback.administrators: is missing: nobody could come in",
            "fallback.ca_file: is missing: whose certificates count?",
            "fallback.crl_folder: is missing: an older list must not come back by a restart",
            "fallback.crl_urls: is missing: without revocation lists every certificate is refused",
            "fallback.enabled: needs a listener of kind \"nginx\" with certificates = true",
            "fallback.state_file: is missing: how the switches stand must outlive this process",
        ] {
            assert!(told.contains(missing), "{missing}: {told}");
        }
        assert_eq!(problems("[fallback]\nenabled = false"), "");
    }

    #[test]
    fn an_administrator_is_known_by_one_thing_that_nobody_else_has() {
        let alice = "[fallback.administrators.alice]\nuser = 'alice'\n";
        let one = "fallback.administrators.alice: must have exactly one of common_name, email and uri";
        assert_eq!(problems(alice), one);
        assert_eq!(problems(&format!("{alice}common_name = 'alice'\nemail = 'alice@example.com'")), one);
        assert_eq!(problems(&format!("{alice}common_name = 'alice'")), "");
        let twin = "\n[fallback.administrators.bob]\nuser = 'bob'\ncommon_name = 'alice'";
        assert_eq!(
            problems(&format!("{alice}common_name = 'alice'{twin}")),
            "fallback.administrators.bob: has the certificate of another one"
        );
        assert_eq!(
            problems("[fallback.administrators.alice]\ncommon_name = 'alice'"),
            "fallback.administrators.alice.user: is missing"
        );
    }

    #[test]
    fn lists_come_from_plain_addresses() {
        let urls = |urls: &str| problems(&format!("[fallback]\ncrl_urls = [{urls}]"));
        assert_eq!(urls("'http://pki.example.com/root.crl', 'https://pki.example.com/a.crl?edition=new'"), "");
        let plain = "must be http or https, without user and fragment";
        for url in ["ldap://pki.example.com/cn=root", "http://me:pw@pki.example.com/a.crl", "http://pki.example.com/#a"]
        {
            assert_eq!(urls(&format!("'{url}'")), format!("fallback.crl_urls[0]: {plain}"), "{url}");
        }
        assert_eq!(urls("'root.crl'"), "fallback.crl_urls[0]: is not a URL");
        assert_eq!(urls(""), "fallback.crl_urls: must be between 1 and 16");
    }

    #[test]
    fn a_certificate_may_not_live_longer_than_a_week() {
        let told = problems("[fallback]\nlongest_lifetime = '8days'");
        assert_eq!(told, "fallback.longest_lifetime: must be between 1h and 7 days");
    }
}
