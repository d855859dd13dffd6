//! Pure. Policies: ordered rules, first match decides, otherwise nobody passes.
//!
//! Invariants: [`Permitted`] is made in [`Policy::permit`] alone, from somebody who proved who they are and a rule that
//! allows it; a rule lets client certificates in only if it names them.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    clock::Timestamp,
    inbound::Parameters,
    reason::Reason,
    rules::Conditions,
    session::{Depth, Method, User},
    verify::proven::{Proven, certificate_user},
};

/// All policies of the settings, by name.
#[derive(Clone, Debug, Default)]
pub struct Policies(BTreeMap<PolicyName, Policy>);

impl Policies {
    /// Gathers them.
    pub fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        Self(policies.into_iter().map(|policy| (policy.name.clone(), policy)).collect())
    }

    /// How much of a session the rules look at.
    pub fn depth(&self) -> Depth {
        let mut rules = self.0.values().flat_map(|policy| &policy.rules);
        let asks = rules.any(|rule| !rule.conditions.claims.is_empty());
        if asks { Depth::Whole } else { Depth::WithoutClaims }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(PolicyName::as_str)
    }

    /// The policies that would let somebody of that name and these groups in by certificate, from some address at least.
    pub fn admitting(&self, user: &str, groups: &[String]) -> Vec<String> {
        let user = certificate_user(user, groups);
        let admitting = self.0.values().filter(|policy| policy.would_admit(&user));
        admitting.map(|policy| policy.name.as_str().to_owned()).collect()
    }

    /// Those that let anybody in by certificate.
    pub fn taking_certificates(&self) -> impl Iterator<Item = &Policy> {
        self.0.values().filter(|policy| policy.rules.iter().any(Rule::takes_certificates))
    }

    /// The policy of that name.
    ///
    /// # Errors
    /// [`Reason::PolicyUnknown`].
    pub fn named(&self, name: &str) -> Result<&Policy, Reason> {
        self.0.get(name).ok_or(Reason::PolicyUnknown)
    }
}

/// A policy's name: letters, digits, hyphens and underscores, at most [`POLICY_NAME_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    /// Reads a name; none if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for PolicyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn is_name(text: &str) -> bool {
    let fits = (1..=POLICY_NAME_BYTES).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The policy that a verify request asks for: exactly one parameter, `policy=NAME`.
///
/// # Errors
/// [`Reason::PolicyMissing`] without parameters, [`Reason::PolicyMalformed`] for anything else.
pub fn asked_for<'a>(query: &Parameters<'a>) -> Result<Cow<'a, str>, Reason> {
    // Read without decoding where there is nothing to decode, which is always, if the nginx files are as shipped.
    if let Some(name) = query.text().strip_prefix("policy=").filter(|name| is_name(name)) {
        return Ok(Cow::Borrowed(name));
    }
    let mut pairs = query.pairs();
    match (pairs.next(), pairs.next()) {
        (None, _) => Err(Reason::PolicyMissing),
        (Some((key, name)), None) if key == "policy" && is_name(&name) => Ok(name),
        _ => Err(Reason::PolicyMalformed),
    }
}

/// Who may pass.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What happens to those whom it fits.
    pub effect: Effect,
    /// It fits only those who proved who they are in one of these ways; [`Rule::accepts`] says what none named means.
    pub methods: Vec<Method>,
    /// It fits only those who signed in with one of these providers; with none named, any will do.
    pub providers: Vec<String>,
    /// Whom it fits.
    pub conditions: Conditions,
    /// It fits only clients in any of these networks; everywhere if there are none.
    pub client_networks: Vec<IpNet>,
    /// It fits only those who signed in no longer ago than this.
    pub max_sign_in_age: Option<Duration>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Lets pass.
    Allow,
    /// Refuses.
    Deny,
}

/// Proof that a rule lets somebody pass.
#[derive(Clone, Debug)]
pub struct Permitted {
    who: Proven,
    policy: PolicyName,
    rule: usize,
}

impl Permitted {
    /// Who it is.
    pub const fn who(&self) -> &Proven {
        &self.who
    }

    /// The policy, and the number of the rule in it.
    pub fn rule(&self) -> (&str, usize) {
        (self.policy.as_str(), self.rule)
    }
}

impl Policy {
    /// The one place that says a user may pass, from that address.
    ///
    /// # Errors
    /// [`Reason::PolicyDenied`] when the first rule that fits denies, or none fits.
    pub fn permit(&self, who: impl Into<Proven>, client: IpAddr, now: Timestamp) -> Result<Permitted, Reason> {
        let who = who.into();
        let matched = self.rules.iter().enumerate().find(|(_, rule)| rule.fits(&who, client, now));
        match matched {
            Some((number, Rule { effect: Effect::Allow, .. })) => {
                Ok(Permitted { who, policy: self.name.clone(), rule: number })
            }
            Some((_, Rule { effect: Effect::Deny, .. })) | None => Err(Reason::PolicyDenied),
        }
    }
}

impl Policy {
    /// The first rule about somebody decides, as it does in [`Policy::permit`].
    fn would_admit(&self, user: &User) -> bool {
        let first = self.rules.iter().find(|rule| rule.would_decide(user));
        first.is_some_and(|rule| rule.effect == Effect::Allow)
    }

    /// Which of a site's providers sign people in for this policy: those that its rules name, or all where one names
    /// none. All of them too where no rule lets anybody in who signed in: then nothing but the whole site's outage is one.
    pub fn providers<'a>(&'a self, of_site: &'a [String]) -> impl Iterator<Item = &'a String> {
        let mut asked = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.effect == Effect::Allow && rule.accepts(Method::Oidc)) {
            let named = |provider: &&String| rule.providers.is_empty() || rule.providers.contains(provider);
            asked.extend(of_site.iter().filter(named));
        }
        let all = asked.is_empty();
        of_site.iter().filter(move |provider| all || asked.contains(provider))
    }
}

impl Rule {
    /// Whether it is about those who proved who they are in that way. Where it names none, it lets in whoever signed in,
    /// and refuses whoever comes.
    pub fn accepts(&self, method: Method) -> bool {
        match self.effect {
            Effect::Allow if self.methods.is_empty() => method == Method::Oidc,
            Effect::Deny if self.methods.is_empty() => true,
            Effect::Allow | Effect::Deny => self.methods.contains(&method),
        }
    }

    fn takes_certificates(&self) -> bool {
        self.effect == Effect::Allow && self.accepts(Method::ClientCertificate)
    }

    /// Whether it is about whoever becomes that user by certificate; about some addresses alone, it refuses nobody here.
    fn would_decide(&self, user: &User) -> bool {
        self.accepts(Method::ClientCertificate)
            && self.providers.is_empty()
            && match self.effect {
                Effect::Allow => self.conditions.met_by(user),
                Effect::Deny => self.client_networks.is_empty() && self.conditions.claimed_by(user),
            }
    }

    fn fits(&self, who: &Proven, client: IpAddr, now: Timestamp) -> bool {
        let age = who.signed_in_at().map_or(Duration::ZERO, |at| now.since(at));
        let fresh = self.max_sign_in_age.is_none_or(|most| age <= most);
        let near = self.client_networks.is_empty() || self.client_networks.iter().any(|net| net.contains(&client));
        let vouched = |provider| self.providers.iter().any(|name| name == provider);
        let by_provider = self.providers.is_empty() || who.provider().is_some_and(vouched);
        // Claims that were not opened meet nothing, and are no excuse either.
        let can_tell = self.conditions.claims.is_empty() || !who.lacks_claims();
        self.accepts(who.method())
            && by_provider
            && near
            && fresh
            && match self.effect {
                Effect::Allow => can_tell && self.conditions.met_by(who.user()),
                Effect::Deny => !can_tell || self.conditions.claimed_by(who.user()),
            }
    }
}

/// The longest policy name.
pub const POLICY_NAME_BYTES: usize = 64;

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        oidc::claims::ClaimPath,
        rules::{ClaimCondition, Email},
        session::{Opened, tests::authenticated},
    };

    /// Where the client of the tests is.
    pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn rules_about_claims_ask_for_them_whatever_they_do_and_without_them_let_nobody_in() {
        let claims = vec![ClaimCondition { path: ClaimPath::parse("realm_access.roles").unwrap(), values: vec![] }];
        let by_claims = |effect| {
            let conditions = Conditions { claims: claims.clone(), ..Conditions::default() };
            Rule { conditions, ..rule(effect, &[]) }
        };
        let policy = |rules| Policy { name: PolicyName::parse("p").unwrap(), rules };
        let depth = |rules| Policies::new([policy(rules)]).depth();
        assert_eq!(depth(vec![rule(Effect::Allow, &["staff"])]), Depth::WithoutClaims);
        let start = Timestamp::from_seconds(1_000_000);
        let (browser, lifetimes) = (crate::session::tests::browser(), crate::session::tests::lifetimes());
        for effect in [Effect::Allow, Effect::Deny] {
            let rules = vec![by_claims(effect), rule(Effect::Allow, &["staff"])];
            assert_eq!(depth(rules.clone()), Depth::Whole, "{effect:?}");
            let opened = |depth| Opened::new(crate::session::tests::facts(), depth);
            let permit = |depth| {
                let session = opened(depth).authenticate(&browser, &lifetimes, start).unwrap();
                policy(rules.clone()).permit(session, CLIENT, start).map(|permitted| permitted.rule().1)
            };
            // The user has that claim, with none of the values that are asked for.
            assert_eq!(permit(Depth::Whole), Ok(1), "{effect:?}");
            let expected = if effect == Effect::Deny { Err(Reason::PolicyDenied) } else { Ok(1) };
            assert_eq!(permit(Depth::WithoutClaims), expected, "{effect:?}");
        }
    }

    fn rule(effect: Effect, groups: &[&str]) -> Rule {
        let groups = groups.iter().map(|name| (*name).to_owned()).collect();
        let conditions = Conditions { groups, ..Conditions::default() };
        Rule { effect, methods: vec![], providers: vec![], conditions, client_networks: vec![], max_sign_in_age: None }
    }

    fn policy(name: &str, rules: Vec<Rule>) -> Policy {
        Policy { name: PolicyName::parse(name).unwrap(), rules }
    }

    pub(crate) fn policies() -> Policies {
        let alice = Conditions { emails: vec![Email::parse("alice@example.com").unwrap()], ..Conditions::default() };
        let not_alice = Rule { conditions: alice, ..rule(Effect::Deny, &[]) };
        Policies::new([
            policy("staff", vec![rule(Effect::Allow, &["staff"])]),
            policy("admins", vec![rule(Effect::Allow, &["admins"])]),
            policy("none", vec![]),
            policy("not-alice", vec![not_alice, rule(Effect::Allow, &[])]),
        ])
    }

    #[test]
    fn a_sign_in_grows_too_old_for_a_rule() {
        let fresh = Rule { max_sign_in_age: Some(Duration::from_secs(60)), ..rule(Effect::Allow, &[]) };
        let policy = policy("fresh", vec![fresh]);
        let start = Timestamp::from_seconds(1_000_000);
        let permits = |after| policy.permit(authenticated(), CLIENT, start.plus(Duration::from_secs(after))).is_ok();
        assert!(permits(60));
        assert!(!permits(61));
    }

    #[test]
    fn a_group_counts_only_where_the_rule_trusts_its_provider() {
        let check = |providers: &[&str], expected: bool| {
            let providers = providers.iter().map(|name| (*name).to_owned()).collect();
            let policy = policy("staff", vec![Rule { providers, ..rule(Effect::Allow, &["staff"]) }]);
            let start = Timestamp::from_seconds(1_000_000);
            assert_eq!(policy.permit(authenticated(), CLIENT, start).is_ok(), expected);
        };
        check(&[], true);
        check(&["main"], true);
        check(&["partners", "main"], true);
        check(&["partners"], false);
    }

    #[test]
    fn a_policys_providers_are_those_by_which_somebody_could_sign_in_for_it() {
        let site: Vec<String> = ["main", "partners"].map(str::to_owned).to_vec();
        let by = |providers: &[&str], methods: &[Method]| Rule {
            providers: providers.iter().map(|name| (*name).to_owned()).collect(),
            methods: methods.to_vec(),
            ..rule(Effect::Allow, &["staff"])
        };
        let check = |rules: Vec<Rule>, expected: &[&str]| {
            let policy = policy("staff", rules);
            assert_eq!(policy.providers(&site).collect::<Vec<_>>(), expected);
        };
        let certificate = [Method::ClientCertificate];
        check(vec![by(&["main"], &[])], &["main"]);
        check(vec![by(&["main"], &[]), by(&[], &certificate)], &["main"]);
        check(vec![by(&["main"], &[]), by(&["partners"], &[])], &["main", "partners"]);
        check(vec![by(&[], &[])], &["main", "partners"]);
        check(vec![by(&["main"], &[]), by(&[], &[])], &["main", "partners"]);
        check(vec![Rule { effect: Effect::Deny, ..by(&["partners"], &[]) }, by(&["main"], &[])], &["main"]);
        // Nobody signs in for it: then nothing less than the whole site's outage is one.
        check(vec![by(&[], &certificate)], &["main", "partners"]);
        check(vec![by(&["elsewhere"], &[])], &["main", "partners"]);
        check(Vec::new(), &["main", "partners"]);
    }

    #[test]
    fn a_drill_is_told_of_the_policies_that_would_decide_so() {
        let by_certificate =
            |effect, groups: &[&str]| Rule { methods: vec![Method::ClientCertificate], ..rule(effect, groups) };
        let check = |rules: Vec<Rule>, expected: bool| {
            let policies = Policies::new([policy("consoles", rules)]);
            let groups = ["admins", "contractors"].map(str::to_owned);
            assert_eq!(!policies.admitting("alice", &groups).is_empty(), expected);
        };
        check(vec![by_certificate(Effect::Allow, &["admins"])], true);
        check(vec![rule(Effect::Allow, &["admins"])], false);
        check(vec![rule(Effect::Deny, &["contractors"]), by_certificate(Effect::Allow, &["admins"])], false);
        check(vec![by_certificate(Effect::Allow, &["admins"]), rule(Effect::Deny, &["contractors"])], true);
        let elsewhere =
            Rule { client_networks: vec!["198.51.100.0/24".parse().unwrap()], ..rule(Effect::Deny, &["admins"]) };
        check(vec![elsewhere, by_certificate(Effect::Allow, &["admins"])], true);
        check(vec![by_certificate(Effect::Allow, &["others"])], false);
    }

    #[test]
    fn a_rule_about_networks_fits_clients_in_them_alone() {
        let near = |effect, networks: &[&str]| {
            let client_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
            Rule { client_networks, ..rule(effect, &[]) }
        };
        let inside = policy("inside", vec![near(Effect::Allow, &["10.0.0.0/8", "2001:db8::/32"])]);
        let banned = policy("banned", vec![near(Effect::Deny, &["10.0.0.0/8"]), rule(Effect::Allow, &[])]);
        let now = Timestamp::from_seconds(1_000_000);
        let check = |client: &str, expected: [bool; 2]| {
            let client = client.parse().unwrap();
            let permits = [&inside, &banned].map(|policy| policy.permit(authenticated(), client, now).is_ok());
            assert_eq!(permits, expected, "{client}");
        };
        check("10.1.2.3", [true, false]);
        check("11.1.2.3", [false, true]);
        check("2001:db8::7", [true, true]);
        check("2001:db9::7", [false, true]);
        check("::a01:203", [false, true]);
    }

    #[test]
    fn an_address_that_nobody_vouches_for_gets_nobody_past_a_refusal() {
        let mut facts = crate::session::tests::facts();
        facts.user.email_verified = false;
        let start = Timestamp::from_seconds(1_000_000);
        let browser = crate::session::tests::browser();
        let session = crate::session::tests::opened(facts)
            .authenticate(&browser, &crate::session::tests::lifetimes(), start)
            .unwrap();
        let verdict = policies().named("not-alice").unwrap().permit(session, CLIENT, start);
        assert_eq!(verdict.err(), Some(Reason::PolicyDenied));
    }

    #[test]
    fn a_malformed_question_names_no_policy() {
        let check = |query: &str, expected: Result<&str, Reason>| {
            let asked = asked_for(&Parameters::of_form(query));
            assert_eq!(asked.as_deref().map_err(|reason| *reason), expected, "{query}");
        };
        check("policy=staff", Ok("staff"));
        check("policy=st%61ff", Ok("staff"));
        check("", Err(Reason::PolicyMissing));
        for query in [
            "policy=",
            "policy",
            "polcy=staff",
            "Policy=staff",
            "policy=staff&policy=staff",
            "policy=staff&x=1",
            "x=1&policy=staff",
            "policy=st%ff",
            "policy=st%zz",
            "policy=st%",
            "policy=a/b",
            "policy=staff%00",
            "=staff",
        ] {
            check(query, Err(Reason::PolicyMalformed));
        }
    }

    #[test]
    fn names_are_plain_and_short() {
        let check = |name: &str, expected: bool| assert_eq!(PolicyName::parse(name).is_some(), expected, "{name}");
        check("staff-2_x", true);
        check("", false);
        check("a b", false);
        check("a/b", false);
        check(&"a".repeat(POLICY_NAME_BYTES + 1), false);
    }
}
