//! Pure. Who may have a session, and who may pass where: access conditions and policies.
//!
//! Invariant: a rule for everybody says so. A condition that is empty, or was forgotten, opens nothing.

use ipnet::IpNet;

use super::{LONGEST_COOKIE, NAME, NeedsProvider, SECOND, duration, misread_network};
use crate::{
    config::{
        problem::{Checked, Path, Problems},
        raw::{
            ClaimTable, ConditionsTable, PolicyTable, ProviderTable, RuleTable,
            node::{Field, List, Named},
        },
    },
    rules::{ClaimCondition, Conditions, Email, EmailDomain},
    session::Method,
    verify::policy::{Effect, Policies, Policy, PolicyName, Rule},
};

/// Checks who may have a session at all.
pub(super) fn access(table: &ConditionsTable, problems: &mut Problems) -> Checked<Conditions> {
    let asked = Asked {
        groups: &table.groups,
        emails: &table.emails,
        email_domains: &table.email_domains,
        email_verified: &table.email_verified,
        claims: &table.claims,
    };
    asked.conditions(problems)
}

/// Checks all policies.
pub(super) fn policies(
    table: &Named<PolicyTable>,
    providers: &Named<ProviderTable>,
    needs_provider: NeedsProvider,
    problems: &mut Problems,
) -> Checked<Policies> {
    let context = Context { providers, needs_provider };
    if table.entries.is_empty() {
        problems.add(&table.path, "is missing: without a [policy.NAME] nobody ever passes");
    }
    let read: Vec<_> =
        table.entries.iter().map(|(name, entry)| policy(name, &table.path, entry, &context, problems)).collect();
    read.into_iter().collect::<Checked<Vec<_>>>().map(Policies::new)
}

/// What rules are looked at with.
struct Context<'a> {
    providers: &'a Named<ProviderTable>,
    needs_provider: NeedsProvider,
}

fn policy(
    name: &str,
    path: &Path,
    table: &PolicyTable,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Checked<Policy> {
    let parsed = PolicyName::parse(name).ok_or_else(|| problems.add(&path.key(name), NAME));
    if table.rules.members.is_empty() {
        let message = if table.rules.present { "must not be empty" } else { "is missing" };
        problems.add(&table.rules.path, format!("{message}: a policy without rules lets nobody pass"));
    }
    refuse_unreachable(&table.rules, problems);
    let rules = table.rules.members.iter().enumerate();
    let rules: Vec<_> =
        rules.map(|(index, table_of)| rule(&table.rules.path.index(index), table_of, context, problems)).collect();
    Ok(Policy { name: parsed?, rules: rules.into_iter().collect::<Checked<_>>()? })
}

/// A rule for everybody who signed in leaves those with certificates to the rules after it.
fn refuse_unreachable(rules: &List<RuleTable>, problems: &mut Problems) {
    let for_all = |rule: &RuleTable| {
        let narrowed =
            rule.max_sign_in_age.is_present() || rule.providers.is_present() || rule.client_networks.is_present();
        rule.everyone.given() == Some(&true) && !rule.methods.is_present() && !narrowed
    };
    let Some(last) = rules.members.iter().position(for_all) else {
        return;
    };
    for (index, rule) in rules.members.iter().enumerate().skip(last + 1) {
        let by_certificate = rule.methods.given().is_some_and(|named| named.contains(&Method::ClientCertificate));
        if !by_certificate {
            problems
                .add(&rules.path.index(index), format!("is never reached: {} is for everyone", rules.path.index(last)));
        }
    }
}

fn rule(path: &Path, table: &RuleTable, context: &Context<'_>, problems: &mut Problems) -> Checked<Rule> {
    let allow = table.allow.required(problems);
    let providers = super::names_of(&table.providers, context.providers, problems);
    let methods = methods(table, problems);
    let by_certificate_alone = methods.as_deref() == Ok(&[Method::ClientCertificate]);
    if !by_certificate_alone
        && context.needs_provider == NeedsProvider::Yes
        && allow == Ok(true)
        && !table.providers.is_present()
    {
        problems
            .add(&table.providers.path, "is missing: a site has several providers, and each vouches for its own users");
    }
    let asked = Asked {
        groups: &table.groups,
        emails: &table.emails,
        email_domains: &table.email_domains,
        email_verified: &table.email_verified,
        claims: &table.claims,
    };
    refuse_unclear(path, table, &asked, problems);
    let client_networks = networks(&table.client_networks, problems);
    let max_sign_in_age = match table.max_sign_in_age.given() {
        Some(_) => duration(&table.max_sign_in_age, SECOND, SECOND..=LONGEST_COOKIE, problems).map(Some),
        None => table.max_sign_in_age.optional(),
    };
    if allow == Ok(false) && table.max_sign_in_age.is_present() {
        problems.add(&table.max_sign_in_age.path, "is only for a rule that allows");
    }
    let effect = if allow? { Effect::Allow } else { Effect::Deny };
    let conditions = asked.conditions(problems);
    Ok(Rule {
        effect,
        methods: methods?,
        providers: providers?.unwrap_or_default(),
        conditions: conditions?,
        client_networks: client_networks?,
        max_sign_in_age: max_sign_in_age?,
    })
}

/// In which ways somebody may have proved who they are; a certificate comes from no provider.
fn methods(table: &RuleTable, problems: &mut Problems) -> Checked<Vec<Method>> {
    let methods = filled(&table.methods, problems)?;
    if methods.contains(&Method::ClientCertificate) && table.providers.is_present() {
        return Err(problems.add(
            &table.providers.path,
            "contradicts methods: a certificate comes from no provider, so give it a rule of its own",
        ));
    }
    Ok(methods)
}

fn refuse_unclear(path: &Path, table: &RuleTable, asked: &Asked<'_>, problems: &mut Problems) {
    let everyone = table.everyone.given() == Some(&true);
    let unreadable = table.everyone.is_present() && table.everyone.given().is_none();
    if everyone && asked.anything() {
        problems.add(&table.everyone.path, "contradicts the other conditions of this rule");
    }
    if !everyone && !unreadable && !asked.anything() {
        problems.add(path, "has no condition on the user; a rule for everybody signed in says everyone = true");
    }
}

/// Conditions as they are written, in whichever table.
struct Asked<'a> {
    groups: &'a Field<Vec<String>>,
    emails: &'a Field<Vec<Email>>,
    email_domains: &'a Field<Vec<EmailDomain>>,
    email_verified: &'a Field<bool>,
    claims: &'a List<ClaimTable>,
}

impl Asked<'_> {
    /// Whether there is any condition, readable or not.
    fn anything(&self) -> bool {
        self.groups.is_present()
            || self.emails.is_present()
            || self.email_domains.is_present()
            || self.claims.present
            || self.email_verified.given().map_or(self.email_verified.is_present(), |verified| *verified)
    }

    fn conditions(&self, problems: &mut Problems) -> Checked<Conditions> {
        if self.claims.present && self.claims.members.is_empty() {
            problems.add(&self.claims.path, EMPTY);
        }
        let claims: Vec<_> = self.claims.members.iter().map(|table| claim(table, problems)).collect();
        let groups = filled(self.groups, problems);
        let emails = filled(self.emails, problems);
        let email_domains = filled(self.email_domains, problems);
        Ok(Conditions {
            groups: groups?,
            emails: emails?,
            email_domains: email_domains?,
            claims: claims.into_iter().collect::<Checked<_>>()?,
            email_verified: self.email_verified.or(false)?,
        })
    }
}

fn claim(table: &ClaimTable, problems: &mut Problems) -> Checked<ClaimCondition> {
    let path = table.path.required(problems);
    let values = table.values.required(problems).and_then(|_| filled(&table.values, problems));
    Ok(ClaimCondition { path: path?, values: values? })
}

fn networks(field: &Field<Vec<IpNet>>, problems: &mut Problems) -> Checked<Vec<IpNet>> {
    let networks = filled(field, problems)?;
    for (index, network) in networks.iter().enumerate() {
        if let Some(message) = misread_network(*network) {
            problems.add(&field.path.index(index), message);
        }
    }
    Ok(networks)
}

/// The list; none at all may be given, but not an empty one, which would ask for nothing.
fn filled<T: Clone>(field: &Field<Vec<T>>, problems: &mut Problems) -> Checked<Vec<T>> {
    if field.given().is_some_and(Vec::is_empty) {
        return Err(problems.add(&field.path, EMPTY));
    }
    field.or(Vec::new())
}

const EMPTY: &str = "must not be empty: leave it out to ask for nothing";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::{collections::BTreeSet, net::IpAddr, time::Duration};

    use crate::{
        clock::Timestamp,
        config::{fixture::Settings, raw::Raw},
        reason::Reason,
        session::{self, Facts, Method},
    };

    fn check(rules: &str, expected: &str) {
        let settings = Settings::valid().without("policy").with(&format!("[policy.staff]\nrules = [{rules}]"));
        assert_eq!(settings.problems(), expected, "{rules}");
    }

    #[test]
    fn rules_for_everybody_say_so() {
        let open =
            "policy.staff.rules[0]: has no condition on the user; a rule for everybody signed in says everyone = true";
        check("{ allow = true, groups = ['staff'] }", "");
        check("{ allow = true, everyone = true }", "");
        check("{ allow = true }", open);
        check("{ allow = true, everyone = false }", open);
        check("{ allow = true, email_verified = false }", open);
        check("{ allow = true, max_sign_in_age = '1h' }", open);
        check("{ allow = true, client_networks = ['10.0.0.0/8'] }", open);
        check("{ allow = true, everyone = true, client_networks = ['10.0.0.0/8', '2001:db8::7'] }", "");
        check("{ allow = false }", open);
        check("{ allow = true, everyone = true, max_sign_in_age = '1h' }", "");
        check(
            "{ allow = true, everyone = true, groups = ['staff'] }",
            "policy.staff.rules[0].everyone: contradicts the other conditions of this rule",
        );
        check(
            "{ allow = true, group = ['staff'] }",
            &format!("{open}\npolicy.staff.rules[0].group: is not a setting; did you mean groups?"),
        );
    }

    #[test]
    fn a_condition_is_never_empty() {
        for list in ["groups", "emails", "email_domains", "claims"] {
            let path = format!("policy.staff.rules[0].{list}");
            check(
                &format!("{{ allow = true, {list} = [] }}"),
                &format!("{path}: must not be empty: leave it out to ask for nothing"),
            );
        }
        check(
            "{ allow = true, claims = [{ path = 'roles', values = [] }] }",
            "policy.staff.rules[0].claims[0].values: must not be empty: leave it out to ask for nothing",
        );
        check(
            "{ allow = true, everyone = true, client_networks = [] }",
            "policy.staff.rules[0].client_networks: must not be empty: leave it out to ask for nothing",
        );
        check("{ allow = true, groups = [''] }", "policy.staff.rules[0].groups[0]: must not be empty");
    }

    #[test]
    fn conditions_are_read() {
        check(
            "{ allow = true, claims = [{ path = 'https://example.com/roles', values = ['a'] }, { path = ['a', 'b.c'], values = ['d'] }] }",
            "",
        );
        check(
            "{ allow = true, emails = ['alice', 7], email_domains = ['@example.com', '*.example.com'], claims = [{ path = '' }, 3] }",
            "policy.staff.rules[0].claims[0].path: must be a claim: \"groups\", \"realm_access.roles\", [\"roles\", \"my.app\"]\n\
             policy.staff.rules[0].claims[0].values: is missing\n\
             policy.staff.rules[0].claims[1]: must be a table\n\
             policy.staff.rules[0].email_domains[0]: must be a domain such as \"example.com\", without \"@\" or wild card\n\
             policy.staff.rules[0].email_domains[1]: must be a domain such as \"example.com\", without \"@\" or wild card\n\
             policy.staff.rules[0].emails[0]: is not an e-mail address\n\
             policy.staff.rules[0].emails[1]: must be a text in quotes",
        );
    }

    #[test]
    fn networks_are_written_as_they_are_meant() {
        check(
            "{ allow = true, everyone = true, client_networks = ['10.0.0.7/8', '::ffff:10.0.0.0/104', 'office'] }",
            "policy.staff.rules[0].client_networks[2]: must be an address or a network, such as \"10.0.0.7\" or \"10.0.0.0/24\"",
        );
        check(
            "{ allow = true, everyone = true, client_networks = ['10.0.0.7/8', '::ffff:10.0.0.0/104'] }",
            "policy.staff.rules[0].client_networks[0]: has bits set beyond its length: is it an address, or a network?\n\
             policy.staff.rules[0].client_networks[1]: must be written as an IPv4 network",
        );
    }

    #[test]
    fn every_rule_can_be_reached() {
        check("{ allow = false, groups = ['x'] }, { allow = true, everyone = true }", "");
        check(
            "{ allow = true, everyone = true }, { allow = false, groups = ['x'] }",
            "policy.staff.rules[1]: is never reached: policy.staff.rules[0] is for everyone",
        );
        check("{ allow = true, everyone = true, max_sign_in_age = '1h' }, { allow = true, groups = ['x'] }", "");
        check(
            "{ allow = false, everyone = true, client_networks = ['10.0.0.0/8'] }, { allow = true, groups = ['x'] }",
            "",
        );
        check(
            "{ allow = false, groups = ['x'], max_sign_in_age = '1h' }",
            "policy.staff.rules[0].max_sign_in_age: is only for a rule that allows",
        );
    }

    #[test]
    fn there_is_a_policy_and_it_has_rules() {
        let lets_nobody = "a policy without rules lets nobody pass";
        check("", &format!("policy.staff.rules: must not be empty: {lets_nobody}"));
        let bare = Settings::valid().without("policy.staff.rules").problems();
        assert_eq!(bare, format!("policy.staff.rules: is missing: {lets_nobody}"));
        let none = Settings::valid().without("policy").problems();
        assert_eq!(none, "policy: is missing: without a [policy.NAME] nobody ever passes");
        let named = Settings::valid().with("[policy.'a b']\nrules = [{ allow = true, everyone = true }]").problems();
        assert_eq!(named, "policy.\"a b\": must have a name of at most 64 letters, digits, hyphens and underscores");
    }

    /// A request: whose, from where, when.
    struct Asked {
        facts: Facts,
        client: IpAddr,
        now: Timestamp,
    }

    impl Asked {
        fn usual() -> Self {
            let now = Timestamp::from_seconds(1_000_000);
            Self { facts: session::tests::facts(), client: [192, 0, 2, 7].into(), now }
        }

        fn verdict(self, rules: &str) -> Result<usize, Reason> {
            let settings = Settings::valid().without("policy").with(&format!("[policy.staff]\nrules = [{rules}]"));
            let policies = settings.config().gateway.policies;
            let session = session::tests::opened(self.facts).authenticate(
                &session::tests::browser(),
                &session::tests::lifetimes(),
                self.now,
            );
            let permitted = policies.named("staff").unwrap().permit(session.unwrap(), self.client, self.now);
            permitted.map(|permitted| permitted.rule().1)
        }
    }

    /// A key, a condition by it that the usual request meets, and what makes a request that does not.
    type Case = (&'static str, &'static str, fn(&mut Asked));

    const CONDITIONS: &[Case] = &[
        ("groups", "groups = ['staff']", |asked| asked.facts.user.groups = vec!["stuff".into()]),
        ("emails", "emails = ['alice@example.com']", |asked| asked.facts.user.email = "bob@example.com".into()),
        ("email_domains", "email_domains = ['example.com']", |asked| {
            asked.facts.user.email = "alice@sub.example.com".into();
        }),
        ("email_verified", "email_verified = true", |asked| asked.facts.user.email_verified = false),
        ("claims.[].path", "claims = [{ path = 'realm_access.roles', values = ['ops'] }]", |asked| {
            asked.facts.user.claims = r#"{"roles":["ops"]}"#.into();
        }),
        ("claims.[].values", "claims = [{ path = 'realm_access.roles', values = ['ops'] }]", |asked| {
            asked.facts.user.claims = r#"{"realm_access":{"roles":["Ops"]}}"#.into();
        }),
        ("methods", "everyone = true, methods = ['oidc']", |asked| asked.facts.method = Method::ClientCertificate),
        ("providers", "everyone = true, providers = ['main']", |asked| asked.facts.provider = "partners".into()),
        ("client_networks", "everyone = true, client_networks = ['192.0.2.0/24']", |asked| {
            asked.client = [192, 0, 3, 7].into();
        }),
        ("max_sign_in_age", "everyone = true, max_sign_in_age = '1m'", |asked| {
            asked.now = asked.now.plus(Duration::from_secs(61));
        }),
    ];

    #[test]
    fn every_condition_there_is_refuses_somebody() {
        let below = |key: &[&str]| key.strip_prefix(&["policy", "*", "rules", "[]"]).map(|rest| rest.join("."));
        let known: BTreeSet<String> = Raw::keys().iter().filter_map(|key| below(&key.path)).collect();
        let tested = CONDITIONS.iter().map(|(key, ..)| *key).chain(["allow", "everyone"]).map(str::to_owned).collect();
        assert_eq!(known, tested);
        for (key, condition, spoil) in CONDITIONS {
            let only = format!("{{ allow = true, {condition} }}");
            let mut other = Asked::usual();
            spoil(&mut other);
            assert_eq!(Asked::usual().verdict(&only), Ok(0), "{key}");
            assert_eq!(other.verdict(&only), Err(Reason::PolicyDenied), "{key}");
        }
    }

    #[test]
    fn every_condition_there_is_keeps_somebody_out() {
        for (key, condition, spoil) in CONDITIONS.iter().filter(|(key, ..)| *key != "max_sign_in_age") {
            let all = "{ allow = true, everyone = true, methods = ['oidc', 'client-certificate'] }";
            let but = format!("{{ allow = false, {condition} }}, {all}");
            let mut other = Asked::usual();
            spoil(&mut other);
            assert_eq!(Asked::usual().verdict(&but), Err(Reason::PolicyDenied), "{key}");
            assert_eq!(other.verdict(&but), Ok(1), "{key}");
        }
        assert_eq!(Asked::usual().verdict("{ allow = true, everyone = true }"), Ok(0));
        assert_eq!(Asked::usual().verdict("{ allow = false, everyone = true }"), Err(Reason::PolicyDenied));
    }

    #[test]
    fn a_rule_that_names_no_method_is_about_sign_ins_if_it_allows_and_about_everybody_if_it_denies() {
        let by_certificate = |rules: &str| {
            let mut asked = Asked::usual();
            asked.facts.method = Method::ClientCertificate;
            asked.verdict(rules)
        };
        assert_eq!(by_certificate("{ allow = true, everyone = true }"), Err(Reason::PolicyDenied));
        let named = "{ allow = true, everyone = true, methods = ['client-certificate'] }";
        assert_eq!(by_certificate(named), Ok(0));
        assert_eq!(Asked::usual().verdict(named), Err(Reason::PolicyDenied));
        let after = format!("{{ allow = true, everyone = true }}, {named}");
        assert_eq!(by_certificate(&after), Ok(1));
        let barred = format!("{{ allow = false, groups = ['staff'] }}, {named}");
        assert_eq!(by_certificate(&barred), Err(Reason::PolicyDenied));
    }

    #[test]
    fn a_rule_for_certificates_names_no_provider() {
        let rules = |rules: &str| {
            Settings::valid().without("policy").with(&format!("[policy.staff]\nrules = [{rules}]")).problems()
        };
        assert_eq!(
            rules("{ allow = true, everyone = true, methods = ['oidc', 'client-certificate'], providers = ['main'] }"),
            "policy.staff.rules[0].providers: contradicts methods: a certificate comes from no provider, so give it a rule \
             of its own"
        );
        assert_eq!(
            rules("{ allow = true, everyone = true, methods = ['mtls'] }").matches("client-certificate").count(),
            1
        );
        assert_eq!(rules("{ allow = true, everyone = true, methods = [] }").matches("must not be empty").count(), 1);
    }

    #[test]
    fn access_conditions_are_no_different() {
        let access = |keys: &str| Settings::valid().with(&format!("[access]\n{keys}")).problems();
        assert_eq!(access("email_domains = ['example.com']\nemail_verified = true"), "");
        assert_eq!(access("groups = []"), "access.groups: must not be empty: leave it out to ask for nothing");
    }
}
