//! Pure. Providers: who they are, how we prove ourselves, what is asked for.
//!
//! Invariant: a public client is one because the settings say so, never because a secret was forgotten.

use std::time::Duration;

use super::{SECOND, duration, policy, secret};
use crate::{
    config::{
        Mode,
        problem::{Checked, Path, Problems},
        raw::{
            ProviderTable,
            leaf::{Authentication, File, LogoutKind, ResponseMode},
            node::{Field, Named},
        },
    },
    oidc::{
        claims::ClaimPath,
        discovery::{Issuer, IssuerError},
        jwk::Algorithm,
        profile::Profile,
        provider::{self, Logout},
        providers,
        request::{ClientAuthentication, is_reserved_parameter, is_scope},
    },
    outbound::{self, destination::PlainHttp},
    verify::policy::PolicyName,
};

/// Checks all providers.
pub(super) fn providers(
    all: &Named<ProviderTable>,
    mode: Checked<Mode>,
    problems: &mut Problems,
) -> Checked<Vec<providers::Config>> {
    let plain_http = mode.map(|mode| match mode {
        Mode::Development => PlainHttp::Loopback,
        Mode::Production => PlainHttp::Refused,
    });
    let read = all.entries.iter().map(|(name, table)| {
        let config = config(name, &all.path, table, plain_http, problems);
        let profile = profile(table, problems);
        let extra_roots = extra_roots(&table.ca_file, problems);
        let access = policy::access(&table.access, problems);
        let defaults = outbound::Config::default();
        let outbound = outbound::Config { extra_roots: extra_roots?, plain_http: plain_http?, ..defaults };
        Ok(providers::Config { provider: config?, outbound, profile: profile?, access: access? })
    });
    let read = read.collect();
    super::at_least_one(&all.path, read, problems)
}

fn config(
    name: &str,
    path: &Path,
    table: &ProviderTable,
    plain_http: Checked<PlainHttp>,
    problems: &mut Problems,
) -> Checked<provider::Config> {
    if PolicyName::parse(name).is_none() {
        problems.add(&path.key(name), super::NAME);
    }
    refuse_form_post(table, problems);
    let issuer = issuer(&table.issuer, plain_http, problems);
    let client_id = table.client_id.required(problems);
    let display_name = table.display_name.optional();
    let client_authentication = authentication(table, problems);
    let asked = asked(table, problems);
    let clock_skew = duration(&table.clock_skew, SECOND * 60, Duration::ZERO..=SECOND * 600, problems);
    let defaults = provider::Config::new(name, issuer?, client_id?);
    let asked = asked?;
    Ok(provider::Config {
        display_name: display_name?,
        client_authentication: client_authentication?,
        scopes: asked.scopes.unwrap_or(defaults.scopes),
        offline_access: table.offline_access.or(true)?,
        userinfo: table.userinfo.or(defaults.userinfo)?,
        algorithms: asked.algorithms.unwrap_or(defaults.algorithms),
        extra_parameters: asked.extra_parameters,
        max_age: asked.max_age,
        clock_skew: clock_skew?,
        logout: match table.logout.or(LogoutKind::RpInitiated)? {
            LogoutKind::RpInitiated => Logout::RpInitiated,
            LogoutKind::Off => Logout::Off,
        },
        revoke_tokens: table.revoke_tokens.or(defaults.revoke_tokens)?,
        ..defaults
    })
}

fn refuse_form_post(table: &ProviderTable, problems: &mut Problems) {
    if table.response_mode.given() == Some(&ResponseMode::FormPost) {
        problems.add(&table.response_mode.path, "must be \"query\": this version does not support form_post");
    }
}

fn issuer(field: &Field<String>, plain_http: Checked<PlainHttp>, problems: &mut Problems) -> Checked<Issuer> {
    let text = field.required(problems)?;
    let message = match Issuer::parse(&text, plain_http?) {
        Ok(issuer) => return Ok(issuer),
        Err(IssuerError::NotAUrl) => "is not a URL",
        Err(IssuerError::NotHttps) if plain_http == Ok(PlainHttp::Loopback) => "must be https, or http on loopback",
        Err(IssuerError::NotHttps) => "must be https outside development mode",
        Err(IssuerError::NotBare) => "must have no user, query, fragment or space around it",
    };
    Err(problems.add(&field.path, message))
}

fn authentication(table: &ProviderTable, problems: &mut Problems) -> Checked<ClientAuthentication> {
    let secret = secret(&table.client_secret, &table.client_secret_file, problems);
    let authentication = table.authentication.or(Authentication::Basic)?;
    let make: fn(_) -> _ = match authentication {
        Authentication::Basic => ClientAuthentication::SecretBasic,
        Authentication::Post => ClientAuthentication::SecretPost,
        Authentication::None => return public_client(table, problems),
        Authentication::PrivateKeyJwt => {
            return Err(problems.add(
                &table.authentication.path,
                "must be another one: this version does not support private_key_jwt",
            ));
        }
    };
    secret?.map(make).ok_or_else(|| {
        let message = format!("is missing; a public client says {} = \"none\"", table.authentication.path);
        problems.add(&table.client_secret.path, message)
    })
}

fn public_client(table: &ProviderTable, problems: &mut Problems) -> Checked<ClientAuthentication> {
    let path = match (table.client_secret.is_present(), table.client_secret_file.is_present()) {
        (false, false) => return Ok(ClientAuthentication::None),
        (true, _) => &table.client_secret.path,
        (false, true) => &table.client_secret_file.path,
    };
    Err(problems.add(path, format!("contradicts {} = \"none\"", table.authentication.path)))
}

/// What goes into the authorization request, where the settings say it.
struct Asked {
    scopes: Option<Vec<String>>,
    algorithms: Option<Vec<Algorithm>>,
    extra_parameters: Vec<(String, String)>,
    max_age: Option<Duration>,
}

fn asked(table: &ProviderTable, problems: &mut Problems) -> Checked<Asked> {
    let scopes = scopes(&table.scopes, problems);
    let extra_parameters = extra_parameters(&table.extra_parameters, problems);
    if table.algorithms.given().is_some_and(Vec::is_empty) {
        problems.add(&table.algorithms.path, "must not be empty: no ID token would be taken");
    }
    if table.max_age.given().is_some_and(|age| age.subsec_nanos() > 0) {
        problems.add(&table.max_age.path, "must be whole seconds");
    }
    Ok(Asked {
        scopes: scopes?,
        algorithms: table.algorithms.optional()?,
        extra_parameters: extra_parameters?,
        max_age: table.max_age.optional()?,
    })
}

fn scopes(field: &Field<Vec<String>>, problems: &mut Problems) -> Checked<Option<Vec<String>>> {
    let scopes = field.optional()?;
    for (index, scope) in scopes.iter().flatten().enumerate() {
        if !is_scope(scope) {
            problems.add(&field.path.index(index), "must be one scope, without spaces");
        }
    }
    if scopes.as_ref().is_some_and(|scopes| !scopes.iter().any(|scope| scope == "openid")) {
        problems.add(&field.path, "must have \"openid\" among them: without it there is no ID token");
    }
    Ok(scopes)
}

fn extra_parameters(table: &Named<Field<String>>, problems: &mut Problems) -> Checked<Vec<(String, String)>> {
    let mut parameters = Vec::with_capacity(table.entries.len());
    for (name, field) in &table.entries {
        if is_reserved_parameter(name) {
            problems.add(&field.path, "is a parameter that the gateway sets itself");
        }
        parameters.push(field.required(problems).map(|value| (name.clone(), value)));
    }
    parameters.into_iter().collect()
}

fn profile(table: &ProviderTable, problems: &mut Problems) -> Checked<Profile> {
    let user = table.user_claim.or_some(ClaimPath::parse("sub").ok(), problems);
    let groups = table.groups_claim.or_some(ClaimPath::parse("groups").ok(), problems);
    Ok(Profile { user: user?, groups: groups? })
}

fn extra_roots(field: &Field<File>, problems: &mut Problems) -> Checked<Option<Vec<u8>>> {
    let Some(file) = field.optional()? else {
        return Ok(None);
    };
    super::certificates(&field.path, &file, problems).map(Some)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::{config::fixture::Settings, secret::Secret};

    fn check(provider: &str, expected: &str) {
        let settings = Settings::valid().with(&format!("[provider.main]\n{provider}"));
        assert_eq!(settings.problems(), expected, "{provider}");
    }

    fn config(provider: &str) -> provider::Config {
        only(Settings::valid().with(&format!("[provider.main]\n{provider}"))).provider
    }

    fn only(settings: Settings) -> providers::Config {
        settings.config().gateway.providers.pop().unwrap()
    }

    #[test]
    fn issuers_are_https_and_kept_to_the_letter() {
        assert_eq!(config("issuer = 'https://op.example.com/'").issuer.as_str(), "https://op.example.com/");
        assert_eq!(config("issuer = 'https://op.example.com'").issuer.as_str(), "https://op.example.com");
        let https = "provider.main.issuer: must be https outside development mode";
        check("issuer = 'http://op.example.com'", https);
        check("issuer = 'http://localhost:9000'", https);
        check("issuer = 'op'", "provider.main.issuer: is not a URL");
        check(
            "issuer = 'https://op.example.com/?x'",
            "provider.main.issuer: must have no user, query, fragment or space around it",
        );
    }

    #[test]
    fn development_speaks_http_to_loopback_alone() {
        let development = |issuer: &str| {
            let site = "mode = 'development'\n[site.main]\npublic_url = 'http://localhost:8080'";
            Settings::valid().with(site).with(&format!("[provider.main]\nissuer = '{issuer}'"))
        };
        assert_eq!(only(development("http://localhost:9000")).outbound.plain_http, PlainHttp::Loopback);
        let refused = development("http://op.example.com").problems();
        assert_eq!(refused, "provider.main.issuer: must be https, or http on loopback");
    }

    #[test]
    fn public_clients_say_so() {
        assert_eq!(config("").client_authentication, ClientAuthentication::SecretBasic(Secret::new("a client secret")));
        let post = config("authentication = 'client_secret_post'").client_authentication;
        assert_eq!(post, ClientAuthentication::SecretPost(Secret::new("a client secret")));
        let bare = Settings::valid().without("provider.main.client_secret");
        assert_eq!(
            bare.problems(),
            "provider.main.client_secret: is missing; a public client says provider.main.authentication = \"none\""
        );
        check(
            "authentication = 'none'",
            "provider.main.client_secret: contradicts provider.main.authentication = \"none\"",
        );
        let public =
            Settings::valid().without("provider.main.client_secret").with("[provider.main]\nauthentication = 'none'");
        assert_eq!(only(public).provider.client_authentication, ClientAuthentication::None);
    }

    #[test]
    fn what_this_version_cannot_do_is_said_plainly() {
        check(
            "response_mode = 'form_post'",
            "provider.main.response_mode: must be \"query\": this version does not support form_post",
        );
        check(
            "authentication = 'private_key_jwt'",
            "provider.main.authentication: must be another one: this version does not support private_key_jwt",
        );
    }

    #[test]
    fn with_several_providers_a_rule_says_whose_users_it_lets_in() {
        let two = || {
            Settings::valid()
                .with("[provider.other]\nissuer = 'https://x.example'\nclient_id = 'a'\nclient_secret = 'b'")
        };
        let whose = "policy.staff.rules[0].providers: is missing: a site has several providers, and each vouches for its own users";
        assert_eq!(two().problems(), whose);
        let named = "[policy.staff]\nrules = [{ allow = true, groups = ['staff'], providers = ['other'] }]";
        assert_eq!(two().with(named).problems(), "");
        assert_eq!(two().with("[site.main]\nproviders = ['main']").problems(), "");
        let unknown = "[policy.staff]\nrules = [{ allow = true, groups = ['staff'], providers = ['nobody'] }]";
        assert_eq!(
            two().with(unknown).problems(),
            "policy.staff.rules[0].providers[0]: must be the name of a [provider.NAME]"
        );
        let none = Settings::valid().without("provider");
        assert_eq!(none.problems(), "provider: is missing: a [provider.NAME] describes a provider");
    }

    #[test]
    fn requests_stay_ours() {
        check("scopes = ['openid', 'groups']", "");
        check(
            "scopes = ['profile']",
            "provider.main.scopes: must have \"openid\" among them: without it there is no ID token",
        );
        check("scopes = ['openid profile', 'openid']", "provider.main.scopes[0]: must be one scope, without spaces");
        check("extra_parameters = { audience = 'https://api.example.com', prompt = 'login' }", "");
        for name in ["state", "redirect_uri", "code_challenge_method", "response_mode"] {
            let path = format!("provider.main.extra_parameters.{name}");
            check(
                &format!("extra_parameters = {{ {name} = 'x' }}"),
                &format!("{path}: is a parameter that the gateway sets itself"),
            );
        }
        check("max_age = '1500ms'", "provider.main.max_age: must be whole seconds");
        check("clock_skew = '1h'", "provider.main.clock_skew: must be between 0s and 10m");
    }

    #[test]
    fn only_sound_algorithms_can_be_allowed() {
        let words = "must be one of \"RS256\", \"ES256\", \"PS256\", \"ES384\", \"EdDSA\"";
        check("algorithms = ['ES256']", "");
        check(
            "algorithms = ['HS256', 'none']",
            &format!("provider.main.algorithms[0]: {words}\nprovider.main.algorithms[1]: {words}"),
        );
        check("algorithms = []", "provider.main.algorithms: must not be empty: no ID token would be taken");
    }

    #[test]
    fn an_authority_file_holds_certificates() {
        check(
            "ca_file = '/nonexistent/ca.pem'",
            "provider.main.ca_file: names a file that cannot be read: No such file or directory (os error 2)",
        );
        check(
            "ca_file = '/etc/hostname'",
            "provider.main.ca_file: names a file that has no PEM certificates, or broken ones",
        );
    }

    #[test]
    fn claims_make_the_user() {
        let profile = |keys: &str| only(Settings::valid().with(&format!("[provider.main]\n{keys}"))).profile;
        assert_eq!(profile("").user, ClaimPath::parse("sub").unwrap());
        assert_eq!(profile("user_claim = 'email'").user, ClaimPath::parse("email").unwrap());
    }
}
