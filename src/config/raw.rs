//! Pure. The settings as they are written: every key there is, with the type of its value.
//!
//! A new key is one line here, one in `check`, and one with its meaning in `config/portcullis.toml`; a test compares
//! the two files. A key whose value is a [`Secret`] has a twin with `_file` at its end.

use std::{path::PathBuf, time::Duration};

use http::Method;
use ipnet::IpNet;

use self::{
    leaf::{
        Allowance, Authentication, Count, File, ListenAddress, LogoutKind, ResponseMode, SameSite, SocketMode,
        StoreKind,
    },
    node::{Field, List, Named, Node, table},
};
use super::Mode;
use crate::{
    inbound::Listener,
    oidc::{claims::ClaimPath, jwk::Algorithm},
    origin::{HostName, PublicUrl},
    route::Prefix,
    rules::{Email, EmailDomain},
    secret::Secret,
    server::peer_certificate::PeerName,
    session::{Method as SignInMethod, binding::Strictness},
    store::window::Rate,
    telemetry::Format,
    verify::{matching::PathPattern, policy::PolicyName},
};

pub(super) mod leaf;
pub(super) mod node;

table! {
    /// The whole file.
    Raw {
        mode: Field<Mode>,
        listener: Named<ListenerTable>,
        server: ServerTable,
        site: Named<SiteTable>,
        provider: Named<ProviderTable>,
        access: ConditionsTable,
        session: SessionTable,
        sign_in: SignInTable,
        limits: LimitsTable,
        store: StoreTable,
        policy: Named<PolicyTable>,
        matching: MatchingTable,
        health: HealthTable,
        fallback: FallbackTable,
        identity: IdentityTable,
        log: LogTable,
        pages: PagesTable,
    }
}

table! {
    /// A listener.
    ListenerTable {
        kind: Field<Listener>,
        address: Field<ListenAddress>,
        socket_mode: Field<SocketMode>,
        trusted_proxies: Field<Vec<IpNet>>,
        site: Field<String>,
        certificates: Field<bool>,
        tls_certificate_file: Field<File>,
        tls_key_file: Field<File>,
        client_ca_file: Field<File>,
        client_names: Field<Vec<PeerName>>,
    }
}

table! {
    /// Prefix, limits and timers of all listeners.
    ServerTable {
        prefix: Field<Prefix>,
        header_bytes: Field<Count>,
        header_timeout: Field<Duration>,
        idle_timeout: Field<Duration>,
        body_bytes: Field<Count>,
        body_timeout: Field<Duration>,
        connections: Field<Count>,
        stop_delay: Field<Duration>,
        drain_timeout: Field<Duration>,
    }
}

table! {
    /// A site.
    SiteTable {
        public_url: Field<PublicUrl>,
        providers: Field<Vec<String>>,
        hosts: Field<Vec<HostName>>,
        cookie_domain: Field<String>,
        return_origins: Field<Vec<PublicUrl>>,
        cors_origins: Field<Vec<PublicUrl>>,
        landing: Field<String>,
        error_url: Field<String>,
    }
}

table! {
    /// A provider.
    ProviderTable {
        display_name: Field<String>,
        issuer: Field<String>,
        client_id: Field<String>,
        client_secret: Field<Secret>,
        client_secret_file: Field<File>,
        authentication: Field<Authentication>,
        response_mode: Field<ResponseMode>,
        scopes: Field<Vec<String>>,
        offline_access: Field<bool>,
        userinfo: Field<bool>,
        algorithms: Field<Vec<Algorithm>>,
        extra_parameters: Named<Field<String>>,
        max_age: Field<Duration>,
        clock_skew: Field<Duration>,
        logout: Field<LogoutKind>,
        revoke_tokens: Field<bool>,
        ca_file: Field<File>,
        user_claim: Field<ClaimPath>,
        groups_claim: Field<ClaimPath>,
        access: ConditionsTable,
    }
}

table! {
    /// Who may have a session at all.
    ConditionsTable {
        groups: Field<Vec<String>>,
        emails: Field<Vec<Email>>,
        email_domains: Field<Vec<EmailDomain>>,
        email_verified: Field<bool>,
        claims: List<ClaimTable>,
    }
}

table! {
    /// A claim that must hold any of some values.
    ClaimTable {
        path: Field<ClaimPath>,
        values: Field<Vec<String>>,
    }
}

table! {
    /// Cookie, lifetimes, binding and keys.
    SessionTable {
        cookie_name: Field<String>,
        same_site: Field<SameSite>,
        absolute_lifetime: Field<Duration>,
        idle_timeout: Field<Duration>,
        bind_address: Field<Strictness>,
        bind_exact_address: Field<bool>,
        bind_user_agent: Field<Strictness>,
        cache_entries: Field<Count>,
        cache_bytes: Field<Count>,
        store_outage_grace: Field<Duration>,
        key: Field<Secret>,
        key_file: Field<File>,
        key_new: Field<Secret>,
        key_new_file: Field<File>,
        key_old: Field<Secret>,
        key_old_file: Field<File>,
    }
}

table! {
    /// The way from login to callback.
    SignInTable {
        lifetime: Field<Duration>,
    }
}

table! {
    /// How much of what is too much.
    LimitsTable {
        login: Field<Allowance>,
        failed_callback: Field<Allowance>,
        failed_sign_in: Field<Allowance>,
        failed_sign_in_wait: Field<Duration>,
        refresh_session: Field<Allowance>,
        refresh_user: Field<Allowance>,
        everything: Field<Vec<Rate>>,
        refused_certificates: Field<Allowance>,
    }
}

table! {
    /// Where sessions live.
    StoreTable {
        kind: Field<StoreKind>,
        memory: MemoryTable,
        redis: RedisTable,
    }
}

table! {
    /// The embedded store.
    #[expect(clippy::struct_field_names, reason = "these are the names of the settings")]
    MemoryTable {
        max_sessions: Field<Count>,
        max_marks: Field<Count>,
        max_windows: Field<Count>,
    }
}

table! {
    /// Redis or Valkey.
    RedisTable {
        url: Field<Secret>,
        url_file: Field<File>,
        username: Field<String>,
        password: Field<Secret>,
        password_file: Field<File>,
        database: Field<Count>,
        prefix: Field<String>,
        deadline: Field<Duration>,
        connections: Field<Count>,
        ca_file: Field<File>,
    }
}

table! {
    /// A policy.
    PolicyTable {
        rules: List<RuleTable>,
    }
}

table! {
    /// A rule of a policy.
    RuleTable {
        allow: Field<bool>,
        everyone: Field<bool>,
        methods: Field<Vec<SignInMethod>>,
        providers: Field<Vec<String>>,
        groups: Field<Vec<String>>,
        emails: Field<Vec<Email>>,
        email_domains: Field<Vec<EmailDomain>>,
        email_verified: Field<bool>,
        claims: List<ClaimTable>,
        client_networks: Field<Vec<IpNet>>,
        max_sign_in_age: Field<Duration>,
    }
}

table! {
    /// Which policy decides where the location names none.
    MatchingTable {
        rules: List<MatchTable>,
    }
}

table! {
    /// A rule by host, path and method.
    MatchTable {
        hosts: Field<Vec<HostName>>,
        paths: Field<Vec<PathPattern>>,
        methods: Field<Vec<Method>>,
        policy: Field<PolicyName>,
    }
}

table! {
    /// When a provider is held to be down, and when to be up again.
    HealthTable {
        interval: Field<Duration>,
        timeout: Field<Duration>,
        failures: Field<Count>,
        window: Field<Duration>,
        window_probes: Field<Count>,
        down_interval: Field<Duration>,
        successes: Field<Count>,
        quiet: Field<Duration>,
    }
}

table! {
    /// Administrators with client certificates, while the provider is down.
    FallbackTable {
        enabled: Field<bool>,
        require_arming: Field<bool>,
        longest_arming: Field<Duration>,
        state_file: Field<PathBuf>,
        processes: Field<Vec<ListenAddress>>,
        ca_file: Field<File>,
        intermediates_file: Field<File>,
        longest_lifetime: Field<Duration>,
        near_expiry: Field<Duration>,
        crl_urls: Field<Vec<String>>,
        crl_folder: Field<PathBuf>,
        crl_ca_file: Field<File>,
        crl_fresh_for: Field<Duration>,
        crl_max_age: Field<Duration>,
        crl_use_until_stale: Field<bool>,
        administrators: Named<AdministratorTable>,
    }
}

table! {
    /// Who a certificate's owner becomes.
    AdministratorTable {
        common_name: Field<String>,
        email: Field<String>,
        uri: Field<String>,
        user: Field<String>,
        groups: Field<Vec<String>>,
    }
}

table! {
    /// What upstreams are told.
    IdentityTable {
        access_token: Field<bool>,
        claims: Named<Field<ClaimPath>>,
    }
}

table! {
    /// The log.
    LogTable {
        format: Field<Format>,
        filter: Field<String>,
        audit: Field<String>,
        audit_allowed: Field<bool>,
    }
}

table! {
    /// The gateway's own pages.
    PagesTable {
        product_name: Field<String>,
        support_url: Field<String>,
        csp_report_only: Field<bool>,
        csp_reports: Field<bool>,
    }
}

impl ListenerTable {
    fn files(&mut self) -> [&mut Field<File>; 3] {
        [&mut self.tls_certificate_file, &mut self.tls_key_file, &mut self.client_ca_file]
    }
}

impl Raw {
    /// Every file that the settings name, to be read before they are checked.
    pub(super) fn files(&mut self) -> impl Iterator<Item = &mut Field<File>> {
        let session = &mut self.session;
        let redis = &mut self.store.redis;
        let providers = self.provider.entries.values_mut();
        let listeners = self.listener.entries.values_mut();
        let fallback = &mut self.fallback;
        let own = [
            &mut fallback.ca_file,
            &mut fallback.intermediates_file,
            &mut fallback.crl_ca_file,
            &mut session.key_file,
            &mut session.key_new_file,
            &mut session.key_old_file,
            &mut redis.url_file,
            &mut redis.password_file,
            &mut redis.ca_file,
        ];
        own.into_iter()
            .chain(providers.flat_map(|provider| [&mut provider.client_secret_file, &mut provider.ca_file]))
            .chain(listeners.flat_map(ListenerTable::files))
    }

    /// Every key there is.
    pub(super) fn keys() -> Vec<node::KnownKey> {
        let mut keys = Vec::new();
        Self::describe(&[], &mut keys);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_can_stand_in_a_file() {
        let keys = Raw::keys();
        let secrets: Vec<_> = keys.iter().filter(|key| key.kind == node::Kind::Secret).collect();
        assert!(secrets.len() >= 6);
        for secret in secrets {
            let twin: Vec<String> = secret.path.iter().map(ToString::to_string).collect();
            let twin = format!("{}_file", twin.join("."));
            assert!(keys.iter().any(|key| key.path.join(".") == twin), "{twin}");
        }
    }
}
