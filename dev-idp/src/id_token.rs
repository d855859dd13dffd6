//! Pure. The claims of an ID token: first the honest ones (OpenID Connect Core 2), then what the switches bend.

use serde_json::{Map, Value, json};

use crate::switch::{Switch, Switches};

/// What an ID token says.
pub(crate) struct Facts<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client: &'a str,
    pub(crate) subject: &'a str,
    /// The nonce of the sign-in.
    pub(crate) nonce: Option<&'a str>,
    pub(crate) session: &'a str,
    /// When the person authenticated, if `max_age` was asked.
    pub(crate) authenticated_at: Option<u64>,
    pub(crate) access_token_hash: String,
    pub(crate) now: u64,
    pub(crate) lifetime_seconds: u64,
    /// The claims of the granted scopes, where the settings put them here.
    pub(crate) claims: Map<String, Value>,
    pub(crate) occasion: Occasion,
}

/// What the token is issued for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    SignIn,
    Refresh,
}

/// The claims under these switches.
pub(crate) fn claims(facts: &Facts<'_>, switches: &Switches) -> Map<String, Value> {
    let mut claims = honest(facts);
    for bend in [bend_identity, bend_times, bend_nonce, bend_refresh] {
        bend(&mut claims, facts, switches);
    }
    claims
}

fn honest(facts: &Facts<'_>) -> Map<String, Value> {
    let mut claims = facts.claims.clone();
    claims.insert("iss".to_owned(), json!(facts.issuer));
    claims.insert("sub".to_owned(), json!(facts.subject));
    claims.insert("aud".to_owned(), json!(facts.client));
    claims.insert("iat".to_owned(), json!(facts.now));
    claims.insert("exp".to_owned(), json!(facts.now + facts.lifetime_seconds));
    claims.insert("sid".to_owned(), json!(facts.session));
    claims.insert("at_hash".to_owned(), json!(facts.access_token_hash));
    if let Some(time) = facts.authenticated_at {
        claims.insert("auth_time".to_owned(), json!(time));
    }
    if let (Occasion::SignIn, Some(nonce)) = (facts.occasion, facts.nonce) {
        claims.insert("nonce".to_owned(), json!(nonce));
    }
    claims
}

fn bend_identity(claims: &mut Map<String, Value>, facts: &Facts<'_>, switches: &Switches) {
    let stranger = format!("{}1", facts.client);
    let bends = [
        (Switch::IdTokenWrongIssuer, "iss", Some(json!(format!("{}1", facts.issuer)))),
        (Switch::IdTokenMissingIssuer, "iss", None),
        (Switch::IdTokenMissingSubject, "sub", None),
        (Switch::IdTokenWrongAudience, "aud", Some(json!(stranger))),
        (Switch::IdTokenMissingAudience, "aud", None),
        (Switch::IdTokenStrangerInAudience, "aud", Some(json!([facts.client, stranger]))),
        (Switch::IdTokenAudienceArray, "aud", Some(json!([facts.client]))),
        (Switch::IdTokenWrongAuthorizedParty, "azp", Some(json!(stranger))),
        (Switch::IdTokenWrongAccessTokenHash, "at_hash", Some(json!("AAAAAAAAAAAAAAAAAAAAAA"))),
    ];
    apply(claims, switches, bends);
}

fn bend_times(claims: &mut Map<String, Value>, facts: &Facts<'_>, switches: &Switches) {
    let later = facts.now + HOUR;
    let bends = [
        (Switch::IdTokenMissingIssuedAt, "iat", None),
        (Switch::IdTokenIssuedInFuture, "iat", Some(json!(later))),
        (Switch::IdTokenIssuedInFuture, "exp", Some(json!(later + facts.lifetime_seconds))),
        (Switch::IdTokenExpired, "exp", Some(json!(facts.now.saturating_sub(HOUR)))),
        (Switch::IdTokenExpired, "iat", Some(json!(facts.now.saturating_sub(HOUR + facts.lifetime_seconds)))),
        (Switch::IdTokenMissingExpiry, "exp", None),
        (Switch::IdTokenNotYetValid, "nbf", Some(json!(later))),
        (Switch::IdTokenMissingAuthTime, "auth_time", None),
    ];
    apply(claims, switches, bends);
    if claims.contains_key("auth_time") {
        let yesterday = json!(facts.now.saturating_sub(24 * HOUR));
        apply(claims, switches, [(Switch::IdTokenOldAuthTime, "auth_time", Some(yesterday))]);
    }
}

fn bend_nonce(claims: &mut Map<String, Value>, facts: &Facts<'_>, switches: &Switches) {
    if facts.occasion == Occasion::SignIn {
        let wrong = json!(format!("{}1", facts.nonce.unwrap_or_default()));
        let bends = [(Switch::IdTokenWrongNonce, "nonce", Some(wrong)), (Switch::IdTokenMissingNonce, "nonce", None)];
        apply(claims, switches, bends);
    }
}

fn bend_refresh(claims: &mut Map<String, Value>, facts: &Facts<'_>, switches: &Switches) {
    if facts.occasion == Occasion::Refresh {
        let nonce = facts.nonce.unwrap_or_default();
        let bends = [
            (Switch::RefreshIdTokenWrongIssuer, "iss", Some(json!(format!("{}1", facts.issuer)))),
            (Switch::RefreshIdTokenWrongSubject, "sub", Some(json!(format!("{}1", facts.subject)))),
            (Switch::RefreshIdTokenWithNonce, "nonce", Some(json!(nonce))),
            (Switch::RefreshIdTokenWrongNonce, "nonce", Some(json!(format!("{nonce}1")))),
        ];
        apply(claims, switches, bends);
    }
}

/// Each bend whose switch is on sets its claim, or takes it away.
fn apply<const N: usize>(
    claims: &mut Map<String, Value>,
    switches: &Switches,
    bends: [(Switch, &str, Option<Value>); N],
) {
    for (_, claim, value) in bends.into_iter().filter(|(switch, ..)| switches.on(*switch)) {
        match value {
            Some(value) => claims.insert(claim.to_owned(), value),
            None => claims.remove(claim),
        };
    }
}

const HOUR: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares one claim with the honest token's other claims unchanged.
    fn check(occasion: Occasion, switch: Switch, changed: &[(&str, Option<Value>)]) {
        let facts = Facts {
            issuer: "http://op",
            client: "app",
            subject: "s",
            nonce: Some("n"),
            session: "sid",
            authenticated_at: Some(99_000),
            access_token_hash: "hash".to_owned(),
            now: 100_000,
            lifetime_seconds: 300,
            claims: Map::new(),
            occasion,
        };
        let mut expected = honest(&facts);
        for (claim, value) in changed {
            match value {
                Some(value) => expected.insert((*claim).to_owned(), value.clone()),
                None => expected.remove(*claim),
            };
        }
        let mut switches = Switches::default();
        switches.set(switch);
        assert_eq!(claims(&facts, &switches), expected, "{switch:?} at {occasion:?}");
    }

    #[test]
    fn each_switch_bends_its_claim_and_no_other() {
        for occasion in [Occasion::SignIn, Occasion::Refresh] {
            check(occasion, Switch::IdTokenWrongIssuer, &[("iss", Some(json!("http://op1")))]);
            check(occasion, Switch::IdTokenMissingIssuer, &[("iss", None)]);
            check(occasion, Switch::IdTokenMissingSubject, &[("sub", None)]);
            check(occasion, Switch::IdTokenWrongAudience, &[("aud", Some(json!("app1")))]);
            check(occasion, Switch::IdTokenMissingAudience, &[("aud", None)]);
            check(occasion, Switch::IdTokenStrangerInAudience, &[("aud", Some(json!(["app", "app1"])))]);
            check(occasion, Switch::IdTokenAudienceArray, &[("aud", Some(json!(["app"])))]);
            check(occasion, Switch::IdTokenWrongAuthorizedParty, &[("azp", Some(json!("app1")))]);
            check(occasion, Switch::IdTokenMissingIssuedAt, &[("iat", None)]);
            let future = [("iat", Some(json!(103_600))), ("exp", Some(json!(103_900)))];
            check(occasion, Switch::IdTokenIssuedInFuture, &future);
            check(occasion, Switch::IdTokenExpired, &[("exp", Some(json!(96_400))), ("iat", Some(json!(96_100)))]);
            check(occasion, Switch::IdTokenMissingExpiry, &[("exp", None)]);
            check(occasion, Switch::IdTokenNotYetValid, &[("nbf", Some(json!(103_600)))]);
            check(occasion, Switch::IdTokenMissingAuthTime, &[("auth_time", None)]);
            check(occasion, Switch::IdTokenOldAuthTime, &[("auth_time", Some(json!(13_600)))]);
            let other = json!("AAAAAAAAAAAAAAAAAAAAAA");
            check(occasion, Switch::IdTokenWrongAccessTokenHash, &[("at_hash", Some(other))]);
        }
    }

    #[test]
    fn the_nonce_belongs_to_the_sign_in() {
        check(Occasion::SignIn, Switch::IdTokenWrongNonce, &[("nonce", Some(json!("n1")))]);
        check(Occasion::SignIn, Switch::IdTokenMissingNonce, &[("nonce", None)]);
        check(Occasion::Refresh, Switch::IdTokenWrongNonce, &[]);
        check(Occasion::Refresh, Switch::RefreshIdTokenWithNonce, &[("nonce", Some(json!("n")))]);
        check(Occasion::Refresh, Switch::RefreshIdTokenWrongNonce, &[("nonce", Some(json!("n1")))]);
    }

    #[test]
    fn refresh_switches_leave_the_sign_in_alone() {
        check(Occasion::Refresh, Switch::RefreshIdTokenWrongIssuer, &[("iss", Some(json!("http://op1")))]);
        check(Occasion::Refresh, Switch::RefreshIdTokenWrongSubject, &[("sub", Some(json!("s1")))]);
        check(Occasion::SignIn, Switch::RefreshIdTokenWrongIssuer, &[]);
        check(Occasion::SignIn, Switch::RefreshIdTokenWrongSubject, &[]);
    }
}
