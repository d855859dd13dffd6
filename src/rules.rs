//! Pure. The conditions that policies and sign-in share: groups, e-mails, e-mail domains, claims.
//!
//! Invariant: a condition that asks for something the user does not have, or that the provider does not vouch for,
//! is not met by those who are to be let in; those who are to be kept out meet it by an address that nobody vouches
//! for, because they need not have it verified. Conditions of different kinds must all be met; of one kind, any one.

use serde_json::{Map, Value};

use crate::{
    oidc::claims::{self, ClaimPath},
    session::User,
};

/// Conditions on a user. The empty set is met by every user.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Any of these groups, exactly.
    pub groups: Vec<String>,
    /// Any of these addresses, verified.
    pub emails: Vec<Email>,
    /// A verified address in any of these domains, exactly.
    pub email_domains: Vec<EmailDomain>,
    /// Each of these claims.
    pub claims: Vec<ClaimCondition>,
    /// An address that the provider vouches for, whatever it is.
    pub email_verified: bool,
}

/// A claim that must hold any of some values.
#[derive(Clone, Debug)]
pub struct ClaimCondition {
    /// Where the claim is.
    pub path: ClaimPath,
    /// The values; a list holds a value if it is one of its members.
    pub values: Vec<String>,
}

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.emails.is_empty()
            && self.email_domains.is_empty()
            && self.claims.is_empty()
            && !self.email_verified
    }

    /// Whether a user meets all of them, by what the provider vouches for.
    pub fn met_by(&self, user: &User) -> bool {
        self.met_with(|| verified_email(user), user)
    }

    /// Whether a user meets all of them, by whatever address they have: for keeping somebody out.
    pub fn claimed_by(&self, user: &User) -> bool {
        self.met_with(|| Email::parse(user.email.trim()), user)
    }

    /// The address is read only where a condition asks for one.
    fn met_with(&self, email: impl Fn() -> Option<Email>, user: &User) -> bool {
        let asked = !(self.emails.is_empty() && self.email_domains.is_empty());
        let email = asked.then(email).flatten();
        let email = email.as_ref();
        let group =
            self.groups.is_empty() || user.groups.iter().any(|group| self.groups.iter().any(|wanted| wanted == group));
        let address = self.emails.is_empty() || email.is_some_and(|email| self.emails.contains(email));
        let domain = self.email_domains.is_empty()
            || email.is_some_and(|email| self.email_domains.iter().any(|domain| email.is_in(domain)));
        let verified = !self.email_verified || verified_email(user).is_some();
        group && address && domain && verified && self.claims_met_by(user)
    }

    fn claims_met_by(&self, user: &User) -> bool {
        if self.claims.is_empty() {
            return true;
        }
        let Ok(claims) = serde_json::from_str::<Map<String, Value>>(&user.claims) else {
            return false;
        };
        self.claims.iter().all(|condition| condition.met_by(&claims))
    }
}

impl ClaimCondition {
    fn met_by(&self, claims: &Map<String, Value>) -> bool {
        claims::lookup(claims, &self.path).is_some_and(|value| {
            claims::as_strings(value).iter().any(|found| self.values.iter().any(|wanted| wanted == found))
        })
    }
}

/// An e-mail address: exactly one `@`, something on both sides, plain ASCII, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    local: String,
    domain: EmailDomain,
}

impl Email {
    /// Reads an address; none if it is not unmistakably one.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'"' | b',' | b';' | b'<' | b'>');
        if local.is_empty() || local.len() > 64 || !local.bytes().all(plain) {
            return None;
        }
        Some(Self { local: local.to_ascii_lowercase(), domain: EmailDomain::parse(domain)? })
    }

    /// Whether it is of that very domain; subdomains are others.
    fn is_in(&self, domain: &EmailDomain) -> bool {
        self.domain == *domain
    }
}

/// The domain of an address: labels of ASCII letters, digits and hyphens, lower case, no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailDomain(String);

impl EmailDomain {
    /// Reads a domain; none if it is not unmistakably one.
    pub fn parse(text: &str) -> Option<Self> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let fits = text.len() <= 253 && text.contains('.') && text.split('.').all(label);
        fits.then(|| Self(text.to_ascii_lowercase()))
    }
}

fn verified_email(user: &User) -> Option<Email> {
    user.email_verified.then(|| Email::parse(&user.email)).flatten()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::session::tests::facts;

    fn user() -> User {
        facts().user
    }

    fn domains(names: &[&str]) -> Conditions {
        Conditions {
            email_domains: names.iter().map(|name| EmailDomain::parse(name).unwrap()).collect(),
            ..Conditions::default()
        }
    }

    #[test]
    fn each_condition_refuses_a_user_without_it() {
        let check = |conditions: Conditions, expected: bool| {
            assert_eq!(conditions.met_by(&user()), expected, "{conditions:?}");
        };
        let groups = |name: &str| Conditions { groups: vec![name.into()], ..Conditions::default() };
        let email = |text: &str| Conditions { emails: vec![Email::parse(text).unwrap()], ..Conditions::default() };
        let claim = |path: &str, value: &str| Conditions {
            claims: vec![ClaimCondition { path: ClaimPath::parse(path).unwrap(), values: vec![value.into()] }],
            ..Conditions::default()
        };
        check(Conditions::default(), true);
        check(groups("staff"), true);
        check(groups("Staff"), false);
        check(groups("admins"), false);
        check(email("ALICE@example.com"), true);
        check(email("bob@example.com"), false);
        check(domains(&["example.com"]), true);
        check(domains(&["example.org"]), false);
        check(claim("realm_access.roles", "ops"), true);
        check(claim("realm_access.roles", "root"), false);
        check(claim("https://example.com/roles", "editor"), true);
        check(claim("https://example.com/other", "editor"), false);
        check(Conditions { groups: vec!["staff".into()], ..email("bob@example.com") }, false);
    }

    #[test]
    fn an_address_nobody_vouches_for_opens_nothing() {
        let user = User { email_verified: false, ..user() };
        assert!(!domains(&["example.com"]).met_by(&user));
        let verified = Conditions { email_verified: true, ..Conditions::default() };
        assert!(!verified.met_by(&user));
        assert!(verified.met_by(&facts().user));
    }

    #[test]
    fn an_address_counts_only_where_one_is_asked_for() {
        let staff = Conditions { groups: vec!["staff".into()], ..Conditions::default() };
        for email in ["alice@example.com", "", "no address"] {
            assert!(staff.met_by(&User { email: email.into(), email_verified: false, ..user() }), "{email}");
        }
    }

    #[test]
    fn conditions_are_empty_without_any() {
        let asking = [
            Conditions { groups: vec!["staff".into()], ..Conditions::default() },
            Conditions { emails: vec![Email::parse("a@example.com").unwrap()], ..Conditions::default() },
            domains(&["example.com"]),
            Conditions {
                claims: vec![ClaimCondition { path: ClaimPath::parse("a").unwrap(), values: vec![] }],
                ..Conditions::default()
            },
            Conditions { email_verified: true, ..Conditions::default() },
        ];
        assert!(Conditions::default().is_empty());
        for conditions in asking {
            assert!(!conditions.is_empty(), "{conditions:?}");
        }
    }

    #[test]
    fn who_is_to_be_kept_out_is_so_without_a_verified_address() {
        let check = |conditions: Conditions, email: &str, expected: bool| {
            let user = User { email: email.into(), email_verified: false, ..user() };
            assert_eq!(conditions.claimed_by(&user), expected, "{email} {conditions:?}");
            assert!(!conditions.met_by(&user));
        };
        let mallory = || Email::parse("mallory@example.com").unwrap();
        let emails = || Conditions { emails: vec![mallory()], ..Conditions::default() };
        check(emails(), "mallory@example.com", true);
        check(emails(), " Mallory@EXAMPLE.com ", true);
        check(emails(), "alice@example.com", false);
        check(emails(), "", false);
        check(domains(&["example.com"]), "mallory@example.com", true);
        check(domains(&["example.com"]), "mallory@example.org", false);
        check(Conditions { email_verified: true, ..emails() }, "mallory@example.com", false);
    }

    #[test]
    fn an_address_has_64_bytes_before_the_at_sign() {
        let address = |bytes: usize| Email::parse(&format!("{}@example.com", "x".repeat(bytes)));
        assert!(address(64).is_some());
        assert!(address(65).is_none() && address(0).is_none());
    }

    #[test]
    fn domains_are_whole_labels_of_one_address() {
        let check = |email: &str, expected: bool| {
            let user = User { email: email.into(), ..user() };
            assert_eq!(domains(&["company.example"]).met_by(&user), expected, "{email}");
        };
        check("a@company.example", true);
        check("a@COMPANY.example", true);
        check("a@evil.example@company.example", false);
        check("a@sub.company.example", false);
        check("a@evilcompany.example", false);
        check("a@company.example.", false);
        check("a@company.example.evil.example", false);
        check("a@c\u{043e}mpany.example", false);
        check("@company.example", false);
        check("a b@company.example", false);
        check("", false);
    }

    #[test]
    fn claims_that_are_not_an_object_meet_nothing() {
        let condition = Conditions {
            claims: vec![ClaimCondition { path: ClaimPath::parse("a").unwrap(), values: vec!["b".into()] }],
            ..Conditions::default()
        };
        for claims in ["", "[]", "null", "{", "{\"a\":\"c\"}"] {
            assert!(!condition.met_by(&User { claims: claims.into(), ..user() }), "{claims}");
        }
    }
}
