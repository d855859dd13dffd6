//! Pure. What upstreams are told: the headers beside the fixed ones.
//!
//! Invariant: a configured header is one that the nginx files clear and set, and stands for one claim alone.

use std::collections::BTreeSet;

use http::HeaderName;

use crate::{
    config::{
        problem::{Checked, Problems},
        raw::IdentityTable,
    },
    verify::identity::{ClaimHeader, Config},
};

/// Checks the headers.
pub(super) fn identity(table: &IdentityTable, problems: &mut Problems) -> Checked<Config> {
    let mut seen = BTreeSet::new();
    let mut claims = Vec::with_capacity(table.claims.entries.len());
    for (name, path) in &table.claims.entries {
        let header = header(name).and_then(|header| {
            seen.insert(header.to_string()).then_some(header).ok_or("is given twice, in another spelling")
        });
        let name = header.map_err(|message| problems.add(&path.path, message));
        let path = path.required(problems);
        claims.push(name.and_then(|name| Ok(ClaimHeader { name, path: path? })));
    }
    Ok(Config { claims: claims.into_iter().collect::<Checked<_>>()?, access_token: table.access_token.or(false)? })
}

fn header(name: &str) -> Result<HeaderName, &'static str> {
    if name.contains('_') {
        return Err("must not have underscores: servers take them for hyphens, and let a client's own twin through");
    }
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not the name of a header")?;
    let rest = header.as_str().strip_prefix(PREFIX).filter(|rest| !rest.is_empty());
    match rest {
        None => Err("must begin with X-Auth-Request-: the nginx files clear and set these alone"),
        Some(rest) if FIXED.contains(&rest) => Err("is a header that the gateway sets itself"),
        Some(_) => Ok(header),
    }
}

const PREFIX: &str = "x-auth-request-";
const FIXED: &[&str] = &["user", "email", "preferred-username", "name", "groups", "method", "access-token"];

#[cfg(test)]
mod tests {
    use crate::config::fixture::Settings;

    fn check(claims: &str, expected: &str) {
        let settings = Settings::valid().with(&format!("[identity.claims]\n{claims}"));
        assert_eq!(settings.problems(), expected, "{claims}");
    }

    #[test]
    fn headers_are_new_and_cleared_by_nginx() {
        let own = "is a header that the gateway sets itself";
        check("X-Auth-Request-Roles = 'https://example.com/roles'", "");
        check("X-Auth-Request-User = 'sub'", &format!("identity.claims.X-Auth-Request-User: {own}"));
        check("x-auth-request-access-token = 'sub'", &format!("identity.claims.x-auth-request-access-token: {own}"));
        let begin = "must begin with X-Auth-Request-: the nginx files clear and set these alone";
        check("X-Roles = 'roles'", &format!("identity.claims.X-Roles: {begin}"));
        check("X-Auth-Request- = 'roles'", &format!("identity.claims.X-Auth-Request-: {begin}"));
        check(
            "X_Auth_Request_Roles = 'roles'",
            "identity.claims.X_Auth_Request_Roles: must not have underscores: servers take them for hyphens, and let a client's own twin through",
        );
        check("'X-Auth-Request-A B' = 'roles'", "identity.claims.\"X-Auth-Request-A B\": is not the name of a header");
        check(
            "X-Auth-Request-Roles = 'a'\nx-auth-request-roles = 'b'",
            "identity.claims.x-auth-request-roles: is given twice, in another spelling",
        );
        check(
            "X-Auth-Request-Roles = 7",
            "identity.claims.X-Auth-Request-Roles: must be a claim: \"groups\", \"realm_access.roles\", [\"roles\", \"my.app\"]",
        );
    }
}
