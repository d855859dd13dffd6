//! Pure. Sites: public URL, hosts, the cookie's domain, and where browsers may be sent back to.
//!
//! Invariant: every host of a site gets the site's cookie, and nobody else's hosts do; http is for loopback in
//! development mode alone, and development mode for nothing but loopback.

use url::Url;

use crate::{
    config::{
        Mode,
        problem::{Checked, Path, Problems},
        raw::{
            ProviderTable, SiteTable,
            node::{Field, Named},
        },
    },
    origin::{self, HostName, PublicUrl, Site, SiteError, SiteParts, Sites},
    verify::policy::PolicyName,
};

/// Checks all sites.
pub(super) fn sites(
    all: &Named<SiteTable>,
    providers: &Named<ProviderTable>,
    mode: Checked<Mode>,
    problems: &mut Problems,
) -> Checked<Sites> {
    let mut read = Vec::with_capacity(all.entries.len());
    for (name, table) in &all.entries {
        if PolicyName::parse(name).is_none() {
            problems.add(&all.path.key(name), super::NAME);
        }
        let offered = super::names_of(&table.providers, providers, problems);
        read.push(one(name, table, offered, mode, providers, problems));
    }
    refuse_overlaps(all, problems);
    super::at_least_one(&all.path, read, problems).map(Sites::new)
}

/// A host is of one site, and no site's session cookie goes to the hosts of another.
fn refuse_overlaps(all: &Named<SiteTable>, problems: &mut Problems) {
    let pairs = all.entries.iter().flat_map(|one| all.entries.iter().map(move |other| (one, other)));
    for ((name, table), (other_name, other)) in pairs.filter(|((one, _), (other, _))| one != other) {
        let own = hosts_of(table);
        let domain = table.cookie_domain.given().and_then(|domain| HostName::parse(domain));
        for host in hosts_of(other) {
            if own.contains(&host) && name < other_name {
                let message = format!("has the host {} as well, and a host is of one site", host.as_str());
                problems.add(&all.path.key(other_name), message);
            } else if domain.as_ref().is_some_and(|domain| covers(domain.as_str(), &host)) {
                let message = format!("covers {}, a host of {}", host.as_str(), all.path.key(other_name));
                problems.add(&table.cookie_domain.path, message);
            }
        }
    }
}

fn hosts_of(table: &SiteTable) -> Vec<HostName> {
    let own = table.public_url.given().and_then(|url| HostName::parse(url.url().host_str()?));
    table.hosts.given().into_iter().flatten().cloned().chain(own).collect()
}

fn one(
    name: &str,
    table: &SiteTable,
    offered: Checked<Option<Vec<String>>>,
    mode: Checked<Mode>,
    providers: &Named<ProviderTable>,
    problems: &mut Problems,
) -> Checked<Site> {
    let public_url = public_url(&table.public_url, mode, problems);
    let hosts = hosts(&table.hosts, mode, problems);
    let return_origins = other_origins(&table.return_origins, mode, problems);
    let cors_origins = other_origins(&table.cors_origins, mode, problems);
    let cookie_domain = cookie_domain(table, public_url.as_ref().ok(), problems);
    let landing = table.landing.or("/".to_owned());
    let error_url = table.error_url.optional();
    let parts = SiteParts {
        name: name.to_owned(),
        providers: offered?.unwrap_or_else(|| providers.entries.keys().cloned().collect()),
        public_url: public_url?,
        hosts: hosts?,
        return_origins: return_origins?,
        cors_origins: cors_origins?,
        cookie_domain: cookie_domain?,
        landing: landing?,
        error_url: error_url?,
    };
    let site = Site::new(parts);
    site.map_err(|error| problems.add(path_of(error, table), message_of(error)))
}

const fn path_of(error: SiteError, table: &SiteTable) -> &Path {
    match error {
        SiteError::Landing => &table.landing.path,
        SiteError::ErrorUrl => &table.error_url.path,
    }
}

const fn message_of(error: SiteError) -> &'static str {
    match error {
        SiteError::Landing | SiteError::ErrorUrl => {
            "must be a path that begins with \"/\", or a URL on an origin of the site"
        }
    }
}

fn public_url(field: &Field<PublicUrl>, mode: Checked<Mode>, problems: &mut Problems) -> Checked<PublicUrl> {
    let url = field.required(problems)?;
    let message = match mode? {
        Mode::Production if url.is_plain_http() => "must be https outside development mode",
        Mode::Development if !url.is_loopback() => "must be a loopback host: this is development mode",
        Mode::Production | Mode::Development => return Ok(url),
    };
    Err(problems.add(&field.path, message))
}

fn hosts(field: &Field<Vec<HostName>>, mode: Checked<Mode>, problems: &mut Problems) -> Checked<Vec<HostName>> {
    let hosts = field.or(Vec::new())?;
    if mode == Ok(Mode::Development) {
        for (index, _) in hosts.iter().enumerate().filter(|(_, host)| !is_loopback(host)) {
            problems.add(&field.path.index(index), "must be a loopback host: this is development mode");
        }
    }
    Ok(hosts)
}

fn is_loopback(host: &HostName) -> bool {
    Url::parse(&format!("http://{}/", host.as_str())).is_ok_and(|url| origin::is_loopback(&url))
}

/// Single origins beside the site's own, over https; in development mode loopback may do without.
fn other_origins(
    field: &Field<Vec<PublicUrl>>,
    mode: Checked<Mode>,
    problems: &mut Problems,
) -> Checked<Vec<PublicUrl>> {
    let origins = field.or(Vec::new())?;
    for (index, origin) in origins.iter().enumerate().filter(|(_, origin)| origin.is_plain_http()) {
        let message = match mode {
            Ok(Mode::Production) => "must be https outside development mode",
            Ok(Mode::Development) if !origin.is_loopback() => "must be https, or a loopback host",
            Ok(Mode::Development) | Err(_) => continue,
        };
        problems.add(&field.path.index(index), message);
    }
    Ok(origins)
}

fn cookie_domain(
    table: &SiteTable,
    public_url: Option<&PublicUrl>,
    problems: &mut Problems,
) -> Checked<Option<String>> {
    let hosts = table.hosts.or(Vec::new());
    let own = public_url.and_then(|url| HostName::parse(url.url().host_str()?));
    let Some(written) = table.cookie_domain.optional()? else {
        let foreign = hosts?.iter().position(|host| own.as_ref().is_some_and(|own| own != host));
        if let Some(index) = foreign {
            let message = format!("never gets the session cookie without {}", table.cookie_domain.path);
            problems.add(&table.hosts.path.index(index), message);
        }
        return Ok(None);
    };
    let domain = shared_domain(&written).map_err(|message| problems.add(&table.cookie_domain.path, message))?;
    if own.is_some_and(|own| !covers(&domain, &own)) {
        problems.add(&table.cookie_domain.path, format!("does not cover the host of {}", table.public_url.path));
    }
    for (index, _) in hosts?.iter().enumerate().filter(|(_, host)| !covers(&domain, host)) {
        problems.add(&table.hosts.path.index(index), format!("is not covered by {}", table.cookie_domain.path));
    }
    Ok(Some(domain))
}

/// A domain that several hosts of one owner can share a cookie under.
fn shared_domain(text: &str) -> Result<String, &'static str> {
    if text.starts_with('.') {
        return Err("must be written without the dot in front: browsers ignore it");
    }
    let host = HostName::parse(text).filter(|_| !text.contains('*')).ok_or("is not a domain")?;
    let address = host.as_str().starts_with('[') || host.as_str().parse::<std::net::Ipv4Addr>().is_ok();
    if address {
        return Err("must be a domain: browsers take no cookie for the hosts below an address");
    }
    if psl::domain_str(host.as_str()).is_none() {
        return Err("is a public suffix: the cookie would be for other people's sites too, and browsers refuse it");
    }
    Ok(host.as_str().to_owned())
}

fn covers(domain: &str, host: &HostName) -> bool {
    let below = host.as_str().strip_suffix(domain);
    below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Settings;

    fn check(site: &str, expected: &str) {
        let settings = Settings::valid().with(&format!("[site.main]\n{site}"));
        assert_eq!(settings.problems(), expected, "{site}");
    }

    fn development(site: &str, expected: &str) {
        let settings = Settings::valid().with("mode = 'development'").with(&format!("[site.main]\n{site}"));
        assert_eq!(settings.problems(), expected, "{site}");
    }

    #[test]
    fn production_is_https() {
        let https = "site.main.public_url: must be https outside development mode";
        check("public_url = 'https://app.example.com:8443'", "");
        check("public_url = 'http://app.example.com'", https);
        check("public_url = 'http://localhost:8080'", https);
        check("public_url = 'app.example.com'", "site.main.public_url: is not a URL");
        check(
            "public_url = 'https://app.example.com/app'",
            "site.main.public_url: must be an origin: no path, query, fragment or user",
        );
        check(
            "public_url = 'https://*.example.com'",
            "site.main.public_url: must name one origin; wild cards are refused",
        );
    }

    #[test]
    fn development_is_loopback() {
        development("public_url = 'http://localhost:8080'", "");
        development("public_url = 'https://127.0.0.1:8443'", "");
        let loopback = "site.main.public_url: must be a loopback host: this is development mode";
        development("public_url = 'https://app.example.com'", loopback);
        development("public_url = 'http://192.0.2.1'", loopback);
        development(
            "public_url = 'http://localhost'\ncors_origins = ['http://spa.localhost:3000', 'https://spa.example.com']",
            "",
        );
        development(
            "public_url = 'http://localhost'\nhosts = ['app.example.com']\nreturn_origins = ['http://app.example.com', 'http://localhost:1']",
            "site.main.hosts[0]: must be a loopback host: this is development mode\nsite.main.return_origins[0]: must be https, or a loopback host",
        );
    }

    #[test]
    fn other_origins_are_single_https_origins() {
        let check = |origin: &str, expected: &str| {
            for key in ["return_origins", "cors_origins"] {
                let expected =
                    if expected.is_empty() { String::new() } else { format!("site.main.{key}[0]: {expected}") };
                check(&format!("{key} = ['{origin}']"), &expected);
            }
        };
        check("https://docs.example.net/x", "must be an origin: no path, query, fragment or user");
        check("https://docs.example.net", "");
        check("https://*.example.net", "must name one origin; wild cards are refused");
        check("https://*", "must name one origin; wild cards are refused");
        check("http://docs.example.net", "must be https outside development mode");
        check("http://localhost:3000", "must be https outside development mode");
        check("*", "is not a URL");
        check("null", "is not a URL");
    }

    #[test]
    fn a_cookie_domain_is_ones_own_and_covers_every_host() {
        let check = |domain: &str, expected: &str| {
            let expected =
                if expected.is_empty() { String::new() } else { format!("site.main.cookie_domain: {expected}") };
            check(&format!("cookie_domain = '{domain}'"), &expected);
        };
        let suffix = "is a public suffix: the cookie would be for other people's sites too, and browsers refuse it";
        check("example.com", "");
        check("app.example.com", "");
        check("EXAMPLE.com", "");
        check(".example.com", "must be written without the dot in front: browsers ignore it");
        check("com", suffix);
        check("co.uk", suffix);
        check("github.io", suffix);
        check("localhost", suffix);
        check("127.0.0.1", "must be a domain: browsers take no cookie for the hosts below an address");
        check("*.example.com", "is not a domain");
        check("example.net", "does not cover the host of site.main.public_url");
        check("pp.example.com", "does not cover the host of site.main.public_url");
    }

    #[test]
    fn every_host_gets_the_cookie() {
        check("hosts = ['app.example.com']", "");
        check(
            "hosts = ['wiki.example.com']",
            "site.main.hosts[0]: never gets the session cookie without site.main.cookie_domain",
        );
        check("hosts = ['wiki.example.com']\ncookie_domain = 'example.com'", "");
        check(
            "hosts = ['wiki.example.com', 'badexample.com']\ncookie_domain = 'example.com'",
            "site.main.hosts[1]: is not covered by site.main.cookie_domain",
        );
        check(
            "hosts = ['app.example.com:8443']",
            "site.main.hosts[0]: must be one host name, without scheme, port or wild card",
        );
    }

    #[test]
    fn own_pages_are_on_the_site() {
        check("landing = '/home'\nerror_url = 'https://app.example.com/oops'", "");
        let wrong = "must be a path that begins with \"/\", or a URL on an origin of the site";
        check("landing = 'https://evil.example/'", &format!("site.main.landing: {wrong}"));
        check("error_url = '//evil.example/'", &format!("site.main.error_url: {wrong}"));
    }

    #[test]
    fn sites_have_nothing_in_common() {
        assert_eq!(Settings::valid().without("site").problems(), "site: is missing: a [site.NAME] describes a site");
        let two = |other: &str, main: &str, expected: &str| {
            let settings = Settings::valid().with(&format!("[site.main]\n{main}\n[site.other]\n{other}"));
            assert_eq!(settings.problems(), expected, "{other} {main}");
        };
        two("public_url = 'https://other.example.com'", "", "");
        two(
            "public_url = 'https://app.example.com:8443'",
            "",
            "site.other: has the host app.example.com as well, and a host is of one site",
        );
        two(
            "public_url = 'https://other.example.com'",
            "cookie_domain = 'example.com'",
            "site.main.cookie_domain: covers other.example.com, a host of site.other",
        );
        two("public_url = 'https://other.example.net'", "cookie_domain = 'example.com'", "");
    }

    #[test]
    fn a_site_signs_in_with_providers_that_there_are() {
        let partners = "[provider.partners]\nissuer = 'https://op.example.net'\nclient_id = 'portcullis'\nclient_secret = 'a client secret'";
        let check = |providers: &str, expected: &[&str]| {
            let rules = "[policy.staff]\nrules = [{ allow = true, groups = ['staff'], providers = ['main'] }]";
            let settings = Settings::valid().with(partners).with(rules).with(&format!("[site.main]\n{providers}"));
            let sites = settings.config().gateway.sites;
            assert_eq!(sites.named("main").map(|site| site.providers().to_owned()).unwrap_or_default(), expected);
        };
        check("", &["main", "partners"]);
        check("providers = ['partners', 'main']", &["partners", "main"]);
        check("providers = ['main']", &["main"]);
        let wrong = |providers: &str, expected: &str| {
            let settings = Settings::valid().with(&format!("[site.main]\nproviders = {providers}"));
            assert_eq!(settings.problems(), expected, "{providers}");
        };
        wrong("['other']", "site.main.providers[0]: must be the name of a [provider.NAME]");
        wrong("['main', 'main']", "site.main.providers[1]: stands twice");
        wrong("[]", "site.main.providers: must not be empty");
    }
}
