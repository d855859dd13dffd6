//! Pure. Which of a site's providers a sign-in is with, and where its answer comes back to.
//!
//! Invariant: where a site has several providers, each answers to a redirect URI of its own, and an answer counts only
//! at the one that its sign-in was begun with. So an answer that one provider made the browser fetch from another is
//! seen, also where that other does not announce `iss` (RFC 9700 section 4.4.2, RFC 9207).

use url::Url;

use crate::{origin::Site, reason::Reason, route::Prefix};

/// Which provider a sign-in is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This one.
    With(&'a str),
    /// The person has to say.
    Ask,
}

/// Decides it from what the link asked for.
///
/// # Errors
/// [`Reason::ProviderUnknown`] for one that the site does not sign in with.
pub fn choose<'a>(site: &'a Site, asked: Option<&str>) -> Result<Choice<'a>, Reason> {
    match (site.providers(), asked) {
        (offered, Some(asked)) => {
            let found = offered.iter().find(|name| *name == asked);
            found.map(|name| Choice::With(name)).ok_or(Reason::ProviderUnknown)
        }
        ([only], None) => Ok(Choice::With(only)),
        (_, None) => Ok(Choice::Ask),
    }
}

/// The redirect URI of a provider's answers on a site.
pub fn callback(site: &Site, prefix: &Prefix, provider: &str) -> Url {
    match site.providers() {
        [_] => site.page(&prefix.path(CALLBACK)),
        _ => site.page(&prefix.path(&format!("{CALLBACK}/{provider}"))),
    }
}

/// Whether an answer that came to `path` came where that provider's answers come.
///
/// # Errors
/// [`Reason::IssuerMismatch`].
pub fn came_back_to(path: &str, site: &Site, prefix: &Prefix, provider: &str) -> Result<(), Reason> {
    let own = callback(site, prefix, provider);
    if own.path() == path { Ok(()) } else { Err(Reason::IssuerMismatch) }
}

const CALLBACK: &str = "/callback";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::origin::{PublicUrl, SiteParts};

    fn site(providers: &[&str]) -> Site {
        Site::new(SiteParts {
            providers: providers.iter().map(|name| (*name).to_owned()).collect(),
            ..SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())
        })
        .unwrap()
    }

    #[test]
    fn a_person_chooses_where_there_is_a_choice() {
        let check = |offered: &[&str], asked, expected: Result<Choice<'_>, Reason>| {
            assert_eq!(choose(&site(offered), asked), expected, "{offered:?} {asked:?}");
        };
        check(&["main"], None, Ok(Choice::With("main")));
        check(&["main"], Some("main"), Ok(Choice::With("main")));
        check(&["main"], Some("partners"), Err(Reason::ProviderUnknown));
        check(&["main"], Some(""), Err(Reason::ProviderUnknown));
        check(&["main", "partners"], None, Ok(Choice::Ask));
        check(&["main", "partners"], Some("partners"), Ok(Choice::With("partners")));
        check(&["main", "partners"], Some("Partners"), Err(Reason::ProviderUnknown));
    }

    #[test]
    fn several_providers_never_answer_to_the_same_place() {
        let prefix = Prefix::parse("/auth").unwrap();
        let (one, two) = (site(&["main"]), site(&["main", "partners"]));
        assert_eq!(callback(&one, &prefix, "main").path(), "/auth/callback");
        assert_eq!(callback(&two, &prefix, "main").path(), "/auth/callback/main");
        let check = |path, site: &Site, provider, expected| {
            assert_eq!(came_back_to(path, site, &prefix, provider), expected, "{path} {provider}");
        };
        check("/auth/callback", &one, "main", Ok(()));
        check("/auth/callback/main", &one, "main", Err(Reason::IssuerMismatch));
        check("/auth/callback/main", &two, "main", Ok(()));
        check("/auth/callback/partners", &two, "main", Err(Reason::IssuerMismatch));
        check("/auth/callback", &two, "main", Err(Reason::IssuerMismatch));
    }
}
