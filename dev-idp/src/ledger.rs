//! Pure. What the provider remembers: sign-ons, codes, grants and their tokens. A code works once, a refresh token
//! works once, and whoever uses either twice ends the whole grant (RFC 9700 section 4.14). Every map is bounded.

use crate::bounded::Bounded;

/// A browser that is signed in at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignOn {
    pub(crate) login: String,
    /// The `sid` of its ID tokens.
    pub(crate) session: String,
    pub(crate) authenticated_at: u64,
    pub(crate) expires_at: u64,
}

/// What a person granted to a client at one sign-in.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) client: String,
    pub(crate) login: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) session: String,
    pub(crate) authenticated_at: u64,
    /// Whether `max_age` was asked, so that ID tokens say when the person authenticated.
    pub(crate) tells_time: bool,
    pub(crate) state: GrantState,
}

/// Whether a grant still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrantState {
    Live,
    Revoked,
}

/// A code on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) grant: String,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) expires_at: u64,
    pub(crate) uses: u32,
}

#[derive(Debug, Clone)]
struct Refresh {
    grant: String,
    expires_at: u64,
    uses: u32,
}

#[derive(Debug, Clone)]
struct Access {
    grant: String,
    scopes: Vec<String>,
    expires_at: u64,
}

/// Why a token is not accepted. The client hears `invalid_grant` in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Nobody knows it, or it was forgotten.
    Unknown,
    /// It was issued to another client.
    OtherClient,
    /// It was used before; its grant is revoked now.
    Reused,
    /// Its grant was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Ledger {
    sign_ons: Bounded<SignOn>,
    grants: Bounded<Grant>,
    codes: Bounded<Code>,
    refreshes: Bounded<Refresh>,
    accesses: Bounded<Access>,
    id_tokens: Bounded<IssuedIdToken>,
}

/// What an `id_token_hint` leads to.
#[derive(Debug, Clone)]
pub(crate) struct IssuedIdToken {
    pub(crate) client: String,
    pub(crate) session: String,
}

/// The tokens that a provider has issued; what was revoked one by one is not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issued {
    /// Access tokens.
    pub access_tokens: Vec<String>,
    /// Refresh tokens, the spent ones too.
    pub refresh_tokens: Vec<String>,
    /// ID tokens, the bent ones too.
    pub id_tokens: Vec<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            sign_ons: Bounded::new(LIMIT),
            grants: Bounded::new(LIMIT),
            codes: Bounded::new(LIMIT),
            refreshes: Bounded::new(LIMIT),
            accesses: Bounded::new(LIMIT),
            id_tokens: Bounded::new(LIMIT),
        }
    }
}

impl Ledger {
    pub(crate) fn sign_on(&mut self, cookie: String, sign_on: SignOn) {
        self.sign_ons.insert(cookie, sign_on);
    }

    pub(crate) fn signed_on(&self, cookie: &str, now: u64) -> Option<&SignOn> {
        self.sign_ons.entry(cookie).filter(|sign_on| now < sign_on.expires_at)
    }

    pub(crate) fn sign_off(&mut self, cookie: &str) {
        self.sign_ons.remove(cookie);
    }

    /// Ends the sign-on that ID tokens name by this `sid`.
    pub(crate) fn end_session(&mut self, session: &str) {
        self.sign_ons.retain(|sign_on| sign_on.session != session);
    }

    pub(crate) fn forget_sign_ons(&mut self) {
        self.sign_ons.clear();
    }

    /// Notes a new grant and the code that carries it to the client.
    pub(crate) fn grant(&mut self, id: String, grant: Grant, code: String, carried: Code) {
        self.grants.insert(id, grant);
        self.codes.insert(code, carried);
    }

    /// Uses a code. Whoever brings one twice ends its grant; a code brought by a stranger is not used up.
    pub(crate) fn redeem(&mut self, code: &str, client: &str, now: u64) -> Result<(Code, Grant), Unusable> {
        let found = self.codes.entry(code).cloned().ok_or(Unusable::Unknown)?;
        let grant = self.grants.entry(&found.grant).cloned().ok_or(Unusable::Unknown)?;
        if grant.client != client {
            return Err(Unusable::OtherClient);
        }
        if found.uses > 0 {
            self.revoke_grant(&found.grant);
            return Err(Unusable::Reused);
        }
        if let Some(code) = self.codes.entry_mut(code) {
            code.uses += 1;
        }
        usable(&grant, found.expires_at, now)?;
        Ok((found, grant))
    }

    /// Looks at a refresh token without using it up. One that was used before ends its grant.
    pub(crate) fn refreshable(&mut self, token: &str, client: &str, now: u64) -> Result<(String, Grant), Unusable> {
        let found = self.refreshes.entry(token).cloned().ok_or(Unusable::Unknown)?;
        let grant = self.grants.entry(&found.grant).cloned().ok_or(Unusable::Unknown)?;
        if grant.client != client {
            return Err(Unusable::OtherClient);
        }
        if found.uses > 0 {
            self.revoke_grant(&found.grant);
            return Err(Unusable::Reused);
        }
        usable(&grant, found.expires_at, now)?;
        Ok((found.grant, grant))
    }

    /// Uses a refresh token up.
    pub(crate) fn spend(&mut self, token: &str) {
        if let Some(refresh) = self.refreshes.entry_mut(token) {
            refresh.uses += 1;
        }
    }

    pub(crate) fn issue_refresh(&mut self, token: String, grant: &str, expires_at: u64) {
        self.refreshes.insert(token, Refresh { grant: grant.to_owned(), expires_at, uses: 0 });
    }

    pub(crate) fn issue_access(&mut self, token: String, grant: &str, scopes: Vec<String>, expires_at: u64) {
        self.accesses.insert(token, Access { grant: grant.to_owned(), scopes, expires_at });
    }

    pub(crate) fn issue_id_token(&mut self, token: String, issued: IssuedIdToken) {
        self.id_tokens.insert(token, issued);
    }

    pub(crate) fn issued_id_token(&self, token: &str) -> Option<&IssuedIdToken> {
        self.id_tokens.entry(token)
    }

    /// Whom an access token speaks for, and with which scopes.
    pub(crate) fn opened(&self, token: &str, now: u64) -> Result<(Grant, Vec<String>), Unusable> {
        let access = self.accesses.entry(token).ok_or(Unusable::Unknown)?;
        let grant = self.grants.entry(&access.grant).ok_or(Unusable::Unknown)?;
        usable(grant, access.expires_at, now)?;
        Ok((grant.clone(), access.scopes.clone()))
    }

    /// The tokens that are remembered, oldest first.
    pub(crate) fn issued(&self) -> Issued {
        let listed = |keys: &mut dyn Iterator<Item = &String>| keys.cloned().collect();
        Issued {
            access_tokens: listed(&mut self.accesses.keys()),
            refresh_tokens: listed(&mut self.refreshes.keys()),
            id_tokens: listed(&mut self.id_tokens.keys()),
        }
    }

    /// Revokes a token of this client: a refresh token with its whole grant, an access token alone (RFC 7009).
    pub(crate) fn revoke(&mut self, token: &str, client: &str) {
        let owner = |grants: &Bounded<Grant>, id: &str| grants.entry(id).is_some_and(|grant| grant.client == client);
        if let Some(refresh) = self.refreshes.entry(token).cloned() {
            if owner(&self.grants, &refresh.grant) {
                self.revoke_grant(&refresh.grant);
            }
        } else if self.accesses.entry(token).is_some_and(|access| owner(&self.grants, &access.grant)) {
            self.accesses.remove(token);
        }
    }

    pub(crate) fn revoke_grant(&mut self, id: &str) {
        if let Some(grant) = self.grants.entry_mut(id) {
            grant.state = GrantState::Revoked;
        }
    }

    pub(crate) fn revoke_all(&mut self) {
        self.grants.values_mut().for_each(|grant| grant.state = GrantState::Revoked);
    }
}

fn usable(grant: &Grant, expires_at: u64, now: u64) -> Result<(), Unusable> {
    if grant.state == GrantState::Revoked {
        return Err(Unusable::Revoked);
    }
    if now >= expires_at {
        return Err(Unusable::Expired);
    }
    Ok(())
}

/// So many entries are kept of each kind.
const LIMIT: usize = 10_000;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const NOW: u64 = 1_000_000;

    fn ledger() -> Ledger {
        let grant = Grant {
            client: "app".to_owned(),
            login: "alice".to_owned(),
            scopes: vec!["openid".to_owned()],
            nonce: None,
            session: "sid".to_owned(),
            authenticated_at: NOW,
            tells_time: false,
            state: GrantState::Live,
        };
        let code = Code {
            grant: "g".to_owned(),
            redirect_uri: String::new(),
            challenge: String::new(),
            expires_at: NOW + 60,
            uses: 0,
        };
        let mut ledger = Ledger::default();
        ledger.grant("g".to_owned(), grant, "code".to_owned(), code);
        ledger.issue_refresh("first".to_owned(), "g", NOW + 1000);
        ledger.issue_access("access".to_owned(), "g", Vec::new(), NOW + 300);
        ledger
    }

    #[test]
    fn a_code_works_once_for_its_client_in_its_time() {
        let check = |code: &str, client: &str, now, expected| {
            assert_eq!(ledger().redeem(code, client, now).map(|_| ()), expected, "{code} {client} {now}");
        };
        check("code", "app", NOW, Ok(()));
        check("code", "app", NOW + 60, Err(Unusable::Expired));
        check("code", "other", NOW, Err(Unusable::OtherClient));
        check("guess", "app", NOW, Err(Unusable::Unknown));
    }

    #[test]
    fn a_code_brought_twice_ends_its_grant() {
        let mut ledger = ledger();
        ledger.redeem("code", "app", NOW).unwrap();
        assert_eq!(ledger.redeem("code", "app", NOW).err(), Some(Unusable::Reused));
        assert_eq!(ledger.opened("access", NOW).err(), Some(Unusable::Revoked));
    }

    #[test]
    fn a_spent_refresh_token_ends_the_whole_grant() {
        let mut ledger = ledger();
        ledger.refreshable("first", "app", NOW).unwrap();
        ledger.spend("first");
        ledger.issue_refresh("second".to_owned(), "g", NOW + 1000);
        assert_eq!(ledger.refreshable("first", "app", NOW).err(), Some(Unusable::Reused));
        assert_eq!(ledger.refreshable("second", "app", NOW).err(), Some(Unusable::Revoked));
        assert_eq!(ledger.opened("access", NOW).err(), Some(Unusable::Revoked));
    }

    #[test]
    fn spent_tokens_are_among_those_issued() {
        let mut ledger = ledger();
        ledger.spend("first");
        ledger.issue_refresh("second".to_owned(), "g", NOW + 1000);
        let expected = Issued {
            access_tokens: vec!["access".to_owned()],
            refresh_tokens: vec!["first".to_owned(), "second".to_owned()],
            id_tokens: Vec::new(),
        };
        assert_eq!(ledger.issued(), expected);
    }

    #[test]
    fn only_its_owner_revokes_a_token() {
        let check = |token: &str, client: &str, expected| {
            let mut ledger = ledger();
            ledger.revoke(token, client);
            let left = (ledger.opened("access", NOW).err(), ledger.refreshable("first", "app", NOW).err());
            assert_eq!(left, expected, "{token} {client}");
        };
        check("first", "app", (Some(Unusable::Revoked), Some(Unusable::Revoked)));
        check("access", "app", (Some(Unusable::Unknown), None));
        check("first", "other", (None, None));
        check("access", "other", (None, None));
    }
}
